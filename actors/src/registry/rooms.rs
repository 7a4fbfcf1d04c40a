//! Dialect 1's rooms (spec §4.5): names with members. Every client is in the personal room of its
//! own name (spec §3.3), which is not kept here, because it exists exactly as long as the client is
//! known; `monitor` is in `monitor-room`.

use std::collections::{BTreeMap, BTreeSet};

use actix::prelude::*;
use framing::{ByteString, json::quoted};

use super::{Registry, RegistryLimits, lists};
use crate::{
    ids::{ClientId, MONITOR, RoomName},
    metrics::Metrics,
};

const MONITOR_ROOM: &str = "monitor-room";

/// What a client asks of a room. The caller's rights are those of its settings file.
#[derive(Clone, Debug)]
pub enum RoomCommand {
    /// 13
    Create(Option<RoomName>),
    /// 14
    Delete(Option<RoomName>),
    /// 15
    Add {
        /// Who joins.
        client: Option<ClientId>,
        /// Which room.
        room: Option<RoomName>,
    },
    /// 16
    Remove {
        /// Who leaves; the caller if absent.
        client: Option<ClientId>,
        /// Which room.
        room: Option<RoomName>,
    },
    /// 19
    List,
    /// 25
    Members {
        /// Which room.
        room: Option<RoomName>,
        /// As dialect 2 shows members (spec §4.9.2).
        by_name: bool,
    },
    /// Whether a client may ask an extension under `llmPolicy: "rooms"` (spec §5.2).
    IsMember {
        /// The extension's id.
        room: RoomName,
    },
}

/// Runs a [`RoomCommand`]; the answer is the JSON of a bare array, or nothing.
#[derive(Message)]
#[rtype(result = "Result<Option<String>, RoomRefusal>")]
pub struct RunRoomCommand {
    /// Who asks.
    pub caller: ClientId,
    /// "E-only or admin" (spec §4).
    pub privileged: bool,
    /// Administrator's rights.
    pub admin: bool,
    /// What.
    pub command: RoomCommand,
}

/// Why not; the texts are protocol (spec §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomRefusal {
    /// The caller lacks the right.
    #[error("Unauthorized")]
    Unauthorized,
    /// No room can have that name.
    #[error("Invalid room name")]
    InvalidName,
    /// It exists, or it is a client's personal room.
    #[error("Room already exists")]
    Exists,
    /// It does not exist.
    #[error("Room not found")]
    NotFound,
    /// The room or the client is unknown, or the room is full.
    #[error("Failed to add client to room")]
    NotAdded,
    /// The room or the membership does not exist.
    #[error("Failed to remove client from room")]
    NotRemoved,
    /// `limits.rooms` is reached.
    #[error("Too many rooms")]
    TooMany,
}

struct Room {
    creator: ClientId,
    members: BTreeSet<ClientId>,
}

pub(super) struct Rooms {
    rooms: BTreeMap<RoomName, Room>,
    max_rooms: usize,
    max_members: usize,
}

impl Rooms {
    pub(super) fn new(limits: &RegistryLimits) -> Self {
        Self { rooms: BTreeMap::new(), max_rooms: limits.rooms, max_members: limits.members_per_room }
    }

    /// A client that is gone for good leaves every room.
    pub(super) fn forget(&mut self, client: &ClientId) {
        self.rooms.remove(client.as_str());
        for room in self.rooms.values_mut() {
            room.members.remove(client);
        }
    }

    fn create(&mut self, caller: &ClientId, name: RoomName, metrics: &Metrics) -> Result<(), RoomRefusal> {
        if self.rooms.contains_key(&name) {
            return Err(RoomRefusal::Exists);
        }
        if self.rooms.len() >= self.max_rooms {
            metrics.limit_reached("limits.rooms");
            return Err(RoomRefusal::TooMany);
        }
        self.rooms.insert(name, Room { creator: caller.clone(), members: BTreeSet::new() });
        Ok(())
    }

    fn add(&mut self, client: ClientId, room: &RoomName, metrics: &Metrics) -> Result<(), RoomRefusal> {
        let max_members = self.max_members;
        let room = self.rooms.get_mut(room).ok_or(RoomRefusal::NotAdded)?;
        if room.members.len() >= max_members && !room.members.contains(&client) {
            metrics.limit_reached("limits.members_per_room");
            return Err(RoomRefusal::NotAdded);
        }
        room.members.insert(client);
        Ok(())
    }
}

impl Registry {
    /// The personal room of a client that is known, or the monitor's.
    fn personal(&self, room: &RoomName) -> Option<ClientId> {
        if room.as_str() == MONITOR_ROOM {
            return ClientId::new(MONITOR).ok();
        }
        self.clients.get_key_value(room.as_str()).map(|(client, _)| client.clone())
    }

    fn is_live(&self, client: &ClientId) -> bool {
        self.clients.get(client).is_some_and(|known| !known.sockets.is_empty())
    }

    fn run(&mut self, question: RunRoomCommand) -> Result<Option<String>, RoomRefusal> {
        let RunRoomCommand { caller, privileged, admin, command } = question;
        let allowed = |allowed: bool| if allowed { Ok(()) } else { Err(RoomRefusal::Unauthorized) };
        match command {
            RoomCommand::Create(name) => {
                allowed(privileged)?;
                let name = name.ok_or(RoomRefusal::InvalidName)?;
                // Also of clients that are not here now (spec §3.3).
                if self.personal(&name).is_some() || self.known.load().entry(name.as_str()).is_some() {
                    return Err(RoomRefusal::Exists);
                }
                self.rooms.create(&caller, name, &self.metrics)?;
                Ok(None)
            }
            RoomCommand::Delete(name) => {
                let name = name.ok_or(RoomRefusal::NotFound)?;
                // Its own personal room nobody can delete (spec §4.5).
                allowed(name.as_str() != caller.as_str())?;
                let Some(room) = self.rooms.rooms.get(&name) else {
                    allowed(admin || self.personal(&name).is_none())?;
                    return Err(RoomRefusal::NotFound);
                };
                allowed(admin || room.creator == caller)?;
                self.rooms.rooms.remove(&name);
                Ok(None)
            }
            RoomCommand::Add { client, room } => {
                allowed(privileged)?;
                let (client, room) = client.zip(room).ok_or(RoomRefusal::NotAdded)?;
                // Who sits in the monitor's room would see what it sees (spec §8.1 8-06).
                let reserved = room.as_str() == MONITOR_ROOM;
                if reserved || !self.clients.contains_key(&client) {
                    return Err(RoomRefusal::NotAdded);
                }
                // The room of an extension's id says who may ask it (spec §5.2).
                if self.personal(&room).is_some() && !self.rooms.rooms.contains_key(&room) {
                    self.rooms.create(&caller, room.clone(), &self.metrics)?;
                }
                self.rooms.add(client, &room, &self.metrics)?;
                Ok(None)
            }
            RoomCommand::Remove { client, room } => {
                let client = client.unwrap_or_else(|| caller.clone());
                allowed(privileged || client == caller)?;
                let room = room.ok_or(RoomRefusal::NotRemoved)?;
                let room = self.rooms.rooms.get_mut(&room).ok_or(RoomRefusal::NotRemoved)?;
                if room.members.remove(&client) { Ok(None) } else { Err(RoomRefusal::NotRemoved) }
            }
            RoomCommand::List => {
                allowed(privileged)?;
                let mut names: BTreeSet<&str> = self.rooms.rooms.keys().map(RoomName::as_str).collect();
                names.extend(self.clients.keys().map(ClientId::as_str));
                Ok(Some(lists::array(names.into_iter().map(quoted))))
            }
            RoomCommand::Members { room, by_name } => {
                let members = room.as_ref().map(|name| self.members_of(name)).unwrap_or_default();
                allowed(privileged || members.contains(&caller))?;
                if by_name {
                    // Dialect 1 shows an unknown room as an empty one.
                    let name = room.ok_or(RoomRefusal::InvalidName)?;
                    let exists = self.rooms.rooms.contains_key(&name) || self.personal(&name).is_some();
                    if !exists {
                        return Err(RoomRefusal::NotFound);
                    }
                }
                let items = members.iter().map(|member| {
                    if by_name {
                        let kind = self.client_type(member).unwrap_or(ByteString::from_static("unknown"));
                        let (id, kind) = (quoted(member.as_str()), quoted(&kind));
                        return format!("{{\"clientId\":{id},\"clientType\":{kind}}}");
                    }
                    lists::id_json(member.as_str(), self.description(member, |_| true).as_deref())
                });
                Ok(Some(lists::array(items)))
            }
            RoomCommand::IsMember { room } => {
                allowed(caller.as_str() == room.as_str() || self.members_of(&room).contains(&caller))?;
                Ok(None)
            }
        }
    }

    fn members_of(&self, name: &RoomName) -> BTreeSet<ClientId> {
        let mut members = self.rooms.rooms.get(name).map(|room| room.members.clone()).unwrap_or_default();
        members.extend(self.personal(name).filter(|client| self.is_live(client)));
        members
    }
}

impl Handler<RunRoomCommand> for Registry {
    type Result = Result<Option<String>, RoomRefusal>;

    fn handle(&mut self, question: RunRoomCommand, _: &mut Self::Context) -> Self::Result {
        self.run(question)
    }
}

//! What concerns all rooms: their list, who is in which, and which extensions they may ask (spec §4.9.2,
//! §4.9.3).

mod assignments;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::ready,
    sync::Arc,
};

use actix::prelude::*;
use framing::Bytes;
use log::{error, warn};

pub use assignments::{Assignments, NotAssigned, Policy};

use crate::{
    history::{Change, HistoryLink, LoadRooms},
    ids::{ClientId, EXTENSION_PREFIX, Identity, RoomName},
    rooms::{
        Caller, ChatRequest, Command, Extensions, ExtensionsOf, InRoom, MONITOR_ROOM, Reply, RoomCommand,
        RoomRefusal, Rooms,
    },
};

/// See the module's documentation.
pub struct Lobby {
    assignments: Assignments,
    /// Every room that is there, and who is in it.
    rooms: BTreeMap<RoomName, BTreeSet<Identity>>,
    /// What rooms were last told, under a policy that gives each its own.
    told: HashMap<RoomName, Vec<ClientId>>,
    supervisors: Option<Rooms>,
    history: HistoryLink,
}

/// The supervisors, once they run.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Supervisors(pub Rooms);

/// A room is there, or it is not any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RoomListed {
    /// Which.
    pub room: RoomName,
    /// What is known of it now.
    pub now: Listed,
}

/// Whether a room is in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// It is, with these members among others.
    Here(Vec<Identity>),
    /// It is not, and comes back with its owner: what was assigned to it stays.
    Away,
    /// It is not, and another room of that name has nothing of it.
    Gone,
}

/// Somebody has joined or left a room.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Membership {
    /// Which.
    pub room: RoomName,
    /// Who.
    pub identity: Identity,
    /// It joined.
    pub joined: bool,
}

/// Which extensions are there now, oldest first.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ExtensionsChanged(pub Vec<ClientId>);

/// Asks for the names of rooms: of all, or of those that somebody is in.
#[derive(Message)]
#[rtype(result = "Vec<RoomName>")]
pub struct ListRooms(pub Option<Identity>);

/// `LLM_REQUEST` in a room. It goes there by way of the lobby, which knows who can answer.
#[derive(Message)]
#[rtype(result = "Result<Reply, RoomRefusal>")]
pub struct RequestInRoom {
    /// Which room.
    pub room: RoomName,
    /// Who asks.
    pub caller: Caller,
    /// It may ask those alone in whose rooms it is (spec §5.2).
    pub from_its_rooms: bool,
    /// The request; none: it is malformed.
    pub request: Option<ChatRequest>,
    /// Its attachments.
    pub attachments: Vec<Bytes>,
}

/// Asks for the extensions of rooms: of all, or of those that somebody is in.
#[derive(Message)]
#[rtype(result = "Vec<(RoomName, Vec<ClientId>)>")]
pub struct ListAssignments(pub Option<Identity>);

/// Asks which extensions are there, oldest first.
#[derive(Message)]
#[rtype(result = "Vec<ClientId>")]
pub struct ListExtensions;

/// Asks for the policy.
#[derive(Message)]
#[rtype(result = "&'static str")]
pub struct GetPolicy;

/// `SET_CONNECTION_POLICY`. Answered once it is kept; false: it could not be.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct SetPolicy(pub Policy);

/// `ASSIGN_EXTENSION_TO_CLIENT`. Answered once it is kept.
#[derive(Message)]
#[rtype(result = "Result<(), String>")]
pub struct Assign {
    /// Which room.
    pub room: RoomName,
    /// Its extensions from now on.
    pub extensions: Vec<ClientId>,
}

const POLICY: &str = "connection_policy";
const MANUAL: &str = "manual_assignments/";

/// Where it is kept what an administrator has assigned to a room.
fn manual_key(room: &RoomName) -> String {
    format!("{MANUAL}{room}")
}

/// Nothing is assigned to a room by hand any more.
pub(crate) fn unassigned(room: &RoomName) -> Change {
    Change::KeyValue { key: manual_key(room), value: None }
}

impl Lobby {
    /// A lobby that knows nobody yet.
    pub fn new(history: HistoryLink) -> Self {
        Self {
            assignments: Assignments::default(),
            rooms: BTreeMap::new(),
            told: HashMap::new(),
            supervisors: None,
            history,
        }
    }

    /// Tells rooms which extensions they have, where that has changed.
    fn announce(&mut self) {
        let Some(supervisors) = &self.supervisors else {
            return;
        };
        if matches!(self.assignments.policy(), Policy::Free | Policy::Broadcast) {
            self.told.clear();
            let extensions: Arc<[ClientId]> = self.assignments.extensions().into();
            for supervisor in supervisors.all() {
                let all = ExtensionsOf { room: None, extensions: extensions.clone() };
                #[expect(clippy::disallowed_methods, reason = "once per change of extensions")]
                supervisor.do_send(all);
            }
            return;
        }
        for room in self.assignments.rooms() {
            let extensions = self.assignments.of(room);
            if self.told.get(room) == Some(&extensions) {
                continue;
            }
            if let Some(supervisor) = supervisors.of(room.as_str()) {
                let (room, extensions) = (Some(room.clone()), extensions.clone().into());
                #[expect(clippy::disallowed_methods, reason = "once per room and change of extensions")]
                supervisor.do_send(ExtensionsOf { room, extensions });
            }
            self.told.insert(room.clone(), extensions);
        }
    }

    /// Which extensions a room may ask, and which somebody may.
    fn extensions_for(&self, room: &RoomName, asker: Option<&Identity>) -> Extensions {
        let connected = self.assignments.extensions().to_vec();
        let may_ask = asker.map(|asker| {
            let rooms = self.rooms.keys().filter(|room| self.is_in(room, Some(asker)));
            rooms.filter_map(|room| ClientId::new(room.as_str()).ok()).collect()
        });
        Extensions { assigned: self.assignments.of(room), connected, may_ask }
    }

    fn is_in(&self, room: &RoomName, who: Option<&Identity>) -> bool {
        who.is_none_or(|who| self.rooms.get(room).is_some_and(|members| members.contains(who)))
    }

    fn unlist(&mut self, room: &RoomName) {
        self.rooms.remove(room);
        self.told.remove(room);
        self.assignments.close(room);
    }

    fn keep(&self, key: String, value: Option<String>) -> impl Future<Output = bool> + 'static {
        let persisted = self.history.persist(vec![Change::KeyValue { key, value }]);
        async move {
            match persisted {
                Ok(persisted) => persisted.await.is_ok(),
                Err(error) => {
                    warn!(error:%; "a policy is not kept");
                    false
                }
            }
        }
    }
}

/// An extension's own room, and the monitor's, ask nobody.
fn asks(room: &RoomName) -> bool {
    !room.as_str().starts_with(EXTENSION_PREFIX) && room.as_str() != MONITOR_ROOM
}

/// A number below `count`, by chance.
fn chance(count: usize) -> usize {
    let mut bytes = [0; 8];
    // Without randomness the first one is as good as any.
    let _ = getrandom::fill(&mut bytes);
    usize::from_le_bytes(bytes) % count.max(1)
}

impl Actor for Lobby {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let kept = self.history.addr.send(LoadRooms).into_actor(self);
        ctx.wait(kept.map(|kept, lobby, _| match kept {
            Ok(Ok(contents)) => {
                let policy = contents.values.get(POLICY).and_then(|text| Policy::parse(text));
                let manual = contents.values.iter().filter_map(|(key, value)| {
                    let room = RoomName::new(key.strip_prefix(MANUAL)?).ok()?;
                    let ids = serde_json::from_str::<Vec<String>>(value).ok()?;
                    Some((room, ids.into_iter().filter_map(|id| ClientId::new(id).ok()).collect()))
                });
                lobby.assignments = Assignments::new(policy.unwrap_or_default(), manual.collect());
            }
            other => error!(answer:? = other.err(); "policies could not be read"),
        }));
    }
}

impl Handler<Supervisors> for Lobby {
    type Result = ();

    fn handle(&mut self, Supervisors(rooms): Supervisors, _: &mut Self::Context) {
        self.supervisors = Some(rooms);
        self.announce();
    }
}

impl Handler<RoomListed> for Lobby {
    type Result = ();

    fn handle(&mut self, RoomListed { room, now }: RoomListed, _: &mut Self::Context) {
        match now {
            Listed::Here(members) => {
                self.rooms.entry(room.clone()).or_default().extend(members);
                if asks(&room) {
                    self.told.remove(&room);
                    self.assignments.open(room, chance);
                }
            }
            Listed::Away => self.unlist(&room),
            Listed::Gone => {
                self.unlist(&room);
                // It went from the history with the room, unless it was assigned after that, or the room was only
                // listed.
                if self.assignments.forget(&room)
                    && let Err(error) = self.history.persist(vec![unassigned(&room)])
                {
                    warn!(room:%, error:%; "what was assigned to a room that is gone is still kept");
                }
            }
        }
        if !matches!(self.assignments.policy(), Policy::Free | Policy::Broadcast) {
            self.announce();
        }
    }
}

impl Handler<Membership> for Lobby {
    type Result = ();

    fn handle(&mut self, Membership { room, identity, joined }: Membership, _: &mut Self::Context) {
        if let Some(members) = self.rooms.get_mut(&room) {
            if joined {
                members.insert(identity);
            } else {
                members.remove(&identity);
            }
        }
    }
}

impl Handler<ExtensionsChanged> for Lobby {
    type Result = ();

    fn handle(&mut self, ExtensionsChanged(extensions): ExtensionsChanged, _: &mut Self::Context) {
        if self.assignments.extensions() != extensions {
            self.assignments.set_extensions(extensions, chance);
            self.announce();
        }
    }
}

impl Handler<ListRooms> for Lobby {
    type Result = MessageResult<ListRooms>;

    fn handle(&mut self, ListRooms(who): ListRooms, _: &mut Self::Context) -> Self::Result {
        let rooms = self.rooms.keys().filter(|room| self.is_in(room, who.as_ref()));
        MessageResult(rooms.cloned().collect())
    }
}

impl Handler<RequestInRoom> for Lobby {
    type Result = ResponseFuture<Result<Reply, RoomRefusal>>;

    fn handle(&mut self, asked: RequestInRoom, _: &mut Self::Context) -> Self::Result {
        let RequestInRoom { room, caller, from_its_rooms, request, attachments } = asked;
        let extensions = self.extensions_for(&room, from_its_rooms.then_some(&caller.identity));
        let Some(supervisor) = self.supervisors.as_ref().and_then(|rooms| rooms.of(room.as_str())) else {
            return Box::pin(ready(Err(RoomRefusal::Busy)));
        };
        let command = RoomCommand::Run(Command::Request { request, attachments, extensions });
        // Sent now: whoever asks may be gone before its session hears of anything.
        let answer = supervisor.send(InRoom { room, caller, command });
        Box::pin(async move { answer.await.unwrap_or(Err(RoomRefusal::Busy)) })
    }
}

impl Handler<ListAssignments> for Lobby {
    type Result = MessageResult<ListAssignments>;

    fn handle(&mut self, ListAssignments(who): ListAssignments, _: &mut Self::Context) -> Self::Result {
        let rooms = self.assignments.rooms().filter(|room| self.is_in(room, who.as_ref()));
        MessageResult(rooms.map(|room| (room.clone(), self.assignments.of(room))).collect())
    }
}

impl Handler<ListExtensions> for Lobby {
    type Result = MessageResult<ListExtensions>;

    fn handle(&mut self, _: ListExtensions, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.assignments.extensions().to_vec())
    }
}

impl Handler<GetPolicy> for Lobby {
    type Result = MessageResult<GetPolicy>;

    fn handle(&mut self, _: GetPolicy, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.assignments.policy().wire())
    }
}

impl Handler<SetPolicy> for Lobby {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, SetPolicy(policy): SetPolicy, _: &mut Self::Context) -> Self::Result {
        self.assignments.set_policy(policy, chance);
        self.told.clear();
        self.announce();
        Box::pin(self.keep(POLICY.to_owned(), Some(policy.wire().to_owned())))
    }
}

impl Handler<Assign> for Lobby {
    type Result = ResponseFuture<Result<(), String>>;

    fn handle(&mut self, Assign { room, extensions }: Assign, _: &mut Self::Context) -> Self::Result {
        if let Err(refusal) = self.assignments.assign(&room, extensions.clone()) {
            return Box::pin(std::future::ready(Err(refusal.to_string())));
        }
        self.announce();
        let ids: Vec<&str> = extensions.iter().map(ClientId::as_str).collect();
        let kept = self.keep(manual_key(&room), serde_json::to_string(&ids).ok());
        Box::pin(async move {
            if kept.await { Ok(()) } else { Err("Server is busy, try again later.".to_owned()) }
        })
    }
}

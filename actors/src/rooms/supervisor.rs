//! Owns the rooms whose names fall to it, and starts again what stops.

use std::{
    collections::HashSet,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use actix::prelude::*;
use log::{error, info, warn};

use super::{
    Absent, Caller, Command, Members, Present, Reply, RoomHead, RoomRefusal, RoomState, Timestamp,
    attendance::{Attendance, Available},
    presence::{Line, Presence},
    room::{Begins, HasBegun, Room, Run},
    shared::Shared,
    supervisors::place_of,
};
use crate::{
    history::{Change, LoadRooms, StoredRoom},
    ids::{ClientId, Identity, MONITOR, RoomName},
    lobby::{Listed, RoomListed, unassigned},
    maps::FastMap,
    protocol::{Namespace, RequestMode, Role},
};

/// See the module's documentation.
pub struct RoomSupervisor {
    place: usize,
    count: usize,
    shared: Arc<Shared>,
    presence: Rc<Presence>,
    rooms: FastMap<RoomName, Seat>,
    /// The rooms that each member is in.
    rooms_of: FastMap<Identity, HashSet<RoomName>>,
    /// Clients' own rooms, whose owners are not here.
    asleep: FastMap<RoomName, RoomState>,
    /// What all rooms were last told, where the policy gives all of them the same.
    available: Arc<[ClientId]>,
    /// What was kept has been read: there is no room that is neither here nor asleep.
    read: bool,
}

/// A room's place.
struct Seat {
    room: Addr<Room>,
    /// Rooms that users make are counted.
    made: bool,
}

/// Asks a room for something.
#[derive(Message)]
#[rtype(result = "Result<Reply, RoomRefusal>")]
pub struct InRoom {
    /// Which.
    pub room: RoomName,
    /// Who asks.
    pub caller: Caller,
    /// For what.
    pub command: RoomCommand,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub enum RoomCommand {
    /// 13 / `CREATE_ROOM`
    Create {
        /// The caller becomes its master, as dialect 2 has it.
        master: bool,
    },
    /// Of a room that is there.
    Run(Command),
}

/// A room has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RoomStopped {
    pub(super) room: RoomName,
    pub(super) how: Stop,
}

/// How a room has ended.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    /// It was not meant to: it is started again.
    Unasked,
    /// It is gone.
    Deleted,
    /// It could not be kept, so that there has been none.
    NotMade,
    /// Its owner is gone; what was written there waits for it.
    Asleep(Box<RoomState>),
}

/// Somebody is in a room, or is not any more. From a room to its own supervisor.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Seated {
    pub(super) room: RoomName,
    pub(super) identity: Identity,
    pub(super) joined: bool,
}

/// The extensions of rooms have changed (spec §4.9.3). From the lobby.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct ExtensionsOf {
    /// Which room; none: all of them.
    pub room: Option<RoomName>,
    /// Its extensions.
    pub extensions: Arc<[ClientId]>,
}

impl RoomSupervisor {
    pub(super) fn new(place: usize, count: usize, shared: Arc<Shared>) -> Self {
        Self {
            place,
            count,
            shared,
            presence: Rc::default(),
            rooms: FastMap::default(),
            rooms_of: FastMap::default(),
            asleep: FastMap::default(),
            available: Arc::default(),
            read: false,
        }
    }

    fn is_mine(&self, room: &str) -> bool {
        place_of(room, self.count) == self.place
    }

    /// Starts a room with what was kept of it. Its mailbox waits until its messages are there.
    fn seat(&mut self, stored: StoredRoom, ctx: &mut Context<Self>) {
        let state = RoomState::stored(stored, self.shared.limits.room);
        let name = state.name();
        for identity in state.members().identities() {
            self.rooms_of.entry(identity.clone()).or_default().insert(name.clone());
        }
        if state.head().owner.is_some() && state.members().is_empty() {
            self.asleep.insert(name.clone(), state);
        } else {
            self.start(state, Begins::Kept, ctx);
        }
    }

    fn start(&mut self, state: RoomState, begins: Begins, ctx: &mut Context<Self>) {
        let name = state.name().clone();
        let made = state.head().owner.is_none();
        let members: Vec<Identity> = state.members().identities().cloned().collect();
        let (presence, shared) = (self.presence.clone(), self.shared.clone());
        let supervisor = ctx.address().downgrade();
        let capacity = self.shared.limits.mailbox;
        let room = Room::create(move |ctx| {
            ctx.set_mailbox_capacity(capacity);
            Room::new(state, begins, presence, shared, supervisor)
        });
        self.list(name.clone(), Listed::Here(members));
        if !self.available.is_empty() {
            #[expect(clippy::disallowed_methods, reason = "once per room and life")]
            room.do_send(Available(self.available.clone()));
        }
        self.rooms.insert(name, Seat { room, made });
        self.shared.made.fetch_add(usize::from(made), Relaxed);
        self.shared.metrics.rooms.inc();
    }

    fn list(&self, room: RoomName, now: Listed) {
        #[expect(clippy::disallowed_methods, reason = "once per room and life")]
        self.shared.lobby.do_send(RoomListed { room, now });
    }

    /// It is not reached any more. Whether it was one that a user had made.
    fn unseat(&mut self, name: &RoomName) -> bool {
        let Some(Seat { made, .. }) = self.rooms.remove(name) else { return false };
        self.shared.made.fetch_sub(usize::from(made), Relaxed);
        self.shared.metrics.rooms.dec();
        made
    }

    /// A new room, which begins once it is kept; until then its name is taken.
    fn create(
        &mut self,
        name: RoomName,
        owner: Option<Identity>,
        creator: Option<ClientId>,
        master: Option<Identity>,
        ctx: &mut Context<Self>,
    ) -> Result<(), RoomRefusal> {
        let now = Timestamp::now();
        let mode = RequestMode::parse(&self.shared.settings.load().default_room_message_request_mode)
            .unwrap_or_default();
        let created = Change::RoomCreated {
            name: name.clone(),
            created_at_ms: now.0,
            mode,
            personal: owner.is_some(),
            creator: creator.as_ref().map(ToString::to_string),
        };
        let mut members = Members::default();
        let mut changes = Vec::new();
        if self.read {
            // One that is gone, and could not be deleted, is not in its way, and leaves it nothing.
            changes.push(Change::RoomDeleted { name: name.clone() });
        }
        if creator.is_some() {
            self.list(name.clone(), Listed::Gone);
            changes.push(unassigned(&name));
        }
        changes.push(created);
        if let Some(identity) = master {
            members.set(&identity, Role::Master);
            self.rooms_of.entry(identity.clone()).or_default().insert(name.clone());
            changes.push(Change::MemberSet { room: name.clone(), identity, role: Role::Master });
        }
        let persisted = self.shared.history.persist(changes).map_err(|_| RoomRefusal::Busy)?;
        let head = RoomHead { name, owner, creator, mode, created_at: now };
        let state = RoomState::new(head, members, Vec::new(), self.shared.limits.room);
        self.start(state, Begins::New(persisted), ctx);
        Ok(())
    }

    /// 13 / `CREATE_ROOM`
    fn create_by(
        &mut self,
        name: RoomName,
        caller: Caller,
        master: bool,
        ctx: &mut Context<Self>,
    ) -> Result<(), RoomRefusal> {
        if !caller.privileged {
            return Err(RoomRefusal::Unauthorized);
        }
        // Also of clients that are not here now (spec §3.3).
        let taken = self.rooms.contains_key(&name)
            || self.owner_of(&name).is_some()
            || self.asleep.contains_key(&name)
            || name.as_str() == super::MONITOR_ROOM
            || self.shared.known.load().entry(name.as_str()).is_some();
        if taken {
            return Err(RoomRefusal::Exists);
        }
        if self.shared.made.load(Relaxed) >= self.shared.limits.rooms {
            self.shared.metrics.limit_reached("limits.rooms");
            return Err(RoomRefusal::TooMany);
        }
        self.create(name, None, Some(caller.client), master.then_some(caller.identity), ctx)
    }

    /// Starts the room of somebody who is there, and has it for its own. Most are never asked for anything:
    /// such a room is listed, and nothing more, until somebody does.
    fn own_room(&mut self, name: &str, owner: &Identity, ctx: &mut Context<Self>) {
        let Some(name) = RoomName::new(name).ok().filter(|name| self.is_mine(name.as_str())) else {
            return;
        };
        if self.rooms.contains_key(&name) {
            return;
        }
        match self.asleep.remove(&name) {
            Some(state) => self.start(state, Begins::Kept, ctx),
            None => {
                let personal = (name.as_str() == owner.as_str()).then(|| owner.clone());
                if let Err(error) = self.create(name.clone(), personal, None, None, ctx) {
                    warn!(room:% = name, error:%; "no personal room");
                }
            }
        }
        self.tell(&name, Attendance::Owner(owner.clone()));
    }

    /// Somebody who is in `/rooms` is told which extensions its room may ask.
    fn shows_own(&mut self, owner: &Identity, ctx: &mut Context<Self>) {
        if let Ok(own) = RoomName::new(owner.as_str()) {
            self.own_room(own.as_str(), owner, ctx);
            self.tell(&own, Attendance::Looks(owner.clone()));
        }
    }

    /// Whose own room that would be, of those who are there.
    fn owner_of(&self, room: &RoomName) -> Option<Identity> {
        let owner = Identity::new(room.as_str()).ok()?;
        self.presence.knows(owner.as_str()).then_some(owner)
    }

    /// A new socket of somebody: it is sent what was written in the rooms that it is in.
    fn back(&self, identity: &Identity, line: &Line) {
        let own = RoomName::new(identity.as_str()).ok();
        let own = own.filter(|own| self.rooms.contains_key(own) || self.asleep.contains_key(own));
        let rooms = self.rooms_of.get(identity);
        let others = rooms.into_iter().flatten().filter(|room| own.as_ref() != Some(*room));
        for room in own.iter().chain(others) {
            line.joins(room);
        }
    }

    /// Tells a room something that it must know.
    fn tell(&self, room: &RoomName, attendance: Attendance) {
        if let Some(seat) = self.rooms.get(room) {
            #[expect(clippy::disallowed_methods, reason = "once per change of presence")]
            seat.room.do_send(attendance);
        }
    }

    /// Reads what was kept of all rooms, or of one. Nothing else is done meanwhile.
    fn load(&mut self, only: Option<RoomName>, ctx: &mut Context<Self>) {
        let question = self.shared.history.addr.send(LoadRooms).into_actor(self);
        ctx.wait(question.map(move |answer, supervisor, ctx| match answer {
            Ok(Ok(contents)) => {
                supervisor.read |= only.is_none();
                if only.is_none() && supervisor.place == 0 {
                    for (identity, mute) in &contents.mutes {
                        // As many as may be: the others are not muted any more.
                        let _ = supervisor.shared.mutes.mute(
                            identity,
                            mute.until_ms.map(Timestamp),
                            Timestamp(0),
                        );
                    }
                }
                for stored in contents.rooms {
                    let wanted = only.as_ref().is_none_or(|only| *only == stored.name);
                    if wanted && supervisor.is_mine(stored.name.as_str()) {
                        supervisor.seat(stored, ctx);
                    }
                }
            }
            other => {
                supervisor.read = false;
                error!(answer:? = other.err(); "rooms could not be read");
            }
        }));
    }
}

/// The sockets that somebody has in `/rooms`.
fn in_rooms(present: &Present) -> usize {
    present.lines.iter().filter(|line| line.ns == Namespace::Rooms).count()
}

impl Actor for RoomSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.load(None, ctx);
    }
}

impl Handler<InRoom> for RoomSupervisor {
    type Result = ResponseFuture<Result<Reply, RoomRefusal>>;

    fn handle(&mut self, InRoom { room, caller, command }: InRoom, ctx: &mut Self::Context) -> Self::Result {
        match command {
            RoomCommand::Create { master } => {
                let made = self.create_by(room.clone(), caller, master, ctx);
                let begun = self.rooms.get(&room).map(|seat| seat.room.send(HasBegun));
                Box::pin(async move {
                    made?;
                    begun.ok_or(RoomRefusal::Busy)?.await.map_err(|_| RoomRefusal::Busy)?;
                    Ok(Reply::Done)
                })
            }
            RoomCommand::Run(command) => {
                if let Some(owner) = self.owner_of(&room) {
                    self.own_room(room.as_str(), &owner, ctx);
                }
                match self.rooms.get(&room) {
                    // Sent now, so that a room is asked in the order in which its supervisor was.
                    Some(seat) => {
                        let answer = seat.room.send(Run { caller, command });
                        Box::pin(async move { answer.await.unwrap_or(Err(RoomRefusal::Busy)) })
                    }
                    None => Box::pin(std::future::ready(Err(command.without_room(&room, &caller)))),
                }
            }
        }
    }
}

impl Handler<Present> for RoomSupervisor {
    type Result = ();

    fn handle(&mut self, present: Present, ctx: &mut Self::Context) {
        let (identity, client) = (present.identity.clone(), present.client.clone());
        let (is_new, away) = (!self.presence.knows(identity.as_str()), present.sockets == 0);
        let before = self.presence.with(identity.as_str(), in_rooms).unwrap_or_default();
        let looks = in_rooms(&present) > before;
        let known = self.presence.with(identity.as_str(), |known| known.lines.clone()).unwrap_or_default();
        let lines = present.lines.clone();
        self.presence.set(present);
        for line in lines.iter().filter(|line| known.iter().all(|known| known.key != line.key)) {
            self.back(&identity, line);
        }
        if is_new && client.as_str() == MONITOR {
            self.own_room(super::MONITOR_ROOM, &identity, ctx);
        }
        if is_new && let Ok(own) = RoomName::new(identity.as_str()) {
            // One that others are in has been there all the time.
            self.tell(&own, Attendance::Owner(identity.clone()));
            if self.is_mine(own.as_str()) && !self.rooms.contains_key(&own) {
                // Behind the word that who had that name before is gone.
                self.list(own, Listed::Here(vec![identity.clone()]));
            }
        }
        if looks {
            self.shows_own(&identity, ctx);
        }
        if away && client.is_extension() {
            // It may be at work anywhere.
            for room in self.rooms.keys() {
                self.tell(room, Attendance::Away(identity.clone()));
            }
        } else if away {
            for room in self.rooms_of.get(&identity).into_iter().flatten() {
                self.tell(room, Attendance::Away(identity.clone()));
            }
        }
    }
}

impl Handler<Absent> for RoomSupervisor {
    type Result = ();

    fn handle(&mut self, Absent(identity): Absent, _: &mut Self::Context) {
        let instance =
            self.presence.with(identity.as_str(), |known| known.client.as_str() != identity.as_str());
        let instance = instance == Some(true);
        for room in self.rooms_of.remove(&identity).into_iter().flatten() {
            self.tell(&room, Attendance::Gone { identity: identity.clone(), instance });
        }
        self.presence.forget(&identity);
        if let Ok(own) = RoomName::new(identity.as_str())
            && self.is_mine(own.as_str())
            && !self.rooms.contains_key(&own)
        {
            // It was listed, and nobody has asked for it; another one goes from the list when it stops.
            let now = if instance && !self.asleep.contains_key(&own) { Listed::Gone } else { Listed::Away };
            self.list(own, now);
        }
    }
}

impl Handler<Seated> for RoomSupervisor {
    type Result = ();

    fn handle(&mut self, Seated { room, identity, joined }: Seated, _: &mut Self::Context) {
        if joined && !self.presence.knows(identity.as_str()) {
            // It has gone for good while it was being added.
            self.tell(&room, Attendance::Gone { identity, instance: false });
        } else if joined {
            self.rooms_of.entry(identity).or_default().insert(room);
        } else if let Some(rooms) = self.rooms_of.get_mut(&identity) {
            rooms.remove(&room);
            if rooms.is_empty() {
                self.rooms_of.remove(&identity);
            }
        }
    }
}

impl Handler<RoomStopped> for RoomSupervisor {
    type Result = ();

    fn handle(&mut self, RoomStopped { room, how }: RoomStopped, ctx: &mut Self::Context) {
        let made = self.unseat(&room);
        let now = match how {
            Stop::Unasked => {
                warn!(room:%; "a room has stopped, and is started again");
                self.shared.metrics.rooms_restarted.inc();
                return self.load(Some(room), ctx);
            }
            Stop::Asleep(state) => {
                self.asleep.insert(room.clone(), *state);
                Listed::Away
            }
            Stop::Deleted => {
                info!(room:%; "room deleted");
                Listed::Gone
            }
            Stop::NotMade => {
                warn!(room:%; "a room could not be kept, and is none");
                if self.owner_of(&room).is_some() {
                    // It is listed as long as its owner is there, and made when somebody asks for it.
                    return;
                }
                if made { Listed::Gone } else { Listed::Away }
            }
        };
        self.rooms_of.values_mut().for_each(|rooms| _ = rooms.remove(&room));
        self.list(room.clone(), now);
        if let Some(owner) = self.owner_of(&room) {
            // It has come back while the room ended, or has the name of one that somebody else had made.
            self.list(room, Listed::Here(vec![owner.clone()]));
            if self.presence.with(owner.as_str(), in_rooms) > Some(0) {
                self.shows_own(&owner, ctx);
            }
        }
    }
}

impl Handler<ExtensionsOf> for RoomSupervisor {
    type Result = ();

    fn handle(&mut self, ExtensionsOf { room, extensions }: ExtensionsOf, _: &mut Self::Context) {
        let all = room.is_none();
        let seats = self.rooms.iter().filter(|(name, _)| room.as_ref().is_none_or(|room| room == *name));
        for (_, seat) in seats {
            #[expect(clippy::disallowed_methods, reason = "once per room and change of extensions")]
            seat.room.do_send(Available(extensions.clone()));
        }
        if all {
            self.available = extensions;
        }
    }
}

//! One room: its members, its mode, its messages, and what is asked in it. Pure state; what a
//! decision leads to is a value ([`Effects`]).

use framing::{
    ByteString,
    json::{RawJson, quoted},
};

use super::{
    Effects, Message, MessageLog, RoomRefusal, Timestamp,
    chat::{InFlight, Queued},
    effects::{Audience, Place},
    members::{Members, RoleChange},
};
use crate::{
    history::{Change, Retention, StoredMessage, StoredRoom},
    ids::{ClientId, Identity, RoomName},
    maps::FastMap,
    protocol::{MsgType, RequestMode, Role},
};

/// Messages were checked when they came; they are nested no deeper than this.
const MAX_DEPTH: usize = 1024;

/// Who asks a room for something, with the rights of its settings file.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The authenticated client.
    pub client: ClientId,
    /// Its instance.
    pub identity: Identity,
    /// May administer rooms: an administrator, or, where dialect 1 asks, an extension.
    pub privileged: bool,
    /// Administrator's rights.
    pub admin: bool,
}

/// Bounds of one room (spec appendix A).
#[derive(Clone, Copy, Debug)]
pub struct RoomLimits {
    /// `limits.members_per_room`.
    pub members: usize,
    /// `rooms.max_queued`: guests' requests that wait for a host.
    pub queued: usize,
    /// `rooms.max_open_requests`.
    pub open_requests: usize,
    /// Half of `limits.outbox_bytes`: of its messages, so much goes with a request, that and the request together.
    pub context: usize,
    /// What is kept of its messages: `history.messages_per_room`, `history.bytes_per_room`.
    pub log: Retention,
}

/// What a room is, besides its members and messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomHead {
    /// Its name.
    pub name: RoomName,
    /// The client whose own room it is: it cannot leave or delete it while it is connected.
    pub owner: Option<Identity>,
    /// Who made it: in dialect 1 it may delete it.
    pub creator: Option<ClientId>,
    /// What becomes of a request.
    pub mode: RequestMode,
    /// When it was made.
    pub created_at: Timestamp,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct RoomState {
    head: RoomHead,
    members: Members,
    pub(super) log: MessageLog,
    pub(super) queue: Vec<Queued>,
    pub(super) flight: FastMap<ByteString, InFlight>,
    pub(super) limits: RoomLimits,
}

impl RoomState {
    /// A room as it was kept.
    pub fn new(head: RoomHead, members: Members, messages: Vec<Message>, limits: RoomLimits) -> Self {
        let log = MessageLog::new(limits.log, messages, 0);
        Self { head, members, log, queue: Vec::new(), flight: FastMap::default(), limits }
    }

    /// A room as it was kept, without its messages.
    pub fn stored(stored: StoredRoom, limits: RoomLimits) -> Self {
        let StoredRoom { name, created_at_ms, mode, personal, creator, members, last_seq } = stored;
        let owner = personal.then(|| Identity::new(name.as_str()).ok()).flatten();
        let creator = creator.and_then(|id| ClientId::new(id).ok());
        let head = RoomHead { name, owner, creator, mode, created_at: Timestamp(created_at_ms) };
        let mut seated = Members::default();
        for (identity, role) in &members {
            seated.set(identity, *role);
        }
        let mut room = Self::new(head, seated, Vec::new(), limits);
        room.log = MessageLog::new(limits.log, Vec::new(), last_seq);
        room
    }

    /// The room without what it holds in memory only, and without its messages, which are kept.
    pub fn forgetful(&self) -> Self {
        let (head, limits) = (self.head.clone(), self.limits);
        let mut room = Self::new(head, self.members.clone(), Vec::new(), limits);
        room.log = MessageLog::new(limits.log, Vec::new(), self.log.next_seq() - 1);
        room
    }

    /// Its messages as they were kept.
    pub fn remember(&mut self, kept: Vec<StoredMessage>) {
        let message = |StoredMessage { seq, id, kind, json }| {
            let json = RawJson::parse(json, MAX_DEPTH).unwrap_or(RawJson::from_static("{}"));
            Message::kept(seq, id.into(), kind, json)
        };
        // The last ones may have been removed: their places are taken all the same.
        let last_seq = self.log.next_seq() - 1;
        self.log = MessageLog::new(self.limits.log, kept.into_iter().map(message).collect(), last_seq);
    }

    /// It is what is kept of it, besides what is kept of nobody: requests that wait or are answered.
    pub fn reread(&mut self, stored: StoredRoom, kept: Vec<StoredMessage>) {
        let mut room = Self::stored(stored, self.limits);
        room.remember(kept);
        // Places rise, also beyond those of messages that are not kept.
        room.log.rise(self.log.next_seq() - 1);
        (self.head, self.members, self.log) = (room.head, room.members, room.log);
        self.queue.retain(|queued| self.members.role(queued.from.as_str()).is_some());
    }

    /// Its name.
    pub fn name(&self) -> &RoomName {
        &self.head.name
    }

    /// What it is.
    pub fn head(&self) -> &RoomHead {
        &self.head
    }

    /// Who is in it.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Its messages.
    pub fn messages(&self) -> &MessageLog {
        &self.log
    }

    /// Whether the caller has the rights of a host here.
    pub(super) fn is_host(&self, caller: &Caller) -> bool {
        caller.admin || self.members.role(caller.identity.as_str()).is_some_and(|role| role != Role::Guest)
    }

    fn is_owner(&self, identity: &Identity) -> bool {
        self.head.owner.as_ref() == Some(identity)
    }

    // --- members -------------------------------------------------------------------------------

    /// 15 / `ADD_CLIENT_TO_ROOM`. Without a role a newcomer is a guest, and a member stays what it is.
    ///
    /// # Errors
    /// The caller may not, or the room is full, or would be left by its master.
    pub fn add(
        &mut self,
        caller: &Caller,
        identity: &Identity,
        role: Option<Role>,
        now: Timestamp,
    ) -> Result<Effects, RoomRefusal> {
        if !caller.privileged {
            return Err(RoomRefusal::Unauthorized);
        }
        let before = self.members.role(identity.as_str());
        if before.is_none() && self.members.len() >= self.limits.members {
            return Err(RoomRefusal::NotAdded);
        }
        let role = role.or(before).unwrap_or(Role::Guest);
        // As in `set_role`: a master stays until there is another.
        if before == Some(Role::Master) && role != Role::Master {
            return Err(RoomRefusal::NotAdded);
        }
        let mut effects = Effects::default();
        match before {
            Some(before) if before == role => (),
            Some(_) => self.give_role(identity, role, &mut effects),
            None => self.join(identity, role, now, &mut effects),
        }
        Ok(effects)
    }

    /// Somebody joins.
    pub fn join(&mut self, identity: &Identity, role: Role, now: Timestamp, effects: &mut Effects) {
        let demoted = self.members.set(identity, role);
        effects.changes.push(self.member_change(identity, role));
        self.note(&format!("{identity} joined the room."), now, effects);
        effects.membership(MsgType::MemberJoined, self.head.name.as_str(), identity, Some(role));
        effects.role_changed(self, identity, role);
        self.also_changed(demoted, effects);
    }

    /// The owner of a personal room takes its seat, which is no news to anybody.
    pub fn own(&mut self, owner: &Identity) -> Effects {
        let mut effects = Effects::default();
        let demoted = self.members.set(owner, Role::Master);
        effects.changes.push(self.member_change(owner, Role::Master));
        self.also_changed(demoted, &mut effects);
        effects
    }

    fn give_role(&mut self, identity: &Identity, role: Role, effects: &mut Effects) {
        let demoted = self.members.set(identity, role);
        effects.changes.push(self.member_change(identity, role));
        effects.role_changed(self, identity, role);
        self.also_changed(demoted, effects);
    }

    fn also_changed(&self, other: Option<RoleChange>, effects: &mut Effects) {
        if let Some(RoleChange { identity, role }) = other {
            effects.changes.push(self.member_change(&identity, role));
            effects.role_changed(self, &identity, role);
        }
    }

    fn member_change(&self, identity: &Identity, role: Role) -> Change {
        Change::MemberSet { room: self.head.name.clone(), identity: identity.clone(), role }
    }

    /// 16 / `REMOVE_CLIENT_FROM_ROOM`.
    ///
    /// # Errors
    /// The caller may not, or there is no such member, or it is its own personal room.
    pub fn remove(
        &mut self,
        caller: &Caller,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Effects, RoomRefusal> {
        if !(caller.privileged || caller.identity == *identity) {
            return Err(RoomRefusal::Unauthorized);
        }
        if self.is_owner(identity) {
            return Err(RoomRefusal::InvalidOperation);
        }
        self.leave(identity, now).ok_or(RoomRefusal::NotRemoved)
    }

    /// Somebody leaves, or is gone for good. None: it was no member.
    pub fn leave(&mut self, identity: &Identity, now: Timestamp) -> Option<Effects> {
        let mut effects = Effects::default();
        let heir = self.members.remove(identity.as_str())?;
        let (room, gone) = (self.head.name.clone(), identity.clone());
        effects.changes.push(Change::MemberRemoved { room, identity: gone });
        self.queue.retain(|queued| queued.from != *identity);
        if !self.is_owner(identity) {
            self.note(&format!("{identity} left the room."), now, &mut effects);
            effects.membership(MsgType::MemberLeft, self.head.name.as_str(), identity, None);
        }
        self.also_changed(heir, &mut effects);
        Some(effects)
    }

    /// `KICK_MEMBER`: administrators, and hosts of a higher rank.
    ///
    /// # Errors
    /// The caller may not, or there is no such member.
    pub fn kick(
        &mut self,
        caller: &Caller,
        target: &Identity,
        now: Timestamp,
    ) -> Result<Effects, RoomRefusal> {
        let role = self.members.role(target.as_str()).ok_or(RoomRefusal::NotKicked)?;
        let mine = self.members.role(caller.identity.as_str());
        let may = caller.admin || mine.is_some_and(|mine| mine > role);
        if !may || self.is_owner(target) {
            return Err(RoomRefusal::NotKicked);
        }
        let mut effects = self.leave(target, now).ok_or(RoomRefusal::NotKicked)?;
        effects.warning(target, &format!("You have been kicked from room {}.", self.head.name));
        Ok(effects)
    }

    /// `SET_MEMBER_ROLE`: administrators, and the master.
    ///
    /// # Errors
    /// The caller may not, or there is no such member.
    pub fn set_role(
        &mut self,
        caller: &Caller,
        target: &Identity,
        role: Role,
    ) -> Result<Effects, RoomRefusal> {
        let mine = self.members.role(caller.identity.as_str());
        let before = self.members.role(target.as_str()).ok_or(RoomRefusal::RoleNotSet)?;
        // There is always a master: one is made by making another.
        let may = caller.admin || mine == Some(Role::Master);
        if !may || (before == Role::Master && role != Role::Master) {
            return Err(RoomRefusal::RoleNotSet);
        }
        let mut effects = Effects::default();
        if before != role {
            self.give_role(target, role, &mut effects);
        }
        Ok(effects)
    }

    /// `SET_ROOM_MESSAGE_REQUEST_MODE`: hosts.
    ///
    /// # Errors
    /// The caller may not.
    pub fn set_mode(&mut self, caller: &Caller, mode: RequestMode) -> Result<Effects, RoomRefusal> {
        if !self.is_host(caller) {
            return Err(RoomRefusal::ModeDenied);
        }
        let mut effects = Effects::default();
        if mode != RequestMode::HostSubmit {
            self.queue.clear();
        }
        self.head.mode = mode;
        effects.changes.push(Change::ModeSet { room: self.head.name.clone(), mode });
        let payload = format!(
            "{{\"roomName\":{},\"mode\":{},\"setter\":{}}}",
            quoted(self.head.name.as_str()),
            quoted(mode.wire()),
            quoted(caller.identity.as_str())
        );
        effects.push(Audience::Members, Place::Rooms, MsgType::RoomModeChanged, payload);
        Ok(effects)
    }

    /// 14 / `DELETE_ROOM`: administrators, in dialect 1 also its creator; nobody deletes the personal room
    /// of a client that is connected.
    ///
    /// # Errors
    /// The caller may not.
    pub fn delete(&mut self, caller: &Caller) -> Result<Effects, RoomRefusal> {
        let creator = self.head.creator.as_ref() == Some(&caller.client);
        if !(caller.admin || creator) || self.head.owner.is_some() {
            return Err(RoomRefusal::Unauthorized);
        }
        let mut effects = Effects::default();
        effects.changes.push(Change::RoomDeleted { name: self.head.name.clone() });
        self.tell_of_deletion(self.members.identities().cloned().collect(), &mut effects);
        Ok(effects)
    }

    /// Its former members learn that there is no such room any more.
    pub(super) fn tell_of_deletion(&self, members: Vec<Identity>, effects: &mut Effects) {
        let name = self.head.name.as_str();
        let payload = format!(
            "{{\"roomName\":{},\"message\":{}}}",
            quoted(name),
            quoted(&format!("Room {name} has been deleted."))
        );
        effects.push(Audience::Only(members), Place::Rooms, MsgType::DeleteRoom, payload);
    }

    // --- messages ------------------------------------------------------------------------------

    /// A notice of the room itself.
    pub(super) fn note(&mut self, text: &str, now: Timestamp, effects: &mut Effects) {
        let message = Message::system(self.log.next_seq(), text, now);
        self.record(message, effects);
    }

    /// Adds a message and announces it.
    pub(super) fn record(&mut self, message: Message, effects: &mut Effects) {
        let room = self.head.name.clone();
        effects.new_message(room.as_str(), &message);
        effects.changes.push(Change::MessageAdded {
            room: room.clone(),
            seq: message.seq,
            id: message.id.to_string(),
            kind: message.kind,
            json: message.json.text(),
        });
        if let Some(through_seq) = self.log.push(message) {
            effects.changes.push(Change::MessagesTrimmed { room, through_seq });
        }
    }
}

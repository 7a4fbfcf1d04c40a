//! What a room's decision leads to: what is kept, and who is told. Decisions are values, so that the
//! rules can be tested without actors.

use framing::json::quoted;

use super::{Message, RoomState, Timestamp};
use crate::{
    history::Change,
    ids::Identity,
    protocol::{MsgType, Role},
};

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody in the room.
    Members,
    /// Everybody in the room, and the extensions that are assigned to it.
    MembersAndExtensions,
    /// Its master and managers.
    Hosts,
    /// Those, members or not.
    Only(Vec<Identity>),
}

/// In which namespaces (spec §4.9.2, §4.9.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `/rooms`
    Rooms,
    /// `/llm`
    Llm,
    /// Both: where it is listened to depends on the client.
    Both,
}

/// An event for some of a room's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Who.
    pub to: Audience,
    /// Where.
    pub place: Place,
    /// What.
    pub event: MsgType,
    /// Its payload, as JSON text.
    pub payload: String,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// What is kept, in order.
    pub changes: Vec<Change>,
    /// Who is told, in order.
    pub pushes: Vec<Push>,
}

impl Effects {
    /// What comes after this.
    pub fn join(&mut self, other: Self) {
        self.changes.extend(other.changes);
        self.pushes.extend(other.pushes);
    }

    pub(super) fn push(&mut self, to: Audience, place: Place, event: MsgType, payload: String) {
        self.pushes.push(Push { to, place, event, payload });
    }

    /// A member joined or left: master and managers learn it (spec §4.9.2).
    pub(super) fn membership(&mut self, event: MsgType, room: &str, who: &Identity, role: Option<Role>) {
        let id = quoted(who.as_str());
        let role = role.map(|role| format!(",\"role\":{}", quoted(role.wire()))).unwrap_or_default();
        let payload = format!("{{\"clientId\":{id},\"identity\":{id},\"roomName\":{}{role}}}", quoted(room));
        self.push(Audience::Hosts, Place::Rooms, event, payload);
    }

    /// A member has another role: it, and master and managers, learn it. The reference uses two halves
    /// of this payload; this is the union.
    pub(super) fn role_changed(&mut self, room: &RoomState, who: &Identity, role: Role) {
        let (id, role) = (quoted(who.as_str()), quoted(role.wire()));
        let payload = format!(
            "{{\"clientId\":{id},\"identity\":{id},\"roomName\":{},\"role\":{role},\"targetIdentity\":{id},\
             \"newRole\":{role}}}",
            quoted(room.name().as_str())
        );
        let hosts = room.members().hosts().filter(|host| *host != who).cloned();
        let to = Audience::Only(std::iter::once(who.clone()).chain(hosts).collect());
        self.push(to, Place::Rooms, MsgType::MemberRoleChanged, payload);
    }

    /// `NEW_MESSAGE` (spec §4.9.4).
    pub(super) fn new_message(&mut self, room: &str, message: &Message) {
        let payload = format!("{{\"roomName\":{},\"message\":{}}}", quoted(room), message.json.as_str());
        self.push(Audience::MembersAndExtensions, Place::Llm, MsgType::NewMessage, payload);
    }

    /// `WARNING` to one client.
    pub(super) fn warning(&mut self, to: &Identity, text: &str) {
        let payload = format!("{{\"message\":{}}}", quoted(text));
        self.push(Audience::Only(vec![to.clone()]), Place::Rooms, MsgType::Warning, payload);
    }

    /// `MEMBER_STATUS_UPDATE` to the whole room.
    pub(super) fn status(&mut self, room: &str, who: &str, status: &str, at: Timestamp) {
        let payload = format!(
            "{{\"identity\":{},\"roomName\":{},\"status\":{},\"timestamp\":{}}}",
            quoted(who),
            quoted(room),
            quoted(status),
            quoted(&at.to_string())
        );
        self.push(Audience::MembersAndExtensions, Place::Llm, MsgType::MemberStatusUpdate, payload);
    }
}

//! One thing that has changed, in the words of those who change it.

use bytestring::ByteString;

use crate::{
    ids::{Identity, RoomName},
    protocol::{RequestMode, Role},
};

/// A change that is to survive. What it needs must be there (a message needs its room), or it is
/// refused; what it removes may be gone already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new room, without members or messages.
    RoomCreated {
        /// Its name, which no other room has.
        name: RoomName,
        /// When, in milliseconds since 1970.
        created_at_ms: i64,
        /// What becomes of requests.
        mode: RequestMode,
        /// The room of an identity's own name.
        personal: bool,
        /// The client that made it, if one did.
        creator: Option<String>,
    },
    /// A room, its members and its messages are gone.
    RoomDeleted {
        /// Which.
        name: RoomName,
    },
    /// What becomes of requests from now on.
    ModeSet {
        /// Where.
        room: RoomName,
        /// What.
        mode: RequestMode,
    },
    /// A member has joined, or has another role. That a room has one master is the room's to see to.
    MemberSet {
        /// Where.
        room: RoomName,
        /// Who.
        identity: Identity,
        /// As what.
        role: Role,
    },
    /// A member has left.
    MemberRemoved {
        /// Where.
        room: RoomName,
        /// Who.
        identity: Identity,
    },
    /// An identity may not write, whether it was muted before or not.
    Muted {
        /// Who.
        identity: Identity,
        /// Until when, in milliseconds since 1970; none for ever.
        until_ms: Option<i64>,
        /// Who says so.
        by: String,
    },
    /// An identity may write again.
    Unmuted {
        /// Who.
        identity: Identity,
    },
    /// A value that belongs to no room: a policy, a default, an assignment.
    KeyValue {
        /// Its name.
        key: String,
        /// The value; none to forget it.
        value: Option<String>,
    },
    /// A message, as the last of its room.
    MessageAdded {
        /// Where.
        room: RoomName,
        /// Its place: higher than that of any message that the room ever had.
        seq: u64,
        /// Its id. The room makes one that no other of its messages has.
        id: String,
        /// What it is.
        kind: MessageKind,
        /// The message as clients are sent it.
        json: ByteString,
    },
    /// A message has another text. Its place and its kind stay.
    MessageUpdated {
        /// Where.
        room: RoomName,
        /// The place of which.
        seq: u64,
        /// The whole message, not the difference.
        json: ByteString,
    },
    /// Messages are gone.
    MessagesRemoved {
        /// Where.
        room: RoomName,
        /// The places of which.
        seqs: Vec<u64>,
    },
    /// Messages of a kind are gone. System messages go when both others go.
    MessagesCleared {
        /// Where.
        room: RoomName,
        /// What clients have asked.
        requests: bool,
        /// What extensions have answered.
        responses: bool,
    },
    /// The oldest messages are gone, see [`super::Retention`].
    MessagesTrimmed {
        /// Where.
        room: RoomName,
        /// The last one that is gone.
        through_seq: u64,
    },
}

/// What a message is (spec §4.9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageKind {
    /// A client's.
    Request,
    /// An extension's.
    Response,
    /// The broker's own.
    System,
}

impl MessageKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Request, Self::Response, Self::System];

    /// The word in the database.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
            Self::System => "system",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl Change {
    /// Bytes that it takes while it waits: its texts, and a little for itself.
    pub fn bytes(&self) -> usize {
        let texts = match self {
            Self::RoomCreated { name, creator, .. } => {
                name.as_str().len() + creator.as_ref().map_or(0, String::len)
            }
            Self::RoomDeleted { name } => name.as_str().len(),
            Self::ModeSet { room, .. }
            | Self::MessagesCleared { room, .. }
            | Self::MessagesTrimmed { room, .. } => room.as_str().len(),
            Self::MemberSet { room, identity, .. } | Self::MemberRemoved { room, identity } => {
                room.as_str().len() + identity.as_str().len()
            }
            Self::Muted { identity, by, .. } => identity.as_str().len() + by.len(),
            Self::Unmuted { identity } => identity.as_str().len(),
            Self::KeyValue { key, value } => key.len() + value.as_ref().map_or(0, String::len),
            Self::MessageAdded { room, id, json, .. } => room.as_str().len() + id.len() + json.len(),
            Self::MessageUpdated { room, json, .. } => room.as_str().len() + json.len(),
            Self::MessagesRemoved { room, seqs } => room.as_str().len() + size_of_val(&**seqs),
        };
        size_of::<Self>() + texts
    }
}

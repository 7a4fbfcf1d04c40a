//! What a history holds, as it is read back.

use std::collections::BTreeMap;

use bytestring::ByteString;

use super::MessageKind;
use crate::{
    ids::{Identity, RoomName},
    protocol::{RequestMode, Role},
};

/// Everything but the messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Every room, the oldest first.
    pub rooms: Vec<StoredRoom>,
    /// Who may not write. Mutes that had ended when the history was opened are not among them.
    pub mutes: BTreeMap<Identity, Mute>,
    /// Values that belong to no room.
    pub values: BTreeMap<String, String>,
}

/// One room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRoom {
    /// Its name.
    pub name: RoomName,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// What becomes of requests.
    pub mode: RequestMode,
    /// The room of an identity's own name.
    pub personal: bool,
    /// The client that made it, if one did.
    pub creator: Option<String>,
    /// Its members, the oldest first.
    pub members: Vec<(Identity, Role)>,
    /// The highest `seq` that a message of the room ever had, removed ones included; 0 if none had one.
    pub last_seq: u64,
}

/// Somebody who may not write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mute {
    /// Until when, in milliseconds since 1970; none for ever.
    pub until_ms: Option<i64>,
    /// Who said so.
    pub by: String,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its place in the room.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: MessageKind,
    /// The message as clients are sent it.
    pub json: ByteString,
}

/// A part of a room's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Messages, the oldest first.
    pub messages: Vec<StoredMessage>,
    /// Whether there are further ones in the direction that was asked for.
    pub more: bool,
}

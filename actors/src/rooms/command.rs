//! What a room is asked to do, and what it answers.

use framing::{ByteString, Bytes, json::RawJson};

use super::{Caller, ChatRequest, Extensions, Page, RoomRefusal, Timestamp};
use crate::{
    ids::{Identity, RoomName},
    protocol::{RequestMode, Role},
};

/// What a room is asked to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// 14 / `DELETE_ROOM`
    Delete,
    /// 15 / `ADD_CLIENT_TO_ROOM`
    Add {
        /// Who joins.
        identity: Identity,
        /// As what.
        role: Option<Role>,
    },
    /// 16 / `REMOVE_CLIENT_FROM_ROOM`
    Remove(Identity),
    /// `KICK_MEMBER`
    Kick(Identity),
    /// `SET_MEMBER_ROLE`
    SetRole {
        /// Whose.
        identity: Identity,
        /// Which.
        role: Role,
    },
    /// `SET_ROOM_MESSAGE_REQUEST_MODE`
    SetMode(RequestMode),
    /// `MUTE_MEMBER`
    Mute {
        /// Whom.
        identity: Identity,
        /// For how many seconds; none: for ever.
        seconds: Option<u64>,
    },
    /// `UNMUTE_MEMBER`
    Unmute(Identity),
    /// 25 / `GET_CLIENTS_IN_ROOM`
    Members,
    /// Whether the caller is in the room (spec §5.2).
    IsMember,
    /// `LLM_REQUEST`
    Request {
        /// The request; none: it is malformed, which is the last thing that is looked at.
        request: Option<ChatRequest>,
        /// Its attachments.
        attachments: Vec<Bytes>,
        /// Who can answer.
        extensions: Extensions,
    },
    /// `EDIT_MESSAGE`
    Edit {
        /// Which message.
        id: ByteString,
        /// Its new fields.
        updated: RawJson,
    },
    /// `DELETE_MESSAGE`
    DeleteMessages(Vec<ByteString>),
    /// `CLEAR_MESSAGES`
    Clear {
        /// Requests go.
        requests: bool,
        /// Answers go.
        responses: bool,
    },
    /// `GET_FULL_CONTEXT`
    Context {
        /// The last message that the caller has.
        since: Option<ByteString>,
        /// Messages of a page.
        page_size: usize,
        /// The number of the page that is wanted first.
        page: u64,
    },
    /// One more page of that.
    Page(Page),
    /// `START_TYPING`, `STOP_TYPING`
    Typing(bool),
    /// `START_PROCESSING`, `STOP_PROCESSING`: of an extension.
    Processing(bool),
    /// It panics.
    #[cfg(test)]
    Panic,
}

impl Command {
    /// Whether the history has to keep something of it.
    pub(super) fn changes_something(&self) -> bool {
        match self {
            Self::Members
            | Self::IsMember
            | Self::Context { .. }
            | Self::Page(_)
            | Self::Typing(_)
            | Self::Processing(_) => false,
            #[cfg(test)]
            Self::Panic => false,
            _ => true,
        }
    }

    /// Bytes of what it brings to be kept.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Request { request: Some(request), .. } => request.payload.as_str().len(),
            Self::Edit { updated, .. } => updated.as_str().len(),
            Self::DeleteMessages(ids) => size_of::<u64>() * ids.len(),
            _ => 0,
        }
    }

    /// What it means that there is no such room.
    pub(super) fn without_room(&self, room: &RoomName, caller: &Caller) -> RoomRefusal {
        let unless = |allowed: bool, refusal| if allowed { refusal } else { RoomRefusal::Unauthorized };
        match self {
            Self::Delete => RoomRefusal::NotFound,
            Self::Add { .. } => unless(caller.privileged, RoomRefusal::NotAdded),
            Self::Remove(who) => {
                unless(caller.privileged || *who == caller.identity, RoomRefusal::NotRemoved)
            }
            Self::Kick(_) => RoomRefusal::NotKicked,
            Self::SetRole { .. } => RoomRefusal::RoleNotSet,
            Self::SetMode(_) => RoomRefusal::ModeRoomNotFound(room.to_string()),
            Self::Mute { .. } | Self::Unmute(_) => RoomRefusal::MemberNotFound,
            Self::Members => unless(caller.privileged, RoomRefusal::NotFound),
            Self::IsMember => RoomRefusal::Unauthorized,
            Self::Request { .. } => RoomRefusal::InvalidTargetRoom,
            Self::Edit { .. } => RoomRefusal::NotEdited,
            Self::DeleteMessages(_) => RoomRefusal::DeleteDenied,
            Self::Clear { .. } => RoomRefusal::ClearDenied,
            Self::Context { .. } | Self::Page(_) => RoomRefusal::NoContext(room.to_string()),
            Self::Typing(_) | Self::Processing(_) => RoomRefusal::NotFound,
            #[cfg(test)]
            Self::Panic => RoomRefusal::NotFound,
        }
    }

    /// What it means that the database did not take it.
    pub(super) fn not_kept(&self) -> Result<Reply, RoomRefusal> {
        Err(match self {
            Self::Add { .. } => RoomRefusal::NotAdded,
            Self::Remove(_) => RoomRefusal::NotRemoved,
            Self::Kick(_) => RoomRefusal::NotKicked,
            Self::SetRole { .. } => RoomRefusal::RoleNotSet,
            Self::SetMode(_) => RoomRefusal::ModeNotSet,
            Self::Request { .. } => RoomRefusal::NotRecorded,
            Self::Edit { .. } => RoomRefusal::NotEdited,
            // The ack says "or operation failed" (spec §4.9.4).
            Self::DeleteMessages(_) | Self::Clear { .. } => return Ok(Reply::Nothing),
            _ => RoomRefusal::Busy,
        })
    }
}

/// What a room answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It is done.
    Done,
    /// There was nothing to do.
    Nothing,
    /// Muted until then; none: for ever.
    Muted(Option<Timestamp>),
    /// Its members, oldest first.
    Members(Vec<MemberInfo>),
    /// Its messages, in pages; and the one that was wanted first, if there is one of that number.
    Pages(Vec<Page>, Option<String>),
    /// A page: a JSON array.
    Page(String),
}

/// A member as lists show it.
#[derive(Clone, Debug)]
pub struct MemberInfo {
    /// Who.
    pub identity: Identity,
    /// As what.
    pub role: Role,
    /// What it says it is; none if it is not there.
    pub client_type: Option<ByteString>,
    /// How it describes itself.
    pub desc: Option<ByteString>,
}

//! Why a room does not do what it is asked; the texts are protocol (spec §4.5, §4.9.2, §4.9.4).

use framing::ByteString;

use crate::{ids::ClientId, protocol::RequestMode};

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// `limits.rooms` is reached.
    #[error("Too many rooms")]
    TooMany,
    /// The room or the client is unknown, or the room is full.
    #[error("Failed to add client to room")]
    NotAdded,
    /// The room or the membership does not exist.
    #[error("Failed to remove client from room")]
    NotRemoved,
    /// Nobody leaves its own personal room.
    #[error("Invalid operation")]
    InvalidOperation,
    /// No such role.
    #[error("Invalid role")]
    InvalidRole,
    /// The room or the member is unknown, or the caller may not.
    #[error("Failed to set member role")]
    RoleNotSet,
    /// The room or the member is unknown, or the caller may not.
    #[error("Failed to kick member")]
    NotKicked,
    /// The caller's role is too low.
    #[error("Permission denied.")]
    PermissionDenied,
    /// Nobody of that identity.
    #[error("Member not found")]
    MemberNotFound,
    /// `SET_ROOM_MESSAGE_REQUEST_MODE` without its fields.
    #[error("roomName and mode are required.")]
    ModeFieldsMissing,
    /// No such mode.
    #[error("Invalid mode specified. Valid modes are: {}", RequestMode::ALL.map(RequestMode::wire).join(", "))]
    InvalidMode,
    /// The room whose mode should change.
    #[error("Room {0} not found.")]
    ModeRoomNotFound(String),
    /// The caller may not set a mode.
    #[error("Permission denied. Only room master/manager or admin can set the mode.")]
    ModeDenied,
    /// The database did not take it.
    #[error("Failed to set room mode.")]
    ModeNotSet,
    /// The sender is muted.
    #[error("You are currently muted and cannot send messages.")]
    Muted,
    /// The room does not exist, or the sender is no member.
    #[error("Invalid or unauthorized target room.")]
    InvalidTargetRoom,
    /// A field is missing, or a target is not assigned to the room.
    #[error("Invalid LLM request data.")]
    InvalidRequest,
    /// `llm.policy` is `rooms`, and the sender is not in the extension's.
    #[error("Client {client} is not allowed to send messages to room {target}.")]
    NotAllowed {
        /// The sender.
        client: ClientId,
        /// The extension.
        target: ByteString,
    },
    /// Another member's request has that id.
    #[error("Duplicate requestId.")]
    Duplicate,
    /// The router's word (spec §4.4).
    #[error("{0}")]
    Router(crate::llm_router::Refusal),
    /// The room holds as many open requests as it may.
    #[error("Too many pending requests.")]
    TooManyRequests,
    /// `EDIT_MESSAGE` without its fields.
    #[error("Missing required fields for editing message.")]
    EditFieldsMissing,
    /// Not the author, and no host.
    #[error("Permission denied to edit this message.")]
    EditDenied,
    /// There is no such message.
    #[error("Failed to edit message. It might not exist.")]
    NotEdited,
    /// `DELETE_MESSAGE` without its fields.
    #[error("Missing required fields for deleting messages.")]
    DeleteFieldsMissing,
    /// `DELETE_MESSAGE` of more than a room can have.
    #[error("Too many messages to delete.")]
    DeleteTooMany,
    /// Not the author of all of them, and no host.
    #[error("Permission denied to delete these messages.")]
    DeleteDenied,
    /// `CLEAR_MESSAGES` without a room.
    #[error("roomName is required to clear messages.")]
    ClearFieldsMissing,
    /// No host.
    #[error("Permission denied to clear messages.")]
    ClearDenied,
    /// A history without a room.
    #[error("roomName is required.")]
    RoomMissing,
    /// Whose history is asked for by somebody else.
    #[error("You are not a member of room {0}.")]
    NotAMember(String),
    /// The room whose history should be read.
    #[error("Could not retrieve context for room {0}.")]
    NoContext(String),
    /// The database did not take it.
    #[error("Failed to record request message.")]
    NotRecorded,
    /// Too much is going on.
    #[error("Server is busy, try again later.")]
    Busy,
}

//! What sessions ask the [`Trust`](super::Trust) actor, and what it answers.

use std::fmt;

use actix::Message;
use serde_json::{Map, Value};

use super::peer::Peer;
use crate::functions::FunctionReply;
use crate::ids::ClientId;
use crate::protocol::payload::{Code, object};

pub use super::verdict::Rejection;

/// What a trusted id is (spec §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientClass {
    /// A program that asks.
    Client,
    /// The SillyTavern side: the id starts with `SillyTavern`.
    Extension,
}

/// An authenticated peer, on whose behalf something is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The authenticated id.
    pub client_id: ClientId,
    /// Its class.
    pub class: ClientClass,
    /// Whether its settings file grants administration, or it is `monitor`.
    pub admin: bool,
    /// Where it comes from.
    pub peer: Peer,
}

impl Caller {
    /// "E-only or admin" of spec §4: key administration, client lists, rooms.
    pub fn may_administer(&self) -> bool {
        self.admin || self.class == ClientClass::Extension
    }
}

/// The fields of a CONNECT packet that decide about trust. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Checked by [`ClientId::from_json`]; its failure is [`Rejection::client_id_required`].
    pub client_id: ClientId,
    /// `auth.key` as text ([`Handshake::text`]).
    pub key: Option<String>,
    /// `auth.password` as text.
    pub password: Option<String>,
    /// Whether the namespace is `/auth`, where keys are pushed (spec §2.6).
    pub on_auth: bool,
}

impl Handshake {
    /// `String(value)` of spec §2.4 for a secret; absent, `null` and empty text are none. Other types become
    /// some text that never verifies.
    pub fn text(field: Option<&Value>) -> Option<String> {
        match field? {
            Value::Null => None,
            Value::String(text) => (!text.is_empty()).then(|| text.clone()),
            other => Some(other.to_string()),
        }
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("client_id", &self.client_id)
            .field("has_key", &self.key.is_some())
            .field("has_password", &self.password.is_some())
            .field("on_auth", &self.on_auth)
            .finish()
    }
}

/// What an accepted session is and may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Client or extension.
    pub class: ClientClass,
    /// Administration rights.
    pub admin: bool,
}

/// The events to push on `/auth` after CONNECT (spec §2.6): `GET_CLIENT_KEY`, `CLIENT_KEY` (dialect 1), and
/// `CLIENT_KEY_ASSIGNED {success:true, key}` if a password was given. Its `Debug` hides the key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPushes {
    /// The session key.
    pub key: String,
    /// Whether `CLIENT_KEY_ASSIGNED` is due.
    pub assigned: bool,
}

impl fmt::Debug for KeyPushes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPushes").field("assigned", &self.assigned).finish_non_exhaustive()
    }
}

/// The answer to [`CheckAuth`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Serve the namespace.
    Accept {
        /// What the session may do.
        grant: Grant,
        /// The key pushes due, if any.
        pushes: Option<KeyPushes>,
    },
    /// Serve only `LOGIN` and goodbye, for 30 s.
    Limited {
        /// The message of `CLIENT_KEY_ASSIGNED {success:false}` to push, if a password failed.
        assigned_failure: Option<&'static str>,
    },
    /// Join only `temp_<clientId>`, push `TEMP_ROOM_ASSIGNED`, serve only `LOGIN` and goodbye, for 60 s.
    TempRoom,
    /// Answer CONNECT, push `ERROR`, disconnect the namespace.
    Reject(Rejection),
}

/// Checks a handshake (spec §3.2).
#[derive(Debug, Clone, Message)]
#[rtype(result = "Verdict")]
pub struct CheckAuth {
    /// What the peer claims.
    pub handshake: Handshake,
    /// Where it comes from.
    pub peer: Peer,
}

/// Checks a password (spec §3.6). Its `Debug` shows no secret.
#[derive(Clone, Message)]
#[rtype(result = "LoginOutcome")]
pub struct Login {
    /// The id of the session's handshake.
    pub session: ClientId,
    /// `clientId` of the payload, if it is a string.
    pub client_id: Option<String>,
    /// `password` of the payload, if it is a string.
    pub password: Option<String>,
    /// Where the session comes from.
    pub peer: Peer,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("session", &self.session).finish_non_exhaustive()
    }
}

/// The answer to [`Login`].
#[derive(Clone, PartialEq, Eq)]
pub enum LoginOutcome {
    /// The password is right: a limited session becomes a full one and gets this session key.
    Success {
        /// What the session may do now.
        grant: Grant,
        /// The key to push.
        session_key: String,
    },
    /// The password was not accepted.
    Failure {
        /// One of the messages of spec §3.6.
        message: &'static str,
        /// `rate_limited` or `busy`.
        code: Option<&'static str>,
    },
}

impl fmt::Debug for LoginOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success { grant, .. } => f.debug_tuple("Success").field(grant).finish(),
            Self::Failure { message, code } => {
                f.debug_struct("Failure").field("message", message).field("code", code).finish()
            }
        }
    }
}

impl LoginOutcome {
    /// The ack of spec §3.6.
    pub fn to_ack(&self) -> Value {
        match self {
            Self::Success { .. } => object([("success", true.into())]),
            Self::Failure { message, code: None } => {
                object([("success", false.into()), ("message", (*message).into())])
            }
            Self::Failure { message, code: Some(code) } => object([
                ("success", false.into()),
                ("message", (*message).into()),
                ("code", Code::Word(code).into()),
            ]),
        }
    }
}

/// Why a key could not be made, found or removed. `Display` is the message of the ack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The id has no trusted settings file; §4.6 answers it like a foreign id.
    #[error("Unauthorized")]
    NotTrusted,
    /// The id has no settings file.
    #[error("Client not found.")]
    ClientNotFound,
    /// The key file could not be written; nothing changed.
    #[error("Client key could not be stored.")]
    NotStored,
    /// Too much work of this kind waits already.
    #[error("Server is busy, try again later.")]
    Busy,
}

/// Hands out the session key of a trusted id, making it if there is none (spec §2.4). The caller has checked
/// that the id is the asking session's own.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<String, KeyError>")]
pub struct SessionKey {
    /// Whose key.
    pub client_id: ClientId,
}

/// Replaces the persistent key of an id and revokes its session key; the new key is returned in plain.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<String, KeyError>")]
pub struct GenerateKey {
    /// Whose key.
    pub client_id: ClientId,
}

/// Removes the key record and the session key of an id. Success also if there was none.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), KeyError>")]
pub struct RemoveKey {
    /// Whose key.
    pub client_id: ClientId,
}

/// Asks for the plaintext of an id's key; `None` unless this process knows it. Never a hash.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Option<String>")]
pub struct GetKey {
    /// Whose key.
    pub client_id: ClientId,
}

/// One record of the key store, without the key.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyListing {
    /// Whose record; text, because the file may hold ids that no client could have.
    pub client_id: String,
    /// The record's `rooms`, an array.
    pub rooms: Value,
}

/// Asks for the records of the key store, in the file's order.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<KeyListing>")]
pub struct ListKeys;

/// The `keys` object of the ack of 29: `{[id]:{key:"", hasKey:true, rooms:[]}}`.
pub fn keys_object(listings: &[KeyListing]) -> Value {
    let record = |listing: &KeyListing| {
        object([("key", "".into()), ("hasKey", true.into()), ("rooms", listing.rooms.clone())])
    };
    let map: Map<String, Value> =
        listings.iter().map(|listing| (listing.client_id.clone(), record(listing))).collect();
    Value::Object(map)
}

/// Asks for all ids in the key store, for `getClientList`.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<String>")]
pub struct ListClients;

/// Writes server settings (`CLIENT_SETTINGS`, spec §4.6).
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), SettingsError>")]
pub struct ClientSettings {
    /// Who asks.
    pub caller: Caller,
    /// The payload, raw.
    pub json: String,
}

/// Sets `defaultRoomMessageRequestMode` of the settings file (`SET_MESSAGE_REQUEST_MODE`, spec §4.9.2). The
/// sender has checked the rights, and the mode.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), SettingsError>")]
pub struct SetDefaultMode {
    /// Who asks.
    pub caller: Caller,
    /// The mode as it is on the wire.
    pub mode: &'static str,
}

/// Flips `debugMode` of the settings file (spec §4.8): what it is then. The caller has checked the rights.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<bool, SettingsError>")]
pub struct ToggleDebugMode {
    /// Who asks.
    pub client_id: ClientId,
}

/// Why settings were not written. `Display` is the message to show; it holds no server path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The caller is no trusted extension.
    #[error("Unauthorized: Only SillyTavern extension can send client settings.")]
    NotAnExtension,
    /// The payload is no JSON object, too large or too deep.
    #[error("Invalid settings data.")]
    NotAnObject,
    /// The field may not be changed by this caller.
    #[error("Access denied: {field} cannot be changed.")]
    FieldDenied {
        /// Which one.
        field: String,
    },
    /// The value could not be read back.
    #[error("{field} has no usable value.")]
    Unusable {
        /// Whose.
        field: &'static str,
    },
    /// The file on disk cannot be parsed, and so is left alone.
    #[error("Existing file is not valid JSON.")]
    Unparsable,
    /// The file would grow beyond the limit.
    #[error("File is too large.")]
    TooLarge,
    /// The file could not be read or written.
    #[error("File cannot be accessed.")]
    Io,
    /// Too much work of this kind waits already.
    #[error("Server is busy, try again later.")]
    Busy,
}

/// Runs a server function (spec §6). The answer becomes an ack with [`FunctionReply::to_ack`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "FunctionReply")]
pub struct RunFunction {
    /// Who asks.
    pub caller: Caller,
    /// `functionName`.
    pub name: String,
    /// `args` as raw JSON; `None` if absent.
    pub args: Option<String>,
}

/// Reads the settings and key files again, now.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Rescan;

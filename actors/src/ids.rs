//! Identifiers: text that was checked once and is cheap to clone.
//!
//! Bounds are those of spec appendix A, counted in characters; the form of a client id is spec §3.2 rule 1.
//! Every id comes from a peer, so a value of one of these types is the proof that it was checked.
//!
//! An id outlives the packet that it came in, which may be a million times as long: it is a copy, and never a part of
//! that packet's memory.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest `clientId`, in characters.
pub const MAX_CLIENT_ID: usize = 128;
/// Longest `identity`, in characters.
pub const MAX_IDENTITY: usize = 128;
/// Longest `requestId`, in characters.
pub const MAX_REQUEST_ID: usize = 256;
/// Longest `streamId`, in characters.
pub const MAX_STREAM_ID: usize = 256;
/// Longest `outputId`, in characters.
pub const MAX_OUTPUT_ID: usize = 256;
/// Longest room name, in characters.
pub const MAX_ROOM_NAME: usize = 128;
/// Longest socket id, in characters; our own have 20.
pub const MAX_SOCKET_ID: usize = 64;

/// The prefix (case-sensitive) that makes a `clientId` an extension id (spec §1.1).
pub const EXTENSION_PREFIX: &str = "SillyTavern";
/// The id of the administration page, which has the administrator's rights implicitly (spec §2.2).
pub const MONITOR: &str = "monitor";
/// The address of the broker itself, which no client may take.
pub const SERVER: &str = "server";

/// Why a text is not an id, and which id it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The field is absent or `null`.
    #[error("{what} is missing")]
    Missing {
        /// Which id.
        what: &'static str,
    },
    /// The field is not a JSON string.
    #[error("{what} is not a string")]
    NotAString {
        /// Which id.
        what: &'static str,
    },
    /// The text is empty.
    #[error("{what} is empty")]
    Empty {
        /// Which id.
        what: &'static str,
    },
    /// The text is longer than its limit.
    #[error("{what} is longer than {limit} characters")]
    TooLong {
        /// Which id.
        what: &'static str,
        /// The limit in characters.
        limit: usize,
    },
    /// The text contains a character that this kind of id excludes.
    #[error("{what} contains the character {character:?}")]
    Character {
        /// Which id.
        what: &'static str,
        /// The first excluded character.
        character: char,
    },
    /// The text is a reserved address.
    #[error("{what} is the reserved address \"server\"")]
    Reserved {
        /// Which id.
        what: &'static str,
    },
}

fn within(what: &'static str, text: &str, limit: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what });
    }
    // Bytes first: most texts need no counting, and one of many megabytes is refused without it.
    if text.len() > limit && (text.len() > limit * 4 || text.chars().count() > limit) {
        return Err(IdError::TooLong { what, limit });
    }
    Ok(())
}

fn without(what: &'static str, text: &str, bad: impl Fn(char) -> bool) -> Result<(), IdError> {
    match text.chars().find(|c| bad(*c)) {
        Some(character) => Err(IdError::Character { what, character }),
        None => Ok(()),
    }
}

/// Spec §3.2 rule 1: these ids become file names and addresses.
fn address(what: &'static str, text: &str) -> Result<(), IdError> {
    without(what, text, |c| c.is_control() || c == '/' || c == '\\')?;
    if text == SERVER {
        return Err(IdError::Reserved { what });
    }
    Ok(())
}

fn anything(_: &'static str, _: &str) -> Result<(), IdError> {
    Ok(())
}

fn no_controls(what: &'static str, text: &str) -> Result<(), IdError> {
    without(what, text, char::is_control)
}

fn url_safe(what: &'static str, text: &str) -> Result<(), IdError> {
    without(what, text, |c| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:ident, $form:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a text and copies it; the error names the rule that it breaks.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                within($what, text, $limit)?;
                $form($what, text)?;
                Ok(Self(text.into()))
            }

            /// Reads an id from a payload field, where it may be absent or of any type.
            pub fn from_json(field: Option<&serde_json::Value>) -> Result<Self, IdError> {
                match field {
                    None | Some(serde_json::Value::Null) => Err(IdError::Missing { what: $what }),
                    Some(serde_json::Value::String(text)) => Self::new(text.as_str()),
                    Some(_) => Err(IdError::NotAString { what: $what }),
                }
            }

            /// The checked text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.as_str())
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;
            fn try_from(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A client's self-chosen id, the unit of trust (spec §1.1, form §3.2 rule 1).
    ClientId, "clientId", MAX_CLIENT_ID, address
);
id!(
    /// One running instance of a client (dialect 2); defaults to its client id.
    Identity, "identity", MAX_IDENTITY, address
);
id!(
    /// A requester's id of one request. Any characters: it is only compared and sent back.
    RequestId, "requestId", MAX_REQUEST_ID, anything
);
id!(
    /// An extension's id of one little stream, one per token (spec §5.3).
    StreamId, "streamId", MAX_STREAM_ID, anything
);
id!(
    /// An extension's id of one answer.
    OutputId, "outputId", MAX_OUTPUT_ID, anything
);
id!(
    /// The name of a room; personal rooms are named after their client (spec §3.3).
    RoomName, "roomName", MAX_ROOM_NAME, no_controls
);
id!(
    /// The Socket.IO `sid` of one namespace socket.
    SocketId, "sid", MAX_SOCKET_ID, url_safe
);

impl ClientId {
    /// Whether the id has the form of an extension's. Says nothing about trust.
    pub fn is_extension(&self) -> bool {
        self.as_str().starts_with(EXTENSION_PREFIX)
    }
}

impl From<ClientId> for Identity {
    /// The default identity of spec §3.1: both have the same form and bound.
    fn from(id: ClientId) -> Self {
        Self(id.0)
    }
}

impl From<ClientId> for RoomName {
    /// The personal room of spec §3.3; every client id is a legal room name.
    fn from(id: ClientId) -> Self {
        Self(id.0)
    }
}

impl From<Identity> for RoomName {
    /// The personal room of an identity.
    fn from(id: Identity) -> Self {
        Self(id.0)
    }
}

impl SocketId {
    /// Makes a fresh id: 20 URL-safe characters, 120 random bits.
    pub fn generate() -> Result<Self, getrandom::Error> {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut random = [0_u8; 20];
        getrandom::fill(&mut random)?;
        let text: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect();
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn client_ids_follow_rule_one() {
        let long = "x".repeat(MAX_CLIENT_ID);
        let wide = "漢".repeat(MAX_CLIENT_ID);
        for good in ["my-app", "SillyTavern-8000", "漢字", "__proto__", "a b", &long, &wide] {
            assert_eq!(ClientId::new(good).unwrap(), good);
        }
        let too_long = "x".repeat(MAX_CLIENT_ID + 1);
        let what = "clientId";
        for (bad, error) in [
            (json!(null), IdError::Missing { what }),
            (json!(7), IdError::NotAString { what }),
            (json!(["a"]), IdError::NotAString { what }),
            (json!({"toString": 1}), IdError::NotAString { what }),
            (json!(""), IdError::Empty { what }),
            (json!(too_long), IdError::TooLong { what, limit: 128 }),
            (json!("server"), IdError::Reserved { what }),
            (json!("a/b"), IdError::Character { what, character: '/' }),
            (json!("a\\b"), IdError::Character { what, character: '\\' }),
            (json!("a\nb"), IdError::Character { what, character: '\n' }),
            (json!("a\u{0}"), IdError::Character { what, character: '\0' }),
            (json!("a\u{85}"), IdError::Character { what, character: '\u{85}' }),
        ] {
            assert_eq!(ClientId::from_json(Some(&bad)).unwrap_err(), error, "{bad}");
        }
        assert_eq!(ClientId::from_json(None).unwrap_err(), IdError::Missing { what });
    }

    #[test]
    fn every_id_has_its_bound() {
        let text = |n: usize| "x".repeat(n);
        assert!(Identity::new(text(128)).is_ok() && Identity::new(text(129)).is_err());
        assert!(RequestId::new(text(256)).is_ok() && RequestId::new(text(257)).is_err());
        assert!(StreamId::new(text(256)).is_ok() && StreamId::new(text(257)).is_err());
        assert!(OutputId::new(text(256)).is_ok() && OutputId::new(text(257)).is_err());
        assert!(RoomName::new(text(128)).is_ok() && RoomName::new(text(129)).is_err());
        assert!(SocketId::new(text(64)).is_ok() && SocketId::new(text(65)).is_err());
    }

    #[test]
    fn extension_ids_are_told_by_their_prefix() {
        for (id, extension) in [
            ("SillyTavern-8000", true),
            ("SillyTavern", true),
            ("sillytavern-8000", false),
            ("my-SillyTavern", false),
        ] {
            assert_eq!(ClientId::new(id).unwrap().is_extension(), extension, "{id}");
        }
    }

    #[test]
    fn socket_ids_are_fresh_and_legal() {
        let first = SocketId::generate().unwrap();
        assert_eq!(SocketId::new(first.as_str()).unwrap(), first);
        assert_ne!(first, SocketId::generate().unwrap());
    }

    #[test]
    fn ids_pass_through_json_checked() {
        let id: RequestId = serde_json::from_str("\"r1\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"r1\"");
        assert!(serde_json::from_str::<ClientId>("\"server\"").is_err());
    }
}

//! The handshake's answer.

use std::fmt::Write as _;
use std::time::Duration;

use bytestring::ByteString;

use super::Sid;
use crate::error::PacketError;
use crate::json::RawJson;

/// What the server tells a client about the session it has just opened (spec §1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Id of the new session.
    pub sid: Sid,
    /// Whether the client may move the session to a WebSocket; false if it is on one.
    pub upgrades: bool,
    /// Time between a pong and the next ping; whole milliseconds on the wire.
    pub ping_interval: Duration,
    /// Time for a pong to come; whole milliseconds on the wire.
    pub ping_timeout: Duration,
    /// Longest frame that the server accepts, in bytes.
    pub max_payload: usize,
}

impl Open {
    pub(super) fn write(&self, out: &mut String) {
        let upgrades = if self.upgrades { r#"["websocket"]"# } else { "[]" };
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            r#"{{"sid":"{}","upgrades":{upgrades},"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            self.sid,
            self.ping_interval.as_millis(),
            self.ping_timeout.as_millis(),
            self.max_payload,
        );
    }

    pub(super) fn read(body: ByteString) -> Result<Self, PacketError> {
        // The handshake object holds one array of strings: two levels.
        let json = RawJson::parse(body, 2).map_err(|_| PacketError::Handshake)?;
        Self::from_json(&json).ok_or(PacketError::Handshake)
    }

    fn from_json(json: &RawJson) -> Option<Self> {
        let millis = |name| json.get(name)?.as_u64().map(Duration::from_millis);
        let websocket = |upgrade: RawJson| upgrade.as_js_string().is_some_and(|name| name == "websocket");
        Some(Self {
            sid: Sid::parse(json.get("sid")?.as_js_string()?.as_str()?)?,
            upgrades: json.get("upgrades")?.elements().any(websocket),
            ping_interval: millis("pingInterval")?,
            ping_timeout: millis("pingTimeout")?,
            max_payload: usize::try_from(json.get("maxPayload")?.as_u64()?).ok()?,
        })
    }
}

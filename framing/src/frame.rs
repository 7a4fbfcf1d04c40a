//! One text or binary message, as a transport gives it and takes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;

/// One WebSocket message, or one packet of a polling payload.
///
/// Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Text; on the wire of either transport it is UTF-8.
    Text(ByteString),
    /// Binary; always an Engine.IO message.
    Binary(Bytes),
}

impl Frame {
    /// Length in bytes, without the transport's own framing.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
        }
    }

    /// Whether the frame holds no byte. Legal for binary only.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same packet as text: a binary frame becomes `b` and base64.
    ///
    /// Polling bodies need it, and WebSockets of a client that asked for it
    /// ([`Request::base64`](crate::engine::Request::base64)).
    pub fn into_text(self) -> ByteString {
        match self {
            Self::Text(text) => text,
            Self::Binary(data) => {
                let mut text = String::with_capacity(1 + data.len().div_ceil(3) * 4);
                text.push('b');
                STANDARD.encode_string(&data, &mut text);
                text.into()
            }
        }
    }
}

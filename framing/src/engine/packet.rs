//! One frame ↔ one Engine.IO packet.

use base64::Engine as _;
use bytes::Bytes;
use bytestring::ByteString;

use super::Open;
use super::payload::BASE64;
use crate::error::PacketError;
use crate::frame::Frame;

/// An Engine.IO packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// `0…`: the handshake, server to client.
    Open(Open),
    /// `1`: the session ends.
    Close,
    /// `2`: heartbeat, server to client; `2probe` opens an upgrade, client to server.
    Ping {
        /// Whether it carries `probe`.
        probe: bool,
    },
    /// `3`: answers a ping, in the other direction.
    Pong {
        /// Whether it carries `probe`.
        probe: bool,
    },
    /// `4…`: a text message.
    Message(ByteString),
    /// A binary message: a binary frame, or `b` and base64 in a text frame.
    Binary(Bytes),
    /// `5`: the client has paused polling, the WebSocket takes over.
    Upgrade,
    /// `6`: lets a waiting poll end.
    Noop,
}

impl Packet {
    /// Reads a packet. Messages share the frame's bytes.
    ///
    /// What follows the type of a close, upgrade or noop packet is ignored, and any text
    /// after a ping or pong but `probe` too, as the official server does.
    ///
    /// # Errors
    ///
    /// On an empty text frame, an unknown type, a `b` packet that is not base64 and an open
    /// packet that is not a handshake.
    pub fn decode(frame: Frame) -> Result<Self, PacketError> {
        let text = match frame {
            Frame::Binary(data) => return Ok(Self::Binary(data)),
            Frame::Text(text) => text,
        };
        let Some((kind, body)) = text.as_bytes().split_first() else {
            return Err(PacketError::Empty);
        };
        Ok(match kind {
            b'0' => Self::Open(Open::read(tail(&text))?),
            b'1' => Self::Close,
            b'2' => Self::Ping { probe: body == b"probe" },
            b'3' => Self::Pong { probe: body == b"probe" },
            b'4' => Self::Message(tail(&text)),
            b'5' => Self::Upgrade,
            b'6' => Self::Noop,
            b'b' => Self::Binary(BASE64.decode(body).map_err(|_| PacketError::Base64)?.into()),
            &byte => return Err(PacketError::UnknownType { byte }),
        })
    }

    /// Writes a packet. Binary messages share their bytes.
    pub fn encode(&self) -> Frame {
        let text = match self {
            Self::Binary(data) => return Frame::Binary(data.clone()),
            Self::Open(open) => {
                let mut text = String::from("0");
                open.write(&mut text);
                text.into()
            }
            Self::Message(message) => {
                let mut text = String::with_capacity(1 + message.len());
                text.push('4');
                text.push_str(message);
                text.into()
            }
            Self::Close => ByteString::from_static("1"),
            Self::Ping { probe: false } => ByteString::from_static("2"),
            Self::Ping { probe: true } => ByteString::from_static("2probe"),
            Self::Pong { probe: false } => ByteString::from_static("3"),
            Self::Pong { probe: true } => ByteString::from_static("3probe"),
            Self::Upgrade => ByteString::from_static("5"),
            Self::Noop => ByteString::from_static("6"),
        };
        Frame::Text(text)
    }
}

/// Everything after the one-byte type, sharing the bytes.
fn tail(text: &ByteString) -> ByteString {
    text.get(1..).map(|rest| text.slice_ref(rest)).unwrap_or_default()
}

//! What may be wrong with bytes, one enum per layer, each naming the culprit.

use thiserror::Error;

/// A frame is not an Engine.IO packet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PacketError {
    /// A text frame without its type.
    #[error("empty engine.io packet")]
    Empty,
    /// The first byte is none of `0`–`6` and not `b`.
    #[error("unknown engine.io packet type {byte:#04x}")]
    UnknownType {
        /// The byte found.
        byte: u8,
    },
    /// What follows `b` is not base64.
    #[error("binary packet is not base64")]
    Base64,
    /// An open packet whose body is not the handshake object.
    #[error("open packet without a handshake object")]
    Handshake,
}

/// A polling body is not an Engine.IO payload.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// Nothing between two separators, or an empty body.
    #[error("empty packet at position {index} of the payload")]
    EmptyPacket {
        /// Position of the packet, from 0.
        index: usize,
    },
    /// More packets than one body may carry.
    #[error("more than {limit} packets in one payload")]
    TooManyPackets {
        /// The bound passed in.
        limit: usize,
    },
    /// One packet is longer than a frame may be.
    #[error("packet of {len} bytes in a payload, limit {limit}")]
    TooLarge {
        /// Bytes of the packet; of the decoded data if it is binary.
        len: usize,
        /// The bound passed in.
        limit: usize,
    },
    /// What follows `b` is not base64.
    #[error("binary packet at position {index} of the payload is not base64")]
    Base64 {
        /// Position of the packet, from 0.
        index: usize,
    },
}

/// A message is not a Socket.IO packet that a client may send.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The message has no type.
    #[error("empty socket.io packet")]
    Empty,
    /// The first byte is none of `0`–`6`.
    #[error("unknown socket.io packet type {byte:#04x}")]
    UnknownType {
        /// The byte found.
        byte: u8,
    },
    /// `CONNECT_ERROR` is the server's to send.
    #[error("connect error packet from a client")]
    ConnectError,
    /// A binary packet whose attachment count is no whole number before a `-`.
    #[error("illegal attachment count")]
    AttachmentCount,
    /// The head announces more attachments than one packet may have.
    #[error("{count} attachments announced, limit {limit}")]
    TooManyAttachments {
        /// Announced by the head, or `u64::MAX` if it does not fit.
        count: u64,
        /// [`Limits::max_attachments`](crate::limits::Limits::max_attachments).
        limit: usize,
    },
    /// The packet's head, or its attachments together, are too long.
    #[error("packet of {len} bytes, limit {limit}")]
    TooLarge {
        /// Bytes seen when the bound was passed.
        len: usize,
        /// [`Limits::max_payload`](crate::limits::Limits::max_payload).
        limit: usize,
    },
    /// A namespace name that no namespace has.
    #[error("namespace of {len} bytes, limit {limit}")]
    NamespaceTooLong {
        /// Bytes of the name.
        len: usize,
        /// [`Namespace::MAX_LEN`](crate::socket::Namespace::MAX_LEN).
        limit: usize,
    },
    /// An ack id past 2^53 - 1, which JavaScript could not give back.
    #[error("ack id too large")]
    AckId,
    /// The payload is not JSON, or too deep.
    #[error("payload: {0}")]
    Json(#[from] JsonError),
    /// JSON of a kind that this packet type does not carry.
    #[error("{packet} packet must carry {expected}")]
    Payload {
        /// Name of the packet type.
        packet: &'static str,
        /// What it carries.
        expected: &'static str,
    },
    /// An event's first element is missing, or neither string, number nor null.
    #[error("event without a name")]
    EventName,
    /// An event with a name that the libraries keep for themselves (spec §1.2 rule 3).
    #[error("reserved event name {name:?}")]
    ReservedName {
        /// The name.
        name: &'static str,
    },
    /// More elements than an event or ack may have.
    #[error("{count} arguments, limit {limit}")]
    TooManyArguments {
        /// Found, the event's name included.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// A placeholder without a number, or with one that no attachment has.
    #[error("illegal attachment placeholder")]
    Placeholder,
    /// A text packet where an attachment was due.
    #[error("text packet while {missing} attachments are missing")]
    TextInsteadOfAttachment {
        /// Attachments still due.
        missing: usize,
    },
    /// A binary message that no head announced.
    #[error("attachment without a head")]
    AttachmentWithoutHead,
}

/// A text is not exactly one JSON value (RFC 8259), or nests too deep.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text ends inside a value.
    #[error("unexpected end of json")]
    End,
    /// A byte that cannot stand there.
    #[error("unexpected byte {byte:#04x} at {at} in json")]
    Unexpected {
        /// Offset in bytes.
        at: usize,
        /// The byte found.
        byte: u8,
    },
    /// A backslash with something that is no escape.
    #[error("invalid escape at {at} in json")]
    Escape {
        /// Offset in bytes.
        at: usize,
    },
    /// More arrays and objects inside each other than allowed.
    #[error("json nested deeper than {limit}")]
    TooDeep {
        /// The bound passed in.
        limit: usize,
    },
}

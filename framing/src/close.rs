//! Why a connection ends, who caused it, and whether coming back makes sense.

use std::fmt;

use crate::error::{PacketError, PayloadError, ProtocolError};
use crate::socket::Namespace;

/// Who caused the end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Initiator {
    /// The client asked for it or broke the protocol.
    Client,
    /// The broker decided it.
    Server,
    /// Neither: the way between them was lost.
    Network,
}

/// Why a session ends.
///
/// [`Display`](fmt::Display) is for logs and names the culprit; [`text`](Self::text) is the
/// reason that Socket.IO servers report to applications.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// No pong within `pingTimeout` after a ping.
    PingTimeout,
    /// The client sent an Engine.IO close packet.
    ClientClosed,
    /// The transport is gone without a word.
    TransportClosed,
    /// The transport failed, or was used against its rules (two polls at once).
    TransportError,
    /// The client sent a ping; in Engine.IO 4 only servers do.
    HeartbeatDirection,
    /// A frame is not an Engine.IO packet.
    BadPacket(PacketError),
    /// A polling body is not a payload.
    BadPayload(PayloadError),
    /// A message is not a Socket.IO packet.
    ParseError(ProtocolError),
    /// A packet for a namespace that the client never joined.
    NotConnected(Namespace),
    /// More namespaces than one session may join.
    TooManyNamespaces {
        /// [`Limits::max_namespaces`](crate::limits::Limits::max_namespaces).
        limit: usize,
    },
    /// No namespace joined in time.
    ConnectTimeout,
    /// A frame longer than `maxPayload`, refused before it was read.
    TooLarge {
        /// The announced limit in bytes.
        limit: usize,
    },
    /// A message in more frames than one may have.
    TooManyFragments {
        /// How many.
        limit: usize,
    },
    /// The client reads slower than it is sent to. It may come back.
    SlowConsumer,
    /// The broker stops. The client may come back, to the next one.
    ShuttingDown,
    /// The broker ended the session for a reason of its own.
    ServerDisconnect,
}

impl CloseReason {
    /// The reason as the official server reports it.
    pub fn text(&self) -> &'static str {
        match self {
            Self::PingTimeout => "ping timeout",
            Self::ClientClosed | Self::TransportClosed => "transport close",
            Self::TransportError
            | Self::HeartbeatDirection
            | Self::TooLarge { .. }
            | Self::TooManyFragments { .. } => "transport error",
            Self::BadPacket(_) | Self::BadPayload(_) => "parse error",
            // The official server closes its own connection on a Socket.IO parse error.
            Self::ParseError(_) | Self::SlowConsumer => "forced close",
            Self::ServerDisconnect => "server namespace disconnect",
            Self::NotConnected(_) | Self::TooManyNamespaces { .. } | Self::ConnectTimeout => {
                "forced server close"
            }
            Self::ShuttingDown => "server shutting down",
        }
    }

    /// Who caused it.
    pub fn initiator(&self) -> Initiator {
        match self {
            Self::PingTimeout | Self::TransportClosed | Self::TransportError => Initiator::Network,
            Self::SlowConsumer | Self::ShuttingDown | Self::ServerDisconnect => Initiator::Server,
            _ => Initiator::Client,
        }
    }

    /// Whether the same client doing the same again can fare better.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::SlowConsumer | Self::ShuttingDown | Self::ConnectTimeout | Self::ClientClosed => true,
            Self::ServerDisconnect => false,
            other => other.initiator() == Initiator::Network,
        }
    }

    /// Status of the WebSocket close frame (RFC 6455 §7.4.1 and the IANA registry).
    ///
    /// JavaScript clients reconnect after any of them.
    pub fn websocket_code(&self) -> u16 {
        match self {
            Self::TooLarge { .. } | Self::TooManyFragments { .. } => 1009,
            Self::ShuttingDown => 1012,
            Self::SlowConsumer => 1013,
            Self::ClientClosed | Self::TransportClosed | Self::PingTimeout | Self::ServerDisconnect => 1000,
            Self::TransportError => 1011,
            Self::BadPacket(_)
            | Self::BadPayload(_)
            | Self::ParseError(_)
            | Self::HeartbeatDirection
            | Self::NotConnected(_) => 1002,
            Self::TooManyNamespaces { .. } | Self::ConnectTimeout => 1008,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadPacket(error) => write!(f, "{}: {error}", self.text()),
            Self::BadPayload(error) => write!(f, "{}: {error}", self.text()),
            Self::ParseError(error) => write!(f, "parse error: {error}"),
            Self::HeartbeatDirection => f.write_str("invalid heartbeat direction"),
            Self::NotConnected(ns) => write!(f, "packet for namespace {ns} that was never joined"),
            Self::TooManyNamespaces { limit } => write!(f, "more than {limit} namespaces"),
            Self::ConnectTimeout => f.write_str("no namespace joined in time"),
            Self::TooLarge { limit } => write!(f, "frame longer than {limit} bytes"),
            Self::TooManyFragments { limit } => write!(f, "message in more than {limit} frames"),
            Self::SlowConsumer => f.write_str("slow consumer"),
            Self::ClientClosed => f.write_str("closed by the client"),
            Self::PingTimeout
            | Self::TransportClosed
            | Self::TransportError
            | Self::ShuttingDown
            | Self::ServerDisconnect => f.write_str(self.text()),
        }
    }
}

impl std::error::Error for CloseReason {}

impl From<PacketError> for CloseReason {
    fn from(error: PacketError) -> Self {
        Self::BadPacket(error)
    }
}

impl From<PayloadError> for CloseReason {
    fn from(error: PayloadError) -> Self {
        Self::BadPayload(error)
    }
}

impl From<ProtocolError> for CloseReason {
    fn from(error: ProtocolError) -> Self {
        Self::ParseError(error)
    }
}

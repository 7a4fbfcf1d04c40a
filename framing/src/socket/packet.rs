//! Whole packets, attachments included.

use bytes::Bytes;

use super::{Event, Namespace};
use crate::json::RawJson;

/// A packet that a client may send. Whether it was sent as text or with attachments is for
/// its attachments to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// `0`: asks to join a namespace.
    Connect {
        /// Which one.
        ns: Namespace,
        /// The handshake's `auth`: an object, if it was given.
        auth: Option<RawJson>,
    },
    /// `1`: leaves a namespace.
    Disconnect {
        /// Which one.
        ns: Namespace,
    },
    /// `2` and `5`.
    Event {
        /// Where.
        ns: Namespace,
        /// What.
        event: Event,
    },
    /// `3` and `6`: answers an event of ours.
    Ack {
        /// Where.
        ns: Namespace,
        /// The id that the event carried.
        id: u64,
        /// The answer.
        args: Vec<RawJson>,
        /// What the placeholders of the answer stand for.
        attachments: Vec<Bytes>,
    },
}

impl Packet {
    /// The namespace it is for.
    pub fn ns(&self) -> &Namespace {
        match self {
            Self::Connect { ns, .. }
            | Self::Disconnect { ns }
            | Self::Event { ns, .. }
            | Self::Ack { ns, .. } => ns,
        }
    }
}

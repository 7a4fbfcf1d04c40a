//! A fresh WebSocket that wants to take over a polling session.

use thiserror::Error;

use super::Packet;
use crate::error::PacketError;
use crate::frame::Frame;

/// What to do after a frame on the fresh WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeStep {
    /// Answer `3probe`, and let a waiting poll end with a noop.
    ReplyPong,
    /// The session moves here.
    Upgrade,
}

/// Why the fresh WebSocket is closed. The session stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProbeError {
    /// A frame that is no packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A packet other than a probe's ping or an upgrade.
    #[error("packet other than probe or upgrade on a websocket that has not taken over")]
    Unexpected,
}

/// The upgrade's dialogue, as the official server leads it: `2probe` → `3probe` as often as
/// it is asked, `5` → upgrade, anything else ends it.
///
/// How long it may take is the caller's to watch (the official server allows 10 s).
#[derive(Debug, Clone, Default)]
pub struct Probe {
    done: bool,
}

impl Probe {
    /// Takes a frame of the fresh WebSocket.
    ///
    /// After [`ProbeStep::Upgrade`] frames belong to the session, not here.
    ///
    /// # Errors
    ///
    /// The WebSocket is to be closed, the session is not.
    pub fn receive(&mut self, frame: Frame) -> Result<ProbeStep, ProbeError> {
        if self.done {
            return Err(ProbeError::Unexpected);
        }
        let step = match Packet::decode(frame) {
            Ok(Packet::Ping { probe: true }) => return Ok(ProbeStep::ReplyPong),
            Ok(Packet::Upgrade) => Ok(ProbeStep::Upgrade),
            Ok(_) => Err(ProbeError::Unexpected),
            Err(error) => Err(error.into()),
        };
        self.done = true;
        step
    }
}

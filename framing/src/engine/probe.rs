//! A fresh WebSocket that wants to take over a polling session.

use std::time::Instant;

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
    /// The client did not finish in time.
    #[error("upgrade not finished in time")]
    Timeout,
}

/// The upgrade's dialogue, as the official server leads it: `2probe` → `3probe` as often as
/// it is asked, `5` → upgrade, anything else ends it.
#[derive(Debug, Clone)]
pub struct Probe {
    deadline: Instant,
    done: bool,
}

impl Probe {
    /// A dialogue that must be over by `deadline` (the official server allows 10 s).
    pub fn new(deadline: Instant) -> Self {
        Self {
            deadline,
            done: false,
        }
    }

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

    /// Lets time pass.
    ///
    /// # Errors
    ///
    /// [`ProbeError::Timeout`] at or after the deadline, if the dialogue is not over.
    pub fn poll(&self, now: Instant) -> Result<(), ProbeError> {
        match !self.done && self.deadline <= now {
            true => Err(ProbeError::Timeout),
            false => Ok(()),
        }
    }

    /// When to [`poll`](Self::poll).
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

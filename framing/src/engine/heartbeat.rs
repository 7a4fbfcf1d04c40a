//! One session's heartbeat and end, whatever carries it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;

use super::Packet;
use crate::close::CloseReason;
use crate::error::PacketError;
use crate::frame::Frame;

/// What a frame meant for the layer above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Nothing: it was a pong, or had no meaning here.
    Nothing,
    /// A text message.
    Message(ByteString),
    /// A binary message.
    Binary(Bytes),
    /// The client closed the session.
    Closed,
}

/// The Engine.IO side of one session. It outlives transports: an upgrade does not touch it.
///
/// ```text
///              poll: a ping is due            poll: pong is late
///   Resting ────────────────────► AwaitingPong ───────────────► Closed
///      ▲                               │                          ▲
///      └────── a pong for each ping ───┘     close packet, error ─┘
/// ```
#[derive(Debug, Clone)]
pub struct EngineSession {
    ping_interval: Duration,
    ping_timeout: Duration,
    grid: Option<Grid>,
    phase: Phase,
}

/// Moments at which the pings of many sessions leave together: whoever sends wakes up once for all of them.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    /// One of the moments.
    pub epoch: Instant,
    /// The time from one to the next. A ping leaves so much earlier at most.
    pub mesh: Duration,
}

impl Grid {
    /// The last moment that is not behind `due`.
    fn before(&self, due: Instant) -> Instant {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let behind = micros(due.saturating_duration_since(self.epoch)).checked_rem(micros(self.mesh));
        due.checked_sub(Duration::from_micros(behind.unwrap_or_default())).unwrap_or(due)
    }
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Resting {
        ping_at: Instant,
    },
    /// A pong for each ping that was sent: all but the last may have been on their way before it.
    AwaitingPong {
        until: Instant,
        pongs: u32,
    },
    Closed {
        at: Instant,
    },
}

impl EngineSession {
    /// A session opened at `now`; its first ping is due one interval later.
    pub fn new(ping_interval: Duration, ping_timeout: Duration, now: Instant) -> Self {
        let phase = Phase::Resting { ping_at: now + ping_interval };
        Self { ping_interval, ping_timeout, grid: None, phase }
    }

    /// The same session, whose pings leave on a grid.
    #[must_use]
    pub fn on(mut self, grid: Grid) -> Self {
        self.grid = Some(grid);
        if let Phase::Resting { ping_at } = &mut self.phase {
            *ping_at = grid.before(*ping_at);
        }
        self
    }

    fn next_ping(&self, now: Instant) -> Instant {
        let due = now + self.ping_interval;
        self.grid.map_or(due, |grid| grid.before(due))
    }

    /// Takes a frame from whatever transport the session is on.
    ///
    /// A pong that nobody asked for changes nothing. After the session's end every frame is
    /// [`Received::Nothing`], as the rest of a polling body is after a close packet.
    ///
    /// # Errors
    ///
    /// The reason to close: a frame that is no packet, or a ping, which only servers send.
    pub fn receive(&mut self, frame: Frame, now: Instant) -> Result<Received, CloseReason> {
        if let Phase::Closed { .. } = self.phase {
            return Ok(Received::Nothing);
        }
        let received = match Packet::decode(frame) {
            Ok(Packet::Message(text)) => Ok(Received::Message(text)),
            Ok(Packet::Binary(data)) => Ok(Received::Binary(data)),
            Ok(Packet::Pong { .. }) => {
                match &mut self.phase {
                    Phase::AwaitingPong { pongs, .. } if *pongs > 1 => *pongs -= 1,
                    Phase::AwaitingPong { .. } => {
                        self.phase = Phase::Resting { ping_at: self.next_ping(now) };
                    }
                    Phase::Resting { .. } | Phase::Closed { .. } => (),
                }
                Ok(Received::Nothing)
            }
            Ok(Packet::Close) => Ok(Received::Closed),
            Ok(Packet::Ping { .. }) => Err(CloseReason::HeartbeatDirection),
            // The official server has no use for these from a client and lets them pass.
            Ok(Packet::Open(_) | Packet::Upgrade | Packet::Noop) | Err(PacketError::Handshake) => {
                Ok(Received::Nothing)
            }
            Err(error) => Err(error.into()),
        };
        if matches!(received, Ok(Received::Closed) | Err(_)) {
            self.phase = Phase::Closed { at: now };
        }
        received
    }

    /// Lets time pass: a ping to send, if one is due. Call it at the [`deadline`](Self::deadline).
    ///
    /// # Errors
    ///
    /// [`CloseReason::PingTimeout`], once, if the pong did not come.
    pub fn poll(&mut self, now: Instant) -> Result<Option<Packet>, CloseReason> {
        match self.phase {
            Phase::Resting { ping_at } if ping_at <= now => {
                // A timer that fires a little late must not add to the peer's time; one that slept with
                // the machine must not take it away.
                let late = now.saturating_duration_since(ping_at);
                let sent = if late < self.ping_timeout / 10 { ping_at } else { now };
                self.phase = Phase::AwaitingPong { until: sent + self.ping_timeout, pongs: 1 };
                Ok(Some(Packet::Ping { probe: false }))
            }
            Phase::AwaitingPong { until, .. } if until <= now => {
                self.phase = Phase::Closed { at: now };
                Err(CloseReason::PingTimeout)
            }
            _ => Ok(None),
        }
    }

    /// When to [`poll`](Self::poll) next; the moment of its end for a closed session.
    pub fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Resting { ping_at } => ping_at,
            Phase::AwaitingPong { until, .. } => until,
            Phase::Closed { at } => at,
        }
    }

    /// Asks the peer for a sign of life out of turn, at most `within` from now. `pings` that are sent for it, one or none:
    /// the pong for one that was sent before may have left while the peer still lived, and one that has not left yet
    /// proves as much as another. A session that has ended is asked nothing.
    pub fn prove(&mut self, within: Duration, pings: u32, now: Instant) {
        let latest = now + within.min(self.ping_timeout);
        self.phase = match self.phase {
            // One that still waits to leave was answered ahead of its time.
            Phase::Resting { .. } => Phase::AwaitingPong { until: latest, pongs: 1 },
            Phase::AwaitingPong { until, pongs } => {
                Phase::AwaitingPong { until: latest.min(until), pongs: pongs.saturating_add(pings) }
            }
            Phase::Closed { at } => Phase::Closed { at },
        };
    }

    /// Gives a pong that is awaited more time, `within` from now: the peer has shown in another way that it lives, and what
    /// it says is not read. Nothing changes if none is awaited.
    pub fn put_off(&mut self, within: Duration, now: Instant) {
        if let Phase::AwaitingPong { until, .. } = &mut self.phase {
            *until = now + within;
        }
    }

    /// Whether a ping is on its way that the peer has not answered.
    pub fn awaits_pong(&self) -> bool {
        matches!(self.phase, Phase::AwaitingPong { .. })
    }

    /// Whether the session has ended, by a close packet or by an error returned here.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }
}

//! When a session's heartbeat is due.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use framing::engine::{EngineSession, Grid};

use super::{Application, Core, SessionConfig};

/// Timers fire up to this much late. A client that waits for exactly the advertised time must find
/// its session closed, so the heartbeat is so much early instead.
const TIMER_GRAIN: Duration = Duration::from_millis(2);

/// From one moment to the next at which pings leave, if they are not so frequent that it would be more than a
/// thousandth of their interval. Of ten thousand silent sessions eight are pinged at once then, and a worker wakes
/// up for those and for their pongs, which come together too. More at once would make others wait.
const MESH: Duration = Duration::from_millis(20);

/// The same for all sessions of the process.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A session that opens now.
pub(super) fn engine(config: &SessionConfig, now: Instant) -> EngineSession {
    let grid = Grid { epoch: *EPOCH, mesh: MESH.min(config.ping_interval / 1000) };
    EngineSession::new(config.ping_interval, config.ping_timeout, now).on(grid)
}

impl<A: Application> Core<A> {
    /// When the heartbeat has something to do.
    pub(super) fn heartbeat(&self) -> Instant {
        let due = self.engine.deadline();
        due.checked_sub(TIMER_GRAIN).unwrap_or(due)
    }
}

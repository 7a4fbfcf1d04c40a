//! How a history is kept.

use std::{path::PathBuf, time::Duration};

use super::Retention;

/// What the lock file has behind the name of the database.
pub(super) const LOCK: &str = ".lock";

/// Settings of `[history]`.
#[derive(Clone, Debug)]
pub struct HistoryConfig {
    /// Where.
    pub place: Place,
    /// What a commit survives.
    pub synchronous: Synchronous,
    /// Whether a file is read through for damage before it is used.
    pub check: bool,
    /// How long to wait for another program that locks the file: a backup, or a broker that is ending.
    pub busy_timeout: Duration,
    /// When changes that came together are committed.
    pub batch: BatchLimits,
    /// Changes that may wait.
    pub waiting: WaitingLimits,
    /// Messages that a room keeps.
    pub retention: Retention,
}

/// Where a history is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file, which is made if it is not there.
    File(PathBuf),
    /// In memory: it ends with the process.
    Memory,
}

/// What a commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// The end of the process, however sudden. A loss of power may take the last commits.
    Normal,
    /// A loss of power too, at the price of waiting for the disk.
    Full,
}

/// All that waits when the pause after the last commit is over is a batch; a long one is committed in parts.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// So many changes are a part.
    pub changes: usize,
    /// What takes so long to make is a part.
    pub time: Duration,
    /// Time from one commit to the next: what comes meanwhile shares one, and its cost.
    pub pause: Duration,
}

/// Changes that are not committed yet.
#[derive(Clone, Copy, Debug)]
pub struct WaitingLimits {
    /// How many.
    pub changes: usize,
    /// How long together.
    pub bytes: usize,
}

impl HistoryConfig {
    /// Names that the file, and what is beside it, take from the folder.
    pub fn file_names(&self) -> Vec<String> {
        let Place::File(path) = &self.place else { return Vec::new() };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ["", "-wal", "-shm", "-journal", LOCK].iter().map(|end| format!("{name}{end}")).collect()
    }
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            place: Place::Memory,
            synchronous: Synchronous::Normal,
            check: true,
            busy_timeout: Duration::from_secs(5),
            batch: BatchLimits {
                changes: 1024,
                time: Duration::from_millis(20),
                pause: Duration::from_millis(1),
            },
            waiting: WaitingLimits { changes: 65_536, bytes: 64 * 1024 * 1024 },
            retention: Retention { messages: 2000, bytes: 16 * 1024 * 1024 },
        }
    }
}

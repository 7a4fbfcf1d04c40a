//! One writer at a time for a folder, across processes: the broker, and the command line beside it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::atomic_file::keep_owner;

const FILE: &str = ".lock";

const PAUSE: Duration = Duration::from_millis(5);

/// Held until dropped; the system releases it with the process, whatever becomes of that.
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Waits for its turn, but not longer than `patience`; `TimedOut` then. Whoever holds the lock reads and writes
    /// one file, so only a process that stands still takes long. Blocks.
    pub(super) fn take(folder: &Path, patience: Duration) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let path = folder.join(FILE);
        let file = options.open(&path)?;
        keep_owner(&file, folder);
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                // A file system without locks has one writer, or takes the risk.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(Self { _file: file });
                }
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if began.elapsed() >= patience => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(TryLockError::WouldBlock) => {
                    #[cfg(test)]
                    AWAITED.lock().insert(folder.to_owned());
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "on the blocking pool or the command line"
                    )]
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }
}

/// Folders for which somebody has had to wait.
#[cfg(test)]
static AWAITED: std::sync::LazyLock<parking_lot::Mutex<std::collections::HashSet<std::path::PathBuf>>> =
    std::sync::LazyLock::new(Default::default);

/// Returns once another thread waits for the folder.
#[cfg(test)]
pub(super) fn until_awaited(folder: &Path) {
    let began = Instant::now();
    while !AWAITED.lock().contains(folder) {
        assert!(began.elapsed() < Duration::from_secs(20), "nobody waits for {}", folder.display());
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let counter = folder.path().join("n");
        std::fs::write(&counter, "0").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _lock = FolderLock::take(folder.path(), Duration::from_secs(20)).unwrap();
                    let n: u32 = std::fs::read_to_string(&counter).unwrap().parse().unwrap();
                    std::fs::write(&counter, (n + 1).to_string()).unwrap();
                });
            }
        });
        assert_eq!(std::fs::read_to_string(&counter).unwrap(), "8");
    }
}

//! The log files: entries wait here, bounded, and a thread of their own writes them. Whoever logs never waits
//! for a disk.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use actors::{
    logs::{Entry, LogFile, SERVICE},
    metrics::Metrics,
};
use arc_swap::ArcSwapOption;
use log::{Level, error, warn};
use serde_json::Map;

use super::{LogConfig, rotation::RotatingFile, timestamp};

/// What the last run wrote last. Of the logs themselves nothing is left by a new run, and a run may begin
/// because the one before it ended badly.
const PREVIOUS: &str = "previous.log";

/// Locked by the broker that writes here: another one on the same folder must not empty its files.
const LOCK: &str = ".lock";

/// An entry costs that much besides its text.
const OVERHEAD: usize = 64;

/// How long [`Files::flush`] waits for a disk.
const FLUSH: Duration = Duration::from_secs(2);

/// The way to the thread.
pub(super) struct Files {
    orders: Sender<Order>,
    max_waiting: usize,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Bytes of entries that wait.
    waiting: AtomicUsize,
    /// Entries that are lost, and of which the files do not say so yet.
    lost: AtomicU64,
    /// The files are there.
    open: AtomicBool,
    metrics: ArcSwapOption<Metrics>,
}

enum Order {
    Write {
        level: Level,
        text: String,
    },
    Flushed(SyncSender<()>),
    /// The thread waits until it is told to go on.
    #[cfg(test)]
    Hold(Receiver<()>),
}

impl Shared {
    fn lose(&self) {
        self.lost.fetch_add(1, Relaxed);
        if let Some(metrics) = &*self.metrics.load() {
            metrics.log_entries_lost.inc();
        }
    }

    fn limit_reached(&self, limit: &'static str) {
        if let Some(metrics) = &*self.metrics.load() {
            metrics.limit_reached(limit);
        }
    }
}

impl Files {
    /// Empties the log files of that folder, and starts the thread. If another broker writes there, the thread
    /// waits for its end: a broker that starts again need not be quicker than the one before it.
    pub(super) fn create(folder: &Path, config: &LogConfig) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let lock = File::create(folder.join(LOCK))?;
        let shared = Arc::<Shared>::default();
        let place = Place { folder: folder.to_owned(), max_bytes: config.file_bytes, old: config.old_files };
        let files = match lock.try_lock() {
            Err(TryLockError::WouldBlock) => None,
            // A file system without locks is as good as one without other brokers.
            Ok(()) | Err(TryLockError::Error(_)) => Some(place.open(&shared)?),
        };
        let (orders, given) = channel();
        let to = shared.clone();
        let run = move || match files.map_or_else(|| place.wait(&lock, &to), Ok) {
            Ok(files) => {
                let writer = Writer { files, shared: to, _lock: lock };
                writer.run(&given);
            }
            Err(error) => error!(error:%; "no log files: logs/ cannot be written"),
        };
        thread::Builder::new().name("log".to_owned()).spawn(run)?;
        Ok(Self { orders, max_waiting: config.waiting_bytes, shared })
    }

    pub(super) fn count_in(&self, metrics: &Arc<Metrics>) {
        self.shared.metrics.store(Some(metrics.clone()));
    }

    /// Has an entry written, unless too much waits.
    pub(super) fn push(&self, level: Level, text: String) {
        let cost = text.len() + OVERHEAD;
        let before = self.shared.waiting.fetch_add(cost, Relaxed);
        if before + cost > self.max_waiting {
            self.shared.waiting.fetch_sub(cost, Relaxed);
            self.shared.limit_reached("log.waiting_bytes");
            return self.shared.lose();
        }
        if self.orders.send(Order::Write { level, text }).is_err() {
            self.shared.lose();
        }
    }

    /// Waits until what was pushed before is with the system.
    pub(super) fn flush(&self) {
        if !self.shared.open.load(Relaxed) {
            return;
        }
        let (done, flushed) = sync_channel(1);
        if self.orders.send(Order::Flushed(done)).is_ok() {
            // A disk that takes longer must not keep the process from ending.
            let _ = flushed.recv_timeout(FLUSH);
        }
    }
}

/// Where the files are to be, and how large.
struct Place {
    folder: PathBuf,
    max_bytes: u64,
    old: usize,
}

type OpenFiles = Vec<(LogFile, RotatingFile)>;

impl Place {
    fn open(&self, shared: &Shared) -> io::Result<OpenFiles> {
        let last = self.folder.join(LogFile::Combined.name());
        if last.exists() {
            fs::rename(&last, self.folder.join(PREVIOUS))?;
        }
        let mut files = Vec::new();
        for file in LogFile::ALL {
            let path = self.folder.join(file.name());
            files.push((file, RotatingFile::create(path, self.max_bytes, self.old)?));
        }
        shared.open.store(true, Relaxed);
        Ok(files)
    }

    fn wait(&self, lock: &File, shared: &Shared) -> io::Result<OpenFiles> {
        warn!("another broker writes to logs/: no log files until it ends");
        lock.lock()?;
        self.open(shared)
    }
}

struct Writer {
    files: OpenFiles,
    shared: Arc<Shared>,
    _lock: File,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        for order in orders {
            match order {
                Order::Write { level, text } => {
                    let cost = text.len() + OVERHEAD;
                    self.write(level, &text);
                    self.shared.waiting.fetch_sub(cost, Relaxed);
                    self.report();
                }
                // Whoever asked may wait no longer.
                Order::Flushed(done) => drop(done.try_send(())),
                #[cfg(test)]
                Order::Hold(held) => drop(held.recv()),
            }
        }
    }

    fn write(&mut self, level: Level, text: &str) -> bool {
        let mut written = true;
        for (_, file) in self.files.iter_mut().filter(|(file, _)| file.takes(level)) {
            match file.write(text.as_bytes()) {
                Ok(true) => self.shared.limit_reached("log.file_bytes"),
                Ok(false) => (),
                Err(_) => written = false,
            }
        }
        if !written {
            self.shared.lose();
        }
        written
    }

    /// A gap is seen where it is.
    fn report(&mut self) {
        let lost = self.shared.lost.swap(0, Relaxed);
        if lost == 0 {
            return;
        }
        let mut fields = Map::new();
        fields.insert("entries".to_owned(), lost.into());
        let (time, level) = (timestamp(), Level::Warn);
        let message =
            "log entries lost: more were waiting than log.waiting_bytes, or a file was not writable";
        let entry = Entry { time: &time, level, service: SERVICE, code: None, event: None, message, fields };
        if !self.write(level, &entry.to_text()) {
            self.shared.lost.fetch_add(lost, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Log {
        folder: tempfile::TempDir,
        files: Files,
        metrics: Arc<Metrics>,
    }

    impl Log {
        fn new(change: impl FnOnce(&mut LogConfig)) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut config = LogConfig::default();
            change(&mut config);
            let files = Files::create(folder.path(), &config).unwrap();
            let metrics = Arc::<Metrics>::default();
            files.count_in(&metrics);
            Self { folder, files, metrics }
        }

        fn text(&self, name: &str) -> String {
            self.files.flush();
            fs::read_to_string(self.folder.path().join(name)).unwrap()
        }

        fn counted(&self, line: &str) -> bool {
            self.metrics.text().lines().any(|found| found == line)
        }
    }

    #[test]
    fn each_entry_goes_where_its_level_belongs() {
        let log = Log::new(|_| ());
        for level in [Level::Error, Level::Warn, Level::Info, Level::Debug] {
            log.files.push(level, format!("{level}\n"));
        }
        assert_eq!(log.text("combined.log"), "ERROR\nWARN\nINFO\nDEBUG\n");
        assert_eq!(log.text("info.log"), "ERROR\nWARN\nINFO\n");
        assert_eq!(log.text("warn.log"), "ERROR\nWARN\n");
        assert_eq!(log.text("error.log"), "ERROR\n");
    }

    #[test]
    fn log_files_are_bounded_and_so_is_their_number() {
        let log = Log::new(|config| (config.file_bytes, config.old_files) = (20, 2));
        for n in 0..10 {
            log.files.push(Level::Debug, format!("entry {n}\n"));
        }
        assert_eq!(log.text("combined.log"), "entry 8\nentry 9\n");
        assert_eq!(log.text("combined.log.1"), "entry 6\nentry 7\n");
        assert_eq!(log.text("combined.log.2"), "entry 4\nentry 5\n");
        assert!(!log.folder.path().join("combined.log.3").exists());
        assert!(log.counted("newage_limit_reached_total{limit=\"log.file_bytes\"} 4"));
    }

    #[test]
    fn entries_that_wait_are_bounded_and_the_gap_is_seen() {
        let log = Log::new(|config| config.waiting_bytes = 4 * (OVERHEAD + 2));
        let (hold, held) = sync_channel(0);
        log.files.orders.send(Order::Hold(held)).unwrap();
        for _ in 0..7 {
            log.files.push(Level::Info, "x\n".to_owned());
        }
        hold.send(()).unwrap();
        let text = log.text("combined.log");
        assert!(text.starts_with("x\n"), "{text}");
        assert_eq!(text.lines().filter(|line| *line == "x").count(), 4, "{text}");
        assert!(text.contains("\"entries\": 3") && log.text("warn.log").contains("lost"), "{text}");
        assert!(log.counted("newage_log_entries_lost_total 3"), "{}", log.metrics.text());
        assert!(log.counted("newage_limit_reached_total{limit=\"log.waiting_bytes\"} 3"));
        assert_eq!(log.files.shared.waiting.load(Relaxed), 0);
    }

    #[test]
    fn a_new_run_waits_for_the_end_of_the_last_one_and_keeps_it_aside() {
        let Log { folder, files, .. } = Log::new(|_| ());
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        files.push(Level::Error, "the end\n".to_owned());
        files.flush();
        let again = Files::create(folder.path(), &LogConfig::default()).unwrap();
        again.push(Level::Warn, "the beginning\n".to_owned());
        // Nothing is written yet, and nobody waits for that.
        again.flush();
        assert_eq!((read("combined.log"), read("error.log")), ("the end\n".into(), "the end\n".into()));
        drop(files);
        while !again.shared.open.load(Relaxed) {
            thread::yield_now();
        }
        again.flush();
        assert_eq!((read("combined.log"), read("error.log")), ("the beginning\n".into(), String::new()));
        assert_eq!(read(PREVIOUS), "the end\n");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("logs");
        fs::write(&file, "").unwrap();
        assert!(Files::create(&file, &LogConfig::default()).is_err());
    }
}

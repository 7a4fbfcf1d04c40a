//! The log files of `logs/`: how an [`Entry`] is written there, and how a page of them is read back
//! (spec §4.8). Who writes them, and when a file is full, is the edge's business; what is agreed on is that
//! `combined.log` becomes `combined.log.1` then, and so on.

mod entry;
mod page;

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use actix::prelude::*;
use same_file::Handle;
use tokio::sync::Semaphore;

pub use entry::{Entry, SERVICE};
use page::Pager;
pub use page::{LevelFilter, LogPage};

use crate::metrics::Metrics;

/// The folder of the log files inside the data directory.
pub const FOLDER: &str = "logs";

/// The most full files of one log that are kept.
pub const MAX_OLD_FILES: usize = 100;

/// A log that may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFile {
    /// Everything.
    Combined,
    /// Errors.
    Error,
    /// All but what is for debugging.
    Info,
    /// Warnings and errors.
    Warn,
}

impl LogFile {
    /// Every log.
    pub const ALL: [Self; 4] = [Self::Combined, Self::Error, Self::Info, Self::Warn];

    /// The file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Combined => "combined.log",
            Self::Error => "error.log",
            Self::Info => "info.log",
            Self::Warn => "warn.log",
        }
    }

    /// Whether entries of that level stand in it.
    pub fn takes(self, level: log::Level) -> bool {
        match self {
            Self::Combined => true,
            Self::Error => level == log::Level::Error,
            Self::Warn => level <= log::Level::Warn,
            Self::Info => level <= log::Level::Info,
        }
    }

    /// The log of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name() == name)
    }
}

/// The path of the `n`th full file of a log, the newest being the first.
pub fn old_file(path: &Path, n: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

/// Reads logs on the blocking pool, so many at once.
pub struct Logs {
    folder: PathBuf,
    reads: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Asks for a page of a log.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<LogPage, ReadLogError>")]
pub struct ReadLog {
    /// Which log.
    pub file: LogFile,
    /// Which entries.
    pub filter: LevelFilter,
    /// Which page of them, from 1.
    pub page: u64,
    /// Entries of a page.
    pub page_size: usize,
}

/// Why there is no page. `Display` is the message to show; it holds no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadLogError {
    /// As many are being read as may be (`log.max_reads`).
    #[error("Server is busy, try again later.")]
    Busy,
    /// Nothing is written to log files.
    #[error("Log file not found.")]
    Missing,
    /// The system does not let us.
    #[error("Log file cannot be read: {0}.")]
    Io(io::ErrorKind),
}

impl Logs {
    /// Reads logs of that data directory.
    pub fn new(data: &Path, max_reads: usize, metrics: Arc<Metrics>) -> Self {
        Self { folder: data.join(FOLDER), reads: Arc::new(Semaphore::new(max_reads)), metrics }
    }
}

impl Actor for Logs {
    type Context = Context<Self>;
}

impl Handler<ReadLog> for Logs {
    type Result = ResponseFuture<Result<LogPage, ReadLogError>>;

    fn handle(&mut self, question: ReadLog, _: &mut Self::Context) -> Self::Result {
        let Ok(permit) = self.reads.clone().try_acquire_owned() else {
            self.metrics.limit_reached("log.max_reads");
            return Box::pin(async { Err(ReadLogError::Busy) });
        };
        let path = self.folder.join(question.file.name());
        let work = tokio::task::spawn_blocking(move || {
            let page = read(&path, question.filter, question.page, question.page_size);
            drop(permit);
            page
        });
        Box::pin(async move {
            let page = work.await.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
            page.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => ReadLogError::Missing,
                other => ReadLogError::Io(other),
            })
        })
    }
}

/// Reads a log with its full files, oldest first. Blocks.
fn read(path: &Path, filter: LevelFilter, page: u64, size: usize) -> io::Result<LogPage> {
    let mut pager = Pager::new(filter, page, size);
    for file in files(path)?.iter().rev().map(Handle::as_file) {
        // Only as far as it is now: whoever writes may be faster than we read.
        let len = file.metadata()?.len();
        pager.read(BufReader::new(File::take(file.try_clone()?, len)))?;
    }
    Ok(pager.finish())
}

/// The files of a log, newest first. Files that are open are the same ones after a rotation; one that was
/// renamed meanwhile would be found again under its next name.
fn files(path: &Path) -> io::Result<Vec<Handle>> {
    let mut files = vec![Handle::from_path(path)?];
    for n in 1..=MAX_OLD_FILES {
        match Handle::from_path(old_file(path, n)) {
            Ok(file) if files.contains(&file) => (),
            Ok(file) => files.push(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests;

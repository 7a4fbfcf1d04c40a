//! From a path to a database that can be relied on: whatever is wrong with the file is said before
//! anything is written to it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    HistoryConfig, HistoryError, Place, Synchronous,
    config::LOCK,
    schema::{APPLICATION_ID, STEPS, migrate, version_of},
};

/// Statements that are kept prepared: more than there are.
const STATEMENTS: usize = 64;

/// What a database begins with. SQLite takes a file of a few other bytes for an empty one.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// How often a lock is asked for again.
const RETRY: Duration = Duration::from_millis(10);

/// An open database.
pub(super) struct Opened {
    pub(super) conn: Connection,
    /// What errors call it.
    pub(super) file: Arc<str>,
    /// Locked while the history is open; the system unlocks it when the process ends, however it does.
    pub(super) lock: Option<File>,
}

/// Opens the database, makes it if it is not there, and brings it up to date. Blocks.
pub(super) fn open(config: &HistoryConfig) -> Result<Opened, HistoryError> {
    let Place::File(path) = &config.place else {
        let file: Arc<str> = ":memory:".into();
        let conn = Connection::open_in_memory().and_then(|conn| prepare(conn, config));
        let conn = conn.map_err(|error| HistoryError::of(&file, &error))?;
        return Ok(Opened { conn, file, lock: None });
    };
    let file: Arc<str> = path.to_string_lossy().into();
    let failed =
        |error: &io::Error| HistoryError::Failed { file: file.clone(), problem: error.to_string().into() };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    }
    let lock = private(&beside(path, LOCK)).map_err(|error| failed(&error))?;
    if !locked_within(&lock, config.busy_timeout).map_err(|error| failed(&error))? {
        return Err(HistoryError::InUse { file });
    }
    // SQLite gives its other files the rights of this one.
    let mut head = Vec::new();
    let read = private(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut head));
    read.map_err(|error| failed(&error))?;
    if !head.is_empty() {
        if head != MAGIC {
            let problem = "file is not a database".into();
            return Err(HistoryError::Damaged { file, problem });
        }
        inspect(path, &file, config.check)?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).and_then(|conn| prepare(conn, config));
    let conn = conn.map_err(|error| HistoryError::of(&file, &error))?;
    Ok(Opened { conn, file, lock: Some(lock) })
}

/// Locks a file, and waits for a process that is about to end: one that was killed holds its lock
/// until the system has cleared it away. False if it does not end.
fn locked_within(lock: &File, time: Duration) -> io::Result<bool> {
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if begun.elapsed() >= time => return Ok(false),
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(RETRY),
        }
    }
}

/// The path with something behind its name.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Opens a file that, if it is new, only its owner may read: what people write to each other is in it.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Looks at a file without writing to it: whose it is, which version it has, whether it is whole.
/// SQLite may leave an empty log beside it.
fn inspect(path: &Path, file: &Arc<str>, check: bool) -> Result<(), HistoryError> {
    let of = |error: rusqlite::Error| HistoryError::of(file, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(of)?;
    // The last one to close a database empties its log into it, else.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(of)?;
    let number = |pragma: &str| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let application = number("application_id").map_err(of)?;
    let found = number("user_version").map_err(of)?;
    let known = version_of(STEPS);
    if application != i64::from(APPLICATION_ID) {
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = conn.query_row(tables, [], |row| row.get(0)).map_err(of)?;
        // A process may have ended between making the file and the first step.
        if (application, found, tables) != (0, 0, 0) {
            return Err(HistoryError::Foreign { file: file.clone() });
        }
    } else if found > known {
        return Err(HistoryError::Newer { file: file.clone(), found, known });
    }
    if check {
        let problem: String = conn.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(of)?;
        if problem != "ok" {
            return Err(HistoryError::Damaged { file: file.clone(), problem: problem.into() });
        }
    }
    Ok(())
}

/// Sets a connection up, and takes the steps that the file lacks.
fn prepare(mut conn: Connection, config: &HistoryConfig) -> rusqlite::Result<Connection> {
    conn.busy_timeout(config.busy_timeout)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    if matches!(config.place, Place::File(_)) {
        let mode: String = conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
            let problem = format!("the write-ahead log cannot be used here, only {mode:?}");
            return Err(rusqlite::Error::SqliteFailure(code, Some(problem)));
        }
    }
    conn.pragma_update(
        None,
        "synchronous",
        match config.synchronous {
            Synchronous::Normal => "normal",
            Synchronous::Full => "full",
        },
    )?;
    // What SQLite needs to take one statement back: a file that is made and removed each time, else.
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update(None, "foreign_keys", false)?;
    migrate(&mut conn, STEPS)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    Ok(conn)
}

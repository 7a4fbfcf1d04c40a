//! The database behind a history: transactions, and what goes with each.

use std::{
    cell::Cell,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::Connection;

use super::{
    Change, HistoryConfig, HistoryError, Retention,
    open::{Opened, open},
};

/// One open database. Every call blocks.
pub(super) struct Store {
    pub(super) conn: Connection,
    pub(super) retention: Retention,
    /// Messages dropped beyond the bounds of their rooms, for the metric.
    pub(super) trimmed: Cell<usize>,
    file: Arc<str>,
    lock: Option<std::fs::File>,
}

impl Store {
    /// Opens what the configuration names. Mutes that have ended are forgotten, so that they do not
    /// gather over the years.
    pub(super) fn open(config: &HistoryConfig) -> Result<Self, HistoryError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self::open_at(config, i64::try_from(now).unwrap_or(i64::MAX))
    }

    /// The same, with the time in milliseconds since 1970.
    pub(super) fn open_at(config: &HistoryConfig, now_ms: i64) -> Result<Self, HistoryError> {
        let Opened { conn, file, lock } = open(config)?;
        let store = Self { conn, retention: config.retention, trimmed: Cell::new(0), file, lock };
        let ended = store.conn.execute("DELETE FROM mutes WHERE until_ms <= ?1", [now_ms]);
        ended.map_err(|error| store.failed(&error))?;
        Ok(store)
    }

    /// What errors and logs call it.
    pub(super) fn file(&self) -> &Arc<str> {
        &self.file
    }

    pub(super) fn failed(&self, error: &rusqlite::Error) -> HistoryError {
        HistoryError::of(&self.file, error)
    }

    fn run(&self, sql: &str) -> Result<(), HistoryError> {
        let run = || self.conn.prepare_cached(sql)?.execute([]);
        run().map(drop).map_err(|error| self.failed(&error))
    }

    /// Whether a transaction is open. An error of the disk may have ended it.
    pub(super) fn in_transaction(&self) -> bool {
        !self.conn.is_autocommit()
    }

    /// Opens a transaction.
    pub(super) fn begin(&self) -> Result<(), HistoryError> {
        self.run("BEGIN IMMEDIATE")
    }

    /// Makes the changes in the open transaction: all of them, or none if one fails.
    pub(super) fn apply(&self, changes: &[Change]) -> Result<(), HistoryError> {
        if let [change] = changes
            && !matches!(change, Change::MessagesRemoved { .. } | Change::MessagesCleared { .. })
        {
            // A change of one statement is none or all by itself.
            return self.apply_one(change);
        }
        self.run("SAVEPOINT changes")?;
        let applied = changes.iter().try_for_each(|change| self.apply_one(change));
        if applied.is_err() && self.in_transaction() {
            self.run("ROLLBACK TO changes")?;
        }
        if self.in_transaction() {
            self.run("RELEASE changes")?;
        }
        applied
    }

    /// Commits the open transaction. It is over afterwards, with or without success.
    pub(super) fn commit(&self) -> Result<(), HistoryError> {
        let committed = self.run("COMMIT");
        if committed.is_err() {
            self.roll_back();
        }
        committed
    }

    /// Ends the open transaction, if one is open, as if it had not been.
    pub(super) fn roll_back(&self) {
        self.trimmed.set(0);
        if self.in_transaction() {
            // The next BEGIN tells if this has failed.
            let _ = self.run("ROLLBACK");
        }
    }

    /// Leaves one file that is complete by itself, for another process to open.
    pub(super) fn close(&mut self) -> Result<(), HistoryError> {
        self.roll_back();
        let emptied = self.conn.pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(()));
        let emptied = emptied.map_err(|error| self.failed(&error));
        self.lock = None;
        emptied
    }
}

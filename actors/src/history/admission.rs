//! How many changes may wait. Counted where they are sent: a mailbox counts messages, and lets each
//! holder of its address past its bound (facts §3.2).

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Change, HistoryError, WaitingLimits};
use crate::metrics::Metrics;

/// What most of what is asked of a room changes, at most: a message, what has to go for it, a member, a role.
const CHANGES_OF_A_COMMAND: usize = 4;

/// The door to a history.
pub(super) struct Admission {
    limits: WaitingLimits,
    waiting: Mutex<Amount>,
    metrics: Arc<Metrics>,
}

#[derive(Clone, Copy, Default)]
struct Amount {
    changes: usize,
    bytes: usize,
}

/// Room for changes that wait; dropped, it is free again.
#[must_use = "the room is free again when it is dropped"]
pub struct Permit {
    size: Amount,
    admission: Arc<Admission>,
}

impl Admission {
    pub(super) fn new(limits: WaitingLimits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { limits, waiting: Mutex::default(), metrics })
    }

    /// Takes a permit for changes that belong together. If nothing waits they get one whatever their
    /// size, so that what is legal can always be stored.
    pub(super) fn admit(self: &Arc<Self>, changes: &[Change]) -> Result<Permit, HistoryError> {
        self.take(Amount::of(changes))
    }

    /// Takes a permit for what something that is asked of a room will change, which brings so many bytes.
    pub(super) fn reserve(self: &Arc<Self>, bytes: usize) -> Result<Permit, HistoryError> {
        self.take(Amount { changes: CHANGES_OF_A_COMMAND, bytes })
    }

    fn take(self: &Arc<Self>, size: Amount) -> Result<Permit, HistoryError> {
        let mut waiting = self.waiting.lock();
        let sum = Amount { changes: waiting.changes + size.changes, bytes: waiting.bytes + size.bytes };
        if let Some(limit) = self.limits.reached(*waiting, sum) {
            self.metrics.limit_reached(limit);
            return Err(HistoryError::Busy);
        }
        *waiting = sum;
        drop(waiting);
        self.metrics.history_waiting.inc_by(as_gauge(size.changes));
        Ok(Permit { size, admission: self.clone() })
    }

    /// What waits has another size.
    fn resize(&self, from: Amount, to: Amount) {
        let mut waiting = self.waiting.lock();
        waiting.changes = waiting.changes - from.changes + to.changes;
        waiting.bytes = waiting.bytes - from.bytes + to.bytes;
        drop(waiting);
        self.metrics.history_waiting.inc_by(as_gauge(to.changes) - as_gauge(from.changes));
    }
}

impl Amount {
    fn of(changes: &[Change]) -> Self {
        // Nothing at all waits like a change: its answer says that what came before is committed.
        Self { changes: changes.len().max(1), bytes: changes.iter().map(Change::bytes).sum() }
    }
}

impl WaitingLimits {
    /// The limit that `sum` is beyond, unless nothing waits.
    fn reached(&self, waiting: Amount, sum: Amount) -> Option<&'static str> {
        if waiting.changes == 0 {
            None
        } else if sum.changes > self.changes {
            Some("history.max_waiting")
        } else if sum.bytes > self.bytes {
            Some("history.max_waiting_bytes")
        } else {
            None
        }
    }
}

impl Permit {
    /// It is for these, whatever it was taken for: a little more than that is let in.
    pub(super) fn fit(&mut self, changes: &[Change]) {
        let size = Amount::of(changes);
        self.admission.resize(std::mem::replace(&mut self.size, size), size);
    }

    /// Changes that it covers.
    pub(super) fn changes(&self) -> usize {
        self.size.changes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.resize(self.size, Amount::default());
    }
}

fn as_gauge(changes: usize) -> i64 {
    i64::try_from(changes).unwrap_or(i64::MAX)
}

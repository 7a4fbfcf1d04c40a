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
pub(super) struct Permit {
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
        // Nothing at all waits like a change: its answer says that what came before is committed.
        let size = Amount { changes: changes.len().max(1), bytes: changes.iter().map(Change::bytes).sum() };
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
}

impl Admission {
    /// Whether what is asked of a room might not get a permit.
    pub(super) fn is_full(&self) -> bool {
        let waiting = *self.waiting.lock();
        let one_more = Amount { changes: waiting.changes + CHANGES_OF_A_COMMAND, bytes: waiting.bytes };
        let reached = self.limits.reached(waiting, one_more);
        if let Some(limit) = reached {
            self.metrics.limit_reached(limit);
        }
        reached.is_some()
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
    /// Changes that it covers.
    pub(super) fn changes(&self) -> usize {
        self.size.changes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut waiting = self.admission.waiting.lock();
        waiting.changes -= self.size.changes;
        waiting.bytes -= self.size.bytes;
        drop(waiting);
        self.admission.metrics.history_waiting.dec_by(as_gauge(self.size.changes));
    }
}

fn as_gauge(changes: usize) -> i64 {
    i64::try_from(changes).unwrap_or(i64::MAX)
}

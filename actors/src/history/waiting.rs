//! Where changes wait for the next commit.
//!
//! Not in the actor's mailbox: each message there wakes the history's thread, and between two commits it has
//! nothing to do but to sleep again. The first of those that wait tells it that there are some; the others only
//! join it.

use std::{mem, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Change, HistoryError, admission::Permit};

/// Changes that belong together, and who waits for them. The answer goes its own way and not actix's: a change
/// that is missing makes those behind it wrong, whether or not its asker has gone.
pub(super) struct Asked {
    pub(super) changes: Vec<Change>,
    /// Freed when the changes are committed, or refused.
    pub(super) permit: Permit,
    pub(super) answer: oneshot::Sender<Result<(), HistoryError>>,
}

/// See the module's documentation. What it holds is bounded by the permits. Clones are the same queue.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    sealed: bool,
}

impl Waiting {
    /// Lets changes wait; behind the end of the history they are dropped, which tells their asker that it is closed.
    /// True if the history must be told.
    pub(super) fn push(&self, asked: Asked) -> bool {
        let mut state = self.0.lock();
        if state.sealed {
            return false;
        }
        state.asked.push(asked);
        state.asked.len() == 1
    }

    /// All that waits, in order.
    pub(super) fn take(&self) -> Vec<Asked> {
        mem::take(&mut self.0.lock().asked)
    }

    /// Nothing is taken any more; what waits still does.
    pub(super) fn seal(&self) {
        self.0.lock().sealed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{WaitingLimits, admission::Admission};

    #[test]
    fn a_history_is_told_once_of_all_that_waits() {
        let limits = WaitingLimits { changes: 9, bytes: 999 };
        let admission = Admission::new(limits, Arc::default());
        let waiting = Waiting::default();
        let push = || {
            let (answer, answered) = oneshot::channel();
            let permit = admission.admit(&[]).unwrap();
            (waiting.clone().push(Asked { changes: Vec::new(), permit, answer }), answered)
        };
        let (told, mut kept): (Vec<bool>, Vec<_>) = (0..3).map(|_| push()).unzip();
        assert_eq!(told, [true, false, false]);
        assert_eq!(waiting.take().len(), 3);
        let (told, answered) = push();
        assert!(told, "they are gone, and this one is the first again");
        kept.push(answered);
        waiting.seal();
        let (told, mut late) = push();
        assert!(!told);
        assert_eq!(late.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(waiting.take().len(), 1, "what had come before is stored");
    }
}

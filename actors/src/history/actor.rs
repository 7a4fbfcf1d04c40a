//! The `History` actor: gathers changes into transactions, and answers when they are committed.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use log::{error, info, warn};
use tokio::sync::oneshot;

use super::{
    BatchLimits, Close, Contents, HistoryConfig, HistoryError, HistoryLink, LoadMessages, LoadRooms, Page,
    PageOfMessages, StoredMessage,
    admission::{Admission, Permit},
    messages::ChangesWait,
    store::Store,
    waiting::{Asked, Waiting},
};
use crate::metrics::Metrics;

/// Owns the database. Its handlers **block** on the disk, so it must have an arbiter of its own.
///
/// ```text
///             ChangesWait          the pause is over, or somebody reads
///   idle ─────────────────► due ────────────────────────────────────────► all that waits is committed
///                          │   ▲                                           each asker is answered
///                          └───┘ further changes wait
/// ```
///
/// Changes that arrive while a batch is being committed make the next one, so that a slow disk makes
/// larger batches and not a longer queue. A commit costs a dozen writes, however little is in it: after one there
/// is a pause before the next, and only whoever writes within it waits for that.
pub struct History {
    store: Store,
    limits: BatchLimits,
    waiting: Waiting,
    batch: Option<Batch>,
    /// A commit stands behind the mailbox, or waits for the pause to end.
    commit_is_due: bool,
    /// When the last one ended.
    committed: Option<Instant>,
    metrics: Arc<Metrics>,
}

/// An open transaction, and who waits for it.
struct Batch {
    since: Instant,
    changes: usize,
    waiting: Vec<(oneshot::Sender<Result<(), HistoryError>>, Permit)>,
}

impl History {
    /// Opens the database, blocking, and starts the actor in that arbiter, which should have nothing
    /// else to do.
    ///
    /// # Errors
    /// The file is damaged, newer, in use, of another program, or cannot be read. It is as it was then.
    pub fn start(
        config: HistoryConfig,
        metrics: Arc<Metrics>,
        arbiter: &ArbiterHandle,
    ) -> Result<HistoryLink, HistoryError> {
        let store = Store::open(&config)?;
        info!(file:% = store.file(); "history opened");
        let admission = Admission::new(config.waiting, metrics.clone());
        let limits = config.batch;
        let waiting = Waiting::default();
        let history = Self {
            store,
            limits,
            waiting: waiting.clone(),
            batch: None,
            commit_is_due: false,
            committed: None,
            metrics,
        };
        let addr = Self::start_in_arbiter(arbiter, move |_| history);
        Ok(HistoryLink::new(addr, admission, waiting))
    }

    /// Stores all that waits now. What comes meanwhile waits for the next time, so that whoever reads has its turn.
    fn store_waiting(&mut self) {
        for asked in self.waiting.take() {
            self.add(asked);
        }
        self.commit();
    }

    /// Makes changes in the open batch.
    fn add(&mut self, Asked { changes, permit, answer }: Asked) {
        if self.batch.is_none()
            && let Err(error) = self.store.begin()
        {
            return self.fail(vec![(answer, permit)], &error);
        }
        let batch = self.batch.get_or_insert_with(|| Batch {
            since: Instant::now(),
            changes: 0,
            waiting: Vec::new(),
        });
        match self.store.apply(&changes) {
            Ok(()) => {
                batch.changes += permit.changes();
                batch.waiting.push((answer, permit));
            }
            // The asker's mistake, or one that the batch has survived.
            Err(error) if self.store.in_transaction() => self.fail(vec![(answer, permit)], &error),
            Err(error) => {
                let mut lost = self.batch.take().map(|batch| batch.waiting).unwrap_or_default();
                lost.push((answer, permit));
                self.fail(lost, &error);
            }
        }
        let is_time =
            |batch: &Batch| batch.changes >= self.limits.changes || batch.since.elapsed() >= self.limits.time;
        if self.batch.as_ref().is_some_and(is_time) {
            self.commit();
        }
    }

    /// Commits the open batch, and only then answers those who wait for it.
    fn commit(&mut self) {
        let Some(Batch { changes, waiting, .. }) = self.batch.take() else { return };
        let outcome = self.store.commit();
        self.committed = Some(Instant::now());
        match outcome {
            Ok(()) => {
                self.metrics.history_commits.inc();
                self.metrics.history_changes.inc_by(changes as u64);
                self.count_trimmed();
                for (answer, permit) in waiting {
                    drop(permit);
                    // Whoever asked may have gone; the change is stored all the same.
                    let _ = answer.send(Ok(()));
                }
            }
            Err(error) => self.fail(waiting, &error),
        }
    }

    fn count_trimmed(&self) {
        self.metrics.history_trimmed.inc_by(self.store.trimmed.take() as u64);
    }

    fn fail(&self, waiting: Vec<(oneshot::Sender<Result<(), HistoryError>>, Permit)>, error: &HistoryError) {
        if error.is_refusal() {
            warn!(error:%; "a change was refused");
        } else {
            error!(error:%, askers = waiting.len(); "changes were not stored");
        }
        for (answer, permit) in waiting {
            drop(permit);
            self.metrics.history_failures.inc();
            let _ = answer.send(Err(error.clone()));
        }
    }
}

#[cfg(test)]
impl History {
    pub(super) fn limit_growth(&self, pages: u32) {
        self.store.limit_growth(pages);
    }
}

impl Actor for History {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        // Its links outlive it: nobody is to wait for what comes later.
        self.waiting.seal();
        self.store_waiting();
    }
}

impl Handler<ChangesWait> for History {
    type Result = ();

    fn handle(&mut self, ChangesWait: ChangesWait, ctx: &mut Context<Self>) {
        if mem::replace(&mut self.commit_is_due, true) {
            return;
        }
        let pause =
            self.committed.map_or(Duration::ZERO, |at| self.limits.pause.saturating_sub(at.elapsed()));
        // The actor's own futures run when its mailbox is empty (facts §3.3).
        let due = async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        };
        ctx.spawn(due.into_actor(self).map(|(), history, _| {
            history.commit_is_due = false;
            history.store_waiting();
        }));
    }
}

impl Handler<LoadRooms> for History {
    type Result = Result<Contents, HistoryError>;

    fn handle(&mut self, _: LoadRooms, _: &mut Context<Self>) -> Self::Result {
        // What is read must not be taken back by a commit that fails.
        self.store_waiting();
        self.store.contents()
    }
}

impl Handler<LoadMessages> for History {
    type Result = Result<Vec<StoredMessage>, HistoryError>;

    fn handle(&mut self, LoadMessages { room }: LoadMessages, _: &mut Context<Self>) -> Self::Result {
        self.store_waiting();
        let messages = self.store.messages(&room);
        self.count_trimmed();
        messages
    }
}

impl Handler<PageOfMessages> for History {
    type Result = Result<Page, HistoryError>;

    fn handle(&mut self, page: PageOfMessages, _: &mut Context<Self>) -> Self::Result {
        self.store_waiting();
        self.store.page(&page.room, page.from, page.limit)
    }
}

impl Handler<Close> for History {
    type Result = Result<(), HistoryError>;

    fn handle(&mut self, _: Close, ctx: &mut Context<Self>) -> Self::Result {
        self.store_waiting();
        ctx.stop();
        self.store.close()
    }
}

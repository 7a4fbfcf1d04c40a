//! How others reach a history.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix::Addr;
use log::error;
use tokio::sync::oneshot;

use super::{
    Change, Close, History, HistoryError,
    admission::{Admission, Permit},
    messages::ChangesWait,
    waiting::{Asked, Waiting},
};

/// A history's address, and the door before it. Hold it: changes of one holder keep their order.
#[derive(Clone)]
pub struct HistoryLink {
    /// For everything but changes.
    pub addr: Addr<History>,
    admission: Arc<Admission>,
    waiting: Waiting,
}

/// The answer to [`HistoryLink::persist`]: it comes when the changes are committed. Whoever drops it
/// does not stop them.
#[derive(Debug)]
#[must_use = "changes are stored only once this says so"]
pub struct Persisted(oneshot::Receiver<Result<(), HistoryError>>);

impl HistoryLink {
    pub(super) fn new(addr: Addr<History>, admission: Arc<Admission>, waiting: Waiting) -> Self {
        Self { addr, admission, waiting }
    }

    /// Sends changes that are to be stored together: all of them, or none. They are on their way
    /// when this returns; what is sent later is stored later.
    ///
    /// # Errors
    /// Too many changes wait (`history.max_waiting`, `history.max_waiting_bytes`), or the history has
    /// ended. Nothing was sent then.
    pub fn persist(&self, changes: Vec<Change>) -> Result<Persisted, HistoryError> {
        let permit = self.admission.admit(&changes)?;
        self.send(changes, permit)
    }

    /// Takes room for what something that is asked of a room will change, which brings so many bytes: asked before
    /// it is decided, so that nothing is said that cannot be kept. Give it back to [`HistoryLink::persist_in`].
    ///
    /// # Errors
    /// As of [`HistoryLink::persist`].
    pub fn reserve(&self, bytes: usize) -> Result<Permit, HistoryError> {
        self.admission.reserve(bytes)
    }

    /// As [`HistoryLink::persist`], in the room that was taken for them.
    ///
    /// # Errors
    /// The history has ended.
    pub fn persist_in(&self, mut permit: Permit, changes: Vec<Change>) -> Result<Persisted, HistoryError> {
        permit.fit(&changes);
        self.send(changes, permit)
    }

    fn send(&self, changes: Vec<Change>, permit: Permit) -> Result<Persisted, HistoryError> {
        let (answer, answered) = oneshot::channel();
        if !self.addr.connected() {
            return Err(HistoryError::Closed);
        }
        if self.waiting.push(Asked { changes, permit, answer }) {
            #[expect(clippy::disallowed_methods, reason = "at most one for all that waits")]
            self.addr.do_send(ChangesWait);
        }
        Ok(Persisted(answered))
    }

    /// Ends the history: what was sent before is committed, and the file is complete by itself.
    pub async fn close(&self) {
        self.waiting.seal();
        match self.addr.send(Close).await {
            Ok(Ok(())) => (),
            Ok(Err(error)) => {
                error!(error:%; "the history was not closed cleanly; nothing that was stored is lost")
            }
            Err(error) => error!(error:%; "the history had ended before"),
        }
    }
}

impl Future for Persisted {
    type Output = Result<(), HistoryError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(task).map(|answer| answer.unwrap_or(Err(HistoryError::Closed)))
    }
}

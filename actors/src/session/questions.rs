//! What a session has asked other actors, and waits to hear.
//!
//! Answers of one actor are taken in the order asked, because what one client sends must arrive in
//! that order; those of different actors do not wait for each other. They are polled by the
//! session's driver and not by actix, which polls finished items out of order (facts §3.3). All of it
//! moves with the session at the upgrade.

use std::{
    any::TypeId,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use actix::MailboxError;
use framing::close::CloseReason;
use futures::{
    FutureExt, StreamExt,
    future::{AbortHandle, Abortable, Aborted},
    stream::{FuturesOrdered, FuturesUnordered},
};

use super::{Application, Cx, NoAnswer};

/// What is done with an answer.
pub(super) type Continuation<A> = Box<dyn FnOnce(&mut A, &mut Cx<'_, A>) -> Result<(), CloseReason> + Send>;

type Answer<A> = Pin<Box<dyn Future<Output = (Key, Continuation<A>)> + Send>>;

/// Earliest deadline first.
type Key = (Instant, u64);

/// Which answers keep their order among each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Those of an actor of this type; each is one of its kind.
    Of(TypeId),
    /// As they come: each was asked of somebody else.
    AsItComes,
}

/// See the module's documentation.
pub(super) struct Questions<A: Application> {
    lanes: Vec<(TypeId, FuturesOrdered<Answer<A>>)>,
    as_it_comes: FuturesUnordered<Answer<A>>,
    /// Every open question, by its deadline.
    open: BTreeMap<Key, AbortHandle>,
    asked: u64,
}

impl<A: Application> Default for Questions<A> {
    fn default() -> Self {
        Self { lanes: Vec::new(), as_it_comes: FuturesUnordered::new(), open: BTreeMap::new(), asked: 0 }
    }
}

impl<A: Application> Questions<A> {
    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Waits for an answer until `due`, and runs `then` with it, or with the lack of it.
    pub(super) fn wait_for<R: Send + 'static>(
        &mut self,
        lane: Lane,
        due: Instant,
        answer: impl Future<Output = Result<R, MailboxError>> + Send + 'static,
        then: impl FnOnce(&mut A, &mut Cx<'_, A>, Result<R, NoAnswer>) -> Result<(), CloseReason> + Send + 'static,
    ) {
        self.asked += 1;
        let key = (due, self.asked);
        let (handle, registration) = AbortHandle::new_pair();
        self.open.insert(key, handle);
        let answer = Abortable::new(answer, registration).map(move |answer| {
            let answer = match answer {
                Ok(answer) => answer.map_err(|_| NoAnswer::Gone),
                Err(Aborted) => Err(NoAnswer::TimedOut),
            };
            let continuation: Continuation<A> = Box::new(move |app, cx| then(app, cx, answer));
            (key, continuation)
        });
        let answer: Answer<A> = Box::pin(answer);
        match lane {
            Lane::Of(actor) => match self.lanes.iter_mut().find(|(known, _)| *known == actor) {
                Some((_, lane)) => lane.push_back(answer),
                None => self.lanes.push((actor, FuturesOrdered::from_iter([answer]))),
            },
            Lane::AsItComes => self.as_it_comes.push(answer),
        }
    }

    /// Runs `then` when `due` has come: a question that nobody answers.
    pub(super) fn later(
        &mut self,
        due: Instant,
        then: impl FnOnce(&mut A, &mut Cx<'_, A>) -> Result<(), CloseReason> + Send + 'static,
    ) {
        let never = std::future::pending::<Result<(), MailboxError>>();
        self.wait_for(Lane::AsItComes, due, never, |app, cx, _| then(app, cx));
    }

    /// The next answer whose turn it is.
    pub(super) fn poll_answer(&mut self, task: &mut Context<'_>) -> Poll<Continuation<A>> {
        let mut lanes = self.lanes.iter_mut().map(|(_, lane)| lane);
        let answered = lanes.find_map(|lane| match lane.poll_next_unpin(task) {
            Poll::Ready(answer) => answer,
            Poll::Pending => None,
        });
        let answered = answered.or_else(|| match self.as_it_comes.poll_next_unpin(task) {
            Poll::Ready(answer) => answer,
            Poll::Pending => None,
        });
        match answered {
            Some((key, continuation)) => {
                self.open.remove(&key);
                Poll::Ready(continuation)
            }
            None => Poll::Pending,
        }
    }

    /// The earliest deadline of an open question.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open.first_key_value().map(|((due, _), _)| *due)
    }

    /// Gives up on what is late. It is answered by [`Questions::poll_answer`], in its turn.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(late) = self.open.first_entry().filter(|late| late.key().0 <= now) {
            late.remove().abort();
        }
    }

    /// Waits for what is open without taking an answer: actix skips a question that nobody waits for
    /// any more, and what a client has sent before it left must still be done.
    pub(super) fn into_wait(mut self) -> impl Future<Output = ()> {
        std::future::poll_fn(move |task| {
            while self.poll_answer(task).is_ready() {}
            if self.open.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}

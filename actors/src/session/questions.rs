//! What a session has asked other actors, and waits to hear.
//!
//! Answers of one actor are taken in the order asked, because what one client sends must arrive in
//! that order; those of different actors do not wait for each other. They are polled by the
//! session's driver and not by actix, which polls finished items out of order (facts §3.3). Of those that
//! keep their order only the first is looked at: the others cannot be taken before it, and need not wake the
//! session. All of it moves with the session at the upgrade.

use std::{
    any::TypeId,
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use actix::MailboxError;
use framing::close::CloseReason;
use pin_project_lite::pin_project;
use smallvec::SmallVec;

use super::{Application, Cx, NoAnswer};

/// Which answers keep their order among each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Those of an actor of this type; each is one of its kind.
    Of(TypeId),
    /// As they come: each was asked of somebody else.
    AsItComes,
}

/// One question: its answer, and what is done with that.
pub(super) trait Question<A: Application>: Send {
    /// Whether the answer is there.
    fn poll_answer(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()>;

    /// Does what is to be done: with the answer, or with the lack of it.
    fn conclude(self: Pin<Box<Self>>, app: &mut A, cx: &mut Cx<'_, A>) -> Result<(), CloseReason>;
}

pin_project! {
    #[project = Projection]
    struct Asked<W, R, F> {
        #[pin]
        waits: W,
        answer: Option<Result<R, NoAnswer>>,
        // Taken once: what is pinned is not moved out of.
        then: Option<F>,
    }
}

impl<A, W, R, F> Question<A> for Asked<W, R, F>
where
    A: Application,
    W: Future<Output = Result<R, MailboxError>> + Send,
    R: Send,
    F: FnOnce(&mut A, &mut Cx<'_, A>, Result<R, NoAnswer>) -> Result<(), CloseReason> + Send,
{
    fn poll_answer(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let Projection { waits, answer, .. } = self.project();
        waits.poll(task).map(|said| *answer = Some(said.map_err(|_| NoAnswer::Gone)))
    }

    fn conclude(mut self: Pin<Box<Self>>, app: &mut A, cx: &mut Cx<'_, A>) -> Result<(), CloseReason> {
        let Projection { answer, then, .. } = self.as_mut().project();
        match then.take() {
            Some(then) => then(app, cx, answer.take().unwrap_or(Err(NoAnswer::TimedOut))),
            None => Ok(()),
        }
    }
}

struct Open<A> {
    due: Instant,
    question: Pin<Box<dyn Question<A>>>,
}

/// What one actor was asked, in the order asked: the first is due first, for all have the same time.
struct Lined<A> {
    actor: TypeId,
    open: VecDeque<Open<A>>,
}

/// See the module's documentation.
pub(super) struct Questions<A: Application> {
    /// One that is empty is the next actor's: a session asks one at a time, as a rule, and this is looked at in each
    /// of its turns.
    lanes: SmallVec<[Lined<A>; 1]>,
    /// Few at a time: calls of functions, and what is done later.
    as_it_comes: Vec<Open<A>>,
}

impl<A: Application> Default for Questions<A> {
    fn default() -> Self {
        Self { lanes: SmallVec::new(), as_it_comes: Vec::new() }
    }
}

impl<A: Application> Questions<A> {
    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.as_it_comes.len() + self.in_turn()
    }

    /// How many of them are answered in turn, which is soon: what they bring goes to the peer.
    pub(super) fn in_turn(&self) -> usize {
        self.lanes.iter().map(|lane| lane.open.len()).sum()
    }

    /// Waits for an answer until `due`, and runs `then` with it, or with the lack of it.
    pub(super) fn wait_for<R: Send + 'static>(
        &mut self,
        lane: Lane,
        due: Instant,
        answer: impl Future<Output = Result<R, MailboxError>> + Send + 'static,
        then: impl FnOnce(&mut A, &mut Cx<'_, A>, Result<R, NoAnswer>) -> Result<(), CloseReason> + Send + 'static,
    ) {
        let open = Open { due, question: Box::pin(Asked { waits: answer, answer: None, then: Some(then) }) };
        match lane {
            Lane::Of(actor) => {
                let known = self.lanes.iter().position(|lane| lane.actor == actor);
                let at = known.or_else(|| self.lanes.iter().position(|lane| lane.open.is_empty()));
                match at.and_then(|at| self.lanes.get_mut(at)) {
                    Some(lane) => {
                        lane.actor = actor;
                        lane.open.push_back(open);
                    }
                    None => self.lanes.push(Lined { actor, open: VecDeque::from([open]) }),
                }
            }
            Lane::AsItComes => self.as_it_comes.push(open),
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

    /// The next question whose answer is there.
    pub(super) fn poll_answer(&mut self, task: &mut Context<'_>) -> Poll<Pin<Box<dyn Question<A>>>> {
        let mut answered = |open: &mut Open<A>| open.question.as_mut().poll_answer(task).is_ready();
        for Lined { open: lane, .. } in &mut self.lanes {
            if lane.front_mut().is_some_and(&mut answered)
                && let Some(first) = lane.pop_front()
            {
                return Poll::Ready(first.question);
            }
        }
        match self.as_it_comes.iter_mut().position(answered) {
            Some(at) => Poll::Ready(self.as_it_comes.remove(at).question),
            None => Poll::Pending,
        }
    }

    /// The earliest deadline of an open question.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let first = self.lanes.iter().filter_map(|lane| lane.open.front());
        first.chain(&self.as_it_comes).map(|open| open.due).min()
    }

    /// A question that is late: it is given up.
    pub(super) fn take_late(&mut self, now: Instant) -> Option<Pin<Box<dyn Question<A>>>> {
        let late = |open: &Open<A>| open.due <= now;
        for Lined { open: lane, .. } in &mut self.lanes {
            if lane.front().is_some_and(late) {
                return lane.pop_front().map(|first| first.question);
            }
        }
        let at = self.as_it_comes.iter().position(late)?;
        Some(self.as_it_comes.remove(at).question)
    }

    /// Waits for what is open without taking an answer: actix skips a question that nobody waits for
    /// any more, and what a client has sent before it left must still be done.
    pub(super) fn into_wait(mut self) -> impl Future<Output = ()> {
        poll_fn(move |task| {
            while self.poll_answer(task).is_ready() {}
            if self.len() == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}

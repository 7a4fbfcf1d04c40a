//! What an application can do while it handles something: send, ask another actor, close.

use std::{
    any::TypeId,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use framing::{close::CloseReason, encoded::Encoded, engine::Sid};
use futures::FutureExt;

use super::{
    Application, SessionActor, SessionConfig, Shared, pushed,
    questions::{Lane, Questions},
};
use crate::{
    metrics::{Metrics, OpenQuestion},
    outbox::Outbox,
};

/// The session around an application, for the time of one call.
pub struct Cx<'a, A: Application> {
    ctx: &'a mut Context<SessionActor<A>>,
    shared: &'a Arc<Shared<A>>,
    sid: Sid,
    outbox: &'a Arc<Outbox>,
    questions: &'a mut Questions<A>,
    close: Option<CloseReason>,
    now: Instant,
    /// See [`Cx::is_silent`].
    pub(super) silent: bool,
}

/// A session has as many questions open as it may have (`limits.max_questions`), or all sessions together have
/// (`limits.control_mailbox`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyQuestions;

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It did not come in time (`session.question_timeout`).
    TimedOut,
    /// The actor that was asked has stopped.
    Gone,
}

impl<'a, A: Application> Cx<'a, A> {
    pub(super) fn new(
        ctx: &'a mut Context<SessionActor<A>>,
        shared: &'a Arc<Shared<A>>,
        sid: Sid,
        outbox: &'a Arc<Outbox>,
        questions: &'a mut Questions<A>,
        now: Instant,
    ) -> Self {
        Self { ctx, shared, sid, outbox, questions, close: None, now, silent: false }
    }

    pub(super) fn into_close(self) -> Option<CloseReason> {
        self.close
    }

    /// The instant at which this call began.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether the peer owes a pong. It may be gone: what it does not do meanwhile says nothing of it.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// The session's id.
    pub fn sid(&self) -> Sid {
        self.sid
    }

    /// The session's outbox, for others to push into.
    pub fn outbox(&self) -> &Arc<Outbox> {
        self.outbox
    }

    /// An address of this session.
    pub fn address(&self) -> Addr<SessionActor<A>> {
        self.ctx.address()
    }

    /// The server's timings and bounds.
    pub fn config(&self) -> &SessionConfig {
        &self.shared.config
    }

    /// The server's counters.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The same, to keep.
    pub fn metrics_handle(&self) -> Arc<Metrics> {
        self.shared.metrics.clone()
    }

    /// Queues a packet. False if the session is closing: as a slow consumer, or for another reason.
    pub fn push(&self, packet: Encoded) -> bool {
        pushed(self.outbox.push_in_turn(packet))
    }

    /// Closes the session once this call returns. The first reason wins.
    pub fn close(&mut self, reason: CloseReason) {
        self.close.get_or_insert(reason);
    }

    /// Asks another actor; `answered` runs when the answer, or the lack of one, is known. Answers of
    /// one actor come in the order asked.
    ///
    /// # Errors
    /// Too many open questions: nothing was asked.
    pub fn ask<M, T, F>(&mut self, to: &Addr<T>, question: M, answered: F) -> Result<(), TooManyQuestions>
    where
        T: Actor + Handler<M>,
        T::Context: actix::dev::ToEnvelope<T, M>,
        M: Message + Send + 'static,
        M::Result: Send + 'static,
        F: FnOnce(&mut A, &mut Cx<'_, A>, Result<M::Result, NoAnswer>) -> Result<(), CloseReason>
            + Send
            + 'static,
    {
        self.admit_question()?;
        let metrics = &self.shared.metrics;
        if metrics.open_questions() >= self.shared.config.control_mailbox {
            metrics.limit_reached("limits.control_mailbox");
            return Err(TooManyQuestions);
        }
        let open = OpenQuestion::new(metrics.clone());
        let due = self.now + self.shared.config.question_timeout;
        // `send` enqueues at once, so questions of one session arrive in the order asked. It knows no bound of
        // its own: a full mailbox takes one more for each question that is open (facts §3.2).
        let answer = to.send(question).inspect(move |_| drop(open));
        let answered = move |app: &mut A, cx: &mut Cx<'_, A>, answer: Result<M::Result, NoAnswer>| {
            if matches!(answer, Err(NoAnswer::TimedOut)) {
                cx.metrics().limit_reached("session.question_timeout");
            }
            answered(app, cx, answer)
        };
        self.questions.wait_for(Lane::Of(TypeId::of::<T>()), due, answer, answered);
        Ok(())
    }

    /// The same, of an actor of any type, with a deadline of its own. Such answers wait for no other.
    ///
    /// # Errors
    /// As [`Cx::ask`].
    pub fn ask_recipient<M, F>(
        &mut self,
        to: &Recipient<M>,
        question: M,
        timeout: Duration,
        answered: F,
    ) -> Result<(), TooManyQuestions>
    where
        M: Message + Send + Unpin + 'static,
        M::Result: Send + 'static,
        F: FnOnce(&mut A, &mut Cx<'_, A>, Result<M::Result, NoAnswer>) -> Result<(), CloseReason>
            + Send
            + 'static,
    {
        self.admit_question()?;
        self.questions.wait_for(Lane::AsItComes, self.now + timeout, to.send(question), answered);
        Ok(())
    }

    /// Runs something a while later, wherever the session lives by then. Not at all if it is over.
    pub fn later(
        &mut self,
        delay: Duration,
        run: impl FnOnce(&mut A, &mut Cx<'_, A>) -> Result<(), CloseReason> + Send + 'static,
    ) {
        self.questions.later(self.now + delay, run);
    }

    fn admit_question(&mut self) -> Result<(), TooManyQuestions> {
        if self.questions.len() >= self.shared.config.max_questions {
            self.shared.metrics.limit_reached("limits.max_questions");
            return Err(TooManyQuestions);
        }
        Ok(())
    }
}

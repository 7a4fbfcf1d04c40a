//! What a session actor polls: its peer's frames, answers to its questions, its one timer, faults
//! from outside, and last of all its WebSocket's output, so that one turn makes one write.
//!
//! All of it is one item of the actor's context, because every wake polls every item
//! (facts §3.3). The timer is armed late: it fires at the earliest deadline that was known when it
//! was armed, finds what is due, and is armed again. Only a pong, which comes once in a ping's time, moves it
//! to a later one.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Task, Poll},
};

use actix::fut::ActorFuture;
use actix::prelude::*;
use framing::close::CloseReason;
use tokio::time::Sleep;

use super::{Application, Phase, SessionActor, WebSocket};

/// Frames handled before other tasks of the worker get their turn.
pub(super) const FRAMES_PER_TURN: usize = 64;

pub(super) struct Driver {
    websocket: Option<Box<dyn WebSocket>>,
    /// The peer may have more to say.
    reads: bool,
    timer: Pin<Box<Sleep>>,
}

impl Driver {
    pub(super) fn new(websocket: Option<Box<dyn WebSocket>>) -> Self {
        Self { websocket, reads: true, timer: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)) }
    }

    fn read<A: Application>(
        &mut self,
        session: &mut SessionActor<A>,
        ctx: &mut Context<SessionActor<A>>,
        task: &mut Task<'_>,
    ) {
        let frames = session.may_read().min(FRAMES_PER_TURN);
        for _ in 0..frames {
            if session.is_waiting() {
                return;
            }
            if session.read_posted(ctx) {
                continue;
            }
            let Some(websocket) = self.websocket.as_mut().filter(|_| self.reads) else {
                return;
            };
            match websocket.poll_frame(task) {
                Poll::Ready(Ok(frame)) => {
                    let probing = matches!(session.phase, Phase::Probing(_));
                    session.receive(frame, ctx);
                    if probing {
                        // The answer to a probe leaves before the next step shows anywhere else.
                        break;
                    }
                }
                Poll::Ready(Err(reason)) => {
                    self.reads = false;
                    return session.transport_ended(reason, ctx);
                }
                Poll::Pending => return,
            }
        }
        // More may be waiting, and nothing else will wake this actor for it.
        if frames > 0 {
            task.waker().wake_by_ref();
        }
    }

    fn fire<A: Application>(
        &mut self,
        session: &mut SessionActor<A>,
        ctx: &mut Context<SessionActor<A>>,
        task: &mut Task<'_>,
    ) {
        loop {
            if session.armed.is_none() || session.stirred {
                let Some(due) = session.next_deadline() else {
                    return;
                };
                if session.armed.is_none_or(|armed| due < armed) {
                    self.timer.as_mut().reset(due.into());
                    session.armed = Some(due);
                }
            }
            if self.timer.as_mut().poll(task).is_pending() {
                return;
            }
            session.armed = None;
            session.deadline_passed(ctx);
            if session.stirred {
                // What was asked just now has not been polled, and the peer may be read again.
                task.waker().wake_by_ref();
            }
        }
    }
}

impl<A: Application> ActorFuture<SessionActor<A>> for Driver {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        session: &mut SessionActor<A>,
        ctx: &mut Context<SessionActor<A>>,
        task: &mut Task<'_>,
    ) -> Poll<()> {
        self.read(session, ctx, task);
        while session.take_answer(ctx, task) {
            // What held the peer back may have been this one.
            self.read(session, ctx, task);
        }
        if let Some(reason) = session.poll_fault(task) {
            session.transport_ended(reason, ctx);
        }
        self.fire(session, ctx, task);
        let written = match &mut self.websocket {
            Some(websocket) => websocket.poll_drain(&session.outbox, task),
            None => Poll::Ready(()),
        };
        if session.may_read_on() {
            task.waker().wake_by_ref();
        }
        match session.phase {
            // An actor without an item ends as soon as nobody holds its address.
            Phase::Moved(_) | Phase::Ended(_) => written,
            Phase::Live(_) | Phase::Probing(_) if self.websocket.is_some() && written.is_ready() => {
                session.transport_ended(CloseReason::TransportClosed, ctx);
                Poll::Ready(())
            }
            Phase::Live(_) | Phase::Probing(_) => Poll::Pending,
        }
    }
}

impl<A: Application> SessionActor<A> {
    /// Reads one packet of a POST. False if there is none.
    fn read_posted(&mut self, ctx: &mut Context<Self>) -> bool {
        let Phase::Live(core) = &mut self.phase else {
            return false;
        };
        let Some(posted) = &mut core.posted else {
            return false;
        };
        match posted.next() {
            Some(frame) => self.receive(frame, ctx),
            None => {
                if let Some(posted) = core.posted.take() {
                    posted.answer(Ok(()));
                }
            }
        }
        true
    }

    /// Acts on one answer. False if none is there.
    fn take_answer(&mut self, ctx: &mut Context<Self>, task: &mut Task<'_>) -> bool {
        let Phase::Live(core) = &mut self.phase else {
            return false;
        };
        match core.questions.poll_answer(task) {
            Poll::Ready(question) => {
                self.with_app(ctx, |app, cx| question.conclude(app, cx));
                true
            }
            Poll::Pending => false,
        }
    }

    /// While the core is on its way here, or the application holds back, frames stay in the socket; nobody wants
    /// those that come after the end.
    fn is_waiting(&mut self) -> bool {
        match &mut self.phase {
            Phase::Probing(probing) => probing.is_taking_over(),
            Phase::Live(core) => core.app.holds_back(),
            Phase::Moved(_) | Phase::Ended(_) => true,
        }
    }

    /// How many frames may be read in this turn. A probe has no outbox that could be full.
    fn may_read(&mut self) -> usize {
        match &mut self.phase {
            Phase::Live(core) => core.may_read(&self.shared.config, &self.shared.metrics),
            Phase::Probing(_) => usize::MAX,
            Phase::Moved(_) | Phase::Ended(_) => 0,
        }
    }

    /// Whether its peer was held back and need not be any more.
    fn may_read_on(&self) -> bool {
        matches!(&self.phase, Phase::Live(core) if core.may_read_on(self.shared.config.max_questions))
    }

    fn poll_fault(&self, task: &mut Task<'_>) -> Option<CloseReason> {
        match &self.phase {
            Phase::Live(core) => core.outbox.poll_fault(task),
            Phase::Probing(_) | Phase::Moved(_) | Phase::Ended(_) => None,
        }
    }

    fn transport_ended(&mut self, reason: CloseReason, ctx: &mut Context<Self>) {
        match self.phase {
            Phase::Live(_) => self.close(reason, ctx),
            Phase::Probing(_) => self.probe_failed(super::ProbeError::Closed),
            Phase::Moved(_) | Phase::Ended(_) => (),
        }
    }
}

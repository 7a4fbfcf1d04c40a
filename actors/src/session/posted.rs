//! The packets of a polling POST.

use std::collections::VecDeque;

use actix::prelude::*;
use framing::{close::CloseReason, frame::Frame};
use tokio::sync::oneshot;

use super::{Application, Phase, SessionActor};
use crate::outbox::PostTurn;

/// Asks a session to read the packets of one polling POST, in order. The answer comes when all of
/// them have been read, so a client whose session holds back waits with its next POST.
#[derive(Message)]
#[rtype(result = "()")]
pub struct PollingPayload {
    frames: VecDeque<Frame>,
    turn: PostTurn,
    answer: oneshot::Sender<Result<(), CloseReason>>,
}

impl PollingPayload {
    /// A payload, and where its answer arrives: why the session is over, if it is. No answer: the
    /// session is gone.
    pub fn new(
        frames: impl IntoIterator<Item = Frame>,
        turn: PostTurn,
    ) -> (Self, oneshot::Receiver<Result<(), CloseReason>>) {
        let (answer, answered) = oneshot::channel();
        (Self { frames: frames.into_iter().collect(), turn, answer }, answered)
    }
}

/// What is left of a POST, as the driver reads it.
pub(super) struct Posted(PollingPayload);

impl Posted {
    pub(super) fn next(&mut self) -> Option<Frame> {
        self.0.frames.pop_front()
    }

    pub(super) fn answer(self, outcome: Result<(), CloseReason>) {
        let PollingPayload { turn, answer, .. } = self.0;
        drop(turn);
        // Whoever sent it may not wait any more.
        let _ = answer.send(outcome);
    }
}

impl<A: Application> Handler<PollingPayload> for SessionActor<A> {
    type Result = ();

    fn handle(&mut self, payload: PollingPayload, _: &mut Self::Context) {
        let posted = Posted(payload);
        match &mut self.phase {
            // Read by the driver, which is polled behind the mailbox.
            Phase::Live(core) if core.posted.is_none() => core.posted = Some(posted),
            Phase::Live(_) | Phase::Probing(_) | Phase::Moved(_) => {
                posted.answer(Err(CloseReason::TransportClosed));
            }
            Phase::Ended(_) => {
                posted.answer(Err(self.ended.clone().unwrap_or(CloseReason::TransportClosed)));
            }
        }
    }
}

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
    post: Post,
}

/// A POST that waits for its answer.
struct Post {
    turn: PostTurn,
    answer: oneshot::Sender<Result<(), CloseReason>>,
}

impl Post {
    fn answer(self, outcome: Result<(), CloseReason>) {
        // The next may come as soon as this one is answered.
        drop(self.turn);
        // Whoever sent it may not wait any more.
        let _ = self.answer.send(outcome);
    }
}

impl PollingPayload {
    /// A payload, and where its answer arrives: why the session is over, if it is. No answer: the
    /// session is gone.
    pub fn new(
        frames: impl IntoIterator<Item = Frame>,
        turn: PostTurn,
    ) -> (Self, oneshot::Receiver<Result<(), CloseReason>>) {
        let (answer, answered) = oneshot::channel();
        (Self { frames: frames.into_iter().collect(), post: Post { turn, answer } }, answered)
    }
}

/// What is left of a POST, as the driver reads it.
pub(super) struct Posted {
    frames: VecDeque<Frame>,
    /// What they take, roughly.
    bytes: usize,
    /// None: it has its answer.
    post: Option<Post>,
}

/// What a packet takes besides its text.
const FRAME: usize = 64;

fn size(frame: &Frame) -> usize {
    frame.len() + FRAME
}

impl Posted {
    fn new(PollingPayload { frames, post }: PollingPayload) -> Self {
        Self { bytes: frames.iter().map(size).sum(), frames, post: Some(post) }
    }

    pub(super) fn next(&mut self) -> Option<Frame> {
        let next = self.frames.pop_front()?;
        self.bytes -= size(&next);
        Some(next)
    }

    /// Answers the POST although it has not been read to its end, unless more than `max_bytes` wait.
    pub(super) fn let_go(&mut self, max_bytes: usize) {
        if self.bytes <= max_bytes
            && let Some(post) = self.post.take()
        {
            post.answer(Ok(()));
        }
    }

    /// Puts another POST behind one that was let go; one that was not still has its turn.
    fn append(&mut self, PollingPayload { frames, post }: PollingPayload) -> Result<(), Post> {
        if self.post.is_some() {
            return Err(post);
        }
        self.bytes += frames.iter().map(size).sum::<usize>();
        self.frames.extend(frames);
        self.post = Some(post);
        Ok(())
    }

    pub(super) fn answer(self, outcome: Result<(), CloseReason>) {
        if let Some(post) = self.post {
            post.answer(outcome);
        }
    }
}

impl<A: Application> Handler<PollingPayload> for SessionActor<A> {
    type Result = ();

    fn handle(&mut self, payload: PollingPayload, _: &mut Self::Context) {
        match &mut self.phase {
            // Read by the driver, which is polled behind the mailbox.
            Phase::Live(core) => match &mut core.posted {
                None => core.posted = Some(Posted::new(payload)),
                Some(posted) => {
                    if let Err(post) = posted.append(payload) {
                        post.answer(Err(CloseReason::TransportClosed));
                    }
                }
            },
            Phase::Probing(_) | Phase::Moved(_) => payload.post.answer(Err(CloseReason::TransportClosed)),
            Phase::Ended(_) => {
                payload.post.answer(Err(self.ended.clone().unwrap_or(CloseReason::TransportClosed)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        metrics::Metrics,
        outbox::{Drain, Outbox, OutboxLimits},
    };

    type Answer = oneshot::Receiver<Result<(), CloseReason>>;

    fn post(outbox: &Arc<Outbox>, frames: &[&'static str]) -> (PollingPayload, Answer) {
        let frames = frames.iter().map(|text| Frame::Text((*text).into()));
        PollingPayload::new(frames, outbox.begin_post().unwrap())
    }

    fn is_answered(answer: &mut Answer) -> bool {
        answer.try_recv().is_ok()
    }

    #[test]
    fn posts_are_let_go_as_long_as_little_waits() {
        const MAX: usize = 3 * (FRAME + 1);
        let limits = OutboxLimits { max_bytes: 1000, max_packets: 10 };
        let outbox = Outbox::new(limits, Drain::Polling, Arc::new(Metrics::default()));
        let (first, mut first_answer) = post(&outbox, &["a", "b"]);
        let mut posted = Posted::new(first);
        assert_eq!(posted.next(), Some(Frame::Text("a".into())));
        assert!(!is_answered(&mut first_answer));
        posted.let_go(MAX);
        assert!(is_answered(&mut first_answer));
        // Its turn is over, so that the next may come.
        let (second, mut second_answer) = post(&outbox, &["c", "d"]);
        assert!(posted.append(second).is_ok());
        posted.let_go(MAX);
        assert!(is_answered(&mut second_answer));
        let (third, mut third_answer) = post(&outbox, &["e"]);
        assert!(posted.append(third).is_ok());
        posted.let_go(MAX);
        assert!(!is_answered(&mut third_answer), "too much waits");
        assert_eq!(posted.next(), Some(Frame::Text("b".into())));
        posted.let_go(MAX);
        assert!(is_answered(&mut third_answer));
        let (fourth, mut fourth_answer) = post(&outbox, &["f"]);
        assert!(posted.append(fourth).is_ok());
        let rest: Vec<Frame> = std::iter::from_fn(|| posted.next()).collect();
        assert_eq!(rest, ["c", "d", "e", "f"].map(|text| Frame::Text(text.into())));
        posted.answer(Err(CloseReason::ShuttingDown));
        assert_eq!(fourth_answer.try_recv(), Ok(Err(CloseReason::ShuttingDown)));
    }

    #[test]
    fn one_that_waits_for_its_answer_takes_no_other() {
        let limits = OutboxLimits { max_bytes: 1000, max_packets: 10 };
        let outbox = |_| Outbox::new(limits, Drain::Polling, Arc::new(Metrics::default()));
        let (mine, foreign) = (outbox(0), outbox(1));
        let (first, _answer) = post(&mine, &["a"]);
        let mut posted = Posted::new(first);
        let (second, _answer) = post(&foreign, &["b"]);
        assert!(posted.append(second).is_err());
        assert_eq!(posted.next(), Some(Frame::Text("a".into())));
        assert_eq!(posted.next(), None);
    }
}

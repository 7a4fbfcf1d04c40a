//! A peer is read no further than it can be answered.
//!
//! Whoever asks a thousand things at once is answered a thousand times, and is no slow consumer for that, nor refused:
//! what it has sent waits, in its POST or in its connection, until it has taken enough of the answers. Half of its
//! outbox is for them ([`Outbox::room_for_answers`](crate::outbox::Outbox::room_for_answers)). It waits as well while
//! as many questions are open for it as may be, unless all of them are of the kind that takes long: what is asked
//! behind those is refused.

use std::time::{Duration, Instant};

use super::{Application, Core, SessionConfig, driver::FRAMES_PER_TURN};
use crate::metrics::Metrics;

/// Whether a peer is held back.
#[derive(Debug, Default)]
pub(super) struct Hold {
    is_on: bool,
    /// What its transport had taken when it was, since its last pong.
    taken: Option<u64>,
}

impl Hold {
    /// The peer has been heard: whatever it sends next may be late by itself.
    pub(super) fn heard(&mut self) {
        self.taken = None;
    }

    /// A ping leaves: what held the peer back before holds its pong back only if it still does.
    pub(super) fn pinged(&mut self) {
        if !self.is_on {
            self.taken = None;
        }
    }
}

impl<A: Application> Core<A> {
    fn room(&self, max_questions: usize) -> usize {
        let in_turn = self.questions.in_turn();
        let to_answer = self.outbox.room_for_answers().saturating_sub(in_turn);
        let to_ask = match max_questions.saturating_sub(self.questions.len()) {
            0 if in_turn == 0 => usize::MAX,
            // A packet may ask two at once.
            left => left.div_ceil(2),
        };
        to_answer.min(to_ask)
    }

    /// How many packets of the peer may be read now.
    pub(super) fn may_read(&mut self, config: &SessionConfig, metrics: &Metrics) -> usize {
        // Most turns: no lock is taken for them.
        let may_ask = self.questions.len() + 2 * FRAMES_PER_TURN <= config.max_questions;
        if may_ask && !self.outbox.is_crowded() {
            self.hold.is_on = false;
            return usize::MAX;
        }
        let room = self.room(config.max_questions);
        if room > 0 {
            self.hold.is_on = false;
            return room;
        }
        if !self.hold.is_on {
            self.hold.is_on = true;
            metrics.reads_held.inc();
        }
        self.hold.taken.get_or_insert(self.outbox.taken());
        self.outbox.hold();
        // The client pauses its polling: no GET will come before its POST is answered. It may send another behind it.
        if self.outbox.is_probing()
            && let Some(posted) = &mut self.posted
        {
            posted.let_go(2 * config.max_payload);
        }
        0
    }

    /// Whether the peer is held back and need not be any more.
    pub(super) fn may_read_on(&self, max_questions: usize) -> bool {
        self.hold.is_on && self.room(max_questions) > 0
    }

    /// Gives a late pong `patience` once more if the peer was held back, because the pong may wait to be read. Not if it
    /// still is because of what waits for it, and has taken nothing of that meanwhile: then it may be dead.
    pub(super) fn excuse(&mut self, patience: Duration, now: Instant) {
        let Some(before) = self.hold.taken else { return };
        let taken = self.outbox.taken();
        let waits_for_peer = self.hold.is_on && self.outbox.room_for_answers() == 0;
        self.hold.taken = self.hold.is_on.then_some(taken);
        if !waits_for_peer || taken > before {
            self.engine.put_off(patience, now);
        }
    }
}

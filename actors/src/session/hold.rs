//! A peer is read no further than it takes what waits for it.
//!
//! Whoever asks a thousand things at once is answered a thousand times, and is no slow consumer for that: what it has
//! sent waits, in its POST or in its connection, until it has taken enough of the answers. Half of its outbox is for
//! them ([`Outbox::room_for_answers`](crate::outbox::Outbox::room_for_answers)).

use std::time::{Duration, Instant};

use super::{Application, Core};
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
    pub(super) fn forget(&mut self) {
        self.taken = None;
    }
}

impl<A: Application> Core<A> {
    fn room(&self) -> usize {
        self.outbox.room_for_answers().saturating_sub(self.questions.in_turn())
    }

    /// How many packets of the peer may be read now.
    pub(super) fn may_read(&mut self, metrics: &Metrics) -> usize {
        let room = self.room();
        if room > 0 {
            self.hold.is_on = false;
            return room;
        }
        if !self.hold.is_on {
            self.hold.is_on = true;
            metrics.reads_held.inc();
        }
        self.hold.taken.get_or_insert(self.outbox.taken());
        // The client pauses its polling: no GET will come before its POST is answered.
        if self.outbox.is_probing()
            && let Some(posted) = &mut self.posted
        {
            posted.let_go();
        }
        0
    }

    /// Whether the peer is held back and need not be any more.
    pub(super) fn may_read_on(&self) -> bool {
        self.hold.is_on && self.room() > 0
    }

    /// Gives a late pong `patience` once more if the peer was held back, because the pong may wait to be read, and has
    /// taken something since, because then it lives.
    pub(super) fn excuse(&mut self, patience: Duration, now: Instant) {
        if self.hold.taken.take().is_some_and(|before| self.outbox.taken() > before) {
            self.engine.put_off(patience, now);
        }
    }
}

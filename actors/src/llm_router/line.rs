//! The way to one target. All that the router tells it goes here, so it arrives in order, also
//! around the move of its session to another worker (the upgrade from polling to WebSocket).

use std::collections::VecDeque;

use actix::Recipient;

use super::ToTarget;

/// See the module's documentation.
pub(super) struct Line {
    target: Recipient<ToTarget>,
    /// While the old address hands on what it was sent: what came since.
    waiting: Option<VecDeque<ToTarget>>,
    /// Requests that may wait there.
    max_waiting: usize,
}

impl Line {
    pub(super) fn new(target: Recipient<ToTarget>) -> Self {
        Self { target, waiting: None, max_waiting: 0 }
    }

    /// Tells the target what it must know. Not bounded by its mailbox.
    pub(super) fn tell(&mut self, notice: ToTarget) {
        match &mut self.waiting {
            Some(waiting) => waiting.push_back(notice),
            None => {
                #[expect(clippy::disallowed_methods, reason = "once per route and change of presence")]
                self.target.do_send(notice);
            }
        }
    }

    /// Asks the target, if its mailbox has room.
    pub(super) fn ask(&mut self, ask: ToTarget) -> bool {
        match &mut self.waiting {
            Some(waiting) if waiting.len() < self.max_waiting => waiting.push_back(ask),
            Some(_) => return false,
            None => return self.target.try_send(ask).is_ok(),
        }
        true
    }

    /// The target is reached at another address from [`Line::arrived`] on; until then what it is told
    /// waits here, at most `max_waiting` requests of it.
    pub(super) fn moves_to(&mut self, target: Recipient<ToTarget>, max_waiting: usize) {
        self.target = target;
        self.max_waiting = max_waiting;
        self.waiting.get_or_insert_default();
    }

    /// The old address has handed everything on.
    pub(super) fn arrived(&mut self) {
        for told in self.waiting.take().into_iter().flatten() {
            #[expect(clippy::disallowed_methods, reason = "bounded while it waited")]
            self.target.do_send(told);
        }
    }
}

//! The way to one socket of somebody who asked: its session's mailbox, and what waits while that is full.

use std::time::{Duration, Instant};

use actix::prelude::*;

use super::{FanOutLimits, heard::Heard, lane::Lane, wholes::Wholes};
use crate::{
    llm_router::{Deliver, Delivery, Origin, Peer},
    metrics::Metrics,
};

/// A full mailbox is tried again so soon.
pub(super) const RETRY: Duration = Duration::from_millis(2);

/// What sending a part is bound by, and what it leaves to be done.
pub(super) struct Sending<'a> {
    /// Bytes that may wait for one peer.
    pub(super) limit: usize,
    pub(super) metrics: &'a Metrics,
    /// Set if something waits for a full mailbox.
    retry_at: &'a mut Option<Instant>,
    pub(super) now: Instant,
}

impl<'a> Sending<'a> {
    pub(super) fn new(
        limits: &FanOutLimits,
        metrics: &'a Metrics,
        retry_at: &'a mut Option<Instant>,
        now: Instant,
    ) -> Self {
        Self { limit: limits.max_waiting_bytes, metrics, retry_at, now }
    }
}

/// See the module's documentation.
pub(super) struct PeerLane {
    pub(super) peer: Peer,
    origin: Origin,
    pub(super) heard: Heard,
    pub(super) backlog: Lane,
    /// What it was given whole while it waited for an older socket, which may give the same back.
    whole: Wholes,
}

impl PeerLane {
    pub(super) fn new(peer: Peer, origin: Origin, heard: Heard) -> Self {
        Self { peer, origin, heard, backlog: Lane::default(), whole: Wholes::default() }
    }

    /// Whether it was given that while it waited.
    pub(super) fn has_whole(&self, delivery: &Delivery) -> bool {
        self.whole.has(delivery)
    }

    /// It waits for no older socket any more.
    pub(super) fn joining(self, heard: Heard) -> Self {
        Self { heard, ..self }
    }

    /// It has all that is older, and hears everything from now on.
    pub(super) fn is_served(&mut self) {
        self.whole.clear();
    }

    /// Whether something waits for its mailbox.
    pub(super) fn waits(&self) -> bool {
        !self.backlog.parts.is_empty()
    }

    /// Sends what is whole before it joins.
    pub(super) fn give_whole(&mut self, delivery: &Delivery, sending: &mut Sending<'_>) {
        self.whole.push(delivery.clone(), sending.limit);
        self.give(delivery, sending);
    }

    /// Sends a part from before it joined.
    pub(super) fn catch_up(&mut self, delivery: &Delivery, sending: &mut Sending<'_>) {
        if self.has_whole(delivery) {
            return;
        }
        if let Some(text) = delivery.text() {
            self.heard.catches_up(text);
        }
        self.give(delivery, sending);
    }

    /// Sends a part, or lets it wait behind what waits.
    pub(super) fn give(&mut self, delivery: &Delivery, sending: &mut Sending<'_>) {
        if self.backlog.swallows(delivery) {
            return;
        }
        let waiting = if self.waits() {
            Some(Refused::Full(delivery.clone()))
        } else {
            offer(&self.peer, self.origin, delivery.clone()).err()
        };
        let Sending { limit, metrics, .. } = *sending;
        match waiting {
            None => (),
            Some(Refused::Full(part)) => {
                if !self.waits() {
                    metrics.limit_reached("limits.session_mailbox");
                }
                sending.retry_at.get_or_insert(sending.now + RETRY);
                self.backlog.push(part, limit, metrics);
            }
            Some(Refused::Gone(part)) => self.backlog.push(part, limit, metrics),
        }
    }

    /// Its socket is over: what was sent there comes back, and this behind it.
    pub(super) fn fence(&self) {
        let deliver = Deliver { socket: self.peer.socket, origin: self.origin, delivery: Delivery::Fence };
        #[expect(clippy::disallowed_methods, reason = "once per route and socket")]
        self.peer.deliver.do_send(deliver);
    }

    /// Sends all that waits: nothing comes behind it, and nobody is left to wait with it.
    pub(super) fn leave(&mut self) {
        while let Some(delivery) = self.backlog.pop() {
            let deliver = Deliver { socket: self.peer.socket, origin: self.origin, delivery };
            #[expect(
                clippy::disallowed_methods,
                reason = "bounded by streams.max_waiting_bytes of one peer"
            )]
            self.peer.deliver.do_send(deliver);
        }
    }

    /// Sends what fits. True if the mailbox is full.
    pub(super) fn flush(&mut self) -> bool {
        while let Some(part) = self.backlog.pop() {
            let (part, full) = match offer(&self.peer, self.origin, part) {
                Ok(()) => continue,
                Err(Refused::Full(part)) => (part, true),
                // The router will say that it is gone, and what waits is kept then.
                Err(Refused::Gone(part)) => (part, false),
            };
            self.backlog.put_back(part);
            return full;
        }
        false
    }
}

enum Refused {
    Full(Delivery),
    Gone(Delivery),
}

fn offer(peer: &Peer, origin: Origin, delivery: Delivery) -> Result<(), Refused> {
    peer.deliver.try_send(Deliver { socket: peer.socket, origin, delivery }).map_err(|error| match error {
        SendError::Full(deliver) => Refused::Full(deliver.delivery),
        SendError::Closed(deliver) => Refused::Gone(deliver.delivery),
    })
}

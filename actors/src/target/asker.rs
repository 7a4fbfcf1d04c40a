//! Somebody who asked: the sockets that it has, and what each of those before had.
//!
//! ```text
//!           its last socket closes                a new socket, when the fence is back
//!   here ───────────────────────────► away ──────────────────────────────────────────► here
//!                             what comes is kept                          and gets what was kept
//! ```
//!
//! What was on its way to a socket that closes comes back, and stands before what is kept; no socket gets what
//! another one has had. A fence ([`Delivery::Fence`]) goes the same way behind it, and says that this was all.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use smallvec::SmallVec;

use super::{
    lane::Lane,
    peer_lane::{PeerLane, Sending},
};
use crate::{
    llm_router::{Delivery, Requester},
    registry::SocketKey,
};

/// A fence comes back in microseconds, and in this time on a machine that is busy with other things. A bound for faults.
const SETTLE: Duration = Duration::from_secs(1);

/// See the module's documentation.
pub(super) struct Asker {
    pub(super) requester: Requester,
    pub(super) peers: SmallVec<[PeerLane; 1]>,
    /// What came while it was away.
    pub(super) kept: Lane,
    /// What was on its way to its last socket may still come back, but not behind its fence, nor this moment: a new one is
    /// not served before.
    settles: Option<(SocketKey, Instant)>,
    /// Sockets that it had; the newest last.
    past: VecDeque<Past>,
    /// Behind all text, once nothing more comes: a socket that is given text later is told as well.
    finished: Option<Delivery>,
}

/// A socket that is over: it was sent the streams after `after`, up to `until`.
struct Past {
    socket: SocketKey,
    after: u64,
    until: u64,
    /// Streams of which it has had nothing, or not all: those that it gave back, and those that went on.
    returned: HashSet<u64>,
}

/// Sockets that a requester had while one answer came. Of an older one it is not known any more what
/// it has had.
const REMEMBERED_SOCKETS: usize = 16;

impl Asker {
    pub(super) fn new(
        requester: Requester,
        peers: SmallVec<[PeerLane; 1]>,
        finished: Option<Delivery>,
    ) -> Self {
        Self { requester, peers, kept: Lane::default(), settles: None, past: VecDeque::new(), finished }
    }

    /// Sends a part to all of its sockets, or keeps it for the next.
    pub(super) fn take(&mut self, delivery: &Delivery, sending: &mut Sending<'_>) {
        if self.peers.is_empty() || !self.settled(sending.now) {
            return self.kept.push(delivery.clone(), sending.limit, sending.metrics);
        }
        // The moment for what was kept may have come since the last look at it: it is older than this.
        self.give_kept(sending);
        for lane in &mut self.peers {
            lane.give(delivery, sending);
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, finished: Delivery, sending: &mut Sending<'_>) {
        if self.settled(sending.now) {
            self.give_kept(sending);
            for lane in &mut self.peers {
                lane.give(&finished, sending);
            }
        }
        self.finished = Some(finished);
    }

    /// Whether something waits for a mailbox of its, or for a moment to pass.
    pub(super) fn waits(&self) -> bool {
        let mut lanes = self.peers.iter().filter(|lane| lane.peer.deliver.connected());
        lanes.any(|lane| lane.waits() || !self.kept.parts.is_empty())
    }

    pub(super) fn settled(&self, now: Instant) -> bool {
        self.settles_at().is_none_or(|until| until <= now)
    }

    pub(super) fn settles_at(&self) -> Option<Instant> {
        self.settles.map(|(_, until)| until)
    }

    /// The fence of a socket is back.
    pub(super) fn fenced(&mut self, socket: SocketKey) {
        if self.settles.is_some_and(|(last, _)| last == socket) {
            self.settles = None;
        }
    }

    /// A socket of it is over. Of a stream that goes on it has had a beginning: what comes from then on, or comes back, is
    /// not what it has had.
    pub(super) fn bury(&mut self, lane: &PeerLane, newest: u64, open: &[u64]) {
        let (socket, after) = (lane.peer.socket, lane.joined);
        if self.past.iter().any(|past| past.socket == socket) {
            return;
        }
        if self.past.len() >= REMEMBERED_SOCKETS {
            self.past.pop_front();
        }
        let returned = open.iter().copied().collect();
        self.past.push_back(Past { socket, after, until: newest, returned });
    }

    /// What a socket gives back and no other socket has had.
    pub(super) fn still_wanted(&mut self, from: SocketKey, mut parts: Vec<Delivery>) -> Vec<Delivery> {
        let keys = parts.iter().filter_map(|part| match part {
            Delivery::Text(text) => Some(text.info.key),
            _ => None,
        });
        if let Some(past) = self.past.iter_mut().find(|past| past.socket == from) {
            past.returned.extend(keys);
        }
        let had = |key: u64| {
            let live = self.peers.iter().any(|lane| lane.peer.socket != from && lane.joined < key);
            live || self.past.iter().any(|past| {
                past.socket != from && past.after < key && key <= past.until && !past.returned.contains(&key)
            })
        };
        parts.retain(|part| !matches!(part, Delivery::Text(text) if had(text.info.key)));
        parts
    }

    /// What a socket that is over has not had goes to those of the others that have not had it either: they joined
    /// after it was sent.
    pub(super) fn hand_over(&mut self, from: SocketKey, parts: Vec<Delivery>, sending: &mut Sending<'_>) {
        let parts = self.still_wanted(from, parts);
        if !self.settled(sending.now) {
            return parts.into_iter().for_each(|part| self.kept.push_returned(part));
        }
        for part in &parts {
            let Delivery::Text(text) = part else { continue };
            for lane in self.peers.iter_mut().filter(|lane| text.info.key <= lane.joined) {
                lane.give(part, sending);
            }
        }
        if !parts.is_empty() {
            self.give_finished(sending);
        }
    }

    /// What was kept goes to all of its sockets.
    pub(super) fn give_kept(&mut self, sending: &mut Sending<'_>) {
        if self.kept.parts.is_empty() || self.peers.is_empty() {
            return;
        }
        while let Some(part) = self.kept.pop() {
            for lane in &mut self.peers {
                lane.give(&part, sending);
            }
        }
        self.give_finished(sending);
    }

    fn give_finished(&mut self, sending: &mut Sending<'_>) {
        for lane in &mut self.peers {
            if let Some(finished) = &self.finished {
                lane.give(finished, sending);
            }
        }
    }

    /// Its last socket is gone: what waited for it is kept.
    pub(super) fn away(&mut self, last: Option<PeerLane>, sending: &Sending<'_>) {
        if let Some(mut last) = last {
            self.settles = Some((last.peer.socket, sending.now + SETTLE));
            last.fence();
            while let Some(part) = last.backlog.pop() {
                self.kept.push(part, sending.limit, sending.metrics);
            }
        }
    }
}

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
//!
//! What is whole ([`Delivery::is_whole`]) goes to every socket at once, also to one that waits for an older one.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use smallvec::SmallVec;

use super::{
    heard::{Heard, OpenStreams, Past, Spans, without},
    lane::Lane,
    peer_lane::{PeerLane, RETRY, Sending},
    wholes::Wholes,
};
use crate::{
    llm_router::{Delivery, Origin, Peer, Peers, Requester},
    registry::SocketKey,
    stream::StreamInfo,
};

/// A fence comes back in microseconds, and in this time on a machine that is busy with other things. A bound for faults.
const SETTLE: Duration = Duration::from_secs(1);

/// See the module's documentation.
pub(super) struct Asker {
    pub(super) requester: Requester,
    pub(super) peers: SmallVec<[PeerLane; 1]>,
    /// Its sockets that wait for an older one, and are given only what is whole.
    pub(super) newcomers: Vec<PeerLane>,
    /// It is away, or its new sockets are not served yet: what comes is kept, and given to none of them.
    waiting: bool,
    pub(super) kept: Lane,
    /// What was on its way to its last socket may still come back, but not behind its fence, nor this moment: a new one is
    /// not served before.
    settles: Option<(SocketKey, Instant)>,
    /// Sockets that it had; the newest last.
    past: VecDeque<Past>,
    /// Behind all text, once nothing more comes: a socket that is given text later is told as well.
    finished: Option<Delivery>,
}

/// Sockets that a requester had while one answer came. Of an older one it is not known any more what
/// it has had.
const REMEMBERED_SOCKETS: usize = 16;

impl Asker {
    pub(super) fn new(
        requester: Requester,
        lanes: impl Iterator<Item = PeerLane>,
        finished: Option<Delivery>,
    ) -> Self {
        let (newcomers, served): (Vec<_>, Vec<_>) = lanes.partition(|lane| lane.peer.newcomer);
        let (waiting, peers) = (served.is_empty(), served.into());
        let (kept, past) = (Lane::default(), VecDeque::new());
        Self { requester, peers, newcomers, waiting, kept, settles: None, past, finished }
    }

    /// A socket of it has opened, and hears this from now on.
    pub(super) fn join(&mut self, peer: Peer, origin: Origin, heard: &Heard) {
        let heard = if self.waiting { Heard::nothing() } else { heard.clone() };
        let waited = self.newcomers.iter().position(|lane| lane.peer.socket == peer.socket);
        let mut lane = match waited {
            Some(at) => self.newcomers.swap_remove(at).joining(heard),
            None => PeerLane::new(peer, origin, heard),
        };
        if !self.waiting {
            lane.is_served();
        }
        self.peers.push(lane);
    }

    /// These are its sockets that wait for an older one. One that has opened is told what was said whole a moment ago,
    /// before this was known of it.
    pub(super) fn wait(
        &mut self,
        newcomers: Peers,
        origin: Origin,
        said: &Wholes,
        sending: &mut Sending<'_>,
    ) {
        let mut old = std::mem::take(&mut self.newcomers);
        for peer in newcomers {
            let known = old.iter().position(|lane| lane.peer.socket == peer.socket);
            self.newcomers.push(match known {
                Some(at) => old.swap_remove(at),
                None => {
                    let mut lane = PeerLane::new(peer, origin, Heard::nothing());
                    said.iter().for_each(|whole| lane.give_whole(whole, sending));
                    lane
                }
            });
        }
    }

    /// A socket of it is over: it waits for no other any more.
    pub(super) fn forget_newcomer(&mut self, socket: SocketKey) {
        self.newcomers.retain(|lane| lane.peer.socket != socket);
    }

    /// Once it is back, and the moment for it has come, its sockets are given what was kept, and hear this from now on:
    /// whatever comes is newer.
    pub(super) fn serve(&mut self, heard: impl FnOnce() -> Heard, sending: &mut Sending<'_>) {
        if !self.waiting || self.peers.is_empty() || !self.settled(sending.now) {
            return;
        }
        self.waiting = false;
        let heard = heard();
        for lane in &mut self.peers {
            lane.heard = heard.clone();
        }
        let any = !self.kept.parts.is_empty();
        while let Some(part) = self.kept.pop() {
            for lane in &mut self.peers {
                lane.catch_up(&part, sending);
            }
        }
        self.peers.iter_mut().for_each(PeerLane::is_served);
        if any {
            self.give_finished(sending);
        }
    }

    /// Sends a part to all of its sockets, or keeps it for the next.
    pub(super) fn take(&mut self, delivery: &Delivery, sending: &mut Sending<'_>) {
        for lane in self.newcomers.iter_mut().filter(|_| delivery.is_whole()) {
            lane.give_whole(delivery, sending);
        }
        if self.waiting {
            return self.kept.push(delivery.clone(), sending.limit, sending.metrics);
        }
        for lane in &mut self.peers {
            lane.give(delivery, sending);
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, finished: Delivery, sending: &mut Sending<'_>) {
        self.finished = Some(finished);
        if !self.waiting {
            self.give_finished(sending);
        }
    }

    /// Whether something waits for a mailbox of its, or for a moment to pass.
    pub(super) fn waits(&self) -> bool {
        let is_there = |lane: &&PeerLane| lane.peer.deliver.connected();
        let mut lanes = self.peers.iter().filter(is_there);
        lanes.any(|lane| lane.waits() || !self.kept.parts.is_empty())
            || self.newcomers.iter().filter(is_there).any(PeerLane::waits)
    }

    /// Tries full mailboxes again. Returns when that, or the next socket's moment, is due.
    pub(super) fn flush(&mut self, now: Instant) -> Option<Instant> {
        let settles = self.settles_at().filter(|until| *until > now && !self.peers.is_empty());
        let served = self.peers.iter_mut().filter(|_| settles.is_none());
        let lanes = served.chain(&mut self.newcomers);
        lanes.filter_map(|lane| lane.flush().then_some(now + RETRY)).chain(settles).min()
    }

    /// What none of its sockets has had, or one of them has not; its target is gone.
    pub(super) fn into_leftovers(mut self) -> impl Iterator<Item = (Option<SocketKey>, VecDeque<Delivery>)> {
        let mut kept = self.kept.parts;
        let is_had =
            |part: &Delivery| self.newcomers.iter().chain(&self.peers).any(|lane| lane.has_whole(part));
        let had: Vec<Delivery> = kept.iter().filter(|part| is_had(part)).cloned().collect();
        kept.retain(|part| !had.iter().any(|had| had.is_same_whole(part)));
        for lane in &mut self.peers {
            let missed = had.iter().filter(|part| !lane.has_whole(part)).cloned();
            lane.backlog.parts.extend(missed.collect::<Vec<_>>());
        }
        let lanes = self.peers.into_iter().chain(self.newcomers);
        lanes.map(|lane| (Some(lane.peer.socket), lane.backlog.parts)).chain([(None, kept)])
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
    pub(super) fn bury(&mut self, lane: &PeerLane, newest: u64, open: &OpenStreams) {
        let socket = lane.peer.socket;
        if self.has_lost(socket) {
            return;
        }
        if self.past.len() >= REMEMBERED_SOCKETS {
            self.past.pop_front();
        }
        self.past.push_back(Past::new(socket, lane.heard.clone(), newest, open));
    }

    /// Whether a socket of it is over.
    pub(super) fn has_lost(&self, socket: SocketKey) -> bool {
        self.past.iter().any(|past| past.socket == socket)
    }

    /// What its sockets but this have had of a stream. What is kept none has had, nor gives back any more.
    fn had_by_others(&self, from: SocketKey, stream: &StreamInfo) -> Spans {
        let others = self.peers.iter().filter(|lane| lane.peer.socket != from);
        let before = self.past.iter().filter(|past| past.socket != from);
        let others = others.flat_map(|lane| lane.heard.spans(stream));
        others.chain(before.flat_map(|past| past.spans(stream))).collect()
    }

    /// What a socket gives back, and no other has had.
    fn still_wanted(&mut self, from: SocketKey, parts: Vec<Delivery>) -> Vec<Delivery> {
        if let Some(past) = self.past.iter_mut().find(|past| past.socket == from) {
            parts.iter().filter_map(Delivery::text).for_each(|text| past.returned(text));
        }
        let mut wanted = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Delivery::Text(text) => {
                    let left = without(&text, &self.had_by_others(from, &text.info));
                    wanted.extend(left.into_iter().map(Delivery::Text));
                }
                // Several sockets may give it back, and it may be kept beside that.
                other if self.kept.parts.iter().any(|kept| kept.is_same_whole(&other)) => (),
                other => wanted.push(other),
            }
        }
        wanted
    }

    /// What a socket that is over has not had goes to those of the others that have not had it either: they joined
    /// after it was sent.
    pub(super) fn hand_over(&mut self, from: SocketKey, parts: Vec<Delivery>, sending: &mut Sending<'_>) {
        let parts = self.still_wanted(from, parts);
        if self.waiting {
            return parts.into_iter().for_each(|part| self.kept.push_returned(part));
        }
        for part in parts.iter().filter(|part| part.text().is_some()) {
            for lane in &mut self.peers {
                lane.catch_up(part, sending);
            }
        }
        if !parts.is_empty() {
            self.give_finished(sending);
        }
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
        self.waiting = true;
        if let Some(last) = last {
            let socket = last.peer.socket;
            self.settles = Some((socket, sending.now + SETTLE));
            last.fence();
            for part in self.still_wanted(socket, last.backlog.parts.into()) {
                self.kept.push(part, sending.limit, sending.metrics);
            }
        }
    }
}

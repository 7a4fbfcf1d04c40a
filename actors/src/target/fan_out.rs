//! From one target to everybody who asked (spec §5.9, §5.5 rule 14).
//!
//! ```text
//!              ┌─ requester ─┬─ peer: mailbox has room ──► its session
//!   route ─────┤             └─ peer: mailbox is full ───► backlog, sent again soon
//!              └─ requester away ────────────────────────► kept, until it is back or gone
//! ```
//!
//! Nothing that fits a bound is lost, and each peer gets it in order: while something waits for a
//! peer, what follows waits behind it. Texts of the same stream that wait are joined.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    asker::Asker,
    heard::{Heard, OpenStreams},
    peer_lane::{PeerLane, RETRY, Sending},
    wholes::Wholes,
};
use crate::{
    ids::RequestId,
    llm_router::{Delivery, LeftRoom, Leftover, OpenedRoute, Origin, Peers, Requester, RouteId, RouteState},
    maps::FastMap,
    metrics::Metrics,
    registry::SocketKey,
    stream::{StreamInfo, StreamText},
};

/// Bounds of what waits for requesters.
#[derive(Clone, Copy, Debug)]
pub struct FanOutLimits {
    /// Bytes that wait for one peer, or for one requester that is away.
    pub max_waiting_bytes: usize,
    /// Routes that one target may hold.
    pub max_routes: usize,
}

/// The routes of one target, and what waits for those who asked.
pub struct FanOut {
    /// The target's socket.
    holder: SocketKey,
    routes: FastMap<RouteId, Route>,
    by_request: FastMap<RequestId, RouteId>,
    /// Turn of the newest stream that was sent.
    newest: u64,
    limits: FanOutLimits,
    /// Set while something waits for a full mailbox.
    retry_at: Option<Instant>,
    metrics: Arc<Metrics>,
}

struct Route {
    request_id: RequestId,
    state: Arc<RouteState>,
    open: OpenStreams,
    requesters: SmallVec<[Asker; 1]>,
    /// The room in which the request was made.
    listener: Option<PeerLane>,
    /// What was said whole, until the router knows: a socket of which it tells before that may be waiting for it.
    said: Wholes,
    /// Nothing more is taken for it.
    complete: bool,
    /// It is over; it stays while something waits for a full mailbox.
    closing: bool,
}

impl FanOut {
    /// A target without routes.
    pub fn new(holder: SocketKey, limits: FanOutLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            holder,
            routes: FastMap::default(),
            by_request: FastMap::default(),
            newest: 0,
            limits,
            retry_at: None,
            metrics,
        }
    }

    /// Whether [`FanOut::open`] will take a route: it is known, or there are not too many.
    pub fn admits(&self, route: RouteId) -> bool {
        let admitted = self.routes.len() < self.limits.max_routes || self.routes.contains_key(&route);
        if !admitted {
            self.metrics.limit_reached("limits.max_routes");
        }
        admitted
    }

    /// Takes a route. False if there are too many; a route that is known stays as it is.
    pub fn open(&mut self, opened: OpenedRoute) -> bool {
        let OpenedRoute { route, request_id, requesters, listener, state } = opened;
        if self.routes.contains_key(&route) {
            return true;
        }
        if !self.admits(route) {
            return false;
        }
        let open = OpenStreams::default();
        let (origin, heard) = (Origin { route, holder: self.holder }, Heard::new(self.newest, &open));
        let lane = |peer| PeerLane::new(peer, origin, heard.clone());
        let lanes = |peers: Peers| peers.into_iter().map(lane);
        let complete = state.is_finished();
        let finished = || complete.then(|| Delivery::Finished(request_id.clone()));
        let requesters = requesters
            .into_iter()
            .map(|(requester, peers)| Asker::new(requester, lanes(peers), finished()))
            .collect();
        let listener = listener.map(lane);
        self.by_request.insert(request_id.clone(), route);
        let (said, closing) = (Wholes::default(), false);
        let opened = Route { request_id, state, open, requesters, listener, said, complete, closing };
        self.routes.insert(route, opened);
        true
    }

    /// The route of a request.
    pub fn route_of(&self, request_id: &str) -> Option<RouteId> {
        self.by_request.get(request_id).copied()
    }

    /// What the router reads of a route.
    pub fn state(&self, route: RouteId) -> Option<&RouteState> {
        self.routes.get(&route).filter(|route| !route.closing).map(|route| &*route.state)
    }

    /// The requester's id of a route's request.
    pub fn request_id(&self, route: RouteId) -> Option<&RequestId> {
        self.routes.get(&route).filter(|route| !route.closing).map(|route| &route.request_id)
    }

    /// How many routes are open.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether no route is open.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The sockets of a requester have changed: it is back, away, or gone.
    pub fn peers(&mut self, id: RouteId, requester: &Requester, peers: Peers, gone: bool, now: Instant) {
        let Some(route) = self.routes.get_mut(&id) else {
            return;
        };
        if gone {
            route.requesters.retain(|asker| asker.requester != *requester);
            return;
        }
        let origin = Origin { route: id, holder: self.holder };
        let heard = Heard::new(self.newest, &route.open);
        let known = route.requesters.iter().position(|asker| asker.requester == *requester);
        let at = known.unwrap_or_else(|| {
            let finished = route.complete.then(|| Delivery::Finished(route.request_id.clone()));
            route.requesters.push(Asker::new(requester.clone(), std::iter::empty(), finished));
            route.requesters.len() - 1
        });
        let Some(asker) = route.requesters.get_mut(at) else {
            return;
        };
        let mut sending = Sending::new(&self.limits, &self.metrics, &mut self.retry_at, now);
        let (newcomers, peers): (Peers, Peers) = peers.into_iter().partition(|peer| peer.newcomer);
        let old = std::mem::take(&mut asker.peers);
        let (mut old, lost): (Vec<_>, Vec<_>) =
            old.into_iter().partition(|lane| peers.iter().any(|peer| peer.socket == lane.peer.socket));
        for lane in &lost {
            asker.bury(lane, self.newest, &route.open);
        }
        for peer in peers {
            // The router may not have heard yet that it is over, and has given back what it had.
            if asker.has_lost(peer.socket) {
                continue;
            }
            match old.iter().position(|lane| lane.peer.socket == peer.socket) {
                Some(at) => asker.peers.push(old.swap_remove(at)),
                None => asker.join(peer, origin, &heard),
            }
        }
        asker.wait(newcomers, origin, &route.said, &mut sending);
        let mut lost = lost.into_iter();
        if asker.peers.is_empty() {
            asker.away(lost.next(), &sending);
        }
        for lane in lost {
            asker.hand_over(lane.peer.socket, lane.backlog.parts.into(), &mut sending);
        }
        self.flush(now);
    }

    /// What came back from a socket that has closed: it stands before what is kept. A requester with
    /// another socket has had it there.
    pub fn returned(
        &mut self,
        route: RouteId,
        requester: &Requester,
        from: SocketKey,
        mut parts: Vec<Delivery>,
        now: Instant,
    ) {
        let Some(route) = self.routes.get_mut(&route) else {
            return;
        };
        let Some(asker) = route.requesters.iter_mut().find(|asker| asker.requester == *requester) else {
            return;
        };
        if parts.pop_if(|last| matches!(last, Delivery::Fence)).is_some() {
            asker.fenced(from);
            if parts.is_empty() {
                return self.flush(now);
            }
        }
        let mut sending = Sending::new(&self.limits, &self.metrics, &mut self.retry_at, now);
        let dead = asker.peers.iter().position(|lane| lane.peer.socket == from);
        let mut dead = dead.map(|at| asker.peers.remove(at));
        asker.forget_newcomer(from);
        if let Some(dead) = &dead {
            asker.bury(dead, self.newest, &route.open);
        }
        if asker.peers.is_empty() {
            asker.away(dead.take(), &sending);
        }
        asker.hand_over(from, parts, &mut sending);
        if let Some(dead) = dead {
            asker.hand_over(from, dead.backlog.parts.into(), &mut sending);
        }
    }

    /// Sends something that is no text to everybody who asked.
    pub fn send(&mut self, route: RouteId, delivery: &Delivery, now: Instant) {
        let Some(route) = self.routes.get_mut(&route) else {
            return;
        };
        let mut sending = Sending::new(&self.limits, &self.metrics, &mut self.retry_at, now);
        route.serve(self.newest, &mut sending);
        if let Delivery::StreamFailed { info, .. } = delivery {
            route.open.end(info.key);
        }
        if delivery.is_whole() && !route.complete {
            route.said.push(delivery.clone(), sending.limit);
        }
        route.give(delivery, &mut sending);
    }

    /// Text of a stream, to everybody who asked.
    pub fn text(&mut self, route: RouteId, info: Arc<StreamInfo>, text: Bytes, end: bool, now: Instant) {
        let before = self.newest;
        self.newest = before.max(info.turn.comes());
        let Some(route) = self.routes.get_mut(&route) else {
            return;
        };
        let mut sending = Sending::new(&self.limits, &self.metrics, &mut self.retry_at, now);
        route.serve(before, &mut sending);
        let at = route.open.place(info.key, text.len() as u64, end);
        route.give(&Delivery::Text(StreamText { info, at, text, end }), &mut sending);
    }

    /// Nothing more comes: the room is told, and so are those who have read streams, behind what they were sent. Once.
    pub fn complete(&mut self, id: RouteId, streamed: bool, now: Instant) {
        let Some(route) = self.routes.get_mut(&id).filter(|route| !route.complete) else {
            return;
        };
        route.complete = true;
        route.said.clear();
        route.state.finish();
        let finished = Delivery::Finished(route.request_id.clone());
        let mut sending = Sending::new(&self.limits, &self.metrics, &mut self.retry_at, now);
        route.serve(self.newest, &mut sending);
        for asker in route.requesters.iter_mut().filter(|_| streamed) {
            asker.finish(finished.clone(), &mut sending);
        }
        route.tell_room(&finished, &mut sending);
    }

    /// The route is over, and read. What waits for a full mailbox still leaves.
    pub fn close(&mut self, id: RouteId, now: Instant) {
        let Some(route) = self.routes.get_mut(&id) else {
            return;
        };
        route.closing = true;
        if self.by_request.get(&route.request_id) == Some(&id) {
            self.by_request.remove(&route.request_id);
        }
        if route.waits() {
            self.flush(now);
        } else {
            self.routes.remove(&id);
        }
    }

    /// What has not reached those who asked: the target's socket is gone.
    pub fn into_leftovers(self) -> Vec<Leftover> {
        let mut leftovers = Vec::new();
        for (id, route) in self.routes {
            for asker in route.requesters {
                let requester = asker.requester.clone();
                let left = asker.into_leftovers().filter(|(_, parts)| !parts.is_empty());
                leftovers.extend(left.map(|(socket, parts)| Leftover {
                    route: id,
                    requester: requester.clone(),
                    socket,
                    parts: parts.into(),
                }));
            }
        }
        leftovers
    }

    /// The target's socket is gone: a room has no other way to what waits for it. Returns the rooms that it was to
    /// tell of the end.
    pub fn leave_rooms(&mut self) -> Vec<LeftRoom> {
        let mut left = Vec::new();
        for (id, route) in &mut self.routes {
            if let Some(room) = &mut route.listener {
                room.leave();
                let request_id = route.request_id.clone();
                left.push(LeftRoom { route: *id, request_id, room: room.peer.clone() });
            }
        }
        left
    }

    /// When [`FanOut::flush`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tries full mailboxes again, and serves requesters that are back.
    pub fn flush(&mut self, now: Instant) {
        let mut retry_at = None;
        for route in self.routes.values_mut() {
            if route.listener.as_mut().is_some_and(PeerLane::flush) {
                retry_at = Some(now + RETRY);
            }
            route.forget_gone_room();
        }
        for route in self.routes.values_mut() {
            let due = route.requesters.iter_mut().filter_map(|asker| asker.flush(now));
            retry_at = due.chain(retry_at).min();
            route.serve(self.newest, &mut Sending::new(&self.limits, &self.metrics, &mut retry_at, now));
        }
        self.retry_at = retry_at;
        self.routes.retain(|_, route| !route.closing || route.waits());
    }
}

impl Route {
    /// What was kept is older than what comes, which is told them next.
    fn serve(&mut self, newest: u64, sending: &mut Sending<'_>) {
        for asker in &mut self.requesters {
            asker.serve(|| Heard::new(newest, &self.open), sending);
        }
    }

    fn give(&mut self, delivery: &Delivery, sending: &mut Sending<'_>) {
        for asker in &mut self.requesters {
            asker.take(delivery, sending);
        }
        self.tell_room(delivery, sending);
    }

    fn tell_room(&mut self, delivery: &Delivery, sending: &mut Sending<'_>) {
        if let Some(room) = &mut self.listener {
            room.give(delivery, sending);
            self.forget_gone_room();
        }
    }

    /// A room that has ended has no other address, as a requester may have: nobody will come for what waits.
    fn forget_gone_room(&mut self) {
        self.listener.take_if(|room| room.waits() && !room.peer.deliver.connected());
    }

    /// Whether something waits for a mailbox, or for a moment to pass.
    fn waits(&self) -> bool {
        self.listener.as_ref().is_some_and(PeerLane::waits) || self.requesters.iter().any(Asker::waits)
    }
}

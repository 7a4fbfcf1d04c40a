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

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use bytes::{Bytes, BytesMut};
use log::warn;

use crate::{
    ids::RequestId,
    llm_router::{Deliver, Delivery, OpenedRoute, Peer, Requester, RouteId, RouteState},
    metrics::Metrics,
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

/// A full mailbox is tried again so soon.
const RETRY: Duration = Duration::from_millis(2);

/// Each waiting part counts as this many bytes more than its text.
const PART_COST: usize = 256;

/// The routes of one target, and what waits for those who asked.
pub struct FanOut {
    routes: HashMap<RouteId, Route>,
    by_request: HashMap<RequestId, RouteId>,
    limits: FanOutLimits,
    /// Set while something waits for a full mailbox.
    retry_at: Option<Instant>,
    metrics: Arc<Metrics>,
}

struct Route {
    request_id: RequestId,
    state: Arc<RouteState>,
    requesters: Vec<Asker>,
}

struct Asker {
    requester: Requester,
    peers: Vec<PeerLane>,
    /// What came while it was away.
    kept: Lane,
}

struct PeerLane {
    peer: Peer,
    backlog: Lane,
}

/// What waits, in order.
#[derive(Default)]
struct Lane {
    parts: VecDeque<Delivery>,
    bytes: usize,
}

impl Lane {
    /// False if it does not fit.
    fn push(&mut self, delivery: Delivery, limit: usize) -> bool {
        if let (Delivery::Text(next), Some(Delivery::Text(last))) = (&delivery, self.parts.back_mut()) {
            if last.info.key == next.info.key && !last.end && self.bytes + next.text.len() <= limit {
                self.bytes += next.text.len();
                last.text = joined(&last.text, &next.text);
                last.end = next.end;
                return true;
            }
        }
        let cost = cost(&delivery);
        if self.bytes + cost > limit && !self.parts.is_empty() {
            return false;
        }
        self.bytes += cost;
        self.parts.push_back(delivery);
        true
    }

    fn pop(&mut self) -> Option<Delivery> {
        let part = self.parts.pop_front()?;
        self.bytes = self.bytes.saturating_sub(cost(&part));
        Some(part)
    }

    fn put_back(&mut self, delivery: Delivery) {
        self.bytes += cost(&delivery);
        self.parts.push_front(delivery);
    }
}

fn cost(delivery: &Delivery) -> usize {
    PART_COST
        + match delivery {
            Delivery::Text(text) => text.text.len(),
            Delivery::Message { payload, .. } => payload.len(),
            Delivery::StreamFailed { .. } | Delivery::Finished(_) | Delivery::Failed(_) => 0,
        }
}

fn joined(first: &Bytes, second: &Bytes) -> Bytes {
    let mut both = BytesMut::with_capacity(first.len() + second.len());
    both.extend_from_slice(first);
    both.extend_from_slice(second);
    both.freeze()
}

impl FanOut {
    /// A target without routes.
    pub fn new(limits: FanOutLimits, metrics: Arc<Metrics>) -> Self {
        Self { routes: HashMap::new(), by_request: HashMap::new(), limits, retry_at: None, metrics }
    }

    /// Takes a route. False if there are too many; a route that is known stays as it is.
    pub fn open(&mut self, opened: OpenedRoute) -> bool {
        let OpenedRoute { route, request_id, requesters, state } = opened;
        if self.routes.contains_key(&route) {
            return true;
        }
        if self.routes.len() >= self.limits.max_routes {
            self.metrics.limit_reached("limits.max_routes");
            return false;
        }
        let lanes = |peers: Vec<Peer>| {
            peers.into_iter().map(|peer| PeerLane { peer, backlog: Lane::default() }).collect()
        };
        let requesters = requesters
            .into_iter()
            .map(|(requester, peers)| Asker { requester, peers: lanes(peers), kept: Lane::default() })
            .collect();
        self.by_request.insert(request_id.clone(), route);
        self.routes.insert(route, Route { request_id, state, requesters });
        true
    }

    /// The route of a request.
    pub fn route_of(&self, request_id: &str) -> Option<RouteId> {
        self.by_request.get(request_id).copied()
    }

    /// What the router reads of a route.
    pub fn state(&self, route: RouteId) -> Option<&RouteState> {
        Some(&*self.routes.get(&route)?.state)
    }

    /// The requester's id of a route's request.
    pub fn request_id(&self, route: RouteId) -> Option<&RequestId> {
        Some(&self.routes.get(&route)?.request_id)
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
    pub fn peers(
        &mut self,
        route: RouteId,
        requester: &Requester,
        peers: Vec<Peer>,
        gone: bool,
        now: Instant,
    ) {
        let Some(route) = self.routes.get_mut(&route) else {
            return;
        };
        if gone {
            route.requesters.retain(|asker| asker.requester != *requester);
            return;
        }
        let limit = self.limits.max_waiting_bytes;
        let asker = match route.requesters.iter_mut().find(|asker| asker.requester == *requester) {
            Some(asker) => asker,
            None => {
                let asker = Asker { requester: requester.clone(), peers: Vec::new(), kept: Lane::default() };
                route.requesters.push(asker);
                let Some(asker) = route.requesters.last_mut() else { return };
                asker
            }
        };
        let old = std::mem::take(&mut asker.peers);
        let (mut old, lost): (Vec<_>, Vec<_>) =
            old.into_iter().partition(|lane| peers.iter().any(|peer| peer.socket == lane.peer.socket));
        for peer in peers {
            let known = old.iter().position(|lane| lane.peer.socket == peer.socket);
            asker.peers.push(match known {
                Some(at) => old.swap_remove(at),
                None => PeerLane { peer, backlog: Lane::default() },
            });
        }
        if asker.peers.is_empty() {
            for mut lane in lost {
                while let Some(part) = lane.backlog.pop() {
                    keep(asker, part, limit, &self.metrics);
                }
            }
        } else {
            while let Some(part) = asker.kept.pop() {
                deliver(asker, &part, limit, &self.metrics, &mut self.retry_at, now);
            }
        }
    }

    /// What came back from a socket that has closed: it stands before what is kept. A requester with
    /// another socket has had it there.
    pub fn returned(&mut self, route: RouteId, requester: &Requester, parts: Vec<Delivery>, now: Instant) {
        let Some(route) = self.routes.get_mut(&route) else {
            return;
        };
        let Some(asker) = route.requesters.iter_mut().find(|asker| asker.requester == *requester) else {
            return;
        };
        let was_last = asker.peers.iter().all(|lane| !lane.peer.deliver.connected());
        if asker.peers.is_empty() || was_last {
            for part in parts.into_iter().rev() {
                asker.kept.put_back(part);
            }
            return;
        }
        // Its only other chance: a socket that opened after the text was lost and before it came back.
        let limit = self.limits.max_waiting_bytes;
        let fresh = asker.peers.len() == 1;
        for part in parts.into_iter().filter(|_| fresh) {
            deliver(asker, &part, limit, &self.metrics, &mut self.retry_at, now);
        }
    }

    /// Sends something to everybody who asked.
    pub fn send(&mut self, route: RouteId, delivery: &Delivery, now: Instant) {
        let Some(route) = self.routes.get_mut(&route) else {
            return;
        };
        let limit = self.limits.max_waiting_bytes;
        for asker in &mut route.requesters {
            deliver(asker, delivery, limit, &self.metrics, &mut self.retry_at, now);
        }
    }

    /// Text of a stream, to everybody who asked.
    pub fn text(&mut self, route: RouteId, info: Arc<StreamInfo>, text: Bytes, end: bool, now: Instant) {
        self.send(route, &Delivery::Text(StreamText { info, text, end }), now);
    }

    /// The route is over. What still waits for a full mailbox is given one last chance.
    pub fn close(&mut self, id: RouteId, now: Instant) {
        self.flush(now);
        if let Some(route) = self.routes.remove(&id) {
            if self.by_request.get(&route.request_id) == Some(&id) {
                self.by_request.remove(&route.request_id);
            }
            for lane in route.requesters.iter().flat_map(|asker| &asker.peers) {
                if !lane.backlog.parts.is_empty() {
                    warn!(request:% = route.request_id; "answer closed while text waited for a full mailbox");
                    self.metrics.streams_dropped.inc();
                }
            }
        }
    }

    /// When [`FanOut::flush`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tries full mailboxes again.
    pub fn flush(&mut self, now: Instant) {
        self.retry_at = None;
        for asker in self.routes.values_mut().flat_map(|route| &mut route.requesters) {
            for at in 0..asker.peers.len() {
                while let Some(part) = asker.peers.get_mut(at).and_then(|lane| lane.backlog.pop()) {
                    let Some(lane) = asker.peers.get_mut(at) else { break };
                    match offer(&lane.peer, part) {
                        Ok(()) => (),
                        Err(Refused::Full(part)) => {
                            lane.backlog.put_back(part);
                            self.retry_at = Some(now + RETRY);
                            break;
                        }
                        // The router will say that it is gone, and what waits is kept then.
                        Err(Refused::Gone(part)) => {
                            lane.backlog.put_back(part);
                            break;
                        }
                    }
                }
            }
        }
    }
}

enum Refused {
    Full(Delivery),
    Gone(Delivery),
}

fn offer(peer: &Peer, delivery: Delivery) -> Result<(), Refused> {
    peer.deliver.try_send(Deliver { socket: peer.socket, delivery }).map_err(|error| match error {
        SendError::Full(deliver) => Refused::Full(deliver.delivery),
        SendError::Closed(deliver) => Refused::Gone(deliver.delivery),
    })
}

fn deliver(
    asker: &mut Asker,
    delivery: &Delivery,
    limit: usize,
    metrics: &Metrics,
    retry_at: &mut Option<Instant>,
    now: Instant,
) {
    if asker.peers.is_empty() {
        keep(asker, delivery.clone(), limit, metrics);
        return;
    }
    for lane in &mut asker.peers {
        let waiting = if lane.backlog.parts.is_empty() {
            offer(&lane.peer, delivery.clone()).err()
        } else {
            Some(Refused::Full(delivery.clone()))
        };
        let part = match waiting {
            None => continue,
            Some(Refused::Full(part)) => {
                retry_at.get_or_insert(now + RETRY);
                part
            }
            Some(Refused::Gone(part)) => part,
        };
        if !lane.backlog.push(part, limit) {
            overflow(&mut lane.backlog, delivery, limit, metrics);
        }
    }
}

fn keep(asker: &mut Asker, part: Delivery, limit: usize, metrics: &Metrics) {
    // A deadline or a failure must reach a requester that comes back, text only as far as it fits.
    let dropped = part.clone();
    if !asker.kept.push(part, limit) {
        overflow(&mut asker.kept, &dropped, limit, metrics);
    }
}

/// The text does not fit: its stream fails for this receiver, once. Notices may take as much again.
fn overflow(lane: &mut Lane, delivery: &Delivery, limit: usize, metrics: &Metrics) {
    metrics.limit_reached("streams.max_waiting_bytes");
    if lane.bytes > limit.saturating_mul(2) {
        return;
    }
    let Delivery::Text(text) = delivery else {
        lane.bytes += cost(delivery);
        lane.parts.push_back(delivery.clone());
        return;
    };
    let already =
        matches!(lane.parts.back(), Some(Delivery::StreamFailed { info, .. }) if info.key == text.info.key);
    if !already {
        metrics.streams_dropped.inc();
        lane.bytes += PART_COST;
        lane.parts.push_back(Delivery::StreamFailed {
            info: text.info.clone(),
            reason: crate::stream::outbound::reason::TOO_SLOW,
        });
    }
}

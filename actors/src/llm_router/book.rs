//! The router's book: who can be asked, who asks, and every open request. Pure state; what must be
//! told to others goes out through the recipients that it holds.
//!
//! [`sockets`]: who comes and goes. [`newcomers`]: who comes back by another connection. [`requests`]: what is asked.
//! [`ends`]: how it is over.

mod ended;
mod ends;
mod newcomers;
mod requests;
mod routes_by;
mod sockets;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use ended::Ended;
use framing::ByteString;
use newcomers::Newcomer;
use routes_by::{RoutesAwaiting, RoutesBy, Spare};
use smallvec::SmallVec;
use sockets::ClosedSocket;

use super::{Delivery, Peer, Peers, Requester, RouteId, RouteState, ToTarget, line::Line, tick_for};
use crate::{
    ids::{ClientId, Identity, RequestId},
    maps::{FastMap, FastSet},
    registry::SocketKey,
};

/// Bounds and times of open requests (spec §5.9, appendix A).
#[derive(Clone, Debug)]
pub struct RouterLimits {
    /// Pending requests of one client.
    pub per_client: usize,
    /// Pending requests at one extension.
    pub per_extension: usize,
    /// Requests in all, pending or answered a short while ago.
    pub total: usize,
    /// Outputs that one route remembers.
    pub outputs: usize,
    /// A request whose target shows no sign of life for so long fails.
    pub request_timeout: Duration,
    /// An answer of which nothing came for so long, after at least one stream has ended, is complete.
    pub idle_timeout: Duration,
    /// Time that a target may be away before its requests fail (spec §3.8), as the settings file says now.
    pub grace: Duration,
    /// Another client may join a request by naming its id (spec §5.9). Off by default.
    pub allow_shared: bool,
}

impl RouterLimits {
    /// How often deadlines are looked at.
    pub fn tick(&self) -> Duration {
        tick_for(self.request_timeout.min(self.idle_timeout).min(self.grace))
    }
}

/// Why a request is not forwarded; the texts are protocol (spec §4.4, §5.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another client has a request of that id in flight.
    Duplicate,
    /// No live target of that id.
    TargetNotFound(ByteString),
    /// A bound of pending requests is reached.
    TooMany,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Duplicate => f.write_str("Duplicate requestId."),
            Self::TargetNotFound(target) => write!(f, "Target client not found: {target}"),
            Self::TooMany => f.write_str("Too many pending requests."),
        }
    }
}

/// One live `/llm` socket of a target, or a built-in target.
pub(super) struct TargetSocket {
    pub(super) socket: SocketKey,
    pub(super) owner: Requester,
    /// Shared with every route of this client's targets.
    pub(super) activity: Arc<AtomicU64>,
}

/// A request at one target.
pub(super) struct Route {
    pub(super) request: RequestId,
    pub(super) target: ClientId,
    /// Which of its instances was asked: each is an extension of its own (spec Q6).
    pub(super) instance: Identity,
    /// The socket that the request went to, and those that were given the route later.
    pub(super) holders: SmallVec<[SocketKey; 2]>,
    /// Since when none of its holders lives.
    pub(super) orphaned: Option<Instant>,
    /// Outputs attributed to it.
    pub(super) outputs: SmallVec<[Arc<str>; 1]>,
    /// What a target that is gone had not delivered to those who are away, in order.
    pub(super) kept: Vec<(Requester, VecDeque<Delivery>)>,
    pub(super) state: Arc<RouteState>,
    /// Who opened it, for the bound of its requests.
    asker: ClientId,
    pub(super) opened: Instant,
    /// It is over, and is kept for a requester that is away.
    pub(super) finished: bool,
}

impl Route {
    /// Nothing more is awaited of it.
    fn is_answered(&self) -> bool {
        self.finished || self.state.is_quiet()
    }
}

pub(super) struct Request {
    /// Those who asked.
    askers: SmallVec<[Requester; 1]>,
    /// Those who get the answers: those, and the members of the room in which it was made.
    pub(super) requesters: SmallVec<[Requester; 1]>,
    /// That room.
    listener: Option<Peer>,
    pub(super) routes: SmallVec<[RouteId; 2]>,
}

/// See the module's documentation.
pub(super) struct Book {
    pub(super) limits: RouterLimits,
    epoch: Instant,
    next_route: u64,
    /// Oldest first, the newest socket of a client last.
    pub(super) targets: Vec<TargetSocket>,
    /// The way to each of them.
    lines: FastMap<SocketKey, Line>,
    pub(super) peers: FastMap<Requester, Peers>,
    /// Those of them of which old requests are told later.
    newcomers: Vec<Newcomer>,
    /// Whose each of those sockets is.
    owners: FastMap<SocketKey, Requester>,
    /// The sockets that closed last, for text that was on its way to one.
    closed: VecDeque<ClosedSocket>,
    pub(super) requests: FastMap<RequestId, Request>,
    pub(super) routes: FastMap<RouteId, Route>,
    pub(super) by_target: RoutesBy,
    by_asker: RoutesBy,
    /// Requests that others may read than whoever has opened their routes.
    shared: FastSet<RequestId>,
    /// Finished routes that somebody who is away is still to read.
    unread: RoutesAwaiting,
    /// Finished routes of which somebody who is there has text.
    being_read: BTreeSet<RouteId>,
    /// Answers that were under way, or not read, when somebody came back: they come to it, and it may ask for them again.
    handed: FastMap<Requester, Vec<(ClientId, RequestId)>>,
    /// Routes that have kept something for somebody who is away.
    keeping: RoutesAwaiting,
    /// What targets were asked, and is over: as many as may be open.
    ended: Ended,
    /// Of all routes.
    spare: Spare,
}

impl Book {
    pub(super) fn new(limits: RouterLimits, epoch: Instant) -> Self {
        Self {
            limits,
            epoch,
            next_route: 0,
            targets: Vec::new(),
            lines: FastMap::default(),
            peers: FastMap::default(),
            newcomers: Vec::new(),
            owners: FastMap::default(),
            closed: VecDeque::new(),
            requests: FastMap::default(),
            routes: FastMap::default(),
            by_target: RoutesBy::default(),
            by_asker: RoutesBy::default(),
            shared: FastSet::default(),
            unread: RoutesAwaiting::default(),
            being_read: BTreeSet::new(),
            handed: FastMap::default(),
            keeping: RoutesAwaiting::default(),
            ended: Ended::default(),
            spare: Spare::default(),
        }
    }

    pub(super) fn limits(&self) -> &RouterLimits {
        &self.limits
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Nothing is remembered of any request.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.shared.is_empty()
            && self.unread.is_empty()
            && self.being_read.is_empty()
            && self.keeping.is_empty()
    }

    /// Some of the routes in the order opened, because ids rise. Looks at all: for what happens rarely.
    pub(super) fn in_order(&self, which: impl Fn(&Route) -> bool) -> Vec<RouteId> {
        let chosen = self.routes.iter().filter(|(_, route)| which(route));
        let mut ids: Vec<RouteId> = chosen.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// The requests whose answers somebody gets.
    fn requests_for(&self, requester: &Requester) -> Vec<RequestId> {
        let mut found: Vec<RequestId> = Vec::new();
        for id in self.requests_to_look_at(&requester.client) {
            let theirs = || self.requests.get(id).is_some_and(|known| known.requesters.contains(requester));
            if theirs() && !found.contains(id) {
                found.push(id.clone());
            }
        }
        found
    }

    /// What a client has asked, and what several read; one that was asked at several targets stands there for each.
    /// Not all requests: thousands of clients may come back at once while each of them has one in flight.
    pub(super) fn requests_to_look_at(&self, client: &ClientId) -> impl Iterator<Item = &RequestId> {
        let asked = self.by_asker.of(client).iter().filter_map(|id| Some(&self.routes.get(id)?.request));
        asked.chain(&self.shared)
    }

    /// Requests of which an answer is still awaited.
    pub(super) fn pending(&self) -> usize {
        let awaited = |route: &RouteId| self.routes.get(route).is_some_and(|route| !route.is_answered());
        self.requests.values().filter(|request| request.routes.iter().any(awaited)).count()
    }

    pub(super) fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }

    /// Tells a target what it must know.
    fn tell(&mut self, holder: SocketKey, notice: ToTarget) {
        if let Some(line) = self.lines.get_mut(&holder) {
            line.tell(notice);
        }
    }
}

//! The router's book: who can be asked, who asks, and every open request. Pure state; what must be
//! told to others goes out through the recipients that it holds.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64},
    },
    time::{Duration, Instant},
};

use actix::Recipient;
use framing::ByteString;
use log::debug;

use super::{
    Deliver, Delivery, Failure, ForwardedRequest, OpenRequest, OpenedRoute, Origin, Peer, Requester, RouteId,
    RouteState, ToTarget, tick_for,
};
use crate::{
    ids::{ClientId, RequestId},
    registry::SocketKey,
};

/// Closed sockets whose owner is still known; text on its way to an older one is lost.
const REMEMBERED_SOCKETS: usize = 1024;

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
    /// Time that a target may be away before its requests fail (spec §3.8).
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
    pub(super) target: Arc<Recipient<ToTarget>>,
    /// Shared with every route of this client's targets.
    pub(super) activity: Arc<AtomicU64>,
}

/// A request at one target.
pub(super) struct Route {
    pub(super) request: RequestId,
    pub(super) target: ClientId,
    /// The socket that the request went to, and those that were given the route later.
    pub(super) holders: Vec<(SocketKey, Arc<Recipient<ToTarget>>)>,
    /// Set while none of its holders lives.
    pub(super) orphaned: Option<Instant>,
    /// Outputs attributed to it.
    pub(super) outputs: Vec<ByteString>,
    pub(super) state: Arc<RouteState>,
    /// Who opened it, for the bound of its requests.
    asker: ClientId,
    pub(super) opened: Instant,
    /// It is over, and is kept for a requester that is away: what it has not read yet, and whether
    /// the request failed.
    pub(super) finished: Option<Ending>,
}

/// How a route ended.
pub(super) struct Ending {
    /// Told to open streams, and to those who asked.
    pub(super) failure: Option<(&'static str, ByteString)>,
}

pub(super) struct Request {
    pub(super) requesters: Vec<Requester>,
    pub(super) routes: Vec<RouteId>,
}

/// See the module's documentation.
pub(super) struct Book {
    pub(super) limits: RouterLimits,
    epoch: Instant,
    next_route: u64,
    /// Oldest first, the newest socket of a client last.
    pub(super) targets: Vec<TargetSocket>,
    pub(super) peers: HashMap<Requester, Vec<Peer>>,
    /// Owners of the sockets that closed last, for text that was on its way to one.
    closed: VecDeque<(SocketKey, Requester)>,
    pub(super) requests: HashMap<RequestId, Request>,
    /// In the order opened, because ids rise.
    pub(super) routes: BTreeMap<RouteId, Route>,
    pub(super) by_target: HashMap<ClientId, BTreeSet<RouteId>>,
    by_asker: HashMap<ClientId, BTreeSet<RouteId>>,
}

impl Book {
    pub(super) fn new(limits: RouterLimits, epoch: Instant) -> Self {
        Self {
            limits,
            epoch,
            next_route: 0,
            targets: Vec::new(),
            peers: HashMap::new(),
            closed: VecDeque::new(),
            requests: HashMap::new(),
            routes: BTreeMap::new(),
            by_target: HashMap::new(),
            by_asker: HashMap::new(),
        }
    }

    pub(super) fn limits(&self) -> &RouterLimits {
        &self.limits
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn live_targets(&self) -> Vec<ClientId> {
        let mut ids: Vec<ClientId> = Vec::new();
        for socket in &self.targets {
            if !ids.contains(&socket.owner.client) {
                ids.push(socket.owner.client.clone());
            }
        }
        ids
    }

    // --- sockets -------------------------------------------------------------------------------

    pub(super) fn target_opened(
        &mut self,
        socket: SocketKey,
        owner: Requester,
        target: Arc<Recipient<ToTarget>>,
    ) {
        let activity = self.activity_of(&owner.client);
        let client = owner.client.clone();
        self.targets.push(TargetSocket { socket, owner, target: target.clone(), activity });
        let orphaned = |id: &&RouteId| self.routes.get(*id).is_some_and(|route| route.orphaned.is_some());
        let theirs = self.by_target.get(&client).into_iter().flatten();
        let orphans: Vec<RouteId> = theirs.filter(orphaned).copied().collect();
        self.adopt(orphans, socket, &target);
    }

    fn adopt(&mut self, ids: Vec<RouteId>, socket: SocketKey, target: &Arc<Recipient<ToTarget>>) {
        let routes: Vec<OpenedRoute> =
            ids.into_iter().filter_map(|id| self.give(id, socket, target)).collect();
        if !routes.is_empty() {
            tell(target, ToTarget::Adopt { socket, routes });
        }
    }

    /// Shared by all sockets and requests of a target, whichever was first.
    fn activity_of(&self, client: &ClientId) -> Arc<AtomicU64> {
        let sibling = self.targets.iter().find(|other| other.owner.client == *client);
        let route = || self.by_target.get(client)?.first().and_then(|id| self.routes.get(id));
        match sibling {
            Some(sibling) => sibling.activity.clone(),
            None => route().map_or_else(Arc::default, |route| route.state.target_activity.clone()),
        }
    }

    pub(super) fn requester_opened(&mut self, owner: Requester, peer: Peer) {
        let peers = self.peers.entry(owner.clone()).or_default();
        let back = peers.is_empty();
        peers.push(peer);
        self.peers_changed(&owner, false);
        if back {
            self.settle(&owner, true);
        }
    }

    pub(super) fn socket_closed(&mut self, socket: SocketKey, now: Instant) {
        self.targets.retain(|target| target.socket != socket);
        let mut left = Vec::new();
        for (id, route) in &mut self.routes {
            let held = route.holders.len();
            route.holders.retain(|(holder, _)| *holder != socket);
            if held > 0 && route.holders.is_empty() {
                route.orphaned = Some(now + self.limits.grace);
                // Its streams have ended with the socket.
                route.state.open_streams.store(0, std::sync::atomic::Ordering::Relaxed);
                left.push((*id, route.target.clone()));
            }
        }
        // A target that came back before its old socket was found dead.
        if let Some((_, client)) = left.first() {
            let next = self.targets.iter().rfind(|target| target.owner.client == *client);
            if let Some((socket, target)) = next.map(|next| (next.socket, next.target.clone())) {
                self.adopt(left.into_iter().map(|(id, _)| id).collect(), socket, &target);
            }
        }
        let owner = self.peers.iter_mut().find_map(|(owner, peers)| {
            let before = peers.len();
            peers.retain(|peer| peer.socket != socket);
            (peers.len() < before).then(|| owner.clone())
        });
        if let Some(owner) = owner {
            self.closed.push_back((socket, owner.clone()));
            if self.closed.len() > REMEMBERED_SOCKETS {
                self.closed.pop_front();
            }
            if self.peers.get(&owner).is_some_and(Vec::is_empty) {
                self.peers.remove(&owner);
            }
            self.peers_changed(&owner, false);
        }
    }

    /// Tells the holders of a requester's routes which sockets it has now.
    fn peers_changed(&self, requester: &Requester, gone: bool) {
        let peers = self.peers.get(requester).cloned().unwrap_or_default();
        for request in self.requests.values().filter(|request| request.requesters.contains(requester)) {
            for id in &request.routes {
                for (_, holder) in self.routes.get(id).into_iter().flat_map(|route| &route.holders) {
                    let (requester, peers) = (requester.clone(), peers.clone());
                    tell(holder, ToTarget::Peers { route: *id, requester, peers, gone });
                }
            }
        }
    }

    /// Parts go back to where they came from, for the requester's next socket.
    pub(super) fn returned(
        &mut self,
        requester: &Requester,
        socket: SocketKey,
        parts: Vec<(Origin, Delivery)>,
    ) {
        let mut by_origin: Vec<(Origin, Vec<Delivery>)> = Vec::new();
        for (origin, part) in parts {
            match by_origin.iter_mut().find(|(other, _)| *other == origin) {
                Some((_, parts)) => parts.push(part),
                None => by_origin.push((origin, vec![part])),
            }
        }
        for (Origin { route, holder }, parts) in by_origin {
            let holders = self.routes.get(&route).map_or(&[][..], |route| &route.holders);
            // Exactly one: two would each send it on.
            let to = holders.iter().find(|(held, _)| *held == holder).or_else(|| holders.first());
            let Some((_, to)) = to else {
                debug!(route = route.0; "part of a finished answer could not be delivered");
                continue;
            };
            tell(to, ToTarget::Returned { route, requester: requester.clone(), socket, parts });
        }
    }

    /// The same for a socket of which only its key is known any more.
    pub(super) fn returned_to(&mut self, socket: SocketKey, origin: Origin, part: Delivery) {
        let owner = self.peers.iter().find(|(_, peers)| peers.iter().any(|peer| peer.socket == socket));
        let owner = owner.map(|(owner, _)| owner.clone()).or_else(|| {
            self.closed.iter().rev().find(|(closed, _)| *closed == socket).map(|(_, owner)| owner.clone())
        });
        if let Some(owner) = owner {
            self.returned(&owner, socket, vec![(origin, part)]);
        }
    }

    pub(super) fn requester_gone(&mut self, requester: &Requester) {
        if self.peers.contains_key(requester) {
            return;
        }
        self.peers_changed(requester, true);
        for request in self.requests.values_mut() {
            // With no requester left the answer is consumed and dropped until it is complete.
            request.requesters.retain(|other| other != requester);
        }
        self.settle(requester, false);
    }

    // --- requests ------------------------------------------------------------------------------

    pub(super) fn open(&mut self, question: OpenRequest, now: Instant) -> Result<(), Refusal> {
        let OpenRequest { from, request_id, targets, request } = question;
        let known = self.requests.get(&request_id);
        let mine = known.is_some_and(|known| known.requesters.contains(&from));
        if known.is_some() && !mine && !self.limits.allow_shared {
            return Err(Refusal::Duplicate);
        }
        let live: Vec<usize> = targets.iter().filter_map(|target| self.newest(target)).collect();
        let Some(missing) = targets.first() else {
            return Err(Refusal::TargetNotFound(ByteString::new()));
        };
        if live.is_empty() {
            return Err(Refusal::TargetNotFound(missing.clone()));
        }
        let mut asked: Vec<usize> = Vec::new();
        for at in live {
            let client = &self.targets[at].owner.client;
            let again = asked.iter().any(|other| self.targets[*other].owner.client == *client)
                || known.is_some_and(|known| {
                    known
                        .routes
                        .iter()
                        .any(|id| self.routes.get(id).is_some_and(|route| route.target == *client))
                });
            if !again {
                asked.push(at);
            }
        }
        self.check_room(&from, &asked)?;
        let entry = self
            .requests
            .entry(request_id.clone())
            .or_insert_with(|| Request { requesters: Vec::new(), routes: Vec::new() });
        if !entry.requesters.contains(&from) {
            entry.requesters.push(from.clone());
        }
        if !mine && known_routes(entry) {
            self.peers_changed(&from, false);
        }
        let mut forwarded = 0;
        let wanted = asked.len();
        for at in asked {
            if self.forward(&from.client, &request_id, at, &request, now) {
                forwarded += 1;
            }
        }
        if wanted > 0 && forwarded == 0 {
            self.drop_if_empty(&request_id);
            return Err(Refusal::TooMany);
        }
        Ok(())
    }

    fn forward(
        &mut self,
        asker: &ClientId,
        request_id: &RequestId,
        at: usize,
        request: &ForwardedRequest,
        now: Instant,
    ) -> bool {
        let TargetSocket { socket, owner, target, activity } = &self.targets[at];
        let (socket, client, target) = (*socket, owner.client.clone(), target.clone());
        let state = Arc::new(RouteState {
            last_event: AtomicU64::new(self.millis(now)),
            open_streams: AtomicU32::new(0),
            ended_once: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            target_activity: activity.clone(),
        });
        self.next_route += 1;
        let id = RouteId(self.next_route);
        let route = Route {
            request: request_id.clone(),
            target: client,
            holders: Vec::new(),
            orphaned: None,
            outputs: Vec::new(),
            state,
            asker: asker.clone(),
            opened: now,
            finished: None,
        };
        self.by_target.entry(route.target.clone()).or_default().insert(id);
        self.by_asker.entry(asker.clone()).or_default().insert(id);
        self.routes.insert(id, route);
        if let Some(request) = self.requests.get_mut(request_id) {
            request.routes.push(id);
        }
        let Some(route) = self.give(id, socket, &target) else {
            return false;
        };
        // A full mailbox is a decision here: the request is refused.
        let told = target.try_send(ToTarget::Ask { socket, route, request: request.clone() }).is_ok();
        if !told {
            self.unlink(id);
        }
        told
    }

    /// Gives a route to a socket of its target, which may answer it from here on.
    pub(super) fn give(
        &mut self,
        id: RouteId,
        socket: SocketKey,
        holder: &Arc<Recipient<ToTarget>>,
    ) -> Option<OpenedRoute> {
        let route = self.routes.get_mut(&id)?;
        if !route.holders.iter().any(|(held, _)| *held == socket) {
            route.holders.push((socket, holder.clone()));
        }
        route.orphaned = None;
        let request = self.requests.get(&route.request)?;
        let requesters = request
            .requesters
            .iter()
            .map(|requester| (requester.clone(), self.peers.get(requester).cloned().unwrap_or_default()))
            .collect();
        Some(OpenedRoute {
            route: id,
            request_id: route.request.clone(),
            requesters,
            state: route.state.clone(),
        })
    }

    /// The newest live socket of a target, by client id first, then by instance (spec §5.1).
    fn newest(&self, target: &str) -> Option<usize> {
        let by_client = self.targets.iter().rposition(|socket| socket.owner.client.as_str() == target);
        by_client.or_else(|| self.targets.iter().rposition(|socket| socket.owner.identity.as_str() == target))
    }

    fn check_room(&mut self, from: &Requester, asked: &[usize]) -> Result<(), Refusal> {
        let clients: Vec<ClientId> = asked.iter().map(|at| self.targets[*at].owner.client.clone()).collect();
        if clients.is_empty() {
            return Ok(());
        }
        let mine = self.by_asker.get(&from.client).cloned().unwrap_or_default();
        self.make_room(&mine, self.limits.per_client, clients.len())?;
        for client in &clients {
            let theirs = self.by_target.get(client).cloned().unwrap_or_default();
            self.make_room(&theirs, self.limits.per_extension, 1)?;
        }
        if self.routes.len() + clients.len() > self.limits.total {
            let all: BTreeSet<RouteId> = self.routes.keys().copied().collect();
            self.make_room(&all, self.limits.total, clients.len())?;
        }
        Ok(())
    }

    /// Refuses when `more` routes would make more than `limit` pending ones; of answered ones at most
    /// `limit` are kept, the oldest is forgotten first (spec §5.9).
    fn make_room(&mut self, routes: &BTreeSet<RouteId>, limit: usize, more: usize) -> Result<(), Refusal> {
        let answered = |id: &&RouteId| {
            self.routes.get(*id).is_some_and(|route| route.finished.is_some() || route.state.is_quiet())
        };
        let quiet: Vec<RouteId> = routes.iter().filter(answered).copied().collect();
        if routes.len() - quiet.len() + more > limit {
            return Err(Refusal::TooMany);
        }
        let surplus = (quiet.len() + more).saturating_sub(limit);
        for id in quiet.into_iter().take(surplus) {
            self.complete(id, None);
            self.close(id);
        }
        Ok(())
    }

    // --- ends ----------------------------------------------------------------------------------

    /// Ends one route; a failure is told to everybody who asked. While one of them is away, and may
    /// come back, the route stays, though nothing more is taken for it.
    pub(super) fn complete(&mut self, id: RouteId, failure: Option<(&'static str, ByteString)>) {
        let Some(route) = self.routes.get_mut(&id).filter(|route| route.finished.is_none()) else {
            return;
        };
        let request_id = route.request.clone();
        route.finished = Some(Ending { failure: failure.clone() });
        if let Some((_, message)) = failure {
            let asked = self.requests.get(&request_id).map(|request| request.requesters.clone());
            for requester in asked.unwrap_or_default() {
                self.tell_failure(id, &requester, &request_id, &message);
            }
        }
        self.close_if_read(id);
    }

    /// Closes a finished route once nobody who asked is away.
    fn close_if_read(&mut self, id: RouteId) {
        let Some(route) = self.routes.get(&id) else {
            return;
        };
        if route.finished.is_none() {
            return;
        }
        let away = self.requests.get(&route.request).is_some_and(|request| {
            request.requesters.iter().any(|requester| !self.peers.contains_key(requester))
        });
        if !away || route.holders.is_empty() {
            self.close(id);
        }
    }

    fn close(&mut self, id: RouteId) {
        if let Some(route) = self.routes.get(&id) {
            let failure = route.finished.as_ref().and_then(|ending| ending.failure.as_ref());
            for (_, holder) in &route.holders {
                tell(holder, ToTarget::Close { route: id, failure: failure.map(|(stream, _)| *stream) });
            }
            self.forget(id);
        }
    }

    /// The finished routes of a requester that is back, or gone.
    fn settle(&mut self, requester: &Requester, back: bool) {
        let finished: Vec<(RouteId, RequestId, Option<ByteString>)> = self
            .requests
            .iter()
            .filter(|(_, request)| !back || request.requesters.contains(requester))
            .flat_map(|(request_id, request)| request.routes.iter().map(move |id| (*id, request_id)))
            .filter_map(|(id, request_id)| {
                let ending = self.routes.get(&id)?.finished.as_ref()?;
                Some((id, request_id.clone(), ending.failure.as_ref().map(|(_, message)| message.clone())))
            })
            .collect();
        for (id, request_id, message) in finished {
            if let Some(message) = message.filter(|_| back) {
                self.tell_failure(id, requester, &request_id, &message);
            }
            self.close_if_read(id);
        }
    }

    fn tell_failure(&self, id: RouteId, requester: &Requester, request_id: &RequestId, message: &ByteString) {
        let holder = self.routes.get(&id).and_then(|route| route.holders.first());
        let origin = Origin { route: id, holder: holder.map_or(SocketKey::NONE, |(socket, _)| *socket) };
        for peer in self.peers.get(requester).into_iter().flatten() {
            let failure = Failure { request_id: request_id.clone(), message: message.clone(), error: None };
            let deliver = Deliver { socket: peer.socket, origin, delivery: Delivery::Failed(failure) };
            #[expect(clippy::disallowed_methods, reason = "once per request and socket")]
            peer.deliver.do_send(deliver);
        }
    }

    fn forget(&mut self, id: RouteId) {
        if let Some(request_id) = self.unlink(id) {
            self.drop_if_empty(&request_id);
        }
    }

    /// Takes a route out; its request stays. Returns the request's id.
    fn unlink(&mut self, id: RouteId) -> Option<RequestId> {
        let route = self.routes.remove(&id)?;
        for (index, client) in [(&mut self.by_target, &route.target), (&mut self.by_asker, &route.asker)] {
            if let Some(ids) = index.get_mut(client) {
                ids.remove(&id);
                if ids.is_empty() {
                    index.remove(client);
                }
            }
        }
        if let Some(request) = self.requests.get_mut(&route.request) {
            request.routes.retain(|other| *other != id);
        }
        Some(route.request)
    }

    fn drop_if_empty(&mut self, request_id: &RequestId) {
        if self.requests.get(request_id).is_some_and(|request| request.routes.is_empty()) {
            debug!(request:% = request_id; "request forgotten");
            self.requests.remove(request_id);
        }
    }
}

fn known_routes(request: &Request) -> bool {
    !request.routes.is_empty()
}

/// Tells a target what it must know. Not bounded by its mailbox: once per route and change of
/// presence, both of which are bounded.
fn tell(target: &Recipient<ToTarget>, notice: ToTarget) {
    #[expect(clippy::disallowed_methods, reason = "once per route and change of presence")]
    target.do_send(notice);
}

//! Sockets of targets and of requesters come, move and go; what could not be delivered finds its way.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use actix::Recipient;
use log::debug;

use super::{Book, Route, TargetSocket};
use crate::{
    ids::RequestId,
    llm_router::{
        Deliver, Delivery, Leftover, OpenedRoute, Origin, Peer, Requester, RouteId, ToTarget, line::Line,
    },
    registry::SocketKey,
};

/// Closed sockets whose owner is still known; text on its way to an older one is lost.
const REMEMBERED_SOCKETS: usize = 1024;

/// A socket of a requester that is over.
pub(super) struct ClosedSocket {
    socket: SocketKey,
    owner: Requester,
    /// See [`Book::others`].
    others: Option<RouteId>,
}

/// Where among what is kept something belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

impl Book {
    pub(in crate::llm_router) fn target_opened(
        &mut self,
        socket: SocketKey,
        owner: Requester,
        target: Recipient<ToTarget>,
    ) {
        let activity = self.activity_of(&owner);
        self.targets.push(TargetSocket { socket, owner: owner.clone(), activity });
        self.lines.insert(socket, Line::new(target));
        let orphaned = |route: &Route| route.orphaned.is_some() && route.instance == owner.identity;
        let theirs = self.by_target.of(&owner.client).iter();
        let orphans = theirs.filter(|id| self.routes.get(*id).is_some_and(orphaned));
        let orphans: Vec<RouteId> = orphans.copied().collect();
        self.adopt(orphans, socket);
    }

    fn adopt(&mut self, ids: Vec<RouteId>, socket: SocketKey) {
        let routes: Vec<OpenedRoute> = ids.into_iter().filter_map(|id| self.give(id, socket)).collect();
        if !routes.is_empty() {
            self.tell(socket, ToTarget::Adopt { socket, routes });
        }
    }

    /// Shared by all sockets and requests of an instance of a target, whichever was first.
    fn activity_of(&self, owner: &Requester) -> Arc<AtomicU64> {
        let sibling = self.targets.iter().find(|other| other.owner == *owner);
        let mut routes = self.by_target.of(&owner.client).iter().filter_map(|id| self.routes.get(id));
        let mut route = || routes.find(|route| route.instance == owner.identity);
        match sibling {
            Some(sibling) => sibling.activity.clone(),
            None => route().map_or_else(Arc::default, |route| route.state.target_activity.clone()),
        }
    }

    /// Returns its other sockets, if they are to show first that they live.
    pub(in crate::llm_router) fn requester_opened(&mut self, owner: Requester, peer: Peer) -> Vec<SocketKey> {
        let peers = self.peers.entry(owner.clone()).or_default();
        let back = peers.is_empty();
        peers.push(peer.clone());
        self.owners.insert(peer.socket, owner.clone());
        self.note_handed(&owner, back);
        if !back {
            return self.newcomer(peer.socket, &owner);
        }
        // Before their targets hear of it, and send what is newer.
        self.hand_out(&owner, &peer, RouteId(u64::MAX));
        self.peers_changed(&owner, false);
        self.settle(&owner);
        Vec::new()
    }

    /// Somebody is back who does not know which of its answers are over, or will be when it asks for them again: all of
    /// them come to it now. To a socket beside others nothing comes of what these have been sent whole, or have read.
    fn note_handed(&mut self, requester: &Requester, was_away: bool) {
        let theirs = self.by_asker.of(&requester.client).iter().filter_map(|id| self.routes.get(id));
        let comes = |route: &&Route| was_away || !route.finished || route.state.unread.is_any();
        let asked = theirs.filter(comes).filter(|route| self.is_asker(&route.request, requester));
        let handed: Vec<_> = asked.map(|route| (route.target.clone(), route.request.clone())).collect();
        match handed.is_empty() {
            true => drop(self.handed.remove(requester)),
            false => drop(self.handed.insert(requester.clone(), handed)),
        }
    }

    fn is_asker(&self, request: &RequestId, requester: &Requester) -> bool {
        self.requests.get(request).is_some_and(|request| request.askers.contains(requester))
    }

    /// Thousands may leave at once: their owners, and the routes of a target, are looked up, not looked for.
    pub(in crate::llm_router) fn socket_closed(&mut self, socket: SocketKey, now: Instant) {
        if let Some(at) = self.targets.iter().position(|target| target.socket == socket) {
            let target = self.targets.remove(at);
            self.lines.remove(&socket);
            self.target_closed(socket, &target.owner, now);
        }
        let Some(owner) = self.owners.remove(&socket) else {
            return;
        };
        if let Some(peers) = self.peers.get_mut(&owner) {
            peers.retain(|peer| peer.socket != socket);
            if peers.is_empty() {
                self.peers.remove(&owner);
            }
        }
        // Of a newcomer old requests hear behind this.
        self.newcomers.retain(|newcomer| !newcomer.is(socket));
        let others = self.others(&owner, socket);
        self.peers_changed(&owner, false);
        self.elder_closed(socket);
        self.closed.push_back(ClosedSocket { socket, owner, others });
        if self.closed.len() > REMEMBERED_SOCKETS {
            self.closed.pop_front();
        }
    }

    fn target_closed(&mut self, socket: SocketKey, owner: &Requester, now: Instant) {
        let mut left = Vec::new();
        for id in self.by_target.of(&owner.client) {
            let Some(route) = self.routes.get_mut(id) else { continue };
            let held = route.holders.len();
            route.holders.retain(|holder| *holder != socket);
            if held > 0 && route.holders.is_empty() {
                route.orphaned = Some(now);
                // Its streams have ended with the socket.
                route.state.open_streams.store(0, std::sync::atomic::Ordering::Relaxed);
                left.push(*id);
            }
        }
        let mut adopted: Vec<(SocketKey, Vec<RouteId>)> = Vec::new();
        for id in left {
            // A target that came back before its old socket was found dead. Another instance was never asked.
            let asked = self.routes.get(&id).map(|route| &route.instance);
            let is_it = |next: &&TargetSocket| {
                next.owner.client == owner.client && Some(&next.owner.identity) == asked
            };
            let Some(next) = self.targets.iter().rfind(is_it).map(|next| next.socket) else { continue };
            match adopted.iter_mut().find(|(socket, _)| *socket == next) {
                Some((_, ids)) => ids.push(id),
                None => adopted.push((next, vec![id])),
            }
        }
        for (socket, ids) in adopted {
            self.adopt(ids, socket);
        }
    }

    /// Tells the holders of a requester's routes which sockets it has now. Returns its requests.
    pub(super) fn peers_changed(&mut self, requester: &Requester, gone: bool) -> Vec<RequestId> {
        let theirs = self.requests_for(requester);
        for request in &theirs {
            for id in self.requests.get(request).into_iter().flat_map(|request| &request.routes) {
                let peers = self.peers_for(requester, *id);
                for holder in self.routes.get(id).into_iter().flat_map(|route| &route.holders) {
                    let (requester, peers) = (requester.clone(), peers.clone());
                    if let Some(line) = self.lines.get_mut(holder) {
                        line.tell(ToTarget::Peers { route: *id, requester, peers, gone });
                    }
                }
            }
        }
        theirs
    }

    /// Parts go back to where they came from, for the requester's next socket.
    pub(in crate::llm_router) fn returned(
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
            let to = holders.iter().find(|held| **held == holder).or_else(|| holders.first());
            match to.copied() {
                Some(to) => {
                    self.tell(to, ToTarget::Returned { route, requester: requester.clone(), socket, parts });
                }
                None => self.hand_back(route, requester, socket, parts),
            }
        }
    }

    /// The target that knew what each socket has had is gone. Of two that were told of a route, the other has had what
    /// this one gives back. If it was alone, the next has had nothing of that: it waited for this one, or was not there.
    fn hand_back(&mut self, id: RouteId, requester: &Requester, from: SocketKey, mut parts: Vec<Delivery>) {
        let closed = self.closed.iter().rev().find(|closed| closed.socket == from);
        let others = closed.map_or_else(|| self.others(requester, from), |closed| closed.others);
        parts.retain(|part| match part {
            Delivery::Fence => false,
            whole if whole.is_whole() => others.is_none(),
            _ => others.is_none_or(|before| id <= before),
        });
        let mut next = self.peers_for(requester, id);
        next.retain(|peer| peer.socket != from && !peer.newcomer);
        if next.is_empty() {
            return self.keep(id, requester, parts, End::Front);
        }
        for peer in next.iter().filter(|_| self.routes.contains_key(&id)) {
            hand(peer, id, &parts);
        }
    }

    /// The same for a socket of which only its key is known any more.
    pub(in crate::llm_router) fn returned_to(&mut self, socket: SocketKey, origin: Origin, part: Delivery) {
        let owner = self.owners.get(&socket).cloned().or_else(|| {
            self.closed.iter().rev().find(|closed| closed.socket == socket).map(|closed| closed.owner.clone())
        });
        if let Some(owner) = owner {
            self.returned(&owner, socket, vec![(origin, part)]);
        }
    }

    pub(in crate::llm_router) fn requester_gone(&mut self, requester: &Requester) {
        if self.peers.contains_key(requester) {
            return;
        }
        self.handed.remove(requester);
        for id in self.peers_changed(requester, true) {
            let Some(request) = self.requests.get_mut(&id) else { continue };
            // With no requester left the answer is consumed and dropped until it is complete.
            request.requesters.retain(|other| other != requester);
            request.askers.retain(|other| other != requester);
        }
        for id in self.keeping.take(requester) {
            if let Some(route) = self.routes.get_mut(&id) {
                route.kept.retain(|(of, _)| of != requester);
            }
        }
        self.settle(requester);
    }

    // --- moves ---------------------------------------------------------------------------------

    /// A socket's session has moved. New requests and answers go straight to it; to a target only once
    /// [`Book::target_arrived`] says that its old address has handed everything on. Answers that are
    /// under way keep the old address, which hands them on in order.
    pub(in crate::llm_router) fn socket_moved(
        &mut self,
        socket: SocketKey,
        deliver: &Arc<Recipient<Deliver>>,
        target: Option<Recipient<ToTarget>>,
    ) {
        if let (Some(target), Some(line)) = (target, self.lines.get_mut(&socket)) {
            line.moves_to(target, self.limits.per_extension);
        }
        let theirs = self.owners.get(&socket).and_then(|owner| self.peers.get_mut(owner));
        for peer in theirs.into_iter().flatten().filter(|peer| peer.socket == socket) {
            peer.deliver = deliver.clone();
        }
    }

    /// Nothing for this target is on its way to its old address any more.
    pub(in crate::llm_router) fn target_arrived(&mut self, socket: SocketKey) {
        if let Some(line) = self.lines.get_mut(&socket) {
            line.arrived();
        }
    }

    // --- what a target that is gone leaves -----------------------------------------------------

    /// What a target had not delivered when its socket closed.
    pub(in crate::llm_router) fn left_over(&mut self, leftovers: Vec<Leftover>) {
        for Leftover { route, requester, socket, parts } in leftovers {
            let peers = self.peers_for(&requester, route);
            if peers.is_empty() {
                self.keep(route, &requester, parts, End::Back);
                continue;
            }
            // A socket of it that is gone meanwhile was not its last: the others have had theirs.
            for peer in peers.iter().filter(|peer| socket.is_none_or(|socket| peer.socket == socket)) {
                hand(peer, route, &parts);
            }
        }
    }

    /// Keeps parts for a requester that is away. The bounds are those of where they come from.
    fn keep(&mut self, id: RouteId, requester: &Requester, parts: Vec<Delivery>, end: End) {
        if parts.is_empty() {
            return;
        }
        let Some(route) = self.routes.get_mut(&id) else {
            debug!(route = id.0; "part of a finished answer could not be delivered");
            return;
        };
        self.keeping.add(requester, id);
        let at = route.kept.iter().position(|(of, _)| of == requester).unwrap_or_else(|| {
            route.kept.push((requester.clone(), VecDeque::new()));
            route.kept.len() - 1
        });
        let Some((_, kept)) = route.kept.get_mut(at) else {
            return;
        };
        match end {
            End::Back => kept.extend(parts),
            End::Front => parts.into_iter().rev().for_each(|part| kept.push_front(part)),
        }
    }

    /// What was kept for a requester goes to its first socket: of routes up to `last`, those after it have told this one
    /// all.
    pub(super) fn hand_out(&mut self, requester: &Requester, peer: &Peer, last: RouteId) {
        for id in self.keeping.take(requester) {
            let Some(route) = self.routes.get_mut(&id) else { continue };
            if let Some(at) = route.kept.iter().position(|(of, _)| of == requester) {
                let (_, mut parts) = route.kept.remove(at);
                if id <= last {
                    hand(peer, id, parts.make_contiguous());
                }
            }
        }
    }
}

/// One that waits for an older one is told what is whole. Not bounded by the mailbox: no more than a target may hold
/// for one requester.
fn hand(peer: &Peer, route: RouteId, parts: &[Delivery]) {
    for delivery in parts.iter().filter(|part| part.is_whole() || !peer.newcomer).cloned() {
        let origin = Origin { route, holder: SocketKey::NONE };
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by streams.max_waiting_bytes of one requester"
        )]
        peer.deliver.do_send(Deliver { socket: peer.socket, origin, delivery });
    }
}

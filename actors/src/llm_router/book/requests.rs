//! A request is opened: who may ask, who is asked, and whether there is room.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64},
    },
    time::Instant,
};

use framing::ByteString;
use smallvec::SmallVec;

use super::{Book, Refusal, Request, Route, Spare, TargetSocket};
use crate::{
    ids::{ClientId, RequestId},
    llm_router::{
        AudienceChanged, Deliver, Delivery, ForwardedRequest, OpenRequest, OpenedRoute, Origin, Requester,
        RouteId, RouteState, ToTarget,
    },
    registry::SocketKey,
    stream::Unread,
};

impl Book {
    pub(in crate::llm_router) fn open(&mut self, question: OpenRequest, now: Instant) -> Result<(), Refusal> {
        let OpenRequest { from, request_id, targets, request, audience } = question;
        let known = self.requests.get(&request_id);
        let listed = known.is_some_and(|known| known.askers.contains(&from));
        let mine = listed || known.is_some_and(|known| self.is_back_for(known, &from.client));
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
        for &at in &live {
            let client = &self.targets[at].owner.client;
            let again = asked.iter().any(|other| self.targets[*other].owner.client == *client)
                || known.is_some_and(|known| {
                    known
                        .routes
                        .iter()
                        .filter_map(|id| self.routes.get(id))
                        // One that is complete may wait for readers who are away.
                        .any(|route| route.target == *client && !route.finished)
                });
            if !again {
                asked.push(at);
            }
        }
        let unknown = known.is_none();
        self.leave_out_handed(&from, &request_id, &live, &mut asked);
        if unknown && asked.is_empty() {
            return Ok(());
        }
        self.check_room(&from, &asked)?;
        let listener = audience.listener;
        let entry = self.requests.entry(request_id.clone()).or_insert_with(|| Request {
            askers: SmallVec::new(),
            requesters: SmallVec::new(),
            listener,
            routes: SmallVec::new(),
        });
        // Making room may have forgotten the request that was known.
        if !entry.askers.contains(&from) {
            entry.askers.push(from.clone());
        }
        if entry.listener.is_some() || !audience.members.is_empty() || !(mine || entry.routes.is_empty()) {
            self.shared.insert(request_id.clone());
        }
        let asker = (!audience.nobody_asked).then(|| from.clone());
        for requester in asker.into_iter().chain(audience.members) {
            if !entry.requesters.contains(&requester) {
                entry.requesters.push(requester);
            }
        }
        if !listed && !entry.routes.is_empty() {
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

    /// Somebody who came back asks for an answer that was under way by then, and comes to it, even if it is over by now.
    /// Once: after that it is a new request.
    fn leave_out_handed(
        &mut self,
        from: &Requester,
        request: &RequestId,
        targets: &[usize],
        asked: &mut Vec<usize>,
    ) {
        let Some(handed) = self.handed.get_mut(from) else { return };
        for at in targets {
            let target = &self.targets[*at].owner.client;
            if let Some(known) = handed.iter().position(|(of, id)| of == target && id == request) {
                handed.swap_remove(known);
                asked.retain(|other| self.targets[*other].owner.client != *target);
            }
        }
        if handed.is_empty() {
            self.handed.remove(from);
        }
    }

    /// Whether a client that was gone for good finds a request of its own still open: nobody is left who asked.
    fn is_back_for(&self, known: &Request, client: &ClientId) -> bool {
        let opened = |id| self.routes.get(id).is_some_and(|route| route.asker == *client);
        known.askers.is_empty() && known.routes.iter().any(opened)
    }

    fn forward(
        &mut self,
        asker: &ClientId,
        request_id: &RequestId,
        at: usize,
        request: &ForwardedRequest,
        now: Instant,
    ) -> bool {
        let TargetSocket { socket, owner, activity } = &self.targets[at];
        let (socket, client, instance) = (*socket, owner.client.clone(), owner.identity.clone());
        let state = Arc::new(RouteState {
            last_event: AtomicU64::new(self.millis(now)),
            open_streams: AtomicU32::new(0),
            ended_once: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            unread: Unread::new(),
            target_activity: activity.clone(),
        });
        self.next_route += 1;
        let id = RouteId(self.next_route);
        let route = Route {
            request: request_id.clone(),
            target: client,
            instance,
            holders: SmallVec::new(),
            orphaned: None,
            outputs: SmallVec::new(),
            kept: Vec::new(),
            state,
            asker: asker.clone(),
            opened: now,
            finished: false,
        };
        self.ended.remove(&route.target, request_id);
        self.spare.added();
        self.by_target.add(&route.target, id);
        self.by_asker.add(asker, id);
        self.routes.insert(id, route);
        if let Some(request) = self.requests.get_mut(request_id) {
            request.routes.push(id);
        }
        let Some(route) = self.give(id, socket) else {
            return false;
        };
        if let Some(target) = self.routes.get(&id).map(|opened| opened.target.clone()) {
            self.tell_room(id, socket, Delivery::Opened { request_id: request_id.clone(), target });
        }
        // A full mailbox is a decision here: the request is refused.
        let ask = ToTarget::Ask { socket, route, request: request.clone() };
        let told = self.lines.get_mut(&socket).is_some_and(|line| line.ask(ask));
        if !told {
            self.tell_room(id, socket, Delivery::Finished(request_id.clone()));
            self.unlink(id);
        }
        told
    }

    /// Tells the room in which the request was made, if it was made in one.
    pub(super) fn tell_room(&self, id: RouteId, holder: SocketKey, delivery: Delivery) {
        let request = self.routes.get(&id).and_then(|route| self.requests.get(&route.request));
        if let Some(room) = request.and_then(|request| request.listener.as_ref()) {
            let origin = Origin { route: id, holder };
            #[expect(clippy::disallowed_methods, reason = "at most three times per route")]
            room.deliver.do_send(Deliver { socket: room.socket, origin, delivery });
        }
    }

    /// Gives a route to a socket of its target, which may answer it from here on.
    pub(in crate::llm_router) fn give(&mut self, id: RouteId, socket: SocketKey) -> Option<OpenedRoute> {
        let route = self.routes.get_mut(&id)?;
        if !route.holders.contains(&socket) {
            route.holders.push(socket);
        }
        route.orphaned = None;
        let route = self.routes.get(&id)?;
        let request = self.requests.get(&route.request)?;
        let requesters = request
            .requesters
            .iter()
            .map(|requester| (requester.clone(), self.peers_for(requester, id)))
            .collect();
        Some(OpenedRoute {
            route: id,
            request_id: route.request.clone(),
            requesters,
            listener: request.listener.clone(),
            state: route.state.clone(),
        })
    }

    /// The room of these requests has another member, or one less. Whoever asked stays.
    pub(in crate::llm_router) fn audience_changed(&mut self, changed: &AudienceChanged) {
        let AudienceChanged { requests, member, joins } = changed;
        for id in requests {
            let Some(request) = self.requests.get_mut(id) else {
                continue;
            };
            let there = request.requesters.contains(member);
            if *joins && !there {
                request.requesters.push(member.clone());
                self.shared.insert(id.clone());
            } else if !*joins && there && !request.askers.contains(member) {
                request.requesters.retain(|other| other != member);
            } else {
                continue;
            }
            for route in request.routes.clone() {
                let peers = self.peers_for(member, route);
                for holder in self.routes.get(&route).map(|route| route.holders.clone()).unwrap_or_default() {
                    let (requester, peers) = (member.clone(), peers.clone());
                    self.tell(holder, ToTarget::Peers { route, requester, peers, gone: !*joins });
                }
            }
            if !*joins {
                self.settle(member);
            }
        }
    }

    /// The newest live socket of a target, by client id first, then by instance (spec §5.1).
    fn newest(&self, target: &str) -> Option<usize> {
        let by_client = self.targets.iter().rposition(|socket| socket.owner.client.as_str() == target);
        by_client.or_else(|| self.targets.iter().rposition(|socket| socket.owner.identity.as_str() == target))
    }

    fn check_room(&mut self, from: &Requester, asked: &[usize]) -> Result<(), Refusal> {
        let more = asked.len();
        if more == 0 {
            return Ok(());
        }
        let limits = &self.limits;
        let (per_client, per_extension, total) = (limits.per_client, limits.per_extension, limits.total);
        // What a look leaves counts once every bound has room: a request that is refused leaves none for the next.
        let mut of_asker = None;
        if !self.by_asker.has_room(&from.client, more, per_client) {
            let mine = self.by_asker.of(&from.client).to_vec();
            of_asker = Some(self.make_room(&mine, per_client, more)?);
        }
        let mut of_targets: SmallVec<[(ClientId, Spare); 1]> = SmallVec::new();
        for at in asked {
            let target = &self.targets[*at].owner.client;
            if !self.by_target.has_room(target, 1, per_extension) {
                let (target, theirs) = (target.clone(), self.by_target.of(target).to_vec());
                let spare = self.make_room(&theirs, per_extension, 1)?;
                of_targets.push((target, spare));
            }
        }
        if !self.spare.has_room(self.routes.len(), more, total) {
            let all = self.in_order(|_| true);
            self.spare = self.make_room(&all, total, more)?;
        }
        if let Some(spare) = of_asker {
            self.by_asker.looked(&from.client, spare);
        }
        for (target, spare) in of_targets {
            self.by_target.looked(&target, spare);
        }
        Ok(())
    }

    /// Refuses when `more` routes would make more than `limit` pending ones; of answered ones `limit` are kept, the
    /// oldest is forgotten first (spec §5.9). Returns how many may come until it must be looked again: to look at each
    /// of hundreds for every request would cost more than the request. Until then an eighth more answered ones may be
    /// kept, and one that goes on after all is not counted again.
    fn make_room(&mut self, routes: &[RouteId], limit: usize, more: usize) -> Result<Spare, Refusal> {
        let answered = |id: &&RouteId| self.routes.get(*id).is_some_and(Route::is_answered);
        let quiet: Vec<RouteId> = routes.iter().filter(answered).copied().collect();
        let pending = routes.len() - quiet.len() + more;
        if pending > limit {
            return Err(Refusal::TooMany);
        }
        let surplus = (quiet.len() + more).saturating_sub(limit);
        for id in quiet.into_iter().take(surplus) {
            self.complete(id, None);
            self.close(id);
        }
        Ok(Spare::after_look(pending, limit, more))
    }
}

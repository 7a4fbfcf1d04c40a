//! A request is over: complete, failed, or forgotten.

use framing::ByteString;
use log::debug;

use super::{Book, Route};
use crate::{
    ids::{ClientId, RequestId},
    llm_router::{Deliver, Delivery, Failure, LeftRoom, Leftover, Origin, Requester, RouteId, ToTarget},
    registry::SocketKey,
};

impl Book {
    /// Ends one route; a failure is told to everybody who asked. While one of them is away, and may
    /// come back, or has not read all, the route stays, though nothing more is taken for it: what a socket
    /// that breaks gives back goes by it.
    pub(in crate::llm_router) fn complete(
        &mut self,
        id: RouteId,
        failure: Option<(&'static str, ByteString)>,
    ) {
        let Some(route) = self.routes.get_mut(&id).filter(|route| !route.finished) else {
            return;
        };
        route.finished = true;
        if let Some((reason, message)) = failure {
            let failure = Failure { request_id: route.request.clone(), message, error: None };
            self.fail(id, reason, failure);
        }
        let waits = self.waits_for_readers(id);
        self.tell_complete(id, waits);
        if !waits {
            self.close(id);
        }
        self.close_those_read();
    }

    /// A room keeps the answer now, whoever is still to read it: behind all that the target has sent
    /// there, as long as there is one. A route that is closed as well needs no telling.
    fn tell_complete(&mut self, id: RouteId, stays: bool) {
        let Some(route) = self.routes.get(&id) else { return };
        let in_room = self.requests.get(&route.request).is_some_and(|request| request.listener.is_some());
        let (request, holders) = (route.request.clone(), route.holders.clone());
        if in_room && holders.is_empty() {
            self.tell_room(id, SocketKey::next(), Delivery::Finished(request));
        }
        for holder in holders.into_iter().filter(|_| in_room || stays) {
            self.tell(holder, ToTarget::Complete { route: id });
        }
    }

    /// The socket that was to tell these rooms of an end has closed, perhaps before it heard of one. An answer that
    /// is not over, or that another socket was told is over, has its end told there.
    pub(in crate::llm_router) fn rooms_left(&self, socket: SocketKey, rooms: Vec<LeftRoom>) {
        for LeftRoom { route, request_id, room } in rooms {
            let told_otherwise =
                |route: &Route| !route.finished || route.holders.iter().any(|holder| *holder != socket);
            if !self.routes.get(&route).is_some_and(told_otherwise) {
                let (origin, delivery) =
                    (Origin { route, holder: SocketKey::NONE }, Delivery::Finished(request_id));
                #[expect(clippy::disallowed_methods, reason = "once per route and socket")]
                room.deliver.do_send(Deliver { socket: room.socket, origin, delivery });
            }
        }
    }

    /// A target's socket cannot take the route that it was given: it will not tell those who asked.
    pub(in crate::llm_router) fn refused(&mut self, id: RouteId, socket: SocketKey, message: &'static str) {
        if let Some(route) = self.routes.get_mut(&id) {
            route.holders.retain(|holder| *holder != socket);
        }
        self.complete(id, Some((message, ByteString::from_static(message))));
    }

    /// A failure stands behind the text that was accepted: it goes the same way, as long as there is
    /// one.
    fn fail(&mut self, id: RouteId, reason: &'static str, failure: Failure) {
        let holders = self.routes.get(&id).map(|route| route.holders.clone()).unwrap_or_default();
        let asked = self.requests.get(&failure.request_id).map(|request| request.requesters.clone());
        if holders.is_empty() {
            let told = asked.into_iter().flatten().map(|requester| Leftover {
                route: id,
                requester,
                socket: None,
                parts: vec![Delivery::Failed(failure.clone())],
            });
            self.left_over(told.collect());
            return self.tell_room(id, SocketKey::next(), Delivery::Failed(failure));
        }
        let mut failure = Some(failure);
        for holder in holders {
            self.tell(holder, ToTarget::Fail { route: id, reason, failure: failure.take() });
        }
    }

    /// Closes a finished route once nobody who asked is away, or still to read it.
    fn close_if_read(&mut self, id: RouteId) {
        if self.routes.get(&id).is_some_and(|route| route.finished) && !self.waits_for_readers(id) {
            self.close(id);
        }
    }

    /// Whether somebody is still to read a route that is over, and notes for whom it waits.
    fn waits_for_readers(&mut self, id: RouteId) -> bool {
        let Some(route) = self.routes.get(&id) else { return false };
        let unread = route.state.unread.is_any();
        if route.holders.is_empty() && route.kept.is_empty() && !unread {
            return false;
        }
        let readers = self.requests.get(&route.request).map(|request| &request.requesters[..]);
        let mut waits = unread;
        if unread {
            self.being_read.insert(id);
        }
        for reader in readers.unwrap_or_default() {
            if !self.peers.contains_key(reader) {
                self.unread.add(reader, id);
                waits = true;
            }
        }
        waits
    }

    /// Closes what was over before it was read, and is read now: the oldest, which are it first, as a rule.
    fn close_those_read(&mut self) {
        while let Some(id) = self.being_read.first().copied()
            && self.stop_reading(id)
        {}
    }

    /// The same, of all.
    pub(in crate::llm_router) fn close_all_read(&mut self) {
        for id in self.being_read.clone() {
            self.stop_reading(id);
        }
    }

    fn stop_reading(&mut self, id: RouteId) -> bool {
        let read = self.routes.get(&id).is_none_or(|route| !route.state.unread.is_any());
        if read {
            self.being_read.remove(&id);
            self.close_if_read(id);
        }
        read
    }

    pub(super) fn close(&mut self, id: RouteId) {
        for holder in self.routes.get(&id).map(|route| route.holders.clone()).unwrap_or_default() {
            self.tell(holder, ToTarget::Close { route: id });
        }
        self.forget(id);
    }

    /// A requester is back, or gone: routes that are over may have waited for that.
    pub(super) fn settle(&mut self, requester: &Requester) {
        for id in self.unread.take(requester) {
            self.close_if_read(id);
        }
    }

    fn forget(&mut self, id: RouteId) {
        let target = self.routes.get(&id).map(|route| route.target.clone());
        if let (Some(target), Some(request_id)) = (target, self.unlink(id)) {
            self.drop_if_empty(&request_id);
            self.ended.add(target, request_id, self.limits.total);
        }
    }

    /// Whether a target was asked this, and it is over.
    pub(in crate::llm_router) fn has_ended(&self, target: &ClientId, request: &RequestId) -> bool {
        self.ended.contains(target, request)
    }

    /// Takes a route out; its request stays. Returns the request's id.
    pub(super) fn unlink(&mut self, id: RouteId) -> Option<RequestId> {
        let route = self.routes.remove(&id)?;
        self.being_read.remove(&id);
        self.keeping.remove(route.kept.iter().map(|(of, _)| of), id);
        for (index, client) in [(&mut self.by_target, &route.target), (&mut self.by_asker, &route.asker)] {
            index.remove(client, id);
        }
        if let Some(request) = self.requests.get_mut(&route.request) {
            self.unread.remove(&request.requesters, id);
            request.routes.retain(|other| *other != id);
        }
        Some(route.request)
    }

    pub(super) fn drop_if_empty(&mut self, request_id: &RequestId) {
        if self.requests.get(request_id).is_some_and(|request| request.routes.is_empty()) {
            debug!(request:% = request_id; "request forgotten");
            self.requests.remove(request_id);
            self.shared.remove(request_id);
        }
    }
}

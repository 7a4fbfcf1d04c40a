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
    /// come back, the route stays, though nothing more is taken for it.
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
        self.room_is_done(id);
        self.close_if_read(id);
    }

    /// A room keeps the answer now, whoever is still to read it: behind all that the target has sent
    /// there, as long as there is one.
    fn room_is_done(&mut self, id: RouteId) {
        let Some(route) = self.routes.get(&id) else { return };
        if self.requests.get(&route.request).is_none_or(|request| request.listener.is_none()) {
            return;
        }
        let (request, holders) = (route.request.clone(), route.holders.clone());
        if holders.is_empty() {
            self.tell_room(id, SocketKey::next(), Delivery::Finished(request));
        }
        for holder in holders {
            self.tell(holder, ToTarget::RoomIsDone { route: id });
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

    /// Closes a finished route once nobody who asked is away.
    pub(super) fn close_if_read(&mut self, id: RouteId) {
        let Some(route) = self.routes.get(&id).filter(|route| route.finished) else {
            return;
        };
        if route.holders.is_empty() && route.kept.is_empty() {
            return self.close(id);
        }
        let readers = self.requests.get(&route.request).map(|request| &request.requesters[..]);
        let mut waits = false;
        for reader in readers.unwrap_or_default() {
            if !self.peers.contains_key(reader) {
                self.unread.add(reader, id);
                waits = true;
            }
        }
        if !waits {
            self.close(id);
        }
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

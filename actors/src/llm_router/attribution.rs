//! Which request an output answers (spec §5.4 "Attribution", §5.9 "End of a streamed answer").

use std::sync::Arc;

use super::{AttributeError, AttributeOutput, OpenedRoute, RouteId, book::Book};
use crate::{
    ids::{ClientId, Identity, RequestId},
    registry::SocketKey,
};

/// What a name says.
enum Named {
    /// The sender was asked this.
    Own(RouteId),
    /// Somebody else was, or it was and that is over: the sender has nothing to answer there.
    NotTheirs,
    /// Nothing that is in flight. The published extension names random requests.
    Nothing,
}

impl Book {
    /// The route of an output whose extension named no request, or one that its session does not
    /// hold: another socket of the same extension may hold it.
    pub(super) fn attribute(&mut self, question: &AttributeOutput) -> Option<OpenedRoute> {
        let AttributeOutput { socket, target, output_id, request_id } = question;
        let by_output =
            || self.routes_of(target).find(|(_, route)| route.outputs.contains(output_id)).map(|(id, _)| id);
        let id = match self.named(target, request_id.as_ref()) {
            Named::Own(id) => Some(id),
            Named::NotTheirs => return None,
            Named::Nothing => by_output(),
        };
        let id = match id {
            Some(id) => id,
            None => {
                let asked = self.instance_of(*socket)?;
                let oldest = self.routes_at(target, &asked).find(|(_, route)| route.outputs.is_empty());
                let oldest = oldest.map(|(id, _)| id);
                // An answer that names no request means that the one before it is over.
                self.displace(target, &asked);
                oldest?
            }
        };
        self.output_started(id, output_id.clone());
        self.give_live(id, *socket)
    }

    /// The route that an `ERROR` is about: the one it names, and no other, for a request may have failed here
    /// before its extension says so. One that names none is about the oldest that still waits for something,
    /// because an extension serves one request at a time.
    pub(super) fn attribute_error(&mut self, question: &AttributeError) -> Option<OpenedRoute> {
        let AttributeError { socket, target, request_id } = question;
        let id = match request_id {
            Some(_) => match self.named(target, request_id.as_ref()) {
                Named::Own(id) => id,
                Named::NotTheirs | Named::Nothing => return None,
            },
            None => {
                let asked = self.instance_of(*socket)?;
                self.routes_at(target, &asked).find(|(_, route)| !route.state.is_quiet())?.0
            }
        };
        self.give_live(id, *socket)
    }

    fn named(&self, target: &ClientId, request: Option<&RequestId>) -> Named {
        let Some(request) = request else {
            return Named::Nothing;
        };
        match self.routes_of(target).find(|(_, route)| route.request == *request) {
            Some((id, _)) => Named::Own(id),
            None if self.requests.contains_key(request) || self.has_ended(target, request) => {
                Named::NotTheirs
            }
            None => Named::Nothing,
        }
    }

    /// Only to a socket that is still there.
    fn give_live(&mut self, id: RouteId, socket: SocketKey) -> Option<OpenedRoute> {
        let live = self.targets.iter().any(|target| target.socket == socket);
        if live { self.give(id, socket) } else { None }
    }

    /// Remembers an output of a route.
    pub(super) fn output_started(&mut self, id: RouteId, output_id: Arc<str>) {
        let bound = self.limits.outputs;
        if let Some(route) = self.routes.get_mut(&id)
            && !route.outputs.contains(&output_id)
        {
            if route.outputs.len() >= bound {
                route.outputs.remove(0);
            }
            route.outputs.push(output_id);
        }
    }

    fn displace(&mut self, target: &ClientId, instance: &Identity) {
        let answered = self.routes_at(target, instance).filter(|(_, route)| !route.outputs.is_empty());
        let answered: Vec<RouteId> = answered.map(|(id, _)| id).collect();
        for id in answered {
            self.complete(id, None);
        }
    }

    fn instance_of(&self, socket: SocketKey) -> Option<Identity> {
        let target = self.targets.iter().find(|target| target.socket == socket)?;
        Some(target.owner.identity.clone())
    }

    /// Those that one instance was asked: each serves its requests by itself (spec Q6).
    fn routes_at(
        &self,
        target: &ClientId,
        instance: &Identity,
    ) -> impl Iterator<Item = (RouteId, &super::book::Route)> {
        self.routes_of(target).filter(move |(_, route)| route.instance == *instance)
    }

    /// A target's routes that are open, oldest first.
    fn routes_of(&self, target: &ClientId) -> impl Iterator<Item = (RouteId, &super::book::Route)> {
        let ids = self.by_target.of(target).iter();
        ids.filter_map(|id| Some((*id, self.routes.get(id)?))).filter(|(_, route)| !route.finished)
    }
}

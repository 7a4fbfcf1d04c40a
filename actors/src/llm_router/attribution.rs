//! Which request an output answers (spec §5.4 "Attribution", §5.9 "End of a streamed answer").

use framing::ByteString;

use super::{AttributeOutput, OpenedRoute, RouteId, book::Book};
use crate::ids::ClientId;

impl Book {
    /// The route of an output whose extension named no request, or one that its session does not
    /// hold: another socket of the same extension may hold it.
    pub(super) fn attribute(&mut self, question: &AttributeOutput) -> Option<OpenedRoute> {
        let AttributeOutput { socket, target, output_id, request_id } = question;
        let named = request_id.as_ref().and_then(|named| {
            self.routes_of(target).find(|(_, route)| route.request == *named).map(|(id, _)| id)
        });
        let by_output = || {
            let output_id = output_id.as_ref()?;
            self.routes_of(target).find(|(_, route)| route.outputs.contains(output_id)).map(|(id, _)| id)
        };
        let id = match named.or_else(by_output) {
            Some(id) => id,
            None => {
                let oldest =
                    self.routes_of(target).find(|(_, route)| route.outputs.is_empty()).map(|(id, _)| id);
                // An answer that names no request means that the one before it is over.
                self.displace(target);
                oldest?
            }
        };
        if let Some(output_id) = output_id {
            self.output_started(id, output_id.clone());
        }
        let live = self.targets.iter().any(|target| target.socket == *socket);
        if live { self.give(id, *socket) } else { None }
    }

    /// Remembers an output of a route.
    pub(super) fn output_started(&mut self, id: RouteId, output_id: ByteString) {
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

    fn displace(&mut self, target: &ClientId) {
        let answered: Vec<RouteId> =
            self.routes_of(target).filter(|(_, route)| !route.outputs.is_empty()).map(|(id, _)| id).collect();
        for id in answered {
            self.complete(id, None);
        }
    }

    /// A target's routes that are open, oldest first.
    fn routes_of(&self, target: &ClientId) -> impl Iterator<Item = (RouteId, &super::book::Route)> {
        let ids = self.by_target.get(target).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.routes.get(id)?))).filter(|(_, route)| !route.finished)
    }
}

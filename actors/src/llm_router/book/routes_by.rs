//! Routes by client: by the target that answers, and by the client that has asked.

use smallvec::SmallVec;

use crate::{ids::ClientId, llm_router::RouteId, maps::FastMap};

/// The routes of each client, oldest first: ids rise, so a new one stands last.
#[derive(Default)]
pub(in crate::llm_router) struct RoutesBy(FastMap<ClientId, Routes>);

struct Routes {
    ids: SmallVec<[RouteId; 2]>,
    /// So many may be added before it is looked again which of them are answered.
    spare: usize,
}

impl RoutesBy {
    pub(in crate::llm_router) fn of(&self, client: &ClientId) -> &[RouteId] {
        self.0.get(client).map_or(&[], |routes| &routes.ids)
    }

    /// Whether `more` are within `limit`, whichever of those that are there are answered.
    pub(super) fn has_room(&self, client: &ClientId, more: usize, limit: usize) -> bool {
        let (len, spare) = self.0.get(client).map_or((0, 0), |routes| (routes.ids.len(), routes.spare));
        len + more <= limit || more <= spare
    }

    /// It was looked, and so many have room.
    pub(super) fn looked(&mut self, client: &ClientId, spare: usize) {
        if let Some(routes) = self.0.get_mut(client) {
            routes.spare = spare;
        }
    }

    pub(super) fn add(&mut self, client: &ClientId, id: RouteId) {
        match self.0.get_mut(client) {
            Some(routes) => {
                routes.ids.push(id);
                routes.spare = routes.spare.saturating_sub(1);
            }
            None => {
                let routes = Routes { ids: SmallVec::from_slice(&[id]), spare: 0 };
                self.0.insert(client.clone(), routes);
            }
        }
    }

    pub(super) fn remove(&mut self, client: &ClientId, id: RouteId) {
        let Some(routes) = self.0.get_mut(client) else { return };
        if let Ok(at) = routes.ids.binary_search(&id) {
            routes.ids.remove(at);
        }
        if routes.ids.is_empty() {
            self.0.remove(client);
        }
    }
}

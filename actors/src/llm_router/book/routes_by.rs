//! Routes by client: by the target that answers, and by the client that has asked.

use smallvec::SmallVec;

use crate::{ids::ClientId, llm_router::RouteId, maps::FastMap};

/// The routes of each client, oldest first: ids rise, so a new one stands last.
#[derive(Default)]
pub(in crate::llm_router) struct RoutesBy(FastMap<ClientId, SmallVec<[RouteId; 2]>>);

impl RoutesBy {
    pub(in crate::llm_router) fn of(&self, client: &ClientId) -> &[RouteId] {
        self.0.get(client).map_or(&[], |ids| ids)
    }

    pub(super) fn add(&mut self, client: &ClientId, id: RouteId) {
        match self.0.get_mut(client) {
            Some(ids) => ids.push(id),
            None => {
                self.0.insert(client.clone(), SmallVec::from_slice(&[id]));
            }
        }
    }

    pub(super) fn remove(&mut self, client: &ClientId, id: RouteId) {
        let Some(ids) = self.0.get_mut(client) else { return };
        if let Ok(at) = ids.binary_search(&id) {
            ids.remove(at);
        }
        if ids.is_empty() {
            self.0.remove(client);
        }
    }
}

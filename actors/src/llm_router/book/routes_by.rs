//! Routes by client: by the target that answers, by the client that has asked, by those who are waited for.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::{
    ids::ClientId,
    llm_router::{Requester, RouteId},
    maps::FastMap,
};

/// The routes of each client, oldest first: ids rise, so a new one stands last.
#[derive(Default)]
pub(in crate::llm_router) struct RoutesBy(FastMap<ClientId, Routes>);

struct Routes {
    ids: SmallVec<[RouteId; 2]>,
    spare: Spare,
}

/// How many routes may be added to some before it is looked again which of those are answered.
#[derive(Clone, Copy, Default)]
pub(super) struct Spare(usize);

impl Spare {
    /// What a look leaves: `pending` of `limit` are, those `more` among them that it was taken for.
    pub(super) fn after_look(pending: usize, limit: usize, more: usize) -> Self {
        Self(more + (limit - pending).min(limit / 8))
    }

    /// Whether `more` are within `limit` beside `len`, whichever of those are answered.
    pub(super) fn has_room(self, len: usize, more: usize, limit: usize) -> bool {
        len + more <= limit || more <= self.0
    }

    /// One was added.
    pub(super) fn added(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }
}

impl RoutesBy {
    pub(in crate::llm_router) fn of(&self, client: &ClientId) -> &[RouteId] {
        self.0.get(client).map_or(&[], |routes| &routes.ids)
    }

    /// Whether `more` are within `limit`, whichever of those that are there are answered.
    pub(super) fn has_room(&self, client: &ClientId, more: usize, limit: usize) -> bool {
        let known = self.0.get(client).map(|routes| (routes.ids.len(), routes.spare));
        let (len, spare) = known.unwrap_or_default();
        spare.has_room(len, more, limit)
    }

    /// It was looked which of a client's are answered.
    pub(super) fn looked(&mut self, client: &ClientId, spare: Spare) {
        if let Some(routes) = self.0.get_mut(client) {
            routes.spare = spare;
        }
    }

    pub(super) fn add(&mut self, client: &ClientId, id: RouteId) {
        match self.0.get_mut(client) {
            Some(routes) => {
                routes.ids.push(id);
                routes.spare.added();
            }
            None => {
                let routes = Routes { ids: SmallVec::from_slice(&[id]), spare: Spare::default() };
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

/// Routes that wait for somebody who is away. Thousands may come back at once: what waits for each is looked up.
#[derive(Default)]
pub(super) struct RoutesAwaiting(FastMap<Requester, BTreeSet<RouteId>>);

impl RoutesAwaiting {
    pub(super) fn add(&mut self, requester: &Requester, id: RouteId) {
        match self.0.get_mut(requester) {
            Some(ids) => drop(ids.insert(id)),
            None => drop(self.0.insert(requester.clone(), BTreeSet::from([id]))),
        }
    }

    /// The requester is back, or gone: what waited for it, oldest first.
    pub(super) fn take(&mut self, requester: &Requester) -> BTreeSet<RouteId> {
        self.0.remove(requester).unwrap_or_default()
    }

    /// A route waits for none of these any more.
    pub(super) fn remove<'a>(&mut self, requesters: impl IntoIterator<Item = &'a Requester>, id: RouteId) {
        // Nobody is away, as a rule.
        if self.0.is_empty() {
            return;
        }
        for requester in requesters {
            let Some(ids) = self.0.get_mut(requester) else { continue };
            ids.remove(&id);
            if ids.is_empty() {
                self.0.remove(requester);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

//! Which requests of a target are over: an answer that names one of them is nobody else's.

use std::collections::{VecDeque, hash_map::Entry};

use crate::{
    ids::{ClientId, RequestId},
    maps::FastMap,
};

type Asked = (ClientId, RequestId);

/// The requests that ended last, the oldest forgotten first.
#[derive(Default)]
pub(super) struct Ended {
    /// With the number of its end.
    known: FastMap<Asked, u64>,
    order: VecDeque<(Asked, u64)>,
    ends: u64,
}

impl Ended {
    /// It is over; of so many that is remembered.
    pub(super) fn add(&mut self, target: ClientId, request: RequestId, most: usize) {
        self.ends += 1;
        self.known.insert((target.clone(), request.clone()), self.ends);
        self.order.push_back(((target, request), self.ends));
        while self.order.len() > most
            && let Some((oldest, end)) = self.order.pop_front()
        {
            // It may have been asked, and have ended, again.
            if let Entry::Occupied(known) = self.known.entry(oldest)
                && *known.get() == end
            {
                known.remove();
            }
        }
    }

    /// It is asked again under the same id.
    pub(super) fn remove(&mut self, target: &ClientId, request: &RequestId) {
        self.known.remove(&(target.clone(), request.clone()));
    }

    pub(super) fn contains(&self, target: &ClientId, request: &RequestId) -> bool {
        self.known.contains_key(&(target.clone(), request.clone()))
    }
}

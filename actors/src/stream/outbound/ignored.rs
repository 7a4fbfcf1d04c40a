//! Streams that the receiver has done with while their text still comes.

use std::collections::{HashSet, VecDeque};

use super::entry::Group;

/// A bounded set: when it is full, the oldest member is forgotten. Text for a forgotten one opens
/// a new wire stream, which its receiver may cancel again.
#[derive(Debug)]
pub(super) struct Ignored {
    set: HashSet<Group>,
    /// Members in the order of their coming, and some that have left.
    order: VecDeque<Group>,
    limit: usize,
}

impl Ignored {
    pub(super) fn new(limit: usize) -> Self {
        Self { set: HashSet::new(), order: VecDeque::new(), limit: limit.max(1) }
    }

    pub(super) fn contains(&self, group: &Group) -> bool {
        self.set.contains(group)
    }

    pub(super) fn insert(&mut self, group: Group) {
        if self.order.len() >= self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        if self.set.insert(group.clone()) {
            self.order.push_back(group);
        }
    }

    pub(super) fn remove(&mut self, group: &Group) -> bool {
        self.set.remove(group)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Group) -> bool) {
        self.set.retain(&keep);
        self.order.retain(keep);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.set.len()
    }
}

//! The streams of one output at one receiver, in the order in which their text must leave
//! (spec §5.5 rule 7).

use super::entry::{Entry, EntryId, LaneId, OutputKey};
use crate::{maps::FastMap, rising_map::RisingMap};

#[derive(Debug)]
pub(super) struct Lane {
    key: OutputKey,
    /// The stream whose turn it is. Only it is written to.
    pub(super) head: Option<EntryId>,
    pub(super) tail: Option<EntryId>,
    /// Writes whose ack is outstanding.
    pub(super) unacked: usize,
    /// The last stream took several writes, and its last ack is outstanding: nothing may follow.
    pub(super) barrier: bool,
}

/// All lanes with a stream or an outstanding ack.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    map: RisingMap<LaneId, Lane>,
    by_key: FastMap<OutputKey, LaneId>,
    next: LaneId,
}

impl Lanes {
    pub(super) fn get(&self, id: LaneId) -> Option<&Lane> {
        self.map.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: LaneId) -> Option<&mut Lane> {
        self.map.get_mut(&id)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// The lane of an output, made if there is none.
    pub(super) fn of(&mut self, key: OutputKey) -> LaneId {
        *self.by_key.entry(key).or_insert_with_key(|key| {
            let lane = Lane { key: key.clone(), head: None, tail: None, unacked: 0, barrier: false };
            self.next += 1;
            self.map.insert(self.next, lane);
            self.next
        })
    }

    /// Puts a new entry at the end of its lane.
    pub(super) fn link(&mut self, entries: &mut RisingMap<EntryId, Entry>, id: EntryId) {
        let Some(entry) = entries.get_mut(&id) else {
            return;
        };
        let Some(lane) = self.map.get_mut(&entry.lane) else {
            return;
        };
        entry.prev = lane.tail.replace(id);
        match entry.prev {
            Some(prev) => set_next(entries, prev, Some(id)),
            None => lane.head = Some(id),
        }
    }

    /// Takes an entry out of its lane.
    pub(super) fn unlink(&mut self, entries: &mut RisingMap<EntryId, Entry>, id: EntryId) {
        let Some(entry) = entries.get_mut(&id) else {
            return;
        };
        let (prev, next) = (entry.prev.take(), entry.next.take());
        let Some(lane) = self.map.get_mut(&entry.lane) else {
            return;
        };
        match prev {
            Some(prev) => set_next(entries, prev, next),
            None if lane.head == Some(id) => lane.head = next,
            None => return,
        }
        match next {
            Some(next) => {
                if let Some(entry) = entries.get_mut(&next) {
                    entry.prev = prev;
                }
            }
            None => lane.tail = prev,
        }
    }

    /// Counts an ack that came or that nobody waits for any more.
    pub(super) fn acked(&mut self, id: LaneId) {
        if let Some(lane) = self.map.get_mut(&id) {
            lane.unacked -= 1;
            lane.barrier &= lane.unacked > 0;
        }
    }

    /// Forgets the lane if nothing of it is left.
    pub(super) fn forget_if_over(&mut self, id: LaneId) {
        if self.get(id).is_some_and(|lane| lane.head.is_none() && lane.unacked == 0)
            && let Some(lane) = self.map.remove(&id)
        {
            self.by_key.remove(&lane.key);
        }
    }
}

fn set_next(entries: &mut RisingMap<EntryId, Entry>, id: EntryId, next: Option<EntryId>) {
    if let Some(entry) = entries.get_mut(&id) {
        entry.next = next;
    }
}

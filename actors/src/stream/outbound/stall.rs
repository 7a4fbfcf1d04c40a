//! Receivers that stop reading (spec §5.5 rule 15).

use std::time::Instant;

use super::StreamSender;
use super::entry::{Entry, EntryId, Phase};
use super::types::{Command, reason};

impl StreamSender {
    /// Drops what has stalled.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<Command>) {
        while let Some((&(at, id), ())) = self.timers.first().filter(|((at, _), ())| *at <= now) {
            self.timers.remove(&(at, id));
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            entry.timer = None;
            match self.due(id) {
                Some(due) if due <= now => self.stalled(id, now, out),
                Some(due) => self.arm(id, due),
                None => (),
            }
        }
        self.announce(now, out);
    }

    /// Whether anything has stalled cannot be told now: what is due is looked at again then.
    pub fn put_off(&mut self, now: Instant, until: Instant) {
        let due = |((at, _), ()): &(&(Instant, EntryId), &())| *at <= now;
        for id in self.timers.iter().take_while(due).map(|((_, id), ())| *id).collect::<Vec<_>>() {
            if let Some(late) = self.entries.get_mut(&id).and_then(|entry| entry.timer.take()) {
                self.timers.remove(&(late, id));
            }
            self.arm(id, until);
        }
    }

    /// When [`StreamSender::poll`] is due. It may turn out that nothing was to be done yet.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|((at, _), ())| *at)
    }

    /// Makes sure that a stream is looked at, at the latest then.
    pub(super) fn arm(&mut self, id: EntryId, at: Instant) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.timer.is_none_or(|set| at < set)
        {
            if let Some(later) = entry.timer.replace(at) {
                self.timers.remove(&(later, id));
            }
            self.timers.insert((at, id), ());
        }
    }

    /// When a stream has stalled, unless something happens before.
    fn due(&self, id: EntryId) -> Option<Instant> {
        let entry = self.entries.get(&id)?;
        let lane = self.lanes.get(entry.lane)?;
        let late = match entry.phase {
            Phase::Waiting => false,
            Phase::Probing(_) | Phase::Unread(_) => {
                return Some(entry.progress + self.limits.announce_stall);
            }
            Phase::Open(_) => entry.unacked || (lane.head == Some(id) && !entry.text.is_empty()),
            Phase::Ended(_) => true,
        };
        late.then(|| entry.progress + self.limits.progress_stall)
    }

    fn stalled(&mut self, id: EntryId, now: Instant, out: &mut Vec<Command>) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if entry.is_unread() {
            self.reached.announce_stall += 1;
            self.discard(id, reason::UNREAD, true, now, out);
            self.never_read = self.never_read.saturating_add(1);
            if self.never_read >= self.limits.deaf_after {
                self.become_deaf(now, out);
            }
            return;
        }
        let others = self.lanes.get(entry.lane).map_or(0, |lane| lane.unacked);
        if matches!(entry.phase, Phase::Ended(_)) {
            self.reached.progress_stall += 1;
            // If the receiver still keeps the write somewhere, it must not come out behind later
            // text. One that has done with the stream ignores the error.
            self.discard(id, reason::UNACKED, true, now, out);
        } else if entry.permit && !entry.unacked && others > 0 {
            // It may write, but an earlier ack is missing: that stream's own timer settles it.
            entry.progress = now;
            self.arm(id, now + self.limits.progress_stall);
        } else {
            self.reached.progress_stall += 1;
            self.discard(id, reason::STALLED, true, now, out);
        }
    }

    /// Keeps one unread stream as the probe, and drops the others.
    fn become_deaf(&mut self, now: Instant, out: &mut Vec<Command>) {
        self.deaf = true;
        self.reached.deaf += 1;
        let ids = |pick: fn(&Entry) -> bool| {
            self.entries.iter().filter(move |(_, entry)| pick(entry)).map(|(id, _)| *id)
        };
        let (unread, waiting) = (ids(Entry::is_unread), ids(Entry::is_waiting));
        let others: Vec<EntryId> = unread.chain(waiting).skip(1).collect();
        for id in others {
            self.discard(id, reason::DEAF, true, now, out);
        }
    }
}

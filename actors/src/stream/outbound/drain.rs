//! Writing what may be written, and taking streams out.

use std::time::Instant;

use super::StreamSender;
use super::entry::{Closing, Entry, EntryId, Group, LaneId, OutputKey, Phase, Waiting};
use super::types::{Command, StreamGrouping, reason};

impl StreamSender {
    /// Writes what the lane of this stream allows.
    pub(super) fn pump_of(&mut self, id: EntryId, now: Instant, out: &mut Vec<Command>) {
        if let Some(lane) = self.entries.get(&id).map(|entry| entry.lane) {
            self.pump(lane, now, out);
            self.lanes.forget_if_over(lane);
        }
    }

    /// Writes and ends, from the head of a lane on, whatever rule 7 allows.
    fn pump(&mut self, lane_id: LaneId, now: Instant, out: &mut Vec<Command>) {
        while let Some(lane) = self.lanes.get_mut(lane_id)
            && let Some(id) = lane.head
            && let Some(entry) = self.entries.get_mut(&id)
            && let Phase::Open(wire) = entry.phase
        {
            if entry.text.is_empty() {
                if entry.closing == Closing::No {
                    return;
                }
                self.end(id, now, out);
                continue;
            }
            let whole = entry.closing != Closing::No
                && entry.writes == 0
                && entry.text.len() <= self.limits.max_write;
            let too_many = lane.unacked >= self.limits.max_unacked.max(1);
            if entry.permit && too_many && id > self.held.unacked {
                self.held.unacked = id;
                self.reached.unacked += 1;
            }
            let free = match whole {
                true => !lane.barrier && !too_many,
                false => lane.unacked == 0,
            };
            if !entry.permit || !free {
                self.arm(id, now + self.limits.progress_stall);
                return;
            }
            let before = entry.waiting();
            let chunk = entry.take(self.limits.max_write);
            self.queued.change(before, entry.waiting());
            self.reached.cut += u64::from(!entry.text.is_empty());
            lane.unacked += 1;
            entry.permit = false;
            entry.unacked = true;
            entry.writes = entry.writes.saturating_add(1);
            entry.progress = now;
            out.push(Command::Write { wire, chunk });
            self.arm(id, now + self.limits.progress_stall);
        }
    }

    /// Ends the head of a lane, all of whose text is written.
    fn end(&mut self, id: EntryId, now: Instant, out: &mut Vec<Command>) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let Phase::Open(wire) = entry.phase else {
            return;
        };
        let info = entry.info.clone();
        match std::mem::replace(&mut entry.closing, Closing::End) {
            Closing::Error(message) => out.push(Command::Error { wire, message }),
            Closing::No | Closing::End => {
                out.push(Command::End { wire });
                out.push(Command::Ended { info });
            }
        }
        let (lane, unacked, several) = (entry.lane, entry.unacked, entry.writes > 1);
        if unacked {
            entry.phase = Phase::Ended(wire);
            self.lanes.unlink(&mut self.entries, id);
            if let Some(lane) = self.lanes.get_mut(lane) {
                lane.barrier = several;
            }
        } else {
            self.remove(id);
        }
        self.excuse_head(lane, now);
    }

    /// After something left a lane or was acked: goes on with what it held back.
    pub(super) fn advance(&mut self, lane: LaneId, now: Instant, out: &mut Vec<Command>) {
        self.excuse_head(lane, now);
        self.pump(lane, now, out);
        self.lanes.forget_if_over(lane);
    }

    /// Up to now the head waited for others, which is not its receiver's fault.
    fn excuse_head(&mut self, lane: LaneId, now: Instant) {
        if let Some(head) = self.lanes.get(lane).and_then(|lane| lane.head)
            && let Some(entry) = self.entries.get_mut(&head)
            && matches!(entry.phase, Phase::Open(_))
        {
            entry.progress = now;
        }
    }

    /// Drops the oldest waiting text until `more` bytes fit, or nothing waits.
    pub(super) fn make_room(&mut self, more: usize, now: Instant, out: &mut Vec<Command>) {
        while self.queued.text > 0 && self.queued.all() + more > self.limits.max_queued_bytes {
            let oldest = self.entries.iter().find(|(_, entry)| !entry.text.is_empty());
            let Some((&id, _)) = oldest else { return };
            self.reached.waiting_bytes += 1;
            self.discard(id, reason::TOO_SLOW, true, now, out);
        }
    }

    /// Drops a stream with all that waits in it, and text that may still come for it. `tell`:
    /// the receiver, if it knows the stream, gets a `$stream-error`.
    pub(super) fn discard(
        &mut self,
        id: EntryId,
        reason: &'static str,
        tell: bool,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        let Some(entry) = self.remove(id) else { return };
        if tell {
            let errors = entry.wires().into_iter();
            out.extend(errors.map(|wire| Command::Error { wire, message: reason.into() }));
        }
        if entry.closing == Closing::No {
            let group = match self.limits.grouping {
                StreamGrouping::Stream => Group::Stream(entry.info.key),
                StreamGrouping::Output => Group::Output(OutputKey::of(&entry.info)),
            };
            self.by_group.remove(&group);
            self.ignored.insert(group);
        }
        out.push(Command::Dropped { info: entry.info, reason });
        self.advance(entry.lane, now, out);
    }

    /// Takes a stream out of everything but the map of those that may grow.
    pub(super) fn remove(&mut self, id: EntryId) -> Option<Entry> {
        self.lanes.unlink(&mut self.entries, id);
        let entry = self.entries.remove(&id)?;
        if let Some(at) = entry.timer {
            self.timers.remove(&(at, id));
        }
        self.waiting.remove(&id);
        self.queued.change(entry.waiting(), Waiting::default());
        let wires = entry.wires();
        for wire in &wires {
            self.wires.remove(wire);
        }
        if entry.is_unread() {
            self.unread_wires -= wires.len();
        }
        if entry.unacked {
            self.lanes.acked(entry.lane);
        }
        Some(entry)
    }
}

//! Text on its way to one receiving `/llm` socket, by the rules of node-socketio-stream 1.0.8
//! (spec §5.5 to §5.7).
//!
//! Streams are independent in the receiver, so [`StreamSender`] keeps their order: the streams of
//! one output form a *lane*, and only the head of a lane is written to.
//!
//! ```text
//!  push ─► waiting ─────────► announced ─────────► open ──────────────► ended ──► gone
//!          (≤ max_unread      $stream     read:    $stream-write per    $stream-end  last ack
//!           announced)                    permit   permit, at the head
//! ```
//!
//! A stream that fits into one write is written and ended without waiting for earlier acks. One
//! that needs several writes starts when all earlier ones are acked, waits for permit and ack of
//! each of its own, and holds the next stream back until its last ack (rule 7).

use std::borrow::Cow;
use std::time::Instant;

use bytestring::ByteString;

mod announce;
mod drain;
mod entry;
mod ignored;
mod lane;
mod reached;
mod stall;
mod types;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use reached::Reached;
pub use types::{Command, OutboundLimits, StreamGrouping, StreamText, WireId, WireIdError, reason};

use super::StreamInfo;
use crate::{maps::FastMap, rising_map::RisingMap};
use entry::{Closing, Entry, EntryId, Group, OutputKey, Phase, Waiting};
use ignored::Ignored;
use lane::Lanes;

/// Whom a wire id belongs to.
#[derive(Debug, Clone, Copy)]
enum Wire {
    Entry(EntryId),
    /// Announced under the name that the receiver does not use: ended if it is ever read.
    Spare,
}

/// The streams of one receiving socket.
#[derive(Debug)]
pub struct StreamSender {
    limits: OutboundLimits,
    /// The inner event name that the receiver listens to, once known.
    learned: Option<ByteString>,
    /// In order of creation: announced, written and, if too much waits, dropped oldest first.
    entries: RisingMap<EntryId, Entry>,
    next_entry: EntryId,
    lanes: Lanes,
    /// Entries that may still grow.
    by_group: FastMap<Group, EntryId>,
    ignored: Ignored,
    /// Entries without announcement.
    waiting: RisingMap<EntryId, ()>,
    wires: RisingMap<WireId, Wire>,
    next_wire: u64,
    /// Wire ids announced for content and never read.
    unread_wires: usize,
    /// One entry a stream at most; they are not moved by every read: one that fires early is set
    /// anew.
    timers: RisingMap<(Instant, EntryId), ()>,
    /// [`OutboundLimits::max_queued_bytes`] bounds all of it.
    queued: Waiting,
    /// Streams in a row that were dropped without a read.
    never_read: u32,
    deaf: bool,
    reached: Reached,
    /// The newest stream that was counted as waiting for others to be read, and for acks.
    held: Held,
}

#[derive(Debug, Default)]
struct Held {
    unread: EntryId,
    unacked: EntryId,
}

impl StreamSender {
    /// Nothing to send yet. `learned` is the inner event name if it is known in advance
    /// (`auth.streamEvent`, spec §5.6).
    pub fn new(mut limits: OutboundLimits, learned: Option<ByteString>) -> Self {
        if limits.event_names.is_empty() {
            limits.event_names = [ByteString::from_static("streamed_data")].into();
        }
        let only = match &*limits.event_names {
            [only] => Some(only.clone()),
            _ => None,
        };
        Self {
            learned: learned.or(only),
            entries: RisingMap::default(),
            next_entry: 1,
            lanes: Lanes::default(),
            by_group: FastMap::default(),
            ignored: Ignored::new(limits.max_streams),
            waiting: RisingMap::default(),
            wires: RisingMap::default(),
            next_wire: 1,
            unread_wires: 0,
            timers: RisingMap::default(),
            queued: Waiting::default(),
            never_read: 0,
            deaf: false,
            reached: Reached::default(),
            held: Held::default(),
            limits,
        }
    }

    /// Takes text of a stream, in the order in which it has to arrive.
    pub fn push(&mut self, text: StreamText, now: Instant, out: &mut Vec<Command>) {
        let group = self.group(&text.info);
        let ends = text.end && self.limits.grouping == StreamGrouping::Stream;
        if self.ignored.contains(&group) {
            if ends {
                self.ignored.remove(&group);
            }
            return;
        }
        let known = self.by_group.get(&group).copied();
        let id = match known {
            Some(id) => self.grow(id, text, now, out),
            None if text.text.is_empty() => return,
            None => self.create(&group, text, now, out),
        };
        match (id, ends) {
            (Some(id), true) => {
                self.by_group.remove(&group);
                self.close(id, Closing::End, now, out);
            }
            // It was dropped on the way, and this was the last text for it.
            (None, true) => _ = self.ignored.remove(&group),
            (Some(id), false) => {
                if known.is_none() {
                    self.by_group.insert(group, id);
                }
                self.pump_of(id, now, out);
            }
            (None, false) => (),
        }
        self.announce(now, out);
    }

    /// The stream has failed at its source. Text that was accepted is still written, then
    /// `$stream-error` takes the place of `$stream-end` (rule 11). Unknown streams are no error.
    pub fn fail(
        &mut self,
        info: &StreamInfo,
        message: impl Into<Cow<'static, str>>,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        let group = self.group(info);
        self.ignored.remove(&group);
        if let Some(id) = self.by_group.remove(&group) {
            self.close(id, Closing::Error(message.into()), now, out);
        }
        self.announce(now, out);
    }

    /// A request is complete, or one output of it: ends the wire streams that
    /// [`StreamGrouping::Output`] keeps open. Without that grouping there are none.
    pub fn finish(
        &mut self,
        request_id: &str,
        output_id: Option<&str>,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        let over = |group: &Group| match group {
            Group::Stream(_) => false,
            Group::Output(key) => {
                *key.request_id == *request_id && output_id.is_none_or(|id| *key.output_id == *id)
            }
        };
        self.ignored.retain(|group| !over(group));
        let mut ended: Vec<EntryId> = Vec::new();
        self.by_group.retain(|group, id| {
            let over = over(group);
            ended.extend(over.then_some(*id));
            !over
        });
        ended.sort_unstable();
        for id in ended {
            self.close(id, Closing::End, now, out);
        }
        self.announce(now, out);
    }

    /// `$stream-read`: a permit for one write. Permits do not accumulate (rule 2).
    pub fn on_read(&mut self, id: &str, now: Instant, out: &mut Vec<Command>) {
        let Ok(wire) = id.parse::<WireId>() else {
            return;
        };
        if wire.0 >= self.next_wire {
            return;
        }
        self.never_read = 0;
        self.deaf = false;
        match self.wires.get(&wire).copied() {
            Some(Wire::Entry(id)) => self.permit(id, wire, now, out),
            Some(Wire::Spare) => {
                self.wires.remove(&wire);
                out.push(Command::End { wire });
            }
            None => (),
        }
        self.announce(now, out);
    }

    /// The ack of a `$stream-write`; `Err` holds the text that the receiver gave.
    pub fn on_ack(&mut self, wire: WireId, result: Result<(), &str>, now: Instant, out: &mut Vec<Command>) {
        let Some(Wire::Entry(id)) = self.wires.get(&wire).copied() else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.unacked) else {
            return;
        };
        if result.is_err() {
            // Rule 12: the id is dead at the receiver, so it hears nothing of it.
            self.discard(id, reason::REFUSED, false, now, out);
        } else {
            entry.unacked = false;
            entry.progress = now;
            let (lane, ended) = (entry.lane, matches!(entry.phase, Phase::Ended(_)));
            self.lanes.acked(lane);
            if ended {
                self.remove(id);
            }
            self.advance(lane, now, out);
        }
        self.announce(now, out);
    }

    /// `$stream-end` from the receiver: an echo, or it cancels the stream (rules 9 and 10).
    pub fn on_end(&mut self, id: &str, now: Instant, out: &mut Vec<Command>) {
        self.closed_by_receiver(id, reason::CANCELLED, now, out);
    }

    /// `$stream-error` from the receiver (rule 11).
    pub fn on_error(&mut self, id: &str, now: Instant, out: &mut Vec<Command>) {
        self.closed_by_receiver(id, reason::RECEIVER_ERROR, now, out);
    }

    /// The text that was not written, stream by stream, for a new sender after a reconnect
    /// (rule 14). This sender is empty afterwards; what it learned stays.
    ///
    /// A stream that was to end with an error comes back with a plain end. With
    /// [`StreamGrouping::Output`], [`StreamSender::finish`] is to be called again for requests
    /// that are complete.
    pub fn take_undelivered(&mut self) -> Vec<StreamText> {
        let entries = std::mem::take(&mut self.entries);
        self.lanes = Lanes::default();
        self.by_group.clear();
        self.waiting.clear();
        self.wires.clear();
        self.timers.clear();
        (self.unread_wires, self.queued, self.never_read, self.deaf) = (0, Waiting::default(), 0, false);
        entries.into_values().flat_map(Entry::into_texts).collect()
    }

    /// What the bounds have done since this was last asked; none, as a rule.
    pub fn take_reached(&mut self) -> Option<Reached> {
        (self.reached != Reached::default()).then(|| std::mem::take(&mut self.reached))
    }

    /// Bytes of text that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.queued.text
    }

    /// Streams that wait, are open, or whose last ack is outstanding.
    pub fn streams(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing at all is under way.
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty()
    }

    /// The inner event name that the receiver listens to (spec §5.6).
    pub fn learned(&self) -> Option<&ByteString> {
        self.learned.as_ref()
    }

    fn group(&self, info: &StreamInfo) -> Group {
        match self.limits.grouping {
            StreamGrouping::Stream => Group::Stream(info.key),
            StreamGrouping::Output => Group::Output(OutputKey::of(info)),
        }
    }

    /// More text for a known stream; `None` if that was the one to be dropped for it.
    fn grow(
        &mut self,
        id: EntryId,
        StreamText { info, at, text, .. }: StreamText,
        now: Instant,
        out: &mut Vec<Command>,
    ) -> Option<EntryId> {
        if !text.is_empty() {
            self.make_room(text.len(), now, out);
            let entry = self.entries.get_mut(&id)?;
            if entry.text.is_empty() && !entry.unacked {
                // Until now the receiver had nothing to be late with.
                entry.progress = now;
            }
            let before = entry.waiting();
            entry.append(info, at, text);
            self.queued.change(before, entry.waiting());
        }
        Some(id)
    }

    /// The first text of a stream; `None` if a deaf socket does not get it.
    fn create(
        &mut self,
        group: &Group,
        text: StreamText,
        now: Instant,
        out: &mut Vec<Command>,
    ) -> Option<EntryId> {
        if self.deaf && (self.unread_wires > 0 || !self.waiting.is_empty()) {
            // The rest of a stream without its beginning is of no use; the rest of an output is.
            if matches!(group, Group::Stream(_)) {
                self.ignored.insert(group.clone());
            }
            out.push(Command::Dropped { info: text.info, reason: reason::DEAF });
            return None;
        }
        while self.entries.len() >= self.limits.max_streams.max(1)
            && let Some((&oldest, entry)) = self.entries.first()
        {
            self.reached.waiting_streams += 1;
            let ended = matches!(entry.phase, Phase::Ended(_));
            let reason = if ended { reason::UNACKED } else { reason::TOO_SLOW };
            self.discard(oldest, reason, true, now, out);
        }
        self.make_room(text.text.len(), now, out);
        let id = self.next_entry;
        self.next_entry += 1;
        let lane = self.lanes.of(OutputKey::of(&text.info));
        let entry = Entry::new(text, lane, now);
        self.queued.change(Waiting::default(), entry.waiting());
        self.entries.insert(id, entry);
        self.lanes.link(&mut self.entries, id);
        self.waiting.insert(id, ());
        Some(id)
    }

    /// Nothing will be added to this stream.
    fn close(&mut self, id: EntryId, closing: Closing, now: Instant, out: &mut Vec<Command>) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.closing = closing;
        if entry.is_waiting() {
            let into = self.merge_into_previous(id);
            if let Some(next) = self.entries.get(&into).and_then(|entry| entry.next) {
                self.merge_into_previous(next);
            }
        } else {
            self.pump_of(id, now, out);
        }
    }

    /// Joins two finished, unannounced neighbours (spec §5.7, last sentence), as long as they fit
    /// into one write together: that one needs no round trip. Returns the survivor.
    fn merge_into_previous(&mut self, id: EntryId) -> EntryId {
        let mergeable = |entry: &Entry| entry.is_waiting() && entry.closing == Closing::End;
        let Some(entry) = self.entries.get(&id).filter(|entry| mergeable(entry)) else {
            return id;
        };
        let Some(prev_id) = entry.prev else { return id };
        let Some(prev) = self.entries.get(&prev_id).filter(|prev| mergeable(prev)) else {
            return id;
        };
        if prev.text.len() + entry.text.len() > self.limits.max_write {
            return id;
        }
        if let Some(entry) = self.remove(id)
            && let Some(prev) = self.entries.get_mut(&prev_id)
        {
            let before = prev.waiting();
            prev.merge(entry);
            self.queued.change(before, prev.waiting());
        }
        prev_id
    }

    fn closed_by_receiver(&mut self, id: &str, reason: &'static str, now: Instant, out: &mut Vec<Command>) {
        let Ok(wire) = id.parse::<WireId>() else {
            return;
        };
        let Some(&role) = self.wires.get(&wire) else {
            return;
        };
        let Wire::Entry(id) = role else {
            self.wires.remove(&wire);
            return;
        };
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        match &mut entry.phase {
            // The echo of our own end; the ack is still to come.
            Phase::Ended(_) => return,
            Phase::Probing(probes) if probes.len() > 1 => {
                probes.retain(|(_, probe)| *probe != wire);
                self.wires.remove(&wire);
                self.unread_wires -= 1;
            }
            _ => self.discard(id, reason, false, now, out),
        }
        self.announce(now, out);
    }
}

//! Announcing streams, and finding the inner event name that the receiver listens to (spec §5.6).

use std::time::Instant;

use bytestring::ByteString;
use smallvec::SmallVec;

use super::entry::{EntryId, Phase};
use super::types::{Command, WireId};
use super::{StreamSender, Wire};

impl StreamSender {
    /// Announces what may be announced, oldest first.
    pub(super) fn announce(&mut self, now: Instant, out: &mut Vec<Command>) {
        while let Some((&id, ())) = self.waiting.first() {
            let names = if self.learned.is_some() { 1 } else { self.limits.event_names.len() };
            let limit = if self.deaf { names } else { self.limits.max_unread };
            if self.unread_wires > 0 && self.unread_wires + names > limit {
                if id > self.held.unread && !self.deaf {
                    self.held.unread = id;
                    self.reached.unread += 1;
                }
                return;
            }
            self.waiting.pop_first();
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            let mut announce = |event: &ByteString| {
                let wire = WireId(self.next_wire);
                self.next_wire += 1;
                self.wires.insert(wire, Wire::Entry(id));
                let (event, info) = (event.clone(), entry.info.clone());
                out.push(Command::Announce { wire, event, info });
                wire
            };
            entry.phase = match &self.learned {
                Some(name) => Phase::Unread(announce(name)),
                None => {
                    let names = self.limits.event_names.iter().enumerate();
                    Phase::Probing(names.map(|(at, name)| (at, announce(name))).collect())
                }
            };
            entry.progress = now;
            self.unread_wires += names;
            self.arm(id, now + self.limits.announce_stall);
        }
    }

    /// A read for a stream.
    pub(super) fn permit(&mut self, id: EntryId, wire: WireId, now: Instant, out: &mut Vec<Command>) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        if let Phase::Probing(wires) = &entry.phase
            && let Some(&(name, _)) = wires.iter().find(|(_, probe)| *probe == wire)
        {
            self.choose(id, name);
            self.learn(name);
        }
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        match entry.phase {
            Phase::Unread(wire) => {
                self.unread_wires -= 1;
                entry.phase = Phase::Open(wire);
            }
            Phase::Open(_) => (),
            // A read may cross the end.
            Phase::Waiting | Phase::Probing(_) | Phase::Ended(_) => return,
        }
        entry.permit = true;
        entry.progress = now;
        self.pump_of(id, now, out);
    }

    /// The receiver has read under this name: every other probe is settled the same way.
    fn learn(&mut self, name: usize) {
        if self.learned.is_some() {
            return;
        }
        self.learned = self.limits.event_names.get(name).cloned();
        let probing = self.entries.iter().filter(|(_, e)| matches!(e.phase, Phase::Probing(_)));
        for id in probing.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.choose(id, name);
        }
    }

    /// Settles a probe on the wire of one name.
    fn choose(&mut self, id: EntryId, name: usize) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let Phase::Probing(probes) = &entry.phase else {
            return;
        };
        let Some(&(_, chosen)) = probes.iter().find(|(at, _)| *at == name) else {
            return;
        };
        let spare: SmallVec<[WireId; 2]> =
            probes.iter().map(|(_, wire)| *wire).filter(|wire| *wire != chosen).collect();
        entry.phase = Phase::Unread(chosen);
        self.unread_wires -= spare.len();
        for wire in spare {
            self.wires.insert(wire, Wire::Spare);
        }
    }
}

//! Which extensions a room may ask (spec §4.9.3). Pure state.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{ClientId, RoomName};

/// How extensions are assigned to rooms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// All of them to every room.
    #[default]
    Free,
    /// The same: whether one or all are asked is the request's to say.
    Broadcast,
    /// Those that an administrator has named.
    Manual,
    /// One each, in turn.
    Balanced,
    /// One each, by chance; kept while it is there.
    Random,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 5] = [Self::Free, Self::Broadcast, Self::Manual, Self::Balanced, Self::Random];

    /// The policy as it is on the wire.
    pub fn wire(self) -> &'static str {
        match self {
            Self::Free => "Free",
            Self::Broadcast => "Broadcast",
            Self::Manual => "Manual",
            Self::Balanced => "Balanced",
            Self::Random => "Random",
        }
    }

    /// Reads a policy from the wire; none for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.wire() == text)
    }
}

/// Why a room is not given extensions by hand; the texts are protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAssigned {
    /// The policy is another one.
    #[error("Manual assignment is only allowed in Manual mode")]
    NotManual,
    /// There is no such room.
    #[error("Client room not found")]
    NoRoom,
    /// One of the extensions is not there.
    #[error("Extension not found: {0}")]
    NoExtension(String),
}

/// The assignments of every room.
#[derive(Clone, Debug, Default)]
pub struct Assignments {
    policy: Policy,
    /// Oldest first.
    extensions: Vec<ClientId>,
    rooms: BTreeSet<RoomName>,
    /// What an administrator has named; also of extensions that are away.
    manual: BTreeMap<RoomName, Vec<ClientId>>,
    /// The one extension of each room, where the policy gives one.
    single: BTreeMap<RoomName, ClientId>,
    /// Where the round robin goes on.
    next: usize,
}

impl Assignments {
    /// Nothing yet, under the policy and the assignments that were kept.
    pub fn new(policy: Policy, manual: BTreeMap<RoomName, Vec<ClientId>>) -> Self {
        Self { policy, manual, ..Self::default() }
    }

    /// The policy.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Every extension that is there, oldest first.
    pub fn extensions(&self) -> &[ClientId] {
        &self.extensions
    }

    /// Every room that is given extensions.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        self.rooms.iter()
    }

    /// What an administrator has named for a room.
    pub fn manual(&self, room: &RoomName) -> &[ClientId] {
        self.manual.get(room).map_or(&[], Vec::as_slice)
    }

    /// The extensions of a room that are there, oldest first.
    pub fn of(&self, room: &RoomName) -> Vec<ClientId> {
        match self.policy {
            Policy::Free | Policy::Broadcast => self.extensions.clone(),
            Policy::Manual => {
                let named = self.manual(room);
                self.extensions.iter().filter(|extension| named.contains(extension)).cloned().collect()
            }
            Policy::Balanced | Policy::Random => self.single.get(room).cloned().into_iter().collect(),
        }
    }

    /// Another policy. `chance` picks a number below its argument.
    pub fn set_policy(&mut self, policy: Policy, chance: impl FnMut(usize) -> usize) {
        self.policy = policy;
        self.single.clear();
        self.next = 0;
        self.settle(chance);
    }

    /// Names the extensions of a room.
    ///
    /// # Errors
    /// See [`NotAssigned`].
    pub fn assign(&mut self, room: &RoomName, extensions: Vec<ClientId>) -> Result<(), NotAssigned> {
        if self.policy != Policy::Manual {
            return Err(NotAssigned::NotManual);
        }
        if !self.rooms.contains(room) {
            return Err(NotAssigned::NoRoom);
        }
        if let Some(missing) = extensions.iter().find(|extension| !self.extensions.contains(extension)) {
            return Err(NotAssigned::NoExtension(missing.to_string()));
        }
        self.manual.insert(room.clone(), extensions);
        Ok(())
    }

    /// Which extensions are there now, oldest first.
    pub fn set_extensions(&mut self, extensions: Vec<ClientId>, chance: impl FnMut(usize) -> usize) {
        self.extensions = extensions;
        self.settle(chance);
    }

    /// A room appears.
    pub fn open(&mut self, room: RoomName, chance: impl FnMut(usize) -> usize) {
        self.rooms.insert(room);
        self.settle(chance);
    }

    /// A room disappears. What an administrator has named for it stays for when it is back.
    pub fn close(&mut self, room: &RoomName) {
        self.rooms.remove(room);
        self.single.remove(room);
    }

    /// A room that disappeared is gone for good. Whether an administrator had named something for it.
    pub fn forget(&mut self, room: &RoomName) -> bool {
        self.manual.remove(room).is_some()
    }

    /// Gives every room its one extension, where the policy asks for that: whoever has one that is there
    /// keeps it.
    fn settle(&mut self, mut chance: impl FnMut(usize) -> usize) {
        self.single.retain(|_, extension| self.extensions.contains(extension));
        let count = self.extensions.len();
        if count == 0 || !matches!(self.policy, Policy::Balanced | Policy::Random) {
            return;
        }
        for room in
            self.rooms.iter().filter(|room| !self.single.contains_key(*room)).cloned().collect::<Vec<_>>()
        {
            let at = if self.policy == Policy::Random { chance(count) } else { self.least_busy() };
            if let Some(extension) = self.extensions.get(at % count) {
                self.single.insert(room, extension.clone());
            }
        }
    }

    /// The extension with the fewest rooms; of equal ones the next in turn.
    fn least_busy(&mut self) -> usize {
        let count = self.extensions.len();
        let load = |at: usize| {
            let extension = self.extensions.get(at);
            self.single.values().filter(|assigned| Some(*assigned) == extension).count()
        };
        let turn = (0..count).map(|step| (self.next + step) % count);
        let at = turn.min_by_key(|at| load(*at)).unwrap_or_default();
        self.next = (at + 1) % count;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::new(name).unwrap()
    }

    fn extensions(ids: &[&str]) -> Vec<ClientId> {
        ids.iter().map(|id| ClientId::new(*id).unwrap()).collect()
    }

    fn with(policy: Policy, rooms: &[&str], ids: &[&str]) -> Assignments {
        let mut assignments = Assignments::new(policy, BTreeMap::new());
        assignments.set_extensions(extensions(ids), |_| 0);
        for name in rooms {
            assignments.open(room(name), |count| count - 1);
        }
        assignments
    }

    #[test]
    fn each_policy() {
        for (policy, a, b) in [
            (Policy::Free, vec!["S1", "S2"], vec!["S1", "S2"]),
            (Policy::Broadcast, vec!["S1", "S2"], vec!["S1", "S2"]),
            (Policy::Manual, vec![], vec![]),
            (Policy::Balanced, vec!["S1"], vec!["S2"]),
            (Policy::Random, vec!["S2"], vec!["S2"]),
        ] {
            let assignments = with(policy, &["a", "b"], &["S1", "S2"]);
            assert_eq!(assignments.of(&room("a")), extensions(&a), "{policy:?}");
            assert_eq!(assignments.of(&room("b")), extensions(&b), "{policy:?}");
            assert_eq!(Policy::parse(policy.wire()), Some(policy));
        }
        assert_eq!(Policy::parse("free"), None);
    }

    #[test]
    fn one_that_is_there_is_kept_and_one_that_left_is_replaced() {
        let mut assignments = with(Policy::Random, &["a"], &["S1", "S2"]);
        assignments.set_extensions(extensions(&["S1", "S2", "S3"]), |_| 0);
        assert_eq!(assignments.of(&room("a")), extensions(&["S2"]));
        assignments.set_extensions(extensions(&["S1", "S3"]), |_| 1);
        assert_eq!(assignments.of(&room("a")), extensions(&["S3"]));
        assignments.set_extensions(Vec::new(), |_| unreachable!());
        assert!(assignments.of(&room("a")).is_empty());
        assignments.set_extensions(extensions(&["S1"]), |_| 0);
        assert_eq!(assignments.of(&room("a")), extensions(&["S1"]));
    }

    #[test]
    fn rooms_are_spread_evenly_also_after_some_have_gone() {
        let mut assignments = with(Policy::Balanced, &["a", "b", "c", "d"], &["S1", "S2"]);
        assignments.close(&room("a"));
        assignments.close(&room("c"));
        for name in ["e", "f"] {
            assignments.open(room(name), |_| unreachable!());
        }
        let load = |id: &str| {
            let all = ["b", "d", "e", "f"];
            all.iter().filter(|name| assignments.of(&room(name)) == extensions(&[id])).count()
        };
        assert_eq!((load("S1"), load("S2")), (2, 2));
    }

    #[test]
    fn by_hand() {
        let mut assignments = with(Policy::Manual, &["a"], &["S1", "S2"]);
        assert_eq!(assignments.assign(&room("x"), extensions(&["S1"])), Err(NotAssigned::NoRoom));
        let missing = NotAssigned::NoExtension("S9".into());
        assert_eq!(assignments.assign(&room("a"), extensions(&["S1", "S9"])), Err(missing));
        assert_eq!(assignments.assign(&room("a"), extensions(&["S2"])), Ok(()));
        assert_eq!(assignments.of(&room("a")), extensions(&["S2"]));
        // Away and back again.
        assignments.set_extensions(extensions(&["S1"]), |_| 0);
        assert!(assignments.of(&room("a")).is_empty());
        assignments.set_extensions(extensions(&["S2", "S1"]), |_| 0);
        assert_eq!(assignments.of(&room("a")), extensions(&["S2"]));
        assignments.close(&room("a"));
        assignments.open(room("a"), |_| 0);
        assert_eq!(assignments.of(&room("a")), extensions(&["S2"]));
        // Another room of that name has nothing of it.
        assignments.close(&room("a"));
        assert!(assignments.forget(&room("a")) && !assignments.forget(&room("a")));
        assignments.open(room("a"), |_| 0);
        assert!(assignments.of(&room("a")).is_empty());
        assignments.set_policy(Policy::Free, |_| 0);
        assert_eq!(assignments.assign(&room("a"), Vec::new()), Err(NotAssigned::NotManual));
        assert_eq!(assignments.of(&room("a")).len(), 2);
    }
}

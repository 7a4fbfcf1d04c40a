//! Random changes against a plain model, with the database closed and opened in between.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    Change, Contents, HistoryConfig, MessageKind, Mute, StoredMessage, StoredRoom, fixture::*, store::Store,
};
use crate::{
    ids::RoomName,
    protocol::{RequestMode, Role},
};

/// What a history must hold.
#[derive(Clone, Default, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) contents: Contents,
    pub(crate) messages: BTreeMap<RoomName, Vec<StoredMessage>>,
}

impl Model {
    /// What a store holds that was given these calls.
    pub(crate) fn stored(calls: &[Vec<Change>]) -> Self {
        let store = Store::open_at(&HistoryConfig::default(), 0).unwrap();
        for changes in calls {
            store.persist(changes).unwrap();
        }
        read(&store)
    }

    fn room(&mut self, name: &RoomName) -> Option<&mut StoredRoom> {
        self.contents.rooms.iter_mut().find(|room| room.name == *name)
    }

    /// All changes or none; false for none.
    pub(crate) fn persist(&mut self, changes: &[Change]) -> bool {
        let mut next = self.clone();
        let all = changes.iter().all(|change| next.apply(change.clone()));
        if all {
            *self = next;
        }
        all
    }

    fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::RoomCreated { name, created_at_ms, mode, personal, creator } => {
                if self.room(&name).is_some() {
                    return false;
                }
                self.messages.insert(name.clone(), Vec::new());
                let members = Vec::new();
                self.contents.rooms.push(StoredRoom {
                    name,
                    created_at_ms,
                    mode,
                    personal,
                    creator,
                    members,
                    last_seq: 0,
                });
            }
            Change::RoomDeleted { name } => {
                self.contents.rooms.retain(|room| room.name != name);
                self.messages.remove(&name);
            }
            Change::ModeSet { room, mode } => match self.room(&room) {
                Some(room) => room.mode = mode,
                None => return false,
            },
            Change::MemberSet { room, identity, role } => match self.room(&room) {
                Some(room) => match room.members.iter_mut().find(|(who, _)| *who == identity) {
                    Some((_, before)) => *before = role,
                    None => room.members.push((identity, role)),
                },
                None => return false,
            },
            Change::MemberRemoved { room, identity } => {
                if let Some(room) = self.room(&room) {
                    room.members.retain(|(who, _)| *who != identity);
                }
            }
            Change::Muted { identity, until_ms, by } => {
                self.contents.mutes.insert(identity, Mute { until_ms, by });
            }
            Change::Unmuted { identity } => drop(self.contents.mutes.remove(&identity)),
            Change::KeyValue { key, value: Some(value) } => drop(self.contents.values.insert(key, value)),
            Change::KeyValue { key, value: None } => drop(self.contents.values.remove(&key)),
            Change::MessageAdded { room: name, seq, id, kind, json } => {
                let Some(room) = self.room(&name) else { return false };
                if seq <= room.last_seq {
                    return false;
                }
                room.last_seq = seq;
                let messages = self.messages.entry(name).or_default();
                messages.push(StoredMessage { seq, id, kind, json });
            }
            Change::MessageUpdated { room, seq, json } => {
                let messages = self.messages.get_mut(&room);
                match messages.and_then(|all| all.iter_mut().find(|message| message.seq == seq)) {
                    Some(message) => message.json = json,
                    None => return false,
                }
            }
            Change::MessagesRemoved { room, seqs } => {
                self.retain(&room, |message| !seqs.contains(&message.seq));
            }
            Change::MessagesCleared { room, requests, responses } => {
                self.retain(&room, |message| !match message.kind {
                    MessageKind::Request => requests,
                    MessageKind::Response => responses,
                    MessageKind::System => requests && responses,
                })
            }
            Change::MessagesTrimmed { room, through_seq } => {
                self.retain(&room, |message| message.seq > through_seq);
            }
        }
        true
    }

    fn retain(&mut self, room: &RoomName, keep: impl FnMut(&StoredMessage) -> bool) {
        if let Some(messages) = self.messages.get_mut(room) {
            messages.retain(keep);
        }
    }
}

/// What the store holds, in the model's shape.
fn read(store: &Store) -> Model {
    let contents = store.contents().unwrap();
    let names = contents.rooms.iter().map(|room| room.name.clone());
    let messages = names.map(|name| (name.clone(), store.messages(&name).unwrap())).collect();
    Model { contents, messages }
}

/// Few names, so that changes meet each other; one of them is another one in other letters.
fn name() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "A", "漢 '\"%_"])
}

fn id() -> impl Strategy<Value = String> {
    (0..6_u8).prop_map(|number| format!("m{number}"))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("x\u{0}y".to_owned()), Just("z".repeat(5000)), ".{0,8}"]
}

fn change() -> impl Strategy<Value = Change> {
    let room = || name().prop_map(room);
    let mode = || select(RequestMode::ALL.to_vec());
    let until = prop_oneof![Just(None), any::<i64>().prop_map(|ms| Some(ms.saturating_abs().max(1)))];
    prop_oneof![
        4 => (room(), any::<i64>(), mode(), any::<bool>(), prop::option::of("[a-c]")).prop_map(|(name, created_at_ms, mode, personal, creator)| {
            Change::RoomCreated { name, created_at_ms, mode, personal, creator }
        }),
        1 => room().prop_map(|name| Change::RoomDeleted { name }),
        1 => (room(), mode()).prop_map(|(room, mode)| Change::ModeSet { room, mode }),
        3 => (room(), name().prop_map(who), select(Role::ALL.to_vec()))
            .prop_map(|(room, identity, role)| Change::MemberSet { room, identity, role }),
        1 => (room(), name().prop_map(who)).prop_map(|(room, identity)| Change::MemberRemoved { room, identity }),
        2 => (name().prop_map(who), until, text()).prop_map(|(identity, until_ms, by)| {
            Change::Muted { identity, until_ms, by }
        }),
        1 => name().prop_map(|identity| Change::Unmuted { identity: who(identity) }),
        2 => (text(), prop::option::of(text())).prop_map(|(key, value)| Change::KeyValue { key, value }),
        9 => (room(), 0..40_u64, id(), select(MessageKind::ALL.to_vec()), text())
            .prop_map(|(room, seq, id, kind, json)| Change::MessageAdded { room, seq, id, kind, json: json.into() }),
        2 => (room(), 0..40_u64, text())
            .prop_map(|(room, seq, json)| Change::MessageUpdated { room, seq, json: json.into() }),
        1 => (room(), vec(0..40_u64, 0..3)).prop_map(|(room, seqs)| Change::MessagesRemoved { room, seqs }),
        1 => (room(), any::<bool>(), any::<bool>())
            .prop_map(|(room, requests, responses)| Change::MessagesCleared { room, requests, responses }),
        1 => (room(), 0..40_u64).prop_map(|(room, through_seq)| Change::MessagesTrimmed { room, through_seq }),
    ]
}

/// What happens to a history.
#[derive(Clone, Debug)]
enum Step {
    /// Calls whose changes share a transaction.
    Batch(Vec<Vec<Change>>),
    /// The same, and the transaction is given up.
    Lost(Vec<Vec<Change>>),
    /// Closed as one should, and opened again.
    Reopen,
    /// Opened again without having been closed.
    Abandon,
}

fn step() -> impl Strategy<Value = Step> {
    let batch = || vec(vec(change(), 0..4), 1..6);
    prop_oneof![
        8 => batch().prop_map(Step::Batch),
        1 => batch().prop_map(Step::Lost),
        1 => Just(Step::Reopen),
        1 => Just(Step::Abandon),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_history_holds_what_the_model_holds(steps in vec(step(), 1..24)) {
        let folder = tempfile::tempdir().unwrap();
        let config = in_folder(folder.path());
        let mut store = Store::open_at(&config, 0).unwrap();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Batch(calls) => {
                    store.begin().unwrap();
                    for changes in calls {
                        let answer = store.apply(&changes);
                        prop_assert_eq!(answer.is_ok(), model.persist(&changes), "{:?} {:?}", answer, changes);
                    }
                    store.commit().unwrap();
                }
                Step::Lost(calls) => {
                    store.begin().unwrap();
                    for changes in calls {
                        let _ = store.apply(&changes);
                    }
                    store.roll_back();
                }
                Step::Reopen => {
                    store.close().unwrap();
                    drop(store);
                    store = Store::open_at(&config, 0).unwrap();
                }
                Step::Abandon => {
                    drop(store);
                    store = Store::open_at(&config, 0).unwrap();
                }
            }
            prop_assert_eq!(read(&store), model.clone());
        }
    }
}

//! Random lives of a room, against its rules written down once more and as plainly as can be (spec
//! §4.9), with what is kept of it replayed after every step.

mod model;

use std::collections::{BTreeMap, BTreeSet};

use framing::{ByteString, json::RawJson};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use self::model::{Asked, Expected, Model, Outcome, admin, privileged};
use super::{
    Audience, Caller, ChatRequest, Effects, Extensions, Mutes, Outgoing, RoomLimits, RoomRefusal, RoomState,
    Timestamp, chat::Answered,
};
use crate::{
    history::{Change, MessageKind, Retention, StoredRoom, model_tests::Model as History},
    ids::{ClientId, Identity, MONITOR, RequestId, RoomName},
    protocol::{MsgType, RequestMode, Role},
};

/// An administrator, an extension, and others. The first owns the room that has an owner.
const WHO: [&str; 6] = ["app-a", "app-b", "app-c", "app-d", MONITOR, "SillyTavern-1"];
const EXTENSIONS: [&str; 3] = ["SillyTavern-1", "SillyTavern-2", "SillyTavern-3"];
const TEXTS: [&str; 6] = ["", "hi", "\"", "\"said\" \"\"", "漢\\", "line\nline"];

type Who = &'static str;

#[derive(Clone, Debug)]
enum Act {
    Add(Who, Who, Option<Role>),
    Remove(Who, Who),
    Kick(Who, Who),
    SetRole(Who, Who, Role),
    SetMode(Who, RequestMode),
    Mute(Who, Who, Option<u64>),
    Unmute(Who, Who),
    Request(Who, Value, Vec<Who>),
    Answer {
        request: String,
        output: &'static str,
        /// It is the last text of this answer.
        counts: bool,
    },
    /// One of those who were asked does not answer.
    Fail(String),
    /// The place of a message; beyond the last: an unknown one.
    Edit(Who, usize, Value),
    Delete(Who, Vec<usize>),
    Clear(Who, bool, bool),
    DeleteRoom(Who),
    /// Its grace is over.
    Gone(Who),
    /// The owner is there again.
    Owner,
    /// Which extensions are assigned to the room.
    Assigned(usize),
    Wait(i64),
    /// The room stops, or the process does.
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let who = || select(WHO.to_vec());
    let role = || select(Role::ALL.to_vec());
    let text = || select(TEXTS.to_vec());
    let id = || select(vec!["r1", "r2", "r3", "r4"]);
    let shape = (0..6_u8, text(), text()).prop_map(|(shape, a, b)| match shape {
        0 => json!({"message": a}),
        1 => json!({"data": a}),
        2 => json!({"message": a, "data": b}),
        3 => json!({"data": {"text": a}, "n": 1}),
        4 => json!({"prompt": a}),
        _ => json!({"message": 7}),
    });
    // Longer than all that some rooms may keep.
    let long = Just(json!({"message": "x".repeat(700)}));
    let edit = prop_oneof![4 => shape.clone(), 1 => long];
    let request = (id(), shape).prop_map(|(id, mut payload)| {
        payload["requestId"] = json!(id);
        // What a sender says of itself counts for nothing (spec §8.2 D2-12).
        payload["role"] = json!("master");
        payload["identity"] = json!("forged");
        payload
    });
    prop_oneof![
        8 => (who(), who(), option::of(role())).prop_map(|(by, who, role)| Act::Add(by, who, role)),
        2 => (who(), who()).prop_map(|(by, who)| Act::Remove(by, who)),
        2 => (who(), who()).prop_map(|(by, who)| Act::Kick(by, who)),
        3 => (who(), who(), role()).prop_map(|(by, who, role)| Act::SetRole(by, who, role)),
        3 => (who(), select(RequestMode::ALL.to_vec())).prop_map(|(by, mode)| Act::SetMode(by, mode)),
        2 => (who(), who(), option::of(1..40_u64)).prop_map(|(by, who, seconds)| Act::Mute(by, who, seconds)),
        1 => (who(), who()).prop_map(|(by, who)| Act::Unmute(by, who)),
        12 => (who(), request, vec(select(EXTENSIONS.to_vec()), 0..3))
            .prop_map(|(by, payload, targets)| Act::Request(by, payload, targets)),
        5 => (id(), select(vec!["o1", "o2"]), any::<bool>())
            .prop_map(|(request, output, counts)| Act::Answer { request: request.to_owned(), output, counts }),
        1 => id().prop_map(|request| Act::Fail(request.to_owned())),
        3 => (who(), 0..12_usize, edit).prop_map(|(by, at, fields)| Act::Edit(by, at, fields)),
        2 => (who(), vec(0..12_usize, 0..3)).prop_map(|(by, places)| Act::Delete(by, places)),
        1 => (who(), any::<bool>(), any::<bool>()).prop_map(|(by, a, b)| Act::Clear(by, a, b)),
        1 => who().prop_map(Act::DeleteRoom),
        1 => who().prop_map(Act::Gone),
        1 => Just(Act::Owner),
        1 => (0..3_usize).prop_map(Act::Assigned),
        2 => (1..30_i64).prop_map(Act::Wait),
        1 => Just(Act::Restart),
    ]
}

fn caller(who: Who) -> Caller {
    let client = ClientId::new(who).unwrap();
    let identity = Identity::from(client.clone());
    Caller { identity, privileged: privileged(who), admin: admin(who), client }
}

fn identity(who: Who) -> Identity {
    Identity::new(who).unwrap()
}

fn raw(value: &Value) -> RawJson {
    RawJson::parse(value.to_string().into(), 8).unwrap()
}

/// The room, what is kept of it, and the model.
struct Trial {
    room: RoomState,
    mutes: Mutes,
    history: History,
    /// The id of each message that there ever was.
    ids: BTreeSet<String>,
    calls: Vec<Vec<Change>>,
    model: Model,
}

impl Trial {
    fn new(owned: bool, limits: RoomLimits) -> Self {
        let name = if owned { WHO[0] } else { "tea" };
        let (owner, creator) = if owned { (Some(WHO[0]), None) } else { (None, Some(WHO[5])) };
        let created = Change::RoomCreated {
            name: RoomName::new(name).unwrap(),
            created_at_ms: 7,
            mode: RequestMode::Immediate,
            personal: owned,
            creator: creator.map(str::to_owned),
        };
        let mut history = History::default();
        assert!(history.persist(std::slice::from_ref(&created)));
        let room = RoomState::stored(history.contents.rooms[0].clone(), limits);
        let model = Model {
            limits,
            owner,
            creator,
            members: Vec::new(),
            mode: RequestMode::Immediate,
            log: Vec::new(),
            last_seq: 0,
            queue: Vec::new(),
            open: Vec::new(),
            muted: BTreeMap::new(),
            assigned: vec![EXTENSIONS[0]],
            now: 1_000_000,
            over: false,
        };
        Self {
            room,
            mutes: Mutes::new(WHO.len()),
            history,
            ids: BTreeSet::new(),
            calls: vec![vec![created]],
            model,
        }
    }

    /// The ids of messages at those places; some by their other name.
    fn ids(&self, places: &[usize]) -> Vec<ByteString> {
        let id = |at: &usize| match self.room.messages().iter().nth(*at) {
            Some(message) if at % 2 == 1 => {
                let response_id = message.json.get("responseId").and_then(|id| id.as_js_string());
                response_id.map_or_else(|| message.id.clone(), |id| id.to_text())
            }
            Some(message) => message.id.clone(),
            None => "unknown".into(),
        };
        places.iter().map(id).collect()
    }

    fn step(&mut self, act: &Act) -> Result<(), TestCaseError> {
        let now = Timestamp(self.model.now);
        let (room, model) = (&mut self.room, &mut self.model);
        let plain = |decision: Result<Effects, RoomRefusal>| decision.map(|effects| (effects, None));
        let (got, expected): (Result<(Effects, Option<Outgoing>), _>, Outcome) = match act {
            Act::Add(by, who, role) => {
                (plain(room.add(&caller(by), &identity(who), *role, now)), model.add(by, who, *role))
            }
            Act::Remove(by, who) => {
                (plain(room.remove(&caller(by), &identity(who), now)), model.remove(by, who))
            }
            Act::Kick(by, who) => (plain(room.kick(&caller(by), &identity(who), now)), model.kick(by, who)),
            Act::SetRole(by, who, role) => {
                (plain(room.set_role(&caller(by), &identity(who), *role)), model.set_role(by, who, *role))
            }
            Act::SetMode(by, mode) => (plain(room.set_mode(&caller(by), *mode)), model.set_mode(by, *mode)),
            Act::Mute(by, who, seconds) => {
                let until = seconds.map(|seconds| now.after(1000 * i64::try_from(seconds).unwrap()));
                let got = room.mute(&caller(by), &identity(who), until, *seconds, now);
                if got.is_ok() {
                    self.mutes.mute(&identity(who), until, now).unwrap();
                }
                (plain(got), model.mute(by, who, *seconds))
            }
            Act::Unmute(by, who) => {
                let got = room.unmute(&caller(by), &identity(who), now);
                if got.is_ok() {
                    self.mutes.unmute(who, now);
                }
                (plain(got), model.unmute(by, who))
            }
            Act::Request(by, payload, targets) => {
                let request = ChatRequest {
                    request_id: RequestId::new(payload["requestId"].as_str().unwrap()).unwrap(),
                    targets: targets.iter().map(|target| (*target).into()).collect(),
                    payload: raw(payload),
                };
                let ids = |list: &[Who]| list.iter().map(|id| ClientId::new(*id).unwrap()).collect();
                let (assigned, connected) = (ids(&model.assigned), ids(&EXTENSIONS));
                let extensions = Extensions { assigned, connected, may_ask: None };
                let muted = self.mutes.is_muted(by, now);
                let got = room.request(&caller(by), Some(request), &extensions, muted, now);
                if let Ok((_, Some(outgoing))) = &got {
                    // The router asks each of them once.
                    let asked: BTreeSet<&ByteString> = outgoing.targets.iter().collect();
                    asked.iter().for_each(|_| room.opened(outgoing.request_id.as_str()));
                    room.settled(outgoing.request_id.as_str());
                }
                (got, model.request(by, payload, targets))
            }
            Act::Answer { request, output, counts } => {
                let text = json!(format!("\"{request}\"")).to_string();
                let (request_id, responder) = (request.as_str(), EXTENSIONS[0]);
                let answered = Answered { request_id, responder, output_id: output, counts: *counts };
                let got = room.answered(&answered, &text, now);
                (Ok((got, None)), Ok(model.answer(request, output, *counts)))
            }
            Act::Fail(request) => {
                room.unanswered(request);
                model.unanswered(request);
                (Ok((Effects::default(), None)), Ok(Expected::default()))
            }
            Act::Edit(by, at, fields) => {
                let id = &self.ids(&[*at])[0];
                let (room, model) = (&mut self.room, &mut self.model);
                (plain(room.edit(&caller(by), id, &raw(fields), now)), model.edit(by, *at, fields))
            }
            Act::Delete(by, places) => {
                let ids = self.ids(places);
                let (room, model) = (&mut self.room, &mut self.model);
                (plain(room.delete_messages(&caller(by), &ids)), model.delete(by, places))
            }
            Act::Clear(by, requests, responses) => (
                plain(room.clear(&caller(by), *requests, *responses)),
                model.clear(by, *requests, *responses),
            ),
            Act::DeleteRoom(by) => (plain(room.delete(&caller(by))), model.delete_room(by)),
            Act::Gone(who) => {
                let owner = room.head().owner.as_ref().is_some_and(|owner| owner.as_str() == *who);
                let leaving: Vec<Identity> = match owner {
                    true => room.members().list().into_iter().map(|(who, _)| who.clone()).collect(),
                    false => vec![identity(who)],
                };
                let mut effects = Effects::default();
                for who in leaving {
                    effects.join(room.leave(&who, now).unwrap_or_default());
                }
                let expected = model.gone(who);
                self.agree(Ok((effects, None)), Ok(expected))?;
                return if owner { self.sleep() } else { Ok(()) };
            }
            Act::Owner => {
                let owner = room.head().owner.clone();
                let away = owner.filter(|owner| room.members().role(owner.as_str()).is_none());
                let effects = away.map(|owner| room.own(&owner)).unwrap_or_default();
                (Ok((effects, None)), Ok(model.owner_is_here()))
            }
            Act::Assigned(count) => {
                model.assigned = EXTENSIONS[..*count].to_vec();
                return Ok(());
            }
            Act::Wait(seconds) => {
                model.now += seconds * 1000;
                return Ok(());
            }
            Act::Restart => return self.restart(),
        };
        self.agree(got, expected)
    }

    fn agree(
        &mut self,
        got: Result<(Effects, Option<Outgoing>), RoomRefusal>,
        expected: Outcome,
    ) -> Result<(), TestCaseError> {
        let ((effects, outgoing), mut expected) = match (got, expected) {
            (Ok(got), Ok(expected)) => (got, expected),
            (got, expected) => {
                prop_assert_eq!(got.map(|_| ()), expected.map(|_| ()));
                return self.same();
            }
        };
        // The bytes of what was said are the room's to choose; the bound on them is not.
        for change in &effects.changes {
            let (seq, json) = match change {
                Change::MessageAdded { seq, id, json, .. } => {
                    // What is stored is known by its place; nobody else looks whether ids differ.
                    prop_assert!(self.ids.insert(id.clone()), "{} twice", id);
                    (seq, json)
                }
                Change::MessageUpdated { seq, json, .. } => (seq, json),
                _ => continue,
            };
            if let Some(said) = self.model.log.iter_mut().find(|said| said.seq == *seq) {
                said.json = json.clone();
            }
            let upto = if matches!(change, Change::MessageAdded { .. }) { *seq } else { u64::MAX };
            if let Some(through) = self.model.trims(upto) {
                let described = described(change);
                let at = expected.kept.iter().position(|kept| *kept == described);
                expected.kept.insert(at.map_or(0, |at| at + 1), format!("trimmed {through}"));
            }
        }
        let kept: Vec<String> = effects.changes.iter().map(described).collect();
        prop_assert_eq!(&kept, &expected.kept);
        let told: Vec<String> = effects
            .pushes
            .iter()
            .map(|push| {
                let payload: Value = serde_json::from_str(&push.payload).unwrap();
                let status = match push.event {
                    MsgType::RequestStatusUpdate => format!(" {}", payload["status"].as_str().unwrap()),
                    _ => String::new(),
                };
                let to = match &push.to {
                    Audience::Members => "room".to_owned(),
                    Audience::MembersAndExtensions => "room and extensions".to_owned(),
                    Audience::Hosts => "hosts".to_owned(),
                    Audience::Only(who) => {
                        let mut who: Vec<&str> = who.iter().map(Identity::as_str).collect();
                        who.sort_unstable();
                        format!("{who:?}")
                    }
                };
                format!("{:?} {to}{status}", push.event)
            })
            .collect();
        prop_assert_eq!(&told, &expected.told);
        if let Some(outgoing) = &outgoing {
            // As many of the newest as fit.
            let mut left = self.model.limits.context.saturating_sub(outgoing.payload.as_str().len());
            let mut context = Vec::new();
            for message in self.room.messages().iter().map(|message| message.json.as_str()).rev() {
                if message.len() + 1 > left {
                    break;
                }
                left -= message.len() + 1;
                context.insert(0, message);
            }
            prop_assert_eq!(&*outgoing.chat.context, format!("[{}]", context.join(",")));
        }
        let asked = outgoing.map(|outgoing| Asked {
            request: outgoing.request_id.to_string(),
            targets: outgoing.targets.iter().map(ToString::to_string).collect(),
            payload: serde_json::from_str(outgoing.payload.as_str()).unwrap(),
            direct: outgoing.chat.kind == Some("DIRECT_REQUEST"),
        });
        prop_assert_eq!(asked, expected.asked);
        prop_assert!(self.history.persist(&effects.changes), "refused: {:?}", effects.changes);
        self.calls.push(effects.changes);
        self.same()
    }

    /// The room is as the model is, and as what was kept of it is.
    fn same(&mut self) -> Result<(), TestCaseError> {
        if self.model.over {
            prop_assert!(self.history.contents.rooms.is_empty());
            return Ok(());
        }
        let members: Vec<(&str, Role)> =
            self.room.members().list().into_iter().map(|(who, role)| (who.as_str(), role)).collect();
        prop_assert_eq!(&members, &self.model.members);
        let masters = members.iter().filter(|(_, role)| *role == Role::Master).count();
        prop_assert!(masters <= 1);
        prop_assert_eq!(self.room.head().mode, self.model.mode);
        prop_assert_eq!(self.room.messages().next_seq(), self.model.last_seq + 1);
        prop_assert_eq!(self.room.messages().len(), self.model.log.len());
        for (message, said) in self.room.messages().iter().zip(&mut self.model.log) {
            prop_assert_eq!((message.seq, message.kind), (said.seq, said.kind));
            prop_assert_eq!(&*message.author, &*said.author);
            if !said.checked || message.json.as_str() != &*said.json {
                let mut shown: Map<String, Value> = serde_json::from_str(message.json.as_str()).unwrap();
                prop_assert_eq!(shown.remove("messageId"), Some(json!(*message.id)));
                prop_assert_eq!(shown.remove("responseId").is_some(), said.kind == MessageKind::Response);
                prop_assert_eq!(&shown, &said.shown);
                (said.json, said.checked) = (message.json.text(), true);
            }
        }
        let queue: Vec<&str> = self.room.queue.iter().map(|queued| queued.from.as_str()).collect();
        prop_assert_eq!(queue, self.model.queue.iter().map(|queued| queued.from).collect::<Vec<_>>());
        let mut open: Vec<&str> = self.room.flight.keys().map(|id| &**id).collect();
        open.sort_unstable();
        let mut expected: Vec<&str> = self.model.open.iter().map(|open| open.request.as_str()).collect();
        expected.sort_unstable();
        prop_assert_eq!(open, expected);
        self.replayed()
    }

    fn replayed(&self) -> Result<(), TestCaseError> {
        let kept = &self.history.contents.rooms[0];
        let (head, members) = (self.room.head(), self.room.members().list());
        let members = members.into_iter().map(|(who, role)| (who.clone(), role)).collect();
        let stored = StoredRoom {
            name: head.name.clone(),
            created_at_ms: head.created_at.0,
            mode: head.mode,
            personal: head.owner.is_some(),
            creator: head.creator.as_ref().map(ToString::to_string),
            members,
            last_seq: self.room.messages().next_seq() - 1,
        };
        prop_assert_eq!(kept, &stored);
        let messages = &self.history.messages[&head.name];
        let seen = self.room.messages().iter();
        let seen: Vec<_> = seen.map(|m| (m.seq, m.id.to_string(), m.kind, m.json.text())).collect();
        let kept = messages.iter().map(|m| (m.seq, m.id.clone(), m.kind, m.json.clone()));
        prop_assert_eq!(seen, kept.collect::<Vec<_>>());
        Ok(())
    }

    /// A room of somebody's own waits for its owner, without what is kept of it.
    fn sleep(&mut self) -> Result<(), TestCaseError> {
        self.room = self.room.forgetful();
        self.wake()
    }

    /// What was kept gives the same room, but for what is on its way.
    fn restart(&mut self) -> Result<(), TestCaseError> {
        let muted = &self.history.contents.mutes;
        for who in WHO {
            let kept = muted.get(who).is_some_and(|mute| mute.until_ms.is_none_or(|at| at > self.model.now));
            prop_assert_eq!(kept, self.mutes.is_muted(who, Timestamp(self.model.now)), "{}", who);
        }
        self.room = RoomState::stored(self.history.contents.rooms[0].clone(), self.model.limits);
        self.wake()
    }

    fn wake(&mut self) -> Result<(), TestCaseError> {
        let name = self.room.name().clone();
        self.room.remember(self.history.messages[&name].clone());
        self.model.queue.clear();
        self.model.open.clear();
        prop_assert_eq!(self.model.trims(u64::MAX), None, "it has no more than it may");
        self.same()
    }
}

/// A change in the model's words.
fn described(change: &Change) -> String {
    match change {
        Change::MemberSet { identity, role, .. } => format!("{identity} is {role:?}"),
        Change::MemberRemoved { identity, .. } => format!("{identity} is gone"),
        Change::MessageAdded { seq, kind, .. } => format!("{kind:?} {seq}"),
        Change::MessagesTrimmed { through_seq, .. } => format!("trimmed {through_seq}"),
        Change::ModeSet { mode, .. } => format!("mode {mode}"),
        Change::Muted { identity, .. } => format!("{identity} muted"),
        Change::Unmuted { identity } => format!("{identity} not muted"),
        Change::MessageUpdated { seq, .. } => format!("another text of {seq}"),
        Change::MessagesRemoved { seqs, .. } => format!("removed {seqs:?}"),
        Change::MessagesCleared { requests, responses, .. } => format!("cleared {requests} {responses}"),
        Change::RoomDeleted { .. } => "room deleted".to_owned(),
        other => format!("{other:?}"),
    }
}

fn limits() -> impl Strategy<Value = RoomLimits> {
    let bytes = prop_oneof![Just(1_usize << 20), 200..2000_usize];
    (2..6_usize, 1..4_usize, 1..4_usize, 2..12_usize, bytes).prop_map(
        |(members, queued, open_requests, messages, bytes)| RoomLimits {
            members,
            queued,
            open_requests,
            context: 1200,
            log: Retention { messages, bytes },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn a_room_does_what_the_model_does(
        owned in any::<bool>(),
        limits in limits(),
        acts in vec(act(), 1..30),
        store in 0..50_u8,
    ) {
        let mut trial = Trial::new(owned, limits);
        if owned {
            trial.step(&Act::Owner)?;
        }
        for act in acts {
            trial.step(&act)?;
            if trial.model.over {
                break;
            }
        }
        // A real store takes the same calls, and holds the same.
        if store == 0 {
            prop_assert_eq!(History::stored(&trial.calls), trial.history);
        }
    }
}

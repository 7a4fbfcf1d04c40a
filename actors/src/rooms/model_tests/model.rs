//! The rules of a room, written down plainly.

use std::collections::{BTreeMap, BTreeSet};

use framing::ByteString;
use serde_json::{Map, Value, json};

use super::{EXTENSIONS, Who};
use crate::{
    history::MessageKind,
    ids::MONITOR,
    protocol::{MsgType, RequestMode, Role},
    rooms::{RoomLimits, RoomRefusal, Timestamp},
};

/// A message as it must look, but for its ids.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) seq: u64,
    pub(super) kind: MessageKind,
    pub(super) author: String,
    pub(super) shown: Map<String, Value>,
    pub(super) json: ByteString,
    /// It was compared since it changed.
    pub(super) checked: bool,
}

/// What a step must lead to: what is kept, who is told what, and what the router gets.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) kept: Vec<String>,
    pub(super) told: Vec<String>,
    pub(super) asked: Option<Asked>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) request: String,
    pub(super) targets: Vec<String>,
    pub(super) payload: Value,
    pub(super) direct: bool,
}

pub(super) struct Queued {
    pub(super) from: Who,
    pub(super) request: String,
    pub(super) text: String,
    /// It has failed once.
    pub(super) again: bool,
}

pub(super) struct Open {
    pub(super) request: String,
    pub(super) from: Who,
    pub(super) expected: usize,
    /// What guests had asked with it, until somebody answers.
    pub(super) merged: Vec<Queued>,
}

pub(super) struct Model {
    pub(super) limits: RoomLimits,
    pub(super) owner: Option<Who>,
    pub(super) creator: Option<Who>,
    /// In the order in which they came.
    pub(super) members: Vec<(Who, Role)>,
    pub(super) mode: RequestMode,
    pub(super) log: Vec<Said>,
    pub(super) last_seq: u64,
    pub(super) queue: Vec<Queued>,
    pub(super) open: Vec<Open>,
    pub(super) muted: BTreeMap<Who, i64>,
    pub(super) assigned: Vec<Who>,
    pub(super) now: i64,
    /// There is no such room any more.
    pub(super) over: bool,
}

pub(super) type Outcome = Result<Expected, RoomRefusal>;

impl Model {
    fn role(&self, who: &str) -> Option<Role> {
        self.members.iter().find(|(member, _)| *member == who).map(|(_, role)| *role)
    }

    fn is_host(&self, who: Who) -> bool {
        admin(who) || matches!(self.role(who), Some(Role::Master | Role::Manager))
    }

    // What happens inside of a step.

    fn sets(&mut self, who: Who, role: Role) -> Option<Who> {
        let before = self.members.iter().position(|(_, role)| *role == Role::Master);
        let mut demoted = None;
        if let Some(before) = before.filter(|_| role == Role::Master)
            && self.members[before].0 != who
        {
            self.members[before].1 = Role::Manager;
            demoted = Some(self.members[before].0);
        }
        match self.members.iter_mut().find(|(member, _)| *member == who) {
            Some((_, before)) => *before = role,
            None => self.members.push((who, role)),
        }
        demoted
    }

    /// Whoever has another role learns it, and so do the hosts.
    fn tells_role(&self, who: Who, to: &mut Expected) {
        let mut told: Vec<&str> =
            self.members.iter().filter(|(_, role)| *role != Role::Guest).map(|(who, _)| *who).collect();
        told.push(who);
        told.sort_unstable();
        told.dedup();
        to.told.push(format!("{:?} {told:?}", MsgType::MemberRoleChanged));
    }

    fn keeps_role(&self, who: Who, to: &mut Expected) {
        to.kept.push(format!("{who} is {:?}", self.role(who).unwrap()));
    }

    fn demotes(&self, who: Option<Who>, to: &mut Expected) {
        if let Some(who) = who {
            self.keeps_role(who, to);
            self.tells_role(who, to);
        }
    }

    fn says(&mut self, kind: MessageKind, author: &str, mut shown: Map<String, Value>, to: &mut Expected) {
        self.last_seq += 1;
        shown.insert("timestamp".into(), json!(Timestamp(self.now).to_string()));
        shown.insert("identity".into(), json!(author));
        to.kept.push(format!("{kind:?} {}", self.last_seq));
        to.told.push(format!("{:?} room and extensions", MsgType::NewMessage));
        let (seq, author) = (self.last_seq, author.to_owned());
        self.log.push(Said { seq, kind, author, shown, json: ByteString::new(), checked: false });
    }

    fn notes(&mut self, text: String, to: &mut Expected) {
        let shown = json!({"data": text, "role": "system", "isSystem": true, "fromClient": false});
        self.says(MessageKind::System, "System", object(shown), to);
    }

    fn leaves(&mut self, who: Who, to: &mut Expected) -> bool {
        let Some(role) = self.role(who) else { return false };
        self.members.retain(|(member, _)| *member != who);
        self.queue.retain(|queued| queued.from != who);
        to.kept.push(format!("{who} is gone"));
        if self.owner != Some(who) {
            self.notes(format!("{who} left the room."), to);
            to.told.push(format!("{:?} hosts", MsgType::MemberLeft));
        }
        if role == Role::Master && !self.members.is_empty() {
            // The oldest manager, or else the oldest guest (Q16).
            let heir = self.members.iter().position(|(_, role)| *role == Role::Manager).unwrap_or(0);
            self.members[heir].1 = Role::Master;
            self.demotes(Some(self.members[heir].0), to);
        }
        true
    }

    // The steps.

    pub(super) fn add(&mut self, by: Who, who: Who, role: Option<Role>) -> Outcome {
        let mut to = Expected::default();
        if !privileged(by) {
            return Err(RoomRefusal::Unauthorized);
        }
        match (self.role(who), role) {
            (None, _) if self.members.len() >= self.limits.members => return Err(RoomRefusal::NotAdded),
            // A master is made another's manager, and nothing else: there is always one.
            (Some(Role::Master), Some(Role::Manager | Role::Guest)) => return Err(RoomRefusal::NotAdded),
            (None, role) => {
                let demoted = self.sets(who, role.unwrap_or(Role::Guest));
                self.keeps_role(who, &mut to);
                self.notes(format!("{who} joined the room."), &mut to);
                to.told.push(format!("{:?} hosts", MsgType::MemberJoined));
                self.tells_role(who, &mut to);
                self.demotes(demoted, &mut to);
            }
            (Some(before), Some(role)) if before != role => self.gives(who, role, &mut to),
            (Some(_), _) => (),
        }
        Ok(to)
    }

    fn gives(&mut self, who: Who, role: Role, to: &mut Expected) {
        let demoted = self.sets(who, role);
        self.keeps_role(who, to);
        self.tells_role(who, to);
        self.demotes(demoted, to);
    }

    pub(super) fn remove(&mut self, by: Who, who: Who) -> Outcome {
        let mut to = Expected::default();
        if !privileged(by) && by != who {
            return Err(RoomRefusal::Unauthorized);
        }
        if self.owner == Some(who) {
            return Err(RoomRefusal::InvalidOperation);
        }
        if self.leaves(who, &mut to) { Ok(to) } else { Err(RoomRefusal::NotRemoved) }
    }

    pub(super) fn kick(&mut self, by: Who, who: Who) -> Outcome {
        let mut to = Expected::default();
        let outranks = self.role(by).is_some() && self.role(by) > self.role(who);
        if self.role(who).is_none() || self.owner == Some(who) || !(admin(by) || outranks) {
            return Err(RoomRefusal::NotKicked);
        }
        self.leaves(who, &mut to);
        to.told.push(format!("{:?} {:?}", MsgType::Warning, [who]));
        Ok(to)
    }

    pub(super) fn set_role(&mut self, by: Who, who: Who, role: Role) -> Outcome {
        let mut to = Expected::default();
        let may = admin(by) || self.role(by) == Some(Role::Master);
        match self.role(who) {
            Some(Role::Master) if role != Role::Master => Err(RoomRefusal::RoleNotSet),
            Some(before) if may => {
                if before != role {
                    self.gives(who, role, &mut to);
                }
                Ok(to)
            }
            _ => Err(RoomRefusal::RoleNotSet),
        }
    }

    pub(super) fn set_mode(&mut self, by: Who, mode: RequestMode) -> Outcome {
        if !self.is_host(by) {
            return Err(RoomRefusal::ModeDenied);
        }
        self.mode = mode;
        if mode != RequestMode::HostSubmit {
            self.queue.clear();
        }
        let told = vec![format!("{:?} room", MsgType::RoomModeChanged)];
        Ok(Expected { kept: vec![format!("mode {mode}")], told, asked: None })
    }

    fn may_mute(&self, by: Who, who: Who) -> Result<(), RoomRefusal> {
        if !self.is_host(by) {
            return Err(RoomRefusal::PermissionDenied);
        }
        match (self.role(who), who.starts_with("SillyTavern-")) {
            (None, false) => Err(RoomRefusal::MemberNotFound),
            _ if admin(by) || self.role(who) < self.role(by) => Ok(()),
            _ => Err(RoomRefusal::PermissionDenied),
        }
    }

    pub(super) fn mute(&mut self, by: Who, who: Who, seconds: Option<u64>) -> Outcome {
        let mut to = Expected::default();
        self.may_mute(by, who)?;
        let until = seconds.map_or(i64::MAX, |seconds| self.now + 1000 * i64::try_from(seconds).unwrap());
        self.muted.insert(who, until);
        to.kept.push(format!("{who} muted"));
        to.told.push(format!("{:?} {:?}", MsgType::MemberMuted, [who]));
        let how_long = seconds.map(|seconds| format!(" for {seconds} seconds")).unwrap_or_default();
        self.notes(format!("{who} was muted by {by}{how_long}."), &mut to);
        to.told.push(format!("{:?} room and extensions", MsgType::MemberStatusUpdate));
        Ok(to)
    }

    pub(super) fn unmute(&mut self, by: Who, who: Who) -> Outcome {
        let mut to = Expected::default();
        self.may_mute(by, who)?;
        self.muted.remove(who);
        to.kept.push(format!("{who} not muted"));
        to.told.push(format!("{:?} {:?}", MsgType::MemberUnmuted, [who]));
        self.notes(format!("{who} was unmuted by {by}."), &mut to);
        to.told.push(format!("{:?} room and extensions", MsgType::MemberStatusUpdate));
        Ok(to)
    }

    pub(super) fn request(&mut self, by: Who, payload: &Value, named: &[Who]) -> Outcome {
        let mut to = Expected::default();
        if self.muted.get(by).is_some_and(|until| *until > self.now) {
            return Err(RoomRefusal::Muted);
        }
        let role = self.role(by).ok_or(RoomRefusal::InvalidTargetRoom)?;
        let id = payload["requestId"].as_str().unwrap();
        let open = self.open.iter().find(|open| open.request == id).map(|open| open.from);
        let queued = self.queue.iter().find(|queued| queued.request == id).map(|queued| queued.from);
        if let Some(from) = open.or(queued) {
            return if from == by { Ok(to) } else { Err(RoomRefusal::Duplicate) };
        }
        let host = role != Role::Guest;
        let forwards = match self.mode {
            RequestMode::Immediate => true,
            RequestMode::HostSubmit | RequestMode::MasterOnly => host,
            RequestMode::Conversational => !named.is_empty(),
        };
        let mut targets: Vec<String> = named.iter().map(|id| (*id).to_owned()).collect();
        if forwards {
            if named.iter().any(|id| !self.assigned.contains(id)) {
                return Err(RoomRefusal::InvalidRequest);
            }
            if named.is_empty() {
                let [only] = self.assigned[..] else { return Err(RoomRefusal::InvalidRequest) };
                targets.push(only.to_owned());
            }
            if self.open.len() >= self.limits.open_requests {
                return Err(RoomRefusal::TooManyRequests);
            }
        }
        let waits = self.mode == RequestMode::HostSubmit && !host;
        if waits && self.queue.len() >= self.limits.queued {
            return Err(RoomRefusal::TooManyRequests);
        }
        let mut shown = object(payload.clone());
        shown.insert("fromClient".into(), json!(true));
        self.says(MessageKind::Request, by, shown, &mut to);
        if waits {
            let text = text_of(payload).unwrap_or_default();
            self.queue.push(Queued { from: by, request: id.to_owned(), text, again: false });
        }
        if forwards {
            let merges = self.mode == RequestMode::HostSubmit;
            let (payload, merged) = if merges { self.merged(payload) } else { (payload.clone(), Vec::new()) };
            // Nobody is asked twice.
            let expected = targets.iter().collect::<BTreeSet<_>>().len();
            self.open.push(Open { request: id.to_owned(), from: by, expected, merged });
            let direct = self.mode == RequestMode::Conversational;
            to.asked = Some(Asked { request: id.to_owned(), targets, payload, direct });
        }
        Ok(to)
    }

    fn merged(&mut self, host: &Value) -> (Value, Vec<Queued>) {
        let mut merged = host.clone();
        let queue = std::mem::take(&mut self.queue);
        if queue.is_empty() {
            return (merged, queue);
        }
        let texts: Vec<_> = queue.iter().map(|queued| queued.text.clone()).chain(text_of(host)).collect();
        let mut ids: Vec<Value> = queue.iter().map(|queued| json!(queued.request)).collect();
        ids.push(host["requestId"].clone());
        let text = json!(texts.join("\n\n"));
        if host["data"].is_string() {
            merged["data"] = text.clone();
        }
        merged["message"] = text;
        merged["isMerged"] = json!(true);
        merged["mergedFromCount"] = json!(ids.len());
        merged["originalRequestIds"] = json!(ids);
        (merged, queue)
    }

    pub(super) fn answer(&mut self, request: &str, output: &str, counts: bool) -> Expected {
        let mut to = Expected::default();
        let text = format!("\"{request}\"");
        let shown = json!({
            "requestId": request, "outputId": output, "data": text, "message": text, "isResponse": true,
            "fromLlm": true,
        });
        self.says(MessageKind::Response, EXTENSIONS[0], object(shown), &mut to);
        if let Some(open) = self.open.iter_mut().find(|open| open.request == request) {
            open.merged.clear();
            open.expected -= usize::from(counts);
            let status = if open.expected == 0 { "completed" } else { "processing" };
            to.told.push(format!("{:?} {:?} {status}", MsgType::RequestStatusUpdate, [open.from]));
        }
        self.open.retain(|open| open.expected > 0);
        to
    }

    pub(super) fn unanswered(&mut self, request: &str) {
        self.open.iter_mut().filter(|open| open.request == request).for_each(|open| open.expected -= 1);
        let Some(at) = self.open.iter().position(|open| open.expected == 0) else { return };
        let merged = self.open.remove(at).merged;
        if self.mode == RequestMode::HostSubmit {
            let ids: Vec<_> = self.queue.iter().map(|queued| (queued.from, queued.request.clone())).collect();
            let waits = |queued: &Queued| {
                self.role(queued.from).is_some() && !ids.contains(&(queued.from, queued.request.clone()))
            };
            let room = (2 * self.limits.queued).saturating_sub(self.queue.len());
            let once = merged.into_iter().filter(|queued| !queued.again).take(room);
            let again: Vec<_> = once.map(|queued| Queued { again: true, ..queued }).filter(waits).collect();
            self.queue.splice(0..0, again);
        }
    }

    pub(super) fn edit(&mut self, by: Who, at: usize, fields: &Value) -> Outcome {
        let mut to = Expected::default();
        let (host, member) = (self.is_host(by), self.role(by).is_some());
        let (now, said) = (self.now, self.log.get_mut(at).ok_or(RoomRefusal::NotEdited)?);
        if !(host || (member && said.author == by)) {
            return Err(RoomRefusal::EditDenied);
        }
        let given = |name: &str| fields[name].as_str();
        let either = given("message").or(given("data")).ok_or(RoomRefusal::NotEdited)?;
        for name in ["message", "data"] {
            // An answer has both spellings; of a request, those that it came with.
            if let Some(text) = given(name) {
                said.shown.insert(name.into(), json!(text));
            } else if said.kind != MessageKind::Request || said.shown.contains_key(name) {
                said.shown.insert(name.into(), json!(either));
            }
        }
        said.checked = false;
        said.shown.insert("lastEdited".into(), json!(Timestamp(now).to_string()));
        to.kept.push(format!("another text of {}", said.seq));
        to.told.push(format!("{:?} room and extensions", MsgType::MessageUpdated));
        Ok(to)
    }

    fn removes(&mut self, goes: impl Fn(&Said) -> bool, kept: &str, event: MsgType) -> Expected {
        let before = self.log.len();
        let gone: Vec<u64> = self.log.iter().filter(|said| goes(said)).map(|said| said.seq).collect();
        self.log.retain(|said| !goes(said));
        let mut to = Expected::default();
        if self.log.len() < before {
            to.kept.push(format!("{kept} {gone:?}"));
            to.told.push(format!("{event:?} room and extensions"));
        }
        to
    }

    pub(super) fn delete(&mut self, by: Who, places: &[usize]) -> Outcome {
        let theirs = |said: &Said| said.author == by;
        let meant: Vec<u64> = places.iter().filter_map(|at| Some(self.log.get(*at)?.seq)).collect();
        let foreign = self.log.iter().any(|said| meant.contains(&said.seq) && !theirs(said));
        let member = self.role(by).is_some();
        if !(admin(by) || member) || (foreign && !self.is_host(by)) {
            return Err(RoomRefusal::DeleteDenied);
        }
        Ok(self.removes(|said| meant.contains(&said.seq), "removed", MsgType::MessagesDeleted))
    }

    pub(super) fn clear(&mut self, by: Who, requests: bool, responses: bool) -> Outcome {
        if !self.is_host(by) {
            return Err(RoomRefusal::ClearDenied);
        }
        let goes = |said: &Said| match said.kind {
            MessageKind::Request => requests,
            MessageKind::Response => responses,
            MessageKind::System => requests && responses,
        };
        let to = self.removes(goes, "", MsgType::MessagesCleared);
        let kept = to.kept.iter().map(|_| format!("cleared {requests} {responses}")).collect();
        Ok(Expected { kept, ..to })
    }

    pub(super) fn delete_room(&mut self, by: Who) -> Outcome {
        if self.owner.is_some() || !(admin(by) || self.creator == Some(by)) {
            return Err(RoomRefusal::Unauthorized);
        }
        self.over = true;
        let mut members: Vec<&str> = self.members.iter().map(|(who, _)| *who).collect();
        members.sort_unstable();
        let told = vec![format!("{:?} {members:?}", MsgType::DeleteRoom)];
        Ok(Expected { kept: vec!["room deleted".to_owned()], told, asked: None })
    }

    pub(super) fn gone(&mut self, who: Who) -> Expected {
        let mut to = Expected::default();
        let leaving = match self.owner == Some(who) {
            true => self.members.iter().map(|(who, _)| *who).collect(),
            false => vec![who],
        };
        for who in leaving {
            self.leaves(who, &mut to);
        }
        to
    }

    pub(super) fn owner_is_here(&mut self) -> Expected {
        let mut to = Expected::default();
        if let Some(owner) = self.owner.filter(|owner| self.role(owner).is_none()) {
            let demoted = self.sets(owner, Role::Master);
            self.keeps_role(owner, &mut to);
            self.demotes(demoted, &mut to);
        }
        to
    }

    /// The oldest that are too many, or too long, go for each one that was added; the newest stays.
    pub(super) fn trims(&mut self, upto: u64) -> Option<u64> {
        let mut dropped = None;
        loop {
            let here: Vec<&Said> = self.log.iter().filter(|said| said.seq <= upto).collect();
            let bytes: usize = here.iter().map(|said| said.json.len()).sum();
            if here.len() <= 1 || (here.len() <= self.limits.log.messages && bytes <= self.limits.log.bytes) {
                return dropped;
            }
            dropped = Some(self.log.remove(0).seq);
        }
    }
}

pub(super) fn admin(who: Who) -> bool {
    who == MONITOR
}

/// As dialect 1 has it: extensions may administer rooms, too.
pub(super) fn privileged(who: Who) -> bool {
    admin(who) || who.starts_with("SillyTavern-")
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(fields) = value else { panic!("{value} is no object") };
    fields
}

/// The first of these that is a text (spec §4.9.4).
fn text_of(payload: &Value) -> Option<String> {
    ["/message", "/data", "/data/text", "/data/prompt", "/prompt"]
        .iter()
        .find_map(|place| payload.pointer(place)?.as_str())
        .map(str::to_owned)
}

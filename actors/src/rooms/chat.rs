//! What is asked in a room, and what is answered (spec §4.9.4).

use framing::{
    ByteString,
    json::{RawJson, quoted},
};

use super::{
    Caller, Effects, Message, RoomRefusal, RoomState, Timestamp,
    effects::{Audience, Place},
    message::text_of,
};
use crate::{
    ids::{ClientId, Identity, RequestId},
    llm_router::ChatContext,
    protocol::{MsgType, RequestMode, Role},
};

/// A request as a member sends it.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// Its id for the request.
    pub request_id: RequestId,
    /// Whom it names; none: the room's only extension.
    pub targets: Vec<ByteString>,
    /// The whole payload; what does not matter here travels unchanged.
    pub payload: RawJson,
}

/// A guest's request that waits for the host (`HostSubmit`).
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub(super) from: Identity,
    request_id: RequestId,
    text: RawJson,
    /// It was asked with a host's request that failed. It may be why, so it waits once more and not for ever.
    again: bool,
}

impl Queued {
    fn is(&self, other: &Self) -> bool {
        self.from == other.from && self.request_id == other.request_id
    }
}

/// A request whose answers are on their way.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    requester: Identity,
    /// Answers that are still to come; none before the router has said who was asked.
    expected: usize,
    /// The guests' requests that are part of it, until somebody answers.
    merged: Vec<Queued>,
}

/// What was answered, and by whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered<'a> {
    pub(super) request_id: &'a str,
    pub(super) responder: &'a str,
    pub(super) output_id: &'a str,
    /// It is the answer that was expected of this responder, or the end of it.
    pub(super) counts: bool,
}

/// A request as it goes to the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The requester's id, or the host's of a merged request.
    pub request_id: RequestId,
    /// Who is addressed.
    pub targets: Vec<ByteString>,
    /// The requester's payload; its text replaced where requests were merged.
    pub payload: RawJson,
    /// What extensions of dialect 2 are told beside it.
    pub chat: ChatContext,
}

impl RoomState {
    /// `LLM_REQUEST`: recorded and announced, and forwarded if the mode says so.
    ///
    /// # Errors
    /// Nothing was recorded then.
    pub fn request(
        &mut self,
        caller: &Caller,
        request: Option<ChatRequest>,
        extensions: &Extensions,
        muted: bool,
        now: Timestamp,
    ) -> Result<(Effects, Option<Outgoing>), RoomRefusal> {
        if muted {
            return Err(RoomRefusal::Muted);
        }
        let role = self.members().role(caller.identity.as_str()).ok_or(RoomRefusal::InvalidTargetRoom)?;
        let request = request.ok_or(RoomRefusal::InvalidRequest)?;
        match self.asked_by(&request.request_id) {
            // A repeat is acked, and nothing else (spec §5.9).
            Some(requester) if *requester == caller.identity => return Ok((Effects::default(), None)),
            Some(_) => return Err(RoomRefusal::Duplicate),
            None => (),
        }
        // A role that a request declares counts for nothing (spec §8.2 D2-12).
        let host = role != Role::Guest;
        let mode = self.head().mode;
        let forwards = match mode {
            RequestMode::Immediate => true,
            RequestMode::HostSubmit | RequestMode::MasterOnly => host,
            RequestMode::Conversational => !request.targets.is_empty(),
        };
        let targets = match forwards {
            true => targets(caller, &request.targets, extensions)?,
            false => Vec::new(),
        };
        if forwards && self.flight.len() >= self.limits.open_requests {
            return Err(RoomRefusal::TooManyRequests);
        }
        if mode == RequestMode::HostSubmit && !host && self.queue.len() >= self.limits.queued {
            return Err(RoomRefusal::TooManyRequests);
        }
        let mut effects = Effects::default();
        let message = Message::request(self.log.next_seq(), &caller.identity, &request.payload, now);
        self.record(message, &mut effects);
        if !forwards {
            if mode == RequestMode::HostSubmit {
                let text = text_of(&request.payload).unwrap_or(RawJson::from_static("\"\""));
                let ChatRequest { request_id, .. } = request;
                let from = caller.identity.clone();
                self.queue.push(Queued { from, request_id, text, again: false });
            }
            return Ok((effects, None));
        }
        let merged = match mode {
            RequestMode::HostSubmit => std::mem::take(&mut self.queue),
            _ => Vec::new(),
        };
        let payload = if merged.is_empty() { request.payload } else { merge(&merged, &request) };
        let kind = (mode == RequestMode::Conversational).then_some("DIRECT_REQUEST");
        let outgoing =
            self.outgoing(request.request_id, targets, payload, kind, Some(&caller.identity), None);
        let flight = InFlight { requester: caller.identity.clone(), expected: 0, merged };
        self.flight.insert(outgoing.request_id.as_str().into(), flight);
        Ok((effects, Some(outgoing)))
    }

    /// Whose request that is, if it is being answered or waits for the host.
    fn asked_by(&self, request: &RequestId) -> Option<&Identity> {
        let flight = self.flight.get(request.as_str()).map(|flight| &flight.requester);
        let queued = || self.queue.iter().find(|queued| queued.request_id == *request);
        flight.or_else(|| queued().map(|queued| &queued.from))
    }

    /// A request does not wait for the host any more.
    pub(super) fn unqueue(&mut self, request: &RequestId) {
        self.queue.retain(|queued| queued.request_id != *request);
    }

    pub(super) fn outgoing(
        &self,
        request_id: RequestId,
        targets: Vec<ByteString>,
        payload: RawJson,
        kind: Option<&'static str>,
        requester: Option<&Identity>,
        instruction: Option<ByteString>,
    ) -> Outgoing {
        // The extension is sent it beside the request, the copy of that, and its text.
        let room_left = self.limits.context.saturating_sub(payload.as_str().len());
        let chat = ChatContext {
            mode: self.head().mode,
            kind,
            room: self.name().as_str().into(),
            requester: requester.cloned(),
            context: self.log.context(room_left).into(),
            instruction,
        };
        Outgoing { request_id, targets, payload, chat }
    }

    /// One of those whom a request names was asked. The others are not there.
    pub(super) fn opened(&mut self, request_id: &str) {
        if let Some(flight) = self.flight.get_mut(request_id) {
            flight.expected += 1;
        }
    }

    /// One of them answers: what guests had asked with it has been read, and does not wait again.
    pub(super) fn begun(&mut self, request_id: &str) {
        if let Some(flight) = self.flight.get_mut(request_id) {
            flight.merged.clear();
        }
    }

    /// The router has taken a request, or has refused it: nobody answers it, if nobody is left who was asked, and what
    /// guests had asked with it waits again, unless somebody had begun to.
    pub(super) fn settled(&mut self, request_id: &str) {
        if self.flight.get(request_id).is_none_or(|flight| flight.expected > 0) {
            return;
        }
        let mut merged = self.flight.remove(request_id).map(|flight| flight.merged).unwrap_or_default();
        merged.retain_mut(|queued| !std::mem::replace(&mut queued.again, true));
        // More than may wait at a time came with it, perhaps, and as many have come since.
        merged.truncate((2 * self.limits.queued).saturating_sub(self.queue.len()));
        self.waits_again(merged);
    }

    /// What waited for the host waits again, before what has come since.
    pub(super) fn waits_again(&mut self, queued: Vec<Queued>) {
        if self.head().mode == RequestMode::HostSubmit {
            let waits = |again: &Queued| {
                self.members().role(again.from.as_str()).is_some()
                    && !self.queue.iter().any(|queued| queued.is(again))
            };
            let again: Vec<Queued> = queued.into_iter().filter(waits).collect();
            self.queue.splice(0..0, again);
        }
    }

    /// One of those who were asked has failed, or had nothing to say.
    pub(super) fn unanswered(&mut self, request_id: &str) {
        if let Some(flight) = self.flight.get_mut(request_id) {
            flight.expected = flight.expected.saturating_sub(1);
        }
        self.settled(request_id);
    }

    /// An answer is complete: it becomes one message (spec §8.2 D2-6), and the requester is told how far its
    /// request is. `text` is JSON text of a string.
    pub(super) fn answered(&mut self, answered: &Answered<'_>, text: &str, now: Timestamp) -> Effects {
        let Answered { request_id, responder, output_id, counts } = *answered;
        let mut effects = Effects::default();
        let message = Message::response(self.log.next_seq(), responder, request_id, output_id, text, now);
        let response_id = message.json.get("responseId").map_or("null".into(), |id| id.text());
        self.record(message, &mut effects);
        let Some(flight) = self.flight.get_mut(request_id) else {
            return effects;
        };
        flight.merged.clear();
        flight.expected = flight.expected.saturating_sub(usize::from(counts));
        let (requester, done) = (flight.requester.clone(), flight.expected == 0);
        if done {
            self.flight.remove(request_id);
        }
        let payload = format!(
            "{{\"mode\":{},\"roomName\":{},\"requestId\":{},\"responseId\":{response_id},\"status\":\"{}\"}}",
            quoted(self.head().mode.wire()),
            quoted(self.name().as_str()),
            quoted(request_id),
            if done { "completed" } else { "processing" },
        );
        effects.push(Audience::Only(vec![requester]), Place::Llm, MsgType::RequestStatusUpdate, payload);
        effects
    }

    /// Whether a request of this room is being answered.
    pub fn is_busy(&self) -> bool {
        !self.flight.is_empty()
    }
}

/// The host's request with those that waited for it, in the order in which they came: texts joined by
/// a blank line, everything else the host's.
fn merge(queue: &[Queued], host: &ChatRequest) -> RawJson {
    let own = text_of(&host.payload);
    let mut text = String::from("\"");
    for (at, part) in queue.iter().map(|queued| &queued.text).chain(own.as_ref()).enumerate() {
        if at > 0 {
            text.push_str("\\n\\n");
        }
        // The insides of a JSON string, half characters included: without the one quote at each end.
        let inside = part.as_str().strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        text.push_str(inside.unwrap_or_default());
    }
    text.push('"');
    let ids = queue.iter().map(|queued| &queued.request_id).chain([&host.request_id]);
    let ids = ids.map(|id| quoted(id.as_str())).collect::<Vec<_>>();
    let (count, ids) = (ids.len().to_string(), format!("[{}]", ids.join(",")));
    let mut fields = vec![
        ("message", text.as_str()),
        ("isMerged", "true"),
        ("mergedFromCount", count.as_str()),
        ("originalRequestIds", ids.as_str()),
    ];
    let data_is_text = host.payload.get("data").is_some_and(|data| data.as_js_string().is_some());
    if data_is_text {
        fields.push(("data", text.as_str()));
    }
    host.payload.replacing(&fields)
}

/// The extensions that there are, as the lobby knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Those that are assigned to the room (spec §4.9.3).
    pub assigned: Vec<ClientId>,
    /// All of them.
    pub connected: Vec<ClientId>,
    /// Those in whose rooms the sender is, if only they may be asked (spec §5.2).
    pub may_ask: Option<Vec<ClientId>>,
}

/// Whom a request goes to: those it names, none of them another room's or forbidden to the sender; the only
/// one there is, if it names none (Q17). One that is not there is the router's to refuse.
fn targets(
    caller: &Caller,
    named: &[ByteString],
    extensions: &Extensions,
) -> Result<Vec<ByteString>, RoomRefusal> {
    let has = |list: &[ClientId], target: &ByteString| list.iter().any(|id| id.as_str() == &**target);
    let targets = match (named, extensions.assigned.as_slice()) {
        ([], [only]) => vec![only.as_str().into()],
        ([], _) => return Err(RoomRefusal::InvalidRequest),
        _ => named.to_vec(),
    };
    // An instance is its client's: it is called by that id and a suffix, and no other client's id is longer.
    let owner = |target: &ByteString| {
        let owners = extensions.connected.iter().filter(|id| target.starts_with(id.as_str()));
        owners.max_by_key(|id| id.as_str().len())
    };
    let foreign = |target: &ByteString| {
        !has(&extensions.assigned, target)
            && owner(target).is_some_and(|id| !extensions.assigned.contains(id))
    };
    if targets.iter().any(foreign) {
        return Err(RoomRefusal::InvalidRequest);
    }
    let forbidden =
        |target: &&ByteString| extensions.may_ask.as_ref().is_some_and(|allowed| !has(allowed, target));
    match targets.iter().find(forbidden) {
        Some(target) => {
            Err(RoomRefusal::NotAllowed { client: caller.client.clone(), target: target.clone() })
        }
        None => Ok(targets),
    }
}

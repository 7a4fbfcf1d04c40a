//! `LLM_REQUEST` (spec §4.4, §5.1, §5.2).

use framing::{
    ByteString,
    json::{Kind, RawJson, quoted},
    socket::{Event, Namespace as WireNamespace},
};

use super::{
    Broker, Cx, LlmPolicy,
    administration::by_name,
    payload,
    reply::{BUSY, Reply},
};
use crate::{
    ids::{ClientId, RequestId, RoomName, SERVER},
    llm_router::{ForwardedRequest, OpenRequest, Requester},
    protocol::{Dialect, MsgType},
    rooms::{Command, InRoom, RoomCommand, RoomRefusal},
};

/// Ack of a request to `server` (spec §4.4).
pub(super) const NOT_TO_SERVER: &str = "LLM requests should not be sent to the server directly.";

/// A request that is well formed.
pub(super) struct Asked {
    pub(super) request_id: RequestId,
    /// In a room it may name none.
    pub(super) targets: Vec<ByteString>,
}

/// The payload of a request as it travels, with its sender replaced, never added beside: a duplicate could pose as
/// another client (spec §5.1 rule 6).
pub(super) fn signed(event: &Event, sender: &ClientId) -> RawJson {
    let sender = quoted(sender.as_str());
    payload::object(event).replacing(&[("clientId", &sender), ("source", &sender)])
}

impl Broker {
    pub(super) fn llm_request(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: Event) {
        let Some(socket) = self.sockets.get(ns) else {
            return;
        };
        let reply = Reply::to(&event);
        // Dialect 2 asks in a room, where the request may leave its target to it.
        let chat = by_name(&event, MsgType::LlmRequest);
        let read = read(&event, self.directory.limits.max_targets, chat);
        if read.is_none() {
            let targets = payload::object(&event).get("target").map_or(0, |target| target.elements().count());
            if targets > self.directory.limits.max_targets {
                cx.session().metrics().limit_reached("limits.max_targets");
            }
        }
        if chat {
            return self.chat_request(cx, ns, event, read);
        }
        let Some(asked) = read else {
            return self.refuse(cx, ns, &reply, "Invalid LLM request data.");
        };
        if asked.targets.iter().any(|target| &**target == SERVER) {
            return self.refuse(cx, ns, &reply, NOT_TO_SERVER);
        }
        let payload = signed(&event, &socket.client);
        let question = OpenRequest {
            from: socket.requester(),
            request_id: asked.request_id,
            targets: asked.targets,
            request: ForwardedRequest { payload, attachments: event.attachments, chat: None },
            audience: Default::default(),
        };
        match self.directory.limits.llm_policy {
            LlmPolicy::Open => self.ask_router(cx, ns, reply, question),
            LlmPolicy::Rooms => self.ask_membership(cx, ns, reply, question, 0),
        }
    }

    /// `llmPolicy: "rooms"`: each target's room is asked in turn.
    fn ask_membership(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        reply: Reply,
        question: OpenRequest,
        at: usize,
    ) {
        let Some(target) = question.targets.get(at).cloned() else {
            return self.ask_router(cx, ns, reply, question);
        };
        let room = RoomName::new(target.clone()).ok();
        let supervisor = self.directory.rooms.of(&target).cloned();
        let (Some(socket), Some(room), Some(supervisor)) = (self.sockets.get(ns), room, supervisor) else {
            return self.refuse(cx, ns, &reply, &not_allowed(&question.from, &target));
        };
        let key = socket.key;
        let command = RoomCommand::Run(Command::IsMember);
        let ask = InRoom { room, caller: socket.room_caller(true), command };
        let (joined, later) = (ns.clone(), reply.clone());
        let outcome = cx.session().ask(&supervisor, ask, move |layer, session, answer| {
            layer.with_handler(session, |broker, cx| {
                if !broker.still(&joined, key) {
                    return;
                }
                match answer {
                    Ok(Ok(_)) => broker.ask_membership(cx, &joined, later, question, at + 1),
                    Ok(Err(_)) => broker.refuse(cx, &joined, &later, &not_allowed(&question.from, &target)),
                    Err(_) => broker.refuse(cx, &joined, &later, BUSY),
                }
            });
            Ok(())
        });
        self.asked(cx, ns, &reply, outcome);
    }

    fn ask_router(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, reply: Reply, question: OpenRequest) {
        let Some(key) = self.sockets.get(ns).map(|socket| socket.key) else {
            return;
        };
        let router = self.directory.router.clone();
        let (joined, later) = (ns.clone(), reply.clone());
        let outcome = cx.session().ask(&router, question, move |layer, session, answer| {
            layer.with_handler(session, |broker, cx| {
                if !broker.still(&joined, key) {
                    return;
                }
                match answer {
                    Ok(Ok(())) => broker.ack(cx, &joined, later.ack, broker.forwarded(&joined)),
                    Ok(Err(refusal)) => broker.refuse(cx, &joined, &later, &refusal.to_string()),
                    Err(_) => broker.refuse(cx, &joined, &later, BUSY),
                }
            });
            Ok(())
        });
        self.asked(cx, ns, &reply, outcome);
    }

    /// The two dialects word the same ack differently (spec §4.4, §4.9.4).
    fn forwarded(&self, ns: &WireNamespace) -> &'static str {
        let named = self
            .sockets
            .get(ns)
            .is_some_and(|socket| socket.emit() == crate::protocol::Emit::One(Dialect::Named));
        if named {
            r#"{"status":"ok","message":"Request received."}"#
        } else {
            r#"{"status":"ok","message":"Request forwarded."}"#
        }
    }
}

fn not_allowed(from: &Requester, target: &str) -> String {
    RoomRefusal::NotAllowed { client: from.client.clone(), target: target.into() }.to_string()
}

/// Reads a request; None if a field that routes it is missing or of the wrong type.
fn read(event: &Event, max_targets: usize, in_room: bool) -> Option<Asked> {
    let object = payload::object(event);
    let [request_id, target, message, data, prompt] =
        object.fields(["requestId", "target", "message", "data", "prompt"]);
    let request_id = RequestId::new(payload::text(request_id.as_ref())?).ok()?;
    let targets: Vec<ByteString> = match payload::present(target) {
        None if in_room => Vec::new(),
        None => return None,
        Some(target) => match target.kind() {
            Kind::String => vec![payload::text(Some(&target))?],
            Kind::Array => target.elements().map(|one| payload::text(Some(&one))).collect::<Option<_>>()?,
            _ => return None,
        },
    };
    let something = [message, data, prompt].into_iter().any(|field| payload::present(field).is_some());
    let fits = (in_room || !targets.is_empty())
        && targets.len() <= max_targets
        && targets.iter().all(|target| !target.is_empty());
    (something && fits).then_some(Asked { request_id, targets })
}

#[cfg(test)]
mod tests {
    use framing::socket::EventName;

    use super::*;

    fn request(json: &'static str) -> Option<Asked> {
        let args = vec![RawJson::from_static(json)];
        read(&Event { name: EventName::number(9), args, attachments: Vec::new(), ack: None }, 2, false)
    }

    #[test]
    fn what_routes_must_be_there() {
        for (json, valid) in [
            (r#"{"target":"SillyTavern-8000","requestId":"r","message":"hi"}"#, true),
            (r#"{"target":["a","b"],"requestId":"r","data":{"text":"hi"}}"#, true),
            (r#"{"target":"a","requestId":"r","prompt":[]}"#, true),
            (r#"{"target":"a","requestId":"r","message":""}"#, true),
            (r#"{"target":["a","b","c"],"requestId":"r","message":"hi"}"#, false),
            (r#"{"target":[],"requestId":"r","message":"hi"}"#, false),
            (r#"{"target":["a",1],"requestId":"r","message":"hi"}"#, false),
            (r#"{"target":7,"requestId":"r","message":"hi"}"#, false),
            (r#"{"target":"","requestId":"r","message":"hi"}"#, false),
            (r#"{"requestId":"r","message":"hi"}"#, false),
            (r#"{"target":"a","requestId":5,"message":"hi"}"#, false),
            (r#"{"target":"a","requestId":"","message":"hi"}"#, false),
            (r#"{"target":"a","requestId":"r"}"#, false),
            (r#"{"target":"a","requestId":"r","message":null}"#, false),
            ("null", false),
            ("[]", false),
            ("\"text\"", false),
        ] {
            assert_eq!(request(json).is_some(), valid, "{json}");
        }
    }
}

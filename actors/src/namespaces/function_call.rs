//! `FUNCTION_CALL` (spec §6.1): the server's own functions, and those of extensions.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use actix::prelude::*;
use framing::{
    ByteString,
    json::{RawJson, quoted},
    socket::{Event, Namespace as WireNamespace},
};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::{Awaited, Broker, BrokerSession, Cx, payload};
use crate::{
    emit,
    functions::FunctionReply,
    ids::SERVER,
    protocol::{MsgType, Namespace},
    registry::{CallExtension, Called, FindFunctionSocket, SocketKey},
    session::{
        TooManyQuestions,
        socketio::{AckArgs, WantedAck},
    },
    trust::RunFunction,
};

/// What an event takes besides its payload: its name, its namespace, its id.
const ENVELOPE: usize = 128;

/// A call that waits for its answer.
#[derive(Clone)]
struct Call {
    ns: WireNamespace,
    key: SocketKey,
    ack: Option<u64>,
    /// `requestId` as it came, JSON text.
    request_id: Option<RawJson>,
}

impl Call {
    fn of(ns: &WireNamespace, key: SocketKey, event: &Event, request_id: Option<RawJson>) -> Self {
        // A copy: the call may wait for long, and an id is not worth the packet in which it came.
        let copied = |id: RawJson| RawJson::parse(ByteString::from(id.as_str()), usize::MAX).ok();
        Self { ns: ns.clone(), key, ack: event.ack, request_id: request_id.and_then(copied) }
    }

    fn request_id(&self) -> String {
        self.request_id.as_ref().map(|id| format!("\"requestId\":{},", id.as_str())).unwrap_or_default()
    }
}

impl Broker {
    pub(super) fn function_call(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: Event) {
        let Some(socket) = self.sockets.get(ns) else {
            return;
        };
        let object = payload::object(&event);
        let [request_id, name, args, target] = object.fields(["requestId", "functionName", "args", "target"]);
        let call = Call::of(ns, socket.key, &event, request_id);
        let target = payload::text(target.as_ref()).unwrap_or_default();
        if &*target != SERVER {
            let sender = quoted(socket.client.as_str());
            let payload = object.replacing(&[("clientId", &sender), ("source", &sender)]);
            return self.find_extension(cx, call, target, payload, event.attachments);
        }
        let question = RunFunction {
            caller: socket.caller(self.peer),
            name: payload::text(name.as_ref()).unwrap_or_default().to_string(),
            args: payload::present(args).map(|args| args.as_str().to_owned()),
        };
        let trust = self.directory.trust.clone();
        let waiting = call.clone();
        let outcome = cx.session().ask(&trust, question, move |layer, session, reply| {
            layer.with_handler(session, |broker, cx| match reply {
                Ok(reply) => broker.function_ran(cx, &waiting, &reply),
                Err(_) => broker.call_failed(cx, &waiting, "Function call timed out."),
            });
            Ok(())
        });
        self.call_asked(cx, &call, outcome);
    }

    /// A session that has no key yet calls nobody; its ack has a call's shape (spec §6.1).
    pub(super) fn deny_call(&self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        if let Some(socket) = self.sockets.get(ns) {
            let call = Call::of(ns, socket.key, event, payload::object(event).get("requestId"));
            self.call_failed(cx, &call, "Access denied: Unauthorized.");
        }
    }

    fn find_extension(
        &mut self,
        cx: &mut Cx<'_, '_>,
        call: Call,
        target: ByteString,
        payload: RawJson,
        attachments: Vec<framing::Bytes>,
    ) {
        let registry = self.directory.registry.clone();
        let waiting = call.clone();
        let outcome =
            cx.session().ask(&registry, FindFunctionSocket(target.clone()), move |layer, session, found| {
                layer.with_handler(session, |broker, cx| match found.ok().flatten() {
                    Some((socket, extension)) => {
                        let question = CallExtension { socket, payload, attachments };
                        broker.call_extension(cx, waiting, &extension, question);
                    }
                    None => broker.call_failed(cx, &waiting, &format!("Target not found: {target}")),
                });
                Ok(())
            });
        self.call_asked(cx, &call, outcome);
    }

    fn call_extension(
        &mut self,
        cx: &mut Cx<'_, '_>,
        call: Call,
        extension: &Recipient<CallExtension>,
        question: CallExtension,
    ) {
        let waiting = call.clone();
        // The extension's session answers in time, or says that it did not; the slack is for its way.
        let timeout = self.directory.limits.function_timeout + std::time::Duration::from_secs(1);
        let due = cx.now() + self.directory.limits.function_timeout;
        let outcome =
            cx.session().ask_recipient(extension, question, timeout, move |layer, session, answer| {
                layer.with_handler(session, |broker, cx| match answer.ok().flatten() {
                    Some(Called::Answered(answer)) => broker.relay_answer(cx, &waiting, &answer),
                    Some(Called::TooLarge) => broker.call_failed(cx, &waiting, "Request too large."),
                    None => {
                        // Before that the extension has left.
                        if cx.now() >= due {
                            cx.session().metrics().limit_reached("llm.function_timeout");
                        }
                        broker.call_failed(cx, &waiting, "Function call timed out.");
                    }
                });
                Ok(())
            });
        self.call_asked(cx, &call, outcome);
    }

    fn call_asked(&self, cx: &mut Cx<'_, '_>, call: &Call, outcome: Result<(), TooManyQuestions>) {
        if outcome.is_err() {
            self.call_failed(cx, call, "Too many requests.");
        }
    }

    /// One of the server's own functions has ended.
    fn function_ran(&self, cx: &mut Cx<'_, '_>, call: &Call, reply: &FunctionReply) {
        if call.ack.is_none() {
            // Nobody reads the result, so a failure must be said otherwise (spec §1.3).
            return if let Some(message) = reply.failure() {
                self.call_failed(cx, call, &message)
            };
        }
        if self.still(&call.ns, call.key) {
            // Goes back as it came, whatever it is.
            let id = call.request_id.as_ref();
            let id = id.and_then(|id| RawValue::from_string(id.as_str().to_owned()).ok());
            self.ack(cx, &call.ns, call.ack, reply.to_ack(id.as_deref()).get());
        }
    }

    /// Verbatim, whatever it is (spec §6.1).
    fn relay_answer(&self, cx: &mut Cx<'_, '_>, call: &Call, answer: &AckArgs) {
        if let (Some(id), true) = (call.ack, self.still(&call.ns, call.key)) {
            let args: Vec<&str> = answer.args.iter().map(RawJson::as_str).collect();
            cx.ack_with(&call.ns, id, &args, &answer.attachments);
        }
    }

    fn call_failed(&self, cx: &mut Cx<'_, '_>, call: &Call, message: &str) {
        if !self.still(&call.ns, call.key) {
            return;
        }
        if call.ack.is_none() {
            let id = payload::text(call.request_id.as_ref());
            return self.error(cx, &call.ns, message, id.as_deref(), None);
        }
        let json = format!(
            "{{{}\"success\":false,\"error\":{{\"message\":{}}}}}",
            call.request_id(),
            quoted(message)
        );
        self.ack(cx, &call.ns, call.ack, &json);
    }

    /// Emits the call to this extension; the answer goes to whoever holds the other end.
    fn called(&mut self, cx: &mut Cx<'_, '_>, call: CallExtension, answer: oneshot::Sender<Called>) {
        let found = self
            .sockets
            .iter()
            .find(|(_, socket)| socket.ns == Namespace::FunctionCall && socket.key == call.socket);
        let Some((ns, socket)) = found else {
            return;
        };
        let names: SmallVec<[_; 2]> = socket.emit().names(MsgType::FunctionCall).collect();
        let attached: usize = call.attachments.iter().map(|bytes| bytes.len()).sum();
        let bytes = names.len() * (call.payload.as_str().len() + attached + ENVELOPE);
        let packets = names.len() * (1 + call.attachments.len());
        // It may be in the middle of answers to others, and must not lose its connection for this.
        if !cx.session().outbox().admits(names.len(), bytes, packets) {
            // The caller may have gone.
            let _ = answer.send(Called::TooLarge);
            return;
        }
        let due = cx.now() + self.directory.limits.function_timeout;
        let waiting = Arc::new(Mutex::new(Some(answer)));
        for name in names {
            let what = Awaited::Function(waiting.clone());
            // A function may end when its extension is connected anew, and another call waits there.
            let id = Some(self.directory.calls.fetch_add(1, Relaxed));
            // Not emitted: the answer's sender is dropped, which says so.
            let _ = cx.emit_with_ack(
                ns,
                &emit::wire_name(name),
                &[call.payload.as_str()],
                &call.attachments,
                WantedAck { what, due, id },
            );
        }
    }
}

impl Handler<CallExtension> for BrokerSession {
    type Result = ResponseFuture<Option<Called>>;

    fn handle(&mut self, call: CallExtension, ctx: &mut Self::Context) -> Self::Result {
        if let Some(moved) = self.moved_to() {
            return Box::pin(async move { moved.send(call).await.ok().flatten() });
        }
        let (answer, answered) = oneshot::channel();
        self.with_app(ctx, |layer, session| {
            layer.with_handler(session, |broker, cx| broker.called(cx, call, answer));
            Ok(())
        });
        Box::pin(async move { answered.await.ok() })
    }
}

//! Acks and errors of the broker (spec §1.3): one answer per event, as an ack if one was asked for;
//! a failure without an ack is an `ERROR` on the same socket.

use framing::{
    ByteString,
    json::{RawJson, quoted},
    socket::{Event, Namespace as WireNamespace},
};
use serde_json::Value;

use super::{Broker, Cx, Standing};
use crate::{emit, protocol::MsgType, session::ask::TooManyQuestions};

/// No answer came in time.
pub(super) const BUSY: &str = "Server is busy, try again later.";

/// Whether and how an event wants to be answered; outlives the event.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) ack: Option<u64>,
    payload: RawJson,
}

impl Reply {
    pub(super) fn to(event: &Event) -> Self {
        Self { ack: event.ack, payload: super::payload::object(event).clone() }
    }

    /// `requestId` of the payload, for an `ERROR`. Looked for when there is one.
    pub(super) fn request_id(&self) -> Option<ByteString> {
        super::payload::text(self.payload.get("requestId").as_ref())
    }
}

impl Broker {
    /// Answers with JSON text, if an ack was asked for.
    pub(super) fn ack(&self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, ack: Option<u64>, json: &str) {
        if let Some(id) = ack {
            cx.ack(ns, id, &[json]);
        }
    }

    /// Answers with a value, if an ack was asked for.
    pub(super) fn ack_value(&self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, ack: Option<u64>, value: &Value) {
        if ack.is_some() {
            self.ack(cx, ns, ack, &value.to_string());
        }
    }

    /// `{status:'error', message}`, or an `ERROR`.
    pub(super) fn fail(&self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event, message: &str) {
        self.refuse(cx, ns, &Reply::to(event), message);
    }

    /// The same, later.
    pub(super) fn refuse(&self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, reply: &Reply, message: &str) {
        match reply.ack {
            Some(id) => {
                let json = format!("{{\"status\":\"error\",\"message\":{}}}", quoted(message));
                cx.ack(ns, id, &[&json]);
            }
            None => self.error(cx, ns, message, reply.request_id().as_deref(), None),
        }
    }

    /// Emits an `ERROR` under the names of the socket's dialect. `extra` is JSON of further fields.
    pub(super) fn error(
        &self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        message: &str,
        request_id: Option<&str>,
        extra: Option<&str>,
    ) {
        let Some(socket) = self.sockets.get(ns) else {
            return;
        };
        for dialect in socket.emit().dialects() {
            if let Some(name) = MsgType::Error.wire(dialect) {
                let payload = emit::error_json(dialect, message, request_id, extra);
                cx.emit(ns, &emit::wire_name(name), &[&payload]);
            }
        }
    }

    /// Emits an event with one JSON argument under the names of the socket's dialect.
    pub(super) fn push(&self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, message: MsgType, payload: &str) {
        let Some(socket) = self.sockets.get(ns) else {
            return;
        };
        for name in socket.emit().names(message) {
            cx.emit(ns, &emit::wire_name(name), &[payload]);
        }
    }

    /// A name that means nothing here is no fault, but whoever waits for an ack must get one.
    pub(super) fn unknown_event(&self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        if event.ack.is_some() {
            self.fail(cx, ns, event, "Unknown event.");
        }
    }

    /// An event that could not be asked about: too many are open.
    pub(super) fn asked(
        &self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        reply: &Reply,
        outcome: Result<(), TooManyQuestions>,
    ) {
        if outcome.is_err() {
            self.refuse(cx, ns, reply, "Too many requests.");
        }
    }

    /// Whether the socket that asked is still there when an answer arrives.
    pub(super) fn still(&self, ns: &WireNamespace, key: crate::registry::SocketKey) -> bool {
        self.sockets.get(ns).is_some_and(|socket| socket.key == key && socket.standing != Standing::Joining)
    }
}

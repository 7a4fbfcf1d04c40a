//! The requester's side of an answer: text arrives as actor messages and leaves as wire streams of
//! node-socketio-stream (spec §5.5), everything else as plain events.

mod plain;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use framing::{
    json::{quoted, write_string},
    socket::{Event, Namespace as WireNamespace},
};
use log::{debug, info};

use super::{
    Awaited, Broker, BrokerSession, Cx, Socket,
    handshake::{Labels, literal},
    payload,
};
use crate::{
    llm_router::{Deliver, Delivery, Failure, Origin, Returned, ReturnedTo},
    protocol::stream_events,
    registry::SocketKey,
    session::socketio::{AckArgs, WantedAck},
    stream::{
        OutboundLimits, StreamInfo, StreamSender,
        outbound::{Command, WireId},
    },
};

/// An ack that comes later than this after the stall it should have prevented is not waited for.
const ACK_SLACK: Duration = Duration::from_secs(30);

/// While its peer owes a pong, a reader that is late is looked at again after this time.
const SILENCE: Duration = Duration::from_secs(1);

/// Outputs whose origin is known; what was not delivered of an older one is lost with its socket.
const REMEMBERED_OUTPUTS: usize = 256;

/// The `/llm` socket as a requester.
pub(super) struct Deliveries {
    ns: WireNamespace,
    socket: SocketKey,
    sender: StreamSender,
    /// Where the text of each output comes from; the newest last.
    origins: VecDeque<(Arc<str>, Origin)>,
    ack_timeout: Duration,
    /// It has no stream library.
    plain: bool,
    /// Reused by every call.
    commands: Vec<Command>,
}

impl Deliveries {
    pub(super) fn new(ns: WireNamespace, socket: SocketKey, limits: OutboundLimits, labels: &Labels) -> Self {
        let ack_timeout = limits.progress_stall + ACK_SLACK;
        let learned = labels.stream_event.clone().filter(|name| limits.event_names.contains(name));
        Self {
            ns,
            socket,
            sender: StreamSender::new(limits, learned),
            origins: VecDeque::new(),
            ack_timeout,
            plain: labels.plain_streams,
            commands: Vec::new(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sender.deadline()
    }

    /// Of an output that comes from elsewhere now, the newest origin counts.
    fn came_from(&mut self, output: &Arc<str>, origin: Origin) {
        let is_this = |(known, from): &(Arc<str>, Origin)| *from == origin && known == output;
        // Several may stream in turn.
        if self.origins.iter().rev().any(is_this) {
            return;
        }
        if self.origins.len() >= REMEMBERED_OUTPUTS {
            self.origins.pop_front();
        }
        self.origins.push_back((output.clone(), origin));
    }

    fn origin_of(&self, output: &str) -> Option<Origin> {
        self.origins.iter().rev().find(|(known, _)| **known == *output).map(|(_, origin)| *origin)
    }
}

impl Handler<Deliver> for BrokerSession {
    type Result = ();

    fn handle(&mut self, message: Deliver, ctx: &mut Self::Context) {
        if let Some(layer) = self.ended_app() {
            return layer.handler().bounce(message);
        }
        self.deliver(message, ctx, |layer, session, message| {
            layer.with_handler(session, |broker, cx| broker.delivered(cx, message));
            Ok(())
        });
    }
}

impl Broker {
    /// The requester's side of `/llm`, from its admission on.
    pub(super) fn deliveries_begin(&mut self, ns: &WireNamespace, key: SocketKey) {
        if let (None, Some(socket)) = (&self.deliveries, self.sockets.get(ns)) {
            let limits = self.directory.limits.outbound.clone();
            self.deliveries = Some(Box::new(Deliveries::new(ns.clone(), key, limits, &socket.labels)));
        }
    }

    fn delivered(&mut self, cx: &mut Cx<'_, '_>, message: Deliver) {
        // A delivery may be faster than the answer to the socket's own admission.
        if let Some((ns, key)) = self.llm_socket().map(|(ns, socket)| (ns.clone(), socket.key))
            && key == message.socket
        {
            self.deliveries_begin(&ns, key);
        }
        let Some(deliveries) =
            self.deliveries.as_mut().filter(|deliveries| deliveries.socket == message.socket)
        else {
            return self.bounce(message);
        };
        match message.delivery {
            Delivery::Text(text) if deliveries.plain => {
                let ns = deliveries.ns.clone();
                self.plain_text(cx, &ns, &text);
            }
            Delivery::StreamFailed { info, reason } if deliveries.plain => {
                let ns = deliveries.ns.clone();
                self.plain_failure(cx, &ns, &info, reason);
            }
            Delivery::Text(text) => {
                deliveries.came_from(&text.info.output_id, message.origin);
                self.with_sender(cx, |sender, now, out| sender.push(text, now, out));
            }
            Delivery::StreamFailed { info, reason } => {
                self.with_sender(cx, |sender, now, out| sender.fail(&info, reason, now, out));
            }
            Delivery::Finished(request) => {
                self.with_sender(cx, |sender, now, out| sender.finish(request.as_str(), None, now, out));
            }
            Delivery::Message { payload, .. } => {
                if let Some((ns, _)) = self.llm_socket() {
                    let ns = ns.clone();
                    cx.emit(&ns, &literal(stream_events::MESSAGE), &[&payload]);
                }
            }
            Delivery::Failed(failure) => self.request_failed(cx, &failure),
            // A room's to know, and only for a socket that is over.
            Delivery::Opened { .. } | Delivery::Fence => (),
        }
    }

    fn request_failed(&mut self, cx: &mut Cx<'_, '_>, failure: &Failure) {
        let Some((ns, _)) = self.llm_socket() else {
            return;
        };
        let ns = ns.clone();
        let extra = failure.error.as_ref().map(|error| format!("\"error\":{}", error.as_str()));
        self.error(cx, &ns, &failure.message, Some(failure.request_id.as_str()), extra.as_deref());
    }

    /// The stream library's events from the receiver (spec §5.5).
    pub(super) fn stream_event(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        name: &str,
        event: &Event,
    ) {
        let id = payload::text(event.args.first());
        match (name, id) {
            ("$stream-read", Some(id)) => {
                self.with_sender(cx, |sender, now, out| sender.on_read(&id, now, out))
            }
            ("$stream-end", Some(id)) => {
                self.with_sender(cx, |sender, now, out| sender.on_end(&id, now, out))
            }
            ("$stream-error", Some(id)) => {
                self.with_sender(cx, |sender, now, out| sender.on_error(&id, now, out))
            }
            // Streams towards the server are not part of the contract (rule 16).
            ("$stream-write", id) => {
                let text = format!("invalid stream id: {}", id.as_deref().unwrap_or_default());
                self.ack(cx, ns, event.ack, &quoted(&text));
            }
            _ => debug!(ns:%, event:% = name; "stream event without an id ignored"),
        }
    }

    pub(super) fn write_acked(&mut self, cx: &mut Cx<'_, '_>, wire: WireId, answer: Option<AckArgs>) {
        // No ack in time: the sender's own stall rule has dealt with it.
        let Some(AckArgs { args, .. }) = answer else {
            return;
        };
        let refused = payload::text(args.first());
        self.with_sender(cx, |sender, now, out| {
            sender.on_ack(wire, refused.as_deref().map_or(Ok(()), Err), now, out);
        });
    }

    pub(super) fn poll_deliveries(&mut self, cx: &mut Cx<'_, '_>) {
        let now = cx.now();
        if self.deliveries.as_ref().and_then(|deliveries| deliveries.deadline()).is_some_and(|due| due <= now)
        {
            // A connection that is dead ends with its ping, and its text is for the next one.
            match cx.session().is_silent() {
                true => self.with_sender(cx, |sender, now, _| sender.put_off(now, now + SILENCE)),
                false => self.with_sender(cx, |sender, now, out| sender.poll(now, out)),
            }
        }
    }

    fn with_sender(
        &mut self,
        cx: &mut Cx<'_, '_>,
        run: impl FnOnce(&mut StreamSender, Instant, &mut Vec<Command>),
    ) {
        let now = cx.now();
        let Some(deliveries) = &mut self.deliveries else {
            return;
        };
        let mut commands = std::mem::take(&mut deliveries.commands);
        run(&mut deliveries.sender, now, &mut commands);
        if let Some(reached) = deliveries.sender.take_reached() {
            for (limit, times) in reached.by_setting() {
                cx.session().metrics().limit_reached_times(limit, times);
            }
        }
        for command in commands.drain(..) {
            self.send_command(cx, command, now);
        }
        if let Some(deliveries) = &mut self.deliveries {
            deliveries.commands = commands;
        }
    }

    fn send_command(&mut self, cx: &mut Cx<'_, '_>, command: Command, now: Instant) {
        let Some(Deliveries { ns, ack_timeout, .. }) = self.deliveries.as_deref() else {
            return;
        };
        match command {
            Command::Announce { wire, event, info } => {
                // All three in one piece of memory.
                let mut text = String::with_capacity(event.len() + 42 + metadata_len(&info));
                write_string(&mut text, &event);
                let name = text.len();
                text.push_str("{\"$stream\":");
                text.push_str(&wire.json());
                text.push('}');
                let stream = text.len();
                write_metadata(&mut text, &info, "");
                let (before, metadata) = text.split_at(stream);
                let (name, stream) = before.split_at(name);
                cx.emit(ns, &literal(stream_events::STREAM), &[name, stream, metadata]);
            }
            Command::Write { wire, chunk } => {
                let id = wire.json();
                let args = [&*id, r#"{"_placeholder":true,"num":0}"#, "\"buffer\""];
                let what = Awaited::StreamWrite(wire);
                let wanted = WantedAck { what, due: now + *ack_timeout, id: None };
                cx.session().metrics().chunks_out.inc();
                let name = literal(stream_events::STREAM_WRITE);
                if cx.emit_with_ack(ns, &name, &args, &[chunk], wanted).is_err() {
                    // The session is closing, or owes us more acks than it may: either ends it.
                    cx.session().close(framing::close::CloseReason::SlowConsumer);
                }
            }
            Command::End { wire } => {
                cx.emit(ns, &literal(stream_events::STREAM_END), &[&wire.json()]);
            }
            Command::Error { wire, message } => {
                let message = quoted(&message);
                cx.emit(ns, &literal(stream_events::STREAM_ERROR), &[&wire.json(), &message]);
            }
            Command::Ended { info } => {
                let named = self.sockets.get(ns).is_some_and(|socket| socket.dialect.is_named());
                if named {
                    cx.emit(ns, &literal(stream_events::STREAMED_END), &[&metadata(&info)]);
                }
            }
            Command::Dropped { info, reason } => {
                cx.session().metrics().streams_dropped.inc();
                info!(request:% = info.request_id, stream:% = info.stream_id, reason:%; "text not delivered");
            }
        }
    }

    /// The `/llm` socket is over: what it has not been sent goes back, for the next one.
    pub(super) fn deliveries_end(&mut self, socket: &Socket) {
        let Some(mut deliveries) = self.deliveries.take() else {
            return;
        };
        let texts = deliveries.sender.take_undelivered();
        let parts: Vec<_> = texts
            .into_iter()
            .filter_map(|text| Some((deliveries.origin_of(&text.info.output_id)?, Delivery::Text(text))))
            .collect();
        if !parts.is_empty() {
            let returned = Returned { requester: socket.requester(), socket: socket.key, parts };
            #[expect(clippy::disallowed_methods, reason = "once per socket lifetime")]
            self.directory.router.do_send(returned);
        }
    }

    /// A delivery for a socket that is over goes back as well. A stream that has ended, in one way or
    /// the other, means nothing to another socket.
    fn bounce(&self, Deliver { socket, origin, delivery: part }: Deliver) {
        if !matches!(part, Delivery::StreamFailed { .. } | Delivery::Finished(_)) {
            #[expect(clippy::disallowed_methods, reason = "bounded by the mailbox that it was in")]
            self.directory.router.do_send(ReturnedTo { socket, origin, part });
        }
    }
}

/// All values are strings: an object could be taken for a stream (spec §5.5 rule 1).
fn metadata(info: &StreamInfo) -> String {
    metadata_with(info, "")
}

/// The same, and `more` members as JSON text.
fn metadata_with(info: &StreamInfo, more: &str) -> String {
    let mut json = String::with_capacity(metadata_len(info) + more.len());
    write_metadata(&mut json, info, more);
    json
}

/// About how long it is.
fn metadata_len(StreamInfo { stream_id, output_id, request_id, .. }: &StreamInfo) -> usize {
    72 + stream_id.len() + output_id.len() + request_id.len()
}

fn write_metadata(json: &mut String, info: &StreamInfo, more: &str) {
    let StreamInfo { stream_id, output_id, request_id, .. } = info;
    for (before, id) in
        [("{\"streamId\":", stream_id), (",\"outputId\":", output_id), (",\"requestId\":", request_id)]
    {
        json.push_str(before);
        write_string(json, id);
    }
    json.push_str(",\"source\":\"server\"");
    json.push_str(more);
    json.push('}');
}

/// The payload of a `message` event (spec §5.8). `data` is JSON text of a string.
pub(super) fn message_json(data: &str, request_id: &str, output_id: &str) -> String {
    let mut json = String::with_capacity(70 + data.len() + request_id.len() + output_id.len());
    json.push_str("{\"type\":0,\"data\":");
    json.push_str(data);
    json.push_str(",\"source\":\"server\",\"requestId\":");
    write_string(&mut json, request_id);
    json.push_str(",\"outputId\":");
    write_string(&mut json, output_id);
    json.push('}');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_holds_only_strings() {
        let info = StreamInfo::new("a\"b".into(), "o".into(), "{\"$stream\":1}".into());
        let json: serde_json::Value = serde_json::from_str(&metadata(&info)).unwrap();
        assert!(json.as_object().unwrap().values().all(serde_json::Value::is_string));
    }
}

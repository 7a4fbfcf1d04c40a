//! The target's side: what an extension sends in answer to requests (spec §5.3, §5.4, §5.8, §5.9).
//!
//! A stream event names its request, or is attributed by its output. While the router is asked,
//! the events of that output wait; the answer comes once per output.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use actix::prelude::*;
use framing::{
    ByteString,
    encoded::Encoded,
    json::{JsString, RawJson, quoted},
    socket::{Event, Namespace as WireNamespace},
};
use log::{debug, warn};

use super::{Broker, BrokerLimits, BrokerSession, Cx, deliveries::message_json, payload};
use crate::{
    emit,
    ids::{MAX_OUTPUT_ID, MAX_STREAM_ID, RequestId},
    llm_router::{
        AttributeOutput, Delivery, Failure, ForwardedRequest, Leftovers, OpenedRoute, RouteId, RouteNotice,
        ToTarget,
    },
    metrics::Metrics,
    protocol::{Dialect, MsgType, StreamEvent},
    registry::SocketKey,
    session::NoAnswer,
    stream::{Emit, InboundStreams, PieceKind, StreamStart},
    target::FanOut,
};

/// An extension's `/llm` socket.
pub(super) struct Answers {
    socket: SocketKey,
    streams: InboundStreams<RouteId>,
    fan_out: FanOut,
    outputs: Outputs,
    /// Reused by every call.
    emits: Vec<Emit<RouteId>>,
    max_unattributed: usize,
    /// What the router says of routes that are over, while outputs wait for their attribution: one of
    /// them may be theirs.
    endings: Vec<Ending>,
}

/// What the router says of a route that is over.
enum Ending {
    Failed { route: RouteId, reason: &'static str, failure: Option<Failure> },
    Closed(RouteId),
}

/// What an output's events are attributed to.
enum Attribution {
    Route(RouteId),
    /// The router is asked; these wait.
    Asked(Vec<StreamEventIn>),
    /// It answers nothing that is in flight.
    Nobody,
}

/// Outputs of this socket, the oldest forgotten first.
struct Outputs {
    known: HashMap<ByteString, Attribution>,
    order: std::collections::VecDeque<ByteString>,
    max: usize,
}

impl Outputs {
    fn set(&mut self, output: &ByteString, attribution: Attribution) {
        if self.known.insert(output.clone(), attribution).is_none() {
            self.order.push_back(output.clone());
            if self.order.len() > self.max
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }
}

/// One stream event or `message`, read.
struct StreamEventIn {
    kind: Kind,
    stream_id: ByteString,
    output_id: ByteString,
    request_id: Option<RequestId>,
}

enum Kind {
    Start {
        num_streams: Option<u64>,
    },
    Data {
        index: Option<u64>,
        kind: PieceKind,
        data: JsString,
    },
    End {
        is_final: bool,
    },
    /// `data` as JSON text of a string.
    Message {
        data: String,
    },
}

impl Answers {
    pub(super) fn new(socket: SocketKey, limits: &BrokerLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            socket,
            streams: InboundStreams::new(limits.inbound.clone()),
            fan_out: FanOut::new(socket, limits.fan_out, metrics),
            outputs: Outputs { known: HashMap::new(), order: Default::default(), max: limits.max_outputs },
            emits: Vec::new(),
            max_unattributed: limits.max_unattributed,
            endings: Vec::new(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.streams.deadline().into_iter().chain(self.fan_out.deadline()).min()
    }

    /// Ends what is over, once no output waits for its attribution.
    fn end_routes(&mut self, now: Instant) {
        if self.outputs.known.values().any(|known| matches!(known, Attribution::Asked(_))) {
            return;
        }
        for ending in std::mem::take(&mut self.endings) {
            match ending {
                Ending::Failed { route, reason, failure } => {
                    self.abort(route, reason, now);
                    if let Some(failure) = failure {
                        self.fan_out.send(route, &Delivery::Failed(failure), now);
                    }
                }
                Ending::Closed(route) => {
                    self.abort(route, "request is over", now);
                    if let Some(request) = self.fan_out.request_id(route).cloned() {
                        self.fan_out.send(route, &Delivery::Finished(request), now);
                    }
                    self.fan_out.close(route, now);
                }
            }
        }
    }

    /// The open streams of a route end as errors.
    fn abort(&mut self, route: RouteId, reason: &'static str, now: Instant) {
        self.streams.abort(|of| *of == route, reason, &mut self.emits);
        self.flush(now);
    }

    /// Sends what the streams have emitted to those who asked.
    fn flush(&mut self, now: Instant) {
        for emit in self.emits.drain(..) {
            match emit {
                Emit::Text { route, info, text, end } => self.fan_out.text(route, info, text, end, now),
                Emit::Fail { route, info, reason } => {
                    stream_closed(&self.fan_out, route);
                    self.fan_out.send(route, &Delivery::StreamFailed { info, reason }, now);
                }
            }
        }
    }
}

fn stream_closed(fan_out: &FanOut, route: RouteId) {
    if let Some(state) = fan_out.state(route) {
        // Saturating: a route that was adopted has lost count of streams that ended with a socket.
        let _ = state.open_streams.fetch_update(Relaxed, Relaxed, |open| Some(open.saturating_sub(1)));
        state.ended_once.store(true, Relaxed);
    }
}

impl Handler<ToTarget> for BrokerSession {
    type Result = ();

    fn handle(&mut self, message: ToTarget, ctx: &mut Self::Context) {
        self.deliver(message, ctx, |layer, session, message| {
            layer.with_handler(session, |broker, cx| broker.told(cx, message));
            Ok(())
        });
    }
}

impl Broker {
    /// The router speaks to this extension.
    fn told(&mut self, cx: &mut Cx<'_, '_>, message: ToTarget) {
        let now = cx.now();
        if let ToTarget::Ask { socket, .. } | ToTarget::Adopt { socket, .. } = &message {
            self.answers_for(cx, *socket);
        }
        let Some(answers) = &mut self.answers else {
            return;
        };
        match message {
            ToTarget::Ask { socket, route, request } if socket == answers.socket => {
                let id = route.route;
                if answers.fan_out.open(route.clone()) {
                    self.forward(cx, &route, &request);
                } else {
                    warn!(request:% = route.request_id; "extension holds too many routes");
                    self.refused(id, socket);
                }
            }
            ToTarget::Adopt { socket, routes } if socket == answers.socket => {
                for route in routes {
                    answers.fan_out.open(route);
                }
            }
            ToTarget::Ask { .. } | ToTarget::Adopt { .. } => (),
            ToTarget::Peers { route, requester, peers, gone } => {
                answers.fan_out.peers(route, &requester, peers, gone, now);
            }
            ToTarget::Returned { route, requester, socket, parts } => {
                answers.fan_out.returned(route, &requester, socket, parts, now);
            }
            ToTarget::Fail { route, reason, failure } => {
                answers.endings.push(Ending::Failed { route, reason, failure });
                answers.end_routes(now);
            }
            ToTarget::Close { route } => {
                answers.endings.push(Ending::Closed(route));
                answers.end_routes(now);
            }
        }
    }

    /// The target's side of `/llm`, from its admission on.
    pub(super) fn answers_begin(&mut self, cx: &mut Cx<'_, '_>, key: SocketKey) {
        if self.answers.is_none() {
            let metrics = cx.session().metrics_handle();
            self.answers = Some(Box::new(Answers::new(key, &self.directory.limits, metrics)));
        }
    }

    /// A request may arrive before the answer to the socket's own admission does.
    fn answers_for(&mut self, cx: &mut Cx<'_, '_>, key: SocketKey) {
        if self.llm_socket().is_some_and(|(_, socket)| socket.key == key) {
            self.answers_begin(cx, key);
        }
    }

    /// Emits the request under the names of the extension's dialect; dialect 2 gets the superset of
    /// spec §4.9.4.
    fn forward(&self, cx: &mut Cx<'_, '_>, route: &OpenedRoute, request: &ForwardedRequest) {
        let Some((ns, socket)) = self.llm_socket() else {
            return;
        };
        for dialect in socket.emit().dialects() {
            let Some(name) = MsgType::LlmRequest.wire(dialect) else {
                continue;
            };
            let payload = match dialect {
                Dialect::Numeric => request.payload.clone(),
                Dialect::Named => superset(route, request, socket.identity.as_str()),
            };
            let event =
                Encoded::event(ns, None, &emit::wire_name(name), &[payload.as_str()], &request.attachments);
            cx.session().push(event);
        }
    }

    fn refused(&self, route: RouteId, socket: SocketKey) {
        let message = "Too many pending requests.";
        #[expect(clippy::disallowed_methods, reason = "once per route")]
        self.directory.router.do_send(RouteNotice::Refused { route, socket, message });
    }

    /// Nothing more is taken for it, from here on.
    fn completed(&self, route: RouteId) {
        if let Some(state) = self.answers.as_ref().and_then(|answers| answers.fan_out.state(route)) {
            state.finish();
        }
        #[expect(clippy::disallowed_methods, reason = "once per route")]
        self.directory.router.do_send(RouteNotice::Completed { route });
    }

    /// `CLIENT_STREAM_*` (spec §5.4).
    pub(super) fn extension_stream(&mut self, cx: &mut Cx<'_, '_>, name: &str, event: &Event) {
        let Some(kind) = StreamEvent::from_extension(name) else {
            debug!(event:% = name; "unknown stream event ignored");
            return;
        };
        cx.session().metrics().chunks_in.inc();
        match read_stream_event(kind, event) {
            Some(event) => self.attribute(cx, event),
            None => debug!(event:% = name; "malformed stream event ignored"),
        }
    }

    /// `message` (spec §5.8, §4.4): a non-streamed answer, or a health check.
    pub(super) fn message(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        let object = payload::object(event);
        let [kind, data, request_id, output_id] = object.fields(["type", "data", "requestId", "outputId"]);
        if kind.and_then(|kind| kind.as_f64()).is_some_and(|kind| kind != 0.0) {
            return;
        }
        if payload::text(data.as_ref()).as_deref() == Some(HEALTH_QUESTION) {
            let request_id = payload::text(request_id.as_ref()).unwrap_or_default();
            let output_id = uuid::Uuid::new_v4().to_string();
            let answer = message_json(&quoted(HEALTH_ANSWER), &request_id, &output_id);
            cx.emit(ns, &super::handshake::literal("message"), &[&answer]);
            return;
        }
        let Some(data) = data.as_ref().and_then(stringified) else {
            return;
        };
        let output_id = payload::id(output_id.as_ref(), MAX_OUTPUT_ID)
            .unwrap_or_else(|| ByteString::from(uuid::Uuid::new_v4().to_string()));
        let request_id = payload::text(request_id.as_ref()).and_then(|id| RequestId::new(id).ok());
        let stream_id = ByteString::new();
        self.attribute(cx, StreamEventIn { kind: Kind::Message { data }, stream_id, output_id, request_id });
    }

    /// Finds the route of an event, or asks for it.
    fn attribute(&mut self, cx: &mut Cx<'_, '_>, event: StreamEventIn) {
        let Some(answers) = &mut self.answers else {
            debug!("answer from a socket that is no extension's ignored");
            return;
        };
        let named = event.request_id.as_ref().and_then(|id| answers.fan_out.route_of(id.as_str()));
        let known = answers.outputs.known.get_mut(&event.output_id);
        match (named, known) {
            (_, Some(Attribution::Asked(waiting))) => {
                if waiting.len() < answers.max_unattributed {
                    waiting.push(event);
                } else {
                    cx.session().metrics().limit_reached("limits.max_unattributed");
                }
            }
            (Some(route), known) => {
                if !matches!(known, Some(Attribution::Route(known)) if *known == route) {
                    let output_id = event.output_id.clone();
                    answers.outputs.set(&output_id, Attribution::Route(route));
                    #[expect(clippy::disallowed_methods, reason = "once per output")]
                    self.directory.router.do_send(RouteNotice::OutputStarted { route, output_id });
                }
                self.take(cx, route, event);
            }
            (None, Some(Attribution::Route(route))) => {
                let route = *route;
                self.take(cx, route, event);
            }
            (None, Some(Attribution::Nobody)) => (),
            (None, None) => self.ask_attribution(cx, event),
        }
    }

    fn ask_attribution(&mut self, cx: &mut Cx<'_, '_>, event: StreamEventIn) {
        let (Some(answers), Some((_, socket))) = (&self.answers, self.llm_socket()) else {
            return;
        };
        let key = answers.socket;
        let output_id = event.output_id.clone();
        let question = AttributeOutput {
            socket: key,
            target: socket.client.clone(),
            output_id: Some(output_id.clone()),
            request_id: event.request_id.clone(),
        };
        let router = self.directory.router.clone();
        let asked = output_id.clone();
        let outcome = cx.session().ask(&router, question, move |layer, session, answer| {
            layer.with_handler(session, |broker, cx| broker.attributed(cx, key, &asked, answer));
            Ok(())
        });
        if let (Ok(()), Some(answers)) = (outcome, &mut self.answers) {
            answers.outputs.set(&output_id, Attribution::Asked(vec![event]));
        }
    }

    fn attributed(
        &mut self,
        cx: &mut Cx<'_, '_>,
        key: SocketKey,
        output_id: &ByteString,
        answer: Result<Option<OpenedRoute>, NoAnswer>,
    ) {
        let Some(answers) = self.answers.as_mut().filter(|answers| answers.socket == key) else {
            return;
        };
        let Some(Attribution::Asked(waiting)) = answers.outputs.known.remove(output_id) else {
            return;
        };
        let route = answer.ok().flatten().filter(|route| answers.fan_out.open(route.clone()));
        match route {
            Some(route) => {
                answers.outputs.known.insert(output_id.clone(), Attribution::Route(route.route));
                for event in waiting {
                    self.take(cx, route.route, event);
                }
            }
            None => {
                debug!(output:% = output_id; "output answers no request; dropped");
                answers.outputs.known.insert(output_id.clone(), Attribution::Nobody);
            }
        }
        if let Some(answers) = &mut self.answers {
            answers.end_routes(cx.now());
        }
    }

    /// An event whose route is known.
    fn take(&mut self, cx: &mut Cx<'_, '_>, route: RouteId, event: StreamEventIn) {
        let now = cx.now();
        let Some(answers) = &mut self.answers else {
            return;
        };
        let over = answers.fan_out.state(route).is_none_or(|state| state.is_finished());
        let Some(request_id) = answers.fan_out.request_id(route).cloned().filter(|_| !over) else {
            // The request is over. What still comes for it is dropped.
            return;
        };
        if let Some(state) = answers.fan_out.state(route) {
            let millis = now.duration_since(self.directory.epoch).as_millis();
            state.touch(u64::try_from(millis).unwrap_or(u64::MAX));
        }
        let StreamEventIn { kind, stream_id, output_id, .. } = event;
        let Answers { streams, emits, fan_out, .. } = &mut **answers;
        let mut over = false;
        match kind {
            Kind::Start { num_streams } => {
                let request_id = ByteString::from(request_id.as_str());
                match streams.start(StreamStart { stream_id, output_id, request_id, num_streams, route }, now)
                {
                    Ok(()) => {
                        if let Some(state) = fan_out.state(route) {
                            state.open_streams.fetch_add(1, Relaxed);
                        }
                    }
                    Err(error) => {
                        debug!(error:%; "stream start ignored");
                        if matches!(error, crate::stream::StartError::TooMany { .. }) {
                            cx.session().metrics().limit_reached("streams.max_streams");
                        }
                    }
                }
            }
            Kind::Data { index, kind, data } => {
                if let Err(error) = streams.data(&stream_id, index, kind, &data, now, emits) {
                    debug!(error:%, stream:% = stream_id; "piece not taken");
                    let bound = match error {
                        crate::stream::DataError::UnknownStream => None,
                        crate::stream::DataError::StreamOverflow { .. } => Some("streams.max_stream_bytes"),
                        crate::stream::DataError::OutputOverflow { .. } => Some("streams.max_output_bytes"),
                    };
                    if let Some(bound) = bound {
                        cx.session().metrics().limit_reached(bound);
                        over = true;
                        let message = ByteString::from_static("Answer too large.");
                        let failure = Failure { request_id: request_id.clone(), message, error: None };
                        answers.flush(now);
                        answers.fan_out.send(route, &Delivery::Failed(failure), now);
                    }
                }
            }
            Kind::End { is_final } => match streams.end(&stream_id, is_final, now, emits) {
                Ok(of) => {
                    stream_closed(fan_out, of);
                    over = is_final;
                }
                Err(error) => debug!(error:%, stream:% = stream_id; "stream end ignored"),
            },
            Kind::Message { data } => {
                streams.finish_output(&output_id, emits);
                answers.flush(now);
                let payload = message_json(&data, request_id.as_str(), &output_id);
                let message = Delivery::Message { request_id: request_id.clone(), payload: payload.into() };
                answers.fan_out.send(route, &message, now);
                over = true;
            }
        }
        if let Some(answers) = &mut self.answers {
            answers.flush(now);
        }
        if over {
            self.completed(route);
        }
    }

    /// `ERROR` from an extension: its request has failed (spec §5.9).
    pub(super) fn extension_error(&mut self, cx: &mut Cx<'_, '_>, event: &Event) {
        let now = cx.now();
        let object = payload::object(event);
        let [message, error, request_id] = object.fields(["message", "error", "requestId"]);
        let request_id = payload::text(request_id.as_ref());
        let Some(answers) = &mut self.answers else {
            return;
        };
        let Some(route) = request_id.as_ref().and_then(|id| answers.fan_out.route_of(id)) else {
            debug!("error of an extension names no request of its own; dropped");
            return;
        };
        let Some(request_id) = answers.fan_out.request_id(route).cloned() else {
            return;
        };
        answers.abort(route, "generation failed", now);
        let message =
            payload::text(message.as_ref()).unwrap_or(ByteString::from_static("An unknown error occurred."));
        let failure = Failure { request_id, message, error: payload::present(error) };
        answers.fan_out.send(route, &Delivery::Failed(failure), now);
        self.completed(route);
    }

    pub(super) fn poll_answers(&mut self, cx: &mut Cx<'_, '_>) {
        let now = cx.now();
        if let Some(answers) = &mut self.answers {
            if answers.streams.deadline().is_some_and(|due| due <= now) {
                let Answers { streams, emits, .. } = &mut **answers;
                streams.poll(now, emits);
                answers.flush(now);
            }
            if answers.fan_out.deadline().is_some_and(|due| due <= now) {
                answers.fan_out.flush(now);
            }
        }
    }

    /// The extension's socket is gone: open streams end as errors, its requests wait for the grace, and
    /// what it has not delivered waits with the router.
    pub(super) fn answers_end(&mut self, cx: &mut Cx<'_, '_>) {
        let now = cx.now();
        if let Some(mut answers) = self.answers.take() {
            let Answers { streams, emits, .. } = &mut *answers;
            streams.abort(|_| true, "Target client disconnected", emits);
            answers.flush(now);
            answers.fan_out.flush(now);
            let leftovers = answers.fan_out.into_leftovers();
            if !leftovers.is_empty() {
                #[expect(clippy::disallowed_methods, reason = "once per socket lifetime")]
                self.directory.router.do_send(Leftovers(leftovers));
            }
        }
    }
}

const HEALTH_QUESTION: &str = "Connection active?";
const HEALTH_ANSWER: &str = "Yes,connection is fine.";

fn superset(route: &OpenedRoute, request: &ForwardedRequest, own: &str) -> RawJson {
    let asker =
        route.requesters.first().map(|(requester, _)| requester.identity.as_str()).unwrap_or_default();
    let payload = &request.payload;
    let text = {
        let [message, data, prompt] = payload.fields(["message", "data", "prompt"]);
        let inner = |name: &str| data.as_ref().and_then(|data| payload::present(data.get(name)));
        payload::present(message)
            .or_else(|| data.clone().filter(|data| data.as_js_string().is_some()))
            .or_else(|| inner("text"))
            .or_else(|| inner("prompt"))
            .or_else(|| payload::present(prompt))
            .unwrap_or(RawJson::from_static("\"\""))
    };
    let room = payload.get("targetRoom").filter(|room| room.as_js_string().is_some());
    let room = room.map_or_else(|| quoted(asker), |room| room.as_str().to_owned());
    payload.replacing(&[
        ("mode", "\"Immediate\""),
        ("targetRoom", &room),
        ("requestingIdentity", &quoted(asker)),
        ("currentRequest", payload.as_str()),
        ("context", "[]"),
        ("message", text.as_str()),
        ("target", &quoted(own)),
    ])
}

/// JavaScript's `String(value)` as JSON text, for what has one: `null` and what is missing have not.
fn stringified(data: &RawJson) -> Option<String> {
    use framing::json::Kind;
    match data.kind() {
        Kind::String => Some(data.as_str().to_owned()),
        Kind::Number | Kind::Bool => Some(quoted(data.as_str())),
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

fn read_stream_event(kind: StreamEvent, event: &Event) -> Option<StreamEventIn> {
    let object = payload::object(event);
    let [type_field, stream_id, output_id, request_id, index, data, num_streams, is_final] = object.fields([
        "type",
        "streamId",
        "outputId",
        "requestId",
        "chunkIndex",
        "data",
        "numStreams",
        "final",
    ]);
    let stream_id = payload::id(stream_id.as_ref(), MAX_STREAM_ID)?;
    let output_id = payload::id(output_id.as_ref(), MAX_OUTPUT_ID).unwrap_or_else(|| stream_id.clone());
    let request_id = payload::text(request_id.as_ref()).and_then(|id| RequestId::new(id).ok());
    // Where type and name disagree, START and END are ignored; of DATA the name wins (spec §5.4).
    let type_is = |expected: f64| type_field.as_ref().is_none_or(|field| field.as_f64() == Some(expected));
    let piece = |kind| {
        let data = data.as_ref()?;
        let data = match data.kind() {
            framing::json::Kind::Number => JsString::from(data.text()),
            _ => data.as_js_string()?,
        };
        Some(Kind::Data { index: index.as_ref().and_then(|index| index.as_u64()), kind, data })
    };
    let kind = match kind {
        StreamEvent::Start if type_is(1.0) => {
            Kind::Start { num_streams: num_streams.and_then(|n| n.as_u64()) }
        }
        StreamEvent::End if type_is(3.0) => {
            Kind::End { is_final: is_final.and_then(|v| v.as_bool()) == Some(true) }
        }
        StreamEvent::DataFirst => piece(PieceKind::First)?,
        StreamEvent::DataMiddle => piece(PieceKind::Middle)?,
        StreamEvent::DataLast => piece(PieceKind::Last)?,
        StreamEvent::DataRetry => piece(PieceKind::Retry)?,
        StreamEvent::DataFailed => piece(PieceKind::Failed)?,
        _ => return None,
    };
    Some(StreamEventIn { kind, stream_id, output_id, request_id })
}

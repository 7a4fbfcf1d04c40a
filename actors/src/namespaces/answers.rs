//! The target's side: what an extension is asked, and what it sends in answer (spec §5.3, §5.4, §5.8,
//! §5.9).
//!
//! ```text
//!   ToTarget ──► told ──► forward.rs ─────────────────────────► LLM_REQUEST to the extension
//!   CLIENT_STREAM_*, message ──► stream_event.rs ──► attribution.rs ──► take ──► fan-out
//!   ERROR ──► error.rs ──► end_routes ────────────────────────────────────────► fan-out
//! ```

mod attribution;
mod error;
mod forward;
mod stream_event;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use actix::prelude::*;
use framing::{
    ByteString,
    json::quoted,
    socket::{Event, Namespace as WireNamespace},
};
use log::{debug, warn};

use attribution::Outputs;
use stream_event::{Kind, StreamEventIn, read_stream_event, stringified};

use super::{Broker, BrokerLimits, BrokerSession, Cx, deliveries::message_json, payload};
use crate::{
    ids::MAX_OUTPUT_ID,
    llm_router::{
        Delivery, Failure, LeftRoom, Leftovers, OpenedRoute, RouteId, RouteNotice, RouteState, ToTarget,
    },
    metrics::{Metrics, Share},
    protocol::StreamEvent,
    registry::SocketKey,
    stream::{DataError, Emit, InboundStreams, StartError, StreamStart, inbound::STREAM_IDLE},
    target::FanOut,
};

/// An extension's `/llm` socket.
pub(super) struct Answers {
    socket: SocketKey,
    streams: InboundStreams<RouteId>,
    /// How many of them are open, for the gauge.
    open_streams: Share,
    fan_out: FanOut,
    outputs: Outputs,
    /// Reused by every call.
    emits: Vec<Emit<RouteId>>,
    /// Routes that are over, while outputs wait for their attribution: one of them may be theirs.
    endings: Vec<Ending>,
    /// The extension's last sign of life, on the router's clock; known once it was asked something.
    activity: Option<Arc<AtomicU64>>,
}

/// How a route is over.
enum Ending {
    /// The router says that it has failed.
    Failed { route: RouteId, reason: &'static str, failure: Option<Failure> },
    /// The router says that nothing more is taken for it; its readers may have to wait.
    Complete(RouteId),
    /// The router says that it needs nothing more of it.
    Closed(RouteId),
    /// The extension says that it has failed.
    Errored { route: RouteId, failure: Failure },
}

impl Answers {
    pub(super) fn new(socket: SocketKey, limits: &BrokerLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            socket,
            streams: InboundStreams::new(limits.inbound.clone()),
            open_streams: Share::of(&metrics.open_streams),
            fan_out: FanOut::new(socket, limits.fan_out, metrics),
            outputs: Outputs::new(limits),
            emits: Vec::new(),
            endings: Vec::new(),
            activity: None,
        }
    }

    /// As many events wait until it is known what they answer as may: what follows is not read before that.
    pub(super) fn holds_back(&self) -> bool {
        self.outputs.reached().is_some()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.streams.deadline().into_iter().chain(self.fan_out.deadline()).min()
    }

    /// Takes a route. False if it holds too many.
    fn open(&mut self, route: OpenedRoute) -> bool {
        self.activity.get_or_insert_with(|| route.state.target_activity.clone());
        self.fan_out.open(route)
    }

    /// A sign of life counts for all that the extension was asked, since it serves them one by one
    /// (spec §5.9).
    fn touch(&self, now: Instant, epoch: Instant) {
        if let Some(activity) = &self.activity {
            activity.store(millis_since(epoch, now), Relaxed);
        }
    }

    /// The open streams of a route end as errors.
    fn abort(&mut self, route: RouteId, reason: &'static str, now: Instant) {
        self.streams.abort(|of| *of == route, reason, &mut self.emits);
        self.flush(now);
    }

    /// Nothing more comes for those who asked.
    fn complete(&mut self, route: RouteId, now: Instant) {
        self.abort(route, "request is over", now);
        // Readers keep what they are to forget now of streams alone.
        let streamed = self.fan_out.state(route).is_some_and(RouteState::has_streamed);
        self.fan_out.complete(route, streamed, now);
    }

    fn is_over(&self, route: RouteId) -> bool {
        self.fan_out.state(route).is_none_or(|state| state.is_finished())
    }

    /// Sends what the streams have emitted to those who asked.
    fn flush(&mut self, now: Instant) {
        self.open_streams.set(self.streams.open_streams());
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
                if !answers.fan_out.admits(route.route) {
                    warn!(request:% = route.request_id; "extension holds too many routes");
                    return self.refused(route.route, socket, "Too many pending requests.");
                }
                if !self.forward(cx, &route, &request) {
                    warn!(request:% = route.request_id; "request is too large for the extension's outbox");
                    return self.refused(route.route, socket, "Request too large.");
                }
                if let Some(answers) = &mut self.answers {
                    answers.open(route);
                }
            }
            ToTarget::Adopt { socket, routes } if socket == answers.socket => {
                for route in routes {
                    answers.open(route);
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
                self.end_routes(cx);
            }
            ToTarget::Complete { route } => {
                answers.endings.push(Ending::Complete(route));
                self.end_routes(cx);
            }
            ToTarget::Close { route } => {
                answers.endings.push(Ending::Closed(route));
                self.end_routes(cx);
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

    fn refused(&self, route: RouteId, socket: SocketKey, message: &'static str) {
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

    /// Ends what is over, once no output waits for its attribution.
    fn end_routes(&mut self, cx: &mut Cx<'_, '_>) {
        if self.answers.as_ref().is_some_and(|answers| !answers.outputs.any_asked()) {
            self.end_all(cx);
        }
    }

    /// Ends what is over, whatever waits for its attribution.
    fn end_all(&mut self, cx: &mut Cx<'_, '_>) {
        let now = cx.now();
        let Some(answers) = self.answers.as_mut() else {
            return;
        };
        let mut errored = Vec::new();
        let mut endings = std::mem::take(&mut answers.endings);
        for ending in endings.drain(..) {
            match ending {
                Ending::Failed { route, reason, failure } => {
                    answers.abort(route, reason, now);
                    if let Some(failure) = failure {
                        answers.fan_out.send(route, &Delivery::Failed(failure), now);
                    }
                }
                Ending::Complete(route) => answers.complete(route, now),
                Ending::Closed(route) => {
                    answers.complete(route, now);
                    answers.fan_out.close(route, now);
                }
                Ending::Errored { route, failure } => {
                    if !answers.is_over(route) {
                        answers.abort(route, "generation failed", now);
                        answers.fan_out.send(route, &Delivery::Failed(failure), now);
                        errored.push(route);
                    }
                }
            }
        }
        answers.endings = endings;
        for route in errored {
            self.completed(route);
        }
    }

    /// `CLIENT_STREAM_*` (spec §5.4).
    pub(super) fn extension_stream(&mut self, cx: &mut Cx<'_, '_>, name: &str, event: &Event) {
        let Some(kind) = StreamEvent::from_extension(name) else {
            debug!(event:% = name; "unknown stream event ignored");
            return;
        };
        cx.session().metrics().chunks_in.inc();
        if let Some(answers) = &self.answers {
            answers.touch(cx.now(), self.directory.epoch);
        }
        match read_stream_event(kind, event) {
            Some(read) => self.attribute(cx, read, event),
            None => debug!(event:% = name; "malformed stream event ignored"),
        }
    }

    /// `message` (spec §5.8, §4.4): a non-streamed answer, or a health check.
    pub(super) fn message(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        let object = payload::object(event);
        let [kind, data, request_id, output_id] = object.fields(["type", "data", "requestId", "outputId"]);
        if kind.is_some_and(|kind| kind.as_f64() != Some(0.0)) {
            debug!("message of another type ignored");
            return;
        }
        if payload::text(data.as_ref()).as_deref() == Some(HEALTH_QUESTION) {
            let request_id = payload::text(request_id.as_ref()).unwrap_or_default();
            let output_id = uuid::Uuid::new_v4().to_string();
            let answer = message_json(&quoted(HEALTH_ANSWER), &request_id, &output_id);
            cx.emit(ns, &super::handshake::literal("message"), &[&answer]);
            return;
        }
        if let Some(answers) = &self.answers {
            answers.touch(cx.now(), self.directory.epoch);
        }
        let output_id = payload::id(output_id.as_ref(), MAX_OUTPUT_ID)
            .unwrap_or_else(|| ByteString::from(uuid::Uuid::new_v4().to_string()));
        let request_id = payload::text(request_id.as_ref());
        let kind = Kind::Message { data: stringified(data.as_ref()) };
        let stream_id = ByteString::new();
        let read = StreamEventIn { kind, stream_id, output_id: Some(output_id), request_id };
        self.attribute(cx, read, event);
    }

    /// An event whose route is known.
    fn take(&mut self, cx: &mut Cx<'_, '_>, route: RouteId, event: StreamEventIn) {
        let now = cx.now();
        let Some(answers) = &mut self.answers else {
            return;
        };
        let over = answers.is_over(route);
        let Some(request_id) = answers.fan_out.request_id(route).cloned().filter(|_| !over) else {
            // The request is over. What still comes for it is dropped.
            return;
        };
        if let Some(state) = answers.fan_out.state(route) {
            state.touch(millis_since(self.directory.epoch, now));
        }
        let StreamEventIn { kind, stream_id, output_id, .. } = event;
        let output_id = output_id.unwrap_or_default();
        let Answers { streams, emits, fan_out, .. } = &mut **answers;
        let mut over = false;
        match kind {
            Kind::Start { num_streams } => {
                let request_id = ByteString::from(request_id.as_str());
                let unread = fan_out.state(route).map(|state| state.unread.clone()).unwrap_or_default();
                let start = StreamStart { stream_id, output_id, request_id, unread, num_streams, route };
                match streams.start(start, now) {
                    Ok(()) => {
                        if let Some(state) = fan_out.state(route) {
                            state.open_streams.fetch_add(1, Relaxed);
                        }
                    }
                    Err(error) => {
                        debug!(error:%; "stream start ignored");
                        if matches!(error, StartError::TooMany { .. }) {
                            cx.session().metrics().limit_reached("streams.max_streams");
                        }
                    }
                }
            }
            Kind::Data { index, kind, data } => {
                if let Err(error) = streams.data(&stream_id, index, kind, &data, now, emits) {
                    debug!(error:%, stream:% = stream_id; "piece not taken");
                    let bound = match error {
                        DataError::UnknownStream => None,
                        DataError::StreamOverflow { .. } => Some("streams.max_stream_bytes"),
                        DataError::OutputOverflow { .. } => Some("streams.max_output_bytes"),
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

    pub(super) fn poll_answers(&mut self, cx: &mut Cx<'_, '_>) {
        let now = cx.now();
        if let Some(answers) = &mut self.answers {
            if answers.streams.deadline().is_some_and(|due| due <= now) {
                let Answers { streams, emits, .. } = &mut **answers;
                streams.poll(now, emits);
                let idle = |emit: &&Emit<RouteId>| matches!(emit, Emit::Fail { reason: STREAM_IDLE, .. });
                let idle = emits.iter().filter(idle).count();
                cx.session().metrics().limit_reached_times("streams.idle_timeout", idle as u64);
                answers.flush(now);
            }
            if answers.fan_out.deadline().is_some_and(|due| due <= now) {
                answers.fan_out.flush(now);
            }
        }
    }

    /// The extension's socket is gone: open streams end as errors, its requests wait for the grace, and
    /// what it has not delivered waits with the router. Returns the rooms in which it was to answer.
    pub(super) fn answers_end(&mut self, cx: &mut Cx<'_, '_>) -> Vec<LeftRoom> {
        let now = cx.now();
        // What waits for its attribution is lost with the socket; what is over is not.
        self.end_all(cx);
        let Some(mut answers) = self.answers.take() else {
            return Vec::new();
        };
        let Answers { streams, emits, .. } = &mut *answers;
        streams.abort(|_| true, "Target client disconnected", emits);
        answers.flush(now);
        answers.fan_out.flush(now);
        let rooms = answers.fan_out.leave_rooms();
        let leftovers = answers.fan_out.into_leftovers();
        if !leftovers.is_empty() {
            #[expect(clippy::disallowed_methods, reason = "once per socket lifetime")]
            self.directory.router.do_send(Leftovers(leftovers));
        }
        rooms
    }
}

const HEALTH_QUESTION: &str = "Connection active?";
const HEALTH_ANSWER: &str = "Yes,connection is fine.";

fn millis_since(epoch: Instant, now: Instant) -> u64 {
    u64::try_from(now.duration_since(epoch).as_millis()).unwrap_or(u64::MAX)
}

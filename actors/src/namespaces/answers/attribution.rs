//! Which request an event answers (spec §5.4 "Attribution").
//!
//! START and `message` name their request, or are attributed by their output; what follows in a
//! stream goes where its START went. While the router is asked, the events of that output wait; the
//! answer comes once per output.

use std::{collections::VecDeque, sync::Arc};

use framing::socket::Event;
use log::debug;

use super::{
    super::{Broker, BrokerLimits, Cx},
    Answers,
    stream_event::{Kind, StreamEventIn},
};
use crate::{
    ids::RequestId,
    llm_router::{AttributeOutput, OpenedRoute, RouteId, RouteNotice},
    maps::FastMap,
    metrics::Metrics,
    registry::SocketKey,
    session::NoAnswer,
};

/// What an output's events are attributed to.
pub(super) enum Attribution {
    Route(RouteId),
    /// The router is asked; these wait.
    Asked(Held),
    /// It answers nothing that is in flight.
    Nobody,
}

/// The events of one output that wait.
pub(super) struct Held {
    events: Vec<StreamEventIn>,
    /// Of the arguments and attachments that they came with, which they keep.
    bytes: usize,
}

/// Outputs of one socket, the oldest forgotten first.
pub(super) struct Outputs {
    known: FastMap<Arc<str>, Attribution>,
    order: VecDeque<Arc<str>>,
    max: usize,
    /// What waits for the router's answers: an event at least, while it is asked about one of them.
    waiting: Waiting,
    most: Waiting,
}

/// How many events wait, of all outputs, and the bytes that they keep.
#[derive(Clone, Copy, Default)]
struct Waiting {
    events: usize,
    bytes: usize,
}

impl Waiting {
    fn of(attribution: &Attribution) -> Self {
        let Attribution::Asked(held) = attribution else { return Self::default() };
        Self { events: held.events.len(), bytes: held.bytes }
    }

    fn add(&mut self, more: Self) {
        self.events += more.events;
        self.bytes += more.bytes;
    }

    fn remove(&mut self, fewer: Self) {
        self.events -= fewer.events;
        self.bytes -= fewer.bytes;
    }
}

impl Outputs {
    pub(super) fn new(limits: &BrokerLimits) -> Self {
        Self {
            known: FastMap::default(),
            order: VecDeque::new(),
            max: limits.max_outputs,
            waiting: Waiting::default(),
            most: Waiting { events: limits.max_unattributed, bytes: limits.max_unattributed_bytes },
        }
    }

    /// The bound that what waits has reached, if it has reached one.
    pub(super) fn reached(&self) -> Option<&'static str> {
        if !self.any_asked() {
            None
        } else if self.waiting.events >= self.most.events {
            Some("limits.max_unattributed")
        } else {
            (self.waiting.bytes >= self.most.bytes).then_some("limits.max_payload")
        }
    }

    /// Whether the router is asked about one of them.
    pub(super) fn any_asked(&self) -> bool {
        self.waiting.events > 0
    }

    /// Returns what had to be forgotten for it.
    fn set(&mut self, output: Arc<str>, attribution: Attribution) -> Option<Attribution> {
        self.waiting.add(Waiting::of(&attribution));
        if let Some(before) = self.known.insert(output.clone(), attribution) {
            self.waiting.remove(Waiting::of(&before));
            return None;
        }
        self.order.push_back(output);
        let oldest = self.order.pop_front_if(|_| self.known.len() > self.max)?;
        let forgotten = self.known.remove(&oldest)?;
        self.waiting.remove(Waiting::of(&forgotten));
        Some(forgotten)
    }

    /// The router has answered: what waited for that. None: the output was forgotten meanwhile.
    fn answered(&mut self, output: &str, attribution: Attribution) -> Option<Vec<StreamEventIn>> {
        let known = self.known.get_mut(output).filter(|known| matches!(known, Attribution::Asked(_)))?;
        let before = std::mem::replace(known, attribution);
        self.waiting.remove(Waiting::of(&before));
        match before {
            Attribution::Asked(held) => Some(held.events),
            Attribution::Route(_) | Attribution::Nobody => None,
        }
    }

    /// An event waits for the router's answer with those of its output. False if none of those wait.
    fn wait(&mut self, event: StreamEventIn, bytes: usize) -> bool {
        let Some(held) = self.held_with(&event) else {
            debug!(stream:% = event.stream_id; "piece of an unknown stream ignored");
            return false;
        };
        held.events.push(event);
        held.bytes += bytes;
        self.waiting.add(Waiting { events: 1, bytes });
        true
    }

    /// The events with which one of a stream that is not open has to wait: those of its output, or
    /// those among which its START is.
    fn held_with(&mut self, event: &StreamEventIn) -> Option<&mut Held> {
        fn asked(known: &mut Attribution) -> Option<&mut Held> {
            match known {
                Attribution::Asked(held) => Some(held),
                Attribution::Route(_) | Attribution::Nobody => None,
            }
        }
        let is_start = |earlier: &StreamEventIn| {
            matches!(earlier.kind, Kind::Start { .. }) && earlier.stream_id == event.stream_id
        };
        match &event.output_id {
            Some(output) => self.known.get_mut(&**output).and_then(asked),
            None if !self.any_asked() => None,
            None => self.known.values_mut().filter_map(asked).find(|held| held.events.iter().any(is_start)),
        }
    }
}

impl Answers {
    /// Remembers an output; the oldest may have to be forgotten for it. Of a request that is over nobody needs it any
    /// more.
    fn remember(&mut self, output: Arc<str>, attribution: Attribution, metrics: &Metrics) {
        let missed = match self.outputs.set(output, attribution) {
            Some(Attribution::Route(route)) => !self.is_over(route),
            Some(Attribution::Asked(_)) => true,
            Some(Attribution::Nobody) | None => false,
        };
        if missed {
            metrics.limit_reached("limits.max_outputs");
        }
    }
}

impl Broker {
    /// Takes an event, once its route is known. `source`: what it was read from.
    pub(super) fn attribute(&mut self, cx: &mut Cx<'_, '_>, event: StreamEventIn, source: &Event) {
        let Some(answers) = &mut self.answers else {
            debug!("answer from a socket that is no extension's ignored");
            return;
        };
        let output_id = match (&event.kind, &event.output_id) {
            (Kind::Start { .. } | Kind::Message { .. }, Some(output_id)) => output_id.clone(),
            _ => return self.continue_stream(cx, event, source),
        };
        let named = event.request_id.as_ref().and_then(|id| answers.fan_out.route_of(id));
        let known = answers.outputs.known.get(&*output_id);
        match (named, known) {
            (_, Some(Attribution::Asked(_))) => self.wait(cx, event, source),
            (Some(route), known) => {
                if !matches!(known, Some(Attribution::Route(known)) if *known == route) {
                    let output_id: Arc<str> = (*output_id).into();
                    answers.remember(output_id.clone(), Attribution::Route(route), cx.session().metrics());
                    // A message is the whole answer: that the request is complete says more.
                    if !matches!(event.kind, Kind::Message { .. }) {
                        #[expect(clippy::disallowed_methods, reason = "once per output")]
                        self.directory.router.do_send(RouteNotice::OutputStarted { route, output_id });
                    }
                }
                self.take(cx, route, event);
            }
            (None, Some(Attribution::Route(route))) => {
                let route = *route;
                self.take(cx, route, event);
            }
            (None, Some(Attribution::Nobody)) => (),
            (None, None) => self.ask_attribution(cx, &output_id, event, source),
        }
    }

    /// DATA and END go where the START of their stream went; without one they mean nothing.
    fn continue_stream(&mut self, cx: &mut Cx<'_, '_>, event: StreamEventIn, source: &Event) {
        let Some(answers) = &mut self.answers else {
            return;
        };
        if let Some(route) = answers.streams.route_of(&event.stream_id).copied() {
            return self.take(cx, route, event);
        }
        self.wait(cx, event, source);
    }

    /// The event waits with those of its output, if they wait.
    fn wait(&mut self, cx: &mut Cx<'_, '_>, event: StreamEventIn, source: &Event) {
        if let Some(answers) = &mut self.answers
            && answers.outputs.wait(event, source.bytes())
        {
            self.one_more_waits(cx);
        }
    }

    fn one_more_waits(&mut self, cx: &mut Cx<'_, '_>) {
        if let Some(bound) = self.answers.as_ref().and_then(|answers| answers.outputs.reached()) {
            cx.session().metrics().limit_reached(bound);
            cx.hold_back();
        }
    }

    fn ask_attribution(
        &mut self,
        cx: &mut Cx<'_, '_>,
        output_id: &str,
        event: StreamEventIn,
        source: &Event,
    ) {
        let (Some(answers), Some((_, socket))) = (&self.answers, self.llm_socket()) else {
            return;
        };
        let key = answers.socket;
        let output_id: Arc<str> = output_id.into();
        let question = AttributeOutput {
            socket: key,
            target: socket.client.clone(),
            output_id: output_id.clone(),
            request_id: event.request_id.as_ref().and_then(|id| RequestId::new(id).ok()),
        };
        let router = self.directory.router.clone();
        let asked = output_id.clone();
        let outcome = cx.session().ask(&router, question, move |layer, session, answer| {
            layer.with_handler(session, |broker, cx| broker.attributed(cx, key, &asked, answer));
            Ok(())
        });
        if let (Ok(()), Some(answers)) = (outcome, &mut self.answers) {
            let held = Held { events: vec![event], bytes: source.bytes() };
            answers.remember(output_id, Attribution::Asked(held), cx.session().metrics());
            self.one_more_waits(cx);
        }
    }

    fn attributed(
        &mut self,
        cx: &mut Cx<'_, '_>,
        key: SocketKey,
        output_id: &str,
        answer: Result<Option<OpenedRoute>, NoAnswer>,
    ) {
        let Some(answers) = self.answers.as_mut().filter(|answers| answers.socket == key) else {
            return;
        };
        let route =
            answer.ok().flatten().filter(|route| answers.open(route.clone())).map(|route| route.route);
        let attribution = route.map_or(Attribution::Nobody, Attribution::Route);
        let waiting = answers.outputs.answered(output_id, attribution).unwrap_or_default();
        match route {
            Some(route) => waiting.into_iter().for_each(|event| self.take(cx, route, event)),
            None => debug!(output:% = output_id; "output answers no request; dropped"),
        }
        self.end_routes(cx);
    }
}

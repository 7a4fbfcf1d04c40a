//! The built-in demo extension: a target that lives in this process (spec §5.1 rule 5), so that a
//! newcomer sees tokens stream before there is any SillyTavern.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use bytes::Bytes;
use framing::json::RawJson;
use log::warn;

use crate::{
    llm_router::{Delivery, ForwardedRequest, LlmRouter, OpenedRoute, RouteId, RouteNotice, ToTarget},
    metrics::Metrics,
    registry::SocketKey,
    stream::StreamInfo,
    target::{FanOut, FanOutLimits},
};

/// Its id: it has no settings file, and nobody may connect under it.
pub const DEMO_ID: &str = "SillyTavern-demo";

/// Longest part of a prompt that comes back, in characters.
const QUOTED: usize = 400;

/// See the module's documentation.
pub struct Demo {
    fan_out: FanOut,
    answers: BTreeMap<RouteId, Answer>,
    router: Addr<LlmRouter>,
    pace: Duration,
    epoch: Instant,
    ticking: Option<SpawnHandle>,
}

struct Answer {
    info: Arc<StreamInfo>,
    tokens: VecDeque<Bytes>,
}

impl Demo {
    /// A demo that sends one token per `pace` and answer.
    pub fn new(
        router: Addr<LlmRouter>,
        socket: SocketKey,
        pace: Duration,
        limits: FanOutLimits,
        epoch: Instant,
        metrics: Arc<Metrics>,
    ) -> Self {
        let fan_out = FanOut::new(socket, limits, metrics);
        Self { fan_out, answers: BTreeMap::new(), router, pace, epoch, ticking: None }
    }

    fn begin(
        &mut self,
        socket: SocketKey,
        route: OpenedRoute,
        request: &ForwardedRequest,
        ctx: &mut Context<Self>,
    ) {
        let id = route.route;
        if !self.fan_out.open(route.clone()) {
            warn!(request:% = route.request_id; "the demo has too many requests");
            let message = "Too many pending requests.";
            #[expect(clippy::disallowed_methods, reason = "once per route")]
            self.router.do_send(RouteNotice::Refused { route: id, socket, message });
            return;
        }
        let output_id = uuid::Uuid::new_v4().to_string();
        let stream_id = uuid::Uuid::new_v4().to_string();
        let request_id = route.request_id.as_str().into();
        let info = StreamInfo::new(stream_id.into(), output_id.into(), request_id);
        let info = Arc::new(info.of(&route.state.unread));
        let tokens = tokens(&answer_text(&prompt(&request.payload)));
        self.answers.insert(id, Answer { info, tokens });
        self.keep_ticking(ctx);
    }

    /// While an answer is being given, or waits for a requester.
    fn keep_ticking(&mut self, ctx: &mut Context<Self>) {
        let busy = !self.answers.is_empty() || self.fan_out.deadline().is_some();
        match &self.ticking {
            None if busy => self.ticking = Some(ctx.run_interval(self.pace, Self::tick)),
            Some(ticking) if !busy => {
                ctx.cancel_future(*ticking);
                self.ticking = None;
            }
            None | Some(_) => (),
        }
    }

    fn complete(&mut self, route: RouteId, now: Instant) {
        self.abort(route, "request is over", now);
        self.fan_out.complete(route, true, now);
    }

    fn abort(&mut self, route: RouteId, reason: &'static str, now: Instant) {
        if let Some(answer) = self.answers.remove(&route) {
            self.fan_out.send(route, &Delivery::StreamFailed { info: answer.info, reason }, now);
        }
    }

    /// The next token of every answer.
    fn tick(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        self.fan_out.flush(now);
        let mut done = Vec::new();
        for (id, answer) in &mut self.answers {
            let Some(token) = answer.tokens.pop_front() else {
                continue;
            };
            let end = answer.tokens.is_empty();
            if let Some(state) = self.fan_out.state(*id) {
                let millis = now.duration_since(self.epoch).as_millis();
                state.touch(u64::try_from(millis).unwrap_or(u64::MAX));
            }
            self.fan_out.text(*id, answer.info.clone(), token, end, now);
            if end {
                done.push(*id);
            }
        }
        for id in done {
            self.answers.remove(&id);
            self.completed(id);
        }
        self.keep_ticking(ctx);
    }

    fn completed(&self, route: RouteId) {
        #[expect(clippy::disallowed_methods, reason = "once per route")]
        self.router.do_send(RouteNotice::Completed { route });
    }
}

impl Actor for Demo {
    type Context = Context<Self>;
}

impl Handler<ToTarget> for Demo {
    type Result = ();

    fn handle(&mut self, message: ToTarget, ctx: &mut Self::Context) {
        let now = Instant::now();
        match message {
            ToTarget::Ask { socket, route, request } => self.begin(socket, route, &request, ctx),
            ToTarget::Adopt { .. } => (),
            ToTarget::Peers { route, requester, peers, gone } => {
                self.fan_out.peers(route, &requester, peers, gone, now);
            }
            ToTarget::Returned { route, requester, socket, parts } => {
                self.fan_out.returned(route, &requester, socket, parts, now);
            }
            ToTarget::Fail { route, reason, failure } => {
                self.abort(route, reason, now);
                if let Some(failure) = failure {
                    self.fan_out.send(route, &Delivery::Failed(failure), now);
                }
            }
            ToTarget::Complete { route } => self.complete(route, now),
            ToTarget::Close { route } => {
                self.complete(route, now);
                self.fan_out.close(route, now);
            }
        }
        self.keep_ticking(ctx);
    }
}

fn prompt(payload: &RawJson) -> String {
    let [message, data, prompt] = payload.fields(["message", "data", "prompt"]);
    let text = |field: Option<RawJson>| Some(field?.as_text()?.to_string());
    let inner = data.as_ref().and_then(|data| data.get("text").or_else(|| data.get("prompt")));
    text(message).or_else(|| text(data)).or_else(|| text(inner)).or_else(|| text(prompt)).unwrap_or_default()
}

fn answer_text(prompt: &str) -> String {
    let mut quoted: String = prompt.trim().chars().take(QUOTED).collect();
    if quoted.len() < prompt.trim().len() {
        quoted.push('…');
    }
    let (words, characters) = (prompt.split_whitespace().count(), prompt.trim().chars().count());
    format!(
        "Hello! 👋 You said: “{quoted}” ({words} words, {characters} characters).\n\n\
         I am the demo extension that is built into NewAge Broker. Each of these words travels as a piece \
         of a stream, as the words of your character will once a SillyTavern is connected. 🚀\n\n\
         你好！我是 NewAge Broker 内置的演示扩展。连接 SillyTavern 之后，这里就会逐字显示你的角色的回答。🎉"
    )
}

/// Words with the space behind them; Chinese by the character.
fn tokens(text: &str) -> VecDeque<Bytes> {
    let mut tokens = VecDeque::new();
    let mut token = String::new();
    let mut spaced = false;
    for character in text.chars() {
        let wide = ('\u{2e80}'..='\u{ffef}').contains(&character);
        if !token.is_empty() && (wide || (spaced && !character.is_whitespace())) {
            tokens.push_back(Bytes::from(std::mem::take(&mut token)));
        }
        spaced = wide || character.is_whitespace();
        token.push(character);
    }
    if !token.is_empty() {
        tokens.push_back(Bytes::from(token));
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_text() {
        for prompt in ["", "hi", "你好 😀 wörld", "a\nb  c"] {
            let text = answer_text(prompt);
            let tokens = tokens(&text);
            assert!(tokens.len() > 40);
            let joined: Vec<u8> = tokens.iter().flat_map(|token| token.to_vec()).collect();
            assert_eq!(String::from_utf8(joined).unwrap(), text);
        }
    }
}

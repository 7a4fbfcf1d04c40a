//! The two sides of an LLM request, each behind a real wire: an [`App`] that asks and reads, and the
//! tokens of an extension as spec §5.3 has them.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file compiles this for itself and uses a part of it"
)]

use std::{collections::VecDeque, fmt::Write as _};

use newage_broker::config::Config;
use serde_json::{Value, json};

use crate::support::{Broker, Frame, PATIENCE, Peer, auth, within};

pub const LLM: &str = "/llm";
pub const EXTENSION: &str = "SillyTavern-8000";
pub const SECOND_EXTENSION: &str = "SillyTavern-8001";

/// An event as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: Value,
    pub args: Vec<Value>,
    /// The arguments, as text.
    pub raw: String,
    pub attachments: Vec<Vec<u8>>,
    pub ack: Option<u64>,
}

impl Event {
    pub fn is(&self, name: impl Into<Value>) -> bool {
        self.name == name.into()
    }

    /// The first argument.
    pub fn payload(&self) -> &Value {
        self.args.first().unwrap_or(&Value::Null)
    }
}

/// What one packet of a namespace was.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    Event(Event),
    Ack { id: u64, args: Vec<Value> },
    Disconnect,
    Other(String),
}

/// One stream as a receiver sees it.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub id: String,
    pub info: Value,
    pub text: Vec<u8>,
    pub writes: Vec<Vec<u8>>,
    pub ended: bool,
    pub error: Option<String>,
}

impl Stream {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.text).expect("whole characters")
    }
}

/// One `/llm` socket, of an app or of an extension, and the receiver of node-socketio-stream in it.
pub struct App {
    pub peer: Peer,
    /// The inner name that it listens to; none for a program that reads no streams.
    pub listens: Option<&'static str>,
    /// The browser build reads before it acks.
    pub reads_first: bool,
    /// Streams in the order announced, under the name that it listens to.
    pub streams: Vec<Stream>,
    /// The text of all streams, in the order written.
    pub text: Vec<u8>,
    /// Events that were not streams.
    pub events: VecDeque<Event>,
    next_ack: u64,
}

impl App {
    pub fn over(peer: Peer) -> Self {
        Self {
            peer,
            listens: Some("streamed_data"),
            reads_first: false,
            streams: Vec::new(),
            text: Vec::new(),
            events: VecDeque::new(),
            next_ack: 1000,
        }
    }

    /// Joins `/llm` in dialect 1, its inner stream name declared, so that nothing is probed.
    pub async fn join(broker: &Broker, client: &str) -> Self {
        let mut handshake = auth(client);
        handshake["streamEvent"] = json!("streamed_data");
        Self::join_as(broker, handshake).await
    }

    pub async fn join_as(broker: &Broker, handshake: Value) -> Self {
        let mut peer = Peer::connect_ws(broker).await;
        peer.join(LLM, handshake).await;
        Self::over(peer)
    }

    pub async fn join_polling(broker: &Broker, handshake: Value) -> Self {
        let mut peer = Peer::open_polling(broker).await;
        peer.join(LLM, handshake).await;
        Self::over(peer)
    }

    /// Asks in dialect 1 and waits for the ack.
    pub async fn ask(&mut self, target: &str, request: &str) -> Value {
        self.ask_with(json!({"target": target, "requestId": request, "message": "hi"})).await
    }

    pub async fn ask_with(&mut self, payload: Value) -> Value {
        self.ask_as(json!(9), payload).await
    }

    pub async fn ask_as(&mut self, name: Value, payload: Value) -> Value {
        let id = self.next_ack;
        self.next_ack += 1;
        self.peer.send_text(&format!("42/llm,{id}[{name},{payload}]")).await;
        self.ack(id).await
    }

    /// The ack of that id; events that come before it are kept or read.
    pub async fn ack(&mut self, wanted: u64) -> Value {
        loop {
            match self.packet().await {
                Packet::Ack { id, args } if id == wanted => {
                    let [arg] = <[Value; 1]>::try_from(args).expect("an ack carries exactly one argument");
                    return arg;
                }
                Packet::Event(event) => self.take(event).await,
                other => panic!("instead of ack {wanted}: {other:?}"),
            }
        }
    }

    /// Asks, and the ack is ok.
    pub async fn asks(&mut self, target: &str, request: &str) {
        assert_eq!(self.ask(target, request).await, forwarded());
    }

    /// The next packet of `/llm`.
    pub async fn packet(&mut self) -> Packet {
        let Frame::Text(text) = self.peer.next().await.clone() else { panic!("a head is text") };
        let Some(rest) = text.strip_prefix('4') else { return Packet::Other(text) };
        let (kind, rest) = rest.split_at(1);
        let (count, rest) = match kind {
            "5" | "6" => {
                rest.split_once('-').map(|(n, rest)| (n.parse().expect("a count"), rest)).expect("a count")
            }
            _ => (0, rest),
        };
        let Some(rest) = rest.strip_prefix("/llm,") else { return Packet::Other(text) };
        let at = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (id, raw) = rest.split_at(at);
        let id = id.parse().ok();
        let raw = raw.to_owned();
        let mut attachments = Vec::new();
        for _ in 0..count {
            match self.peer.next().await {
                Frame::Binary(bytes) => attachments.push(bytes),
                other => panic!("instead of an attachment: {other:?}"),
            }
        }
        match kind {
            "2" | "5" => {
                let mut args: Vec<Value> =
                    serde_json::from_str(&raw).unwrap_or_else(|e| panic!("{e}: {raw}"));
                let name = args.remove(0);
                Packet::Event(Event { name, args, raw, attachments, ack: id })
            }
            "3" | "6" => {
                let args = serde_json::from_str(&raw).expect("an array");
                Packet::Ack { id: id.expect("an ack has an id"), args }
            }
            "1" => Packet::Disconnect,
            _ => Packet::Other(text),
        }
    }

    /// The next event that is not of the stream library; that one is read on the way.
    pub async fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match self.packet().await {
                Packet::Event(event) => self.take(event).await,
                other => panic!("instead of an event: {other:?}"),
            }
        }
    }

    /// The same, of that name.
    pub async fn expect(&mut self, name: impl Into<Value>) -> Value {
        let (name, event) = (name.into(), self.event().await);
        assert_eq!(event.name, name, "{event:?}");
        event.args.into_iter().next().unwrap_or_default()
    }

    /// Reads until something is true of what was read.
    pub async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !done(self) {
            let next = tokio::time::timeout_at(deadline, self.packet()).await;
            let Ok(packet) = next else {
                panic!("{what} did not come: {:?} {:?}", String::from_utf8_lossy(&self.text), self.streams)
            };
            match packet {
                Packet::Event(event) => self.take(event).await,
                other => panic!("instead of {what}: {other:?}"),
            }
        }
    }

    /// Reads until so many bytes of text have come, and they are these.
    pub async fn reads(&mut self, text: &str) {
        self.until(text, |app| app.text.len() >= text.len()).await;
        assert_eq!(String::from_utf8(self.text.clone()).expect("whole characters"), text);
    }

    /// Nothing more comes of what the broker has been sent by now: streams are read, other events kept.
    pub async fn settle(&mut self) {
        self.peer.send_text("40/no-such-namespace,").await;
        loop {
            match self.packet().await {
                Packet::Event(event) => self.take(event).await,
                Packet::Other(text) if text.starts_with("44/no-such-namespace,") => return,
                other => panic!("instead of a barrier: {other:?}"),
            }
        }
    }

    pub async fn emit(&mut self, name: &str, payload: &Value) {
        self.peer.send_text(&format!("42/llm,[{},{payload}]", json!(name))).await;
    }

    async fn say(&mut self, name: &str, args: &[Value]) {
        let mut packet = format!("42/llm,[{}", json!(name));
        for arg in args {
            let _ = write!(packet, ",{arg}");
        }
        self.peer.send_text(&(packet + "]")).await;
    }

    async fn take(&mut self, event: Event) {
        let id = |at: usize| event.args.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        match event.name.as_str() {
            Some("$stream") => {
                assert_eq!(event.args.len(), 3, "{event:?}");
                if self.listens == event.args[0].as_str() {
                    let id = event.args[1]["$stream"].as_str().expect("an id").to_owned();
                    assert!(self.streams.iter().all(|stream| stream.id != id), "announced twice: {id}");
                    let info = event.args[2].clone();
                    self.streams.push(Stream { id: id.clone(), info, ..Stream::default() });
                    self.say("$stream-read", &[json!(id), json!(16384)]).await;
                }
            }
            Some("$stream-write") => {
                let (id, ack) = (id(0), event.ack.expect("a write asks for an ack"));
                assert_eq!(event.args[2], "buffer");
                let [chunk] = <[Vec<u8>; 1]>::try_from(event.attachments).expect("one attachment");
                assert!(!chunk.is_empty(), "an empty write hangs browsers (spec §5.5 rule 6)");
                let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id && !stream.ended)
                else {
                    let text = format!("invalid stream id: {id}");
                    return self.peer.send_text(&format!("43/llm,{ack}[{}]", json!(text))).await;
                };
                std::str::from_utf8(&chunk).expect("whole characters");
                stream.text.extend_from_slice(&chunk);
                self.text.extend_from_slice(&chunk);
                stream.writes.push(chunk);
                if self.reads_first {
                    self.say("$stream-read", &[json!(id), json!(16384)]).await;
                }
                self.peer.send_text(&format!("43/llm,{ack}[]")).await;
                if !self.reads_first {
                    self.say("$stream-read", &[json!(id), json!(16384)]).await;
                }
            }
            Some("$stream-end") => {
                let id = id(0);
                if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
                    stream.ended = true;
                    self.say("$stream-end", &[json!(id)]).await;
                }
            }
            Some("$stream-error") => {
                let (id, message) = (id(0), id(1));
                if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
                    stream.error = Some(message);
                    stream.ended = true;
                }
            }
            _ => self.events.push_back(event),
        }
    }

    // The extension's side.

    /// The next request, its payload.
    pub async fn request(&mut self) -> Value {
        self.expect(9).await
    }

    /// The next request is that one.
    pub async fn gets(&mut self, request: &str) -> Value {
        let payload = self.request().await;
        assert_eq!(payload["requestId"], request);
        payload
    }

    /// One token, as the extension sends it.
    pub async fn token(
        &mut self,
        request: Option<&str>,
        output: &str,
        stream: &str,
        text: &str,
        first: bool,
    ) {
        for packet in token(request, output, stream, text, first) {
            self.peer.send_text(&packet).await;
        }
    }

    /// Several tokens of one answer; streams are named after the output.
    pub async fn tokens(&mut self, request: Option<&str>, output: &str, tokens: &[&str]) {
        for (at, text) in tokens.iter().enumerate() {
            self.token(request, output, &format!("{output}-{at}"), text, at == 0).await;
        }
    }

    /// A whole answer, not streamed.
    pub async fn answers(&mut self, request: Option<&str>, output: &str, text: &str) {
        let mut payload = json!({"type": 0, "data": text, "source": "client", "outputId": output});
        if let Some(request) = request {
            payload["requestId"] = json!(request);
        }
        self.emit("message", &payload).await;
    }

    pub async fn begins(&mut self, request: Option<&str>, output: &str, stream: &str, pieces: u32) {
        let mut payload = common(request, output, stream);
        payload["type"] = json!(1);
        payload["numStreams"] = json!(pieces);
        self.emit("CLIENT_STREAM_START", &payload).await;
    }

    /// One piece; `data` is JSON text.
    pub async fn piece(&mut self, kind: &str, output: &str, stream: &str, index: &str, data: &str) {
        let packet = format!(
            "42/llm,[\"CLIENT_STREAM_DATA_{kind}\",{{\"type\":5,\"streamId\":{},\"outputId\":{},\"chunkIndex\":{index},\"data\":{data}}}]",
            json!(stream),
            json!(output)
        );
        self.peer.send_text(&packet).await;
    }

    pub async fn ends(&mut self, output: &str, stream: &str) {
        let mut payload = common(None, output, stream);
        payload["type"] = json!(3);
        self.emit("CLIENT_STREAM_END", &payload).await;
    }
}

fn common(request: Option<&str>, output: &str, stream: &str) -> Value {
    let mut payload = json!({"streamId": stream, "outputId": output, "target": "server"});
    if let Some(request) = request {
        payload["requestId"] = json!(request);
    }
    payload
}

/// START, five pieces, END (spec §5.3).
pub fn token(request: Option<&str>, output: &str, stream: &str, text: &str, first: bool) -> Vec<String> {
    let with = |fields: Value| {
        let mut payload = common(request, output, stream);
        for (name, value) in fields.as_object().expect("fields") {
            payload[name] = value.clone();
        }
        payload
    };
    let mut packets =
        vec![format!("42/llm,[\"CLIENT_STREAM_START\",{}]", with(json!({"type": 1, "numStreams": 5})))];
    for (index, data) in pieces(text).into_iter().enumerate() {
        let (name, kind) = match index {
            0 if first => ("FIRST", 4),
            4 => ("LAST", 6),
            _ => ("MIDDLE", 5),
        };
        let mut payload = with(json!({"type": kind, "chunkIndex": index})).to_string();
        payload.pop();
        packets.push(format!("42/llm,[\"CLIENT_STREAM_DATA_{name}\",{payload},\"data\":{data}}}]"));
    }
    packets.push(format!("42/llm,[\"CLIENT_STREAM_END\",{}]", with(json!({"type": 3}))));
    packets
}

/// Five pieces of ⌈n/5⌉ UTF-16 units, as JavaScript writes them.
fn pieces(text: &str) -> Vec<String> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let size = units.len().div_ceil(5).max(1);
    (0..5)
        .map(|at| js_string(units.get(at * size..).map_or(&[][..], |rest| &rest[..rest.len().min(size)])))
        .collect()
}

/// JSON text of a JavaScript string; halves of characters are escapes.
pub fn js_string(units: &[u16]) -> String {
    let mut json = String::from("\"");
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok(c) => {
                let quoted = json!(c.to_string()).to_string();
                json.push_str(&quoted[1..quoted.len() - 1]);
            }
            Err(half) => _ = write!(json, "\\u{:04x}", half.unpaired_surrogate()),
        }
    }
    json + "\""
}

pub fn forwarded() -> Value {
    json!({"status": "ok", "message": "Request forwarded."})
}

pub fn refused(message: &str) -> Value {
    json!({"status": "error", "message": message})
}

/// Waits until a line of the metrics has a value; the broker's actors have then done what they were told.
pub async fn settled(broker: &Broker, line: &str, value: u64) {
    within(line, broker.until_metric_is(line, value)).await;
}

/// Requests that are open, or were answered a short while ago.
pub const NOTHING_OPEN: &str = "newage_llm_requests";

/// A broker whose clients may be away for a short while only.
pub fn with_grace(millis: u64, change: impl FnOnce(&mut Config)) -> Broker {
    Broker::setup().settings(json!({"reconnectAttempts": 1, "reconnectDelay": millis})).start(change)
}

/// A broker, an extension and an app.
pub async fn trio(change: impl FnOnce(&mut Config)) -> (Broker, App, App) {
    let broker = Broker::start(change);
    let extension = App::join(&broker, EXTENSION).await;
    let app = App::join(&broker, "app-a").await;
    (broker, extension, app)
}

/// An `ERROR` of dialect 1.
pub fn error(message: &str, request: &str) -> Value {
    json!({"type": 21, "message": message, "requestId": request})
}

/// The payload of a `message`.
pub fn answer(text: &str, request: &str, output: &str) -> Value {
    json!({"type": 0, "data": text, "source": "server", "requestId": request, "outputId": output})
}

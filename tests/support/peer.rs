//! A mock peer: Engine.IO packets over a real wire, in the words of the protocol.

use std::{collections::VecDeque, fmt};

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::{
    Listens, PATIENCE,
    http::Reply,
    opening::{Opening, Refused},
    polling::{self, Polling, split_payload},
    within,
    ws::Ws,
};

/// What a peer receives.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text packet, with its Engine.IO type.
    Text(String),
    /// A binary packet.
    Binary(Vec<u8>),
    /// The WebSocket has closed with that status; 1006 without one.
    Closed(u16),
    /// A pong of the WebSocket protocol.
    WsPong(Vec<u8>),
    /// A poll was answered with an error.
    Refused { status: u16, body: String },
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if text.len() > 400 => {
                let shown: String = text.chars().take(400).collect();
                write!(f, "text {shown}… ({} bytes)", text.len())
            }
            Self::Text(text) => write!(f, "text {text}"),
            Self::Binary(bytes) => {
                write!(f, "binary {:?} ({} bytes)", bytes.get(..bytes.len().min(40)), bytes.len())
            }
            Self::Closed(code) => write!(f, "close {code}"),
            Self::WsPong(bytes) => write!(f, "websocket pong {bytes:?}"),
            Self::Refused { status, body } => write!(f, "HTTP {status} {body}"),
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "a test holds a handful of them")]
pub(super) enum Transport {
    Ws(Ws),
    Polling(Polling),
}

/// See the harness's documentation.
pub struct Peer {
    pub(super) transport: Transport,
    opening: Opening,
    address: std::net::SocketAddr,
    /// The session's id.
    pub sid: String,
    /// The handshake that the broker sent.
    pub open: Value,
    /// Whether pings are answered and skipped.
    pub answers_pings: bool,
    /// Frames of a poll's answer that are still to be looked at.
    inbox: VecDeque<Frame>,
    /// Frames that came while something else was waited for; older than the inbox.
    kept: VecDeque<Frame>,
    /// Everything that came, for whoever reads a failure.
    seen: Vec<Frame>,
    next_ack: u64,
}

impl Peer {
    /// Opens a session over a WebSocket.
    pub async fn connect_ws(server: &impl Listens) -> Self {
        match Opening::new().ws(server).await {
            Ok(peer) => peer,
            Err(refused) => panic!("handshake refused: {refused:?}"),
        }
    }

    /// Opens a session over long-polling.
    pub async fn open_polling(server: &impl Listens) -> Self {
        match Opening::new().polling(server).await {
            Ok(peer) => peer,
            Err(refused) => panic!("handshake refused: {refused:?}"),
        }
    }

    pub(super) fn over(transport: Transport, opening: Opening, address: std::net::SocketAddr) -> Self {
        Self {
            transport,
            opening,
            address,
            sid: String::new(),
            open: Value::Null,
            answers_pings: true,
            inbox: VecDeque::new(),
            kept: VecDeque::new(),
            seen: Vec::new(),
            next_ack: 0,
        }
    }

    pub(super) fn opened(&mut self, packet: &str) {
        let json = packet.strip_prefix('0').unwrap_or_else(|| panic!("not an open packet: {packet}"));
        self.open = serde_json::from_str(json).expect("the open packet holds JSON");
        self.sid = self.open["sid"].as_str().expect("a session id").to_owned();
    }

    // What is sent.

    /// Sends one text packet, its Engine.IO type included.
    pub async fn send_text(&mut self, packet: &str) {
        self.send(Frame::Text(packet.to_owned())).await;
    }

    /// Sends one binary packet.
    pub async fn send_binary(&mut self, bytes: &[u8]) {
        self.send(Frame::Binary(bytes.to_vec())).await;
    }

    async fn send(&mut self, frame: Frame) {
        match (&mut self.transport, frame) {
            (Transport::Ws(ws), Frame::Text(text)) => ws.send(Message::Text(text.into())).await,
            (Transport::Ws(ws), Frame::Binary(bytes)) => ws.send(Message::Binary(bytes.into())).await,
            (Transport::Polling(polling), frame) => {
                let reply = polling.post(polling::packet(&frame).into_bytes()).await;
                // A refusal means that the session is over; the next poll says so too.
                if reply.status != 200 {
                    eprintln!("POST answered {} {}", reply.status, String::from_utf8_lossy(&reply.body));
                }
            }
            (Transport::Ws(_), other) => panic!("{other:?} cannot be sent"),
        }
    }

    /// Sends several packets: in one POST, or one frame after the other.
    pub async fn send_all(&mut self, packets: &[Frame]) {
        match &mut self.transport {
            Transport::Polling(_) => {
                let body: Vec<String> = packets.iter().map(polling::packet).collect();
                self.post(body.join("\u{1e}")).await.expect(200, "ok");
            }
            Transport::Ws(_) => {
                for packet in packets {
                    self.send(packet.clone()).await;
                }
            }
        }
    }

    /// Posts a body as it is.
    pub async fn post(&mut self, body: impl Into<Vec<u8>>) -> Reply {
        let Transport::Polling(polling) = &self.transport else { panic!("not on polling") };
        polling.post(body.into()).await
    }

    /// Writes bytes below the WebSocket library.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        let Transport::Ws(ws) = &mut self.transport else { panic!("not on a WebSocket") };
        ws.send_raw(bytes).await;
    }

    /// Sends any WebSocket message.
    pub async fn send_message(&mut self, message: Message) {
        let Transport::Ws(ws) = &mut self.transport else { panic!("not on a WebSocket") };
        ws.send(message).await;
    }

    // What is received.

    /// The next frame that is no ping; fails after [`PATIENCE`].
    pub async fn next(&mut self) -> Frame {
        self.expect_frame("a frame").await
    }

    async fn expect_frame(&mut self, what: &str) -> Frame {
        match self.kept.pop_front() {
            Some(frame) => frame,
            None => self.frame(what).await,
        }
    }

    /// The next frame off the wire, whatever is kept.
    pub(super) async fn frame(&mut self, what: &str) -> Frame {
        // One deadline for all of it: pings come more often than patience ends.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let Ok(frame) = tokio::time::timeout_at(deadline, self.read()).await else {
                panic!("{what} did not come in {PATIENCE:?}; so far: {:#?}", self.seen);
            };
            if self.answers_pings && frame == Frame::Text("2".to_owned()) {
                self.send_text("3").await;
                continue;
            }
            self.seen.push(frame.clone());
            return frame;
        }
    }

    async fn read(&mut self) -> Frame {
        if let Some(frame) = self.inbox.pop_front() {
            return frame;
        }
        match &mut self.transport {
            Transport::Ws(ws) => ws.next().await,
            Transport::Polling(polling) => {
                let Some(reply) = polling.get().await else { panic!("the poll was aborted") };
                if reply.status != 200 {
                    return Frame::Refused { status: reply.status, body: reply.text().to_owned() };
                }
                self.inbox.extend(split_payload(reply.text()));
                self.inbox.pop_front().expect("an answer holds a packet")
            }
        }
    }

    /// Writes into the list that a failure shows, such as which case this is.
    pub fn note(&mut self, what: &str) {
        self.seen.push(Frame::Text(format!("(note) {what}")));
    }

    /// Starts a poll that waits in the background.
    pub fn begin_poll(&mut self) {
        let Transport::Polling(polling) = &mut self.transport else { panic!("not on polling") };
        polling.begin();
    }

    /// The whole answer of the next poll, pings and all.
    pub async fn poll(&mut self) -> Reply {
        let Transport::Polling(polling) = &mut self.transport else { panic!("not on polling") };
        within("a poll", polling.get()).await.expect("the poll was not aborted")
    }

    /// Drops the poll that waits, as a closed tab would.
    pub async fn abort_poll(&mut self) {
        let Transport::Polling(polling) = &mut self.transport else { panic!("not on polling") };
        polling.abort().await;
    }

    /// `/socket.io/?…&sid=…` of this session.
    pub fn path(&self, transport: &str) -> String {
        self.opening.path(transport, Some(&self.sid))
    }

    #[track_caller]
    pub(super) fn instead(&self, expected: &str, got: &Frame) -> ! {
        panic!("expected {expected}\ngot {got:?}\nin all: {:#?}", self.seen)
    }

    /// The next packet is exactly this one.
    pub async fn expect_text(&mut self, packet: &str) {
        let frame = self.expect_frame(packet).await;
        if frame != Frame::Text(packet.to_owned()) {
            self.instead(packet, &frame);
        }
    }

    /// The next packet begins like this; the rest is returned.
    pub async fn expect_prefix(&mut self, prefix: &str) -> String {
        let frame = self.expect_frame(prefix).await;
        match &frame {
            Frame::Text(text) if text.starts_with(prefix) => text[prefix.len()..].to_owned(),
            other => self.instead(&format!("{prefix}…"), other),
        }
    }

    /// The next packet is binary, with these bytes.
    pub async fn expect_binary(&mut self, bytes: &[u8]) {
        let frame = self.expect_frame("a binary packet").await;
        if frame != Frame::Binary(bytes.to_vec()) {
            self.instead(&format!("{:?}", Frame::Binary(bytes.to_vec())), &frame);
        }
    }

    /// The WebSocket closes next, with this status.
    pub async fn expect_close(&mut self, code: u16) {
        let frame = self.expect_frame("a close").await;
        if frame != Frame::Closed(code) {
            self.instead(&format!("close {code}"), &frame);
        }
    }

    /// The next packet is an event of that namespace: its name and arguments.
    pub async fn expect_event(&mut self, ns: &str) -> (Value, Vec<Value>) {
        let head = format!("42{}", prefix(ns));
        let json = self.expect_prefix(&head).await;
        let Ok(Value::Array(mut args)) = serde_json::from_str(&json) else { panic!("not an event: {json}") };
        (args.remove(0), args)
    }

    // Socket.IO.

    /// Joins a namespace: the socket id that it is given.
    pub async fn join(&mut self, ns: &str, auth: Value) -> String {
        self.send_text(&format!("40{}{auth}", prefix(ns))).await;
        let head = format!("40{}{{", prefix(ns));
        let packet = self.wait_for(&format!("{head}…"), |packet| packet.starts_with(&head)).await;
        let json: Value = serde_json::from_str(&packet[head.len() - 1..]).expect("CONNECT holds JSON");
        json["sid"].as_str().expect("a socket id").to_owned()
    }

    /// Joins a namespace and expects CONNECT, `ERROR` and DISCONNECT, in this order and next: the payload of
    /// the `ERROR`.
    pub async fn expect_rejection(&mut self, ns: &str) -> Value {
        let prefix = prefix(ns);
        self.expect_prefix(&format!("40{prefix}{{\"sid\":\"")).await;
        let (name, mut args) = self.expect_event(ns).await;
        assert!(name == 21 || name == "ERROR", "not an ERROR: {name} {args:?}");
        let second = self.expect_frame("the end of a rejection").await;
        let Frame::Text(second) = second else { self.instead("the end of a rejection", &second) };
        if second != format!("41{prefix}") {
            // A socket of unknown dialect is told twice.
            assert_eq!(name, 21, "the number comes first");
            assert!(second.starts_with(&format!("42{prefix}[\"ERROR\",")), "{second}");
            self.expect_text(&format!("41{prefix}")).await;
        }
        args.remove(0)
    }

    /// Emits an event.
    pub async fn emit(&mut self, ns: &str, name: Value, args: &[Value]) {
        self.emit_as(ns, "", name, args).await;
    }

    async fn emit_as(&mut self, ns: &str, id: &str, name: Value, args: &[Value]) {
        let all = Value::Array(std::iter::once(name).chain(args.iter().cloned()).collect());
        self.send_text(&format!("42{}{id}{all}", prefix(ns))).await;
    }

    /// Emits an event with one argument and waits for its ack: the ack's one argument.
    pub async fn emit_with_ack(&mut self, ns: &str, name: Value, arg: Value) -> Value {
        self.ack_of(ns, name, &[arg]).await
    }

    /// The same with any arguments.
    pub async fn ack_of(&mut self, ns: &str, name: Value, args: &[Value]) -> Value {
        let id = self.begin_ack(ns, name, args).await;
        self.expect_ack(ns, id).await
    }

    /// Emits an event that asks for an ack, and does not wait for it: the ack's id.
    pub async fn begin_ack(&mut self, ns: &str, name: Value, args: &[Value]) -> u64 {
        let id = self.next_ack;
        self.next_ack += 1;
        self.emit_as(ns, &id.to_string(), name, args).await;
        id
    }

    /// Waits for the ack of that id, keeping what comes before it.
    pub async fn expect_ack(&mut self, ns: &str, id: u64) -> Value {
        let head = format!("43{}{id}[", prefix(ns));
        let packet = self.wait_for(&format!("{head}…"), |packet| packet.starts_with(&head)).await;
        let args: Vec<Value> =
            serde_json::from_str(&packet[head.len() - 1..]).expect("an ack holds an array");
        let [arg] = <[Value; 1]>::try_from(args).expect("an ack carries exactly one argument");
        arg
    }

    /// Waits for a text packet, keeping what comes before it.
    pub async fn wait_for(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let found = self.kept.iter().position(|frame| matches!(frame, Frame::Text(text) if is_it(text)));
        if let Some(Frame::Text(text)) = found.and_then(|at| self.kept.remove(at)) {
            return text;
        }
        loop {
            match self.frame(what).await {
                Frame::Text(text) if is_it(&text) => return text,
                end @ (Frame::Closed(_) | Frame::Refused { .. }) => self.instead(what, &end),
                other => self.kept.push_back(other),
            }
        }
    }

    /// Leaves a namespace by DISCONNECT.
    pub async fn leave(&mut self, ns: &str) {
        self.send_text(&format!("41{}", prefix(ns))).await;
    }

    /// Returns when everything sent before has been read: a namespace that does not exist is refused at once,
    /// in its turn. What comes before stays to be read.
    pub async fn barrier(&mut self) {
        self.send_text("40/no-such-namespace,").await;
        let refusal = "44/no-such-namespace,{\"message\":\"Invalid namespace\"}";
        self.wait_for(refusal, |packet| packet == refusal).await;
    }

    /// Whether a namespace is still joined: an event that nobody knows is acked there. If not, its end has come
    /// and was not read yet.
    pub async fn is_in(&mut self, ns: &str) -> bool {
        let id = self.begin_ack(ns, Value::from("no-such-event"), &[]).await;
        let ack = format!("43{}{id}[", prefix(ns));
        let end = format!("41{}", prefix(ns));
        let what = format!("{ack}… or {end}");
        self.wait_for(&what, |packet| packet.starts_with(&ack) || packet == end).await != end
    }

    /// Nothing has come that was not read: what was sent before has no answer, as far as the session alone
    /// decides it.
    pub async fn expect_nothing(&mut self) {
        self.barrier().await;
        assert!(self.kept.is_empty() && self.inbox.is_empty(), "unexpected: {:#?}", self.kept);
    }

    /// Whether such a text packet has come and was not read.
    pub fn has_unread(&self, is_it: impl Fn(&str) -> bool) -> bool {
        let mut frames = self.kept.iter().chain(&self.inbox);
        frames.any(|frame| matches!(frame, Frame::Text(text) if is_it(text)))
    }

    /// Every event that has come and was not read: namespace, name and first argument. What was pushed before
    /// somebody's ack was seen is among them.
    pub async fn heard(&mut self) -> Vec<(String, Value, Value)> {
        self.barrier().await;
        let frames = self.kept.drain(..).chain(self.inbox.drain(..));
        let event = |frame| {
            let Frame::Text(text) = frame else { panic!("no event: {frame:?}") };
            let (ns, json) = text.strip_prefix("42").and_then(|rest| rest.split_once(',')).expect(&text);
            let Ok(Value::Array(mut args)) = serde_json::from_str(json) else { panic!("no event: {text}") };
            let payload = if args.len() > 1 { args.remove(1) } else { Value::Null };
            (ns.to_owned(), args.remove(0), payload)
        };
        frames.map(event).collect()
    }

    /// Ends the connection without a word.
    pub async fn vanish(self) {
        if let Transport::Polling(mut polling) = self.transport {
            polling.abort().await;
        }
    }

    // The upgrade.

    /// Opens a second WebSocket for this session, by hand.
    pub async fn second_ws(&self) -> Result<Probe, Refused> {
        Ok(Probe { ws: Ws::open(self.address, &self.path("websocket"), &self.opening).await? })
    }

    /// Moves to a WebSocket, as the official client does: probe, let the last poll end, switch.
    pub async fn upgrade(&mut self) {
        let mut probe = match self.second_ws().await {
            Ok(probe) => probe,
            Err(refused) => panic!("upgrade refused: {refused:?}"),
        };
        probe.send_text("2probe").await;
        probe.expect(Frame::Text("3probe".to_owned())).await;
        let Transport::Polling(polling) = &mut self.transport else { panic!("not on polling") };
        if polling.is_waiting() {
            let last = within("the last poll", polling.get()).await.expect("the poll was not aborted");
            assert_eq!(last.status, 200, "{last:?}");
            let frames = split_payload(last.text()).into_iter();
            self.inbox.extend(frames.filter(|frame| *frame != Frame::Text("6".to_owned())));
        }
        self.switch(probe).await;
    }

    /// The last step of an upgrade.
    pub async fn switch(&mut self, mut probe: Probe) {
        probe.send_text("5").await;
        self.transport = Transport::Ws(probe.ws);
    }
}

/// A WebSocket that asks for a session and has not taken it over.
pub struct Probe {
    ws: Ws,
}

impl Probe {
    pub async fn send_text(&mut self, text: &str) {
        self.ws.send(Message::Text(text.into())).await;
    }

    pub async fn send_binary(&mut self, bytes: &[u8]) {
        self.ws.send(Message::Binary(bytes.to_vec().into())).await;
    }

    pub async fn next(&mut self) -> Frame {
        within("a frame on the probing WebSocket", self.ws.next()).await
    }

    pub async fn expect(&mut self, frame: Frame) {
        assert_eq!(self.next().await, frame);
    }
}

/// `/llm,`, or nothing for `/`.
fn prefix(ns: &str) -> String {
    if ns == "/" { String::new() } else { format!("{ns},") }
}

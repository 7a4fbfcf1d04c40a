//! Frames between real programs (see `tests/traces/`): each is understood, and each that
//! this crate can write comes out as it came in.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use framing::encoded::Encoded;
use framing::engine::payload::{self, PayloadWriter};
use framing::engine::{HandshakeError, Method, Packet, TransportKind, parse_query};
use framing::frame::Frame;
use framing::json::SurrogateJoiner;
use framing::limits::Limits;
use framing::socket::{self, Decoder};
use std::collections::HashMap;

/// One line of a trace: the session, who sent it, and the frames it holds.
struct Line {
    conn: u64,
    from_client: bool,
    frames: Vec<Frame>,
    /// A polling body.
    body: Option<String>,
    url: Option<String>,
    method: Option<String>,
}

fn trace(text: &str) -> Vec<Line> {
    text.lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let string = |key: &str| line[key].as_str().map(str::to_owned);
            let body = string("body").filter(|body| body != "ok");
            let mut frames = Vec::new();
            if let Some(text) = string("text") {
                frames.push(Frame::Text(text.into()));
            } else if let Some(data) = string("base64") {
                frames.push(Frame::Binary(STANDARD.decode(data).unwrap().into()));
            } else if let Some(body) = &body {
                frames
                    .extend(payload::decode(body.as_str().into(), 100, 100_000).map(|frame| frame.unwrap()));
            }
            Line {
                conn: line["conn"].as_u64().unwrap(),
                from_client: line["dir"] == "c2s",
                frames,
                body,
                url: string("url"),
                method: string("method"),
            }
        })
        .collect()
}

fn encode(packet: &socket::Packet) -> Encoded {
    let texts = |args: &'_ [framing::json::RawJson]| {
        args.iter().map(|arg| arg.as_str().to_owned()).collect::<Vec<_>>()
    };
    match packet {
        socket::Packet::Connect { ns, auth } => {
            let sid = auth.as_ref().and_then(|auth| auth.get("sid")?.as_js_string());
            Encoded::connect(ns, sid.unwrap().as_str().unwrap())
        }
        socket::Packet::Disconnect { ns } => Encoded::disconnect(ns),
        socket::Packet::Event { ns, event } => {
            let args = texts(&event.args);
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            Encoded::event(ns, event.ack, &event.name, &args, &event.attachments)
        }
        socket::Packet::Ack { ns, id, args, attachments } => {
            let args = texts(args);
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            Encoded::ack(ns, *id, &args, attachments)
        }
    }
}

/// Replays a trace in both directions; returns how many Socket.IO packets were whole.
fn replay(text: &str) -> usize {
    let mut decoders: HashMap<(u64, bool), (Decoder, Vec<Frame>)> = HashMap::new();
    let mut whole = 0;
    for line in trace(text) {
        if let Some(url) = &line.url {
            let (_, query) = url.split_once('?').unwrap();
            let websocket = line.method.is_none();
            let method = match line.method.as_deref() {
                Some("POST") => Method::Post,
                _ => Method::Get,
            };
            let request = parse_query(query, method, websocket).unwrap();
            assert_eq!(request.transport == TransportKind::WebSocket, websocket);
            assert_eq!(request.sid.is_some(), query.contains("sid="));
            assert_eq!(
                parse_query(
                    &query.replace("EIO=4&", "EIO=3&").replace("sid=", "no="),
                    Method::Get,
                    websocket
                ),
                Err(HandshakeError::UnsupportedProtocolVersion)
            );
        }
        if let Some(body) = &line.body {
            let mut writer = PayloadWriter::new(100_000);
            line.frames.iter().for_each(|frame| writer.push(frame).unwrap());
            assert_eq!(writer.finish(), body.as_bytes());
        }
        for frame in line.frames {
            let packet = Packet::decode(frame.clone()).unwrap();
            assert_eq!(packet.encode(), frame);
            let (decoder, frames) = decoders
                .entry((line.conn, line.from_client))
                .or_insert_with(|| (Decoder::new(Limits::default()), Vec::new()));
            let decoded = match packet {
                // A connect error, which only servers send.
                Packet::Message(text) if text.starts_with('4') => {
                    assert!(decoder.text(text).is_err());
                    continue;
                }
                Packet::Message(text) => decoder.text(text).unwrap(),
                Packet::Binary(data) => decoder.binary(data).unwrap(),
                _ => continue,
            };
            frames.push(frame);
            let Some(packet) = decoded else {
                if decoder.missing() == 0 {
                    frames.clear(); // a packet to ignore
                }
                continue;
            };
            whole += 1;
            let original = std::mem::take(frames);
            // Only the server's CONNECT, as far as it holds what we write, has an encoder.
            let is_ours = match &packet {
                socket::Packet::Connect { auth, .. } => auth
                    .as_ref()
                    .is_some_and(|auth| auth.as_str().starts_with("{\"sid\"") && auth.members().count() == 1),
                _ => true,
            };
            if is_ours {
                assert_eq!(encode(&packet).frames().collect::<Vec<_>>(), original);
            }
        }
    }
    for (decoder, frames) in decoders.values() {
        assert_eq!((decoder.missing(), frames.len()), (0, 0), "nothing is left half way");
    }
    whole
}

macro_rules! replays {
    ($($name:ident, $file:literal, $packets:literal;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(replay(include_str!(concat!("traces/", $file, ".jsonl"))), $packets);
        }
    )*};
}

replays! {
    acks, "socketio-acks", 23;
    binary, "socketio-binary", 15;
    connect_error, "socketio-connect-error", 7;
    disconnect, "socketio-disconnect", 17;
    heartbeat, "socketio-heartbeat", 7;
    polling_only, "socketio-polling-only", 10;
    recovery, "socketio-recovery", 15;
    upgrade, "socketio-upgrade", 12;
    ws_namespaces, "socketio-ws-namespaces", 20;
    seed_extension_stream, "seed-extension-stream", 92;
}

/// The extension's pieces cut emoji in two, across pieces and across tokens (spec §5.4).
#[test]
fn extension_text_is_whole_again() {
    let mut joiner = SurrogateJoiner::new();
    let mut answer = String::new();
    let mut halves = 0;
    let mut decoder = Decoder::new(Limits::default());
    for line in trace(include_str!("traces/seed-extension-stream.jsonl")) {
        for frame in line.frames {
            let Packet::Message(text) = Packet::decode(frame).unwrap() else {
                continue;
            };
            let Some(socket::Packet::Event { event, .. }) = decoder.text(text).unwrap() else {
                continue;
            };
            let is_data = event.name.as_text().is_some_and(|name| name.starts_with("CLIENT_STREAM_DATA"));
            if let Some(data) = event.args.first().filter(|_| is_data).and_then(|arg| arg.get("data")) {
                let data = data.as_js_string().unwrap();
                halves += usize::from(data.as_str().is_none());
                answer.push_str(&joiner.push(&data));
            }
        }
    }
    assert!(halves > 0, "the trace holds half surrogate pairs");
    assert_eq!(joiner.finish(), None);
    assert!(!answer.contains('\u{fffd}'));
    assert!(answer.starts_with("Hello, traveller. 你好,世界。\n第二"), "{answer}");
}

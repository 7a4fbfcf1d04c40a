//! What must hold for any bytes. The fuzz targets call these with a fuzzer's inputs, the
//! test `tests/fuzz_checks.rs` with random and seeded ones, on any compiler.
//!
//! Each check panics if something is wrong, and otherwise says how far it came, so that the
//! test can tell whether its inputs reach beyond the first byte.
#![allow(dead_code, reason = "each fuzz target uses one of them")]

use std::time::{Duration, Instant};

use framing::encoded::Encoded;
use framing::engine::payload::{self, PayloadWriter};
use framing::engine::{
    EngineSession, HandshakeError, Method, Packet, Probe, Received, TransportKind, parse_query,
};
use framing::frame::Frame;
use framing::json::{Kind, RawJson, SurrogateJoiner};
use framing::limits::Limits;
use framing::socket::{self, Action, Decoder, SocketSession};
use framing::{ByteString, Bytes};

const LIMITS: Limits = Limits { max_payload: 4096, max_attachments: 4, max_depth: 8, max_namespaces: 3 };

/// Separates the frames of one input.
pub(crate) const FRAME: u8 = b'\n';

/// A packet that was read comes out of its own encoding again.
pub(crate) fn engine_packet(data: &[u8]) -> usize {
    let mut read = 0;
    for frame in frame(data).into_iter().chain([Frame::Binary(Bytes::copy_from_slice(data))]) {
        if let Ok(packet) = Packet::decode(frame.clone()) {
            assert_eq!(Packet::decode(packet.encode()), Ok(packet));
            read += 1;
        }
        let _ = Probe::default().receive(frame);
    }
    read
}

/// A query is served or refused, whatever the method and the headers; what is served says how.
pub(crate) fn query(data: &[u8]) -> usize {
    let Some(Frame::Text(query)) = frame(data) else {
        return 0;
    };
    let mut served = 0;
    for method in [Method::Get, Method::Post, Method::Options, Method::Other] {
        for websocket in [false, true] {
            let request = match parse_query(&query, method, websocket) {
                Ok(request) => request,
                Err(error) => {
                    assert_ne!(error, HandshakeError::Forbidden, "policy is not in the query");
                    continue;
                }
            };
            served += 1;
            assert_eq!(request.transport == TransportKind::WebSocket, websocket);
            // Only a session that is there takes a POST, and only over long-polling.
            assert!(method == Method::Get || (method == Method::Post && request.sid.is_some() && !websocket));
            // Written plainly, it asks for the same.
            let transport = if websocket { "websocket" } else { "polling" };
            let sid = request.sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
            let base64 = if request.base64 { "&b64=1" } else { "" };
            let plain = format!("{query}&EIO=4&transport={transport}{sid}{base64}");
            assert_eq!(parse_query(&plain, method, websocket), Ok(request));
        }
    }
    served
}

/// Frames of a payload make the same payload again, and stay within the bounds.
pub(crate) fn payload(data: &[u8]) -> usize {
    let Some(Frame::Text(body)) = frame(data) else {
        return 0;
    };
    let frames: Vec<_> = payload::decode(body.clone(), 8, 64).collect();
    let broken = frames.iter().filter(|frame| frame.is_err()).count();
    assert!(broken <= 1 && frames.len() <= 8 + broken, "ends after the first error");
    let whole: Vec<Frame> = frames.into_iter().filter_map(Result::ok).collect();
    assert!(whole.iter().all(|frame| frame.len() <= 64));
    let mut writer = PayloadWriter::new(body.len() * 2 + 64);
    for frame in &whole {
        assert_eq!(writer.push(frame), Ok(()));
    }
    if !whole.is_empty() {
        let again = ByteString::try_from(writer.finish()).expect("a polling body is text");
        assert_eq!(payload::decode(again, 8, 64).collect::<Result<Vec<_>, _>>(), Ok(whole.clone()));
    }
    whole.len()
}

/// A packet that was read comes out of its own encoding again; the bounds hold.
pub(crate) fn socket_decoder(data: &[u8]) -> usize {
    let mut decoder = Decoder::new(LIMITS);
    let mut read = 0;
    for part in data.split(|byte| *byte == FRAME) {
        let packet = match frame_or_binary(part) {
            Frame::Text(text) => decoder.text(text),
            Frame::Binary(data) => decoder.binary(data),
        };
        assert!(decoder.missing() <= LIMITS.max_attachments);
        match packet {
            Ok(Some(packet)) => {
                read += 1;
                again(packet);
            }
            Ok(None) => (),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert_eq!(decoder.missing(), 0, "nothing is kept after an error");
            }
        }
    }
    read
}

/// A value that was read is still one after every operation.
pub(crate) fn json(data: &[u8]) -> usize {
    let Some(Frame::Text(text)) = frame(data) else {
        return 0;
    };
    let Ok(value) = RawJson::parse(text.clone(), LIMITS.max_depth) else {
        return 0;
    };
    assert_eq!(value.as_str(), text.trim_matches([' ', '\t', '\r', '\n']));
    let parts = walk(&value, LIMITS.max_depth);
    let replaced = value.replacing(&[("clientId", "\"me\""), ("bad", "}")]);
    assert_eq!(RawJson::parse(replaced.text(), LIMITS.max_depth.max(1)).as_ref(), Ok(&replaced));
    if value.kind() == Kind::Object {
        assert_eq!(replaced.members().filter(|(key, _)| *key == "clientId").count(), 1);
        assert!(replaced.get("clientId").is_some_and(|id| id.as_str() == "\"me\""));
    }
    parts
}

fn walk(value: &RawJson, depth: usize) -> usize {
    assert_eq!(RawJson::parse(value.text(), depth).as_ref(), Ok(value), "a part is a value");
    let numbers = (value.as_f64(), value.as_u64());
    assert!(value.kind() == Kind::Number || numbers == (None, None));
    if let Some(string) = value.as_js_string() {
        let again = RawJson::parse(string.to_json().into(), 0).expect("a string is json");
        assert_eq!(again.as_js_string().as_ref(), Some(&string));
        assert!(string.as_str().is_some() || string.to_text().contains('\u{fffd}'));
        let mut joiner = SurrogateJoiner::new();
        let mut joined = joiner.push(&string).to_string();
        joined.extend(joiner.finish().iter().map(|rest| &**rest));
        assert_eq!(joined, &*string.to_text(), "one piece is the whole");
    }
    let mut parts = 1;
    for element in value.elements() {
        parts += walk(&element, depth - 1);
    }
    for (key, member) in value.members() {
        parts += walk(&member, depth - 1);
        if let Some(name) = key.as_str() {
            assert!(value.get(name).is_some());
        }
    }
    parts
}

/// A session takes anything, and ends once. A frame that begins with `~` lets time pass.
pub(crate) fn session(data: &[u8]) -> usize {
    let mut now = Instant::now();
    let mut engine = EngineSession::new(Duration::from_secs(25), Duration::from_secs(20), now);
    let mut socket = SocketSession::new(LIMITS, now + Duration::from_secs(45));
    let mut actions = 0;
    for part in data.split(|byte| *byte == FRAME) {
        if let [b'~', rest @ ..] = part {
            now += Duration::from_secs(rest.len() as u64 + 1);
            if engine.poll(now).is_err() || socket.poll(now).is_err() {
                return actions;
            }
            continue;
        }
        let ending = |reason: framing::close::CloseReason| {
            assert!(!reason.to_string().is_empty() && !reason.text().is_empty());
        };
        let received = match engine.receive(frame_or_binary(part), now) {
            Ok(received) => received,
            Err(reason) => {
                ending(reason);
                assert_eq!(engine.receive(Frame::Text("4".into()), now), Ok(Received::Nothing));
                return actions;
            }
        };
        match socket.receive(received) {
            Ok(Some(action)) => {
                actions += 1;
                act(action, &mut socket, now);
            }
            Ok(None) => (),
            Err(reason) => {
                ending(reason);
                return actions;
            }
        }
        assert!(socket.namespaces().count() <= LIMITS.max_namespaces);
    }
    actions
}

/// What a broker might do: refuse some, end some, accept the rest.
fn act(action: Action, socket: &mut SocketSession, now: Instant) {
    match action {
        Action::Connect { ns, .. } if ns.as_str().ends_with("no") => socket.refused(&ns),
        Action::Connect { ns, .. } => {
            socket.accepted(&ns);
            assert!(socket.is_connected(&ns) && socket.deadline().is_none());
        }
        Action::Event { ns, event } => {
            assert!(socket.is_connected(&ns));
            if event.ack.is_none() {
                socket.ended(&ns, now + Duration::from_secs(45));
                assert!(!socket.is_connected(&ns));
            }
        }
        Action::Ack { ns, .. } => assert!(socket.is_connected(&ns)),
        Action::Disconnect { ns } => assert!(!socket.is_connected(&ns)),
    }
}

fn again(packet: socket::Packet) {
    let encoded = match &packet {
        // Clients write these; only the tests need to.
        socket::Packet::Connect { ns, auth } => {
            let auth = auth.as_ref().map(RawJson::as_str).unwrap_or_default();
            Encoded::engine(&Packet::Message(format!("0{ns},{auth}").into()))
        }
        socket::Packet::Disconnect { ns } => Encoded::disconnect(ns),
        socket::Packet::Event { ns, event } => {
            let args: Vec<_> = event.args.iter().map(RawJson::as_str).collect();
            Encoded::event(ns, event.ack, &event.name, &args, &event.attachments)
        }
        socket::Packet::Ack { ns, id, args, attachments } => {
            let args: Vec<_> = args.iter().map(RawJson::as_str).collect();
            Encoded::ack(ns, *id, &args, attachments)
        }
    };
    assert_eq!(encoded.frames().count(), encoded.packets());
    assert_eq!(encoded.frames().map(|frame| frame.len()).sum::<usize>(), encoded.bytes());
    // White space and escapes may come out longer, so the bytes are not bounded here.
    let mut decoder = Decoder::new(Limits { max_payload: usize::MAX, ..LIMITS });
    let mut last = None;
    for frame in encoded.frames() {
        last = match Packet::decode(frame) {
            Ok(Packet::Message(text)) => decoder.text(text).expect("what we write can be read"),
            Ok(Packet::Binary(data)) => decoder.binary(data).expect("what we write can be read"),
            other => panic!("not a message: {other:?}"),
        };
    }
    assert_eq!(last, Some(packet));
}

fn frame(data: &[u8]) -> Option<Frame> {
    let text = ByteString::try_from(Bytes::copy_from_slice(data)).ok()?;
    Some(Frame::Text(text))
}

/// `!` marks a binary frame; what is not UTF-8 is one anyway.
fn frame_or_binary(part: &[u8]) -> Frame {
    let binary = |data| Frame::Binary(Bytes::copy_from_slice(data));
    match part {
        [b'!', data @ ..] => binary(data),
        text => frame(text).unwrap_or_else(|| binary(text)),
    }
}

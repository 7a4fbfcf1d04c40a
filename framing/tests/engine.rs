//! Engine.IO: packets, payloads, the handshake's query, heartbeat, probe.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::time::{Duration, Instant};

use framing::close::{CloseReason, Initiator};
use framing::engine::payload::{self, Full, PayloadWriter};
use framing::engine::{
    EngineSession, HandshakeError, Method, Open, Packet, Probe, ProbeError, ProbeStep, Received,
    Request, Sid, TransportKind, parse_query,
};
use framing::error::{PacketError, PayloadError};
use framing::frame::Frame;
use framing::{ByteString, Bytes};

fn text(text: &str) -> Frame {
    Frame::Text(text.into())
}

fn binary(data: &[u8]) -> Frame {
    Frame::Binary(Bytes::copy_from_slice(data))
}

const OPEN: &str = r#"0{"sid":"TOY1qTTymaxOa0FUAAAB","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

fn open() -> Open {
    Open {
        sid: Sid::parse("TOY1qTTymaxOa0FUAAAB").unwrap(),
        upgrades: true,
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        max_payload: 1_000_000,
    }
}

#[test]
fn packets() {
    let message = |text: &str| Ok(Packet::Message(text.into()));
    let data = |data: &'static [u8]| Ok(Packet::Binary(Bytes::from_static(data)));
    let unknown = |byte| Err(PacketError::UnknownType { byte });
    let table = [
        (text(OPEN), Ok(Packet::Open(open()))),
        (text("1"), Ok(Packet::Close)),
        (text("2"), Ok(Packet::Ping { probe: false })),
        (text("2probe"), Ok(Packet::Ping { probe: true })),
        (text("2probed"), Ok(Packet::Ping { probe: false })),
        (text("3"), Ok(Packet::Pong { probe: false })),
        (text("3probe"), Ok(Packet::Pong { probe: true })),
        (text("4"), message("")),
        (text("4hello"), message("hello")),
        (text("4é🙂"), message("é🙂")),
        (text("44"), message("4")),
        (text("5"), Ok(Packet::Upgrade)),
        (text("6"), Ok(Packet::Noop)),
        (text("1x"), Ok(Packet::Close)),
        (binary(b""), data(b"")),
        (binary(b"4x"), data(b"4x")),
        (text("b"), data(b"")),
        (text("bAQIDBA=="), data(&[1, 2, 3, 4])),
        (text("bAQIDBA"), data(&[1, 2, 3, 4])),
        (text("b4Q=="), data(&[0xe1])),
        (text("b é"), Err(PacketError::Base64)),
        (text("bA"), Err(PacketError::Base64)),
        (text(""), Err(PacketError::Empty)),
        (text("7"), unknown(b'7')),
        (text("abc"), unknown(b'a')),
        (text(" 4x"), unknown(b' ')),
        (text("é"), unknown(0xc3)),
        (text("0"), Err(PacketError::Handshake)),
        (text("0{}"), Err(PacketError::Handshake)),
        (text(r#"0{"sid":"é"}"#), Err(PacketError::Handshake)),
    ];
    for (frame, expected) in table {
        assert_eq!(Packet::decode(frame.clone()), expected, "{frame:?}");
    }
    assert_eq!(Packet::Open(open()).encode(), text(OPEN));
    let on_websocket = Packet::Open(Open {
        upgrades: false,
        ..open()
    });
    assert_eq!(
        on_websocket.encode(),
        text(&OPEN.replace(r#"["websocket"]"#, "[]"))
    );
    assert_eq!(Packet::decode(on_websocket.encode()), Ok(on_websocket));
}

#[test]
fn messages_share_the_frame_s_bytes() {
    let frame = ByteString::from("4message");
    let Ok(Packet::Message(message)) = Packet::decode(Frame::Text(frame.clone())) else {
        panic!("a message");
    };
    assert_eq!(message.as_bytes().as_ptr(), frame[1..].as_ptr());
}

#[test]
fn payloads() {
    let empty = |index| Err(PayloadError::EmptyPacket { index });
    let table = [
        ("4a", vec![Ok(text("4a"))]),
        (
            "4test1\x1e4test2\x1e4test3",
            vec![Ok(text("4test1")), Ok(text("4test2")), Ok(text("4test3"))],
        ),
        (
            "4hello\x1ebAQIDBA==",
            vec![Ok(text("4hello")), Ok(binary(&[1, 2, 3, 4]))],
        ),
        ("b", vec![Ok(binary(b""))]),
        ("b\x1eb", vec![Ok(binary(b"")), Ok(binary(b""))]),
        ("4é\x1e🙂", vec![Ok(text("4é")), Ok(text("🙂"))]),
        ("", vec![empty(0)]),
        ("\x1e", vec![empty(0)]),
        ("4a\x1e", vec![Ok(text("4a")), empty(1)]),
        ("4a\x1e\x1e4b", vec![Ok(text("4a")), empty(1)]),
        ("b!\x1e4a", vec![Err(PayloadError::Base64 { index: 0 })]),
        (
            "4a\x1eb🙂",
            vec![Ok(text("4a")), Err(PayloadError::Base64 { index: 1 })],
        ),
        (
            "2\x1e2\x1e2\x1e2",
            vec![
                Ok(text("2")),
                Ok(text("2")),
                Ok(text("2")),
                Err(PayloadError::TooManyPackets { limit: 3 }),
            ],
        ),
        ("4234567890", vec![Ok(text("4234567890"))]),
        (
            "42345678901",
            vec![Err(PayloadError::TooLarge { len: 11, limit: 10 })],
        ),
        ("bMTIzNDU2Nzg5MA==", vec![Ok(binary(b"1234567890"))]),
        ("bMTIzNDU2Nzg5MA", vec![Ok(binary(b"1234567890"))]),
        (
            "bMTIzNDU2Nzg5MDE=",
            vec![Err(PayloadError::TooLarge { len: 11, limit: 10 })],
        ),
    ];
    for (body, expected) in table {
        let frames: Vec<_> = payload::decode(body.into(), 3, 10).collect();
        assert_eq!(frames, expected, "{body:?}");
    }
}

#[test]
fn payload_writer_keeps_its_limit_but_for_the_first_frame() {
    let mut writer = PayloadWriter::new(8);
    assert!(writer.is_empty());
    assert_eq!(writer.push(&text("4long enough")), Ok(()));
    assert_eq!(writer.push(&text("2")), Err(Full));
    assert_eq!(writer.finish(), "4long enough");

    let mut writer = PayloadWriter::new(8);
    assert_eq!(writer.push(&text("4a")), Ok(()));
    assert_eq!(writer.push(&binary(&[1, 2, 3, 4])), Err(Full));
    assert_eq!(writer.push(&binary(&[1, 2, 3])), Ok(()));
    assert_eq!(writer.push(&text("6")), Err(Full));
    assert!(!writer.is_empty());
    assert_eq!(writer.finish(), "4a\x1ebAQID");

    let mut writer = PayloadWriter::new(8);
    assert_eq!(writer.push(&binary(b"")), Ok(()));
    assert_eq!(writer.push(&binary(b"")), Ok(()));
    assert_eq!(writer.finish(), "b\x1eb");
    assert_eq!(PayloadWriter::new(8).finish(), "");
}

#[test]
fn queries() {
    use HandshakeError::*;
    use Method::*;
    use TransportKind::{Polling, WebSocket};
    const SID: &str = "TOY1qTTymaxOa0FUAAAB";
    let request = |transport, known: bool| {
        Ok(Request {
            transport,
            sid: known.then(|| Sid::parse(SID).unwrap()),
            base64: false,
        })
    };
    let table = [
        (
            "EIO=4&transport=polling",
            Get,
            false,
            request(Polling, false),
        ),
        (
            "EIO=4&transport=polling&t=ypofbnzw",
            Get,
            false,
            request(Polling, false),
        ),
        (
            "transport=polling&EIO=4&sid=",
            Get,
            false,
            request(Polling, false),
        ),
        (
            "EIO=4&transport=websocket",
            Get,
            true,
            request(WebSocket, false),
        ),
        (
            "EIO=4&transport=polling&sid=TOY1qTTymaxOa0FUAAAB",
            Get,
            false,
            request(Polling, true),
        ),
        (
            "EIO=4&transport=polling&sid=TOY1qTTymaxOa0FUAAAB",
            Post,
            false,
            request(Polling, true),
        ),
        (
            "EIO=4&transport=websocket&sid=TOY1qTTymaxOa0FUAAAB",
            Get,
            true,
            request(WebSocket, true),
        ),
        (
            "EIO=4&transport=%70olling&sid=TOY1qTTymaxOa0FUAAA%42",
            Get,
            false,
            request(Polling, true),
        ),
        (
            "transport=polling&sid=TOY1qTTymaxOa0FUAAAB",
            Get,
            false,
            request(Polling, true),
        ),
        (
            "EIO=3&EIO=4&transport=abc&transport=polling",
            Get,
            false,
            request(Polling, false),
        ),
        ("", Get, false, Err(UnknownTransport)),
        ("EIO=4", Get, false, Err(UnknownTransport)),
        ("EIO=4&transport=abc", Get, false, Err(UnknownTransport)),
        (
            "EIO=4&transport=webtransport",
            Get,
            true,
            Err(UnknownTransport),
        ),
        ("EIO=4&transport", Get, false, Err(UnknownTransport)),
        ("EIO=4&transport=%", Get, false, Err(UnknownTransport)),
        ("EIO=4&transport=%ff%é", Get, false, Err(UnknownTransport)),
        (
            "transport=polling",
            Get,
            false,
            Err(UnsupportedProtocolVersion),
        ),
        (
            "EIO=3&transport=polling",
            Get,
            false,
            Err(UnsupportedProtocolVersion),
        ),
        (
            "EIO=abc&transport=websocket",
            Get,
            true,
            Err(UnsupportedProtocolVersion),
        ),
        (
            "EIO=4&transport=polling",
            Post,
            false,
            Err(BadHandshakeMethod),
        ),
        (
            "EIO=4&transport=polling",
            Other,
            false,
            Err(BadHandshakeMethod),
        ),
        (
            "EIO=4&transport=polling",
            Options,
            false,
            Err(BadHandshakeMethod),
        ),
        ("EIO=4&transport=websocket", Get, false, Err(BadRequest)),
        ("EIO=4&transport=polling", Get, true, Err(BadRequest)),
        (
            "EIO=4&transport=polling&sid=TOY1qTTymaxOa0FUAAAB",
            Other,
            false,
            Err(BadRequest),
        ),
        (
            "EIO=4&transport=websocket&sid=TOY1qTTymaxOa0FUAAAB",
            Post,
            false,
            Err(BadRequest),
        ),
        (
            "EIO=4&transport=polling&sid=abc",
            Get,
            false,
            Err(UnknownSid),
        ),
        (
            "EIO=4&transport=polling&sid=abc",
            Post,
            false,
            Err(UnknownSid),
        ),
        (
            "EIO=4&transport=polling&sid=+OY1qTTymaxOa0FUAAAB",
            Get,
            false,
            Err(UnknownSid),
        ),
        (
            "EIO=4&transport=websocket&sid=é",
            Get,
            true,
            Err(UnknownSid),
        ),
        // Several faults: the official server's order.
        (
            "EIO=3&transport=polling",
            Post,
            false,
            Err(BadHandshakeMethod),
        ),
        (
            "EIO=3&transport=polling&sid=abc",
            Post,
            false,
            Err(UnknownSid),
        ),
        (
            "EIO=3&transport=abc&sid=abc",
            Post,
            false,
            Err(UnknownTransport),
        ),
    ];
    for (query, method, websocket, expected) in table {
        assert_eq!(
            parse_query(query, method, websocket),
            expected,
            "{query:?} {method:?} {websocket}"
        );
    }
    assert!(
        parse_query("EIO=4&transport=polling&b64=1", Get, false)
            .unwrap()
            .base64
    );
}

#[test]
fn refusals_read_as_the_official_server_s() {
    use HandshakeError::*;
    let all = [
        UnknownTransport,
        UnknownSid,
        BadHandshakeMethod,
        BadRequest,
        Forbidden,
        UnsupportedProtocolVersion,
    ];
    for (code, error) in (0_u8..).zip(all) {
        assert_eq!(error.code(), code);
        assert_eq!(
            error.body(),
            format!(r#"{{"code":{code},"message":"{}"}}"#, error.message())
        );
        assert_eq!(error.to_string(), error.message());
        assert_eq!(error.status(), if error == Forbidden { 403 } else { 400 });
    }
}

const INTERVAL: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_millis(200);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn heartbeat() {
    let start = Instant::now();
    let mut session = EngineSession::new(INTERVAL, TIMEOUT, start);
    assert_eq!(session.deadline(), start + INTERVAL);
    assert_eq!(session.poll(start + ms(299)), Ok(None));
    for round in 0..3 {
        let begin = start + round * ms(350);
        assert_eq!(
            session.poll(begin + INTERVAL),
            Ok(Some(Packet::Ping { probe: false }))
        );
        assert_eq!(
            session.poll(begin + INTERVAL),
            Ok(None),
            "a ping is sent once"
        );
        assert_eq!(session.deadline(), begin + INTERVAL + TIMEOUT);
        assert_eq!(
            session.receive(text("3"), begin + ms(350)),
            Ok(Received::Nothing)
        );
        assert_eq!(session.deadline(), begin + ms(650));
    }
    let begin = start + ms(3 * 350);
    assert!(session.poll(begin + INTERVAL).unwrap().is_some());
    assert_eq!(session.poll(begin + ms(499)), Ok(None));
    assert_eq!(session.poll(begin + ms(500)), Err(CloseReason::PingTimeout));
    assert!(session.is_closed());
    assert_eq!(session.poll(begin + ms(999)), Ok(None), "it ends once");
    assert_eq!(
        session.receive(text("4late"), begin + ms(999)),
        Ok(Received::Nothing)
    );
}

#[test]
fn other_frames_are_no_sign_of_life() {
    let start = Instant::now();
    let mut session = EngineSession::new(INTERVAL, TIMEOUT, start);
    session.poll(start + INTERVAL).unwrap();
    assert_eq!(
        session.receive(text("4x"), start + ms(400)),
        Ok(Received::Message("x".into()))
    );
    assert_eq!(session.poll(start + ms(500)), Err(CloseReason::PingTimeout));
}

#[test]
fn frames_of_a_session() {
    let bad = |error| Err(CloseReason::BadPacket(error));
    let table = [
        (text("4hello"), Ok(Received::Message("hello".into()))),
        (binary(&[1]), Ok(Received::Binary(Bytes::from_static(&[1])))),
        (
            text("bAQ=="),
            Ok(Received::Binary(Bytes::from_static(&[1]))),
        ),
        (text("3"), Ok(Received::Nothing)),
        (text("3probe"), Ok(Received::Nothing)),
        (text("1"), Ok(Received::Closed)),
        (text("5"), Ok(Received::Nothing)),
        (text("6"), Ok(Received::Nothing)),
        (text("0"), Ok(Received::Nothing)),
        (text(OPEN), Ok(Received::Nothing)),
        (text("2"), Err(CloseReason::HeartbeatDirection)),
        (text("2probe"), Err(CloseReason::HeartbeatDirection)),
        (text(""), bad(PacketError::Empty)),
        (text("abc"), bad(PacketError::UnknownType { byte: b'a' })),
        (text("é"), bad(PacketError::UnknownType { byte: 0xc3 })),
        (text("b?"), bad(PacketError::Base64)),
    ];
    let now = Instant::now();
    for (frame, expected) in table {
        let mut session = EngineSession::new(INTERVAL, TIMEOUT, now);
        assert_eq!(session.receive(frame.clone(), now), expected, "{frame:?}");
        let ends = matches!(expected, Ok(Received::Closed) | Err(_));
        assert_eq!(session.is_closed(), ends, "{frame:?}");
    }
}

#[test]
fn probes() {
    let pong = || Ok(ProbeStep::ReplyPong);
    let upgrade = || Ok(ProbeStep::Upgrade);
    let unexpected = || Err(ProbeError::Unexpected);
    let table: [(&[&str], _); 11] = [
        (&["2probe"], pong()),
        (&["2probe", "2probe"], pong()),
        (&["2probe", "5"], upgrade()),
        (&["5"], upgrade()),
        (&["5", "4x"], unexpected()),
        (&["2"], unexpected()),
        (&["2probe", "4x"], unexpected()),
        (&["2probe", "4x", "5"], unexpected()),
        (&["3probe"], unexpected()),
        (
            &["éabcd"],
            Err(ProbeError::Packet(PacketError::UnknownType { byte: 0xc3 })),
        ),
        (&[""], Err(ProbeError::Packet(PacketError::Empty))),
    ];
    for (frames, expected) in table {
        let mut probe = Probe::default();
        let last = frames.iter().map(|frame| probe.receive(text(frame))).last();
        assert_eq!(last.unwrap(), expected, "{frames:?}");
    }
    assert_eq!(Probe::default().receive(binary(b"5")), unexpected());
}

#[test]
fn reasons() {
    let table = [
        (
            CloseReason::PingTimeout,
            "ping timeout",
            Initiator::Network,
            true,
            1000,
        ),
        (
            CloseReason::ClientClosed,
            "transport close",
            Initiator::Client,
            true,
            1000,
        ),
        (
            CloseReason::TransportClosed,
            "transport close",
            Initiator::Network,
            true,
            1000,
        ),
        (
            CloseReason::TransportError,
            "transport error",
            Initiator::Network,
            true,
            1011,
        ),
        (
            CloseReason::HeartbeatDirection,
            "transport error",
            Initiator::Client,
            false,
            1002,
        ),
        (
            PacketError::Empty.into(),
            "parse error",
            Initiator::Client,
            false,
            1002,
        ),
        (
            PayloadError::TooManyPackets { limit: 1 }.into(),
            "parse error",
            Initiator::Client,
            false,
            1002,
        ),
        (
            framing::error::ProtocolError::Empty.into(),
            "forced close",
            Initiator::Client,
            false,
            1002,
        ),
        (
            CloseReason::NotConnected(framing::socket::Namespace::root()),
            "forced server close",
            Initiator::Client,
            false,
            1002,
        ),
        (
            CloseReason::TooManyNamespaces { limit: 1 },
            "forced server close",
            Initiator::Client,
            false,
            1008,
        ),
        (
            CloseReason::TooManyEarlyEvents,
            "forced server close",
            Initiator::Client,
            false,
            1008,
        ),
        (
            CloseReason::ConnectTimeout,
            "forced server close",
            Initiator::Client,
            true,
            1008,
        ),
        (
            CloseReason::TooLarge { limit: 1 },
            "transport error",
            Initiator::Client,
            false,
            1009,
        ),
        (
            CloseReason::SlowConsumer,
            "forced close",
            Initiator::Server,
            true,
            1013,
        ),
        (
            CloseReason::ShuttingDown,
            "server shutting down",
            Initiator::Server,
            true,
            1012,
        ),
        (
            CloseReason::ServerDisconnect,
            "server namespace disconnect",
            Initiator::Server,
            false,
            1000,
        ),
    ];
    for (reason, text, initiator, retry, code) in table {
        let of = (
            reason.text(),
            reason.initiator(),
            reason.may_retry(),
            reason.websocket_code(),
        );
        assert_eq!(of, (text, initiator, retry, code), "{reason:?}");
        assert!(!reason.to_string().is_empty());
    }
}

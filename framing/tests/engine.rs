//! Engine.IO packets and polling payloads.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::time::Duration;

use framing::engine::payload::{self, Full, PayloadWriter};
use framing::engine::{Open, Packet, Sid};
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
    let on_websocket = Packet::Open(Open { upgrades: false, ..open() });
    assert_eq!(on_websocket.encode(), text(&OPEN.replace(r#"["websocket"]"#, "[]")));
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
        ("4test1\x1e4test2\x1e4test3", vec![Ok(text("4test1")), Ok(text("4test2")), Ok(text("4test3"))]),
        ("4hello\x1ebAQIDBA==", vec![Ok(text("4hello")), Ok(binary(&[1, 2, 3, 4]))]),
        ("b", vec![Ok(binary(b""))]),
        ("b\x1eb", vec![Ok(binary(b"")), Ok(binary(b""))]),
        ("4é\x1e🙂", vec![Ok(text("4é")), Ok(text("🙂"))]),
        ("", vec![empty(0)]),
        ("\x1e", vec![empty(0)]),
        ("4a\x1e", vec![Ok(text("4a")), empty(1)]),
        ("4a\x1e\x1e4b", vec![Ok(text("4a")), empty(1)]),
        ("b!\x1e4a", vec![Err(PayloadError::Base64 { index: 0 })]),
        ("4a\x1eb🙂", vec![Ok(text("4a")), Err(PayloadError::Base64 { index: 1 })]),
        (
            "2\x1e2\x1e2\x1e2",
            vec![Ok(text("2")), Ok(text("2")), Ok(text("2")), Err(PayloadError::TooManyPackets { limit: 3 })],
        ),
        ("4234567890", vec![Ok(text("4234567890"))]),
        ("42345678901", vec![Err(PayloadError::TooLarge { len: 11, limit: 10 })]),
        ("bMTIzNDU2Nzg5MA==", vec![Ok(binary(b"1234567890"))]),
        ("bMTIzNDU2Nzg5MA", vec![Ok(binary(b"1234567890"))]),
        ("bMTIzNDU2Nzg5MDE=", vec![Err(PayloadError::TooLarge { len: 11, limit: 10 })]),
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

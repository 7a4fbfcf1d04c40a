//! Bugs that other servers had, one test each, named after what went wrong there.
//!
//! The numbers are issues of socketioxide and engineioxide, as far as they concern parsing
//! and sequencing; the CVEs are those of the official parser and server.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::time::{Duration, Instant};

use framing::close::CloseReason;
use framing::engine::{
    EngineSession, HandshakeError, Method, Packet, Probe, ProbeError, Received, parse_query, payload,
};
use framing::error::{PacketError, ProtocolError};
use framing::frame::Frame;
use framing::limits::Limits;
use framing::socket::{self, Action, Decoder, Namespace, SocketSession};
use framing::{ByteString, Bytes};

fn text(text: &str) -> Frame {
    Frame::Text(text.into())
}

fn decoder() -> Decoder {
    Decoder::new(Limits::default())
}

fn session() -> SocketSession {
    SocketSession::new(Limits::default(), Instant::now() + Duration::from_secs(45))
}

#[test]
fn packet_that_begins_with_a_multibyte_character_794() {
    for start in ["é", "你", "🙂", "\u{7ff}", "\u{10ffff}"] {
        assert!(matches!(Packet::decode(text(start)), Err(PacketError::UnknownType { .. })));
        assert!(matches!(
            Packet::decode(text(&format!("{start}probe"))),
            Err(PacketError::UnknownType { .. })
        ));
        assert!(matches!(decoder().text(start.into()), Err(ProtocolError::UnknownType { .. })));
        for kind in 0..=6 {
            let _ = decoder().text(format!("{kind}{start}").into());
            let _ = decoder().text(format!("{kind}1-{start}").into());
            let _ = decoder().text(format!("{kind}/{start}").into());
            let _ = decoder().text(format!("{kind}/n,1{start}").into());
        }
        assert!(Packet::decode(text(&format!("b{start}"))).is_err());
    }
}

#[test]
fn probe_of_six_bytes_cut_inside_a_character() {
    assert_eq!(
        Probe::default().receive(text("éabcd")),
        Err(ProbeError::Packet(PacketError::UnknownType { byte: 0xc3 }))
    );
    assert_eq!(Probe::default().receive(text("2prob\u{e9}")), Err(ProbeError::Unexpected));
}

#[test]
fn packet_cut_short_794() {
    let whole = r#"51-/llm,7["$stream-write","é🙂",{"_placeholder":true,"num":0},"buffer"]"#;
    for (end, _) in whole.char_indices() {
        let _ = decoder().text(whole[..end].into());
        let _ = Packet::decode(text(&whole[..end]));
    }
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        for closed in [true, false] {
            let mut deep = format!("2[1,{}", open.repeat(1_000_000));
            if closed {
                deep.push_str(&format!("1{}]", close.repeat(1_000_000)));
            }
            let error = decoder().text(deep.into()).unwrap_err();
            assert!(matches!(error, ProtocolError::Json(framing::error::JsonError::TooDeep { .. })));
        }
    }
}

#[test]
fn unlimited_attachments_ghsa_55mf_67qm_4wpg_and_cve_2026_33151() {
    assert!(decoder().text(r#"564-["x"]"#.into()).is_ok());
    assert_eq!(
        decoder().text(r#"565-["x"]"#.into()),
        Err(ProtocolError::TooManyAttachments { count: 65, limit: 64 })
    );
    assert!(decoder().text(r#"54294967296-["x"]"#.into()).is_err());
    assert!(decoder().text(r#"518446744073709551617-["x"]"#.into()).is_err());
}

#[test]
fn attachments_that_outgrow_memory_together() {
    let limits = Limits { max_payload: 100, ..Limits::default() };
    let mut decoder = Decoder::new(limits);
    decoder.text(r#"510-["x"]"#.into()).unwrap();
    decoder.binary(vec![0; 60].into()).unwrap();
    assert_eq!(decoder.binary(vec![0; 60].into()), Err(ProtocolError::TooLarge { len: 120, limit: 100 }));
}

#[test]
fn base64_binary_whose_text_begins_with_4() {
    let mut frames = payload::decode("b4Q==".into(), 10, 100);
    assert_eq!(frames.next(), Some(Ok(Frame::Binary(Bytes::from_static(&[0xe1])))));
    assert_eq!(frames.next(), None);
    assert_eq!(Packet::decode(text("b4Q==")), Ok(Packet::Binary(Bytes::from_static(&[0xe1]))));
}

#[test]
fn text_in_the_middle_of_a_binary_packet_811() {
    let mut session = session();
    session.text("0".into()).unwrap();
    session.accepted(&Namespace::root());
    assert_eq!(session.text(r#"51-["x",{"_placeholder":true,"num":0}]"#.into()), Ok(None));
    assert_eq!(
        session.text(r#"2["y"]"#.into()),
        Err(CloseReason::ParseError(ProtocolError::TextInsteadOfAttachment { missing: 1 }))
    );
}

#[test]
fn binary_frames_directly_follow_their_head_232() {
    assert_eq!(decoder().binary(Bytes::from_static(b"x")), Err(ProtocolError::AttachmentWithoutHead));
    let mut decoder = decoder();
    assert!(decoder.text("2[1]".into()).unwrap().is_some());
    assert_eq!(decoder.binary(Bytes::new()), Err(ProtocolError::AttachmentWithoutHead));
}

#[test]
fn duplicate_connect_does_not_authenticate_again_801() {
    let mut session = session();
    let connect = |session: &mut SocketSession| session.text(r#"0/llm,{"key":"k"}"#.into()).unwrap();
    assert!(matches!(connect(&mut session), Some(Action::Connect { .. })));
    assert_eq!(connect(&mut session), None, "while joining");
    let ns = Namespace::from_static("/llm");
    session.accepted(&ns);
    assert_eq!(connect(&mut session), None, "when joined");
    assert!(session.is_connected(&ns));
}

const INTERVAL: Duration = Duration::from_secs(25);
const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn an_early_extra_pong_is_not_a_timeout_817() {
    let start = Instant::now();
    let mut session = EngineSession::new(INTERVAL, TIMEOUT, start);
    for _ in 0..3 {
        assert_eq!(session.receive(text("3"), start + TIMEOUT), Ok(Received::Nothing));
    }
    assert!(session.poll(start + INTERVAL).unwrap().is_some());
    for _ in 0..3 {
        assert_eq!(session.receive(text("3"), start + INTERVAL), Ok(Received::Nothing));
    }
    assert_eq!(session.poll(start + INTERVAL + TIMEOUT), Ok(None));
    assert!(session.poll(start + INTERVAL + INTERVAL).unwrap().is_some());
}

#[test]
fn the_first_ping_is_sent_once() {
    let start = Instant::now();
    let mut session = EngineSession::new(INTERVAL, TIMEOUT, start);
    assert_eq!(session.poll(start), Ok(None));
    assert!(session.poll(start + INTERVAL).unwrap().is_some());
    assert_eq!(session.poll(start + INTERVAL), Ok(None));
    assert_eq!(session.poll(start + INTERVAL + TIMEOUT / 2), Ok(None));
}

#[test]
fn a_malformed_sid_is_unknown_not_a_new_session_815() {
    for sid in [
        "x",
        "..",
        "null",
        "undefined",
        "AAAAAAAAAAAAAAAAAAAAA",
        "%00",
        "%F0%9F%99%82",
        "AAAAAAAAAAAAAAAAAAA%0A",
    ] {
        for method in [Method::Get, Method::Post] {
            let query = format!("EIO=4&transport=polling&sid={sid}");
            assert_eq!(parse_query(&query, method, false), Err(HandshakeError::UnknownSid), "{sid}");
        }
    }
}

#[test]
fn a_waiting_packet_does_not_pin_the_read_buffer() {
    let within = |part: &[u8], buffer: &Bytes| buffer.as_ptr_range().contains(&part.as_ptr());
    let head = r#"52-/llm,["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let buffer = Bytes::from([head.as_bytes(), b"first", &[0; 60_000], b"last"].concat());
    let head_slice = ByteString::try_from(buffer.slice(..head.len())).unwrap();

    let mut decoder = decoder();
    assert_eq!(decoder.text(head_slice), Ok(None));
    assert_eq!(decoder.binary(buffer.slice(head.len()..head.len() + 5)), Ok(None));
    let last = buffer.slice(buffer.len() - 4..);
    let Ok(Some(socket::Packet::Event { ns, event })) = decoder.binary(last) else {
        panic!("a whole packet");
    };
    assert!(!within(ns.as_str().as_bytes(), &buffer));
    assert!(!within(event.name.as_text().unwrap().as_bytes(), &buffer));
    assert!(event.args.iter().all(|arg| !within(arg.as_str().as_bytes(), &buffer)));
    assert_eq!(event.attachments[0], "first");
    assert!(!within(&event.attachments[0], &buffer));
    assert!(within(&event.attachments[1], &buffer), "what need not wait is shared");
}

#[test]
fn a_joined_namespace_does_not_pin_the_read_buffer() {
    let buffer = ByteString::from("0/llm,{}");
    let mut session = session();
    let Ok(Some(Action::Connect { ns, .. })) = session.text(buffer.clone()) else {
        panic!("a connect");
    };
    assert!(!buffer.as_bytes().as_ptr_range().contains(&ns.as_str().as_ptr()));
}

#[test]
fn placeholder_type_confusion_cve_2022_2421() {
    for num in ["\"splice\"", "null", "{}", "[]", "true", "-1", "1", "1e1", "0.1", "18446744073709551616"] {
        let head = format!(r#"51-["x",{{"_placeholder":true,"num":{num}}}]"#);
        assert_eq!(decoder().text(head.into()), Err(ProtocolError::Placeholder), "{num}");
    }
}

#[test]
fn event_name_type_confusion_cve_2023_32695() {
    for name in ["{\"toString\":\"foo\"}", "[\"x\"]", "true", "{}"] {
        assert_eq!(decoder().text(format!("2[{name}]").into()), Err(ProtocolError::EventName), "{name}");
    }
}

#[test]
fn zero_attachments_do_not_block_the_next_packet() {
    // The official decoder keeps waiting for an attachment after such a packet.
    let mut decoder = decoder();
    for _ in 0..2 {
        assert!(decoder.text(r#"50-["x"]"#.into()).unwrap().is_some());
    }
}

#[test]
fn null_event_with_attachments_takes_them_along() {
    let mut decoder = decoder();
    assert_eq!(decoder.text(r#"51-/llm,[null,{"_placeholder":true,"num":0}]"#.into()), Ok(None));
    assert_eq!(decoder.binary(Bytes::from_static(b"x")), Ok(None));
    assert!(decoder.text("2[1]".into()).unwrap().is_some());
}

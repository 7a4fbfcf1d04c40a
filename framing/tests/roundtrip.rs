//! `decode(encode(x)) == x` for packets, payloads and heads made from their parts, and the
//! bytes of what the server writes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::time::Duration;

use framing::encoded::Encoded;
use framing::engine::payload::{self, PayloadWriter};
use framing::engine::{Open, Packet, Sid};
use framing::frame::Frame;
use framing::json::{RawJson, quoted};
use framing::limits::Limits;
use framing::socket::{self, Decoder, Event, EventName, Namespace};
use framing::{ByteString, Bytes};
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn text() -> impl Strategy<Value = ByteString> {
    any::<String>().prop_map(ByteString::from)
}

fn open() -> impl Strategy<Value = Open> {
    (any::<[u8; 15]>(), any::<bool>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
        |(random, upgrades, interval, timeout, max_payload)| Open {
            sid: Sid::from_random(random),
            upgrades,
            ping_interval: Duration::from_millis(interval.into()),
            ping_timeout: Duration::from_millis(timeout.into()),
            max_payload: max_payload as usize,
        },
    )
}

fn engine_packet() -> impl Strategy<Value = Packet> {
    prop_oneof![
        open().prop_map(Packet::Open),
        Just(Packet::Close),
        any::<bool>().prop_map(|probe| Packet::Ping { probe }),
        any::<bool>().prop_map(|probe| Packet::Pong { probe }),
        text().prop_map(Packet::Message),
        bytes().prop_map(Packet::Binary),
        Just(Packet::Upgrade),
        Just(Packet::Noop),
    ]
}

fn namespace() -> impl Strategy<Value = Namespace> {
    prop_oneof![Just(Namespace::root()), "/[^,]{0,20}".prop_map(|name| Namespace::new(name.into()).unwrap())]
}

/// An argument without attachments.
fn argument() -> impl Strategy<Value = RawJson> {
    prop_oneof![
        any::<String>().prop_map(|text| RawJson::string(&text)),
        any::<i64>().prop_map(|number| RawJson::parse(number.to_string().into(), 0).unwrap()),
        (any::<String>(), any::<bool>()).prop_map(|(key, value)| {
            RawJson::parse(format!("{{{}:[{value},null]}}", quoted(&key)).into(), 2).unwrap()
        }),
        Just(RawJson::from_static(r#"{"text":"\ud83d"}"#)),
    ]
}

/// Arguments, and attachments with a placeholder each.
fn payload() -> impl Strategy<Value = (Vec<RawJson>, Vec<Bytes>)> {
    (prop::collection::vec(argument(), 0..5), prop::collection::vec(bytes(), 0..4)).prop_map(
        |(mut args, attachments)| {
            for num in 0..attachments.len() {
                let placeholder = format!(r#"{{"_placeholder":true,"num":{num}}}"#);
                args.push(RawJson::parse(placeholder.into(), 1).unwrap());
            }
            (args, attachments)
        },
    )
}

fn name() -> impl Strategy<Value = EventName> {
    const RESERVED: [&str; 6] =
        ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
    prop_oneof![
        any::<u64>().prop_map(EventName::number),
        any::<String>()
            .prop_filter("reserved", |name| !RESERVED.contains(&name.as_str()))
            .prop_map(EventName::text),
    ]
}

fn ack_id() -> impl Strategy<Value = u64> {
    prop_oneof![0..100_u64, 0..=(1_u64 << 53) - 1]
}

fn decode(encoded: &Encoded) -> Option<socket::Packet> {
    let mut decoder = Decoder::new(Limits::default());
    let mut last = None;
    for frame in encoded.frames() {
        assert_eq!(last, None, "whole at the last frame, not before");
        last = match Packet::decode(frame).unwrap() {
            Packet::Message(text) => decoder.text(text).unwrap(),
            Packet::Binary(data) => decoder.binary(data).unwrap(),
            other => panic!("{other:?}"),
        };
    }
    last
}

fn texts(args: &[RawJson]) -> Vec<&str> {
    args.iter().map(RawJson::as_str).collect()
}

proptest! {
    #[test]
    fn engine_packets(packet in engine_packet()) {
        prop_assert_eq!(Packet::decode(packet.encode()), Ok(packet.clone()));
        let as_text = Frame::Text(packet.encode().into_text());
        prop_assert_eq!(Packet::decode(as_text), Ok(packet.clone()), "as a polling client has it");
        let frames: Vec<_> = Encoded::engine(&packet).frames().collect();
        prop_assert_eq!(frames, [packet.encode()]);
    }

    #[test]
    fn payloads(packets in prop::collection::vec(engine_packet(), 1..8), max in 0..200_usize) {
        let frames: Vec<Frame> = packets
            .iter()
            .map(Packet::encode)
            .filter(|frame| !matches!(frame, Frame::Text(text) if text.contains('\x1e')))
            .collect();
        let mut waiting = &frames[..];
        let mut read = Vec::new();
        while let Some((first, rest)) = waiting.split_first() {
            let mut writer = PayloadWriter::new(max);
            prop_assert_eq!(writer.push(first), Ok(()), "the first frame always fits");
            let fit = rest.iter().take_while(|frame| writer.push(frame).is_ok()).count();
            let body = writer.finish();
            prop_assert!(fit == 0 || body.len() <= max);
            read.extend(payload::decode(ByteString::try_from(body).unwrap(), 100, 10_000).map(Result::unwrap));
            waiting = &rest[fit..];
        }
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn events(ns in namespace(), name in name(), ack in prop::option::of(ack_id()), (args, attachments) in payload()) {
        let encoded = Encoded::event(&ns, ack, &name, &texts(&args), &attachments);
        prop_assert_eq!(encoded.packets(), 1 + attachments.len());
        let sum: usize = encoded.frames().map(|frame| frame.len()).sum();
        prop_assert_eq!(encoded.bytes(), sum);
        let event = Event { name, args, attachments, ack };
        prop_assert_eq!(decode(&encoded), Some(socket::Packet::Event { ns, event }));
    }

    #[test]
    fn acks(ns in namespace(), id in ack_id(), (args, attachments) in payload()) {
        let encoded = Encoded::ack(&ns, id, &texts(&args), &attachments);
        prop_assert_eq!(decode(&encoded), Some(socket::Packet::Ack { ns, id, args, attachments }));
    }

    #[test]
    fn connects_and_disconnects(ns in namespace(), sid in any::<String>()) {
        prop_assert_eq!(decode(&Encoded::disconnect(&ns)), Some(socket::Packet::Disconnect { ns: ns.clone() }));
        let auth = RawJson::from_static("{}").replacing(&[("sid", &quoted(&sid))]);
        let connect = socket::Packet::Connect { ns: ns.clone(), auth: Some(auth) };
        prop_assert_eq!(decode(&Encoded::connect(&ns, &sid)), Some(connect));
    }
}

#[test]
fn what_the_server_writes() {
    let root = Namespace::root();
    let llm = Namespace::from_static("/llm");
    let data = |data: &'static [u8]| Bytes::from_static(data);
    let name = EventName::from_static;
    let table: [(Encoded, &[&str]); 14] = [
        (Encoded::connect(&root, "XbTKRhPHo2rx8uIWAAAF"), &[r#"40{"sid":"XbTKRhPHo2rx8uIWAAAF"}"#]),
        (Encoded::connect(&llm, "x"), &[r#"40/llm,{"sid":"x"}"#]),
        (Encoded::invalid_namespace(&llm), &[r#"44/llm,{"message":"Invalid namespace"}"#]),
        (Encoded::connect_refused(&root, "no \"key\""), &[r#"44{"message":"no \"key\""}"#]),
        (
            Encoded::connect_error(&root, r#"{"message":"not allowed","data":{"code":"E1"}}"#),
            &[r#"44{"message":"not allowed","data":{"code":"E1"}}"#],
        ),
        (Encoded::disconnect(&root), &["41"]),
        (Encoded::disconnect(&llm), &["41/llm,"]),
        (Encoded::event(&root, None, &name("in"), &[], &[]), &[r#"42["in"]"#]),
        (
            Encoded::event(&llm, Some(0), &EventName::number(9), &[r#"{"a":1}"#, "null"], &[]),
            &[r#"42/llm,0[9,{"a":1},null]"#],
        ),
        (
            Encoded::event(&llm, None, &name("b"), &[r#"{"_placeholder":true,"num":0}"#], &[data(b"x")]),
            &[r#"451-/llm,["b",{"_placeholder":true,"num":0}]"#, "b:x"],
        ),
        (Encoded::ack(&root, 0, &[], &[]), &["430[]"]),
        (Encoded::ack(&llm, 12, &["1", "2"], &[data(b""), data(b"y")]), &["462-/llm,12[1,2]", "b:", "b:y"]),
        (Encoded::engine(&Packet::Noop), &["6"]),
        (Encoded::engine(&Packet::Binary(data(b"z"))), &["b:z"]),
    ];
    for (encoded, expected) in table {
        let frames: Vec<_> = encoded
            .frames()
            .map(|frame| match frame {
                Frame::Text(text) => text.to_string(),
                Frame::Binary(data) => format!("b:{}", String::from_utf8_lossy(&data)),
            })
            .collect();
        assert_eq!(frames, expected);
    }
}

#[test]
fn clones_share_the_bytes() {
    let attachment = Bytes::from(vec![1; 100]);
    let encoded = Encoded::event(
        &Namespace::root(),
        None,
        &EventName::number(1),
        &["1"],
        std::slice::from_ref(&attachment),
    );
    let addresses = |encoded: &Encoded| -> Vec<*const u8> {
        encoded
            .frames()
            .map(|frame| match frame {
                Frame::Text(text) => text.as_ptr(),
                Frame::Binary(data) => data.as_ptr(),
            })
            .collect()
    };
    assert_eq!(addresses(&encoded.clone()), addresses(&encoded));
    assert_eq!(addresses(&encoded)[1], attachment.as_ptr());
}

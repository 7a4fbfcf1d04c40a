//! Messages of clients, and what they mean: one table, one check.
//!
//! A row is a sequence of messages and what the session makes of the last of them. Rows
//! marked (trace) are frames of real programs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::time::Instant;

use framing::close::CloseReason;
use framing::limits::Limits;
use framing::socket::{Action, Decoder, EventName, Packet, SocketSession};
use framing::{ByteString, Bytes};

enum Message {
    T(&'static str),
    B(&'static [u8]),
}
use Message::{B, T};

const LIMITS: Limits = Limits { max_payload: 1000, max_attachments: 4, max_depth: 3, max_namespaces: 3 };

/// Feeds a fresh decoder; the answer to the last message as text.
fn decode(messages: &[Message]) -> String {
    let mut decoder = Decoder::new(LIMITS);
    let mut last = String::new();
    for message in messages {
        let packet = match message {
            T(text) => decoder.text(ByteString::from_static(text)),
            B(data) => decoder.binary(Bytes::from_static(data)),
        };
        last = match packet {
            Ok(None) => "-".to_owned(),
            Ok(Some(packet)) => show(&packet),
            Err(error) => format!("error: {error}"),
        };
    }
    last
}

fn show(packet: &Packet) -> String {
    let list = |args: &[framing::json::RawJson]| args.iter().map(|arg| format!(" {arg}")).collect::<String>();
    let binary = |attachments: &[Bytes]| match attachments {
        [] => String::new(),
        some => format!(" + {:?}", some.iter().map(|part| &part[..]).collect::<Vec<_>>()),
    };
    match packet {
        Packet::Connect { ns, auth } => {
            format!("connect {ns}{}", auth.as_ref().map(|auth| format!(" {auth}")).unwrap_or_default())
        }
        Packet::Disconnect { ns } => format!("disconnect {ns}"),
        Packet::Event { ns, event } => format!(
            "event {ns} {:?}{}{}{}",
            event.name,
            list(&event.args),
            binary(&event.attachments),
            event.ack.map(|id| format!(" ack {id}")).unwrap_or_default(),
        ),
        Packet::Ack { ns, id, args, attachments } => {
            format!("ack {ns} {id}{}{}", list(args), binary(attachments))
        }
    }
}

#[test]
fn messages() {
    const ONE: &str = r#"51-["e",{"_placeholder":true,"num":0}]"#;
    let table: &[(&[Message], &str)] = &[
        // CONNECT
        (&[T("0")], "connect /"),
        (&[T("0{}")], "connect / {}"),
        (&[T("0/,{}")], "connect / {}"),
        (&[T("0/custom")], "connect /custom"),
        (&[T("0/custom,")], "connect /custom"),
        (
            &[T(r#"0/llm,{"clientType":"web-app","clientId":"my-app","key":"k"}"#)],
            r#"connect /llm {"clientType":"web-app","clientId":"my-app","key":"k"}"#,
        ),
        (
            &[T(r#"0/clients,{"late":true,"text":"你好 🙂"}"#)],
            r#"connect /clients {"late":true,"text":"你好 🙂"}"#,
        ),
        (&[T("07{}")], "connect / {}"),
        (&[T("0 {} ")], "connect / {}"),
        (&[T("0/ns?token=1,{}")], "connect /ns?token=1 {}"),
        (&[T("0[]")], "error: connect packet must carry an object or nothing"),
        (&[T("0null")], "error: connect packet must carry an object or nothing"),
        (&[T("0\"x\"")], "error: connect packet must carry an object or nothing"),
        (&[T("0{")], "error: payload: unexpected end of json"),
        (&[T("0{}x")], "error: payload: unexpected byte 0x78 at 2 in json"),
        // DISCONNECT
        (&[T("1")], "disconnect /"),
        (&[T("1/llm,")], "disconnect /llm"),
        (&[T("1/custom")], "disconnect /custom"),
        (&[T("1{}")], "error: disconnect packet must carry nothing"),
        (&[T("1/llm,false")], "error: disconnect packet must carry nothing"),
        // EVENT (spec §1.2)
        (&[T(r#"2["x"]"#)], r#"event / "x""#),
        (
            &[T(r#"2/llm,0[9,{"target":"SillyTavern-8000","requestId":"r1","message":"hi"}]"#)],
            r#"event /llm 9 {"target":"SillyTavern-8000","requestId":"r1","message":"hi"} ack 0"#,
        ),
        (&[T("2/auth,4[33]")], "event /auth 33 ack 4"),
        (
            &[T(r#"21["echo","text",1.5,true,null,{"a":[{}]},"  \"quoted\" \\ 🙂 你好"]"#)],
            r#"event / "echo" "text" 1.5 true null {"a":[{}]} "  \"quoted\" \\ 🙂 你好" ack 1"#,
        ),
        (
            &[T(r#"2[9.0,1e400,-0,123456789012345678901234567890]"#)],
            "event / 9.0 1e400 -0 123456789012345678901234567890",
        ),
        (&[T(" 2[1]")], "error: unknown socket.io packet type 0x20"),
        (&[T("2 [ 1 ,\t2\r\n] ")], "event / 1 2"),
        (&[T(r#"2["\ud83d","\ude00"]"#)], r#"event / "�" "\ude00""#),
        (&[T(r#"2["a","\ud83d"]"#)], r#"event / "a" "\ud83d""#),
        (&[T("2007[1]")], "event / 1 ack 7"),
        (&[T("29007199254740991[1]")], "event / 1 ack 9007199254740991"),
        (&[T("29007199254740992[1]")], "error: ack id too large"),
        (&[T("299999999999999999999999[1]")], "error: ack id too large"),
        (&[T("2")], "-"),
        (&[T("2[null]")], "-"),
        (&[T(r#"2/llm,3[null,{"clientId":"x"}]"#)], "-"),
        (&[T(r#"2[null,{"clientId":"SillyTavern-8000"}]"#), T("2[1]")], "event / 1"),
        (&[T("2[]")], "error: event without a name"),
        (&[T("2[true]")], "error: event without a name"),
        (&[T("2[[]]")], "error: event without a name"),
        (&[T("2[{}]")], "error: event without a name"),
        (&[T("2{}")], "error: event packet must carry an array"),
        (&[T("2\"x\"")], "error: event packet must carry an array"),
        (&[T("2abc[1]")], "error: payload: unexpected byte 0x61 at 0 in json"),
        (&[T("2-1[1]")], "error: payload: unexpected byte 0x5b at 2 in json"),
        (&[T("21.5[1]")], "error: payload: unexpected byte 0x2e at 0 in json"),
        (&[T(r#"2["connect"]"#)], r#"error: reserved event name "connect""#),
        (&[T(r#"2["connect_error"]"#)], r#"error: reserved event name "connect_error""#),
        (&[T(r#"2["disconnect"]"#)], r#"error: reserved event name "disconnect""#),
        (&[T(r#"2["disconnecting"]"#)], r#"error: reserved event name "disconnecting""#),
        (&[T(r#"2["newListener"]"#)], r#"error: reserved event name "newListener""#),
        (&[T(r#"2["removeListener"]"#)], r#"error: reserved event name "removeListener""#),
        (&[T(r#"2["\u0063onnect"]"#)], r#"error: reserved event name "connect""#),
        (&[T(r#"2["Connect"]"#)], r#"event / "Connect""#),
        // depth: three levels inside an argument
        (&[T("2[1,[[[]]]]")], "event / 1 [[[]]]"),
        (&[T("2[1,[[[[]]]]]")], "error: payload: json nested deeper than 4"),
        (&[T(r#"0{"a":{"b":{}}}"#)], r#"connect / {"a":{"b":{}}}"#),
        (&[T(r#"0{"a":{"b":{"c":{}}}}"#)], "error: payload: json nested deeper than 3"),
        // ACK
        (&[T("30[]")], "ack / 0"),
        (&[T("3/llm,12[1,\"two\"]")], "ack /llm 12 1 \"two\""),
        (&[T("37")], "ack / 7"),
        (&[T("3[1]")], "-"),
        (&[T("30{}")], "error: ack packet must carry an array"),
        // BINARY_EVENT, BINARY_ACK
        (&[T(ONE)], "-"),
        (&[T(ONE), B(b"abc")], r#"event / "e" {"_placeholder":true,"num":0} + [[97, 98, 99]]"#),
        (
            &[T(r#"51-/llm,7["$stream-write","<id>",{"_placeholder":true,"num":0},"buffer"]"#), B(b"")],
            r#"event /llm "$stream-write" "<id>" {"_placeholder":true,"num":0} "buffer" + [[]] ack 7"#,
        ),
        (
            &[
                T(
                    r#"54-0["bin",{"_placeholder":true,"num":0},{"a":{"_placeholder":true,"num":1},"b":[{"_placeholder":true,"num":2}]},{"_placeholder":true,"num":3}]"#,
                ),
                B(&[1, 2, 3]),
                B(b"zwei"),
                B(b""),
                B(&[255, 0]),
            ],
            r#"event / "bin" {"_placeholder":true,"num":0} {"a":{"_placeholder":true,"num":1},"b":[{"_placeholder":true,"num":2}]} {"_placeholder":true,"num":3} + [[1, 2, 3], [122, 119, 101, 105], [], [255, 0]] ack 0"#,
        ),
        (
            &[T(r#"61-789[{"_placeholder":true,"num":0}]"#), B(&[1])],
            r#"ack / 789 {"_placeholder":true,"num":0} + [[1]]"#,
        ),
        (&[T("61-[1]"), B(&[1])], "-"),
        (&[T("61-[1]"), B(&[1]), T("2[1]")], "event / 1"),
        (&[T("50-[1]")], "event / 1"),
        (&[T("50-[1]"), T("2[2]")], "event / 2"),
        (&[T("52-[null,1]"), B(b"a"), B(b"b")], "-"),
        (&[T("52-[null,1]"), B(b"a"), B(b"b"), T("2[1]")], "event / 1"),
        (&[T("52-[null,1]"), B(b"a"), T("2[1]")], "error: text packet while 1 attachments are missing"),
        (&[T("52-[1]"), B(b"a"), B(b"b")], "event / 1 + [[97], [98]]"),
        (&[T(ONE), T("2[1]")], "error: text packet while 1 attachments are missing"),
        (&[T(ONE), B(b"a"), B(b"b")], "error: attachment without a head"),
        (&[B(b"a")], "error: attachment without a head"),
        (&[T("2[1]"), B(b"a")], "error: attachment without a head"),
        (&[T("5[1]")], "error: illegal attachment count"),
        (&[T("5-[1]")], "error: illegal attachment count"),
        (&[T("51[1]")], "error: illegal attachment count"),
        (&[T("5-1-[1]")], "error: illegal attachment count"),
        (&[T("51.0-[1]")], "error: illegal attachment count"),
        (&[T("5é-[1]")], "error: illegal attachment count"),
        (&[T("5")], "error: illegal attachment count"),
        (&[T("54-[1]")], "-"),
        (&[T("55-[1]")], "error: 5 attachments announced, limit 4"),
        (&[T("599999999999999999999999-[1]")], "error: 18446744073709551615 attachments announced, limit 4"),
        // placeholders
        (&[T(r#"51-["e",{"_placeholder":true,"num":1}]"#)], "error: illegal attachment placeholder"),
        (&[T(r#"51-["e",{"_placeholder":true,"num":-1}]"#)], "error: illegal attachment placeholder"),
        (&[T(r#"51-["e",{"_placeholder":true,"num":"0"}]"#)], "error: illegal attachment placeholder"),
        (&[T(r#"51-["e",{"_placeholder":true,"num":0.5}]"#)], "error: illegal attachment placeholder"),
        (&[T(r#"51-["e",{"_placeholder":true}]"#)], "error: illegal attachment placeholder"),
        (&[T(r#"51-["e",[{"a":{"num":9,"_placeholder":true}}]]"#)], "error: illegal attachment placeholder"),
        (&[T(r#"51-["e",{"\u005fplaceholder":true,"num":9}]"#)], "error: illegal attachment placeholder"),
        (&[T(r#"51-["e",{"_placeholder":true,"num":0,"num":9}]"#)], "error: illegal attachment placeholder"),
        (
            &[T(r#"51-["e",{"_placeholder":false,"_placeholder":true,"num":9}]"#)],
            "error: illegal attachment placeholder",
        ),
        (&[T(r#"51-["e",{"_placeholder":true,"_placeholder":false,"num":9}]"#)], "-"),
        (&[T(r#"51-["e",{"_placeholder":1,"num":9}]"#)], "-"),
        (&[T(r#"51-["e",{"_placeholder":{},"num":9}]"#)], "-"),
        (&[T(r#"51-["e",{"a":{"_placeholder":true,"num":0}}]"#)], "-"),
        (&[T(r#"2["e",{"_placeholder":true,"num":9}]"#)], r#"event / "e" {"_placeholder":true,"num":9}"#),
        // what is no packet of a client
        (&[T("")], "error: empty socket.io packet"),
        (&[T("4{}")], "error: connect error packet from a client"),
        (&[T("7[1]")], "error: unknown socket.io packet type 0x37"),
        (&[T("abc")], "error: unknown socket.io packet type 0x61"),
        (&[T("é")], "error: unknown socket.io packet type 0xc3"),
        (&[T("🙂")], "error: unknown socket.io packet type 0xf0"),
    ];
    for (messages, expected) in table {
        let input: Vec<_> = messages
            .iter()
            .map(|message| match message {
                T(text) => (*text).to_owned(),
                B(data) => format!("{data:?}"),
            })
            .collect();
        assert_eq!(decode(messages), *expected, "{input:#?}");
    }
}

#[test]
fn every_limit_can_be_reached() {
    let padded = |len: usize| format!("2[1]{}", " ".repeat(len - 4));
    let mut decoder = Decoder::new(LIMITS);
    assert!(decoder.text(padded(1000).into()).is_ok());
    assert_eq!(
        decoder.text(padded(1001).into()).unwrap_err().to_string(),
        "packet of 1001 bytes, limit 1000"
    );

    // The sum of the attachments counts, and each alone.
    for parts in [&[1001][..], &[500, 501], &[999, 0, 2]] {
        let mut decoder = Decoder::new(LIMITS);
        decoder.text("54-[1]".into()).unwrap();
        let last = parts.iter().map(|&len| decoder.binary(vec![0; len].into())).last();
        assert_eq!(last.unwrap().unwrap_err().to_string(), "packet of 1001 bytes, limit 1000");
    }
    let mut decoder = Decoder::new(LIMITS);
    decoder.text("52-[1]".into()).unwrap();
    assert_eq!(decoder.missing(), 2);
    decoder.binary(vec![0; 999].into()).unwrap();
    assert!(decoder.binary(vec![0; 1].into()).unwrap().is_some());

    let long = format!("0/{}", "x".repeat(256));
    let error = Decoder::new(LIMITS).text(long.into()).unwrap_err();
    assert_eq!(error.to_string(), "namespace of 257 bytes, limit 256");

    let mut decoder = Decoder::new(Limits::default());
    assert!(decoder.text(format!("2[1{}]", ",1".repeat(4095)).into()).is_ok());
    let error = decoder.text(format!("2[1{}]", ",1".repeat(4096)).into()).unwrap_err();
    assert_eq!(error.to_string(), "4097 arguments, limit 4096");

    let mut session = SocketSession::new(LIMITS, Instant::now());
    for ns in ["0", "0/a", "0/b"] {
        assert!(matches!(session.text(ns.into()), Ok(Some(Action::Connect { .. }))));
    }
    assert_eq!(session.text("0/c".into()), Err(CloseReason::TooManyNamespaces { limit: 3 }));
}

#[test]
fn numbers_as_names() {
    let name = |text: &str| match Decoder::new(LIMITS).text(text.into()).unwrap().unwrap() {
        Packet::Event { event, .. } => event.name,
        other => panic!("{other:?}"),
    };
    assert_eq!(name("2[9]"), EventName::number(9));
    assert_eq!(name("2[9.0]").as_u64(), Some(9));
    assert_eq!(name("2[9e0]").as_u64(), Some(9));
    assert_eq!(name("2[-9]").as_u64(), None);
    assert_eq!(name("2[9.5]").as_u64(), None);
    assert_eq!(name("2[\"9\"]").as_u64(), None);
    assert_eq!(name("2[\"9\"]"), EventName::from_static("9"));
    assert_eq!(name("2[\"a\\u0062\"]").as_text(), Some("ab"));
}

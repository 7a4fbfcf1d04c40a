//! What a client may not send (spec §1.2 rules 1–4, §1.3, §3.2, §8.1): each gets its answer, and everybody
//! else is served as before.

mod support;

use serde_json::json;
use support::{Broker, Frame, Peer, auth, handshake::joined};

/// Each of these packets closes its session, with that status, and nobody else's.
async fn closes(code: u16, packets: &[&str]) {
    let broker = Broker::start(|_| ());
    let mut bystander = joined(&broker).await;
    for packet in packets {
        let mut peer = joined(&broker).await;
        peer.send_text(packet).await;
        peer.note(packet);
        peer.expect_close(code).await;
        bystander.emit_with_ack("/llm", json!(9), json!({})).await;
        // Over polling the POST is refused, and the session is gone.
        let mut peer = Peer::open_polling(&broker).await;
        peer.join("/llm", auth("app-a")).await;
        let reply = peer.post(*packet).await;
        assert_eq!((reply.status, reply.text()), (400, r#"{"code":3,"message":"Bad request"}"#), "{packet}");
    }
    bystander.expect_nothing().await;
    broker.until_metric_is("newage_sessions", 1).await;
    broker.until_metric_is("newage_sockets", 1).await;
}

/// None of these packets has an answer or an effect.
async fn is_ignored(packets: &[&str]) {
    let broker = Broker::start(|_| ());
    for mut peer in [Peer::connect_ws(&broker).await, Peer::open_polling(&broker).await] {
        peer.join("/llm", auth("app-a")).await;
        for packet in packets {
            peer.send_text(packet).await;
            peer.expect_nothing().await;
        }
        peer.emit_with_ack("/llm", json!(9), json!({})).await;
    }
}

#[tokio::test]
async fn what_is_no_engine_io_packet() {
    closes(1002, &["7", "8x", "x", "é", "éabcd", "😀", " 40", "/", "-1", "\u{0}", "b!", "bé"]).await;
    // Only servers ping.
    closes(1002, &["2", "2probe", "2x"]).await;
    let broker = Broker::start(|_| ());
    let mut peer = joined(&broker).await;
    peer.send_text("").await;
    peer.expect_close(1002).await;
    assert_eq!(broker.metric("newage_sessions_closed_total{reason=\"parse error\"}"), 1);
}

#[tokio::test]
async fn what_is_no_socket_io_packet() {
    closes(
        1002,
        &[
            "4",
            "47/llm,[9]",
            "4x",
            "4é",
            "4-1",
            "44/llm,{\"message\":\"x\"}",
            "41/llm,[1]",
            "41/llm,x",
            "42/llm,{\"a\":1}",
            "42/llm,\"9\"",
            "42/llm,null",
            "42/llm,[9",
            "42/llm,[9]]",
            "42/llm,[9]x",
            "42/llm,[9,]",
            "42/llm,[,9]",
            "42/llm,[01]",
            "42/llm,[+1]",
            "42/llm,[.5]",
            "42/llm,[NaN]",
            "42/llm,[9,undefined]",
            "42/llm,['x']",
            "42/llm,[\"x]",
            "42/llm,[\"\\x\"]",
            "42/llm,[\"\\u12\"]",
            "42/llm,[\"\u{1}\"]",
            "42/llm,[9,{\"a\"}]",
            "42/llm,[9,{a:1}]",
            "42/llm,[9,{\"a\":1,}]",
            "42/llm,[9] // comment",
            "42/llm,\u{feff}[9]",
            "42/llm,9007199254740992[9]",
            "42/llm,99999999999999999999999999[9]",
            "42/llm,-1[9]",
            "42/llm,1.5[9]",
            "43/llm,1{}",
            "43/llm,1x",
        ],
    )
    .await;
    let broker = Broker::start(|_| ());
    let mut peer = joined(&broker).await;
    peer.send_text("42/llm,{}").await;
    peer.expect_close(1002).await;
    assert_eq!(broker.metric("newage_sessions_closed_total{reason=\"forced close\"}"), 1);
}

#[tokio::test]
async fn names_that_no_event_may_have() {
    closes(
        1002,
        &[
            "42/llm,[]",
            "42/llm,[true]",
            "42/llm,[false,1]",
            "42/llm,[{}]",
            "42/llm,[[]]",
            "42/llm,[\"connect\"]",
            "42/llm,[\"connect_error\",{}]",
            "42/llm,[\"disconnect\"]",
            "42/llm,[\"disconnecting\"]",
            "42/llm,[\"newListener\"]",
            "42/llm,[\"removeListener\"]",
            "42/llm,[\"conn\\u0065ct\"]",
            "42/llm,5[\"disconnect\"]",
        ],
    )
    .await;
}

#[tokio::test]
async fn attachments_that_do_not_add_up() {
    closes(
        1002,
        &[
            "45/llm,[9]",
            "45-/llm,[9]",
            "45x-/llm,[9]",
            "45-1-/llm,[9]",
            "451/llm,[9]",
            "451.5-/llm,[9]",
            "4518446744073709551616-/llm,[9]",
            "451-/llm,[9,{\"_placeholder\":true,\"num\":1}]",
            "451-/llm,[9,{\"_placeholder\":true,\"num\":-1}]",
            "451-/llm,[9,{\"_placeholder\":true,\"num\":0.5}]",
            "451-/llm,[9,{\"_placeholder\":true,\"num\":\"0\"}]",
            "451-/llm,[9,{\"_placeholder\":true,\"num\":\"splice\"}]",
            "451-/llm,[9,{\"_placeholder\":true}]",
            "451-/llm,[9,[[{\"_placeholder\":true,\"num\":7}]]]",
            "461-/llm,1[{\"_placeholder\":true,\"num\":1}]",
        ],
    )
    .await;
    let broker = Broker::start(|_| ());
    let mut peer = joined(&broker).await;
    peer.send_binary(b"for nothing").await;
    peer.expect_close(1002).await;
    let mut peer = joined(&broker).await;
    peer.send_text("452-/llm,[9,{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]").await;
    peer.send_binary(b"first").await;
    peer.send_text("42/llm,[9]").await;
    peer.expect_close(1002).await;
}

#[tokio::test]
async fn namespaces_that_were_never_joined() {
    closes(1002, &["42/other,[9]", "43/other,1[]", "41/other,", "42[9]"]).await;
    closes(1002, &["40/llm,[]", "40/other,\"x\"", "40/other,null", "40/other,{", "40/other,{}{}"]).await;
    closes(1002, &[&format!("40/{},", "x".repeat(1000)), &format!("42/{},[9]", "x".repeat(1000))]).await;
}

#[tokio::test]
async fn null_named_events_are_ignored_with_their_attachments() {
    is_ignored(&[
        "42/llm,[null]",
        "42/llm,[null,{\"clientId\":\"app-a\"}]",
        "42/llm,7[null]",
        "42/llm,",
        "42/llm",
    ])
    .await;
    let broker = Broker::start(|_| ());
    for mut peer in [Peer::connect_ws(&broker).await, Peer::open_polling(&broker).await] {
        peer.join("/llm", auth("app-a")).await;
        let text = |text: &str| Frame::Text(text.to_owned());
        peer.send_all(&[
            text("452-/llm,3[null,{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]"),
            Frame::Binary(b"first".to_vec()),
            Frame::Binary(vec![]),
            text("451-/llm,[null]"),
            Frame::Binary(b"not even named".to_vec()),
        ])
        .await;
        peer.expect_nothing().await;
        peer.emit_with_ack("/llm", json!(9), json!({})).await;
    }
}

#[tokio::test]
async fn odd_but_legal_packets_change_nothing() {
    is_ignored(&[
        "42/llm,[\"\"]",
        "42/llm,[\"__proto__\"]",
        "42/llm,[\"constructor\",{}]",
        "42/llm,[\"toString\"]",
        "42/llm,[\"9\"]",
        "42/llm,[1e999]",
        "42/llm,[-0]",
        "42/llm,[9.5,{}]",
        "42/llm,[123456789012345678901234567890]",
        "42/llm,[\"\\ud83d\"]",
        "42/llm,[\"\\ude00\",\"\\ud83d\"]",
        "42/llm,[\"message\"]",
        "42/llm,[\"message\",null]",
        "42/llm,[\"message\",{\"data\":{\"_placeholder\":true,\"num\":0}}]",
        "42/llm,[\"$stream\"]",
        "42/llm,[\"$stream\",\"x\",{},{}]",
        "42/llm,[\"$stream-read\",5]",
        "42/llm,[\"$stream-write\",\"nothing\",\"x\"]",
        "42/llm,[\"$stream-end\"]",
        "42/llm,[\"$stream-error\",null,null]",
        "42/llm,[\"CLIENT_STREAM_START\"]",
        "42/llm,[\"CLIENT_STREAM_START\",{\"streamId\":7}]",
        "42/llm,[\"CLIENT_STREAM_DATA_FIRST\",{\"streamId\":\"s\",\"data\":\"forged\"}]",
        "42/llm,[\"CLIENT_STREAM_END\",[]]",
        "42/llm,[21,{\"message\":\"forged\",\"requestId\":\"r\"}]",
        "42/llm,9",
        "43/llm,5[]",
        "43/llm,5",
        "43/llm,[]",
        "43/llm,9007199254740991[{}]",
    ])
    .await;
}

#[tokio::test]
async fn a_number_in_any_spelling_is_the_same_event() {
    let broker = Broker::start(|_| ());
    let mut peer = joined(&broker).await;
    for name in ["9", "9.0", "9e0", "0.9E1", "90e-1"] {
        peer.send_text(&format!("42/llm,0[{name},{{}}]")).await;
        peer.expect_text(r#"43/llm,0[{"status":"error","message":"Invalid LLM request data."}]"#).await;
    }
}

#[tokio::test]
async fn random_bytes_close_a_session_at_most() {
    let broker = Broker::start(|config| config.session.connect_timeout = 60_000);
    let mut bystander = joined(&broker).await;
    // A fixed sequence: a failure can be seen again.
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    const PARTS: [&str; 24] = [
        "4",
        "2",
        "0",
        "5",
        "3",
        "1",
        "/llm,",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "9",
        "null",
        "\\ud83d",
        ",",
        ":",
        "-",
        "é",
        "\u{1e}",
        "_placeholder",
        "true",
        "connect",
        "\"num\":0",
    ];
    for _ in 0..300 {
        let mut peer = joined(&broker).await;
        for _ in 0..10 {
            let packet: String = (0..1 + random(12)).map(|_| PARTS[random(PARTS.len())]).collect();
            peer.send_text(&format!("4{packet}")).await;
        }
        peer.send_binary(&[0, 1, 2]).await;
    }
    bystander.emit_with_ack("/llm", json!(9), json!({})).await;
    drop(bystander);
    broker.until_metric_is("newage_sessions", 0).await;
    broker.until_metric_is("newage_sockets", 0).await;
}

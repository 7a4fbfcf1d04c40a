//! What one session may make the broker hold: every bound of `[limits]` that concerns packets, sessions and
//! the outbox is reached here.

mod support;

use newage_broker::config::Config;
use serde_json::{Value, json};
use support::{Broker, Frame, Opening, Peer, auth, frame_header, http, masked_frame};

const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
const BUSY: &str = r#"{"code":3,"message":"Too many sessions"}"#;

/// A session over each transport sends `packets` in `/llm`, after it has joined as an extension: both close,
/// the WebSocket with that status, and somebody else goes on.
async fn closes(change: impl FnOnce(&mut Config), code: u16, packets: &[Frame]) -> Broker {
    let broker = Broker::start(change);
    let mut bystander = Peer::connect_ws(&broker).await;
    bystander.join("/llm", auth("app-b")).await;
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    peer.send_all(packets).await;
    peer.expect_close(code).await;
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    let mut refused = false;
    for packet in packets {
        let body = match packet {
            Frame::Text(text) => text.clone(),
            Frame::Binary(bytes) => format!("b{}", "A".repeat(bytes.len().div_ceil(3) * 4)),
            other => panic!("{other:?}"),
        };
        let reply = peer.post(body).await;
        refused |= reply.status == 400;
    }
    assert!(refused, "the POST that goes too far is refused");
    broker.until_metric_is("newage_sessions", 1).await;
    bystander.emit_with_ack("/llm", json!(9), json!({})).await;
    broker
}

/// The same packets do no harm, and a session that sent them is still served.
async fn passes(change: impl FnOnce(&mut Config), packets: &[Frame]) {
    let broker = Broker::start(change);
    for polling in [false, true] {
        let mut peer =
            if polling { Peer::open_polling(&broker).await } else { Peer::connect_ws(&broker).await };
        peer.join("/llm", auth("app-a")).await;
        peer.send_all(packets).await;
        peer.expect_nothing().await;
        peer.emit_with_ack("/llm", json!(9), json!({})).await;
        peer.send_text("1").await;
    }
}

fn text(packet: impl Into<String>) -> Frame {
    Frame::Text(packet.into())
}

fn nested(depth: usize) -> Frame {
    text(format!("42/llm,[\"x\",{}{}]", "[".repeat(depth), "]".repeat(depth)))
}

fn attachments(count: usize, bytes: usize) -> Vec<Frame> {
    let head = text(format!("45{count}-/llm,[\"x\"]"));
    std::iter::once(head).chain((0..count).map(|_| Frame::Binary(vec![0; bytes]))).collect()
}

#[tokio::test]
async fn max_payload_of_a_polling_body() {
    let broker = Broker::start(|config| config.limits.max_payload = 1000);
    let mut peer = Peer::open_polling(&broker).await;
    assert_eq!(peer.post("6".repeat(1001)).await.status, 413);
    assert_eq!(broker.limit_reached("limits.max_payload"), 1);
    peer.barrier().await;
}

#[tokio::test]
async fn max_payload_of_a_frame() {
    let broker = Broker::start(|config| config.limits.max_payload = 1000);
    let mut peer = Peer::connect_ws(&broker).await;
    peer.send_text(&format!("4{}", "x".repeat(1000))).await;
    peer.expect_close(1009).await;
    let mut peer = Peer::connect_ws(&broker).await;
    peer.send_raw(&frame_header(true, 1, 8 << 30)).await;
    peer.expect_close(1009).await;
    assert_eq!(broker.limit_reached("limits.max_payload"), 2);
}

#[tokio::test]
async fn max_payload_of_attachments_together() {
    let small = |config: &mut Config| config.limits.max_payload = 1000;
    passes(small, &attachments(2, 300)).await;
    let broker = closes(small, 1002, &attachments(2, 600)).await;
    assert_eq!(broker.limit_reached("limits.max_payload"), 2);
}

#[tokio::test]
async fn max_packets_per_payload() {
    let broker = Broker::start(|config| config.limits.max_packets_per_payload = 3);
    let mut peer = Peer::open_polling(&broker).await;
    peer.send_all(&[text("6"), text("6"), text("6")]).await;
    let reply = peer.post("6\u{1e}6\u{1e}6\u{1e}6").await;
    assert_eq!((reply.status, reply.text()), (400, BAD_REQUEST));
    broker.until_metric_is("newage_sessions", 0).await;
    assert_eq!(broker.limit_reached("limits.max_packets_per_payload"), 1);
}

#[tokio::test]
async fn max_sessions() {
    let broker = Broker::start(|config| config.limits.max_sessions = 2);
    let mut first = Peer::connect_ws(&broker).await;
    first.join("/llm", auth("app-a")).await;
    let second = Peer::open_polling(&broker).await;
    let Err(refused) = Opening::new().ws(&broker).await else { panic!("a third session") };
    refused.0.expect(503, BUSY);
    let Err(refused) = Opening::new().polling(&broker).await else { panic!("a third session") };
    refused.0.expect(503, BUSY);
    assert_eq!(broker.limit_reached("limits.max_sessions"), 2);
    // Whoever is there is served, an upgrade included; who leaves makes room.
    first.emit_with_ack("/llm", json!(9), json!({})).await;
    let mut second = second;
    second.upgrade().await;
    second.barrier().await;
    second.send_text("1").await;
    broker.until_metric_is("newage_sessions", 1).await;
    Peer::connect_ws(&broker).await.barrier().await;
}

#[tokio::test]
async fn max_attachments() {
    let two = |config: &mut Config| config.limits.max_attachments = 2;
    passes(two, &attachments(2, 10)).await;
    let broker = closes(two, 1002, &attachments(3, 10)[..1]).await;
    assert_eq!(broker.limit_reached("limits.max_attachments"), 2);
}

#[tokio::test]
async fn max_depth() {
    let three = |config: &mut Config| config.limits.max_depth = 3;
    passes(three, &[nested(3)]).await;
    let broker = closes(three, 1002, &[nested(4)]).await;
    assert_eq!(broker.limit_reached("limits.max_depth"), 2);
    // As deep as a message is long: no stack is as deep as that.
    closes(|_| (), 1002, &[nested(1_000_000)]).await;
}

#[tokio::test]
async fn max_namespaces() {
    let broker = Broker::start(|config| config.limits.max_namespaces = 2);
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    peer.join("/auth", auth("app-a")).await;
    // One that was left makes room.
    peer.leave("/auth").await;
    peer.join("/clients", auth("app-a")).await;
    peer.send_text(&format!("40/rooms,{}", auth("app-a"))).await;
    peer.expect_close(1008).await;
    assert_eq!(broker.limit_reached("limits.max_namespaces"), 1);
}

#[tokio::test]
async fn names_of_namespaces_that_were_left_are_not_kept_for_ever() {
    let broker = Broker::start(|config| config.limits.max_namespaces = 2);
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    for number in 0..1000 {
        peer.send_text(&format!("40/nothing-{number},")).await;
        peer.expect_prefix(&format!("44/nothing-{number},")).await;
    }
    peer.emit_with_ack("/llm", json!(9), json!({})).await;
}

#[tokio::test]
async fn max_early_events() {
    const EVENTS: u64 = 50;
    let broker = Broker::start(|config| config.limits.max_early_events = 3);
    let events = (0..EVENTS).map(|id| text(format!("42/llm,{id}[9,{{}}]")));
    let early: Vec<Frame> =
        std::iter::once(text(format!("40/llm,{}", auth("app-a")))).chain(events).collect();
    // One body and one segment are read in one go: no answer can come between.
    let segment: Vec<u8> = early
        .iter()
        .flat_map(|frame| match frame {
            Frame::Text(packet) => masked_frame(true, 1, packet.as_bytes()),
            other => panic!("{other:?}"),
        })
        .collect();
    let mut polling = Peer::open_polling(&broker).await;
    polling.send_all(&early).await;
    let mut ws = Peer::connect_ws(&broker).await;
    ws.send_raw(&segment).await;
    // Whatever does not fit stays with the peer until the answer is there, on either transport.
    for peer in [&mut polling, &mut ws] {
        peer.expect_prefix("40/llm,{").await;
        for id in 0..EVENTS {
            peer.expect_prefix(&format!("43/llm,{id}[")).await;
        }
    }
    assert_eq!(broker.limit_reached("limits.max_early_events"), 2);
    broker.until_metric_is("newage_sockets", 2).await;
}

#[tokio::test]
async fn early_events_have_no_more_bytes_than_one_packet_may_have() {
    const EVENTS: u64 = 6;
    let broker = Broker::start(|config| config.limits.max_payload = 4096);
    let padding = "x".repeat(1500);
    let events = (0..EVENTS).map(|id| format!("42/llm,{id}[9,{{\"padding\":\"{padding}\"}}]"));
    let early = std::iter::once(format!("40/llm,{}", auth("app-a"))).chain(events);
    // One segment is read in one go: no answer can come between.
    let segment: Vec<u8> = early.flat_map(|packet| masked_frame(true, 1, packet.as_bytes())).collect();
    let mut peer = Peer::connect_ws(&broker).await;
    peer.send_raw(&segment).await;
    peer.expect_prefix("40/llm,{").await;
    for id in 0..EVENTS {
        peer.expect_prefix(&format!("43/llm,{id}[")).await;
    }
    assert_eq!(broker.limit_reached("limits.max_payload"), 1);
}

/// Five questions in one body, which is read in one go.
async fn asks_five(peer: &mut Peer) -> Vec<Value> {
    let asks: Vec<Frame> = (0..5).map(|id| text(format!("42/auth,{id}[\"GET_ROOMS\"]"))).collect();
    peer.send_all(&asks).await;
    let mut acks = Vec::new();
    for id in 0..5 {
        acks.push(peer.expect_ack("/auth", id).await);
    }
    acks
}

fn too_many() -> Value {
    json!({"status": "error", "message": "Too many requests."})
}

/// What is answered soon is waited for.
#[tokio::test]
async fn max_questions() {
    let broker = Broker::start(|config| config.limits.max_questions = 3);
    for polling in [false, true] {
        let mut peer =
            if polling { Peer::open_polling(&broker).await } else { Peer::connect_ws(&broker).await };
        peer.join("/auth", auth("app-a")).await;
        let acks = asks_five(&mut peer).await;
        assert!(acks.iter().all(|ack| ack["status"] == "ok"), "{acks:?}");
    }
    assert_eq!(broker.limit_reached("limits.max_questions"), 0);
}

/// What takes long is not.
#[tokio::test]
async fn max_questions_that_take_long() {
    let broker = Broker::start(|config| config.limits.max_questions = 3);
    let mut extension = Peer::connect_ws(&broker).await;
    extension.join("/function_call", auth("SillyTavern-8000")).await;
    let mut peer = Peer::connect_ws(&broker).await;
    for ns in ["/function_call", "/auth"] {
        peer.join(ns, auth("app-a")).await;
    }
    // The session learns by an answer of its own that it has joined.
    broker.until_metric_is("newage_questions", 0).await;
    let mut calls = Vec::new();
    for id in 0..3 {
        calls.push(peer.begin_ack("/function_call", json!(22), &[call(id)]).await);
        extension.expect_prefix(&format!("42/function_call,{id}[")).await;
    }
    let refused = peer.emit_with_ack("/function_call", json!(22), call(3)).await;
    assert_eq!(
        (&refused["success"], &refused["error"]["message"]),
        (&json!(false), &json!("Too many requests."))
    );
    assert_eq!(peer.emit_with_ack("/auth", json!("GET_ROOMS"), json!({})).await, too_many());
    assert_eq!(broker.limit_reached("limits.max_questions"), 2);
    // An answer makes room.
    extension.send_text("43/function_call,1[{\"success\":true}]").await;
    peer.expect_ack("/function_call", calls[1]).await;
    let ack = peer.emit_with_ack("/auth", json!("GET_ROOMS"), json!({})).await;
    assert_eq!(ack["status"], "ok", "{ack}");
}

#[tokio::test]
async fn control_mailbox() {
    let broker = Broker::start(|config| config.limits.control_mailbox = 3);
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/auth", auth("app-a")).await;
    let mut other = Peer::connect_ws(&broker).await;
    other.join("/auth", auth("app-b")).await;
    broker.until_metric_is("newage_questions", 0).await;
    let acks = asks_five(&mut peer).await;
    for (id, ack) in acks.iter().enumerate() {
        assert_eq!(*ack == too_many(), id >= 3, "{id}: {ack}");
    }
    assert_eq!(broker.limit_reached("limits.control_mailbox"), 2);
    assert_eq!(broker.limit_reached("limits.max_questions"), 0);
    // Answers make room, and a session that ends with questions takes none with it.
    peer.send_all(&["42/auth,[\"GET_ROOMS\"]", "42/auth,[\"GET_ROOMS\"]", "1"].map(text)).await;
    broker.until_metric_is("newage_sessions", 1).await;
    broker.until_metric_is("newage_questions", 0).await;
    other.emit_with_ack("/auth", json!("GET_ROOMS"), json!({})).await;
}

/// Namespaces that are joined at once do not push each other out.
#[tokio::test]
async fn max_questions_of_handshakes() {
    let broker = Broker::start(|config| config.limits.max_questions = 1);
    for polling in [false, true] {
        let mut peer =
            if polling { Peer::open_polling(&broker).await } else { Peer::connect_ws(&broker).await };
        let namespaces = ["/auth", "/llm", "/rooms", "/clients"];
        let connects = namespaces.map(|ns| text(format!("40{ns},{}", auth("app-a"))));
        peer.send_all(&connects).await;
        for ns in namespaces {
            peer.wait_for("the admission", |packet| packet.starts_with(&format!("40{ns},{{"))).await;
        }
    }
    assert_eq!(broker.limit_reached("limits.max_questions"), 0);
}

fn call(id: usize) -> Value {
    json!({"requestId": id.to_string(), "target": "SillyTavern-8000", "functionName": "f", "args": []})
}

#[tokio::test]
async fn max_pending_acks() {
    let broker = Broker::start(|config| {
        config.limits.max_pending_acks = 3;
        config.streams.max_unacked = 3;
    });
    let mut extension = Peer::connect_ws(&broker).await;
    extension.join("/function_call", auth("SillyTavern-8000")).await;
    let mut client = Peer::connect_ws(&broker).await;
    client.join("/function_call", auth("app-a")).await;
    let mut heads = Vec::new();
    let mut ids = Vec::new();
    for id in 0..3 {
        ids.push(client.begin_ack("/function_call", json!(22), &[call(id)]).await);
        heads.push(extension.expect_prefix("42/function_call,").await);
    }
    let refused = client.emit_with_ack("/function_call", json!(22), call(3)).await;
    assert_eq!((&refused["requestId"], &refused["success"]), (&json!("3"), &json!(false)));
    assert_eq!(broker.limit_reached("limits.max_pending_acks"), 1);
    // What the extension owes it may still pay.
    for (id, head) in ids.into_iter().zip(heads) {
        let (ack, _) = head.split_once('[').unwrap();
        extension.send_text(&format!("43/function_call,{ack}[{{\"success\":true,\"result\":{id}}}]")).await;
        assert_eq!(client.expect_ack("/function_call", id).await["result"], id);
    }
}

fn request(id: usize, bytes: usize) -> Value {
    json!({"requestId": format!("r{id}"), "target": "SillyTavern-8000", "message": "x".repeat(bytes)})
}

/// Somebody asks one extension that does not read and another that does: the first is closed, nobody else
/// notices.
async fn a_slow_consumer(broker: &Broker, requests: usize, bytes: usize) {
    let mut other = Peer::connect_ws(broker).await;
    other.join("/llm", auth("SillyTavern-8001")).await;
    let mut client = Peer::connect_ws(broker).await;
    client.join("/llm", auth("app-a")).await;
    for id in 0..requests {
        client.emit_with_ack("/llm", json!(9), request(id, bytes)).await;
        if broker.metric("newage_outbox_overflows_total") > 0 {
            break;
        }
    }
    broker.until_metric("newage_outbox_overflows_total", 1).await;
    broker.until_metric("newage_sessions_closed_total{reason=\"forced close\"}", 1).await;
    assert_eq!(broker.metric("newage_outbox_overflows_total"), 1);
    let mut request = request(0, 10);
    request["target"] = json!("SillyTavern-8001");
    request["requestId"] = json!("other");
    let ack = client.emit_with_ack("/llm", json!(9), request).await;
    assert_eq!(ack["status"], "ok");
    let (name, _) = other.expect_event("/llm").await;
    assert_eq!(name, 9);
}

#[tokio::test]
async fn outbox_bytes_of_a_websocket_that_does_not_read() {
    let broker = Broker::start(|config| {
        config.limits.outbox_bytes = 256 * 1024;
        config.llm.pending_per_client = 10_000;
        config.llm.pending_per_extension = 10_000;
        config.session.close_timeout = 60_000;
    });
    let mut slow = Opening::new().receive_buffer(4096).ws(&broker).await.unwrap();
    slow.join("/llm", auth("SillyTavern-8000")).await;
    a_slow_consumer(&broker, 1000, 100_000).await;
    // When it reads at last it finds what had left, whole, and then a reason that permits coming back.
    let mut whole = 0;
    loop {
        match slow.next().await {
            Frame::Text(packet) => {
                assert!(
                    packet.starts_with(&format!("42/llm,[9,{{\"requestId\":\"r{whole}\"")),
                    "{packet:.80}"
                );
                assert!(packet.ends_with(']'));
                whole += 1;
            }
            end => {
                assert_eq!(end, Frame::Closed(1013), "after {whole} packets");
                break;
            }
        }
    }
    let mut back = Peer::connect_ws(&broker).await;
    back.join("/llm", auth("SillyTavern-8000")).await;
}

#[tokio::test]
async fn outbox_packets_of_a_client_that_does_not_poll() {
    let broker = Broker::start(|config| config.limits.outbox_packets = 8);
    let mut slow = Peer::open_polling(&broker).await;
    slow.join("/llm", auth("SillyTavern-8000")).await;
    a_slow_consumer(&broker, 9, 10).await;
    let gone = http(&broker, "GET", &slow.path("polling"), &[], "").await;
    gone.expect(400, r#"{"code":1,"message":"Session ID unknown"}"#);
}

#[tokio::test]
async fn outbox_bytes_of_a_client_that_does_not_poll() {
    let broker = Broker::start(|config| config.limits.outbox_bytes = 10_000);
    let mut slow = Peer::open_polling(&broker).await;
    slow.join("/llm", auth("SillyTavern-8000")).await;
    a_slow_consumer(&broker, 20, 1000).await;
}

#[tokio::test]
async fn an_empty_outbox_takes_one_packet_of_any_legal_size() {
    let broker = Broker::start(|config| config.limits.outbox_bytes = 100);
    let mut extension = Peer::open_polling(&broker).await;
    extension.join("/llm", auth("SillyTavern-8000")).await;
    let mut client = Peer::connect_ws(&broker).await;
    client.join("/llm", auth("app-a")).await;
    for id in 0..3 {
        client.emit_with_ack("/llm", json!(9), request(id, 100_000)).await;
        extension.expect_prefix("42/llm,[9,{").await;
    }
    assert_eq!(broker.metric("newage_outbox_overflows_total"), 0);
}

//! Engine.IO as HTTP and WebSocket libraries see it: handshakes, every error, polling, and what a message may
//! weigh.

mod support;

use serde_json::{Value, json};
use support::{
    Broker, Frame, Opening, Peer, Reply, auth, frame_header, http, key, masked_frame, raw_http,
    split_payload, within,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

const UNKNOWN_TRANSPORT: &str = r#"{"code":0,"message":"Transport unknown"}"#;
const UNKNOWN_SID: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
const BAD_VERSION: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

async fn get(broker: &Broker, path: &str) -> Reply {
    http(broker, "GET", path, &[], "").await
}

fn text(packet: impl Into<String>) -> Frame {
    Frame::Text(packet.into())
}

#[tokio::test]
async fn the_open_packet_says_what_the_broker_allows() {
    let broker = Broker::start(|_| ());
    let ws = Peer::connect_ws(&broker).await;
    let open = |sid: &str, upgrades: Value| json!({"sid": sid, "upgrades": upgrades, "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 8388608});
    assert_eq!(ws.open, open(&ws.sid, json!([])));
    let polling = Peer::open_polling(&broker).await;
    assert_eq!(polling.open, open(&polling.sid, json!(["websocket"])));
    assert_ne!(ws.sid, polling.sid);
    assert_eq!(broker.metric("newage_sessions"), 2);
}

#[tokio::test]
async fn every_error_has_its_code_and_body() {
    let broker = Broker::start(|_| ());
    let peer = Peer::open_polling(&broker).await;
    let mine = peer.sid.clone();
    let long = "x".repeat(4096);
    for (method, query, body) in [
        ("GET", "", UNKNOWN_TRANSPORT),
        ("GET", "EIO=4", UNKNOWN_TRANSPORT),
        ("GET", "EIO=4&transport=flashsocket", UNKNOWN_TRANSPORT),
        ("GET", "EIO=4&transport=constructor", UNKNOWN_TRANSPORT),
        ("GET", "EIO=4&transport=polling&transport=x", UNKNOWN_TRANSPORT),
        ("GET", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA", UNKNOWN_SID),
        ("POST", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA", UNKNOWN_SID),
        ("GET", "EIO=4&transport=polling&sid=x", UNKNOWN_SID),
        ("GET", "EIO=4&transport=polling&sid=..%2f..", UNKNOWN_SID),
        ("GET", "EIO=4&transport=polling&sid=%00", UNKNOWN_SID),
        ("GET", "EIO=4&transport=polling&sid=%F0%9F%98%80", UNKNOWN_SID),
        ("GET", &format!("EIO=4&transport=polling&sid={long}"), UNKNOWN_SID),
        ("GET", &format!("EIO=4&transport=polling&sid={mine}x"), UNKNOWN_SID),
        ("POST", "EIO=4&transport=polling", BAD_METHOD),
        ("PUT", "EIO=4&transport=polling", BAD_METHOD),
        ("DELETE", "EIO=4&transport=websocket", BAD_METHOD),
        ("PUT", &format!("EIO=4&transport=polling&sid={mine}"), BAD_REQUEST),
        ("GET", "EIO=4&transport=websocket", BAD_REQUEST),
        ("GET", &format!("EIO=4&transport=websocket&sid={mine}"), BAD_REQUEST),
        ("GET", "EIO=3&transport=polling", BAD_VERSION),
        ("GET", "EIO=5&transport=polling", BAD_VERSION),
        ("GET", "EIO=44&transport=polling", BAD_VERSION),
        ("GET", "transport=polling", BAD_VERSION),
        ("GET", "EIO=&transport=polling", BAD_VERSION),
    ] {
        let reply = http(&broker, method, &format!("/socket.io/?{query}"), &[], "").await;
        assert_eq!((reply.status, reply.text()), (400, body), "{method} {query}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{method} {query}");
    }
    // A WebSocket that says polling is neither.
    let confused = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n";
    let confused =
        raw_http(broker.address(), format!("{confused}Connection: close\r\n\r\n").as_bytes()).await;
    confused.expect(400, BAD_REQUEST);
    assert_eq!(broker.metric("newage_sessions"), 1, "a refusal opens nothing");
    let mut peer = peer;
    peer.barrier().await;
}

#[tokio::test]
async fn a_refused_websocket_learns_why() {
    let broker = Broker::start(|_| ());
    for (opening, body) in [
        (Opening::new().query("EIO", "3"), BAD_VERSION),
        (Opening::new().query("sid", "AAAAAAAAAAAAAAAAAAAA"), UNKNOWN_SID),
        (Opening::new().query("transport", "polling"), BAD_REQUEST),
        (Opening::new().header("sec-websocket-version", "7"), BAD_REQUEST),
    ] {
        let Err(refused) = opening.ws(&broker).await else { panic!("{opening:?} passed") };
        assert_eq!((refused.0.status, refused.0.text()), (400, body), "{opening:?}");
    }
    assert_eq!(broker.metric("newage_sessions"), 0);
}

#[tokio::test]
async fn only_the_path_itself_is_engine_io() {
    let broker = Broker::start(|_| ());
    for path in [
        "/socket.io",
        "/socket.iox/",
        "/socket.io-admin/",
        "/socket.io/extra/",
        "/x/socket.io/",
        "/SOCKET.IO/",
    ] {
        let reply = get(&broker, &format!("{path}?EIO=4&transport=polling")).await;
        assert_eq!((reply.status, reply.text()), (404, "Not Found"), "{path}");
    }
}

#[tokio::test]
async fn the_path_is_a_setting() {
    for setting in ["/elsewhere", "/elsewhere/"] {
        let broker = Broker::setup().settings(json!({"socketIOPath": setting})).start(|_| ());
        Opening::new().base("/elsewhere/").polling(&broker).await.unwrap();
        Opening::new().base("/elsewhere/").ws(&broker).await.unwrap();
        assert_eq!(get(&broker, "/socket.io/?EIO=4&transport=polling").await.status, 404);
    }
}

#[tokio::test]
async fn polling_answers_have_their_headers() {
    let broker = Broker::start(|_| ());
    let reply = get(&broker, "/socket.io/?EIO=4&transport=polling").await;
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let mut peer = Peer::open_polling(&broker).await;
    let reply = peer.post("40/auth,{\"clientId\":\"app-a\",\"dialect\":1}").await.expect(200, "ok");
    assert_eq!(reply.header("content-type"), Some("text/html"));
    peer.expect_prefix("40/auth,{\"sid\":\"").await;
}

#[tokio::test]
async fn one_body_holds_texts_and_attachments() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/auth", auth("app-a")).await;
    peer.send_all(&[
        text("42/auth,1[33]"),
        text("451-/auth,2[33,{\"_placeholder\":true,\"num\":0}]"),
        Frame::Binary(vec![0, 30, 255]),
        text("42/auth,3[33]"),
    ])
    .await;
    for id in 1..=3 {
        peer.expect_ack("/auth", id).await;
    }
}

#[tokio::test]
async fn attachments_leave_whole_on_both_transports() {
    let broker = Broker::start(|_| ());
    let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
    for polling in [false, true] {
        let open = async || {
            if polling { Peer::open_polling(&broker).await } else { Peer::connect_ws(&broker).await }
        };
        let mut extension = open().await;
        extension.join("/function_call", auth("SillyTavern-8000")).await;
        let mut client = open().await;
        client.join("/function_call", auth("app-a")).await;
        let call = r#"{"requestId":"r","target":"SillyTavern-8000","functionName":"f","args":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}"#;
        let head = format!("452-/function_call,7[22,{call}]");
        client.send_all(&[text(head), Frame::Binary(bytes.clone()), Frame::Binary(vec![])]).await;
        let head = extension.expect_prefix("452-/function_call,").await;
        let (id, rest) = head.split_once('[').unwrap();
        // Who asked is added, the rest is the caller's as it came (spec §6.1).
        let caller = call.strip_suffix('}').unwrap();
        let forwarded = format!("{caller},\"clientId\":\"app-a\",\"source\":\"app-a\"}}");
        assert_eq!(rest, format!("22,{forwarded}]"));
        extension.expect_binary(&bytes).await;
        extension.expect_binary(&[]).await;
        extension
            .send_text(&format!(
                "43/function_call,{id}[{{\"requestId\":\"r\",\"success\":true,\"result\":1}}]"
            ))
            .await;
        let ack = client.expect_ack("/function_call", 7).await;
        assert_eq!(ack, json!({"requestId": "r", "success": true, "result": 1}));
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_the_session_lives() {
    let broker = Broker::start(|config| config.limits.max_payload = 1000);
    let mut peer = Peer::open_polling(&broker).await;
    assert_eq!(peer.open["maxPayload"], 1000);
    peer.join("/llm", auth("app-a")).await;
    let reply = peer.post("4".repeat(1001)).await;
    assert_eq!(reply.status, 413);
    assert_eq!(broker.limit_reached("limits.max_payload"), 1);
    // A chunked body declares no length.
    let chunked = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
         3e9\r\n{}\r\n0\r\n\r\n",
        peer.path("polling"),
        "4".repeat(1001)
    );
    assert_eq!(raw_http(broker.address(), chunked.as_bytes()).await.status, 413);
    peer.barrier().await;
    // What just fits passes.
    let fits = format!("42/llm,[\"x\",\"{}\"]", "y".repeat(1000 - 15));
    assert_eq!(fits.len(), 1000);
    peer.send_text(&fits).await;
    peer.expect_nothing().await;
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_refused_at_its_header() {
    let broker = Broker::start(|config| config.limits.max_payload = 1000);
    for length in [1001, 70_000, 8 << 30, u64::MAX >> 1] {
        for opcode in [1, 2, 9] {
            let mut peer = Peer::connect_ws(&broker).await;
            peer.join("/llm", auth("app-a")).await;
            // Nothing follows the header: whoever waited for the frame would wait for ever.
            peer.send_raw(&frame_header(true, opcode, length)).await;
            peer.expect_close(1009).await;
        }
    }
    broker.until_metric_is("newage_sessions", 0).await;
}

#[tokio::test]
async fn a_fragmented_message_is_bounded_as_a_whole() {
    let broker = Broker::start(|config| config.limits.max_payload = 1000);
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    // In pieces that fit together it is one message.
    peer.send_raw(&masked_frame(false, 1, b"42/llm,7[")).await;
    peer.send_raw(&masked_frame(false, 0, b"33")).await;
    peer.send_raw(&masked_frame(true, 0, b"]")).await;
    peer.expect_ack("/llm", 7).await;
    peer.send_raw(&masked_frame(false, 1, &[b'4'; 600])).await;
    peer.send_raw(&masked_frame(false, 0, &[b'4'; 600])).await;
    peer.expect_close(1009).await;
}

#[tokio::test]
async fn fragments_without_end_are_bounded() {
    let broker = Broker::start(|config| config.limits.max_payload = 1000);
    let mut peer = Peer::connect_ws(&broker).await;
    let mut frames = masked_frame(false, 1, b"4");
    for _ in 0..2000 {
        frames.extend(masked_frame(false, 0, b"4"));
    }
    peer.send_raw(&frames).await;
    peer.expect_close(1009).await;
}

#[tokio::test]
async fn a_broken_websocket_closes_only_itself() {
    let broker = Broker::start(|_| ());
    let mut bystander = Peer::connect_ws(&broker).await;
    for bytes in [
        vec![0x81, 0x05, b'4', b'0', b'/', b'a', b','], // not masked
        masked_frame(true, 3, b"reserved opcode"),
        masked_frame(true, 0, b"continuation of nothing"),
        masked_frame(true, 1, &[0xff, 0xfe]), // not UTF-8
        masked_frame(false, 9, b"a fragmented ping"),
        masked_frame(true, 9, &[0; 126]), // a ping of more than 125 bytes
        {
            let mut frames = masked_frame(false, 1, b"4");
            frames.extend(masked_frame(true, 1, b"a text inside a text"));
            frames
        },
    ] {
        let mut peer = Peer::connect_ws(&broker).await;
        peer.send_raw(&bytes).await;
        match peer.next().await {
            Frame::Closed(_) => (),
            other => panic!("{bytes:?}: {other:?}"),
        }
    }
    broker.until_metric_is("newage_sessions", 1).await;
    bystander.barrier().await;
}

#[tokio::test]
async fn websocket_pings_are_answered_with_their_payload() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.send_message(Message::Ping("are you there".into())).await;
    assert_eq!(peer.next().await, Frame::WsPong(b"are you there".to_vec()));
    peer.barrier().await;
}

#[tokio::test]
async fn a_closing_websocket_ends_its_session() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/auth", auth("app-a")).await;
    peer.send_message(Message::Close(None)).await;
    broker.until_metric_is("newage_sessions", 0).await;
    broker.until_metric_is("newage_sockets", 0).await;
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/auth", auth("app-a")).await;
    peer.send_text("1").await;
    peer.expect_close(1000).await;
    let peer = Peer::connect_ws(&broker).await;
    peer.vanish().await;
    broker.until_metric_is("newage_sessions", 0).await;
}

#[tokio::test]
async fn a_polling_session_closes_by_its_packet() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::open_polling(&broker).await;
    peer.begin_poll();
    peer.post("1").await.expect(200, "ok");
    // The poll that waits ends, with a noop: whoever said goodbye needs none.
    peer.expect_text("6").await;
    broker.until_metric_is("newage_sessions", 0).await;
    let reply = within("the end of a session", async {
        loop {
            let reply = peer.post("6").await;
            if reply.status != 200 && reply.text() == UNKNOWN_SID {
                return reply;
            }
        }
    });
    assert_eq!(reply.await.status, 400);
}

/// Writes a request and leaves its connection open: with one worker, and after an answer on another
/// connection, the broker has seen it.
async fn begin_raw(broker: &Broker, request: String) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(broker.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    for _ in 0..3 {
        get(broker, "/health").await;
    }
    stream
}

#[tokio::test]
async fn an_aborted_poll_ends_the_session() {
    let broker = Broker::start(|config| config.server.workers = 1);
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/auth", auth("app-a")).await;
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", peer.path("polling"));
    let poll = begin_raw(&broker, request).await;
    assert_eq!(broker.metric("newage_sessions"), 1);
    drop(poll);
    broker.until_metric_is("newage_sessions", 0).await;
    broker.until_metric_is("newage_sockets", 0).await;
    get(&broker, &peer.path("polling")).await.expect(400, UNKNOWN_SID);
    assert_eq!(broker.metric("newage_sessions_closed_total{reason=\"transport error\"}"), 1);
}

#[tokio::test]
async fn two_polls_at_once_end_the_session() {
    let broker = Broker::start(|_| ());
    let peer = Peer::open_polling(&broker).await;
    let path = peer.path("polling");
    let (first, second) = tokio::join!(get(&broker, &path), get(&broker, &path));
    let mut answers = [(first.status, first.text().to_owned()), (second.status, second.text().to_owned())];
    answers.sort();
    assert_eq!(answers, [(200, "1".to_owned()), (400, BAD_REQUEST.to_owned())]);
    broker.until_metric_is("newage_sessions", 0).await;
}

#[tokio::test]
async fn two_posts_at_once_end_the_session() {
    let broker = Broker::start(|config| config.server.workers = 1);
    let mut peer = Peer::open_polling(&broker).await;
    let half =
        format!("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n42", peer.path("polling"));
    let _half = begin_raw(&broker, half).await;
    peer.post("6").await.expect(400, BAD_REQUEST);
    broker.until_metric_is("newage_sessions", 0).await;
}

#[tokio::test]
async fn a_body_that_is_no_payload_ends_the_session() {
    let broker = Broker::start(|_| ());
    for body in [
        &b""[..],
        b"\x1e",
        b"40\x1e",
        b"\x1e40",
        b"abc",
        b"7",
        b"b!!!!",
        b"4\xff\xfe",
        "é".as_bytes(),
        b"2",
        b"2probe",
    ] {
        let mut peer = Peer::open_polling(&broker).await;
        let reply = peer.post(body).await;
        assert_eq!((reply.status, reply.text()), (400, BAD_REQUEST), "{body:?}");
        get(&broker, &peer.path("polling")).await.expect(400, UNKNOWN_SID);
    }
    broker.until_metric_is("newage_sessions", 0).await;
}

#[tokio::test]
async fn packets_without_meaning_change_nothing() {
    let broker = Broker::start(|_| ());
    for mut peer in [Peer::connect_ws(&broker).await, Peer::open_polling(&broker).await] {
        // Open, pong, upgrade and noop are nothing that a client need say; the official server lets them pass.
        for packet in ["3", "3probe", "3anything", "5", "6", "6x", "0", "0{}"] {
            peer.send_text(packet).await;
        }
        peer.expect_nothing().await;
        peer.join("/llm", auth("app-a")).await;
    }
}

#[tokio::test]
async fn several_packets_leave_in_one_poll() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    let body: Vec<String> = (0..50).map(|id| format!("42/llm,{id}[9,{{}}]")).collect();
    peer.post(body.join("\u{1e}")).await.expect(200, "ok");
    let mut answers = split_payload(peer.poll().await.text());
    assert!(answers.len() > 1, "{answers:?}");
    // python-socketio takes 16 packets of one body, so there may be several bodies.
    while answers.len() < 50 {
        let more = split_payload(peer.poll().await.text());
        assert!(more.len() <= 16, "{more:?}");
        answers.extend(more);
    }
    for (id, answer) in answers.iter().enumerate() {
        let error = r#"{"status":"error","message":"Invalid LLM request data."}"#;
        assert_eq!(*answer, text(format!("43/llm,{id}[{error}]")));
    }
}

#[tokio::test]
async fn a_stopping_broker_says_goodbye() {
    let broker = Broker::start(|config| config.server.workers = 1);
    let mut ws = Peer::connect_ws(&broker).await;
    ws.join("/auth", auth("app-a")).await;
    let mut polling = Peer::open_polling(&broker).await;
    polling.join("/auth", auth("app-b")).await;
    let request =
        format!("GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", polling.path("polling"));
    let mut poll = begin_raw(&broker, request).await;
    broker.begin_stop();
    ws.expect_close(1012).await;
    let mut answer = String::new();
    within("the end of a poll", poll.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n1"), "{answer}");
    broker.stop().await;
}

#[tokio::test]
async fn keys_do_not_travel_where_they_need_not() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/clients", auth("SillyTavern-8000")).await;
    let all = peer.emit_with_ack("/clients", json!(29), json!({})).await;
    assert_eq!(all["keys"]["app-a"], json!({"key": "", "rooms": [], "hasKey": true}));
    assert!(!all.to_string().contains(&key("app-a")) && !all.to_string().contains("$2"));
}

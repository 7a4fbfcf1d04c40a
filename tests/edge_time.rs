//! What ends when nothing happens: heartbeat, handshakes without namespace, limited sessions, slow requests.
//!
//! Times are short here; a test waits for the broker's move, never for a time of its own.

mod support;

use std::time::{Duration, Instant};

use newage_broker::config::Config;
use serde_json::json;
use support::{Broker, Frame, Opening, Peer, auth, http, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const UNKNOWN_SID: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

fn quick_heart(config: &mut Config) {
    config.session.ping_interval = 100;
    config.session.ping_timeout = 200;
}

fn closed(reason: &str) -> String {
    format!("newage_sessions_closed_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn a_websocket_that_does_not_answer_is_closed() {
    let broker = Broker::start(quick_heart);
    // Before the session opens: how late the test looks must not count as the broker's haste.
    let opened = Instant::now();
    let mut peer = Peer::connect_ws(&broker).await;
    assert_eq!((&peer.open["pingInterval"], &peer.open["pingTimeout"]), (&json!(100), &json!(200)));
    peer.answers_pings = false;
    peer.join("/auth", auth("app-a")).await;
    peer.expect_text("2").await;
    peer.expect_close(1000).await;
    assert!(opened.elapsed() >= Duration::from_millis(290), "{:?}", opened.elapsed());
    assert_eq!(broker.metric(&closed("ping timeout")), 1);
    assert_eq!(broker.limit_reached("session.ping_timeout"), 1);
    broker.until_metric_is("newage_sockets", 0).await;
}

#[tokio::test]
async fn a_polling_session_that_does_not_answer_is_closed() {
    let broker = Broker::start(quick_heart);
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/auth", auth("app-a")).await;
    assert_eq!(peer.poll().await.text(), "2");
    broker.until_metric(&closed("ping timeout"), 1).await;
    http(&broker, "GET", &peer.path("polling"), &[], "").await.expect(400, UNKNOWN_SID);
    // One that does not even poll is closed no later.
    let silent = Peer::open_polling(&broker).await;
    broker.until_metric(&closed("ping timeout"), 2).await;
    http(&broker, "POST", &silent.path("polling"), &[], "3").await.expect(400, UNKNOWN_SID);
    // One whose poll waits is told.
    let mut waiting = Peer::open_polling(&broker).await;
    waiting.answers_pings = false;
    waiting.expect_text("2").await;
    waiting.expect_text("1").await;
}

#[tokio::test]
async fn whoever_answers_stays() {
    let broker = Broker::start(quick_heart);
    for polling in [false, true] {
        let mut peer =
            if polling { Peer::open_polling(&broker).await } else { Peer::connect_ws(&broker).await };
        peer.join("/llm", auth("app-a")).await;
        peer.answers_pings = false;
        for _ in 0..6 {
            peer.expect_text("2").await;
            peer.send_text("3").await;
        }
        peer.answers_pings = true;
        peer.emit_with_ack("/llm", json!(9), json!({})).await;
    }
    assert_eq!(broker.metric(&closed("ping timeout")), 0);
}

#[tokio::test]
async fn an_early_pong_is_harmless_and_counts_for_nothing() {
    let broker = Broker::start(quick_heart);
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    peer.answers_pings = false;
    for _ in 0..20 {
        peer.send_text("3").await;
    }
    peer.expect_text("2").await;
    for _ in 0..3 {
        peer.send_text("3").await;
    }
    // The two beyond the first are early for the next ping.
    peer.expect_text("2").await;
    peer.expect_close(1000).await;
    assert_eq!(broker.metric(&closed("ping timeout")), 1);
}

#[tokio::test]
async fn the_heart_beats_through_the_upgrade() {
    let broker = Broker::start(quick_heart);
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    peer.upgrade().await;
    peer.answers_pings = false;
    for _ in 0..3 {
        peer.expect_text("2").await;
        peer.send_text("3").await;
    }
    peer.expect_text("2").await;
    peer.expect_close(1000).await;
}

#[tokio::test]
async fn a_session_without_namespace_is_closed() {
    let broker = Broker::start(|config| config.session.connect_timeout = 100);
    let mut peer = Peer::connect_ws(&broker).await;
    peer.expect_close(1008).await;
    let mut peer = Peer::open_polling(&broker).await;
    peer.expect_text("1").await;
    // A namespace that does not exist is none.
    let mut peer = Peer::connect_ws(&broker).await;
    peer.send_text("40/nothing,").await;
    peer.expect_prefix("44/nothing,").await;
    peer.expect_close(1008).await;
    assert_eq!(broker.metric(&closed("forced server close")), 3);
    assert_eq!(broker.limit_reached("session.connect_timeout"), 3);
}

#[tokio::test]
async fn the_deadline_comes_back_with_a_rejection_or_a_goodbye() {
    let broker = Broker::start(|config| config.session.connect_timeout = 300);
    let mut rejected = Peer::connect_ws(&broker).await;
    rejected.send_text(&format!("40/llm,{}", auth("nobody"))).await;
    rejected.expect_rejection("/llm").await;
    rejected.expect_close(1008).await;

    let mut goodbye = Peer::connect_ws(&broker).await;
    goodbye.join("/llm", auth("app-a")).await;
    goodbye.join("/auth", auth("app-a")).await;
    goodbye.emit("/llm", json!(27), &[]).await;
    goodbye.expect_text("41/llm,").await;
    goodbye.emit("/auth", json!(27), &[]).await;
    goodbye.expect_text("41/auth,").await;
    goodbye.expect_close(1008).await;
}

#[tokio::test]
async fn whoever_has_joined_or_left_by_itself_stays() {
    let broker = Broker::start(|config| config.session.connect_timeout = 100);
    let mut joined = Peer::connect_ws(&broker).await;
    joined.join("/llm", auth("app-a")).await;
    let mut left = Peer::connect_ws(&broker).await;
    left.join("/llm", auth("app-b")).await;
    left.leave("/llm").await;
    left.barrier().await;
    // Sessions that are opened later and join nothing end first.
    for _ in 0..3 {
        Peer::connect_ws(&broker).await.expect_close(1008).await;
    }
    joined.barrier().await;
    left.barrier().await;
    left.join("/llm", auth("app-b")).await;
}

#[tokio::test]
async fn a_limited_session_expires() {
    let broker = Broker::setup().settings(json!({"networkSafe": false})).start(|config| {
        config.trust.limited_session = 0.3;
        config.session.connect_timeout = 300;
    });
    let mut peer = Opening::new().header("x-forwarded-for", "192.0.2.1").ws(&broker).await.unwrap();
    let joined = Instant::now();
    peer.join("/auth", auth("app-a")).await;
    peer.join("/llm", auth("app-a")).await;
    let mut ends = [peer.next().await, peer.next().await];
    ends.sort_by_key(|frame| format!("{frame:?}"));
    assert_eq!(ends, [Frame::Text("41/auth,".to_owned()), Frame::Text("41/llm,".to_owned())]);
    assert!(joined.elapsed() >= Duration::from_millis(290), "{:?}", joined.elapsed());
    assert_eq!(broker.limit_reached("trust.limited_session"), 2);
    // The session is empty then, by no wish of its client.
    peer.expect_close(1008).await;
}

#[tokio::test]
async fn logging_in_lifts_the_limit() {
    let broker =
        Broker::setup().settings(json!({"networkSafe": false})).password("app-a", "pass").start(|config| {
            config.trust.limited_session = 0.5;
        });
    let from_afar = Opening::new().header("x-forwarded-for", "192.0.2.1");
    let mut peer = from_afar.ws(&broker).await.unwrap();
    peer.join("/auth", auth("app-a")).await;
    let ack = peer.emit_with_ack("/auth", json!(23), json!({"clientId": "app-a", "password": "pass"})).await;
    assert_eq!(ack, json!({"success": true}));
    // One that began later and does not log in ends first.
    let mut other = from_afar.ws(&broker).await.unwrap();
    other.join("/auth", auth("app-b")).await;
    let joined = Instant::now();
    other.expect_text("41/auth,").await;
    // At the deadline, not at the next ping.
    assert!(joined.elapsed() < Duration::from_secs(10), "{:?}", joined.elapsed());
    let ack = peer.emit_with_ack("/auth", json!(33), json!({})).await;
    assert_eq!(ack["status"], "ok");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_not_waited_for() {
    let broker = Broker::start(|config| config.server.request_timeout = 1);
    let mut stream = TcpStream::connect(broker.address()).await.unwrap();
    stream.write_all(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: local").await.unwrap();
    let mut answer = Vec::new();
    let _ = within("the end of a slow request", stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

/// One byte of a second head, or a body that does not end, is no way to stay.
#[tokio::test]
async fn nor_is_what_follows_the_first_request() {
    let broker = Broker::start(|config| config.server.request_timeout = 1);
    for (request, rest) in [
        ("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", "G"),
        ("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /health HTTP/1.1\r\nHost: local"),
        ("POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nab"),
        ("POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n", "ab"),
    ] {
        let mut stream = TcpStream::connect(broker.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        within("an answer", stream.read_exact(&mut answer)).await.unwrap();
        stream.write_all(rest.as_bytes()).await.unwrap();
        let _ = within("the end of what does not go on", stream.read_to_end(&mut Vec::new())).await;
    }
    broker.until_metric_is("newage_connections", 0).await;
}

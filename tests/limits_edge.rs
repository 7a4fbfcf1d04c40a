//! What a connection may take before any session is asked: its frames, its bodies, its place.

mod support;

use serde_json::json;
use support::{Broker, Frame, Opening, Peer, auth, http, masked_frame, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const UNKNOWN_SID: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const TEXT: u8 = 1;
const CONTINUATION: u8 = 0;
const PING: u8 = 9;

#[tokio::test]
async fn max_fragments() {
    let broker = Broker::start(|config| config.limits.max_fragments = 4);
    let mut bystander = Peer::connect_ws(&broker).await;
    bystander.join("/llm", auth("app-b")).await;
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    // Four frames are one message, and pings between them are no part of it.
    for _ in 0..2 {
        peer.send_raw(&masked_frame(false, TEXT, b"42/llm,7[")).await;
        peer.send_raw(&masked_frame(false, CONTINUATION, b"33")).await;
        peer.send_raw(&masked_frame(true, PING, b"")).await;
        peer.send_raw(&masked_frame(false, CONTINUATION, b"")).await;
        peer.send_raw(&masked_frame(true, CONTINUATION, b"]")).await;
        assert_eq!(peer.next().await, Frame::WsPong(Vec::new()));
        peer.expect_ack("/llm", 7).await;
    }
    // Empty frames have no bytes to be counted.
    let mut frames = masked_frame(false, TEXT, b"4");
    for _ in 0..4 {
        frames.extend(masked_frame(false, CONTINUATION, b""));
    }
    peer.send_raw(&frames).await;
    peer.expect_close(1009).await;
    assert_eq!(broker.limit_reached("limits.max_fragments"), 1);
    assert_eq!(broker.limit_reached("limits.max_payload"), 0);
    bystander.emit_with_ack("/llm", json!(9), json!({})).await;
}

/// The head of a POST that announces a body, and one byte of it.
async fn half_a_post(broker: &Broker, peer: &Peer) -> TcpStream {
    let mut stream = TcpStream::connect(broker.address()).await.unwrap();
    let path = peer.path("polling");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\n4"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn status_line(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = within("the end of a slow request", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn body_timeout() {
    let broker = Broker::start(|config| config.server.body_timeout = 1);
    let mut bystander = Peer::connect_ws(&broker).await;
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    let slow = half_a_post(&broker, &peer).await;
    assert!(status_line(slow).await.starts_with("HTTP/1.1 408 "));
    // What follows half a body must not pass for what came first: the session is over.
    broker.until_metric_is("newage_sessions", 1).await;
    http(&broker, "GET", &peer.path("polling"), &[], "").await.expect(400, UNKNOWN_SID);
    broker.until_metric_is("newage_sockets", 0).await;
    assert_eq!(broker.limit_reached("server.body_timeout"), 1);
    bystander.barrier().await;
    Peer::open_polling(&broker).await.barrier().await;
}

/// A connection that is in `/llm` and never reads.
async fn deaf(broker: &Broker, client: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(broker.address()).await.unwrap();
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let opening = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    deaf.write_all(opening.as_bytes()).await.unwrap();
    let join = format!("40/llm,{}", auth(client));
    deaf.write_all(&masked_frame(true, TEXT, join.as_bytes())).await.unwrap();
    deaf
}

/// Each is refused with an ack that nobody reads.
fn flood() -> Vec<u8> {
    masked_frame(true, TEXT, b"42/llm,7[9,{}]").repeat(1000)
}

/// A peer that takes nothing keeps what its session has left behind, for a while.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn send_timeout() {
    let broker = Broker::start(|config| {
        config.server.send_timeout = 1;
        config.limits.outbox_bytes = 256 << 20;
        config.limits.outbox_packets = 10_000_000;
    });
    let mut bystander = Peer::connect_ws(&broker).await;
    bystander.join("/llm", auth("app-b")).await;
    let mut deaf = deaf(&broker, "app-a").await;
    // More than the kernel takes for a peer that does not read.
    for _ in 0..100 {
        deaf.write_all(&flood()).await.unwrap();
    }
    deaf.write_all(&masked_frame(true, TEXT, b"1")).await.unwrap();
    broker.until_metric_is("newage_sessions_closed_total{reason=\"transport close\"}", 1).await;
    within("the end of a deaf connection", broker.until_metric_is("newage_connections", 1)).await;
    bystander.barrier().await;
}

/// Whoever is closed for not reading has no right to that while.
#[tokio::test]
async fn a_slow_consumer_does_not_keep_its_connection() {
    let broker = Broker::start(|config| {
        config.server.send_timeout = 600;
        config.session.close_timeout = 200;
        config.limits.outbox_bytes = 65_536;
        config.llm.pending_per_client = 10_000;
        config.llm.pending_per_extension = 10_000;
    });
    let mut client = Peer::connect_ws(&broker).await;
    client.join("/llm", auth("app-b")).await;
    let _deaf = deaf(&broker, "SillyTavern-8000").await;
    let request = json!({"target": "SillyTavern-8000", "message": "x".repeat(60_000)});
    for id in 0.. {
        let mut request = request.clone();
        request["requestId"] = json!(id.to_string());
        client.emit_with_ack("/llm", json!(9), request).await;
        if broker.metric("newage_sessions_closed_total{reason=\"forced close\"}") == 1 {
            break;
        }
    }
    within("the end of a deaf connection", broker.until_metric_is("newage_connections", 1)).await;
    assert_eq!(broker.limit_reached("session.close_timeout"), 1);
    client.barrier().await;
}

/// Nor has one that is held back, and shows in no way that it lives.
#[tokio::test]
async fn a_peer_that_is_held_back_does_not_keep_its_connection() {
    let broker = Broker::start(|config| {
        config.server.send_timeout = 600;
        config.session.ping_interval = 200;
        config.session.ping_timeout = 200;
        config.session.close_timeout = 200;
        config.limits.outbox_bytes = 65_536;
    });
    let mut deaf = deaf(&broker, "app-a").await;
    let ended = broker.until_metric_is("newage_sessions_closed_total{reason=\"ping timeout\"}", 1);
    tokio::pin!(ended);
    let flood = flood();
    loop {
        tokio::select! {
            () = &mut ended => break,
            sent = deaf.write_all(&flood) => sent.unwrap(),
        }
    }
    within("the end of a deaf connection", broker.until_metric_is("newage_connections", 0)).await;
    assert_eq!(broker.limit_reached("session.close_timeout"), 1);
    assert_eq!(broker.metric("newage_outbox_overflows_total"), 0);
}

/// The session is over, everything is written, and the peer leaves its side open.
#[tokio::test]
async fn a_peer_that_does_not_close_is_dropped() {
    let broker = Broker::start(|config| config.session.close_timeout = 200);
    let mut open = deaf(&broker, "app-a").await;
    open.write_all(&masked_frame(true, TEXT, b"1")).await.unwrap();
    broker.until_metric_is("newage_sessions_closed_total{reason=\"transport close\"}", 1).await;
    within("the end of the connection", broker.until_metric_is("newage_connections", 0)).await;
    assert_eq!(broker.limit_reached("session.close_timeout"), 1);
}

#[tokio::test]
async fn max_connections() {
    let broker = Broker::start(|config| {
        config.server.workers = 1;
        config.server.max_connections = 2;
    });
    let mut first = Peer::connect_ws(&broker).await;
    first.barrier().await;
    assert_eq!((broker.metric("newage_connections"), broker.limit_reached("server.max_connections")), (1, 0));
    let mut second = Peer::connect_ws(&broker).await;
    second.barrier().await;
    assert_eq!((broker.metric("newage_connections"), broker.limit_reached("server.max_connections")), (2, 1));
    // The third is in the system's hands, and in the broker's once somebody leaves.
    let address = broker.address();
    let mut third = TcpStream::connect(address).await.unwrap();
    third.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    second.barrier().await;
    assert_eq!(broker.metric("newage_connections"), 2);
    first.send_text("1").await;
    assert!(status_line(third).await.starts_with("HTTP/1.1 200 "));
    broker.until_metric_is("newage_connections", 1).await;
    drop(Opening::new().ws(&broker).await.unwrap());
    second.barrier().await;
}

#[tokio::test]
async fn shutdown_timeout() {
    let broker = Broker::start(|config| config.server.shutdown_timeout = 1);
    let peer = Peer::open_polling(&broker).await;
    // A request that never ends holds the end up for so long, and no longer.
    let endless = half_a_post(&broker, &peer).await;
    broker.until_metric_is("newage_connections", 2).await;
    broker.stop().await;
    drop(endless);
}

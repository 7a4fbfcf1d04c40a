//! The server of the public conformance suites keeps its promises: `examples/conformance.rs`.

mod support;

#[path = "../examples/conformance.rs"]
mod conformance;

use std::{
    net::SocketAddr,
    sync::mpsc::sync_channel,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{Frame, Opening, Peer, within};

/// The server, on a thread of its own, until the process ends.
fn serve() -> SocketAddr {
    let (started, address) = sync_channel(1);
    thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let (server, address) = conformance::serve(0).expect("it starts");
            started.send(address).expect("the test waits");
            server.await.expect("it serves");
        });
    });
    address.recv().expect("it starts")
}

/// A session of its own for each case: whoever is not read answers no pings, and is closed soon.
async fn open(server: SocketAddr, polling: bool) -> Peer {
    if polling { Peer::open_polling(&server).await } else { Peer::connect_ws(&server).await }
}

#[tokio::test]
async fn the_handshake_has_the_timings_of_the_suites() {
    let server = serve();
    for base in ["/socket.io/", "/engine.io/"] {
        let opening = Opening::new().base(base);
        for (peer, upgrades) in [
            (opening.polling(&server).await.expect("a session"), json!(["websocket"])),
            (opening.ws(&server).await.expect("a session"), json!([])),
        ] {
            let mut open = peer.open.clone();
            open["sid"] = Value::Null;
            let wanted = json!({
                "sid": null, "upgrades": upgrades, "pingInterval": 300, "pingTimeout": 200,
                "maxPayload": 1_000_000,
            });
            assert_eq!(open, wanted, "{base}");
        }
    }
}

#[tokio::test]
async fn auth_comes_back_in_both_namespaces() {
    let server = serve();
    for polling in [false, true] {
        let mut peer = open(server, polling).await;
        for (ns, prefix) in [("/", ""), ("/custom", "/custom,")] {
            let auth = json!({"token": "123", "n": [1, null]});
            peer.join(ns, auth.clone()).await;
            assert_eq!(peer.expect_event(ns).await, (json!("auth"), vec![auth]), "{ns}");
            // And without one.
            peer.leave(ns).await;
            peer.send_text(&format!("40{prefix}")).await;
            peer.expect_prefix(&format!("40{prefix}{{\"sid\":")).await;
            assert_eq!(peer.expect_event(ns).await, (json!("auth"), vec![json!({})]), "{ns}");
        }
        peer.send_text("40/random").await;
        peer.expect_text("44/random,{\"message\":\"Invalid namespace\"}").await;
    }
}

#[tokio::test]
async fn messages_come_back_as_events_and_as_acks() {
    let server = serve();
    for polling in [false, true] {
        let mut peer = open(server, polling).await;
        for (ns, prefix) in [("/", ""), ("/custom", "/custom,")] {
            peer.join(ns, json!({})).await;
            peer.expect_event(ns).await;
            peer.send_text(&format!("42{prefix}[\"message\",1,\"2\",{{\"3\":[true]}}]")).await;
            peer.expect_text(&format!("42{prefix}[\"message-back\",1,\"2\",{{\"3\":[true]}}]")).await;
            peer.send_text(&format!("42{prefix}456[\"message-with-ack\",1,\"2\"]")).await;
            peer.expect_text(&format!("43{prefix}456[1,\"2\"]")).await;
            for (asked, answered) in [
                (format!("452-{prefix}[\"message\","), format!("452-{prefix}[\"message-back\",")),
                (format!("452-{prefix}7[\"message-with-ack\","), format!("462-{prefix}7[")),
            ] {
                let parts = "{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
                let binary = [&b"\x01\x02\x03"[..], &b"\x04"[..]];
                let attached = binary.map(|bytes| Frame::Binary(bytes.to_vec()));
                let head = Frame::Text(format!("{asked}{parts}"));
                peer.send_all(&[&[head][..], &attached[..]].concat()).await;
                peer.expect_text(&format!("{answered}{parts}")).await;
                for bytes in binary {
                    peer.expect_binary(bytes).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn engine_io_sends_every_message_back() {
    let server = serve();
    let echoes = async |peer: &mut Peer| {
        for text in ["hello", "", "你好 😀", "2probe"] {
            peer.send_text(&format!("4{text}")).await;
            peer.expect_text(&format!("4{text}")).await;
        }
        peer.send_binary(b"\x00\xff\x1e").await;
        peer.expect_binary(b"\x00\xff\x1e").await;
    };
    let opening = Opening::new().base("/engine.io/");
    let mut ws = opening.ws(&server).await.expect("a session");
    echoes(&mut ws).await;
    let mut polling = opening.polling(&server).await.expect("a session");
    echoes(&mut polling).await;
    polling.upgrade().await;
    echoes(&mut polling).await;
}

/// The heartbeat is so much early that a client which waits for the advertised time finds it done.
const HEARTBEAT_GRAIN: Duration = Duration::from_millis(2);

#[tokio::test]
async fn whoever_is_silent_is_closed() {
    let server = serve();
    // Pings come and are not answered.
    let begun = Instant::now();
    let mut peer = Opening::new().base("/engine.io/").ws(&server).await.expect("a session");
    peer.answers_pings = false;
    peer.expect_text("2").await;
    let end = within("the end", peer.next()).await;
    assert!(matches!(end, Frame::Closed(_)), "{end:?}");
    assert!(begun.elapsed() >= Duration::from_millis(500) - HEARTBEAT_GRAIN);
    // Pings are answered, and no namespace is joined.
    let begun = Instant::now();
    let mut peer = Peer::connect_ws(&server).await;
    let end = within("the end", peer.next()).await;
    assert!(matches!(end, Frame::Closed(_)), "{end:?}");
    assert!(begun.elapsed().as_millis() >= 1000);
}

//! From polling to WebSocket while both sides talk: nothing lost, nothing twice, nothing out of order.

mod support;

use serde_json::json;
use support::{Broker, Frame, Peer, auth, http};

const REQUESTS: usize = 40;

/// Sends `REQUESTS` requests to the extension and does not wait for any ack.
async fn request_all(client: &mut Peer, round: usize) {
    for request in 0..REQUESTS {
        let payload = json!({
            "requestId": format!("{round}-{request}"), "target": "SillyTavern-8000", "message": "hello",
        });
        client.emit("/llm", json!(9), &[payload]).await;
    }
}

async fn ask_health(peer: &mut Peer, id: usize) {
    let question = json!({"type": 0, "data": "Connection active?", "requestId": id.to_string()});
    peer.emit("/llm", json!("message"), &[question]).await;
}

/// Reads requests and health answers until all have come: each kind in its own order.
async fn read_all(peer: &mut Peer, round: usize, questions: usize) {
    let (mut requests, mut answers) = (0, 0);
    while requests < REQUESTS || answers < questions {
        let (name, args) = peer.expect_event("/llm").await;
        let id = args[0]["requestId"].as_str().unwrap();
        if name == 9 {
            assert_eq!(id, format!("{round}-{requests}"), "round {round}");
            requests += 1;
        } else {
            assert_eq!((name, id), (json!("message"), answers.to_string().as_str()), "round {round}");
            answers += 1;
        }
    }
}

#[tokio::test]
async fn nothing_is_lost_or_reordered() {
    const ROUNDS: usize = 60;
    let broker = Broker::start(|config| {
        config.llm.pending_per_client = 100_000;
        config.llm.pending_per_extension = 100_000;
        config.limits.max_routes = 100_000;
    });
    let mut client = Peer::connect_ws(&broker).await;
    client.join("/llm", auth("app-a")).await;
    for round in 0..ROUNDS {
        let mut peer = Peer::open_polling(&broker).await;
        peer.join("/llm", auth("SillyTavern-8000")).await;
        let mut asked = 0;
        let mut ask = async |peer: &mut Peer, times: usize| {
            for _ in 0..times {
                ask_health(peer, asked).await;
                asked += 1;
            }
            asked
        };
        // Every interleaving that a round can have: before the probe, between its steps, after it.
        let requests = request_all(&mut client, round);
        let upgrade = async {
            ask(&mut peer, round % 4).await;
            if round % 2 == 0 {
                peer.begin_poll();
            }
            ask(&mut peer, round % 3).await;
            peer.upgrade().await;
            ask(&mut peer, 20).await
        };
        let ((), asked) = tokio::join!(requests, upgrade);
        read_all(&mut peer, round, asked).await;
        peer.expect_nothing().await;
    }
    assert_eq!(broker.metric("newage_upgrades_total"), ROUNDS as u64);
    assert_eq!(broker.metric("newage_sessions_closed_total{reason=\"transport error\"}"), 0);
}

#[tokio::test]
async fn what_is_posted_during_the_probe_arrives_before_what_the_websocket_brings() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    peer.begin_poll();
    let mut probe = peer.second_ws().await.unwrap();
    probe.send_text("2probe").await;
    probe.expect(Frame::Text("3probe".to_owned())).await;
    ask_health(&mut peer, 0).await;
    drop(probe);
    peer.upgrade().await;
    ask_health(&mut peer, 1).await;
    for id in ["0", "1"] {
        let (_, args) = peer.expect_event("/llm").await;
        assert_eq!(args[0]["requestId"], id);
    }
}

#[tokio::test]
async fn a_poll_that_waits_is_released_by_the_probe() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::open_polling(&broker).await;
    let mut probe = peer.second_ws().await.unwrap();
    probe.send_text("2probe").await;
    probe.expect(Frame::Text("3probe".to_owned())).await;
    // One that begins while the probe runs ends by itself.
    assert_eq!(peer.poll().await.text(), "6");
    // Probes may be repeated.
    probe.send_text("2probe").await;
    probe.expect(Frame::Text("3probe".to_owned())).await;
}

#[tokio::test]
async fn a_wrong_probe_leaves_the_polling_session_alive() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    for wrong in ["2", "2wrong", "2probex", "3probe", "40/llm,", "", "éabcd", "2probé", "1", "6"] {
        let mut probe = peer.second_ws().await.unwrap();
        probe.send_text(wrong).await;
        match probe.next().await {
            Frame::Closed(_) => (),
            other => panic!("{wrong:?}: {other:?}"),
        }
        peer.emit_with_ack("/llm", json!(9), json!({})).await;
    }
    let mut probe = peer.second_ws().await.unwrap();
    probe.send_binary(b"2probe").await;
    assert!(matches!(probe.next().await, Frame::Closed(_)));
    // One that closes without a word leaves it alive too, and the way stays open.
    drop(peer.second_ws().await.unwrap());
    peer.emit_with_ack("/llm", json!(9), json!({})).await;
    let upgraded = async {
        loop {
            let mut probe = peer.second_ws().await.unwrap();
            probe.send_text("2probe").await;
            // Until the broker has seen the close before, another WebSocket is turned away.
            if probe.next().await == Frame::Text("3probe".to_owned()) {
                return;
            }
        }
    };
    support::within("a probe after a closed one", upgraded).await;
}

#[tokio::test]
async fn a_probe_that_takes_too_long_leaves_the_polling_session_alive() {
    let broker = Broker::start(|config| config.session.upgrade_timeout = 100);
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    let mut silent = peer.second_ws().await.unwrap();
    assert!(matches!(silent.next().await, Frame::Closed(_)));
    let mut half = peer.second_ws().await.unwrap();
    half.send_text("2probe").await;
    half.expect(Frame::Text("3probe".to_owned())).await;
    assert!(matches!(half.next().await, Frame::Closed(_)));
    peer.emit_with_ack("/llm", json!(9), json!({})).await;
}

#[tokio::test]
async fn a_second_websocket_is_closed_and_the_first_goes_on() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    let mut first = peer.second_ws().await.unwrap();
    let mut second = peer.second_ws().await.unwrap();
    assert!(matches!(second.next().await, Frame::Closed(_)));
    first.send_text("2probe").await;
    first.expect(Frame::Text("3probe".to_owned())).await;
    drop((first, second));

    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/llm", auth("app-b")).await;
    peer.upgrade().await;
    peer.emit_with_ack("/llm", json!(9), json!({})).await;
    let mut second = peer.second_ws().await.unwrap();
    assert!(matches!(second.next().await, Frame::Closed(_)));
    peer.emit_with_ack("/llm", json!(9), json!({})).await;
}

#[tokio::test]
async fn after_the_upgrade_polling_is_over_and_the_session_is_not() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    peer.upgrade().await;
    peer.emit_with_ack("/llm", json!(9), json!({})).await;
    for method in ["GET", "POST"] {
        let reply = http(&broker, method, &peer.path("polling"), &[], "6").await;
        reply.expect(400, r#"{"code":3,"message":"Bad request"}"#);
    }
    peer.emit_with_ack("/llm", json!(9), json!({})).await;
}

#[tokio::test]
async fn a_session_keeps_its_namespaces_acks_and_attachments_through_the_upgrade() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/auth", auth("app-a")).await;
    // The head goes by polling, its attachment by WebSocket.
    peer.send_text("451-/auth,5[33,{\"_placeholder\":true,\"num\":0}]").await;
    peer.upgrade().await;
    peer.send_binary(b"late").await;
    peer.expect_ack("/auth", 5).await;
}

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

/// Reads until all requests and health answers have come: each kind in its own order.
async fn read_all(peer: &mut Peer, round: usize, questions: usize) {
    let (mut requests, mut answers) = (Vec::new(), Vec::new());
    while requests.len() < REQUESTS || answers.len() < questions {
        let (name, args) = peer.expect_event("/llm").await;
        let id = args[0]["requestId"].as_str().unwrap().to_owned();
        if name == 9 { &mut requests } else { &mut answers }.push(id);
    }
    let all = |count: usize, prefix: &str| -> Vec<String> {
        (0..count).map(|id| format!("{prefix}{id}")).collect()
    };
    assert_eq!(requests, all(REQUESTS, &format!("{round}-")), "round {round}");
    assert_eq!(answers, all(questions, ""), "round {round}");
}

#[tokio::test]
async fn nothing_is_lost_or_reordered() {
    const ROUNDS: usize = 60;
    // Without grace a round's requests end with its extension, and the next one begins with nothing.
    let broker = Broker::setup().settings(json!({"reconnectAttempts": 0})).start(|config| {
        config.llm.pending_per_client = 2 * REQUESTS;
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
        peer.send_text("1").await;
        peer.expect_close(1000).await;
        // The client is told of each request that has failed.
        for _ in 0..REQUESTS {
            let (name, _) = client.expect_event("/llm").await;
            assert_eq!(name, 21, "round {round}");
        }
    }
    assert_eq!(broker.metric("newage_llm_requests_refused_total"), 0);
    assert_eq!(broker.metric("newage_upgrades_total"), ROUNDS as u64);
    assert_eq!(broker.metric("newage_sessions_closed_total{reason=\"transport error\"}"), 0);
}

/// Both sides began with polling. What is asked after their upgrades takes no detour.
#[tokio::test]
async fn whoever_has_moved_is_reached_where_it_is() {
    let broker = Broker::start(|_| ());
    let mut extension = Peer::open_polling(&broker).await;
    let mut client = Peer::open_polling(&broker).await;
    for (peer, id) in [(&mut extension, "SillyTavern-8000"), (&mut client, "app-a")] {
        peer.join("/llm", auth(id)).await;
        peer.upgrade().await;
        // Behind everything that the move has said to others.
        peer.join("/function_call", auth(id)).await;
    }
    for id in 0..20 {
        let request = json!({"requestId": id.to_string(), "target": "SillyTavern-8000", "message": "hi"});
        client.emit_with_ack("/llm", json!(9), request).await;
        let (_, args) = extension.expect_event("/llm").await;
        let answer = json!({"type": 0, "data": "hello", "requestId": args[0]["requestId"], "outputId": "o"});
        extension.emit("/llm", json!("message"), &[answer]).await;
        let (name, _) = client.expect_event("/llm").await;
        assert_eq!(name, "message");
    }
    assert_eq!(broker.metric("newage_upgrades_total"), 2);
    assert_eq!(broker.metric("newage_handed_on_total"), 0);
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
    assert_eq!(broker.limit_reached("session.upgrade_timeout"), 2);
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

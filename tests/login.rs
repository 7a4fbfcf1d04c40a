//! `LOGIN` where it cannot be served (spec §3.6, §1.3, §8.1 8-53).

mod support;

use serde_json::json;
use support::{Broker, Peer, auth, auth_with_key, key};

#[tokio::test]
async fn a_login_that_finds_no_room_for_its_hash_says_so() {
    let broker = Broker::setup()
        .settings(json!({"networkSafe": false}))
        .password("app-a", "pass-a")
        .costly_key("app-b", 13)
        .start(|config| {
            config.trust.max_concurrent_hashes = 1;
            config.trust.max_waiting_hashes = 0;
        });
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/auth", auth_with_key("app-a", "getKey")).await;
    for _ in 0..2 {
        peer.expect_event("/auth").await;
    }
    // One hash at a time, and this one takes long.
    let mut other = Peer::connect_ws(&broker).await;
    other.send_text(&format!("40/llm,{}", auth_with_key("app-b", &key("app-b")))).await;
    other.barrier().await;
    let login = json!({"clientId": "app-a", "password": "pass-a", "requestId": "l1"});
    let ack = peer.emit_with_ack("/auth", json!(23), login.clone()).await;
    assert_eq!(ack, json!({"success": false, "message": "Server error during login.", "code": "busy"}));
    peer.emit("/auth", json!(23), std::slice::from_ref(&login)).await;
    let error = json!({
        "type": 21, "message": "Server error during login.", "requestId": "l1", "code": "busy",
    });
    assert_eq!(peer.expect_event("/auth").await, (json!(21), vec![error]));
    assert_eq!(broker.limit_reached("trust.max_waiting_hashes"), 2);
    // Nothing of it counts against the password, and later there is room.
    other.expect_prefix("40/llm,{").await;
    assert_eq!(peer.emit_with_ack("/auth", json!(23), login).await, json!({"success": true}));
}

#[tokio::test]
async fn a_login_beyond_a_sessions_questions_says_so() {
    let broker =
        Broker::setup().password("SillyTavern-8000", "pass").start(|config| config.limits.max_questions = 1);
    let mut peer = Peer::connect_ws(&broker).await;
    for ns in ["/auth", "/clients"] {
        peer.join(ns, auth("SillyTavern-8000")).await;
    }
    let login = json!({"clientId": "SillyTavern-8000", "password": "pass", "requestId": "l1"});
    // Hashing a new key takes its time; meanwhile the session's one question is open.
    let slow = peer.begin_ack("/clients", json!(17), &[json!({"targetClientId": "app-a"})]).await;
    peer.emit("/auth", json!(23), std::slice::from_ref(&login)).await;
    let refused = peer.begin_ack("/auth", json!(23), std::slice::from_ref(&login)).await;
    let error = json!({"type": 21, "message": "Too many requests.", "requestId": "l1"});
    assert_eq!(peer.expect_event("/auth").await, (json!(21), vec![error]));
    let ack = peer.expect_ack("/auth", refused).await;
    assert_eq!(ack, json!({"success": false, "message": "Too many requests."}));
    assert_eq!(peer.expect_ack("/clients", slow).await["status"], "ok");
    assert_eq!(peer.emit_with_ack("/auth", json!(23), login).await, json!({"success": true}));
}

//! `LOGIN` where it cannot be served (spec §3.6, §1.3, §8.1 8-53).

mod support;

use serde_json::json;
use support::{Broker, Frame, Peer, auth, auth_with_key, key};

#[tokio::test]
async fn a_login_that_finds_no_room_for_its_hash_says_so() {
    let broker = Broker::setup()
        .settings(json!({"networkSafe": false}))
        .password("app-a", "pass-a")
        .costly_key("app-b", 12)
        .start(|config| {
            config.trust.max_concurrent_hashes = 1;
            config.trust.max_waiting_hashes = 0;
            config.session.question_timeout = 120_000;
        });
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/auth", auth_with_key("app-a", "getKey")).await;
    for _ in 0..2 {
        peer.expect_event("/auth").await;
    }
    let login = json!({"clientId": "app-a", "password": "pass-a", "requestId": "l1"});
    // One hash at a time. This one takes long, and what comes with it in one POST is asked right behind it.
    let connect = format!("40/llm,{}", auth_with_key("app-b", &key("app-b")));
    let packets = [connect, format!("42/auth,100[23,{login}]"), format!("42/auth,[23,{login}]")];
    peer.send_all(&packets.map(Frame::Text)).await;
    let ack = peer.expect_ack("/auth", 100).await;
    assert_eq!(ack, json!({"success": false, "message": "Server error during login.", "code": "busy"}));
    let error = json!({
        "type": 21, "message": "Server error during login.", "requestId": "l1", "code": "busy",
    });
    let error = format!("42/auth,{}", json!([21, error]));
    peer.wait_for(&error, |packet| packet == error).await;
    assert_eq!(broker.limit_reached("trust.max_waiting_hashes"), 2);
    // Nothing of it counts against the password, and later there is room.
    peer.wait_for("CONNECT", |packet| packet.starts_with("40/llm,{")).await;
    assert!(peer.is_in("/llm").await);
    assert_eq!(peer.emit_with_ack("/auth", json!(23), login).await, json!({"success": true}));
}

#[tokio::test]
async fn a_login_beyond_a_sessions_questions_says_so() {
    let broker =
        Broker::setup().password("SillyTavern-8000", "pass").start(|config| config.limits.max_questions = 1);
    let mut extension = Peer::connect_ws(&broker).await;
    extension.join("/function_call", auth("SillyTavern-8001")).await;
    let mut peer = Peer::connect_ws(&broker).await;
    for ns in ["/auth", "/function_call"] {
        peer.join(ns, auth("SillyTavern-8000")).await;
        // The registry says CONNECT for the session, which learns of it by an answer of its own.
        broker.until_metric_is("newage_questions", 0).await;
    }
    let login = json!({"clientId": "SillyTavern-8000", "password": "pass", "requestId": "l1"});
    // The session's one question is open for as long as the other extension takes to answer.
    let call = json!({"requestId": "f", "target": "SillyTavern-8001", "functionName": "slow"});
    let slow = peer.begin_ack("/function_call", json!(22), &[call]).await;
    extension.expect_prefix("42/function_call,0[22,").await;
    peer.emit("/auth", json!(23), std::slice::from_ref(&login)).await;
    let refused = peer.begin_ack("/auth", json!(23), std::slice::from_ref(&login)).await;
    let error = json!({"type": 21, "message": "Too many requests.", "requestId": "l1"});
    assert_eq!(peer.expect_event("/auth").await, (json!(21), vec![error]));
    let ack = peer.expect_ack("/auth", refused).await;
    assert_eq!(ack, json!({"success": false, "message": "Too many requests."}));
    extension.send_text("43/function_call,0[{\"success\":true}]").await;
    assert_eq!(peer.expect_ack("/function_call", slow).await, json!({"success": true}));
    assert_eq!(peer.emit_with_ack("/auth", json!(23), login).await, json!({"success": true}));
}

//! What opens a namespace where the network is not safe: keys and passwords (spec §2.6, §3.4, §3.6).

mod support;

use newage_broker::config::KeyPolicy;
use serde_json::json;
use support::{
    Broker, Opening, Peer, auth, auth_with_key,
    handshake::{NAMESPACES, error, joins, prefix, unsafe_broker},
    key,
};

/// A peer that is not on loopback.
async fn from_afar(broker: &Broker) -> Peer {
    Opening::new().header("x-forwarded-for", "192.0.2.1").ws(broker).await.unwrap()
}

/// The session key that is pushed on `/auth`: 26, then 20.
async fn expect_key_pushes(peer: &mut Peer, client: &str) -> String {
    let (name, args) = peer.expect_event("/auth").await;
    let key = args[0]["key"].as_str().unwrap().to_owned();
    assert_eq!((name, &args), (json!(26), &vec![json!({"type": 26, "key": key, "clientId": client})]));
    let (name, args) = peer.expect_event("/auth").await;
    assert_eq!((name, &args), (json!(20), &vec![json!({"Key": key})]));
    key
}

#[tokio::test]
async fn safe_network_get_key_is_answered_on_auth_only() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/auth", auth_with_key("app-a", "getKey")).await;
    let pushed = expect_key_pushes(&mut peer, "app-a").await;
    assert_ne!(pushed, key("app-a"));
    for ns in NAMESPACES.into_iter().filter(|ns| *ns != "/auth") {
        joins(&mut peer, ns, auth_with_key("app-a", "getKey")).await;
    }
    // No key, an empty one and a wrong one are all as good, without the pushes.
    for key in [json!(null), json!(""), json!("wrong"), json!(7), json!({})] {
        let mut peer = Peer::connect_ws(&broker).await;
        let mut auth = auth("app-b");
        auth["key"] = key;
        joins(&mut peer, "/auth", auth).await;
    }
    // The same key for the whole process.
    let mut again = Peer::connect_ws(&broker).await;
    again.join("/auth", auth_with_key("app-a", "getKey")).await;
    assert_eq!(expect_key_pushes(&mut again, "app-a").await, pushed);
}

#[tokio::test]
async fn the_pushes_follow_the_dialect() {
    let broker = Broker::start(|_| ());
    for (dialect, expected) in [
        (json!({"dialect": 1}), vec![(json!(26), json!(26)), (json!(20), json!(null))]),
        (json!({"dialect": 2}), vec![(json!("GET_CLIENT_KEY"), json!("GET_CLIENT_KEY"))]),
        (
            json!({}),
            vec![
                (json!(26), json!(26)),
                (json!("GET_CLIENT_KEY"), json!("GET_CLIENT_KEY")),
                (json!(20), json!(null)),
            ],
        ),
    ] {
        // Each asks as a client of its own: what one shows of its dialect holds for the client.
        let broker = if dialect == json!({}) { Broker::start(|_| ()) } else { Broker::start(|_| ()) };
        let mut peer = Peer::connect_ws(&broker).await;
        let mut auth = dialect;
        auth["clientId"] = json!("app-a");
        auth["key"] = json!("getKey");
        peer.join("/auth", auth).await;
        for (name, kind) in expected {
            let (found, args) = peer.expect_event("/auth").await;
            assert_eq!((&found, &args[0]["type"]), (&name, &kind));
        }
        peer.expect_nothing().await;
    }
    drop(broker);
}

#[tokio::test]
async fn defect_8_03_without_a_safe_network_the_key_decides() {
    let broker = unsafe_broker(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    for ns in NAMESPACES {
        peer.send_text(&format!("40{}{}", prefix(ns), auth_with_key("app-b", "wrong"))).await;
        assert_eq!(peer.expect_rejection(ns).await["message"], "Invalid key.", "{ns}");
    }
    // Somebody else's key is none.
    let mut peer = Peer::connect_ws(&broker).await;
    peer.send_text(&format!("40/llm,{}", auth_with_key("app-a", &key("app-b")))).await;
    assert_eq!(peer.expect_rejection("/llm").await, error("Invalid key."));
    for ns in NAMESPACES {
        joins(&mut peer, ns, auth_with_key("app-a", &key("app-a"))).await;
    }
}

#[tokio::test]
async fn a_peer_on_loopback_gets_its_key_and_may_use_it() {
    let broker = unsafe_broker(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/auth", auth_with_key("app-a", "getKey")).await;
    let session_key = expect_key_pushes(&mut peer, "app-a").await;
    peer.expect_nothing().await;
    // From anywhere, and the persistent key still holds beside it.
    for key in [session_key, key("app-a")] {
        let mut afar = from_afar(&broker).await;
        joins(&mut afar, "/llm", auth_with_key("app-a", &key)).await;
        joins(&mut afar, "/auth", auth_with_key("app-a", &key)).await;
    }
    // The bootstrap sockets show none.
    let mut peer = Peer::connect_ws(&broker).await;
    joins(&mut peer, "/function_call", auth("SillyTavern-8000")).await;
    joins(&mut peer, "/auth", auth_with_key("SillyTavern-8000", "")).await;
}

#[tokio::test]
async fn a_page_elsewhere_or_a_lan_name_is_not_on_loopback() {
    let broker = unsafe_broker(|_| ());
    for (header, value) in
        [("host", "tower:4000"), ("origin", "http://192.168.1.7:8000"), ("x-real-ip", "127.0.0.1")]
    {
        let mut peer = Opening::new().header(header, value).ws(&broker).await.unwrap();
        joins(&mut peer, "/auth", auth_with_key("app-a", "getKey")).await;
        let ack = peer.emit_with_ack("/auth", json!(33), json!({})).await;
        assert_eq!(ack, json!({"status": "error", "message": "Unauthorized"}), "{header}");
    }
}

#[tokio::test]
async fn whoever_cannot_show_a_key_may_only_log_in() {
    let broker = unsafe_broker(|_| ());
    let mut peer = from_afar(&broker).await;
    joins(&mut peer, "/llm", auth("app-a")).await;
    joins(&mut peer, "/auth", auth_with_key("app-a", "getKey")).await;
    let refused = json!({"status": "error", "message": "Unauthorized"});
    for name in [9, 17, 26, 29, 33] {
        assert_eq!(peer.emit_with_ack("/auth", json!(name), json!({})).await, refused);
    }
    peer.emit("/auth", json!(33), &[]).await;
    assert_eq!(peer.expect_event("/auth").await, (json!(21), vec![error("Unauthorized")]));
    assert_eq!(peer.emit_with_ack("/llm", json!(9), json!({})).await, refused);
    assert_eq!(broker.metric("newage_sockets"), 0, "nobody is present");

    for (payload, message) in [
        (json!({}), "Invalid login data."),
        (json!({"clientId": "app-a"}), "Invalid login data."),
        (json!({"clientId": "app-a", "password": 7}), "Invalid login data."),
        (json!({"clientId": "app-b", "password": "pass-a"}), "Invalid login data."),
        (json!({"clientId": "app-a", "password": "wrong"}), "Incorrect password."),
    ] {
        let ack = peer.emit_with_ack("/auth", json!(23), payload.clone()).await;
        assert_eq!(ack, json!({"success": false, "message": message}), "{payload}");
    }
    let ack =
        peer.emit_with_ack("/auth", json!(23), json!({"clientId": "app-a", "password": "pass-a"})).await;
    assert_eq!(ack, json!({"success": true}));
    let session_key = expect_key_pushes(&mut peer, "app-a").await;
    peer.emit_with_ack("/auth", json!(33), json!({})).await;
    joins(&mut from_afar(&broker).await, "/llm", auth_with_key("app-a", &session_key)).await;
    // A goodbye is served too.
    let mut peer = from_afar(&broker).await;
    peer.join("/auth", auth("app-b")).await;
    peer.emit("/auth", json!(27), &[json!({})]).await;
    peer.expect_text("41/auth,").await;
}

#[tokio::test]
async fn no_password_and_a_wrong_one_take_the_same_way() {
    let broker = unsafe_broker(|_| ());
    let mut peer = from_afar(&broker).await;
    peer.join("/auth", auth("app-b")).await;
    let ack = peer.emit_with_ack("/auth", json!(23), json!({"clientId": "app-b", "password": "x"})).await;
    assert_eq!(ack, json!({"success": false, "message": "Password not set on server."}));
}

#[tokio::test]
async fn a_password_in_the_handshake_is_as_good_as_loopback() {
    let broker = unsafe_broker(|_| ());
    let with_password = |password: &str| {
        let mut auth = auth_with_key("app-a", "getKey");
        auth["password"] = json!(password);
        auth
    };
    let mut peer = from_afar(&broker).await;
    peer.join("/auth", with_password("pass-a")).await;
    let key = expect_key_pushes(&mut peer, "app-a").await;
    let (name, args) = peer.expect_event("/auth").await;
    assert_eq!((name, args), (json!(28), vec![json!({"success": true, "key": key})]));
    peer.emit_with_ack("/auth", json!(33), json!({})).await;

    let mut peer = from_afar(&broker).await;
    peer.join("/auth", with_password("wrong")).await;
    let (name, args) = peer.expect_event("/auth").await;
    assert_eq!((name, args), (json!(28), vec![json!({"success": false, "message": "Incorrect password."})]));
    let ack = peer.emit_with_ack("/auth", json!(33), json!({})).await;
    assert_eq!(ack["message"], "Unauthorized");
}

#[tokio::test]
async fn loopback_may_be_asked_for_a_password_too() {
    let broker = unsafe_broker(|config| config.trust.get_key_from_loopback = false);
    let mut peer = Peer::connect_ws(&broker).await;
    joins(&mut peer, "/auth", auth_with_key("app-a", "getKey")).await;
    let ack = peer.emit_with_ack("/auth", json!(33), json!({})).await;
    assert_eq!(ack["message"], "Unauthorized");
    // A call has an ack of its own shape, whoever refuses it.
    joins(&mut peer, "/function_call", auth_with_key("app-a", "getKey")).await;
    let call = json!({"requestId": "f", "target": "server", "functionName": "readJsonFromFile", "args": []});
    let ack = peer.emit_with_ack("/function_call", json!(22), call).await;
    let error = json!({"message": "Access denied: Unauthorized."});
    assert_eq!(ack, json!({"requestId": "f", "success": false, "error": error}));
}

#[tokio::test]
async fn an_invalid_key_may_lead_to_a_room_of_its_own() {
    let broker = unsafe_broker(|config| {
        config.trust.invalid_key_policy = KeyPolicy::TempRoom;
        config.trust.temp_room = 0.5;
    });
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/auth", auth_with_key("app-a", "wrong")).await;
    let (name, args) = peer.expect_event("/auth").await;
    assert_eq!((name, args), (json!("TEMP_ROOM_ASSIGNED"), vec![json!({"roomId": "temp_app-a"})]));
    let ack = peer.emit_with_ack("/auth", json!(33), json!({})).await;
    assert_eq!(ack["message"], "Unauthorized");
    peer.expect_text("41/auth,").await;
    assert_eq!(broker.metric("newage_sessions"), 1, "the session itself lives");
    assert_eq!(broker.limit_reached("trust.limited_session"), 1);
}

#[tokio::test]
async fn removed_and_replaced_keys_open_nothing() {
    let broker = unsafe_broker(|_| ());
    let mut admin = Peer::connect_ws(&broker).await;
    admin.join("/clients", auth_with_key("SillyTavern-8000", &key("SillyTavern-8000"))).await;
    let ack = admin.emit_with_ack("/clients", json!(17), json!({"targetClientId": "app-a"})).await;
    let fresh = ack["key"].as_str().unwrap().to_owned();
    let mut peer = Peer::connect_ws(&broker).await;
    peer.send_text(&format!("40/llm,{}", auth_with_key("app-a", &key("app-a")))).await;
    peer.expect_rejection("/llm").await;
    joins(&mut peer, "/llm", auth_with_key("app-a", &fresh)).await;
    let ack = admin.emit_with_ack("/clients", json!(18), json!({"targetClientId": "app-a"})).await;
    assert_eq!(ack, json!({"status": "ok"}));
    // Its sockets go with the key, namespace by namespace.
    peer.expect_text("41/llm,").await;
    broker.until_metric_is("newage_sockets", 1).await;
    let mut peer = Peer::connect_ws(&broker).await;
    peer.send_text(&format!("40/llm,{}", auth_with_key("app-a", &fresh))).await;
    peer.expect_rejection("/llm").await;
}

#[tokio::test]
async fn operations_on_a_key_that_wait_for_no_answer_keep_their_order() {
    let broker = unsafe_broker(|_| ());
    let mut admin = Peer::connect_ws(&broker).await;
    admin.join("/clients", auth_with_key("SillyTavern-8000", &key("SillyTavern-8000"))).await;
    let target = json!({"targetClientId": "app-a"});
    let generated = admin.begin_ack("/clients", json!(17), std::slice::from_ref(&target)).await;
    // A removal is much quicker than a hash.
    let removed = admin.begin_ack("/clients", json!(18), std::slice::from_ref(&target)).await;
    let got = admin.begin_ack("/clients", json!(26), &[json!({"clientId": "app-a"})]).await;
    let fresh = admin.expect_ack("/clients", generated).await["key"].as_str().unwrap().to_owned();
    assert_eq!(admin.expect_ack("/clients", removed).await, json!({"status": "ok"}));
    let missing = json!({"status": "error", "message": "No keys in stroge!"});
    assert_eq!(admin.expect_ack("/clients", got).await, missing);
    let mut peer = Peer::connect_ws(&broker).await;
    peer.send_text(&format!("40/llm,{}", auth_with_key("app-a", &fresh))).await;
    peer.expect_rejection("/llm").await;
}

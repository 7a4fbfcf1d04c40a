//! What one client may take of what all share: every bound of `[limits]` on presence, rooms and targets, and
//! of `[trust]` on guessing and hashing, is reached here.

mod support;

use serde_json::{Value, json};
use support::{Broker, Frame, Opening, Peer, auth, auth_with_key, key};

/// The rejection of a CONNECT, whole.
async fn rejection(peer: &mut Peer, ns: &str, auth: Value) -> Value {
    peer.send_text(&format!("40{ns},{auth}")).await;
    peer.expect_rejection(ns).await
}

fn too_many() -> Value {
    json!({"type": 21, "message": "Too many connections.", "code": "too_many_connections"})
}

#[tokio::test]
async fn connections_per_client() {
    let broker = Broker::start(|config| config.limits.connections_per_client = 2);
    let mut first = Peer::connect_ws(&broker).await;
    first.join("/llm", auth("app-a")).await;
    let mut second = Peer::open_polling(&broker).await;
    second.join("/llm", auth("app-a")).await;
    let mut third = Peer::connect_ws(&broker).await;
    assert_eq!(rejection(&mut third, "/llm", auth("app-a")).await, too_many());
    assert_eq!(broker.limit_reached("limits.connections_per_client"), 1);
    // More namespaces of a connection that counts already, and other clients, are no matter.
    first.join("/auth", auth("app-a")).await;
    third.join("/llm", auth("app-b")).await;
    first.send_text("1").await;
    broker.until_metric_is("newage_sockets", 2).await;
    let mut fourth = Peer::connect_ws(&broker).await;
    fourth.join("/llm", auth("app-a")).await;
}

#[tokio::test]
async fn sockets_per_client() {
    let broker = Broker::start(|config| config.limits.sockets_per_client = 3);
    let mut first = Peer::connect_ws(&broker).await;
    let mut second = Peer::connect_ws(&broker).await;
    first.join("/llm", auth("app-a")).await;
    first.join("/auth", auth("app-a")).await;
    second.join("/llm", auth("app-a")).await;
    for (peer, ns) in [(&mut first, "/clients"), (&mut second, "/auth")] {
        assert_eq!(rejection(peer, ns, auth("app-a")).await, too_many());
    }
    assert_eq!(broker.limit_reached("limits.sockets_per_client"), 2);
    first.emit_with_ack("/llm", json!(9), json!({})).await;
    first.leave("/auth").await;
    broker.until_metric_is("newage_sockets", 2).await;
    second.join("/auth", auth("app-a")).await;
}

#[tokio::test]
async fn rooms_and_their_members() {
    let broker = Broker::start(|config| {
        config.limits.rooms = 2;
        config.limits.members_per_room = 1;
    });
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/rooms", auth("SillyTavern-8000")).await;
    let mut others = [Peer::connect_ws(&broker).await, Peer::connect_ws(&broker).await];
    for (other, id) in others.iter_mut().zip(["app-a", "app-b"]) {
        other.join("/rooms", auth(id)).await;
    }
    let ok = json!({"status": "ok"});
    let error = |message: &str| json!({"status": "error", "message": message});
    for (room, expected) in [("one", ok.clone()), ("two", ok.clone()), ("three", error("Too many rooms"))] {
        assert_eq!(peer.emit_with_ack("/rooms", json!(13), json!({"roomName": room})).await, expected);
    }
    assert_eq!(broker.limit_reached("limits.rooms"), 1);
    let add = |client: &str| json!({"clientId": client, "roomName": "one"});
    assert_eq!(peer.emit_with_ack("/rooms", json!(15), add("app-a")).await, ok);
    let full = peer.emit_with_ack("/rooms", json!(15), add("app-b")).await;
    assert_eq!(full, error("Failed to add client to room"));
    assert_eq!(broker.limit_reached("limits.members_per_room"), 1);
    // Who is in already may be added again; who leaves makes room, and so does a room that is deleted.
    assert_eq!(peer.emit_with_ack("/rooms", json!(15), add("app-a")).await, ok);
    assert_eq!(peer.emit_with_ack("/rooms", json!(16), add("app-a")).await, ok);
    assert_eq!(peer.emit_with_ack("/rooms", json!(15), add("app-b")).await, ok);
    assert_eq!(peer.emit_with_ack("/rooms", json!(14), json!("two")).await, ok);
    assert_eq!(peer.emit_with_ack("/rooms", json!(13), json!("three")).await, ok);
}

fn request(targets: Value, id: &str) -> Value {
    json!({"requestId": id, "target": targets, "message": "x"})
}

#[tokio::test]
async fn max_targets() {
    let broker = Broker::start(|config| config.limits.max_targets = 2);
    let mut extension = Peer::connect_ws(&broker).await;
    extension.join("/llm", auth("SillyTavern-8000")).await;
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    let ack = peer.emit_with_ack("/llm", json!(9), request(json!(["SillyTavern-8000", "x"]), "r1")).await;
    assert_eq!(ack["status"], "ok");
    let ack =
        peer.emit_with_ack("/llm", json!(9), request(json!(["SillyTavern-8000", "x", "y"]), "r2")).await;
    assert_eq!(ack, json!({"status": "error", "message": "Invalid LLM request data."}));
    assert_eq!(broker.limit_reached("limits.max_targets"), 1);
}

#[tokio::test]
async fn pending_requests() {
    let broker = Broker::start(|config| {
        config.llm.pending_per_client = 2;
        config.llm.pending_per_extension = 3;
    });
    let mut extension = Peer::connect_ws(&broker).await;
    extension.join("/llm", auth("SillyTavern-8000")).await;
    let mut peers = [Peer::connect_ws(&broker).await, Peer::connect_ws(&broker).await];
    let mut acks = Vec::new();
    for (peer, id) in peers.iter_mut().zip(["app-a", "app-b"]) {
        peer.join("/llm", auth(id)).await;
        for number in 0..3 {
            let request = request(json!("SillyTavern-8000"), &format!("{id}-{number}"));
            acks.push(peer.emit_with_ack("/llm", json!(9), request).await["message"].clone());
        }
    }
    let (yes, no) = ("Request forwarded.", "Too many pending requests.");
    assert_eq!(acks, [yes, yes, no, yes, no, no]);
    assert_eq!(broker.metric("newage_llm_requests_refused_total"), 3);
}

// Trust.

fn asking_for_keys() -> support::Setup {
    Broker::setup().settings(json!({"networkSafe": false})).password("app-a", "pass-a")
}

fn invalid() -> Value {
    json!({"type": 21, "message": "Invalid key."})
}

fn limited() -> Value {
    json!({"type": 21, "message": "Invalid key.", "code": "rate_limited"})
}

#[tokio::test]
async fn failed_checks_per_minute() {
    let broker = asking_for_keys().start(|config| {
        config.trust.failed_checks_per_minute = 3;
        config.trust.ban = 2;
    });
    let mut peer = Peer::connect_ws(&broker).await;
    for _ in 0..3 {
        assert_eq!(rejection(&mut peer, "/llm", auth_with_key("app-a", "wrong")).await, invalid());
    }
    for ns in ["/llm", "/auth", "/clients"] {
        assert_eq!(rejection(&mut peer, ns, auth_with_key("app-a", "wrong")).await, limited());
    }
    // Another connection of the same address is no way around; other clients and addresses are not meant.
    let mut again = Peer::open_polling(&broker).await;
    assert_eq!(rejection(&mut again, "/llm", auth_with_key("app-a", "wrong")).await, limited());
    assert_eq!(rejection(&mut again, "/llm", auth_with_key("app-b", "wrong")).await, invalid());
    // A key that verifies is never refused.
    again.join("/llm", auth_with_key("app-a", &key("app-a"))).await;
    // The ban passes.
    let over = async {
        loop {
            let error = rejection(&mut peer, "/llm", auth_with_key("app-a", "wrong")).await;
            if error == invalid() {
                return;
            }
            assert_eq!(error, limited());
        }
    };
    support::within("the end of a ban", over).await;
}

#[tokio::test]
async fn failed_checks_are_counted() {
    let broker = asking_for_keys().start(|config| config.trust.failed_checks_per_minute = 1);
    let mut peer = Peer::connect_ws(&broker).await;
    assert_eq!(rejection(&mut peer, "/llm", auth_with_key("app-a", "wrong")).await, invalid());
    assert_eq!(rejection(&mut peer, "/llm", auth_with_key("app-a", "wrong")).await, limited());
    assert_eq!(broker.limit_reached("trust.failed_checks_per_minute"), 1);
}

#[tokio::test]
async fn login_attempts_per_minute() {
    let broker = asking_for_keys().start(|config| config.trust.login_attempts_per_minute = 2);
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/auth", auth_with_key("app-a", &key("app-a"))).await;
    let login = |password: &str| json!({"clientId": "app-a", "password": password});
    let wrong = json!({"success": false, "message": "Incorrect password."});
    assert_eq!(peer.emit_with_ack("/auth", json!(23), login("wrong")).await, wrong);
    // Right ones count too.
    assert_eq!(peer.emit_with_ack("/auth", json!(23), login("pass-a")).await, json!({"success": true}));
    for password in ["wrong", "pass-a"] {
        let ack = peer.emit_with_ack("/auth", json!(23), login(password)).await;
        assert_eq!((&ack["success"], &ack["message"]), (&json!(false), &json!("Incorrect password.")));
        assert_eq!(ack["code"], "rate_limited", "{ack}");
    }
}

#[tokio::test]
async fn login_attempts_are_counted() {
    let broker = asking_for_keys().start(|config| config.trust.login_attempts_per_minute = 1);
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/auth", auth_with_key("app-a", &key("app-a"))).await;
    for _ in 0..2 {
        peer.emit_with_ack("/auth", json!(23), json!({"clientId": "app-a", "password": "x"})).await;
    }
    assert_eq!(broker.limit_reached("trust.login_attempts_per_minute"), 1);
}

#[tokio::test]
async fn max_throttled() {
    let broker = asking_for_keys().start(|config| {
        config.trust.failed_checks_per_minute = 1;
        config.trust.max_throttled = 2;
    });
    let mut peer = Peer::connect_ws(&broker).await;
    for id in ["app-a", "app-b"] {
        assert_eq!(rejection(&mut peer, "/llm", auth_with_key(id, "wrong")).await, invalid());
        assert_eq!(rejection(&mut peer, "/llm", auth_with_key(id, "wrong")).await, limited());
    }
    // A third pair takes the place of the first, which begins anew.
    assert_eq!(rejection(&mut peer, "/llm", auth_with_key("monitor", "wrong")).await, invalid());
    assert_eq!(broker.limit_reached("trust.max_throttled"), 1);
    assert_eq!(rejection(&mut peer, "/llm", auth_with_key("app-b", "wrong")).await, limited());
    assert_eq!(rejection(&mut peer, "/llm", auth_with_key("app-a", "wrong")).await, invalid());
    assert_eq!(broker.limit_reached("trust.max_throttled"), 2);
}

/// Two checks of a key that take long, at once; the answers to both.
async fn two_hashes_at_once(broker: &Broker) -> [Value; 2] {
    let mut peer = Peer::open_polling(broker).await;
    let namespaces = ["/llm", "/auth"];
    // One body is read in one go, so both are asked before either is answered.
    let connects = namespaces.map(|ns| Frame::Text(format!("40{ns},{}", auth_with_key("app-a", "wrong"))));
    peer.send_all(&connects).await;
    let mut errors = Vec::new();
    for ns in namespaces {
        let head = format!("42{ns},[21,");
        let packet = peer.wait_for(&head, |packet| packet.starts_with(&head)).await;
        errors.push(serde_json::from_str(packet[head.len()..].trim_end_matches(']')).unwrap());
    }
    errors.try_into().unwrap()
}

#[tokio::test]
async fn max_waiting_hashes() {
    let broker = asking_for_keys().costly_key("app-a", 12).start(|config| {
        config.trust.max_concurrent_hashes = 1;
        config.trust.max_waiting_hashes = 0;
    });
    let busy = json!({"type": 21, "message": "Server is busy, try again later.", "code": "busy"});
    assert_eq!(two_hashes_at_once(&broker).await, [invalid(), busy]);
    // One at a time is no trouble, and what needs no hash is not held up.
    let mut peer = Peer::connect_ws(&broker).await;
    assert_eq!(rejection(&mut peer, "/llm", auth_with_key("app-b", "wrong")).await, invalid());
}

#[tokio::test]
async fn max_concurrent_hashes() {
    let broker = asking_for_keys().costly_key("app-a", 10).start(|config| {
        config.trust.max_concurrent_hashes = 1;
        config.trust.max_waiting_hashes = 1;
    });
    // The second waits for its turn, and gets it.
    assert_eq!(two_hashes_at_once(&broker).await, [invalid(), invalid()]);
    assert_eq!(broker.limit_reached("trust.max_concurrent_hashes"), 1);
    assert_eq!(broker.limit_reached("trust.max_waiting_hashes"), 0);
}

#[tokio::test]
async fn waiting_hashes_are_counted() {
    let broker = asking_for_keys().costly_key("app-a", 12).start(|config| {
        config.trust.max_concurrent_hashes = 1;
        config.trust.max_waiting_hashes = 0;
    });
    two_hashes_at_once(&broker).await;
    assert_eq!(broker.limit_reached("trust.max_waiting_hashes"), 1);
}

#[tokio::test]
async fn max_session_keys() {
    let broker = asking_for_keys().start(|config| config.trust.max_session_keys = 1);
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/auth", auth_with_key("app-a", "getKey")).await;
    let (name, args) = peer.expect_event("/auth").await;
    assert_eq!((name, &args[0]["clientId"]), (json!(26), &json!("app-a")));
    // Another client is admitted, and gets none; the first one's stays.
    let mut other = Peer::connect_ws(&broker).await;
    other.join("/auth", auth_with_key("app-b", "getKey")).await;
    other.expect_nothing().await;
    assert_eq!(broker.limit_reached("trust.max_session_keys"), 1);
    peer.join("/llm", auth_with_key("app-a", args[0]["key"].as_str().unwrap())).await;
}

#[tokio::test]
async fn max_key_file_bytes() {
    let broker = asking_for_keys().start(|config| config.trust.max_key_file_bytes = 200);
    assert!(broker.limit_reached("trust.max_key_file_bytes") >= 1);
    let before = std::fs::read(broker.data().join("keys/clients.json")).unwrap();
    // It is not used in part.
    let mut peer = Peer::connect_ws(&broker).await;
    assert_eq!(rejection(&mut peer, "/llm", auth_with_key("app-a", &key("app-a"))).await, invalid());
    assert_eq!(std::fs::read(broker.data().join("keys/clients.json")).unwrap(), before);
}

#[tokio::test]
async fn question_timeout() {
    // A check of a key is the longest question that there is.
    let broker =
        asking_for_keys().costly_key("app-a", 13).start(|config| config.session.question_timeout = 20);
    let mut peer = Peer::connect_ws(&broker).await;
    let busy = json!({"type": 21, "message": "Server is busy, try again later.", "code": "busy"});
    assert_eq!(rejection(&mut peer, "/llm", auth_with_key("app-a", "wrong")).await, busy);
    assert_eq!(broker.limit_reached("session.question_timeout"), 1);
    peer.barrier().await;
}

#[tokio::test]
async fn a_hash_holds_nobody_up() {
    let broker = asking_for_keys().costly_key("app-a", 13).start(|_| ());
    let mut guesser = Peer::connect_ws(&broker).await;
    let mut other = Peer::connect_ws(&broker).await;
    guesser.send_text(&format!("40/llm,{}", auth_with_key("app-a", "wrong"))).await;
    // All this is answered while the hash is worked out.
    other.join("/auth", auth_with_key("app-b", &key("app-b"))).await;
    other.emit_with_ack("/auth", json!(33), json!({})).await;
    guesser.expect_rejection("/llm").await;
    drop(Opening::new().ws(&broker).await.unwrap());
}

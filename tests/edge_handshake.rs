//! Admission to a namespace, frame by frame (spec §1.2 rules 1–3, §2.6, §3.2, §3.6, §3.8, §8.1).

mod support;

use newage_broker::config::{Config, KeyPolicy, Policy};
use serde_json::{Value, json};
use support::{Broker, Frame, Opening, Peer, auth, auth_with_key, key, masked_frame};

const NAMESPACES: [&str; 7] = ["/", "/auth", "/clients", "/llm", "/rooms", "/sillytavern", "/function_call"];

/// A broker that asks for keys.
fn unsafe_broker(change: impl FnOnce(&mut Config)) -> Broker {
    Broker::setup().settings(json!({"networkSafe": false})).password("app-a", "pass-a").start(change)
}

/// A peer that is not on loopback.
async fn from_afar(broker: &Broker) -> Peer {
    Opening::new().header("x-forwarded-for", "192.0.2.1").ws(broker).await.unwrap()
}

fn error(message: &str) -> Value {
    json!({"type": 21, "message": message})
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

/// The CONNECT is answered and nothing else comes.
async fn joins(peer: &mut Peer, ns: &str, auth: Value) {
    peer.join(ns, auth).await;
    peer.expect_nothing().await;
}

// Ids.

#[tokio::test]
async fn defect_8_19_a_client_id_must_be_one() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    let long = "x".repeat(129);
    for id in [
        json!(null),
        json!(5),
        json!(true),
        json!([]),
        json!({}),
        json!(["app-a"]),
        json!(""),
        json!(long),
        json!("app\u{0}a"),
        json!("app\na"),
        json!("app\u{7f}a"),
        json!("app\u{85}a"),
        json!("app/a"),
        json!("app\\a"),
        json!("/"),
        json!("server"),
    ] {
        let auth = json!({"clientId": id, "clientType": "test", "dialect": 1, "key": "k"});
        peer.send_text(&format!("40/llm,{auth}")).await;
        assert_eq!(peer.expect_rejection("/llm").await, error("clientId is required."), "{id}");
        peer.expect_nothing().await;
    }
    for (ns, prefix) in NAMESPACES.map(|ns| (ns, if ns == "/" { String::new() } else { format!("{ns},") })) {
        for auth in ["", "{}", "{\"clientType\":\"monitor\"}"] {
            peer.send_text(&format!("40{prefix}{auth}")).await;
            // No dialect is known: the number first, then the name.
            assert_eq!(peer.expect_rejection(ns).await, error("clientId is required."), "{ns} {auth}");
            peer.expect_nothing().await;
        }
    }
}

#[tokio::test]
async fn the_longest_client_id_is_an_id() {
    let long = "x".repeat(128);
    let broker = Broker::setup().client(json!({"clientId": long, "isTrust": true})).start(|_| ());
    joins(&mut Peer::connect_ws(&broker).await, "/llm", auth(&long)).await;
}

// Trust.

#[tokio::test]
async fn without_trust_nobody_connects_anywhere() {
    for safe in [true, false] {
        let broker = Broker::setup()
            .settings(json!({"networkSafe": safe}))
            .client(json!({"clientId": "distrusted", "isTrust": false}))
            .client(json!({"clientId": "almost", "isTrust": "true"}))
            .client(json!({"clientId": "nearly", "isTrust": 1}))
            .file("settings/no-id.json", r#"{"isTrust": true}"#)
            .file("settings/broken.json", r#"{"clientId": "broken", "isTrust": true"#)
            .start(|_| ());
        let mut peer = Peer::connect_ws(&broker).await;
        for ns in NAMESPACES {
            for id in
                ["nobody", "SillyTavern-9999", "distrusted", "almost", "nearly", "broken", "APP-A", "app-a "]
            {
                for key in ["getKey", "", &key(id)] {
                    peer.send_text(&format!("40{}{}", prefix(ns), auth_with_key(id, key))).await;
                    assert_eq!(peer.expect_rejection(ns).await, error("Client is not trusted."), "{ns} {id}");
                }
            }
        }
        peer.expect_nothing().await;
    }
}

fn prefix(ns: &str) -> String {
    if ns == "/" { String::new() } else { format!("{ns},") }
}

#[tokio::test]
async fn a_client_that_is_added_needs_no_restart() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.send_text(&format!("40/llm,{}", auth("newcomer"))).await;
    peer.expect_rejection("/llm").await;
    std::fs::write(broker.data().join("settings/newcomer.json"), r#"{"clientId":"newcomer","isTrust":true}"#)
        .unwrap();
    let admitted = async {
        loop {
            peer.send_text(&format!("40/llm,{}", auth("newcomer"))).await;
            peer.expect_prefix("40/llm,{").await;
            peer.send_text("42/llm,0[9,{}]").await;
            peer.barrier().await;
            match peer.next().await {
                Frame::Text(ack) if ack.starts_with("43/llm,0[") => return,
                _ => peer.expect_text("41/llm,").await,
            }
        }
    };
    support::within("the newcomer to be admitted", admitted).await;
}

#[tokio::test]
async fn every_namespace_admits_a_trusted_client_and_no_other_exists() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    for ns in NAMESPACES {
        joins(&mut peer, ns, auth("app-a")).await;
    }
    for ns in ["/nothing", "/LLM", "/llm/", "/llm/x", "/constructor", "/__proto__", "/é"] {
        peer.send_text(&format!("40{ns},{}", auth("app-a"))).await;
        peer.expect_text(&format!("44{ns},{{\"message\":\"Invalid namespace\"}}")).await;
    }
    assert_eq!(broker.metric("newage_sockets"), NAMESPACES.len() as u64);
}

#[tokio::test]
async fn debug_is_for_extensions_and_administrators() {
    let broker =
        Broker::setup().client(json!({"clientId": "boss", "isTrust": true, "role": "admin"})).start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    for client in ["SillyTavern-8000", "monitor", "boss"] {
        joins(&mut peer, "/debug", auth(client)).await;
        peer.leave("/debug").await;
    }
    // What it calls itself makes nobody an administrator (spec §8.1 8-13).
    let claims = json!({"clientId": "app-a", "clientType": "monitor", "role": "admin", "dialect": 1});
    peer.send_text(&format!("40/debug,{claims}")).await;
    assert_eq!(peer.expect_rejection("/debug").await, error("Unauthorized"));
}

#[tokio::test]
async fn whoever_leaves_as_it_is_admitted_is_not_there() {
    let broker = Broker::start(|_| ());
    let connect = format!("40/llm,{}", auth("SillyTavern-8000"));
    for round in 0..200 {
        let mut peer = Peer::connect_ws(&broker).await;
        peer.send_text(&connect).await;
        // Some leave before the answer, most as soon as they have it.
        if round % 4 > 0 {
            peer.expect_prefix("40/llm,{").await;
        }
        peer.send_text(if round % 2 == 0 { "1" } else { "47" }).await;
        // And some in one go.
        let mut peer = Peer::open_polling(&broker).await;
        let bye = ["1", "41/llm,", "42/llm,[27]"][round % 3];
        peer.send_all(&[Frame::Text(connect.clone()), Frame::Text(bye.to_owned())]).await;
        peer.send_text("1").await;
    }
    broker.until_metric_is("newage_sessions", 0).await;
    broker.until_metric_is("newage_sockets", 0).await;
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/auth", auth("app-a")).await;
    let ack = peer.emit_with_ack("/auth", json!(33), json!({})).await;
    assert_eq!(ack["extensions"], json!([]));
}

#[tokio::test]
async fn whoever_has_its_answer_is_there() {
    let broker = Broker::start(|_| ());
    let mut client = Peer::connect_ws(&broker).await;
    client.join("/llm", auth("app-a")).await;
    client.join("/auth", auth("app-a")).await;
    for round in 0..100 {
        let mut extension = Peer::connect_ws(&broker).await;
        extension.join("/llm", auth("SillyTavern-8000")).await;
        let request = json!({"requestId": round.to_string(), "target": "SillyTavern-8000", "message": "x"});
        let ack = client.emit_with_ack("/llm", json!(9), request).await;
        assert_eq!(ack["status"], "ok", "round {round}: {ack}");
        extension.expect_prefix("42/llm,[9,").await;
        extension.emit("/llm", json!("message"), &[json!({
            "type": 0, "data": "done", "source": "client", "requestId": round.to_string(), "outputId": "o",
        })])
        .await;
        let (name, args) = client.expect_event("/llm").await;
        assert_eq!((name, &args[0]["data"]), (json!("message"), &json!("done")));
        extension.send_text("1").await;
        extension.expect_close(1000).await;
    }
}

#[tokio::test]
async fn whoever_has_its_answer_may_send_at_once() {
    const EVENTS: u64 = 100;
    // More than may wait for an admission. The JavaScript client sends all that it has buffered as soon
    // as it has connected.
    let broker = Broker::start(|config| config.limits.max_early_events = 8);
    let packets = (0..EVENTS).map(|id| masked_frame(true, 1, format!("42/llm,{id}[9,{{}}]").as_bytes()));
    let burst = packets.collect::<Vec<_>>().concat();
    for _ in 0..150 {
        let mut peer = Peer::connect_ws(&broker).await;
        peer.join("/llm", auth("app-a")).await;
        peer.send_raw(&burst).await;
        for id in 0..EVENTS {
            peer.expect_ack("/llm", id).await;
        }
        peer.send_text("1").await;
    }
}

#[tokio::test]
async fn what_one_client_sends_arrives_in_order() {
    let broker = Broker::start(|config| {
        config.llm.policy = Policy::Rooms;
        config.llm.pending_per_client = 100;
    });
    let mut extension = Peer::connect_ws(&broker).await;
    for ns in ["/llm", "/rooms", "/function_call"] {
        extension.join(ns, auth("SillyTavern-8000")).await;
    }
    let mut client = Peer::connect_ws(&broker).await;
    for ns in ["/llm", "/function_call"] {
        client.join(ns, auth("app-a")).await;
    }
    let room = json!({"clientId": "app-a", "roomName": "SillyTavern-8000"});
    assert_eq!(extension.emit_with_ack("/rooms", json!(15), room).await, json!({"status": "ok"}));
    // Requests whose sender's membership is looked up first, and calls whose extension is.
    for (ns, event) in [("/llm", 9), ("/function_call", 22)] {
        let ids: Vec<String> = (0..50).map(|id| id.to_string()).collect();
        for id in &ids {
            let payload = json!({
                "requestId": id, "target": "SillyTavern-8000", "message": "x", "functionName": "f", "args": [],
            });
            client.emit(ns, json!(event), &[payload]).await;
        }
        let mut arrived = Vec::new();
        for _ in &ids {
            let packet = extension.expect_prefix(&format!("42{ns},")).await;
            let json: Value = serde_json::from_str(&packet[packet.find('[').unwrap()..]).unwrap();
            arrived.push(json[1]["requestId"].as_str().unwrap().to_owned());
        }
        assert_eq!(arrived, ids, "{ns}");
    }
}

#[tokio::test]
async fn defect_8_54_lists_carry_no_markup_of_clients() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    let markup = "<img src=x onerror=alert(1)>";
    let auth = |identity: &str| {
        json!({
            "clientId": "app-a", "identity": identity, "dialect": 2, "clientType": format!("web{markup}"),
            "desc": format!("My{markup}\u{7} app"), "clienthtml": format!("http://x/{markup}"),
        })
    };
    peer.join("/clients", auth(&format!("app-a-{markup}"))).await;
    let ack = peer.emit_with_ack("/clients", json!("GET_CLIENT_LIST"), json!({})).await;
    let listed = ack["clients"].as_array().unwrap();
    assert!(!listed.is_empty(), "{ack}");
    let text = "img src=x onerror=alert(1)";
    assert_eq!(listed[0]["clientId"], "app-a", "such an instance is the client itself");
    assert_eq!(listed[0]["clientType"], format!("web{text}"));
    assert_eq!(listed[0]["desc"], format!("My{text} app"));
    assert_eq!(listed[0]["html"], format!("http://x/{text}"));
    assert!(!ack.to_string().contains(['<', '>']), "{ack}");
    // An instance that is named as they are keeps its name.
    peer.leave("/clients").await;
    peer.join("/clients", auth("app-a-1")).await;
    let ack = peer.emit_with_ack("/clients", json!("GET_CLIENT_LIST"), json!({})).await;
    assert_eq!(ack["clients"][0]["clientId"], "app-a-1", "{ack}");
}

// Rejection and goodbye.

#[tokio::test]
async fn the_error_of_a_rejection_follows_the_dialect() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    let text = "\"message\":\"Client is not trusted.\"";
    let numeric = format!("42/llm,[21,{{\"type\":21,{text}}}]");
    let named = format!("42/llm,[\"ERROR\",{{\"type\":\"ERROR\",{text}}}]");
    for (dialect, errors) in [
        (json!({"dialect": 1}), vec![&numeric]),
        (json!({"dialect": "numeric"}), vec![&numeric]),
        (json!({"dialect": 2}), vec![&named]),
        (json!({"dialect": "named"}), vec![&named]),
        (json!({"identity": "nobody-1"}), vec![&named]),
        (json!({}), vec![&numeric, &named]),
    ] {
        let mut auth = dialect.clone();
        auth["clientId"] = json!("nobody");
        peer.send_text(&format!("40/llm,{auth}")).await;
        peer.expect_prefix("40/llm,{\"sid\":\"").await;
        for error in errors {
            peer.expect_text(error).await;
        }
        peer.expect_text("41/llm,").await;
    }
}

#[tokio::test]
async fn defect_8_08_a_rejected_namespace_takes_no_other_with_it() {
    for polling in [false, true] {
        let broker = unsafe_broker(|_| ());
        let mut peer =
            if polling { Peer::open_polling(&broker).await } else { Peer::connect_ws(&broker).await };
        peer.join("/llm", auth_with_key("app-a", &key("app-a"))).await;
        peer.send_text(&format!("40/auth,{}", auth_with_key("app-a", "wrong"))).await;
        assert_eq!(peer.expect_rejection("/auth").await, error("Invalid key."));
        // What was sent in the connect handler arrives after the disconnect.
        peer.send_text("42/auth,0[33]").await;
        peer.send_text("42/auth,[27,{\"reason\":\"x\"}]").await;
        peer.send_text("451-/auth,1[33,{\"_placeholder\":true,\"num\":0}]").await;
        peer.send_binary(b"bytes").await;
        peer.send_text("43/auth,7[]").await;
        peer.send_text("41/auth,").await;
        peer.expect_nothing().await;
        peer.emit_with_ack("/llm", json!(9), json!({})).await;
        // And it may try again.
        peer.join("/auth", auth_with_key("app-a", &key("app-a"))).await;
        peer.emit_with_ack("/auth", json!(33), json!({})).await;
    }
}

#[tokio::test]
async fn events_that_do_not_wait_for_the_answer_are_ignored_if_it_is_a_rejection() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.send_text(&format!("40/llm,{}", auth("nobody"))).await;
    for id in 0..10 {
        peer.send_text(&format!("42/llm,{id}[9,{{}}]")).await;
    }
    peer.expect_rejection("/llm").await;
    peer.expect_nothing().await;
    // If it is not, they are served, in order.
    peer.send_text(&format!("40/llm,{}", auth("app-a"))).await;
    for id in 0..10 {
        peer.send_text(&format!("42/llm,{id}[9,{{}}]")).await;
    }
    peer.expect_prefix("40/llm,{").await;
    for id in 0..10 {
        peer.expect_prefix(&format!("43/llm,{id}[")).await;
    }
}

#[tokio::test]
async fn defect_8_08_a_goodbye_ends_its_namespace_only() {
    let broker = Broker::start(|_| ());
    for goodbye in ["27", "\"CLIENT_DISCONNECTED\"", "\"CLIENT_DISCONNETED\""] {
        let mut peer = Peer::connect_ws(&broker).await;
        for ns in NAMESPACES {
            peer.join(ns, auth("app-a")).await;
        }
        for ns in NAMESPACES {
            let prefix = prefix(ns);
            // With and without payload, and with an ack that nobody is there to send.
            peer.send_text(&format!("42{prefix}[{goodbye},{{\"reason\":\"bye\"}}]")).await;
            peer.send_text(&format!("42{prefix}0[9,{{}}]")).await;
            peer.expect_text(&format!("41{prefix}")).await;
            peer.expect_nothing().await;
        }
        // It may come back.
        peer.join("/llm", auth("app-a")).await;
        peer.emit_with_ack("/llm", json!(9), json!({})).await;
        peer.send_text(&format!("42/llm,[{goodbye}]")).await;
        peer.expect_text("41/llm,").await;
        // The extension buffers its goodbye while it is offline: it may come first.
        peer.send_text(&format!("40/llm,{}", auth("app-a"))).await;
        peer.send_text(&format!("42/llm,[{goodbye},{{}}]")).await;
        peer.expect_prefix("40/llm,{").await;
        peer.expect_text("41/llm,").await;
    }
    broker.until_metric_is("newage_sockets", 0).await;
}

#[tokio::test]
async fn a_second_connect_changes_nothing() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    peer.send_text(&format!("40/llm,{}", auth("monitor"))).await;
    peer.send_text(&format!("40/llm,{}", auth("nobody"))).await;
    peer.expect_nothing().await;
    broker.until_metric_is("newage_sockets", 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_may_come_back_as_another() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    for client in ["app-a", "SillyTavern-8000", "monitor"] {
        peer.join("/clients", auth(client)).await;
        let ack = peer.emit_with_ack("/clients", json!(29), json!({})).await;
        assert_eq!(ack["status"] == "ok", client != "app-a", "{ack}");
        peer.leave("/clients").await;
    }
}

// Keys (spec §2.6).

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

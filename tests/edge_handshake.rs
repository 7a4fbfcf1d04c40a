//! Admission to a namespace, frame by frame (spec §1.2 rules 1–3, §2.6, §3.2, §3.6, §3.8, §8.1).

mod support;

use newage_broker::config::Policy;
use serde_json::{Value, json};
use support::{
    Broker, Frame, Peer, auth, auth_with_key,
    handshake::{NAMESPACES, error, joins, prefix, unsafe_broker},
    key, masked_frame,
};

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

/// It would have the roles, the rooms and the answers of an instance of that client.
#[tokio::test]
async fn an_instance_is_not_called_like_one_of_another_client() {
    let setup = ["web", "web-admin", "monitor-r"]
        .into_iter()
        .fold(Broker::setup(), |setup, id| setup.client(json!({"clientId": id, "isTrust": true})));
    let broker = setup.start(|_| ());
    for (client, identity, listed) in [
        ("web", "web-7f", "web-7f"),
        ("web", "web-admi", "web-admi"),
        ("web", "web-admin", "web"),
        ("web", "web-admin-7f", "web"),
        ("web", "web-administration", "web"),
        ("web-admin", "web-admin-7f", "web-admin-7f"),
        ("monitor-r", "monitor-room", "monitor-r"),
        ("monitor-r", "monitor-room-2", "monitor-room-2"),
    ] {
        let mut peer = Peer::connect_ws(&broker).await;
        let auth = json!({"clientId": client, "identity": identity, "dialect": 2, "clientType": "web"});
        peer.join("/rooms", auth).await;
        let ack = peer.emit_with_ack("/rooms", json!("GET_ROOMS"), json!({})).await;
        assert_eq!(ack["rooms"], json!([listed]), "{client} as {identity}");
        peer.vanish().await;
    }
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

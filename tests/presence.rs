//! Who is there, who is told, who is in which room, and whose word counts (spec §3.3, §3.7, §3.8, and
//! what §8.1 requires of them).

mod llm_world;
mod support;

use llm_world::{App, EXTENSION, SECOND_EXTENSION as OTHER, refused};
use serde_json::{Value, json};
use support::{Broker, Peer, auth, key};

fn ok() -> Value {
    json!({"status": "ok"})
}

fn described(client: &str, desc: &str) -> Value {
    let mut handshake = auth(client);
    handshake["desc"] = json!(desc);
    handshake
}

/// A peer in that namespace.
async fn join(broker: &Broker, ns: &str, handshake: Value) -> Peer {
    let mut peer = Peer::connect_ws(broker).await;
    peer.join(ns, handshake).await;
    peer
}

/// The ids of the connected-client list, as an administrator is told it.
async fn listed(admin: &mut Peer) -> Vec<String> {
    let ack = admin.emit_with_ack("/clients", json!(32), json!({})).await;
    let clients = ack["clients"].as_array().unwrap_or_else(|| panic!("no list: {ack}"));
    clients.iter().map(|client| client["id"].as_str().expect("an id").to_owned()).collect()
}

async fn members(admin: &mut Peer, room: &str) -> Value {
    admin.emit_with_ack("/clients", json!("getClientsInRoom"), json!(room)).await
}

/// Ends a peer, and waits until the broker has noticed.
async fn vanish(broker: &Broker, peer: Peer, sockets: u64) {
    let before = broker.metric("newage_sockets");
    peer.vanish().await;
    broker.until_metric_is("newage_sockets", before - sockets).await;
}

#[tokio::test]
async fn defect_8_06_the_monitors_room_holds_the_trusted_monitor_and_nobody_else() {
    let broker = Broker::start(|_| ());
    let mut extension = join(&broker, "/clients", auth(EXTENSION)).await;
    let room = "monitor-room";
    assert_eq!(members(&mut extension, room).await, json!([]));
    // Neither a type nor a name that is claimed leads into it, nor an invitation.
    for client in ["app-a", EXTENSION] {
        for kind in ["monitor", "extension"] {
            let handshake = json!({"clientId": client, "clientType": kind, "dialect": 1});
            let mut peer = join(&broker, "/", handshake.clone()).await;
            peer.join("/rooms", handshake).await;
            let member = json!({"clientId": client, "roomName": room});
            let ack = peer.emit_with_ack("/rooms", json!(15), member).await;
            assert!(["Unauthorized", "Failed to add client to room"].map(refused).contains(&ack), "{ack}");
            assert_eq!(members(&mut extension, room).await, json!([]), "{client} as {kind}");
            let _ = peer.emit_with_ack("/rooms", json!(13), json!(room)).await;
            let inside = peer.emit_with_ack("/rooms", json!(25), json!(room)).await;
            let shown = if client == EXTENSION { json!([]) } else { refused("Unauthorized") };
            assert_eq!(inside, shown, "{client} as {kind}");
        }
    }
    let mut monitor =
        join(&broker, "/", json!({"clientId": "monitor", "clientType": "x", "dialect": 1})).await;
    assert_eq!(members(&mut extension, room).await, json!([{"id": "monitor"}]));
    monitor.join("/clients", auth("monitor")).await;
    assert_eq!(members(&mut monitor, room).await, json!([{"id": "monitor"}]));

    let broker = Broker::setup().client(json!({"clientId": "monitor", "isTrust": false})).start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.send_text(&format!("40{}", auth("monitor"))).await;
    assert_eq!(peer.expect_rejection("/").await["message"], "Client is not trusted.");
    let mut extension = join(&broker, "/clients", auth(EXTENSION)).await;
    assert_eq!(members(&mut extension, room).await, json!([]));
}

#[tokio::test]
async fn defect_8_13_a_claimed_type_gives_no_right() {
    let broker = Broker::start(|_| ());
    for kind in ["monitor", "extension", "extension_mainSocket", "SillyTavern", "admin"] {
        let handshake = json!({
            "clientId": "app-a", "clientType": kind, "role": "admin", "isTrust": true, "key": key("app-a"),
        });
        for (number, name) in [
            (17, "GENERATE_CLIENT_KEY"),
            (18, "REMOVE_CLIENT_KEY"),
            (26, "GET_CLIENT_KEY"),
            (29, "GET_ALL_CLIENT_KEYS"),
            (32, "UPDATE_CONNECTED_CLIENTS"),
            (24, "getClientList"),
            (13, "CREATE_ROOM"),
        ] {
            for name in [json!(number), json!(name)] {
                let mut peer = join(&broker, "/clients", handshake.clone()).await;
                let payload = json!({"targetClientId": "app-b", "clientId": "app-b", "roomName": "tea"});
                let ack = peer.emit_with_ack("/clients", name.clone(), payload).await;
                assert_eq!(ack, refused("Unauthorized"), "{name} as {kind}");
            }
        }
        let mut peer = join(&broker, "/sillytavern", handshake.clone()).await;
        let ack = peer.emit_with_ack("/sillytavern", json!(11), json!({"clientId": "app-a"})).await;
        assert_eq!(ack, refused("Unauthorized"), "11 as {kind}");
        // It is no target, and is listed as the plain client that it is.
        let mut peer = join(&broker, "/llm", handshake.clone()).await;
        let request = json!({"target": "app-a", "requestId": "r", "message": "hi"});
        let ack = peer.emit_with_ack("/llm", json!(9), request).await;
        assert_eq!(ack, refused("Target client not found: app-a"));
        let _listed = join(&broker, "/auth", handshake.clone()).await;
        let mut admin = join(&broker, "/clients", auth("monitor")).await;
        assert_eq!(listed(&mut admin).await, ["app-a"]);
    }
    // The file gives it, whatever type is claimed.
    let broker =
        Broker::setup().client(json!({"clientId": "boss", "isTrust": true, "role": "admin"})).start(|_| ());
    let mut boss = join(&broker, "/clients", json!({"clientId": "boss", "dialect": 1})).await;
    let ack = boss.emit_with_ack("/clients", json!(29), json!({})).await;
    assert_eq!(ack["status"], "ok");
}

#[tokio::test]
async fn defect_8_26_the_extension_that_answers_gets_no_stream() {
    let broker = Broker::start(|_| ());
    let mut extension = App::join(&broker, EXTENSION).await;
    let mut second_tab = App::join(&broker, EXTENSION).await;
    let mut bystander = App::join(&broker, OTHER).await;
    let mut app = App::join(&broker, "app-a").await;
    app.asks(EXTENSION, "r").await;
    second_tab.gets("r").await;
    second_tab.tokens(Some("r"), "o", &["one ", "two ", "three"]).await;
    app.reads("one two three").await;
    second_tab.answers(Some("r"), "o2", "four").await;
    assert_eq!(app.expect("message").await["data"], "four");
    for other in [&mut extension, &mut second_tab, &mut bystander] {
        other.settle().await;
        assert!(other.streams.is_empty() && other.events.is_empty(), "{:?}", other.events);
    }
}

#[tokio::test]
async fn defect_8_46_sockets_are_counted_and_extensions_told_on_both_namespaces() {
    let broker = Broker::start(|_| ());
    let mut extension = join(&broker, "/auth", auth(EXTENSION)).await;
    extension.join("/clients", auth(EXTENSION)).await;
    let mut named = Peer::connect_ws(&broker).await;
    for ns in ["/auth", "/clients"] {
        named.join(ns, json!({"clientId": OTHER, "dialect": 2})).await;
    }
    let mut plain = join(&broker, "/auth", auth("app-b")).await;
    plain.join("/clients", auth("app-b")).await;

    let one = join(&broker, "/auth", described("app-a", "an app")).await;
    let two = join(&broker, "/auth", described("app-a", "an app")).await;
    let both = json!({"clients": [{"id": "app-b"}, {"id": "app-a", "description": "an app"}]});
    told(&mut extension, &mut named, &both).await;
    // One of two closes: it is there still.
    vanish(&broker, one, 1).await;
    assert_eq!(listed(&mut extension).await, ["app-b", "app-a"]);
    say_goodbye(&broker, two).await;
    told(&mut extension, &mut named, &json!({"clients": [{"id": "app-b"}]})).await;
    assert_eq!(listed(&mut extension).await, ["app-b"]);
    // An extension and a socket elsewhere are not in it.
    let _elsewhere = join(&broker, "/llm", auth("app-a")).await;
    assert_eq!(listed(&mut extension).await, ["app-b"]);
    // A plain client is not told.
    plain.expect_nothing().await;
}

/// A goodbye counts like a connection that ends.
async fn say_goodbye(broker: &Broker, mut peer: Peer) {
    let before = broker.metric("newage_sockets");
    peer.emit("/auth", json!(27), &[json!({})]).await;
    peer.expect_text("41/auth,").await;
    broker.until_metric_is("newage_sockets", before - 1).await;
}

/// Both extensions are pushed that list, on both namespaces, under the name of their dialect.
async fn told(numeric: &mut Peer, named: &mut Peer, payload: &Value) {
    for ns in ["/auth", "/clients"] {
        for (peer, name) in [(&mut *numeric, json!(31)), (&mut *named, json!("CONNECTED_CLIENTS_UPDATE"))] {
            let packet = format!("42{ns},{}", json!([name, payload]));
            peer.wait_for(&packet, |found| found == packet).await;
        }
    }
}

#[tokio::test]
async fn defect_8_47_members_see_their_room_and_others_do_not() {
    let broker = Broker::start(|_| ());
    let mut extension = join(&broker, "/rooms", auth(EXTENSION)).await;
    assert_eq!(extension.emit_with_ack("/rooms", json!(13), json!("tea")).await, ok());
    let mut apps = Vec::new();
    for client in ["app-a", "app-b"] {
        let mut app = join(&broker, "/clients", described(client, client)).await;
        app.join("/rooms", auth(client)).await;
        apps.push(app);
    }
    let invite = json!({"clientId": "app-a", "roomName": "tea"});
    assert_eq!(extension.emit_with_ack("/rooms", json!(15), invite).await, ok());
    let list = json!([{"id": "app-a", "description": "app-a"}]);
    for ns in ["/clients", "/rooms"] {
        for (app, shown) in apps.iter_mut().zip([list.clone(), refused("Unauthorized")]) {
            for name in [json!(25), json!("getClientsInRoom")] {
                for room in [json!("tea"), json!({"roomName": "tea"})] {
                    assert_eq!(app.emit_with_ack(ns, name.clone(), room).await, shown, "{ns} {name}");
                }
            }
        }
        // Nobody sees more by asking for another's room, or for one that does not exist.
        for room in ["app-a", EXTENSION, "milk", ""] {
            let ack = apps[1].emit_with_ack(ns, json!("getClientsInRoom"), json!(room)).await;
            assert_eq!(ack, refused("Unauthorized"), "{ns} {room}");
        }
    }
}

#[tokio::test]
async fn defect_8_48_memberships_and_places_are_kept_over_the_grace() {
    let broker = Broker::start(|_| ());
    let mut extension = join(&broker, "/clients", auth(EXTENSION)).await;
    let app = join(&broker, "/auth", auth("app-a")).await;
    let _later = join(&broker, "/auth", auth("app-b")).await;
    assert_eq!(extension.emit_with_ack("/clients", json!(13), json!("tea")).await, ok());
    let invite = json!({"clientId": "app-a", "roomName": "tea"});
    assert_eq!(extension.emit_with_ack("/clients", json!(15), invite).await, ok());
    assert_eq!(listed(&mut extension).await, ["app-a", "app-b"]);

    vanish(&broker, app, 1).await;
    // It leaves the list at once, and its rooms only with the grace.
    assert_eq!(listed(&mut extension).await, ["app-b"]);
    assert_eq!(members(&mut extension, "tea").await, json!([{"id": "app-a"}]));
    let app = join(&broker, "/auth", auth("app-a")).await;
    assert_eq!(listed(&mut extension).await, ["app-a", "app-b"]);
    assert_eq!(members(&mut extension, "tea").await, json!([{"id": "app-a"}]));
    // The oldest of its sockets may close, too.
    let _second = join(&broker, "/auth", auth("app-a")).await;
    vanish(&broker, app, 1).await;
    assert_eq!(listed(&mut extension).await, ["app-a", "app-b"]);
}

#[tokio::test]
async fn defect_8_48_after_the_grace_a_client_is_in_no_room_and_last_in_the_list() {
    let broker =
        Broker::setup().settings(json!({"reconnectAttempts": 1, "reconnectDelay": 50})).start(|_| ());
    let mut extension = join(&broker, "/clients", auth(EXTENSION)).await;
    extension.join("/sillytavern", auth(EXTENSION)).await;
    let mut unaware = Peer::connect_ws(&broker).await;
    unaware.join("/sillytavern", json!({"clientId": OTHER, "dialect": 2})).await;
    let app = join(&broker, "/auth", auth("app-a")).await;
    let _later = join(&broker, "/auth", auth("app-b")).await;
    assert_eq!(extension.emit_with_ack("/clients", json!(13), json!("tea")).await, ok());
    for client in ["app-a", "app-b"] {
        let invite = json!({"clientId": client, "roomName": "tea"});
        assert_eq!(extension.emit_with_ack("/clients", json!(15), invite).await, ok());
    }
    app.vanish().await;
    // Every extension is told, in its own dialect.
    let text = "Client app-a disconnected and failed to reconnect. Room deleted.";
    for (peer, name) in [(&mut extension, json!(21)), (&mut unaware, json!("ERROR"))] {
        let packet = format!("42/sillytavern,{}", json!([name, {"type": name, "message": text}]));
        peer.wait_for(&packet, |found| same_event(found, &packet)).await;
    }
    assert_eq!(members(&mut extension, "tea").await, json!([{"id": "app-b"}]));
    // Its personal room is deleted, which the list of rooms learns from the room.
    let deleted = async {
        while extension.emit_with_ack("/clients", json!(19), json!({})).await
            != json!([EXTENSION, OTHER, "app-b", "tea"])
        {}
    };
    support::within("its personal room to be deleted", deleted).await;
    let _back = join(&broker, "/auth", auth("app-a")).await;
    assert_eq!(listed(&mut extension).await, ["app-b", "app-a"]);
    assert_eq!(members(&mut extension, "tea").await, json!([{"id": "app-b"}]));
}

/// Whether two packets of one namespace hold the same JSON.
fn same_event(one: &str, other: &str) -> bool {
    let parts = |packet: &str| {
        let (head, json) = packet.split_once(',')?;
        Some((head.to_owned(), serde_json::from_str::<Value>(json).ok()?))
    };
    parts(one).is_some_and(|one| Some(one) == parts(other))
}

#[tokio::test]
async fn defect_8_54_descriptions_reach_pages_without_markup() {
    let broker = Broker::start(|_| ());
    let mut extension = join(&broker, "/clients", auth(EXTENSION)).await;
    let mut page = Peer::connect_ws(&broker).await;
    page.join("/clients", json!({"clientId": "monitor", "clientType": "monitor", "dialect": 2})).await;
    let long = "好".repeat(300);
    for (at, (given, shown)) in [
        (json!("<img src=x onerror=alert(1)>"), Some("img src=x onerror=alert(1)")),
        (json!("a\u{0}b\r\nc\u{7f}\u{85}d"), Some("abcd")),
        (json!("\"quoted\" \\ & 'more' 😀"), Some("\"quoted\" \\ & 'more' 😀")),
        (json!(long), Some(&long[..256 * "好".len()])),
        (json!("<>"), None),
        (json!(""), None),
        (json!({"a": "<b>"}), None),
        (json!(7), None),
        (Value::Null, None),
    ]
    .into_iter()
    .enumerate()
    {
        let mut handshake = auth("app-a");
        handshake["clientType"] = json!(format!("case {at}"));
        handshake["desc"] = given.clone();
        let app = join(&broker, "/auth", handshake).await;
        let mut entry = json!({"id": "app-a"});
        let mut member = json!({"clientId": "app-a", "clientType": format!("case {at}")});
        if let Some(shown) = shown {
            entry["description"] = json!(shown);
            (member["desc"], member["clientDesc"]) = (json!(shown), json!(shown));
        }
        let ack = extension.emit_with_ack("/clients", json!(32), json!({})).await;
        assert_eq!(ack, json!({"status": "ok", "clients": [entry]}), "{given}");
        let pushed = extension
            .wait_for("a push of 31", |packet| packet.starts_with("42/clients,[31,{\"clients\":[{"))
            .await;
        let pushed: Value = serde_json::from_str(&pushed["42/clients,".len()..]).expect("an event");
        assert_eq!(pushed, json!([31, {"clients": [entry]}]), "{given}");
        assert_eq!(members(&mut extension, "app-a").await, json!([entry]), "{given}");

        let ack = page.emit_with_ack("/clients", json!("GET_CLIENT_LIST"), json!({})).await;
        let found =
            ack["clients"].as_array().and_then(|all| all.iter().find(|one| one["clientId"] == "app-a"));
        assert_eq!(found, Some(&member), "{given}");
        let mark = format!("case {at}");
        let head = "42/clients,[\"UPDATE_CONNECTED_CLIENTS\",";
        let pushed = page.wait_for(&mark, |packet| packet.starts_with(head) && packet.contains(&mark)).await;
        let pushed: Value = serde_json::from_str(&pushed["42/clients,".len()..]).expect("an event");
        let clients = pushed[1]["clients"].as_array().expect("a list");
        assert!(clients.contains(&member), "{given}: {pushed}");
        vanish(&broker, app, 1).await;
        extension.wait_for("the empty list", |packet| packet == "42/clients,[31,{\"clients\":[]}]").await;
    }
}

#[tokio::test]
async fn whoever_leaves_and_comes_back_while_it_is_admitted_is_answered_in_order() {
    let broker = Broker::start(|_| ());
    for _ in 0..50 {
        let mut peer = Peer::connect_ws(&broker).await;
        let joins = format!("40/llm,{}", auth("app-a"));
        for packet in [&joins, "41/llm,", &joins, "41/llm,", &joins, "42/llm,0[9,{}]"] {
            peer.send_text(packet).await;
        }
        // What was answered before it was left comes first; the last answer is that of the live socket, and
        // nothing comes behind what that socket is asked.
        let mut answers = 0;
        let ack = loop {
            let support::Frame::Text(packet) = peer.next().await else { panic!("a text") };
            match packet {
                packet if packet.starts_with("40/llm,{") => answers += 1,
                packet => break packet,
            }
        };
        assert!(ack.starts_with("43/llm,0["), "{ack}");
        assert!((1..=3).contains(&answers), "{answers} answers");
        peer.barrier().await;
        peer.leave("/llm").await;
        broker.until_metric_is("newage_sockets", 0).await;
        peer.expect_nothing().await;
    }
}

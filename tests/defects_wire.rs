//! What the reference of dialect 1 gets wrong on the wire and no other subject's test has (spec §8.1). Which test
//! holds which defect: tests/defects.rs.

mod llm_world;
mod support;

use serde_json::{Value, json};

use llm_world::{App, EXTENSION, LLM, answer, forwarded, refused, token, trio};
use support::{Broker, Frame, Peer, auth, auth_with_key, key};

fn text(packet: impl Into<String>) -> Frame {
    Frame::Text(packet.into())
}

/// The handshake with the right key, and with the name of its streams.
fn keyed(client: &str) -> Value {
    let mut handshake = auth_with_key(client, &key(client));
    handshake["streamEvent"] = json!("streamed_data");
    handshake
}

/// What the extension that was asked may say, as far as its id goes.
fn forgery() -> Vec<Frame> {
    let mut packets: Vec<Frame> = token(Some("r"), "o", "s", "forged", true).into_iter().map(text).collect();
    for payload in [
        json!({"type": 0, "data": "forged", "source": "client", "requestId": "r", "outputId": "o"}),
        json!({"type": 0, "data": "Connection active?", "requestId": "h"}),
    ] {
        packets.push(text(format!("42/llm,[\"message\",{payload}]")));
    }
    packets.push(text(format!("42/llm,[21,{}]", json!({"message": "forged", "requestId": "r"}))));
    packets
}

/// The forger has the id of the extension that was asked, and not its key. It does not wait for the answer to
/// its handshake.
#[tokio::test]
async fn defect_8_04_nothing_is_served_before_the_key_is_checked_or_without_it() {
    let broker = Broker::setup().settings(json!({"networkSafe": false})).start(|_| ());
    let mut extension = App::join_as(&broker, keyed(EXTENSION)).await;
    let mut app = App::join_as(&broker, keyed("app-a")).await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    for polling in [false, true] {
        let mut forger =
            if polling { Peer::open_polling(&broker).await } else { Peer::connect_ws(&broker).await };
        let connect = format!("40/llm,{}", auth_with_key(EXTENSION, "wrong"));
        let packets: Vec<Frame> = [text(connect)].into_iter().chain(forgery()).collect();
        forger.send_all(&packets).await;
        assert_eq!(forger.expect_rejection(LLM).await["message"], "Invalid key.");
        forger.send_all(&forgery()).await;
        forger.expect_nothing().await;
    }
    // Whoever has the key is served from its first event on, while its key is still being checked.
    let mut hasty = Peer::connect_ws(&broker).await;
    let request = json!({"target": EXTENSION, "requestId": "r2", "message": "hi"});
    hasty.send_text(&format!("40/llm,{}", keyed("app-b"))).await;
    hasty.send_text(&format!("42/llm,0[9,{request}]")).await;
    hasty.expect_prefix("40/llm,{\"sid\":\"").await;
    hasty.expect_text(&format!("43/llm,0[{}]", forwarded())).await;
    extension.gets("r2").await;
    extension.answers(Some("r"), "true", "true").await;
    assert_eq!(app.expect("message").await, answer("true", "r", "true"));
    app.settle().await;
    assert!(app.events.is_empty() && app.streams.is_empty(), "{:?}", app.events);
}

/// However a client leaves `/auth`, extensions hear that it has gone, and everybody is served as before.
#[tokio::test]
async fn defect_8_16_whoever_leaves_auth_leaves_a_broker_that_serves() {
    let broker = Broker::start(|_| ());
    let mut extension = Peer::connect_ws(&broker).await;
    for ns in ["/auth", "/clients"] {
        extension.join(ns, auth(EXTENSION)).await;
    }
    for bye in ["1", "41/auth,", "42/auth,[27]", "42/auth,[27,{\"reason\":\"bye\"}]", ""] {
        let mut app = Peer::connect_ws(&broker).await;
        app.join("/auth", auth("app-a")).await;
        told(&mut extension, json!([{"id": "app-a"}])).await;
        match bye {
            "" => app.vanish().await,
            bye => app.send_text(bye).await,
        }
        told(&mut extension, json!([])).await;
        let ack = extension.emit_with_ack("/clients", json!(32), json!({})).await;
        assert_eq!(ack, json!({"status": "ok", "clients": []}), "after {bye:?}");
    }
}

async fn told(extension: &mut Peer, clients: Value) {
    for ns in ["/auth", "/clients"] {
        let packet = format!("42{ns},{}", json!([31, {"clients": clients}]));
        extension.wait_for(&packet, |found| found == packet).await;
    }
}

/// Names that every object of JavaScript has are names like others, wherever a client may choose one.
#[tokio::test]
async fn defect_8_37_inherited_names_are_names_like_others() {
    let broker = Broker::setup()
        .client(json!({"clientId": "__proto__", "isTrust": true}))
        .client(json!({"clientId": "constructor", "isTrust": true}))
        .start(|_| ());
    let mut extension = App::join(&broker, EXTENSION).await;
    for ns in ["/clients", "/rooms"] {
        extension.peer.join(ns, auth(EXTENSION)).await;
    }
    let names = ["__proto__", "constructor", "toString", "hasOwnProperty", "valueOf"];
    for client in ["__proto__", "constructor"] {
        let mut app = App::join(&broker, client).await;
        let mut so_far = String::new();
        for (at, name) in names.into_iter().enumerate() {
            assert_eq!(app.ask(name, "r").await, refused(&format!("Target client not found: {name}")));
            app.asks(EXTENSION, name).await;
            assert_eq!(extension.gets(name).await["clientId"], client);
            extension.token(Some(name), names[(at + 1) % 5], names[(at + 2) % 5], name, true).await;
            so_far += name;
            app.reads(&so_far).await;
            let info = &app.streams[at].info;
            assert_eq!((&info["requestId"], &info["outputId"]), (&json!(name), &json!(names[(at + 1) % 5])));
            extension.answers(Some(name), names[(at + 1) % 5], "done").await;
            assert_eq!(app.expect("message").await["data"], "done");
        }
        let made =
            extension.peer.emit_with_ack("/clients", json!(17), json!({"targetClientId": client})).await;
        assert!(made["key"].is_string(), "{made}");
    }
    for room in ["toString", "hasOwnProperty"] {
        let members = json!({"roomName": room});
        let inside = extension.peer.emit_with_ack("/clients", json!(25), members.clone()).await;
        assert_eq!(inside, json!([]), "{room} is not there yet");
        for (event, payload) in
            [(13, json!({"roomName": room})), (15, json!({"roomName": room, "clientId": "__proto__"}))]
        {
            let ack = extension.peer.emit_with_ack("/rooms", json!(event), payload).await;
            assert_eq!(ack, json!({"status": "ok"}), "{event} {room}");
        }
        let inside = extension.peer.emit_with_ack("/clients", json!(25), members).await;
        assert_eq!(inside, json!([{"id": "__proto__"}]));
    }
    let mut stranger = Peer::connect_ws(&broker).await;
    for id in ["toString", "hasOwnProperty", "valueOf", "prototype"] {
        stranger.send_text(&format!("40/llm,{}", auth(id))).await;
        assert_eq!(stranger.expect_rejection(LLM).await["message"], "Client is not trusted.");
    }
}

#[tokio::test]
async fn defect_8_38_each_extension_is_listed_once_by_an_ack_that_is_sent_once() {
    let broker = Broker::start(|_| ());
    let mut tabs = Vec::new();
    for _ in 0..3 {
        let mut tab = Peer::connect_ws(&broker).await;
        for ns in ["/llm", "/auth", "/clients"] {
            tab.join(ns, auth(EXTENSION)).await;
        }
        tabs.push(tab);
    }
    let mut app = Peer::connect_ws(&broker).await;
    app.join("/auth", auth("app-a")).await;
    let listed = json!({"status": "ok", "allTheSTSocket": [EXTENSION], "extensions": [EXTENSION]});
    for _ in 0..2 {
        for args in [vec![], vec![json!(null)], vec![json!({})], vec![json!("odd"), json!(7)]] {
            assert_eq!(app.ack_of("/auth", json!(33), &args).await, listed, "{args:?}");
            app.expect_nothing().await;
        }
        // A socket that closes takes nobody off the list while others are there.
        tabs.pop().unwrap().vanish().await;
    }
}

/// The reference's limit is 1 000 000 bytes, of what is sent as of what is received.
#[tokio::test]
async fn defect_8_52_an_answer_of_more_than_a_megabyte_arrives_whole() {
    let long = "long 长😀 ".repeat(160_000);
    assert!(long.len() > 2_000_000);
    let (broker, over_ws, mut app) = trio(|_| ()).await;
    assert!(app.peer.open["maxPayload"].as_u64().is_some_and(|bytes| bytes >= 5_000_000));
    let mut on_polling = App::join_polling(&broker, keyed("app-a")).await;
    drop(over_ws);
    for polling in [false, true] {
        let mut extension = if polling {
            App::join_polling(&broker, auth(EXTENSION)).await
        } else {
            App::join(&broker, EXTENSION).await
        };
        let (request, output) = (format!("r-{polling}"), format!("o-{polling}"));
        app.asks(EXTENSION, &request).await;
        extension.gets(&request).await;
        extension.begins(Some(&request), &output, "s", 5).await;
        extension.piece("FIRST", &output, "s", "0", &json!(long).to_string()).await;
        extension.ends(&output, "s").await;
        for reader in [&mut app, &mut on_polling] {
            reader.text.clear();
            reader.reads(&long).await;
        }
        extension.answers(Some(&request), &output, &long).await;
        for reader in [&mut app, &mut on_polling] {
            assert!(reader.expect("message").await == answer(&long, &request, &output));
        }
    }
}

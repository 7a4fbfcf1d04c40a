//! `/debug` in both dialects: every row of spec §4.8.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Broker, Peer, auth, is_time};

const DEBUG: &str = "/debug";
const EXTENSION: &str = "SillyTavern-8000";
const SETTINGS: &str = "settings/server_settings.json";

/// The handshakes of both dialects, and of a client that does not say which it speaks.
fn dialects(client: &str) -> [Value; 3] {
    let named = json!({"clientId": client, "clientType": "test", "dialect": 2});
    [auth(client), named, json!({"clientId": client, "clientType": "test"})]
}

async fn joined(broker: &Broker, handshake: Value) -> Peer {
    let mut peer = Peer::connect_ws(broker).await;
    peer.join(DEBUG, handshake).await;
    peer
}

async fn toggle(peer: &mut Peer) -> Value {
    peer.ack_of(DEBUG, json!("TOGGLE_DEBUG_MODE"), &[]).await
}

async fn expect_changed(peer: &mut Peer, on: bool) {
    let packet = format!("42/debug,[\"DEBUG_MODE_CHANGED\",{{\"debugMode\":{on}}}]");
    peer.wait_for(&packet, |found| found == packet).await;
}

fn in_file(broker: &Broker) -> Value {
    let text = fs::read_to_string(broker.data().join(SETTINGS)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn extensions_and_administrators_only() {
    let helper = json!({"clientId": "helper", "isTrust": true, "role": "admin"});
    let broker = Broker::setup().client(helper).start(|_| ());
    for client in [EXTENSION, "monitor", "helper"] {
        for handshake in dialects(client) {
            let mut peer = joined(&broker, handshake).await;
            let status = peer.ack_of(DEBUG, json!("SERVER_STATUS"), &[]).await;
            assert_eq!(status["status"], "ok", "{client}");
        }
    }
    // The type that a client declares gives no rights (defect 8-13).
    for client_type in ["monitor", "SillyTavern", "extension", "test"] {
        let mut peer = Peer::connect_ws(&broker).await;
        let handshake = json!({"clientId": "app-a", "clientType": client_type});
        peer.send_text(&format!("40/debug,{handshake}")).await;
        assert_eq!(peer.expect_rejection(DEBUG).await["message"], "Unauthorized");
        peer.join("/llm", auth("app-a")).await;
    }
}

#[tokio::test]
async fn toggle_debug_mode() {
    let broker = Broker::setup().settings(json!({"mine": [1.0]})).start(|_| ());
    let mut on = false;
    for handshake in dialects(EXTENSION) {
        let mut peer = joined(&broker, handshake.clone()).await;
        let mut others = [joined(&broker, auth("monitor")).await, joined(&broker, handshake).await];
        // Both forms of an event with an ack, and one without.
        for args in [&[][..], &[json!({})], &[Value::Null], &[json!("on")]] {
            on = !on;
            let ack = peer.ack_of(DEBUG, json!("TOGGLE_DEBUG_MODE"), args).await;
            assert_eq!(ack, json!({"status": "ok", "debugMode": on}));
            assert_eq!(in_file(&broker), json!({"mine": [1.0], "debugMode": on}));
            expect_changed(&mut peer, on).await;
            for other in &mut others {
                expect_changed(other, on).await;
            }
        }
        on = !on;
        peer.emit(DEBUG, json!("TOGGLE_DEBUG_MODE"), &[]).await;
        expect_changed(&mut peer, on).await;
    }
}

#[tokio::test]
async fn debug_mode_survives_a_restart_and_follows_the_file() {
    let broker = Broker::setup().settings(json!({"debugMode": true})).start(|_| ());
    let mut peer = joined(&broker, auth(EXTENSION)).await;
    let status = peer.ack_of(DEBUG, json!("SERVER_STATUS"), &[]).await;
    assert_eq!(status["serverStatus"]["debugMode"], true);
    assert_eq!(toggle(&mut peer).await["debugMode"], false);
    expect_changed(&mut peer, false).await;
    // The extension's own way of saving settings.
    peer.join("/sillytavern", auth(EXTENSION)).await;
    let saved = peer.emit_with_ack("/sillytavern", json!(12), json!({"debugMode": true})).await;
    assert_eq!(saved, json!({"status": "ok"}));
    expect_changed(&mut peer, true).await;
    // And an editor.
    fs::write(broker.data().join(SETTINGS), r#"{"debugMode": false}"#).unwrap();
    expect_changed(&mut peer, false).await;
}

#[tokio::test]
async fn a_settings_file_that_cannot_be_read_is_left_alone() {
    let broker = Broker::start(|_| ());
    for handshake in dialects(EXTENSION) {
        let mut peer = joined(&broker, handshake).await;
        fs::write(broker.data().join(SETTINGS), "{\"debugMode\": ").unwrap();
        let refused = toggle(&mut peer).await;
        assert_eq!(refused, json!({"status": "error", "message": "Existing file is not valid JSON."}));
        peer.emit(DEBUG, json!("TOGGLE_DEBUG_MODE"), &[]).await;
        peer.wait_for("an ERROR", |packet| packet.contains("Existing file is not valid JSON.")).await;
        assert_eq!(fs::read_to_string(broker.data().join(SETTINGS)).unwrap(), "{\"debugMode\": ");
    }
}
#[tokio::test]
async fn server_status_is_current() {
    let settings = json!({"serverAddress": "http://example.org", "serverPort": 4321});
    let broker = Broker::setup().settings(settings).start(|_| ());
    let mut client = Peer::connect_ws(&broker).await;
    client.join("/llm", auth("app-a")).await;
    let mut extension = Peer::connect_ws(&broker).await;
    extension.join("/llm", auth(EXTENSION)).await;

    for handshake in dialects("monitor") {
        let mut peer = joined(&broker, handshake).await;
        let ack = peer.ack_of(DEBUG, json!("SERVER_STATUS"), &[json!({})]).await;
        assert_eq!(ack["status"], "ok");
        let status = &ack["serverStatus"];
        for (field, expected) in [
            ("serverPort", json!(broker.address().port())),
            ("serverAddress", json!("http://example.org")),
            ("networkSafe", json!(true)),
            ("debugMode", json!(false)),
            ("clients", json!(2)),
            ("extensions", json!(1)),
            ("pendingRequests", json!(0)),
            ("openStreams", json!(0)),
            ("version", json!(env!("CARGO_PKG_VERSION"))),
        ] {
            assert_eq!(status[field], expected, "{field} of {status}");
        }
        assert!(is_time(status["startTime"].as_str().unwrap()), "{status}");
        assert!(status["uptimeSeconds"].as_u64().unwrap() < 3600, "{status}");
        assert!(status["connections"].as_u64().unwrap() >= 3, "{status}");
        peer.leave(DEBUG).await;
        peer.barrier().await;
    }

    // What changes is seen: a request, its stream, their end, a setting, and who has left.
    let mut peer = joined(&broker, auth("monitor")).await;
    let request = json!({"target": EXTENSION, "requestId": "r1", "message": "m"});
    assert_eq!(client.emit_with_ack("/llm", json!(9), request).await["status"], "ok");
    extension.expect_prefix("42/llm,[9,").await;
    let seen = async |peer: &mut Peer, fields: &[&str]| -> Vec<Value> {
        let ack = peer.ack_of(DEBUG, json!("SERVER_STATUS"), &[]).await;
        fields.iter().map(|field| ack["serverStatus"][field].clone()).collect()
    };
    assert_eq!(seen(&mut peer, &["pendingRequests", "openStreams"]).await, [1, 0]);
    let head = |kind: u8| json!({"type": kind, "streamId": "s", "outputId": "o", "requestId": "r1", "numStreams": 9});
    extension.emit("/llm", json!("CLIENT_STREAM_START"), &[head(1)]).await;
    extension.barrier().await;
    broker.until_metric_is("newage_open_streams", 1).await;
    assert_eq!(seen(&mut peer, &["pendingRequests", "openStreams"]).await, [1, 1]);
    let mut end = head(3);
    end["final"] = json!(true);
    extension.emit("/llm", json!("CLIENT_STREAM_END"), &[end]).await;
    extension.barrier().await;
    broker.until_metric_is("newage_open_streams", 0).await;
    toggle(&mut peer).await;
    assert_eq!(seen(&mut peer, &["openStreams", "debugMode"]).await, [json!(0), json!(true)]);
    extension.vanish().await;
    broker.until_metric_is("newage_extensions", 0).await;
    assert_eq!(seen(&mut peer, &["extensions", "clients"]).await, [0, 2]);
}

/// A log as the broker writes it: an entry of each level in turn, some with fields.
fn log(entries: usize) -> (String, Vec<(&'static str, String)>) {
    let mut texts = Vec::new();
    for n in 0..entries {
        let level = ["error", "warn", "info", "debug"][n % 4];
        let mut text = format!("2026-01-31 23:59:59 [{level}] [llm-server]: entry {n}");
        if n % 3 == 0 {
            text += &format!("\n  {{\n    \"client\": \"app-{n}\"\n  }}");
        }
        texts.push((level, text));
    }
    (texts.iter().map(|(_, text)| format!("{text}\n")).collect(), texts)
}

#[tokio::test]
async fn defect_d2_18_read_log() {
    let (text, entries) = log(42);
    let broker = Broker::setup().file("logs/combined.log", &text).start(|_| ());
    let matching = |levels: &[&str]| -> Vec<String> {
        let found = entries.iter().filter(|(level, _)| levels.contains(level));
        found.map(|(_, text)| text.clone()).collect()
    };
    for handshake in dialects(EXTENSION) {
        let mut peer = joined(&broker, handshake).await;
        for (level, levels) in [
            ("all", &["error", "warn", "info", "debug"][..]),
            ("info", &["error", "warn", "info"][..]),
            ("warn", &["error", "warn"][..]),
            ("error", &["error"][..]),
        ] {
            let all = matching(levels);
            for (page, size) in [(1, 10), (2, 10), (3, 7), (1, 100), (1, 1), (99, 10)] {
                let question =
                    json!({"filename": "combined.log", "level": level, "page": page, "pageSize": size});
                let ack = peer.emit_with_ack(DEBUG, json!("READ_LOG"), question).await;
                let lines: Vec<&String> = all.iter().skip((page - 1) * size).take(size).collect();
                let expected = json!({
                    "status": "ok", "success": true, "lines": lines, "total": all.len(),
                    "page": page, "pageSize": size, "level": level,
                });
                assert_eq!(ack, expected, "{level} {page} {size}");
            }
        }
        // What is missing or null has its default.
        let defaults = json!({"filename": "combined.log", "level": null, "page": null});
        let ack = peer.emit_with_ack(DEBUG, json!("READ_LOG"), defaults).await;
        assert_eq!((&ack["page"], &ack["pageSize"], &ack["level"]), (&json!(1), &json!(10), &json!("all")));
        assert_eq!(ack["lines"].as_array().unwrap().len(), 10);
    }
}

#[tokio::test]
async fn read_log_refuses_in_words() {
    let broker = Broker::setup().file("logs/combined.log", "").start(|_| ());
    let good = json!({"filename": "combined.log", "level": "all", "page": 1, "pageSize": 10});
    let size = "Invalid page size (must be between 1 and 100)";
    let page = "Invalid page number";
    let level = "Invalid level Options";
    let cases = [
        ("filename", json!("previous.log"), "Invalid filename"),
        ("filename", json!("../keys/clients.json"), "Invalid filename"),
        ("filename", json!("combined.log.1"), "Invalid filename"),
        ("filename", json!(7), "Invalid filename"),
        ("filename", Value::Null, "Invalid filename"),
        ("level", json!("debug"), level),
        ("level", json!("ERROR"), level),
        ("level", json!(["all"]), level),
        ("page", json!(0), page),
        ("page", json!(-1), page),
        ("page", json!(1.5), page),
        ("page", json!("1"), page),
        ("page", json!(1e300), page),
        ("pageSize", json!(0), size),
        ("pageSize", json!(101), size),
        ("pageSize", json!(2.5), size),
        ("pageSize", json!({}), size),
        // There is no such file.
        ("filename", json!("warn.log"), "Log file not found."),
    ];
    for handshake in dialects(EXTENSION) {
        let mut peer = joined(&broker, handshake).await;
        for (field, value, message) in &cases {
            let mut question = good.clone();
            question[field] = value.clone();
            let ack = peer.emit_with_ack(DEBUG, json!("READ_LOG"), question.clone()).await;
            assert_eq!(ack, json!({"status": "error", "message": message}), "{question}");
        }
        // The first that is wrong is named.
        let wrong = json!({"filename": "x", "level": "x", "page": 0, "pageSize": 0});
        let ack = peer.emit_with_ack(DEBUG, json!("READ_LOG"), wrong).await;
        assert_eq!(ack["message"], "Invalid filename");
        for args in [vec![], vec![Value::Null], vec![json!("combined.log")], vec![json!([1])]] {
            let ack = peer.ack_of(DEBUG, json!("READ_LOG"), &args).await;
            assert_eq!(ack["message"], "Invalid filename", "{args:?}");
        }
        peer.emit(DEBUG, json!("READ_LOG"), &[]).await;
        peer.wait_for("an ERROR", |packet| packet.contains("Invalid filename")).await;
        let ack = peer.emit_with_ack(DEBUG, json!("READ_LOG"), good.clone()).await;
        assert_eq!(ack["total"], 0, "{ack}");
    }
}

#[tokio::test]
async fn read_log_reads_what_was_put_aside_first() {
    let (_, entries) = log(12);
    let [first, second, third] = [0..4, 4..8, 8..12]
        .map(|of| entries[of].iter().map(|(_, text)| format!("{text}\n")).collect::<String>());
    let broker = Broker::setup()
        .file("logs/info.log.2", first)
        .file("logs/info.log.1", second)
        .file("logs/info.log", third)
        .start(|_| ());
    let mut peer = joined(&broker, auth(EXTENSION)).await;
    let question = json!({"filename": "info.log", "level": "all", "pageSize": 100});
    let ack = peer.emit_with_ack(DEBUG, json!("READ_LOG"), question).await;
    let expected: Vec<&String> = entries.iter().map(|(_, text)| text).collect();
    assert_eq!((&ack["lines"], &ack["total"]), (&json!(expected), &json!(12)));
}

#[tokio::test]
async fn max_log_reads() {
    // Long enough that a read takes longer than the next events do to arrive.
    let (text, _) = log(200_000);
    let broker = Broker::setup().file("logs/combined.log", text).start(|config| config.log.max_reads = 1);
    let mut peer = joined(&broker, auth(EXTENSION)).await;
    let question = json!({"filename": "combined.log", "level": "error", "page": 1, "pageSize": 1});
    let mut acks = Vec::new();
    for _ in 0..20 {
        acks.push(peer.begin_ack(DEBUG, json!("READ_LOG"), std::slice::from_ref(&question)).await);
    }
    let mut read = 0;
    let mut refused = 0;
    for id in acks {
        let ack = peer.expect_ack(DEBUG, id).await;
        match ack["status"].as_str() {
            Some("ok") => {
                assert_eq!(ack["total"], 50_000);
                read += 1;
            }
            _ => {
                assert_eq!(ack["message"], "Server is busy, try again later.");
                refused += 1;
            }
        }
    }
    assert!(read >= 1 && refused >= 1, "{read} read, {refused} refused");
    assert_eq!(broker.limit_reached("log.max_reads"), refused);
}

#[tokio::test]
async fn other_events_of_the_namespace() {
    let broker = Broker::start(|_| ());
    let mut peer = joined(&broker, auth(EXTENSION)).await;
    let unknown = peer.emit_with_ack(DEBUG, json!("SHUTDOWN"), json!({})).await;
    assert_eq!(unknown, json!({"status": "error", "message": "Unknown event."}));
    // Its events belong to it alone.
    peer.join("/auth", auth(EXTENSION)).await;
    for event in ["TOGGLE_DEBUG_MODE", "SERVER_STATUS", "READ_LOG"] {
        let ack = peer.emit_with_ack("/auth", json!(event), json!({})).await;
        assert_eq!(ack["message"], "Unknown event.", "{event}");
    }
    peer.emit(DEBUG, json!(27), &[json!({})]).await;
    peer.wait_for("the end of the namespace", |packet| packet == "41/debug,").await;
}

#[tokio::test]
async fn what_is_said_on_debug_tells_no_dialect() {
    let broker = Broker::start(|_| ());
    let mut extension = Peer::connect_ws(&broker).await;
    let unknown = json!({"clientId": EXTENSION, "clientType": "test"});
    extension.join(DEBUG, unknown.clone()).await;
    extension.join("/llm", unknown).await;
    extension.emit_with_ack(DEBUG, json!("SERVER_STATUS"), json!({})).await;
    let mut client = Peer::connect_ws(&broker).await;
    client.join("/llm", auth("app-a")).await;
    let request = json!({"target": EXTENSION, "requestId": "r1", "message": "m"});
    assert_eq!(client.emit_with_ack("/llm", json!(9), request).await["status"], "ok");
    // Under both names, as to whoever has not spoken yet (spec §1.4 rule 4).
    extension.expect_prefix("42/llm,[9,").await;
    extension.expect_prefix("42/llm,[\"LLM_REQUEST\",").await;
}

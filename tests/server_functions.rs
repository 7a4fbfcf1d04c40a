//! The server's own functions and `CLIENT_SETTINGS` over the wire (spec §4.6, §4.7, §6, §8.1 8-15, 8-40 to 8-45).

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Broker, Opening, Peer, auth, auth_with_key, key};

const EXTENSION: &str = "SillyTavern-8000";
const SETTINGS: &str = "settings/server_settings.json";

fn file(broker: &Broker, path: &str) -> Value {
    serde_json::from_slice(&fs::read(broker.data().join(path)).unwrap()).unwrap()
}

fn call(name: &str, args: Value) -> Value {
    json!({"requestId": "r1", "functionName": name, "args": args, "target": "server"})
}

async fn caller(broker: &Broker, client: &str) -> Peer {
    let mut peer = Peer::connect_ws(broker).await;
    peer.join("/function_call", auth(client)).await;
    peer
}

async fn run(peer: &mut Peer, name: &str, args: Value) -> Value {
    peer.emit_with_ack("/function_call", json!(22), call(name, args)).await
}

fn succeeded(result: Value) -> Value {
    json!({"requestId": "r1", "success": true, "result": result})
}

fn denied(message: &str) -> Value {
    json!({"requestId": "r1", "success": false, "error": {"message": message}})
}

/// What the published extension's save button sends (spec §6.4).
fn save_button(network_safe: bool) -> Value {
    json!({
        "serverPort": "4001", "serverAddress": "http://localhost", "networkSafe": network_safe,
        "reconnectAttempts": 10, "reconnectDelay": 1000, "timeout": 5000, "autoConnect": true,
        "socketIOPath": "/socket.io", "queryParameters": {}, "transport": "websocket",
    })
}

#[tokio::test]
async fn the_extensions_save_button() {
    let broker = Broker::setup().settings(json!({"mine": [1.0], "networkSafe": true})).start(|_| ());
    let mut peer = caller(&broker, EXTENSION).await;
    let ack = run(&mut peer, "saveJsonToFile", json!([format!("./{SETTINGS}"), save_button(false)])).await;
    assert_eq!(ack, succeeded(json!({"success": true})));
    let mut expected = save_button(false);
    expected["mine"] = json!([1.0]);
    assert_eq!(file(&broker, SETTINGS), expected, "merged, and what is unknown survives");
    assert!(fs::read_to_string(broker.data().join(SETTINGS)).unwrap().contains("\n  \"networkSafe\": false"));
    let ack = run(&mut peer, "readJsonFromFile", json!([format!("./{SETTINGS}")])).await;
    assert_eq!(ack, succeeded(json!({"success": true, "result": expected})));
    // It is in force for whoever comes next.
    let mut stranger = Peer::connect_ws(&broker).await;
    stranger.send_text(&format!("40/llm,{}", auth_with_key("app-a", "wrong"))).await;
    assert_eq!(stranger.expect_rejection("/llm").await["message"], "Invalid key.");
}

#[tokio::test]
async fn network_safe_is_changed_from_loopback_or_by_an_administrator() {
    let admin = json!({"clientId": "boss", "isTrust": true, "role": "admin"});
    let broker = Broker::setup().client(admin).settings(json!({"networkSafe": false})).start(|_| ());
    let afar = Opening::new().header("x-forwarded-for", "192.168.1.7");
    let mut peer = afar.ws(&broker).await.unwrap();
    for ns in ["/function_call", "/sillytavern"] {
        peer.join(ns, auth_with_key(EXTENSION, &key(EXTENSION))).await;
    }
    let refusal = "Access denied: networkSafe cannot be changed.";
    let before = fs::read(broker.data().join(SETTINGS)).unwrap();
    let ack = run(&mut peer, "saveJsonToFile", json!([SETTINGS, save_button(true)])).await;
    assert_eq!(ack, denied(refusal));
    let ack = peer.emit_with_ack("/sillytavern", json!(12), json!({"networkSafe": true})).await;
    assert_eq!(ack, json!({"status": "error", "message": refusal}));
    assert_eq!(fs::read(broker.data().join(SETTINGS)).unwrap(), before, "nothing of it was written");
    // Saving what is there already is no change.
    let ack = run(&mut peer, "saveJsonToFile", json!([SETTINGS, save_button(false)])).await;
    assert_eq!(ack, succeeded(json!({"success": true})));
    assert_eq!(file(&broker, SETTINGS)["serverPort"], "4001");

    let mut boss = afar.ws(&broker).await.unwrap();
    boss.join("/function_call", auth_with_key("boss", &key("boss"))).await;
    let ack = run(&mut boss, "saveJsonToFile", json!([SETTINGS, {"networkSafe": true}])).await;
    assert_eq!(ack, succeeded(json!({"success": true})));
    assert_eq!(file(&broker, SETTINGS)["networkSafe"], true);
}

#[tokio::test]
async fn defect_8_40_files_by_caller() {
    let broker = Broker::setup().file("lib/mine.js", "let a").start(|_| ());
    let restricted = denied("Access denied: File is restricted.");
    let outside = denied("Access denied: Path is outside the server directory.");
    let mut app = caller(&broker, "app-a").await;
    let mut extension = caller(&broker, EXTENSION).await;
    for path in ["keys/clients.json", "./keys/clients.json", "Keys/clients.json", "keys\\clients.json"] {
        for peer in [&mut app, &mut extension] {
            assert_eq!(run(peer, "readJsonFromFile", json!([path])).await, restricted, "{path}");
            assert_eq!(run(peer, "saveJsonToFile", json!([path, {"a": 1}])).await, restricted, "{path}");
        }
    }
    for path in ["settings/app-b-settings.json", SETTINGS, "data/app-b/x.json"] {
        assert_eq!(run(&mut app, "saveJsonToFile", json!([path, {"isTrust": true}])).await, restricted);
    }
    for path in ["../x.json", "/etc/passwd.json", "data/app-a/../../keys/clients.json"] {
        assert_eq!(run(&mut app, "saveJsonToFile", json!([path, {}])).await, outside, "{path}");
    }
    // Nobody makes itself more than it is.
    let own = format!("settings/{EXTENSION}-settings.json");
    let ack = run(&mut extension, "saveJsonToFile", json!([own, {"role": "admin"}])).await;
    assert_eq!(ack, denied("Access denied: role cannot be changed."));
    // A client has a folder of its own, which is made when it is needed.
    let ack = run(&mut app, "saveJsonToFile", json!(["data/app-a/deep/x.json", {"a": 1}])).await;
    assert_eq!(ack, succeeded(json!({"success": true})));
    let ack = run(&mut app, "saveJsonToFile", json!(["/data/app-a/deep/x.json", {"b": 2}])).await;
    assert_eq!(ack, succeeded(json!({"success": true})));
    let ack = run(&mut app, "readJsonFromFile", json!(["data\\app-a\\deep\\x.json"])).await;
    assert_eq!(ack, succeeded(json!({"success": true, "result": {"a": 1, "b": 2}})));
    // Its failure is inside of the ack's success, and shows no path of the server.
    let ack = run(&mut app, "readJsonFromFile", json!(["data/app-a/none.json"])).await;
    assert_eq!((&ack["success"], &ack["result"]["success"]), (&json!(true), &json!(false)));
    assert_eq!(ack["result"]["error"]["code"], "ENOENT");
    assert!(!ack.to_string().contains(&*broker.data().to_string_lossy()), "{ack}");
}

#[tokio::test]
async fn a_function_that_fails_says_so_without_an_ack() {
    let broker = Broker::start(|_| ());
    let mut peer = caller(&broker, "app-a").await;
    for (name, args, message) in [
        ("saveJsonToFile", json!(["data/app-a/x.json", 7]), "Data to save must be a JSON object."),
        (
            "readJsonFromFile",
            json!(["data/app-a/x.json"]),
            "ENOENT: no such file or directory, open 'data/app-a/x.json'",
        ),
        ("addStaticResources", json!([{"/x": "data/app-a/x.json"}]), "File not found."),
        ("saveJsonToFile", json!(["keys/clients.json", {}]), "Access denied: File is restricted."),
        ("constructor", json!([]), "Function \"constructor\" not found."),
        ("saveJsonToFile", json!("x"), "Invalid arguments."),
    ] {
        peer.emit("/function_call", json!(22), &[call(name, args)]).await;
        let (event, args) = peer.expect_event("/function_call").await;
        let expected = json!({"type": 21, "message": message, "requestId": "r1"});
        assert_eq!((event, args), (json!(21), vec![expected]), "{name}");
    }
    // What succeeds is silent: the next answer is that of the next question.
    peer.emit("/function_call", json!(22), &[call("saveJsonToFile", json!(["data/app-a/x.json", {"a": 1}]))])
        .await;
    let ack = run(&mut peer, "readJsonFromFile", json!(["data/app-a/x.json"])).await;
    assert_eq!(ack["result"]["result"], json!({"a": 1}), "in the order asked");
    peer.expect_nothing().await;
}

#[tokio::test]
async fn defect_8_15_client_settings_are_the_extensions() {
    let broker = Broker::setup().settings(json!({"mine": {"deep": [1]}, "timeout": 1})).start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/sillytavern", auth(EXTENSION)).await;
    let settings = json!({
        "type": 12, "requestId": "s1", "clientId": EXTENSION, "timeout": 7, "serverPort": "4005",
        "Rooms": ["x"], "unknown": 1,
    });
    let ack = peer.emit_with_ack("/sillytavern", json!(12), settings).await;
    assert_eq!(ack, json!({"status": "ok"}));
    let merged = json!({"mine": {"deep": [1]}, "timeout": 7, "serverPort": "4005"});
    assert_eq!(file(&broker, SETTINGS), merged, "known keys alone, and the file is not replaced");
    // Without an ack it is as silent as it is quick.
    peer.emit("/sillytavern", json!(12), &[json!({"timeout": 8})]).await;
    peer.emit("/sillytavern", json!("CLIENT_SETTINGS"), &[json!({"reconnectDelay": 9})]).await;
    let ack = peer.emit_with_ack("/sillytavern", json!(12), json!({"autoConnect": false})).await;
    assert_eq!(ack, json!({"status": "ok"}));
    let merged = json!({
        "mine": {"deep": [1]}, "timeout": 8, "serverPort": "4005", "reconnectDelay": 9, "autoConnect": false,
    });
    assert_eq!(file(&broker, SETTINGS), merged);
    for payload in [json!(null), json!("x"), json!([1]), json!(7)] {
        let ack = peer.emit_with_ack("/sillytavern", json!(12), payload).await;
        assert_eq!(ack, json!({"status": "error", "message": "Invalid settings data."}));
        let (_, args) = peer.expect_event("/sillytavern").await;
        assert_eq!(args, [json!({"type": 21, "message": "Invalid settings data."})]);
    }
    assert_eq!(file(&broker, SETTINGS), merged);

    // Nobody else may, an administrator neither: the event is the extension's.
    for client in ["app-a", "monitor"] {
        let mut peer = Peer::connect_ws(&broker).await;
        peer.join("/sillytavern", auth(client)).await;
        let text = "Unauthorized: Only SillyTavern extension can send client settings.";
        let error = json!({"type": 21, "message": text, "requestId": "s2"});
        peer.emit("/sillytavern", json!(12), &[json!({"timeout": 1, "requestId": "s2"})]).await;
        assert_eq!(peer.expect_event("/sillytavern").await, (json!(21), vec![error.clone()]), "{client}");
        let id = peer.begin_ack("/sillytavern", json!(12), &[json!({"timeout": 1, "requestId": "s2"})]).await;
        assert_eq!(peer.expect_ack("/sillytavern", id).await, json!({"status": "error", "message": text}));
        assert_eq!(peer.expect_event("/sillytavern").await, (json!(21), vec![error]), "{client}");
    }
    assert_eq!(file(&broker, SETTINGS), merged);
}

#[tokio::test]
async fn a_late_answer_is_not_given_to_the_socket_that_came_instead() {
    let broker = Broker::start(|_| ());
    for event in [json!([11, {}]), json!([12, {"timeout": 1}])] {
        let mut peer = Peer::connect_ws(&broker).await;
        for ns in ["/clients", "/auth", "/sillytavern"] {
            peer.join(ns, auth(EXTENSION)).await;
        }
        // Hashing a key takes its time, and what is asked after it is answered after it.
        for _ in 0..3 {
            peer.emit("/clients", json!(17), &[json!({"targetClientId": EXTENSION})]).await;
        }
        peer.send_text(&format!("42/sillytavern,0{event}")).await;
        // The first of the two questions behind 11 goes where that of 33 goes.
        peer.emit_with_ack("/auth", json!(33), json!({})).await;
        peer.leave("/sillytavern").await;
        peer.send_text(&format!("40/sillytavern,{}", auth(EXTENSION))).await;
        let first = peer.wait_for("/sillytavern", |packet| packet.contains("/sillytavern,")).await;
        assert!(first.starts_with("40/sillytavern,{"), "{event}: {first}");
        peer.expect_nothing().await;
    }
}

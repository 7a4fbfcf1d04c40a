//! `addStaticResources`, from the call to the bytes (spec §6.2, §6.3 rule 5, §7, §8.1 8-44).

mod support;

use std::fs;

use newage_broker::config::HistoryMode;
use serde_json::{Value, json};
use support::{Broker, Peer, auth, http};

/// Maps files on behalf of `app-a`: what the function returns.
async fn map(peer: &mut Peer, args: Value) -> Value {
    let call =
        json!({"requestId": "r1", "functionName": "addStaticResources", "args": args, "target": "server"});
    let ack = peer.emit_with_ack("/function_call", json!(22), call).await;
    assert_eq!((&ack["requestId"], &ack["success"]), (&json!("r1"), &json!(true)), "{ack}");
    ack["result"].clone()
}

#[tokio::test]
async fn static_resources_from_their_mapping_to_their_bytes() {
    let setup = Broker::setup()
        .file("client/app-a/main.js", "let a")
        .file("client/app-a/page.html", "<p>app-a")
        .file("client/app-b/main.js", "let b")
        .file("exampleClient/app-b/main.js", "let c")
        .file("data/app-a/notes.json", "{}");
    let broker = setup.start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/function_call", auth("app-a")).await;
    let get = |path: &'static str| http(&broker, "GET", path, &[], "");
    let index = get("/").await.body;
    let constants = get("/lib/constants.js").await.body;
    for path in ["/app", "/page", "/deep/notes"] {
        get(path).await.expect(404, "Not Found");
    }
    // The documented form, and that of the original signature.
    let result = map(&mut peer, json!({"/app": "./client/app-a/main.js"})).await;
    let one = json!([{"urlPath": "/app", "status": "success"}]);
    assert_eq!(result, json!({"result": "success", "success": true, "results": one}));
    let two = json!({"/page": "client/app-a/page.html", "/deep/notes": "data/app-a/notes.json"});
    let result = map(&mut peer, json!([null, two])).await;
    assert_eq!(result["success"], true, "{result}");
    for (path, body, mime) in [
        ("/app", "let a", "application/javascript; charset=utf-8"),
        ("/page", "<p>app-a", "text/html; charset=utf-8"),
        ("/deep/notes", "{}", "application/json; charset=utf-8"),
    ] {
        let reply = get(path).await.expect(200, body);
        let found = reply.header("content-type").unwrap_or_default().to_ascii_lowercase();
        assert_eq!(found, mime, "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
    }
    assert_eq!(http(&broker, "POST", "/app", &[], "").await.status, 404);
    // A mapping follows its file, not what the file was.
    fs::write(broker.data().join("client/app-a/main.js"), "let a2").unwrap();
    get("/app").await.expect(200, "let a2");

    for (url, message) in [
        ("/", "URL path is reserved."),
        ("/index.html", "URL path is reserved."),
        ("/socket.io/socket.io.js", "URL path is reserved."),
        ("/lib/constants.js", "URL path is reserved."),
        ("/public/x.js", "URL path is reserved."),
        ("/client/app-b/main.js", "URL path is reserved."),
        ("/exampleClient/app-b/main.js", "URL path is reserved."),
        ("/page", "URL path is already in use."),
        ("no-slash", "Invalid URL path."),
    ] {
        let result = map(&mut peer, json!([{url: "client/app-a/main.js"}])).await;
        assert_eq!(result["error"], message, "{url}");
    }
    assert_eq!(get("/").await.body, index);
    assert_eq!(get("/lib/constants.js").await.body, constants);
    get("/client/app-b/main.js").await.expect(200, "let b");
    get("/exampleClient/app-b/main.js").await.expect(200, "let c");
    // What is not its own it cannot publish, and mappings do not outlive the process's rules.
    let result = map(&mut peer, json!([{"/x": "settings/app-a-settings.json"}])).await;
    assert_eq!(result["error"], "Access denied: File is restricted.");
    get("/x").await.expect(404, "Not Found");
}

/// What everybody wrote in every room.
#[tokio::test]
async fn the_history_is_published_by_nobody() {
    for path in [None, Some("data/rooms/kept.sqlite")] {
        let broker = Broker::setup().start(|config| {
            config.history.mode = HistoryMode::File;
            if let Some(path) = path {
                config.history.path = path.into();
            }
        });
        let mut extension = Peer::connect_ws(&broker).await;
        extension.join("/function_call", auth("SillyTavern-8000")).await;
        let path = path.unwrap_or("data/history.sqlite");
        for end in ["", "-wal", "-shm", ".lock"] {
            assert!(broker.data().join(format!("{path}{end}")).exists(), "{path}{end}");
            let result = map(&mut extension, json!({"/h": format!("./{path}{end}")})).await;
            assert_eq!(result["error"], "Access denied: File is restricted.", "{path}{end}");
            http(&broker, "GET", "/h", &[], "").await.expect(404, "Not Found");
        }
    }
}

//! The HTTP surface beside Engine.IO, row by row (spec §7).

mod support;

use std::net::{Ipv6Addr, SocketAddr};

use serde_json::{Map, Value, json};
use support::{Broker, Peer, Reply, Setup, auth, cannot_run, http, raw_http};

async fn get(broker: &Broker, path: &str) -> Reply {
    http(broker, "GET", path, &[], "").await
}

async fn get_with(broker: &Broker, path: &str, header: (&str, &str)) -> Reply {
    http(broker, "GET", path, &[header], "").await
}

/// A request whose target no client library touches.
async fn raw_get(broker: &Broker, target: &str) -> Reply {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", broker.address());
    raw_http(broker.address(), request.as_bytes()).await
}

#[track_caller]
fn is_not_found(what: &str, reply: &Reply) {
    assert_eq!((reply.status, reply.text()), (404, "Not Found"), "{what}");
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"), "{what}");
}

/// The page and the bundles are npm's work, and a broker builds without them.
async fn page_is_built(broker: &Broker) -> bool {
    let built = get(broker, "/index.html").await.status == 200;
    if !built {
        cannot_run("web/dist was not built into this broker: run `make web`");
    }
    built
}

fn with_files() -> Setup {
    Broker::setup()
        .file("public/notes.txt", "0123456789")
        .file("public/a b.txt", "space")
        .file("public/中文.txt", "han")
        .file("public/100%.txt", "percent")
        .file("public/a+b.txt", "plus")
        .file("public/a%2eb.txt", "named like an escape")
        .file("public/q?#&=;,:@'.txt", "signs")
        .file("public/sub folder/index.html", "<p>sub")
        .file("lib/c++.js", "let c")
        .file("client/app/50%.js", "let h")
        .file("exampleClient/x+y.css", "b{}")
        .file("data/app-a/c++ notes.txt", "mapped")
        .file("public/page/index.html", "<p>hello")
        .file("public/a page/中文/index.html", "<p>han")
        .file("public/empty/.keep", "")
        .file("public/.hidden", "secret")
        .file("public/.git/config", "secret")
        .file("client/app/main.js", "let a")
        .file("exampleClient/style.css", "a{}")
        .file("lib/mine.mjs", "export {}")
        .file("data/app-a/notes.json", "{}")
        .file("logs/combined.log", "secret")
        .file("dist/server.js", "secret")
        .file("config.toml.bak", "secret")
        .file("secret.txt", "secret")
}

#[tokio::test]
async fn the_page_is_served_at_the_root() {
    let broker = Broker::start(|_| ());
    if !page_is_built(&broker).await {
        return;
    }
    let root = get(&broker, "/").await;
    let index = get(&broker, "/index.html").await;
    assert_eq!(root.status, 200);
    assert_eq!(root.body, index.body);
    assert_eq!(root.header("content-type"), Some("text/html; charset=UTF-8"));
    assert_eq!(root.header("cache-control"), Some("public, max-age=0"));
    let policy = root.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
    // Assets are named by absolute URLs, and each of them is there.
    let page = root.text();
    let assets: Vec<&str> = page.split('"').filter(|text| text.starts_with("/assets/")).collect();
    assert!(!assets.is_empty(), "{page}");
    for asset in assets {
        assert_eq!(get(&broker, asset).await.status, 200, "{asset}");
    }
}

#[tokio::test]
async fn the_page_finds_the_broker_at_another_path() {
    let broker = Broker::setup().settings(serde_json::json!({"socketIOPath": "/elsewhere"})).start(|_| ());
    if !page_is_built(&broker).await {
        return;
    }
    assert!(get(&broker, "/").await.text().contains("content=\"/elsewhere/\""));
    assert_eq!(get(&broker, "/elsewhere/socket.io.js").await.status, 200);
    is_not_found("the default path", &get(&broker, "/socket.io/socket.io.js").await);
}

#[tokio::test]
async fn client_bundles_have_cors_headers_and_their_types() {
    let broker = Broker::start(|_| ());
    if !page_is_built(&broker).await {
        return;
    }
    const SCRIPT: &str = "application/javascript; charset=UTF-8";
    for name in ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js"] {
        for (path, mime) in
            [(name.to_owned(), SCRIPT), (format!("{name}.map"), "application/json; charset=UTF-8")]
        {
            let path = format!("/socket.io/{path}");
            let reply = get_with(&broker, &path, ("origin", "http://localhost:8000")).await;
            assert_eq!(reply.status, 200, "{path}");
            assert_eq!(reply.header("content-type"), Some(mime), "{path}");
            assert_eq!(reply.header("access-control-allow-origin"), Some("http://localhost:8000"), "{path}");
            assert_eq!(reply.header("access-control-allow-credentials"), Some("true"), "{path}");
            assert_eq!(reply.header("vary"), Some("Origin"), "{path}");
            // Without an origin it may still be kept for one that has one.
            let reply = get(&broker, &path).await;
            assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
            assert_eq!(reply.header("vary"), Some("Origin"), "{path}");
            // A foreign page may show it no better than any other file.
            let reply = get_with(&broker, &path, ("origin", "https://evil.example.org")).await;
            assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
        }
    }
    for (path, holds) in [
        ("/lib/uuid/uuid.js", "export"),
        ("/lib/Socket.io/socket.io.js", "export{"),
        ("/public/socket.io.js", "io"),
        ("/lib/@sap_oss/node-socketio-stream.js", "ss"),
    ] {
        let reply = get_with(&broker, path, ("origin", "http://localhost:8000")).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(SCRIPT)), "{path}");
        assert!(reply.text().contains(holds), "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}: no CORS on static files");
    }
}

#[tokio::test]
async fn constants_are_modules_of_both_dialects() {
    let broker = Broker::start(|_| ());
    let numeric = get(&broker, "/lib/constants.js").await;
    assert_eq!(numeric.status, 200);
    assert_eq!(numeric.header("content-type"), Some("application/javascript; charset=UTF-8"));
    for line in [
        "export const MSG_TYPE = {",
        "  LLM_REQUEST: 9,",
        "  CLIENT_DISCONNETED: 27,",
        "  GET_SILLYTAVERN_EXTENSION: 33,",
        "export const STREAM_EVENTS = {",
        "  DATA_FIRST: \"CLIENT_STREAM_DATA_FIRST\",",
        "  streamed_data: \"SERVER_STREAM_DATA\",",
        "export const NAMESPACES = {",
        "  DEFAULT: \"/\",",
        "  SILLY_TAVERN: \"/sillytavern\",",
    ] {
        assert!(numeric.text().lines().any(|found| found == line), "{line} in {}", numeric.text());
    }
    let named = get(&broker, "/lib/constants.named.js").await;
    for line in ["  LLM_REQUEST: \"LLM_REQUEST\",", "  NON_STREAM: 0,", "  READ_LOG: \"READ_LOG\","] {
        assert!(named.text().lines().any(|found| found == line), "{line} in {}", named.text());
    }
}

#[tokio::test]
async fn folders_are_served_with_their_types() {
    let broker = with_files().start(|_| ());
    for (path, body, mime) in [
        ("/public/notes.txt", "0123456789", "text/plain; charset=utf-8"),
        ("/public/a%20b.txt", "space", "text/plain; charset=utf-8"),
        ("/public/%E4%B8%AD%E6%96%87.txt", "han", "text/plain; charset=utf-8"),
        ("/public/100%25.txt", "percent", "text/plain; charset=utf-8"),
        ("/public/a+b.txt", "plus", "text/plain; charset=utf-8"),
        ("/public/a%2Bb.txt", "plus", "text/plain; charset=utf-8"),
        ("/public/a%2bb%2Etxt", "plus", "text/plain; charset=utf-8"),
        ("/public/a%252eb.txt", "named like an escape", "text/plain; charset=utf-8"),
        ("/public/q%3F%23%26%3D%3B%2C%3A%40%27.txt", "signs", "text/plain; charset=utf-8"),
        ("/%70ublic/notes.txt", "0123456789", "text/plain; charset=utf-8"),
        ("/lib/c%2B%2B.js", "let c", "application/javascript; charset=utf-8"),
        ("/client/app/50%25.js", "let h", "application/javascript; charset=utf-8"),
        ("/exampleClient/x%2By.css", "b{}", "text/css; charset=utf-8"),
        ("/public/page/", "<p>hello", "text/html; charset=utf-8"),
        ("/public/page/index.html", "<p>hello", "text/html; charset=utf-8"),
        ("/client/app/main.js", "let a", "application/javascript; charset=utf-8"),
        ("/exampleClient/style.css", "a{}", "text/css; charset=utf-8"),
        ("/lib/mine.mjs", "export {}", "application/javascript; charset=utf-8"),
    ] {
        let reply = get(&broker, path).await;
        assert_eq!((reply.status, reply.text()), (200, body), "{path}");
        let found = reply.header("content-type").unwrap_or_default().to_ascii_lowercase();
        assert!(found == mime || mime.starts_with("text/plain") && found == "text/plain", "{path}: {found}");
        assert_eq!(reply.header("cache-control"), Some("public, max-age=0"), "{path}");
        assert!(reply.header("etag").is_some() && reply.header("last-modified").is_some(), "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
    }
}

#[tokio::test]
async fn a_folder_without_slash_is_redirected_and_one_without_index_is_not_there() {
    let broker = with_files().start(|_| ());
    for (path, location) in [
        ("/public/page", "/public/page/"),
        ("/public/page?a=1&b=%20", "/public/page/?a=1&b=%20"),
        ("/public/a%20page/%E4%B8%AD%E6%96%87", "/public/a%20page/%E4%B8%AD%E6%96%87/"),
        ("/public/a%20page/%E4%B8%AD%E6%96%87?x=/", "/public/a%20page/%E4%B8%AD%E6%96%87/?x=/"),
        ("/%70ublic/page", "/%70ublic/page/"),
        ("/public/sub%20folder", "/public/sub%20folder/"),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = http(&broker, method, path, &[], "").await;
            assert_eq!((reply.status, reply.header("location")), (301, Some(location)), "{method} {path}");
        }
        assert_eq!(get(&broker, location).await.status, 200, "{location}");
    }
    let reply = raw_get(&broker, "http://localhost/public/page?x").await;
    assert_eq!((reply.status, reply.header("location")), (301, Some("/public/page/?x")), "absolute form");
    is_not_found("a folder without index", &get(&broker, "/public/empty/").await);
    is_not_found("a file with a slash", &get(&broker, "/public/notes.txt/").await);
    // A location of two slashes would name another host.
    let reply = raw_get(&broker, "//evil.example/public/page").await;
    assert_ne!(reply.status, 301, "{reply:?}");
}

#[tokio::test]
async fn what_is_private_is_not_there() {
    let broker = with_files().start(|_| ());
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../keys", broker.data().join("public/keys")).unwrap();
        std::os::unix::fs::symlink("../secret.txt", broker.data().join("public/link.txt")).unwrap();
    }
    for target in [
        "/settings/server_settings.json",
        "/settings/app-a-settings.json",
        "/keys/clients.json",
        "/logs/combined.log",
        "/data/app-a/notes.json",
        "/dist/server.js",
        "/dist/",
        "/dist",
        "/config.toml.bak",
        "/secret.txt",
        "/public/.hidden",
        "/public/%2ehidden",
        "/public/.git/config",
        "/public/empty/.keep",
        "/public/keys/clients.json",
        "/public/link.txt",
        "/public/../settings/server_settings.json",
        "/public/../../etc/passwd",
        "/public/page/../../keys/clients.json",
        "/public/%2e%2e/keys/clients.json",
        "/public/%2E%2E/keys/clients.json",
        "/public/.%2e/keys/clients.json",
        "/public/..%2fkeys/clients.json",
        "/public/..%2Fkeys%2Fclients.json",
        "/public%2f..%2fkeys%2fclients.json",
        "/public/%252e%252e/keys/clients.json",
        "/public/a%2eb.txt",
        "/public/a%25252eb.txt",
        "/public/sub+folder/",
        "/public/notes.txt%0d%0aX-Injected:%20yes",
        "/public/page%0d%0aX-Injected:%20yes",
        "/public%00/notes.txt",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/%2fetc/passwd",
        "/public/%2fetc/passwd",
        "/%5c..%5ckeys/clients.json",
        "/public/%2e/notes.txt",
        "/public/%252e%252e%252fkeys%252fclients.json",
        "/public/..%255ckeys/clients.json",
        "/public/..%5ckeys%5cclients.json",
        "/public/..\\keys\\clients.json",
        "/public/%c0%ae%c0%ae/keys/clients.json",
        "/public//../keys/clients.json",
        "//keys/clients.json",
        "/./keys/clients.json",
        "/public/./notes.txt",
        "/public//notes.txt",
        "/public/notes.txt%00",
        "/public/notes.txt%00.html",
        "/public/%ff.txt",
        "/public/%",
        "/public/%zz",
        "/PUBLIC/notes.txt",
        "/lib/",
        "/public/",
        "/lib/constants.js/",
        "/vendor/manifest.json",
        "/nothing",
        "/socket.io",
        "/socket.io/nothing.js",
        "/socket.io/../keys/clients.json",
        "/index.htm",
    ] {
        is_not_found(target, &raw_get(&broker, target).await);
    }
    // An absolute target is still a path of ours.
    is_not_found("absolute form", &raw_get(&broker, "http://localhost/keys/clients.json").await);
}

#[tokio::test]
async fn mapped_files_are_found_by_the_name_that_their_url_means() {
    let broker = with_files().start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/function_call", auth("app-a")).await;
    let map = |urls: &[&str]| {
        let files = urls.iter().map(|url| ((*url).to_owned(), Value::from("data/app-a/c++ notes.txt")));
        json!({"requestId": "r", "target": "server", "functionName": "addStaticResources",
            "args": [files.collect::<Map<_, _>>()]})
    };
    let ack = peer.emit_with_ack("/function_call", json!(22), map(&["/mine/c++", "/mine/中文"])).await;
    assert_eq!(ack["result"]["success"], true, "{ack}");
    for path in ["/mine/c++", "/mine/c%2B%2b", "/%6dine/c+%2B", "/mine/%E4%B8%AD%E6%96%87"] {
        let reply = raw_get(&broker, path).await;
        assert_eq!((reply.status, reply.text()), (200, "mapped"), "{path}");
    }
    for path in [
        "/mine%2Fc++",
        "/mine/c%252B%252B",
        "/mine/./c++",
        "/mine/%2e/c++",
        "/mine/x/%2e%2e/c++",
        "//mine/c++",
    ] {
        is_not_found(path, &raw_get(&broker, path).await);
    }
}

#[tokio::test]
async fn other_methods_find_nothing() {
    let broker = with_files().start(|_| ());
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        for path in ["/", "/lib/constants.js", "/public/notes.txt", "/health", "/metrics", "/nothing"] {
            is_not_found(&format!("{method} {path}"), &http(&broker, method, path, &[], "x").await);
        }
    }
}

#[tokio::test]
async fn validators_ranges_and_head() {
    let broker = with_files().start(|_| ());
    for path in ["/lib/constants.js", "/public/notes.txt"] {
        let whole = get(&broker, path).await;
        let etag = whole.header("etag").unwrap().to_owned();
        let modified = whole.header("last-modified").unwrap().to_owned();

        for condition in [("if-none-match", etag.as_str()), ("if-none-match", "*")] {
            let fresh = get_with(&broker, path, condition).await;
            assert_eq!((fresh.status, fresh.body.len()), (304, 0), "{path} {condition:?}");
            assert_eq!(fresh.header("etag"), Some(etag.as_str()), "{path}");
        }
        let fresh = get_with(&broker, path, ("if-modified-since", &modified)).await;
        assert_eq!((fresh.status, fresh.body.len()), (304, 0), "{path}");
        for condition in [
            ("if-none-match", "\"other\""),
            ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("if-modified-since", "yesterday"),
        ] {
            assert_eq!(get_with(&broker, path, condition).await.body, whole.body, "{path} {condition:?}");
        }

        let length = whole.body.len();
        for (range, expected) in [
            ("bytes=0-3", (0, 4)),
            ("bytes=2-2", (2, 3)),
            ("bytes=6-", (6, length)),
            ("bytes=-4", (length - 4, length)),
            ("bytes=0-999999", (0, length)),
        ] {
            let part = get_with(&broker, path, ("range", range)).await;
            assert_eq!(part.status, 206, "{path} {range}");
            assert_eq!(part.body, whole.body[expected.0..expected.1], "{path} {range}");
            let content_range = format!("bytes {}-{}/{length}", expected.0, expected.1 - 1);
            assert_eq!(part.header("content-range"), Some(content_range.as_str()), "{path} {range}");
        }
        let beyond = get_with(&broker, path, ("range", "bytes=999999-")).await;
        assert_eq!(beyond.status, 416, "{path}");
        assert_eq!(beyond.header("content-range"), Some(format!("bytes */{length}").as_str()), "{path}");
        assert_eq!(get_with(&broker, path, ("range", "furlongs=1-2")).await.status, 200, "{path}");

        let head = http(&broker, "HEAD", path, &[], "").await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.header("content-length"), Some(length.to_string().as_str()), "{path}");
        assert_eq!(head.header("etag"), Some(etag.as_str()), "{path}");
    }
}

/// Longer than the buffer that it goes through, and asked for in both ways that HTTP answers in.
#[tokio::test]
async fn a_large_file_arrives_whole() {
    let text = "0123456789abcdef".repeat(20_000);
    let broker =
        Broker::setup().file("public/large.txt", &text).start(|config| config.server.write_buffer = 1000);
    let plain = get(&broker, "/public/large.txt").await;
    assert_eq!((plain.status, plain.body.len(), plain.text() == text), (200, text.len(), true));
    // What asks for a WebSocket where there is none has left HTTP's own way when it is answered.
    let upgrade = format!(
        "GET /public/large.txt HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        broker.address()
    );
    let upgrade = raw_http(broker.address(), upgrade.as_bytes()).await;
    assert_eq!((upgrade.status, upgrade.body.len(), upgrade.text() == text), (200, text.len(), true));
    assert_eq!(upgrade.header("connection"), Some("close"));
    broker.until_metric_is("newage_connections", 0).await;
}

#[tokio::test]
async fn health_is_for_all_and_metrics_are_local() {
    let broker = Broker::start(|_| ());
    get(&broker, "/health").await.expect(200, "{\"status\":\"ok\"}");
    let metrics = get(&broker, "/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(metrics.text().contains("newage_sessions 0") && metrics.text().ends_with("# EOF\n"));
    for foreign in [
        ("x-forwarded-for", "8.8.8.8"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("host", "evil.example.org"),
        ("origin", "https://evil.example.org"),
    ] {
        is_not_found(&format!("{foreign:?}"), &get_with(&broker, "/metrics", foreign).await);
        assert_eq!(get_with(&broker, "/health", foreign).await.status, 200);
    }
}

#[tokio::test]
async fn metrics_can_be_for_all_or_for_nobody() {
    use newage_broker::config::MetricsAccess;
    let broker = Broker::start(|config| config.server.metrics = MetricsAccess::Any);
    assert_eq!(get_with(&broker, "/metrics", ("x-forwarded-for", "8.8.8.8")).await.status, 200);
    let broker = Broker::start(|config| config.server.metrics = MetricsAccess::None);
    is_not_found("metrics = none", &get(&broker, "/metrics").await);
}

#[tokio::test]
async fn defect_8_39_loopback_is_bound_in_both_families_and_nothing_else_is() {
    let broker = Broker::start(|_| ());
    let port = broker.address().port();
    assert!(broker.address().ip().is_loopback());
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], port));
    assert!(tokio::net::TcpStream::connect(elsewhere).await.is_err(), "only 127.0.0.1 is bound");
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return cannot_run("this machine has no ::1");
    }
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let request = format!("GET /health HTTP/1.1\r\nHost: {v6}\r\nConnection: close\r\n\r\n");
    raw_http(v6, request.as_bytes()).await.expect(200, "{\"status\":\"ok\"}");
}

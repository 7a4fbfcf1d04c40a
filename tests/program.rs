//! The program: where it listens, what it logs, and what it does not (spec §2.1, §8.1 8-14, 8-31, 8-39).

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use serde_json::json;
use support::{Broker, Opening, Peer, Program, Setup, auth_with_key, cannot_run, http, key};

fn setup() -> Setup {
    Broker::setup()
}

async fn answers(program: &Program) {
    http(program.broker(), "GET", "/health", &[], "").await.expect(200, "{\"status\":\"ok\"}");
}

#[tokio::test]
async fn the_log_holds_no_key_no_password_and_no_text() {
    let guarded =
        setup().settings(json!({"networkSafe": false})).password("SillyTavern-8000", "PASSWORD-right");
    let program = Program::start(guarded, &[], &[]);
    let broker = program.broker();
    let extension_key = key("SillyTavern-8000");

    // Keys and passwords, right and wrong, on loopback and from elsewhere.
    let afar = Opening::new().header("x-forwarded-for", "192.0.2.1");
    let mut stranger = afar.ws(broker).await.unwrap();
    stranger.send_text(&format!("40/llm,{}", auth_with_key("app-a", "KEY-wrong"))).await;
    stranger.expect_rejection("/llm").await;
    let mut with_password = auth_with_key("SillyTavern-8000", "getKey");
    with_password["password"] = json!("PASSWORD-wrong");
    stranger.send_text(&format!("40/auth,{with_password}")).await;
    stranger.expect_prefix("40/auth,{").await;
    let login = |password: &str| json!({"clientId": "SillyTavern-8000", "password": password});
    let wrong = stranger.emit_with_ack("/auth", json!(23), login("PASSWORD-wrong")).await;
    assert_eq!(wrong["message"], "Incorrect password.");
    let right = stranger.emit_with_ack("/auth", json!(23), login("PASSWORD-right")).await;
    assert_eq!(right, json!({"success": true}));
    let mut extension = Peer::connect_ws(broker).await;
    for ns in ["/llm", "/clients", "/sillytavern", "/function_call"] {
        extension.join(ns, auth_with_key("SillyTavern-8000", &extension_key)).await;
    }
    let session = extension.emit_with_ack("/sillytavern", json!(11), json!({})).await;
    let session = session["key"].as_str().unwrap().to_owned();
    let fresh = extension.emit_with_ack("/clients", json!(17), json!({"targetClientId": "app-a"})).await;
    let fresh = fresh["key"].as_str().unwrap().to_owned();

    // A question and its answers, and a file.
    let mut client = Peer::connect_ws(broker).await;
    for ns in ["/llm", "/function_call"] {
        client.join(ns, auth_with_key("app-a", &fresh)).await;
    }
    let request = json!({"target": "SillyTavern-8000", "requestId": "r1", "message": "TEXT-question"});
    assert_eq!(client.emit_with_ack("/llm", json!(9), request).await["status"], "ok");
    extension.expect_prefix("42/llm,[9,").await;
    let head = json!({"streamId": "s1", "outputId": "o1", "requestId": "r1", "target": "server"});
    for (event, fields) in [
        ("CLIENT_STREAM_START", json!({"type": 1, "numStreams": 1})),
        ("CLIENT_STREAM_DATA_FIRST", json!({"type": 4, "chunkIndex": 0, "data": "TEXT-token"})),
        ("CLIENT_STREAM_END", json!({"type": 3})),
        ("message", json!({"type": 0, "data": "TEXT-answer"})),
    ] {
        let mut payload = head.clone();
        payload.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        extension.emit("/llm", json!(event), &[payload]).await;
    }
    client.wait_for("the answer", |packet| packet.contains("TEXT-answer")).await;
    let save = json!({
        "requestId": "f1", "functionName": "saveJsonToFile", "target": "server",
        "args": ["data/app-a/x.json", {"a": "TEXT-file"}],
    });
    assert_eq!(client.emit_with_ack("/function_call", json!(22), save).await["success"], true);
    client.emit("/llm", json!("TEXT-event"), &[json!({"a": "TEXT-payload"})]).await;
    client.barrier().await;

    let log = program.log();
    assert!(log.contains("handshake rejected") && log.contains("app-a"), "nothing is logged: {log}");
    for secret in ["KEY-", "PASSWORD-", "TEXT-", "$2b$", &extension_key, &session, &fresh] {
        assert!(!log.contains(secret), "{secret} in the log:\n{log}");
    }
}

#[tokio::test]
async fn defect_8_39_a_refusal_names_the_setting_that_would_allow_it() {
    let program = Program::start(setup(), &[], &[]);
    for (header, value, setting) in [
        ("host", "evil.example.org", "server.allowed_hosts"),
        ("origin", "https://evil.example.org", "server.allowed_origins"),
    ] {
        for opened in [
            Opening::new().header(header, value).ws(program.broker()).await.err(),
            Opening::new().header(header, value).polling(program.broker()).await.err(),
        ] {
            assert_eq!(opened.unwrap().0.status, 403);
        }
        program.until_log(setting).await;
        let log = program.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(setting)).collect();
        assert!(lines.iter().all(|line| line.contains("evil.example.org")), "{lines:?}");
    }
}

#[tokio::test]
async fn it_listens_where_it_is_told_to() {
    let loopback = Program::start(setup(), &[], &[]);
    assert_eq!(loopback.address().ip(), Ipv4Addr::LOCALHOST);
    answers(&loopback).await;
    if TcpListener::bind(("127.0.0.2", 0)).is_err() {
        return cannot_run("this machine has one loopback address only");
    }
    // The flag, the environment, and of both the flag.
    let second = ("NEWAGE_BIND", "127.0.0.2");
    for (args, env, ip) in [
        (vec!["--bind", "127.0.0.2"], vec![], "127.0.0.2"),
        (vec![], vec![second], "127.0.0.2"),
        (vec!["--bind", "127.0.0.3"], vec![second], "127.0.0.3"),
    ] {
        let program = Program::start(setup(), &args, &env);
        assert_eq!(program.address().ip().to_string(), ip, "{args:?} {env:?}");
        answers(&program).await;
        let elsewhere = SocketAddr::from((Ipv4Addr::LOCALHOST, program.address().port()));
        assert!(tokio::net::TcpStream::connect(elsewhere).await.is_err(), "{ip} and nothing else");
    }
    for (args, env) in [(vec!["--bind", "everywhere"], vec![]), (vec![], vec![("NEWAGE_BIND", "everywhere")])]
    {
        let ended = Program::run(setup(), &args, &env).err().unwrap();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.log.contains("--bind"), "{ended:?}");
    }
}

#[tokio::test]
async fn an_open_network_without_keys_is_warned_of() {
    const ANY: &str = "[trust]\nnetwork_safe_scope = \"any\"\n";
    for (config, safe, bind, warns) in [
        (ANY, true, "0.0.0.0", true),
        (ANY, true, "127.0.0.1", false),
        (ANY, false, "0.0.0.0", false),
        ("", true, "0.0.0.0", false),
    ] {
        let setup = setup().settings(json!({"networkSafe": safe})).file("config.toml", config);
        let program = Program::start(setup, &["--bind", bind], &[]);
        program.until_log("listening on").await;
        let log = program.log();
        let warned = log.lines().any(|line| line.contains("WARN") && line.contains("network_safe_scope"));
        assert_eq!(warned, warns, "{config:?} {safe} {bind}: {log}");
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Runs with a port in the settings file. Somebody else may take that port first, and then another is tried.
fn with_port_in_file(as_text: bool, args: &[&str], env: &[(&str, &str)]) -> (u16, Program) {
    for _ in 0..10 {
        let port = free_port();
        let value = if as_text { json!(port.to_string()) } else { json!(port) };
        match Program::run(setup().settings(json!({"serverPort": value})), args, env) {
            Ok(program) => return (port, program),
            Err(ended) => assert!(ended.log.contains("cannot listen on"), "{ended:?}"),
        }
    }
    panic!("no port stays free")
}

#[tokio::test]
async fn the_port_of_the_settings_file_counts_if_nothing_else_names_one() {
    for as_text in [false, true] {
        let (port, program) = with_port_in_file(as_text, &[], &[]);
        assert_eq!(program.address().port(), port, "as text: {as_text}");
        answers(&program).await;
    }
    let (port, program) = with_port_in_file(false, &["--port", "0"], &[]);
    assert_ne!(program.address().port(), port, "the flag comes first");
    let (port, program) = with_port_in_file(true, &[], &[("NEWAGE_PORT", "0")]);
    assert_ne!(program.address().port(), port, "the environment comes first");
}

//! The log files that a program writes, as `READ_LOG` shows them (spec §4.8, §8.1 8-31).

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Broker, Peer, Program, auth, auth_with_key, is_time, key};

const DEBUG: &str = "/debug";
const EXTENSION: &str = "SillyTavern-8000";

async fn joined(broker: &Broker, client: &str) -> Peer {
    let mut peer = Peer::connect_ws(broker).await;
    peer.join(DEBUG, auth(client)).await;
    peer
}

async fn toggle(peer: &mut Peer) -> Value {
    peer.ack_of(DEBUG, json!("TOGGLE_DEBUG_MODE"), &[]).await
}

async fn read_whole(peer: &mut Peer, file: &str, level: &str) -> Vec<String> {
    let question = json!({"filename": file, "level": level, "page": 1, "pageSize": 100});
    let ack = peer.emit_with_ack(DEBUG, json!("READ_LOG"), question).await;
    assert_eq!(ack["success"], true, "{ack}");
    let lines: Vec<String> = serde_json::from_value(ack["lines"].clone()).unwrap();
    assert_eq!(ack["total"], lines.len(), "more than one page: {ack}");
    lines
}

/// Waits until the log shows an entry with this text.
async fn until_logged(peer: &mut Peer, text: &str) -> Vec<String> {
    let wait = async {
        loop {
            let lines = read_whole(peer, "combined.log", "all").await;
            if lines.iter().any(|line| line.contains(text)) {
                return lines;
            }
        }
    };
    support::within(&format!("{text:?} in combined.log"), wait).await
}

#[tokio::test]
async fn the_program_writes_what_read_log_reads() {
    let setup = Broker::setup().file("logs/combined.log", "of a run before\n").file("logs/warn.log.1", "x");
    let program = Program::start(setup, &[], &[]);
    let logs = program.broker().data().join("logs");
    assert_eq!(fs::read_to_string(logs.join("previous.log")).unwrap(), "of a run before\n");
    assert!(!logs.join("warn.log.1").exists(), "files are cleared at start");

    let mut peer = joined(program.broker(), EXTENSION).await;
    let mut stranger = Peer::connect_ws(program.broker()).await;
    stranger.send_text("40/llm,{\"clientId\":\"stranger\",\"clientType\":\"t\"}").await;
    stranger.expect_rejection("/llm").await;
    let lines = until_logged(&mut peer, "stranger").await;
    let entry = lines.iter().find(|line| line.contains("stranger")).unwrap();
    let (head, fields) = entry.split_once('\n').unwrap();
    let (time, rest) = head.split_at(19);
    assert!(is_time(time), "{entry}");
    assert_eq!(rest, " [info] [llm-server]: handshake rejected");
    let fields: Value = serde_json::from_str(fields).unwrap();
    assert_eq!((&fields["client"], &fields["ns"]), (&json!("stranger"), &json!("/llm")));
    assert_eq!(read_whole(&mut peer, "error.log", "all").await, [""; 0]);
    assert!(read_whole(&mut peer, "info.log", "info").await.contains(entry));

    // Debug mode makes it talkative, and back.
    let joins = |lines: &[String]| lines.iter().filter(|line| line.contains("namespace joined")).count();
    assert_eq!(joins(&lines), 0);
    assert_eq!(toggle(&mut peer).await["debugMode"], true);
    stranger.join("/llm", auth("app-a")).await;
    let lines = until_logged(&mut peer, "namespace joined").await;
    assert!(lines.iter().any(|line| line.contains("[debug] [llm-server]: namespace joined")), "{lines:#?}");
    program.until_log("namespace joined").await;
    assert_eq!(toggle(&mut peer).await["debugMode"], false);
    let before = joins(&until_logged(&mut peer, "namespace joined").await);
    stranger.join("/auth", auth("app-a")).await;
    stranger.send_text("40/rooms,{\"clientId\":\"stranger-2\",\"clientType\":\"t\"}").await;
    let lines = until_logged(&mut peer, "stranger-2").await;
    assert_eq!(joins(&lines), before, "{lines:#?}");
    assert!(read_whole(&mut peer, "info.log", "all").await.iter().all(|line| !line.contains("[debug]")));
}

#[tokio::test]
async fn a_program_in_debug_mode_is_talkative_from_its_start() {
    let setup = Broker::setup().settings(json!({"debugMode": true}));
    let program = Program::start(setup, &[], &[]);
    let mut peer = joined(program.broker(), "monitor").await;
    until_logged(&mut peer, "namespace joined").await;
}

#[tokio::test]
async fn log_files_can_be_switched_off() {
    let setup = Broker::setup().file("config.toml", "[log]\nfiles = false\n");
    let program = Program::start(setup, &[], &[]);
    let mut peer = joined(program.broker(), "monitor").await;
    program.until_log("listening on").await;
    assert!(!program.broker().data().join("logs").exists());
    let question = json!({"filename": "combined.log", "level": "all"});
    let ack = peer.emit_with_ack(DEBUG, json!("READ_LOG"), question).await;
    assert_eq!(ack["message"], "Log file not found.");
}

#[tokio::test]
async fn without_a_folder_for_its_log_it_serves_all_the_same() {
    let program = Program::start(Broker::setup().file("logs", "a file"), &[], &[]);
    program.until_log("logs/ cannot be written").await;
    joined(program.broker(), "monitor").await;
}

/// Keys, passwords and texts of messages stay out of the files, in debug mode, too.
#[tokio::test]
async fn defect_8_31_the_files_hold_no_key_no_password_and_no_text() {
    let setup = Broker::setup()
        .settings(json!({"networkSafe": false, "debugMode": true}))
        .password(EXTENSION, "PASSWORD-right");
    let program = Program::start(setup, &[], &[]);
    let broker = program.broker();
    let mut extension = Peer::connect_ws(broker).await;
    for ns in ["/llm", "/clients", "/debug", "/auth"] {
        extension.join(ns, auth_with_key(EXTENSION, &key(EXTENSION))).await;
    }
    let wrong = json!({"clientId": EXTENSION, "password": "PASSWORD-wrong"});
    extension.emit_with_ack("/auth", json!(23), wrong).await;
    let fresh = extension.emit_with_ack("/clients", json!(17), json!({"targetClientId": "app-a"})).await;
    let fresh = fresh["key"].as_str().unwrap().to_owned();
    let mut client = Peer::connect_ws(broker).await;
    client.send_text(&format!("40/llm,{}", auth_with_key("app-b", "KEY-wrong"))).await;
    client.expect_rejection("/llm").await;
    client.join("/llm", auth_with_key("app-a", &fresh)).await;
    let request = json!({"target": EXTENSION, "requestId": "r1", "message": "TEXT-question"});
    assert_eq!(client.emit_with_ack("/llm", json!(9), request).await["status"], "ok");
    extension.expect_prefix("42/llm,[9,").await;
    let message = |data: &str| json!({"type": 0, "data": data, "requestId": "r1", "outputId": "o"});
    extension.emit("/llm", json!("message"), &[message("TEXT-answer")]).await;
    client.wait_for("the answer", |packet| packet.contains("TEXT-answer")).await;
    // Nobody asked for this one.
    let mut late = message("TEXT-late");
    late["requestId"] = json!("r2");
    late["outputId"] = json!("o2");
    extension.emit("/llm", json!("message"), &[late]).await;
    let lines = until_logged(&mut extension, "output answers no request").await;
    assert!(lines.len() > 5, "hardly anything is logged: {lines:#?}");

    let mut files = 0;
    for entry in fs::read_dir(broker.data().join("logs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        for secret in ["KEY-", "PASSWORD-", "TEXT-", "$2b$", &key(EXTENSION), &fresh] {
            assert!(!text.contains(secret), "{secret} in a log file:\n{text}");
        }
        files += 1;
    }
    assert_eq!(files, 4);
}

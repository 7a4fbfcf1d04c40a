//! Payloads that no event expects (spec §1.3, §1.2 rule 4, §8.1): each gets its answer, in the dialect of whoever
//! sent it.

mod support;

use serde_json::{Value, json};
use support::{
    Broker, Peer, auth,
    handshake::{NAMESPACES, joined},
};

/// Payloads that no table of the specification asks for.
fn odd_payloads() -> Vec<Vec<Value>> {
    let odd = json!({
        "clientId": 5, "targetClientId": {}, "requestId": [], "target": 7, "message": null, "roomName": true,
        "functionName": 1, "args": "x", "key": [], "password": {}, "data": {"a": [null]}, "type": "x",
        "identity": 9, "page": "one", "filename": 3,
    });
    vec![
        vec![],
        vec![Value::Null],
        vec![json!(5)],
        vec![json!(true)],
        vec![json!("")],
        vec![json!("__proto__")],
        vec![json!([])],
        vec![json!({})],
        vec![json!({"clientId": null, "target": null, "requestId": null, "roomName": null})],
        vec![json!({"clientId": "__proto__", "target": "constructor", "requestId": "", "roomName": "x/y"})],
        vec![odd],
        vec![json!({}), json!({}), json!(1)],
    ]
}

/// Every name of spec §1.5 that a client may send, but for goodbyes and `ERROR`; literals, aliases, and what
/// nobody knows.
const NAMES: [&str; 70] = [
    "LLM_REQUEST",
    "LLM_RESPONSE",
    "IDENTIFY_SILLYTAVERN",
    "CLIENT_SETTINGS",
    "CREATE_ROOM",
    "DELETE_ROOM",
    "ADD_CLIENT_TO_ROOM",
    "REMOVE_CLIENT_FROM_ROOM",
    "GENERATE_CLIENT_KEY",
    "REMOVE_CLIENT_KEY",
    "GET_ROOMS",
    "FUNCTION_CALL",
    "LOGIN",
    "GET_CLIENT_LIST",
    "GET_CLIENTS_IN_ROOM",
    "GET_CLIENT_KEY",
    "CLIENT_KEY_ASSIGNED",
    "GET_ALL_CLIENT_KEYS",
    "WARNING",
    "CONNECTED_CLIENTS_UPDATE",
    "UPDATE_CONNECTED_CLIENTS",
    "GET_SILLYTAVERN_EXTENSION",
    "TEMP_ROOM_ASSIGNED",
    "ASSIGN_EXTENSION_TO_CLIENT",
    "AVAILABLE_EXTENSIONS",
    "GET_ASSIGNMENTS",
    "GET_ASSIGNMENTS_FOR_ROOM",
    "GET_CONNECTION_POLICY",
    "SET_CONNECTION_POLICY",
    "GET_CONNECTED_CLIENT_ROOMS",
    "GET_CONNECTED_EXTENSIONS",
    "MEMBER_JOINED",
    "MEMBER_LEFT",
    "KICK_MEMBER",
    "SET_MEMBER_ROLE",
    "MEMBER_ROLE_CHANGED",
    "SET_ROOM_MESSAGE_REQUEST_MODE",
    "ROOM_MODE_CHANGED",
    "GET_OFFLINE_MESSAGES",
    "OFFLINE_MESSAGES",
    "REQUEST_STATUS_UPDATE",
    "NEW_MESSAGE",
    "SET_MESSAGE_REQUEST_MODE",
    "EDIT_MESSAGE",
    "DELETE_MESSAGE",
    "CLEAR_MESSAGES",
    "MESSAGE_UPDATED",
    "MESSAGES_CLEARED",
    "UPDATE_CONTEXT",
    "UPDATE_CONTEXT_PAGE",
    "MEMBER_STATUS_UPDATE",
    "START_TYPING",
    "STOP_TYPING",
    "START_PROCESSING",
    "STOP_PROCESSING",
    "MUTE_MEMBER",
    "UNMUTE_MEMBER",
    "MEMBER_MUTED",
    "MEMBER_UNMUTED",
    "READ_LOG",
    "SERVER_STATUS",
    "TOGGLE_DEBUG_MODE",
    "MESSAGES_DELETED",
    "GET_FULL_CONTEXT",
    "getRooms",
    "getClientList",
    "getClientsInRoom",
    "update_connected_clients",
    "invented",
    "constructor",
];

/// Every event of the table, in every namespace, with every odd payload: exactly one ack with exactly one
/// argument, or no ack if none was asked for; the connection stays (spec appendix B 7).
async fn every_event_answers(client: &'static str, dialect: u8) {
    let broker = Broker::start(|config| config.llm.function_timeout = 0.5);
    let mut bystander = Peer::connect_ws(&broker).await;
    bystander.join("/llm", auth("app-b")).await;
    let events: Vec<Value> = match dialect {
        1 => (0..=35).map(|number| json!(number)).chain(NAMES[64..].iter().map(|name| json!(name))).collect(),
        _ => NAMES.iter().map(|name| json!(name)).collect(),
    };
    let mut handshake = auth(client);
    handshake["dialect"] = json!(dialect);
    let debug = (client != "app-a").then_some("/debug");
    for ns in NAMESPACES.into_iter().chain(debug) {
        let mut peer = Peer::connect_ws(&broker).await;
        peer.join(ns, handshake.clone()).await;
        for event in events.iter().filter(|event| **event != 27 && **event != 21) {
            for payload in odd_payloads() {
                let ack = peer.ack_of(ns, event.clone(), &payload).await;
                assert!(ack.is_object() || ack.is_array(), "{client} {ns} {event} {payload:?}: {ack}");
                if let Some(status) = ack.get("status") {
                    let message = ack.get("message").is_some_and(Value::is_string);
                    assert!(status != "error" || message, "{client} {ns} {event} {payload:?}: {ack}");
                }
            }
        }
        peer.barrier().await;
        assert!(!peer.has_unread(|packet| packet.starts_with("43")), "{client} {ns}: a second ack");
        // Without an ack nothing but an ERROR may come; then the same session still serves.
        for event in events.iter().filter(|event| **event != 27) {
            for payload in odd_payloads() {
                peer.emit(ns, event.clone(), &payload).await;
            }
            peer.barrier().await;
        }
        peer.ack_of(ns, json!("invented"), &[]).await;
        assert!(!peer.has_unread(|packet| packet.starts_with("43")), "{client} {ns}: an ack of nothing");
    }
    bystander.emit_with_ack("/llm", json!(9), json!({})).await;
}

#[tokio::test]
async fn every_event_of_a_client_answers() {
    every_event_answers("app-a", 1).await;
}

#[tokio::test]
async fn every_event_of_an_extension_answers() {
    every_event_answers("SillyTavern-8000", 1).await;
}

#[tokio::test]
async fn every_event_of_an_administrator_answers() {
    every_event_answers("monitor", 1).await;
}

#[tokio::test]
async fn every_named_event_of_a_client_answers() {
    every_event_answers("app-a", 2).await;
}

#[tokio::test]
async fn every_named_event_of_an_extension_answers() {
    every_event_answers("SillyTavern-8000", 2).await;
}

#[tokio::test]
async fn every_named_event_of_an_administrator_answers() {
    every_event_answers("monitor", 2).await;
}

#[tokio::test]
async fn a_failure_without_ack_is_an_error_event() {
    let broker = Broker::start(|_| ());
    let mut peer = joined(&broker).await;
    for (payload, request_id) in [
        (json!({"requestId": "r1"}), json!("r1")),
        (json!({"requestId": "r2", "target": "nobody", "message": "x"}), json!("r2")),
    ] {
        peer.emit("/llm", json!(9), &[payload]).await;
        let (name, args) = peer.expect_event("/llm").await;
        assert_eq!(name, 21);
        assert_eq!((&args[0]["type"], &args[0]["requestId"]), (&json!(21), &request_id));
        assert!(args[0]["message"].is_string());
    }
    peer.emit("/llm", json!(9), &[]).await;
    let (_, args) = peer.expect_event("/llm").await;
    assert_eq!(args, [json!({"type": 21, "message": "Invalid LLM request data."})]);
}

#[tokio::test]
async fn relayed_text_may_hold_half_a_character() {
    let broker = Broker::start(|_| ());
    let mut extension = Peer::connect_ws(&broker).await;
    extension.join("/llm", auth("SillyTavern-8000")).await;
    let mut client = joined(&broker).await;
    let request = r#"{"requestId":"r","target":"SillyTavern-8000","message":"\ud83d","x":1e400,"n":12345678901234567890,"y":"\ude00\u0000"}"#;
    client.send_text(&format!("42/llm,1[9,{request}]")).await;
    client.expect_text(r#"43/llm,1[{"status":"ok","message":"Request forwarded."}]"#).await;
    let forwarded = extension.expect_prefix("42/llm,[9,").await;
    let kept = request.strip_suffix('}').unwrap();
    assert!(forwarded.starts_with(kept), "{forwarded}");
}

//! What the references get wrong before a client says anything, and what they forget when they stop (spec §8.1
//! 8-01, 8-02, §8.2 D2-1…D2-3, appendix B 8): the program itself, as somebody runs it.

mod support;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use serde_json::{Value, json};
use support::{Broker, Opening, Peer, Program, auth, auth_with_key, http, key, within};

const ADMIN: &str = "monitor";
const EXTENSION: &str = "SillyTavern-8000";
const GUEST: &str = "app-a";
const SETTINGS: &str = "settings/server_settings.json";

/// The files of `settings/`, byte by byte.
fn settings(data: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(data.join("settings")).expect("a folder").map(|entry| entry.expect("a file"));
    let json = files.filter(|entry| entry.path().extension().is_some_and(|end| end == "json"));
    json.map(|entry| (entry.file_name().into_string().expect("text"), fs::read(entry.path()).unwrap()))
        .collect()
}

async fn serves(program: &Program) {
    http(program.broker(), "GET", "/health", &[], "").await.expect(200, "{\"status\":\"ok\"}");
    Peer::connect_ws(program.broker()).await.barrier().await;
    Peer::open_polling(program.broker()).await.barrier().await;
}

#[tokio::test]
async fn defect_8_01_the_program_needs_nothing_but_itself() {
    let program = Program::in_an_empty_folder();
    serves(&program).await;
    assert_eq!(http(program.broker(), "GET", "/lib/constants.js", &[], "").await.status, 200);
}

/// The reference writes what it remembers into the settings, and its next start fails on that.
#[tokio::test]
async fn defect_8_02_it_starts_again_after_a_first_start_and_after_a_stranger() {
    let mut program = Program::in_an_empty_folder();
    let data = program.broker().data().to_owned();
    let written = settings(&data);
    let first: Value = serde_json::from_slice(&written["server_settings.json"]).expect("JSON");
    assert_eq!(first["serverPort"], 4000, "the defaults: {first}");
    for name in ["sillyTavernPassword", "clientKeys"] {
        assert_eq!(first.get(name), None, "{first}");
    }
    for round in 0..2 {
        let mut stranger = Peer::connect_ws(program.broker()).await;
        let identify = format!("42/sillytavern,0[11,{}]", json!({"clientId": "SillyTavern-6666"}));
        stranger.send_text(&format!("40/sillytavern,{}", auth("SillyTavern-6666"))).await;
        stranger.send_text(&identify).await;
        stranger.expect_rejection("/sillytavern").await;
        stranger.send_text(&identify).await;
        stranger.expect_nothing().await;
        program.kill();
        assert_eq!(settings(&data), written, "round {round}");
        program.run_again();
        serves(&program).await;
    }
    // What such a server has left behind stops nobody.
    let left = r#"{"serverPort":4000,"Rooms":["x"],"clientKeys":{"a":"b"},"sillyTavernPassword":{},"#;
    for end in [r#""networkSafe":true}"#, r#""networkSafe":true,}"#] {
        program.kill();
        fs::write(data.join(SETTINGS), format!("{left}{end}")).unwrap();
        program.run_again();
        serves(&program).await;
        assert_eq!(fs::read_to_string(data.join(SETTINGS)).unwrap(), format!("{left}{end}"));
    }
}

/// Who asks, where, what, with which payload, and what is in the ack.
type Step = (&'static str, &'static str, &'static str, Value, Value);

/// Every request of rooms and chats, in an order in which each can succeed.
fn steps() -> Vec<Step> {
    let (rooms, llm) = ("/rooms", "/llm");
    let ok = || json!({"status": "ok"});
    let tea = |fields: Value| {
        let mut payload = json!({"roomName": "tea"});
        payload.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        payload
    };
    let whom = |fields: Value| {
        let mut payload = tea(fields);
        payload["targetIdentity"] = json!(GUEST);
        payload
    };
    let own = json!({"status": "ok", "rooms": [EXTENSION, GUEST, ADMIN, "monitor-room", "tea"]});
    let members = json!([
        {"clientId": ADMIN, "clientType": "test", "role": "master"},
        {"clientId": GUEST, "clientType": "test", "role": "guest"},
    ]);
    let ask = json!({"requestId": "r", "targetRoom": "tea", "target": EXTENSION, "message": "hi"});
    let page = json!({"status": "ok", "totalPages": 1});
    let mode = tea(json!({"mode": "Immediate"}));
    vec![
        (ADMIN, rooms, "CREATE_ROOM", tea(json!({})), ok()),
        (ADMIN, rooms, "ADD_CLIENT_TO_ROOM", tea(json!({"identity": GUEST})), ok()),
        (ADMIN, rooms, "GET_ROOMS", json!({}), own),
        (GUEST, rooms, "GET_CLIENTS_IN_ROOM", tea(json!({})), json!({"status": "ok", "clients": members})),
        (ADMIN, rooms, "SET_MEMBER_ROLE", whom(json!({"role": "manager"})), ok()),
        (ADMIN, rooms, "MUTE_MEMBER", whom(json!({"duration": 60})), ok()),
        (ADMIN, rooms, "UNMUTE_MEMBER", whom(json!({})), ok()),
        (GUEST, rooms, "SET_ROOM_MESSAGE_REQUEST_MODE", mode, ok()),
        (ADMIN, rooms, "SET_MESSAGE_REQUEST_MODE", json!({"mode": "Immediate"}), ok()),
        (ADMIN, rooms, "SET_CONNECTION_POLICY", json!({"policy": "Manual"}), ok()),
        (GUEST, rooms, "GET_CONNECTION_POLICY", json!({}), json!({"status": "ok", "policy": "Manual"})),
        (
            ADMIN,
            rooms,
            "ASSIGN_EXTENSION_TO_CLIENT",
            json!({"clientRoom": "tea", "extensions": [EXTENSION]}),
            ok(),
        ),
        (GUEST, rooms, "GET_ASSIGNMENTS", json!({}), ok()),
        (
            GUEST,
            rooms,
            "GET_ASSIGNMENTS_FOR_ROOM",
            tea(json!({})),
            json!({"status": "ok", "assignments": [EXTENSION]}),
        ),
        (
            GUEST,
            rooms,
            "GET_CONNECTED_EXTENSIONS",
            json!({}),
            json!({"status": "ok", "extensions": [EXTENSION]}),
        ),
        (ADMIN, rooms, "GET_CONNECTED_CLIENT_ROOMS", json!({}), ok()),
        (GUEST, llm, "START_TYPING", json!({"targetRoom": "tea"}), ok()),
        (GUEST, llm, "LLM_REQUEST", ask, json!({"status": "ok", "message": "Request received."})),
        (GUEST, llm, "STOP_TYPING", json!({"targetRoom": "tea"}), ok()),
        (EXTENSION, llm, "START_PROCESSING", json!({"targetRoom": "tea", "requestId": "r"}), ok()),
        (EXTENSION, llm, "STOP_PROCESSING", json!({"targetRoom": "tea"}), ok()),
        (GUEST, llm, "GET_FULL_CONTEXT", tea(json!({})), page.clone()),
        (GUEST, llm, "GET_OFFLINE_MESSAGES", tea(json!({})), page),
        (GUEST, llm, "EDIT_MESSAGE", tea(json!({"updatedFields": {"message": "hi!"}})), ok()),
        (GUEST, llm, "DELETE_MESSAGE", tea(json!({})), ok()),
        (ADMIN, llm, "CLEAR_MESSAGES", tea(json!({})), ok()),
        (ADMIN, rooms, "KICK_MEMBER", whom(json!({})), ok()),
        (ADMIN, rooms, "ADD_CLIENT_TO_ROOM", tea(json!({"identity": GUEST})), ok()),
        (GUEST, rooms, "REMOVE_CLIENT_FROM_ROOM", tea(json!({"identity": GUEST})), ok()),
        (ADMIN, rooms, "DELETE_ROOM", tea(json!({})), ok()),
    ]
}

/// The newest reference does not start; where that is mended, its requests of rooms fail on names that are not
/// there. Nothing but the program makes this folder.
#[tokio::test]
async fn defect_d2_02_every_request_of_rooms_and_chats_is_served_by_a_fresh_program() {
    let mut program = Program::in_an_empty_folder();
    for client in [&["add", ADMIN][..], &["add", EXTENSION], &["add", GUEST]] {
        let key = program.command(&[&["client"], client].concat());
        assert_eq!(key.len(), 36, "{client:?}: {key}");
    }
    program.kill();
    program.run_again();
    let mut peers = BTreeMap::new();
    for client in [EXTENSION, ADMIN, GUEST] {
        let mut peer = Peer::connect_ws(program.broker()).await;
        for ns in ["/", "/auth", "/clients", "/llm", "/rooms", "/sillytavern", "/function_call"] {
            peer.join(ns, json!({"clientId": client, "clientType": "test", "dialect": 2})).await;
        }
        peers.insert(client, peer);
    }
    // Rooms learn of an extension behind its back.
    let admin = peers.get_mut(ADMIN).expect("the administrator");
    let wanted = json!({"status": "ok", "extensions": [EXTENSION]});
    while admin.emit_with_ack("/rooms", json!("GET_CONNECTED_EXTENSIONS"), json!({})).await != wanted {}
    let mut message_id = Value::Null;
    for (who, ns, event, mut payload, wanted) in steps() {
        let peer = peers.get_mut(who).expect("somebody");
        match event {
            "EDIT_MESSAGE" => payload["messageId"] = message_id.clone(),
            "DELETE_MESSAGE" => payload["messageIds"] = message_id.clone(),
            _ => (),
        }
        let ack = peer.emit_with_ack(ns, json!(event), payload.clone()).await;
        let has_all = wanted.as_object().unwrap().iter().all(|(name, value)| ack.get(name) == Some(value));
        assert!(has_all, "{who} {event} {payload}\n  wanted {wanted}\n  got    {ack}");
        if event == "LLM_REQUEST" {
            message_id = answered(&mut peers).await;
        }
    }
}

/// The extension answers, and everybody in the room hears it: the id of the request's message.
async fn answered(peers: &mut BTreeMap<&str, Peer>) -> Value {
    let extension = peers.get_mut(EXTENSION).expect("the extension");
    extension.wait_for("the request", |packet| packet.starts_with("42/llm,[\"LLM_REQUEST\"")).await;
    let answer = json!({"type": 0, "data": "hello", "source": "client", "requestId": "r", "outputId": "o"});
    extension.emit("/llm", json!("message"), &[answer]).await;
    let mut id = Value::Null;
    for who in [GUEST, ADMIN] {
        let peer = peers.get_mut(who).expect("somebody");
        peer.wait_for("the answer", |packet| packet.starts_with("42/llm,[\"message\"")).await;
        const HEAD: &str = "42/llm,[\"NEW_MESSAGE\",";
        let asked = |packet: &str| packet.starts_with(HEAD) && packet.contains("\"fromClient\":true");
        let packet = peer.wait_for("the request in the history", asked).await;
        let news: Value = serde_json::from_str(&packet[HEAD.len()..packet.len() - 1]).expect("JSON");
        id = news["message"]["messageId"].clone();
        peer.wait_for("the answer in the history", |packet| {
            packet.starts_with(HEAD) && packet.contains("\"fromLlm\":true")
        })
        .await;
    }
    assert!(id.is_string(), "{id}");
    id
}

/// A peer that must show its key.
async fn afar(program: &Program) -> Peer {
    Opening::new().header("x-forwarded-for", "192.0.2.1").ws(program.broker()).await.unwrap()
}

/// Appendix B 8.
#[tokio::test]
async fn keys_and_settings_are_after_a_kill_what_they_were() {
    const ODD: &str = "{ \"isTrust\":true,\n\n\t\"clientId\" : \"odd\", \"more\": [1.50, \"\\u00e9\"] }";
    let server = json!({"networkSafe": false, "mine": {"kept": [1.5]}, "serverPort": "4001"});
    let setup = Broker::setup()
        .settings(server.clone())
        .client(json!({"clientId": "app-b", "isTrust": true, "mine": "kept"}))
        .password(EXTENSION, "secret")
        .file("settings/odd.json", ODD);
    let mut program = Program::start(setup, &[], &[]);
    let data = program.broker().data().to_owned();
    let before = settings(&data);
    assert_eq!(before["server_settings.json"], server.to_string().into_bytes());
    assert_eq!(before["odd.json"], ODD.as_bytes());

    let mut extension = Peer::connect_ws(program.broker()).await;
    for ns in ["/auth", "/clients", "/llm", "/sillytavern"] {
        extension.join(ns, auth_with_key(EXTENSION, &key(EXTENSION))).await;
    }
    let made = extension.emit_with_ack("/clients", json!(17), json!({"targetClientId": "app-b"})).await;
    let made = made["key"].as_str().expect("a key").to_owned();
    assert_eq!(extension.emit_with_ack("/sillytavern", json!(11), json!({})).await["status"], "warning");
    let login = json!({"clientId": EXTENSION, "password": "secret"});
    assert_eq!(extension.emit_with_ack("/auth", json!(23), login.clone()).await, json!({"success": true}));
    // A client without a key is given one in its own time.
    let key_file = data.join("keys/clients.json");
    let stored = async {
        while !fs::read_to_string(&key_file).is_ok_and(|text| text.contains("\"odd\"")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("a key of odd", stored).await;
    for round in 0..2 {
        let keys = fs::read(&key_file).unwrap();
        program.kill();
        program.run_again();
        for (client, key) in [("app-a", &key("app-a")), ("app-b", &made), (EXTENSION, &key(EXTENSION))] {
            let mut peer = afar(&program).await;
            // Neither a connection to /auth nor another start makes a key anew.
            peer.join("/auth", auth_with_key(client, key)).await;
            assert_eq!(peer.emit_with_ack("/auth", json!(33), json!({})).await["status"], "ok", "{client}");
        }
        let mut peer = afar(&program).await;
        peer.send_text(&format!("40/auth,{}", auth_with_key("app-b", &key("app-b")))).await;
        assert_eq!(peer.expect_rejection("/auth").await["message"], "Invalid key.");
        peer.join("/auth", auth_with_key(EXTENSION, "getKey")).await;
        assert_eq!(peer.emit_with_ack("/auth", json!(23), login.clone()).await, json!({"success": true}));
        assert_eq!(settings(&data), before, "round {round}");
        assert!(fs::read(&key_file).unwrap() == keys, "round {round}: the key file");
    }
}

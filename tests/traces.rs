//! The real extension, as it was recorded (`tests/traces/`, a line for each frame): its side is replayed, over
//! polling and through the upgrade as it happened, and every ack that it waits for must come in the shape of
//! spec §4. Session ids and keys are those of this run.

mod llm_world;
mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use llm_world::{App, EXTENSION, forwarded};
use support::{Broker, Frame, Peer, auth, split_payload};

/// What stands for the key in the recordings.
const RECORDED_KEY: &str = "00000000-0000-4000-8000-000000000001";

fn lines(version: &str, phase: &str) -> Vec<Value> {
    let path = format!("{}/tests/traces/{version}-extension-{phase}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Something that a session must still be told.
struct Expected {
    prefix: String,
    /// The event whose ack it is.
    of: Option<(Value, Value)>,
}

struct Session {
    peer: Peer,
    expected: Vec<Expected>,
    polling: bool,
}

/// The extension, session by session, and what it has learned.
struct Extension {
    sessions: BTreeMap<u64, Session>,
    key: Option<String>,
    acks: usize,
    upgrades: usize,
}

impl Extension {
    fn new() -> Self {
        Self { sessions: BTreeMap::new(), key: None, acks: 0, upgrades: 0 }
    }

    /// Replays what the extension did.
    async fn replay(&mut self, broker: &Broker, lines: &[Value]) {
        for line in lines.iter().filter(|line| line["dir"] == "c2s") {
            let conn = line["conn"].as_u64().expect("a session");
            let (kind, url) =
                (line["kind"].as_str().unwrap_or_default(), line["url"].as_str().unwrap_or_default());
            match (kind, line["method"].as_str()) {
                ("http-req", Some("GET")) if !url.contains("sid=") => {
                    let peer = Peer::open_polling(broker).await;
                    self.sessions.insert(conn, Session { peer, expected: Vec::new(), polling: true });
                }
                // Its polls are the peer's own affair, and the upgrade is one act of it.
                ("http-req", Some("GET")) | ("ws-open", _) => (),
                ("http-req", Some("POST")) => {
                    let body = self.with_key(line["body"].as_str().expect("a body")).await;
                    self.settle_before_leaving(conn, &body).await;
                    self.note(conn, &body);
                    self.of(conn).peer.post(body).await.expect(200, "ok");
                }
                ("ws", _) => match line["text"].as_str().expect("the extension sends no binary") {
                    "2probe" => (),
                    "5" => {
                        let session = self.of(conn);
                        session.peer.upgrade().await;
                        session.polling = false;
                        self.upgrades += 1;
                    }
                    text => {
                        let text = self.with_key(text).await;
                        self.settle_before_leaving(conn, &text).await;
                        self.note(conn, &text);
                        self.of(conn).peer.send_text(&text).await;
                    }
                },
                ("ws-close", _) => {
                    self.settle(conn).await;
                    let session = self.sessions.remove(&conn).expect("an open session");
                    session.peer.vanish().await;
                }
                other => panic!("{other:?} in a trace"),
            }
        }
        for conn in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.settle(conn).await;
            // Alive: whatever it sent, no session was closed for it.
            self.of(conn).peer.barrier().await;
        }
    }

    fn of(&mut self, conn: u64) -> &mut Session {
        self.sessions.get_mut(&conn).unwrap_or_else(|| panic!("session {conn} is not open"))
    }

    /// The key that the broker gave takes the place of the recorded one.
    async fn with_key(&mut self, text: &str) -> String {
        if !text.contains(RECORDED_KEY) {
            return text.to_owned();
        }
        for conn in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.settle(conn).await;
        }
        let key = self.key.as_deref().expect("the key comes before its first use");
        text.replace(RECORDED_KEY, key)
    }

    /// It leaves a namespace once it has what it wanted there.
    async fn settle_before_leaving(&mut self, conn: u64, body: &str) {
        if body.split('\u{1e}').any(|packet| packet.starts_with("41")) {
            self.settle(conn).await;
        }
    }

    /// What the packets of a body must be answered with.
    fn note(&mut self, conn: u64, body: &str) {
        let session = self.of(conn);
        for frame in split_payload(body) {
            let Frame::Text(packet) = frame else { continue };
            let Some((kind, rest)) = packet.split_at_checked(2) else { continue };
            let (ns, rest) = rest.split_once(',').map_or(("", rest), |(ns, rest)| (ns, rest));
            match kind {
                "40" => session.expected.push(Expected { prefix: format!("40{ns},{{\"sid\":\""), of: None }),
                "42" => {
                    let at = rest.find('[').expect("an event");
                    // Half characters stand in the texts of streams only, which are acked by nobody.
                    if at > 0 {
                        let event: Vec<Value> = serde_json::from_str(&rest[at..]).expect("an event");
                        let of = Some((event[0].clone(), event[1].clone()));
                        session.expected.push(Expected { prefix: format!("43{ns},{}[", &rest[..at]), of });
                    } else if rest.starts_with("[27,") {
                        session.expected.push(Expected { prefix: format!("41{ns},"), of: None });
                    } else if rest.contains("Connection active?") {
                        let prefix =
                            format!("42{ns},[\"message\",{{\"type\":0,\"data\":\"Yes,connection is fine.\"");
                        session.expected.push(Expected { prefix, of: None });
                    }
                }
                _ => (),
            }
        }
    }

    async fn settle(&mut self, conn: u64) {
        for Expected { prefix, of } in std::mem::take(&mut self.of(conn).expected) {
            let peer = &mut self.of(conn).peer;
            let packet = peer.wait_for(&format!("{prefix}…"), |packet| packet.starts_with(&prefix)).await;
            let Some((name, payload)) = of else { continue };
            let args: Value =
                serde_json::from_str(&packet[prefix.len() - 1..]).expect("an ack holds an array");
            let [ack] = args.as_array().expect("an array").as_slice() else {
                panic!("one argument: {packet}")
            };
            check_ack(&name, &payload, ack);
            if let Some(key) = ack["key"].as_str() {
                self.key = Some(key.to_owned());
            }
            self.acks += 1;
        }
        let session = self.of(conn);
        if session.polling {
            // As the extension does: there is always a poll on its way.
            session.peer.begin_poll();
        }
    }
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"))
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

/// The shapes of spec §4 and §6.2.
fn check_ack(name: &Value, payload: &Value, ack: &Value) {
    match name
        .as_u64()
        .map_or_else(|| name.as_str().unwrap_or_default().to_owned(), |number| number.to_string())
        .as_str()
    {
        "11" | "IDENTIFY_SILLYTAVERN" => {
            assert!(ack["status"] == "ok" || ack["status"] == "warning", "{ack}");
            assert!(ack["key"].as_str().is_some_and(|key| key.len() == 36), "{ack}");
        }
        "19" | "GET_ROOMS" => match name {
            Value::Number(_) => {
                assert!(ack.as_array().is_some_and(|rooms| rooms.iter().all(Value::is_string)), "{ack}")
            }
            _ => assert!(ack.is_array() || ack.is_object(), "{ack}"),
        },
        "22" | "FUNCTION_CALL" => {
            assert_eq!(keys(ack), ["requestId", "result", "success"], "{ack}");
            assert_eq!((&ack["requestId"], &ack["success"]), (&payload["requestId"], &json!(true)));
            let inner = &ack["result"];
            assert_eq!((keys(inner), &inner["success"]), (vec!["result", "success"], &json!(true)), "{ack}");
            let file = &inner["result"];
            if payload["requestId"] == "loadNetworkSafeSetting" {
                assert!(file["networkSafe"].is_boolean(), "{ack}");
            } else {
                assert_eq!(
                    (&file["clientId"], &file["Remember_me"]),
                    (&json!(EXTENSION), &json!(true)),
                    "{ack}"
                );
                assert!(!ack.to_string().contains("$2"), "a hash was handed out: {ack}");
            }
        }
        "29" | "GET_ALL_CLIENT_KEYS" => {
            assert_eq!((keys(ack), &ack["status"]), (vec!["keys", "status"], &json!("ok")), "{ack}");
            for (id, record) in ack["keys"].as_object().expect("a map") {
                assert!(record["rooms"].is_array() && record["key"].is_string(), "{id}: {record}");
                assert!(
                    !record["key"].as_str().unwrap_or_default().starts_with('$'),
                    "a hash was handed out"
                );
            }
        }
        "32" | "UPDATE_CONNECTED_CLIENTS" => {
            assert_eq!((keys(ack), &ack["status"]), (vec!["clients", "status"], &json!("ok")), "{ack}");
            assert!(ack["clients"].is_array(), "{ack}");
        }
        other => panic!("the extension asks for an ack of {other}"),
    }
}

/// What the extension's `data` pieces are together.
fn text_of(lines: &[Value]) -> String {
    let mut units: Vec<u16> = Vec::new();
    for line in lines.iter().filter(|line| line["dir"] == "c2s") {
        let text = line["text"].as_str().expect("text");
        let Some(at) = text.find("\"data\":\"") else { continue };
        let rest = &text[at + 8..];
        units.extend(js_units(rest));
    }
    String::from_utf16(&units).expect("halves are pairs in the end")
}

/// The UTF-16 units of a JSON string, up to its closing quote. `serde_json` refuses half characters.
fn js_units(json: &str) -> Vec<u16> {
    let mut units = Vec::new();
    let mut chars = json.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return units,
            '\\' => match chars.next().expect("an escape") {
                'u' => {
                    let digits: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).expect("four digits"));
                }
                'n' => units.push(10),
                't' => units.push(9),
                'r' => units.push(13),
                'b' => units.push(8),
                'f' => units.push(12),
                other => units.push(other as u16),
            },
            other => units.extend(other.encode_utf16(&mut [0; 2]).iter()),
        }
    }
    panic!("no end of {json}")
}

fn broker(network_safe: bool) -> Broker {
    Broker::setup()
        .settings(json!({"networkSafe": network_safe}))
        .client(json!({"clientId": EXTENSION, "isTrust": true, "Remember_me": true}))
        .password(EXTENSION, "secret")
        // A ping would let whoever waits for something else wait for longer.
        .start(|config| config.session.ping_interval = 120_000)
}

/// What the recorded server sent the extension on that line, as an event.
fn event_of(line: &Value) -> (Value, Value) {
    let text = line["text"].as_str().expect("text");
    let event: Vec<Value> =
        serde_json::from_str(&text[text.find('[').expect("an event")..]).expect("an event");
    (event[0].clone(), event[1].clone())
}

/// The client's object in what the extension was sent: dialect 2 wraps it.
fn asked(payload: &Value) -> Value {
    let mut asked = payload.get("currentRequest").unwrap_or(payload).clone();
    asked["target"] = json!(EXTENSION);
    asked
}

async fn connected(version: &str, network_safe: bool) -> (Broker, Extension) {
    let broker = broker(network_safe);
    let mut extension = Extension::new();
    extension.replay(&broker, &lines(version, "connect")).await;
    // Three reads of files, the key, and the lists; rooms are asked for by the seed only.
    let acks = if version == "seed" { 7 } else { 6 };
    assert!(extension.acks >= acks, "{} acks", extension.acks);
    assert_eq!(extension.upgrades, 5);
    assert_eq!(extension.sessions.len(), 3, "two of the five sessions were temporary");
    (broker, extension)
}

async fn frontend(broker: &Broker, network_safe: bool) -> App {
    let mut handshake = auth("frontendExample");
    handshake["streamEvent"] = json!("streamed_data");
    if !network_safe {
        handshake["key"] = json!(support::key("frontendExample"));
    }
    App::join_as(broker, handshake).await
}

/// Where the extension's main and function sockets are in both recordings.
const MAIN: u64 = 3;
const FUNCTIONS: u64 = 4;
const CLIENTS: u64 = 5;

#[tokio::test]
async fn connect() {
    for version in ["seed", "newest"] {
        for network_safe in [true, false] {
            let (broker, mut extension) = connected(version, network_safe).await;
            // A client comes: the lists follow.
            let mut app = Peer::connect_ws(&broker).await;
            let mut handshake = auth("frontendExample");
            handshake["desc"] = json!("rig client");
            handshake["key"] = json!(support::key("frontendExample"));
            app.join("/auth", handshake).await;
            for (conn, ns) in [(MAIN, "/auth"), (CLIENTS, "/clients")] {
                if version == "newest" && ns == "/auth" {
                    continue;
                }
                let name = if version == "seed" { "31" } else { "\"UPDATE_CONNECTED_CLIENTS\"" };
                let head = format!("42{ns},[{name},");
                let peer = &mut extension.of(conn).peer;
                let list = peer
                    .wait_for(&head, |packet| packet.starts_with(&head) && packet.contains("frontendExample"))
                    .await;
                let list: Value =
                    serde_json::from_str(list[head.len()..].trim_end_matches(']').to_owned().as_str())
                        .or_else(|_| serde_json::from_str(&list[head.len()..list.len() - 1]))
                        .expect("a list");
                let clients = list["clients"].as_array().expect("clients");
                if version == "seed" {
                    assert_eq!(clients, &[json!({"id": "frontendExample", "description": "rig client"})]);
                } else {
                    let entry =
                        clients.iter().find(|entry| entry["clientId"] == "frontendExample").expect("listed");
                    assert_eq!((&entry["clientType"], entry.get("key")), (&json!("test"), None), "{entry}");
                }
            }
        }
    }
}

#[tokio::test]
async fn function_calls() {
    for version in ["seed", "newest"] {
        let (broker, mut extension) = connected(version, true).await;
        let mut app = Peer::connect_ws(&broker).await;
        app.join("/function_call", auth("frontendExample")).await;
        let lines = lines(version, "functioncall");
        assert_eq!(lines.len(), 6);
        for pair in lines.chunks(2) {
            let (name, payload) = event_of(&pair[0]);
            let ack = app.begin_ack("/function_call", json!(22), std::slice::from_ref(&payload)).await;
            let recorded = pair[0]["text"].as_str().expect("text");
            // The same ack id, the same name, the same object and the sender's name in it.
            let head = &recorded[..recorded.find(",{").expect("an object")];
            let peer = &mut extension.of(FUNCTIONS).peer;
            let got = peer.wait_for(head, |packet| packet.starts_with(head)).await;
            let mut expected = payload;
            expected["clientId"] = json!("frontendExample");
            expected["source"] = json!("frontendExample");
            let got: Vec<Value> =
                serde_json::from_str(&got[got.find('[').expect("an event")..]).expect("an event");
            assert_eq!(got, [name, expected]);
            let answer = pair[1]["text"].as_str().expect("text");
            peer.send_text(answer).await;
            let relayed = app.expect_ack("/function_call", ack).await;
            let answer: Vec<Value> =
                serde_json::from_str(&answer[answer.find('[').expect("an ack")..]).expect("an ack");
            assert_eq!([relayed], answer.as_slice());
        }
    }
}

/// Asks what the recorded client asked, and the extension is sent it under its name.
async fn ask(app: &mut App, extension: &mut Extension, line: &Value) -> String {
    let (name, payload) = event_of(line);
    let asked = asked(&payload);
    assert_eq!(app.ask_with(asked.clone()).await, forwarded());
    let head = format!("42/llm,[{name},");
    let got = extension.of(MAIN).peer.wait_for(&head, |packet| packet.starts_with(&head)).await;
    let got: Value = serde_json::from_str(&got[head.len()..got.len() - 1]).expect("an object");
    for field in ["requestId", "message", "target"] {
        assert_eq!(got[field], asked[field], "{field}");
    }
    if name.is_string() {
        for field in ["mode", "targetRoom", "requestingIdentity", "currentRequest", "context"] {
            assert!(got.get(field).is_some(), "{field} in {got}");
        }
    }
    asked["requestId"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn streams() {
    for version in ["seed", "newest"] {
        for network_safe in [true, false] {
            let (broker, mut extension) = connected(version, network_safe).await;
            let mut app = frontend(&broker, network_safe).await;
            let lines = lines(version, "stream");
            let request = ask(&mut app, &mut extension, &lines[0]).await;
            extension.replay(&broker, &lines[1..]).await;
            let text = text_of(&lines[1..]);
            assert!(text.contains("你好") && text.contains('😀'), "{text}");
            app.reads(&text).await;
            app.until("every end", |app| app.streams.iter().all(|stream| stream.ended)).await;
            let starts = lines.iter().filter(|line| {
                line["text"].as_str().is_some_and(|text| text.contains("CLIENT_STREAM_START"))
            });
            assert!(!app.streams.is_empty() && app.streams.len() <= starts.count());
            for stream in &app.streams {
                assert!(stream.error.is_none(), "{stream:?}");
                assert_eq!(
                    (&stream.info["requestId"], &stream.info["source"]),
                    (&json!(request), &json!("server"))
                );
            }
        }
    }
}

/// The extension answers under a `requestId` that it has just invented: attribution finds the request.
#[tokio::test]
async fn answers_in_one_message() {
    for version in ["seed", "newest"] {
        let (broker, mut extension) = connected(version, true).await;
        let mut app = frontend(&broker, true).await;
        let lines = lines(version, "nonstream");
        let request = ask(&mut app, &mut extension, &lines[0]).await;
        extension.replay(&broker, &lines[1..]).await;
        let (_, sent) = event_of(&lines[1]);
        assert_ne!(sent["requestId"], request);
        let expected = json!({
            "type": 0,
            "data": sent["data"],
            "source": "server",
            "requestId": request,
            "outputId": sent["outputId"],
        });
        assert_eq!(app.expect("message").await, expected);
        broker.until_metric_is("newage_llm_requests", 0).await;
    }
}

/// The whole of one run, phase after phase on the same sessions.
#[tokio::test]
async fn one_run() {
    for version in ["seed", "newest"] {
        let (broker, mut extension) = connected(version, true).await;
        let mut app = frontend(&broker, true).await;
        let mut text = String::new();
        for phase in ["stream", "nonstream"] {
            let lines = lines(version, phase);
            ask(&mut app, &mut extension, &lines[0]).await;
            extension.replay(&broker, &lines[1..]).await;
            if phase == "stream" {
                text = text_of(&lines[1..]);
            }
        }
        app.reads(&text).await;
        app.expect("message").await;
    }
}

/// All WebSockets are cut; the extension comes back, says its buffered goodbye, and gives up. A request
/// that waits for it fails in words once it has not answered.
#[tokio::test]
async fn drop_and_return() {
    for version in ["seed", "newest"] {
        let (broker, mut extension) = connected(version, true).await;
        let mut app = frontend(&broker, true).await;
        let first = &lines(version, "nonstream")[0];
        ask(&mut app, &mut extension, first).await;
        extension.replay(&broker, &lines(version, "drop")).await;
        // It has said goodbye to `/llm` (seed), or tried to under a name that is null (newest).
        let gone = extension.sessions.values().all(|session| session.expected.is_empty());
        assert!(gone, "every ack came");
        let mut other = App::join(&broker, "app-a").await;
        let health = json!({"type": 0, "data": "Connection active?"});
        other.emit("message", &health).await;
        assert_eq!(other.expect("message").await["data"], "Yes,connection is fine.");
    }
}

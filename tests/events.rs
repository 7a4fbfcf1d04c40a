//! The tables of spec §4.1–§4.7: who may ask what, where, and how exactly the ack looks. Rows stand as in
//! the specification; each is asked under the number and under the name, on sockets that have declared no
//! dialect, and a refusal is asked for a second time without an ack: then it is an `ERROR` (spec §1.3).

mod support;

use std::collections::BTreeMap;

use newage_broker::config::Config;
use serde_json::{Value, json};
use support::{Broker, Peer, Setup, auth, auth_with_key, key};

const EXTENSION: &str = "SillyTavern-8000";
const OTHER: &str = "SillyTavern-8001";
const ADMIN: &str = "monitor";
const APP: &str = "app-a";

/// Who asks, under which names, with which arguments, and the ack.
type Row = (&'static str, Vec<Value>, Vec<Value>, Value);

/// A broker, and one peer for each way of asking.
struct Stage {
    broker: Broker,
    peers: BTreeMap<(String, String, &'static str), Peer>,
}

/// The number of dialect 1 and the name of dialect 2.
fn both(number: u32, name: &str) -> Vec<Value> {
    vec![json!(number), json!(name)]
}

fn only(name: impl Into<Value>) -> Vec<Value> {
    vec![name.into()]
}

fn ok() -> Value {
    json!({"status": "ok"})
}

fn refused(message: &str) -> Value {
    json!({"status": "error", "message": message})
}

fn unauthorized() -> Value {
    refused("Unauthorized")
}

/// How a socket that uses this name speaks. A literal betrays no dialect: that socket declares the first.
fn spoken(name: &Value) -> &'static str {
    match name.as_str() {
        None => "number",
        Some(name) if name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') => "name",
        Some(_) => "literal",
    }
}

/// Whether an ack has that shape: `<key>` stands for any key in plain, all else for itself.
fn fits(shape: &Value, ack: &Value) -> bool {
    match (shape, ack) {
        (Value::String(shape), Value::String(key)) if shape == "<key>" => {
            !key.is_empty() && !key.starts_with("$2")
        }
        (Value::Object(shape), Value::Object(ack)) => {
            shape.len() == ack.len()
                && shape.iter().all(|(name, shape)| ack.get(name).is_some_and(|value| fits(shape, value)))
        }
        (shape, ack) => shape == ack,
    }
}

impl Stage {
    fn of(setup: Setup, change: impl FnOnce(&mut Config)) -> Self {
        Self { broker: setup.start(change), peers: BTreeMap::new() }
    }

    fn new() -> Self {
        Self::of(Broker::setup(), |_| ())
    }

    async fn peer(&mut self, who: &str, ns: &str, spoken: &'static str) -> &mut Peer {
        let place = (who.to_owned(), ns.to_owned(), spoken);
        if !self.peers.contains_key(&place) {
            let mut peer = Peer::connect_ws(&self.broker).await;
            let mut handshake = json!({"clientId": who, "clientType": "test"});
            if spoken == "literal" {
                handshake["dialect"] = json!(1);
            }
            peer.join(ns, handshake).await;
            self.peers.insert(place.clone(), peer);
        }
        self.peers.get_mut(&place).expect("it was just put there")
    }

    async fn ask(&mut self, who: &str, ns: &str, name: &Value, args: &[Value]) -> Value {
        self.peer(who, ns, spoken(name)).await.ack_of(ns, name.clone(), args).await
    }

    async fn rows(&mut self, ns: &str, rows: impl IntoIterator<Item = Row>) {
        for (who, names, args, shape) in rows {
            for name in names {
                let row = format!("{who} {ns} {name} {}", json!(args));
                let ack = self.ask(who, ns, &name, &args).await;
                assert!(fits(&shape, &ack), "{row}:\n  wanted {shape}\n  got    {ack}");
                let message = ack.get("message").or_else(|| ack.get("error")?.get("message"));
                if let Some(message) = message.filter(|_| ack["status"] == "error" || ack["success"] == false)
                {
                    self.without_ack(who, ns, &name, &args, message).await;
                }
            }
        }
    }

    /// The same failure, without an ack: an `ERROR` with the same message, under the name of the dialect.
    async fn without_ack(&mut self, who: &str, ns: &str, name: &Value, args: &[Value], message: &Value) {
        let error = if name.is_number() || spoken(name) == "literal" { json!(21) } else { json!("ERROR") };
        let mut payload = json!({"type": error, "message": message});
        if let Some(id) =
            args.first().and_then(|payload| payload.get("requestId")).filter(|id| id.is_string())
        {
            payload["requestId"] = id.clone();
        }
        let peer = self.peer(who, ns, spoken(name)).await;
        peer.emit(ns, name.clone(), args).await;
        let prefix = if ns == "/" { String::new() } else { format!("{ns},") };
        let head = format!("42{prefix}[{error},");
        let packet = peer.wait_for(&format!("{head}… for {name}"), |packet| packet.starts_with(&head)).await;
        let event: Value = serde_json::from_str(&packet[2 + prefix.len()..]).expect("an event");
        assert_eq!(event, json!([error, payload]), "{who} {ns} {name} without an ack");
    }
}

// §4.1

#[tokio::test]
async fn default_namespace_has_no_events_of_its_own() {
    let mut stage = Stage::new();
    let unknown = || refused("Unknown event.");
    for name in [json!(33), json!("GET_SILLYTAVERN_EXTENSION"), json!(9), json!("getClientList"), json!("x")]
    {
        assert_eq!(stage.ask(ADMIN, "/", &name, &[]).await, unknown(), "{name}");
        let peer = stage.peer(ADMIN, "/", spoken(&name)).await;
        peer.emit("/", name, &[]).await;
        peer.expect_nothing().await;
    }
}

// §4.2

#[tokio::test]
async fn auth_26_get_client_key() {
    let mut stage = Stage::new();
    let foreign = || refused("You are have no right to get others key.");
    let missing = || refused("Client key not found.");
    let of = |id: &str| vec![json!({"clientId": id})];
    let key = json!({"status": "ok", "key": "<key>"});
    let (number, name) = (|| only(26), || only("GET_CLIENT_KEY"));
    // Only hashes are known of any key.
    let before = [
        (EXTENSION, both(26, "GET_CLIENT_KEY"), of(EXTENSION), missing()),
        (EXTENSION, both(26, "GET_CLIENT_KEY"), vec![], missing()),
        (EXTENSION, number(), of(APP), missing()),
        (EXTENSION, name(), of(APP), foreign()),
        (ADMIN, both(26, "GET_CLIENT_KEY"), of(APP), missing()),
        (ADMIN, both(26, "GET_CLIENT_KEY"), of("nobody"), missing()),
        (ADMIN, both(26, "GET_CLIENT_KEY"), of(""), missing()),
        (APP, number(), of(APP), unauthorized()),
        (APP, number(), vec![], unauthorized()),
        (APP, number(), of(EXTENSION), unauthorized()),
        (APP, name(), of(APP), missing()),
        (APP, name(), of(EXTENSION), foreign()),
        (APP, name(), vec![json!({"clientId": 7})], foreign()),
    ];
    stage.rows("/auth", before).await;
    // Session keys are, once they were handed out.
    for client in [EXTENSION, APP] {
        Peer::connect_ws(&stage.broker).await.join("/auth", auth_with_key(client, "getKey")).await;
    }
    let after = [
        (EXTENSION, both(26, "GET_CLIENT_KEY"), of(EXTENSION), key.clone()),
        (EXTENSION, number(), of(APP), key.clone()),
        (ADMIN, both(26, "GET_CLIENT_KEY"), of(APP), key.clone()),
        (APP, number(), of(APP), unauthorized()),
        (APP, name(), vec![], key),
        (APP, name(), of(EXTENSION), foreign()),
    ];
    stage.rows("/auth", after).await;
}

#[tokio::test]
async fn auth_23_login() {
    let mut stage = Stage::of(Broker::setup().password(APP, "secret"), |_| ());
    let failed = |message: &str| json!({"success": false, "message": message});
    let login = || both(23, "LOGIN");
    let with = |id: &str, password: &str| vec![json!({"clientId": id, "password": password})];
    // A refusal is asked for twice, and attempts are bounded: no more than two a client.
    let rows = [
        (APP, only(23), vec![], failed("Invalid login data.")),
        (APP, only("LOGIN"), vec![json!({"clientId": APP})], failed("Invalid login data.")),
        (APP, only(23), with(APP, "wrong"), failed("Incorrect password.")),
        (APP, login(), with(APP, "secret"), json!({"success": true})),
        ("app-b", only("LOGIN"), with("app-b", "secret"), failed("Password not set on server.")),
    ];
    stage.rows("/auth", rows).await;
}

#[tokio::test]
async fn auth_33_get_sillytavern_extension() {
    let mut stage = Stage::new();
    let list = || both(33, "GET_SILLYTAVERN_EXTENSION");
    let ids = |ids: &[&str]| json!({"status": "ok", "allTheSTSocket": ids, "extensions": ids});
    stage.rows("/auth", [APP, ADMIN, EXTENSION].map(|who| (who, list(), vec![], ids(&[])))).await;
    // Two sockets of one are one, and the oldest comes first.
    for client in [OTHER, EXTENSION, OTHER, APP] {
        stage.peer(client, "/llm", if client == OTHER { "name" } else { "number" }).await;
    }
    let mut second = Peer::connect_ws(&stage.broker).await;
    second.join("/llm", auth(OTHER)).await;
    for args in [vec![], vec![json!(null)], vec![json!({})], vec![json!("odd")]] {
        stage.rows("/auth", [(APP, list(), args, ids(&[OTHER, EXTENSION]))]).await;
    }
}

/// The seed's server document places these on `/auth`.
#[tokio::test]
async fn auth_11_is_an_alias() {
    identify("/auth").await;
}

// §4.3

#[tokio::test]
async fn clients_29_get_all_client_keys() {
    let mut stage = Stage::new();
    let keys: BTreeMap<_, _> =
        support::CLIENTS.iter().map(|id| (id, json!({"key": "", "hasKey": true, "rooms": []}))).collect();
    let (names, keys) = (|| both(29, "GET_ALL_CLIENT_KEYS"), json!({"status": "ok", "keys": keys}));
    let rows = [
        (EXTENSION, names(), vec![], keys.clone()),
        (EXTENSION, names(), vec![json!({})], keys.clone()),
        (ADMIN, names(), vec![json!(null)], keys),
        (APP, names(), vec![json!({})], unauthorized()),
    ];
    stage.rows("/clients", rows).await;
}

#[tokio::test]
async fn clients_26_get_client_key() {
    let mut stage = Stage::new();
    let names = || both(26, "GET_CLIENT_KEY");
    let missing = || refused("No keys in stroge!");
    let of = |id: &str| vec![json!({"clientId": id})];
    let key = json!({"status": "ok", "key": "<key>"});
    let before = [
        (EXTENSION, names(), of(APP), missing()),
        (ADMIN, names(), of("nobody"), missing()),
        (APP, names(), of(APP), missing()),
        (APP, names(), vec![], missing()),
        (APP, names(), of(EXTENSION), unauthorized()),
        (APP, names(), of("nobody"), unauthorized()),
        (APP, names(), vec![json!({"clientId": 7})], unauthorized()),
    ];
    stage.rows("/clients", before).await;
    let made = stage.ask(ADMIN, "/clients", &json!(17), &[json!({"targetClientId": APP})]).await;
    let after = [EXTENSION, ADMIN, APP].map(|who| (who, names(), of(APP), made.clone()));
    stage.rows("/clients", after).await;
    assert!(fits(&key, &made), "{made}");
}

#[tokio::test]
async fn clients_17_and_18_change_the_key_of_the_target() {
    let names = [both(17, "GENERATE_CLIENT_KEY"), both(18, "REMOVE_CLIENT_KEY")];
    let mut stage = Stage::new();
    for names in names.clone() {
        let unknown = if names[0] == 17 { refused("Client not found.") } else { ok() };
        let rows = [
            (APP, names.clone(), vec![json!({"targetClientId": APP})], unauthorized()),
            (APP, names.clone(), vec![], unauthorized()),
            (ADMIN, names.clone(), vec![], refused("Client not found.")),
            (ADMIN, names.clone(), vec![json!({"targetClientId": 7})], refused("Client not found.")),
            (EXTENSION, names.clone(), vec![json!({"targetClientId": ""})], refused("Client not found.")),
            (EXTENSION, names, vec![json!({"targetClientId": "nobody"})], unknown),
        ];
        stage.rows("/clients", rows).await;
    }
    // The extension sends both ids, and its own is not the one that is meant; alone it is.
    for (at, name) in names[0].iter().enumerate() {
        for (payload, owner, other) in [
            (json!({"targetClientId": APP, "clientId": EXTENSION}), APP, EXTENSION),
            (json!({"targetClientId": null, "clientId": "app-b"}), "app-b", EXTENSION),
            (json!({"clientId": "app-b"}), "app-b", EXTENSION),
        ] {
            let setup = Broker::setup().settings(json!({"networkSafe": false}));
            let broker = setup.start(|_| ());
            let mut extension = Peer::connect_ws(&broker).await;
            extension.join("/clients", auth_with_key(EXTENSION, &key(EXTENSION))).await;
            let made = extension.emit_with_ack("/clients", name.clone(), payload.clone()).await;
            assert!(fits(&json!({"status": "ok", "key": "<key>"}), &made), "{payload}: {made}");
            let made = made["key"].as_str().expect("a key");
            assert!(uuid(made), "{made}");
            let opens = async |client: &str, key: &str| opens(&broker, client, key).await;
            assert!(opens(owner, made).await && !opens(owner, &key(owner)).await, "{payload}");
            assert!(opens(other, &key(other)).await && !opens(other, made).await, "{payload}");

            let removed = extension.emit_with_ack("/clients", names[1][at].clone(), payload.clone()).await;
            assert_eq!(removed, ok());
            assert!(!opens(owner, made).await && opens(other, &key(other)).await, "{payload}");
        }
    }
}

fn uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
        && groups[2].starts_with('4')
}

/// Whether a key opens `/llm`.
async fn opens(broker: &Broker, client: &str, key: &str) -> bool {
    let mut peer = Peer::connect_ws(broker).await;
    peer.join("/llm", auth_with_key(client, key)).await;
    peer.send_text("42/llm,7[9,{}]").await;
    let answer =
        peer.wait_for("an ack or the end", |packet| packet == "41/llm," || packet.starts_with("43/llm,7["));
    answer.await != "41/llm,"
}

#[tokio::test]
async fn clients_18_on_a_safe_network_takes_the_key_and_leaves_the_sockets() {
    let mut stage = Stage::new();
    let mut app = Peer::connect_ws(&stage.broker).await;
    app.join("/auth", auth_with_key(APP, "getKey")).await;
    app.join("/llm", auth(APP)).await;
    for name in both(18, "REMOVE_CLIENT_KEY") {
        assert_eq!(
            stage.ask(EXTENSION, "/clients", &name, &[json!({"targetClientId": APP})]).await,
            ok(),
            "also if there is none any more"
        );
    }
    let none = refused("No keys in stroge!");
    stage.rows("/clients", [(APP, only(26), vec![], none)]).await;
    let keys = stage.ask(ADMIN, "/clients", &json!(29), &[]).await;
    assert!(keys["keys"].get(APP).is_none() && keys["keys"].get("app-b").is_some(), "{keys}");
    app.emit_with_ack("/llm", json!(9), json!({})).await;
    app.emit_with_ack("/auth", json!(33), json!({})).await;
}

#[tokio::test]
async fn clients_32_update_connected_clients() {
    let mut stage = Stage::new();
    let names = || both(32, "UPDATE_CONNECTED_CLIENTS").into_iter().chain(only("update_connected_clients"));
    let mut app = Peer::connect_ws(&stage.broker).await;
    let mut handshake = auth(APP);
    handshake["desc"] = json!("the first");
    app.join("/auth", handshake).await;
    // Extensions, and clients that are elsewhere only, are not listed.
    stage.peer(EXTENSION, "/auth", "number").await;
    stage.peer("app-b", "/llm", "number").await;
    stage.peer(ADMIN, "/auth", "number").await;
    let list = json!({"status": "ok", "clients": [{"id": APP, "description": "the first"}, {"id": ADMIN}]});
    let rows = [
        (EXTENSION, names().collect(), vec![json!({})], list.clone()),
        (ADMIN, names().collect(), vec![], list),
        (APP, names().collect(), vec![json!({})], unauthorized()),
    ];
    stage.rows("/clients", rows).await;
}

#[tokio::test]
async fn clients_24_the_key_store_by_number_and_who_is_here_by_name() {
    let mut stage = Stage::new();
    let names = || [only("getClientList"), only(24)].concat();
    let stored: Vec<_> = support::CLIENTS.iter().map(|id| json!({"id": id})).collect();
    for who in [EXTENSION, ADMIN] {
        for name in names() {
            let ack = stage.ask(who, "/clients", &name, &[json!({})]).await;
            let mut found = ack.as_array().expect("a bare array").clone();
            found.sort_by_key(|entry| stored.iter().position(|stored| stored == entry));
            assert_eq!(found, stored, "{who} {name}");
        }
    }
    stage.rows("/clients", [(APP, names(), vec![json!({})], unauthorized())]).await;

    let mut stage = Stage::new();
    let mut page = Peer::connect_ws(&stage.broker).await;
    let handshake = json!({
        "clientId": "frontendExample", "clientType": "web", "key": key("frontendExample"), "dialect": 1,
        "desc": "a page", "clienthtml": "http://localhost/page.html",
    });
    page.join("/llm", handshake).await;
    // Any authenticated client may ask.
    let ack = stage.ask(APP, "/clients", &json!("GET_CLIENT_LIST"), &[]).await;
    let wanted = json!({"status": "ok", "success": true, "clients": [
        {
            "clientId": "frontendExample", "clientType": "web", "desc": "a page", "clientDesc": "a page",
            "html": "http://localhost/page.html", "clientHTML": "http://localhost/page.html",
        },
        {"clientId": APP, "clientType": "test"},
    ]});
    assert_eq!(ack, wanted);
    // The same is pushed, again without a key.
    stage.peer("app-b", "/llm", "number").await;
    let head = "42/clients,[\"UPDATE_CONNECTED_CLIENTS\",";
    let peer = stage.peer(APP, "/clients", "name").await;
    let pushed = peer.wait_for(head, |packet| packet.starts_with(head) && packet.contains("app-b")).await;
    assert!(pushed.contains("\"clientHTML\"") && !pushed.contains("key"), "{pushed}");
}

// §4.5, and where else its events are served

const ROOM_NAMESPACES: [&str; 3] = ["/rooms", "/clients", "/auth"];

#[tokio::test]
async fn rooms_13_to_16_and_25() {
    for ns in ROOM_NAMESPACES {
        for at in [0, 1] {
            let mut stage = Stage::new();
            stage.peer(APP, "/llm", "number").await;
            stage.peer("app-b", "/llm", "number").await;
            let name = |number, name| only(both(number, name).swap_remove(at));
            let (create, delete) = (|| name(13, "CREATE_ROOM"), || name(14, "DELETE_ROOM"));
            let (add, remove) = (|| name(15, "ADD_CLIENT_TO_ROOM"), || name(16, "REMOVE_CLIENT_FROM_ROOM"));
            let members = || name(25, "GET_CLIENTS_IN_ROOM");
            let room = |name: &str| vec![json!({"roomName": name})];
            let of = |client: &str, room: &str| vec![json!({"clientId": client, "roomName": room})];
            let list = |ids: &[&str]| match at {
                0 => ids.iter().map(|id| json!({"id": id})).collect::<Value>(),
                _ => {
                    let kind = |id: &&str| json!({"clientId": id, "clientType": "test"});
                    json!({"status": "ok", "clients": ids.iter().map(kind).collect::<Value>()})
                }
            };
            let unknown = if at == 0 { json!([]) } else { refused("Room not found") };
            let unnamed = if at == 0 { json!([]) } else { refused("Invalid room name") };
            let rows = [
                (APP, create(), room("tea"), unauthorized()),
                (EXTENSION, create(), vec![], refused("Invalid room name")),
                (EXTENSION, create(), vec![json!("")], refused("Invalid room name")),
                (EXTENSION, create(), vec![json!("a\nb")], refused("Invalid room name")),
                (EXTENSION, create(), vec![json!({"roomName": 7})], refused("Invalid room name")),
                (EXTENSION, create(), room("tea"), ok()),
                (ADMIN, create(), vec![json!("coffee")], ok()),
                (ADMIN, create(), room("tea"), refused("Room already exists")),
                // The id of a client, whether it is here or not, and the monitor's room.
                (EXTENSION, create(), room(APP), refused("Room already exists")),
                (EXTENSION, create(), room(OTHER), refused("Room already exists")),
                (ADMIN, create(), vec![json!("frontendExample")], refused("Room already exists")),
                (ADMIN, create(), room("monitor-room"), refused("Room already exists")),
                (APP, add(), of(APP, "tea"), unauthorized()),
                (EXTENSION, add(), of("nobody", "tea"), refused("Failed to add client to room")),
                (EXTENSION, add(), of(APP, "milk"), refused("Failed to add client to room")),
                (EXTENSION, add(), room("tea"), refused("Failed to add client to room")),
                (EXTENSION, add(), vec![], refused("Failed to add client to room")),
                (EXTENSION, add(), of(APP, "tea"), ok()),
                (ADMIN, add(), of("app-b", "tea"), ok()),
                // Members, extensions and administrators see who is in it.
                (APP, members(), room("tea"), list(&[APP, "app-b"])),
                (ADMIN, members(), vec![json!("tea")], list(&[APP, "app-b"])),
                (EXTENSION, members(), room("coffee"), list(&[])),
                (EXTENSION, members(), room("milk"), unknown),
                (EXTENSION, members(), vec![], unnamed),
                (APP, members(), room(APP), list(&[APP])),
                (APP, members(), room("coffee"), unauthorized()),
                (APP, members(), room("milk"), unauthorized()),
                (APP, members(), room(EXTENSION), unauthorized()),
                (APP, remove(), of("app-b", "tea"), unauthorized()),
                (APP, remove(), room("tea"), ok()),
                (APP, remove(), of(APP, "tea"), refused("Failed to remove client from room")),
                (APP, members(), room("tea"), unauthorized()),
                (EXTENSION, remove(), of("app-b", "tea"), ok()),
                (EXTENSION, remove(), of("app-b", "milk"), refused("Failed to remove client from room")),
                (ADMIN, remove(), vec![], refused("Failed to remove client from room")),
                // The creator, or an administrator; a personal room nobody.
                (APP, delete(), room("tea"), unauthorized()),
                (OTHER, delete(), room("tea"), unauthorized()),
                (EXTENSION, delete(), room(EXTENSION), unauthorized()),
                (EXTENSION, delete(), room("milk"), refused("Room not found")),
                (EXTENSION, delete(), vec![], refused("Room not found")),
                (EXTENSION, delete(), vec![json!("tea")], ok()),
                (EXTENSION, delete(), room("tea"), refused("Room not found")),
                (ADMIN, delete(), room("coffee"), ok()),
            ];
            stage.rows(ns, rows).await;
        }
    }
}

#[tokio::test]
async fn rooms_19_get_rooms() {
    for ns in ROOM_NAMESPACES {
        let mut stage = Stage::new();
        assert_eq!(stage.ask(EXTENSION, ns, &json!(13), &[json!("tea")]).await, ok());
        let rooms = |who: &'static str| {
            let mut rooms = vec![EXTENSION, who, "tea"];
            rooms.sort_unstable();
            rooms.dedup();
            json!(rooms)
        };
        for who in [EXTENSION, ADMIN] {
            for args in [vec![], vec![json!({})], vec![json!(null)]] {
                let plain = [only(19), only("getRooms")].concat();
                stage.rows(ns, [(who, plain, args.clone(), rooms(who))]).await;
                let named = json!({"status": "ok", "rooms": rooms(who)});
                stage.rows(ns, [(who, only("GET_ROOMS"), args, named)]).await;
            }
        }
        let names = [both(19, "GET_ROOMS"), only("getRooms")].concat();
        stage.rows(ns, [(APP, names, vec![json!({})], unauthorized())]).await;
    }
}

#[tokio::test]
async fn clients_in_a_room_by_their_literal_are_a_bare_array() {
    let mut stage = Stage::new();
    let mut app = Peer::connect_ws(&stage.broker).await;
    let mut handshake = auth(APP);
    handshake["desc"] = json!("the first");
    app.join("/llm", handshake).await;
    let names = || [only("getClientsInRoom"), only(25)].concat();
    let list = json!([{"id": APP, "description": "the first"}]);
    for ns in ROOM_NAMESPACES {
        let rows = [
            (ADMIN, names(), vec![json!(APP)], list.clone()),
            (ADMIN, names(), vec![json!({"roomName": APP})], list.clone()),
            (EXTENSION, names(), vec![json!("milk")], json!([])),
            ("app-b", names(), vec![json!(APP)], unauthorized()),
        ];
        stage.rows(ns, rows).await;
    }
    // Who is away within its grace is of a type that is not known.
    let room = json!({"roomName": "tea"});
    let member = json!({"clientId": APP, "roomName": "tea"});
    assert_eq!(stage.ask(ADMIN, "/rooms", &json!(13), std::slice::from_ref(&room)).await, ok());
    assert_eq!(stage.ask(ADMIN, "/rooms", &json!(15), &[member]).await, ok());
    let before = stage.broker.metric("newage_sockets");
    app.vanish().await;
    stage.broker.until_metric_is("newage_sockets", before - 1).await;
    let away = json!({"status": "ok", "clients": [{"clientId": APP, "clientType": "unknown"}]});
    stage.rows("/rooms", [(ADMIN, only("GET_CLIENTS_IN_ROOM"), vec![room], away)]).await;
}

// §4.4

#[tokio::test]
async fn llm_9_llm_request() {
    let mut stage = Stage::of(Broker::setup(), |config| config.llm.allow_shared_requests = true);
    stage.peer(EXTENSION, "/llm", "number").await;
    let request = |fields: Value| {
        let mut payload = json!({"target": EXTENSION, "requestId": "r", "message": "hi"});
        for (name, value) in fields.as_object().expect("fields") {
            payload[name] = value.clone();
        }
        vec![payload]
    };
    let names = || both(9, "LLM_REQUEST");
    let invalid = || refused("Invalid LLM request data.");
    let forwarded = |message: &str| json!({"status": "ok", "message": message});
    let rows = [
        (APP, names(), vec![], invalid()),
        (APP, names(), request(json!({"requestId": 7})), invalid()),
        (APP, names(), request(json!({"requestId": ""})), invalid()),
        (APP, names(), request(json!({"target": null})), invalid()),
        (APP, names(), request(json!({"target": [EXTENSION, 7]})), invalid()),
        (APP, names(), request(json!({"message": null})), invalid()),
        (
            APP,
            names(),
            request(json!({"target": "server"})),
            refused("LLM requests should not be sent to the server directly."),
        ),
        (
            APP,
            names(),
            request(json!({"target": OTHER})),
            refused("Target client not found: SillyTavern-8001"),
        ),
        (APP, names(), request(json!({"target": "app-b"})), refused("Target client not found: app-b")),
        (APP, only(9), request(json!({})), forwarded("Request forwarded.")),
        (APP, only("LLM_REQUEST"), request(json!({"requestId": "r2"})), forwarded("Request received.")),
        (ADMIN, only(9), request(json!({"requestId": "r3"})), forwarded("Request forwarded.")),
    ];
    stage.rows("/llm", rows).await;
}

// §4.6

#[tokio::test]
async fn sillytavern_11_identify() {
    identify("/sillytavern").await;
}

async fn identify(ns: &str) {
    let mut stage = Stage::new();
    let names = || both(11, "IDENTIFY_SILLYTAVERN");
    let own = || vec![json!({"clientId": EXTENSION})];
    let key = json!({"status": "ok", "key": "<key>"});
    let rows = [
        (EXTENSION, names(), own(), key.clone()),
        (EXTENSION, names(), vec![], key),
        (EXTENSION, names(), vec![json!({"clientId": OTHER})], unauthorized()),
        (EXTENSION, names(), vec![json!({"clientId": [EXTENSION]})], unauthorized()),
        (APP, names(), own(), unauthorized()),
        (APP, names(), vec![json!({"clientId": APP})], unauthorized()),
        (ADMIN, names(), own(), unauthorized()),
    ];
    stage.rows(ns, rows).await;
    let first = stage.ask(EXTENSION, ns, &json!(11), &own()).await["key"].clone();
    stage.peer(EXTENSION, "/llm", "number").await;
    let warning = json!({"status": "warning", "message": "SillyTavern already connected.", "key": first});
    stage.rows(ns, [(EXTENSION, names(), own(), warning)]).await;
}

#[tokio::test]
async fn sillytavern_12_client_settings() {
    let mut stage = Stage::new();
    let payload = |value: u32| json!({"reconnectAttempts": value, "requestId": "s"});
    for (value, name) in [(7, json!(12)), (8, json!("CLIENT_SETTINGS"))] {
        assert_eq!(stage.ask(EXTENSION, "/sillytavern", &name, &[payload(value)]).await, ok());
        let file = std::fs::read(stage.broker.data().join("settings/server_settings.json")).expect("a file");
        let file: Value = serde_json::from_slice(&file).expect("JSON");
        assert_eq!(file["reconnectAttempts"], value);
        // Whoever is no extension gets the documented ERROR beside its ack.
        let message = "Unauthorized: Only SillyTavern extension can send client settings.";
        let ack = stage.ask(APP, "/sillytavern", &name, &[payload(9)]).await;
        assert_eq!(ack, refused(message));
        let error = if name == 12 { json!(21) } else { json!("ERROR") };
        let wanted = json!({"type": error, "message": message, "requestId": "s"});
        let peer = stage.peer(APP, "/sillytavern", spoken(&name)).await;
        assert_eq!(peer.expect_event("/sillytavern").await, (error, vec![wanted]));
    }
}

// §4.7

#[tokio::test]
async fn function_call_22() {
    let mut stage = Stage::new();
    let names = || both(22, "FUNCTION_CALL");
    let call = |fields: Value| {
        let mut payload = json!({
            "requestId": "f", "target": "server", "functionName": "readJsonFromFile",
            "args": ["./settings/app-a-settings.json"],
        });
        for (name, value) in fields.as_object().expect("fields") {
            payload[name] = value.clone();
        }
        vec![payload]
    };
    let failed = |message: &str| json!({"requestId": "f", "success": false, "error": {"message": message}});
    let result = json!({"success": true, "result": {"clientId": APP, "isTrust": true}});
    let rows = [
        (APP, names(), call(json!({})), json!({"requestId": "f", "success": true, "result": result})),
        (APP, names(), call(json!({"functionName": "toString"})), failed("Function \"toString\" not found.")),
        (APP, names(), call(json!({"functionName": null})), failed("Function \"\" not found.")),
        (APP, names(), call(json!({"args": 7})), failed("Invalid arguments.")),
        (APP, names(), call(json!({"target": null})), failed("Target not found: ")),
        (APP, names(), call(json!({"target": OTHER})), failed("Target not found: SillyTavern-8001")),
        (APP, names(), call(json!({"target": "app-b"})), failed("Target not found: app-b")),
    ];
    stage.rows("/function_call", rows).await;
    let ack = stage.ask(APP, "/function_call", &json!(22), &[]).await;
    assert_eq!(ack, json!({"success": false, "error": {"message": "Target not found: "}}));
}

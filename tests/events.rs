//! The tables of spec §4.1–§4.7: who may ask what, where, and how exactly the ack looks. Rows stand as in
//! the specification; each is asked under the number and under the name, on sockets that have declared no
//! dialect, and a refusal is asked for a second time without an ack: then it is an `ERROR` (spec §1.3).

mod stage;
mod support;

use std::collections::BTreeMap;

use newage_broker::config::Config;
use serde_json::{Value, json};

use stage::{ADMIN, APP, EXTENSION, OTHER, Stage, both, fits, ok, only, refused, spoken, unauthorized};
use support::{Broker, Peer, auth, auth_with_key, key};

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
    // Attempts are bounded, and a refusal is asked for twice.
    let change = |config: &mut Config| config.trust.login_attempts_per_minute = 100;
    let mut stage = Stage::of(Broker::setup().password(APP, "secret"), change);
    let failed = |message: &str| json!({"success": false, "message": message});
    let login = || both(23, "LOGIN");
    let with = |id: &str, password: &str| vec![json!({"clientId": id, "password": password})];
    let rows = [
        (APP, login(), vec![], failed("Invalid login data.")),
        (APP, login(), vec![json!({"clientId": APP})], failed("Invalid login data.")),
        (APP, login(), vec![json!({"password": "secret"})], failed("Invalid login data.")),
        (APP, login(), with(APP, "wrong"), failed("Incorrect password.")),
        (APP, login(), with(APP, "secret"), json!({"success": true})),
        ("app-b", login(), with("app-b", "secret"), failed("Password not set on server.")),
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
        (APP, only(9), request(json!({"target": null})), invalid()),
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
        // A room has one extension, so that one is meant (Q17).
        (
            APP,
            only("LLM_REQUEST"),
            request(json!({"requestId": "r4", "target": null})),
            forwarded("Request received."),
        ),
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

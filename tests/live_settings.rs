//! Settings while the broker runs: whoever changes a file, with an editor or another program, finds it in force
//! at once, for live sockets as well (spec §2.1, §2.2, §3.2, §4.3 18, Q11).

mod support;

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use support::{Broker, Frame, Opening, Peer, Program, auth, auth_with_key, key};

const NOT_TRUSTED: &str = "Client is not trusted.";

fn file_of(broker: &Broker, client: &str) -> PathBuf {
    broker.data().join(format!("settings/{client}-settings.json"))
}

fn write(broker: &Broker, client: &str, file: &Value) {
    fs::write(file_of(broker, client), file.to_string()).unwrap();
}

/// The next packets are `ERROR` and the end of that namespace.
async fn expect_expulsion(peer: &mut Peer, ns: &str, message: &str) {
    let (name, args) = peer.expect_event(ns).await;
    assert_eq!((name, args), (json!(21), vec![json!({"type": 21, "message": message})]));
    peer.expect_text(&format!("41{ns},")).await;
}

async fn is_rejected(broker: &Broker, client: &str) {
    let mut peer = Peer::connect_ws(broker).await;
    peer.send_text(&format!("40/llm,{}", auth(client))).await;
    assert_eq!(peer.expect_rejection("/llm").await["message"], NOT_TRUSTED);
}

/// Asks again and again until the answer is what a file made it.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    support::within(what, async { while !is_so().await {} }).await;
}

async fn joins(broker: &Broker, client: &str) -> bool {
    let mut peer = Peer::connect_ws(broker).await;
    peer.join("/llm", auth(client)).await;
    peer.is_in("/llm").await
}

#[tokio::test]
async fn a_file_that_is_added_is_enough() {
    let broker = Broker::start(|_| ());
    is_rejected(&broker, "late").await;
    write(&broker, "late", &json!({"clientId": "late", "isTrust": true}));
    until("the file to be noticed", || joins(&broker, "late")).await;
}

#[tokio::test]
async fn live_sockets_of_a_client_that_is_not_trusted_any_more_are_told_and_end() {
    let broker = Broker::start(|_| ());
    let mut other = Peer::connect_ws(&broker).await;
    other.join("/llm", auth("app-b")).await;
    for (client, remove) in [("app-a", false), ("SillyTavern-8000", false), ("monitor", true)] {
        let mut peer = Peer::connect_ws(&broker).await;
        peer.join("/llm", auth(client)).await;
        if remove {
            fs::remove_file(file_of(&broker, client)).unwrap();
        } else {
            write(&broker, client, &json!({"clientId": client, "isTrust": false}));
        }
        expect_expulsion(&mut peer, "/llm", NOT_TRUSTED).await;
        // Its session lives, and what it says to that namespace is nobody's (spec §3.2 c).
        peer.emit("/llm", json!(9), &[json!({"target": "SillyTavern-8000"})]).await;
        peer.expect_nothing().await;
        is_rejected(&broker, client).await;
    }
    other.expect_nothing().await;
    // All of its namespaces, in every session, over polling as well.
    let mut polling = Peer::open_polling(&broker).await;
    polling.join("/rooms", auth("app-b")).await;
    other.join("/clients", auth("app-b")).await;
    fs::remove_file(file_of(&broker, "app-b")).unwrap();
    expect_expulsion(&mut polling, "/rooms", NOT_TRUSTED).await;
    for ns in ["/llm", "/clients"] {
        expect_expulsion(&mut other, ns, NOT_TRUSTED).await;
    }
    broker.until_metric_is("newage_sockets", 0).await;
}

/// The two would share a room, and each would read what the other asks.
#[tokio::test]
async fn an_instance_under_the_name_of_a_client_that_is_added_gives_it_back() {
    let broker = Broker::start(|_| ());
    let instance = json!({"clientId": "app-a", "identity": "app-a-late", "dialect": 2});
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", instance.clone()).await;
    let asked = json!({"requestId": "r", "target": "SillyTavern-8000", "message": "secret"});
    peer.emit_with_ack("/llm", json!("LLM_REQUEST"), asked).await;
    write(&broker, "app-a-late", &json!({"clientId": "app-a-late", "isTrust": true}));
    let told = "42/llm,[\"ERROR\",{\"type\":\"ERROR\",\"message\":\"Unauthorized\"}]";
    peer.wait_for(told, |packet| packet == told).await;
    peer.wait_for("the end", |packet| packet == "41/llm,").await;
    // Whoever has the name now has nothing of what was asked under it.
    let mut late = Peer::connect_ws(&broker).await;
    late.join("/llm", json!({"clientId": "app-a-late", "dialect": 2})).await;
    let whole = json!({"roomName": "app-a-late"});
    // The room of before may still be on its way out.
    while late.emit_with_ack("/llm", json!("GET_FULL_CONTEXT"), whole.clone()).await["status"] != "ok" {}
    let page = late.wait_for("a page", |packet| packet.contains("UPDATE_CONTEXT_PAGE")).await;
    assert!(page.contains("\"contextPage\":[]"), "{page}");
    // It comes back under its client's own.
    peer.join("/llm", instance).await;
    assert!(peer.is_in("/llm").await);
}

#[tokio::test]
async fn an_extension_that_is_expelled_fails_its_requests() {
    let broker = Broker::setup().settings(json!({"reconnectAttempts": 0})).start(|_| ());
    let mut extension = Peer::connect_ws(&broker).await;
    extension.join("/llm", auth("SillyTavern-8000")).await;
    let mut client = Peer::connect_ws(&broker).await;
    client.join("/llm", auth("app-a")).await;
    let request = json!({"target": "SillyTavern-8000", "requestId": "r1", "message": "hi"});
    assert_eq!(client.emit_with_ack("/llm", json!(9), request).await["status"], "ok");
    extension.expect_prefix("42/llm,[9,").await;
    write(&broker, "SillyTavern-8000", &json!({"clientId": "SillyTavern-8000", "isTrust": false}));
    expect_expulsion(&mut extension, "/llm", NOT_TRUSTED).await;
    let (name, args) = client.expect_event("/llm").await;
    assert_eq!((name, &args[0]["requestId"]), (json!(21), &json!("r1")));
}

#[tokio::test]
async fn administration_rights_are_given_and_taken_while_connected() {
    let broker = Broker::start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/clients", auth("app-a")).await;
    assert_eq!(peer.emit_with_ack("/clients", json!(29), json!({})).await["message"], "Unauthorized");

    write(&broker, "app-a", &json!({"clientId": "app-a", "isTrust": true, "role": "admin"}));
    let wait =
        async { while peer.emit_with_ack("/clients", json!(29), json!({})).await["status"] != "ok" {} };
    support::within("the rights", wait).await;
    peer.join("/debug", auth("app-a")).await;

    write(&broker, "app-a", &json!({"clientId": "app-a", "isTrust": true}));
    expect_expulsion(&mut peer, "/debug", "Unauthorized").await;
    let wait =
        async { while peer.emit_with_ack("/clients", json!(29), json!({})).await["status"] == "ok" {} };
    support::within("the rights to go", wait).await;
}

#[tokio::test]
async fn a_key_that_is_removed_ends_sockets_where_keys_count() {
    for network_safe in [true, false] {
        let broker = Broker::setup().settings(json!({"networkSafe": network_safe})).start(|_| ());
        let mut admin = Peer::connect_ws(&broker).await;
        admin.join("/clients", auth_with_key("monitor", &key("monitor"))).await;
        let mut peer = Peer::connect_ws(&broker).await;
        peer.join("/llm", auth_with_key("app-a", &key("app-a"))).await;
        // From elsewhere a key is needed in any case.
        let afar = Opening::new().header("x-forwarded-for", "192.0.2.1");
        let mut remote = afar.ws(&broker).await.unwrap();
        remote.join("/llm", auth_with_key("app-a", &key("app-a"))).await;
        let ack = admin.emit_with_ack("/clients", json!(18), json!({"targetClientId": "app-a"})).await;
        assert_eq!(ack, json!({"status": "ok"}));
        remote.expect_text("41/llm,").await;
        if network_safe {
            peer.expect_nothing().await;
            peer.join("/rooms", auth("app-a")).await;
        } else {
            peer.expect_text("41/llm,").await;
            peer.send_text(&format!("40/llm,{}", auth_with_key("app-a", &key("app-a")))).await;
            assert_eq!(peer.expect_rejection("/llm").await["message"], "Invalid key.");
        }
    }
}

#[tokio::test]
async fn a_key_that_is_removed_ends_sockets_though_whoever_removed_it_has_left() {
    let broker = Broker::setup().settings(json!({"networkSafe": false})).start(|_| ());
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", auth_with_key("app-a", &key("app-a"))).await;
    let mut admin = Peer::connect_ws(&broker).await;
    admin.join("/clients", auth_with_key("monitor", &key("monitor"))).await;
    admin.emit("/clients", json!(18), &[json!({"targetClientId": "app-a"})]).await;
    admin.vanish().await;
    peer.expect_text("41/llm,").await;
}

#[tokio::test]
async fn network_safe_counts_for_new_connections_only() {
    let program = Program::start(Broker::setup(), &[], &[("NEWAGE_LOG", "debug")]);
    let broker = program.broker();
    let mut early = Peer::connect_ws(broker).await;
    early.join("/llm", auth_with_key("app-a", "wrong")).await;
    fs::write(broker.data().join("settings/server_settings.json"), r#"{"networkSafe":false}"#).unwrap();
    let refused = || async {
        let mut late = Peer::connect_ws(broker).await;
        late.join("/llm", auth_with_key("app-a", "wrong")).await;
        !late.is_in("/llm").await
    };
    until("keys to count", refused).await;
    early.expect_nothing().await;
    assert!(early.is_in("/llm").await);
}

#[tokio::test]
async fn a_broken_file_is_named_left_alone_and_its_last_good_version_stays() {
    let program = Program::start(Broker::setup().settings(json!({"networkSafe": false})), &[], &[]);
    let broker = program.broker();
    let mut peer = Peer::connect_ws(broker).await;
    peer.join("/llm", auth_with_key("app-a", &key("app-a"))).await;
    let settings = broker.data().join("settings/server_settings.json");
    let client = file_of(broker, "app-a");
    let broken = [
        (&settings, "{\n  \"networkSafe\": true,\n}\n", "trailing comma at line 3 column 1"),
        (&client, "{\n  \"clientId\": \"app-a\"\n  \"isTrust\": false }\n", "at line 3 column 3"),
    ];
    for (file, text, problem) in broken {
        fs::write(file, text).unwrap();
        program.until_log(problem).await;
        let log = program.log();
        let line = log.lines().find(|line| line.contains(problem)).unwrap();
        assert!(line.contains(file.file_name().unwrap().to_str().unwrap()), "{line}");
    }
    // Keys still count, the client is still trusted, and others are noticed.
    peer.expect_nothing().await;
    let mut late = Peer::connect_ws(broker).await;
    late.join("/llm", auth_with_key("app-a", &key("app-a"))).await;
    late.send_text(&format!("40/rooms,{}", auth_with_key("app-a", "wrong"))).await;
    assert_eq!(late.expect_rejection("/rooms").await["message"], "Invalid key.");
    fs::remove_file(file_of(broker, "app-b")).unwrap();
    until("the other file to be noticed", || async {
        let mut other = Peer::connect_ws(broker).await;
        other.join("/llm", auth_with_key("app-b", &key("app-b"))).await;
        !other.is_in("/llm").await
    })
    .await;
    for (file, text, _) in broken {
        assert_eq!(fs::read_to_string(file).unwrap(), text, "byte for byte");
    }

    // Repaired, they are in force.
    fs::write(&client, r#"{"clientId":"app-a","isTrust":false}"#).unwrap();
    expect_expulsion(&mut peer, "/llm", NOT_TRUSTED).await;
    fs::write(&settings, r#"{"networkSafe":true}"#).unwrap();
    program.until_log("settings file in use again file=server_settings.json").await;
    let mut keyless = Peer::connect_ws(broker).await;
    keyless.join("/llm", auth("SillyTavern-8000")).await;
    assert!(keyless.is_in("/llm").await);
}

#[tokio::test]
async fn keys_that_another_program_writes_count_and_a_broken_key_file_changes_nothing() {
    let program = Program::start(Broker::setup().settings(json!({"networkSafe": false})), &[], &[]);
    let broker = program.broker();
    let file = broker.data().join("keys/clients.json");
    let good = fs::read_to_string(&file).unwrap();
    let mut peer = Peer::connect_ws(broker).await;
    peer.join("/llm", auth_with_key("app-a", &key("app-a"))).await;
    fs::write(&file, "{\n  broken").unwrap();
    program.until_log("at line 2 column 3").await;
    peer.expect_nothing().await;
    peer.join("/rooms", auth_with_key("app-a", &key("app-a"))).await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\n  broken");

    let mut records: Value = serde_json::from_str(&good).unwrap();
    records["app-b"]["key"] = bcrypt::hash("another", 4).unwrap().into();
    records.as_object_mut().unwrap().remove("app-a");
    fs::write(&file, records.to_string()).unwrap();
    let mut ended = [peer.next().await, peer.next().await];
    ended.sort_by_key(|frame| format!("{frame:?}"));
    assert_eq!(ended, ["41/llm,", "41/rooms,"].map(|text| Frame::Text(text.to_owned())));
    let mut other = Peer::connect_ws(broker).await;
    other.join("/llm", auth_with_key("app-b", "another")).await;
    assert!(other.is_in("/llm").await);
}

#[tokio::test]
async fn what_an_extension_saves_is_in_force_and_a_broken_file_is_not_overwritten() {
    let broker = Broker::setup().settings(json!({"mine": [1.50]})).start(|_| ());
    let path = broker.data().join("settings/server_settings.json");
    let mut extension = Peer::connect_ws(&broker).await;
    extension.join("/sillytavern", auth("SillyTavern-8000")).await;
    let saved = extension.emit_with_ack("/sillytavern", json!(12), json!({"networkSafe": false})).await;
    assert_eq!(saved["status"], "ok", "{saved}");
    assert_eq!(
        serde_json::from_str::<Value>(&fs::read_to_string(&path).unwrap()).unwrap(),
        json!({"mine": [1.5], "networkSafe": false})
    );
    let mut late = Peer::connect_ws(&broker).await;
    late.join("/llm", auth_with_key("app-a", "wrong")).await;
    assert!(!late.is_in("/llm").await, "at once");
    assert!(extension.is_in("/sillytavern").await, "for new connections only");

    let refused = extension.emit_with_ack("/sillytavern", json!(12), json!({"networkSafe": "true"})).await;
    assert_eq!(refused["message"], "networkSafe has no usable value.", "{refused}");

    fs::write(&path, "{,").unwrap();
    let refused = extension.emit_with_ack("/sillytavern", json!(12), json!({"networkSafe": true})).await;
    assert_eq!(refused["message"], "Existing file is not valid JSON.", "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{,");
}

/// A backup that is put back, another branch that is checked out: the folder is not the one that was watched.
#[cfg(unix)]
#[tokio::test]
async fn folders_that_take_the_place_of_settings_and_keys_count() {
    let broker = Broker::setup().settings(json!({"networkSafe": false})).start(|_| ());
    let [mut first, mut second] = [Peer::connect_ws(&broker).await, Peer::connect_ws(&broker).await];
    first.join("/llm", auth_with_key("app-a", &key("app-a"))).await;
    second.join("/llm", auth_with_key("app-b", &key("app-b"))).await;
    for name in ["settings", "keys"] {
        let [folder, copy, old] = ["", ".copy", ".old"].map(|end| broker.data().join(format!("{name}{end}")));
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        fs::rename(&folder, &old).unwrap();
        fs::rename(&copy, &folder).unwrap();
    }
    write(&broker, "app-a", &json!({"clientId": "app-a", "isTrust": false}));
    expect_expulsion(&mut first, "/llm", NOT_TRUSTED).await;
    let file = broker.data().join("keys/clients.json");
    let mut records: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    records.as_object_mut().unwrap().remove("app-b");
    fs::write(&file, records.to_string()).unwrap();
    second.expect_text("41/llm,").await;
}

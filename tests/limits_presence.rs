//! Who has left and may come back: the bound on how many are waited for, and how long.

mod support;

use serde_json::{Value, json};
use support::{Broker, Peer, auth};

/// A client that joins `/llm` under an identity, and leaves.
async fn comes_and_goes(broker: &Broker, client: &str, identity: &str) {
    let before = broker.metric("newage_sockets");
    let mut peer = Peer::connect_ws(broker).await;
    let mut auth = auth(client);
    auth["identity"] = format!("{client}-{identity}").into();
    peer.join("/llm", auth).await;
    broker.until_metric_is("newage_sockets", before + 1).await;
    peer.send_text("1").await;
    broker.until_metric_is("newage_sockets", before).await;
}

async fn extension(broker: &Broker) -> Peer {
    let mut extension = Peer::connect_ws(broker).await;
    extension.join("/sillytavern", auth("SillyTavern-8000")).await;
    extension
}

async fn expect_given_up(extension: &mut Peer, client: &str) {
    let (name, args) = extension.expect_event("/sillytavern").await;
    let message = format!("Client {client} disconnected and failed to reconnect. Room deleted.");
    assert_eq!((name, &args[0]["message"]), (json!(21), &Value::from(message)));
}

#[tokio::test]
async fn max_away() {
    let broker = Broker::start(|config| config.limits.max_away = 2);
    let mut extension = extension(&broker).await;
    comes_and_goes(&broker, "app-b", "one").await;
    comes_and_goes(&broker, "app-a", "one").await;
    // One who comes and goes under ever new names takes its own places.
    for identity in ["two", "three", "four"] {
        comes_and_goes(&broker, "app-a", identity).await;
    }
    extension.expect_nothing().await;
    assert_eq!(broker.limit_reached("limits.max_away"), 3);
    // Whoever comes back makes room; without, the one that left first is given up before its grace is over.
    comes_and_goes(&broker, "app-b", "one").await;
    extension.expect_nothing().await;
    assert_eq!(broker.limit_reached("limits.max_away"), 3);
    comes_and_goes(&broker, "monitor", "one").await;
    expect_given_up(&mut extension, "app-a").await;
    assert_eq!(broker.limit_reached("limits.max_away"), 4);
}

#[tokio::test]
async fn the_grace_is_what_the_settings_file_says_now() {
    let hours = json!({"reconnectAttempts": 1000, "reconnectDelay": 3_600_000});
    let broker = Broker::setup().settings(hours).start(|_| ());
    let mut extension = extension(&broker).await;
    let mut other = Peer::connect_ws(&broker).await;
    other.join("/llm", auth("SillyTavern-8001")).await;
    let mut client = Peer::connect_ws(&broker).await;
    client.join("/llm", auth("app-b")).await;
    let request = json!({"requestId": "r", "target": "SillyTavern-8001", "message": "x"});
    client.emit_with_ack("/llm", json!(9), request).await;
    comes_and_goes(&broker, "app-a", "one").await;
    other.send_text("1").await;
    broker.until_metric_is("newage_sockets", 2).await;
    extension.expect_nothing().await;
    client.expect_nothing().await;

    let millis = json!({"reconnectAttempts": 1, "reconnectDelay": 10}).to_string();
    std::fs::write(broker.data().join("settings/server_settings.json"), millis).unwrap();
    expect_given_up(&mut extension, "app-a").await;
    let (name, args) = client.expect_event("/llm").await;
    assert_eq!(
        (name, &args[0]["message"]),
        (json!(21), &json!("Target client disconnected: SillyTavern-8001"))
    );
}

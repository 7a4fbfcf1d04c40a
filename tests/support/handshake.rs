//! What the tests of handshakes share.

use newage_broker::config::Config;
use serde_json::{Value, json};

use super::{Broker, Peer, auth};

/// Every namespace that a trusted client may join.
pub const NAMESPACES: [&str; 7] =
    ["/", "/auth", "/clients", "/llm", "/rooms", "/sillytavern", "/function_call"];

/// A broker that asks for keys.
pub fn unsafe_broker(change: impl FnOnce(&mut Config)) -> Broker {
    Broker::setup().settings(json!({"networkSafe": false})).password("app-a", "pass-a").start(change)
}

/// The payload of an `ERROR`.
pub fn error(message: &str) -> Value {
    json!({"type": 21, "message": message})
}

/// The CONNECT is answered and nothing else comes.
pub async fn joins(peer: &mut Peer, ns: &str, auth: Value) {
    peer.join(ns, auth).await;
    peer.expect_nothing().await;
}

/// What stands before the payload of a packet.
pub fn prefix(ns: &str) -> String {
    if ns == "/" { String::new() } else { format!("{ns},") }
}

/// A peer that has joined `/llm`.
pub async fn joined(broker: &Broker) -> Peer {
    let mut peer = Peer::connect_ws(broker).await;
    peer.join("/llm", auth("app-a")).await;
    peer
}

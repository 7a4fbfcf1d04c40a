//! Who may ask what, row by row: each row is asked under its names, and a refusal again without an ack.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file compiles this for itself and uses a part of it"
)]

use std::collections::BTreeMap;

use newage_broker::config::Config;
use serde_json::{Value, json};

use crate::support::{Broker, Peer, Setup};

pub const EXTENSION: &str = "SillyTavern-8000";
pub const OTHER: &str = "SillyTavern-8001";
pub const ADMIN: &str = "monitor";
pub const APP: &str = "app-a";

/// Who asks, under which names, with which arguments, and the ack.
pub type Row = (&'static str, Vec<Value>, Vec<Value>, Value);

/// A broker, and one peer for each way of asking.
pub struct Stage {
    pub broker: Broker,
    peers: BTreeMap<(String, String, &'static str), Peer>,
}

/// The number of dialect 1 and the name of dialect 2.
pub fn both(number: u32, name: &str) -> Vec<Value> {
    vec![json!(number), json!(name)]
}

pub fn only(name: impl Into<Value>) -> Vec<Value> {
    vec![name.into()]
}

pub fn ok() -> Value {
    json!({"status": "ok"})
}

pub fn refused(message: &str) -> Value {
    json!({"status": "error", "message": message})
}

pub fn unauthorized() -> Value {
    refused("Unauthorized")
}

/// How a socket that uses this name speaks. A literal betrays no dialect: that socket declares the first.
pub fn spoken(name: &Value) -> &'static str {
    match name.as_str() {
        None => "number",
        Some(name) if name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') => "name",
        Some(_) => "literal",
    }
}

/// Whether an ack has that shape: `<key>` stands for any key in plain, all else for itself.
pub fn fits(shape: &Value, ack: &Value) -> bool {
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
    pub fn of(setup: Setup, change: impl FnOnce(&mut Config)) -> Self {
        Self { broker: setup.start(change), peers: BTreeMap::new() }
    }

    pub fn new() -> Self {
        Self::of(Broker::setup(), |_| ())
    }

    pub async fn peer(&mut self, who: &str, ns: &str, spoken: &'static str) -> &mut Peer {
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

    pub async fn ask(&mut self, who: &str, ns: &str, name: &Value, args: &[Value]) -> Value {
        self.peer(who, ns, spoken(name)).await.ack_of(ns, name.clone(), args).await
    }

    pub async fn rows(&mut self, ns: &str, rows: impl IntoIterator<Item = Row>) {
        for (who, names, args, shape) in rows {
            for name in names {
                let row = format!("{who} {ns} {name} {}", json!(args));
                let ack = self.ask(who, ns, &name, &args).await;
                assert!(fits(&shape, &ack), "{row}:\n  wanted {shape}\n  got    {ack}");
                let message = ack.get("message").or_else(|| ack.get("error")?.get("message"));
                if let Some(message) = message.filter(|_| ack["status"] == "error" || ack["success"] == false)
                {
                    if name == "LLM_REQUEST" {
                        // In a room a failure is an ERROR beside the ack, too (spec §4.9.4).
                        self.expect_error(who, ns, &name, &args, message).await;
                    }
                    self.peer(who, ns, spoken(&name)).await.emit(ns, name.clone(), &args).await;
                    self.expect_error(who, ns, &name, &args, message).await;
                }
            }
        }
    }

    /// The failure of something that asked for no ack: an `ERROR` with the same message, under the name of
    /// the dialect.
    pub async fn expect_error(&mut self, who: &str, ns: &str, name: &Value, args: &[Value], message: &Value) {
        let error = if name.is_number() || spoken(name) == "literal" { json!(21) } else { json!("ERROR") };
        let mut payload = json!({"type": error, "message": message});
        if let Some(id) =
            args.first().and_then(|payload| payload.get("requestId")).filter(|id| id.is_string())
        {
            payload["requestId"] = id.clone();
        }
        let peer = self.peer(who, ns, spoken(name)).await;
        let prefix = if ns == "/" { String::new() } else { format!("{ns},") };
        let head = format!("42{prefix}[{error},");
        let packet = peer.wait_for(&format!("{head}… for {name}"), |packet| packet.starts_with(&head)).await;
        let event: Value = serde_json::from_str(&packet[2 + prefix.len()..]).expect("an event");
        assert_eq!(event, json!([error, payload]), "{who} {ns} {name} without an ack");
    }
}

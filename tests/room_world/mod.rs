//! A room and everybody around it, in dialect 2, each with `/rooms` and `/llm`: what one of them asks, its
//! ack, and exactly who is told what.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file compiles this for itself and uses a part of it"
)]

use std::collections::BTreeMap;

use newage_broker::config::Config;
use serde_json::{Map, Value, json};

use crate::support::{Broker, Peer, Setup};

pub const ROOMS: &str = "/rooms";
pub const LLM: &str = "/llm";
pub const ADMIN: &str = "monitor";
pub const EXTENSION: &str = "SillyTavern-8000";
pub const SECOND: &str = "SillyTavern-8001";

/// See the module's documentation.
pub struct World {
    pub broker: Broker,
    pub peers: BTreeMap<String, Peer>,
}

/// The handshake of a client that speaks dialect 2.
pub fn named(client: &str) -> Value {
    json!({"clientId": client, "clientType": "test", "dialect": 2})
}

pub fn ok() -> Value {
    json!({"status": "ok"})
}

pub fn received() -> Value {
    json!({"status": "ok", "message": "Request received."})
}

pub fn refused(message: &str) -> Value {
    json!({"status": "error", "message": message})
}

impl World {
    /// A broker where the room "tea" was made by the administrator, and nobody else is.
    pub async fn new() -> Self {
        Self::of(Broker::setup(), |_| ()).await
    }

    pub async fn of(setup: Setup, change: impl FnOnce(&mut Config)) -> Self {
        Self::on(setup.start(change)).await
    }

    pub async fn on(broker: Broker) -> Self {
        let mut world = Self { broker, peers: BTreeMap::new() };
        world.comes(ADMIN).await;
        world.does(ADMIN, "CREATE_ROOM", json!({"roomName": "tea"})).await;
        world
    }

    /// "tea" with its master, a manager, a guest, and an extension.
    pub async fn full(setup: Setup) -> Self {
        Self::full_of(setup, |_| ()).await
    }

    pub async fn full_of(setup: Setup, change: impl FnOnce(&mut Config)) -> Self {
        let setup = setup.client(json!({"clientId": "app-c", "isTrust": true}));
        let mut world = Self::of(setup, change).await;
        world.extension(EXTENSION).await;
        for (who, role) in [("app-a", "master"), ("app-b", "manager"), ("frontendExample", "guest")] {
            world.comes(who).await;
            world
                .does(ADMIN, "ADD_CLIENT_TO_ROOM", json!({"identity": who, "roomName": "tea", "role": role}))
                .await;
        }
        world.does(ADMIN, "REMOVE_CLIENT_FROM_ROOM", json!({"roomName": "tea", "identity": ADMIN})).await;
        world.does("app-a", "CLEAR_MESSAGES", json!({"roomName": "tea"})).await;
        world.quiet().await;
        world
    }

    /// Somebody connects; where there is an extension, it learns of it.
    pub async fn comes(&mut self, who: &str) {
        self.comes_with(who, named(who)).await;
    }

    pub async fn comes_with(&mut self, who: &str, handshake: Value) {
        let mut peer = Peer::connect_ws(&self.broker).await;
        peer.join(ROOMS, handshake.clone()).await;
        peer.join(LLM, handshake).await;
        self.peers.insert(who.to_owned(), peer);
    }

    /// An extension connects, and everybody learns of it.
    pub async fn extension(&mut self, id: &str) {
        let mut peer = Peer::connect_ws(&self.broker).await;
        peer.join(LLM, named(id)).await;
        self.peers.insert(id.to_owned(), peer);
        loop {
            let list = self.ask(ADMIN, "GET_CONNECTED_EXTENSIONS", json!({})).await;
            if list["extensions"].as_array().is_some_and(|ids| ids.contains(&json!(id))) {
                return;
            }
        }
    }

    pub fn peer(&mut self, who: &str) -> &mut Peer {
        self.peers.get_mut(who).unwrap_or_else(|| panic!("{who} is not there"))
    }

    /// Asks in the namespace of the event, and waits for the ack.
    pub async fn ask(&mut self, who: &str, event: &str, payload: Value) -> Value {
        self.peer(who).ack_of(place(event), json!(event), &[payload]).await
    }

    pub async fn does(&mut self, who: &str, event: &str, payload: Value) {
        assert_eq!(self.ask(who, event, payload.clone()).await["status"], "ok", "{who} {event} {payload}");
    }

    /// Forgets what was told so far: of what was acked, that is all.
    pub async fn quiet(&mut self) {
        self.heard().await;
    }

    /// What each was told since the last time; ids and times are shown as `<id>` and `<time>`.
    pub async fn heard(&mut self) -> Value {
        let mut all = Map::new();
        for (who, peer) in &mut self.peers {
            let mut heard = Vec::new();
            for (ns, name, payload) in peer.heard().await {
                // Assignments, and the history that follows a joining, have tests of their own; they come by other
                // ways.
                let elsewhere = ["AVAILABLE_EXTENSIONS", "UPDATE_CONTEXT_PAGE", "UPDATE_CONTEXT"];
                if !elsewhere.iter().any(|other| name == *other) {
                    heard.push(json!([ns, name, plain(&payload)]));
                }
            }
            if !heard.is_empty() {
                all.insert(who.clone(), heard.into());
            }
        }
        all.into()
    }

    /// One row: who asks what, the ack, and who is told what by it.
    pub async fn row(&mut self, who: &str, event: &str, payload: Value, ack: Value, told: Value) {
        let row = format!("{who} {event} {payload}");
        let got = self.ask(who, event, payload).await;
        assert_eq!(plain(&got), ack, "{row}: the ack");
        let heard = self.heard().await;
        assert_eq!(heard, told, "{row}: who is told\n  got    {heard}\n  wanted {told}");
    }

    /// A row whose failure is an `ERROR`, too, when no ack was asked for; nobody else learns of it.
    pub async fn refuses(&mut self, who: &str, event: &str, payload: Value, message: &str) {
        self.row(who, event, payload.clone(), refused(message), json!({})).await;
        self.peer(who).emit(place(event), json!(event), std::slice::from_ref(&payload)).await;
        let ask = format!("{who} {event} {payload} without an ack");
        let head = format!("42{},[\"ERROR\",", place(event));
        let packet = self.peer(who).wait_for(&ask, |packet| packet.starts_with(&head)).await;
        let error: Value = serde_json::from_str(&packet[head.len()..packet.len() - 1]).expect("JSON");
        assert_eq!(error, json!({"type": "ERROR", "message": message}), "{ask}");
    }
}

impl World {
    /// A whole answer, not streamed; everybody has it then, and the room has kept it.
    pub async fn answers(&mut self, extension: &str, request: &str, output: &str, text: &str) {
        let payload =
            json!({"type": 0, "data": text, "source": "client", "requestId": request, "outputId": output});
        self.peer(extension).emit(LLM, json!("message"), &[payload]).await;
        self.settle(extension).await;
    }

    /// The next page of the history that an ack has promised.
    pub async fn page(&mut self, who: &str, ack: &Value) -> Value {
        let update = ack["updateId"].clone();
        self.peer(who).page("a page", |page| page["updateId"] == update).await
    }

    /// What somebody has sent has been dealt with, by every room that they are in.
    pub async fn settle(&mut self, who: &str) {
        self.peer(who).barrier().await;
        let list = self.ask(ADMIN, "GET_ROOMS", json!({})).await;
        for room in list["rooms"].as_array().expect("rooms") {
            self.does(ADMIN, "GET_CLIENTS_IN_ROOM", json!({"roomName": room})).await;
        }
    }

    /// A request that is refused: by an ack and an `ERROR`, or by an `ERROR` alone; nobody else learns of it.
    pub async fn refuses_chat(&mut self, who: &str, payload: Value, message: &str) {
        let mut error = json!({"type": "ERROR", "message": message});
        if let Some(id) = payload["requestId"].as_str() {
            error["requestId"] = json!(id);
        }
        let told = json!({who: [[LLM, "ERROR", error]]});
        self.row(who, "LLM_REQUEST", payload.clone(), refused(message), told).await;
        self.peer(who).emit(LLM, json!("LLM_REQUEST"), std::slice::from_ref(&payload)).await;
        let packet =
            self.peer(who).wait_for("an ERROR", |packet| packet.starts_with("42/llm,[\"ERROR\"")).await;
        let event: Value = serde_json::from_str(&packet["42/llm,".len()..]).expect("JSON");
        assert_eq!(event[1], error, "{who} {payload} without an ack");
    }
}

impl Peer {
    /// The next `UPDATE_CONTEXT_PAGE` that is wanted.
    pub async fn page(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        const HEAD: &str = "42/llm,[\"UPDATE_CONTEXT_PAGE\",";
        let read = |packet: &str| -> Option<Value> {
            serde_json::from_str(packet.strip_prefix(HEAD)?.strip_suffix(']')?).ok()
        };
        let packet = self.wait_for(what, |packet| read(packet).is_some_and(|page| wanted(&page))).await;
        read(&packet).expect("a page")
    }
}

/// A payload about "tea", with more fields.
pub fn tea(more: Value) -> Value {
    let mut payload = json!({"roomName": "tea"});
    for (name, value) in more.as_object().expect("fields") {
        payload[name] = value.clone();
    }
    payload
}

/// A request as the room records it: the payload, and who and when.
pub fn asked(who: &str, payload: &Value) -> Value {
    let mut message = payload.clone();
    for (name, value) in [
        ("clientId", json!(who)),
        ("source", json!(who)),
        ("messageId", json!("<id>")),
        ("identity", json!(who)),
        ("timestamp", json!("<time>")),
        ("fromClient", json!(true)),
    ] {
        message[name] = value;
    }
    message
}

/// An answer as the room records it.
pub fn response(request: &str, output: &str, who: &str, text: &str) -> Value {
    json!({
        "messageId": "<id>", "responseId": "<id>", "requestId": request, "outputId": output, "identity": who,
        "data": text, "message": text, "timestamp": "<time>", "isResponse": true, "fromLlm": true,
    })
}

/// `NEW_MESSAGE` in "tea".
pub fn new_message(message: &Value) -> Value {
    json!([LLM, "NEW_MESSAGE", {"roomName": "tea", "message": message}])
}

/// The members of [`World::full`] hear the same.
pub fn everybody(events: &[Value]) -> Value {
    json!({"app-a": events, "app-b": events, "frontendExample": events})
}

/// `REQUEST_STATUS_UPDATE`
pub fn status_update(mode: &str, request: &str, status: &str) -> Value {
    json!([LLM, "REQUEST_STATUS_UPDATE", {
        "mode": mode, "roomName": "tea", "requestId": request, "responseId": "<id>", "status": status,
    }])
}

/// Where an event is asked.
fn place(event: &str) -> &'static str {
    const CHAT: [&str; 10] = [
        "LLM_REQUEST",
        "EDIT_MESSAGE",
        "DELETE_MESSAGE",
        "CLEAR_MESSAGES",
        "GET_FULL_CONTEXT",
        "GET_OFFLINE_MESSAGES",
        "START_TYPING",
        "STOP_TYPING",
        "START_PROCESSING",
        "STOP_PROCESSING",
    ];
    if CHAT.contains(&event) { LLM } else { ROOMS }
}

/// The value with `<id>` for every UUID and `<time>` for every time but the end of all times.
pub fn plain(value: &Value) -> Value {
    match value {
        Value::String(text) if is_uuid(text) => json!("<id>"),
        Value::String(text) if text.len() == 24 && text.ends_with('Z') && !text.starts_with("9999") => {
            json!("<time>")
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        other => other.clone(),
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

/// A notice of the room itself, as everybody in it hears it.
pub fn note(room: &str, text: &str) -> Value {
    json!([LLM, "NEW_MESSAGE", {"roomName": room, "message": {
        "messageId": "<id>", "identity": "System", "role": "system", "data": text, "timestamp": "<time>",
        "isSystem": true, "fromClient": false,
    }}])
}

/// `MEMBER_STATUS_UPDATE`
pub fn status(room: &str, who: &str, status: &str) -> Value {
    json!([LLM, "MEMBER_STATUS_UPDATE", {
        "identity": who, "roomName": room, "status": status, "timestamp": "<time>",
    }])
}

/// `MEMBER_ROLE_CHANGED`, the union of the reference's two halves.
pub fn role_changed(room: &str, who: &str, role: &str) -> Value {
    json!([ROOMS, "MEMBER_ROLE_CHANGED", {
        "clientId": who, "identity": who, "roomName": room, "role": role, "targetIdentity": who,
        "newRole": role,
    }])
}

pub fn joined(room: &str, who: &str, role: &str) -> Value {
    json!([ROOMS, "MEMBER_JOINED", {"clientId": who, "identity": who, "roomName": room, "role": role}])
}

pub fn left(room: &str, who: &str) -> Value {
    json!([ROOMS, "MEMBER_LEFT", {"clientId": who, "identity": who, "roomName": room}])
}

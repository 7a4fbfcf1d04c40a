//! Who is connected, and which request waits for whom.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::FutureExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use socketioxide::{SocketIo, extract::SocketRef};
use uuid::Uuid;

use crate::relay::{Inbound, Mark, Outbound};

pub struct Broker {
    io: SocketIo,
    /// Whether tokens are held until they are complete.
    pub hold: bool,
    state: Mutex<State>,
    messages: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The oldest first.
    extensions: Vec<Arc<Peer>>,
    open: HashMap<String, Arc<Peer>>,
}

/// A socket on `/llm`.
pub struct Peer {
    pub socket: SocketRef,
    pub id: String,
    /// Streams of an extension, by their id.
    pub inbound: Mutex<HashMap<String, Inbound>>,
    /// Streams to a client.
    pub outbound: Outbound,
    /// Requests whose answer has been streamed: the client's next one ends them.
    streamed: Mutex<Vec<String>>,
}

/// A message to a room.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    target_room: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peer {
    pub fn new(socket: SocketRef, id: String, hold: bool) -> Self {
        let outbound = Outbound::new(socket.clone(), hold);
        Self { socket, id, inbound: Mutex::default(), outbound, streamed: Mutex::default() }
    }
}

/// The room of the fan-out: whoever is on `/llm` may join by asking for it.
const ROOM: &str = "bench";

impl Broker {
    pub fn new(io: SocketIo, hold: bool) -> Self {
        Self { io, hold, state: Mutex::default(), messages: AtomicU64::new(0) }
    }

    pub fn joined(&self, peer: &Arc<Peer>) {
        if peer.id.starts_with("SillyTavern") {
            lock(&self.state).extensions.push(Arc::clone(peer));
        } else {
            peer.socket.join([peer.id.clone(), ROOM.to_owned()]);
        }
    }

    pub fn left(&self, peer: &Arc<Peer>) {
        let mut state = lock(&self.state);
        state.extensions.retain(|other| !Arc::ptr_eq(other, peer));
        state.open.retain(|_, requester| !Arc::ptr_eq(requester, peer));
    }

    pub fn extensions(&self) -> Vec<String> {
        lock(&self.state).extensions.iter().map(|peer| peer.id.clone()).collect()
    }

    /// `LLM_REQUEST`: to the newest extension of that name.
    pub fn request(&self, from: &Arc<Peer>, mut request: Map<String, Value>) -> Result<(), String> {
        let (Some(Value::String(target)), Some(Value::String(id))) =
            (request.get("target"), request.get("requestId"))
        else {
            return Err("Invalid LLM request data.".into());
        };
        let extension = {
            let mut state = lock(&self.state);
            let found = state.extensions.iter().rev().find(|peer| peer.id == *target);
            let Some(found) = found.map(Arc::clone) else {
                return Err(format!("Target client not found: {target}"));
            };
            for old in lock(&from.streamed).drain(..) {
                state.open.remove(&old);
            }
            state.open.insert(id.clone(), Arc::clone(from));
            found
        };
        request.insert("clientId".into(), from.id.clone().into());
        request.insert("source".into(), from.id.clone().into());
        extension.socket.emit("9", &request).map_err(|error| error.to_string())
    }

    /// An answer in one piece.
    pub fn message(&self, from: &Peer, mut message: Map<String, Value>) {
        if !from.id.starts_with("SillyTavern") {
            return;
        }
        let Some(Value::String(id)) = message.get("requestId") else { return };
        let Some(requester) = lock(&self.state).open.remove(id) else { return };
        message.insert("source".into(), "server".into());
        let _ = requester.socket.emit("message", &message);
    }

    pub fn stream_begins(&self, from: &Peer, mark: Mark) {
        let Some(requester) = lock(&self.state).open.get(&mark.request_id).map(Arc::clone) else { return };
        lock(&requester.streamed).push(mark.request_id.clone());
        let stream = requester.outbound.announce(&mark);
        lock(&from.inbound).insert(mark.stream_id, stream);
    }

    /// A message to everybody in a room.
    pub fn chat(&self, from: &Peer, request: Request) -> Result<(), String> {
        let mut message = request.rest;
        message.insert("targetRoom".into(), request.target_room.clone().into());
        for name in ["clientId", "source", "identity"] {
            message.insert(name.into(), from.id.clone().into());
        }
        message.insert("messageId".into(), Uuid::new_v4().to_string().into());
        let number = self.messages.fetch_add(1, Ordering::Relaxed);
        message.insert("timestamp".into(), format!("2026-01-01T00:00:{:06.3}Z", number as f64 / 1e6).into());
        message.insert("fromClient".into(), true.into());
        let told = json!({"roomName": request.target_room, "message": message});
        let room = self.io.of("/llm").ok_or("no namespace")?.to(request.target_room);
        // With the local adapter nothing is waited for.
        match room.emit("NEW_MESSAGE", &told).now_or_never() {
            Some(Ok(())) => Ok(()),
            other => Err(format!("not sent: {other:?}")),
        }
    }
}

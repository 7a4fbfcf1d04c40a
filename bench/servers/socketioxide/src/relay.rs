//! An extension's pieces, put in order, to the streams that clients read: as the library
//! `node-socketio-stream` sends them, one write for a piece, each after its `$stream-read` and after the ack
//! of the one before. A client's streams are written one after the other, in the order of their
//! announcement; so they cannot overtake each other in the client.
//!
//! With `--held` a token's pieces are gathered until its END, and leave as one write, behind which the next
//! stream's may follow at once.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::json;
use socketioxide::extract::SocketRef;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::broker::{Peer, lock};

/// `CLIENT_STREAM_START` and `CLIENT_STREAM_END`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    pub stream_id: String,
    pub output_id: String,
    pub request_id: String,
    /// How many pieces a START announces.
    num_streams: Option<u64>,
}

/// Streams of so many pieces are held.
const HELD: u64 = 5;
/// Acks that are not waited for yet.
const UNACKED: usize = 256;

/// `CLIENT_STREAM_DATA_…`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Piece {
    stream_id: String,
    chunk_index: u64,
    data: String,
}

/// A stream of an extension.
pub struct Inbound {
    next: u64,
    /// Pieces that came too early.
    waiting: BTreeMap<u64, String>,
    /// What is held.
    text: Option<String>,
    pieces: mpsc::UnboundedSender<String>,
}

/// A stream to a client.
struct Stream {
    wire: String,
    /// One `$stream-read` is kept, more count as one.
    permit: Arc<Notify>,
    pieces: mpsc::UnboundedReceiver<String>,
    /// It is one write.
    held: bool,
}

/// All streams to one client.
pub struct Outbound {
    socket: SocketRef,
    hold: bool,
    permits: Arc<Mutex<HashMap<String, Arc<Notify>>>>,
    /// Streams in the order of their announcement; the task that writes them begins with the first.
    queue: Mutex<Option<mpsc::UnboundedSender<Stream>>>,
}

impl Inbound {
    pub fn new(held: bool, pieces: mpsc::UnboundedSender<String>) -> Self {
        Self { next: 0, waiting: BTreeMap::new(), text: held.then(String::new), pieces }
    }

    fn push(&mut self, index: u64, data: String) {
        if index > self.next {
            self.waiting.insert(index, data);
        } else if index == self.next {
            self.flush(data);
            while let Some(data) = self.waiting.remove(&self.next) {
                self.flush(data);
            }
        }
    }

    fn flush(&mut self, data: String) {
        self.next += 1;
        if let Some(text) = &mut self.text {
            text.push_str(&data);
            return;
        }
        // An empty write would stop some readers for ever.
        if !data.is_empty() {
            let _ = self.pieces.send(data);
        }
    }
}

impl Peer {
    pub fn piece(&self, piece: Piece) {
        if let Some(stream) = lock(&self.inbound).get_mut(&piece.stream_id) {
            stream.push(piece.chunk_index, piece.data);
        }
    }

    /// What waits is written without what is missing. Dropping the sender ends the stream.
    pub fn stream_ends(&self, mark: &Mark) {
        if let Some(mut stream) = lock(&self.inbound).remove(&mark.stream_id) {
            for data in std::mem::take(&mut stream.waiting).into_values() {
                stream.flush(data);
            }
            if let Some(text) = stream.text.take() {
                stream.flush(text);
            }
        }
    }

    pub fn reads(&self, wire: &str) {
        if let Some(permit) = lock(&self.outbound.permits).get(wire) {
            permit.notify_one();
        }
    }

    /// The receiver's half of an end.
    pub fn ended(&self, wire: &str) {
        lock(&self.outbound.permits).remove(wire);
    }
}

impl Outbound {
    pub fn new(socket: SocketRef, hold: bool) -> Self {
        Self { socket, hold, permits: Arc::default(), queue: Mutex::default() }
    }

    pub fn announce(&self, mark: &Mark) -> Inbound {
        let held = self.hold && mark.num_streams.is_some_and(|count| count <= HELD);
        let wire = Uuid::new_v4().to_string();
        let permit = Arc::new(Notify::new());
        let (pieces, waiting) = mpsc::unbounded_channel();
        lock(&self.permits).insert(wire.clone(), Arc::clone(&permit));
        let about = json!({
            "streamId": mark.stream_id, "outputId": mark.output_id, "requestId": mark.request_id, "source": "server",
        });
        let _ = self.socket.emit("$stream", &("streamed_data", json!({"$stream": wire}), about));
        let mut queue = lock(&self.queue);
        let queue = queue.get_or_insert_with(|| {
            let (queue, streams) = mpsc::unbounded_channel();
            tokio::spawn(write(self.socket.clone(), Arc::clone(&self.permits), streams));
            queue
        });
        let _ = queue.send(Stream { wire, permit, pieces: waiting, held });
        Inbound::new(held, pieces)
    }
}

async fn write(
    socket: SocketRef,
    permits: Arc<Mutex<HashMap<String, Arc<Notify>>>>,
    mut streams: mpsc::UnboundedReceiver<Stream>,
) {
    let mut acks = VecDeque::new();
    while let Some(Stream { wire, permit, mut pieces, held }) = streams.recv().await {
        while acks.len() > if held { UNACKED } else { 0 } {
            let Some(ack) = acks.pop_front() else { break };
            let _: Result<WriteAck, _> = ack.await;
        }
        while let Some(piece) = pieces.recv().await {
            permit.notified().await;
            let write = (wire.as_str(), Bytes::from(piece), "buffer");
            let Ok(ack) = socket.emit_with_ack::<_, WriteAck>("$stream-write", &write) else { return };
            if held {
                acks.push_back(ack);
            } else if !matches!(ack.await, Ok(WriteAck { refused: None })) {
                break;
            }
        }
        lock(&permits).remove(&wire);
        let _ = socket.emit("$stream-end", &wire);
    }
}

/// The ack of a write: `[]`, or `["invalid stream id: …"]`.
struct WriteAck {
    refused: Option<String>,
}

// By hand: whoever reads a tuple is given all arguments of an ack, everybody else the first, which is missing.
impl<'de> Deserialize<'de> for WriteAck {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Arguments;

        impl<'de> Visitor<'de> for Arguments {
            type Value = WriteAck;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an ack of a write")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut arguments: A) -> Result<WriteAck, A::Error> {
                Ok(WriteAck { refused: arguments.next_element()? })
            }
        }

        deserializer.deserialize_tuple(1, Arguments)
    }
}

//! The dialect of a socket, readable by whoever emits to it (spec §1.4).

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::Relaxed},
};

use crate::protocol::{Dialect, Emit, SocketDialect};

/// A client's dialect, shared by its sockets: what the first of them spoke.
pub type ClientDialect = Arc<AtomicU8>;

const UNKNOWN: u8 = 0;
const NUMERIC: u8 = 1;
const NAMED: u8 = 2;

/// What a socket declared at its handshake, what it has spoken, and what its client's other sockets
/// have.
#[derive(Clone, Debug, Default)]
pub struct SharedDialect {
    handshake: SocketDialect,
    spoken: Arc<AtomicU8>,
    client: ClientDialect,
}

impl SharedDialect {
    /// The state at the handshake.
    pub fn new(handshake: SocketDialect) -> Self {
        Self { handshake, ..Self::default() }
    }

    /// Shares the client's dialect from here on.
    pub fn join(&mut self, client: ClientDialect) {
        self.client = client;
    }

    /// Notes that the socket spoke a dialect. The first word counts, for the socket and its client.
    pub fn spoke(&self, dialect: Dialect) {
        if self.spoken.load(Relaxed) != UNKNOWN {
            return;
        }
        let code = match dialect {
            Dialect::Numeric => NUMERIC,
            Dialect::Named => NAMED,
        };
        for place in [&self.spoken, &self.client] {
            // Somebody else was first: that counts.
            let _ = place.compare_exchange(UNKNOWN, code, Relaxed, Relaxed);
        }
    }

    /// Under which names to emit.
    pub fn emit(&self) -> Emit {
        let mut socket = self.handshake;
        socket.observe(decode(&self.spoken));
        socket.emit(decode(&self.client))
    }

    /// Whether the socket speaks dialect 2, or may do so as far as is known (spec §1.4 rule 4).
    pub fn may_be_named(&self) -> bool {
        self.emit() != Emit::One(Dialect::Numeric)
    }

    /// Whether the socket is known to speak dialect 2.
    pub fn is_named(&self) -> bool {
        self.emit() == Emit::One(Dialect::Named)
    }
}

fn decode(place: &AtomicU8) -> Option<Dialect> {
    match place.load(Relaxed) {
        NUMERIC => Some(Dialect::Numeric),
        NAMED => Some(Dialect::Named),
        _ => None,
    }
}

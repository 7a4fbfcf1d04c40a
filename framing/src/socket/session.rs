//! One session's namespaces: what it may send where, and by when it must have joined one.

use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;

use super::{Decoder, Event, Namespace, Packet};
use crate::close::CloseReason;
use crate::engine::Received;
use crate::json::RawJson;
use crate::limits::Limits;

/// What a packet asks the broker to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Decide whether the client may join, then call [`SocketSession::accepted`] or
    /// [`SocketSession::refused`].
    Connect {
        /// The namespace; it may not exist.
        ns: Namespace,
        /// The handshake's `auth`: an object, if it was given.
        auth: Option<RawJson>,
    },
    /// An event in a namespace that is joined, or is being joined: some clients do not wait
    /// for the answer to their CONNECT. Then it is the caller's to keep until the decision.
    Event {
        /// The namespace.
        ns: Namespace,
        /// The event.
        event: Event,
    },
    /// The answer to an event of ours, or to one that we never sent.
    Ack {
        /// The namespace.
        ns: Namespace,
        /// The id that our event carried.
        id: u64,
        /// The answer.
        args: Vec<RawJson>,
        /// What the placeholders of the answer stand for.
        attachments: Vec<Bytes>,
    },
    /// The client has left the namespace.
    Disconnect {
        /// The namespace.
        ns: Namespace,
    },
}

/// The Socket.IO side of one session.
///
/// ```text
///                CONNECT              accepted
///   (unknown) ────────────► Joining ────────────► Joined
///       ▲ others: close        │                    │
///       │                      │ refused, ended, client's DISCONNECT
///       │                      ▼                    ▼
///       └─ forgotten ────────  Left  ◄──────────────┘
///                               │ CONNECT: Joining again; others are ignored
/// ```
///
/// The official server closes the connection on a packet for a namespace that was left.
/// Here it is ignored: it may have been under way before the client knew (spec §3.2 c), and
/// the JavaScript client sends late acks even after it has left.
#[derive(Debug)]
pub struct SocketSession {
    decoder: Decoder,
    limits: Limits,
    /// At most `max_namespaces` joined or joining, and as many that were left; those last
    /// left at the end.
    namespaces: Vec<(Namespace, State)>,
    /// Names that are at hand, of which it needs no copy of its own.
    served: &'static [Namespace],
    /// By when a namespace must be joined. Not armed once one was, until `ended` says so.
    connect_deadline: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Joining,
    Joined,
    Left,
}

impl SocketSession {
    /// A session without namespaces, which must join one by `connect_deadline`.
    pub fn new(limits: Limits, connect_deadline: Instant) -> Self {
        Self {
            decoder: Decoder::new(limits),
            limits,
            namespaces: Vec::new(),
            served: &[],
            connect_deadline: Some(connect_deadline),
        }
    }

    /// The same, of a server that has these namespaces: all sessions share their names. Others may be asked for as
    /// before.
    pub fn serving(self, served: &'static [Namespace]) -> Self {
        Self { served, ..self }
    }

    /// Takes what the Engine.IO side received; see [`text`](Self::text) and
    /// [`binary`](Self::binary).
    ///
    /// # Errors
    ///
    /// The reason to close the session; [`CloseReason::ClientClosed`] if the client did.
    pub fn receive(&mut self, received: Received) -> Result<Option<Action>, CloseReason> {
        match received {
            Received::Nothing => Ok(None),
            Received::Message(text) => self.text(text),
            Received::Binary(data) => self.binary(data),
            Received::Closed => Err(CloseReason::ClientClosed),
        }
    }

    /// Takes a text message.
    ///
    /// `None` if there is nothing to do: the packet is not whole yet, or to be ignored. A
    /// second CONNECT to a namespace that is joined or being joined is ignored, so that it
    /// cannot authenticate twice.
    ///
    /// # Errors
    ///
    /// The reason to close the session: a packet that a client may not send, or not now, or
    /// for a namespace that it never asked for.
    pub fn text(&mut self, text: ByteString) -> Result<Option<Action>, CloseReason> {
        match self.decoder.text(text)? {
            Some(packet) => self.route(packet),
            None => Ok(None),
        }
    }

    /// Takes a binary message: the next attachment.
    ///
    /// # Errors
    ///
    /// As [`text`](Self::text).
    pub fn binary(&mut self, data: Bytes) -> Result<Option<Action>, CloseReason> {
        match self.decoder.binary(data)? {
            Some(packet) => self.route(packet),
            None => Ok(None),
        }
    }

    fn route(&mut self, packet: Packet) -> Result<Option<Action>, CloseReason> {
        let known = self.entry(packet.ns()).cloned();
        let action = match (packet, known) {
            (Packet::Connect { .. }, Some((_, State::Joining | State::Joined))) => return Ok(None),
            (Packet::Connect { ns, auth }, _) => {
                let ns = self.join(&ns)?;
                Action::Connect { ns, auth }
            }
            (packet, None) => return Err(CloseReason::NotConnected(packet.ns().detached())),
            (_, Some((_, State::Left))) => return Ok(None),
            // The name that the session keeps, not the one in the frame's buffer.
            (Packet::Event { event, .. }, Some((ns, _))) => Action::Event { ns, event },
            (Packet::Ack { id, args, attachments, .. }, Some((ns, _))) => {
                Action::Ack { ns, id, args, attachments }
            }
            (Packet::Disconnect { .. }, Some((ns, _))) => {
                self.leave(&ns);
                Action::Disconnect { ns }
            }
        };
        Ok(Some(action))
    }

    fn join(&mut self, ns: &Namespace) -> Result<Namespace, CloseReason> {
        let limit = self.limits.max_namespaces;
        if self.active().count() >= limit {
            return Err(CloseReason::TooManyNamespaces { limit });
        }
        let shared = self.served.iter().find(|served| *served == ns);
        let ns = shared.cloned().unwrap_or_else(|| ns.detached());
        self.namespaces.retain(|(known, _)| *known != ns);
        self.namespaces.push((ns.clone(), State::Joining));
        Ok(ns)
    }

    /// The namespace is joined: its CONNECT is answered. Does nothing if `ns` is not being
    /// joined any more.
    pub fn accepted(&mut self, ns: &Namespace) {
        let joining = (ns, State::Joining);
        if let Some((_, state)) = self.namespaces.iter_mut().find(|(ns, state)| (ns, *state) == joining) {
            *state = State::Joined;
            self.connect_deadline = None;
        }
    }

    /// The namespace is not joined: CONNECT_ERROR was sent. What the client still sends there
    /// is ignored until a new CONNECT. The deadline is as it was. Does nothing if `ns` is not
    /// being joined.
    pub fn refused(&mut self, ns: &Namespace) {
        if let Some((_, State::Joining)) = self.entry(ns) {
            self.leave(ns);
        }
    }

    /// The server has ended the namespace, by rejection or after a goodbye (spec §3.2 c,
    /// §3.8). Until a new CONNECT, what the client sends there is ignored. If no namespace
    /// is left, one must be joined by `connect_deadline`. Does nothing if `ns` is neither
    /// joined nor being joined.
    pub fn ended(&mut self, ns: &Namespace, connect_deadline: Instant) {
        if let Some((_, State::Joining | State::Joined)) = self.entry(ns) {
            self.leave(ns);
            if self.active().next().is_none() {
                self.connect_deadline = Some(connect_deadline);
            }
        }
    }

    /// Whether `ns` is joined: accepted, and not left by either side.
    pub fn is_connected(&self, ns: &Namespace) -> bool {
        matches!(self.entry(ns), Some((_, State::Joined)))
    }

    /// The joined namespaces, in the order in which they were asked for.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.iter().filter(|(_, state)| *state == State::Joined).map(|(ns, _)| ns)
    }

    /// When to [`poll`](Self::poll); `None` while a namespace is joined or being joined, and
    /// after a client has left its last one by itself.
    pub fn deadline(&self) -> Option<Instant> {
        match self.active().next() {
            None => self.connect_deadline,
            Some(_) => None,
        }
    }

    /// Lets time pass.
    ///
    /// # Errors
    ///
    /// [`CloseReason::ConnectTimeout`] at or after the [`deadline`](Self::deadline).
    pub fn poll(&self, now: Instant) -> Result<(), CloseReason> {
        match self.deadline() {
            Some(deadline) if deadline <= now => Err(CloseReason::ConnectTimeout),
            _ => Ok(()),
        }
    }

    /// Joined or being joined.
    fn active(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.iter().filter(|(_, state)| *state != State::Left).map(|(ns, _)| ns)
    }

    /// A few dozen names at most, so a list is searched faster than a map.
    fn entry(&self, ns: &Namespace) -> Option<&(Namespace, State)> {
        self.namespaces.iter().find(|(known, _)| known == ns)
    }

    /// Keeps the name, to ignore what is under way to it; forgets the oldest of too many.
    fn leave(&mut self, ns: &Namespace) {
        self.namespaces.retain(|(known, _)| known != ns);
        self.namespaces.push((ns.clone(), State::Left));
        let left = |(_, state): &(Namespace, State)| *state == State::Left;
        if self.namespaces.iter().filter(|entry| left(entry)).count() > self.limits.max_namespaces
            && let Some(oldest) = self.namespaces.iter().position(left)
        {
            self.namespaces.remove(oldest);
        }
    }
}

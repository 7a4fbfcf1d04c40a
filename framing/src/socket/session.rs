//! One session's namespaces: what it may send where, and by when it must have joined one.

use std::time::{Duration, Instant};

use super::{Args, Attachments, Decoder, Event, Namespace, Packet};
use crate::close::CloseReason;
use crate::engine::Received;
use crate::json::RawJson;
use crate::limits::Limits;

/// Packets of one session that wait for their namespace to be joined; see
/// [`SocketSession::accepted`]. Their bytes are bounded by [`Limits::max_payload`].
const MAX_HELD: usize = 64;

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
    /// An event in a joined namespace.
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
        args: Args,
        /// What the placeholders of the answer stand for.
        attachments: Attachments,
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
///       ▲ event: close         │ refused            │ ended, client's DISCONNECT
///       │                      ▼                    ▼
///       └─ forgotten ────────  Left  ◄──────────────┘
///                               │ packets are ignored; CONNECT: Joining again
/// ```
///
/// The official server closes the connection on a packet for a namespace that was left.
/// Here it is ignored: it may have been under way before the client knew (spec §3.2 c), and
/// the JavaScript client sends late acks even after it has left.
#[derive(Debug)]
pub struct SocketSession {
    decoder: Decoder,
    limits: Limits,
    /// At most `max_namespaces` joined or joining, and as many that were left; oldest first.
    namespaces: Vec<(Namespace, State)>,
    /// Packets for namespaces in state `Joining`, in their order.
    held: Vec<Packet>,
    held_bytes: usize,
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
            held: Vec::new(),
            held_bytes: 0,
            connect_deadline: Some(connect_deadline),
        }
    }

    /// Takes what the Engine.IO side received.
    ///
    /// `None` if there is nothing to do: a packet is not whole yet, or to be ignored, or
    /// waits for its namespace. A second CONNECT to a namespace that is joined or being
    /// joined is ignored, so that it cannot authenticate twice.
    ///
    /// # Errors
    ///
    /// The reason to close the session.
    pub fn receive(&mut self, received: Received) -> Result<Option<Action>, CloseReason> {
        let packet = match received {
            Received::Nothing => None,
            Received::Message(text) => self.decoder.text(text)?,
            Received::Binary(data) => self.decoder.binary(data)?,
            Received::Closed => return Err(CloseReason::ClientClosed),
        };
        match packet {
            Some(packet) => self.route(packet),
            None => Ok(None),
        }
    }

    fn route(&mut self, packet: Packet) -> Result<Option<Action>, CloseReason> {
        match packet {
            Packet::Connect { ns, auth } => self.connect(ns, auth),
            packet => match self.state(packet.ns()) {
                None => Err(CloseReason::NotConnected(packet.ns().detached())),
                Some(State::Left) => Ok(None),
                Some(State::Joining) => self.hold(packet).map(|()| None),
                Some(State::Joined) => Ok(self.deliver(packet)),
            },
        }
    }

    fn connect(
        &mut self,
        ns: Namespace,
        auth: Option<RawJson>,
    ) -> Result<Option<Action>, CloseReason> {
        match self.state(&ns) {
            Some(State::Joining | State::Joined) => return Ok(None),
            Some(State::Left) | None => (),
        }
        let limit = self.limits.max_namespaces;
        if self.active().count() >= limit {
            return Err(CloseReason::TooManyNamespaces { limit });
        }
        let ns = ns.detached();
        self.set(&ns, State::Joining);
        Ok(Some(Action::Connect { ns, auth }))
    }

    /// A packet of a joined namespace, with the name that the session keeps instead of the
    /// one in the frame's buffer.
    fn deliver(&mut self, packet: Packet) -> Option<Action> {
        let ns = self.active().find(|known| *known == packet.ns()).cloned()?;
        Some(match packet {
            Packet::Connect { auth, .. } => Action::Connect { ns, auth },
            Packet::Event { event, .. } => Action::Event { ns, event },
            Packet::Ack {
                id,
                args,
                attachments,
                ..
            } => Action::Ack {
                ns,
                id,
                args,
                attachments,
            },
            Packet::Disconnect { .. } => {
                self.leave(&ns);
                Action::Disconnect { ns }
            }
        })
    }

    /// The namespace is joined: its CONNECT is answered, and only now may it be.
    ///
    /// Returns what the client sent to it in the meantime, to be acted on in this order:
    /// some clients do not wait for the answer. Does nothing if `ns` is not being joined.
    #[must_use = "the client's packets that waited for this"]
    pub fn accepted(&mut self, ns: &Namespace) -> Vec<Action> {
        if self.state(ns) != Some(State::Joining) {
            return Vec::new();
        }
        self.connect_deadline = None;
        self.set(ns, State::Joined);
        let mut actions = Vec::new();
        for packet in self.release(ns) {
            // A DISCONNECT among them ends it again.
            if self.state(ns) == Some(State::Joined) {
                actions.extend(self.deliver(packet));
            }
        }
        actions
    }

    /// The namespace is not joined: CONNECT_ERROR was sent. What the client sent to it is
    /// dropped. The deadline is as it was. Does nothing if `ns` is not being joined.
    pub fn refused(&mut self, ns: &Namespace) {
        if self.state(ns) == Some(State::Joining) {
            self.leave(ns);
        }
    }

    /// The server has ended the namespace, by rejection or after a goodbye (spec §3.2 c,
    /// §3.8). Until a new CONNECT, what the client sends there is ignored. If no namespace
    /// is left, one must be joined by `now + connect_timeout`.
    pub fn ended(&mut self, ns: &Namespace, now: Instant, connect_timeout: Duration) {
        if !matches!(self.state(ns), Some(State::Joining | State::Joined)) {
            return;
        }
        self.leave(ns);
        if self.active().next().is_none() {
            self.connect_deadline = Some(now + connect_timeout);
        }
    }

    /// Whether `ns` is joined: accepted, and not left by either side.
    pub fn is_connected(&self, ns: &Namespace) -> bool {
        self.state(ns) == Some(State::Joined)
    }

    /// The joined namespaces, in the order in which they were asked for.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces
            .iter()
            .filter(|(_, state)| *state == State::Joined)
            .map(|(ns, _)| ns)
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
        self.namespaces
            .iter()
            .filter(|(_, state)| *state != State::Left)
            .map(|(ns, _)| ns)
    }

    fn state(&self, ns: &Namespace) -> Option<State> {
        self.namespaces
            .iter()
            .find(|(known, _)| known == ns)
            .map(|(_, state)| *state)
    }

    fn set(&mut self, ns: &Namespace, to: State) {
        match self.namespaces.iter_mut().find(|(known, _)| known == ns) {
            Some((_, state)) => *state = to,
            None => self.namespaces.push((ns.clone(), to)),
        }
    }

    /// Forgets the oldest of too many namespaces that were left.
    fn leave(&mut self, ns: &Namespace) {
        self.release(ns);
        self.namespaces.retain(|(known, _)| known != ns);
        self.namespaces.push((ns.clone(), State::Left));
        let left = |(_, state): &(Namespace, State)| *state == State::Left;
        if self.namespaces.iter().filter(|entry| left(entry)).count() > self.limits.max_namespaces
            && let Some(oldest) = self.namespaces.iter().position(left)
        {
            self.namespaces.remove(oldest);
        }
    }

    fn hold(&mut self, packet: Packet) -> Result<(), CloseReason> {
        let bytes = self.held_bytes.saturating_add(packet.len());
        if self.held.len() >= MAX_HELD || bytes > self.limits.max_payload {
            return Err(CloseReason::TooManyEarlyPackets);
        }
        self.held_bytes = bytes;
        self.held.push(packet);
        Ok(())
    }

    /// Takes the packets that waited for `ns`.
    fn release(&mut self, ns: &Namespace) -> Vec<Packet> {
        let held = std::mem::take(&mut self.held);
        let (released, held) = held.into_iter().partition(|packet| packet.ns() == ns);
        self.held = held;
        self.held_bytes = self.held.iter().map(Packet::len).sum();
        released
    }
}

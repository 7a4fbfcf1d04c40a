//! The Socket.IO layer of a session: namespaces, acks both ways, attachments.
//!
//! A [`NamespaceHandler`] decides what a server does in its namespaces; the broker has one, the
//! conformance server another. Admission is the handler's: it accepts at once, refuses, or asks
//! another actor and accepts later. What a peer sends to a namespace that is still being admitted
//! waits; beyond a bound nothing more is read from the peer until the decision is there.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::maps::FewMap;
use actix::Addr;
use framing::{
    ByteString, Bytes,
    close::CloseReason,
    encoded::Encoded,
    engine::{Received, Sid},
    json::RawJson,
    limits::Limits,
    socket::{Action, Event, EventName, Namespace, SocketSession},
};
use log::debug;

use super::{Application, Cx, SessionActor, early::Early};

/// Bounds and timings of the Socket.IO layer.
#[derive(Clone, Copy, Debug)]
pub struct SocketIoConfig {
    /// Packet bounds.
    pub limits: Limits,
    /// Time that a session may take to join its first namespace.
    pub connect_timeout: Duration,
    /// Acks that one socket may owe us.
    pub max_pending_acks: usize,
    /// Events that wait while their namespace is being admitted; what follows stays in the transport. It stays there,
    /// too, while all events of the session that wait so have as many bytes as one packet may have.
    pub max_early_events: usize,
}

/// What a server does with what arrives in its namespaces.
pub trait NamespaceHandler: Send + Unpin + Sized + 'static {
    /// What the handler wants to know again when an ack arrives.
    type Awaited: Send + Unpin + 'static;

    /// The namespaces that there are; whoever asks for another one is refused by [`NamespaceHandler::connect`].
    fn served() -> &'static [Namespace] {
        &[]
    }
    /// A peer asks to join. Answer with [`Sockets::accept`] or [`Sockets::refuse`], now or later.
    fn connect(&mut self, cx: &mut Sockets<'_, '_, Self>, ns: &Namespace, auth: Option<RawJson>);
    /// An event of a joined namespace.
    fn event(&mut self, cx: &mut Sockets<'_, '_, Self>, ns: &Namespace, event: Event);
    /// The ack of an event that was emitted with one. None: it did not come in time.
    fn acked(&mut self, cx: &mut Sockets<'_, '_, Self>, awaited: Self::Awaited, answer: Option<AckArgs>);
    /// A socket has left its namespace, of its own will or with its session. Not called after
    /// [`Sockets::disconnect`], which is the handler's own act.
    fn disconnected(&mut self, cx: &mut Sockets<'_, '_, Self>, ns: &Namespace);
    /// The session lives on another worker now, and is reached there; its old address hands on what
    /// arrives there.
    fn moved(&mut self, _: &mut Sockets<'_, '_, Self>, _past: &Addr<SessionActor<SocketIo<Self>>>) {}
    /// Whether what made it say [`Sockets::hold_back`] is still so.
    fn holds_back(&self) -> bool {
        false
    }
    /// The earliest instant at which [`NamespaceHandler::poll`] has something to do.
    fn deadline(&self) -> Option<Instant>;
    /// A deadline has passed.
    fn poll(&mut self, cx: &mut Sockets<'_, '_, Self>);
    /// The session is over; each joined namespace has had its `disconnected`.
    fn closed(&mut self, cx: &mut Sockets<'_, '_, Self>);
}

/// What a peer has acked.
#[derive(Clone, Debug, Default)]
pub struct AckArgs {
    /// Its arguments.
    pub args: Vec<RawJson>,
    /// What the placeholders among them stand for.
    pub attachments: Vec<Bytes>,
}

/// The ack of an event, as whoever emits it wants it.
pub struct WantedAck<T> {
    /// What the handler is to be told again with it.
    pub what: T,
    /// It is not waited for any longer then.
    pub due: Instant,
    /// The id on the wire, if no other socket may ever have used it: a client sends an ack when it has it, on whatever
    /// connection it has then. Otherwise they are counted for each socket.
    pub id: Option<u64>,
}

/// The Socket.IO layer around a handler.
pub struct SocketIo<H: NamespaceHandler> {
    layer: Layer<H::Awaited>,
    handler: H,
}

struct Layer<T> {
    config: SocketIoConfig,
    protocol: SocketSession,
    /// One per joined or joining namespace; never more than `max_namespaces`.
    sockets: FewMap<Namespace, Socket<T>>,
    /// What waited for an admission that has come; acted on when the handler returns.
    released: VecDeque<Action>,
    /// As much as may wait, for an admission or for what the handler has asked, did so when this was last looked at.
    crowded: bool,
}

struct Socket<T> {
    /// What came before the admission was known.
    early: Early,
    next_ack: u64,
    /// In the order asked, so the oldest is first.
    awaited: VecDeque<Awaited<T>>,
}

struct Awaited<T> {
    id: u64,
    what: T,
    due: Instant,
}

impl<T> Layer<T> {
    /// The bound that what waits for admissions has reached, if it has reached one.
    fn early_bound(&self) -> Option<&'static str> {
        let SocketIoConfig { max_early_events, limits, .. } = &self.config;
        let early = || self.sockets.values().map(|socket| &socket.early);
        if early().any(|early| early.len() >= *max_early_events) {
            return Some("limits.max_early_events");
        }
        (early().map(Early::bytes).sum::<usize>() >= limits.max_payload).then_some("limits.max_payload")
    }
}

impl<T> Socket<T> {
    fn new() -> Self {
        Self { early: Early::default(), next_ack: 0, awaited: VecDeque::new() }
    }
}

/// What a handler can do while it handles something.
pub struct Sockets<'a, 'c, H: NamespaceHandler> {
    layer: &'a mut Layer<H::Awaited>,
    cx: &'a mut Cx<'c, SocketIo<H>>,
}

impl<H: NamespaceHandler> SocketIo<H> {
    /// A layer without any namespace yet.
    pub fn new(config: SocketIoConfig, handler: H, now: Instant) -> Self {
        let protocol = SocketSession::new(config.limits, now + config.connect_timeout).serving(H::served());
        Self {
            layer: Layer {
                config,
                protocol,
                sockets: FewMap::default(),
                released: VecDeque::new(),
                crowded: false,
            },
            handler,
        }
    }

    /// The handler of a session that is over.
    pub(crate) fn handler(&self) -> &H {
        &self.handler
    }

    /// Runs the handler on something that did not come from the peer.
    pub fn with_handler<R>(
        &mut self,
        cx: &mut Cx<'_, Self>,
        run: impl FnOnce(&mut H, &mut Sockets<'_, '_, H>) -> R,
    ) -> R {
        let outcome = run(&mut self.handler, &mut Sockets { layer: &mut self.layer, cx });
        self.catch_up(cx);
        outcome
    }

    /// Acts on what waited for an admission that has come.
    fn catch_up(&mut self, cx: &mut Cx<'_, Self>) {
        while let Some(action) = self.layer.released.pop_front() {
            self.act(cx, action);
        }
    }

    fn early(layer: &mut Layer<H::Awaited>, cx: &mut Cx<'_, Self>, ns: Namespace, event: Event) {
        let Some(socket) = layer.sockets.get_mut(&ns) else {
            return;
        };
        socket.early.push(ns, event);
        if let Some(bound) = layer.early_bound() {
            cx.metrics().limit_reached(bound);
            layer.crowded = true;
        }
    }

    fn received(&mut self, cx: &mut Cx<'_, Self>, received: Received) -> Result<(), CloseReason> {
        if let Some(action) = self.layer.protocol.receive(received)? {
            self.act(cx, action);
            self.catch_up(cx);
        }
        Ok(())
    }

    fn act(&mut self, cx: &mut Cx<'_, Self>, action: Action) {
        let Self { layer, handler } = self;
        match action {
            Action::Connect { ns, auth } => {
                layer.sockets.insert(ns.clone(), Socket::new());
                handler.connect(&mut Sockets { layer, cx }, &ns, auth);
            }
            Action::Event { ns, event } if !layer.protocol.is_connected(&ns) => {
                Self::early(layer, cx, ns, event);
            }
            Action::Event { ns, event } => handler.event(&mut Sockets { layer, cx }, &ns, event),
            Action::Ack { ns, id, args, attachments } => {
                let awaited = layer.sockets.get_mut(&ns).and_then(|socket| {
                    let at = socket.awaited.iter().position(|awaited| awaited.id == id)?;
                    socket.awaited.remove(at)
                });
                match awaited {
                    Some(awaited) => handler.acked(
                        &mut Sockets { layer, cx },
                        awaited.what,
                        Some(AckArgs { args, attachments }),
                    ),
                    None => debug!(sid:% = cx.sid(), ns:%, id; "ack of nothing that was asked"),
                }
            }
            Action::Disconnect { ns } => {
                if let Some(socket) = layer.sockets.remove(&ns) {
                    Self::left(handler, &mut Sockets { layer, cx }, &ns, socket);
                }
            }
        }
    }

    /// Whoever waits for an ack of a socket that left learns that it will not come.
    fn left(handler: &mut H, cx: &mut Sockets<'_, '_, H>, ns: &Namespace, socket: Socket<H::Awaited>) {
        for awaited in socket.awaited {
            handler.acked(cx, awaited.what, None);
        }
        handler.disconnected(cx, ns);
    }
}

impl<H: NamespaceHandler> Application for SocketIo<H> {
    fn opened(&mut self, _: &mut Cx<'_, Self>) {}

    fn text(&mut self, cx: &mut Cx<'_, Self>, text: ByteString) -> Result<(), CloseReason> {
        self.received(cx, Received::Message(text))
    }

    fn binary(&mut self, cx: &mut Cx<'_, Self>, bytes: Bytes) -> Result<(), CloseReason> {
        self.received(cx, Received::Binary(bytes))
    }

    fn deadline(&self) -> Option<Instant> {
        let acks = self.layer.sockets.values().filter_map(|socket| Some(socket.awaited.front()?.due)).min();
        [self.layer.protocol.deadline(), acks, self.handler.deadline()].into_iter().flatten().min()
    }

    fn poll(&mut self, cx: &mut Cx<'_, Self>) -> Result<(), CloseReason> {
        let now = cx.now();
        self.layer.protocol.poll(now)?;
        let Self { layer, handler } = self;
        let mut late = Vec::new();
        for socket in layer.sockets.values_mut() {
            while socket.awaited.front().is_some_and(|awaited| awaited.due <= now) {
                late.extend(socket.awaited.pop_front());
            }
        }
        for awaited in late {
            handler.acked(&mut Sockets { layer, cx }, awaited.what, None);
        }
        if handler.deadline().is_some_and(|due| due <= now) {
            handler.poll(&mut Sockets { layer, cx });
        }
        self.catch_up(cx);
        Ok(())
    }

    fn moved(&mut self, cx: &mut Cx<'_, Self>, past: &Addr<SessionActor<Self>>) {
        let Self { layer, handler } = self;
        handler.moved(&mut Sockets { layer, cx }, past);
    }

    fn holds_back(&mut self) -> bool {
        let layer = &mut self.layer;
        layer.crowded = layer.crowded && (layer.early_bound().is_some() || self.handler.holds_back());
        layer.crowded
    }

    fn closed(&mut self, cx: &mut Cx<'_, Self>, _: &CloseReason) {
        let Self { layer, handler } = self;
        for (ns, socket) in std::mem::take(&mut layer.sockets) {
            Self::left(handler, &mut Sockets { layer, cx }, &ns, socket);
        }
        handler.closed(&mut Sockets { layer, cx });
    }
}

/// Why an event with an ack was not emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEmitted {
    /// The namespace is not joined, or the session is closing.
    Gone,
    /// The socket owes as many acks as it may (`limits.max_pending_acks`).
    TooManyAcks,
}

impl<'c, H: NamespaceHandler> Sockets<'_, 'c, H> {
    /// Nothing more is read from the peer as long as [`NamespaceHandler::holds_back`] says so.
    pub fn hold_back(&mut self) {
        self.layer.crowded = true;
    }

    /// The session around.
    pub fn session(&mut self) -> &mut Cx<'c, SocketIo<H>> {
        self.cx
    }

    /// The instant at which this call began.
    pub fn now(&self) -> Instant {
        self.cx.now()
    }

    /// Whether that namespace is joined.
    pub fn is_joined(&self, ns: &Namespace) -> bool {
        self.layer.protocol.is_connected(ns)
    }

    /// Admits the peer: CONNECT is answered with that socket id.
    pub fn accept(&mut self, ns: &Namespace, socket_id: Sid) {
        self.cx.push(Encoded::connect(ns, socket_id.as_str()));
        self.accepted(ns);
    }

    /// Admits the peer after somebody else has pushed the answer to its CONNECT.
    pub fn accepted(&mut self, ns: &Namespace) {
        self.layer.protocol.accepted(ns);
        if let Some(socket) = self.layer.sockets.get_mut(ns) {
            self.layer.released.append(&mut socket.early.take());
        }
    }

    /// Refuses the peer with a CONNECT_ERROR.
    pub fn refuse(&mut self, ns: &Namespace, message: &str) {
        self.layer.sockets.remove(ns);
        self.layer.protocol.refused(ns);
        self.cx.push(Encoded::connect_refused(ns, message));
    }

    /// Emits an event. `args` are JSON texts.
    pub fn emit(&mut self, ns: &Namespace, name: &EventName, args: &[&str]) -> bool {
        self.layer.sockets.contains_key(ns) && self.cx.push(Encoded::event(ns, None, name, args, &[]))
    }

    /// Emits an event that asks for an ack.
    ///
    /// # Errors
    /// See [`NotEmitted`]; what the ack was wanted for comes back.
    pub fn emit_with_ack(
        &mut self,
        ns: &Namespace,
        name: &EventName,
        args: &[&str],
        attachments: &[Bytes],
        WantedAck { what, due, id }: WantedAck<H::Awaited>,
    ) -> Result<(), (NotEmitted, H::Awaited)> {
        let Some(socket) = self.layer.sockets.get_mut(ns) else {
            return Err((NotEmitted::Gone, what));
        };
        if socket.awaited.len() >= self.layer.config.max_pending_acks {
            self.cx.metrics().limit_reached("limits.max_pending_acks");
            return Err((NotEmitted::TooManyAcks, what));
        }
        let asked = id.unwrap_or(socket.next_ack);
        if !self.cx.push(Encoded::event(ns, Some(asked), name, args, attachments)) {
            return Err((NotEmitted::Gone, what));
        }
        socket.next_ack += u64::from(id.is_none());
        let at = socket.awaited.partition_point(|awaited| awaited.due <= due);
        socket.awaited.insert(at, Awaited { id: asked, what, due });
        Ok(())
    }

    /// Acks an event of the peer.
    pub fn ack(&mut self, ns: &Namespace, id: u64, args: &[&str]) {
        self.ack_with(ns, id, args, &[]);
    }

    /// Acks an event of the peer with attachments.
    pub fn ack_with(&mut self, ns: &Namespace, id: u64, args: &[&str], attachments: &[Bytes]) {
        if self.layer.sockets.contains_key(ns) {
            self.cx.push(Encoded::ack(ns, id, args, attachments));
        }
    }

    /// Disconnects one namespace; the session and its other namespaces live on. What the peer has
    /// already sent to it is ignored (spec §3.2 c).
    pub fn disconnect(&mut self, ns: &Namespace) {
        if self.layer.sockets.remove(ns).is_some() {
            self.cx.push(Encoded::disconnect(ns));
            let connect_by = self.cx.now() + self.layer.config.connect_timeout;
            self.layer.protocol.ended(ns, connect_by);
        }
    }
}

//! Opens, attributes and closes LLM requests (spec §5). It never sees a chunk: those go from the
//! target's session to the requester's.

mod attribution;
mod book;
mod line;
mod roles;
mod sweep;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use arc_swap::ArcSwap;
use framing::ByteString;
use log::{debug, info};

use book::Book;
pub use book::{Refusal, RouterLimits};
pub use roles::{
    Audience, ChatContext, Deliver, Delivery, Failure, ForwardedRequest, OpenedRoute, Origin, Peer, Peers,
    Requester, RouteId, RouteNotice, RouteState, ToTarget,
};

use crate::{
    ids::{ClientId, Identity, RequestId},
    maps::FastMap,
    metrics::Metrics,
    registry::SocketKey,
    session::{HandedOn, ProveAlive},
    trust::ServerSettings,
};

/// An old address answers in microseconds, or is gone. A bound for faults.
const MOVE_PATIENCE: Duration = Duration::from_secs(10);

/// See the module's documentation.
pub struct LlmRouter {
    book: Book,
    /// Where each requester's socket is asked whether it lives.
    provers: FastMap<SocketKey, Recipient<ProveAlive>>,
    settings: Arc<ArcSwap<ServerSettings>>,
    metrics: Arc<Metrics>,
}

impl LlmRouter {
    /// A router without any request. `epoch` is the zero of [`RouteState`]'s clock.
    pub fn new(
        limits: RouterLimits,
        settings: Arc<ArcSwap<ServerSettings>>,
        epoch: Instant,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { book: Book::new(limits, epoch), provers: FastMap::default(), settings, metrics }
    }

    /// Looks at the deadlines, and comes back after a tick that is short enough for each of them.
    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.book.limits.grace = self.settings.load().reconnect_grace();
        let expired = self.book.sweep(Instant::now());
        self.metrics.requests_failed.inc_by(expired as u64);
        self.report();
        ctx.run_later(self.book.limits().tick(), Self::tick);
    }

    /// A socket that was there before `newcomer` shows that it lives, or is closed and says so by that.
    fn prove(&self, elder: SocketKey, newcomer: SocketKey, ctx: &mut Context<Self>) {
        let Some(prover) = self.provers.get(&elder) else {
            return self.give_up(elder, newcomer, ctx);
        };
        let proof = prover.send(ProveAlive).into_actor(self);
        ctx.spawn(proof.map(move |alive, router, ctx| match alive {
            Ok(true) => router.book.proven(newcomer, elder),
            _ => router.give_up(elder, newcomer, ctx),
        }));
    }

    /// It is gone, and its end is on its way here; if not, for whatever fault, it is not waited for.
    fn give_up(&self, elder: SocketKey, newcomer: SocketKey, ctx: &mut Context<Self>) {
        ctx.run_later(MOVE_PATIENCE, move |router, _| router.book.proven(newcomer, elder));
    }

    fn report(&self) {
        self.metrics.open_requests.set(i64::try_from(self.book.len()).unwrap_or(i64::MAX));
    }
}

impl Actor for LlmRouter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tick(ctx);
    }
}

/// A target that lives in this process (spec §5.1 rule 5).
#[derive(Message)]
#[rtype(result = "()")]
pub struct BuiltInTarget {
    /// Its reserved id.
    pub client: ClientId,
    /// Its place among sockets.
    pub socket: SocketKey,
    /// The actor that answers.
    pub target: Recipient<ToTarget>,
}

/// An authenticated `/llm` socket has opened.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LlmSocketOpened {
    /// The socket.
    pub socket: SocketKey,
    /// Whose.
    pub owner: Requester,
    /// Where answers are delivered.
    pub deliver: Recipient<Deliver>,
    /// Set for an extension: where requests go.
    pub target: Option<Recipient<ToTarget>>,
    /// Whether it lives.
    pub prove: Recipient<ProveAlive>,
}

/// It has closed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LlmSocketClosed {
    /// The socket.
    pub socket: SocketKey,
    /// Those that it, as a target, was to tell of the end of an answer.
    pub rooms: Vec<LeftRoom>,
}

/// A room that was sent an answer by a socket that has closed.
#[derive(Debug)]
pub struct LeftRoom {
    /// The answer.
    pub route: RouteId,
    /// The request.
    pub request_id: RequestId,
    /// The room.
    pub room: Peer,
}

/// Its session has moved to another worker.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LlmSocketMoved {
    /// The socket.
    pub socket: SocketKey,
    /// Where answers are delivered from now on.
    pub deliver: Recipient<Deliver>,
    /// Set for an extension: where requests go.
    pub target: Option<Recipient<ToTarget>>,
    /// Whether it lives.
    pub prove: Recipient<ProveAlive>,
    /// Its old address, which hands on what it was sent.
    pub past: Recipient<HandedOn>,
}

/// What a target had not delivered when its socket closed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leftovers(pub Vec<Leftover>);

/// The parts of one answer that did not reach one of those who asked.
#[derive(Debug)]
pub struct Leftover {
    /// The answer.
    pub route: RouteId,
    /// Whose.
    pub requester: Requester,
    /// The socket that they waited for; none if the requester was away.
    pub socket: Option<SocketKey>,
    /// In order.
    pub parts: Vec<Delivery>,
}

/// A client's grace has passed, or it was removed: it is no requester any more (spec §3.8).
#[derive(Message)]
#[rtype(result = "()")]
pub struct RequesterGone(pub Requester);

/// What a requester's socket took and could not write before it closed (spec §5.5 rule 14).
#[derive(Message)]
#[rtype(result = "()")]
pub struct Returned {
    /// Whose.
    pub requester: Requester,
    /// The socket that is over.
    pub socket: SocketKey,
    /// Each part with where it came from, in order.
    pub parts: Vec<(Origin, Delivery)>,
}

/// A part of an answer that arrived for a socket that is over.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReturnedTo {
    /// The socket.
    pub socket: SocketKey,
    /// Where it came from.
    pub origin: Origin,
    /// The part.
    pub part: Delivery,
}

/// Asks for a request to be forwarded (spec §5.1).
#[derive(Message)]
#[rtype(result = "Result<(), Refusal>")]
pub struct OpenRequest {
    /// Who asks.
    pub from: Requester,
    /// Its id for the request.
    pub request_id: RequestId,
    /// Ids as the requester wrote them; at least one.
    pub targets: Vec<ByteString>,
    /// What travels.
    pub request: ForwardedRequest,
    /// Who else gets the answers.
    pub audience: Audience,
}

/// Somebody joins or leaves the room in which requests were made that are still open.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AudienceChanged {
    /// Those requests.
    pub requests: Vec<RequestId>,
    /// Who.
    pub member: Requester,
    /// It joins.
    pub joins: bool,
}

/// Asks which request an output answers, when the extension did not say it, or named a request that
/// its session does not know (spec §5.4 "Attribution").
#[derive(Message)]
#[rtype(result = "Option<OpenedRoute>")]
pub struct AttributeOutput {
    /// The extension's socket.
    pub socket: SocketKey,
    /// The extension.
    pub target: ClientId,
    /// Its output.
    pub output_id: Arc<str>,
    /// The request that it named.
    pub request_id: Option<RequestId>,
}

/// Asks which request an `ERROR` is about, when the extension did not say it, or named a request that
/// its session does not know (spec §5.9).
#[derive(Message)]
#[rtype(result = "Option<OpenedRoute>")]
pub struct AttributeError {
    /// The extension's socket.
    pub socket: SocketKey,
    /// The extension.
    pub target: ClientId,
    /// The request that it named.
    pub request_id: Option<RequestId>,
}

/// Asks how many requests wait for their answer, or for more of it.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct CountPending;

impl Handler<BuiltInTarget> for LlmRouter {
    type Result = ();

    fn handle(&mut self, BuiltInTarget { client, socket, target }: BuiltInTarget, _: &mut Self::Context) {
        info!(target_id:% = client; "built-in target ready");
        let identity = Identity::from(client.clone());
        self.book.target_opened(socket, Requester { client, identity }, target);
    }
}

impl Handler<LlmSocketOpened> for LlmRouter {
    type Result = ();

    fn handle(&mut self, opened: LlmSocketOpened, ctx: &mut Self::Context) {
        let LlmSocketOpened { socket, owner, deliver, target, prove } = opened;
        let elders = self.book.requester_opened(owner.clone(), Peer::new(socket, deliver.into()));
        self.provers.insert(socket, prove);
        for elder in elders {
            self.prove(elder, socket, ctx);
        }
        if let Some(target) = target {
            self.book.target_opened(socket, owner, target);
        }
    }
}

impl Handler<LlmSocketMoved> for LlmRouter {
    type Result = ();

    fn handle(&mut self, moved: LlmSocketMoved, ctx: &mut Self::Context) {
        let LlmSocketMoved { socket, deliver, target, prove, past } = moved;
        if let Some(known) = self.provers.get_mut(&socket) {
            *known = prove;
        }
        let is_target = target.is_some();
        self.book.socket_moved(socket, &deliver.into(), target);
        if is_target {
            // Whether it answers or is gone: nothing is on its way there any more.
            let handed_on = past.send(HandedOn).timeout(MOVE_PATIENCE).into_actor(self);
            ctx.spawn(handed_on.map(move |_, router, _| router.book.target_arrived(socket)));
        }
    }
}

impl Handler<Leftovers> for LlmRouter {
    type Result = ();

    fn handle(&mut self, Leftovers(leftovers): Leftovers, _: &mut Self::Context) {
        self.book.left_over(leftovers);
    }
}

impl Handler<LlmSocketClosed> for LlmRouter {
    type Result = ();

    fn handle(&mut self, LlmSocketClosed { socket, rooms }: LlmSocketClosed, _: &mut Self::Context) {
        self.provers.remove(&socket);
        self.book.rooms_left(socket, rooms);
        self.book.socket_closed(socket, Instant::now());
    }
}

impl Handler<RequesterGone> for LlmRouter {
    type Result = ();

    fn handle(&mut self, RequesterGone(requester): RequesterGone, _: &mut Self::Context) {
        self.book.requester_gone(&requester);
    }
}

impl Handler<Returned> for LlmRouter {
    type Result = ();

    fn handle(&mut self, Returned { requester, socket, parts }: Returned, _: &mut Self::Context) {
        self.book.returned(&requester, socket, parts);
    }
}

impl Handler<ReturnedTo> for LlmRouter {
    type Result = ();

    fn handle(&mut self, ReturnedTo { socket, origin, part }: ReturnedTo, _: &mut Self::Context) {
        self.book.returned_to(socket, origin, part);
    }
}

impl Handler<OpenRequest> for LlmRouter {
    type Result = Result<(), Refusal>;

    fn handle(&mut self, question: OpenRequest, _: &mut Self::Context) -> Self::Result {
        let outcome = self.book.open(question, Instant::now());
        match &outcome {
            Ok(()) => self.metrics.requests_opened.inc(),
            Err(refusal) => {
                debug!(refusal:?; "request refused");
                self.metrics.requests_refused.inc()
            }
        };
        self.report();
        outcome
    }
}

impl Handler<AudienceChanged> for LlmRouter {
    type Result = ();

    fn handle(&mut self, changed: AudienceChanged, _: &mut Self::Context) {
        self.book.audience_changed(&changed);
    }
}

impl Handler<AttributeOutput> for LlmRouter {
    type Result = MessageResult<AttributeOutput>;

    fn handle(&mut self, question: AttributeOutput, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.book.attribute(&question))
    }
}

impl Handler<AttributeError> for LlmRouter {
    type Result = MessageResult<AttributeError>;

    fn handle(&mut self, question: AttributeError, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.book.attribute_error(&question))
    }
}

impl Handler<CountPending> for LlmRouter {
    type Result = usize;

    fn handle(&mut self, _: CountPending, _: &mut Self::Context) -> usize {
        self.book.pending()
    }
}

impl Handler<RouteNotice> for LlmRouter {
    type Result = ();

    fn handle(&mut self, notice: RouteNotice, _: &mut Self::Context) {
        match notice {
            RouteNotice::OutputStarted { route, output_id } => self.book.output_started(route, output_id),
            RouteNotice::Completed { route } => self.book.complete(route, None),
            RouteNotice::Refused { route, socket, message } => {
                self.metrics.requests_failed.inc();
                self.book.refused(route, socket, message);
            }
        }
        self.report();
    }
}

/// A tick that is short enough for the shortest deadline, and no busier than need be.
pub(crate) fn tick_for(shortest: Duration) -> Duration {
    (shortest / 4).clamp(Duration::from_millis(20), Duration::from_secs(1))
}

#[cfg(test)]
mod tests;

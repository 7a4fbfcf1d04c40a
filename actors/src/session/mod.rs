//! One actor per Engine.IO session.
//!
//! ```text
//!  frames ──► driver ──► EngineSession ──► Application (Socket.IO, or a bare echo)
//!                              │                 │
//!                           heartbeat         packets ──► outbox ──► transport
//! ```
//!
//! The actor runs on the worker that owns its transport. A WebSocket's frames are read by the
//! [`driver`] in the actor's own poll, and what waits in the outbox is written at the end of it: neither costs a
//! mailbox hop or another task. A polling request
//! may land on any worker and reaches the actor as a [`PollingPayload`], which the driver reads in the
//! same way; its GET drains the outbox. While the application holds back, or its peer does not take what waits for it
//! ([`hold`]), what comes in waits where it is.
//!
//! At the upgrade a fresh actor on the WebSocket's worker takes the session's [`Core`] over
//! ([`upgrade`]); the old actor hands on what still arrives at its address, in order, one message at
//! a time, until nobody holds that address any more.

pub mod ask;
mod driver;
mod early;
mod heartbeat;
mod hold;
mod posted;
mod proof;
mod questions;
pub mod socketio;
mod upgrade;
mod websocket;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use framing::{
    ByteString, Bytes,
    close::CloseReason,
    encoded::Encoded,
    engine::{EngineSession, Open, Packet, Received, Sid},
    frame::Frame,
};
use log::debug;

use crate::{
    metrics::Metrics,
    outbox::{Outbox, OutboxLimits, PushError},
    sessions::Sessions,
};
pub use ask::{Cx, NoAnswer, TooManyQuestions};
use hold::Hold;
pub use posted::PollingPayload;
use posted::Posted;
use proof::Proofs;
pub use proof::ProveAlive;
use questions::Questions;
pub use upgrade::{HandedOn, ProbeError};
pub use websocket::WebSocket;

/// What every session of one server shares.
#[derive(Debug)]
pub struct SessionConfig {
    /// Time between two pings.
    pub ping_interval: Duration,
    /// Time that a pong may take.
    pub ping_timeout: Duration,
    /// Time that a pong may take when its client has come back by another connection.
    pub proof_timeout: Duration,
    /// Advertised bound of one message, in bytes.
    pub max_payload: usize,
    /// Time that a WebSocket may take from its opening to the end of the probe.
    pub upgrade_timeout: Duration,
    /// Time that a connection has to end once its session has.
    pub close_timeout: Duration,
    /// Bounds of the outbox.
    pub outbox: OutboxLimits,
    /// Messages that may wait in a session's mailbox, next to one per holder of its address.
    pub mailbox: usize,
    /// Questions to other actors that one session may have open.
    pub max_questions: usize,
    /// Questions to the shared actors that all sessions together may have open.
    pub control_mailbox: usize,
    /// Time that a question may take.
    pub question_timeout: Duration,
}

/// The layer above Engine.IO: Socket.IO for the broker, an echo for the bare conformance endpoint.
pub trait Application: Send + Unpin + Sized + 'static {
    /// The session has opened.
    fn opened(&mut self, cx: &mut Cx<'_, Self>);
    /// A text message arrived.
    fn text(&mut self, cx: &mut Cx<'_, Self>, text: ByteString) -> Result<(), CloseReason>;
    /// A binary message arrived.
    fn binary(&mut self, cx: &mut Cx<'_, Self>, bytes: Bytes) -> Result<(), CloseReason>;
    /// The earliest instant at which [`Application::poll`] has something to do.
    fn deadline(&self) -> Option<Instant>;
    /// A deadline has passed.
    fn poll(&mut self, cx: &mut Cx<'_, Self>) -> Result<(), CloseReason>;
    /// The session lives on another worker now. Its old address, `past`, hands on what arrives there.
    fn moved(&mut self, _: &mut Cx<'_, Self>, _past: &Addr<SessionActor<Self>>) {}
    /// Whether what the peer sends should wait in the transport for now.
    fn holds_back(&mut self) -> bool {
        false
    }
    /// The session is over. Nothing can be sent any more.
    fn closed(&mut self, cx: &mut Cx<'_, Self>, reason: &CloseReason);
}

/// The part of a session that moves between workers at the upgrade.
pub(crate) struct Core<A: Application> {
    sid: Sid,
    engine: EngineSession,
    app: A,
    outbox: Arc<Outbox>,
    /// Open questions to other actors.
    questions: Questions<A>,
    /// What is left of a polling POST.
    posted: Option<Posted>,
    /// Whether the peer must take something before it is read.
    hold: Hold,
    /// Those who wait for a sign of life of the peer.
    proofs: Proofs,
}

/// Where a session actor stands.
///
/// ```text
///            polling or WebSocket handshake
///                        │
///                        ▼      TakeOver
///   Probing ──5──────► Live ───────────────► Moved
///      │                 │
///      └── probe fails ──┴──► Ended
/// ```
enum Phase<A: Application> {
    /// A WebSocket that wants to take a polling session over.
    Probing(upgrade::Probing<A>),
    /// The session lives here.
    Live(Box<Core<A>>),
    /// It has moved to this address.
    Moved(Addr<SessionActor<A>>),
    /// It is over. What still arrives is answered by what is left of it.
    Ended(Option<Box<Core<A>>>),
}

/// See the module's documentation.
pub struct SessionActor<A: Application> {
    phase: Phase<A>,
    shared: Arc<Shared<A>>,
    /// Taken by the driver when the actor starts.
    websocket: Option<Box<dyn WebSocket>>,
    /// What the WebSocket drains, if there is one: the session's own from the upgrade on.
    outbox: Arc<Outbox>,
    /// Why it is over, once it is.
    ended: Option<CloseReason>,
    /// When the driver's timer fires. None: it is armed anew at the end of this turn.
    armed: Option<Instant>,
    /// The application has been called since its deadlines were looked at. Most turns of a member of a large room
    /// only write, and a silent peer's only ping: neither should touch more memory than it needs.
    stirred: bool,
    /// The earliest of its deadlines, and those of its questions, as they were then.
    due: Option<Instant>,
}

/// What the sessions of one endpoint share.
pub struct Shared<A: Application> {
    /// Timings and bounds.
    pub config: SessionConfig,
    /// Every open session, by id.
    pub sessions: Sessions<A>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// How long a polling session that its client has closed is still known.
const LINGER: Duration = Duration::from_millis(200);

/// How long an actor outlives the last message that it is known to handle.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a peer learns when its session opens.
fn open_packet(config: &SessionConfig, sid: Sid, upgrades: bool) -> Packet {
    Packet::Open(Open {
        sid,
        upgrades,
        ping_interval: config.ping_interval,
        ping_timeout: config.ping_timeout,
        max_payload: config.max_payload,
    })
}

impl<A: Application> SessionActor<A> {
    /// Opens a session on the current worker. Without a WebSocket it is on polling. The
    /// open packet is the first thing in the outbox.
    pub fn open(
        shared: Arc<Shared<A>>,
        sid: Sid,
        app: A,
        outbox: Arc<Outbox>,
        websocket: Option<Box<dyn WebSocket>>,
        now: Instant,
    ) -> Addr<Self> {
        let config = &shared.config;
        let opened = outbox.push(Encoded::engine(&open_packet(config, sid, websocket.is_none())));
        debug_assert_eq!(opened, Ok(()), "a new outbox takes the open packet");
        let engine = heartbeat::engine(config, now);
        let core = Box::new(Core {
            sid,
            engine,
            app,
            outbox: outbox.clone(),
            questions: Questions::default(),
            posted: None,
            hold: Hold::default(),
            proofs: Proofs::default(),
        });
        let session = Self::start_in(Phase::Live(core), shared.clone(), websocket, outbox.clone());
        // Here and not in `started`: the peer's next request may be faster than the actor's start.
        shared.sessions.insert(sid, session.clone(), outbox);
        shared.metrics.session_opened();
        session
    }

    fn start_in(
        phase: Phase<A>,
        shared: Arc<Shared<A>>,
        websocket: Option<Box<dyn WebSocket>>,
        outbox: Arc<Outbox>,
    ) -> Addr<Self> {
        Self::create(move |ctx| {
            ctx.set_mailbox_capacity(shared.config.mailbox);
            Self { phase, shared, websocket, outbox, ended: None, armed: None, stirred: true, due: None }
        })
    }

    /// Gives the application a context, unless the session does not live here.
    pub(crate) fn with_app(
        &mut self,
        ctx: &mut Context<Self>,
        run: impl FnOnce(&mut A, &mut Cx<'_, A>) -> Result<(), CloseReason>,
    ) {
        self.with_app_at(Instant::now(), ctx, run);
    }

    /// The same for who has looked at the clock.
    fn with_app_at(
        &mut self,
        now: Instant,
        ctx: &mut Context<Self>,
        run: impl FnOnce(&mut A, &mut Cx<'_, A>) -> Result<(), CloseReason>,
    ) {
        let Phase::Live(core) = &mut self.phase else {
            return;
        };
        self.stirred = true;
        let Core { sid, engine, app, outbox, questions, .. } = &mut **core;
        let mut cx = Cx::new(ctx, &self.shared, *sid, outbox, questions, now);
        cx.silent = engine.awaits_pong();
        let outcome = run(app, &mut cx);
        let closing = cx.into_close();
        if let Err(reason) = outcome {
            self.close(reason, ctx);
        } else if let Some(reason) = closing {
            self.close(reason, ctx);
        }
    }

    /// A message for the application, from another actor. If the session has moved it is handed on;
    /// the mailbox waits until it has arrived, so that order holds and nothing piles up elsewhere.
    pub(crate) fn deliver<M>(
        &mut self,
        message: M,
        ctx: &mut Context<Self>,
        run: impl FnOnce(&mut A, &mut Cx<'_, A>, M) -> Result<(), CloseReason>,
    ) where
        M: Message<Result = ()> + Send + 'static,
        Self: Actor<Context = Context<Self>> + Handler<M>,
    {
        if let Phase::Moved(to) = &self.phase {
            self.shared.metrics.handed_on.inc();
            ctx.wait(to.send(message).into_actor(self).map(|_, _, _| ()));
            return;
        }
        self.with_app(ctx, |app, cx| run(app, cx, message));
    }

    fn receive(&mut self, frame: Frame, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let core = match &mut self.phase {
            Phase::Live(core) => core,
            Phase::Probing(_) => return self.probe(frame, ctx),
            Phase::Moved(_) | Phase::Ended(_) => return,
        };
        self.shared.metrics.frames_in.inc();
        match core.engine.receive(frame, now) {
            // A pong: its deadline is over, and the timer need not wake anybody at it.
            Ok(Received::Nothing) => {
                self.armed = None;
                core.heard();
            }
            Ok(Received::Message(text)) => self.with_app_at(now, ctx, |app, cx| app.text(cx, text)),
            Ok(Received::Binary(bytes)) => self.with_app_at(now, ctx, |app, cx| app.binary(cx, bytes)),
            Ok(Received::Closed) => self.close(CloseReason::ClientClosed, ctx),
            Err(reason) => self.close(reason, ctx),
        }
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        match &self.phase {
            Phase::Live(core) => {
                if std::mem::take(&mut self.stirred) {
                    self.due = core.app.deadline().into_iter().chain(core.questions.deadline()).min();
                }
                Some(self.due.into_iter().fold(core.heartbeat(), Instant::min))
            }
            Phase::Probing(probing) => Some(probing.deadline()),
            Phase::Moved(_) | Phase::Ended(_) => None,
        }
    }

    fn deadline_passed(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        match &mut self.phase {
            Phase::Live(core) => {
                if core.heartbeat() <= now && core.engine.awaits_pong() {
                    let config = &self.shared.config;
                    let wanted = core.proofs.are_wanted();
                    core.excuse(if wanted { config.proof_timeout } else { config.ping_timeout }, now);
                }
                if core.heartbeat() <= now {
                    match core.engine.poll(core.engine.deadline().max(now)) {
                        Ok(Some(_ping)) => {
                            core.ping();
                        }
                        Ok(None) => (),
                        Err(reason) => return self.close(reason, ctx),
                    }
                }
                if self.due.is_none_or(|due| now < due) {
                    return;
                }
                // One of them is acted on; then all are looked at again.
                self.stirred = true;
                if let Some(late) = core.questions.take_late(now) {
                    return self.with_app(ctx, |app, cx| late.conclude(app, cx));
                }
                if core.app.deadline().is_some_and(|due| due <= now) {
                    self.with_app(ctx, |app, cx| app.poll(cx));
                }
            }
            Phase::Probing(probing) if probing.deadline() <= now => {
                self.probe_failed(ProbeError::TimedOut);
            }
            Phase::Probing(_) | Phase::Moved(_) | Phase::Ended(_) => (),
        }
    }

    /// Ends the session: the application hears of it once, the transport sends what it may. The actor
    /// stays for as long as somebody holds its address, so that what was on its way is not lost.
    fn close(&mut self, reason: CloseReason, ctx: &mut Context<Self>) {
        let Phase::Live(mut core) = std::mem::replace(&mut self.phase, Phase::Ended(None)) else {
            return;
        };
        debug!(sid:% = core.sid, reason:% = reason; "session closed");
        self.shared.metrics.session_closed(&reason);
        if reason == CloseReason::PingTimeout && core.proofs.are_wanted() {
            self.shared.metrics.limit_reached("session.proof_timeout");
        }
        // Whoever waited learns that there is none.
        core.proofs = Proofs::default();
        // A peer that does not read will not read a farewell either.
        let flush = !matches!(reason, CloseReason::SlowConsumer | CloseReason::PingTimeout);
        let lingers = reason == CloseReason::ClientClosed && core.outbox.expects_poll();
        core.outbox.end(reason.clone(), flush);
        self.ended = Some(reason.clone());
        if lingers {
            // Its GET and its goodbye left the client together, and the GET may be the slower one.
            let sid = core.sid;
            ctx.run_later(LINGER, move |session, _| session.shared.sessions.remove(sid));
        } else {
            self.shared.sessions.remove(core.sid);
        }
        if let Some(posted) = core.posted.take() {
            posted.answer(Err(reason.clone()));
        }
        let Core { sid, app, outbox, questions, .. } = &mut *core;
        let mut cx = Cx::new(ctx, &self.shared, *sid, outbox, questions, Instant::now());
        app.closed(&mut cx, &reason);
        self.wait_in_vain(std::mem::take(questions), ctx);
        self.phase = Phase::Ended(Some(core));
        self.linger(ctx);
    }

    /// What was asked is still done.
    fn wait_in_vain(&self, questions: Questions<A>, ctx: &mut Context<Self>) {
        if questions.len() > 0 {
            let patience = self.shared.config.question_timeout;
            let wait = tokio::time::timeout(patience, questions.into_wait());
            ctx.spawn(wait.into_actor(self).map(|_, _, _| ()));
        }
    }

    /// Keeps an actor that is over, or has moved, for a moment longer than those who send to it: actix
    /// drops what is in a mailbox when its last sender goes.
    fn linger(&self, ctx: &mut Context<Self>) {
        ctx.run_later(LAST_WORDS, |_, _| ());
    }

    /// The application of a session that is over.
    pub(crate) fn ended_app(&mut self) -> Option<&mut A> {
        match &mut self.phase {
            Phase::Ended(Some(core)) => Some(&mut core.app),
            _ => None,
        }
    }

    /// Where the session has moved to.
    pub(crate) fn moved_to(&self) -> Option<Addr<Self>> {
        match &self.phase {
            Phase::Moved(to) => Some(to.clone()),
            _ => None,
        }
    }
}

impl<A: Application> Actor for SessionActor<A> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let websocket = self.websocket.take();
        ctx.spawn(driver::Driver::new(websocket));
        self.with_app(ctx, |app, cx| {
            app.opened(cx);
            Ok(())
        });
    }

    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        // The worker stops, or the transport went away without a word.
        self.close(CloseReason::TransportClosed, ctx);
        Running::Stop
    }
}

/// Closes a session from outside its actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CloseSession(pub CloseReason);

impl<A: Application> Handler<CloseSession> for SessionActor<A> {
    type Result = ();

    fn handle(&mut self, message: CloseSession, ctx: &mut Self::Context) {
        if let Phase::Moved(to) = &self.phase {
            ctx.wait(to.send(message).into_actor(self).map(|_, _, _| ()));
            return;
        }
        self.close(message.0, ctx);
    }
}

/// What a full outbox means to whoever pushed: nothing more to do, the session closes itself.
pub(crate) fn pushed(outcome: Result<(), PushError>) -> bool {
    outcome.is_ok()
}

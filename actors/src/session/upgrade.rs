//! From polling to WebSocket (Engine.IO 4, "upgrade").
//!
//! ```text
//!  client            WebSocket's worker            the session's worker
//!    │ GET …sid ──────► Probing actor
//!    │ 2probe ────────►  │ 3probe
//!    │ ◄──────────────── │ ── ReleasePoll (noop to a parked GET)
//!    │ 5 ─────────────►  │ ── TakeOver ─────────► Live → Moved(new address)
//!    │                   │ ◄───────── Core ─────┘
//!    │                  Live: frames are read again
//! ```
//!
//! Until the core has arrived the new actor's mailbox waits; nobody holds its address yet, and the
//! old actor never waits for it, so the two cannot wait for each other.

use std::{sync::Arc, time::Instant};

use actix::prelude::*;
use framing::{
    close::CloseReason,
    encoded::Encoded,
    engine::{Packet, Probe, ProbeStep},
    frame::Frame,
};
use log::debug;

use super::{Application, Core, Phase, SessionActor, Shared, WebSocket};
use crate::{outbox::Outbox, sessions::SessionLink};

/// A WebSocket that asks to carry an open polling session.
pub(crate) struct Probing<A: Application> {
    probe: Probe,
    /// Where the session lives now.
    session: SessionLink<A>,
    deadline: Instant,
    taking_over: bool,
}

/// Why a WebSocket could not take a session over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeError {
    /// It took too long (`upgrade_timeout`).
    TimedOut,
    /// The WebSocket closed.
    Closed,
    /// It sent something else than a probe and an upgrade.
    Protocol,
    /// The session ended, or another WebSocket was faster.
    SessionGone,
}

impl<A: Application> Probing<A> {
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn is_taking_over(&self) -> bool {
        self.taking_over
    }
}

impl<A: Application> SessionActor<A> {
    /// Starts the probe of a WebSocket that names an open session. `outbox` carries the probe's answer, until
    /// the session comes with its own.
    pub fn probe_session(
        shared: Arc<Shared<A>>,
        session: SessionLink<A>,
        outbox: Arc<Outbox>,
        websocket: Box<dyn WebSocket>,
        now: Instant,
    ) {
        let deadline = now + shared.config.upgrade_timeout;
        let probing = Probing { probe: Probe::default(), session, deadline, taking_over: false };
        Self::start_in(Phase::Probing(probing), shared, Some(websocket), outbox);
    }

    pub(super) fn probe(&mut self, frame: Frame, ctx: &mut Context<Self>) {
        let Phase::Probing(probing) = &mut self.phase else {
            return;
        };
        match probing.probe.receive(frame) {
            Ok(ProbeStep::ReplyPong) => {
                let pong = Encoded::engine(&Packet::Pong { probe: true });
                if self.outbox.push(pong).is_err() {
                    return self.probe_failed(ProbeError::Closed);
                }
                let release = probing.session.session.try_send(ReleasePoll);
                if release.is_err() {
                    self.probe_failed(ProbeError::SessionGone);
                }
            }
            Ok(ProbeStep::Upgrade) => {
                probing.taking_over = true;
                let question = TakeOver { by: ctx.address() };
                // Without a deadline: an answer that nobody takes would be the session itself. The old
                // actor never waits for this one, so it answers, or it is gone.
                let answer = probing.session.session.send(question).into_actor(self);
                ctx.wait(answer.map(|core, session, ctx| match core {
                    Ok(Some(core)) => session.took_over(core.0, ctx),
                    Ok(None) | Err(_) => session.probe_failed(ProbeError::SessionGone),
                }));
            }
            Err(_) => self.probe_failed(ProbeError::Protocol),
        }
    }

    fn took_over(&mut self, core: Box<Core<A>>, ctx: &mut Context<Self>) {
        let (sid, outbox) = (core.sid, core.outbox.clone());
        let Phase::Probing(probing) = std::mem::replace(&mut self.phase, Phase::Live(core)) else {
            return;
        };
        debug!(sid:%; "session upgraded to websocket");
        self.shared.metrics.upgrades.inc();
        self.shared.sessions.insert(sid, ctx.address(), outbox.clone());
        // What the other one held was written before the client could know of the upgrade.
        self.outbox = outbox;
        let past = probing.session.session;
        self.with_app(ctx, |app, cx| {
            app.moved(cx, &past);
            Ok(())
        });
    }

    pub(super) fn probe_failed(&mut self, error: ProbeError) {
        let Phase::Probing(probing) = std::mem::replace(&mut self.phase, Phase::Ended(None)) else {
            return;
        };
        debug!(error:?; "websocket did not take the session over");
        if error == ProbeError::TimedOut {
            self.shared.metrics.limit_reached("session.upgrade_timeout");
        }
        // The polling session lives on: only this WebSocket ends.
        probing.session.outbox.end_probe();
        self.outbox.end(CloseReason::TransportClosed, true);
    }
}

/// A probe runs: answer a parked GET, so that the client can pause its polling.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ReleasePoll;

impl<A: Application> Handler<ReleasePoll> for SessionActor<A> {
    type Result = ();

    fn handle(&mut self, _: ReleasePoll, _: &mut Self::Context) {
        if let Phase::Live(core) = &self.phase {
            core.outbox.release_poll();
        }
    }
}

/// The WebSocket is ready: hand the session over. None if it does not live here any more.
#[derive(Message)]
#[rtype(result = "Option<Moving<A>>")]
pub(crate) struct TakeOver<A: Application> {
    by: Addr<SessionActor<A>>,
}

/// A session on its way to another worker.
pub(crate) struct Moving<A: Application>(Box<Core<A>>);

impl<A: Application> Handler<TakeOver<A>> for SessionActor<A> {
    type Result = MessageResult<TakeOver<A>>;

    fn handle(&mut self, TakeOver { by }: TakeOver<A>, ctx: &mut Self::Context) -> Self::Result {
        match std::mem::replace(&mut self.phase, Phase::Moved(by)) {
            Phase::Live(core) if core.outbox.drain() == crate::outbox::Drain::Polling => {
                core.outbox.upgraded();
                self.linger(ctx);
                MessageResult(Some(Moving(core)))
            }
            other => {
                self.phase = other;
                MessageResult(None)
            }
        }
    }
}

/// Asked of an address from which a session has moved: the answer comes when everything that it was
/// sent before has been handed on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct HandedOn;

impl<A: Application> Handler<HandedOn> for SessionActor<A> {
    type Result = ();

    /// The mailbox waits while a message is handed on, so reaching this is the answer.
    fn handle(&mut self, _: HandedOn, _: &mut Self::Context) {}
}

//! A sign of life out of turn: a client that comes back by another connection has, as a rule, left the old one dead,
//! and nobody has told the broker.

use std::time::Instant;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{Application, Core, Phase, SessionActor};

/// Asks whether the peer lives. The answer is true with the last pong that is due then, and false once the session is
/// over, which it is after `session.proof_timeout` at the latest if there is none; a peer that is held back, and takes
/// what waits for it, has longer.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct ProveAlive;

/// Those who wait for the pong: one for each connection that has come since.
#[derive(Debug, Default)]
pub(super) struct Proofs(Vec<oneshot::Sender<()>>);

impl Proofs {
    pub(super) fn are_wanted(&self) -> bool {
        !self.0.is_empty()
    }
}

impl<A: Application> Core<A> {
    /// Queues a ping. Whether it is one more: it may join one that waits.
    pub(super) fn ping(&mut self) -> bool {
        self.hold.pinged();
        self.outbox.push_ping()
    }

    /// The peer has said something that is no message: a pong, if one was due. The last one answers all who wait.
    pub(super) fn heard(&mut self) {
        self.hold.heard();
        if !self.engine.awaits_pong() {
            for proof in self.proofs.0.drain(..) {
                // Whoever asked may be gone.
                let _ = proof.send(());
            }
        }
    }
}

impl<A: Application> Handler<ProveAlive> for SessionActor<A> {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, question: ProveAlive, _: &mut Self::Context) -> Self::Result {
        match &mut self.phase {
            Phase::Live(core) => {
                let pings = u32::from(core.ping());
                core.engine.prove(self.shared.config.proof_timeout, pings, Instant::now());
                self.armed = None;
                let (proof, proven) = oneshot::channel();
                core.proofs.0.push(proof);
                Box::pin(async move { proven.await.is_ok() })
            }
            Phase::Moved(to) => {
                let answer = to.send(question);
                Box::pin(async move { answer.await.unwrap_or(false) })
            }
            Phase::Probing(_) | Phase::Ended(_) => Box::pin(std::future::ready(false)),
        }
    }
}

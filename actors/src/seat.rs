//! An actor whose address is known before the thread on which it runs.
//!
//! The router is asked by every request, and tells sessions on. On a thread of its own each of these costs a
//! wake-up, which is more than all that is done in between; on a thread that serves sessions it costs nothing
//! for those. That thread begins after everybody has been given the router's address.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Task, Poll},
};

use actix::{dev::channel, prelude::*};

use crate::launch::vital;

/// Where an actor is still to be started. What it is sent meanwhile waits.
pub struct Seat(Box<dyn FnOnce() + Send>);

impl Seat {
    /// The address of an actor that [`Seat::start`] will make, and the way to do it.
    pub(crate) fn reserve<A>(make: impl FnOnce(&mut Context<A>) -> A + Send + 'static) -> (Addr<A>, Self)
    where
        A: Actor<Context = Context<A>>,
    {
        let (sender, receiver) = channel::channel(MAILBOX_UNTIL_STARTED);
        let start = move || {
            let mut ctx = Context::with_receiver(receiver);
            let actor = make(&mut ctx);
            actix::spawn(Vital(Box::pin(ctx.into_future(actor))));
        };
        (Addr::new(sender), Self(Box::new(start)))
    }

    /// Starts it, on this thread.
    pub fn start(self) {
        (self.0)();
    }
}

/// The bound until the actor sets its own; nobody sends to it by then but those who do not wait.
const MAILBOX_UNTIL_STARTED: usize = 16;

/// A shared actor on a thread that serves sessions: a panic in it ends the process, one beside it does not.
struct Vital<F>(Pin<Box<F>>);

impl<F: Future> Future for Vital<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<F::Output> {
        let _shared = vital();
        self.0.as_mut().poll(task)
    }
}

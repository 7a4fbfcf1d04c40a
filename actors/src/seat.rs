//! Where shared actors run.
//!
//! On a thread of its own an actor costs those who ask it a wake-up each time, which is more than most of
//! what is done in between. On a thread that serves sessions it costs nothing for the sessions of that thread.
//! Such a thread begins when everybody has been given the addresses already: an actor's address is
//! reserved, what it is sent waits, and the thread starts it.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    task::{Context as Task, Poll},
};

use actix::{dev::channel, prelude::*};

use crate::launch::vital;

/// A place where an actor can be started.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// A thread without sessions.
    Arbiter(&'a ArbiterHandle),
    /// A thread that serves sessions, and will be there soon.
    Seat(&'a Seats),
}

/// Actors that the first thread that serves sessions will start.
#[derive(Default)]
pub struct Seats(RefCell<Vec<Start>>);

type Start = Box<dyn FnOnce() + Send>;

impl Seats {
    /// Starts them, on this thread.
    pub fn start(self) {
        self.0.into_inner().into_iter().for_each(|start| start());
    }
}

impl Place<'_> {
    /// Starts an actor, now or soon; what it is sent meanwhile waits.
    pub(crate) fn start<A>(self, make: impl FnOnce(&mut Context<A>) -> A + Send + 'static) -> Addr<A>
    where
        A: Actor<Context = Context<A>>,
    {
        let seats = match self {
            Self::Arbiter(arbiter) => return A::start_in_arbiter(arbiter, make),
            Self::Seat(seats) => seats,
        };
        let (sender, receiver) = channel::channel(MAILBOX_UNTIL_STARTED);
        seats.0.borrow_mut().push(Box::new(move || {
            let mut ctx = Context::with_receiver(receiver);
            let actor = make(&mut ctx);
            actix::spawn(Vital(Box::pin(ctx.into_future(actor))));
        }));
        Addr::new(sender)
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

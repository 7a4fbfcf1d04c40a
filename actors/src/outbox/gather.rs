//! Pushes that wake their transports together, a moment later.
//!
//! What is written to a room goes to all of its members, and a busy room's next message is often read before the
//! last member has been written the first. A write costs more than all that leads to it, so a room's packets
//! do not wake anybody by themselves: a task of the thread lets everything else run first, and wakes all transports
//! then. Each makes one write, of all that came until then. A quiet room's packets wait for a glance at the
//! thread's sockets, which takes a microsecond.

use std::{cell::RefCell, task::Waker};

use framing::encoded::Encoded;

use super::{Outbox, PushError};

/// How often the others run first: those that had something to do when the first packet was queued, with those whose
/// peers have sent something meanwhile; then those that these have woken, a room among them.
const ROUNDS: usize = 2;

thread_local! {
    /// Transports to be woken. Each outbox has one waker to give, so there are never more than sessions.
    static GATHERED: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

impl Outbox {
    /// Queues one whole packet, which leaves when this thread has done what there is to do now. It must run
    /// actors.
    ///
    /// # Errors
    /// As [`Outbox::push`].
    pub(crate) fn push_gathered(&self, packet: Encoded) -> Result<(), PushError> {
        let transport = self.queue(self.state.lock(), packet)?.transport.take();
        if let Some(transport) = transport {
            gather(transport);
        }
        Ok(())
    }
}

fn gather(transport: Waker) {
    let is_first = GATHERED.with_borrow_mut(|gathered| {
        gathered.push(transport);
        gathered.len() == 1
    });
    if is_first {
        let wakes = WakesAll;
        actix::spawn(async move {
            for _ in 0..ROUNDS {
                tokio::task::yield_now().await;
            }
            drop(wakes);
        });
    }
}

/// Wakes whoever was gathered when it is dropped: also if the thread ends before its time.
struct WakesAll;

impl Drop for WakesAll {
    fn drop(&mut self) {
        // They may be polled here and now, and push.
        let gathered = GATHERED.with_borrow_mut(std::mem::take);
        gathered.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        task::{Context, Poll, Wake},
    };

    use actix::System;
    use framing::socket::{EventName, Namespace};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::{Batch, Drain, OutboxLimits};
    use super::*;
    use crate::metrics::Metrics;

    /// A WebSocket, which writes what waits as soon as it is woken.
    struct Transport {
        outbox: Arc<Outbox>,
        /// How many packets left in each write.
        writes: Mutex<Vec<usize>>,
    }

    impl Transport {
        fn new() -> Arc<Self> {
            let limits = OutboxLimits { max_bytes: 1000, max_packets: 10 };
            let outbox = Outbox::new(limits, Drain::WebSocket, Arc::new(Metrics::default()));
            let transport = Arc::new(Self { outbox, writes: Mutex::default() });
            assert_eq!(transport.write(), None);
            transport
        }

        fn write(self: &Arc<Self>) -> Option<usize> {
            let (waker, mut batch) = (Waker::from(self.clone()), Batch::default());
            let written = self.outbox.poll_batch(&mut batch, &mut Context::from_waker(&waker));
            (written == Poll::Ready(())).then_some(batch.packets.len())
        }

        fn push(&self) {
            let (ns, name) = (Namespace::from_static("/llm"), EventName::number(9));
            self.outbox.push_gathered(Encoded::event(&ns, None, &name, &[], &[])).unwrap();
        }

        fn writes(&self) -> Vec<usize> {
            self.writes.lock().unwrap().clone()
        }
    }

    impl Wake for Transport {
        fn wake(self: Arc<Self>) {
            let written = self.write();
            self.writes.lock().unwrap().extend(written);
        }
    }

    async fn until(is_so: impl Fn() -> bool) {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    }

    #[actix::test]
    async fn what_others_push_meanwhile_leaves_in_the_same_write() {
        let (one, two) = (Transport::new(), Transport::new());
        let (mut peer, mut session) = tokio::net::UnixStream::pair().unwrap();
        let (next, also) = (one.clone(), two.clone());
        let is_reading = actix::spawn(async move {
            session.read_u8().await.unwrap();
            // A room is another actor: what it is sent wakes it.
            let room = actix::spawn(async move {
                next.push();
                also.push();
            });
            room.await.unwrap();
        });
        tokio::task::yield_now().await;
        one.push();
        peer.write_u8(0).await.unwrap();
        assert!(one.writes().is_empty(), "nobody is woken at once");
        until(|| !one.writes().is_empty() && !two.writes().is_empty()).await;
        assert_eq!((one.writes(), two.writes()), (vec![2], vec![1]));
        is_reading.await.unwrap();
        // The next packet does not wait for anything that has been.
        one.push();
        until(|| one.writes().len() == 2).await;
        assert_eq!(one.writes(), [2, 1]);
    }

    #[test]
    fn a_thread_that_ends_leaves_nothing_behind() {
        for _ in 0..2 {
            let transport = Transport::new();
            let pushes = transport.clone();
            System::new().block_on(async move { pushes.push() });
            assert_eq!(transport.writes(), [1]);
        }
    }
}

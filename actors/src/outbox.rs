//! The queue of packets that waits for one session's transport.
//!
//! A packet enters whole (head and attachments) or not at all, so a peer never waits for an
//! attachment that will not come. The queue is bounded in bytes and in packets (spec appendix A);
//! an empty queue always takes one packet of legal size. Ping and close have a lane of their
//! own, so a full queue cannot silence the heartbeat.
//!
//! The outbox belongs to the session, not to its transport: it survives the upgrade from polling to
//! WebSocket, and any thread that holds it may push into it. One push wakes the transport once;
//! everything that is queued by then leaves together. What goes to many waits a moment for more ([`gather`]).

mod gather;
mod turns;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use framing::{close::CloseReason, encoded::Encoded};
use futures::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

pub use turns::{Overlap, PollAnswer, PollTurn, PostTurn};

use crate::metrics::Metrics;

/// How much may wait for a slow transport (spec appendix A).
#[derive(Clone, Copy, Debug)]
pub struct OutboxLimits {
    /// Bytes of heads and attachments together.
    pub max_bytes: usize,
    /// Packets, an attachment counting as one.
    pub max_packets: usize,
}

/// Room for so many packets is enough for a turn of the session.
const AT_EASE: usize = 128;

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The peer reads too slowly; the session is being closed with a named reason.
    Full,
    /// The session has ended.
    Closed,
}

/// The transport that drains an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// HTTP long-polling: a GET takes what waits.
    Polling,
    /// A WebSocket, which the session's own actor writes to.
    WebSocket,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Outbox {
    limits: OutboxLimits,
    /// Less than [`AT_EASE`] packets have room, which is looked at without the lock, and may be a moment old.
    crowded: AtomicBool,
    state: Mutex<State>,
    /// Wakes the session when `fault` is set from outside its actor.
    session: AtomicWaker,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    packets: VecDeque<Encoded>,
    queued_bytes: usize,
    queued_packets: usize,
    /// How often packets were taken, or parts of them.
    taken: u64,
    /// The session waits for that.
    held: bool,
    /// A heartbeat waits. One place is enough: a ping that has not left proves as much as another.
    ping: bool,
    drain: Drain,
    /// A GET is parked or being answered.
    polling: bool,
    /// A POST is being read.
    posting: bool,
    /// The parked GET must be answered now, with a noop if nothing waits.
    release_poll: bool,
    /// A WebSocket is about to take the session over.
    probing: bool,
    /// The GET that is parked began after that.
    polling_in_probe: bool,
    fault: Option<CloseReason>,
    end: Option<End>,
    transport: Option<Waker>,
}

/// How a session's output ends.
#[derive(Clone, Debug)]
pub struct End {
    /// Why; decides the WebSocket close code.
    pub reason: CloseReason,
    /// What waits is still sent first.
    pub flush: bool,
}

/// What a transport finds when it looks.
#[derive(Debug, Default)]
pub struct Batch {
    /// A heartbeat is due.
    pub ping: bool,
    /// Whole packets, in order.
    pub packets: VecDeque<Encoded>,
    /// Nothing follows.
    pub end: Option<End>,
    /// A parked GET must be answered even if nothing waits.
    pub release: bool,
}

impl Batch {
    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        !self.ping && self.packets.is_empty() && self.end.is_none() && !self.release
    }
}

impl Outbox {
    /// An empty outbox, drained by `drain`.
    pub fn new(limits: OutboxLimits, drain: Drain, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            crowded: AtomicBool::new(limits.max_packets.div_ceil(2) < AT_EASE),
            state: Mutex::new(State {
                packets: VecDeque::new(),
                queued_bytes: 0,
                queued_packets: 0,
                taken: 0,
                held: false,
                ping: false,
                drain,
                polling: false,
                posting: false,
                release_poll: false,
                probing: false,
                polling_in_probe: false,
                fault: None,
                end: None,
                transport: None,
            }),
            session: AtomicWaker::new(),
            metrics,
        })
    }

    /// Queues one whole packet.
    ///
    /// # Errors
    /// `Full` when the bounds would be exceeded: the session is then told to close as a slow
    /// consumer. `Closed` after the end.
    pub fn push(&self, packet: Encoded) -> Result<(), PushError> {
        self.push_behind(packet, || ())
    }

    /// Queues one whole packet in a turn of the session's own actor, which writes to a WebSocket at the end of that
    /// turn anyway.
    ///
    /// # Errors
    /// As [`Outbox::push`].
    pub(crate) fn push_in_turn(&self, packet: Encoded) -> Result<(), PushError> {
        let state = self.queue(self.state.lock(), packet)?;
        if state.drain == Drain::Polling {
            wake(state);
        }
        Ok(())
    }

    /// Queues packets that belong together, all or none, in a turn of the session's own actor. False if they are too
    /// large for what is free: that is no fault of the peer's, and the session stays. Whoever is behind by half of the
    /// bounds is slow all the same.
    ///
    /// # Errors
    /// As [`Outbox::push`].
    pub(crate) fn push_together(&self, packets: SmallVec<[Encoded; 2]>) -> Result<bool, PushError> {
        let mut state = self.state.lock();
        let bytes = packets.iter().map(Encoded::bytes).sum();
        let count = packets.iter().map(Encoded::packets).sum();
        if !self.fits(&state, packets.len(), bytes, count) {
            let OutboxLimits { max_bytes, max_packets } = self.limits;
            let behind = state.queued_bytes >= max_bytes / 2 || state.queued_packets >= max_packets / 2;
            if !behind || bytes > max_bytes || count > max_packets {
                self.metrics.limit_reached("limits.outbox_bytes");
                return Ok(false);
            }
        }
        for packet in packets {
            state = self.queue(state, packet)?;
        }
        if state.drain == Drain::Polling {
            wake(state);
        }
        Ok(true)
    }

    /// Whether there is room for so many events, with so many bytes and packets in all. One alone may have any size.
    pub(crate) fn admits(&self, events: usize, bytes: usize, packets: usize) -> bool {
        let state = self.state.lock();
        let fits = self.fits(&state, events, bytes, packets);
        if !fits {
            self.metrics.limit_reached("limits.outbox_bytes");
        }
        fits
    }

    /// The same, not counted. Whoever pushes into one that is over learns so there.
    fn fits(&self, state: &State, events: usize, bytes: usize, packets: usize) -> bool {
        let one_alone = state.packets.is_empty() && events == 1;
        state.is_over() || one_alone || self.has_room(state, bytes, packets)
    }

    /// Queues one whole packet; what others push because of `notices` comes behind it. `notices` must not
    /// touch this outbox itself.
    ///
    /// # Errors
    /// As [`Outbox::push`]; `notices` have been given all the same.
    pub fn push_behind(&self, packet: Encoded, notices: impl FnOnce()) -> Result<(), PushError> {
        let state = self.state.lock();
        notices();
        wake(self.queue(state, packet)?);
        Ok(())
    }

    fn queue<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        packet: Encoded,
    ) -> Result<MutexGuard<'a, State>, PushError> {
        if state.is_over() {
            return Err(PushError::Closed);
        }
        let (bytes, packets) = (packet.bytes(), packet.packets());
        if !self.has_room(&state, bytes, packets) && !state.packets.is_empty() {
            state.fault = Some(CloseReason::SlowConsumer);
            drop(state);
            self.metrics.outbox_overflows.inc();
            self.session.wake();
            return Err(PushError::Full);
        }
        state.queued_bytes += bytes;
        state.queued_packets += packets;
        state.packets.push_back(packet);
        self.changed(&state);
        Ok(state)
    }

    fn has_room(&self, state: &State, bytes: usize, packets: usize) -> bool {
        state.queued_bytes + bytes <= self.limits.max_bytes
            && state.queued_packets + packets <= self.limits.max_packets
    }

    /// Queues a heartbeat in the control lane. False if one waits there already: they leave as one.
    pub fn push_ping(&self) -> bool {
        let mut state = self.state.lock();
        let is_new = !std::mem::replace(&mut state.ping, true);
        wake(state);
        is_new
    }

    /// How many packets of the peer may be read before it must take what waits for it. What it asks for is answered
    /// here, so it may fill half of the outbox by itself; the other half is left to what others send.
    pub fn room_for_answers(&self) -> usize {
        self.state.lock().room_for_answers(&self.limits)
    }

    /// Whether something of so many bytes that the peer may wait for can be queued now: nothing waits, or it is not
    /// behind and there is room.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        let state = self.state.lock();
        let is_behind = state.room_for_answers(&self.limits) == 0;
        state.packets.is_empty() || (!is_behind && self.has_room(&state, bytes, 1))
    }

    /// Whether it is worth asking for that: there may be little room.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    fn changed(&self, state: &State) {
        self.crowded.store(state.room_for_answers(&self.limits) < AT_EASE, Ordering::Relaxed);
    }

    /// The session reads nothing more from its peer, and wants to know when something is taken.
    pub(crate) fn hold(&self) {
        self.state.lock().held = true;
    }

    /// How often the peer's transport has taken something: whoever takes something lives.
    pub fn taken(&self) -> u64 {
        self.state.lock().taken
    }

    /// The peer has taken a part of what it is being written.
    pub fn goes_on(&self) {
        self.state.lock().taken += 1;
    }

    /// Bytes that wait.
    pub fn queued_bytes(&self) -> usize {
        self.state.lock().queued_bytes
    }

    /// Ends the output; what waits is sent first if `flush`. The first end wins.
    pub fn end(&self, reason: CloseReason, flush: bool) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            if !flush {
                state.clear();
            }
            state.end = Some(End { reason, flush });
        }
        wake(state);
    }

    /// Whether the output has ended, and nothing but its end needs to be sent.
    pub fn is_abandoned(&self) -> bool {
        self.state.lock().end.as_ref().is_some_and(|end| !end.flush)
    }

    /// Whether the output has ended.
    pub fn is_ended(&self) -> bool {
        self.state.lock().end.is_some()
    }

    /// Tells the session, from any thread, that it must close.
    pub fn fail(&self, reason: CloseReason) {
        let mut state = self.state.lock();
        if state.fault.is_none() {
            state.fault = Some(reason);
        }
        drop(state);
        self.session.wake();
    }

    /// The session's side of [`Outbox::fail`]: registers for it and takes what happened.
    pub fn poll_fault(&self, cx: &mut Context<'_>) -> Option<CloseReason> {
        self.session.register(cx.waker());
        self.state.lock().fault.clone()
    }

    /// The transport that drains this outbox.
    pub fn drain(&self) -> Drain {
        self.state.lock().drain
    }

    /// From here on a WebSocket drains the outbox; a parked GET is refused.
    pub fn upgraded(&self) {
        let mut state = self.state.lock();
        state.drain = Drain::WebSocket;
        state.probing = false;
        wake(state);
    }

    /// A WebSocket asks to take the session over. False if another one does, or has.
    pub fn begin_probe(&self) -> bool {
        let mut state = self.state.lock();
        let free = !state.probing && state.drain == Drain::Polling && state.end.is_none();
        state.probing |= free;
        free
    }

    /// That WebSocket has failed.
    pub fn end_probe(&self) {
        self.state.lock().probing = false;
    }

    /// Whether a WebSocket is about to take the session over.
    pub fn is_probing(&self) -> bool {
        self.state.lock().probing
    }

    /// Whether a GET of this session may still be on its way: it is on polling, and none is parked.
    pub fn expects_poll(&self) -> bool {
        let state = self.state.lock();
        state.drain == Drain::Polling && !state.polling
    }

    /// Answers a parked GET with a noop, so that the client can pause its polling. One that began
    /// after the WebSocket came waits for what becomes of that, see [`Outbox::end_poll`].
    pub fn release_poll(&self) {
        let mut state = self.state.lock();
        state.release_poll |= state.polling && !state.polling_in_probe;
        wake(state);
    }

    /// Answers a parked GET with a noop, whenever it began.
    pub fn end_poll(&self) {
        let mut state = self.state.lock();
        state.release_poll = state.polling;
        wake(state);
    }

    /// The WebSocket's side: takes everything that waits, and wakes whoever asked when more comes. `batch` is what
    /// was written last: what it has memory for, the next packets are queued in.
    pub fn poll_batch(&self, batch: &mut Batch, cx: &mut Context<'_>) -> Poll<()> {
        batch.packets.clear();
        let mut state = self.state.lock();
        state.take(batch);
        self.changed(&state);
        state.park(cx);
        if batch.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Outbox {
    /// What waits now, for the answer to a polling handshake.
    pub fn take_ready(&self) -> Option<VecDeque<Encoded>> {
        let mut batch = Batch::default();
        let mut state = self.state.lock();
        state.take(&mut batch);
        self.changed(&state);
        drop(state);
        (!batch.packets.is_empty()).then_some(batch.packets)
    }
}

impl State {
    fn is_over(&self) -> bool {
        self.end.is_some() || self.fault.is_some()
    }

    fn room_for_answers(&self, limits: &OutboxLimits) -> usize {
        if self.queued_bytes > limits.max_bytes / 2 {
            return 0;
        }
        limits.max_packets.div_ceil(2).saturating_sub(self.queued_packets)
    }

    /// Leaves the memory of `batch`, which has no packets, for the next ones; not much of it, because most outboxes
    /// are empty most of the time.
    fn take(&mut self, batch: &mut Batch) {
        const KEPT: usize = 4;
        self.queued_bytes = 0;
        self.queued_packets = 0;
        self.taken += u64::from(!self.packets.is_empty());
        if batch.packets.capacity() > KEPT {
            batch.packets = VecDeque::new();
        }
        batch.ping = std::mem::take(&mut self.ping);
        std::mem::swap(&mut batch.packets, &mut self.packets);
        batch.end.clone_from(&self.end);
        batch.release = std::mem::take(&mut self.release_poll);
    }

    fn clear(&mut self) {
        self.packets.clear();
        self.queued_bytes = 0;
        self.queued_packets = 0;
    }

    fn park(&mut self, cx: &mut Context<'_>) {
        match &mut self.transport {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
    }
}

/// Wakes the transport after the lock is released, so that it does not wake into a held lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let transport = state.transport.take();
    drop(state);
    if let Some(transport) = transport {
        transport.wake();
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;

//! The turns of polling requests at an outbox: one GET and one POST of a session at a time.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
};

use framing::{close::CloseReason, encoded::Encoded, frame::Frame};

use super::{Drain, Outbox, State};

impl Outbox {
    /// The polling transport's side: reserves the outbox for one GET.
    ///
    /// # Errors
    /// Two GETs at once break the protocol: the session is told to close, and the second is refused.
    pub fn begin_poll(self: &Arc<Self>) -> Result<PollTurn, Overlap> {
        let mut state = self.state.lock();
        if state.drain == Drain::WebSocket {
            return Err(Overlap::Upgraded);
        }
        if state.polling {
            drop(state);
            self.fail(CloseReason::TransportError);
            return Err(Overlap::Concurrent);
        }
        state.polling = true;
        state.polling_in_probe = state.probing;
        Ok(PollTurn { outbox: Some(self.clone()), max_packets: PACKETS_PER_POLL })
    }

    /// Reserves the session for one POST: two at once could change places.
    ///
    /// # Errors
    /// Another POST is being read: the session is told to close.
    pub fn begin_post(self: &Arc<Self>) -> Result<PostTurn, Overlap> {
        let mut state = self.state.lock();
        if state.posting {
            drop(state);
            self.fail(CloseReason::TransportError);
            return Err(Overlap::Concurrent);
        }
        state.posting = true;
        Ok(PostTurn(self.clone()))
    }
}

/// One POST's turn.
#[derive(Debug)]
pub struct PostTurn(Arc<Outbox>);

impl Drop for PostTurn {
    fn drop(&mut self) {
        self.0.state.lock().posting = false;
    }
}

/// Why a GET could not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// Another GET of this session is being served.
    Concurrent,
    /// The session has moved to a WebSocket.
    Upgraded,
}

/// One GET's turn at the outbox. Dropped before its answer (the request was aborted), it ends the
/// session: what the peer did not read would be lost without a sign.
#[derive(Debug)]
pub struct PollTurn {
    outbox: Option<Arc<Outbox>>,
    max_packets: usize,
}

/// Packets of one polling body, unless [`PollTurn::at_most`] says otherwise: python-engineio drops
/// the connection when a body holds more.
const PACKETS_PER_POLL: usize = 16;

/// What one GET answers with.
#[derive(Debug)]
pub enum PollAnswer {
    /// Packets that fit one payload, in order; a ping stands before them.
    Packets {
        /// A heartbeat is due.
        ping: bool,
        /// At least one packet, if there is no ping.
        packets: VecDeque<Encoded>,
    },
    /// Nothing waits, but the request must end: a WebSocket is about to take over.
    Noop,
    /// A WebSocket has taken over.
    Upgraded,
    /// The session has ended.
    Ended(CloseReason),
}

impl PollTurn {
    /// Takes at most so many packets, a ping and attachments counted; at least 2.
    pub fn at_most(mut self, packets: usize) -> Self {
        self.max_packets = packets.max(2);
        self
    }

    /// Waits until something is there, at most `max_bytes` of it (one packet always fits).
    pub fn poll(&mut self, max_bytes: usize, cx: &mut Context<'_>) -> Poll<PollAnswer> {
        let Some(outbox) = &self.outbox else {
            return Poll::Ready(PollAnswer::Noop);
        };
        let mut state = outbox.state.lock();
        if state.drain == Drain::WebSocket {
            state.polling = false;
            drop(state);
            self.outbox = None;
            return Poll::Ready(PollAnswer::Upgraded);
        }
        let ping = std::mem::take(&mut state.ping);
        if ping || !state.packets.is_empty() {
            let (packets, cut) = state.take_up_to(max_bytes, self.max_packets - usize::from(ping));
            outbox.changed(&state);
            let was_held = std::mem::take(&mut state.held);
            state.polling = false;
            state.release_poll = false;
            drop(state);
            if was_held {
                outbox.session.wake();
            }
            if cut {
                outbox.metrics.limit_reached("limits.packets_per_poll");
            }
            self.outbox = None;
            return Poll::Ready(PollAnswer::Packets { ping, packets });
        }
        let answer = if let Some(end) = &state.end {
            PollAnswer::Ended(end.reason.clone())
        } else if state.release_poll {
            state.release_poll = false;
            PollAnswer::Noop
        } else {
            state.park(cx);
            return Poll::Pending;
        };
        state.polling = false;
        drop(state);
        self.outbox = None;
        Poll::Ready(answer)
    }
}

impl State {
    /// Whole packets only, so that one with more attachments than `max_packets` still leaves. Also: whether
    /// packets were left for their number.
    fn take_up_to(&mut self, max_bytes: usize, max_packets: usize) -> (VecDeque<Encoded>, bool) {
        let mut taken = VecDeque::new();
        let (mut size, mut count) = (0, 0);
        let mut cut = false;
        self.taken += u64::from(!self.packets.is_empty());
        while let Some(next) = self.packets.front() {
            let wire = next.frames().map(|frame| polling_len(&frame) + 1).sum::<usize>();
            count += next.packets();
            if !taken.is_empty() && (size + wire > max_bytes || count > max_packets) {
                cut = count > max_packets;
                break;
            }
            size += wire;
            self.queued_bytes -= next.bytes();
            self.queued_packets -= next.packets();
            taken.extend(self.packets.pop_front());
        }
        (taken, cut)
    }
}

/// Length of a frame in a polling body: base64 is a third longer than its bytes, after a `b`.
pub(super) fn polling_len(frame: &Frame) -> usize {
    match frame {
        Frame::Text(text) => text.len(),
        Frame::Binary(bytes) => 1 + bytes.len().div_ceil(3) * 4,
    }
}

impl Drop for PollTurn {
    fn drop(&mut self) {
        if let Some(outbox) = self.outbox.take() {
            outbox.state.lock().polling = false;
            outbox.fail(CloseReason::TransportError);
        }
    }
}

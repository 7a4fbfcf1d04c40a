//! What a session asks of the WebSocket that carries it.

use std::task::{Context, Poll};

use framing::{close::CloseReason, frame::Frame};

use crate::outbox::Outbox;

/// A WebSocket, as the edge reads and writes it. It stays on the worker that owns the socket, and only the session's
/// actor polls it, at the end of each of its turns: whatever the turn has queued leaves together.
pub trait WebSocket {
    /// The peer's next frame.
    ///
    /// # Errors
    /// There are no more: the peer has closed the connection, broken its rules, or is gone.
    fn poll_frame(&mut self, task: &mut Context<'_>) -> Poll<Result<Frame, CloseReason>>;

    /// Writes what the outbox holds. Ready when it will not write any more: the outbox has ended and the peer knows,
    /// or the peer is gone.
    fn poll_drain(&mut self, outbox: &Outbox, task: &mut Context<'_>) -> Poll<()>;
}

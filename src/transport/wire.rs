//! The connection of a WebSocket after its handshake: reads and writes for the session's actor, in that actor's
//! own turn. A frame that comes in and what it makes leave cost one task, one `recv` and one `send`.
//!
//! ```text
//!         end of the outbox           all of it written           peer closes, or close_timeout is over
//!   Open ──────────────────► Ending ───────────────────► Closing ────────────────────────────────► done
//!    └────── peer is gone ─────┴─ or takes nothing ──────────────────────────────────────────────► done
//! ```
//!
//! A peer that has been written everything has that time to close its side, because the kernel would take back what
//! it has not read yet; one that was closed because it did not read has it to read why.
//!
//! While the peer is silent a connection owns no buffer: what is read goes through one of its thread's, and so does
//! what is written. Only a frame that has not come whole, and what the kernel does not take at once, is kept.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_rt::net::TcpStream;
use actors::{
    metrics::Metrics,
    outbox::{Batch, Outbox},
    session::WebSocket,
};
use bytes::{Buf, Bytes, BytesMut};
use framing::{close::CloseReason, frame::Frame};
use log::debug;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::{
    frame_guard::FrameLimits,
    handover::Connection,
    inbound::{Inbound, Reader},
    outbound::Writer,
};

/// Bytes read at once.
const READ: usize = 64 * 1024;

/// What a thread keeps for writing at most, in bytes; a larger buffer is given back after its use.
const KEPT_FOR_WRITING: usize = 256 * 1024;

thread_local! {
    static READING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
    static WRITING: RefCell<Scratch> = RefCell::default();
}

/// What a thread writes with.
#[derive(Default)]
struct Scratch {
    buffer: BytesMut,
    batch: Batch,
}

/// See the module's documentation.
pub(super) struct Wire {
    connection: Connection,
    reader: Reader,
    writer: Writer,
    /// The answer to a ping of RFC 6455. The last one wins (§5.5.3).
    pong: Option<Bytes>,
    phase: Phase,
    close_timeout: Duration,
    metrics: Arc<Metrics>,
}

enum Phase {
    /// The head of the handshake's response is unsent, and leaves with the first packets.
    Fresh,
    Open,
    /// The outbox has ended; its end is among what is not written yet.
    Ending {
        /// A peer that did not read before gets a moment to read its farewell. Any other has the time that the
        /// kernel gives it (`server.send_timeout`).
        patience: Option<Pin<Box<Sleep>>>,
    },
    /// Everything is written, and the connection half closed.
    Closing(Pin<Box<Sleep>>),
}

impl Wire {
    /// `close_timeout`: time that the connection has to end after the outbox.
    pub(super) fn new(
        connection: Connection,
        limits: FrameLimits,
        close_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (reader, writer) = (Reader::new(limits), Writer::default());
        Self { connection, reader, writer, pong: None, phase: Phase::Fresh, close_timeout, metrics }
    }

    /// Reads once.
    fn poll_read(&mut self, task: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        if !self.connection.received.is_empty() {
            // A client may send before it has seen the response.
            return Poll::Ready(self.reader.feed(&std::mem::take(&mut self.connection.received)));
        }
        let Self { connection, reader, .. } = self;
        // The connection may end without a close frame.
        let read = ready!(poll_bytes(&mut connection.io, task, |bytes| reader.feed(bytes)));
        Poll::Ready(read.unwrap_or(Err(CloseReason::TransportClosed)))
    }

    /// Writes what the kernel has not taken yet.
    fn poll_unsent(&mut self, outbox: &Outbox, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Connection { io, unsent, .. } = &mut self.connection;
        if unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !unsent.is_empty() {
            let written = ready!(Pin::new(&mut *io).poll_write(task, unsent))?;
            unsent.advance(written);
            // What a slow peer is sent may be much, and it lives as long as this goes on.
            outbox.goes_on();
        }
        *unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Writes a batch behind what is unsent: at once what the kernel takes, the rest is kept.
    fn write(&mut self, Scratch { buffer, batch }: &mut Scratch, task: &mut Context<'_>) -> io::Result<()> {
        buffer.clear();
        let Self { connection: Connection { io, unsent, .. }, writer, pong, metrics, .. } = self;
        if let Some(payload) = pong.take() {
            writer.pong(payload, buffer).map_err(io::Error::other)?;
        }
        writer.batch(batch, buffer).map_err(io::Error::other)?;
        metrics.frames_out.inc_by(std::mem::take(&mut writer.frames));
        let taken = match unsent.is_empty().then(|| Pin::new(io).poll_write(task, buffer)) {
            Some(Poll::Ready(written)) => written?,
            Some(Poll::Pending) | None => 0,
        };
        unsent.extend_from_slice(buffer.get(taken..).unwrap_or_default());
        if buffer.capacity() > KEPT_FOR_WRITING {
            *buffer = BytesMut::new();
        }
        Ok(())
    }

    /// Writes until there is nothing to write, or the kernel takes no more. Ready after the end of the outbox.
    fn poll_write(
        &mut self,
        outbox: &Outbox,
        scratch: &mut Scratch,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let is_fresh = matches!(self.phase, Phase::Fresh);
            let blocked = !is_fresh && self.poll_unsent(outbox, task)?.is_pending();
            match &mut self.phase {
                Phase::Fresh => self.phase = Phase::Open,
                // What is left of an abandoned outbox is its end.
                Phase::Open if !blocked || outbox.is_abandoned() => (),
                Phase::Ending { patience: Some(patience) } if blocked => {
                    ready!(patience.as_mut().poll(task));
                    self.metrics.limit_reached("session.close_timeout");
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                _ if blocked => return Poll::Pending,
                _ => return Poll::Ready(Ok(())),
            }
            if outbox.poll_batch(&mut scratch.batch, task).is_pending() && self.pong.is_none() {
                if is_fresh {
                    continue;
                }
                return Poll::Pending;
            }
            self.write(scratch, task)?;
            match &scratch.batch.end {
                Some(end) => {
                    let patience = (!end.flush).then(|| Box::pin(tokio::time::sleep(self.close_timeout)));
                    self.phase = Phase::Ending { patience };
                }
                // The outbox has been emptied, and says when it is not empty any more.
                None if self.connection.unsent.is_empty() => return Poll::Pending,
                None => (),
            }
        }
    }

    /// Reads what nobody wants any more, until the peer closes its side.
    fn poll_farewell(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let Phase::Closing(timer) = &mut self.phase else {
            return Poll::Ready(());
        };
        if timer.as_mut().poll(task).is_ready() {
            self.metrics.limit_reached("session.close_timeout");
            return Poll::Ready(());
        }
        if ready!(poll_bytes(&mut self.connection.io, task, |_| ())).is_some() {
            // There may be more, and others want their turn.
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

/// Reads once, for `take`. None: the peer is gone.
fn poll_bytes<T>(
    io: &mut TcpStream,
    task: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<Option<T>> {
    READING.with_borrow_mut(|bytes| {
        let mut bytes = ReadBuf::new(bytes);
        let read = ready!(Pin::new(io).poll_read(task, &mut bytes));
        Poll::Ready((read.is_ok() && !bytes.filled().is_empty()).then(|| take(bytes.filled())))
    })
}

impl WebSocket for Wire {
    fn poll_frame(&mut self, task: &mut Context<'_>) -> Poll<Result<Frame, CloseReason>> {
        loop {
            match self.reader.next()? {
                Some(Inbound::Frame(frame)) => return Poll::Ready(Ok(frame)),
                Some(Inbound::Ping(payload)) => self.pong = Some(payload),
                Some(Inbound::Close) => return Poll::Ready(Err(CloseReason::TransportClosed)),
                None => ready!(self.poll_read(task))?,
            }
        }
    }

    fn poll_drain(&mut self, outbox: &Outbox, task: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.phase, Phase::Closing(_)) {
            let written = WRITING.with_borrow_mut(|scratch| self.poll_write(outbox, scratch, task));
            if let Err(error) = ready!(written) {
                debug!(error:%; "connection lost");
                return Poll::Ready(());
            }
            if ready!(Pin::new(&mut self.connection.io).poll_shutdown(task)).is_err() {
                return Poll::Ready(());
            }
            self.phase = Phase::Closing(Box::pin(tokio::time::sleep(self.close_timeout)));
        }
        self.poll_farewell(task)
    }
}

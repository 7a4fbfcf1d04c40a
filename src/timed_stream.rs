//! A connection that HTTP waits for only so long.
//!
//! actix times the head of the first request of a connection, and connections of which nothing has come since their
//! last response. One byte of a second head, or a body that does not end, stops both clocks.

use std::{
    cell::Cell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_rt::net::{ActixStream, Ready, TcpStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// See the module's documentation.
pub(crate) struct TimedStream {
    io: TcpStream,
    requests: Rc<Requests>,
    patience: Duration,
    /// What was written last, the system has not taken: how long that may last is its own matter.
    blocked: bool,
    /// Runs while a request is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The requests of one connection.
pub(crate) struct Requests {
    being_served: Cell<bool>,
    /// When the last one was answered, or a part of the answer written.
    answered: Cell<Instant>,
}

/// While it lives, a request is being served.
pub(crate) struct Serving(Rc<Requests>);

impl Requests {
    pub(crate) fn serve(self: &Rc<Self>) -> Serving {
        self.being_served.set(true);
        Serving(self.clone())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.being_served.set(false);
        self.0.answered.set(Instant::now());
    }
}

impl TimedStream {
    /// A request, and what is left of the one before, is waited for so long.
    pub(crate) fn new(io: TcpStream, patience: Duration) -> Self {
        let requests =
            Rc::new(Requests { being_served: Cell::new(false), answered: Cell::new(Instant::now()) });
        Self { io, requests, patience, blocked: false, timer: None }
    }

    pub(crate) fn get_ref(&self) -> &TcpStream {
        &self.io
    }

    pub(crate) fn requests(&self) -> &Rc<Requests> {
        &self.requests
    }

    /// The connection, for what is no HTTP any more.
    pub(crate) fn into_inner(self) -> TcpStream {
        self.io
    }

    /// Ready when the peer has been waited for long enough.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.requests.being_served.get() || self.blocked {
            return Poll::Pending;
        }
        let until = self.requests.answered.get() + self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx)
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.blocked = written.is_pending();
        self.requests.answered.set(Instant::now());
        written
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_pending() && self.poll_patience(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl ActixStream for TimedStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.io, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.io, cx)
    }
}

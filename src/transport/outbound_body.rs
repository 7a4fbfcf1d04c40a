//! The response body of a WebSocket: drains the session's outbox and encodes everything that waits
//! into one buffer, so that queued packets leave in one system call (facts §3.5).

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use actix_codec::Encoder;
use actix_http::ws::{Codec, Message, ProtocolError};
use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    web::{Bytes, BytesMut},
};
use actors::{
    metrics::Metrics,
    outbox::{Batch, End, Outbox},
};
use framing::{engine::Packet, frame::Frame};

/// The outbox that a WebSocket drains. At the upgrade it changes to the session's own.
pub(super) struct Line {
    outbox: RefCell<Arc<Outbox>>,
    body: RefCell<Option<Waker>>,
}

impl Line {
    pub(super) fn new(outbox: Arc<Outbox>) -> Rc<Self> {
        Rc::new(Self { outbox: RefCell::new(outbox), body: RefCell::new(None) })
    }

    pub(super) fn outbox(&self) -> Arc<Outbox> {
        self.outbox.borrow().clone()
    }

    /// From here on `outbox` is drained. What the old one held was answered before the upgrade.
    pub(super) fn switch(&self, outbox: Arc<Outbox>) {
        *self.outbox.borrow_mut() = outbox;
        if let Some(body) = self.body.borrow_mut().take() {
            body.wake();
        }
    }

    fn poll_batch(&self, cx: &mut Context<'_>) -> Poll<Batch> {
        let mut body = self.body.borrow_mut();
        if body.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *body = Some(cx.waker().clone());
        }
        self.outbox.borrow().poll_batch(cx)
    }
}

/// See the module's documentation.
pub(super) struct OutboundBody {
    line: Rc<Line>,
    codec: Codec,
    metrics: Arc<Metrics>,
    finished: bool,
    /// actix-ws ends its message stream when its own body is dropped: kept, never polled.
    _theirs: BoxBody,
}

impl OutboundBody {
    pub(super) fn new(line: Rc<Line>, theirs: BoxBody, metrics: Arc<Metrics>) -> Self {
        Self { line, codec: Codec::new(), metrics, finished: false, _theirs: theirs }
    }

    fn encode(&mut self, batch: Batch) -> Result<Bytes, ProtocolError> {
        let bytes: usize = batch.packets.iter().map(framing::encoded::Encoded::bytes).sum();
        let mut buffer = BytesMut::with_capacity(bytes + 16 + batch.packets.len() * 16);
        let mut frames = 0;
        if let Some(pong) = batch.pong {
            self.codec.encode(Message::Pong(pong), &mut buffer)?;
        }
        if batch.ping {
            self.write(Packet::Ping { probe: false }.encode(), &mut buffer)?;
            frames += 1;
        }
        for packet in &batch.packets {
            for frame in packet.frames() {
                self.write(frame, &mut buffer)?;
                frames += 1;
            }
        }
        if let Some(End { reason, .. }) = batch.end {
            self.finished = true;
            let close = actix_http::ws::CloseReason {
                code: actix_http::ws::CloseCode::from(reason.websocket_code()),
                description: Some(reason.text().to_owned()),
            };
            self.codec.encode(Message::Close(Some(close)), &mut buffer)?;
        }
        self.metrics.frames_out.inc_by(frames);
        Ok(buffer.freeze())
    }

    fn write(&mut self, frame: Frame, buffer: &mut BytesMut) -> Result<(), ProtocolError> {
        let message = match frame {
            Frame::Text(text) => Message::Text(text),
            Frame::Binary(bytes) => Message::Binary(bytes),
        };
        self.codec.encode(message, buffer)
    }
}

impl MessageBody for OutboundBody {
    type Error = ProtocolError;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        while !self.finished {
            let batch = match self.line.poll_batch(cx) {
                Poll::Ready(batch) => batch,
                Poll::Pending => return Poll::Pending,
            };
            match self.encode(batch) {
                // A batch may hold nothing for a WebSocket; an empty chunk would end the body.
                Ok(bytes) if bytes.is_empty() => (),
                Ok(bytes) => return Poll::Ready(Some(Ok(bytes))),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        Poll::Ready(None)
    }
}

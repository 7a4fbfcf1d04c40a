//! From what waits in an outbox to the bytes of a WebSocket: everything that waits goes into one buffer, so that
//! queued packets leave in one system call (facts §3.5).

use actix_codec::Encoder;
use actix_http::ws::{CloseCode, CloseReason, Codec, Message, ProtocolError};
use actors::outbox::{Batch, End};
use bytes::{Bytes, BytesMut};
use framing::{encoded::Encoded, engine::Packet, frame::Frame};

/// Writes frames. It has no state of its own: none of them is fragmented.
pub(super) struct Writer {
    codec: Codec,
    /// Frames written, without those of RFC 6455's own control.
    pub(super) frames: u64,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { codec: Codec::new(), frames: 0 }
    }

    /// The answer to a ping of RFC 6455.
    pub(super) fn pong(&mut self, payload: Bytes, buffer: &mut BytesMut) -> Result<(), ProtocolError> {
        self.codec.encode(Message::Pong(payload), buffer)
    }

    /// Whole packets, the heartbeat before them, a close frame behind them if it is the end.
    pub(super) fn batch(&mut self, batch: &Batch, buffer: &mut BytesMut) -> Result<(), ProtocolError> {
        const HEADER: usize = 16;
        buffer.reserve(batch.packets.iter().map(|packet| packet.bytes() + packet.packets() * HEADER).sum());
        if batch.ping {
            self.frame(Packet::Ping { probe: false }.encode(), buffer)?;
        }
        for frame in batch.packets.iter().flat_map(Encoded::frames) {
            self.frame(frame, buffer)?;
        }
        if let Some(End { reason, .. }) = &batch.end {
            let close = CloseReason {
                code: CloseCode::from(reason.websocket_code()),
                description: Some(reason.text().to_owned()),
            };
            self.codec.encode(Message::Close(Some(close)), buffer)?;
        }
        Ok(())
    }

    fn frame(&mut self, frame: Frame, buffer: &mut BytesMut) -> Result<(), ProtocolError> {
        self.frames += 1;
        let message = match frame {
            Frame::Text(text) => Message::Text(text),
            Frame::Binary(bytes) => Message::Binary(bytes),
        };
        self.codec.encode(message, buffer)
    }
}

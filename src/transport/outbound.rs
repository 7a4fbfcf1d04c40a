//! From what waits in an outbox to the bytes of a WebSocket: everything that waits goes into one buffer, so that
//! queued packets leave in one system call (facts §3.5).

use actix_codec::Encoder;
use actix_http::ws::{CloseCode, CloseReason, Codec, Message, OpCode, Parser, ProtocolError};
use actors::outbox::{Batch, End};
use bytes::{Bytes, BytesMut};
use framing::{encoded::Encoded, engine::Packet};

/// Writes frames. It has no state of its own: none of them is fragmented, and a server masks nothing.
#[derive(Default)]
pub(super) struct Writer {
    codec: Codec,
    /// Frames written, without those of RFC 6455's own control.
    pub(super) frames: u64,
}

impl Writer {
    /// The answer to a ping of RFC 6455.
    pub(super) fn pong(&mut self, payload: Bytes, buffer: &mut BytesMut) -> Result<(), ProtocolError> {
        self.codec.encode(Message::Pong(payload), buffer)
    }

    /// Whole packets, the heartbeat before them, a close frame behind them if it is the end.
    pub(super) fn batch(&mut self, batch: &Batch, buffer: &mut BytesMut) -> Result<(), ProtocolError> {
        const HEADER: usize = 16;
        buffer.reserve(batch.packets.iter().map(|packet| packet.bytes() + packet.packets() * HEADER).sum());
        if batch.ping {
            self.packet(&Encoded::engine(&Packet::Ping { probe: false }), buffer);
        }
        for packet in &batch.packets {
            self.packet(packet, buffer);
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

    /// As the codec does it, without a share of each part for the time of the call.
    fn packet(&mut self, packet: &Encoded, buffer: &mut BytesMut) {
        if let Some(head) = packet.head() {
            Parser::write_message(buffer, head, OpCode::Text, true, false);
        }
        for attachment in packet.attachments() {
            Parser::write_message(buffer, attachment, OpCode::Binary, true, false);
        }
        self.frames += packet.packets() as u64;
    }
}

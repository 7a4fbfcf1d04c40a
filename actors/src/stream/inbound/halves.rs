//! Characters whose halves come in different pieces, or in different streams of an output
//! (spec §5.4, "Surrogates").

use std::sync::Arc;

use framing::json::{JsString, SurrogateJoiner};

use super::InboundStreams;
use super::open::OpenStream;
use super::outputs::{Carry, Outputs};
use super::types::Emit;
use crate::stream::StreamInfo;

impl<R: Clone> InboundStreams<R> {
    /// Uncounts a stream that is over, and leaves its half of a character to the next stream of
    /// the output, or completes its text if there is no next one.
    pub(super) fn leave_output(&mut self, stream: &mut OpenStream<R>, kept: usize, is_final: bool) {
        self.bytes -= kept;
        let Some(output) = self.outputs.get_mut(&stream.info.output_id) else {
            return;
        };
        output.bytes -= kept;
        output.open -= 1;
        output.finished |= is_final;
        if stream.joiner.is_some() {
            output.begun -= 1;
        }
        let last = output.finished && output.open == 0;
        if last && stream.joiner.is_none() {
            stream.joiner = output.carry.take().map(|carry| carry.joiner);
        }
        if let Some(mut joiner) = stream.joiner.take().filter(SurrogateJoiner::has_pending) {
            // Beside a stream that has begun, "next" would be the middle of that stream.
            if last || output.begun > 0 || output.carry.is_some() {
                stream.text.push_str(&joiner.finish().unwrap_or_default());
            } else {
                let (route, info) = (stream.route.clone(), Arc::clone(&stream.info));
                output.carry = Some(Carry { joiner, info, route });
            }
        }
        self.outputs.forget_if_over(&stream.info.output_id);
    }

    /// Completes the oldest half characters while too many outputs wait for the other half.
    pub(super) fn bound_carries(&mut self, out: &mut Vec<Emit<R>>) {
        while self.outputs.len() > 2 * self.limits.max_streams {
            let Some(output_id) = self.outputs.oldest_waiting() else {
                return;
            };
            self.finish_output(&output_id, out);
        }
    }
}

/// Appends to a stream; its first text takes over what earlier streams of the output left.
pub(super) fn append<R>(stream: &mut OpenStream<R>, outputs: &mut Outputs<R>, piece: &JsString) {
    if piece.is_empty() {
        return;
    }
    if stream.joiner.is_none() {
        let carry = outputs.get_mut(&stream.info.output_id).and_then(|output| {
            output.begun += 1;
            output.carry.take()
        });
        stream.joiner = Some(carry.map(|carry| carry.joiner).unwrap_or_default());
    }
    if let Some(joiner) = &mut stream.joiner {
        stream.text.push_str(&joiner.push(piece));
    }
}

/// Completes a half character in a stream of its own.
pub(super) fn emit_carry<R>(carry: Carry<R>, out: &mut Vec<Emit<R>>) {
    let Carry { mut joiner, info, route } = carry;
    if let Some(text) = joiner.finish() {
        let (stream_id, output_id) = (info.stream_id.clone(), info.output_id.clone());
        let info = Arc::new(StreamInfo::new(stream_id, output_id, info.request_id.clone()).of(&info.unread));
        let text = text.into_bytes();
        out.push(Emit::Text { route, info, text, end: true });
    }
}

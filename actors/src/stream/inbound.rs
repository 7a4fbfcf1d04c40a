//! The streams that one extension sends: pieces in, whole text out (spec §5.3, §5.4, §5.5 rule 8).
//!
//! The extension sends each token as a little stream of five pieces, many of them empty, cut in
//! the middle of characters. [`InboundStreams`] puts the pieces in order, joins the halves of
//! characters over all streams of an output, and holds a little stream back until its END, so
//! that a token leaves as **one** [`Emit::Text`] with `end: true`.
//!
//! ```text
//!              START            DATA in order             END
//!  (unknown) ────────► holding ───────────────► holding ───────► one Text, end: true
//!                         │ 20 ms, or > 5 pieces announced
//!                         ▼
//!                      passing ── DATA ─► Text, end: false ── END ─► Text (maybe empty), end: true
//!     any state: 60 s idle, overflow, abort ─► Fail
//! ```

use crate::maps::FastMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytestring::ByteString;
use framing::json::{JsString, SurrogateJoiner};

mod halves;
mod open;
mod outputs;
mod pieces;
mod types;

#[cfg(test)]
mod tests;

pub use pieces::PIECE_COST;
pub use types::{DataError, Emit, EndError, InboundLimits, PieceKind, StartError, StreamStart};

use super::StreamInfo;
use halves::{append, emit_carry};
use open::{ByStreamId, OpenStream};
use outputs::Outputs;
use pieces::{Pieces, Place};

/// Reason of [`Emit::Fail`]: no event for [`InboundLimits::idle`].
pub const STREAM_IDLE: &str = "stream idle";
/// Reason of [`Emit::Fail`]: a limit on kept bytes was reached.
pub const STREAM_OVERFLOW: &str = "stream too large";

/// All streams of one extension's socket.
///
/// `R` is the route of a stream: whatever the session needs to find the receivers.
#[derive(Debug)]
pub struct InboundStreams<R> {
    limits: InboundLimits,
    /// By key, so in the order of their STARTs.
    streams: BTreeMap<u64, OpenStream<R>>,
    by_id: FastMap<ByStreamId, u64>,
    outputs: Outputs<R>,
    /// One entry a stream. The idle ones are not moved by every DATA: when one fires early it is
    /// set anew.
    timers: BTreeSet<(Instant, u64)>,
    bytes: usize,
    /// Output and request of the last stream: the next one usually has the same.
    last: Option<(Arc<str>, Arc<str>)>,
    /// Buffer of a stream that has ended, for the next one.
    spare: String,
}

impl<R: Clone> InboundStreams<R> {
    /// No streams yet.
    pub fn new(limits: InboundLimits) -> Self {
        Self {
            limits,
            streams: BTreeMap::new(),
            by_id: FastMap::default(),
            outputs: Outputs::new(),
            timers: BTreeSet::new(),
            bytes: 0,
            last: None,
            spare: String::new(),
        }
    }

    /// Opens a stream.
    pub fn start(&mut self, start: StreamStart<R>, now: Instant) -> Result<(), StartError> {
        if self.by_id.contains_key::<str>(&start.stream_id) {
            return Err(StartError::Duplicate);
        }
        if self.streams.len() >= self.limits.max_streams {
            return Err(StartError::TooMany { limit: self.limits.max_streams });
        }
        let hold = start.num_streams.is_some_and(|n| n <= u64::from(self.limits.hold_max_pieces));
        let hold_until = hold.then(|| now + self.limits.hold);
        let info = self.info(&start);
        let key = info.key;
        let timer = hold_until.unwrap_or(now + self.limits.idle);
        self.timers.insert((timer, key));
        self.by_id.insert(ByStreamId(Arc::clone(&info)), key);
        self.outputs.open(&info.output_id);
        let stream = OpenStream {
            info,
            route: start.route,
            pieces: Pieces::default(),
            text: std::mem::take(&mut self.spare),
            joiner: None,
            hold_until,
            active_at: now,
            timer,
            emitted: false,
        };
        self.streams.insert(key, stream);
        Ok(())
    }

    /// The route of an open stream.
    pub fn route_of(&self, stream_id: &str) -> Option<&R> {
        self.streams.get(self.by_id.get(stream_id)?).map(|stream| &stream.route)
    }

    /// Takes one piece. `index` is `None` if the field is missing or no index.
    ///
    /// Late and repeated pieces are `Ok` and change nothing (spec §5.4).
    pub fn data(
        &mut self,
        stream_id: &str,
        index: Option<u64>,
        kind: PieceKind,
        piece: &JsString,
        now: Instant,
        out: &mut Vec<Emit<R>>,
    ) -> Result<(), DataError> {
        let key = *self.by_id.get(stream_id).ok_or(DataError::UnknownStream)?;
        let stream = self.streams.get_mut(&key).ok_or(DataError::UnknownStream)?;
        stream.active_at = now;
        let before = stream.bytes();
        match stream.pieces.place(index) {
            Place::Past => return Ok(()),
            Place::Ahead(index) => {
                // Giving an index up must not throw away a text that did arrive for it.
                let keep_older = kind == PieceKind::Failed && piece.is_empty();
                if keep_older && stream.pieces.waits_at(index) {
                    return Ok(());
                }
                let grown = stream.pieces.bytes_with(index, piece) + stream.text.len();
                let shared = self.outputs.get(&stream.info.output_id).map_or(0, |o| o.bytes);
                if let Some(error) = overflow(&self.limits, grown, shared - before + grown) {
                    self.fail(key, STREAM_OVERFLOW, out);
                    return Err(error);
                }
                stream.pieces.wait(index, detached(piece));
            }
            Place::Next => {
                append(stream, &mut self.outputs, piece);
                stream.pieces.advance();
                while let Some(piece) = stream.pieces.pop_ready() {
                    append(stream, &mut self.outputs, &piece);
                }
            }
        }
        self.settle(key, before, out);
        Ok(())
    }

    /// Ends a stream: what waits behind gaps is flushed, the gaps are skipped. `is_final` says
    /// that the output is over, too. Returns the route of the stream.
    pub fn end(
        &mut self,
        stream_id: &str,
        is_final: bool,
        _now: Instant,
        out: &mut Vec<Emit<R>>,
    ) -> Result<R, EndError> {
        let (_, key) = self.by_id.remove_entry(stream_id).ok_or(EndError::UnknownStream)?;
        let mut stream = self.streams.remove(&key).ok_or(EndError::UnknownStream)?;
        self.timers.remove(&(stream.timer, key));
        let kept = stream.bytes();
        while let Some(piece) = stream.pieces.pop_any() {
            append(&mut stream, &mut self.outputs, &piece);
        }
        self.leave_output(&mut stream, kept, is_final);
        if !stream.text.is_empty() || stream.emitted {
            let (route, info) = (stream.route.clone(), Arc::clone(&stream.info));
            let text = stream.take_text();
            out.push(Emit::Text { route, info, text, end: true });
        }
        self.recycle(stream.text);
        self.bound_carries(out);
        Ok(stream.route)
    }

    /// Releases what was held long enough and fails what was idle too long.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<Emit<R>>) {
        while let Some(&(at, key)) = self.timers.first().filter(|(at, _)| *at <= now) {
            let Some(stream) = self.streams.get_mut(&key) else {
                self.timers.remove(&(at, key));
                continue;
            };
            let idle_at = stream.active_at + self.limits.idle;
            if stream.hold_until.is_some_and(|until| until <= now) {
                stream.hold_until = None;
                let before = stream.bytes();
                self.settle(key, before, out);
                self.set_timer(key, idle_at);
            } else if idle_at <= now {
                self.fail(key, STREAM_IDLE, out);
            } else {
                self.set_timer(key, idle_at);
            }
        }
    }

    /// When [`InboundStreams::poll`] is due. It may turn out that nothing was to be done yet.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Fails every open stream whose route is selected: a request that failed, or all of them
    /// when the extension's socket is gone. Text that is in order is still emitted.
    pub fn abort(&mut self, selected: impl Fn(&R) -> bool, reason: &'static str, out: &mut Vec<Emit<R>>) {
        let open = self.streams.iter().filter(|(_, stream)| selected(&stream.route));
        for key in open.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.fail(key, reason, out);
        }
        self.outputs.drop_carries(selected);
    }

    /// The output is over. A first half of a character that still waits becomes U+FFFD: in the
    /// stream that is open, else in a last small stream with the metadata of the stream that
    /// brought it.
    pub fn finish_output(&mut self, output_id: &str, out: &mut Vec<Emit<R>>) {
        if let Some(output) = self.outputs.get_mut(output_id) {
            if output.open > 0 {
                output.finished = true;
            } else if let Some(carry) = output.carry.take() {
                emit_carry(carry, out);
            }
            self.outputs.forget_if_over(output_id);
        }
    }

    /// How many streams are open.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// How many outputs have an open stream or half a character.
    pub fn open_outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Bytes kept in all streams, as the limits count them.
    pub fn buffered_bytes(&self) -> usize {
        self.bytes
    }

    /// The metadata of a new stream. The ids are copied out of the packet that brought them, whose
    /// buffer may be much larger, or shared with the stream before.
    fn info(&mut self, start: &StreamStart<R>) -> Arc<StreamInfo> {
        let copied = |id: &ByteString| Arc::from(&**id);
        let stream_id = copied(&start.stream_id);
        let (output_id, request_id) = match &self.last {
            Some((output_id, request_id)) if **output_id == *start.output_id => {
                let same = **request_id == *start.request_id;
                let request_id = if same { request_id.clone() } else { copied(&start.request_id) };
                (output_id.clone(), request_id)
            }
            _ => (copied(&start.output_id), copied(&start.request_id)),
        };
        self.last = Some((output_id.clone(), request_id.clone()));
        Arc::new(StreamInfo::new(stream_id, output_id, request_id).of(&start.unread))
    }

    /// After a change: emits what need not wait, and counts what stays. `before` is what the
    /// stream kept before the change.
    fn settle(&mut self, key: u64, before: usize, out: &mut Vec<Emit<R>>) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        let Some(output) = self.outputs.get_mut(&stream.info.output_id) else {
            return;
        };
        let shared = output.bytes - before + stream.bytes();
        if overflow(&self.limits, stream.bytes(), shared).is_some() {
            // Holding back is a courtesy; text in order never overflows.
            stream.hold_until = None;
        }
        if stream.hold_until.is_none() {
            out.extend(stream.emit_ready());
        }
        output.bytes = output.bytes - before + stream.bytes();
        self.bytes = self.bytes - before + stream.bytes();
    }

    /// Ends a stream as an error.
    fn fail(&mut self, key: u64, reason: &'static str, out: &mut Vec<Emit<R>>) {
        let Some(mut stream) = self.streams.remove(&key) else {
            return;
        };
        self.by_id.remove::<str>(&stream.info.stream_id);
        self.timers.remove(&(stream.timer, key));
        let kept = stream.bytes();
        // Text was lost here, so the next stream does not hold the other half of a character.
        if let Some(half) = stream.joiner.as_mut().and_then(SurrogateJoiner::finish) {
            stream.text.push_str(&half);
        }
        self.leave_output(&mut stream, kept, false);
        out.extend(stream.emit_ready());
        self.recycle(std::mem::take(&mut stream.text));
        out.push(Emit::Fail { route: stream.route, info: stream.info, reason });
    }

    fn set_timer(&mut self, key: u64, at: Instant) {
        if let Some(stream) = self.streams.get_mut(&key) {
            self.timers.remove(&(stream.timer, key));
            stream.timer = at;
            self.timers.insert((at, key));
        }
    }

    fn recycle(&mut self, mut text: String) {
        if text.capacity() > self.spare.capacity() {
            text.clear();
            self.spare = text;
        }
    }
}

/// Which limit a stream and its output would pass.
fn overflow(limits: &InboundLimits, stream: usize, output: usize) -> Option<DataError> {
    if stream > limits.max_stream_bytes {
        Some(DataError::StreamOverflow { limit: limits.max_stream_bytes })
    } else if output > limits.max_output_bytes {
        Some(DataError::OutputOverflow { limit: limits.max_output_bytes })
    } else {
        None
    }
}

/// A piece that does not hold on to the frame it came in, which may be much larger. Strings with
/// half characters were rewritten when they were read, so they own their bytes.
fn detached(piece: &JsString) -> JsString {
    piece.as_str().map_or_else(|| piece.clone(), JsString::from)
}

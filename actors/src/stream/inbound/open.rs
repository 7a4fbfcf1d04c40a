//! One open stream of an extension.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use framing::json::SurrogateJoiner;

use super::pieces::Pieces;
use super::types::Emit;
use crate::stream::StreamInfo;

/// Texts up to this size are copied and leave the buffer to the next text; larger ones take it.
const COPY_BELOW: usize = 4096;

#[derive(Debug)]
pub(super) struct OpenStream<R> {
    pub(super) info: Arc<StreamInfo>,
    pub(super) route: R,
    pub(super) pieces: Pieces,
    /// In order and joined, not yet emitted.
    pub(super) text: String,
    /// Present from the first piece with text on: a stream without text leaves alone the half
    /// character that an earlier stream of its output left behind.
    pub(super) joiner: Option<SurrogateJoiner>,
    /// Set while the text is held back for the END.
    pub(super) hold_until: Option<Instant>,
    pub(super) active_at: Instant,
    /// The one entry of this stream in the timer set.
    pub(super) timer: Instant,
    pub(super) emitted: bool,
}

impl<R> OpenStream<R> {
    /// Bytes kept, as the limits count them.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.bytes() + self.text.len()
    }

    /// Takes the text that waits to be emitted. The allocation stays, unless the text is large.
    pub(super) fn take_text(&mut self) -> Bytes {
        if self.text.len() > COPY_BELOW {
            return Bytes::from(std::mem::take(&mut self.text));
        }
        let text = Bytes::copy_from_slice(self.text.as_bytes());
        self.text.clear();
        text
    }

    /// The text that is ready, as an emission that does not end the stream.
    pub(super) fn emit_ready(&mut self) -> Option<Emit<R>>
    where
        R: Clone,
    {
        if self.text.is_empty() {
            return None;
        }
        self.emitted = true;
        let text = self.take_text();
        Some(Emit::Text { route: self.route.clone(), info: Arc::clone(&self.info), text, end: false })
    }
}

/// An open stream under its `streamId`, without a second copy of the id.
#[derive(Debug)]
pub(super) struct ByStreamId(pub(super) Arc<StreamInfo>);

impl Borrow<str> for ByStreamId {
    fn borrow(&self) -> &str {
        &self.0.stream_id
    }
}

impl Hash for ByStreamId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        str::hash(&self.0.stream_id, state);
    }
}

impl PartialEq for ByStreamId {
    fn eq(&self, other: &Self) -> bool {
        self.0.stream_id == other.0.stream_id
    }
}

impl Eq for ByStreamId {}

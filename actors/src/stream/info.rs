//! What a stream carries beside its text.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// Stands for one answer in whatever has some of its text: while that is on its way, waits, or is not acked, it is not
/// read. Counted by its clones, so nothing is said when text arrives.
#[derive(Debug, Clone, Default)]
pub struct Unread(Option<Arc<()>>);

impl Unread {
    /// Of an answer that somebody asks about; by default nobody does.
    pub fn new() -> Self {
        Self(Some(Arc::default()))
    }

    /// Whether anybody but the holder of this one has text of the answer.
    pub fn is_any(&self) -> bool {
        self.0.as_ref().is_some_and(|answer| Arc::strong_count(answer) > 1)
    }
}

/// It tells nothing of a stream.
impl PartialEq for Unread {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Unread {}

/// When the first text of a stream was sent, among those of all streams. A stream may start long before that, while
/// others are sent text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn(OnceLock<u64>);

impl Turn {
    /// Its text is sent from now on: behind that of all streams whose turn has come. Its number.
    pub fn comes(&self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        *self.0.get_or_init(|| NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Its number; behind all of them while it has not come.
    pub fn number(&self) -> u64 {
        self.0.get().copied().unwrap_or(u64::MAX)
    }

    #[cfg(test)]
    pub(crate) fn of_number(number: u64) -> Self {
        Self(number.into())
    }
}

/// The metadata of one extension stream, as its receivers see it (spec §5.5). It outlives the packet that it came in,
/// and shares nothing with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Unique in this process: texts with the same key belong to the same stream, whichever
    /// session they come from.
    pub key: u64,
    /// The extension's `streamId`: one per token.
    pub stream_id: Arc<str>,
    /// The extension's `outputId`: one per answer.
    pub output_id: Arc<str>,
    /// The request that the answer is attributed to.
    pub request_id: Arc<str>,
    /// Tells which of two streams was sent first. Keys do not: they are given when a stream starts.
    pub turn: Turn,
    /// Of the answer: it is not read as long as this lives.
    pub unread: Unread,
}

impl StreamInfo {
    /// Metadata under a fresh key, of an answer that nobody asks about.
    pub fn new(stream_id: Arc<str>, output_id: Arc<str>, request_id: Arc<str>) -> Self {
        // A receiver holds streams of several extensions, so a counter per extension would
        // collide there. Only uniqueness matters, not order between threads.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let key = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { key, stream_id, output_id, request_id, turn: Turn::default(), unread: Unread::default() }
    }

    /// The same, of this answer.
    pub fn of(self, unread: &Unread) -> Self {
        Self { unread: unread.clone(), ..self }
    }
}

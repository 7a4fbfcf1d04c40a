//! What a stream carries beside its text.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

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
}

impl StreamInfo {
    /// Metadata under a fresh key.
    pub fn new(stream_id: Arc<str>, output_id: Arc<str>, request_id: Arc<str>) -> Self {
        // A receiver holds streams of several extensions, so a counter per extension would
        // collide there. Only uniqueness matters, not order between threads.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let key = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { key, stream_id, output_id, request_id }
    }
}

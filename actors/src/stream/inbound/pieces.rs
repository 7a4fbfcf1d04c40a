//! The pieces of one stream, put in order (spec §5.4).

use std::collections::BTreeMap;

use framing::json::JsString;

/// What a waiting piece is charged beside its text, so that empty pieces are bounded too.
pub const PIECE_COST: usize = 128;

/// Where a piece belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the one that comes next.
    Next,
    /// There is a gap before it.
    Ahead(u64),
    /// Its index has been passed.
    Past,
}

/// Pieces that wait for a gap to be filled.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    next: u64,
    waiting: BTreeMap<u64, JsString>,
    bytes: usize,
}

impl Pieces {
    /// `None` is a missing or invalid index, which means "next".
    pub(super) fn place(&self, index: Option<u64>) -> Place {
        match index {
            None => Place::Next,
            Some(index) if index == self.next => Place::Next,
            Some(index) if index > self.next => Place::Ahead(index),
            Some(_) => Place::Past,
        }
    }

    /// Bytes that wait, overhead included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What [`Pieces::wait`] would add for this piece, which may be less than nothing.
    pub(super) fn bytes_with(&self, index: u64, piece: &JsString) -> usize {
        let replaced = self.waiting.get(&index).map_or(0, cost);
        self.bytes - replaced + cost(piece)
    }

    /// Keeps a piece that is ahead; a newer one replaces an older one.
    pub(super) fn wait(&mut self, index: u64, piece: JsString) {
        self.bytes += cost(&piece);
        if let Some(replaced) = self.waiting.insert(index, piece) {
            self.bytes -= cost(&replaced);
        }
    }

    /// Whether a piece waits at this index.
    pub(super) fn waits_at(&self, index: u64) -> bool {
        self.waiting.contains_key(&index)
    }

    /// Counts the piece that was next as taken.
    pub(super) fn advance(&mut self) {
        self.next = self.next.saturating_add(1);
    }

    /// The next waiting piece without a gap before it.
    pub(super) fn pop_ready(&mut self) -> Option<JsString> {
        let entry = self.waiting.first_entry()?;
        if *entry.key() != self.next {
            return None;
        }
        let piece = entry.remove();
        self.bytes -= cost(&piece);
        self.advance();
        Some(piece)
    }

    /// The next waiting piece, gaps skipped.
    pub(super) fn pop_any(&mut self) -> Option<JsString> {
        let (index, piece) = self.waiting.pop_first()?;
        self.bytes -= cost(&piece);
        self.next = index.saturating_add(1);
        Some(piece)
    }
}

fn cost(piece: &JsString) -> usize {
    PIECE_COST + piece.len_bytes()
}

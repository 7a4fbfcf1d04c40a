//! Text that waits to be written, cheap to append to and cheap to cut.

use bytes::{Bytes, BytesMut};

/// Waiting UTF-8 text of one stream.
///
/// The usual stream is one piece that leaves as it came: it is never copied. Text appended while
/// something waits is gathered behind it, so many small pieces cost their bytes and no more.
#[derive(Debug, Default)]
pub(super) struct TextBuffer {
    head: Bytes,
    tail: BytesMut,
}

impl TextBuffer {
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_empty()
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        if self.is_empty() {
            self.head = piece;
        } else {
            self.tail.extend_from_slice(&piece);
        }
    }

    /// Takes at most `max` bytes, cut at a character boundary. At least one whole character is
    /// taken, whatever `max` says, so that a writer always gets on.
    pub(super) fn take(&mut self, max: usize) -> Bytes {
        if self.head.len() <= max && !self.tail.is_empty() {
            self.join();
        }
        if self.head.len() <= max {
            return std::mem::take(&mut self.head);
        }
        let cut = boundary(&self.head, max);
        self.head.split_to(cut)
    }

    /// Takes everything.
    pub(super) fn take_all(&mut self) -> Bytes {
        self.take(usize::MAX)
    }

    fn join(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        if self.head.is_empty() {
            self.head = tail.freeze();
            return;
        }
        let mut whole = BytesMut::with_capacity(self.head.len() + tail.len());
        whole.extend_from_slice(&self.head);
        whole.extend_from_slice(&tail);
        self.head = whole.freeze();
    }
}

/// The last character boundary at or before `max`, or the first one behind it if there is none.
/// `max` is smaller than the length of `text`.
fn boundary(text: &[u8], max: usize) -> usize {
    let starts = |at: &usize| text.get(*at).is_none_or(|byte| byte & 0xC0 != 0x80);
    let before = (1..=max).rev().find(starts);
    before.or_else(|| (max + 1..=text.len()).find(starts)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(pieces: &[&str]) -> TextBuffer {
        let mut buffer = TextBuffer::default();
        for piece in pieces {
            buffer.push(Bytes::copy_from_slice(piece.as_bytes()));
        }
        buffer
    }

    #[test]
    fn cuts_at_character_boundaries() {
        for (pieces, max, want) in [
            (&["hello"][..], 16, &["hello"][..]),
            (&["hello"], 2, &["he", "ll", "o"]),
            (&["你好"], 4, &["你", "好"]),
            (&["a", "😀", "b"], 4, &["a", "😀", "b"]),
            (&["a", "😀", "b"], 5, &["a😀", "b"]),
            (&["😀😀"], 1, &["😀", "😀"]),
            (&["one", "two", "three"], 100, &["onetwothree"]),
            (&["", "x"], 1, &["x"]),
        ] {
            let mut buffer = buffer(pieces);
            assert_eq!(buffer.len(), pieces.concat().len());
            let mut got = Vec::new();
            while !buffer.is_empty() {
                got.push(String::from_utf8(buffer.take(max).to_vec()).unwrap());
            }
            assert_eq!(got, want, "{pieces:?} by {max}");
        }
    }

    #[test]
    fn a_lone_piece_is_not_copied() {
        let piece = Bytes::from_static(b"token");
        let mut buffer = TextBuffer::default();
        buffer.push(piece.clone());
        assert_eq!(buffer.take_all().as_ptr(), piece.as_ptr());
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost(pieces in proptest::collection::vec(".{0,12}", 0..12), max in 1usize..20) {
            let mut buffer = TextBuffer::default();
            let (mut got, mut all) = (Vec::new(), String::new());
            for (at, piece) in pieces.iter().enumerate() {
                all.push_str(piece);
                buffer.push(Bytes::copy_from_slice(piece.as_bytes()));
                if at % 3 == 0 && !buffer.is_empty() {
                    got.push(buffer.take(max));
                }
            }
            while !buffer.is_empty() {
                let chunk = buffer.take(max);
                proptest::prop_assert!(!chunk.is_empty());
                proptest::prop_assert!(chunk.len() <= max.max(4));
                proptest::prop_assert!(std::str::from_utf8(&chunk).is_ok());
                got.push(chunk);
            }
            proptest::prop_assert_eq!(got.concat(), all.into_bytes());
        }
    }
}

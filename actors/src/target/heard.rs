//! What each socket of somebody who asked has had of an answer's streams: from where it joined to where it ended.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    maps::FastMap,
    registry::SocketKey,
    stream::{StreamInfo, StreamText},
};

/// Places in a stream.
pub(super) type Spans = SmallVec<[Range<u64>; 4]>;

/// Its end has a place behind all text.
const END: Range<u64> = u64::MAX - 1..u64::MAX;

/// Streams that have begun and may go on, and where each goes on.
#[derive(Clone, Default)]
pub(super) struct OpenStreams(SmallVec<[(u64, u64); 2]>);

impl OpenStreams {
    /// The place of the next text of a stream, which is so long.
    pub(super) fn place(&mut self, key: u64, len: u64, end: bool) -> u64 {
        let Some(known) = self.0.iter().position(|(open, _)| *open == key) else {
            if !end {
                self.0.push((key, len));
            }
            return 0;
        };
        if end {
            return self.0.swap_remove(known).1;
        }
        self.0.get_mut(known).map_or(0, |(_, next)| std::mem::replace(next, *next + len))
    }

    /// The stream is over.
    pub(super) fn end(&mut self, key: u64) {
        self.0.retain(|(open, _)| *open != key);
    }

    fn get(&self, key: u64) -> Option<u64> {
        self.0.iter().find(|(open, _)| *open == key).map(|(_, next)| *next)
    }
}

/// What a socket is sent: all from when it joined, and of what came before, what others did not have.
#[derive(Clone, Default)]
pub(super) struct Heard {
    /// The turn of the target's newest stream when it joined, and those that were open.
    newest: u64,
    open: OpenStreams,
    /// From before; there is no more of it than was kept.
    older: Notes,
}

impl Heard {
    /// Of a socket that joins now.
    pub(super) fn new(newest: u64, open: &OpenStreams) -> Self {
        Self { newest, open: open.clone(), older: Notes::default() }
    }

    /// Of one that is not served yet.
    pub(super) fn nothing() -> Self {
        Self::new(u64::MAX, &OpenStreams::default())
    }

    /// It is given something from before it joined.
    pub(super) fn catches_up(&mut self, text: &StreamText) {
        self.older.add(text);
    }

    /// What it is sent of a stream.
    pub(super) fn spans(&self, stream: &StreamInfo) -> impl Iterator<Item = Range<u64>> {
        let start = if stream.turn.number() > self.newest { Some(0) } else { self.open.get(stream.key) };
        start.map(|start| start..u64::MAX).into_iter().chain(self.older.of(stream.key).iter().cloned())
    }
}

/// A socket that is over.
pub(super) struct Past {
    pub(super) socket: SocketKey,
    sent: Heard,
    /// The turn of the newest stream that it was sent, and how far it was sent those that went on.
    newest: u64,
    open: OpenStreams,
    /// What it gave back: no more than was on its way to it.
    returned: Notes,
}

impl Past {
    pub(super) fn new(socket: SocketKey, sent: Heard, newest: u64, open: &OpenStreams) -> Self {
        Self { socket, sent, newest, open: open.clone(), returned: Notes::default() }
    }

    /// It has not had this.
    pub(super) fn returned(&mut self, text: &StreamText) {
        self.returned.add(text);
    }

    /// What it has had of a stream.
    pub(super) fn spans(&self, stream: &StreamInfo) -> impl Iterator<Item = Range<u64>> {
        let key = stream.key;
        let end = if stream.turn.number() > self.newest { 0 } else { self.open.get(key).unwrap_or(u64::MAX) };
        let sent = self.sent.spans(stream).map(move |span| span.start..span.end.min(end));
        sent.flat_map(move |span| minus(span, self.returned.of(key)))
    }
}

/// Places in several streams.
#[derive(Clone, Default)]
struct Notes(FastMap<u64, SmallVec<[Range<u64>; 1]>>);

impl Notes {
    fn add(&mut self, text: &StreamText) {
        let noted = self.0.entry(text.info.key).or_default();
        for span in spans(text) {
            match noted.last_mut() {
                Some(last) if last.end == span.start => last.end = span.end,
                _ => noted.push(span),
            }
        }
    }

    fn of(&self, key: u64) -> &[Range<u64>] {
        self.0.get(&key).map_or(&[], |noted| noted)
    }
}

/// Where the bytes of a text stand in its stream, and its end.
fn spans(text: &StreamText) -> impl Iterator<Item = Range<u64>> + use<> {
    let words = text.at..text.at + text.text.len() as u64;
    [words, if text.end { END } else { 0..0 }].into_iter().filter(|span| !span.is_empty())
}

/// What is left of a text without what was had of its stream, in order. The end is left if nobody has had it, or with
/// the words before it, or with words of which nothing that follows is left.
pub(super) fn without(text: &StreamText, had: &[Range<u64>]) -> SmallVec<[StreamText; 1]> {
    let was_had = |place: u64| had.iter().any(|span| span.contains(&place));
    let (end, is_over) = (text.at + text.text.len() as u64, was_had(END.start));
    let piece = |span: Range<u64>| {
        let words = (span.start - text.at) as usize..(span.end - text.at) as usize;
        StreamText { info: text.info.clone(), at: span.start, text: text.text.slice(words), end: false }
    };
    let mut left: SmallVec<[StreamText; 1]> = minus(text.at..end, had).into_iter().map(piece).collect();
    let mut ends_alone = text.end && !is_over;
    if let Some(last) = left.last_mut() {
        let next = last.at + last.text.len() as u64;
        last.end = (text.end && next == end) || (is_over && was_had(next));
        ends_alone &= next < end;
    }
    if ends_alone {
        left.push(StreamText { info: text.info.clone(), at: end, text: Bytes::new(), end: true });
    }
    left
}

fn minus(mut rest: Range<u64>, holes: &[Range<u64>]) -> SmallVec<[Range<u64>; 2]> {
    let mut holes = Spans::from_iter(holes.iter().cloned());
    holes.sort_unstable_by_key(|hole| hole.start);
    let mut left = SmallVec::new();
    for hole in holes {
        let before = rest.start..hole.start.min(rest.end);
        rest.start = rest.start.max(hole.end);
        left.extend((!before.is_empty()).then_some(before));
    }
    left.extend((!rest.is_empty()).then_some(rest));
    left
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::stream::Turn;

    fn text(at: u64, words: &str, end: bool) -> StreamText {
        let info = Arc::new(StreamInfo::new("s".into(), "o".into(), "r".into()));
        StreamText { info, at, text: Bytes::copy_from_slice(words.as_bytes()), end }
    }

    /// They are sent text in the order of their keys here.
    fn stream(key: u64) -> Arc<StreamInfo> {
        let info = StreamInfo::new("s".into(), "o".into(), "r".into());
        Arc::new(StreamInfo { key, turn: Turn::of_number(key), ..info })
    }

    fn left(at: u64, words: &str, had: &[(u64, u64)]) -> Vec<(u64, String, bool)> {
        let had: Spans = had.iter().map(|(start, end)| *start..*end).collect();
        let left = without(&text(at, words, true), &had);
        left.into_iter()
            .map(|part| (part.at, String::from_utf8(part.text.to_vec()).unwrap(), part.end))
            .collect()
    }

    #[test]
    fn what_was_had_is_cut_out() {
        let part = |at: u64, words: &str, end: bool| (at, words.to_owned(), end);
        for (at, words, had, want) in [
            (10, "abcdef", vec![], vec![part(10, "abcdef", true)]),
            (10, "abcdef", vec![(0, 10), (16, 20)], vec![part(10, "abcdef", true)]),
            (10, "abcdef", vec![(0, u64::MAX)], vec![]),
            (10, "abcdef", vec![(10, 16)], vec![part(16, "", true)]),
            (10, "abcdef", vec![(0, 12)], vec![part(12, "cdef", true)]),
            (10, "abcdef", vec![(14, u64::MAX)], vec![part(10, "abcd", true)]),
            (10, "abcdef", vec![(14, 16)], vec![part(10, "abcd", false), part(16, "", true)]),
            (
                10,
                "abcdef",
                vec![(14, 15), (11, 12)],
                vec![part(10, "a", false), part(12, "cd", false), part(15, "f", true)],
            ),
            (10, "abcdef", vec![(0, 13), (11, 14)], vec![part(14, "ef", true)]),
            (10, "", vec![(0, 10)], vec![part(10, "", true)]),
            (10, "", vec![(0, u64::MAX)], vec![]),
        ] {
            assert_eq!(left(at, words, &had), want, "{words:?} at {at} without {had:?}");
        }
    }

    #[test]
    fn a_socket_has_what_came_from_its_beginning_to_its_end() {
        let mut open = OpenStreams::default();
        assert_eq!((open.place(5, 3, false), open.place(5, 4, false)), (0, 3));
        let mut sent = Heard::new(5, &open);
        let of = |key, at, words| {
            let text = text(at, words, false);
            StreamText { info: stream(key), ..text }
        };
        sent.catches_up(&of(5, 1, "ab"));
        sent.catches_up(&of(5, 3, "ab"));
        assert_eq!(open.place(6, 9, false), 0);
        assert_eq!(open.place(5, 1, true), 7);
        assert_eq!(open.place(5, 1, true), 0, "over");
        let mut past = Past::new(SocketKey::next(), sent, 6, &open);
        let spans = |past: &Past| {
            let ends = |span: Range<u64>| (span.start, span.end);
            [4, 5, 6, 7].map(|key| past.spans(&stream(key)).map(ends).collect::<Vec<_>>())
        };
        assert_eq!(spans(&past), [vec![], vec![(7, u64::MAX), (1, 5)], vec![(0, 9)], vec![]]);
        for text in [of(6, 8, "i"), of(6, 4, "ef"), of(5, 3, "ab")] {
            past.returned(&text);
        }
        assert_eq!(spans(&past), [vec![], vec![(7, u64::MAX), (1, 3)], vec![(0, 4), (6, 8)], vec![]]);
    }

    proptest! {
        #[test]
        fn each_byte_is_left_unless_it_was_had(
            at in 0u64..10,
            len in 0usize..30,
            had in prop::collection::vec((0u64..40, 0u64..20).prop_map(|(start, len)| (start, start + len)), 0..6),
        ) {
            let words: String = (0..len).map(|n| char::from(b'a' + n as u8)).collect();
            let got: Vec<(u64, char)> = left(at, &words, &had)
                .into_iter()
                .flat_map(|(at, words, _)| words.chars().enumerate().map(move |(n, c)| (at + n as u64, c)).collect::<Vec<_>>())
                .collect();
            let want: Vec<(u64, char)> =
                words.chars().enumerate().map(|(n, c)| (at + n as u64, c)).filter(|(at, _)| !had.iter().any(|(start, end)| (start..end).contains(&at))).collect();
            prop_assert_eq!(got, want);
        }
    }
}

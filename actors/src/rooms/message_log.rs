//! The messages of one room, oldest first, within a bound (spec appendix A: 2000 messages or 16 MiB,
//! the oldest dropped).

use std::collections::VecDeque;

use framing::json::RawJson;

use super::{Message, Timestamp};
use crate::{
    history::{MessageKind, Retention},
    maps::FastSet,
};

/// What messages are called, each name once.
pub(super) type Ids<'a> = FastSet<&'a str>;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct MessageLog {
    messages: VecDeque<Message>,
    bytes: usize,
    /// Of the newest message that there ever was.
    last_seq: u64,
    /// What had to go since somebody was told.
    gone: Gone,
    retention: Retention,
}

/// Messages that had to go for newer ones.
#[derive(Clone, Copy, Debug, Default)]
struct Gone {
    messages: usize,
    bytes: usize,
    /// The place of the last.
    through: u64,
}

/// What is stored may be so much more than the bounds allow, as a part of them: a room that is full would have to
/// remove a message for each that it adds otherwise, which costs as much as to store it.
const SLACK: usize = 32;

impl MessageLog {
    /// A room's history as it was kept; what is beyond the bounds is dropped. `last_seq`: of the newest
    /// message that there ever was, which may be gone.
    pub fn new(retention: Retention, messages: Vec<Message>, last_seq: u64) -> Self {
        let last_seq = messages.last().map_or(0, |message| message.seq).max(last_seq);
        let bytes = messages.iter().map(Message::bytes).sum();
        let mut log = Self { messages: messages.into(), bytes, last_seq, gone: Gone::default(), retention };
        log.trim();
        // Whoever loads them removes those as well.
        log.gone = Gone::default();
        log
    }

    /// The place of the next message.
    pub fn next_seq(&self) -> u64 {
        self.last_seq + 1
    }

    /// Messages had places as far as that.
    pub(super) fn rise(&mut self, last_seq: u64) {
        self.last_seq = self.last_seq.max(last_seq);
    }

    /// Every message, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Message> + DoubleEndedIterator {
        self.messages.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds a message, which has [`MessageLog::next_seq`]. Returns the place of the last message that had to go, if
    /// so many have that they should be removed from where they are stored.
    pub fn push(&mut self, message: Message) -> Option<u64> {
        self.last_seq = message.seq;
        self.bytes += message.bytes();
        self.messages.push_back(message);
        self.trim();
        self.many_gone()
    }

    fn many_gone(&mut self) -> Option<u64> {
        let Gone { messages, bytes, through } = self.gone;
        let enough = messages > 0
            && (messages >= self.retention.messages / SLACK || bytes >= self.retention.bytes / SLACK);
        enough.then(|| {
            self.gone = Gone::default();
            through
        })
    }

    fn trim(&mut self) {
        while self.retention.is_exceeded(self.messages.len(), self.bytes) {
            let Some(oldest) = self.messages.pop_front() else { return };
            self.bytes -= oldest.bytes();
            self.gone.messages += 1;
            self.gone.bytes += oldest.bytes();
            self.gone.through = oldest.seq;
        }
    }

    /// The message of that `messageId` or `responseId`.
    pub fn find(&self, id: &str) -> Option<&Message> {
        self.messages.iter().rev().find(|message| message.is_called(id))
    }

    /// Replaces a message's text: what it is now, and the place of the last message that had to go for a longer text,
    /// as of [`MessageLog::push`]. Those before it go first. None: there is no such message, or no text in `updated`.
    pub fn edit(&mut self, id: &str, updated: &RawJson, at: Timestamp) -> Option<(Message, Option<u64>)> {
        let message = self.messages.iter_mut().rev().find(|message| message.is_called(id))?;
        let before = message.bytes();
        if !message.edit(updated, at) {
            return None;
        }
        self.bytes = self.bytes - before + message.bytes();
        let edited = message.clone();
        self.trim();
        Some((edited, self.many_gone()))
    }

    /// Those of these that are there, found in one pass, however many ids there are.
    pub fn called<'a>(&'a self, ids: &'a Ids<'_>) -> impl Iterator<Item = &'a Message> {
        self.messages.iter().filter(|message| message.ids().any(|id| ids.contains(id)))
    }

    /// Removes messages; those that were there.
    pub fn remove(&mut self, ids: &Ids<'_>) -> Vec<Message> {
        self.remove_where(|message| message.ids().any(|id| ids.contains(id)))
    }

    /// Removes all requests, all answers, or both; notices go with both.
    pub fn clear(&mut self, requests: bool, responses: bool) -> Vec<Message> {
        self.remove_where(|message| match message.kind {
            MessageKind::Request => requests,
            MessageKind::Response => responses,
            MessageKind::System => requests && responses,
        })
    }

    fn remove_where(&mut self, goes: impl Fn(&Message) -> bool) -> Vec<Message> {
        let mut removed = Vec::new();
        self.messages.retain(|message| {
            let goes = goes(message);
            if goes {
                self.bytes -= message.bytes();
                removed.push(message.clone());
            }
            !goes
        });
        removed
    }

    /// The newest messages as a JSON array, as many as so many bytes have room for: the `context` of a request.
    pub fn context(&self, max_bytes: usize) -> String {
        let mut bytes = 0;
        let fit = self.messages.iter().rev().take_while(|message| {
            // With its comma.
            bytes += message.bytes() + 1;
            bytes <= max_bytes
        });
        let oldest = self.messages.len() - fit.count();
        array(self.messages.range(oldest..))
    }

    /// The messages after `since`, in pages of `size`; at least one page (spec §4.9.4).
    pub fn pages(&self, since: Option<&str>, size: usize) -> Vec<Page> {
        let newer = since.and_then(|since| self.messages.iter().position(|message| message.is_called(since)));
        let rest: Vec<u64> =
            self.messages.iter().skip(newer.map_or(0, |at| at + 1)).map(|message| message.seq).collect();
        if rest.is_empty() {
            return vec![Page { first: self.next_seq(), last: 0 }];
        }
        let page = |places: &[u64]| Some(Page { first: *places.first()?, last: *places.last()? });
        rest.chunks(size.max(1)).filter_map(page).collect()
    }

    /// What is left of a page by now, as a JSON array.
    pub fn page(&self, page: Page) -> String {
        let from = self.messages.partition_point(|message| message.seq < page.first);
        array(self.messages.iter().skip(from).take_while(|message| message.seq <= page.last))
    }
}

/// Messages that are sent together, by the places of the first and of the last. What is in them is looked up when they
/// are sent: it may have been edited meanwhile, or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    first: u64,
    last: u64,
}

fn array<'a>(messages: impl Iterator<Item = &'a Message>) -> String {
    let mut json = String::from("[");
    for (at, message) in messages.enumerate() {
        if at > 0 {
            json.push(',');
        }
        json.push_str(message.json.as_str());
    }
    json.push(']');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETENTION: Retention = Retention { messages: 3, bytes: 1 << 20 };

    fn log(retention: Retention, texts: &[&str]) -> MessageLog {
        let mut log = MessageLog::new(retention, Vec::new(), 0);
        for text in texts {
            log.push(Message::system(log.next_seq(), text, Timestamp(0)));
        }
        log
    }

    fn seqs(log: &MessageLog) -> Vec<u64> {
        log.iter().map(|message| message.seq).collect()
    }

    #[test]
    fn the_oldest_go_first_and_the_newest_always_stays() {
        let mut log = log(RETENTION, &["a", "b", "c"]);
        assert_eq!(log.push(Message::system(4, "d", Timestamp(0))), Some(1));
        assert_eq!(seqs(&log), [2, 3, 4]);
        let huge = "x".repeat(2 << 20);
        assert_eq!(log.push(Message::system(5, &huge, Timestamp(0))), Some(4));
        assert_eq!(seqs(&log), [5]);
        assert_eq!(log.push(Message::system(6, "e", Timestamp(0))), Some(5));
        assert_eq!(log.next_seq(), 7);
    }

    #[test]
    fn messages_are_removed_from_the_store_many_at_a_time() {
        let told = |retention: Retention, texts: &[&str], more: &str| -> Vec<Option<u64>> {
            let mut log = log(retention, texts);
            (0..9).map(|_| log.push(Message::system(log.next_seq(), more, Timestamp(0)))).collect()
        };
        let many = Retention { messages: 4 * SLACK, bytes: 1 << 30 };
        let expected = [None, None, None, Some(4), None, None, None, Some(8), None];
        assert_eq!(told(many, &["m"; 4 * SLACK], "m"), expected);
        // Each of them is more than that part of the bytes.
        let large = Retention { messages: 4 * SLACK, bytes: 4 << 10 };
        assert_eq!(told(large, &[], &"x".repeat(3 << 10))[..3], [None, Some(1), Some(2)]);
    }

    #[test]
    fn an_edit_is_bounded_as_a_new_message_is() {
        let mut log = log(Retention { messages: 10, bytes: 4 << 10 }, &["a", "b", "c", "d"]);
        let id = |log: &MessageLog, at: usize| log.iter().nth(at).unwrap().id.clone();
        let text = |length: usize| {
            RawJson::parse(format!("{{\"message\":\"\",\"data\":\"{}\"}}", "x".repeat(length)).into(), 8)
                .unwrap()
        };
        let mut edit = |at: usize, length: usize| {
            let of = id(&log, at);
            let (message, gone) = log.edit(&of, &text(length), Timestamp(1)).unwrap();
            assert!(message.bytes() > length);
            assert_eq!(log.bytes, log.iter().map(Message::bytes).sum::<usize>());
            (gone, seqs(&log))
        };
        assert_eq!(edit(0, 2 << 10), (None, vec![1, 2, 3, 4]));
        assert_eq!(edit(2, 3 << 10), (Some(1), vec![2, 3, 4]));
        // It is the oldest then.
        assert_eq!(edit(1, 5 << 10), (Some(3), vec![4]));
        assert_eq!(edit(0, 5 << 10), (None, vec![4]), "the newest stays whatever its length");
        assert!(log.edit(&id(&log, 0), &RawJson::from_static("{}"), Timestamp(2)).is_none());
    }

    #[test]
    fn places_rise_after_everything_is_gone() {
        let mut log = log(RETENTION, &["a", "b"]);
        assert_eq!(log.clear(true, true).len(), 2);
        assert_eq!(log.clear(true, true).len(), 0);
        assert_eq!(log.next_seq(), 3);
        assert_eq!(log.bytes, 0);
    }

    #[test]
    fn the_context_of_a_request_is_the_newest_that_fits() {
        let log = log(Retention { messages: 10, ..RETENTION }, &["a", "b", "c"]);
        let each = log.iter().next().unwrap().bytes() + 1;
        for (bytes, texts) in [
            (0, &[][..]),
            (each - 1, &[]),
            (each, &["c"]),
            (3 * each - 1, &["b", "c"]),
            (3 * each, &["a", "b", "c"]),
        ] {
            let context = log.context(bytes);
            assert!(context.len() <= bytes + 2, "{bytes}");
            let context: Vec<serde_json::Value> = serde_json::from_str(&context).unwrap();
            assert_eq!(context.iter().map(|message| &message["data"]).collect::<Vec<_>>(), texts, "{bytes}");
        }
    }

    #[test]
    fn pages() {
        let log = log(Retention { messages: 10, ..RETENTION }, &["a", "b", "c", "d", "e"]);
        let size =
            |page: &Page| serde_json::from_str::<Vec<serde_json::Value>>(&log.page(*page)).unwrap().len();
        let sizes = |pages: Vec<Page>| -> Vec<usize> { pages.iter().map(size).collect() };
        assert_eq!(sizes(log.pages(None, 2)), [2, 2, 1]);
        assert_eq!(sizes(log.pages(None, 0)), [1, 1, 1, 1, 1]);
        let second = log.iter().nth(1).unwrap().id.clone();
        assert_eq!(sizes(log.pages(Some(&second), 10)), [3]);
        let last = log.iter().last().unwrap().id.clone();
        assert_eq!(sizes(log.pages(Some(&last), 10)), [0]);
        assert_eq!(sizes(log.pages(Some("forgotten"), 10)), [5], "whoever has missed more gets everything");
    }

    #[test]
    fn a_page_has_what_is_left_of_it_when_it_is_sent() {
        let mut log = log(Retention { messages: 10, ..RETENTION }, &["a", "b", "c", "d"]);
        let pages = log.pages(None, 2);
        let ids: Vec<_> = log.iter().map(|message| message.id.clone()).collect();
        let shown = |log: &MessageLog, page: usize| -> Vec<framing::ByteString> {
            let page = serde_json::from_str::<Vec<serde_json::Value>>(&log.page(pages[page])).unwrap();
            page.iter().map(|message| message["messageId"].as_str().unwrap().into()).collect()
        };
        assert_eq!(shown(&log, 1), ids[2..]);
        log.remove(&Ids::from_iter([&*ids[2]]));
        log.push(Message::system(log.next_seq(), "e", Timestamp(0)));
        assert_eq!((shown(&log, 0), shown(&log, 1)), (ids[..2].to_vec(), ids[3..].to_vec()));
        log.clear(true, true);
        assert_eq!(log.page(pages[1]), "[]");
    }

    #[test]
    fn removed_by_either_id() {
        let mut log = log(RETENTION, &["a"]);
        log.push(Message::response(2, "x", "r", "o", "\"t\"", Timestamp(0)));
        let response = log.iter().last().unwrap().clone();
        let called = response.json.get("responseId").unwrap().as_text().unwrap();
        let removed = log.remove(&Ids::from_iter([&*called, "unknown"]));
        assert_eq!(removed.iter().map(|message| &message.id).collect::<Vec<_>>(), [&response.id]);
        assert_eq!(seqs(&log), [1]);
    }
}

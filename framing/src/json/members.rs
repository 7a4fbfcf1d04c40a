//! Where the members of an object are, noted while its text is scanned for the first time.

use std::ops::Range;

use super::JsString;

/// An object with more members is scanned again by whoever looks for one: what a note may cost is bounded.
const MAX_NOTED: usize = 32;
/// Most payloads have no more than so many.
const USUAL: usize = 8;

/// One member of an object, or one element of an array, which has no key. Offsets in bytes.
pub(super) struct Item {
    /// With its quotes.
    pub(super) key: Range<usize>,
    /// Something in the key is escaped.
    pub(super) escaped: bool,
    pub(super) value: Range<usize>,
}

/// The key of a member.
pub(super) enum Key<'t> {
    Plain(&'t str),
    Escaped(JsString),
}

impl Item {
    pub(super) fn key<'t>(&self, text: &'t str) -> Key<'t> {
        let raw = text.get(self.key.clone()).unwrap_or_default();
        match self.escaped {
            true => Key::Escaped(JsString::from_json(&raw.into())),
            false => Key::Plain(raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()),
        }
    }
}

impl Key<'_> {
    pub(super) fn is(&self, name: &str) -> bool {
        match self {
            Self::Plain(text) => *text == name,
            Self::Escaped(text) => *text == *name,
        }
    }
}

/// The members of one object, in their order.
#[derive(Debug)]
pub(crate) struct Members(Vec<Noted>);

/// An [`Item`] in less memory.
#[derive(Clone, Copy, Debug)]
struct Noted {
    key: [u32; 2],
    value: [u32; 2],
    escaped: bool,
}

impl Members {
    pub(super) fn iter(&self) -> impl Iterator<Item = Item> {
        let range = |[start, end]: [u32; 2]| start as usize..end as usize;
        self.0.iter().map(move |noted| Item {
            key: range(noted.key),
            escaped: noted.escaped,
            value: range(noted.value),
        })
    }
}

/// Told what a scan finds in an object.
#[derive(Default)]
pub(crate) struct MembersNote {
    start: usize,
    members: Vec<Noted>,
    /// A member's value comes next.
    key: Option<([u32; 2], bool)>,
    /// Too many members, or too long a text.
    given_up: bool,
}

impl MembersNote {
    pub(crate) fn begin(&mut self, start: usize) {
        self.start = start;
    }

    pub(crate) fn key(&mut self, span: &Range<usize>, escaped: bool) {
        self.key = self.offsets(span).map(|key| (key, escaped));
        self.given_up |= self.key.is_none();
    }

    /// Without a key before it the value is an element of an array.
    pub(crate) fn value(&mut self, span: &Range<usize>) {
        let Some((key, escaped)) = self.key.take() else { return };
        match self.offsets(span).filter(|_| self.members.len() < MAX_NOTED) {
            Some(value) => {
                if self.members.is_empty() {
                    self.members.reserve(USUAL);
                }
                self.members.push(Noted { key, value, escaped });
            }
            None => self.given_up = true,
        }
    }

    /// What was found; nothing if there was no member, or no object.
    pub(crate) fn finish(&mut self) -> Option<Members> {
        let found = !self.given_up && !self.members.is_empty();
        found.then(|| Members(std::mem::take(&mut self.members)))
    }

    fn offsets(&self, span: &Range<usize>) -> Option<[u32; 2]> {
        let offset = |at: usize| u32::try_from(at.checked_sub(self.start)?).ok();
        Some([offset(span.start)?, offset(span.end)?])
    }
}

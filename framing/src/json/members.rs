//! Where the members of an object are, noted while its text is scanned for the first time, and what else need not be
//! looked for again.

use std::ops::Range;

use super::JsString;
use super::scan::Scanner;
use crate::error::JsonError;

/// An object with more members is scanned again by whoever looks for one: what a note may cost is bounded.
const MAX_NOTED: usize = 32;
/// A piece of an answer has so many (spec §5.3), and hardly any payload has more.
const USUAL: usize = 9;

/// What the first scan has found out about a value, besides where it is.
#[derive(Debug, Default)]
pub(crate) enum Note {
    #[default]
    Nothing,
    /// It is a string, and nothing in it is escaped.
    Plain,
    /// It is an object.
    Members(Members),
}

impl Note {
    pub(crate) fn plain(is_plain: bool) -> Self {
        if is_plain { Self::Plain } else { Self::Nothing }
    }
}

/// One member of an object, or one element of an array, which has no key. Offsets in bytes.
pub(super) struct Item {
    /// With its quotes.
    pub(super) key: Range<usize>,
    /// Something in the key is escaped.
    pub(super) escaped: bool,
    pub(super) value: Range<usize>,
    /// The value is a string in which nothing is escaped.
    pub(super) is_plain: bool,
}

/// The key of a member.
pub(super) enum Key<'t> {
    Plain(&'t [u8]),
    Escaped(JsString),
}

impl Item {
    #[inline]
    pub(super) fn key<'t>(&self, text: &'t str) -> Key<'t> {
        if self.escaped {
            return Key::Escaped(JsString::from_json(
                &text.get(self.key.clone()).unwrap_or_default().into(),
                false,
            ));
        }
        let unquoted = self.key.start + 1..self.key.end.saturating_sub(1);
        Key::Plain(text.as_bytes().get(unquoted).unwrap_or_default())
    }
}

impl Key<'_> {
    #[inline]
    pub(super) fn is(&self, name: &str) -> bool {
        match self {
            Self::Plain(text) => *text == name.as_bytes(),
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
    key: u32,
    key_len: u16,
    escaped: bool,
    is_plain: bool,
    value: [u32; 2],
}

impl Members {
    /// An object, which must begin here, inside of `outside` arrays and objects: where it is, and its members.
    /// Nothing is noted of one without members, or with too many, or with a key of 64 KiB, or in a text of gigabytes.
    pub(crate) fn scan(
        scan: &mut Scanner<'_>,
        outside: usize,
        max_depth: usize,
    ) -> Result<(Range<usize>, Note), JsonError> {
        if outside >= max_depth {
            return Err(JsonError::TooDeep { limit: max_depth });
        }
        let start = scan.offset();
        // From the object's own beginning. They fit, or nothing is noted.
        let offset = |at: usize| (at - start) as u32;
        let mut is_whole = u32::try_from(scan.text_len()).is_ok();
        let mut members = Vec::new();
        let mut goes_on = scan.enter(b'}');
        while goes_on {
            let key = scan.offset();
            let escaped = scan.string()?;
            let key_len = u16::try_from(scan.offset() - key).ok();
            scan.colon()?;
            let (value, is_plain) = scan.inner_value(outside + 1, max_depth)?;
            match key_len.filter(|_| members.len() < MAX_NOTED) {
                Some(key_len) => {
                    if members.capacity() == 0 {
                        members.reserve(USUAL);
                    }
                    let value = [offset(value.start), offset(value.end)];
                    members.push(Noted { key: offset(key), key_len, escaped, is_plain, value });
                }
                None => is_whole = false,
            }
            goes_on = scan.goes_on(b'}')?;
        }
        let note = if is_whole && !members.is_empty() { Note::Members(Self(members)) } else { Note::Nothing };
        Ok((start..scan.offset(), note))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Item> {
        self.0.iter().map(|&Noted { key, key_len, escaped, is_plain, value: [start, end] }| Item {
            key: key as usize..key as usize + usize::from(key_len),
            escaped,
            value: start as usize..end as usize,
            is_plain,
        })
    }
}

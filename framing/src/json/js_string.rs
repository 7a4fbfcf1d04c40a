//! A string as JavaScript has it.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use super::write::{write_escaped, write_unit};

/// A string that may hold half surrogate pairs.
///
/// The SillyTavern extension cuts text between UTF-16 units, so one emoji arrives as
/// `"\ud83d"` and `"\ude00"` (spec §5.3). Cloning shares the bytes, and so does reading a
/// string without escapes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JsString(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Text(ByteString),
    /// WTF-8 with at least one half surrogate: UTF-8, and `ED A0..BF xx` for each half.
    /// Two halves that make a pair never stand side by side.
    Wtf8(Bytes),
}

/// A run of a string: text, or one half of a surrogate pair.
pub(super) enum Piece<'s> {
    Text(&'s str),
    Half(u16),
}

impl JsString {
    /// Reads a JSON string, quotes included, that a scan has found valid. `is_plain`: it has seen no escape in it.
    pub(crate) fn from_json(raw: &ByteString, is_plain: bool) -> Self {
        let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
        if is_plain || memchr::memchr(b'\\', inner.as_bytes()).is_none() {
            Self(Repr::Text(raw.slice_ref(inner)))
        } else {
            unescape(inner)
        }
    }

    /// The text, unless it holds half surrogates.
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Repr::Text(text) => Some(text),
            Repr::Wtf8(_) => None,
        }
    }

    /// The text, with U+FFFD for each half surrogate.
    pub fn into_text(self) -> ByteString {
        match self.0 {
            Repr::Text(text) => text,
            Repr::Wtf8(_) => self.to_text(),
        }
    }

    /// The same; the string stays.
    pub fn to_text(&self) -> ByteString {
        if let Repr::Text(text) = &self.0 {
            return text.clone();
        }
        let mut out = String::with_capacity(self.len_bytes());
        for piece in self.pieces() {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Half(_) => out.push(char::REPLACEMENT_CHARACTER),
            }
        }
        out.into()
    }

    /// The string as JSON, half surrogates as escapes.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(self.len_bytes() + 2);
        out.push('"');
        for piece in self.pieces() {
            match piece {
                Piece::Text(text) => write_escaped(&mut out, text),
                Piece::Half(unit) => write_unit(&mut out, unit),
            }
        }
        out.push('"');
        out
    }

    /// Whether it has no character.
    pub fn is_empty(&self) -> bool {
        self.len_bytes() == 0
    }

    /// Length in bytes of UTF-8; a half surrogate counts 3, as its replacement does.
    pub fn len_bytes(&self) -> usize {
        match &self.0 {
            Repr::Text(text) => text.len(),
            Repr::Wtf8(bytes) => bytes.len(),
        }
    }

    pub(super) fn pieces(&self) -> Pieces<'_> {
        match &self.0 {
            Repr::Text(text) => Pieces(text.as_bytes()),
            Repr::Wtf8(bytes) => Pieces(bytes),
        }
    }
}

/// Runs of text and the halves between them.
pub(super) struct Pieces<'s>(&'s [u8]);

impl<'s> Iterator for Pieces<'s> {
    type Item = Piece<'s>;

    fn next(&mut self) -> Option<Piece<'s>> {
        let is_half = |window: &[u8]| matches!(window, [0xed, 0xa0..=0xbf, _]);
        if let [0xed, high @ 0xa0..=0xbf, low, rest @ ..] = self.0 {
            self.0 = rest;
            return Some(Piece::Half(0xd000 | u16::from(high & 0x3f) << 6 | u16::from(low & 0x3f)));
        }
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.windows(3).position(is_half).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        // Between halves WTF-8 is UTF-8.
        std::str::from_utf8(text).ok().map(Piece::Text)
    }
}

/// Grows text, and turns to WTF-8 at the first half surrogate.
#[derive(Default)]
struct Builder {
    bytes: Vec<u8>,
    has_half: bool,
}

impl Builder {
    fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn push_char(&mut self, character: char) {
        self.push(character.encode_utf8(&mut [0; 4]));
    }

    fn push_half(&mut self, unit: u16) {
        self.has_half = true;
        let continuation = |bits: u16| 0x80 | (bits & 0x3f) as u8;
        self.bytes.extend([0xed, continuation(unit >> 6), continuation(unit)]);
    }

    fn finish(self) -> JsString {
        let bytes = Bytes::from(self.bytes);
        JsString(match self.has_half {
            true => Repr::Wtf8(bytes),
            // Without halves only whole characters were pushed.
            false => Repr::Text(ByteString::try_from(bytes).unwrap_or_default()),
        })
    }
}

/// The inside of a valid JSON string with escapes.
fn unescape(inner: &str) -> JsString {
    let mut out = Builder { bytes: Vec::with_capacity(inner.len()), has_half: false };
    let mut rest = inner;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push(plain);
        let mut chars = escape.chars();
        match chars.next() {
            Some('b') => out.push("\u{8}"),
            Some('f') => out.push("\u{c}"),
            Some('n') => out.push("\n"),
            Some('r') => out.push("\r"),
            Some('t') => out.push("\t"),
            Some('u') => {
                let (unit, after) = hex4(chars.as_str());
                chars = after.chars();
                if let Some(character) = char::from_u32(u32::from(unit)) {
                    out.push_char(character);
                } else if let Some((low, after)) = after.strip_prefix("\\u").map(hex4)
                    && let Some(character) = pair(unit, low)
                {
                    out.push_char(character);
                    chars = after.chars();
                } else {
                    out.push_half(unit);
                }
            }
            Some(itself) => out.push_char(itself),
            None => (),
        }
        rest = chars.as_str();
    }
    out.push(rest);
    out.finish()
}

/// Four hex digits, which the scan has found there, and what follows.
fn hex4(text: &str) -> (u16, &str) {
    let (digits, rest) = text.split_at_checked(4).unwrap_or((text, ""));
    (u16::from_str_radix(digits, 16).unwrap_or_default(), rest)
}

/// The character of a high and a low half.
pub(super) fn pair(high: u16, low: u16) -> Option<char> {
    char::decode_utf16([high, low]).next()?.ok().filter(|_| is_high(high))
}

pub(super) fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

impl From<ByteString> for JsString {
    fn from(text: ByteString) -> Self {
        Self(Repr::Text(text))
    }
}

impl From<&str> for JsString {
    fn from(text: &str) -> Self {
        Self(Repr::Text(text.into()))
    }
}

impl PartialEq<str> for JsString {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for JsString {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

/// With U+FFFD for half surrogates.
impl fmt::Display for JsString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_text())
    }
}

impl fmt::Debug for JsString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsString({})", self.to_json())
    }
}

//! One JSON value, kept as its text.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};

use bytestring::ByteString;

use super::JsString;
use super::members::{Item, Note};
use super::scan::Scanner;
use crate::error::JsonError;

/// Exactly one valid JSON value, without white space around it. Cloning shares the text.
///
/// "Valid" is RFC 8259, half surrogate escapes included (spec §1.2 rule 4).
pub struct RawJson {
    text: ByteString,
    /// What the scan that has found it has noted. A clone has no note: it is as good without, and most are made to be
    /// sent.
    note: Note,
}

impl Clone for RawJson {
    fn clone(&self) -> Self {
        Self::from_valid(self.text.clone())
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RawJson {}

impl Hash for RawJson {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// What a JSON value is, seen from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number of any size.
    Number,
    /// A string, perhaps with half surrogates.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl RawJson {
    /// `{}`
    pub const EMPTY_OBJECT: Self = Self::from_valid(ByteString::from_static("{}"));

    const fn from_valid(text: ByteString) -> Self {
        Self { text, note: Note::Nothing }
    }

    /// Checks a text of one value, nested at most `max_depth` deep, and trims the white
    /// space around it. Shares the text.
    ///
    /// # Errors
    ///
    /// [`JsonError`] with the place of the first fault.
    pub fn parse(text: ByteString, max_depth: usize) -> Result<Self, JsonError> {
        let span = Scanner::new(&text, 0).document(max_depth, &mut ())?;
        Ok(Self::part(&text, span))
    }

    /// A constant.
    ///
    /// # Panics
    ///
    /// If the constant is not JSON: for texts in the source, not for input.
    #[track_caller]
    pub fn from_static(text: &'static str) -> Self {
        match Self::parse(ByteString::from_static(text), usize::MAX) {
            Ok(json) => json,
            Err(error) => panic!("constant is not json: {error}"),
        }
    }

    /// A JSON string of `text`.
    pub fn string(text: &str) -> Self {
        Self::from_valid(super::quoted(text).into())
    }

    /// A part of text that a scan has found valid.
    pub(crate) fn part(text: &ByteString, span: Range<usize>) -> Self {
        // The scanner stops at ASCII bytes only, so its spans lie on character boundaries.
        Self::from_valid(text.get(span).map(|part| text.slice_ref(part)).unwrap_or_else(null))
    }

    /// The same, with what was noted of it.
    pub(crate) fn noted_part(text: &ByteString, span: Range<usize>, note: Note) -> Self {
        Self { note, ..Self::part(text, span) }
    }

    #[cfg(test)]
    pub(crate) fn is_noted(&self) -> bool {
        matches!(self.note, Note::Members(_))
    }

    /// Shows the members of an object, none of any other value.
    fn each_member(&self, visit: impl FnMut(Item)) {
        match &self.note {
            Note::Members(members) => members.iter().for_each(visit),
            Note::Nothing | Note::Plain => Items::new(self.as_str(), b'{').for_each(visit),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text, shared.
    pub fn text(&self) -> ByteString {
        self.text.clone()
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        match self.text.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            _ => Kind::Null,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// Its value, if it is a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Its value, if it is a number within the range of a double.
    pub fn as_f64(&self) -> Option<f64> {
        let number = (self.kind() == Kind::Number).then(|| self.as_str().parse::<f64>().ok())??;
        number.is_finite().then_some(number)
    }

    /// Its value, if it is a whole number from 0 to `u64::MAX`, or up to 2^53 - 1 if it is
    /// written with a fraction or an exponent (`3.0`, `1e3`).
    pub fn as_u64(&self) -> Option<u64> {
        const MAX_SAFE: f64 = 9_007_199_254_740_991.0;
        if let Ok(number) = self.as_str().parse::<u64>() {
            return Some(number);
        }
        let number = self.as_f64()?;
        // In this range the conversion is exact.
        (number.fract() == 0.0 && (0.0..=MAX_SAFE).contains(&number)).then_some(number as u64)
    }

    /// Its value, if it is a string.
    pub fn as_js_string(&self) -> Option<JsString> {
        let is_plain = matches!(self.note, Note::Plain);
        (self.kind() == Kind::String).then(|| JsString::from_json(&self.text, is_plain))
    }

    /// Its value, if it is a string, with U+FFFD for each half surrogate.
    pub fn as_text(&self) -> Option<ByteString> {
        self.as_js_string().map(JsString::into_text)
    }

    /// The elements of an array, none of any other value.
    pub fn elements(&self) -> impl Iterator<Item = RawJson> + use<> {
        let text = self.text.clone();
        Items::new(self.text.clone(), b'[')
            .map(move |item| Self::noted_part(&text, item.value, Note::plain(item.is_plain)))
    }

    /// The members of an object in their order, duplicates included; none of any other value.
    pub fn members(&self) -> impl Iterator<Item = (JsString, RawJson)> + use<> {
        let text = self.text.clone();
        Items::new(self.text.clone(), b'{').map(move |item| {
            let key = Self::part(&text, item.key).text;
            (JsString::from_json(&key, !item.escaped), Self::part(&text, item.value))
        })
    }

    /// The member `name` of an object; the last one, if there are several, as in JavaScript.
    pub fn get(&self, name: &str) -> Option<RawJson> {
        let [value] = self.fields([name]);
        value
    }

    /// Several members at once, in one pass; see [`get`](Self::get).
    pub fn fields<const N: usize>(&self, names: [&str; N]) -> [Option<RawJson>; N] {
        // Only what is asked for is shared: every other member costs nothing but its scan. Programs write their
        // members in one order, so the name behind the last one that was found is looked at first.
        let mut found = [const { None }; N];
        let mut next = 0;
        self.each_member(|item| {
            let key = item.key(&self.text);
            for _ in 0..N {
                let place = next % N;
                next = place + 1;
                if let (Some(name), Some(slot)) = (names.get(place), found.get_mut(place))
                    && key.is(name)
                {
                    *slot = Some(Self::noted_part(&self.text, item.value, Note::plain(item.is_plain)));
                    return;
                }
            }
        });
        found
    }

    /// An object with some members set: every occurrence of those keys is removed, then
    /// each is appended once, so that no duplicate can pose as the original (spec §5.1
    /// rule 6). The rest keeps its order and its text.
    ///
    /// A replacement is `(key, JSON text)`, the last of equal keys counting; a text that is not one JSON value is written as
    /// a string, so that it cannot break out. A value that is not an object is returned as
    /// it is.
    pub fn replacing(&self, members: &[(&str, &str)]) -> RawJson {
        if self.kind() != Kind::Object {
            return self.clone();
        }
        let mut out = String::with_capacity(
            self.text.len() + members.iter().map(|(k, v)| k.len() + v.len() + 6).sum::<usize>(),
        );
        out.push('{');
        let separate = |out: &mut String| {
            if out.len() > 1 {
                out.push(',');
            }
        };
        self.each_member(|item| {
            let key = item.key(&self.text);
            if members.iter().any(|(replaced, _)| key.is(replaced)) {
                return;
            }
            separate(&mut out);
            out.push_str(self.text.get(item.key).unwrap_or_default());
            out.push(':');
            out.push_str(self.text.get(item.value).unwrap_or_default());
        });
        for (index, (key, json)) in members.iter().enumerate() {
            if members.iter().skip(index + 1).any(|(later, _)| later == key) {
                continue;
            }
            separate(&mut out);
            super::write_string(&mut out, key);
            out.push(':');
            match Scanner::new(json, 0).document(usize::MAX, &mut ()) {
                Ok(_) => out.push_str(json),
                Err(_) => super::write_string(&mut out, json),
            }
        }
        out.push('}');
        Self::from_valid(out.into())
    }
}

fn null() -> ByteString {
    ByteString::from_static("null")
}

/// Walks the parts of a valid array or object.
struct Items<T> {
    text: T,
    at: usize,
    keyed: bool,
}

impl<T: Deref<Target = str>> Items<T> {
    /// The parts of `text`, if it begins with `opening`.
    fn new(text: T, opening: u8) -> Self {
        let at = match text.as_bytes().first() {
            Some(&byte) if byte == opening => 1,
            _ => text.len(),
        };
        Self { text, at, keyed: opening == b'{' }
    }
}

impl<T: Deref<Target = str>> Iterator for Items<T> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let mut scan = Scanner::new(&self.text, self.at);
        scan.white_space();
        if scan.is_at(b',') {
            scan.step();
            scan.white_space();
        }
        // The closing bracket is no value, so the last call ends here.
        let (mut key, mut escaped) = (0..0, false);
        if self.keyed {
            let start = scan.offset();
            escaped = scan.string().ok()?;
            key = start..scan.offset();
            scan.colon().ok()?;
        }
        let (value, is_plain) = scan.inner_value(0, usize::MAX).ok()?;
        self.at = scan.offset();
        Some(Item { key, escaped, value, is_plain })
    }
}

impl fmt::Display for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({})", self.text)
    }
}

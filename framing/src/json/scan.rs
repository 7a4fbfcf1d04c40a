//! One pass over JSON text (RFC 8259): is it a value, and where are its parts?
//!
//! Iterative, with the nesting bounded by the caller, so no input can exhaust the stack.

use std::ops::Range;

use smallvec::SmallVec;

use super::plain::plain_length;
use crate::error::JsonError;

/// Told where the parts of a value are, in their order in the text. Spans are offsets in bytes.
pub(crate) trait Visitor {
    /// A member's key, with its quotes.
    fn key(&mut self, _span: Range<usize>) {}
    /// An array or object begins; its [`value`](Self::value) follows after its parts.
    fn open(&mut self) {}
    /// A value has ended.
    fn value(&mut self, _span: Range<usize>) {}
}

/// Checks only.
impl Visitor for () {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// A position in JSON text.
pub(crate) struct Scanner<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Scanner<'t> {
    pub(crate) fn new(text: &'t str, at: usize) -> Self {
        Self { bytes: text.as_bytes(), at }
    }

    /// The whole text as one value, with white space around it.
    pub(crate) fn document(
        mut self,
        max_depth: usize,
        visitor: &mut impl Visitor,
    ) -> Result<Range<usize>, JsonError> {
        self.white_space();
        let span = self.value(max_depth, visitor)?;
        self.ends().map(|()| span)
    }

    /// One value, which must begin here.
    pub(crate) fn value(
        &mut self,
        max_depth: usize,
        visitor: &mut impl Visitor,
    ) -> Result<Range<usize>, JsonError> {
        let start = self.at;
        if !self.is_scalar() {
            return self.container(0, max_depth, visitor);
        }
        self.scalar()?;
        visitor.value(start..self.at);
        Ok(start..self.at)
    }

    /// One value inside of `outside` arrays and objects, which are of the same `max_depth`. Also: whether it is a
    /// string in which nothing is escaped.
    #[inline]
    pub(crate) fn inner_value(
        &mut self,
        outside: usize,
        max_depth: usize,
    ) -> Result<(Range<usize>, bool), JsonError> {
        let start = self.at;
        match self.is_scalar() {
            true => self.scalar().map(|is_plain| (start..self.at, is_plain)),
            false => self.container(outside, max_depth, &mut ()).map(|span| (span, false)),
        }
    }

    /// Whether no array or object begins here.
    fn is_scalar(&self) -> bool {
        !matches!(self.peek(), Some(b'{' | b'['))
    }

    /// `outside`: how many arrays and objects it is in, of which the visitor is told nothing.
    fn container(
        &mut self,
        outside: usize,
        max_depth: usize,
        visitor: &mut impl Visitor,
    ) -> Result<Range<usize>, JsonError> {
        // Where each open container began, so that its span can be told at its end. The innermost is at hand.
        let mut around: SmallVec<[(Container, usize); 8]> = SmallVec::new();
        let mut open: Option<(Container, usize)> = None;
        loop {
            let start = self.at;
            let opened = match self.peek().ok_or(JsonError::End)? {
                b'{' => Some(Container::Object),
                b'[' => Some(Container::Array),
                _ => None,
            };
            if let Some(container) = opened {
                if outside + around.len() + usize::from(open.is_some()) >= max_depth {
                    return Err(JsonError::TooDeep { limit: max_depth });
                }
                self.at += 1;
                visitor.open();
                around.extend(open.replace((container, start)));
                self.white_space();
                let empty = match container {
                    Container::Object => b'}',
                    Container::Array => b']',
                };
                if !self.is_at(empty) {
                    if container == Container::Object {
                        self.key(visitor)?;
                    }
                    continue;
                }
            } else {
                self.scalar()?;
                visitor.value(start..self.at);
            }

            // A value has ended, or an empty container is about to: close what ends here.
            while let Some((container, start)) = open {
                self.white_space();
                match (self.peek().ok_or(JsonError::End)?, container) {
                    (b',', _) => {
                        self.at += 1;
                        self.white_space();
                        if container == Container::Object {
                            self.key(visitor)?;
                        }
                        break;
                    }
                    (b']', Container::Array) | (b'}', Container::Object) => {
                        self.at += 1;
                        visitor.value(start..self.at);
                        open = around.pop();
                        if open.is_none() {
                            return Ok(start..self.at);
                        }
                    }
                    (byte, _) => return Err(JsonError::Unexpected { at: self.at, byte }),
                }
            }
        }
    }

    /// A key with its colon, up to the value.
    fn key(&mut self, visitor: &mut impl Visitor) -> Result<(), JsonError> {
        let start = self.at;
        self.string()?;
        visitor.key(start..self.at);
        self.colon()
    }

    /// What stands between a key and its value.
    #[inline]
    pub(super) fn colon(&mut self) -> Result<(), JsonError> {
        self.white_space();
        self.expect(b':')?;
        self.white_space();
        Ok(())
    }

    /// Steps into an array or object, which begins here: whether it has something in it.
    pub(crate) fn enter(&mut self, closing: u8) -> bool {
        self.at += 1;
        self.white_space();
        let is_empty = self.is_at(closing);
        self.at += usize::from(is_empty);
        !is_empty
    }

    /// After one of its parts: whether another follows, and begins here.
    #[inline]
    pub(crate) fn goes_on(&mut self, closing: u8) -> Result<bool, JsonError> {
        self.white_space();
        match self.next()? {
            b',' => {
                self.white_space();
                Ok(true)
            }
            byte if byte == closing => Ok(false),
            byte => Err(JsonError::Unexpected { at: self.at - 1, byte }),
        }
    }

    /// Nothing but white space follows.
    pub(crate) fn ends(&mut self) -> Result<(), JsonError> {
        self.white_space();
        match self.peek() {
            None => Ok(()),
            Some(byte) => Err(JsonError::Unexpected { at: self.at, byte }),
        }
    }

    /// Length of the whole text, in bytes.
    pub(super) fn text_len(&self) -> usize {
        self.bytes.len()
    }

    /// A string, which must begin here: whether something in it is escaped.
    pub(crate) fn string(&mut self) -> Result<bool, JsonError> {
        self.expect(b'"')?;
        self.string_rest()
    }

    /// Whether it is a string in which nothing is escaped.
    fn scalar(&mut self) -> Result<bool, JsonError> {
        match self.next()? {
            b'"' => return self.string_rest().map(|escaped| !escaped),
            b't' => self.literal(b"rue"),
            b'f' => self.literal(b"alse"),
            b'n' => self.literal(b"ull"),
            b'-' => {
                let first = self.next()?;
                self.number_rest(first)
            }
            first => self.number_rest(first),
        }
        .map(|()| false)
    }

    /// After the opening quote, up to and with the closing one. Any `\uXXXX` is accepted,
    /// a half surrogate too (spec §1.2 rule 4).
    fn string_rest(&mut self) -> Result<bool, JsonError> {
        let mut escaped = false;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            self.at += plain_length(rest).ok_or(JsonError::End)?;
            match self.next()? {
                b'"' => return Ok(escaped),
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                byte => {
                    return Err(JsonError::Unexpected { at: self.at - 1, byte });
                }
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let at = self.at - 1;
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                for _ in 0..4 {
                    if !self.next()?.is_ascii_hexdigit() {
                        return Err(JsonError::Escape { at });
                    }
                }
                Ok(())
            }
            _ => Err(JsonError::Escape { at }),
        }
    }

    /// After the first digit of a number, with its sign read before.
    fn number_rest(&mut self, first: u8) -> Result<(), JsonError> {
        match first {
            b'0' => (),
            b'1'..=b'9' => self.digits(),
            byte => {
                return Err(JsonError::Unexpected { at: self.at - 1, byte });
            }
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), JsonError> {
        match self.next()? {
            b'0'..=b'9' => {
                self.digits();
                Ok(())
            }
            byte => Err(JsonError::Unexpected { at: self.at - 1, byte }),
        }
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn literal(&mut self, rest: &[u8]) -> Result<(), JsonError> {
        rest.iter().try_for_each(|&byte| self.expect(byte))
    }

    #[inline]
    pub(crate) fn white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Result<u8, JsonError> {
        let byte = self.peek().ok_or(JsonError::End)?;
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, wanted: u8) -> Result<(), JsonError> {
        match self.next()? {
            byte if byte == wanted => Ok(()),
            byte => Err(JsonError::Unexpected { at: self.at - 1, byte }),
        }
    }

    /// Steps over one byte that is known to be there, such as a comma between elements.
    pub(crate) fn step(&mut self) {
        self.at += 1;
    }

    /// Whether `byte` is next.
    pub(crate) fn is_at(&self, byte: u8) -> bool {
        self.peek() == Some(byte)
    }

    /// Offset of the next byte.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }
}

//! One pass over JSON text (RFC 8259): is it a value, and where are its parts?
//!
//! Iterative, with the nesting bounded by the caller, so no input can exhaust the stack.

use std::ops::Range;

use smallvec::SmallVec;

use super::plain::plain_length;
use crate::error::JsonError;

/// Told where the parts of a value are, in their order in the text.
///
/// `depth` is the number of arrays and objects around the part. Spans are offsets in bytes.
pub(crate) trait Visitor {
    /// A member's key, with its quotes; `escaped`: something in it is. `depth` counts the object.
    fn key(&mut self, _depth: usize, _span: Range<usize>, _escaped: bool) {}
    /// An array or object begins; its [`value`](Self::value) follows after its parts.
    fn open(&mut self, _depth: usize, _start: usize) {}
    /// A value has ended.
    fn value(&mut self, _depth: usize, _span: Range<usize>) {}
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
        self.white_space();
        match self.peek() {
            None => Ok(span),
            Some(byte) => Err(JsonError::Unexpected { at: self.at, byte }),
        }
    }

    /// One value, which must begin here.
    pub(crate) fn value(
        &mut self,
        max_depth: usize,
        visitor: &mut impl Visitor,
    ) -> Result<Range<usize>, JsonError> {
        if let Some(b'{' | b'[') = self.peek() {
            return self.container(max_depth, visitor);
        }
        let start = self.at;
        self.scalar()?;
        visitor.value(0, start..self.at);
        Ok(start..self.at)
    }

    fn container(&mut self, max_depth: usize, visitor: &mut impl Visitor) -> Result<Range<usize>, JsonError> {
        // Where each open container began, so that its span can be told at its end.
        let mut open: SmallVec<[(Container, usize); 16]> = SmallVec::new();
        loop {
            let start = self.at;
            let opened = match self.peek().ok_or(JsonError::End)? {
                b'{' => Some(Container::Object),
                b'[' => Some(Container::Array),
                _ => None,
            };
            if let Some(container) = opened {
                if open.len() >= max_depth {
                    return Err(JsonError::TooDeep { limit: max_depth });
                }
                self.at += 1;
                visitor.open(open.len(), start);
                open.push((container, start));
                self.white_space();
                let empty = match container {
                    Container::Object => b'}',
                    Container::Array => b']',
                };
                if self.peek() != Some(empty) {
                    if container == Container::Object {
                        self.key(open.len(), visitor)?;
                    }
                    continue;
                }
            } else {
                self.scalar()?;
                visitor.value(open.len(), start..self.at);
            }

            // A value has ended, or an empty container is about to: close what ends here.
            loop {
                let Some(&(container, start)) = open.last() else {
                    return Ok(start..self.at);
                };
                self.white_space();
                match (self.peek().ok_or(JsonError::End)?, container) {
                    (b',', _) => {
                        self.at += 1;
                        self.white_space();
                        if container == Container::Object {
                            self.key(open.len(), visitor)?;
                        }
                        break;
                    }
                    (b']', Container::Array) | (b'}', Container::Object) => {
                        self.at += 1;
                        open.pop();
                        visitor.value(open.len(), start..self.at);
                        if open.is_empty() {
                            return Ok(start..self.at);
                        }
                    }
                    (byte, _) => return Err(JsonError::Unexpected { at: self.at, byte }),
                }
            }
        }
    }

    /// A key with its colon, up to the value.
    fn key(&mut self, depth: usize, visitor: &mut impl Visitor) -> Result<(), JsonError> {
        let start = self.at;
        let escaped = self.string()?;
        visitor.key(depth, start..self.at, escaped);
        self.white_space();
        self.expect(b':')?;
        self.white_space();
        Ok(())
    }

    /// A string, which must begin here: whether something in it is escaped.
    pub(crate) fn string(&mut self) -> Result<bool, JsonError> {
        self.expect(b'"')?;
        self.string_rest()
    }

    fn scalar(&mut self) -> Result<(), JsonError> {
        match self.next()? {
            b'"' => self.string_rest().map(drop),
            b't' => self.literal(b"rue"),
            b'f' => self.literal(b"alse"),
            b'n' => self.literal(b"ull"),
            b'-' => {
                let first = self.next()?;
                self.number_rest(first)
            }
            first => self.number_rest(first),
        }
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

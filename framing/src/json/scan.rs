//! One pass over JSON text (RFC 8259): is it a value, and where are its parts?
//!
//! Iterative, with the nesting bounded by the caller, so no input can exhaust the stack.

use std::ops::Range;

use smallvec::SmallVec;

use crate::error::JsonError;

/// Told where the parts of a value are, in their order in the text.
///
/// `depth` is the number of arrays and objects around the part. Spans are offsets in bytes.
pub(crate) trait Visitor {
    /// A member's key, with its quotes. `depth` counts the object.
    fn key(&mut self, _depth: usize, _span: Range<usize>) {}
    /// An array or object begins; its [`value`](Self::value) follows after its parts.
    fn open(&mut self, _depth: usize) {}
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
                visitor.open(open.len());
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
        self.expect(b'"')?;
        self.string_rest()?;
        visitor.key(depth, start..self.at);
        self.white_space();
        self.expect(b':')?;
        self.white_space();
        Ok(())
    }

    fn scalar(&mut self) -> Result<(), JsonError> {
        match self.next()? {
            b'"' => self.string_rest(),
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
    fn string_rest(&mut self) -> Result<(), JsonError> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            self.at += plain_length(rest).ok_or(JsonError::End)?;
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
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

    pub(crate) fn white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

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

/// Bytes before the first quote, backslash or control character; `None` if there is none. Most strings are a few
/// bytes, and a few are most of the bytes: those are searched many bytes at a time.
fn plain_length(bytes: &[u8]) -> Option<usize> {
    const SHORT: usize = 16;
    let special = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < 0x20;
    if let Some(at) = bytes.iter().take(SHORT).position(special) {
        return Some(at);
    }
    let long = bytes.get(SHORT..)?;
    let end = memchr::memchr2(b'"', b'\\', long).unwrap_or(long.len());
    let before = long.get(..end).unwrap_or_default();
    // Without a way out of the loop, so that it is done many bytes at a time.
    let control = before.iter().fold(false, |found, byte| found | (*byte < 0x20));
    match control {
        true => bytes.iter().position(special),
        false if end == long.len() => None,
        false => Some(SHORT + end),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::plain_length;

    proptest! {
        #[test]
        fn long_strings_end_where_a_search_byte_by_byte_ends(
            before in proptest::collection::vec(0x20u8.., 0..100),
            after in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let bytes = [before, after].concat();
            let special = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < 0x20;
            prop_assert_eq!(plain_length(&bytes), bytes.iter().position(special));
        }
    }
}

//! Making text whole that was cut between UTF-16 units.

use bytestring::ByteString;

use super::js_string::{JsString, Piece, is_high, pair};

/// Joins half surrogates across the pieces of one text (spec §5.4).
///
/// What it gives out is always whole characters: a high half at the end of a piece waits
/// for the next one, and a half that finds no partner becomes U+FFFD.
#[derive(Debug, Clone, Default)]
pub struct SurrogateJoiner {
    /// A high half that ended the last piece that was not empty.
    pending: Option<u16>,
}

impl SurrogateJoiner {
    /// For the beginning of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece, and gives the text that is certain by now; often empty.
    /// Shares the piece's bytes if nothing had to be joined.
    pub fn push(&mut self, piece: &JsString) -> ByteString {
        if piece.is_empty() {
            return ByteString::new();
        }
        if let (None, Some(_)) = (self.pending, piece.as_str()) {
            return piece.to_text();
        }
        let mut out = String::with_capacity(3 + piece.len_bytes());
        for part in piece.pieces() {
            match part {
                Piece::Text(text) => {
                    self.give_up(&mut out);
                    out.push_str(text);
                }
                Piece::Half(unit) => match self.pending.and_then(|high| pair(high, unit)) {
                    Some(character) => {
                        self.pending = None;
                        out.push(character);
                    }
                    None => {
                        self.give_up(&mut out);
                        match is_high(unit) {
                            true => self.pending = Some(unit),
                            false => out.push(char::REPLACEMENT_CHARACTER),
                        }
                    }
                },
            }
        }
        out.into()
    }

    /// Ends the text: U+FFFD if a half was waiting. The joiner is as new afterwards.
    pub fn finish(&mut self) -> Option<ByteString> {
        self.pending.take().map(|_| ByteString::from_static("\u{fffd}"))
    }

    /// Whether a half is waiting.
    pub fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    fn give_up(&mut self, out: &mut String) {
        if self.pending.take().is_some() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

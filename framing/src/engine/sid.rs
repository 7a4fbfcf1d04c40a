//! Session ids.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Names an Engine.IO session, or a socket in a namespace: 20 characters of base64url.
///
/// It is a secret: who knows it can poll the session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid([u8; Sid::LEN]);

impl Sid {
    /// Length in characters and bytes.
    pub const LEN: usize = 20;

    /// From 120 random bits, drawn by the caller from a secure source.
    pub fn from_random(random: [u8; 15]) -> Self {
        let mut text = [b'A'; Self::LEN];
        // 15 bytes are exactly 20 characters, so the slice is always long enough.
        let _ = URL_SAFE_NO_PAD.encode_slice(random, &mut text);
        Self(text)
    }

    /// Reads an id as [`as_str`](Self::as_str) writes it; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; Self::LEN] = text.as_bytes().try_into().ok()?;
        bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            .then_some(Self(bytes))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Both constructors admit ASCII only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let sid = Sid::from_random([0xff; 15]);
        assert_eq!(sid.as_str(), "____________________");
        assert_eq!(Sid::parse(sid.as_str()), Some(sid));
        assert_eq!(Sid::from_random([0; 15]).to_string(), "A".repeat(20));

        assert!(Sid::parse("TOY1qTTymaxOa0FUAAAB").is_some(), "an id of the official server");
        for bad in [
            "",
            "short",
            "TOY1qTTymaxOa0FUAAABx",
            "TOY1qTTymaxOa0FUAA+B",
            "éééééééééé",
            "TOY1qTTymaxOa0FUAA/é",
        ] {
            assert_eq!(Sid::parse(bad), None, "{bad:?}");
        }
    }
}

//! Names of namespaces.

use std::fmt;

use bytestring::ByteString;

use crate::error::ProtocolError;

/// The name of a namespace: `/`, or `/` and more without a comma. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(ByteString);

impl Namespace {
    /// Longest name taken from the wire, in bytes. The protocol sets none; no real
    /// namespace comes near.
    pub const MAX_LEN: usize = 256;

    /// The namespace that every client knows, `/`.
    pub const fn root() -> Self {
        Self(ByteString::from_static("/"))
    }

    /// A constant.
    ///
    /// # Panics
    ///
    /// If it does not begin with `/` or holds a comma: for names in the source, not for input.
    #[track_caller]
    pub const fn from_static(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(is_name(bytes), "a namespace begins with '/' and holds no comma");
        Self(ByteString::from_static(name))
    }

    /// A name from configuration or the wire, sharing the text; `None` if it is no name or
    /// longer than [`MAX_LEN`](Self::MAX_LEN).
    pub fn new(name: ByteString) -> Option<Self> {
        (name.len() <= Self::MAX_LEN && is_name(name.as_bytes())).then_some(Self(name))
    }

    /// A name that the header has found, which cannot be ill-formed, only too long.
    pub(super) fn from_header(name: ByteString) -> Result<Self, ProtocolError> {
        match name.len() {
            len if len > Self::MAX_LEN => Err(ProtocolError::NamespaceTooLong { len, limit: Self::MAX_LEN }),
            _ => Ok(Self(name)),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.as_str() == "/"
    }

    /// The same name in memory of its own, for whoever keeps it longer than the frame.
    pub(super) fn detached(&self) -> Self {
        Self(ByteString::from(self.as_str()))
    }
}

const fn is_name(bytes: &[u8]) -> bool {
    let [b'/', rest @ ..] = bytes else {
        return false;
    };
    let mut rest = rest;
    while let [byte, following @ ..] = rest {
        if *byte == b',' {
            return false;
        }
        rest = following;
    }
    true
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["/", "/llm", "/a/b", "/ä", "/llm?x=1", "/ "] {
            assert!(Namespace::new(good.into()).is_some(), "{good:?}");
        }
        let longest = format!("/{}", "x".repeat(Namespace::MAX_LEN - 1));
        assert!(Namespace::new(longest.as_str().into()).is_some());
        for bad in ["", "llm", "/a,b", ",", &format!("{longest}x")] {
            assert!(Namespace::new(bad.into()).is_none(), "{bad:?}");
        }
        assert!(Namespace::root().is_root());
        assert!(!Namespace::from_static("/llm").is_root());
    }
}

//! Events: a name, arguments, attachments, perhaps an ack id.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use crate::json::{RawJson, write_string};

/// Elements of an event's or ack's array. Each costs some ten times its shortest text, so
/// they are bounded beside the bytes; no program sends more than a handful.
pub(super) const MAX_ARGS: usize = 4096;

/// Names that the libraries keep for themselves (spec §1.2 rule 3).
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// An event, the name taken off its arguments.
///
/// A binary argument stands among the arguments as `{"_placeholder":true,"num":n}`; the
/// decoder has checked that attachment `n` exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub name: EventName,
    /// What follows the name.
    pub args: Vec<RawJson>,
    /// What the placeholders stand for.
    pub attachments: Vec<Bytes>,
    /// The id to answer with, if an answer is wanted; at most 2^53 - 1.
    pub ack: Option<u64>,
}

impl Event {
    /// Bytes of its arguments and attachments.
    pub fn bytes(&self) -> usize {
        let args = self.args.iter().map(|arg| arg.as_str().len());
        args.chain(self.attachments.iter().map(Bytes::len)).sum()
    }
}

/// The name of an event: text, or a number in dialect 1 (spec §1.2 rule 1).
///
/// There is no `null` name: the decoder drops such events and nothing may emit one
/// (spec §1.2 rule 2).
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum EventName {
    /// A JSON number, as written.
    Number(ByteString),
    /// A string. Half surrogates in a name, which no program has, are U+FFFD.
    Text(ByteString),
}

impl EventName {
    /// A textual constant.
    pub const fn from_static(name: &'static str) -> Self {
        Self::Text(ByteString::from_static(name))
    }

    /// A textual name.
    pub fn text(name: impl Into<ByteString>) -> Self {
        Self::Text(name.into())
    }

    /// A numeric name.
    pub fn number(number: u64) -> Self {
        Self::Number(number.to_string().into())
    }

    /// The name, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(name) => Some(name),
            Self::Number(_) => None,
        }
    }

    /// The number, if it is a whole one; `9.0` is 9, as in JavaScript.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(json) => RawJson::parse(json.clone(), 0).ok()?.as_u64(),
            Self::Text(_) => None,
        }
    }

    /// The reserved name that a text is, if it is one.
    pub(super) fn reserved(name: &str) -> Option<&'static str> {
        RESERVED.into_iter().find(|reserved| *reserved == name)
    }

    /// Bytes of its JSON, if nothing in it is escaped.
    pub(crate) fn json_len(&self) -> usize {
        match self {
            Self::Number(json) => json.len(),
            Self::Text(text) => text.len() + 2,
        }
    }

    /// Appends the name as JSON.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Number(json) => out.push_str(json),
            Self::Text(name) => write_string(out, name),
        }
    }
}

/// As JavaScript prints it, without quotes.
impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(text) | Self::Text(text) => f.pad(text),
        }
    }
}

/// As JSON.
impl fmt::Debug for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}

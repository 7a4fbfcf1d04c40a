//! The head of a packet: `<type>[<attachments>-][<namespace>,][<ack id>][<payload>]`.

use bytestring::ByteString;

use super::Namespace;
use crate::error::ProtocolError;

/// The largest whole number that JavaScript can count with.
const MAX_ACK_ID: u64 = (1 << 53) - 1;

/// A head, taken apart; the payload is cut off, not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Binary parts that follow; 0 for a plain packet.
    pub(super) attachments: usize,
    pub(super) ns: Namespace,
    pub(super) id: Option<u64>,
    /// What is left, empty if there is none.
    pub(super) payload: ByteString,
}

/// The packet types of clients; binary ones are their plain twins with attachments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
}

impl Header {
    /// Reads the head of a packet, sharing the text.
    pub(super) fn read(text: &ByteString, max_attachments: usize) -> Result<Self, ProtocolError> {
        let mut rest = Rest { text };
        let (kind, binary) = match rest.byte().ok_or(ProtocolError::Empty)? {
            b'0' => (Kind::Connect, false),
            b'1' => (Kind::Disconnect, false),
            b'2' => (Kind::Event, false),
            b'3' => (Kind::Ack, false),
            b'4' => return Err(ProtocolError::ConnectError),
            b'5' => (Kind::Event, true),
            b'6' => (Kind::Ack, true),
            byte => return Err(ProtocolError::UnknownType { byte }),
        };
        let attachments = match binary {
            true => rest.attachments(max_attachments)?,
            false => 0,
        };
        let ns = match rest.namespace() {
            Some(name) => Namespace::from_header(text.slice_ref(name))?,
            None => Namespace::root(),
        };
        let id = rest.ack_id()?;
        Ok(Self { kind, attachments, ns, id, payload: text.slice_ref(rest.text) })
    }
}

/// What of the text is still to be read.
struct Rest<'t> {
    text: &'t str,
}

impl<'t> Rest<'t> {
    /// The type. A character of several bytes is no type, so its first byte will do.
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.text.as_bytes().first()?;
        self.text = self.text.get(1..).unwrap_or_default();
        Some(byte)
    }

    fn attachments(&mut self, limit: usize) -> Result<usize, ProtocolError> {
        let digits = self.digits();
        let rest = self.text.strip_prefix('-').ok_or(ProtocolError::AttachmentCount)?;
        if digits.is_empty() {
            return Err(ProtocolError::AttachmentCount);
        }
        self.text = rest;
        let count = digits.parse::<u64>().unwrap_or(u64::MAX);
        match usize::try_from(count) {
            Ok(fits) if fits <= limit => Ok(fits),
            _ => Err(ProtocolError::TooManyAttachments { count, limit }),
        }
    }

    fn namespace(&mut self) -> Option<&'t str> {
        if !self.text.starts_with('/') {
            return None;
        }
        let (name, rest) = self.text.split_once(',').unwrap_or((self.text, ""));
        self.text = rest;
        Some(name)
    }

    fn ack_id(&mut self) -> Result<Option<u64>, ProtocolError> {
        match self.digits() {
            "" => Ok(None),
            digits => match digits.parse::<u64>() {
                Ok(id) if id <= MAX_ACK_ID => Ok(Some(id)),
                _ => Err(ProtocolError::AckId),
            },
        }
    }

    fn digits(&mut self) -> &'t str {
        let end = self.text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.text.len());
        let (digits, rest) = self.text.split_at_checked(end).unwrap_or_default();
        self.text = rest;
        digits
    }
}

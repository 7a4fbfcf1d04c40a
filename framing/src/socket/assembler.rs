//! Text and binary messages → whole packets.

use bytes::Bytes;
use bytestring::ByteString;

use super::header::{Header, Kind};
use super::payload::{self, Name};
use super::{Event, Namespace, Packet};
use crate::error::ProtocolError;
use crate::json::RawJson;
use crate::limits::Limits;

/// A part that must wait and is shorter than this is copied: it may be a small slice of a
/// large read buffer, which would stay in memory with it. A longer one makes up a fair part
/// of its buffer already.
const COPY_BELOW: usize = 16 * 1024;

/// Reads packets, waiting for the attachments that a head announces.
///
/// ```text
///            head with attachments            last attachment
///   Idle ─────────────────────────► Waiting ──────────────────► Idle, a packet
///    │ text: a packet                  │ text: error
///    └ binary: error                   └ binary, not the last: still waiting
/// ```
///
/// After an error the connection is to be closed; the decoder drops what it held.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    waiting: Option<Waiting>,
}

/// A head whose attachments are on their way.
#[derive(Debug)]
struct Waiting {
    /// `None`: the packet is to be ignored once its attachments have come.
    head: Option<Head>,
    missing: usize,
    attachments: Vec<Bytes>,
    bytes: usize,
}

#[derive(Debug)]
enum Head {
    Event { ns: Namespace, event: Event },
    Ack { ns: Namespace, id: u64, args: Vec<RawJson> },
}

impl Decoder {
    /// A decoder between packets.
    pub fn new(limits: Limits) -> Self {
        Self { limits, waiting: None }
    }

    /// Takes a text message, without Engine.IO's `4`.
    ///
    /// `None` if the packet is not whole yet, or is one to ignore: an event named `null`
    /// (spec §1.2 rule 2) or without a payload, an ack without an id.
    ///
    /// # Errors
    ///
    /// If a client may not send this, or not now.
    pub fn text(&mut self, text: ByteString) -> Result<Option<Packet>, ProtocolError> {
        if let Some(waiting) = self.waiting.take() {
            return Err(ProtocolError::TextInsteadOfAttachment { missing: waiting.missing });
        }
        let Limits { max_payload, max_attachments, max_depth, .. } = self.limits;
        if text.len() > max_payload {
            return Err(ProtocolError::TooLarge { len: text.len(), limit: max_payload });
        }
        let Header { kind, attachments, mut ns, id, mut payload } = Header::read(&text, max_attachments)?;
        if attachments > 0 && text.len() < COPY_BELOW {
            ns = ns.detached();
            payload = ByteString::from(&*payload);
        }
        let head = match kind {
            Kind::Connect => {
                let auth = payload::auth(payload, max_depth)?;
                return Ok(Some(Packet::Connect { ns, auth }));
            }
            Kind::Disconnect if payload.is_empty() => return Ok(Some(Packet::Disconnect { ns })),
            Kind::Disconnect => {
                return Err(ProtocolError::Payload { packet: "disconnect", expected: "nothing" });
            }
            Kind::Event => match payload::event(payload, attachments, max_depth)? {
                (Name::Usable(name), args) => {
                    Some(Head::Event { ns, event: Event { name, args, attachments: Vec::new(), ack: id } })
                }
                (Name::Null, _) => None,
            },
            Kind::Ack => {
                let args = payload::ack(payload, attachments, max_depth)?;
                id.map(|id| Head::Ack { ns, id, args })
            }
        };
        if attachments == 0 {
            return Ok(head.map(|head| head.into_packet(Vec::new())));
        }
        self.waiting = Some(Waiting { head, missing: attachments, attachments: Vec::new(), bytes: 0 });
        Ok(None)
    }

    /// Takes a binary message: the next attachment.
    ///
    /// # Errors
    ///
    /// If no head announced it, or the attachments together are longer than
    /// [`Limits::max_payload`].
    pub fn binary(&mut self, data: Bytes) -> Result<Option<Packet>, ProtocolError> {
        let Some(mut waiting) = self.waiting.take() else {
            return Err(ProtocolError::AttachmentWithoutHead);
        };
        waiting.bytes = waiting.bytes.saturating_add(data.len());
        let limit = self.limits.max_payload;
        if waiting.bytes > limit {
            return Err(ProtocolError::TooLarge { len: waiting.bytes, limit });
        }
        waiting.missing = waiting.missing.saturating_sub(1);
        let is_last = waiting.missing == 0;
        if waiting.head.is_some() {
            waiting.attachments.push(if is_last { data } else { detached(data) });
        }
        if is_last {
            return Ok(waiting.head.map(|head| head.into_packet(waiting.attachments)));
        }
        self.waiting = Some(waiting);
        Ok(None)
    }

    /// Attachments still due before the next packet can begin.
    pub fn missing(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.missing)
    }
}

impl Head {
    fn into_packet(self, attachments: Vec<Bytes>) -> Packet {
        match self {
            Self::Event { ns, mut event } => {
                event.attachments = attachments;
                Packet::Event { ns, event }
            }
            Self::Ack { ns, id, args } => Packet::Ack { ns, id, args, attachments },
        }
    }
}

fn detached(data: Bytes) -> Bytes {
    match data.len() < COPY_BELOW {
        true => Bytes::copy_from_slice(&data),
        false => data,
    }
}

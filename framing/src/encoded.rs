//! A packet serialised once, shared by reference.

use bytes::Bytes;
use bytestring::ByteString;

use smallvec::SmallVec;

use crate::engine::Packet;
use crate::frame::Frame;
use crate::json::quoted;
use crate::socket::{EventName, Namespace};

/// A packet ready for any transport: a head, which is a whole text frame with Engine.IO's
/// type in front, and its attachments. Cloning shares the bytes, so that a broadcast costs
/// one serialisation. Head and attachments must leave together, in this order.
#[derive(Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Empty for a bare binary message, which has no head.
    head: ByteString,
    attachments: SmallVec<[Bytes; 1]>,
}

impl Clone for Encoded {
    fn clone(&self) -> Self {
        Self { head: self.head.clone(), attachments: shared(&self.attachments) }
    }
}

impl Encoded {
    /// `0`: the client has joined `ns`; `sid` names its socket there.
    pub fn connect(ns: &Namespace, sid: &str) -> Self {
        Self::plain('0', ns, &format!(r#"{{"sid":{}}}"#, quoted(sid)))
    }

    /// `4`: the client may not join `ns`. `payload` is JSON text, an object with a
    /// `message` by convention.
    pub fn connect_error(ns: &Namespace, payload: &str) -> Self {
        Self::plain('4', ns, payload)
    }

    /// `4` with a message and nothing else.
    pub fn connect_refused(ns: &Namespace, message: &str) -> Self {
        Self::connect_error(ns, &format!(r#"{{"message":{}}}"#, quoted(message)))
    }

    /// `4` as the official server words it for a namespace that it does not have.
    pub fn invalid_namespace(ns: &Namespace) -> Self {
        Self::connect_error(ns, r#"{"message":"Invalid namespace"}"#)
    }

    /// `1`: the server ends the client's presence in `ns`.
    pub fn disconnect(ns: &Namespace) -> Self {
        Self::plain('1', ns, "")
    }

    /// `2` or `5`: an event. `args` are JSON texts, without the name; what they hold as
    /// placeholders the attachments must have.
    pub fn event(
        ns: &Namespace,
        ack: Option<u64>,
        name: &EventName,
        args: &[&str],
        attachments: &[Bytes],
    ) -> Self {
        Self::packet(['2', '5'], ns, ack, Some(name), args, attachments)
    }

    /// `3` or `6`: the answer to the client's event `id`. `args` are JSON texts.
    pub fn ack(ns: &Namespace, id: u64, args: &[&str], attachments: &[Bytes]) -> Self {
        Self::packet(['3', '6'], ns, Some(id), None, args, attachments)
    }

    /// A packet of the Engine.IO layer: a ping, a noop, a close, a bare message.
    pub fn engine(packet: &Packet) -> Self {
        match packet.encode() {
            Frame::Text(head) => Self { head, attachments: SmallVec::new() },
            Frame::Binary(data) => Self { head: ByteString::new(), attachments: SmallVec::from_buf([data]) },
        }
    }

    /// The frames, in the order in which they must leave.
    pub fn frames(&self) -> impl Iterator<Item = Frame> + '_ {
        let head = (!self.head.is_empty()).then(|| Frame::Text(self.head.clone()));
        head.into_iter().chain(self.attachments.iter().cloned().map(Frame::Binary))
    }

    /// The head, if it is not a bare binary message. It leaves as text.
    pub fn head(&self) -> Option<&str> {
        (!self.head.is_empty()).then_some(&self.head)
    }

    /// What leaves behind the head, each as a binary frame, in this order.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// Bytes of all frames, without the transport's own framing.
    pub fn bytes(&self) -> usize {
        self.head.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// Number of frames; each is one Engine.IO packet.
    pub fn packets(&self) -> usize {
        usize::from(!self.head.is_empty()) + self.attachments.len()
    }

    fn plain(kind: char, ns: &Namespace, payload: &str) -> Self {
        let mut head = String::with_capacity(2 + namespace_len(ns) + payload.len());
        head.push('4');
        head.push(kind);
        write_namespace(&mut head, ns);
        head.push_str(payload);
        Self { head: head.into(), attachments: SmallVec::new() }
    }

    fn packet(
        [plain, binary]: [char; 2],
        ns: &Namespace,
        id: Option<u64>,
        name: Option<&EventName>,
        args: &[&str],
        attachments: &[Bytes],
    ) -> Self {
        let mut count = itoa::Buffer::new();
        let count = count.format(attachments.len());
        let mut digits = itoa::Buffer::new();
        let id = id.map_or("", |id| digits.format(id));
        // To the byte, unless the name has escapes: text that fills its memory needs no other to be shared.
        let binary_part = if attachments.is_empty() { 0 } else { count.len() + 1 };
        let elements = name.map_or(0, EventName::json_len) + args.iter().map(|arg| arg.len()).sum::<usize>();
        let commas = (args.len() + usize::from(name.is_some())).saturating_sub(1);
        let mut head =
            String::with_capacity(4 + binary_part + namespace_len(ns) + id.len() + elements + commas);
        head.push('4');
        match attachments.is_empty() {
            true => head.push(plain),
            false => {
                head.push(binary);
                head.push_str(count);
                head.push('-');
            }
        }
        write_namespace(&mut head, ns);
        head.push_str(id);
        head.push('[');
        if let Some(name) = name {
            name.write(&mut head);
        }
        for (index, arg) in args.iter().enumerate() {
            if index > 0 || name.is_some() {
                head.push(',');
            }
            head.push_str(arg);
        }
        head.push(']');
        Self { head: head.into(), attachments: shared(attachments) }
    }
}

/// Most packets have none, and a broadcast has a copy for each receiver.
fn shared(attachments: &[Bytes]) -> SmallVec<[Bytes; 1]> {
    match attachments {
        [] => SmallVec::new(),
        [only] => SmallVec::from_buf([only.clone()]),
        many => many.into(),
    }
}

/// Bytes that [`write_namespace`] writes.
fn namespace_len(ns: &Namespace) -> usize {
    if ns.is_root() { 0 } else { ns.as_str().len() + 1 }
}

/// The name of a namespace other than `/`, with its comma.
fn write_namespace(out: &mut String, ns: &Namespace) {
    if !ns.is_root() {
        out.push_str(ns.as_str());
        out.push(',');
    }
}

//! From the bytes of a WebSocket to the frames of Engine.IO: guarded, decoded by the codec that actix-ws is made
//! of, and messages in several frames put together.

use actix_codec::Decoder;
use actix_http::ws::{Codec, Frame as Message, Item, ProtocolError};
use bytes::{Bytes, BytesMut};
use framing::{ByteString, close::CloseReason, frame::Frame};
use log::debug;

use super::frame_guard::{FrameGuard, FrameLimits};

/// What a peer has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    /// A message, whole.
    Frame(Frame),
    /// A ping of RFC 6455, to be answered with the same payload.
    Ping(Bytes),
    /// The peer closes the connection.
    Close,
}

/// See the module's documentation.
pub(super) struct Reader {
    limits: FrameLimits,
    guard: FrameGuard,
    codec: Codec,
    /// What does not make a frame yet. Empty, and without memory, while the peer is silent.
    buffer: BytesMut,
    /// What does not make a message yet. The guard has bounded it. Most peers never need it.
    parts: Option<Box<Parts>>,
}

struct Parts {
    text: bool,
    bytes: BytesMut,
}

impl Reader {
    pub(super) fn new(limits: FrameLimits) -> Self {
        Self {
            limits,
            guard: FrameGuard::new(limits),
            codec: Codec::new().max_size(limits.max_bytes),
            buffer: BytesMut::new(),
            parts: None,
        }
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// A frame, or a message in several, declares more than it may have. The connection has to end.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), CloseReason> {
        self.guard.read(bytes).map_err(|refused| refused.reason(self.limits))?;
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// What the bytes so far hold. None: more of them are needed.
    ///
    /// # Errors
    /// The peer has broken RFC 6455. The connection has to end.
    pub(super) fn next(&mut self) -> Result<Option<Inbound>, CloseReason> {
        while !self.buffer.is_empty() {
            let Some(message) = self.codec.decode(&mut self.buffer).map_err(broken)? else {
                return Ok(None);
            };
            if self.buffer.is_empty() {
                // The message holds what it needs of that memory.
                self.buffer = BytesMut::new();
            }
            return Ok(Some(match message {
                Message::Text(bytes) => Inbound::Frame(text(bytes)?),
                Message::Binary(bytes) => Inbound::Frame(Frame::Binary(bytes)),
                Message::Ping(payload) => Inbound::Ping(payload),
                Message::Pong(_) => continue,
                Message::Close(_) => Inbound::Close,
                Message::Continuation(item) => match self.put_together(item)? {
                    Some(frame) => Inbound::Frame(frame),
                    None => continue,
                },
            }));
        }
        Ok(None)
    }

    /// The codec has seen to the order of the parts.
    fn put_together(&mut self, item: Item) -> Result<Option<Frame>, CloseReason> {
        let (bytes, is_last) = match item {
            Item::FirstText(bytes) => {
                self.parts = Some(Box::new(Parts { text: true, bytes: bytes.into() }));
                return Ok(None);
            }
            Item::FirstBinary(bytes) => {
                self.parts = Some(Box::new(Parts { text: false, bytes: bytes.into() }));
                return Ok(None);
            }
            Item::Continue(bytes) => (bytes, false),
            Item::Last(bytes) => (bytes, true),
        };
        let Some(mut parts) = self.parts.take() else {
            return Err(CloseReason::TransportError);
        };
        parts.bytes.extend_from_slice(&bytes);
        if !is_last {
            self.parts = Some(parts);
            return Ok(None);
        }
        let bytes = parts.bytes.freeze();
        Ok(Some(if parts.text { text(bytes)? } else { Frame::Binary(bytes) }))
    }
}

fn text(bytes: Bytes) -> Result<Frame, CloseReason> {
    ByteString::try_from(bytes).map(Frame::Text).map_err(|error| {
        debug!(error:%; "a text message that is no UTF-8");
        CloseReason::TransportError
    })
}

fn broken(error: ProtocolError) -> CloseReason {
    debug!(error:%; "websocket broke its protocol");
    CloseReason::TransportError
}

#[cfg(test)]
mod tests {
    use actix_codec::Encoder;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: FrameLimits = FrameLimits { max_bytes: 1 << 20, max_fragments: 100 };

    /// What a peer does.
    #[derive(Clone, Debug)]
    enum Act {
        Text(String),
        Binary(Vec<u8>),
        /// A text in these parts, which end anywhere, with a ping behind the first.
        Parts(String, Vec<usize>),
        Ping(Vec<u8>),
        Pong,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            ".{0,200}".prop_map(Act::Text),
            proptest::collection::vec(any::<u8>(), 0..70_000).prop_map(Act::Binary),
            (".{0,50}", proptest::collection::vec(0usize..100, 1..5))
                .prop_map(|(text, at)| Act::Parts(text, at)),
            proptest::collection::vec(any::<u8>(), 0..100).prop_map(Act::Ping),
            Just(Act::Pong),
        ];
        proptest::collection::vec(act, 1..10)
    }

    /// The bytes of a client, and what they mean.
    fn wire(acts: Vec<Act>) -> (BytesMut, Vec<Inbound>) {
        use actix_http::ws::Message as Sent;
        let (mut codec, mut bytes, mut meant) = (Codec::new().client_mode(), BytesMut::new(), Vec::new());
        let mut send = |message| codec.encode(message, &mut bytes).unwrap();
        for act in acts {
            match act {
                Act::Text(text) => {
                    send(Sent::Text(text.clone().into()));
                    meant.push(Inbound::Frame(Frame::Text(text.into())));
                }
                Act::Binary(data) => {
                    send(Sent::Binary(data.clone().into()));
                    meant.push(Inbound::Frame(Frame::Binary(data.into())));
                }
                Act::Ping(payload) => {
                    send(Sent::Ping(payload.clone().into()));
                    meant.push(Inbound::Ping(payload.into()));
                }
                Act::Pong => send(Sent::Pong(Bytes::new())),
                Act::Parts(text, mut cuts) => {
                    let whole = Bytes::from(text.clone());
                    cuts.sort_unstable();
                    let mut rest = whole;
                    let mut part = |until: usize| rest.split_to(until.min(rest.len()));
                    send(Sent::Continuation(Item::FirstText(part(cuts[0]))));
                    send(Sent::Ping(Bytes::from_static(b"between")));
                    for cut in &cuts[1..] {
                        send(Sent::Continuation(Item::Continue(part(*cut))));
                    }
                    send(Sent::Continuation(Item::Last(part(usize::MAX))));
                    meant.push(Inbound::Ping(Bytes::from_static(b"between")));
                    meant.push(Inbound::Frame(Frame::Text(text.into())));
                }
            }
        }
        send(Sent::Close(None));
        meant.push(Inbound::Close);
        (bytes, meant)
    }

    fn broken_by(frames: &[&[u8]]) -> Result<Option<Inbound>, CloseReason> {
        let mut reader = Reader::new(LIMITS);
        for frame in frames {
            reader.feed(frame)?;
        }
        reader.next()
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_means_the_same(
            acts in acts(),
            cuts in proptest::collection::vec(1usize..9000, 1..20),
        ) {
            let (bytes, meant) = wire(acts);
            let (mut reader, mut got) = (Reader::new(LIMITS), Vec::new());
            let (mut rest, mut cuts) = (&bytes[..], cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                reader.feed(piece).unwrap();
                while let Some(inbound) = reader.next().unwrap() {
                    got.push(inbound);
                }
                rest = behind;
            }
            prop_assert_eq!(got, meant);
            // Whoever is silent costs no buffer.
            prop_assert_eq!(reader.buffer.capacity(), 0);
            prop_assert!(reader.parts.is_none());
        }
    }

    #[test]
    fn what_breaks_the_rules_ends_the_connection() {
        let error = Err(CloseReason::TransportError);
        // Not masked; a text that is no UTF-8, whole and in parts; a part without a beginning; a second beginning.
        assert_eq!(broken_by(&[&[0x81, 1, b'4']]), error);
        assert_eq!(broken_by(&[&[0x81, 0x81, 0, 0, 0, 0, 0xff]]), error);
        assert_eq!(broken_by(&[&[0x01, 0x81, 0, 0, 0, 0, 0xc3], &[0x80, 0x81, 0, 0, 0, 0, 0x28]]), error);
        assert_eq!(broken_by(&[&[0x80, 0x80, 0, 0, 0, 0]]), error);
        assert_eq!(broken_by(&[&[0x01, 0x80, 0, 0, 0, 0], &[0x01, 0x80, 0, 0, 0, 0]]), error);
        // Longer than allowed, known from the header alone.
        let long = broken_by(&[&[0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0]]);
        assert_eq!(long, Err(CloseReason::TooLarge { limit: LIMITS.max_bytes }));
    }
}

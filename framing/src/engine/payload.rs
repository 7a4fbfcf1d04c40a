//! A polling body: several packets, separated by U+001E.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{BufMut as _, Bytes, BytesMut};
use bytestring::ByteString;
use thiserror::Error;

use crate::error::PayloadError;
use crate::frame::Frame;

/// Stands between two packets of a body.
const SEPARATOR: u8 = 0x1e;

/// Reads with or without padding: not every client writes it.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Splits a body into frames, `b` and base64 becoming binary. Ends after the first error.
///
/// `max_packets` bounds the frames, `max_payload` the bytes of each (decoded, if binary).
/// Text shares the body's bytes.
pub fn decode(
    body: ByteString,
    max_packets: usize,
    max_payload: usize,
) -> impl Iterator<Item = Result<Frame, PayloadError>> {
    Payload { rest: Some(body), index: 0, max_packets, max_payload }
}

/// What of a body is still to be read; `None` at its end or after an error.
struct Payload {
    rest: Option<ByteString>,
    index: usize,
    max_packets: usize,
    max_payload: usize,
}

impl Iterator for Payload {
    type Item = Result<Frame, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let (packet, following) = match memchr::memchr(SEPARATOR, rest.as_bytes()) {
            Some(at) => {
                let (packet, following) = rest.split_at(at);
                (packet, following.get(1..).map(|text| following.slice_ref(text)))
            }
            None => (rest, None),
        };
        let frame = self.frame(packet);
        if frame.is_ok() {
            self.rest = following;
            self.index += 1;
        }
        Some(frame)
    }
}

impl Payload {
    fn frame(&self, packet: ByteString) -> Result<Frame, PayloadError> {
        let index = self.index;
        if index >= self.max_packets {
            return Err(PayloadError::TooManyPackets { limit: self.max_packets });
        }
        let fits = |len| match len > self.max_payload {
            true => Err(PayloadError::TooLarge { len, limit: self.max_payload }),
            false => Ok(()),
        };
        match packet.as_bytes().split_first() {
            None => Err(PayloadError::EmptyPacket { index }),
            Some((b'b', base64)) => {
                // Checked before the copy; two characters of padding at most.
                fits((base64.len() / 4 * 3).saturating_sub(2))?;
                let data = BASE64.decode(base64).map_err(|_| PayloadError::Base64 { index })?;
                fits(data.len())?;
                Ok(Frame::Binary(data.into()))
            }
            Some(_) => {
                fits(packet.len())?;
                Ok(Frame::Text(packet))
            }
        }
    }
}

/// The body would grow past its limit; the frame belongs into the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("polling body is full")]
pub struct Full;

/// Gathers frames into a polling body.
#[derive(Debug)]
pub struct PayloadWriter {
    body: BytesMut,
    max_bytes: usize,
}

impl PayloadWriter {
    /// A writer of bodies of at most `max_bytes` bytes, or of one frame if that is longer.
    pub fn new(max_bytes: usize) -> Self {
        Self { body: BytesMut::new(), max_bytes }
    }

    /// Appends a frame. The first one always fits: every legal frame must get out.
    ///
    /// A text frame is written as it is. Packets of the Socket.IO layer never hold the
    /// separator, since JSON escapes it; other text is the caller's to check.
    ///
    /// # Errors
    ///
    /// [`Full`] if the body would grow past its limit; nothing was written then.
    pub fn push(&mut self, frame: &Frame) -> Result<(), Full> {
        let text = frame.clone().into_text();
        let first = self.body.is_empty();
        if !first && self.body.len() + 1 + text.len() > self.max_bytes {
            return Err(Full);
        }
        self.body.reserve(text.len() + 1);
        if !first {
            self.body.put_u8(SEPARATOR);
        }
        self.body.put_slice(text.as_bytes());
        Ok(())
    }

    /// Whether no frame was pushed.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The body, UTF-8.
    pub fn finish(self) -> Bytes {
        self.body.freeze()
    }
}

//! What goes into and comes out of [`StreamSender`](super::StreamSender).

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use thiserror::Error;

use crate::stream::StreamInfo;

/// Text of a stream on its way to one receiving socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamText {
    /// The stream it belongs to.
    pub info: Arc<StreamInfo>,
    /// Its place in the stream, in bytes: by it whoever had several sockets is told nothing twice.
    pub at: u64,
    /// UTF-8. Empty only beside `end`.
    pub text: Bytes,
    /// Nothing follows in this stream.
    pub end: bool,
}

/// A wire stream id, unique in one [`StreamSender`](super::StreamSender): `s1`, `s2`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireId(pub(super) u64);

/// The text is no id of a [`StreamSender`](super::StreamSender).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no wire stream id of this broker")]
pub struct WireIdError;

impl fmt::Display for WireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl WireId {
    /// The id as a JSON string, for every packet of a stream.
    pub fn json(self) -> WireJson {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(self.0).as_bytes();
        let mut json = WireJson { text: [b'"'; WIRE_JSON], len: 2 };
        for byte in [b's'].iter().chain(digits) {
            if let Some(place) = json.text.get_mut(json.len - 1) {
                *place = *byte;
                json.len += 1;
            }
        }
        json
    }
}

/// Room for an `s`, a number and two quotes.
const WIRE_JSON: usize = 24;

/// See [`WireId::json`].
pub struct WireJson {
    text: [u8; WIRE_JSON],
    len: usize,
}

impl Deref for WireJson {
    type Target = str;

    fn deref(&self) -> &str {
        self.text.get(..self.len).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl FromStr for WireId {
    type Err = WireIdError;

    fn from_str(text: &str) -> Result<Self, WireIdError> {
        let digits = text.strip_prefix('s').ok_or(WireIdError)?;
        // One spelling an id: `s01` and `s+1` name nothing.
        let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        match digits.parse() {
            Ok(id) if canonical => Ok(Self(id)),
            _ => Err(WireIdError),
        }
    }
}

/// What one wire stream stands for (spec §5.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamGrouping {
    /// One extension stream: the contract.
    #[default]
    Stream,
    /// One output, kept open until [`StreamSender::finish`](super::StreamSender::finish).
    Output,
}

/// Bounds and habits of one receiving socket (spec appendix A).
#[derive(Debug, Clone)]
pub struct OutboundLimits {
    /// Bytes that wait to be written: text, and notes of whose it is where several streams leave as one. When nothing
    /// waits, one text of any size is taken.
    pub max_queued_bytes: usize,
    /// Streams that wait, are open, or whose last ack is outstanding.
    pub max_streams: usize,
    /// Wire streams announced and never read; further streams wait unannounced.
    pub max_unread: usize,
    /// Writes of one output whose acks are outstanding.
    pub max_unacked: usize,
    /// An announced stream that is not read for this long is dropped.
    pub announce_stall: Duration,
    /// A stream that was read is dropped if text waits and no read or ack comes for this long.
    pub progress_stall: Duration,
    /// Bytes of one `$stream-write`; a character that is longer still leaves whole.
    pub max_write: usize,
    /// Inner event names to try, best first (spec §5.6). Empty means `streamed_data`.
    pub event_names: Arc<[ByteString]>,
    /// So many never-read streams in a row make the socket deaf.
    pub deaf_after: u32,
    /// One wire stream per what.
    pub grouping: StreamGrouping,
}

impl Default for OutboundLimits {
    fn default() -> Self {
        let names = ["streamed_data", "SERVER_STREAM_DATA"];
        Self {
            max_queued_bytes: 4 << 20,
            max_streams: 4096,
            max_unread: 64,
            max_unacked: 256,
            announce_stall: Duration::from_secs(30),
            progress_stall: Duration::from_secs(60),
            max_write: 16 << 10,
            event_names: names.map(ByteString::from_static).into(),
            deaf_after: 3,
            grouping: StreamGrouping::Stream,
        }
    }
}

/// What the session has to send, or to note, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `$stream` with this inner event name and these metadata.
    Announce {
        /// The new id.
        wire: WireId,
        /// The inner event name.
        event: ByteString,
        /// The metadata.
        info: Arc<StreamInfo>,
    },
    /// `$stream-write`, with an ack (spec §5.5 rule 13). Never empty, always whole characters.
    Write {
        /// The id.
        wire: WireId,
        /// The text.
        chunk: Bytes,
    },
    /// `$stream-end`.
    End {
        /// The id.
        wire: WireId,
    },
    /// `$stream-error`. May follow an [`Command::End`] whose stream was never acked.
    Error {
        /// The id.
        wire: WireId,
        /// Its text.
        message: Cow<'static, str>,
    },
    /// A stream was written and ended: `streamed_end` for dialect 2 (spec §5.7).
    Ended {
        /// The stream, the first one if several were merged.
        info: Arc<StreamInfo>,
    },
    /// Text of this stream, or the rest of it, will not arrive: for log and metric.
    Dropped {
        /// The stream.
        info: Arc<StreamInfo>,
        /// One of the constants of [`reason`].
        reason: &'static str,
    },
}

/// Why text was dropped. Where the stream is known to the receiver, and the fault is not its own
/// decision, the same text goes out as `$stream-error`.
pub mod reason {
    /// Too much text or too many streams wait (spec appendix A).
    pub const TOO_SLOW: &str = "receiver too slow";
    /// Announced and never read (spec §5.5 rule 15).
    pub const UNREAD: &str = "stream not read";
    /// Text waits, and neither read nor ack came (spec §5.5 rule 15).
    pub const STALLED: &str = "receiver stalled";
    /// Written and ended, but the ack never came; the text may have arrived.
    pub const UNACKED: &str = "write not acknowledged";
    /// The socket reads no stream; only one at a time is tried (spec §5.5 rule 15).
    pub const DEAF: &str = "receiver does not listen to streams";
    /// `$stream-end` from the receiver (spec §5.5 rule 10).
    pub const CANCELLED: &str = "cancelled by the receiver";
    /// `$stream-error` from the receiver (spec §5.5 rule 11).
    pub const RECEIVER_ERROR: &str = "error at the receiver";
    /// The ack of a write carried an error (spec §5.5 rule 12).
    pub const REFUSED: &str = "write refused";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_ids_have_one_spelling() {
        for text in ["s1", "s42", "s18446744073709551615"] {
            assert_eq!(text.parse::<WireId>().unwrap().to_string(), text);
            assert_eq!(&*text.parse::<WireId>().unwrap().json(), format!("\"{text}\""));
        }
        for text in ["", "s", "1", "s0", "s01", "s+1", "s-1", "s1 ", "S1", "s18446744073709551616"] {
            assert_eq!(text.parse::<WireId>(), Err(WireIdError), "{text:?}");
        }
    }
}

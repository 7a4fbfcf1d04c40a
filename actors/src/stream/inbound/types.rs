//! What goes into and comes out of [`InboundStreams`](super::InboundStreams).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use thiserror::Error;

use crate::stream::{StreamInfo, Unread};

/// Bounds of one extension's streams (spec appendix A).
#[derive(Debug, Clone)]
pub struct InboundLimits {
    /// Streams open at once. Twice that many outputs may wait for the other half of a character.
    pub max_streams: usize,
    /// Bytes that one stream may keep: pieces ahead of a gap, each with an overhead of
    /// [`PIECE_COST`](super::PIECE_COST).
    pub max_stream_bytes: usize,
    /// The same over all open streams of one output.
    pub max_output_bytes: usize,
    /// How long a small stream is held back for its END (spec §5.5 rule 8).
    pub hold: Duration,
    /// A stream without START, DATA or END for this long has failed (spec §5.4).
    pub idle: Duration,
    /// Only streams that announced at most this many pieces are held back.
    pub hold_max_pieces: u32,
}

impl Default for InboundLimits {
    fn default() -> Self {
        Self {
            max_streams: 1024,
            max_stream_bytes: 1 << 20,
            max_output_bytes: 16 << 20,
            hold: Duration::from_millis(20),
            idle: Duration::from_secs(60),
            hold_max_pieces: 5,
        }
    }
}

/// A `CLIENT_STREAM_START` that was found to belong to a request.
#[derive(Debug, Clone)]
pub struct StreamStart<R> {
    /// `streamId` as sent.
    pub stream_id: ByteString,
    /// `outputId` as sent.
    pub output_id: ByteString,
    /// The request it was attributed to.
    pub request_id: ByteString,
    /// Of the answer.
    pub unread: Unread,
    /// `numStreams`: how many pieces will come, if the extension says so.
    pub num_streams: Option<u64>,
    /// Where the text goes; comes back with everything that is emitted.
    pub route: R,
}

/// Which of the five data events brought a piece (spec §1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// `CLIENT_STREAM_DATA_FIRST`
    First,
    /// `CLIENT_STREAM_DATA_MIDDLE`
    Middle,
    /// `CLIENT_STREAM_DATA_LAST`
    Last,
    /// `CLIENT_STREAM_DATA_RETRY`
    Retry,
    /// `CLIENT_STREAM_DATA_FAILED`
    Failed,
}

/// What the receivers of a stream have to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Emit<R> {
    /// Text of a stream, valid UTF-8. Empty only to end a stream that had text before.
    Text {
        /// The route of its START.
        route: R,
        /// The stream.
        info: Arc<StreamInfo>,
        /// The text.
        text: Bytes,
        /// Nothing follows in this stream.
        end: bool,
    },
    /// The stream is over without an END.
    Fail {
        /// The route of its START.
        route: R,
        /// The stream; it may never have had any text.
        info: Arc<StreamInfo>,
        /// Why, fit for `$stream-error`.
        reason: &'static str,
    },
}

/// A START that opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StartError {
    /// The `streamId` is open: the second START is ignored (spec §5.4).
    #[error("stream is already open")]
    Duplicate,
    /// [`InboundLimits::max_streams`] are open.
    #[error("more than {limit} open streams")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

/// A DATA that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DataError {
    /// No such stream is open: the piece is dropped.
    #[error("unknown stream")]
    UnknownStream,
    /// The stream kept too much; it has failed and its receivers were told.
    #[error("stream keeps more than {limit} bytes")]
    StreamOverflow {
        /// [`InboundLimits::max_stream_bytes`].
        limit: usize,
    },
    /// The output's streams kept too much together; this stream has failed and its receivers
    /// were told.
    #[error("output keeps more than {limit} bytes")]
    OutputOverflow {
        /// [`InboundLimits::max_output_bytes`].
        limit: usize,
    },
}

/// An END that ends nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EndError {
    /// No such stream is open.
    #[error("unknown stream")]
    UnknownStream,
}

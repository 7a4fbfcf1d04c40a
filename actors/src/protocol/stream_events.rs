//! Names of stream events, the same in both dialects (spec §1.6), and of the stream library's own (§5.5).

/// An event of `STREAM_EVENTS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamEvent {
    /// Start of one extension stream.
    Start,
    /// First chunk of an answer.
    DataFirst,
    /// A chunk.
    DataMiddle,
    /// Last chunk of a stream.
    DataLast,
    /// A chunk sent again.
    DataRetry,
    /// A chunk that its sender gave up on.
    DataFailed,
    /// End of one extension stream.
    End,
    /// To clients, inside `$stream`.
    StreamedData,
    /// To clients, after the last write.
    StreamedEnd,
}

/// The inner event name that the client documentation demands; the constant's value is another (spec §1.6).
pub const STREAMED_DATA: &str = "streamed_data";
/// The plain event after each `$stream-end` for dialect 2 (spec §5.7).
pub const STREAMED_END: &str = "streamed_end";
/// Announces a stream.
pub const STREAM: &str = "$stream";
/// Permits one write.
pub const STREAM_READ: &str = "$stream-read";
/// Carries one chunk.
pub const STREAM_WRITE: &str = "$stream-write";
/// Ends a stream.
pub const STREAM_END: &str = "$stream-end";
/// Fails a stream.
pub const STREAM_ERROR: &str = "$stream-error";
/// A complete text, or the health check (spec §1.8).
pub const MESSAGE: &str = "message";

impl StreamEvent {
    /// Every event, in the order of the specification's table.
    pub const ALL: &'static [Self] = &[
        Self::Start,
        Self::DataFirst,
        Self::DataMiddle,
        Self::DataLast,
        Self::DataRetry,
        Self::DataFailed,
        Self::End,
        Self::StreamedData,
        Self::StreamedEnd,
    ];

    /// The name on the wire.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Start => "CLIENT_STREAM_START",
            Self::DataFirst => "CLIENT_STREAM_DATA_FIRST",
            Self::DataMiddle => "CLIENT_STREAM_DATA_MIDDLE",
            Self::DataLast => "CLIENT_STREAM_DATA_LAST",
            Self::DataRetry => "CLIENT_STREAM_DATA_RETRY",
            Self::DataFailed => "CLIENT_STREAM_DATA_FAILED",
            Self::End => "CLIENT_STREAM_END",
            Self::StreamedData => "SERVER_STREAM_DATA",
            Self::StreamedEnd => "SERVER_STREAM_END",
        }
    }

    /// The name of the constant that clients import.
    pub const fn constant(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::DataFirst => "DATA_FIRST",
            Self::DataMiddle => "DATA_MIDDLE",
            Self::DataLast => "DATA_LAST",
            Self::DataRetry => "DATA_RETRY",
            Self::DataFailed => "DATA_FAILED",
            Self::End => "END",
            Self::StreamedData => "streamed_data",
            Self::StreamedEnd => "streamed_end",
        }
    }

    /// Reads a name that an extension sends.
    pub fn from_extension(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|event| !matches!(event, Self::StreamedData | Self::StreamedEnd) && event.wire() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_events_read_back_and_server_events_do_not() {
        for event in StreamEvent::ALL {
            let expected = event.wire().starts_with("CLIENT_").then_some(*event);
            assert_eq!(StreamEvent::from_extension(event.wire()), expected);
        }
        assert_eq!(StreamEvent::from_extension("START"), None);
    }
}

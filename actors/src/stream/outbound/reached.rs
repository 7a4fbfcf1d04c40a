//! How often the bounds and deadlines of a receiver made its text wait, be cut or be dropped, for the metrics.

/// Times since the last [`StreamSender::take_reached`](super::StreamSender::take_reached).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Streams that were dropped because too much text waited.
    pub waiting_bytes: u64,
    /// Streams that were dropped because too many waited.
    pub waiting_streams: u64,
    /// Streams that had to wait for others to be read, before they were announced.
    pub unread: u64,
    /// Streams that had to wait for acks of earlier writes.
    pub unacked: u64,
    /// Writes after which text of the same stream was left.
    pub cut: u64,
    /// Streams that nobody began to read in time.
    pub announce_stall: u64,
    /// Streams that were not read on in time.
    pub progress_stall: u64,
    /// Times that the receiver has become deaf.
    pub deaf: u64,
}

impl Reached {
    /// Each bound by its setting's name.
    pub fn by_setting(&self) -> [(&'static str, u64); 8] {
        [
            ("streams.max_waiting_bytes", self.waiting_bytes),
            ("streams.max_waiting_streams", self.waiting_streams),
            ("streams.max_unread", self.unread),
            ("streams.max_unacked", self.unacked),
            ("streams.write_size", self.cut),
            ("streams.announce_stall", self.announce_stall),
            ("streams.progress_stall", self.progress_stall),
            ("streams.deaf_after", self.deaf),
        ]
    }
}

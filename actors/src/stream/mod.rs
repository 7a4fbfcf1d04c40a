//! Streams: the text of an answer on its way from an extension to its requesters.
//!
//! ```text
//!  extension's session                          requester's session
//!  START, 5 × DATA, END ──► InboundStreams ──► StreamText ──► StreamSender ──► $stream, $stream-write, $stream-end
//!                           order, surrogates,                permits, acks,
//!                           one text per token                stalls, probing
//! ```
//!
//! [`inbound`] turns the pieces of an extension into whole text, in order and once
//! (spec §5.3, §5.4); [`outbound`] hands that text to one receiving `/llm` socket by the rules of
//! node-socketio-stream (spec §5.5 to §5.7). Both are state machines without clock and without I/O:
//! time is a parameter, a decision is pushed into a buffer of the caller.

pub mod inbound;
pub mod outbound;

mod info;
mod text;

pub use inbound::{
    DataError, Emit, EndError, InboundLimits, InboundStreams, PieceKind, StartError, StreamStart,
};
pub use info::{StreamInfo, Turn, Unread};
pub use outbound::{Command, OutboundLimits, StreamGrouping, StreamSender, StreamText, WireId, WireIdError};

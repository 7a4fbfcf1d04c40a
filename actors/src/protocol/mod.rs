//! The application protocol: names, numbers and small payloads, without I/O or state of the broker.
//!
//! One table ([`msg_type`]) holds every message in both dialects; [`dialect`] decides which of the two a
//! socket speaks; [`constants`] writes the modules that clients import from that same table.

pub mod constants;
pub mod description;
pub mod dialect;
pub mod msg_type;
pub mod namespaces;
pub mod payload;
pub mod room;
pub mod stream_events;

pub use dialect::{Dialect, Emit, SocketDialect};
pub use msg_type::{EventName, MsgType, WireName};
pub use namespaces::Namespace;
pub use room::{RequestMode, Role};
pub use stream_events::StreamEvent;

//! Socket.IO protocol 5: namespaces, events, attachments, and what a session has joined.

mod assembler;
mod event;
mod header;
mod namespace;
mod packet;
mod payload;
mod session;

pub use assembler::Decoder;
pub use event::{Event, EventName};
pub use namespace::Namespace;
pub use packet::Packet;
pub use session::{Action, SocketSession};

//! Engine.IO 4: packets, polling payloads, the handshake, heartbeat and upgrade.

mod handshake;
mod heartbeat;
mod open;
mod packet;
pub mod payload;
mod probe;
mod sid;

pub use handshake::{HandshakeError, Method, Request, TransportKind, parse_query};
pub use heartbeat::{EngineSession, Grid, Received};
pub use open::Open;
pub use packet::Packet;
pub use probe::{Probe, ProbeError, ProbeStep};
pub use sid::Sid;

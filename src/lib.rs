//! NewAge Broker: a message broker between apps and SillyTavern, over Socket.IO v4.
//!
//! This package is the edge: HTTP, WebSocket, configuration, start and stop. It knows no event names
//! and takes no routing decisions; those live in the `actors` crate, and the protocol's bytes in
//! `framing`. [`server::start`] runs it all, for `main` and for tests.

pub mod access;
pub mod cli;
pub mod config;
mod connections;
pub mod extension_files;
mod forwarded;
pub mod http;
pub mod server;
pub mod static_files;
pub mod telemetry;
mod timed_stream;
pub mod transport;

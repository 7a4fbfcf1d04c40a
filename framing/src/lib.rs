//! Engine.IO 4 and Socket.IO protocol 5: bytes to packets and back, without a runtime.
//!
//! Three layers, each a folder that can be read alone. Nothing here waits, reads a clock,
//! draws a random number or logs: time is a parameter, a decision is a return value.
//!
//! ```text
//!   transport          engine/                    socket/                      the broker
//!   ─────────          ───────                    ───────                      ──────────
//!   Frame  ──────────► Packet::decode             Decoder (head+attachments)
//!   (polling body:     EngineSession::receive ──► SocketSession::receive ────► Action
//!    payload::decode)  heartbeat, close           which namespaces are joined
//!
//!   Frame  ◄────────────────────────────────────  Encoded  ◄─────────────────  Connect, Event, Ack
//!   (PayloadWriter)                               serialised once, shared
//! ```
//!
//! Beside them, [`json`] holds what both sides of the broker need from JSON and a strict
//! reader does not give: values carried as raw text, and JavaScript strings with half
//! surrogate pairs (spec §1.2 rules 4 and 5).
//!
//! # Reading order
//!
//! 1. [`frame`]: what a transport gives and takes.
//! 2. [`engine`]: packets, polling payloads, the handshake's query, heartbeat, the upgrade's probe.
//! 3. [`json`]: raw values and JavaScript strings.
//! 4. [`socket`]: namespaces, events, the assembler of attachments, the session's state.
//! 5. [`encoded`]: the way out.
//! 6. [`limits`], [`close`], [`error`]: what is bounded, and what happens past a bound.
//!
//! # A frame's way in
//!
//! ```
//! use std::time::{Duration, Instant};
//! use framing::engine::EngineSession;
//! use framing::limits::Limits;
//! use framing::socket::{Action, SocketSession};
//! use framing::{ByteString, frame::Frame};
//!
//! let now = Instant::now();
//! let mut engine = EngineSession::new(Duration::from_secs(25), Duration::from_secs(20), now);
//! let mut socket = SocketSession::new(Limits::default(), now + Duration::from_secs(45));
//!
//! let frame = Frame::Text(ByteString::from_static(r#"40/llm,{"clientId":"app"}"#));
//! let action = socket.receive(engine.receive(frame, now)?)?;
//! let Some(Action::Connect { ns, auth }) = action else { panic!("a CONNECT") };
//! assert_eq!(ns.as_str(), "/llm");
//! assert_eq!(auth.unwrap().as_str(), r#"{"clientId":"app"}"#);
//! # Ok::<(), framing::close::CloseReason>(())
//! ```

pub mod close;
pub mod encoded;
pub mod engine;
pub mod error;
pub mod frame;
pub mod json;
pub mod limits;
pub mod socket;

pub use bytes::Bytes;
pub use bytestring::ByteString;

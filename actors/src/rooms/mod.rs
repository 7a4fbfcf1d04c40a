//! Rooms: one actor each, below supervisors that share them by name (spec §4.5, §4.9).
//!
//! ```text
//!   session ── InRoom ──► supervisor ──► room ──► history   (kept; the answer comes when it is committed)
//!   registry ─ Present ─►     │           ├─────► members' outboxes
//!                        presence         └─────► router   (a request; answers come back as Deliver)
//! ```
//!
//! A room's name picks its supervisor; a supervisor and its rooms live on one thread, so they share who
//! is there ([`presence`]) without locks, and rooms of different supervisors work side by side. What
//! concerns all rooms is the [lobby](crate::lobby)'s.
//!
//! The rules are pure state ([`state`], [`chat`], [`corrections`]): a decision is a value
//! ([`effects`]), which the [actor](room) carries out.

mod chat;
mod corrections;
mod effects;
mod members;
mod message;
mod message_log;
mod mutes;
mod muting;
mod placeholders;
mod refusal;
mod state;
mod timestamp;

mod answers;
mod attendance;
mod command;
mod presence;
mod requests;
mod reread;
mod room;
mod shared;
mod supervisor;
mod supervisors;
mod think;

pub use chat::{ChatRequest, Extensions, Outgoing};
pub use command::{Command, MemberInfo, Reply};
pub use effects::{Audience, Effects, Place, Push};
pub use members::Members;
pub(crate) use message::text_of;
pub use message::{Message, SYSTEM};
pub use message_log::{MessageLog, Page};
pub use mutes::Mutes;
pub use presence::{Absent, Line, Present};
pub use refusal::RoomRefusal;
pub use shared::{RoomsConfig, Shared};
pub use state::{Caller, RoomHead, RoomLimits, RoomState};
pub use supervisor::{ExtensionsOf, InRoom, RoomCommand, RoomSupervisor};
pub use supervisors::Rooms;
pub use timestamp::Timestamp;

/// The room in which the administration page sits (spec §3.3).
pub const MONITOR_ROOM: &str = "monitor-room";

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

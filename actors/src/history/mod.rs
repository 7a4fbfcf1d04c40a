//! History that survives: rooms, members, mutes and messages in an embedded SQLite database.
//!
//! ```text
//!   room ──► HistoryLink::persist ──► admission ──► waiting ──► History (a thread of its own) ──► SQLite
//!    ▲              too many wait: Busy                             one transaction for all that came together
//!    └──────────────────────────── Persisted, once it is committed
//! ```
//!
//! - What was answered is there after a crash, whatever the moment ([`Synchronous`] says which kinds
//!   of crash).
//! - Changes are stored in the order in which they arrive. Those of one call are stored together, or
//!   not at all.
//! - A change that is refused costs its asker an error and nobody else anything. A database that
//!   fails costs everybody in the batch an error.
//! - A file that is damaged, newer, or another program's is named in an error and left as it is.
//!
//! Reading order: [`change`], [`contents`], [`link`], `waiting`, [`actor`], then the store below it: `open`,
//! `schema`, `apply`, `load`.

pub mod change;
pub mod contents;
pub mod link;
pub mod messages;

pub mod actor;
mod admission;

mod apply;
mod load;
mod open;
mod schema;
mod store;
mod waiting;

pub mod config;
pub mod error;
pub mod retention;

#[cfg(test)]
mod actor_tests;
#[cfg(test)]
mod apply_tests;
#[cfg(test)]
mod fixture;
#[cfg(test)]
pub(crate) mod model_tests;
#[cfg(test)]
mod open_tests;

pub use actor::History;
pub use admission::Permit;
pub use change::{Change, MessageKind};
pub use config::{BatchLimits, HistoryConfig, Place, Synchronous, WaitingLimits};
pub use contents::{Contents, Mute, Page, StoredMessage, StoredRoom};
pub use error::HistoryError;
pub use link::{HistoryLink, Persisted};
pub use messages::{Close, LoadMessages, LoadRooms, PageFrom, PageOfMessages};
pub use retention::Retention;

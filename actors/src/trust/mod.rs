//! Who may connect, with which key and which rights (spec §2, §3.2, §3.6).
//!
//! Reading order: [`config`] and [`peer`], then the files ([`settings_file`], [`client_file`], [`password`],
//! [`keys`]), the truth in memory ([`store`]), the decision as a pure table ([`verdict`]) with its brake
//! ([`throttle`]), and the [`actor`] that answers sessions with the [`messages`].
//!
//! Rights follow the settings files, never a self-declared `clientType`. Nothing here blocks an arbiter:
//! hashing and files run on the blocking pool, in bounded number ([`hashing`]), and what concerns one client in
//! the order asked ([`lanes`]).

pub mod actor;
pub mod atomic_file;
pub mod client_file;
pub mod config;
mod desk;
mod file_lock;
pub mod hashing;
pub mod json_text;
pub mod keys;
mod lanes;
pub mod messages;
pub mod password;
pub mod peer;
pub mod roster;
pub mod settings_file;
pub mod settings_write;
pub mod snapshot;
pub mod store;
pub mod throttle;
pub mod verdict;
mod watch;

#[cfg(test)]
pub(crate) mod fixture;

pub use actor::Trust;
pub use config::{InvalidKeyPolicy, NetworkSafeScope, TrustConfig};
pub use desk::Desk;
pub use messages::*;
pub use peer::Peer;
pub use settings_file::ServerSettings;
pub use snapshot::{ClientEntry, TrustSnapshot};
pub use store::{TrustError, TrustStore};

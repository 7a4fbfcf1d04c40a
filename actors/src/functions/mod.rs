//! Functions that clients call on the server itself (spec §6).
//!
//! [`registry`] finds and runs them, [`paths`] and [`permissions`] decide which files they may touch, and
//! [`json_files`] and [`static_resources`] are the functions.

pub mod json_files;
pub mod paths;
pub mod permissions;
pub mod registry;
pub mod static_resources;

pub use registry::{FunctionReply, Functions};
pub use static_resources::{StaticMap, StaticResource, StaticResources};

//! JSON as it is carried: checked, not built.
//!
//! A broker reads a few fields of a payload and passes the rest on. So a value stays the
//! text it came as ([`RawJson`]), with number precision, key order and unknown fields
//! intact, and a string may hold half surrogate pairs ([`JsString`]), which
//! [`SurrogateJoiner`] makes whole across pieces (spec §1.2 rules 4 and 5, §5.4).

mod joiner;
mod js_string;
pub(crate) mod members;
mod plain;
mod raw;
pub(crate) mod scan;
mod write;

pub use joiner::SurrogateJoiner;
pub use js_string::JsString;
pub use raw::{Kind, RawJson};
pub use write::{quoted, write_string};

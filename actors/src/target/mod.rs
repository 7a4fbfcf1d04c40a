//! What every target of LLM requests has in common, be it an extension's session or the demo: the
//! routes that it may answer, and the way of its words to those who asked.

mod asker;
mod fan_out;
mod heard;
mod lane;
mod peer_lane;
mod wholes;

pub use fan_out::{FanOut, FanOutLimits};

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod newcomer_tests;
#[cfg(test)]
mod returned_tests;
#[cfg(test)]
mod sockets_model;
#[cfg(test)]
mod tests;

//! The server's own table of functions (spec §6.1, §6.2).

use serde_json::Value;

use crate::protocol::payload;

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub enum FunctionReply {
    /// The function ran; its own failure, if any, is inside (spec §6.2 wraps twice).
    Result(Value),
    /// It did not run, or access was denied; the text is the protocol's.
    Error(String),
}

impl FunctionReply {
    /// The ack of spec §6.1; the request's id goes back as it came.
    pub fn into_ack(self, request_id: Value) -> Value {
        match self {
            Self::Result(result) => payload::function_result(request_id, result),
            Self::Error(message) => payload::function_error(request_id, &message),
        }
    }
}

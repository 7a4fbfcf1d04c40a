//! The small payloads that the broker itself writes: acks and errors (spec §1.3).

use serde_json::{Map, Value};

use super::dialect::Dialect;
use super::msg_type::{MsgType, WireName};
use crate::ids::{ClientId, RequestId};

/// The code of an `ERROR`, which may be a word or a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// A word, such as `rate_limited`.
    Word(&'static str),
    /// A number.
    Number(i64),
}

impl From<Code> for Value {
    fn from(code: Code) -> Self {
        match code {
            Code::Word(word) => word.into(),
            Code::Number(number) => number.into(),
        }
    }
}

/// Builds an object from its fields, in their order.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn with(first: [(&str, Value); 1], fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let mut map: Map<String, Value> = first.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    map.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Value::Object(map)
}

/// `{status:'ok', …}`.
pub fn status_ok(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    with([("status", "ok".into())], fields)
}

/// `{status:'error', message}`.
pub fn status_error(message: &str) -> Value {
    object([("status", "error".into()), ("message", message.into())])
}

/// `{success:true, …}`, for `LOGIN` and `FUNCTION_CALL`.
pub fn success(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    with([("success", true.into())], fields)
}

/// `{success:false, message}`, the failure of `LOGIN`.
pub fn failure(message: &str) -> Value {
    object([("success", false.into()), ("message", message.into())])
}

/// `{requestId, success:true, result}`; the request's id goes back as it came.
pub fn function_result(request_id: Value, result: Value) -> Value {
    object([("requestId", request_id), ("success", true.into()), ("result", result)])
}

/// `{requestId, success:false, error:{message}}`.
pub fn function_error(request_id: Value, message: &str) -> Value {
    object([
        ("requestId", request_id),
        ("success", false.into()),
        ("error", object([("message", message.into())])),
    ])
}

/// The value of a `type` field, which follows the dialect (spec §1.4 rule 5).
pub fn type_field(msg: MsgType, dialect: Dialect) -> Value {
    match msg.wire(dialect) {
        Some(WireName::Number(number)) => number.into(),
        Some(WireName::Name(name)) => name.into(),
        None => msg.number().map_or(Value::Null, Value::from),
    }
}

/// `{type, message, requestId?, code?}`, the payload of an `ERROR` event.
pub fn error(dialect: Dialect, message: &str, request_id: Option<&RequestId>, code: Option<Code>) -> Value {
    let request_id = request_id.map(|id| ("requestId", Value::from(id.as_str())));
    let code = code.map(|code| ("code", Value::from(code)));
    with(
        [("type", type_field(MsgType::Error, dialect))],
        [("message", Value::from(message))].into_iter().chain(request_id).chain(code),
    )
}

/// `{type, key, clientId}`, the documented answer to `getKey` (spec §2.6).
pub fn get_client_key(dialect: Dialect, key: &str, client_id: &ClientId) -> Value {
    object([
        ("type", type_field(MsgType::GetClientKey, dialect)),
        ("key", key.into()),
        ("clientId", client_id.as_str().into()),
    ])
}

/// `{Key}`, the reference's answer to `getKey`, for dialect 1 only.
pub fn client_key(key: &str) -> Value {
    object([("Key", key.into())])
}

/// `{success:true, key}` or `{success:false, message}`, the result of a password in the handshake.
pub fn client_key_assigned(result: Result<&str, &str>) -> Value {
    match result {
        Ok(key) => success([("key", key.into())]),
        Err(message) => failure(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shapes() {
        let id = RequestId::new("r1").unwrap();
        let client = ClientId::new("my-app").unwrap();
        for (built, text) in [
            (status_ok([]), r#"{"status":"ok"}"#),
            (status_ok([("key", json!("k"))]), r#"{"status":"ok","key":"k"}"#),
            (status_error("Unauthorized"), r#"{"status":"error","message":"Unauthorized"}"#),
            (success([]), r#"{"success":true}"#),
            (failure("Incorrect password."), r#"{"success":false,"message":"Incorrect password."}"#),
            (
                function_error(json!("r"), "no"),
                r#"{"requestId":"r","success":false,"error":{"message":"no"}}"#,
            ),
            (
                function_result(json!(1), json!({"success": true})),
                r#"{"requestId":1,"success":true,"result":{"success":true}}"#,
            ),
            (error(Dialect::Numeric, "m", None, None), r#"{"type":21,"message":"m"}"#),
            (
                error(Dialect::Named, "m", Some(&id), Some(Code::Word("rate_limited"))),
                r#"{"type":"ERROR","message":"m","requestId":"r1","code":"rate_limited"}"#,
            ),
            (
                error(Dialect::Numeric, "m", None, Some(Code::Number(7))),
                r#"{"type":21,"message":"m","code":7}"#,
            ),
            (get_client_key(Dialect::Numeric, "k", &client), r#"{"type":26,"key":"k","clientId":"my-app"}"#),
            (
                get_client_key(Dialect::Named, "k", &client),
                r#"{"type":"GET_CLIENT_KEY","key":"k","clientId":"my-app"}"#,
            ),
            (client_key("k"), r#"{"Key":"k"}"#),
            (client_key_assigned(Ok("k")), r#"{"success":true,"key":"k"}"#),
            (client_key_assigned(Err("no")), r#"{"success":false,"message":"no"}"#),
        ] {
            assert_eq!(built.to_string(), text);
        }
    }
}

//! One client's settings file (spec §2.2). The content counts, not the name.

use serde_json::Value;

use super::json_text::RawObject;
use super::password::{self, Stored};
use crate::ids::{ClientId, IdError, MONITOR};

/// What a file says about its client.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientFile {
    /// The client.
    pub client_id: ClientId,
    /// Whether `isTrust` is exactly `true`.
    pub trusted: bool,
    /// Whether `isTrust` is there at all; a file without it describes nobody to be trusted.
    pub says_trust: bool,
    /// Whether `role` or `clientType` is `"admin"`, or the client is `monitor`.
    pub admin: bool,
    /// Its password.
    pub password: Option<Stored>,
}

impl ClientFile {
    /// Reads the fields; the error is about `clientId`, without which the file describes no client.
    pub fn read(object: &RawObject) -> Result<Self, IdError> {
        let client_id = ClientId::from_json(object.value("clientId").as_ref())?;
        let is_trust = object.value("isTrust");
        let is_admin = |field: &str| object.value(field) == Some(Value::from("admin"));
        Ok(Self {
            trusted: is_trust == Some(Value::Bool(true)),
            says_trust: is_trust.is_some(),
            admin: client_id == MONITOR || is_admin("role") || is_admin("clientType"),
            password: password::find(object),
            client_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<ClientFile, IdError> {
        ClientFile::read(&RawObject::parse(&value.to_string(), 64).unwrap())
    }

    #[test]
    fn defect_8_14_both_fields_count_and_trust_is_exactly_true() {
        for (file, trusted) in [
            (json!({"clientId": "a", "isTrust": true}), Some(true)),
            (json!({"clientId": "a", "isTrust": false}), Some(false)),
            (json!({"clientId": "a", "isTrust": "true"}), Some(false)),
            (json!({"clientId": "a", "isTrust": 1}), Some(false)),
            (json!({"clientId": "a", "isTrust": null}), Some(false)),
            (json!({"clientId": "a"}), Some(false)),
            (json!({"isTrust": true}), None),
            (json!({"clientId": "", "isTrust": true}), None),
            (json!({"clientId": 5, "isTrust": true}), None),
            (json!({"clientId": "server", "isTrust": true}), None),
            (json!({"clientId": "../x", "isTrust": true}), None),
        ] {
            assert_eq!(read(&file).ok().map(|f| f.trusted), trusted, "{file}");
        }
    }

    #[test]
    fn defect_8_13_administration_comes_from_the_file() {
        for (file, admin) in [
            (json!({"clientId": "a", "isTrust": true}), false),
            (json!({"clientId": "a", "isTrust": true, "role": "admin"}), true),
            (json!({"clientId": "a", "isTrust": true, "clientType": "admin"}), true),
            (json!({"clientId": "a", "isTrust": true, "clientType": "monitor"}), false),
            (json!({"clientId": "a", "isTrust": true, "role": "Admin"}), false),
            (json!({"clientId": "monitor", "isTrust": true}), true),
        ] {
            assert_eq!(read(&file).unwrap().admin, admin, "{file}");
        }
    }
}

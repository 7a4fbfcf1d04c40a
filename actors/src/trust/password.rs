//! Extension passwords in settings files (spec §2.3).

use serde_json::Value;

use super::json_text::RawObject;

/// The field that is written.
pub const FIELD: &str = "sillyTavernPassWord";
/// The fields that are read, in this order (spec §1.9).
pub const FIELDS: [&str; 3] = [FIELD, "sillyTavernPassword", "sillyTavernMasterKey"];

/// A password as a settings file holds it.
#[derive(Clone, PartialEq, Eq)]
pub enum Stored {
    /// A bcrypt hash: any text that starts with `$`.
    Hash(String),
    /// Plain text, to be replaced.
    Plain(String),
}

impl Stored {
    /// Reads a field: text, a number (as text), or the old object `{hashed, password}`.
    pub fn read(field: &Value) -> Option<Self> {
        match field {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) if text.starts_with('$') => Some(Self::Hash(text.clone())),
            Value::String(text) => Some(Self::Plain(text.clone())),
            Value::Number(number) => Some(Self::Plain(number.to_string())),
            Value::Object(old) => match old.get("password")? {
                Value::Object(_) => None,
                inner => Self::read(inner),
            },
            _ => None,
        }
    }

    fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

fn field(object: &RawObject, name: &str) -> Option<Stored> {
    object.value(name).as_ref().and_then(Stored::read)
}

/// The password that counts: the first of [`FIELDS`] that holds one.
pub fn find(object: &RawObject) -> Option<Stored> {
    FIELDS.iter().find_map(|name| field(object, name))
}

/// Whether any field holds plain text.
pub fn holds_plain(object: &RawObject) -> bool {
    FIELDS.iter().any(|name| field(object, name).is_some_and(|stored| stored.is_plain()))
}

/// Puts the hash in place: the plain text is gone from every field, the rest of the file stays.
pub fn replace_plain(object: &mut RawObject, hash: &str) {
    let plain: Vec<&str> = FIELDS
        .into_iter()
        .filter(|name| field(object, name).is_some_and(|stored| stored.is_plain()))
        .collect();
    object.set(FIELD, &Value::from(hash));
    object.retain(|key| key == FIELD || !plain.contains(&key));
}

/// The cost of a hash, if it is one of the prefixes that spec §2.3 accepts.
pub fn cost(hash: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| hash.strip_prefix(prefix))?;
    rest.get(..2)?.parse().ok()
}

/// Compares a secret with a hash. Blocks for tens of milliseconds, twice as long with each cost.
///
/// `false` also for hashes that are malformed or costlier than `max_cost`: a hostile hash must not
/// occupy a thread for hours.
pub fn verify(secret: &str, hash: &str, max_cost: u32) -> bool {
    cost(hash).is_some_and(|cost| cost <= max_cost) && bcrypt::verify(secret, hash).unwrap_or(false)
}

/// A hash that takes as long as a real one and matches nothing that a peer would send.
pub fn dummy(cost: u32) -> String {
    format!("$2b${cost:02}$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: &Value) -> RawObject {
        RawObject::parse(&value.to_string(), 64).unwrap()
    }

    fn plain(text: &str) -> Option<Stored> {
        Some(Stored::Plain(text.to_owned()))
    }

    fn hash(text: &str) -> Option<Stored> {
        Some(Stored::Hash(text.to_owned()))
    }

    #[test]
    fn three_spellings_and_the_old_object() {
        for (file, expected) in [
            (json!({}), None),
            (json!({"sillyTavernPassWord": ""}), None),
            (json!({"sillyTavernPassWord": null}), None),
            (json!({"sillyTavernPassWord": true}), None),
            (json!({"sillyTavernPassWord": "pw"}), plain("pw")),
            (json!({"sillyTavernPassWord": 1234}), plain("1234")),
            (json!({"sillyTavernPassWord": "$2b$10$x"}), hash("$2b$10$x")),
            (json!({"sillyTavernPassword": "pw"}), plain("pw")),
            (json!({"sillyTavernMasterKey": "$2a$10$y"}), hash("$2a$10$y")),
            (json!({"sillyTavernMasterKey": "$m", "sillyTavernPassWord": "$p"}), hash("$p")),
            (json!({"sillyTavernMasterKey": "$m", "sillyTavernPassWord": ""}), hash("$m")),
            (json!({"sillyTavernPassWord": {"hashed": false, "password": "pw"}}), plain("pw")),
            (json!({"sillyTavernPassWord": {"hashed": true, "password": "$2b$h"}}), hash("$2b$h")),
            (json!({"sillyTavernPassWord": {"hashed": false}}), None),
            (json!({"sillyTavernPassWord": {"password": {"password": "x"}}}), None),
        ] {
            assert!(find(&object(&file)) == expected, "{file}");
        }
    }

    #[test]
    fn plain_text_is_replaced_in_place_everywhere() {
        for (file, expected) in [
            (
                json!({"clientId": "a", "sillyTavernPassWord": "pw", "isTrust": true}),
                json!({"clientId": "a", "sillyTavernPassWord": "$h", "isTrust": true}),
            ),
            (
                json!({"sillyTavernPassWord": "pw", "sillyTavernMasterKey": "$m"}),
                json!({"sillyTavernPassWord": "$h", "sillyTavernMasterKey": "$m"}),
            ),
            (json!({"sillyTavernPassword": "pw", "x": 1}), json!({"x": 1, "sillyTavernPassWord": "$h"})),
            (
                json!({"sillyTavernPassWord": {"hashed": false, "password": "pw"}}),
                json!({"sillyTavernPassWord": "$h"}),
            ),
        ] {
            let mut object = object(&file);
            assert!(holds_plain(&object), "{file}");
            replace_plain(&mut object, "$h");
            assert!(!holds_plain(&object));
            let written: Value = serde_json::from_str(&object.to_pretty()).unwrap();
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn hashes_verify_in_three_prefixes_up_to_a_cost() {
        let made = bcrypt::hash("pw", 4).unwrap();
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let hash = format!("{prefix}{}", &made[4..]);
            assert!(verify("pw", &hash, 15), "{prefix}");
            assert!(!verify("pW", &hash, 15));
        }
        assert!(!verify("pw", &made, 3), "too costly");
        for bad in ["", "$", "$2b$", "$2b$99$x", "$2b$é", "plain", "$2b$04$short"] {
            assert!(!verify("pw", bad, 15), "{bad}");
        }
    }

    #[test]
    fn the_dummy_is_a_hash_of_the_same_cost() {
        assert_eq!(cost(&dummy(4)), Some(4));
        assert!(bcrypt::verify("pw", &dummy(4)).is_ok());
        assert!(!verify("pw", &dummy(4), 15));
    }
}

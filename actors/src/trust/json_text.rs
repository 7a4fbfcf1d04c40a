//! JSON text that is changed without being understood.
//!
//! Settings files belong to their users: unknown keys, key order and number precision survive a rewrite
//! (spec §2.1), and so do strings that strict readers refuse (lone surrogates, §1.2 rule 4).

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Why a text is not a usable JSON object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonProblem {
    /// Not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// Not JSON, or not an object.
    #[error("{what} at line {line} column {column}")]
    Syntax {
        /// The parser's words.
        what: String,
        /// 1-based.
        line: usize,
        /// 1-based.
        column: usize,
    },
    /// Nested deeper than the limit.
    #[error("nested deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// More bytes than the limit.
    #[error("larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
}

impl From<serde_json::Error> for JsonProblem {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        // JSON of another kind is quoted by the parser, and this text is logged.
        let what = match error.is_data() {
            true => "not an object",
            false => text.split(" at line ").next().unwrap_or_default(),
        };
        let what = what.to_owned();
        Self::Syntax { what, line, column }
    }
}

/// An object whose values stay text, in their order. Of a repeated key the last value counts, as in JavaScript.
#[derive(Debug, Clone, Default)]
pub struct RawObject {
    entries: Vec<(String, Box<RawValue>)>,
    index: HashMap<String, usize>,
}

impl RawObject {
    /// Parses the bytes of a file; a byte order mark is skipped.
    pub fn parse_bytes(bytes: &[u8], max_bytes: u64, max_depth: usize) -> Result<Self, JsonProblem> {
        if bytes.len() as u64 > max_bytes {
            return Err(JsonProblem::TooLarge { limit: max_bytes });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| JsonProblem::Encoding)?;
        Self::parse(text.strip_prefix('\u{feff}').unwrap_or(text), max_depth)
    }

    /// Parses a text.
    pub fn parse(text: &str, max_depth: usize) -> Result<Self, JsonProblem> {
        if depth(text) > max_depth {
            return Err(JsonProblem::TooDeep { limit: max_depth });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The raw value of a key.
    pub fn raw(&self, key: &str) -> Option<&RawValue> {
        let position = *self.index.get(key)?;
        self.entries.get(position).map(|(_, value)| &**value)
    }

    /// The value of a key, parsed; `None` also for `null` and for what strict readers refuse.
    pub fn value(&self, key: &str) -> Option<Value> {
        match serde_json::from_str(self.raw(key)?.get()) {
            Ok(Value::Null) | Err(_) => None,
            Ok(value) => Some(value),
        }
    }

    /// Replaces the value of a key in its place, or appends it.
    pub fn set_raw(&mut self, key: &str, value: Box<RawValue>) {
        match self.index.get(key).and_then(|position| self.entries.get_mut(*position)) {
            Some(entry) => entry.1 = value,
            None => {
                self.index.insert(key.to_owned(), self.entries.len());
                self.entries.push((key.to_owned(), value));
            }
        }
    }

    /// As [`RawObject::set_raw`], from a value.
    pub fn set(&mut self, key: &str, value: &Value) {
        if let Ok(raw) = serde_json::value::to_raw_value(value) {
            self.set_raw(key, raw);
        }
    }

    /// Keeps the keys that the predicate names.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.entries.retain(|(key, _)| keep(key));
        self.index = self.entries.iter().enumerate().map(|(i, (key, _))| (key.clone(), i)).collect();
    }

    /// Takes every entry of `other`; keys that are not in it survive (spec §6.2).
    pub fn merge(&mut self, other: Self) {
        for (key, value) in other.entries {
            self.set_raw(&key, value);
        }
    }

    /// Keys and raw values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), &**value))
    }

    /// The text with two-space indentation and a final line feed.
    pub fn to_pretty(&self) -> String {
        let compact = serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned());
        let mut text = pretty(&compact);
        text.push('\n');
        text
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawObject;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
                let mut object = RawObject::default();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    object.set_raw(&key, value);
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (key, value) in &self.entries {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Where the value of a top-level key stands: line and column, 1-based. Of a repeated key the last one counts.
pub fn place_of(text: &str, key: &str) -> Option<(usize, usize)> {
    struct Find<'k>(&'k str);
    impl<'de> Visitor<'de> for Find<'_> {
        type Value = Option<&'de RawValue>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                if key == self.0 {
                    found = Some(value);
                }
            }
            Ok(found)
        }
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value = serde_json::Deserializer::from_str(text).deserialize_map(Find(key)).ok()??;
    // The value borrows from the text.
    let at = (value.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    Some(place(text, at))
}

/// Line and column of a byte, 1-based; columns are counted in bytes, as the parser does.
pub fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    let line_starts = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    (before.iter().filter(|byte| **byte == b'\n').count() + 1, before.len() - line_starts + 1)
}

/// The deepest nesting of a JSON text; for a text that is not JSON, some number.
pub fn depth(text: &str) -> usize {
    let (mut deepest, mut now) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                now += 1;
                deepest = deepest.max(now);
            }
            b'}' | b']' if !in_string => now = now.saturating_sub(1),
            _ => (),
        }
    }
    deepest
}

/// Re-indents valid JSON with two spaces and keeps every token as it is written.
pub fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut level = 0_usize;
    let (mut in_string, mut escaped) = (false, false);
    // Whether the last token opened an object or array: an empty one stays on its line.
    let mut opened = false;
    for c in json.chars() {
        if in_string {
            out.push(c);
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => (),
            }
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        if opened && c != '}' && c != ']' {
            line(&mut out, level);
        }
        match c {
            '{' | '[' => {
                level += 1;
                out.push(c);
            }
            '}' | ']' => {
                level = level.saturating_sub(1);
                if !opened {
                    line(&mut out, level);
                }
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, level);
            }
            ':' => out.push_str(": "),
            _ => {
                in_string = c == '"';
                out.push(c);
            }
        }
        opened = c == '{' || c == '[';
    }
    out
}

fn line(out: &mut String, level: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", level));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> RawObject {
        RawObject::parse(text, 64).unwrap()
    }

    #[test]
    fn values_keep_their_text() {
        let mut object = parse(r#"{"b":1.0,"a":123456789012345678901234567890,"e":1e5,"s":"\ud83d"}"#);
        object.set("new", &Value::Bool(true));
        object.set("b", &Value::Null);
        assert_eq!(
            object.to_pretty(),
            "{\n  \"b\": null,\n  \"a\": 123456789012345678901234567890,\n  \"e\": 1e5,\n  \"s\": \"\\ud83d\",\n  \"new\": true\n}\n"
        );
    }

    #[test]
    fn the_last_of_repeated_keys_counts() {
        let object = parse(r#"{"a":1,"b":2,"a":3}"#);
        assert_eq!(object.value("a"), Some(Value::from(3)));
        assert_eq!(object.iter().count(), 2);
    }

    #[test]
    fn defect_8_37_inherited_names_are_ordinary_keys() {
        let object = parse(r#"{"__proto__":{"isTrust":true}}"#);
        assert!(object.raw("isTrust").is_none());
        assert!(parse("{}").raw("constructor").is_none());
    }

    #[test]
    fn syntax_problems_name_the_place() {
        let problem = RawObject::parse("{\n  \"a\": 1,\n}", 64).unwrap_err();
        assert!(matches!(problem, JsonProblem::Syntax { line: 3, column: 1, .. }), "{problem}");
        for bad in ["", "[]", "null", "1", "\"x\"", "{", "{\"a\":01}", "{} x"] {
            assert!(RawObject::parse(bad, 64).is_err(), "{bad}");
        }
        // It is logged: it must not quote what may be a password.
        let problem = RawObject::parse("\"a secret\"", 64).unwrap_err().to_string();
        assert_eq!(problem, "not an object at line 1 column 10");
    }

    #[test]
    fn values_are_found_where_they_stand() {
        let text = "{\n  \"a\": {\"b\": 1},\n  \"\\u0062\":\n    2, \"a\": 3}";
        assert_eq!(place_of(text, "b"), Some((4, 5)));
        assert_eq!(place_of(text, "a"), Some((4, 13)));
        assert_eq!((place_of(text, "c"), place_of("{", "a"), place_of("[]", "a")), (None, None, None));
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
        assert!(RawObject::parse(&nested(63), 64).is_ok());
        assert_eq!(RawObject::parse(&nested(64), 64).unwrap_err(), JsonProblem::TooDeep { limit: 64 });
        assert_eq!(depth(r#"{"a":"[[[\"[[{"}"#), 1);
        assert!(RawObject::parse_bytes(b"{\"a\":1}", 7, 64).is_ok());
        assert_eq!(
            RawObject::parse_bytes(b"{\"a\":12}", 7, 64).unwrap_err(),
            JsonProblem::TooLarge { limit: 7 }
        );
        assert_eq!(RawObject::parse_bytes(b"\xff", 7, 64).unwrap_err(), JsonProblem::Encoding);
        assert!(RawObject::parse_bytes("\u{feff}{}".as_bytes(), 7, 64).is_ok());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn pretty_is_what_serde_json_would_write(value in any_json()) {
            prop_assert_eq!(pretty(&value.to_string()), serde_json::to_string_pretty(&value).unwrap());
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = RawObject::parse(&text, 64);
            let _ = pretty(&text);
        }
    }
}

//! Raw JSON: what is a value, and where its parts are.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use framing::ByteString;
use framing::error::JsonError;
use framing::json::{Kind, RawJson};
use proptest::prelude::*;

fn parse(text: &str) -> Result<RawJson, JsonError> {
    RawJson::parse(text.into(), 64)
}

fn json(text: &str) -> RawJson {
    parse(text).unwrap()
}

#[test]
fn values() {
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1.5",
        "1e9",
        "1E+9",
        "0.1e-9",
        "1e999",
        "\"\"",
        "[]",
        "{}",
        "[[],{}]",
        "[1,2]",
        r#"{"a":1,"a":2,"":[{"b":null}]}"#,
        r#""\"\\\/\b\f\n\r\t\u00e9""#,
        "\"é🙂\u{7f}\u{2028}\"",
        r#""\ud83d""#,
        r#""\ude00\ud83d""#,
        r#"{"\ud83d":0}"#,
        "123456789012345678901234567890.000000000000000000001",
    ] {
        assert_eq!(json(text).as_str(), text);
        assert_eq!(json(&format!(" \t\r\n{text}\n ")).as_str(), text, "white space around {text:?}");
    }
    for text in [
        "",
        " ",
        "nul",
        "nulll",
        "True",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u12",
        "\"a\nb\"",
        "\"\u{0}\"",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{,}",
        "[}",
        "{]",
        "[1}",
        "{\"a\":1]",
        "1 2",
        "[] []",
        "\u{feff}1",
        "é",
        "'a'",
        "// x\n1",
        "\u{a0}1",
        "{\"a\" 1}",
        "{\"a\"::1}",
    ] {
        assert!(parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn errors_name_the_place() {
    let table = [
        ("[1,é]", "unexpected byte 0xc3 at 3 in json"),
        ("\"ab\\q\"", "invalid escape at 3 in json"),
        ("\"\\ud8x0\"", "invalid escape at 1 in json"),
        ("[1", "unexpected end of json"),
        ("1]", "unexpected byte 0x5d at 1 in json"),
    ];
    for (text, expected) in table {
        assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text:?}");
    }
}

#[test]
fn depth_is_bounded_without_recursion() {
    let nested = |depth: usize| ByteString::from(format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    assert!(RawJson::parse(nested(64), 64).is_ok());
    assert_eq!(RawJson::parse(nested(65), 64), Err(JsonError::TooDeep { limit: 64 }));
    assert!(RawJson::parse("1".into(), 0).is_ok());
    assert_eq!(RawJson::parse("[]".into(), 0), Err(JsonError::TooDeep { limit: 0 }));
    // Siblings are not deeper.
    assert!(RawJson::parse("[[],[],{\"a\":[]}]".into(), 3).is_ok());

    let abyss = RawJson::parse(nested(1_000_000), usize::MAX).unwrap();
    assert_eq!(abyss.elements().next().unwrap().as_str().len(), 2 * 999_999);
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert!(RawJson::parse(objects.into(), usize::MAX).unwrap().get("a").is_some());
}

#[test]
fn readers() {
    let kinds = [
        ("null", Kind::Null),
        ("true", Kind::Bool),
        ("-1", Kind::Number),
        ("\"\"", Kind::String),
        ("[]", Kind::Array),
        ("{}", Kind::Object),
    ];
    for (text, kind) in kinds {
        assert_eq!(json(text).kind(), kind);
        assert_eq!(json(text).is_null(), kind == Kind::Null);
        assert_eq!(json(text).as_js_string().is_some(), kind == Kind::String);
        assert_eq!(json(text).as_f64().is_some(), kind == Kind::Number);
    }
    assert_eq!(json("true").as_bool(), Some(true));
    assert_eq!(json("false").as_bool(), Some(false));
    assert_eq!(json("\"true\"").as_bool(), None);
    let numbers = [
        ("0", Some(0)),
        ("-0", Some(0)),
        ("16384", Some(16384)),
        ("16384.0", Some(16384)),
        ("1e3", Some(1000)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("1e30", None),
        ("1e999", None),
        ("-1", None),
        ("1.5", None),
        ("\"1\"", None),
        ("null", None),
    ];
    for (text, number) in numbers {
        assert_eq!(json(text).as_u64(), number, "{text}");
    }
    assert_eq!(json("-1.5e1").as_f64(), Some(-15.0));
    assert_eq!(json("1e999").as_f64(), None);
}

#[test]
fn parts() {
    let list: Vec<_> =
        json(" [ 1 , \"a,]\" , [2,[3]] , {\"b\":4} ] ").elements().map(|item| item.to_string()).collect();
    assert_eq!(list, ["1", "\"a,]\"", "[2,[3]]", "{\"b\":4}"]);
    assert_eq!(
        json("[]").elements().count() + json("[ ]").elements().count() + json("{}").elements().count(),
        0
    );
    assert_eq!(
        json("\"[1]\"").elements().count() + json("1").members().count() + json("{ }").members().count(),
        0
    );

    let object = json(r#"{ "a" : 1 , "b\u0063" : [ {} ] , "" : null , "a" : {"x":2} }"#);
    let members: Vec<_> = object.members().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(members, ["a=1", "bc=[ {} ]", "=null", "a={\"x\":2}"]);
    assert_eq!(object.get("a").unwrap().as_str(), "{\"x\":2}", "the last one counts");
    assert_eq!(object.get("bc").unwrap().as_str(), "[ {} ]");
    assert!(object.get("").unwrap().is_null());
    assert_eq!(object.get("x"), None);
    assert_eq!(json("[\"a\",1]").get("a"), None);
    let [bc, none, a] = object.fields(["bc", "none", "a"]);
    assert_eq!((bc.is_some(), none.is_some(), a.is_some()), (true, false, true));
}

#[test]
fn replacing_leaves_no_duplicate_and_the_rest_alone() {
    let table = [
        (r#"{"clientId":"a","x":1.00,"y":[1, 2]}"#, r#"{"x":1.00,"y":[1, 2],"clientId":"me"}"#),
        (r#"{"clientId":"a","clientId":"b"}"#, r#"{"clientId":"me"}"#),
        (r#"{"\u0063lientId":"a","z":9007199254740993}"#, r#"{"z":9007199254740993,"clientId":"me"}"#),
        (r#"{}"#, r#"{"clientId":"me"}"#),
        (r#"{"a":{"clientId":"in"}}"#, r#"{"a":{"clientId":"in"},"clientId":"me"}"#),
        (r#"{"\ud83d":"\ude00"}"#, r#"{"\ud83d":"\ude00","clientId":"me"}"#),
        (r#"[{"clientId":"a"}]"#, r#"[{"clientId":"a"}]"#),
        ("null", "null"),
    ];
    for (before, after) in table {
        let replaced = json(before).replacing(&[("clientId", "\"me\"")]);
        assert_eq!(replaced.as_str(), after);
        assert_eq!(parse(replaced.as_str()).as_ref(), Ok(&replaced));
    }
    let two = json(r#"{"source":1,"k":2}"#).replacing(&[("a\"b", "[1]"), ("source", "null")]);
    assert_eq!(two.as_str(), r#"{"k":2,"a\"b":[1],"source":null}"#);
    assert_eq!(json("{\"a\":1}").replacing(&[]).as_str(), "{\"a\":1}");
    let twice = json("{}").replacing(&[("a", "1"), ("b", "2"), ("a", "3")]);
    assert_eq!(twice.as_str(), r#"{"b":2,"a":3}"#);
    let broken = json("{}").replacing(&[("a", "1,\"admin\":true")]);
    assert_eq!(broken.as_str(), r#"{"a":"1,\"admin\":true"}"#, "no way out of the value");
}

/// Text that looks like JSON, so that more than the first byte is looked at.
fn jsonish() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        Just("null"),
        Just("true"),
        Just("false"),
        Just("0"),
        Just("-1.5e3"),
        Just("12"),
        Just("\"\""),
        Just("\"a\""),
        Just("\"\\ud83d\""),
        Just("\"\\u0041\\n\""),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just(","),
        Just(":"),
        Just(" "),
        Just("\n"),
        Just("\"k\":"),
        Just("é"),
        Just("\\"),
        Just("-"),
        Just("."),
        Just("e"),
    ];
    prop::collection::vec(atom, 0..24).prop_map(|atoms| atoms.concat())
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_serde_json(text in prop_oneof![jsonish(), any::<String>(), value().prop_map(|value| value.to_string())]) {
        let reference = serde_json::from_str::<&serde_json::value::RawValue>(&text);
        prop_assert_eq!(parse(&text).is_ok(), reference.is_ok(), "{:?}", reference.err());
    }

    #[test]
    fn agrees_with_serde_json_after_a_fault(value in value(), at in any::<prop::sample::Index>(), with in any::<char>()) {
        let mut chars: Vec<char> = value.to_string().chars().collect();
        let at = at.index(chars.len());
        chars[at] = with;
        let text: String = chars.into_iter().collect();
        let reference = serde_json::from_str::<&serde_json::value::RawValue>(&text);
        prop_assert_eq!(parse(&text).is_ok(), reference.is_ok());
    }

    #[test]
    fn parts_agree_with_serde_json(value in value()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        let raw = json(&text);
        let read = |raw: &RawJson| serde_json::from_str::<serde_json::Value>(raw.as_str()).unwrap();
        prop_assert_eq!(read(&raw), value.clone());
        match &value {
            serde_json::Value::Array(items) => prop_assert_eq!(&raw.elements().map(|item| read(&item)).collect::<Vec<_>>(), items),
            serde_json::Value::Object(members) => {
                let read: Vec<_> = raw.members().map(|(key, item)| (key.to_string(), read(&item))).collect();
                prop_assert_eq!(read, members.clone().into_iter().collect::<Vec<_>>());
                for (key, item) in members {
                    prop_assert_eq!(serde_json::from_str::<serde_json::Value>(raw.get(key).unwrap().as_str()).unwrap(), item.clone());
                }
            }
            serde_json::Value::String(text) => prop_assert_eq!(raw.as_js_string().unwrap().to_text(), text.as_str()),
            _ => (),
        }
    }
}

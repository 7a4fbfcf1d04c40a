//! Raw JSON, JavaScript strings, and the joining of cut text.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use framing::ByteString;
use framing::error::JsonError;
use framing::json::{JsString, Kind, RawJson, SurrogateJoiner, quoted};
use proptest::prelude::*;

fn parse(text: &str) -> Result<RawJson, JsonError> {
    RawJson::parse(text.into(), 64)
}

fn json(text: &str) -> RawJson {
    parse(text).unwrap()
}

fn string(json: &str) -> JsString {
    parse(json).unwrap().as_js_string().unwrap()
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
        assert_eq!(
            json(&format!(" \t\r\n{text}\n ")).as_str(),
            text,
            "white space around {text:?}"
        );
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
    let nested =
        |depth: usize| ByteString::from(format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    assert!(RawJson::parse(nested(64), 64).is_ok());
    assert_eq!(
        RawJson::parse(nested(65), 64),
        Err(JsonError::TooDeep { limit: 64 })
    );
    assert!(RawJson::parse("1".into(), 0).is_ok());
    assert_eq!(
        RawJson::parse("[]".into(), 0),
        Err(JsonError::TooDeep { limit: 0 })
    );
    // Siblings are not deeper.
    assert!(RawJson::parse("[[],[],{\"a\":[]}]".into(), 3).is_ok());

    let abyss = RawJson::parse(nested(1_000_000), usize::MAX).unwrap();
    assert_eq!(abyss.elements().next().unwrap().as_str().len(), 2 * 999_999);
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert!(
        RawJson::parse(objects.into(), usize::MAX)
            .unwrap()
            .get("a")
            .is_some()
    );
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
    let list: Vec<_> = json(" [ 1 , \"a,]\" , [2,[3]] , {\"b\":4} ] ")
        .elements()
        .map(|item| item.to_string())
        .collect();
    assert_eq!(list, ["1", "\"a,]\"", "[2,[3]]", "{\"b\":4}"]);
    assert_eq!(
        json("[]").elements().count()
            + json("[ ]").elements().count()
            + json("{}").elements().count(),
        0
    );
    assert_eq!(
        json("\"[1]\"").elements().count()
            + json("1").members().count()
            + json("{ }").members().count(),
        0
    );

    let object = json(r#"{ "a" : 1 , "b\u0063" : [ {} ] , "" : null , "a" : {"x":2} }"#);
    let members: Vec<_> = object
        .members()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(members, ["a=1", "bc=[ {} ]", "=null", "a={\"x\":2}"]);
    assert_eq!(
        object.get("a").unwrap().as_str(),
        "{\"x\":2}",
        "the last one counts"
    );
    assert_eq!(object.get("bc").unwrap().as_str(), "[ {} ]");
    assert!(object.get("").unwrap().is_null());
    assert_eq!(object.get("x"), None);
    assert_eq!(json("[\"a\",1]").get("a"), None);
    let [bc, none, a] = object.fields(["bc", "none", "a"]);
    assert_eq!(
        (bc.is_some(), none.is_some(), a.is_some()),
        (true, false, true)
    );
}

#[test]
fn replacing_leaves_no_duplicate_and_the_rest_alone() {
    let table = [
        (
            r#"{"clientId":"a","x":1.00,"y":[1, 2]}"#,
            r#"{"x":1.00,"y":[1, 2],"clientId":"me"}"#,
        ),
        (r#"{"clientId":"a","clientId":"b"}"#, r#"{"clientId":"me"}"#),
        (
            r#"{"\u0063lientId":"a","z":9007199254740993}"#,
            r#"{"z":9007199254740993,"clientId":"me"}"#,
        ),
        (r#"{}"#, r#"{"clientId":"me"}"#),
        (
            r#"{"a":{"clientId":"in"}}"#,
            r#"{"a":{"clientId":"in"},"clientId":"me"}"#,
        ),
        (
            r#"{"\ud83d":"\ude00"}"#,
            r#"{"\ud83d":"\ude00","clientId":"me"}"#,
        ),
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
    let broken = json("{}").replacing(&[("a", "1,\"admin\":true")]);
    assert_eq!(
        broken.as_str(),
        r#"{"a":"1,\"admin\":true"}"#,
        "no way out of the value"
    );
}

#[test]
fn js_strings() {
    let plain = string("\"你好 🙂\"");
    assert_eq!((plain.as_str(), plain.len_bytes()), (Some("你好 🙂"), 11));
    assert_eq!(string(r#""\u4f60\ud83d\ude42\n\/""#), "你🙂\n/");
    assert_eq!(string(r#""\uD83D\uDE42""#).to_json(), "\"🙂\"");
    assert!(string("\"\"").is_empty());

    let table = [
        (r#""\ud83d""#, "\u{fffd}", 3),
        (r#""\ude00""#, "\u{fffd}", 3),
        (r#""a\ud83db\ude00c""#, "a\u{fffd}b\u{fffd}c", 9),
        (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}", 6),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀", 7),
        (r#""\ud83d\n""#, "\u{fffd}\n", 4),
        (r#""é\ud83d\\ude00""#, "é\u{fffd}\\ude00", 11),
    ];
    for (raw, text, len) in table {
        let string = string(raw);
        assert_eq!(string.as_str(), None, "{raw}");
        assert_eq!(string.to_text(), text, "{raw}");
        assert_eq!(string.to_string(), text);
        assert_eq!(string.len_bytes(), len, "{raw}");
        assert_eq!(
            parse(&string.to_json()).unwrap().as_js_string().unwrap(),
            string
        );
        assert_ne!(string, JsString::from(text));
    }
    assert_eq!(string(r#""a\ud83d\n""#).to_json(), r#""a\ud83d\n""#);
    assert_ne!(string(r#""\ud83d""#), string(r#""\ud83e""#));

    let source = ByteString::from(r#""shared""#);
    let shared = RawJson::parse(source.clone(), 0)
        .unwrap()
        .as_js_string()
        .unwrap();
    assert_eq!(shared.as_str().unwrap().as_ptr(), source[1..].as_ptr());
}

fn join(pieces: &[&str]) -> (Vec<String>, Option<ByteString>) {
    let mut joiner = SurrogateJoiner::new();
    let out = pieces
        .iter()
        .map(|piece| joiner.push(&string(piece)).to_string())
        .collect();
    (out, joiner.finish())
}

#[test]
fn joins_halves() {
    const HIGH: &str = r#""\ud83d""#;
    const LOW: &str = r#""\ude00""#;
    let lost = || Some(ByteString::from_static("\u{fffd}"));
    let table: [(&[&str], &[&str], _); 10] = [
        (&[HIGH, LOW], &["", "😀"], None),
        (&[HIGH, "\"\"", "\"\"", LOW], &["", "", "", "😀"], None),
        (&[r#""a\ud83d""#, r#""\ude00b""#], &["a", "😀b"], None),
        (&[HIGH], &[""], lost()),
        (&[LOW], &["\u{fffd}"], None),
        (&[HIGH, HIGH, LOW], &["", "\u{fffd}", "😀"], None),
        (&[HIGH, "\"x\""], &["", "\u{fffd}x"], None),
        (&[LOW, HIGH], &["\u{fffd}", ""], lost()),
        (&[r#""\ud83dx\ude00""#], &["\u{fffd}x\u{fffd}"], None),
        (
            &["\"plain\"", r#""\ud83d\ud83d""#, r#""\ude00\ud83d""#, LOW],
            &["plain", "\u{fffd}", "😀", "😀"],
            None,
        ),
    ];
    for (pieces, texts, rest) in table {
        let (out, end) = join(pieces);
        assert_eq!(
            (&out[..], end),
            (
                &texts
                    .iter()
                    .map(|text| (*text).to_owned())
                    .collect::<Vec<_>>()[..],
                rest
            ),
            "{pieces:?}"
        );
    }
    let mut joiner = SurrogateJoiner::new();
    joiner.push(&string(HIGH));
    assert!(joiner.has_pending());
    joiner.finish();
    assert!(!joiner.has_pending());
    assert_eq!(
        joiner.push(&string(LOW)),
        "\u{fffd}",
        "as new after the end"
    );
}

/// UTF-16 units as JavaScript writes them in JSON.
fn units_to_json(units: &[u16]) -> String {
    let mut out = String::from("\"");
    for decoded in char::decode_utf16(units.iter().copied()) {
        match decoded {
            Ok(character) => {
                let quoted = quoted(character.encode_utf8(&mut [0; 4]));
                out.push_str(&quoted[1..quoted.len() - 1]);
            }
            Err(half) => out.push_str(&format!("\\u{:04x}", half.unpaired_surrogate())),
        }
    }
    out.push('"');
    out
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

    #[test]
    fn any_cut_of_any_text_is_joined(text in "[a\u{e9}\u{4f60}😀🙂\u{10ffff}\"\\\\\n]{0,24}", cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let units: Vec<u16> = text.encode_utf16().collect();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(units.len() + 1)).collect();
        cuts.extend([0, units.len()]);
        cuts.sort_unstable();
        let mut joiner = SurrogateJoiner::new();
        let mut joined = String::new();
        for pair in cuts.windows(2) {
            joined.push_str(&joiner.push(&string(&units_to_json(&units[pair[0]..pair[1]]))));
        }
        prop_assert_eq!(joiner.finish(), None);
        prop_assert_eq!(joined, text);
    }

    #[test]
    fn any_units_are_as_javascript_reads_them(units in prop::collection::vec(prop_oneof![0xd7fe_u16..0xe002, 0_u16..0x80, any::<u16>()], 0..24), cut in any::<prop::sample::Index>()) {
        let lossy = String::from_utf16_lossy(&units);
        let whole = string(&units_to_json(&units));
        prop_assert_eq!(whole.to_text(), lossy.as_str());
        prop_assert_eq!(string(&whole.to_json()), whole);

        let at = cut.index(units.len() + 1);
        let mut joiner = SurrogateJoiner::new();
        let mut joined = joiner.push(&string(&units_to_json(&units[..at]))).to_string();
        joined.push_str(&joiner.push(&string(&units_to_json(&units[at..]))));
        joined.extend(joiner.finish().iter().map(|rest| &**rest));
        prop_assert_eq!(joined, lossy);
    }
}

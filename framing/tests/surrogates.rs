//! JavaScript strings, and the joining of cut text (spec §1.2 rule 4, §5.4).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use framing::ByteString;
use framing::json::{JsString, RawJson, SurrogateJoiner, quoted};
use proptest::prelude::*;

fn string(json: &str) -> JsString {
    RawJson::parse(json.into(), 0).unwrap().as_js_string().unwrap()
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
        assert_eq!(RawJson::parse(string.to_json().into(), 0).unwrap().as_js_string().unwrap(), string);
        assert_ne!(string, JsString::from(text));
    }
    assert_eq!(string(r#""a\ud83d\n""#).to_json(), r#""a\ud83d\n""#);
    assert_ne!(string(r#""\ud83d""#), string(r#""\ud83e""#));

    let source = ByteString::from(r#""shared""#);
    let shared = RawJson::parse(source.clone(), 0).unwrap().as_js_string().unwrap();
    assert_eq!(shared.as_str().unwrap().as_ptr(), source[1..].as_ptr());
}

fn join(pieces: &[&str]) -> (Vec<String>, Option<ByteString>) {
    let mut joiner = SurrogateJoiner::new();
    let out = pieces.iter().map(|piece| joiner.push(&string(piece)).to_string()).collect();
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
            (&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()[..], rest),
            "{pieces:?}"
        );
    }
    let mut joiner = SurrogateJoiner::new();
    joiner.push(&string(HIGH));
    assert!(joiner.has_pending());
    joiner.finish();
    assert!(!joiner.has_pending());
    assert_eq!(joiner.push(&string(LOW)), "\u{fffd}", "as new after the end");
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

proptest! {
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

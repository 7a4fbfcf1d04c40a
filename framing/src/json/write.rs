//! Writing JSON strings.

use super::plain::plain_length;

/// Appends `s` as a JSON string, quotes included, escaping what JavaScript escapes.
pub fn write_string(out: &mut String, s: &str) {
    out.reserve(s.len() + 2);
    out.push('"');
    write_escaped(out, s);
    out.push('"');
}

/// `s` as a JSON string, quotes included.
pub fn quoted(s: &str) -> String {
    let mut out = String::new();
    write_string(&mut out, s);
    out
}

/// Appends the inside of a JSON string.
pub(super) fn write_escaped(out: &mut String, s: &str) {
    let mut rest = s;
    // Only ASCII is escaped, so every split lies on a character boundary.
    while let Some(at) = plain_length(rest.as_bytes()) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = special.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\u{c}') => out.push_str("\\f"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(control) => write_unit(out, control as u16),
            None => (),
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}

/// Appends `\uXXXX` for one UTF-16 unit.
pub(super) fn write_unit(out: &mut String, unit: u16) {
    use std::fmt::Write as _;
    // Writing to a string cannot fail.
    let _ = write!(out, "\\u{unit:04x}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_as_javascript_does() {
        assert_eq!(quoted(""), r#""""#);
        assert_eq!(quoted("a\"b\\c/"), r#""a\"b\\c/""#);
        assert_eq!(quoted("\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}"), "\"\\b\\f\\n\\r\\t\\u0001\\u001f\u{7f}\"");
        assert_eq!(quoted("你好 🙂\u{2028}"), "\"你好 🙂\u{2028}\"");
    }

    proptest! {
        #[test]
        fn is_read_back_as_the_same_text(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&quoted(&text)).unwrap(), text);
        }
    }
}

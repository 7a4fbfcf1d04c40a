//! A message is kept without its attachments. What stands for them in its JSON must not be kept either: in
//! a later event with attachments of its own a receiver would take it for one of those, or end its
//! connection over one that is not there (spec §8.1 8-55).

use framing::json::RawJson;

/// The value with null for everything that stands for an attachment.
pub(super) fn without_placeholders(json: &RawJson) -> RawJson {
    // A key may be written with escapes.
    let suspicious = json.as_str().contains("_placeholder") || json.as_str().contains("\\u");
    if !suspicious {
        return json.clone();
    }
    let mut text = String::with_capacity(json.as_str().len());
    write(json, &mut text);
    RawJson::parse(text.into(), MAX_DEPTH).unwrap_or_else(|_| json.clone())
}

/// What comes here was checked, and is no deeper.
const MAX_DEPTH: usize = 1024;

fn write(json: &RawJson, out: &mut String) {
    let separate = |out: &mut String, first: bool| {
        if !first {
            out.push(',');
        }
    };
    match json.as_str().as_bytes().first() {
        Some(b'{') => {
            let stands = |(name, value): (framing::json::JsString, RawJson)| {
                name.as_str() == Some("_placeholder") && value.as_bool() == Some(true)
            };
            if json.members().any(stands) {
                return out.push_str("null");
            }
            out.push('{');
            for (at, (name, value)) in json.members().enumerate() {
                separate(out, at == 0);
                out.push_str(&name.to_json());
                out.push(':');
                write(&value, out);
            }
            out.push('}');
        }
        Some(b'[') => {
            out.push('[');
            for (at, element) in json.elements().enumerate() {
                separate(out, at == 0);
                write(&element, out);
            }
            out.push(']');
        }
        _ => out.push_str(json.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stands_for_an_attachment_any_more() {
        for (given, kept) in [
            (r#"{"a":1.0,"b":[2]}"#, r#"{"a":1.0,"b":[2]}"#),
            (r#"{"a":{"_placeholder":true,"num":0},"b":1.0}"#, r#"{"a":null,"b":1.0}"#),
            (r#"{"a":[{"x":{"num":7,"_placeholder":true}},"\ud83d"]}"#, r#"{"a":[{"x":null},"\ud83d"]}"#),
            (r#"{"a":{"\u005fplaceholder":true}}"#, r#"{"a":null}"#),
            (
                r#"{"a":{"_placeholder":false},"t":"_placeholder"}"#,
                r#"{"a":{"_placeholder":false},"t":"_placeholder"}"#,
            ),
        ] {
            assert_eq!(without_placeholders(&RawJson::from_static(given)).as_str(), kept, "{given}");
        }
    }
}

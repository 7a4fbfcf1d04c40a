//! The payload behind a head: which JSON each packet type may carry, and where the
//! attachments belong in it.

use std::ops::Range;

use bytestring::ByteString;
use smallvec::SmallVec;

use super::EventName;
use super::event::MAX_ARGS;
use crate::error::ProtocolError;
use crate::json::members::{Members, Note};
use crate::json::scan::{Scanner, Visitor};
use crate::json::{JsString, Kind, RawJson};

/// The name of an event as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    Usable(EventName),
    /// `null`: the event is to be ignored, with its attachments (spec §1.2 rule 2).
    Null,
}

/// The auth object of a CONNECT, if there is one.
pub(super) fn auth(payload: ByteString, max_depth: usize) -> Result<Option<RawJson>, ProtocolError> {
    if payload.is_empty() {
        return Ok(None);
    }
    let json = RawJson::parse(payload, max_depth)?;
    match json.kind() {
        Kind::Object => Ok(Some(json)),
        _ => Err(ProtocolError::Payload { packet: "connect", expected: "an object or nothing" }),
    }
}

/// Name and arguments of an event with `attachments` attachments.
///
/// No payload at all is an event without a name, which the official server lets pass.
pub(super) fn event(
    payload: ByteString,
    attachments: usize,
    max_depth: usize,
) -> Result<(Name, Vec<RawJson>), ProtocolError> {
    if payload.is_empty() {
        return Ok((Name::Null, Vec::new()));
    }
    let mut elements = array(&payload, attachments, max_depth, "event")?;
    if elements.is_empty() {
        return Err(ProtocolError::EventName);
    }
    let first = elements.remove(0);
    let name = match first.kind() {
        Kind::Null => Name::Null,
        Kind::Number => Name::Usable(EventName::Number(first.text())),
        Kind::String => {
            let text = first.as_text().unwrap_or_default();
            if let Some(name) = EventName::reserved(&text) {
                return Err(ProtocolError::ReservedName { name });
            }
            Name::Usable(EventName::Text(text))
        }
        Kind::Bool | Kind::Array | Kind::Object => return Err(ProtocolError::EventName),
    };
    Ok((name, elements))
}

/// Arguments of an ack with `attachments` attachments; none if there is no payload.
pub(super) fn ack(
    payload: ByteString,
    attachments: usize,
    max_depth: usize,
) -> Result<Vec<RawJson>, ProtocolError> {
    match payload.is_empty() {
        true => Ok(Vec::new()),
        false => array(&payload, attachments, max_depth, "ack"),
    }
}

/// The elements of an array, found in the same pass that checks it.
fn array(
    payload: &ByteString,
    attachments: usize,
    max_depth: usize,
    packet: &'static str,
) -> Result<Vec<RawJson>, ProtocolError> {
    // The packet's own array is one level above the arguments.
    let max_depth = max_depth.saturating_add(1);
    let mut scan = Scanner::new(payload, 0);
    scan.white_space();
    if !scan.is_at(b'[') {
        scan.document(max_depth, &mut ())?;
        return Err(ProtocolError::Payload { packet, expected: "an array" });
    }
    let mut spans: SmallVec<[(Range<usize>, Note); 4]> = SmallVec::new();
    let mut count = 0;
    let mut goes_on = scan.enter(b']');
    while goes_on {
        // An event's payload is the second, and is read next.
        let (span, note) = if count == 1 && scan.is_at(b'{') {
            Members::scan(&mut scan, 1, max_depth)?
        } else {
            let (span, is_plain) = scan.inner_value(1, max_depth)?;
            (span, Note::plain(is_plain))
        };
        count += 1;
        // Past the limit they are counted only.
        if count <= MAX_ARGS {
            spans.push((span, note));
        }
        goes_on = scan.goes_on(b']')?;
    }
    scan.ends()?;
    if count > MAX_ARGS {
        return Err(ProtocolError::TooManyArguments { count, limit: MAX_ARGS });
    }
    if attachments > 0 {
        let mut placeholders = Placeholders::new(payload, attachments);
        Scanner::new(payload, 0).document(max_depth, &mut placeholders)?;
        if placeholders.illegal {
            return Err(ProtocolError::Placeholder);
        }
    }
    let mut elements = Vec::with_capacity(spans.len());
    elements.extend(spans.into_iter().map(|(span, note)| RawJson::noted_part(payload, span, note)));
    Ok(elements)
}

/// Checks every `{"_placeholder":true,"num":n}`, at any depth, against the attachments.
/// As in JavaScript, the last of several equal keys counts.
struct Placeholders<'p> {
    payload: &'p ByteString,
    attachments: usize,
    open: SmallVec<[Container; 8]>,
    illegal: bool,
}

/// What an open object has said so far; an array stays as it begins.
#[derive(Default)]
struct Container {
    member: Member,
    is_placeholder: bool,
    in_range: bool,
}

/// The member whose value comes next.
#[derive(Default)]
enum Member {
    Placeholder,
    Num,
    #[default]
    Other,
}

impl<'p> Placeholders<'p> {
    fn new(payload: &'p ByteString, attachments: usize) -> Self {
        Self { payload, attachments, open: SmallVec::new(), illegal: false }
    }
}

impl Visitor for Placeholders<'_> {
    fn open(&mut self) {
        self.open.push(Container::default());
    }

    fn key(&mut self, span: Range<usize>) {
        let raw = RawJson::part(self.payload, span).text();
        let key = JsString::from_json(&raw, false);
        if let Some(object) = self.open.last_mut() {
            object.member = match key.as_str() {
                Some("_placeholder") => Member::Placeholder,
                Some("num") => Member::Num,
                _ => Member::Other,
            };
        }
    }

    fn value(&mut self, span: Range<usize>) {
        let is_container = matches!(self.payload.as_bytes().get(span.start), Some(b'{' | b'['));
        if is_container
            && let Some(ended) = self.open.pop()
            && ended.is_placeholder
        {
            self.illegal |= !ended.in_range;
        }
        let Some(parent) = self.open.last_mut() else {
            return;
        };
        let json = || RawJson::part(self.payload, span);
        match parent.member {
            Member::Placeholder => parent.is_placeholder = json().as_bool() == Some(true),
            Member::Num => {
                let num = json().as_u64().and_then(|num| usize::try_from(num).ok());
                parent.in_range = num.is_some_and(|num| num < self.attachments);
            }
            Member::Other => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The payload of an event, as it is decoded.
    fn decoded(payload: &str, attachments: usize) -> RawJson {
        let (_, mut args) = event(format!("[\"name\",{payload}]").into(), attachments, 64).unwrap();
        args.remove(0)
    }

    const NAMES: [&str; 5] = ["a", "b", "\u{e9}", "", "num"];

    /// What was noted while it was decoded says the same as its text.
    fn agrees(payload: &RawJson) {
        let unnoted = payload.clone();
        assert_eq!(payload.fields(NAMES), unnoted.fields(NAMES), "{payload}");
        let replaced: [&[(&str, &str)]; 2] = [&[("a", "1"), ("z", "[2]")], &[]];
        for members in replaced {
            assert_eq!(payload.replacing(members), unnoted.replacing(members), "{payload}");
        }
    }

    #[test]
    fn members_of_a_payload_are_noted() {
        for (payload, noted) in [
            (r#"{"a":1}"#, true),
            (r#" { "a" : [1,{"a":2,"b":3}] , "b" : {"a":{"b":4}} } "#, true),
            (r#"{"a":1,"\u0061":2,"":3,"\u00e9":4,"\ud83d":5}"#, true),
            (r#"{"a":"\"}","b":"{\"a\":9}"}"#, true),
            (r#"{"a":1},{"a":2}"#, true),
            ("{}", false),
            (r#"[{"a":1},{"b":2}]"#, false),
            (r#""{\"a\":1}""#, false),
            ("7", false),
        ] {
            let payload = decoded(payload, 0);
            assert_eq!(payload.is_noted(), noted, "{payload}");
            agrees(&payload);
        }
        let binary = decoded(r#"{"a":{"_placeholder":true,"num":0},"num":5}"#, 1);
        assert!(binary.is_noted());
        agrees(&binary);
    }

    #[test]
    fn an_object_with_a_long_key_is_scanned_again() {
        for (length, noted) in [(0xfffd, true), (0xfffe, false)] {
            let payload = decoded(&format!(r#"{{"a":1,"{}":2,"b":"x"}}"#, "k".repeat(length)), 0);
            assert_eq!(payload.is_noted(), noted);
            agrees(&payload);
        }
    }

    #[test]
    fn an_object_of_many_members_is_scanned_again() {
        for (members, noted) in [(32, true), (33, false)] {
            let members: Vec<String> = (0..members).map(|number| format!("\"{number}\":{number}")).collect();
            let payload = decoded(&format!("{{{},\"a\":0}}", members[1..].join(",")), 0);
            assert_eq!(payload.is_noted(), noted);
            agrees(&payload);
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ab\\PC\"\\\\]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 8, |inner| {
            let name = prop_oneof![prop::sample::select(&NAMES[..]).prop_map(str::to_owned), "\\PC{0,3}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((name, inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_noted_is_what_is_there(payload in json()) {
            agrees(&decoded(&payload.to_string(), 0));
            agrees(&decoded(&serde_json::to_string_pretty(&payload).unwrap(), 0));
        }
    }
}

//! The payload behind a head: which JSON each packet type may carry, and where the
//! attachments belong in it.

use std::ops::Range;

use bytestring::ByteString;
use smallvec::SmallVec;

use super::EventName;
use super::event::MAX_ARGS;
use crate::error::ProtocolError;
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
    let first = elements.next().ok_or(ProtocolError::EventName)?;
    let name = match first.kind() {
        Kind::Null => Name::Null,
        Kind::Number => Name::Usable(EventName::Number(first.text())),
        Kind::String => {
            let text = first.as_js_string().map(|name| name.to_text()).unwrap_or_default();
            if let Some(name) = EventName::reserved(&text) {
                return Err(ProtocolError::ReservedName { name });
            }
            Name::Usable(EventName::Text(text))
        }
        Kind::Bool | Kind::Array | Kind::Object => return Err(ProtocolError::EventName),
    };
    Ok((name, elements.collect()))
}

/// Arguments of an ack with `attachments` attachments; none if there is no payload.
pub(super) fn ack(
    payload: ByteString,
    attachments: usize,
    max_depth: usize,
) -> Result<Vec<RawJson>, ProtocolError> {
    match payload.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(array(&payload, attachments, max_depth, "ack")?.collect()),
    }
}

/// The elements of an array, found in the same pass that checks it.
fn array(
    payload: &ByteString,
    attachments: usize,
    max_depth: usize,
    packet: &'static str,
) -> Result<impl Iterator<Item = RawJson>, ProtocolError> {
    let mut elements = Elements { spans: SmallVec::new(), count: 0, placeholders: None };
    if attachments > 0 {
        elements.placeholders = Some(Placeholders::new(payload, attachments));
    }
    // The packet's own array is one level above the arguments.
    let span = Scanner::new(payload, 0).document(max_depth.saturating_add(1), &mut elements)?;
    if payload.as_bytes().get(span.start) != Some(&b'[') {
        return Err(ProtocolError::Payload { packet, expected: "an array" });
    }
    if elements.count > MAX_ARGS {
        return Err(ProtocolError::TooManyArguments { count: elements.count, limit: MAX_ARGS });
    }
    if elements.placeholders.is_some_and(|placeholders| placeholders.illegal) {
        return Err(ProtocolError::Placeholder);
    }
    Ok(elements.spans.into_iter().map(|span| RawJson::part(payload, span)))
}

/// Notes where the elements of the outermost array are.
struct Elements<'p> {
    spans: SmallVec<[Range<usize>; 4]>,
    /// All of them; past the limit they are counted only.
    count: usize,
    placeholders: Option<Placeholders<'p>>,
}

impl Visitor for Elements<'_> {
    fn key(&mut self, _depth: usize, span: Range<usize>) {
        if let Some(placeholders) = &mut self.placeholders {
            placeholders.key(span);
        }
    }

    fn open(&mut self, _depth: usize) {
        if let Some(placeholders) = &mut self.placeholders {
            placeholders.open.push(Container::default());
        }
    }

    fn value(&mut self, depth: usize, span: Range<usize>) {
        if let Some(placeholders) = &mut self.placeholders {
            placeholders.value(span.clone());
        }
        if depth == 1 {
            self.count += 1;
            if self.count <= MAX_ARGS {
                self.spans.push(span);
            }
        }
    }
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

    fn key(&mut self, span: Range<usize>) {
        let raw = RawJson::part(self.payload, span).text();
        let key = JsString::from_json(&raw);
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

//! Reading the fields of a payload (spec §1.3): what is missing, `null` or no object counts as `{}`.

use framing::{
    ByteString,
    json::{Kind, RawJson},
    socket::Event,
};

/// The payload of an event.
pub(super) fn object(event: &Event) -> &RawJson {
    static NOTHING: RawJson = RawJson::EMPTY_OBJECT;
    event.args.first().filter(|first| first.kind() == Kind::Object).unwrap_or(&NOTHING)
}

/// A text; lone halves of characters are U+FFFD.
pub(super) fn text(field: Option<&RawJson>) -> Option<ByteString> {
    field?.as_text()
}

/// An id of a stream or an output: a text, or a number as text.
pub(super) fn id(field: Option<&RawJson>, max_chars: usize) -> Option<ByteString> {
    let field = field?;
    let id = match field.kind() {
        Kind::String => field.as_text()?,
        Kind::Number => field.text(),
        _ => return None,
    };
    let fits = !id.is_empty() && (id.len() <= max_chars || id.chars().count() <= max_chars);
    fits.then_some(id)
}

/// A member that is there and not `null`.
pub(super) fn present(field: Option<RawJson>) -> Option<RawJson> {
    field.filter(|value| !value.is_null())
}

//! What an extension says of an answer, as it is read off the wire (spec §5.3, §5.4, §5.8).

use framing::{
    ByteString,
    json::{JsString, Kind as JsonKind, RawJson, quoted},
    socket::Event,
};

use super::super::payload;
use crate::{
    ids::{MAX_OUTPUT_ID, MAX_STREAM_ID},
    protocol::StreamEvent,
    stream::PieceKind,
};

/// One stream event or `message`.
pub(super) struct StreamEventIn {
    pub(super) kind: Kind,
    pub(super) stream_id: ByteString,
    /// START and `message` always have one.
    pub(super) output_id: Option<ByteString>,
    /// Of START and `message`; what follows in a stream needs none.
    pub(super) request_id: Option<ByteString>,
}

pub(super) enum Kind {
    Start {
        num_streams: Option<u64>,
    },
    Data {
        index: Option<u64>,
        kind: PieceKind,
        data: JsString,
    },
    End {
        is_final: bool,
    },
    /// `data` as JSON text of a string.
    Message {
        data: String,
    },
}

/// A `CLIENT_STREAM_*` event. None: it is malformed, or its `type` contradicts its name.
pub(super) fn read_stream_event(kind: StreamEvent, event: &Event) -> Option<StreamEventIn> {
    let object = payload::object(event);
    match kind {
        StreamEvent::Start => read_start(object),
        StreamEvent::End => read_end(object),
        StreamEvent::DataFirst => read_piece(PieceKind::First, object),
        StreamEvent::DataMiddle => read_piece(PieceKind::Middle, object),
        StreamEvent::DataLast => read_piece(PieceKind::Last, object),
        StreamEvent::DataRetry => read_piece(PieceKind::Retry, object),
        StreamEvent::DataFailed => read_piece(PieceKind::Failed, object),
        StreamEvent::StreamedData | StreamEvent::StreamedEnd => None,
    }
}

fn read_start(object: &RawJson) -> Option<StreamEventIn> {
    let [kind, stream_id, output_id, num_streams, request_id] =
        object.fields(["type", "streamId", "outputId", "numStreams", "requestId"]);
    if !agrees(kind.as_ref(), 1.0) {
        return None;
    }
    let stream_id = payload::id(stream_id.as_ref(), MAX_STREAM_ID)?;
    let output_id = payload::id(output_id.as_ref(), MAX_OUTPUT_ID).unwrap_or_else(|| stream_id.clone());
    let kind = Kind::Start { num_streams: num_streams.and_then(|n| n.as_u64()) };
    let request_id = payload::text(request_id.as_ref());
    Some(StreamEventIn { kind, stream_id, output_id: Some(output_id), request_id })
}

/// Of a piece the name wins over its `type` (spec §5.4).
fn read_piece(kind: PieceKind, object: &RawJson) -> Option<StreamEventIn> {
    let [stream_id, output_id, index, data] = object.fields(["streamId", "outputId", "chunkIndex", "data"]);
    let stream_id = payload::id(stream_id.as_ref(), MAX_STREAM_ID)?;
    let output_id = payload::id(output_id.as_ref(), MAX_OUTPUT_ID);
    let data = match (data.as_ref().and_then(text_of), kind) {
        (Some(data), _) => data,
        // Given up: nothing is there in its place.
        (None, PieceKind::Failed) => JsString::from(""),
        (None, _) => return None,
    };
    let index = index.and_then(|index| index.as_u64());
    let kind = Kind::Data { index, kind, data };
    Some(StreamEventIn { kind, stream_id, output_id, request_id: None })
}

fn read_end(object: &RawJson) -> Option<StreamEventIn> {
    let [kind, stream_id, output_id, is_final] = object.fields(["type", "streamId", "outputId", "final"]);
    if !agrees(kind.as_ref(), 3.0) {
        return None;
    }
    let stream_id = payload::id(stream_id.as_ref(), MAX_STREAM_ID)?;
    let output_id = payload::id(output_id.as_ref(), MAX_OUTPUT_ID);
    let kind = Kind::End { is_final: is_final.and_then(|v| v.as_bool()) == Some(true) };
    Some(StreamEventIn { kind, stream_id, output_id, request_id: None })
}

/// Where type and name disagree, START and END are ignored (spec §5.4).
fn agrees(kind: Option<&RawJson>, expected: f64) -> bool {
    kind.is_none_or(|kind| kind.as_f64() == Some(expected))
}

/// A string; numbers are written out, anything else is none (spec §5.4 DATA).
fn text_of(data: &RawJson) -> Option<JsString> {
    match data.kind() {
        JsonKind::Number => Some(JsString::from(data.text())),
        _ => data.as_js_string(),
    }
}

/// `String(data)` as JSON text (spec §5.8): what is no text is written out. Nothing is the empty text.
pub(super) fn stringified(data: Option<&RawJson>) -> String {
    match data {
        None => quoted(""),
        Some(data) if data.kind() == JsonKind::String => data.as_str().to_owned(),
        Some(data) => quoted(data.as_str()),
    }
}

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
    let [type_field, stream_id, output_id, index, data, request_id, num_streams, is_final] = object.fields([
        "type",
        "streamId",
        "outputId",
        "chunkIndex",
        "data",
        "requestId",
        "numStreams",
        "final",
    ]);
    let stream_id = payload::id(stream_id.as_ref(), MAX_STREAM_ID)?;
    let output_id = payload::id(output_id.as_ref(), MAX_OUTPUT_ID);
    let request_id = payload::text(request_id.as_ref());
    // Where type and name disagree, START and END are ignored; of DATA the name wins (spec §5.4).
    let type_is = |expected: f64| type_field.as_ref().is_none_or(|field| field.as_f64() == Some(expected));
    let piece = |kind, data: Option<JsString>| {
        Some(Kind::Data { index: index.as_ref().and_then(|index| index.as_u64()), kind, data: data? })
    };
    let data = || text_of(data.as_ref()?);
    let (kind, output_id) = match kind {
        StreamEvent::Start if type_is(1.0) => {
            let num_streams = num_streams.and_then(|n| n.as_u64());
            (Kind::Start { num_streams }, Some(output_id.unwrap_or_else(|| stream_id.clone())))
        }
        StreamEvent::End if type_is(3.0) => {
            (Kind::End { is_final: is_final.and_then(|v| v.as_bool()) == Some(true) }, output_id)
        }
        StreamEvent::DataFirst => (piece(PieceKind::First, data())?, output_id),
        StreamEvent::DataMiddle => (piece(PieceKind::Middle, data())?, output_id),
        StreamEvent::DataLast => (piece(PieceKind::Last, data())?, output_id),
        StreamEvent::DataRetry => (piece(PieceKind::Retry, data())?, output_id),
        // Given up: nothing is there in its place.
        StreamEvent::DataFailed => {
            (piece(PieceKind::Failed, data().or_else(|| Some(JsString::from(""))))?, output_id)
        }
        _ => return None,
    };
    Some(StreamEventIn { kind, stream_id, output_id, request_id })
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

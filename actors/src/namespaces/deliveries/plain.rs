//! Text for a client that declares `auth.streamMode: "plain"` (spec §5.7): it has no stream library,
//! and is sent each part of a text as an event of its own. There is no flow control; its outbox is
//! the bound.

use framing::{json::quoted, socket::Namespace as WireNamespace};

use super::{
    super::{Broker, Cx, handshake::literal},
    metadata_with,
};
use crate::{
    protocol::stream_events,
    stream::{StreamInfo, StreamText},
};

impl Broker {
    pub(super) fn plain_text(&self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, part: &StreamText) {
        let StreamText { info, text, end, .. } = part;
        if !text.is_empty() {
            // Whole characters only, by the stream's own rule.
            let data = quoted(&String::from_utf8_lossy(text));
            let payload = metadata_with(info, &format!(",\"data\":{data}"));
            cx.session().metrics().chunks_out.inc();
            cx.emit(ns, &literal(stream_events::STREAMED_DATA), &[&payload]);
        }
        if *end {
            cx.emit(ns, &literal(stream_events::STREAMED_END), &[&metadata_with(info, "")]);
        }
    }

    pub(super) fn plain_failure(
        &self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        info: &StreamInfo,
        reason: &str,
    ) {
        let payload = metadata_with(info, &format!(",\"error\":{}", quoted(reason)));
        cx.emit(ns, &literal(stream_events::STREAMED_END), &[&payload]);
    }
}

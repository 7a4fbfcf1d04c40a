//! A request on its way to the extension (spec §5.1 rule 3, §4.9.4).

use framing::{
    encoded::Encoded,
    json::{RawJson, quoted},
};
use smallvec::SmallVec;

use super::super::{Broker, Cx};
use crate::{
    emit,
    ids::Identity,
    llm_router::{ForwardedRequest, OpenedRoute},
    protocol::{Dialect, MsgType, RequestMode},
    rooms::text_of,
};

impl Broker {
    /// Emits the request under the names of the extension's dialect; dialect 2 gets the superset of
    /// spec §4.9.4. False if it is too large: one request must not end the answers to all others.
    pub(super) fn forward(
        &self,
        cx: &mut Cx<'_, '_>,
        route: &OpenedRoute,
        request: &ForwardedRequest,
    ) -> bool {
        let Some((ns, socket)) = self.llm_socket() else {
            return true;
        };
        let mut events = SmallVec::new();
        for dialect in socket.emit().dialects() {
            let Some(name) = MsgType::LlmRequest.wire(dialect) else {
                continue;
            };
            let payload = match dialect {
                Dialect::Numeric => request.payload.clone(),
                Dialect::Named => superset(route, request, socket.identity.as_str()),
            };
            let name = emit::wire_name(name);
            events.push(Encoded::event(ns, None, &name, &[payload.as_str()], &request.attachments));
        }
        // A session that is closing tells the router so itself.
        cx.session().outbox().push_together(events).unwrap_or(true)
    }
}

/// What an extension of dialect 2 reads: the requester's object, and beside it what the room says (spec
/// §4.9.4). A request that was made in no room is shown as one of the requester's own.
fn superset(route: &OpenedRoute, request: &ForwardedRequest, own: &str) -> RawJson {
    let payload = &request.payload;
    // A message that is not a text is the extension's to read: it goes as it came.
    let own_message = || payload.get("message").unwrap_or(RawJson::from_static("\"\""));
    let text = text_of(payload).unwrap_or_else(own_message);
    let asker = || route.requesters.first().map(|(requester, _)| requester.identity.as_str());
    let (mode, room, requester, context, kind, instruction) = match request.chat.as_deref() {
        Some(chat) => {
            let requester = chat.requester.as_ref().map(Identity::as_str);
            (chat.mode, &*chat.room, requester, &*chat.context, chat.kind, chat.instruction.as_deref())
        }
        None => (RequestMode::Immediate, asker().unwrap_or_default(), asker(), "[]", None, None),
    };
    let (room, target) = (quoted(room), quoted(own));
    let requester = requester.map_or_else(|| "null".to_owned(), quoted);
    let (mode, kind, instruction) = (quoted(mode.wire()), kind.map(quoted), instruction.map(quoted));
    let mut fields = vec![
        ("mode", mode.as_str()),
        ("targetRoom", room.as_str()),
        ("requestingIdentity", requester.as_str()),
        ("currentRequest", payload.as_str()),
        ("context", context),
        ("message", text.as_str()),
        ("target", target.as_str()),
    ];
    fields.extend(kind.as_deref().map(|kind| ("type", kind)));
    fields.extend(instruction.as_deref().map(|instruction| ("instruction", instruction)));
    payload.replacing(&fields)
}

//! A request on its way to the extension (spec §5.1 rule 3, §4.9.4).

use framing::{
    encoded::Encoded,
    json::{RawJson, quoted},
};

use super::super::{Broker, Cx, payload};
use crate::{
    emit,
    llm_router::{ForwardedRequest, OpenedRoute},
    protocol::{Dialect, MsgType},
};

impl Broker {
    /// Emits the request under the names of the extension's dialect; dialect 2 gets the superset of
    /// spec §4.9.4.
    pub(super) fn forward(&self, cx: &mut Cx<'_, '_>, route: &OpenedRoute, request: &ForwardedRequest) {
        let Some((ns, socket)) = self.llm_socket() else {
            return;
        };
        for dialect in socket.emit().dialects() {
            let Some(name) = MsgType::LlmRequest.wire(dialect) else {
                continue;
            };
            let payload = match dialect {
                Dialect::Numeric => request.payload.clone(),
                Dialect::Named => superset(route, request, socket.identity.as_str()),
            };
            let event =
                Encoded::event(ns, None, &emit::wire_name(name), &[payload.as_str()], &request.attachments);
            cx.session().push(event);
        }
    }
}

fn superset(route: &OpenedRoute, request: &ForwardedRequest, own: &str) -> RawJson {
    let asker =
        route.requesters.first().map(|(requester, _)| requester.identity.as_str()).unwrap_or_default();
    let payload = &request.payload;
    let text = {
        let [message, data, prompt] = payload.fields(["message", "data", "prompt"]);
        let inner = |name: &str| data.as_ref().and_then(|data| payload::present(data.get(name)));
        payload::present(message)
            .or_else(|| data.clone().filter(|data| data.as_js_string().is_some()))
            .or_else(|| inner("text"))
            .or_else(|| inner("prompt"))
            .or_else(|| payload::present(prompt))
            .unwrap_or(RawJson::from_static("\"\""))
    };
    let room = payload.get("targetRoom").filter(|room| room.as_js_string().is_some());
    let room = room.map_or_else(|| quoted(asker), |room| room.as_str().to_owned());
    payload.replacing(&[
        ("mode", "\"Immediate\""),
        ("targetRoom", &room),
        ("requestingIdentity", &quoted(asker)),
        ("currentRequest", payload.as_str()),
        ("context", "[]"),
        ("message", text.as_str()),
        ("target", &quoted(own)),
    ])
}

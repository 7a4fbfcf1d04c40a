//! Events that somebody else than its session pushes to a socket, under the names of its dialect.

use framing::{encoded::Encoded, json::quoted, socket::EventName};

use crate::{
    protocol::{Dialect, MsgType, Namespace, WireName, payload},
    registry::SocketEntry,
};

/// A namespace as the framing crate names it.
pub(crate) fn wire_namespace(ns: Namespace) -> framing::socket::Namespace {
    framing::socket::Namespace::from_static(ns.wire())
}

/// An event's name as the framing crate writes it.
pub(crate) fn wire_name(name: WireName) -> EventName {
    match name {
        WireName::Number(number) => EventName::number(number.into()),
        WireName::Name(name) => EventName::from_static(name),
    }
}

/// Pushes an event with one JSON argument, under one name or both.
pub(crate) fn event(to: &SocketEntry, message: MsgType, payload: &str) {
    let ns = wire_namespace(to.ns);
    for name in to.dialect.emit().names(message) {
        // A full outbox closes its session, which is all that can be done here.
        let _ = to.outbox.push(Encoded::event(&ns, None, &wire_name(name), &[payload], &[]));
    }
}

/// An event with one JSON argument under its name of dialect 2, to be pushed to many. None: it has none.
pub(crate) fn named(ns: Namespace, message: MsgType, payload: &str) -> Option<Encoded> {
    let name = message.wire(Dialect::Named)?;
    Some(Encoded::event(&wire_namespace(ns), None, &wire_name(name), &[payload], &[]))
}

/// Pushes an `ERROR`, whose `type` follows the dialect.
pub(crate) fn error(to: &SocketEntry, message: &str) {
    let ns = wire_namespace(to.ns);
    for dialect in to.dialect.emit().dialects() {
        if let Some(name) = MsgType::Error.wire(dialect) {
            let payload = error_json(dialect, message, None, None);
            let _ = to.outbox.push(Encoded::event(&ns, None, &wire_name(name), &[&payload], &[]));
        }
    }
}

/// `{type, message, requestId?, …}` (spec §1.3); `extra` is JSON text of further fields.
pub(crate) fn error_json(
    dialect: Dialect,
    message: &str,
    request_id: Option<&str>,
    extra: Option<&str>,
) -> String {
    let kind = payload::type_field(MsgType::Error, dialect);
    let mut json = format!("{{\"type\":{kind},\"message\":{}", quoted(message));
    if let Some(request_id) = request_id {
        json.push_str(",\"requestId\":");
        json.push_str(&quoted(request_id));
    }
    if let Some(extra) = extra {
        json.push(',');
        json.push_str(extra);
    }
    json.push('}');
    json
}

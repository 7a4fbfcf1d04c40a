//! Keys and lists (spec §4.2, §4.3).

use framing::{
    json::quoted,
    socket::{Event, Namespace as WireNamespace},
};

use actix::Handler;
use log::info;

use super::{
    Broker, BrokerSession, Cx, Socket, payload,
    reply::{BUSY, Reply},
};
use crate::{
    ids::ClientId,
    protocol::{Dialect, MsgType, Namespace, payload as payloads},
    registry::{ListConnected, ListMembers, ReviseSocket, Revision, SocketKey},
    session::NoAnswer,
    trust::{
        GenerateKey, GetKey, ListClients, ListKeys, Rejection, RemoveKey, keys_object,
        verdict::network_is_safe,
    },
};

const UNAUTHORIZED: &str = "Unauthorized";

impl Socket {
    /// `/debug` is for extensions and administrators (spec §4.8).
    pub(super) fn may_be_here(&self) -> bool {
        self.ns != Namespace::Debug || self.may_administer()
    }

    /// "E-only or admin" (spec §4).
    pub(super) fn may_administer(&self) -> bool {
        self.is_extension() || self.admin
    }
}

impl Handler<ReviseSocket> for BrokerSession {
    type Result = ();

    fn handle(&mut self, message: ReviseSocket, ctx: &mut Self::Context) {
        self.deliver(message, ctx, |layer, session, ReviseSocket { socket: key, revision }| {
            layer.with_handler(session, |broker, cx| {
                let found = broker.sockets.iter().find(|(_, socket)| socket.key == key);
                if let Some(ns) = found.map(|(ns, _)| ns.clone()) {
                    broker.revise(cx, &ns, key, revision);
                }
            });
            Ok(())
        });
    }
}

impl Broker {
    fn revise(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, key: SocketKey, revision: Revision) {
        match revision {
            Revision::Joined(room) => self.joined_room(cx, key, room),
            Revision::KeyRemoved => {
                let safe = self.directory.settings.load().network_safe;
                if !network_is_safe(safe, self.directory.limits.network_safe_scope, &self.peer) {
                    self.end(cx, ns);
                }
            }
            Revision::Reject(rejection) => self.expel(cx, ns, &rejection),
            Revision::Admin(admin) => {
                if let Some(socket) = self.sockets.get_mut(ns) {
                    socket.admin = admin;
                    info!(client:% = socket.client, ns:%, admin; "rights changed");
                    if !socket.may_be_here() {
                        self.expel(cx, ns, &Rejection::unauthorized());
                    }
                }
            }
        }
    }

    /// Asks another actor on behalf of an event, and answers with what `say` makes of the result: the JSON
    /// of the ack, or why not.
    pub(super) fn ask_for<M, T>(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        event: &Event,
        to: &actix::Addr<T>,
        question: M,
        say: impl FnOnce(M::Result) -> Result<String, String> + Send + 'static,
    ) where
        T: actix::Actor + actix::Handler<M>,
        T::Context: actix::dev::ToEnvelope<T, M>,
        M: actix::Message + Send + 'static,
        M::Result: Send,
    {
        let Some(key) = self.sockets.get(ns).map(|socket| socket.key) else {
            return;
        };
        let reply = Reply::to(event);
        let (joined, later) = (ns.clone(), reply.clone());
        let outcome =
            cx.session().ask(to, question, move |layer, session, result: Result<M::Result, NoAnswer>| {
                layer.with_handler(session, |broker, cx| {
                    let said = result.map_or_else(|_| Err(BUSY.to_owned()), say);
                    if !broker.still(&joined, key) {
                        return;
                    }
                    match said {
                        Ok(json) => broker.ack(cx, &joined, later.ack, &json),
                        Err(message) => broker.refuse(cx, &joined, &later, &message),
                    }
                });
                Ok(())
            });
        self.asked(cx, ns, &reply, outcome);
    }

    fn allowed(&self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) -> bool {
        let allowed = self.sockets.get(ns).is_some_and(Socket::may_administer);
        if !allowed {
            self.fail(cx, ns, event, UNAUTHORIZED);
        }
        allowed
    }

    /// 33: ids of extensions with a live `/llm` socket, and of built-in targets.
    pub(super) fn list_extensions(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        let list = self.directory.extensions.load();
        self.ack(cx, ns, event.ack, list.answer());
    }

    /// 26. On `/auth` for extensions and their kind, on `/clients` also everybody's own.
    pub(super) fn get_key(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        let Some(socket) = self.sockets.get(ns) else {
            return;
        };
        let on_auth = socket.ns == Namespace::Auth;
        let named = socket.dialect.is_named();
        let client = client_field(event, &["clientId"]).unwrap_or_else(|| Some(socket.client.clone()));
        let own = client.as_ref() == Some(&socket.client);
        let allowed = match (on_auth, named) {
            // Dialect 2: one's own, or any for an administrator (spec §4.2).
            (true, true) => own || socket.admin,
            (true, false) => socket.may_administer(),
            (false, _) => own || socket.may_administer(),
        };
        if !allowed {
            let foreign = on_auth && named && !own;
            let message = if foreign { "You are have no right to get others key." } else { UNAUTHORIZED };
            return self.fail(cx, ns, event, message);
        }
        let missing = if on_auth { "Client key not found." } else { "No keys in stroge!" };
        let Some(client_id) = client else {
            return self.fail(cx, ns, event, missing);
        };
        let trust = self.directory.trust.clone();
        self.ask_for(cx, ns, event, &trust, GetKey { client_id }, move |key| {
            key.map(with_key).ok_or_else(|| missing.to_owned())
        });
    }

    /// 29
    pub(super) fn all_keys(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        if self.allowed(cx, ns, event) {
            let trust = self.directory.trust.clone();
            self.ask_for(cx, ns, event, &trust, ListKeys, |listings| {
                Ok(payloads::status_ok([("keys", keys_object(&listings))]).to_string())
            });
        }
    }

    /// Whose key 17 and 18 mean, if the sender may change it; answered here if not.
    fn key_owner(&self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) -> Option<ClientId> {
        if !self.allowed(cx, ns, event) {
            return None;
        }
        // The extension sends both, and its `clientId` is itself (spec §1.9).
        let owner = client_field(event, &["targetClientId", "clientId"]).flatten();
        if owner.is_none() {
            self.fail(cx, ns, event, "Client not found.");
        }
        owner
    }

    /// 17
    pub(super) fn generate_key(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        if let Some(client_id) = self.key_owner(cx, ns, event) {
            let trust = self.directory.trust.clone();
            self.ask_for(cx, ns, event, &trust, GenerateKey { client_id }, |key| {
                key.map(with_key).map_err(|error| error.to_string())
            });
        }
    }

    /// 18. The key store has the client's sockets told (spec §4.3), whether or not the sender hears of it.
    pub(super) fn remove_key(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        if let Some(client_id) = self.key_owner(cx, ns, event) {
            let trust = self.directory.trust.clone();
            self.ask_for(cx, ns, event, &trust, RemoveKey { client_id }, |outcome| {
                outcome.map(|()| payloads::status_ok([]).to_string()).map_err(|error| error.to_string())
            });
        }
    }

    /// 32
    pub(super) fn connected_clients(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        if self.allowed(cx, ns, event) {
            let registry = self.directory.registry.clone();
            self.ask_for(cx, ns, event, &registry, ListConnected, |clients| {
                Ok(format!("{{\"status\":\"ok\",\"clients\":{clients}}}"))
            });
        }
    }

    /// `getClientList` and 24 in dialect 1: all ids in the key store. In dialect 2 the name is another
    /// question: who is here (spec §4.3).
    pub(super) fn client_list(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        if by_name(event, MsgType::GetClientList) {
            let registry = self.directory.registry.clone();
            self.ask_for(cx, ns, event, &registry, ListMembers, |members| {
                Ok(format!("{{\"status\":\"ok\",\"success\":true,\"clients\":{members}}}"))
            });
        } else if self.allowed(cx, ns, event) {
            let trust = self.directory.trust.clone();
            self.ask_for(cx, ns, event, &trust, ListClients, |ids| {
                let ids: Vec<String> = ids.iter().map(|id| format!("{{\"id\":{}}}", quoted(id))).collect();
                Ok(format!("[{}]", ids.join(",")))
            });
        }
    }
}

/// `{status:'ok', key}`
fn with_key(key: String) -> String {
    payloads::status_ok([("key", key.into())]).to_string()
}

/// Whether the event came under dialect 2's name; a number and a literal do not count.
pub(super) fn by_name(event: &Event, message: MsgType) -> bool {
    event.name.as_text().is_some() && event.name.as_text() == message.wire(Dialect::Named).and_then(name_text)
}

fn name_text(name: crate::protocol::WireName) -> Option<&'static str> {
    match name {
        crate::protocol::WireName::Name(name) => Some(name),
        crate::protocol::WireName::Number(_) => None,
    }
}

/// The first of those fields that is there, as an id: outer `None` if there is none, inner if it is no id.
fn client_field(event: &Event, names: &[&str]) -> Option<Option<ClientId>> {
    let object = payload::object(event);
    let field = names.iter().find_map(|name| payload::present(object.get(name)))?;
    Some(payload::text(Some(&field)).and_then(|id| ClientId::new(id).ok()))
}

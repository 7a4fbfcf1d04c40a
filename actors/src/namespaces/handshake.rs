//! Admission to a namespace (spec §3.2): everything is decided before CONNECT is answered.

use std::time::Instant;

use actix::Addr;
use framing::{
    ByteString,
    encoded::Encoded,
    engine::Sid,
    json::{Kind, RawJson, quoted},
    socket::{EventName, Namespace as WireNamespace},
};
use log::{info, warn};
use serde_json::Value;

use super::{Broker, BrokerSession, Cx, Socket, Standing, payload};
use crate::{
    emit,
    ids::{ClientId, Identity},
    protocol::{Dialect, MsgType, Namespace, SocketDialect, description, payload as payloads},
    registry::{
        Admission, Admitted, NotAdmitted, OpenSocket, SharedDialect, SocketEntry, SocketKey, SocketMoved,
        may_be_called,
    },
    session::NoAnswer,
    trust::{CheckAuth, ClientClass, Grant, Handshake, KeyPushes, Rejection, Verdict},
};

/// What a handshake says of its client besides who it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels {
    client_type: ByteString,
    desc: Option<ByteString>,
    html: Option<ByteString>,
    /// The inner name that it listens to, if it says so.
    pub(super) stream_event: Option<ByteString>,
    /// It wants text as plain events (spec §5.7).
    pub(super) plain_streams: bool,
    /// It reads a history whole, not in pages (spec §4.9.4).
    pub(super) whole_context: bool,
}

/// Longest `clientType` and `clienthtml` that are kept, in bytes.
const MAX_LABEL: usize = 512;

impl Broker {
    pub(super) fn handshake(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, auth: Option<RawJson>) {
        let Some(place) = Namespace::from_wire(ns.as_str()) else {
            return cx.refuse(ns, "Invalid namespace");
        };
        let auth = auth.filter(|auth| auth.kind() == Kind::Object).unwrap_or(RawJson::from_static("{}"));
        let [client_id, key, password, identity] = auth.fields(["clientId", "key", "password", "identity"]);
        let dialect = socket_dialect(&auth, identity.is_some());
        let Some(sid) = new_sid() else {
            // Without randomness there is no id to accept with.
            return cx.refuse(ns, "server error");
        };
        let client = payload::text(client_id.as_ref()).and_then(|id| ClientId::new(id).ok());
        let Some(client) = client else {
            return self.reject(cx, ns, sid, &SharedDialect::new(dialect), &Rejection::client_id_required());
        };
        let identity = self.identity_of(&client, payload::text(identity.as_ref()));
        let socket = Socket {
            ns: place,
            key: SocketKey::next(),
            sid,
            class: if client.is_extension() { ClientClass::Extension } else { ClientClass::Client },
            client: client.clone(),
            identity,
            admin: false,
            dialect: SharedDialect::new(dialect),
            standing: Standing::Joining,
            admission: Admission::default(),
            labels: labels(&auth),
        };
        let socket_key = socket.key;
        let handshake = Handshake {
            client_id: client,
            key: secret(key.as_ref()),
            password: secret(password.as_ref()),
            on_auth: place == Namespace::Auth,
        };
        self.sockets.insert(ns.clone(), socket);
        let question = CheckAuth { handshake, peer: self.peer };
        if let Some(verdict) = self.directory.desk.check_now(&question) {
            return self.judged(cx, ns, socket_key, Ok(verdict));
        }
        let joining = ns.clone();
        let trust = self.directory.trust.clone();
        let asked = cx.session().ask(&trust, question, move |layer, session, verdict| {
            layer.with_handler(session, |broker, cx| broker.judged(cx, &joining, socket_key, verdict));
            Ok(())
        });
        if asked.is_err() {
            self.turned_away(cx, ns, &Rejection::busy());
        }
    }

    /// What an instance says that it is called, if it may be.
    fn identity_of(&self, client: &ClientId, declared: Option<ByteString>) -> Identity {
        let clients = self.directory.clients.load();
        let declared = declared.and_then(|text| Identity::new(text).ok());
        let declared = declared.filter(|identity| may_be_called(&clients, client, identity));
        declared.unwrap_or_else(|| Identity::from(client.clone()))
    }

    fn judged(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        key: SocketKey,
        verdict: Result<Verdict, NoAnswer>,
    ) {
        let now = cx.now();
        let Some(socket) = self.sockets.get_mut(ns).filter(|socket| socket.key == key) else {
            return;
        };
        match verdict {
            Ok(Verdict::Accept { grant, pushes }) => {
                socket.class = grant.class;
                socket.admin = grant.admin;
                if !socket.may_be_here() {
                    return self.turned_away(cx, ns, &Rejection::unauthorized());
                }
                self.register(cx, ns, pushes);
            }
            Ok(Verdict::Limited { assigned_failure }) => {
                let limits = &self.directory.limits;
                self.limit(cx, ns, now + limits.limited_session);
                if let Some(message) = assigned_failure {
                    let payload = payloads::client_key_assigned(Err(message)).to_string();
                    self.push(cx, ns, MsgType::ClientKeyAssigned, &payload);
                }
            }
            Ok(Verdict::TempRoom) => {
                let room = format!("temp_{}", socket.client);
                let until = now + self.directory.limits.temp_room;
                self.limit(cx, ns, until);
                let payload = format!("{{\"roomId\":{}}}", quoted(&room));
                self.push(cx, ns, MsgType::TempRoomAssigned, &payload);
            }
            Ok(Verdict::Reject(rejection)) => {
                match rejection.code {
                    Some("rate_limited") => {
                        cx.session().metrics().limit_reached("trust.failed_checks_per_minute")
                    }
                    Some("busy") => cx.session().metrics().limit_reached("trust.max_waiting_hashes"),
                    _ => (),
                }
                info!(client:% = socket.client, ns:%, reason:% = rejection.message; "handshake rejected");
                self.turned_away(cx, ns, &rejection);
            }
            Err(error) => {
                warn!(ns:%, error:?; "no verdict on a handshake");
                self.turned_away(cx, ns, &Rejection::busy());
            }
        }
    }

    /// A socket of ours is rejected, at whatever point of its admission.
    fn turned_away(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, rejection: &Rejection) {
        let Some(socket) = self.sockets.remove(ns) else {
            return;
        };
        // No answer in time does not mean that the registry has not opened it.
        let unanswered = socket.admission.withdraw();
        self.closed_in_registry(socket.key);
        match socket.standing {
            Standing::Joining if unanswered => self.reject(cx, ns, socket.sid, &socket.dialect, rejection),
            // Its CONNECT was answered by the registry just now, or when it was limited.
            Standing::Joining | Standing::Upgrading | Standing::Limited { .. } | Standing::Full => {
                self.reject_joined(cx, ns, &socket.dialect, rejection);
            }
        }
    }

    /// A socket of ours has lost the right to be here: as if it were rejected only now.
    pub(super) fn expel(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, rejection: &Rejection) {
        let Some(socket) = self.sockets.get(ns) else {
            return;
        };
        info!(client:% = socket.client, ns:%, reason:% = rejection.message; "socket ended");
        if socket.standing != Standing::Full {
            return self.turned_away(cx, ns, rejection);
        }
        let dialect = socket.dialect.clone();
        self.gone(cx, ns);
        self.reject_joined(cx, ns, &dialect, rejection);
    }

    /// A session that may only log in.
    fn limit(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, until: Instant) {
        if let Some(socket) = self.sockets.get_mut(ns) {
            socket.standing = Standing::Limited { until };
            let sid = socket.sid;
            cx.accept(ns, sid);
        }
    }

    /// CONNECT, `ERROR`, disconnect, in this order (spec §3.2).
    fn reject(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        sid: Sid,
        dialect: &SharedDialect,
        rejection: &Rejection,
    ) {
        cx.accept(ns, sid);
        self.reject_joined(cx, ns, dialect, rejection);
    }

    fn reject_joined(
        &self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        dialect: &SharedDialect,
        rejection: &Rejection,
    ) {
        let extra = rejection.code.map(|code| format!("\"code\":{}", quoted(code)));
        for dialect in dialect.emit().dialects() {
            if let Some(name) = MsgType::Error.wire(dialect) {
                let payload = emit::error_json(dialect, rejection.message, None, extra.as_deref());
                cx.emit(ns, &emit::wire_name(name), &[&payload]);
            }
        }
        cx.disconnect(ns);
    }

    /// Makes an authenticated socket known. The registry answers its CONNECT.
    fn register(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, pushes: Option<KeyPushes>) {
        let Some((question, key)) = self.open_question(cx, ns, true) else {
            return;
        };
        let joining = ns.clone();
        let registry = self.directory.registry.clone();
        let asked = cx.session().ask(&registry, question, move |layer, session, admitted| {
            layer.with_handler(session, |broker, cx| {
                broker.admitted(cx, &joining, key, admitted, pushes);
            });
            Ok(())
        });
        if asked.is_err() {
            self.turned_away(cx, ns, &Rejection::busy());
        }
    }

    fn open_question(
        &self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        connect: bool,
    ) -> Option<(OpenSocket, SocketKey)> {
        let socket = self.sockets.get(ns)?;
        let extension = socket.is_extension();
        let link = socket.link(cx.session().address());
        let entry = SocketEntry {
            key: socket.key,
            sid: cx.session().sid(),
            ns: socket.ns,
            client: socket.client.clone(),
            identity: socket.identity.clone(),
            client_type: socket.labels.client_type.clone(),
            desc: socket.labels.desc.clone(),
            html: socket.labels.html.clone(),
            extension,
            admin: socket.admin,
            outbox: cx.session().outbox().clone(),
            dialect: socket.dialect.clone(),
            session: Some(cx.session().address().recipient()),
        };
        let connected = connect.then(|| Encoded::connect(ns, socket.sid.as_str()));
        let admission = socket.admission.clone();
        Some((OpenSocket { entry, link, connected, admission }, socket.key))
    }

    /// The session has moved: whoever was told its address is told the new one. What is still being
    /// registered is, too, because this stands behind it.
    pub(super) fn readdress(&self, cx: &mut Cx<'_, '_>, past: &Addr<BrokerSession>) {
        for socket in self.sockets.values() {
            let address = cx.session().address();
            let moved = SocketMoved {
                socket: socket.key,
                link: socket.link(address.clone()),
                session: address.recipient(),
                past: past.clone().recipient(),
            };
            #[expect(clippy::disallowed_methods, reason = "once per socket lifetime")]
            self.directory.registry.do_send(moved);
        }
    }

    fn admitted(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        key: SocketKey,
        admitted: Result<Result<Admitted, NotAdmitted>, NoAnswer>,
        pushes: Option<KeyPushes>,
    ) {
        let Some(socket) = self.sockets.get_mut(ns).filter(|socket| socket.key == key) else {
            // It left while it was being admitted, and the registry has been told so.
            return;
        };
        let admitted = match admitted {
            Ok(Ok(admitted)) => admitted,
            Ok(Err(why)) => {
                warn!(client:% = socket.client, ns:%, why:?; "not admitted to a namespace");
                let rejection =
                    Rejection { message: "Too many connections.", code: Some("too_many_connections") };
                return self.turned_away(cx, ns, &rejection);
            }
            Err(error) => {
                warn!(ns:%, error:?; "no admission to a namespace");
                return self.turned_away(cx, ns, &Rejection::busy());
            }
        };
        socket.dialect.join(admitted.dialect);
        // The files may have changed since they were asked, before the registry knew this socket.
        let clients = self.directory.clients.load();
        let grant = clients.grant(&socket.client);
        socket.admin = grant.is_some_and(|grant| grant.admin);
        let may_be_here = socket.may_be_here() && may_be_called(&clients, &socket.client, &socket.identity);
        if grant.is_none() || !may_be_here {
            let why = grant.map_or(Rejection::not_trusted(), |_| Rejection::unauthorized());
            return self.turned_away(cx, ns, &why);
        }
        socket.standing = Standing::Full;
        if socket.ns == Namespace::Llm {
            let extension = socket.is_extension();
            self.deliveries_begin(ns, key);
            if extension {
                self.answers_begin(cx, key);
            }
        }
        cx.accepted(ns);
        if let Some(pushes) = pushes {
            self.push_keys(cx, ns, &pushes);
        }
        self.send_owed(cx);
    }

    /// Spec §2.6: the documented push, and the reference's for whoever may speak dialect 1.
    fn push_keys(&self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, pushes: &KeyPushes) {
        let Some(socket) = self.sockets.get(ns) else {
            return;
        };
        for dialect in socket.emit().dialects() {
            if let Some(name) = MsgType::GetClientKey.wire(dialect) {
                let payload = payloads::get_client_key(dialect, &pushes.key, &socket.client).to_string();
                cx.emit(ns, &emit::wire_name(name), &[&payload]);
            }
        }
        if let Some(name) = socket.emit().dialects().find_map(|dialect| match dialect {
            Dialect::Numeric => MsgType::ClientKey.wire(dialect),
            Dialect::Named => None,
        }) {
            cx.emit(ns, &emit::wire_name(name), &[&payloads::client_key(&pushes.key).to_string()]);
        }
        if pushes.assigned {
            let payload = payloads::client_key_assigned(Ok(&pushes.key)).to_string();
            self.push(cx, ns, MsgType::ClientKeyAssigned, &payload);
        }
    }

    /// A limited session has logged in (spec §3.6): it is registered like one that never was limited.
    pub(super) fn unlimited(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, grant: Grant, key: String) {
        let Some(socket) = self.sockets.get_mut(ns) else {
            return;
        };
        if !matches!(socket.standing, Standing::Limited { .. }) {
            return;
        }
        socket.class = grant.class;
        socket.admin = grant.admin;
        socket.standing = Standing::Upgrading;
        let Some((question, socket_key)) = self.open_question(cx, ns, false) else {
            return;
        };
        let pushes = Some(KeyPushes { key, assigned: false });
        let joined = ns.clone();
        let registry = self.directory.registry.clone();
        let asked = cx.session().ask(&registry, question, move |layer, session, admitted| {
            layer.with_handler(session, |broker, cx| {
                broker.admitted(cx, &joined, socket_key, admitted, pushes);
            });
            Ok(())
        });
        if asked.is_err() {
            self.turned_away(cx, ns, &Rejection::busy());
        }
    }
}

/// A fresh socket id, as random as a session's.
fn new_sid() -> Option<Sid> {
    let mut random = [0; 15];
    getrandom::fill(&mut random).ok()?;
    Some(Sid::from_random(random))
}

fn secret(field: Option<&RawJson>) -> Option<String> {
    let value: Value = match field?.kind() {
        Kind::String => Value::from(field?.as_text()?.to_string()),
        Kind::Number => serde_json::from_str(field?.as_str()).ok()?,
        _ => return None,
    };
    Handshake::text(Some(&value))
}

fn socket_dialect(auth: &RawJson, has_identity: bool) -> SocketDialect {
    let declared = auth.get("dialect").and_then(|field| serde_json::from_str::<Value>(field.as_str()).ok());
    SocketDialect::new(Dialect::declared(declared.as_ref()), has_identity)
}

fn labels(auth: &RawJson) -> Labels {
    let [client_type, desc, clienthtml, html, stream_event, stream_mode, context_mode] =
        auth.fields(["clientType", "desc", "clienthtml", "html", "streamEvent", "streamMode", "contextMode"]);
    let label = |field: Option<RawJson>| {
        payload::text(field.as_ref()).filter(|text| !text.is_empty() && text.len() <= MAX_LABEL)
    };
    // Pages show all of these as they come (spec §8.1 8-54).
    let shown = |text: ByteString| description::sanitize(&text).map(ByteString::from);
    Labels {
        client_type: label(client_type).and_then(shown).unwrap_or_default(),
        desc: payload::text(desc.as_ref()).and_then(shown),
        html: label(clienthtml).or_else(|| label(html)).and_then(shown),
        // A copy: it stays for as long as the socket, and what it came in may be large.
        stream_event: label(stream_event).map(|name| (*name).into()),
        plain_streams: label(stream_mode).as_deref() == Some("plain"),
        whole_context: label(context_mode).as_deref() == Some("full"),
    }
}

/// The event name of a constant.
pub(super) fn literal(name: &'static str) -> EventName {
    EventName::from_static(name)
}

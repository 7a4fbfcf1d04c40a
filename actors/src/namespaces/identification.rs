//! Who somebody is: `IDENTIFY_SILLYTAVERN`, `LOGIN`, `CLIENT_SETTINGS` (spec §3.6, §4.6).

use framing::{
    json::quoted,
    socket::{Event, Namespace as WireNamespace},
};

use super::{
    Broker, Cx, Standing, payload,
    reply::{BUSY, Reply},
};
use crate::{
    protocol::payload as payloads,
    trust::{ClientSettings, Login, LoginOutcome, SessionKey},
};

impl Broker {
    /// 11: an extension asks for its own session key (spec §8.1 8-09).
    pub(super) fn identify(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        let Some(socket) = self.sockets.get(ns) else {
            return;
        };
        let reply = Reply::to(event);
        let claimed = payload::present(payload::object(event).get("clientId"));
        let own = claimed.is_none_or(|claimed| {
            payload::text(Some(&claimed)).is_some_and(|claimed| &*claimed == socket.client.as_str())
        });
        if !socket.is_extension() || !own {
            return self.refuse(cx, ns, &reply, "Unauthorized");
        }
        let (key, connected) = (socket.key, self.directory.extensions.load().has(&socket.client));
        let question = SessionKey { client_id: socket.client.clone() };
        let trust = self.directory.trust.clone();
        let (joined, later) = (ns.clone(), reply.clone());
        let outcome = cx.session().ask(&trust, question, move |layer, session, answer| {
            layer.with_handler(session, |broker, cx| match answer {
                // Another socket may have come in its place, whose ack has the same id.
                _ if !broker.still(&joined, key) => (),
                Ok(Ok(secret)) if connected => {
                    let ack = payloads::object([
                        ("status", "warning".into()),
                        ("message", "SillyTavern already connected.".into()),
                        ("key", secret.into()),
                    ]);
                    broker.ack_value(cx, &joined, later.ack, &ack);
                }
                Ok(Ok(secret)) => {
                    let ack = payloads::status_ok([("key", secret.into())]);
                    broker.ack_value(cx, &joined, later.ack, &ack);
                }
                Ok(Err(error)) => broker.refuse(cx, &joined, &later, &error.to_string()),
                Err(_) => broker.refuse(cx, &joined, &later, BUSY),
            });
            Ok(())
        });
        self.asked(cx, ns, &reply, outcome);
    }

    /// 23
    pub(super) fn login(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        let Some(socket) = self.sockets.get(ns) else {
            return;
        };
        let object = payload::object(event);
        let [client_id, password] = object.fields(["clientId", "password"]);
        let text = |field: Option<_>| payload::text(field.as_ref()).map(|text| text.to_string());
        let question = Login {
            session: socket.client.clone(),
            client_id: text(client_id),
            password: text(password),
            peer: self.peer,
        };
        let (key, reply) = (socket.key, Reply::to(event));
        let trust = self.directory.trust.clone();
        let (joined, later) = (ns.clone(), reply.clone());
        let outcome = cx.session().ask(&trust, question, move |layer, session, answer| {
            layer.with_handler(session, |broker, cx| {
                let failed = LoginOutcome::Failure { message: "Server error during login.", code: None };
                broker.logged_in(cx, &joined, key, &later, answer.unwrap_or(failed));
            });
            Ok(())
        });
        if outcome.is_err() {
            let failed = LoginOutcome::Failure { message: "Too many requests.", code: None };
            self.answer_login(cx, ns, &reply, &failed);
        }
    }

    /// An ack of its own kind (spec §3.6), or an `ERROR`.
    fn answer_login(&self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, reply: &Reply, outcome: &LoginOutcome) {
        match (outcome, reply.ack) {
            (LoginOutcome::Failure { message, code }, None) => {
                let code = code.map(|code| format!("\"code\":{}", quoted(code)));
                self.error(cx, ns, message, reply.request_id().as_deref(), code.as_deref());
            }
            _ => self.ack_value(cx, ns, reply.ack, &outcome.to_ack()),
        }
    }

    fn logged_in(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        key: crate::registry::SocketKey,
        reply: &Reply,
        outcome: LoginOutcome,
    ) {
        let Some(standing) =
            self.sockets.get(ns).filter(|socket| socket.key == key).map(|socket| socket.standing)
        else {
            return;
        };
        match &outcome {
            LoginOutcome::Failure { code: Some("rate_limited"), .. } => {
                cx.session().metrics().limit_reached("trust.login_attempts_per_minute");
            }
            LoginOutcome::Failure { code: Some("busy"), .. } => {
                cx.session().metrics().limit_reached("trust.max_waiting_hashes");
            }
            LoginOutcome::Failure { .. } | LoginOutcome::Success { .. } => (),
        }
        self.answer_login(cx, ns, reply, &outcome);
        if let (LoginOutcome::Success { grant, session_key }, Standing::Limited { .. }) = (outcome, standing)
        {
            self.unlimited(cx, ns, grant, session_key);
        }
    }

    /// 12
    pub(super) fn client_settings(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        let Some(socket) = self.sockets.get(ns) else {
            return;
        };
        let reply = Reply::to(event);
        let json =
            event.args.first().map_or_else(|| "null".to_owned(), |payload| payload.as_str().to_owned());
        let (key, question) = (socket.key, ClientSettings { caller: socket.caller(self.peer), json });
        let trust = self.directory.trust.clone();
        let (joined, later) = (ns.clone(), reply.clone());
        let outcome = cx.session().ask(&trust, question, move |layer, session, answer| {
            layer.with_handler(session, |broker, cx| match answer {
                _ if !broker.still(&joined, key) => (),
                Ok(Ok(())) => broker.ack_value(cx, &joined, later.ack, &payloads::status_ok([])),
                // An event, as documented, beside the ack that was asked for (spec §4.6).
                Ok(Err(error)) => {
                    let message = error.to_string();
                    if later.ack.is_some() {
                        broker.refuse(cx, &joined, &later, &message);
                    }
                    broker.error(cx, &joined, &message, later.request_id().as_deref(), None);
                }
                Err(_) => broker.refuse(cx, &joined, &later, BUSY),
            });
            Ok(())
        });
        self.asked(cx, ns, &reply, outcome);
    }
}

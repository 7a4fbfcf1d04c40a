//! WebSocket, opened at once or as the upgrade of a polling session.

use std::{sync::Arc, time::Instant};

use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use actors::{
    outbox::{Drain, Outbox},
    session::{Application, SessionActor, WebSocket},
    trust::Peer,
};
use framing::{
    close::CloseReason,
    engine::{HandshakeError, Sid},
};
use futures::future::poll_fn;
use log::debug;

use super::{Endpoint, busy, frame_guard::FrameLimits, handover::Handover, new_sid, refusal, wire::Wire};

/// A handshake that is a WebSocket from the start.
pub(super) fn open<A: Application>(
    endpoint: &web::Data<Endpoint<A>>,
    request: &HttpRequest,
    payload: web::Payload,
    peer: Peer,
) -> HttpResponse {
    if endpoint.is_full() {
        return busy();
    }
    let Some(sid) = new_sid() else {
        return HttpResponse::InternalServerError().finish();
    };
    let opens = endpoint.clone();
    accept(endpoint, request, payload, move |websocket, outbox| {
        let application = (opens.application)(peer);
        SessionActor::open(opens.shared.clone(), sid, application, outbox, Some(websocket), Instant::now());
    })
}

/// A WebSocket that names an open polling session.
pub(super) fn upgrade<A: Application>(
    endpoint: &web::Data<Endpoint<A>>,
    request: &HttpRequest,
    payload: web::Payload,
    sid: Sid,
) -> HttpResponse {
    let Some(link) = endpoint.shared.sessions.get(sid) else {
        return refusal(HandshakeError::UnknownSid);
    };
    let shared = endpoint.shared.clone();
    accept(endpoint, request, payload, move |mut websocket, outbox| {
        if link.outbox.begin_probe() {
            SessionActor::probe_session(shared, link, outbox, websocket, Instant::now());
            return;
        }
        // As the official server does: accepted and closed at once.
        debug!(sid:%; "second websocket for a session");
        outbox.end(CloseReason::TransportClosed, true);
        actix_rt::spawn(async move { poll_fn(|task| websocket.poll_drain(&outbox, task)).await });
    })
}

/// Answers the handshake; `carry` gets the WebSocket and an outbox for it once it has left HTTP.
fn accept<A: Application>(
    endpoint: &web::Data<Endpoint<A>>,
    request: &HttpRequest,
    payload: web::Payload,
    carry: impl FnOnce(Box<dyn WebSocket>, Arc<Outbox>) + 'static,
) -> HttpResponse {
    let Some(handover) = request.extensions().get::<Handover>().cloned() else {
        // The request's head asks for a WebSocket in another way than HTTP/1.1 does.
        return refusal(HandshakeError::BadRequest);
    };
    // actix-ws makes the handshake. What it would read and write with waits for messages in a channel of its own,
    // for each connection: ours is what it is made of (facts §3.5), without that channel.
    let response = match actix_ws::handle(request, payload) {
        Ok((response, _session, _messages)) => response,
        Err(error) => {
            debug!(error:%; "websocket handshake refused");
            return refusal(HandshakeError::BadRequest);
        }
    };
    let limits = FrameLimits {
        max_bytes: endpoint.shared.config.max_payload,
        max_fragments: endpoint.limits.max_fragments,
    };
    let shared = endpoint.shared.clone();
    handover.to(move |connection| {
        let outbox = Outbox::new(shared.config.outbox, Drain::WebSocket, shared.metrics.clone());
        let wire = Wire::new(connection, limits, shared.config.close_timeout, shared.metrics.clone());
        carry(Box::new(wire), outbox);
    });
    response
}

//! The two transports of Engine.IO over actix-web and actix-ws. Only this folder touches actix-ws and its codec.
//!
//! ```text
//!  GET/POST ?EIO=4&transport=… ──► access (Host, Origin) ──► parse_query ──┬─► polling.rs
//!                                                                          └─► websocket.rs
//!                                                                                    │ handover.rs
//!                          in: frame_guard.rs, inbound.rs ──► wire.rs ◄──────────────┘
//!                          out: outbound.rs ◄────────────────────┘
//! ```

mod frame_guard;
pub(crate) mod handover;
mod inbound;
mod outbound;
mod polling;
mod websocket;
mod wire;

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method as HttpMethod, StatusCode, header},
    web,
};
use actors::{
    session::{Application, Shared},
    trust::Peer,
};
use framing::engine::{HandshakeError, Method, Request, Sid, TransportKind, parse_query};
use log::{debug, warn};

use crate::access::{Access, Admitted};

/// What a transport may bring, and how long it may take.
#[derive(Clone, Debug)]
pub struct EndpointLimits {
    /// Packets of one polling body that a client sends.
    pub max_packets_per_payload: usize,
    /// Packets of one polling body that it is sent.
    pub packets_per_poll: usize,
    /// Sessions open at once; beyond, a handshake is answered 503.
    pub max_sessions: usize,
    /// WebSocket frames of one message.
    pub max_fragments: usize,
    /// Time that a polling body may take from its head to its end.
    pub body_timeout: Duration,
}

/// One Engine.IO endpoint: its sessions, who may reach it, and what a new session runs.
pub struct Endpoint<A: Application> {
    /// Timings, bounds and open sessions.
    pub shared: Arc<Shared<A>>,
    /// The Host and Origin rule.
    pub access: Access,
    /// Bounds of the transports.
    pub limits: EndpointLimits,
    application: Box<dyn Fn(Peer) -> A + Send + Sync>,
}

impl<A: Application> Endpoint<A> {
    /// An endpoint whose new sessions run what `application` makes.
    pub fn new(
        shared: Arc<Shared<A>>,
        access: Access,
        limits: EndpointLimits,
        application: impl Fn(Peer) -> A + Send + Sync + 'static,
    ) -> Self {
        Self { shared, access, limits, application: Box::new(application) }
    }

    fn is_full(&self) -> bool {
        let full = self.shared.metrics.open_sessions() >= self.limits.max_sessions;
        if full {
            self.shared.metrics.limit_reached("limits.max_sessions");
            warn!(limit = self.limits.max_sessions; "handshake refused: limits.max_sessions reached");
        }
        full
    }
}

/// Every request to the endpoint's path.
pub async fn serve<A: Application>(
    request: HttpRequest,
    payload: web::Payload,
    endpoint: web::Data<Endpoint<A>>,
) -> HttpResponse {
    let admitted = match endpoint.access.check(&request) {
        Ok(admitted) => admitted,
        Err(denied) => {
            warn!(peer:? = request.peer_addr(), path = request.path(), denied:%; "request refused");
            return refusal(HandshakeError::Forbidden);
        }
    };
    let mut response = dispatch(&request, payload, &endpoint, &admitted).await;
    admitted.add_headers(response.headers_mut());
    response
}

async fn dispatch<A: Application>(
    request: &HttpRequest,
    payload: web::Payload,
    endpoint: &web::Data<Endpoint<A>>,
    admitted: &Admitted,
) -> HttpResponse {
    let method = match *request.method() {
        HttpMethod::GET => Method::Get,
        HttpMethod::POST => Method::Post,
        HttpMethod::OPTIONS => Method::Options,
        _ => Method::Other,
    };
    if method == Method::Options {
        return preflight(request);
    }
    let parsed = parse_query(request.query_string(), method, asks_for_websocket(request));
    let Request { transport, sid, .. } = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            debug!(peer:? = request.peer_addr(), error:%; "bad request");
            return refusal(error);
        }
    };
    match (transport, sid, method) {
        (TransportKind::Polling, None, _) => polling::open(endpoint, admitted.peer),
        (TransportKind::Polling, Some(sid), Method::Post) => polling::post(endpoint, sid, payload).await,
        (TransportKind::Polling, Some(sid), _) => polling::get(endpoint, sid).await,
        (TransportKind::WebSocket, None, _) => websocket::open(endpoint, request, payload, admitted.peer),
        (TransportKind::WebSocket, Some(sid), _) => websocket::upgrade(endpoint, request, payload, sid),
    }
}

/// Whoever is admitted may send what headers it likes, as with the official server.
fn preflight(request: &HttpRequest) -> HttpResponse {
    let mut response = HttpResponse::NoContent();
    response.insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET,POST"));
    if let Some(wanted) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        response.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone()));
        response.append_header((header::VARY, header::ACCESS_CONTROL_REQUEST_HEADERS.as_str()));
    }
    response.finish()
}

fn asks_for_websocket(request: &HttpRequest) -> bool {
    let upgrade = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// The official server's refusal: status and JSON body.
fn refusal(error: HandshakeError) -> HttpResponse {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    HttpResponse::build(status).content_type("application/json").body(error.body())
}

fn busy() -> HttpResponse {
    HttpResponse::ServiceUnavailable()
        .content_type("application/json")
        .body(r#"{"code":3,"message":"Too many sessions"}"#)
}

/// A fresh session id. None if the system has no randomness, which ends the handshake.
fn new_sid() -> Option<Sid> {
    let mut random = [0; 15];
    getrandom::fill(&mut random).ok()?;
    Some(Sid::from_random(random))
}

//! WebSocket, opened at once or as the upgrade of a polling session.

use std::{rc::Rc, time::Instant};

use actix_http::BoxedPayloadStream;
use actix_web::{FromRequest, HttpRequest, HttpResponse, dev, web};
use actix_ws::AggregatedMessage;
use actors::{
    outbox::{Drain, Outbox},
    session::{Application, FrameStream, SessionActor},
    trust::Peer,
};
use framing::{
    close::CloseReason,
    engine::{HandshakeError, Sid},
    frame::Frame,
};
use futures::{Stream, StreamExt};
use log::debug;

use super::{
    Endpoint, busy,
    frame_guard::{FrameGuard, FrameLimits, Verdict},
    new_sid,
    outbound_body::{Line, OutboundBody},
    refusal,
};

/// A handshake that is a WebSocket from the start.
pub(super) async fn open<A: Application>(
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
    let shared = endpoint.shared.clone();
    let outbox = Outbox::new(shared.config.outbox, Drain::WebSocket, shared.metrics.clone());
    match accept(endpoint, request, payload, outbox.clone()).await {
        Ok(Accepted { response, frames, .. }) => {
            let application = (endpoint.application)(peer);
            SessionActor::open(shared, sid, application, outbox, Some(frames), Instant::now());
            response
        }
        Err(response) => response,
    }
}

/// A WebSocket that names an open polling session.
pub(super) async fn upgrade<A: Application>(
    endpoint: &web::Data<Endpoint<A>>,
    request: &HttpRequest,
    payload: web::Payload,
    sid: Sid,
) -> HttpResponse {
    let Some(link) = endpoint.shared.sessions.get(sid) else {
        return refusal(HandshakeError::UnknownSid);
    };
    let shared = endpoint.shared.clone();
    let outbox = Outbox::new(shared.config.outbox, Drain::WebSocket, shared.metrics.clone());
    match accept(endpoint, request, payload, outbox.clone()).await {
        // As the official server does: accepted and closed at once.
        Ok(Accepted { response, .. }) if !link.outbox.begin_probe() => {
            debug!(sid:%; "second websocket for a session");
            outbox.end(CloseReason::TransportClosed, true);
            response
        }
        Ok(Accepted { response, frames, line }) => {
            let switch = Box::new(move |outbox| line.switch(outbox));
            SessionActor::probe_session(shared, link, outbox, frames, switch, Instant::now());
            response
        }
        Err(response) => response,
    }
}

struct Accepted {
    response: HttpResponse,
    frames: FrameStream,
    line: Rc<Line>,
}

async fn accept<A: Application>(
    endpoint: &web::Data<Endpoint<A>>,
    request: &HttpRequest,
    payload: web::Payload,
    outbox: std::sync::Arc<Outbox>,
) -> Result<Accepted, HttpResponse> {
    let max_payload = endpoint.shared.config.max_payload;
    let limits = FrameLimits { max_bytes: max_payload, max_fragments: endpoint.limits.max_fragments };
    let verdict = Verdict::default();
    let guard = FrameGuard::new(payload.into_inner(), limits, verdict.clone());
    let mut guarded = dev::Payload::Stream { payload: Box::pin(guard) as BoxedPayloadStream };
    let payload =
        web::Payload::from_request(request, &mut guarded).await.map_err(|error| error.error_response())?;
    // actix-ws makes the handshake and reads; what is written comes from our outbox.
    let (response, _session, messages) = actix_ws::handle(request, payload).map_err(|error| {
        debug!(error:%; "websocket handshake refused");
        refusal(HandshakeError::BadRequest)
    })?;
    let line = Line::new(outbox);
    let body_line = line.clone();
    let metrics = endpoint.shared.metrics.clone();
    let response =
        response.map_body(|_, theirs| OutboundBody::new(body_line, theirs, metrics)).map_into_boxed_body();
    let messages =
        messages.max_frame_size(max_payload).aggregate_continuations().max_continuation_size(max_payload);
    let frames = frames(messages, line.clone(), verdict, limits);
    Ok(Accepted { response, frames: Box::pin(frames), line })
}

/// Turns WebSocket messages into frames; pings are answered here, a close ends the stream.
fn frames(
    messages: impl Stream<Item = Result<AggregatedMessage, actix_ws::ProtocolError>> + 'static,
    line: Rc<Line>,
    verdict: Verdict,
    limits: FrameLimits,
) -> impl Stream<Item = Result<Frame, CloseReason>> {
    let ended = move |error: &actix_ws::ProtocolError| {
        verdict.reason(limits).unwrap_or_else(|| match error {
            actix_ws::ProtocolError::Overflow => CloseReason::TooLarge { limit: limits.max_bytes },
            // The connection ended without a close frame.
            actix_ws::ProtocolError::Io(_) => CloseReason::TransportClosed,
            error => {
                debug!(error:%; "websocket broke its protocol");
                CloseReason::TransportError
            }
        })
    };
    messages
        .take_while(|message| std::future::ready(!matches!(message, Ok(AggregatedMessage::Close(_)))))
        .filter_map(move |message| {
            std::future::ready(match message {
                Ok(AggregatedMessage::Text(text)) => Some(Ok(Frame::Text(text))),
                Ok(AggregatedMessage::Binary(bytes)) => Some(Ok(Frame::Binary(bytes))),
                Ok(AggregatedMessage::Ping(payload)) => {
                    line.outbox().push_pong(payload);
                    None
                }
                Ok(AggregatedMessage::Pong(_) | AggregatedMessage::Close(_)) => None,
                Err(error) => Some(Err(ended(&error))),
            })
        })
}

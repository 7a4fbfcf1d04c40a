//! HTTP long-polling (Engine.IO 4, "HTTP long-polling").
//!
//! A request may land on any worker. A GET drains the session's outbox directly; a POST's packets go
//! to the session's actor as one message, which keeps their order.

use std::{
    future::poll_fn,
    time::{Duration, Instant},
};

use actix_web::{HttpResponse, http::header, web};
use actors::{
    outbox::{Drain, Outbox, Overlap, PollAnswer},
    session::{Application, CloseSession, PollingPayload, SessionActor},
    trust::Peer,
};
use framing::{
    ByteString, Bytes,
    close::CloseReason,
    engine::{HandshakeError, Packet, Sid, payload},
    frame::Frame,
};
use futures::StreamExt;
use log::{debug, info};

use super::{Endpoint, busy, new_sid, refusal};

/// A GET that begins while a probe runs is answered with a noop after so long, as by the official
/// server.
const PROBE_WAIT: Duration = Duration::from_millis(100);

/// A handshake: the answer is the open packet, which is the first thing in the outbox.
pub(super) fn open<A: Application>(endpoint: &web::Data<Endpoint<A>>, peer: Peer) -> HttpResponse {
    if endpoint.is_full() {
        return busy();
    }
    let Some(sid) = new_sid() else {
        return HttpResponse::InternalServerError().finish();
    };
    let shared = endpoint.shared.clone();
    let outbox = Outbox::new(shared.config.outbox, Drain::Polling, shared.metrics.clone());
    let application = (endpoint.application)(peer);
    SessionActor::open(shared, sid, application, outbox.clone(), None, Instant::now());
    match outbox.take_ready() {
        Some(packets) => text(body(false, packets.iter().flat_map(|packet| packet.frames()))),
        None => HttpResponse::InternalServerError().finish(),
    }
}

/// A GET waits until there is something to send.
pub(super) async fn get<A: Application>(endpoint: &web::Data<Endpoint<A>>, sid: Sid) -> HttpResponse {
    let Some(link) = endpoint.shared.sessions.get(sid) else {
        return refusal(HandshakeError::UnknownSid);
    };
    let mut turn = match link.outbox.begin_poll() {
        Ok(turn) => turn.at_most(endpoint.limits.packets_per_poll),
        Err(Overlap::Concurrent | Overlap::Upgraded) => return refusal(HandshakeError::BadRequest),
    };
    let max_bytes = endpoint.shared.config.max_payload;
    let answer = poll_fn(|cx| turn.poll(max_bytes, cx));
    let answer = if link.outbox.is_probing() {
        // Either the WebSocket takes over in a moment, or the client waits for this request to end.
        match tokio::time::timeout(PROBE_WAIT, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                link.outbox.end_poll();
                poll_fn(|cx| turn.poll(max_bytes, cx)).await
            }
        }
    } else {
        answer.await
    };
    match answer {
        PollAnswer::Upgraded => refusal(HandshakeError::BadRequest),
        PollAnswer::Packets { ping, packets } => {
            text(body(ping, packets.iter().flat_map(|packet| packet.frames())))
        }
        PollAnswer::Noop => text(one(&Packet::Noop)),
        PollAnswer::Ended(reason) => {
            endpoint.shared.sessions.remove(sid);
            // Whoever said goodbye needs none.
            let last = if reason == CloseReason::ClientClosed { Packet::Noop } else { Packet::Close };
            text(one(&last))
        }
    }
}

/// A POST brings packets.
pub(super) async fn post<A: Application>(
    endpoint: &web::Data<Endpoint<A>>,
    sid: Sid,
    body: web::Payload,
) -> HttpResponse {
    let Some(link) = endpoint.shared.sessions.get(sid) else {
        return refusal(HandshakeError::UnknownSid);
    };
    if link.outbox.drain() == Drain::WebSocket {
        return refusal(HandshakeError::BadRequest);
    }
    let Ok(turn) = link.outbox.begin_post() else {
        return refusal(HandshakeError::BadRequest);
    };
    let max_payload = endpoint.shared.config.max_payload;
    let body_timeout = endpoint.limits.body_timeout;
    let read = tokio::time::timeout(body_timeout, read(body, max_payload)).await;
    let bytes = match read.unwrap_or(Err(Unread::Late)) {
        Ok(bytes) => bytes,
        Err(Unread::Broken) => return HttpResponse::BadRequest().finish(),
        Err(Unread::TooLarge) => {
            endpoint.shared.metrics.limit_reached("limits.max_payload");
            debug!(sid:%, limit = max_payload; "polling body too large");
            return HttpResponse::PayloadTooLarge().finish();
        }
        Err(Unread::Late) => {
            endpoint.shared.metrics.limit_reached("server.body_timeout");
            info!(sid:%, seconds = body_timeout.as_secs_f64(); "polling body not sent in time, session closed");
            // Half a body is lost, and what follows it must not pass for what came first.
            let _ = link.session.send(CloseSession(CloseReason::TransportError)).await;
            return HttpResponse::RequestTimeout().finish();
        }
    };
    let frames = match ByteString::try_from(bytes) {
        Ok(text) => payload::decode(text, endpoint.limits.max_packets_per_payload, max_payload)
            .collect::<Result<Vec<Frame>, _>>()
            .map_err(CloseReason::from),
        Err(_) => Err(CloseReason::TransportError),
    };
    let frames = match frames {
        Ok(frames) => frames,
        Err(reason) => {
            debug!(sid:%, reason:%; "bad polling body");
            // The session may be gone already, which is what is wanted.
            let _ = link.session.send(CloseSession(reason)).await;
            return refusal(HandshakeError::BadRequest);
        }
    };
    let (payload, answered) = PollingPayload::new(frames, turn);
    // One that the session does not take is dropped, and its answer with it.
    let _ = link.session.send(payload).await;
    match answered.await {
        Ok(Ok(())) => HttpResponse::Ok().content_type("text/html").body("ok"),
        // A client that closes its session is told that it has done so.
        Ok(Err(CloseReason::ClientClosed)) => HttpResponse::Ok().content_type("text/html").body("ok"),
        Ok(Err(_)) | Err(_) => refusal(HandshakeError::BadRequest),
    }
}

/// Why a body was not read to its end.
enum Unread {
    /// The connection or its encoding broke.
    Broken,
    /// It is longer than a payload may be.
    TooLarge,
    /// It did not come in time.
    Late,
}

async fn read(mut body: web::Payload, max_bytes: usize) -> Result<Bytes, Unread> {
    let mut bytes = web::BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| Unread::Broken)?;
        if bytes.len() + chunk.len() > max_bytes {
            return Err(Unread::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

fn body(ping: bool, frames: impl Iterator<Item = Frame>) -> Bytes {
    let mut writer = payload::PayloadWriter::new(usize::MAX);
    let ping = ping.then(|| Packet::Ping { probe: false }.encode());
    for frame in ping.into_iter().chain(frames) {
        // Without a bound the writer takes everything; the outbox has kept to one already.
        let _ = writer.push(&frame);
    }
    writer.finish()
}

fn one(packet: &Packet) -> Bytes {
    body(false, std::iter::once(packet.encode()))
}

fn text(body: Bytes) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type("text/plain; charset=UTF-8")
        .body(body)
}

//! The server that the public conformance suites of the Socket.IO project run against (DESIGN §7):
//! the session machinery of the broker with another handler, and a bare Engine.IO echo beside it.
//!
//! Port from `PORT`, default 3000; ping interval 300 ms, ping timeout 200 ms, max payload 1 000 000,
//! connect timeout 1 000 ms.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{App, dev::Server, web};
use actors::{
    metrics::Metrics,
    outbox::OutboxLimits,
    session::{
        Application, Cx, SessionConfig, Shared,
        socketio::{AckArgs, NamespaceHandler, SocketIo, SocketIoConfig, Sockets},
    },
    sessions::Sessions,
};
use framing::{
    ByteString, Bytes,
    close::CloseReason,
    encoded::Encoded,
    engine::{Packet, Sid},
    json::RawJson,
    limits::Limits,
    socket::{Event, EventName, Namespace},
};
use newage_broker::{
    access::Access,
    http::{self, HttpConfig},
    transport::{self, Endpoint, EndpointLimits},
};

const MAX_PAYLOAD: usize = 1_000_000;

/// Sends every Engine.IO message back as it came.
struct Echo;

impl Application for Echo {
    fn opened(&mut self, _: &mut Cx<'_, Self>) {}

    fn text(&mut self, cx: &mut Cx<'_, Self>, text: ByteString) -> Result<(), CloseReason> {
        cx.push(Encoded::engine(&Packet::Message(text)));
        Ok(())
    }

    fn binary(&mut self, cx: &mut Cx<'_, Self>, bytes: Bytes) -> Result<(), CloseReason> {
        cx.push(Encoded::engine(&Packet::Binary(bytes)));
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn poll(&mut self, _: &mut Cx<'_, Self>) -> Result<(), CloseReason> {
        Ok(())
    }

    fn closed(&mut self, _: &mut Cx<'_, Self>, _: &CloseReason) {}
}

/// `/` and `/custom`: `auth` with the handshake's auth, `message` → `message-back`,
/// `message-with-ack` acks its arguments.
///
/// `auth` follows the CONNECT a moment later: the suite's client loses the second of two messages
/// that it reads at once.
#[derive(Default)]
struct Suite {
    due: VecDeque<(Instant, Namespace, RawJson)>,
}

const AUTH_DELAY: Duration = Duration::from_millis(20);

impl NamespaceHandler for Suite {
    type Awaited = ();

    fn connect(&mut self, cx: &mut Sockets<'_, '_, Self>, ns: &Namespace, auth: Option<RawJson>) {
        if !matches!(ns.as_str(), "/" | "/custom") {
            return cx.refuse(ns, "Invalid namespace");
        }
        let mut random = [0; 15];
        if getrandom::fill(&mut random).is_err() {
            return cx.refuse(ns, "no randomness");
        }
        cx.accept(ns, Sid::from_random(random));
        let auth = auth.unwrap_or(RawJson::from_static("{}"));
        self.due.push_back((cx.now() + AUTH_DELAY, ns.clone(), auth));
    }

    fn event(&mut self, cx: &mut Sockets<'_, '_, Self>, ns: &Namespace, event: Event) {
        let args: Vec<&str> = event.args.iter().map(RawJson::as_str).collect();
        let answer = match (event.name.as_text(), event.ack) {
            (Some("message"), _) => {
                Encoded::event(ns, None, &EventName::from_static("message-back"), &args, &event.attachments)
            }
            (Some("message-with-ack"), Some(id)) => Encoded::ack(ns, id, &args, &event.attachments),
            _ => return,
        };
        cx.session().push(answer);
    }

    fn acked(&mut self, _: &mut Sockets<'_, '_, Self>, _: (), _: Option<AckArgs>) {}

    fn disconnected(&mut self, _: &mut Sockets<'_, '_, Self>, _: &Namespace) {}

    fn deadline(&self) -> Option<Instant> {
        self.due.front().map(|(due, ..)| *due)
    }

    fn poll(&mut self, cx: &mut Sockets<'_, '_, Self>) {
        let now = cx.now();
        while let Some((_, ns, auth)) = self.due.pop_front_if(|(due, ..)| *due <= now) {
            cx.emit(&ns, &EventName::from_static("auth"), &[auth.as_str()]);
        }
    }

    fn closed(&mut self, _: &mut Sockets<'_, '_, Self>) {}
}

fn shared<A: Application>() -> Arc<Shared<A>> {
    let config = SessionConfig {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        max_payload: MAX_PAYLOAD,
        upgrade_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(2),
        proof_timeout: Duration::from_secs(3),
        outbox: OutboxLimits { max_bytes: 16 * MAX_PAYLOAD, max_packets: 4096 },
        mailbox: 256,
        max_questions: 16,
        control_mailbox: 1024,
        question_timeout: Duration::from_secs(5),
    };
    Arc::new(Shared { config, sessions: Sessions::default(), metrics: Arc::new(Metrics::default()) })
}

fn endpoint<A: Application>(application: impl Fn() -> A + Send + Sync + 'static) -> web::Data<Endpoint<A>> {
    let limits = EndpointLimits {
        max_packets_per_payload: 65_536,
        packets_per_poll: 16,
        max_sessions: 10_000,
        max_fragments: 1024,
        body_timeout: Duration::from_secs(60),
    };
    web::Data::new(Endpoint::new(shared(), Access::default(), limits, move |_| application()))
}

/// Begins to serve; port 0 is any free one.
pub(crate) fn serve(port: u16) -> io::Result<(Server, SocketAddr)> {
    let socketio = SocketIoConfig {
        limits: Limits { max_payload: MAX_PAYLOAD, ..Limits::default() },
        connect_timeout: Duration::from_millis(1000),
        max_pending_acks: 64,
        max_early_events: 64,
    };
    let suite = endpoint(move || SocketIo::new(socketio, Suite::default(), Instant::now()));
    let echo = endpoint(|| Echo);
    let app = move || {
        App::new()
            .app_data(suite.clone())
            .app_data(echo.clone())
            .route("/socket.io/", web::route().to(transport::serve::<SocketIo<Suite>>))
            .route("/engine.io/", web::route().to(transport::serve::<Echo>))
    };
    let http = HttpConfig {
        workers: 2,
        max_connections: 10_000,
        request_timeout: Duration::from_secs(5),
        write_buffer: 32 * 1024,
        shutdown_timeout: 1,
    };
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let address = listener.local_addr()?;
    Ok((http::serve(&http, vec![listener], app, |_, _| ())?, address))
}

#[actix_web::main]
async fn main() -> io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let (server, _) = serve(port)?;
    server.await
}

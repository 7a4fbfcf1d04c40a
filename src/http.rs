//! HTTP on a set of workers. As `actix_web::HttpServer` does it, with one thing more: a request that asks for a
//! WebSocket takes its connection out of HTTP (`transport/handover.rs`).

use std::{convert::Infallible, fmt, future::ready, io, net::TcpListener, rc::Rc, time::Duration};

use actix_codec::Framed;
use actix_http::{
    HttpService, Request, Response,
    body::{BoxBody, MessageBody},
    h1::Codec,
};
use actix_rt::net::TcpStream;
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_factory, fn_service,
    map_config,
};
use actix_web::dev::{AppConfig, Extensions};

use log::debug;

use crate::{
    timed_stream::{Requests, TimedStream},
    transport::handover::switching,
};

/// How long a connection that HTTP has ended may take to be gone, as in `HttpServer`.
const DISCONNECT: Duration = Duration::from_secs(1);

/// How a server serves.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Threads.
    pub workers: usize,
    /// Connections that one of them accepts; further ones wait in the system's backlog.
    pub max_connections: usize,
    /// Time that a request may take to come, and what is left of its body once it was answered.
    pub request_timeout: Duration,
    /// Bytes of a response that are buffered before they are written.
    pub write_buffer: usize,
    /// Seconds that requests may go on after the server was told to stop.
    pub shutdown_timeout: u64,
}

/// Begins to serve what `app` makes, on each worker. `on_connect` is called for each connection.
///
/// # Errors
/// A listener could not be used.
pub fn serve<F, I, S, B>(
    config: &HttpConfig,
    listeners: Vec<TcpListener>,
    app: F,
    on_connect: impl Fn(&TcpStream, &mut Extensions) + Clone + Send + 'static,
) -> io::Result<Server>
where
    F: Fn() -> I + Clone + Send + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Response: Into<Response<B>> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    B: MessageBody + 'static,
{
    let mut server = Server::build()
        .workers(config.workers)
        .max_concurrent_connections(config.max_connections)
        .shutdown_timeout(config.shutdown_timeout)
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    for listener in listeners {
        let (config, app, on_connect, stopping) =
            (config.clone(), app.clone(), on_connect.clone(), stopping.clone());
        server = server.listen("http", listener, move || {
            let stopping = stopping.clone();
            let service = || {
                let app = app().into_factory().map_err(|error| error.into().error_response());
                map_config(app, |()| AppConfig::default())
            };
            let patience = config.request_timeout;
            let http = HttpService::build()
                // Idle connections end when the server is told to stop, and not when their time is over.
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .client_request_timeout(config.request_timeout)
                .client_disconnect_timeout(DISCONNECT)
                // An aborted poll must be noticed when it happens (facts §3.5).
                .h1_allow_half_closed(false)
                .h1_write_buffer_size(config.write_buffer)
                .on_connect_ext({
                    let on_connect = on_connect.clone();
                    move |connection: &TimedStream, data| {
                        // The builder's own setting reaches plain HTTP/1 services only in name.
                        if let Err(error) = connection.get_ref().set_nodelay(true) {
                            debug!(error:%; "a connection without TCP_NODELAY");
                        }
                        data.insert(connection.requests().clone());
                        on_connect(connection.get_ref(), data);
                    }
                })
                .upgrade(websockets(service()))
                .h1(apply_fn_factory(service(), |request: Request, app| {
                    let serving = request.conn_data::<Rc<Requests>>().map(Requests::serve);
                    let answer = app.call(request);
                    async move {
                        let answer = answer.await;
                        drop(serving);
                        answer
                    }
                }));
            fn_service(move |connection: TcpStream| {
                let peer = connection.peer_addr().ok();
                ready(Ok((TimedStream::new(connection, patience), peer)))
            })
            .and_then(http)
        })?;
    }
    Ok(server.run())
}

/// Lets the same application answer those requests that ask for a WebSocket.
fn websockets<S, B>(
    app: S,
) -> impl ServiceFactory<
    (Request, Framed<TimedStream, Codec>),
    Config = (),
    Response = (),
    Error = Infallible,
    InitError = S::InitError,
    Future: 'static,
>
where
    S: ServiceFactory<Request, Config = ()> + 'static,
    S::Response: Into<Response<B>> + 'static,
    S::Error: Into<Response<BoxBody>> + 'static,
    B: MessageBody + 'static,
{
    fn_factory(move || {
        let app = app.new_service(());
        async move {
            let app = Rc::new(app.await?);
            Ok(fn_service(move |(request, connection)| {
                let app = app.clone();
                switching(request, connection, async move |request| {
                    app.call(request)
                        .await
                        .map_or_else(|error| error.into(), |response| response.into().map_into_boxed_body())
                })
            }))
        }
    })
}

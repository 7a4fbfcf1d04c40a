//! Start and stop: everything that `main` and the tests need to run a broker.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    App, HttpRequest, HttpResponse,
    dev::ServerHandle,
    web::{self, Data},
};
use actors::{
    launch::{Launch, LaunchError, Launched, SharedActors, launch},
    metrics::Metrics,
    namespaces::{Broker, ServerInfo},
    session::{CloseSession, Shared, socketio::SocketIo},
    sessions::Sessions,
};
use framing::close::CloseReason;
use log::{info, warn};
use parking_lot::Mutex;

use crate::{
    access::loopback,
    config::{Config, MetricsAccess, Scope, Server},
    connections,
    http::{self, HttpConfig},
    static_files::{self, StaticFiles},
    telemetry,
    transport::{self, Endpoint},
};

type BrokerEndpoint = Endpoint<SocketIo<Broker>>;

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings or key files, or the history.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The data directory.
    #[error("data directory {dir}: {source}")]
    Data {
        /// Which.
        dir: String,
        /// Why.
        source: io::Error,
    },
    /// The address to listen on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A broker that serves.
pub struct Running {
    addresses: Vec<SocketAddr>,
    server: ServerHandle,
    endpoint: Data<BrokerEndpoint>,
    shared_actors: SharedActors,
    #[cfg(test)]
    directory: Arc<actors::namespaces::Directory>,
}

impl Running {
    /// The first address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.addresses.first().copied().unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.endpoint.shared.metrics
    }

    /// The same as OpenMetrics text, from any thread.
    pub fn metrics_text_source(&self) -> impl Fn() -> String + Send + 'static {
        let shared = self.endpoint.shared.clone();
        move || shared.metrics.text()
    }

    /// Tells every session that the broker stops, then stops serving.
    pub async fn stop(self) {
        let sessions = self.endpoint.shared.sessions.all();
        info!(sessions = sessions.len(); "closing sessions");
        for link in sessions {
            // A session that has ended by itself needs no notice.
            let _ = link.session.try_send(CloseSession(CloseReason::ShuttingDown));
        }
        self.server.stop(true).await;
        self.shared_actors.stop().await;
    }
}

/// Loads the settings, starts the actors, listens and serves. Needs a running actix `System`.
///
/// # Errors
/// See [`StartError`]; nothing runs then.
pub fn start(config: Config) -> Result<Running, StartError> {
    std::fs::create_dir_all(&config.data)
        .map_err(|source| StartError::Data { dir: config.data.display().to_string(), source })?;
    let metrics = Arc::new(Metrics::default());
    telemetry::count_in(&metrics);
    let workers = match config.server.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let Launched { directory, statics, seats, shared_actors } = launch(
        Launch {
            trust: config.trust_config(),
            router: config.router_limits(),
            history: config.history_config(),
            registry: config.registry_limits(),
            broker: config.broker_limits(),
            rooms: config.rooms_config(),
            one_thread: workers == 1,
            rooms_share_it: workers == 1 && config.rooms.supervisors == 0,
            max_log_reads: config.log.max_reads,
            debug_mode: telemetry::set_debug_mode,
            server: ServerInfo::new(env!("CARGO_PKG_VERSION"), telemetry::timestamp()),
            control_mailbox: config.limits.control_mailbox,
            demo: config.demo.enabled.then(|| Duration::from_millis(config.demo.pace)),
        },
        &metrics,
    )?;
    let settings = directory.settings.load_full();
    let port = config.port.unwrap_or(settings.server_port);
    let path = engine_path(&settings.socket_io_path);
    let listeners = listen(config.bind, port, &config.server)?;
    let addresses: Vec<SocketAddr> =
        listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    if let Some(first) = addresses.first() {
        // Nobody else says so.
        let _ = directory.server.port.set(first.port());
    }
    warn_if_open(&config, settings.network_safe, &addresses);

    let shared = Arc::new(Shared { config: config.session_config(), sessions: Sessions::default(), metrics });
    let (socketio, known) = (config.socketio_config(), directory.clone());
    let endpoint = Data::new(Endpoint::new(shared, config.access(), config.endpoint_limits(), move |peer| {
        SocketIo::new(socketio, Broker::new(known.clone(), peer), Instant::now())
    }));
    let files = Data::new(StaticFiles::new(&config.data, statics, &path));
    let metrics_access = config.server.metrics;
    let access = config.access();

    let served = endpoint.clone();
    // Started by the first worker.
    let seats = Arc::new(Mutex::new(Some(seats)));
    let counter = connections::counter(endpoint.shared.metrics.clone(), config.server.max_connections);
    let app = move || {
        if let Some(seats) = seats.lock().take() {
            seats.start();
        }
        App::new()
            .app_data(served.clone())
            .app_data(files.clone())
            .app_data(Data::new(metrics_access))
            .app_data(Data::new(access.clone()))
            .route(&path, web::route().to(transport::serve::<SocketIo<Broker>>))
            .route("/health", web::get().to(health))
            .route("/metrics", web::get().to(metrics_text))
            .route("/{path:.*}", web::route().to(static_files::serve))
    };
    let http = HttpConfig {
        workers,
        max_connections: config.server.max_connections,
        request_timeout: Duration::from_secs(config.server.request_timeout),
        write_buffer: config.server.write_buffer,
        shutdown_timeout: config.server.shutdown_timeout,
    };
    let first = addresses.first().copied().unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    let server = http::serve(&http, listeners, app, counter)
        .map_err(|source| StartError::Listen { addr: first, source })?;
    let handle = server.handle();
    actix_rt::spawn(server);
    for address in &addresses {
        info!("listening on http://{address}");
    }
    Ok(Running {
        addresses,
        server: handle,
        endpoint,
        shared_actors,
        #[cfg(test)]
        directory,
    })
}

/// `socketIOPath` with one slash on each side.
fn engine_path(setting: &str) -> String {
    format!("/{}/", setting.trim_matches('/'))
}

/// Loopback is bound in both families, the port of IPv4 reused for ::1, which may be absent.
fn listen(bind: Option<IpAddr>, port: u16, config: &Server) -> Result<Vec<TcpListener>, StartError> {
    let listen = |addr: SocketAddr| bound(addr, config).map_err(|source| StartError::Listen { addr, source });
    let Some(ip) = bind else {
        let [v4, v6] = loopback();
        let first = listen(SocketAddr::new(v4, port))?;
        let port = first.local_addr().map_or(port, |addr| addr.port());
        let mut listeners = vec![first];
        match listen(SocketAddr::new(v6, port)) {
            Ok(second) => listeners.push(second),
            Err(error) => info!("not listening on ::1: {error}"),
        }
        return Ok(listeners);
    };
    Ok(vec![listen(SocketAddr::new(ip, port))?])
}

fn bound(addr: SocketAddr, config: &Server) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() && addr.ip() == IpAddr::V6(std::net::Ipv6Addr::LOCALHOST) {
        socket.set_only_v6(true)?;
    }
    // Every accepted connection inherits it. While a write to a peer that does not read is under way,
    // nothing of ours is asked about that connection: the kernel must end it.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(config.send_timeout)))?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn warn_if_open(config: &Config, network_safe: bool, addresses: &[SocketAddr]) {
    let reachable = addresses.iter().any(|address| !address.ip().is_loopback());
    if reachable && network_safe && config.trust.network_safe_scope == Scope::Any {
        warn!("trust.network_safe_scope is \"any\": whoever reaches this address needs no key");
    }
}

async fn health() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(r#"{"status":"ok"}"#)
}

async fn metrics_text(
    request: HttpRequest,
    endpoint: Data<BrokerEndpoint>,
    access: Data<MetricsAccess>,
) -> HttpResponse {
    let allowed = match **access {
        MetricsAccess::Any => true,
        MetricsAccess::None => false,
        MetricsAccess::Local => endpoint.access.check(&request).is_ok_and(|admitted| admitted.peer.local),
    };
    if !allowed {
        return static_files::not_found();
    }
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(endpoint.shared.metrics.text())
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;

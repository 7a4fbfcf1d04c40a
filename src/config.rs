//! Configuration: flag, then environment (`NEWAGE_…`), then `config.toml`, then default. Every
//! setting of the broker that spec §2.1 does not place in `settings/server_settings.json` is here;
//! the shipped `config.toml` lists each with its default and is the manual.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use actors::{
    history::{BatchLimits, HistoryConfig, Place, Retention, Synchronous, WaitingLimits},
    llm_router::RouterLimits,
    logs::MAX_OLD_FILES,
    namespaces::{BrokerLimits, LlmPolicy},
    outbox::OutboxLimits,
    registry::RegistryLimits,
    rooms::{LogLimits, RoomLimits, RoomsConfig},
    session::{SessionConfig, socketio::SocketIoConfig},
    stream::{InboundLimits, OutboundLimits, outbound::StreamGrouping},
    target::FanOutLimits,
    trust::{InvalidKeyPolicy, NetworkSafeScope, TrustConfig},
};
use clap::Parser;
use framing::{ByteString, limits::Limits};
use serde::Deserialize;

use crate::{access::Access, telemetry::LogConfig, transport::EndpointLimits};

/// Command line and environment.
#[derive(Clone, Debug, Default, Parser)]
#[command(
    name = "newage-broker",
    version,
    about = "A message broker between apps and SillyTavern, over Socket.IO v4"
)]
pub struct Flags {
    /// Configuration file. Default: config.toml in the data directory, if it is there.
    #[arg(long, env = "NEWAGE_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Root of settings/, keys/, logs/ and data/. Default: the working directory.
    #[arg(long, env = "NEWAGE_DATA", value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// Address to listen on. Default: loopback, IPv4 and IPv6.
    #[arg(long, env = "NEWAGE_BIND", value_name = "ADDR")]
    pub bind: Option<IpAddr>,
    /// Port to listen on, 0 for any free one. Default: serverPort of server_settings.json, or 4000.
    #[arg(long, env = "NEWAGE_PORT", value_name = "N")]
    pub port: Option<u16>,
    /// Run the built-in demo extension, SillyTavern-demo.
    #[arg(long, env = "NEWAGE_DEMO", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub demo: Option<bool>,
    /// Log level: error, warn, info, debug, trace.
    #[arg(long, env = "NEWAGE_LOG", value_name = "LEVEL")]
    pub log: Option<String>,
}

impl Flags {
    fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| PathBuf::from("."))
    }

    /// The configuration file: the one that is named, or `config.toml` in the data directory if it is there.
    pub fn config_file(&self) -> Option<PathBuf> {
        let usual = || Some(self.data().join("config.toml")).filter(|file| file.exists());
        self.config.clone().or_else(usual)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named cannot be read.
    #[error("cannot read {file}: {source}")]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or has a key or value that means nothing. The text names line and key.
    #[error("{file}: {source}")]
    Invalid {
        /// Which.
        file: PathBuf,
        /// What and where.
        source: toml::de::Error,
    },
    /// A value that no broker can work with.
    #[error("{key}: {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// Why not.
        problem: &'static str,
    },
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

section! {
    /// `[server]`
    Server {
        /// See [`Access::allowed_hosts`].
        allowed_hosts: Vec<String> = Vec::new(),
        /// See [`Access::allowed_origins`].
        allowed_origins: Vec<String> = Vec::new(),
        /// The address under which a proxy publishes the broker; its host and origin are allowed.
        public_url: Option<String> = None,
        /// See [`Access::trusted_proxies`].
        trusted_proxies: Vec<IpAddr> = Vec::new(),
        /// HTTP workers; 0 for one per core.
        workers: usize = 0,
        /// Connections per worker.
        max_connections: usize = 100_000,
        /// Connections that may wait to be accepted.
        backlog: u32 = 4096,
        /// Bytes after which a connection's write buffer is flushed.
        write_buffer: usize = 32 * 1024,
        /// Seconds that a request's headers may take.
        request_timeout: u64 = 10,
        /// Seconds that the body of a polling request may take.
        body_timeout: u64 = 60,
        /// Seconds that a peer may take nothing of what it is sent (Linux).
        send_timeout: u64 = 60,
        /// Seconds that open requests have when the broker stops.
        shutdown_timeout: u64 = 5,
        /// Peers that may read `/metrics`: "local", "any" or "none".
        metrics: MetricsAccess = MetricsAccess::Local,
    }
}

/// Who may read `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsAccess {
    /// Peers on a local network (spec §2.5).
    #[default]
    Local,
    /// Everybody.
    Any,
    /// Nobody.
    None,
}

section! {
    /// `[session]`
    Session {
        /// Milliseconds between pings.
        ping_interval: u64 = 25_000,
        /// Milliseconds that a pong may take.
        ping_timeout: u64 = 20_000,
        /// Milliseconds that a WebSocket may take to finish an upgrade.
        upgrade_timeout: u64 = 10_000,
        /// Milliseconds that a session may be without namespace.
        connect_timeout: u64 = 45_000,
        /// Milliseconds that a question to another actor may take.
        question_timeout: u64 = 10_000,
    }
}

section! {
    /// `[limits]`
    LimitsSection {
        max_payload: usize = 8 * 1024 * 1024,
        max_fragments: usize = 1024,
        max_packets_per_payload: usize = 1024,
        packets_per_poll: usize = 16,
        max_sessions: usize = 100_000,
        max_attachments: usize = 64,
        max_depth: usize = 64,
        max_namespaces: usize = 32,
        max_early_events: usize = 64,
        max_questions: usize = 256,
        max_pending_acks: usize = 1024,
        session_mailbox: usize = 1024,
        control_mailbox: usize = 65_536,
        outbox_bytes: usize = 16 * 1024 * 1024,
        outbox_packets: usize = 4096,
        connections_per_client: usize = 64,
        sockets_per_client: usize = 256,
        rooms: usize = 1000,
        members_per_room: usize = 1000,
        max_away: usize = 10_000,
        max_targets: usize = 16,
        max_unattributed: usize = 1024,
        max_outputs: usize = 1024,
        max_routes: usize = 1024,
    }
}

section! {
    /// `[llm]`
    Llm {
        /// "open" or "rooms" (spec §5.2).
        policy: Policy = Policy::Open,
        allow_shared_requests: bool = false,
        /// Seconds.
        request_timeout: f64 = 600.0,
        /// Seconds.
        request_idle_timeout: f64 = 60.0,
        pending_per_client: usize = 32,
        pending_per_extension: usize = 256,
        pending_total: usize = 16_384,
        /// Seconds.
        function_timeout: f64 = 30.0,
    }
}

/// Who may ask whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Everybody authenticated, every extension.
    Open,
    /// Members of the room named after the extension.
    Rooms,
}

section! {
    /// `[streams]`
    Streams {
        event_names: Vec<String> = vec!["streamed_data".to_owned(), "SERVER_STREAM_DATA".to_owned()],
        grouping: Grouping = Grouping::Stream,
        max_streams: usize = 1024,
        max_stream_bytes: usize = 1024 * 1024,
        max_output_bytes: usize = 16 * 1024 * 1024,
        /// Milliseconds.
        hold: u64 = 20,
        /// Pieces.
        hold_max_pieces: u32 = 5,
        /// Seconds.
        idle_timeout: f64 = 60.0,
        max_waiting_bytes: usize = 4 * 1024 * 1024,
        max_waiting_streams: usize = 4096,
        max_unread: usize = 64,
        max_unacked: usize = 256,
        /// Seconds.
        announce_stall: f64 = 30.0,
        /// Seconds.
        progress_stall: f64 = 60.0,
        write_size: usize = 16 * 1024,
        deaf_after: u32 = 3,
    }
}

/// One wire stream per what (spec §5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grouping {
    /// Extension stream.
    Stream,
    /// Answer.
    Output,
}

section! {
    /// `[trust]`
    TrustSection {
        /// "local" or "any" (spec §2.5).
        network_safe_scope: Scope = Scope::Local,
        get_key_from_loopback: bool = true,
        /// "disconnect" or "tempRoom" (spec §3.4).
        invalid_key_policy: KeyPolicy = KeyPolicy::Disconnect,
        trust_patterns: Vec<String> = Vec::new(),
        failed_checks_per_minute: u32 = 10,
        /// Seconds.
        ban: u64 = 60,
        login_attempts_per_minute: u32 = 5,
        max_throttled: usize = 10_000,
        max_concurrent_hashes: usize = 2,
        max_waiting_hashes: usize = 256,
        max_json_bytes: u64 = 1024 * 1024,
        max_key_file_bytes: u64 = 8 * 1024 * 1024,
        /// Milliseconds.
        lock_timeout: u64 = 5000,
        max_session_keys: usize = 10_000,
        max_client_files: usize = 10_000,
        max_data_files: usize = 256,
        max_file_jobs: usize = 64,
        max_static_resources: usize = 256,
        restricted_files: Vec<String> = Vec::new(),
        /// Seconds.
        limited_session: f64 = 30.0,
        /// Seconds.
        temp_room: f64 = 60.0,
    }
}

/// For whom `networkSafe` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Local peers.
    Local,
    /// Everybody.
    Any,
}

/// What an invalid key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum KeyPolicy {
    /// The namespace is disconnected.
    #[serde(rename = "disconnect")]
    Disconnect,
    /// A room of its own for a minute.
    #[serde(rename = "tempRoom")]
    TempRoom,
}

section! {
    /// `[history]`
    HistorySection {
        /// "file" or "memory".
        mode: HistoryMode = HistoryMode::File,
        path: PathBuf = PathBuf::from("data/history.sqlite"),
        /// "normal" or "full".
        synchronous: Durability = Durability::Normal,
        check_on_start: bool = true,
        /// Milliseconds.
        busy_timeout: u64 = 5000,
        commit_changes: usize = 1024,
        /// Milliseconds.
        commit_time: u64 = 20,
        max_waiting: usize = 65_536,
        max_waiting_bytes: usize = 64 * 1024 * 1024,
        messages_per_room: usize = 2000,
        bytes_per_room: usize = 16 * 1024 * 1024,
    }
}

section! {
    /// `[rooms]`
    RoomsSection {
        /// 0 for one per core.
        supervisors: usize = 0,
        mailbox: usize = 4096,
        max_mutes: usize = 10_000,
        think_per_hour: usize = 60,
        max_queued: usize = 64,
        max_open_requests: usize = 64,
    }
}

/// Where the history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HistoryMode {
    /// In the file `path`.
    File,
    /// In memory.
    Memory,
}

/// What a commit of the history survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The end of the process.
    Normal,
    /// A loss of power.
    Full,
}

section! {
    /// `[demo]`
    DemoSection {
        enabled: bool = false,
        /// Milliseconds per token.
        pace: u64 = 40,
    }
}

/// The whole of `config.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct File {
    server: Server,
    session: Session,
    limits: LimitsSection,
    llm: Llm,
    streams: Streams,
    trust: TrustSection,
    history: HistorySection,
    rooms: RoomsSection,
    demo: DemoSection,
    log: LogConfig,
}

impl File {
    /// Values that no broker can work with, each with its key.
    pub(crate) fn problems(&self) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
        let positive = [
            ("session.ping_interval", self.session.ping_interval),
            ("session.ping_timeout", self.session.ping_timeout),
            ("limits.max_payload", self.limits.max_payload as u64),
            ("server.body_timeout", self.server.body_timeout),
            ("server.send_timeout", self.server.send_timeout),
            ("limits.max_fragments", self.limits.max_fragments as u64),
            ("limits.max_depth", self.limits.max_depth as u64),
            ("limits.max_questions", self.limits.max_questions as u64),
            ("limits.control_mailbox", self.limits.control_mailbox as u64),
            ("limits.outbox_bytes", self.limits.outbox_bytes as u64),
            ("limits.outbox_packets", self.limits.outbox_packets as u64),
            ("limits.max_sessions", self.limits.max_sessions as u64),
            ("streams.write_size", self.streams.write_size as u64),
            ("streams.max_unread", self.streams.max_unread as u64),
            ("history.commit_changes", self.history.commit_changes as u64),
            ("history.max_waiting", self.history.max_waiting as u64),
            ("history.max_waiting_bytes", self.history.max_waiting_bytes as u64),
            ("history.messages_per_room", self.history.messages_per_room as u64),
            ("history.bytes_per_room", self.history.bytes_per_room as u64),
            ("rooms.mailbox", self.rooms.mailbox as u64),
            ("demo.pace", self.demo.pace),
            ("log.file_bytes", self.log.file_bytes),
            ("log.waiting_bytes", self.log.waiting_bytes as u64),
            ("log.max_reads", self.log.max_reads as u64),
        ];
        let zero = positive.into_iter().filter(|(_, value)| *value == 0);
        let seconds = [
            ("llm.request_timeout", self.llm.request_timeout),
            ("llm.request_idle_timeout", self.llm.request_idle_timeout),
            ("llm.function_timeout", self.llm.function_timeout),
            ("streams.idle_timeout", self.streams.idle_timeout),
            ("streams.announce_stall", self.streams.announce_stall),
            ("streams.progress_stall", self.streams.progress_stall),
            ("trust.limited_session", self.trust.limited_session),
            ("trust.temp_room", self.trust.temp_room),
        ];
        let senseless = seconds.into_iter().filter(|(_, value)| !(*value > 0.0 && *value <= 1e9));
        let too_many = self.log.old_files > MAX_OLD_FILES;
        let too_few = self.limits.max_pending_acks < self.streams.max_unacked;
        let others = [
            too_many.then_some(("log.old_files", "must not be greater than 100")),
            too_few.then_some(("limits.max_pending_acks", "must not be smaller than streams.max_unacked")),
        ];
        zero.map(|(key, _)| (key, "must be greater than 0"))
            .chain(senseless.map(|(key, _)| (key, "must be a positive number of seconds")))
            .chain(others.into_iter().flatten())
    }
}

/// What the broker runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Root of `settings/`, `keys/`, `logs/`, `data/`.
    pub data: PathBuf,
    /// Where to listen; none for loopback of both families.
    pub bind: Option<IpAddr>,
    /// Which port; none for `serverPort` of the settings file.
    pub port: Option<u16>,
    /// `[server]`
    pub server: Server,
    /// `[session]`
    pub session: Session,
    /// `[limits]`
    pub limits: LimitsSection,
    /// `[llm]`
    pub llm: Llm,
    /// `[streams]`
    pub streams: Streams,
    /// `[trust]`
    pub trust: TrustSection,
    /// `[history]`
    pub history: HistorySection,
    /// `[rooms]`
    pub rooms: RoomsSection,
    /// `[demo]`
    pub demo: DemoSection,
    /// `[log]`
    pub log: LogConfig,
}

impl Config {
    /// Reads the file and applies flags and environment.
    ///
    /// # Errors
    /// A named file is missing, a file is not valid, or a value makes no sense.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let file = flags.config_file().map_or_else(|| Ok(File::default()), |file| read(&file))?;
        Self::with_file(flags, file)
    }

    /// What it would be without the file.
    ///
    /// # Errors
    /// A value makes no sense.
    pub(crate) fn without_file(flags: &Flags) -> Result<Self, ConfigError> {
        Self::with_file(flags, File::default())
    }

    fn with_file(flags: &Flags, file: File) -> Result<Self, ConfigError> {
        if let Some((key, problem)) = file.problems().next() {
            return Err(ConfigError::Value { key, problem });
        }
        let File { server, session, limits, llm, streams, trust, history, rooms, mut demo, mut log } = file;
        demo.enabled = flags.demo.unwrap_or(demo.enabled);
        log.level = flags.log.clone().unwrap_or(log.level);
        Ok(Self {
            data: flags.data(),
            bind: flags.bind,
            port: flags.port,
            server,
            session,
            limits,
            llm,
            streams,
            trust,
            history,
            rooms,
            demo,
            log,
        })
    }

    /// The Host and Origin rule.
    pub fn access(&self) -> Access {
        let Server { mut allowed_hosts, mut allowed_origins, public_url, trusted_proxies, .. } =
            self.server.clone();
        if let Some(url) = public_url {
            let url = url.trim_end_matches('/').to_owned();
            let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            let authority = authority.split('/').next().unwrap_or_default().to_owned();
            let origin = match url.split_once("://") {
                Some((scheme, _)) => format!("{scheme}://{authority}"),
                None => format!("https://{authority}"),
            };
            allowed_origins.push(origin);
            allowed_hosts
                .push(authority.rsplit_once(':').map_or(authority.clone(), |(name, _)| name.to_owned()));
        }
        Access { allowed_hosts, allowed_origins, trusted_proxies }
    }

    /// Packet bounds.
    pub fn packet_limits(&self) -> Limits {
        let LimitsSection { max_payload, max_attachments, max_depth, max_namespaces, .. } = self.limits;
        Limits { max_payload, max_attachments, max_depth, max_namespaces }
    }

    /// What every session shares.
    pub fn session_config(&self) -> SessionConfig {
        let millis = Duration::from_millis;
        SessionConfig {
            ping_interval: millis(self.session.ping_interval),
            ping_timeout: millis(self.session.ping_timeout),
            max_payload: self.limits.max_payload,
            upgrade_timeout: millis(self.session.upgrade_timeout),
            outbox: OutboxLimits {
                max_bytes: self.limits.outbox_bytes,
                max_packets: self.limits.outbox_packets,
            },
            mailbox: self.limits.session_mailbox,
            max_questions: self.limits.max_questions,
            control_mailbox: self.limits.control_mailbox,
            question_timeout: millis(self.session.question_timeout),
        }
    }

    /// The transports.
    pub fn endpoint_limits(&self) -> EndpointLimits {
        let LimitsSection { max_packets_per_payload, packets_per_poll, max_sessions, max_fragments, .. } =
            self.limits;
        EndpointLimits {
            max_packets_per_payload,
            packets_per_poll,
            max_sessions,
            max_fragments,
            body_timeout: Duration::from_secs(self.server.body_timeout),
        }
    }

    /// The Socket.IO layer.
    pub fn socketio_config(&self) -> SocketIoConfig {
        SocketIoConfig {
            limits: self.packet_limits(),
            connect_timeout: Duration::from_millis(self.session.connect_timeout),
            max_pending_acks: self.limits.max_pending_acks,
            max_early_events: self.limits.max_early_events,
        }
    }

    /// Open requests. The router reads the grace from the settings file.
    pub fn router_limits(&self) -> RouterLimits {
        RouterLimits {
            per_client: self.llm.pending_per_client,
            per_extension: self.llm.pending_per_extension,
            total: self.llm.pending_total,
            outputs: self.limits.max_outputs,
            request_timeout: Duration::from_secs_f64(self.llm.request_timeout),
            idle_timeout: Duration::from_secs_f64(self.llm.request_idle_timeout),
            grace: Duration::ZERO,
            allow_shared: self.llm.allow_shared_requests,
        }
    }

    /// Presence.
    pub fn registry_limits(&self) -> RegistryLimits {
        let LimitsSection { connections_per_client, sockets_per_client, max_away: away, .. } = self.limits;
        RegistryLimits { connections_per_client, sockets_per_client, away }
    }

    /// Rooms and their supervisors.
    pub fn rooms_config(&self) -> RoomsConfig {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let RoomsSection { supervisors, mailbox, max_mutes, think_per_hour, max_queued, max_open_requests } =
            self.rooms;
        RoomsConfig {
            supervisors: if supervisors == 0 { cores } else { supervisors },
            rooms: self.limits.rooms,
            max_mutes,
            think_per_hour,
            max_answer_bytes: self.streams.max_output_bytes,
            mailbox,
            room: RoomLimits {
                members: self.limits.members_per_room,
                queued: max_queued,
                open_requests: max_open_requests,
                log: LogLimits {
                    messages: self.history.messages_per_room,
                    bytes: self.history.bytes_per_room,
                },
            },
        }
    }

    /// What a session does for its peer.
    pub fn broker_limits(&self) -> BrokerLimits {
        let streams = &self.streams;
        let seconds = Duration::from_secs_f64;
        BrokerLimits {
            max_targets: self.limits.max_targets,
            function_timeout: seconds(self.llm.function_timeout),
            llm_policy: match self.llm.policy {
                Policy::Open => LlmPolicy::Open,
                Policy::Rooms => LlmPolicy::Rooms,
            },
            network_safe_scope: self.network_safe_scope(),
            limited_session: seconds(self.trust.limited_session),
            temp_room: seconds(self.trust.temp_room),
            inbound: InboundLimits {
                max_streams: streams.max_streams,
                max_stream_bytes: streams.max_stream_bytes,
                max_output_bytes: streams.max_output_bytes,
                hold: Duration::from_millis(streams.hold),
                idle: seconds(streams.idle_timeout),
                hold_max_pieces: streams.hold_max_pieces,
            },
            outbound: OutboundLimits {
                max_queued_bytes: streams.max_waiting_bytes,
                max_streams: streams.max_waiting_streams,
                max_unread: streams.max_unread,
                max_unacked: streams.max_unacked,
                announce_stall: seconds(streams.announce_stall),
                progress_stall: seconds(streams.progress_stall),
                max_write: streams.write_size,
                event_names: streams.event_names.iter().map(|name| ByteString::from(name.as_str())).collect(),
                deaf_after: streams.deaf_after,
                grouping: match streams.grouping {
                    Grouping::Stream => StreamGrouping::Stream,
                    Grouping::Output => StreamGrouping::Output,
                },
            },
            fan_out: FanOutLimits {
                max_waiting_bytes: streams.max_waiting_bytes,
                max_routes: self.limits.max_routes,
            },
            max_unattributed: self.limits.max_unattributed,
            max_outputs: self.limits.max_outputs,
        }
    }

    /// What survives.
    pub fn history_config(&self) -> HistoryConfig {
        let history = &self.history;
        let in_memory = history.mode == HistoryMode::Memory || history.path.as_os_str() == ":memory:";
        HistoryConfig {
            place: if in_memory { Place::Memory } else { Place::File(self.data.join(&history.path)) },
            synchronous: match history.synchronous {
                Durability::Normal => Synchronous::Normal,
                Durability::Full => Synchronous::Full,
            },
            check: history.check_on_start,
            busy_timeout: Duration::from_millis(history.busy_timeout),
            batch: BatchLimits {
                changes: history.commit_changes,
                time: Duration::from_millis(history.commit_time),
            },
            waiting: WaitingLimits { changes: history.max_waiting, bytes: history.max_waiting_bytes },
            retention: Retention { messages: history.messages_per_room, bytes: history.bytes_per_room },
        }
    }

    fn network_safe_scope(&self) -> NetworkSafeScope {
        match self.trust.network_safe_scope {
            Scope::Local => NetworkSafeScope::Local,
            Scope::Any => NetworkSafeScope::Any,
        }
    }

    /// Trust and files.
    pub fn trust_config(&self) -> TrustConfig {
        let trust = &self.trust;
        TrustConfig {
            network_safe_scope: self.network_safe_scope(),
            get_key_from_loopback: trust.get_key_from_loopback,
            invalid_key_policy: match trust.invalid_key_policy {
                KeyPolicy::Disconnect => InvalidKeyPolicy::Disconnect,
                KeyPolicy::TempRoom => InvalidKeyPolicy::TempRoom,
            },
            trust_patterns: trust.trust_patterns.clone(),
            failed_checks_per_minute: trust.failed_checks_per_minute,
            ban: Duration::from_secs(trust.ban),
            login_attempts_per_minute: trust.login_attempts_per_minute,
            max_throttled: trust.max_throttled,
            max_concurrent_hashes: trust.max_concurrent_hashes,
            max_waiting_hashes: trust.max_waiting_hashes,
            max_json_bytes: trust.max_json_bytes,
            max_json_depth: self.limits.max_depth,
            max_key_file_bytes: trust.max_key_file_bytes,
            lock_timeout: Duration::from_millis(trust.lock_timeout),
            max_session_keys: trust.max_session_keys,
            max_client_files: trust.max_client_files,
            max_data_files: trust.max_data_files,
            max_file_jobs: trust.max_file_jobs,
            max_static_resources: trust.max_static_resources,
            restricted_files: trust.restricted_files.clone(),
            ..TrustConfig::new(&self.data)
        }
    }
}

fn read(file: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
    toml::from_str(&text).map_err(|source| ConfigError::Invalid { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_states_the_defaults() {
        let shipped: File = toml::from_str(include_str!("../config.toml")).unwrap();
        assert_eq!(format!("{shipped:?}"), format!("{:?}", File::default()));
    }

    #[test]
    fn the_shipped_file_names_every_setting() {
        let shipped: toml::Table = toml::from_str(include_str!("../config.toml")).unwrap();
        let debug = format!("{:?}", File::default());
        let named: usize = shipped.values().filter_map(toml::Value::as_table).map(toml::Table::len).sum();
        // `public_url` has no value to show; it stands in a comment.
        let settings = debug.matches(": ").count() - shipped.len();
        assert_eq!(named + 1, settings);
    }

    #[test]
    fn errors_name_the_key() {
        for (text, named) in [
            ("[limits]\nmax_payloat = 1", "max_payloat"),
            ("[session]\nping_interval = \"soon\"", "ping_interval"),
            ("[llm]\npolicy = \"closed\"", "closed"),
        ] {
            let error = toml::from_str::<File>(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}

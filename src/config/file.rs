//! `config.toml`: every setting with its default, and the values that make no sense.

use std::{net::IpAddr, path::PathBuf};

use actors::logs::MAX_OLD_FILES;
use serde::Deserialize;

use crate::telemetry::LogConfig;

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
        /// See [`Access::allowed_hosts`](crate::access::Access::allowed_hosts).
        allowed_hosts: Vec<String> = Vec::new(),
        /// See [`Access::allowed_origins`](crate::access::Access::allowed_origins).
        allowed_origins: Vec<String> = Vec::new(),
        /// The address under which a proxy publishes the broker; its host and origin are allowed.
        public_url: Option<String> = None,
        /// See [`Access::trusted_proxies`](crate::access::Access::trusted_proxies).
        trusted_proxies: Vec<IpAddr> = Vec::new(),
        /// HTTP workers; 0 for one per core. With one, the shared actors that wait for no disk run on its thread.
        workers: usize = 0,
        /// Connections per worker.
        max_connections: usize = 100_000,
        /// Connections that may wait to be accepted.
        backlog: u32 = 4096,
        /// Bytes of an HTTP response that are buffered before they are written.
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
        /// Milliseconds that a pong may take when the client has come back by another connection.
        proof_timeout: u64 = 3000,
        /// Milliseconds that a WebSocket may take to finish an upgrade.
        upgrade_timeout: u64 = 10_000,
        /// Milliseconds that a WebSocket has to end once its session has.
        close_timeout: u64 = 2000,
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
        max_packets_per_payload: usize = 65_536,
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
        /// Milliseconds.
        commit_pause: u64 = 1,
        max_waiting: usize = 65_536,
        max_waiting_bytes: usize = 64 * 1024 * 1024,
        messages_per_room: usize = 2000,
        bytes_per_room: usize = 16 * 1024 * 1024,
    }
}

section! {
    /// `[rooms]`
    RoomsSection {
        /// 0 for one per core; with a single worker, one on its thread.
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
    pub(super) server: Server,
    pub(super) session: Session,
    pub(super) limits: LimitsSection,
    pub(super) llm: Llm,
    pub(super) streams: Streams,
    pub(super) trust: TrustSection,
    pub(super) history: HistorySection,
    pub(super) rooms: RoomsSection,
    pub(super) demo: DemoSection,
    pub(super) log: LogConfig,
}

impl File {
    /// Values that no broker can work with, each with its key.
    pub(crate) fn problems(&self) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
        let positive = [
            ("session.ping_interval", self.session.ping_interval),
            ("session.ping_timeout", self.session.ping_timeout),
            ("session.proof_timeout", self.session.proof_timeout),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_states_the_defaults() {
        let shipped: File = toml::from_str(include_str!("../../config.toml")).unwrap();
        assert_eq!(format!("{shipped:?}"), format!("{:?}", File::default()));
    }

    #[test]
    fn the_shipped_file_names_every_setting() {
        let shipped: toml::Table = toml::from_str(include_str!("../../config.toml")).unwrap();
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

//! Counters and gauges, in the words of the settings that bound what they count.

use std::sync::Arc;

use framing::{
    close::CloseReason,
    error::{JsonError, PayloadError, ProtocolError},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Label of [`Metrics::sessions_closed`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Label of the limits' counter.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Limit {
    limit: &'static str,
}

/// Everything that one broker counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Engine.IO sessions opened.
    sessions_opened: Counter,
    sessions_closed: Family<Reason, Counter>,
    /// Sessions open now.
    sessions: Gauge,
    /// Connections open now.
    pub connections: Gauge,
    /// Sessions that moved from polling to WebSocket.
    pub upgrades: Counter,
    /// Messages that arrived where a session had been before it moved.
    pub handed_on: Counter,
    /// Frames received.
    pub frames_in: Counter,
    /// WebSocket frames written; many may leave in one system call.
    pub frames_out: Counter,
    /// Outboxes that overflowed: slow consumers.
    pub outbox_overflows: Counter,
    /// Times that a peer was not read because it could not be answered.
    pub reads_held: Counter,
    /// LLM requests forwarded.
    pub requests_opened: Counter,
    /// LLM requests refused.
    pub requests_refused: Counter,
    /// LLM requests that timed out or lost their target.
    pub requests_failed: Counter,
    /// LLM requests that are open, or were answered a short while ago.
    pub open_requests: Gauge,
    /// Authenticated namespace sockets.
    pub sockets: Gauge,
    /// Rooms that are there.
    pub rooms: Gauge,
    /// Rooms that stopped without being asked to, and were started again.
    pub rooms_restarted: Counter,
    /// Clients that have a socket, extensions aside.
    pub clients: Gauge,
    /// Extensions that have a socket.
    pub extensions: Gauge,
    /// Streams that extensions have open.
    pub open_streams: Gauge,
    /// Log entries that stand in no file.
    pub log_entries_lost: Counter,
    /// Pieces of text that extensions sent.
    pub chunks_in: Counter,
    /// Writes of text to requesters.
    pub chunks_out: Counter,
    /// Streams whose text could not be delivered.
    pub streams_dropped: Counter,
    /// Questions of sessions to the shared actors that are open.
    questions: Gauge,
    /// Changes of the history that are committed.
    pub history_changes: Counter,
    /// Transactions that stored them.
    pub history_commits: Counter,
    /// Calls whose changes were refused, or not stored.
    pub history_failures: Counter,
    /// Messages dropped because their room had more than it may keep.
    pub history_trimmed: Counter,
    /// Changes that are not committed yet.
    pub history_waiting: Gauge,
    limits: Family<Limit, Counter>,
}

/// Somebody's part of a gauge. It is taken back when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    gauge: Gauge,
    value: i64,
}

impl Share {
    /// No part yet.
    pub(crate) fn of(gauge: &Gauge) -> Self {
        Self { gauge: gauge.clone(), value: 0 }
    }

    pub(crate) fn set(&mut self, value: usize) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        if value != self.value {
            self.gauge.inc_by(value - self.value);
            self.value = value;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// One open question to a shared actor; it is over when this is dropped.
pub(crate) struct OpenQuestion(Arc<Metrics>);

impl OpenQuestion {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        metrics.questions.inc();
        Self(metrics)
    }
}

impl Drop for OpenQuestion {
    fn drop(&mut self) {
        self.0.questions.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("newage");
        macro_rules! register {
            ($type:ty, $name:literal, $help:literal) => {{
                let metric = <$type>::default();
                registry.register($name, $help, metric.clone());
                metric
            }};
        }
        let sessions_opened = register!(Counter, "sessions_opened", "Engine.IO sessions opened");
        let sessions_closed =
            register!(Family<Reason, Counter>, "sessions_closed", "Engine.IO sessions closed, by reason");
        let sessions = register!(Gauge, "sessions", "Engine.IO sessions open");
        let connections = register!(Gauge, "connections", "connections open, of any kind");
        let upgrades = register!(Counter, "upgrades", "sessions that moved from polling to WebSocket");
        let handed_on =
            register!(Counter, "handed_on", "messages that arrived at a session's address before its move");
        let frames_in = register!(Counter, "frames_in", "frames received");
        let frames_out = register!(Counter, "frames_out", "WebSocket frames written");
        let outbox_overflows = register!(Counter, "outbox_overflows", "sessions closed as slow consumers");
        let reads_held = register!(
            Counter,
            "reads_held",
            "times that a peer was not read because it could not be answered"
        );
        let requests_opened = register!(Counter, "llm_requests_opened", "LLM requests forwarded");
        let requests_refused = register!(Counter, "llm_requests_refused", "LLM requests refused");
        let requests_failed =
            register!(Counter, "llm_requests_failed", "LLM requests that timed out or lost their target");
        let open_requests = register!(Gauge, "llm_requests", "LLM requests open or just answered");
        let sockets = register!(Gauge, "sockets", "authenticated namespace sockets");
        let rooms = register!(Gauge, "rooms", "rooms that are there");
        let rooms_restarted =
            register!(Counter, "rooms_restarted", "rooms that stopped unasked and were started again");
        let clients = register!(Gauge, "clients", "clients that have a socket, extensions aside");
        let extensions = register!(Gauge, "extensions", "extensions that have a socket");
        let open_streams = register!(Gauge, "open_streams", "streams that extensions have open");
        let log_entries_lost = register!(Counter, "log_entries_lost", "log entries that stand in no file");
        let chunks_in = register!(Counter, "chunks_in", "pieces of text received from extensions");
        let chunks_out = register!(Counter, "chunks_out", "writes of text to requesters");
        let streams_dropped =
            register!(Counter, "streams_dropped", "streams whose text could not be delivered");
        let questions = register!(Gauge, "questions", "questions of sessions to the shared actors, open");
        let history_changes = register!(Counter, "history_changes", "changes stored in the history");
        let history_commits = register!(Counter, "history_commits", "transactions of the history");
        let history_failures =
            register!(Counter, "history_failures", "calls whose changes the history did not store");
        let history_trimmed =
            register!(Counter, "history_trimmed", "messages dropped beyond the bounds of their room");
        let history_waiting = register!(Gauge, "history_waiting", "changes that wait to be committed");
        let limits =
            register!(Family<Limit, Counter>, "limit_reached", "times a configured bound refused something");
        Self {
            registry,
            sessions_opened,
            sessions_closed,
            sessions,
            connections,
            upgrades,
            handed_on,
            frames_in,
            frames_out,
            outbox_overflows,
            reads_held,
            requests_opened,
            requests_refused,
            requests_failed,
            open_requests,
            sockets,
            rooms,
            rooms_restarted,
            clients,
            extensions,
            open_streams,
            log_entries_lost,
            chunks_in,
            chunks_out,
            streams_dropped,
            questions,
            history_changes,
            history_commits,
            history_failures,
            history_trimmed,
            history_waiting,
            limits,
        }
    }
}

/// The setting whose bound ends a session for that reason.
fn bound_of(reason: &CloseReason) -> Option<&'static str> {
    Some(match reason {
        CloseReason::TooLarge { .. }
        | CloseReason::ParseError(ProtocolError::TooLarge { .. })
        | CloseReason::BadPayload(PayloadError::TooLarge { .. }) => "limits.max_payload",
        CloseReason::ParseError(ProtocolError::TooManyAttachments { .. }) => "limits.max_attachments",
        CloseReason::ParseError(ProtocolError::Json(JsonError::TooDeep { .. })) => "limits.max_depth",
        CloseReason::BadPayload(PayloadError::TooManyPackets { .. }) => "limits.max_packets_per_payload",
        CloseReason::PingTimeout => "session.ping_timeout",
        CloseReason::ConnectTimeout => "session.connect_timeout",
        CloseReason::TooManyFragments { .. } => "limits.max_fragments",
        CloseReason::TooManyNamespaces { .. } => "limits.max_namespaces",
        _ => return None,
    })
}

impl Metrics {
    /// Sessions that are open.
    pub fn open_sessions(&self) -> usize {
        usize::try_from(self.sessions.get()).unwrap_or_default()
    }

    /// Questions to the shared actors that are open.
    pub(crate) fn open_questions(&self) -> usize {
        usize::try_from(self.questions.get()).unwrap_or_default()
    }

    /// Counts the beginning of a session.
    pub fn session_opened(&self) {
        self.sessions.inc();
        self.sessions_opened.inc();
    }

    /// Counts the end of a session.
    pub fn session_closed(&self, reason: &CloseReason) {
        self.sessions.dec();
        if let Some(limit) = bound_of(reason) {
            self.limit_reached(limit);
        }
        self.sessions_closed.get_or_create(&Reason { reason: reason.text() }).inc();
    }

    /// Counts a bound, named as in `config.toml`, that refused something.
    pub fn limit_reached(&self, limit: &'static str) {
        self.limit_reached_times(limit, 1);
    }

    /// The same, several times or none.
    #[inline]
    pub fn limit_reached_times(&self, limit: &'static str, times: u64) {
        if times > 0 {
            self.limits.get_or_create(&Limit { limit }).inc_by(times);
        }
    }

    /// The OpenMetrics text of everything.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

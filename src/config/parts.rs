//! What each part of the broker is given of the configuration.

use std::{path::Path, time::Duration};

use actors::{
    history::{BatchLimits, HistoryConfig, Place, Retention, Synchronous, WaitingLimits},
    llm_router::RouterLimits,
    namespaces::{BrokerLimits, LlmPolicy},
    outbox::OutboxLimits,
    registry::RegistryLimits,
    rooms::{RoomLimits, RoomsConfig},
    session::{SessionConfig, socketio::SocketIoConfig},
    stream::{InboundLimits, OutboundLimits, outbound::StreamGrouping},
    target::FanOutLimits,
    trust::{InvalidKeyPolicy, NetworkSafeScope, TrustConfig},
};
use framing::{ByteString, limits::Limits};

use super::{
    Config, Durability, Grouping, HistoryMode, KeyPolicy, LimitsSection, Policy, RoomsSection, Scope, Server,
};
use crate::{access::Access, transport::EndpointLimits};

impl Config {
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
            close_timeout: millis(self.session.close_timeout),
            proof_timeout: millis(self.session.proof_timeout),
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
            max_answer_outputs: self.limits.max_outputs,
            mailbox,
            room: RoomLimits {
                members: self.limits.members_per_room,
                queued: max_queued,
                open_requests: max_open_requests,
                context: self.limits.outbox_bytes / 2,
                log: self.retention(),
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
            // As many as one packet may have.
            max_unattributed_bytes: self.limits.max_payload,
            max_outputs: self.limits.max_outputs,
            max_named_messages: self.history.messages_per_room,
        }
    }

    /// What is kept of a room, in memory and in the history.
    fn retention(&self) -> Retention {
        Retention { messages: self.history.messages_per_room, bytes: self.history.bytes_per_room }
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
                pause: Duration::from_millis(history.commit_pause),
            },
            waiting: WaitingLimits { changes: history.max_waiting, bytes: history.max_waiting_bytes },
            retention: self.retention(),
        }
    }

    /// The files of the history, below the data directory: what everybody wrote in every room.
    fn history_files(&self) -> Vec<String> {
        let config = self.history_config();
        let Place::File(path) = &config.place else { return Vec::new() };
        let Some(folder) = path.strip_prefix(&self.data).ok().and_then(Path::parent) else {
            return Vec::new();
        };
        config.file_names().into_iter().map(|name| folder.join(name).to_string_lossy().into_owned()).collect()
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
            restricted_files: trust.restricted_files.iter().cloned().chain(self.history_files()).collect(),
            ..TrustConfig::new(&self.data)
        }
    }
}

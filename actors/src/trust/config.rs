//! Everything about trust that is configurable and has no place in `server_settings.json`.

use std::path::PathBuf;
use std::time::Duration;

use crate::ids::ClientId;

/// For whom `networkSafe: true` holds (spec §2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkSafeScope {
    /// For local peers; all others need their key.
    #[default]
    Local,
    /// For everybody, as in the reference.
    Any,
}

/// What an invalid key leads to (spec §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InvalidKeyPolicy {
    /// The namespace is disconnected.
    #[default]
    Disconnect,
    /// The socket stays in a room of its own, where only `LOGIN` and goodbye are served.
    TempRoom,
}

/// Settings of the trust actor and the server functions.
#[derive(Debug, Clone)]
pub struct TrustConfig {
    /// The server root, which holds `settings/`, `keys/` and `data/`. Must exist.
    pub root: PathBuf,
    /// For whom `networkSafe` holds.
    pub network_safe_scope: NetworkSafeScope,
    /// Whether a peer on loopback gets its key without a password (spec §2.6).
    pub get_key_from_loopback: bool,
    /// What an invalid key leads to.
    pub invalid_key_policy: InvalidKeyPolicy,
    /// Ids that are trusted as plain clients without a file, with `*` for any text (spec §9.1).
    /// Never matches an extension id or `monitor`; a file of that id takes precedence.
    pub trust_patterns: Vec<String>,
    /// Ids of built-in targets; a handshake with one is not trusted (spec §5.1 rule 5).
    pub reserved_ids: Vec<ClientId>,
    /// Failed key or password checks per (address, client) and minute before the ban.
    pub failed_checks_per_minute: u32,
    /// Length of the ban.
    pub ban: Duration,
    /// `LOGIN` attempts per (address, client) and minute.
    pub login_attempts_per_minute: u32,
    /// Number of (address, client) pairs that are remembered; the oldest is forgotten.
    pub max_throttled: usize,
    /// Password hashes computed at once. One of them may be for a peer that is banned.
    pub max_concurrent_hashes: usize,
    /// Password hashes that may wait for their turn, and as many operations on keys; beyond, the answer is
    /// `busy`.
    pub max_waiting_hashes: usize,
    /// bcrypt's cost for new hashes (spec §2.3: 10).
    pub bcrypt_cost: u32,
    /// Highest cost of a stored hash that is still verified; 15 takes some two seconds.
    pub max_bcrypt_cost: u32,
    /// Largest JSON file read or written, in bytes.
    pub max_json_bytes: u64,
    /// Largest `keys/clients.json`, in bytes; a record takes some 150.
    pub max_key_file_bytes: u64,
    /// How long another process that changes the settings or key files is waited for.
    pub lock_timeout: Duration,
    /// Session keys kept in memory; reached only with trust patterns.
    pub max_session_keys: usize,
    /// Deepest nesting of a JSON file or argument.
    pub max_json_depth: usize,
    /// Client files read; further ones, by name, are ignored.
    pub max_client_files: usize,
    /// Files one client may keep below `data/<clientId>/`.
    pub max_data_files: usize,
    /// Server functions and settings writes that run or wait, at most half of them for one client.
    pub max_file_jobs: usize,
    /// Shortest time between two scans that an unknown client id causes.
    pub rescan_interval: Duration,
    /// How long the folder must be quiet before a watched change is read.
    pub watch_debounce: Duration,
    /// Time between two looks at the folders while no change is told: a watch says nothing of a folder that takes the
    /// place of the watched one. Where the system cannot watch, each of them is a scan.
    pub poll_interval: Duration,
    /// Relative paths that file functions refuse, in addition to spec §6.3 and `restrictedFiles`.
    pub restricted_files: Vec<String>,
    /// Static mappings kept in memory (spec §6.3 rule 5).
    pub max_static_resources: usize,
    /// URL prefixes that no static mapping may shadow; the Socket.IO path is added to them.
    pub reserved_urls: Vec<String>,
}

impl TrustConfig {
    /// The defaults of spec appendix A for a server root.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            network_safe_scope: NetworkSafeScope::default(),
            get_key_from_loopback: true,
            invalid_key_policy: InvalidKeyPolicy::default(),
            trust_patterns: Vec::new(),
            reserved_ids: Vec::new(),
            failed_checks_per_minute: 10,
            ban: Duration::from_secs(60),
            login_attempts_per_minute: 5,
            max_throttled: 10_000,
            max_concurrent_hashes: 2,
            max_waiting_hashes: 256,
            bcrypt_cost: 10,
            max_bcrypt_cost: 15,
            max_json_bytes: 1024 * 1024,
            max_key_file_bytes: 8 * 1024 * 1024,
            lock_timeout: Duration::from_secs(5),
            max_session_keys: 10_000,
            max_json_depth: 64,
            max_client_files: 10_000,
            max_data_files: 256,
            max_file_jobs: 64,
            rescan_interval: Duration::from_secs(1),
            watch_debounce: Duration::from_millis(150),
            poll_interval: Duration::from_secs(5),
            restricted_files: Vec::new(),
            max_static_resources: 256,
            reserved_urls: ["/", "/socket.io", "/lib", "/public", "/index.html"].map(str::to_owned).to_vec(),
        }
    }
}

//! The truth about trust in memory, and its reading from disk (spec §2).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use log::{error, info, warn};
use parking_lot::Mutex;

use super::atomic_file::{self, Mode};
use super::client_file::ClientFile;
use super::config::TrustConfig;
use super::file_lock::FolderLock;
use super::json_text::{JsonProblem, RawObject};
use super::keys::KeyStore;
use super::messages::Grant;
use super::password::{self, Stored};
use super::settings_file::{self, ServerSettings};
use super::snapshot::{Client, TrustSnapshot};
use crate::ids::ClientId;
use crate::metrics::Metrics;

/// The folder of the settings files inside the root.
pub const SETTINGS: &str = "settings";

/// How often a file is read again that somebody changes between its reading and its writing.
pub(super) const ATTEMPTS: usize = 3;

const MAX_JSON_BYTES: &str = "trust.max_json_bytes";

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The root is missing or cannot be entered.
    #[error("cannot use the server root {path}: {source}")]
    Root {
        /// The configured root.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The settings folder cannot be made or read.
    #[error("cannot use the settings folder: {0}")]
    Settings(io::Error),
    /// The system has no randomness to offer.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// The store: snapshots for reading without asking, and the files behind them.
pub struct TrustStore {
    config: TrustConfig,
    root: PathBuf,
    snapshot: Arc<ArcSwap<TrustSnapshot>>,
    settings: Arc<ArcSwap<ServerSettings>>,
    keys: KeyStore,
    metrics: Arc<Metrics>,
    /// Is told the clients when somebody's rights change.
    grants_changed: OnceLock<Box<dyn Fn(Arc<TrustSnapshot>) + Send + Sync>>,
    /// Is told `debugMode` when it changes.
    debug_mode_changed: OnceLock<Box<dyn Fn(bool) + Send + Sync>>,
    /// One writer of JSON files below the root; scans take it too, because they replace plain passwords.
    pub(super) files: Mutex<Scan>,
}

/// What the last scan saw.
#[derive(Default)]
pub(super) struct Scan {
    started: Option<Instant>,
    /// File → problem, so that each is logged once.
    problems: HashMap<String, String>,
    /// Hashes of plain passwords that are still on disk, by file and plain text: a read-only folder must not cost
    /// a hash at every scan.
    unwritten: HashMap<String, (String, String)>,
    /// What is in force of the server settings, once they could be read.
    settings: Option<RawObject>,
    /// The last good version of each client file, which stays in force while the file is broken.
    good: HashMap<String, Client>,
}

/// Why a client file is not used as it is.
enum Unusable {
    /// It went away meanwhile.
    Gone,
    /// It cannot be read, or is no JSON: somebody is working on it.
    Broken(String),
    /// It says nothing about a client.
    NoClient(String),
}

/// The files of a settings folder that describe clients, by name.
pub(super) fn client_files(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        // Names that are no text cannot be addressed by a client either.
        if let Ok(name) = entry?.file_name().into_string()
            && name.ends_with(".json")
            && !name.starts_with('.')
            && name != settings_file::FILE
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

impl TrustStore {
    /// Reads everything. Blocks; call it before the port opens (spec §8.1 8-50).
    pub fn open(config: TrustConfig, metrics: Arc<Metrics>) -> Result<Self, TrustError> {
        let root = fs::canonicalize(&config.root)
            .map_err(|source| TrustError::Root { path: config.root.clone(), source })?;
        fs::create_dir_all(root.join(SETTINGS)).map_err(TrustError::Settings)?;
        let keys = KeyStore::open(&root, &config, metrics.clone()).map_err(TrustError::Random)?;
        let store = Self {
            root,
            snapshot: Arc::default(),
            settings: Arc::new(ArcSwap::from_pointee(ServerSettings::default())),
            keys,
            metrics,
            grants_changed: OnceLock::new(),
            debug_mode_changed: OnceLock::new(),
            files: Mutex::default(),
            config,
        };
        store.create_settings().map_err(TrustError::Settings)?;
        store.scan(&mut store.files.lock()).map_err(TrustError::Settings)?;
        Ok(store)
    }

    /// The configuration.
    pub fn config(&self) -> &TrustConfig {
        &self.config
    }

    /// The counters.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Reads a JSON file of at most `trust.max_json_bytes`. Blocks.
    pub(crate) fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let read = atomic_file::read(path, self.config.max_json_bytes);
        if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::FileTooLarge) {
            self.metrics.limit_reached(MAX_JSON_BYTES);
        }
        read
    }

    /// Whether a text is longer than a JSON file may be; counted.
    pub(crate) fn is_too_long(&self, text: &str) -> bool {
        let too_long = text.len() as u64 > self.config.max_json_bytes;
        if too_long {
            self.metrics.limit_reached(MAX_JSON_BYTES);
        }
        too_long
    }

    /// The server root, with symlinks resolved.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The clients, to be read without asking the actor.
    pub fn snapshot(&self) -> Arc<ArcSwap<TrustSnapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// The server settings, to be read without asking the actor.
    pub fn settings(&self) -> Arc<ArcSwap<ServerSettings>> {
        Arc::clone(&self.settings)
    }

    /// Has each change of `debugMode` told from here on, whoever makes it. The first caller counts.
    pub fn on_debug_mode(&self, tell: impl Fn(bool) + Send + Sync + 'static) {
        // A second caller is a fault of ours that costs a notice and nothing else.
        let _ = self.debug_mode_changed.set(Box::new(tell));
    }

    /// Has the clients told from here on whenever somebody is trusted, is not any more, or changes its rights.
    /// The first caller counts.
    pub fn on_grants(&self, tell: impl Fn(Arc<TrustSnapshot>) + Send + Sync + 'static) {
        // A second caller is a fault of ours that costs a notice and nothing else.
        let _ = self.grants_changed.set(Box::new(tell));
    }

    /// The keys.
    pub fn keys(&self) -> &KeyStore {
        &self.keys
    }

    /// The rights of an id, if it is trusted.
    pub fn grant(&self, id: &ClientId) -> Option<Grant> {
        self.snapshot.load().grant(id)
    }

    /// The password hash of an id: from its file, else from the legacy map of `server_settings.json`.
    pub(super) fn password(&self, id: &ClientId) -> Option<Arc<str>> {
        let own = self.snapshot.load().entry(id.as_str()).and_then(|entry| entry.password.clone());
        own.or_else(|| self.settings.load().legacy_passwords.get(id.as_str()).map(|hash| Arc::from(&**hash)))
    }

    pub(super) fn settings_path(&self) -> PathBuf {
        self.root.join(SETTINGS).join(settings_file::FILE)
    }

    fn create_settings(&self) -> io::Result<()> {
        let path = self.settings_path();
        if path.symlink_metadata().is_ok() {
            return Ok(());
        }
        let mut object = RawObject::default();
        if let Some(defaults) = settings_file::defaults().as_object() {
            defaults.iter().for_each(|(key, value)| object.set(key, value));
        }
        info!(file = settings_file::FILE; "settings file created with defaults");
        atomic_file::write(&path, object.to_pretty().as_bytes(), Mode::Keep)
    }

    /// Reads settings and keys again. Blocks.
    pub fn rescan(&self) {
        self.rescan_since(Instant::now());
    }

    /// Reads settings and keys again, unless a scan began after `asked`. Blocks.
    pub fn rescan_since(&self, asked: Instant) {
        let mut scan = self.files.lock();
        if scan.started.is_none_or(|started| started < asked) {
            self.rescan_locked(&mut scan);
        }
    }

    pub(super) fn rescan_locked(&self, scan: &mut Scan) {
        if let Err(error) = self.scan(scan) {
            error!(error:% = error.kind(); "settings folder not read, the last state stays");
        }
        self.keys.reload();
    }

    fn scan(&self, scan: &mut Scan) -> io::Result<()> {
        scan.started = Some(Instant::now());
        let folder = self.root.join(SETTINGS);
        let mut names = client_files(&folder)?;
        if names.len() > self.config.max_client_files {
            self.metrics.limit_reached("trust.max_client_files");
            warn!(files = names.len(), limit = self.config.max_client_files; "too many client files, the last are ignored");
            names.truncate(self.config.max_client_files);
        }

        let mut problems = HashMap::new();
        self.read_settings(scan, &mut problems);
        let mut snapshot = TrustSnapshot::new(&self.config);
        scan.unwritten.retain(|name, _| names.binary_search(name).is_ok());
        scan.good.retain(|name, _| names.binary_search(name).is_ok());
        for name in &names {
            match self.read_client(&folder.join(name), name, scan) {
                Ok(client) => {
                    if !client.file.says_trust {
                        problems.insert(name.clone(), "isTrust is missing".to_owned());
                    }
                    scan.good.insert(name.clone(), client.clone());
                    snapshot.add(name.clone(), client);
                }
                Err(Unusable::Broken(problem)) => {
                    problems.insert(name.clone(), problem);
                    if let Some(client) = scan.good.get(name) {
                        snapshot.add(name.clone(), client.clone());
                    }
                }
                Err(Unusable::NoClient(problem)) => {
                    scan.good.remove(name);
                    problems.insert(name.clone(), problem);
                }
                Err(Unusable::Gone) => {
                    scan.good.remove(name);
                }
            }
        }
        for (file, problem) in &problems {
            if scan.problems.get(file) != Some(problem) {
                error!(file:%, problem:%; "settings file not used as it is, what was last read of it stays");
            }
        }
        for file in scan.problems.keys().filter(|file| !problems.contains_key(*file)) {
            if file == settings_file::FILE || names.binary_search(file).is_ok() {
                info!(file:%; "settings file in use again");
            }
        }
        scan.problems = problems;

        self.keys.retain(|id| snapshot.grant(id).is_some());
        let trusted = snapshot.trusted_ids();
        let snapshot = Arc::new(snapshot);
        let before = self.snapshot.swap(Arc::clone(&snapshot));
        if snapshot.grants_differ(&before)
            && let Some(tell) = self.grants_changed.get()
        {
            tell(snapshot);
        }
        // Behind the files: whoever adds a client stores its key first, which then is there.
        self.keys.reload();
        self.keys.ensure(&trusted);
        Ok(())
    }

    /// The right to write in a folder; none where there are no locks, for nothing can be written there. Blocks.
    pub(super) fn lock_folder(&self, folder: &Path) -> io::Result<Option<FolderLock>> {
        match FolderLock::take(folder, self.config.lock_timeout) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.metrics.limit_reached("trust.lock_timeout");
                Err(error)
            }
            lock => Ok(lock.ok()),
        }
    }

    /// Writes a file that still holds what was read of it, `None` if it was not there: editors know no locks. Whether
    /// it did. Blocks.
    pub(super) fn write_over(&self, path: &Path, read: Option<&[u8]>, text: &str) -> io::Result<bool> {
        let still = || match self.read_file(path) {
            Ok(bytes) => read == Some(&*bytes),
            Err(error) => read.is_none() && error.kind() == io::ErrorKind::NotFound,
        };
        atomic_file::write_if(path, text.as_bytes(), Mode::Keep, still)
    }

    fn read_object(&self, path: &Path) -> Result<(Vec<u8>, RawObject), Unusable> {
        let bytes = self.read_file(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Unusable::Gone,
            kind => Unusable::Broken(kind.to_string()),
        })?;
        let object = RawObject::parse_bytes(&bytes, self.config.max_json_bytes, self.config.max_json_depth)
            .map_err(|problem: JsonProblem| Unusable::Broken(problem.to_string()))?;
        Ok((bytes, object))
    }

    fn read_settings(&self, scan: &mut Scan, problems: &mut HashMap<String, String>) {
        let file = settings_file::FILE.to_owned();
        match self.read_object(&self.settings_path()) {
            Ok((_, object)) => {
                let (settings, in_force, unusable) =
                    ServerSettings::read_over(object, scan.settings.as_ref());
                scan.settings = Some(in_force);
                if !unusable.is_empty() {
                    problems.insert(file, format!("unusable: {}", unusable.join(", ")));
                }
                let debug_mode = settings.debug_mode;
                let before = self.settings.load_full();
                if *before != settings {
                    self.settings.store(Arc::new(settings));
                }
                if before.debug_mode != debug_mode
                    && let Some(tell) = self.debug_mode_changed.get()
                {
                    tell(debug_mode);
                }
            }
            // The settings that were last read stay in force; at start, the defaults. They check no keys, which is for a
            // file to say that checks them no more.
            Err(Unusable::Broken(mut problem) | Unusable::NoClient(mut problem)) => {
                let text = || self.read_file(&self.settings_path()).unwrap_or_default();
                if scan.settings.is_none() && !settings_file::says_network_safe(&text()) {
                    problem.push_str(" (keys are checked)");
                    if self.settings.load().network_safe {
                        let settings = ServerSettings { network_safe: false, ..ServerSettings::default() };
                        self.settings.store(Arc::new(settings));
                    }
                }
                problems.insert(file, problem);
            }
            Err(Unusable::Gone) => {
                problems.insert(file, "missing".to_owned());
            }
        }
    }

    fn read_client(&self, path: &Path, name: &str, scan: &mut Scan) -> Result<Client, Unusable> {
        for _ in 0..ATTEMPTS {
            let (read, object) = self.read_object(path)?;
            let file = ClientFile::read(&object).map_err(|error| Unusable::NoClient(error.to_string()))?;
            let Some(stored) = &file.password else {
                return Ok(Client { file, password: None });
            };
            let hash = self.hash_of(stored, name, scan)?;
            if !password::holds_plain(&object)
                || self.replace_password(path, name, (&read, object), &hash, scan)?
            {
                return Ok(Client { file, password: Some(Arc::from(hash)) });
            }
        }
        Err(Unusable::Broken("it changes all the time".to_owned()))
    }

    fn hash_of(&self, stored: &Stored, name: &str, scan: &mut Scan) -> Result<String, Unusable> {
        let plain = match stored {
            Stored::Hash(hash) => return Ok(hash.clone()),
            Stored::Plain(plain) => plain,
        };
        if let Some((_, hash)) = scan.unwritten.get(name).filter(|(text, _)| text == plain) {
            return Ok(hash.clone());
        }
        let hash = bcrypt::hash(plain, self.config.bcrypt_cost)
            .map_err(|_| Unusable::Broken("password cannot be hashed".to_owned()))?;
        scan.unwritten.insert(name.to_owned(), (plain.clone(), hash.clone()));
        Ok(hash)
    }

    /// Writes the hash into what was read of a file. Whether the file is still that, written or not: hashing takes
    /// long, and whoever has edited the file meanwhile must find it as he left it.
    fn replace_password(
        &self,
        path: &Path,
        name: &str,
        (read, mut object): (&[u8], RawObject),
        hash: &str,
        scan: &mut Scan,
    ) -> Result<bool, Unusable> {
        password::replace_plain(&mut object, hash);
        let Ok(_of_all_processes) = self.lock_folder(path.parent().unwrap_or(&self.root)) else {
            error!(file = name; "plain password stays in the file, another process holds the folder");
            return Ok(true);
        };
        match self.write_over(path, Some(read), &object.to_pretty()) {
            Ok(true) => {
                scan.unwritten.remove(name);
                info!(file = name; "plain password replaced by its hash");
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(error) => {
                error!(file = name, error:% = error.kind(); "plain password stays in the file");
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

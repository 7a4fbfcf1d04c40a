//! Keys: persistent ones as hashes in `keys/clients.json`, session keys in memory (spec §2.4).
//!
//! A key is compared with digests first: of the session key, of plaintext this process made, of a key that
//! already verified. Only a persistent key that was made by an earlier process costs a bcrypt comparison,
//! and that once.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use log::{error, warn};
use parking_lot::{Mutex, RwLock};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::atomic_file::{self, Mode};
use super::config::TrustConfig;
use super::file_lock::FolderLock;
use super::json_text::{self, JsonProblem};
use super::messages::{KeyError, KeyListing};
use super::password;
use crate::ids::ClientId;
use crate::maps::FastMap;
use crate::metrics::Metrics;

/// The folder of the key file inside the root.
pub const FOLDER: &str = "keys";
/// The file's name inside [`FOLDER`].
pub const FILE: &str = "clients.json";

/// Records made without being asked for are written in groups of this size.
const BATCH: usize = 16;

const MAX_BYTES: &str = "trust.max_key_file_bytes";

type Digest = [u8; 32];

/// What a comparison without hashing says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quick {
    /// The key is valid.
    Valid,
    /// The key is not valid.
    Invalid,
    /// Only a bcrypt comparison with this hash can tell; report its success to [`KeyStore::verified`].
    Hash(String),
}

/// The key store. Methods marked "blocks" belong on the blocking pool.
pub struct KeyStore {
    folder: PathBuf,
    max_bytes: u64,
    max_depth: usize,
    max_sessions: usize,
    lock_timeout: Duration,
    cost: u32,
    metrics: Arc<Metrics>,
    secret: [u8; 32],
    /// Held across read, hash-free change and write of the file: one writer.
    writer: Mutex<()>,
    /// Held for moments only, never across I/O or hashing.
    state: RwLock<State>,
    /// Is told the ids whose keys were removed, here or by another process.
    removed: OnceLock<Box<dyn Fn(ClientId) + Send + Sync>>,
}

#[derive(Default)]
struct State {
    /// The file's content, unknown records and fields included.
    records: Map<String, Value>,
    /// Why the file cannot be used; it is then never written.
    damaged: bool,
    stamp: Option<Stamp>,
    /// Plaintext of persistent keys that this process made, with or without their record on disk.
    plain: FastMap<ClientId, String>,
    sessions: FastMap<ClientId, String>,
    verified: FastMap<ClientId, Digest>,
    /// Ids that were given a key, or had one, since this process began: a removed key is not made anew.
    ensured: HashSet<ClientId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    /// Of two writes within one tick of the clock; 0 where there is none.
    inode: u64,
}

impl State {
    fn hash(&self, id: &str) -> Option<&str> {
        self.records.get(id)?.get("key")?.as_str().filter(|key| key.starts_with('$'))
    }

    /// Forgets what is known of an id's keys, the record apart.
    fn forget(&mut self, id: &ClientId) {
        self.sessions.remove(id);
        self.plain.remove(id);
        self.verified.remove(id);
    }
}

impl KeyStore {
    /// Opens the store below `keys/` of a root; the folder need not exist yet. Blocks.
    pub fn open(root: &Path, config: &TrustConfig, metrics: Arc<Metrics>) -> Result<Self, getrandom::Error> {
        let folder = root.join(FOLDER);
        // The folder is made now so that it can be watched; a failure will show again at the first write.
        let _ = private_folder(&folder);
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        let store = Self {
            folder,
            max_bytes: config.max_key_file_bytes,
            max_depth: config.max_json_depth,
            max_sessions: config.max_session_keys,
            lock_timeout: config.lock_timeout,
            cost: config.bcrypt_cost,
            metrics,
            secret,
            writer: Mutex::new(()),
            state: RwLock::default(),
            removed: OnceLock::new(),
        };
        store.reload();
        Ok(store)
    }

    /// Has each id told from here on whose keys are removed, by whomever. The first caller counts.
    pub fn on_removed(&self, tell: impl Fn(ClientId) + Send + Sync + 'static) {
        // A second caller is a fault of ours that costs a notice and nothing else.
        let _ = self.removed.set(Box::new(tell));
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Digest of a key, for comparisons whose timing tells nothing: the secret is not known outside.
    fn digest(&self, id: &ClientId, key: &str) -> Digest {
        let mut hasher = Sha256::new();
        hasher.update(self.secret);
        hasher.update((id.as_str().len() as u64).to_le_bytes());
        hasher.update(id.as_str());
        hasher.update(key);
        hasher.finalize().into()
    }

    /// Compares without hashing.
    pub fn quick(&self, id: &ClientId, key: &str) -> Quick {
        let given = self.digest(id, key);
        let state = self.state.read();
        let is = |known: &String| self.digest(id, known) == given;
        if state.sessions.get(id).is_some_and(is) {
            return Quick::Valid;
        }
        if let Some(plain) = state.plain.get(id) {
            return if is(plain) { Quick::Valid } else { Quick::Invalid };
        }
        match (state.verified.get(id), state.hash(id.as_str())) {
            (Some(digest), _) if *digest == given => Quick::Valid,
            // The hash has one key, and it is known to be another.
            (Some(_), _) | (None, None) => Quick::Invalid,
            (None, Some(hash)) => Quick::Hash(hash.to_owned()),
        }
    }

    /// Remembers that a key verified against a hash, unless the record changed meanwhile.
    pub fn verified(&self, id: &ClientId, key: &str, hash: &str) -> bool {
        let digest = self.digest(id, key);
        let mut state = self.state.write();
        let current = state.hash(id.as_str()) == Some(hash);
        if current {
            state.verified.insert(id.clone(), digest);
        }
        current
    }

    /// The session key of an id, made if there is none.
    pub fn session_key(&self, id: &ClientId) -> Result<String, KeyError> {
        if let Some(key) = self.state.read().sessions.get(id) {
            return Ok(key.clone());
        }
        let fresh = fresh_key()?;
        let mut state = self.state.write();
        // Only trust patterns admit more ids than there are files; they must not fill the memory.
        if state.sessions.len() >= self.max_sessions && !state.sessions.contains_key(id) {
            self.metrics.limit_reached("trust.max_session_keys");
            return Err(KeyError::Busy);
        }
        Ok(state.sessions.entry(id.clone()).or_insert(fresh).clone())
    }

    /// The plaintext of a key, if this process knows it: the persistent one, else the session key.
    pub fn plaintext(&self, id: &ClientId) -> Option<String> {
        let state = self.state.read();
        state.plain.get(id).or_else(|| state.sessions.get(id)).cloned()
    }

    /// The ids with a record, in the file's order, then those whose record is still being written.
    pub fn list(&self) -> Vec<KeyListing> {
        let state = self.state.read();
        let stored = state.records.iter().filter(|(_, record)| record.is_object()).map(|(id, record)| {
            let rooms = record.get("rooms").filter(|rooms| rooms.is_array());
            let rooms = rooms.cloned().unwrap_or_else(|| json!([]));
            KeyListing { client_id: id.clone(), rooms }
        });
        let mut pending: Vec<&str> =
            state.plain.keys().map(ClientId::as_str).filter(|id| !state.records.contains_key(*id)).collect();
        pending.sort_unstable();
        let pending = pending.into_iter().map(|id| KeyListing { client_id: id.to_owned(), rooms: json!([]) });
        stored.chain(pending).collect()
    }

    /// Gives every id that this process has not seen before and that has no record a key, at once and in
    /// memory; [`KeyStore::persist_pending`] stores them. A key that was removed stays removed.
    pub fn ensure(&self, ids: &[ClientId]) {
        let mut state = self.state.write();
        for id in ids {
            if state.ensured.insert(id.clone())
                && !state.records.contains_key(id.as_str())
                && !state.plain.contains_key(id)
                && let Ok(key) = fresh_key()
            {
                state.plain.insert(id.clone(), key);
            }
        }
    }

    /// Whether keys wait to be stored, and can be.
    pub fn has_pending(&self) -> bool {
        let state = self.state.read();
        !state.damaged && state.plain.keys().any(|id| !state.records.contains_key(id.as_str()))
    }

    #[cfg(test)]
    pub(super) fn has_pending_of(&self, id: &ClientId) -> bool {
        self.state.read().plain.contains_key(id)
    }

    /// Forgets what is in memory for ids that are no longer trusted.
    pub fn retain(&self, trusted: impl Fn(&ClientId) -> bool) {
        let mut state = self.state.write();
        state.sessions.retain(|id, _| trusted(id));
        state.plain.retain(|id, _| trusted(id));
        state.verified.retain(|id, _| trusted(id));
        state.ensured.retain(|id| trusted(id));
    }

    /// Hashes and writes the keys that [`KeyStore::ensure`] made. Blocks, for long if there are many.
    pub fn persist_pending(&self) -> Result<(), KeyError> {
        loop {
            let mut batch: Vec<(ClientId, String)> = {
                let state = self.state.read();
                let missing = state.plain.iter().filter(|(id, _)| !state.records.contains_key(id.as_str()));
                missing.map(|(id, key)| (id.clone(), key.clone())).collect()
            };
            batch.sort_unstable();
            batch.truncate(BATCH);
            if batch.is_empty() {
                return Ok(());
            }
            let hashed = batch
                .into_iter()
                .map(|(id, key)| Ok((self.hash(&key)?, id, key)))
                .collect::<Result<Vec<_>, KeyError>>()?;
            let store = |state: &State, records: &mut Map<String, Value>| {
                for (hash, id, key) in hashed {
                    // A key generated or removed meanwhile takes precedence.
                    if state.plain.get(&id) == Some(&key) && !records.contains_key(id.as_str()) {
                        records.insert(id.as_str().to_owned(), json!({"key": hash, "rooms": []}));
                    }
                }
            };
            self.change(store, |_| ())?;
        }
    }

    /// Replaces the persistent key of an id and revokes its session key. Blocks.
    pub fn generate(&self, id: &ClientId) -> Result<String, KeyError> {
        let key = fresh_key()?;
        let hash = self.hash(&key)?;
        let store = |_: &State, records: &mut Map<String, Value>| match records.get_mut(id.as_str()) {
            Some(Value::Object(record)) => {
                record.insert("key".to_owned(), hash.into());
            }
            _ => {
                records.insert(id.as_str().to_owned(), json!({"key": hash, "rooms": []}));
            }
        };
        self.change(store, |state| {
            state.forget(id);
            state.plain.insert(id.clone(), key.clone());
        })?;
        Ok(key)
    }

    /// Removes the record and the session key of an id, and tells so. Blocks.
    pub fn remove(&self, id: &ClientId) -> Result<(), KeyError> {
        // First in memory: whatever happens to the disk, the key must stop working.
        self.state.write().forget(id);
        if self.path().exists() {
            // And once more with the record: a key that another has stored meanwhile goes with it.
            self.change(
                |_, records| {
                    records.shift_remove(id.as_str());
                },
                |state| state.forget(id),
            )?;
        }
        // Not whoever asked: it may be gone before it hears of it.
        self.tell_removed([id.clone()]);
        Ok(())
    }

    fn tell_removed(&self, ids: impl IntoIterator<Item = ClientId>) {
        if let Some(tell) = self.removed.get() {
            ids.into_iter().for_each(tell);
        }
    }

    fn hash(&self, key: &str) -> Result<String, KeyError> {
        bcrypt::hash(key, self.cost).map_err(|_| KeyError::NotStored)
    }

    /// Changes the file: fresh content in, written content out, memory last. What `then` does to the memory is
    /// seen together with the new content, and in the order in which the file was written.
    fn change(
        &self,
        edit: impl FnOnce(&State, &mut Map<String, Value>),
        then: impl FnOnce(&mut State),
    ) -> Result<(), KeyError> {
        let _one_writer = self.writer.lock();
        let _of_all_processes = self.lock().map_err(|error| {
            error!(file = FILE, error:% = error.kind(); "key file not written");
            KeyError::NotStored
        })?;
        self.reload_locked();
        let records = {
            let state = self.state.read();
            if state.damaged {
                return Err(KeyError::NotStored);
            }
            let mut records = state.records.clone();
            edit(&state, &mut records);
            records
        };
        let compact = Value::Object(records.clone()).to_string();
        let mut text = json_text::pretty(&compact);
        text.push('\n');
        if text.len() as u64 > self.max_bytes {
            self.metrics.limit_reached(MAX_BYTES);
            error!(file = FILE, limit = self.max_bytes; "key file would grow beyond its limit");
            return Err(KeyError::NotStored);
        }
        self.write(text.as_bytes()).map_err(|error| {
            error!(file = FILE, error:% = error.kind(); "key file not written");
            KeyError::NotStored
        })?;
        let stamp = self.stamp();
        let mut state = self.state.write();
        state.records = records;
        state.stamp = stamp;
        then(&mut state);
        Ok(())
    }

    fn lock(&self) -> io::Result<FolderLock> {
        private_folder(&self.folder)?;
        let lock = FolderLock::take(&self.folder, self.lock_timeout);
        if lock.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            self.metrics.limit_reached("trust.lock_timeout");
        }
        lock
    }

    fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        private_folder(&self.folder)?;
        atomic_file::write(&self.path(), bytes, Mode::Secret)
    }

    fn stamp(&self) -> Option<Stamp> {
        let meta = std::fs::metadata(self.path()).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&meta);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Stamp { modified: meta.modified().ok(), len: meta.len(), inode })
    }

    /// Reads the file if another process changed it (the command line adds and revokes keys). Blocks.
    pub fn reload(&self) {
        let _one_writer = self.writer.lock();
        self.reload_locked();
    }

    fn reload_locked(&self) {
        let stamp = self.stamp();
        if stamp.is_some() && stamp == self.state.read().stamp {
            return;
        }
        let read = match stamp {
            None => Ok(Map::new()),
            Some(_) => self.read(),
        };
        let mut state = self.state.write();
        state.stamp = stamp;
        match read {
            Ok(records) => {
                // A record that another process replaced or removed revokes what was in memory for it.
                let old = std::mem::replace(&mut state.records, records);
                let changed = |state: &State, id: &ClientId| {
                    let before = old.get(id.as_str()).and_then(|record| record.get("key"));
                    let after = state.records.get(id.as_str()).and_then(|record| record.get("key"));
                    before.is_some() && before != after
                };
                let known: Vec<ClientId> = state
                    .sessions
                    .keys()
                    .chain(state.plain.keys())
                    .chain(state.verified.keys())
                    .filter(|id| changed(&state, id))
                    .cloned()
                    .collect();
                for id in known {
                    state.forget(&id);
                }
                // Another process was first to give these a key: it counts, and ours was never stored.
                let taken = |id: &ClientId| !old.contains_key(id.as_str());
                let State { plain, records, .. } = &mut *state;
                plain.retain(|id, _| !(taken(id) && records.contains_key(id.as_str())));
                let gone = old.keys().filter(|id| !records.contains_key(*id));
                let gone: Vec<ClientId> = gone.filter_map(|id| ClientId::new(id.as_str()).ok()).collect();
                state.damaged = false;
                drop(state);
                self.tell_removed(gone);
            }
            Err(problem) => {
                if !state.damaged {
                    error!(file = FILE, problem:% = problem; "key file cannot be used and is left alone");
                }
                state.damaged = true;
            }
        }
    }

    fn read(&self) -> Result<Map<String, Value>, JsonProblem> {
        let bytes = atomic_file::read(&self.path(), self.max_bytes).map_err(|error| {
            warn!(file = FILE, error:% = error.kind(); "key file not read");
            if error.kind() == io::ErrorKind::FileTooLarge {
                self.metrics.limit_reached(MAX_BYTES);
            }
            JsonProblem::TooLarge { limit: self.max_bytes }
        })?;
        parse(&bytes, self.max_depth)
    }
}

/// The records of a key file.
pub(super) fn parse(bytes: &[u8], max_depth: usize) -> Result<Map<String, Value>, JsonProblem> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonProblem::Encoding)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if json_text::depth(text) > max_depth {
        return Err(JsonProblem::TooDeep { limit: max_depth });
    }
    Ok(serde_json::from_str(text)?)
}

/// Makes a folder that only its owner may enter, unless it exists.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    if !folder.exists() {
        std::fs::create_dir_all(folder)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
        }
    }
    Ok(())
}

/// A random UUID v4.
fn fresh_key() -> Result<String, KeyError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| KeyError::NotStored)?;
    Ok(uuid::Builder::from_random_bytes(random).into_uuid().to_string())
}

/// Compares a key with a hash. Blocks for tens of milliseconds.
pub fn verify(key: &str, hash: &str, max_cost: u32) -> bool {
    password::verify(key, hash, max_cost)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;

//! Writing settings files on behalf of a caller (spec §4.6 12, §6.3 rule 4).

use std::io;
use std::path::Path;

use serde_json::Value;
use serde_json::value::RawValue;

use super::json_text::{JsonProblem, RawObject};
use super::messages::{Caller, ClientClass, SettingsError};
use super::password;
use super::settings_file::{self, NEVER_WRITTEN, ServerSettings};
use super::store::{ATTEMPTS, SETTINGS, TrustStore};

/// What happens to keys that spec §2.1 does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKeys {
    /// They are left out (`CLIENT_SETTINGS` merges known keys).
    Ignore,
    /// They refuse the save (`saveJsonToFile`), unless the caller is an administrator.
    Refuse,
}

/// What is done to a file as it is now, and whether there is one.
trait Edit: FnMut(&mut RawObject, bool) -> Result<(), SettingsError> {}

impl<F: FnMut(&mut RawObject, bool) -> Result<(), SettingsError>> Edit for F {}

/// Fields of a client file that only an administrator may change.
const PROTECTED: [&str; 4] = ["clientId", "isTrust", "role", "clientType"];

/// The rest of the names under which secrets were ever kept; compared without letter case.
const SECRETS: [&str; 6] =
    ["sillytavernpassword", "sillytavernmasterkey", "clientkeys", "password", "key", "keys"];

/// Whether a key of a settings file holds a secret, which no caller may read.
pub fn is_secret(key: &str) -> bool {
    SECRETS.contains(&key.to_ascii_lowercase().as_str())
}

impl TrustStore {
    /// Serves `CLIENT_SETTINGS`. Blocks.
    pub fn client_settings(&self, caller: &Caller, json: &str) -> Result<(), SettingsError> {
        if caller.class != ClientClass::Extension {
            return Err(SettingsError::NotAnExtension);
        }
        if self.is_too_long(json) {
            return Err(SettingsError::TooLarge);
        }
        let mut given =
            RawObject::parse(json, self.config().max_json_depth).map_err(|_| SettingsError::NotAnObject)?;
        // The envelope of the event is no setting.
        given.retain(settings_file::is_known);
        self.write_server_settings(caller, given, UnknownKeys::Ignore)
    }

    /// Serves `SET_MESSAGE_REQUEST_MODE`, whoever asks. Blocks.
    pub fn set_default_mode(&self, caller: &Caller, mode: &str) -> Result<(), SettingsError> {
        let mut given = RawObject::parse("{}", 1).map_err(|_| SettingsError::NotAnObject)?;
        given.set("defaultRoomMessageRequestMode", &mode.into());
        self.write_server_settings(caller, given, UnknownKeys::Ignore)
    }

    /// Merges keys into `server_settings.json` within the caller's rights, and puts them into force. Blocks.
    pub fn write_server_settings(
        &self,
        caller: &Caller,
        mut given: RawObject,
        unknown: UnknownKeys,
    ) -> Result<(), SettingsError> {
        given.retain(|key| !NEVER_WRITTEN.contains(&key));
        if unknown == UnknownKeys::Ignore {
            given.retain(settings_file::is_known);
        }
        let allowed = |key: &str| match key {
            _ if caller.admin => true,
            "networkSafe" => caller.peer.on_loopback,
            "restrictedFiles" => false,
            _ => settings_file::is_known(key),
        };
        let mut scan = self.files.lock();
        self.rewrite_shared(&self.settings_path(), |current, _| {
            if let Some(field) = first_denied(current, &given, allowed, effective_setting) {
                return Err(SettingsError::FieldDenied { field });
            }
            let repeats =
                |key: &str| current.raw(key).map(RawValue::get) == given.raw(key).map(RawValue::get);
            if let Some(field) = ServerSettings::unusable(&given).find(|key| !repeats(key)) {
                return Err(SettingsError::Unusable { field });
            }
            current.merge(given.clone());
            Ok(())
        })?;
        self.rescan_locked(&mut scan);
        Ok(())
    }

    /// Flips `debugMode` (spec §4.8), in the file and so in force, and returns what it is now. Blocks.
    pub fn toggle_debug_mode(&self) -> Result<bool, SettingsError> {
        let mut scan = self.files.lock();
        let flipped = !self.settings().load().debug_mode;
        self.rewrite_shared(&self.settings_path(), |current, _| {
            current.set("debugMode", &flipped.into());
            Ok(())
        })?;
        self.rescan_locked(&mut scan);
        Ok(self.settings().load().debug_mode)
    }

    /// Merges keys into a client's file within the caller's rights, and puts them into force. Blocks.
    pub fn write_client_file(
        &self,
        caller: &Caller,
        path: &Path,
        given: RawObject,
    ) -> Result<(), SettingsError> {
        let mut scan = self.files.lock();
        let allowed = |key: &str| caller.admin || !(PROTECTED.contains(&key) || is_secret(key));
        self.rewrite_shared(path, |current, exists| {
            // Only an administrator makes client files: this one was removed.
            if !exists && !caller.admin {
                return Err(SettingsError::Io);
            }
            if let Some(field) = first_denied(current, &given, allowed, |_, raw| json_value(raw)) {
                return Err(SettingsError::FieldDenied { field });
            }
            current.merge(given.clone());
            // A plain password from an administrator must not reach the disk.
            if let Some(password::Stored::Plain(plain)) = password::find(current) {
                let hash = bcrypt::hash(plain, self.config().bcrypt_cost).map_err(|_| SettingsError::Io)?;
                password::replace_plain(current, &hash);
            }
            Ok(())
        })?;
        self.rescan_locked(&mut scan);
        Ok(())
    }

    /// Merges keys into a data file. Blocks.
    pub fn write_data_file(&self, path: &Path, given: RawObject) -> Result<(), SettingsError> {
        let _one_writer = self.files.lock();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|_| SettingsError::Io)?;
        }
        self.rewrite(path, |current, _| {
            current.merge(given.clone());
            Ok(())
        })
    }

    /// Changes a file in `settings/`, which no other process does at the same time.
    fn rewrite_shared(&self, path: &Path, edit: impl Edit) -> Result<(), SettingsError> {
        let folder = self.root().join(SETTINGS);
        let _of_all_processes = self.lock_folder(&folder).map_err(|_| SettingsError::Busy)?;
        self.rewrite(path, edit)
    }

    /// Changes a file, and changes it anew if somebody has written it meanwhile. One that was removed meanwhile stays
    /// removed.
    fn rewrite(&self, path: &Path, mut edit: impl Edit) -> Result<(), SettingsError> {
        for _ in 0..ATTEMPTS {
            let read = match self.read_file(path) {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(_) => return Err(SettingsError::Io),
            };
            let mut object =
                read.as_deref().map_or_else(|| Ok(RawObject::default()), |read| self.parse(read))?;
            edit(&mut object, read.is_some())?;
            let text = object.to_pretty();
            if self.is_too_long(&text) {
                return Err(SettingsError::TooLarge);
            }
            if self.write_over(path, read.as_deref(), &text).map_err(|_| SettingsError::Io)? {
                return Ok(());
            }
            if read.is_some() && !path.exists() {
                return Err(SettingsError::Io);
            }
        }
        Err(SettingsError::Busy)
    }

    fn parse(&self, bytes: &[u8]) -> Result<RawObject, SettingsError> {
        let config = self.config();
        RawObject::parse_bytes(bytes, config.max_json_bytes, config.max_json_depth)
            .map_err(|_: JsonProblem| SettingsError::Unparsable)
    }
}

/// The first key that the caller may not change and would; repeating a current value changes nothing.
fn first_denied(
    current: &RawObject,
    given: &RawObject,
    allowed: impl Fn(&str) -> bool,
    meaning: impl Fn(&str, Option<&RawValue>) -> Option<Value>,
) -> Option<String> {
    let changes = |key: &str, raw: &RawValue| {
        current.raw(key).map(RawValue::get) != Some(raw.get())
            && meaning(key, current.raw(key)) != meaning(key, Some(raw))
    };
    given.iter().find(|(key, raw)| !allowed(key) && changes(key, raw)).map(|(key, _)| key.to_owned())
}

fn json_value(raw: Option<&RawValue>) -> Option<Value> {
    // What cannot be read equals nothing but itself, and that was compared as text.
    raw.map(|raw| serde_json::from_str(raw.get()).unwrap_or_else(|_| Value::from(raw.get())))
}

/// What a value of `server_settings.json` comes to: an absent `networkSafe` is `true`.
fn effective_setting(key: &str, raw: Option<&RawValue>) -> Option<Value> {
    match (key, json_value(raw)) {
        ("networkSafe", None | Some(Value::Null)) => Some(true.into()),
        (_, value) => value,
    }
}

#[cfg(test)]
#[path = "settings_write_tests.rs"]
mod tests;

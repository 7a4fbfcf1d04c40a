//! `readJsonFromFile` and `saveJsonToFile` (spec §6.2).

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::paths::{PathError, RelPath};
use super::permissions::{self, Access, Kind};
use super::registry::{FunctionReply, raw};
use crate::trust::TrustStore;
use crate::trust::json_text::{self, RawObject};
use crate::trust::messages::{Caller, SettingsError};
use crate::trust::settings_write::{UnknownKeys, is_secret};

/// What a read returns inside the ack's `result`.
#[derive(Serialize)]
struct Read<'a> {
    success: bool,
    result: &'a RawValue,
}

#[derive(Serialize)]
struct Failure<'a> {
    success: bool,
    error: FailureText<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum FailureText<'a> {
    /// `readJsonFromFile` fails with an object …
    Read {
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<&'a str>,
    },
    /// … and `saveJsonToFile` with a text.
    Save(&'a str),
}

fn read_failure(message: &str, code: Option<&str>) -> FunctionReply {
    failed(message, FailureText::Read { message, code })
}

fn save_failure(message: &str) -> FunctionReply {
    failed(message, FailureText::Save(message))
}

fn failed(message: &str, error: FailureText<'_>) -> FunctionReply {
    FunctionReply::Failed { result: raw(&Failure { success: false, error }), message: message.to_owned() }
}

/// From a caller's text to a file on the disk that this caller may use.
fn locate(
    store: &TrustStore,
    caller: &Caller,
    access: Access,
    text: &str,
) -> Result<(std::path::PathBuf, RelPath, Kind), PathError> {
    let snapshot = store.snapshot().load_full();
    let path = permissions::by_content(RelPath::parse(store.root(), text)?, &snapshot);
    let restricted = |path: &RelPath| {
        path.is_listed(&store.config().restricted_files)
            || path.is_listed(&store.settings().load().restricted_files)
    };
    if restricted(&path) {
        return Err(PathError::Restricted);
    }
    let kind = permissions::authorize(caller, access, &path, &snapshot)?;
    let (real, rel) = path.resolve(store.root())?;
    // A symlink inside the root must not lead from an allowed file to one that is not.
    if restricted(&rel) || permissions::authorize(caller, access, &rel, &snapshot)? != kind {
        return Err(PathError::Restricted);
    }
    Ok((real, rel, kind))
}

/// Serves `readJsonFromFile`. Blocks.
pub fn read_json(store: &TrustStore, caller: &Caller, text: &str) -> FunctionReply {
    let (real, kind) = match locate(store, caller, Access::Read, text) {
        Ok((real, _, kind)) => (real, kind),
        Err(error) => return FunctionReply::Error(error.to_string()),
    };
    let config = store.config();
    let bytes = match store.read_file(&real) {
        Ok(bytes) => bytes,
        Err(error) => {
            // The caller's own words for the path, never the server's.
            let (what, code) = io_failure(&error);
            return read_failure(&format!("{what}, open '{text}'"), code);
        }
    };
    let unparsable = || read_failure("File does not contain valid JSON.", None);
    let json = match kind {
        Kind::ServerSettings | Kind::ClientFile => {
            match RawObject::parse_bytes(&bytes, config.max_json_bytes, config.max_json_depth) {
                Ok(mut object) => {
                    object.retain(|key| !is_secret(key));
                    raw(&object)
                }
                Err(_) => return unparsable(),
            }
        }
        Kind::Data => match String::from_utf8(bytes) {
            Ok(json) if json_text::depth(&json) <= config.max_json_depth => {
                match RawValue::from_string(json) {
                    Ok(json) => json,
                    Err(_) => return unparsable(),
                }
            }
            _ => return unparsable(),
        },
    };
    FunctionReply::Result(raw(&Read { success: true, result: &json }))
}

fn io_failure(error: &io::Error) -> (&'static str, Option<&'static str>) {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ("ENOENT: no such file or directory", Some("ENOENT"))
        }
        io::ErrorKind::PermissionDenied => ("EACCES: permission denied", Some("EACCES")),
        io::ErrorKind::FileTooLarge => ("EFBIG: file too large", Some("EFBIG")),
        io::ErrorKind::InvalidInput => ("EISDIR: not a regular file", Some("EISDIR")),
        _ => ("EIO: i/o error", Some("EIO")),
    }
}

/// Serves `saveJsonToFile`: merges shallowly, writes with two spaces, atomically. Blocks.
pub fn save_json(store: &TrustStore, caller: &Caller, text: &str, json: &RawValue) -> FunctionReply {
    let (real, rel, kind) = match locate(store, caller, Access::Write, text) {
        Ok(located) => located,
        Err(error) => return FunctionReply::Error(error.to_string()),
    };
    if store.is_too_long(json.get()) {
        return save_failure(&SettingsError::TooLarge.to_string());
    }
    let Ok(object) = RawObject::parse(json.get(), store.config().max_json_depth) else {
        return save_failure("Data to save must be a JSON object.");
    };
    let saved = match kind {
        Kind::ServerSettings => store.write_server_settings(caller, object, UnknownKeys::Refuse),
        Kind::ClientFile => store.write_client_file(caller, &real, object),
        Kind::Data => {
            let own = store.root().join("data").join(rel.parts()[1]);
            if !real.exists() && is_full(&own, store.config().max_data_files) {
                store.metrics().limit_reached("trust.max_data_files");
                return save_failure("Too many files.");
            }
            store.write_data_file(&real, object)
        }
    };
    match saved {
        Ok(()) => {
            FunctionReply::Result(raw(&crate::protocol::payload::object([("success", Value::from(true))])))
        }
        Err(error @ SettingsError::FieldDenied { .. }) => FunctionReply::Error(error.to_string()),
        Err(error) => save_failure(&error.to_string()),
    }
}

/// Whether a client's folder holds its limit of entries, folders included.
fn is_full(folder: &Path, limit: usize) -> bool {
    let mut folders = vec![folder.to_owned()];
    let mut entries = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            entries += 1;
            if entries >= limit {
                return true;
            }
            // The type of the entry itself: a symlink is not followed.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    false
}

#[cfg(test)]
#[path = "json_files_tests.rs"]
mod tests;

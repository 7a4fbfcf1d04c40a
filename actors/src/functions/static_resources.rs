//! `addStaticResources`: files that the HTTP edge serves under extra URLs (spec §6.2, §6.3 rule 5).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::paths::{PathError, RelPath};
use super::registry::{FunctionReply, raw};
use crate::trust::TrustStore;
use crate::trust::messages::{Caller, ClientClass};

/// Longest URL path, in bytes.
const MAX_URL: usize = 512;

/// A file that is served under a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticResource {
    /// The file, symlinks resolved. It was a regular file when it was mapped.
    pub file: PathBuf,
}

/// URL path → file.
pub type StaticMap = HashMap<String, StaticResource>;

/// The mappings, in memory only.
pub struct StaticResources {
    map: Arc<ArcSwap<StaticMap>>,
    /// Held while the map is changed: reading needs no lock.
    writer: Mutex<()>,
    max: usize,
}

/// Why one mapping was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum MapError {
    #[error("Invalid URL path.")]
    Url,
    #[error("URL path is reserved.")]
    Reserved,
    #[error("URL path is already in use.")]
    Taken,
    #[error("File path must be a string.")]
    NotAPath,
    #[error("File not found.")]
    NotFound,
    #[error("Too many static resources.")]
    Full,
    #[error(transparent)]
    Denied(#[from] PathError),
}

impl StaticResources {
    /// No mappings yet, and at most `max` of them.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { map: Arc::default(), writer: Mutex::new(()), max })
    }

    /// What the edge reads.
    pub fn map(&self) -> Arc<ArcSwap<StaticMap>> {
        Arc::clone(&self.map)
    }

    /// Serves `addStaticResources` for one object of URL → file. Blocks.
    pub(super) fn add(
        &self,
        store: &TrustStore,
        caller: &Caller,
        entries: &[(String, Box<RawValue>)],
    ) -> FunctionReply {
        let _one_writer = self.writer.lock();
        let mut map = StaticMap::clone(&self.map.load());
        // As many answers as there can be mappings, and one that says why no more.
        let outcomes: Vec<(&str, Result<(), MapError>)> = entries
            .iter()
            .take(self.max + 1)
            .map(|(url, file)| (url.as_str(), self.add_one(store, caller, &mut map, url, file)))
            .collect();
        let failure = outcomes.iter().find_map(|(_, outcome)| outcome.as_ref().err());
        let results: Vec<Value> = outcomes
            .iter()
            .map(|(url, outcome)| match outcome {
                Ok(()) => json!({"urlPath": url, "status": "success"}),
                Err(error) => {
                    json!({"urlPath": url, "status": "error", "message": error.to_string()})
                }
            })
            .collect();
        let reply = match failure.map(MapError::to_string) {
            None => {
                let result = json!({"result": "success", "success": true, "results": results});
                FunctionReply::Result(raw(&result))
            }
            Some(message) => {
                let result = json!({"error": message, "success": false, "results": results});
                FunctionReply::Failed { result: raw(&result), message }
            }
        };
        self.map.store(Arc::new(map));
        reply
    }

    fn add_one(
        &self,
        store: &TrustStore,
        caller: &Caller,
        map: &mut StaticMap,
        url: &str,
        file: &RawValue,
    ) -> Result<(), MapError> {
        let url = checked_url(url)?;
        let settings = store.settings().load_full();
        let reserved = store.config().reserved_urls.iter().map(String::as_str);
        let reserved = reserved.chain([settings.socket_io_path.as_str()]);
        if reserved.into_iter().any(|taken| shadows(url, taken)) || is_of_another(url, caller) {
            return Err(MapError::Reserved);
        }
        let text: String = serde_json::from_str(file.get()).map_err(|_| MapError::NotAPath)?;
        let resource = StaticResource { file: locate(store, caller, &text)? };
        match map.get(url) {
            Some(same) if *same == resource => return Ok(()),
            Some(_) => return Err(MapError::Taken),
            None => {}
        }
        if map.len() >= self.max {
            store.metrics().limit_reached("trust.max_static_resources");
            return Err(MapError::Full);
        }
        map.insert(url.to_owned(), resource);
        Ok(())
    }
}

/// A path of plain segments, as the edge sees it after decoding; one trailing slash is dropped.
fn checked_url(url: &str) -> Result<&str, MapError> {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "\\%?#<>\"".contains(c);
    if !url.starts_with('/') || url.len() > MAX_URL || url.chars().any(bad) {
        return Err(MapError::Url);
    }
    let path = url.strip_suffix('/').unwrap_or(url);
    if path.is_empty() {
        return Err(MapError::Reserved);
    }
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    if path[1..].split('/').all(plain) { Ok(path) } else { Err(MapError::Url) }
}

/// Whether a URL is a reserved one or below it; `/` reserves only itself. Letter case does not help.
fn shadows(url: &str, reserved: &str) -> bool {
    let (url, reserved) = (url.to_lowercase(), reserved.trim_end_matches('/').to_lowercase());
    !reserved.is_empty()
        && url.strip_prefix(&reserved).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a URL is one of those under which the folders of clients are served, and not the caller's own.
fn is_of_another(url: &str, caller: &Caller) -> bool {
    let mut parts = url.split('/').skip(1);
    let is_folder = |part: &&str| ["client", "exampleclient"].contains(&part.to_lowercase().as_str());
    parts.next().as_ref().is_some_and(is_folder) && parts.next().is_none_or(|name| caller.client_id != *name)
}

/// The file behind a path, if this caller may publish it.
fn locate(store: &TrustStore, caller: &Caller, text: &str) -> Result<PathBuf, MapError> {
    let path = RelPath::parse(store.root(), text)?;
    let restricted = |path: &RelPath| {
        path.is_listed(&store.config().restricted_files)
            || path.is_listed(&store.settings().load().restricted_files)
            || !may_publish(caller, path)
    };
    if restricted(&path) {
        return Err(path.refused().into());
    }
    let (real, rel) = path.resolve(store.root())?;
    if restricted(&rel) {
        return Err(PathError::Restricted.into());
    }
    match real.metadata() {
        Ok(meta) if meta.is_file() && !is_program(&real) => Ok(real),
        Ok(meta) if meta.is_file() => Err(PathError::Restricted.into()),
        _ => Err(MapError::NotFound),
    }
}

/// Folders that are never published, and those of a source checkout, which hold code and not content.
const CLOSED: [&str; 9] =
    ["settings", "keys", "logs", "dist", "target", "src", "actors", "framing", "node_modules"];

fn may_publish(caller: &Caller, path: &RelPath) -> bool {
    let parts = path.parts();
    let first = parts.first().map(|part| part.to_ascii_lowercase()).unwrap_or_default();
    // Single files in the root are the program, its configuration and its certificates.
    if parts.len() < 2 || CLOSED.contains(&first.as_str()) || parts.iter().any(|part| part.starts_with('.')) {
        return false;
    }
    if caller.admin || caller.class == ClientClass::Extension {
        return true;
    }
    matches!(parts[..], ["exampleClient" | "client" | "data", name, _, ..] if caller.client_id == *name)
}

/// Told by the name: on some mounts every file has the execute bit.
fn is_program(path: &Path) -> bool {
    let suffix = path.extension().and_then(|ext| ext.to_str()).unwrap_or_default();
    ["exe", "dll", "so", "bat", "cmd", "ps1", "sh"].contains(&suffix.to_ascii_lowercase().as_str())
}

#[cfg(test)]
#[path = "static_resources_tests.rs"]
mod tests;

//! All clients that the settings files describe, at one moment.

use std::collections::HashSet;
use std::sync::Arc;

use super::client_file::ClientFile;
use super::config::TrustConfig;
use super::messages::{ClientClass, Grant};
use crate::ids::{ClientId, MONITOR};
use crate::maps::FastMap;
use crate::protocol::description::has_markup;

/// What the settings files say about one client.
#[derive(Clone)]
pub struct ClientEntry {
    /// The id.
    pub client_id: ClientId,
    /// Whether every file of this id says so.
    pub trusted: bool,
    /// Whether every file of this id says so, or it is `monitor`.
    pub admin: bool,
    /// The hash of its password.
    pub(super) password: Option<Arc<str>>,
    /// The name of its (first) file inside `settings/`.
    pub file: String,
}

/// All clients that the settings files describe, at one moment.
#[derive(Clone, Default)]
pub struct TrustSnapshot {
    clients: FastMap<ClientId, ClientEntry>,
    files: FastMap<String, ClientId>,
    patterns: Arc<[String]>,
    reserved: Arc<HashSet<ClientId>>,
}

impl TrustSnapshot {
    /// What the files say about an id.
    pub fn entry(&self, id: &str) -> Option<&ClientEntry> {
        self.clients.get(id)
    }

    /// The client that a file inside `settings/` describes.
    pub fn owner(&self, file: &str) -> Option<&ClientId> {
        self.files.get(file)
    }

    /// Every client with a file.
    pub fn entries(&self) -> impl Iterator<Item = &ClientEntry> {
        self.clients.values()
    }

    /// Whether somebody may do more or less than by the other.
    pub(super) fn grants_differ(&self, other: &Self) -> bool {
        let says = |entry: &ClientEntry| (entry.trusted, entry.admin);
        self.clients.len() != other.clients.len()
            || self.clients.iter().any(|(id, entry)| other.clients.get(id).map(says) != Some(says(entry)))
    }

    /// The rights of an id, if it is trusted. Reserved ids never are.
    pub fn grant(&self, id: &ClientId) -> Option<Grant> {
        if self.reserved.contains(id) {
            return None;
        }
        let class = if id.is_extension() { ClientClass::Extension } else { ClientClass::Client };
        match self.clients.get(id) {
            Some(entry) => entry.trusted.then_some(Grant { class, admin: entry.admin }),
            None => self.matches_pattern(id).then_some(Grant { class, admin: false }),
        }
    }

    fn matches_pattern(&self, id: &ClientId) -> bool {
        // A pattern must not make an extension or an administrator: those need a file.
        // Nor must it admit markup: ids are shown in lists, and nobody has looked at this one.
        let may_be = !id.is_extension() && *id != MONITOR && !has_markup(id.as_str());
        may_be && self.patterns.iter().any(|pattern| glob(pattern, id.as_str()))
    }
}

/// Whether a text matches a pattern in which `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

/// One file, read.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) file: ClientFile,
    pub(super) password: Option<Arc<str>>,
}

impl TrustSnapshot {
    /// A snapshot without files.
    pub(super) fn new(config: &TrustConfig) -> Self {
        Self {
            patterns: config.trust_patterns.as_slice().into(),
            reserved: Arc::new(config.reserved_ids.iter().cloned().collect()),
            ..Self::default()
        }
    }

    /// The ids whose files trust them, in order.
    pub(super) fn trusted_ids(&self) -> Vec<ClientId> {
        let trusted = self.clients.keys().filter(|id| self.grant(id).is_some());
        let mut trusted: Vec<ClientId> = trusted.cloned().collect();
        trusted.sort_unstable();
        trusted
    }

    /// Adds a file; of two for one id both must say so, for trust as for administration.
    pub(super) fn add(&mut self, name: String, client: Client) {
        let id = client.file.client_id;
        self.files.insert(name.clone(), id.clone());
        match self.clients.get_mut(&id) {
            Some(entry) => {
                entry.trusted &= client.file.trusted;
                entry.admin &= client.file.admin;
                entry.password = entry.password.take().or(client.password);
            }
            None => {
                let entry = ClientEntry {
                    client_id: id.clone(),
                    trusted: client.file.trusted,
                    admin: client.file.admin,
                    password: client.password,
                    file: name,
                };
                self.clients.insert(id, entry);
            }
        }
    }
}

#[cfg(test)]
impl TrustSnapshot {
    /// These are trusted, and nobody else.
    pub(crate) fn of(ids: &[&str]) -> Self {
        let entry = |id: &&str| ClientEntry {
            client_id: ClientId::new(*id).unwrap(),
            trusted: true,
            admin: false,
            password: None,
            file: format!("{id}.json"),
        };
        let clients = ids.iter().map(entry).map(|entry| (entry.client_id.clone(), entry));
        Self { clients: clients.collect(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("a*", "a", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("ab*bc", "abc", false),
            ("*b*", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("*.x", "a.y", false),
            ("**", "", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}

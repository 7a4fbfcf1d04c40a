//! The clients of a data directory, without a broker: what the command line lists, adds, revokes and checks.
//! A broker that runs beside it notices the files (spec §2.2, §9.2 Q10).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::atomic_file::{self, Mode};
use super::client_file::ClientFile;
use super::config::TrustConfig;
use super::file_lock::FolderLock;
use super::json_text::{self, JsonProblem, RawObject};
use super::keys::{self, KeyStore};
use super::password;
use super::settings_file::{self, ServerSettings};
use super::snapshot::{Client, TrustSnapshot};
use super::store::{SETTINGS, client_files};
use crate::ids::{ClientId, IdError};
use crate::protocol::description::has_markup;

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}:{column}: {what}", file.display())]
pub struct Problem {
    /// Which file.
    pub file: PathBuf,
    /// 1-based.
    pub line: usize,
    /// 1-based.
    pub column: usize,
    /// What.
    pub what: String,
}

/// One client, as settings and keys have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The id, or what the key file has in its place.
    pub client_id: String,
    /// `client` or `extension`.
    pub class: &'static str,
    /// Whether it may connect.
    pub trusted: bool,
    /// Whether it has administration rights.
    pub admin: bool,
    /// Whether it has a persistent key.
    pub has_key: bool,
    /// Its file inside `settings/`, if it has one.
    pub file: Option<String>,
}

/// Why a client was not added or revoked.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// The id is none.
    #[error("{0}")]
    Id(#[from] IdError),
    /// The id is the broker's.
    #[error("the id {0:?} is reserved")]
    Reserved(String),
    /// Its file would be read by nobody.
    #[error("the id {0:?} cannot be the name of a settings file")]
    FileName(String),
    /// Pages show ids as they are.
    #[error("the id {0:?} contains < or >")]
    Markup(String),
    /// There is one.
    #[error("client {id:?} exists already: {}", file.display())]
    Exists {
        /// Which.
        id: String,
        /// Its file.
        file: PathBuf,
    },
    /// There is none.
    #[error("there is no client {0:?}, neither in settings/ nor in keys/")]
    Unknown(String),
    /// Its file may be one that cannot be read, by which a broker beside us may still trust it.
    #[error(
        "nothing was changed: {id:?} may be the client of a file that cannot be read, and a broker that runs goes by \
         what it last read of it. Repair or remove it first:\n{}",
        lines(.files)
    )]
    Unread {
        /// Whose it may be.
        id: String,
        /// What is wrong with which files.
        files: Vec<Problem>,
    },
    /// A file is broken and left alone.
    #[error(transparent)]
    Broken(#[from] Problem),
    /// The password is empty, or cannot be hashed.
    #[error("the password is empty or cannot be hashed")]
    Password,
    /// A file or folder cannot be used.
    #[error("{}: {source}", file.display())]
    Io {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file could not be written.
    #[error("{}: not written; no key was made or removed", .0.display())]
    Key(PathBuf),
}

/// A client that was added.
pub struct Added {
    /// Its settings file.
    pub file: PathBuf,
    /// Its key, which is nowhere else.
    pub key: String,
}

/// What was revoked.
#[derive(Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Whether it had a key.
    pub key: bool,
    /// The settings files that were removed.
    pub files: Vec<PathBuf>,
    /// What is wrong with the others.
    pub problems: Vec<Problem>,
}

/// See the module's documentation. Everything here blocks.
pub struct Roster {
    config: TrustConfig,
    settings: PathBuf,
    keys: PathBuf,
}

/// One settings file that describes a client.
struct Found {
    name: String,
    client: ClientFile,
}

/// What the settings folder says about clients.
#[derive(Default)]
struct Folder {
    clients: Vec<Found>,
    /// What is wrong with these files and the others.
    problems: Vec<Problem>,
    /// Those of them that leave open whose file it is; a broker that runs goes by what it last read of it.
    unread: Vec<Problem>,
}

impl Roster {
    /// The clients of a data directory.
    pub fn new(config: TrustConfig) -> Self {
        let settings = config.root.join(SETTINGS);
        let keys = config.root.join(keys::FOLDER).join(keys::FILE);
        Self { config, settings, keys }
    }

    /// Every client, by id, and what is wrong with the files.
    ///
    /// # Errors
    /// The settings folder cannot be read.
    pub fn list(&self) -> Result<(Vec<Listed>, Vec<Problem>), RosterError> {
        let Folder { clients, mut problems, .. } = self.folder()?;
        let mut snapshot = TrustSnapshot::new(&self.config);
        for found in clients {
            snapshot.add(found.name, Client { file: found.client, password: None });
        }
        let keys = self.records().unwrap_or_else(|problem| {
            problems.push(problem);
            Map::new()
        });
        let has_key = |id: &str| keys.get(id).is_some_and(|record| record.get("key").is_some());
        let mut listed: Vec<Listed> = snapshot
            .entries()
            .map(|entry| Listed {
                client_id: entry.client_id.to_string(),
                class: class(entry.client_id.is_extension()),
                trusted: snapshot.grant(&entry.client_id).is_some(),
                admin: entry.admin,
                has_key: has_key(entry.client_id.as_str()),
                file: Some(entry.file.clone()),
            })
            .collect();
        listed.extend(keys.keys().filter(|id| snapshot.entry(id).is_none()).map(|id| Listed {
            client_id: id.clone(),
            class: class(ClientId::new(id.as_str()).is_ok_and(|id| id.is_extension())),
            trusted: false,
            admin: false,
            has_key: has_key(id),
            file: None,
        }));
        listed.sort_unstable_by(|a, b| a.client_id.cmp(&b.client_id));
        Ok((listed, problems))
    }

    /// Trusts a new client and gives it a key, of which only the hash is stored.
    ///
    /// # Errors
    /// See [`RosterError`]; nothing is changed then.
    pub fn add(&self, id: &str, admin: bool, password: Option<&str>) -> Result<Added, RosterError> {
        let id = ClientId::new(id)?;
        self.check_new(&id)?;
        self.make_folder()?;
        let file = self.settings.join(format!("{id}.json"));
        let io = |source| RosterError::Io { file: file.clone(), source };
        let _one_writer = FolderLock::take(&self.settings, self.config.lock_timeout).map_err(io)?;
        let known = self.folder()?.clients.into_iter().find(|found| found.client.client_id == id);
        let taken = known.map(|found| self.settings.join(found.name));
        if let Some(file) = taken.or_else(|| file.symlink_metadata().is_ok().then(|| file.clone())) {
            return Err(RosterError::Exists { id: id.to_string(), file });
        }
        let mut object = RawObject::default();
        object.set("clientId", &id.as_str().into());
        object.set("isTrust", &true.into());
        if admin {
            object.set("role", &"admin".into());
        }
        if let Some(password) = password {
            let hash = Some(password).filter(|text| !text.is_empty());
            let hash = hash.and_then(|text| bcrypt::hash(text, self.config.bcrypt_cost).ok());
            object.set(password::FIELD, &hash.ok_or(RosterError::Password)?.into());
        }
        // The key first: a broker that sees the file gives a client without a key one of its own.
        let store = self.key_store()?;
        let key = store.generate(&id).map_err(|_| RosterError::Key(self.keys.clone()))?;
        if let Err(source) = atomic_file::write(&file, object.to_pretty().as_bytes(), Mode::Secret) {
            // The first failure is the one to tell.
            let _ = store.remove(&id);
            return Err(io(source));
        }
        Ok(Added { file, key })
    }

    /// Removes a client's key, and with `files` its settings files too.
    ///
    /// # Errors
    /// See [`RosterError`].
    pub fn revoke(&self, id: &str, files: bool) -> Result<Revoked, RosterError> {
        let id = ClientId::new(id)?;
        let key = self.records()?.contains_key(id.as_str());
        let mut own: Vec<PathBuf> = Vec::new();
        let mut problems = Vec::new();
        if self.settings.is_dir() {
            let io = |source| RosterError::Io { file: self.settings.clone(), source };
            let _one_writer = FolderLock::take(&self.settings, self.config.lock_timeout).map_err(io)?;
            let folder = self.folder()?;
            let found = folder.clients.into_iter().filter(|found| found.client.client_id == id);
            own = found.map(|found| self.settings.join(found.name)).collect();
            // Who wants it gone must not believe that it is.
            let unread = self.may_describe(&id, folder.unread, own.is_empty());
            if !unread.is_empty() && (files || (own.is_empty() && !key)) {
                return Err(RosterError::Unread { id: id.to_string(), files: unread });
            }
            problems = folder.problems;
            // The files first: a broker beside us then says why it ends the client's sockets.
            for file in own.iter().filter(|_| files) {
                fs::remove_file(file).map_err(|source| RosterError::Io { file: file.clone(), source })?;
            }
        }
        if own.is_empty() && !key {
            return Err(RosterError::Unknown(id.to_string()));
        }
        if key {
            self.key_store()?.remove(&id).map_err(|_| RosterError::Key(self.keys.clone()))?;
        }
        let removed = if files { own } else { Vec::new() };
        problems.retain(|problem| !removed.contains(&problem.file));
        Ok(Revoked { key, files: removed, problems })
    }

    /// Which of the files that cannot be read may describe a client: those with its name, or else any, if it is `lost`
    /// because no other file does.
    fn may_describe(&self, id: &ClientId, mut unread: Vec<Problem>, lost: bool) -> Vec<Problem> {
        let names =
            [format!("{id}.json"), format!("{id}-settings.json")].map(|name| self.settings.join(name));
        let is_named = |problem: &Problem| names.contains(&problem.file);
        if !lost || unread.iter().any(is_named) {
            unread.retain(is_named);
        }
        unread
    }

    /// What is wrong with `server_settings.json`; a broker makes one that is missing.
    pub fn check_settings(&self) -> Vec<Problem> {
        let file = self.settings.join(settings_file::FILE);
        if !file.exists() {
            return Vec::new();
        }
        match self.read(&file) {
            Err(problem) => vec![problem],
            Ok((text, object)) => {
                let unusable = ServerSettings::read(&object).1.into_iter();
                unusable.map(|key| at_key(&file, &text, key, format!("{key} has no usable value"))).collect()
            }
        }
    }

    fn check_new(&self, id: &ClientId) -> Result<(), RosterError> {
        let text = id.to_string();
        if self.config.reserved_ids.contains(id) {
            return Err(RosterError::Reserved(text));
        }
        if has_markup(&text) {
            return Err(RosterError::Markup(text));
        }
        let name = format!("{text}.json");
        if text.starts_with('.') || name.eq_ignore_ascii_case(settings_file::FILE) {
            return Err(RosterError::FileName(text));
        }
        Ok(())
    }

    fn make_folder(&self) -> Result<(), RosterError> {
        fs::create_dir_all(&self.settings)
            .map_err(|source| RosterError::Io { file: self.settings.clone(), source })
    }

    /// The key file, if it is good: a broken one is never written.
    fn key_store(&self) -> Result<KeyStore, RosterError> {
        self.records()?;
        KeyStore::open(&self.config.root, &self.config, Arc::default())
            .map_err(|_| RosterError::Key(self.keys.clone()))
    }

    fn records(&self) -> Result<Map<String, Value>, Problem> {
        let bytes = match atomic_file::read(&self.keys, self.config.max_key_file_bytes) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
            Err(error) => return Err(whole(&self.keys, error.to_string())),
        };
        keys::parse(&bytes, self.config.max_json_depth).map_err(|problem| broken(&self.keys, &bytes, problem))
    }

    fn read(&self, file: &Path) -> Result<(String, RawObject), Problem> {
        let max = self.config.max_json_bytes;
        let bytes = atomic_file::read(file, max).map_err(|error| whole(file, error.to_string()))?;
        let object = RawObject::parse_bytes(&bytes, max, self.config.max_json_depth)
            .map_err(|problem| broken(file, &bytes, problem))?;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), object))
    }

    /// The files that describe a client, and what is wrong with them and the others.
    fn folder(&self) -> Result<Folder, RosterError> {
        let names = match client_files(&self.settings) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(RosterError::Io { file: self.settings.clone(), source }),
        };
        let mut folder = Folder::default();
        let max = self.config.max_client_files;
        if names.len() > max {
            let what = format!("{} client files, of which {max} are read", names.len());
            folder.problems.push(whole(&self.settings, what));
        }
        for name in names.into_iter().take(max) {
            let file = self.settings.join(&name);
            let (text, object) = match self.read(&file) {
                Ok(read) => read,
                Err(problem) => {
                    // One that is gone, or a link that leads nowhere, describes nobody.
                    let gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
                    if !fs::metadata(&file).is_err_and(gone) {
                        folder.unread.push(problem.clone());
                    }
                    folder.problems.push(problem);
                    continue;
                }
            };
            match ClientFile::read(&object) {
                Err(error) => folder.problems.push(at_key(&file, &text, "clientId", error.to_string())),
                Ok(client) => {
                    let questionable = self.questionable(&file, &text, &object, &client, &folder.clients);
                    folder.problems.extend(questionable);
                    folder.clients.push(Found { name, client });
                }
            }
        }
        Ok(folder)
    }

    /// What is wrong with a file that describes a client.
    fn questionable(
        &self,
        file: &Path,
        text: &str,
        object: &RawObject,
        client: &ClientFile,
        others: &[Found],
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        match object.value("isTrust") {
            None => problems.push(at_key(file, text, "isTrust", "isTrust is missing".to_owned())),
            Some(Value::Bool(_)) => (),
            Some(_) => {
                problems.push(at_key(file, text, "isTrust", "isTrust is not true or false".to_owned()))
            }
        }
        let id = &client.client_id;
        if self.config.reserved_ids.contains(id) {
            problems.push(at_key(file, text, "clientId", format!("the id {:?} is reserved", id.as_str())));
        }
        let same = others.iter().find(|other| other.client.client_id == *id);
        if let Some(other) = same.filter(|other| other.client.trusted != client.trusted) {
            let what = format!("{} says otherwise about {:?}: it is not trusted", other.name, id.as_str());
            problems.push(at_key(file, text, "isTrust", what));
        }
        problems
    }
}

fn class(extension: bool) -> &'static str {
    if extension { "extension" } else { "client" }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

fn whole(file: &Path, what: String) -> Problem {
    Problem { file: file.to_owned(), line: 1, column: 1, what }
}

/// At the value of a key, or where the object begins if there is none.
fn at_key(file: &Path, text: &str, key: &str, what: String) -> Problem {
    let (line, column) = json_text::place_of(text, key).unwrap_or((1, 1));
    Problem { file: file.to_owned(), line, column, what }
}

fn broken(file: &Path, bytes: &[u8], problem: JsonProblem) -> Problem {
    let (line, column, what) = match problem {
        JsonProblem::Syntax { what, line, column } => (line.max(1), column.max(1), what),
        JsonProblem::Encoding => {
            let good = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
            let text = String::from_utf8_lossy(bytes.get(..good).unwrap_or_default());
            let (line, column) = json_text::place(&text, good);
            (line, column, JsonProblem::Encoding.to_string())
        }
        other => (1, 1, other.to_string()),
    };
    Problem { file: file.to_owned(), line, column, what }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;

//! The extension for SillyTavern, embedded as npm built it: to a SillyTavern's folder, and out again.
//!
//! What was written is listed beside it, so that removing removes exactly that, whichever version put
//! it there, and never what somebody else has put into the folder.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
};

use rust_embed::Embed;

/// The extension's folder, and its id in SillyTavern.
const NAME: &str = "newage-broker";

/// The list of what was written, one path a line.
const LIST: &str = ".installed-by-newage-broker";

/// Where SillyTavern looks for extensions of all users.
const FOR_ALL: &str = "public/scripts/extensions";

#[derive(Embed)]
#[folder = "extension/dist"]
struct Embedded;

/// The extension's files by their path.
#[derive(Debug, Default)]
pub struct Files(BTreeMap<String, Cow<'static, [u8]>>);

impl Files {
    /// Those in this program; none if it was built without them.
    pub fn embedded() -> Self {
        let file = |name: Cow<'static, str>| Some((name.to_string(), Embedded::get(&name)?.data));
        Self(Embedded::iter().filter_map(file).collect())
    }
}

/// Why the extension is neither copied nor removed.
#[derive(Debug, thiserror::Error)]
pub enum ExtensionError {
    /// The folder is something else.
    #[error("{0} is not SillyTavern's folder: there is no public/scripts/extensions in it")]
    NoSillyTavern(PathBuf),
    /// A user who is not there.
    #[error("SillyTavern has no user {user:?}: there is no {folder}", folder = folder.display())]
    NoUser {
        /// As it was given.
        user: String,
        /// Where the user's data would be.
        folder: PathBuf,
    },
    /// A user who cannot be there.
    #[error("{0:?} is no name of a user")]
    UserName(String),
    /// Cargo came before npm.
    #[error("this program was built without the extension; run `make extension`, then build again")]
    NotBuilt,
    /// The system says no.
    #[error("{file}: {source}", file = file.display())]
    Io {
        /// To what.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn at(file: &Path) -> impl FnOnce(io::Error) -> ExtensionError {
    move |source| ExtensionError::Io { file: file.to_owned(), source }
}

/// A folder of a SillyTavern, for this extension alone.
#[derive(Debug)]
pub struct Place {
    folder: PathBuf,
}

impl Place {
    /// For one user, or for all of them. `data_root` is where `config.yaml` says, unless it is given.
    pub fn find(
        sillytavern: &Path,
        user: Option<&str>,
        data_root: Option<&Path>,
    ) -> Result<Self, ExtensionError> {
        let extensions = sillytavern.join(FOR_ALL);
        if !extensions.is_dir() {
            return Err(ExtensionError::NoSillyTavern(sillytavern.to_owned()));
        }
        let Some(user) = user else {
            return Ok(Self { folder: extensions.join("third-party").join(NAME) });
        };
        if !is_plain(user) || Path::new(user).components().count() != 1 {
            return Err(ExtensionError::UserName(user.to_owned()));
        }
        let root = data_root.map_or_else(|| configured_data_root(sillytavern), Path::to_owned);
        let home = root.join(user);
        if !home.is_dir() {
            return Err(ExtensionError::NoUser { user: user.to_owned(), folder: home });
        }
        Ok(Self { folder: home.join("extensions").join(NAME) })
    }

    /// The extension's own folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What an earlier installation has listed, as far as it lies in the folder.
    fn listed(&self) -> Result<Vec<String>, ExtensionError> {
        let list = self.folder.join(LIST);
        match fs::read_to_string(&list) {
            Ok(text) => Ok(text.lines().filter(|name| is_plain(name)).map(str::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(at(&list)(error)),
        }
    }

    /// Removes a file, and the folders that are empty without it, up to the extension's own.
    fn remove(&self, name: &str) -> Result<bool, ExtensionError> {
        let file = self.folder.join(name);
        let removed = match fs::remove_file(&file) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(at(&file)(error)),
        };
        for folder in file.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.folder)) {
            // Not empty, or gone already: either way nothing is left to do.
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(removed)
    }
}

/// The value of `dataRoot` in SillyTavern's config.yaml, which is one line at the top level.
fn configured_data_root(sillytavern: &Path) -> PathBuf {
    let config = fs::read_to_string(sillytavern.join("config.yaml")).unwrap_or_default();
    let value = config.lines().find_map(|line| line.strip_prefix("dataRoot:"));
    let value = value.map(|value| value.split(" #").next().unwrap_or_default().trim());
    let value = value.map(|value| value.trim_matches(['"', '\'']));
    sillytavern.join(value.filter(|value| !value.is_empty()).unwrap_or("data"))
}

/// A path that stays where it is joined.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(['\\', '\0', ':'])
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Writes the files, and removes those of an earlier version that are not among them.
pub fn install(place: &Place, Files(files): &Files) -> Result<(), ExtensionError> {
    if files.is_empty() {
        return Err(ExtensionError::NotBuilt);
    }
    let before = place.listed()?;
    // Listed first: an installation that is interrupted can still be removed.
    let mut names: Vec<&str> = files.keys().map(String::as_str).collect();
    names.extend(before.iter().map(String::as_str).filter(|name| !files.contains_key(*name)));
    write(&place.folder.join(LIST), listing(&names).as_bytes())?;
    for (name, bytes) in files {
        write(&place.folder.join(name), bytes)?;
    }
    for name in before.iter().filter(|name| !files.contains_key(*name)) {
        place.remove(name)?;
    }
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    write(&place.folder.join(LIST), listing(&names).as_bytes())
}

fn listing(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), ExtensionError> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(at(folder))?;
    }
    fs::write(file, bytes).map_err(at(file))
}

/// Removes what was installed; says how many files that were.
pub fn uninstall(place: &Place) -> Result<usize, ExtensionError> {
    let mut removed = 0;
    for name in place.listed()? {
        removed += usize::from(place.remove(&name)?);
    }
    place.remove(LIST)?;
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Files {
        let file = |name: &&str| ((*name).to_owned(), Cow::Owned(name.as_bytes().to_vec()));
        Files(names.iter().map(file).collect())
    }

    fn sillytavern() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(FOR_ALL)).unwrap();
        folder
    }

    fn below(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![folder.to_owned()];
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(&next).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.push(path.strip_prefix(folder).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn what_was_installed_is_removed_and_nothing_else() {
        let sillytavern = sillytavern();
        let place = Place::find(sillytavern.path(), None, None).unwrap();
        install(&place, &files(&["index.js", "i18n/zh.json"])).unwrap();
        assert_eq!(below(place.folder()), [LIST, "i18n/zh.json", "index.js"]);
        fs::write(place.folder().join("mine.txt"), "").unwrap();
        assert_eq!(uninstall(&place).unwrap(), 2);
        assert_eq!(below(place.folder()), ["mine.txt"]);
        fs::remove_file(place.folder().join("mine.txt")).unwrap();
        install(&place, &files(&["index.js"])).unwrap();
        assert_eq!(uninstall(&place).unwrap(), 1);
        assert!(!place.folder().exists());
        assert_eq!(uninstall(&place).unwrap(), 0);
        assert!(sillytavern.path().join(FOR_ALL).is_dir());
    }

    #[test]
    fn a_newer_version_replaces_an_older_one() {
        let sillytavern = sillytavern();
        let place = Place::find(sillytavern.path(), None, None).unwrap();
        install(&place, &files(&["index.js", "old/part.js"])).unwrap();
        install(&place, &files(&["index.js", "new.js"])).unwrap();
        assert_eq!(below(place.folder()), [LIST, "index.js", "new.js"]);
    }

    #[test]
    fn one_users_folder_is_where_the_configuration_says() {
        let sillytavern = sillytavern();
        let root = sillytavern.path();
        fs::create_dir_all(root.join("data/default-user")).unwrap();
        fs::create_dir_all(root.join("elsewhere/ann")).unwrap();
        let folder =
            |user, data: Option<&Path>| Place::find(root, Some(user), data).map(|place| place.folder);
        assert_eq!(
            folder("default-user", None).unwrap(),
            root.join("data/default-user/extensions").join(NAME)
        );
        fs::write(root.join("config.yaml"), "# x\ndataRoot: \"./elsewhere\" # y\nlisten: false\n").unwrap();
        assert_eq!(folder("ann", None).unwrap(), root.join("./elsewhere/ann/extensions").join(NAME));
        assert!(matches!(folder("default-user", None), Err(ExtensionError::NoUser { .. })));
        assert!(folder("default-user", Some(&root.join("data"))).is_ok());
    }

    #[test]
    fn places_that_are_none() {
        let sillytavern = sillytavern();
        for user in ["", "..", ".", "a/b", "/etc", "a\\b", "c:"] {
            let place = Place::find(sillytavern.path(), Some(user), None);
            assert!(matches!(place, Err(ExtensionError::UserName(_))), "{user:?}: {place:?}");
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(Place::find(empty.path(), None, None), Err(ExtensionError::NoSillyTavern(_))));
    }

    #[test]
    fn a_list_cannot_reach_out_of_its_folder() {
        let sillytavern = sillytavern();
        let place = Place::find(sillytavern.path(), None, None).unwrap();
        install(&place, &files(&["index.js"])).unwrap();
        let outside = sillytavern.path().join("precious");
        fs::write(&outside, "").unwrap();
        fs::write(place.folder().join(LIST), "../../../../../precious\nindex.js\n").unwrap();
        assert_eq!(uninstall(&place).unwrap(), 1);
        assert!(outside.exists());
    }

    #[test]
    fn a_build_without_the_extension_says_so() {
        let sillytavern = sillytavern();
        let place = Place::find(sillytavern.path(), None, None).unwrap();
        assert!(matches!(install(&place, &Files::default()), Err(ExtensionError::NotBuilt)));
    }
}

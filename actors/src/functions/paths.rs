//! Which file a path from outside means (spec §6.3 rules 1 to 3 and 6).
//!
//! First as text, without touching the disk, then on the disk with symlinks resolved. Both must stay below
//! the server root, and the caller authorizes both.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Longest path accepted, in bytes.
const MAX_LEN: usize = 1024;
/// Most components accepted.
const MAX_COMPONENTS: usize = 32;

/// Why a path is refused. `Display` is the protocol's text; it never holds a server path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It leaves the root, or could.
    #[error("Access denied: Path is outside the server directory.")]
    Outside,
    /// It is in the root, and not for this caller.
    #[error("Access denied: File is restricted.")]
    Restricted,
}

/// A path below the root: plain components, no `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelPath {
    parts: Vec<String>,
    rooted: bool,
}

impl RelPath {
    /// Reads a path as text. Relative to the root, with or without `./` or a leading `/`; an absolute path is
    /// accepted if it lies in the root.
    pub fn parse(root: &Path, text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_LEN || text.chars().any(char::is_control) {
            return Err(PathError::Outside);
        }
        let text = text.replace('\\', "/");
        if text.starts_with("//") {
            return Err(PathError::Outside);
        }
        let root_text = root.to_string_lossy().replace('\\', "/");
        let inside = text
            .strip_prefix(root_text.trim_end_matches('/'))
            .filter(|rest| !root_text.is_empty() && rest.starts_with('/'));
        let rooted = inside.is_none() && text.starts_with('/');
        let mut parts = Vec::new();
        for part in inside.unwrap_or(&text).split('/') {
            match part {
                "" | "." => {}
                // `:` is a drive or a hidden stream; a final dot or space vanishes on some systems.
                _ if part == ".." || part.contains(':') || part.ends_with(['.', ' ']) => {
                    return Err(PathError::Outside);
                }
                _ => parts.push(part.to_owned()),
            }
        }
        if parts.is_empty() || parts.len() > MAX_COMPONENTS {
            return Err(PathError::Outside);
        }
        Ok(Self { parts, rooted })
    }

    /// The components.
    pub fn parts(&self) -> Vec<&str> {
        self.parts.iter().map(String::as_str).collect()
    }

    /// The error for a path that no rule allows: one that looks absolute probably meant another place.
    pub fn refused(&self) -> PathError {
        if self.rooted { PathError::Outside } else { PathError::Restricted }
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.parts.last().map_or("", String::as_str)
    }

    /// The same path with another last component.
    pub fn with_file_name(&self, name: &str) -> Self {
        let mut parts = self.parts.clone();
        parts.pop();
        parts.push(name.to_owned());
        Self { parts, rooted: self.rooted }
    }

    /// Whether the path is one of these, or below one of them, without regard to letter case.
    pub fn is_listed(&self, list: &[String]) -> bool {
        list.iter().any(|entry| {
            let entry = entry.replace('\\', "/").to_lowercase();
            let mut listed = entry.split('/').filter(|part| !matches!(*part, "" | ".")).peekable();
            let mut own = self.parts.iter().map(|part| part.to_lowercase());
            listed.peek().is_some() && listed.all(|part| own.next().as_deref() == Some(part))
        })
    }

    /// Where the path leads on the disk, and as which path below the root. Blocks.
    ///
    /// `root` has no symlinks. The file need not exist, but what exists of its folders must stay in the root;
    /// a dangling symlink is refused.
    pub fn resolve(&self, root: &Path) -> Result<(PathBuf, Self), PathError> {
        let full: PathBuf =
            std::iter::once(root.as_os_str().to_owned()).chain(self.parts.iter().map(Into::into)).collect();
        let mut existing = full.as_path();
        loop {
            match existing.symlink_metadata() {
                Ok(_) => break,
                Err(error) if is_absent(&error) && existing != root => {
                    existing = existing.parent().ok_or(PathError::Outside)?;
                }
                Err(_) => return Err(PathError::Outside),
            }
        }
        let rest = full.strip_prefix(existing).map_err(|_| PathError::Outside)?;
        let base = existing.canonicalize().map_err(|_| PathError::Outside)?;
        // Joining an empty rest would add a slash.
        let real = if rest.as_os_str().is_empty() { base } else { base.join(rest) };
        let below = real.strip_prefix(root).map_err(|_| PathError::Outside)?;
        let parts = below
            .components()
            .map(|part| part.as_os_str().to_str().map(str::to_owned))
            .collect::<Option<Vec<String>>>()
            .filter(|parts| !parts.is_empty())
            .ok_or(PathError::Outside)?;
        Ok((real, Self { parts, rooted: self.rooted }))
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<String, PathError> {
        RelPath::parse(Path::new("/srv/broker"), text).map(|path| path.to_string())
    }

    #[test]
    fn paths_mean_files_below_the_root() {
        for (text, path) in [
            ("settings/a.json", "settings/a.json"),
            ("./settings/a.json", "settings/a.json"),
            ("/settings/a.json", "settings/a.json"),
            (".\\settings\\a.json", "settings/a.json"),
            ("settings//./a.json", "settings/a.json"),
            ("/srv/broker/settings/a.json", "settings/a.json"),
            ("/srv/brokerage/a.json", "srv/brokerage/a.json"),
            ("data/漢/a b.json", "data/漢/a b.json"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(path), "{text}");
        }
    }

    #[test]
    fn escapes_are_outside() {
        let long = format!("settings/{}.json", "x".repeat(2000));
        let deep = "a/".repeat(40) + "x.json";
        for text in [
            "",
            ".",
            "/",
            "..",
            "../a.json",
            "settings/../keys/clients.json",
            "settings/..",
            "..\\a.json",
            "settings\\..\\..\\a.json",
            "a\0.json",
            "a\n.json",
            "C:\\a.json",
            "C:/a.json",
            "settings/a.json:x",
            "//server/share/a.json",
            "\\\\server\\share",
            "settings/.../a.json",
            "settings./a.json",
            "settings /a.json",
            "/srv/broker/../a.json",
            &long,
            &deep,
        ] {
            assert_eq!(parse(text), Err(PathError::Outside), "{text:?}");
        }
    }

    #[test]
    fn lists_ignore_case_and_separators() {
        let path = RelPath::parse(Path::new("/r"), "data/Mine/x.json").unwrap();
        for (entry, listed) in [
            ("data/mine/x.json", true),
            (".\\DATA\\mine\\X.json", true),
            ("/data/mine", true),
            ("data/min", false),
            ("data/mine/x.json/y", false),
            ("", false),
            ("/", false),
        ] {
            assert_eq!(path.is_listed(&[entry.to_owned()]), listed, "{entry}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn defect_8_40_symlinks_are_resolved() {
        use std::os::unix::fs::symlink;
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().canonicalize().unwrap().join("root");
        for folder in ["data/me", "keys"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::fs::write(root.join("keys/clients.json"), "{}").unwrap();
        std::fs::write(outer.path().join("secret.json"), "{}").unwrap();
        symlink(outer.path(), root.join("data/me/up")).unwrap();
        symlink(outer.path().join("secret.json"), root.join("data/me/s.json")).unwrap();
        symlink(outer.path().join("missing.json"), root.join("data/me/dangling.json")).unwrap();
        symlink("../../keys", root.join("data/me/keys")).unwrap();
        let resolve =
            |text: &str| RelPath::parse(&root, text).unwrap().resolve(&root).map(|(_, rel)| rel.to_string());
        for text in
            ["data/me/up/secret.json", "data/me/up/new.json", "data/me/s.json", "data/me/dangling.json"]
        {
            assert_eq!(resolve(text), Err(PathError::Outside), "{text}");
        }
        for (text, real) in [
            ("data/me/new.json", "data/me/new.json"),
            ("data/you/deep/new.json", "data/you/deep/new.json"),
            ("data/me/keys/clients.json", "keys/clients.json"),
            ("keys/clients.json/x.json", "keys/clients.json/x.json"),
        ] {
            assert_eq!(resolve(text).as_deref(), Ok(real), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_leaves_the_root(
            text in prop_oneof![
                ".*",
                prop::collection::vec(
                    prop::sample::select(vec!["..", ".", "a", "link", "keys", "C:", "", "\\", "/", "%2e%2e", "é"]),
                    0..8,
                ).prop_map(|parts| parts.join("/")),
            ]
        ) {
            let root = Path::new("/srv/broker");
            if let Ok(path) = RelPath::parse(root, &text) {
                let full = root.join(path.to_string());
                prop_assert!(full.starts_with(root));
                prop_assert!(full.components().all(|part| part.as_os_str() != ".."));
            }
        }
    }

    #[cfg(unix)]
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_leaves_the_root_on_disk(
            parts in prop::collection::vec(
                prop::sample::select(vec!["..", ".", "a", "up", "loop", "file", "new"]), 1..7,
            )
        ) {
            use std::os::unix::fs::symlink;
            let outer = tempfile::tempdir().unwrap();
            let root = outer.path().canonicalize().unwrap().join("root");
            std::fs::create_dir_all(root.join("a/a")).unwrap();
            std::fs::write(root.join("file"), "").unwrap();
            symlink("../..", root.join("a/up")).unwrap();
            symlink("loop", root.join("a/loop")).unwrap();
            symlink("..", root.join("a/a/up")).unwrap();
            if let Ok(path) = RelPath::parse(&root, &parts.join("/"))
                && let Ok((real, rel)) = path.resolve(&root)
            {
                prop_assert!(real.starts_with(&root));
                prop_assert_eq!(root.join(rel.to_string()), real.clone());
                if let Ok(canonical) = real.canonicalize() {
                    prop_assert!(canonical.starts_with(&root));
                }
            }
        }
    }
}

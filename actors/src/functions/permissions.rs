//! Who may read and write which file (spec §6.3 rule 4): a list of what is allowed; all else is refused.

use super::paths::{PathError, RelPath};
use crate::trust::messages::{Caller, ClientClass};
use crate::trust::{TrustSnapshot, settings_file};

/// What a function wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read a file.
    Read,
    /// Merge into a file, or create it.
    Write,
}

/// What an allowed file is, which decides how it is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `settings/server_settings.json`.
    ServerSettings,
    /// A client's file in `settings/`.
    ClientFile,
    /// A file of the caller's own folder in `data/`.
    Data,
}

/// Replaces `settings/<id>-settings.json` by the file that holds this id, whatever its name (rule 1).
pub fn by_content(path: RelPath, snapshot: &TrustSnapshot) -> RelPath {
    if let ["settings", name] = path.parts()[..]
        && let Some(id) = name.strip_suffix("-settings.json")
        && let Some(entry) = snapshot.entry(id)
        && snapshot.owner(name).is_none_or(|owner| owner.as_str() != id)
    {
        return path.with_file_name(&entry.file);
    }
    path
}

/// Decides about a path below the root.
pub fn authorize(
    caller: &Caller,
    access: Access,
    path: &RelPath,
    snapshot: &TrustSnapshot,
) -> Result<Kind, PathError> {
    let parts = path.parts();
    let plain = |name: &str| name.ends_with(".json") && !name.starts_with('.');
    if !plain(path.file_name()) || parts.iter().any(|part| part.starts_with('.')) {
        return Err(path.refused());
    }
    let extension = caller.class == ClientClass::Extension;
    match parts[..] {
        ["settings", settings_file::FILE] if caller.admin || extension => Ok(Kind::ServerSettings),
        // Another spelling may be the same file on a disk that ignores letter case.
        ["settings", name] if name.eq_ignore_ascii_case(settings_file::FILE) => Err(PathError::Restricted),
        ["settings", _] if caller.admin => Ok(Kind::ClientFile),
        ["settings", name] => {
            let own = snapshot.owner(name) == Some(&caller.client_id);
            let allowed = own && (extension || access == Access::Read);
            if allowed { Ok(Kind::ClientFile) } else { Err(PathError::Restricted) }
        }
        ["data", owner, _, ..] if !extension && caller.client_id == *owner => Ok(Kind::Data),
        ["settings" | "data" | "keys" | "logs", ..] => Err(PathError::Restricted),
        _ => Err(path.refused()),
    }
}

#[cfg(test)]
#[path = "permissions_tests.rs"]
mod tests;

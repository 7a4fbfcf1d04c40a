//! Files that are either old or new, never half (spec §2.4: temp file + rename).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The owner only (0600).
    Secret,
    /// As the file was; a new file follows the process's mask.
    Keep,
}

/// Writes a file through a temporary one in the same folder. Blocks.
///
/// After a crash the file holds the old bytes or the new ones. A symlink at `path` is replaced, not followed.
pub fn write(path: &Path, bytes: &[u8], mode: Mode) -> io::Result<()> {
    write_if(path, bytes, mode, || true).map(drop)
}

/// The same, if `still` is true at the last moment; whether it was. Blocks.
pub fn write_if(path: &Path, bytes: &[u8], mode: Mode, still: impl FnOnce() -> bool) -> io::Result<bool> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|_| io::Error::from(io::ErrorKind::Other))?;
    let mut temp_name = OsString::from(".");
    temp_name.push(name);
    temp_name.push(format!(".{:016x}.tmp", u64::from_le_bytes(random)));
    let temp = folder.join(temp_name);

    let written = write_new(&temp, path, bytes, mode)
        .and_then(|()| if still() { fs::rename(&temp, path).map(|()| true) } else { Ok(false) });
    if !matches!(written, Ok(true)) {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temp);
        return written;
    }
    // The rename itself is on disk only once the folder is; some file systems refuse to sync a folder.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(true)
}

fn write_new(temp: &Path, target: &Path, bytes: &[u8], mode: Mode) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if mode == Mode::Secret {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(temp)?;
    if mode == Mode::Keep
        && let Ok(meta) = fs::symlink_metadata(target)
        && meta.is_file()
    {
        file.set_permissions(meta.permissions())?;
    }
    keep_owner(&file, target);
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives a new file to whom the one at `target` belongs, or else the folder: an administrator's command must not
/// leave files that the broker's user cannot read.
#[cfg(unix)]
pub(super) fn keep_owner(file: &File, target: &Path) {
    use std::os::unix::fs::{MetadataExt, fchown};
    let folder = || fs::metadata(target.parent().unwrap_or(Path::new(".")));
    if let (Ok(wanted), Ok(own)) = (fs::symlink_metadata(target).or_else(|_| folder()), file.metadata())
        && (wanted.uid(), wanted.gid()) != (own.uid(), own.gid())
    {
        // Only an administrator may; for everybody else the file is his own.
        let _ = fchown(file, Some(wanted.uid()), Some(wanted.gid()));
    }
}

#[cfg(not(unix))]
pub(super) fn keep_owner(_: &File, _: &Path) {}

/// Reads a regular file of at most `max_bytes`; `FileTooLarge` beyond. Blocks.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    // Checked before opening: opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defect_8_51_readers_see_old_or_new_never_half() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.json");
        let texts: Vec<Vec<u8>> = (0..4_u8).map(|i| vec![b'a' + i; 100_000]).collect();
        write(&path, &texts[0], Mode::Secret).unwrap();
        std::thread::scope(|scope| {
            for text in &texts {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write(path, text, Mode::Secret).unwrap()));
            }
            for _ in 0..50 {
                let seen = read(&path, 200_000).unwrap();
                assert!(texts.contains(&seen));
            }
        });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn nothing_is_written_if_it_is_too_late() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.json");
        assert!(!write_if(&path, b"1", Mode::Keep, || false).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nor does a temporary file stay");
        assert!(write_if(&path, b"1", Mode::Keep, || true).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"1");
    }

    #[cfg(unix)]
    #[test]
    fn modes() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.json");
        write(&path, b"1", Mode::Secret).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        write(&path, b"2", Mode::Keep).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn reading_is_bounded_and_only_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write(&path, b"12345", Mode::Keep).unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(read(folder.path(), 4).is_err());
    }
}

//! A log file that is put aside when it is full.
//!
//! Of our own, because it must never panic and never lose an entry silently, whatever becomes of its folder;
//! `READ_LOG` relies on the names.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use actors::logs::old_file;

/// `path`, and behind it `path.1` (the newest full one) to `path.N`.
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    len: u64,
    max_bytes: u64,
    old_files: usize,
}

impl RotatingFile {
    /// An empty file; what an earlier run has left under these names is removed (spec §4.8).
    pub(super) fn create(path: PathBuf, max_bytes: u64, old_files: usize) -> io::Result<Self> {
        remove_old(&path)?;
        let file = open(&path)?;
        file.set_len(0)?;
        Ok(Self { path, file, len: 0, max_bytes, old_files })
    }

    /// Writes a whole entry into one file. Says whether the file before it was full.
    pub(super) fn write(&mut self, entry: &[u8]) -> io::Result<bool> {
        let len = entry.len() as u64;
        let full = self.len > 0 && self.len + len > self.max_bytes;
        if full {
            self.rotate()?;
        }
        // One call, so that a reader sees it whole.
        self.file.write_all(entry)?;
        self.len += len;
        Ok(full)
    }

    fn rotate(&mut self) -> io::Result<()> {
        // Where a file cannot be renamed its bound still holds: it begins anew.
        match self.put_aside().and_then(|()| open(&self.path)) {
            Ok(file) => self.file = file,
            Err(_) => self.file.set_len(0)?,
        }
        self.len = self.file.metadata()?.len();
        Ok(())
    }

    fn put_aside(&self) -> io::Result<()> {
        if self.old_files == 0 {
            return self.file.set_len(0);
        }
        for n in (1..self.old_files).rev() {
            rename(&old_file(&self.path, n), &old_file(&self.path, n + 1))?;
        }
        rename(&self.path, &old_file(&self.path, 1))
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// A file that is not there need not be renamed.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes every `path.N`, also those that a smaller setting would leave behind.
fn remove_old(path: &Path) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    for entry in fs::read_dir(folder)? {
        let entry = entry?.file_name();
        let number = entry.to_str().and_then(|entry| entry.strip_prefix(name)?.strip_prefix('.'));
        if number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit())) {
            fs::remove_file(folder.join(&entry))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("combined.log")
        }

        /// The files by name, with what is in them.
        fn files(&self) -> Vec<(String, String)> {
            let mut files: Vec<_> = fs::read_dir(self.0.path())
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    let text = fs::read_to_string(entry.path()).unwrap();
                    (entry.file_name().into_string().unwrap(), text)
                })
                .collect();
            files.sort();
            files
        }
    }

    fn expected(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn full_files_are_put_aside_and_the_oldest_goes() {
        let folder = Folder::new();
        let mut file = RotatingFile::create(folder.path(), 6, 2).unwrap();
        let mut rotations = 0;
        for entry in ["aa\n", "bb\n", "cc\n", "dd\n", "ee\n", "ff\n", "gg\n", "too long\n", "hh\n"] {
            rotations += u32::from(file.write(entry.as_bytes()).unwrap());
        }
        assert_eq!(rotations, 5);
        assert_eq!(
            folder.files(),
            expected(&[
                ("combined.log", "hh\n"),
                ("combined.log.1", "too long\n"),
                ("combined.log.2", "gg\n")
            ]),
            "an entry is never parted"
        );
    }

    #[test]
    fn a_new_run_begins_with_an_empty_file() {
        let folder = Folder::new();
        for name in ["combined.log", "combined.log.1", "combined.log.12", "combined.log.old", "combined.log2"]
        {
            fs::write(folder.0.path().join(name), "before").unwrap();
        }
        let mut file = RotatingFile::create(folder.path(), 100, 1).unwrap();
        file.write(b"now\n").unwrap();
        assert_eq!(
            folder.files(),
            expected(&[
                ("combined.log", "now\n"),
                ("combined.log.old", "before"),
                ("combined.log2", "before")
            ])
        );
    }

    #[test]
    fn without_old_files_it_begins_anew() {
        let folder = Folder::new();
        let mut file = RotatingFile::create(folder.path(), 4, 0).unwrap();
        for entry in ["aa\n", "bb\n", "cc\n"] {
            file.write(entry.as_bytes()).unwrap();
        }
        assert_eq!(folder.files(), expected(&[("combined.log", "cc\n")]));
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_stays_bounded() {
        let folder = Folder::new();
        let mut file = RotatingFile::create(folder.path(), 4, 1).unwrap();
        fs::create_dir_all(old_file(&folder.path(), 1).join("in the way")).unwrap();
        for entry in ["aa\n", "bb\n", "cc\n"] {
            file.write(entry.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(folder.path()).unwrap(), "cc\n");
        // Its folder may even go; what is written then is not found, but nothing ends.
        fs::remove_dir_all(folder.0.path()).unwrap();
        let _ = file.write(b"dd\n");
        let _ = file.write(b"ee\n");
    }
}

//! Notices changes of the settings and key folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::warn;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use same_file::Handle;
use tokio::sync::mpsc;

/// Folders that are watched, and looked at from time to time besides: a watch stays with a folder that is moved away
/// or removed, and tells neither of the one in its place nor of a file that a symlink leads to.
pub(super) struct Watch {
    told: mpsc::Receiver<()>,
    /// Keeps the queue open where there is no watcher.
    _tell: mpsc::Sender<()>,
    folders: Arc<Mutex<Folders>>,
    /// How long the last look took: with ten thousand clients, tens of milliseconds.
    cost: Duration,
}

/// A look takes one part in so many of the time at most.
const RARELY: u32 = 1000;

struct Folders {
    /// `None` if the system cannot watch.
    watcher: Option<RecommendedWatcher>,
    all: Vec<Folder>,
}

/// One of them, as it was last seen.
struct Folder {
    path: PathBuf,
    /// The one that is watched. It is held open, so that no other is given its number meanwhile.
    watched: Option<Handle>,
    /// Whether it is known from the log that it cannot be watched.
    warned: bool,
    files: BTreeMap<PathBuf, Option<Stamp>>,
}

/// Tells what a file holds from what it held before, without reading it.
#[derive(PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    /// Its number, and when anything about it changed last, which nobody can choose; 0 where there are none.
    inode: u64,
    changed: (i64, i64),
}

impl Watch {
    /// Watches folders; what changes from here on is noticed. Blocks for moments.
    pub(super) fn new(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        // A queue of one: more would say no more.
        let (tell, told) = mpsc::channel(1);
        let teller = tell.clone();
        let on_event = move |event: notify::Result<notify::Event>| {
            let relevant = event
                .is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(|path| is_json(path)));
            if relevant {
                // Full means that the news is on its way already.
                let _ = teller.try_send(());
            }
        };
        let watcher = match notify::recommended_watcher(on_event) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                warn!(error:%; "folders cannot be watched, they are read from time to time");
                None
            }
        };
        let all = folders.into_iter().map(Folder::new).collect();
        let mut folders = Folders { watcher, all };
        folders.look();
        Self { told, _tell: tell, folders: Arc::new(Mutex::new(folders)), cost: Duration::ZERO }
    }

    /// Returns once something may have changed, and was left alone for as long as `quiet`. Where nothing is told, it
    /// looks after each `interval`; less often if that would be more than a thousandth of the time.
    pub(super) async fn changed(&mut self, quiet: Duration, interval: Duration) {
        loop {
            let pause = interval.max(self.cost * RARELY);
            if tokio::time::timeout(pause, self.told.recv()).await.is_ok() || self.look().await {
                break;
            }
        }
        tokio::time::sleep(quiet).await;
        let _ = self.told.try_recv();
        // So that the next look finds only what comes after this.
        self.look().await;
    }

    async fn look(&mut self) -> bool {
        let folders = Arc::clone(&self.folders);
        let began = Instant::now();
        // If it failed, nobody knows.
        let changed = tokio::task::spawn_blocking(move || folders.lock().look()).await.unwrap_or(true);
        self.cost = began.elapsed();
        changed
    }
}

impl Folders {
    /// Whether something may have changed since the last look. Blocks: it takes a stat of each file.
    fn look(&mut self) -> bool {
        let mut changed = false;
        for folder in &mut self.all {
            changed |= folder.look(self.watcher.as_mut());
        }
        changed
    }
}

impl Folder {
    fn new(path: PathBuf) -> Self {
        Self { path, watched: None, warned: false, files: BTreeMap::new() }
    }

    /// Watches the folder if it is not the one that is watched. Whether it or a file is not what it was; always if it
    /// cannot be watched, because what is then seen of the files is all that is.
    fn look(&mut self, watcher: Option<&mut RecommendedWatcher>) -> bool {
        let here = Handle::from_path(&self.path).ok();
        let another = here != self.watched;
        if another {
            let watches = watcher.is_some_and(|watcher| self.watch(watcher, here.is_some()));
            self.watched = here.filter(|_| watches);
        }
        // Behind the watch, which tells what changes from here on.
        let files = files(&self.path);
        let changed = files != self.files;
        self.files = files;
        another || changed
    }

    /// Whether the folder that is there now is watched.
    fn watch(&mut self, watcher: &mut RecommendedWatcher, is_there: bool) -> bool {
        // The watch of the folder that was there, which may have gone with it.
        let _ = watcher.unwatch(&self.path);
        if !is_there {
            return false;
        }
        match watcher.watch(&self.path, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.warned = false;
                true
            }
            Err(error) => {
                if !self.warned {
                    warn!(folder:% = self.path.display(), error:%; "folder cannot be watched, it is read from time to time");
                }
                self.warned = true;
                false
            }
        }
    }
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

/// What can be seen of a folder's files; nothing if it is not there.
fn files(folder: &Path) -> BTreeMap<PathBuf, Option<Stamp>> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path()).filter(|path| is_json(path));
    let stamped = paths.map(|path| {
        let stamp = Stamp::of(&path);
        (path, stamp)
    });
    stamped.collect()
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        #[cfg(unix)]
        let (inode, changed) = {
            use std::os::unix::fs::MetadataExt;
            (meta.ino(), (meta.ctime(), meta.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let (inode, changed) = (0, (0, 0));
        Some(Self { modified: meta.modified().ok(), len: meta.len(), inode, changed })
    }
}

// Elsewhere a folder that is watched cannot be moved.
#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The watch tells of a file that is written now.
    async fn tells_of(watch: &mut Watch, file: &Path) {
        let _ = watch.told.try_recv();
        fs::write(file, "{}").unwrap();
        let told = tokio::time::timeout(Duration::from_secs(20), watch.told.recv()).await;
        assert_eq!(told, Ok(Some(())), "{}", file.display());
    }

    #[tokio::test]
    async fn a_folder_that_takes_the_place_of_another_is_watched() {
        let root = tempfile::tempdir().unwrap();
        let [folder, old, linked, link] =
            ["settings", "old", "linked", "link"].map(|name| root.path().join(name));
        let file = folder.join("a.json");
        fs::create_dir(&folder).unwrap();
        let mut watch = Watch::new([folder.clone()]);
        assert!(!watch.look().await, "nothing has happened");
        tells_of(&mut watch, &file).await;

        fs::rename(&folder, &old).unwrap();
        assert!(watch.look().await, "it is gone");
        assert!(!watch.look().await, "and that is said once");
        fs::create_dir(&folder).unwrap();
        assert!(watch.look().await, "another is there");
        tells_of(&mut watch, &file).await;

        // Its number is free, and the next folder may be given it at once.
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        assert!(watch.look().await);
        tells_of(&mut watch, &file).await;

        fs::remove_dir_all(&folder).unwrap();
        symlink(&old, &folder).unwrap();
        assert!(watch.look().await);
        tells_of(&mut watch, &file).await;
        fs::create_dir(&linked).unwrap();
        symlink(&linked, &link).unwrap();
        fs::rename(&link, &folder).unwrap();
        assert!(watch.look().await, "the link leads elsewhere");
        tells_of(&mut watch, &file).await;
    }

    #[tokio::test]
    async fn a_look_sees_what_no_watch_tells() {
        let root = tempfile::tempdir().unwrap();
        let [folder, target] = ["settings", "target"].map(|name| root.path().join(name));
        fs::create_dir(&folder).unwrap();
        fs::write(&target, "1").unwrap();
        symlink(&target, folder.join("a.json")).unwrap();
        let mut watch = Watch::new([folder]);
        assert!(!watch.look().await, "nothing has happened");
        fs::write(&target, "22").unwrap();
        let moment = Duration::from_millis(1);
        let noticed = tokio::time::timeout(Duration::from_secs(20), watch.changed(moment, moment)).await;
        assert_eq!(noticed, Ok(()));
        assert!(!watch.look().await, "and that is said once");
    }
}

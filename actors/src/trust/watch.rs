//! Notices changes of the settings and key folders.

use std::path::Path;

use log::warn;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Watches folders and says "something changed" into a queue of one: more would say no more.
///
/// `None` if the system cannot watch; the caller then looks from time to time.
pub(super) fn watch(folders: &[&Path]) -> Option<(RecommendedWatcher, mpsc::Receiver<()>)> {
    let (tell, told) = mpsc::channel(1);
    let on_event = move |event: notify::Result<notify::Event>| {
        let relevant = event.is_ok_and(|event| {
            !event.kind.is_access()
                && event.paths.iter().any(|path| path.extension().is_some_and(|ext| ext == "json"))
        });
        if relevant {
            // Full means that the news is on its way already.
            let _ = tell.try_send(());
        }
    };
    let made = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        for folder in folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    match made {
        Ok(watcher) => Some((watcher, told)),
        Err(error) => {
            warn!(error:%; "folders cannot be watched, they are read from time to time");
            None
        }
    }
}

//! How many changes a history stores in a second, and in how many transactions:
//! `cargo run --release -p newage-actors --example history_rate [FOLDER]`.
//!
//! Each caller waits for its answer before it sends its next change, as rooms do that answer their
//! clients only then. A folder on the disk that is meant says more than the system's temporary one.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::Arbiter;
use actors::{
    history::{Change, History, HistoryConfig, MessageKind, Place, Synchronous},
    ids::RoomName,
    metrics::Metrics,
    protocol::RequestMode,
};

const TIME: Duration = Duration::from_secs(2);
/// A short message with its fields.
const LENGTH: usize = 300;

async fn run(what: &str, config: HistoryConfig, callers: u64) {
    let metrics = Arc::new(Metrics::default());
    let history =
        History::start(config, metrics.clone(), &Arbiter::new().handle()).expect("the history opens");
    let json = format!("{{\"message\":\"{}\"}}", "x".repeat(LENGTH));
    let begun = Instant::now();
    let call = async |caller: u64| {
        let room = RoomName::new(format!("room-{caller}")).expect("a legal name");
        let mode = RequestMode::Immediate;
        let created = Change::RoomCreated {
            name: room.clone(),
            created_at_ms: 0,
            mode,
            personal: false,
            creator: None,
        };
        history.persist(vec![created]).expect("there is room").await.expect("it is stored");
        for seq in 1.. {
            let (id, kind) = (seq.to_string(), MessageKind::Request);
            let json = json.clone().into();
            let added = Change::MessageAdded { room: room.clone(), seq, id, kind, json };
            history.persist(vec![added]).expect("there is room").await.expect("it is stored");
            if begun.elapsed() > TIME {
                break;
            }
        }
    };
    futures::future::join_all((0..callers).map(call)).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (changes, commits) = (metrics.history_changes.get() as f64, metrics.history_commits.get() as f64);
    println!(
        "{what:<16} {callers:>5} callers {:>8.0} changes/s {:>8.0} commits/s {:>7.1} changes a commit",
        changes / seconds,
        commits / seconds,
        changes / commits,
    );
    history.close().await;
}

#[actix::main]
async fn main() {
    let given = std::env::args_os().nth(1);
    let folder =
        tempfile::tempdir_in(given.unwrap_or_else(|| std::env::temp_dir().into())).expect("a folder");
    let file = |name: &str| Place::File(Path::new(folder.path()).join(name));
    for callers in [1, 64, 1000] {
        let places = [
            ("memory", Place::Memory, Synchronous::Normal),
            ("file, normal", file(&format!("normal-{callers}")), Synchronous::Normal),
            ("file, full", file(&format!("full-{callers}")), Synchronous::Full),
        ];
        for (what, place, synchronous) in places {
            run(what, HistoryConfig { place, synchronous, ..HistoryConfig::default() }, callers).await;
        }
    }
}

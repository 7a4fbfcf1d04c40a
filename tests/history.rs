//! The history's file, as the broker treats it: made, left complete, refused.

mod support;

use std::{fs, path::Path};

use newage_broker::{
    config::{Config, Flags, HistoryMode},
    server::{self, Running},
};
use serde_json::json;
use support::{Broker, Peer, auth};

const FILE: &str = "data/history.sqlite";

fn start(data: &Path, change: impl FnOnce(&mut Config)) -> Result<Running, String> {
    let flags = Flags { data: Some(data.to_owned()), port: Some(0), ..Flags::default() };
    let mut config = Config::load(&flags).expect("the defaults are valid");
    config.server.workers = 1;
    change(&mut config);
    server::start(config).map_err(|error| error.to_string())
}

#[actix_rt::test]
async fn a_broker_that_stops_leaves_one_complete_file() {
    let folder = tempfile::tempdir().unwrap();
    // Twice: the next one may have the file at once.
    for _ in 0..2 {
        start(folder.path(), |_| ()).unwrap().stop().await;
        let log = folder.path().join(format!("{FILE}-wal"));
        assert!(fs::metadata(log).map_or(true, |log| log.len() == 0));
        assert!(fs::read(folder.path().join(FILE)).unwrap().starts_with(b"SQLite format 3\0"));
    }
}

#[actix_rt::test]
async fn a_damaged_file_keeps_the_broker_from_starting_and_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    start(folder.path(), |_| ()).unwrap().stop().await;
    let file = folder.path().join(FILE);
    let mut bytes = fs::read(&file).unwrap();
    bytes[100..].fill(0x55);
    fs::write(&file, &bytes).unwrap();
    let error = start(folder.path(), |_| ()).err().expect("it does not start");
    assert!(error.starts_with("history: ") && error.contains(&*file.to_string_lossy()), "{error}");
    assert!(error.contains("damaged"), "{error}");
    assert!(fs::read(&file).unwrap() == bytes);
}

#[actix_rt::test]
async fn two_brokers_do_not_share_a_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(folder.path(), |_| ()).unwrap();
    let error =
        start(folder.path(), |config| config.history.busy_timeout = 1).err().expect("it does not start");
    assert!(error.contains("in use by another broker"), "{error}");
    first.stop().await;
}

#[actix_rt::test]
async fn a_history_in_memory_leaves_no_file() {
    type Change = fn(&mut Config);
    let changes: [Change; 2] = [
        |config| config.history.mode = HistoryMode::Memory,
        |config| config.history.path = ":memory:".into(),
    ];
    for change in changes {
        let folder = tempfile::tempdir().unwrap();
        start(folder.path(), change).unwrap().stop().await;
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!names.into_iter().any(|name| name == "data" || name == ":memory:"));
    }
}

/// The folder of a client in `data/` has its id for a name.
#[actix_rt::test]
async fn nobody_is_called_like_the_file() {
    let broker = Broker::start(|config| config.trust.trust_patterns = vec!["*".to_owned()]);
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", auth("history")).await;
    for id in ["history.sqlite", "history.sqlite-wal", "history.sqlite-journal", "history.sqlite.lock"] {
        let mut peer = Peer::connect_ws(&broker).await;
        peer.send_text(&format!("40/llm,{}", auth(id))).await;
        let rejection = peer.expect_rejection("/llm").await;
        assert_ne!(rejection, json!(null), "{id}");
    }
}

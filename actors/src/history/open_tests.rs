//! Files: new, old, damaged, of others.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::Connection;

use super::{
    Change, HistoryConfig, HistoryError, MessageKind, Place, Synchronous,
    fixture::*,
    schema::{STEPS, migrate, version_of},
    store::Store,
};
use crate::protocol::Role;

fn path(config: &HistoryConfig) -> PathBuf {
    let Place::File(path) = &config.place else { panic!("a history in a file") };
    path.clone()
}

/// Every file of the folder that holds something, with its bytes; but not the index of the log, which
/// is made anew by everybody who opens the database.
fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    named
        .filter(|(name, _)| !name.ends_with("-shm"))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect()
}

/// The error of opening; no file has changed by it.
fn refused(config: &HistoryConfig) -> HistoryError {
    let path = path(config);
    let before = bytes(path.parent().unwrap());
    let error = Store::open(config).err().expect("it is refused");
    assert!(error.to_string().contains(&*path.to_string_lossy()), "{error} names the file");
    assert!(bytes(path.parent().unwrap()) == before, "nothing was written");
    error
}

/// A database with a thousand members, closed.
fn filled(config: &HistoryConfig) {
    let mut store = Store::open(config).unwrap();
    store.persist(&[created("a")]).unwrap();
    let members: Vec<Change> = (0..1000).map(|i| member("a", &format!("member-{i}"), Role::Guest)).collect();
    store.persist(&members).unwrap();
    store.close().unwrap();
}

#[test]
fn what_was_stored_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    for synchronous in [Synchronous::Normal, Synchronous::Full] {
        let config =
            HistoryConfig { synchronous, ..in_folder(&folder.path().join(format!("{synchronous:?}"))) };
        let store = Store::open(&config).unwrap();
        let pragma =
            |name: &str| store.conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(pragma("synchronous"), if synchronous == Synchronous::Full { 2 } else { 1 });
        assert_eq!(pragma("foreign_keys"), 1);
        store.persist(&[created("a"), member("a", "x", Role::Master)]).unwrap();
        let before = store.contents().unwrap();
        drop(store);
        let mut store = Store::open(&config).unwrap();
        assert_eq!(store.contents().unwrap(), before);
        store.close().unwrap();
        let log = format!("{}-wal", path(&config).display());
        assert!(fs::metadata(log).map_or(true, |log| log.len() == 0), "the log was emptied");
    }
}

#[test]
fn what_is_not_committed_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let config = in_folder(folder.path());
    let store = Store::open(&config).unwrap();
    store.begin().unwrap();
    store.apply(&[created("a")]).unwrap();
    drop(store);
    assert_eq!(Store::open(&config).unwrap().contents().unwrap().rooms, []);
}

#[test]
fn memory_ends_with_the_store() {
    let store = Store::open(&HistoryConfig::default()).unwrap();
    store.persist(&[created("a")]).unwrap();
    assert_eq!(store.contents().unwrap().rooms.len(), 1);
    assert_eq!(Store::open(&HistoryConfig::default()).unwrap().contents().unwrap().rooms, []);
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let config = in_folder(folder.path());
    let store = Store::open(&config).unwrap();
    store.persist(&[created("a")]).unwrap();
    let mut files = 0;
    let names = config.file_names();
    for entry in fs::read_dir(path(&config).parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        assert!(names.contains(&entry.file_name().to_string_lossy().into_owned()));
        files += 1;
    }
    assert_eq!(files, 4, "database, log, index, lock");
}

#[test]
fn mutes_that_have_ended_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let config = in_folder(folder.path());
    let muted =
        |identity: &str, until_ms| Change::Muted { identity: who(identity), until_ms, by: "b".into() };
    let store = Store::open_at(&config, 0).unwrap();
    store.persist(&[muted("x", Some(10)), muted("y", Some(11)), muted("z", None)]).unwrap();
    assert_eq!(store.contents().unwrap().mutes.len(), 3);
    drop(store);
    let mutes = Store::open_at(&config, 10).unwrap().contents().unwrap().mutes;
    assert_eq!(mutes.keys().collect::<Vec<_>>(), [&who("y"), &who("z")]);
}

#[test]
fn every_older_version_is_brought_up_to_date() {
    for version in 0..=STEPS.len() {
        let folder = tempfile::tempdir().unwrap();
        let config = in_folder(folder.path());
        fs::create_dir_all(path(&config).parent().unwrap()).unwrap();
        let mut conn = Connection::open(path(&config)).unwrap();
        migrate(&mut conn, &STEPS[..version]).unwrap();
        if version >= 1 {
            conn.execute_batch(
                "INSERT INTO rooms (name, created_at_ms, mode, personal) VALUES ('a', 7, 'Immediate', 0);
                 INSERT INTO members (room, identity, role) VALUES (1, 'x', 'master');
                 INSERT INTO messages VALUES (1, 3, 'm3', 'request', '{}'), (1, 5, 'm5', 'system', '漢');",
            )
            .unwrap();
        }
        drop(conn);
        let store = Store::open(&config).unwrap();
        let found: i64 = store.conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(found, version_of(STEPS));
        if version >= 1 {
            assert_eq!(store.contents().unwrap().rooms[0].members, [(who("x"), Role::Master)]);
            let messages = store.messages(&room("a")).unwrap();
            let messages: Vec<_> =
                messages.iter().map(|kept| (kept.seq, &*kept.id, kept.kind, &*kept.json)).collect();
            let kept = [(3, "m3", MessageKind::Request, "{}"), (5, "m5", MessageKind::System, "漢")];
            assert_eq!(messages, kept);
            assert!(store.persist(&[added("a", 5)]).unwrap_err().is_refusal());
            store.persist(&[added("a", 6), Change::RoomDeleted { name: room("a") }]).unwrap();
            let left = store.conn.query_row("SELECT count(*) FROM messages", [], |row| row.get::<_, i64>(0));
            assert_eq!(left.unwrap(), 0, "they go with their room");
        }
        store.persist(&[created("new")]).unwrap();
    }
}

#[test]
fn a_file_of_a_later_release_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = in_folder(folder.path());
    filled(&config);
    // What only the log knows must count as well, as after a crash.
    let conn = Connection::open(path(&config)).unwrap();
    conn.pragma_update(None, "user_version", version_of(STEPS) + 1).unwrap();
    let log = bytes(path(&config).parent().unwrap());
    assert!(log.iter().any(|(name, _)| name.ends_with("-wal")));
    let copy = tempfile::tempdir().unwrap();
    let crashed = in_folder(copy.path());
    fs::create_dir_all(path(&crashed).parent().unwrap()).unwrap();
    for (name, bytes) in log {
        fs::write(path(&crashed).parent().unwrap().join(name), bytes).unwrap();
    }
    drop(conn);
    for config in [config, crashed] {
        let error = refused(&config);
        let HistoryError::Newer { found, known, .. } = error else { panic!("{error}") };
        assert_eq!((found, known), (version_of(STEPS) + 1, version_of(STEPS)));
    }
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    for sql in [
        "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)",
        "PRAGMA application_id = 7",
        "PRAGMA user_version = 99",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = in_folder(folder.path());
        fs::create_dir_all(path(&config).parent().unwrap()).unwrap();
        Connection::open(path(&config)).unwrap().execute_batch(sql).unwrap();
        let error = refused(&config);
        assert!(matches!(error, HistoryError::Foreign { .. }), "{sql}: {error}");
    }
}

#[test]
fn a_damaged_file_is_named_and_left_alone() {
    type Damage = fn(&mut Vec<u8>);
    let cases: [(&str, Damage); 4] = [
        ("no database", |bytes| *bytes = b"[server]\nport = 4000\n".repeat(300)),
        ("a short text", |bytes| *bytes = b"x".to_vec()),
        ("cut off", |bytes| bytes.truncate(bytes.len() / 2)),
        ("a page of zeros", |bytes| {
            let end = bytes.len();
            bytes[end - 4096..].fill(0);
        }),
    ];
    for (what, damage) in cases {
        let folder = tempfile::tempdir().unwrap();
        let config = in_folder(folder.path());
        filled(&config);
        let mut bytes = fs::read(path(&config)).unwrap();
        assert!(bytes.len() > 5 * 4096);
        damage(&mut bytes);
        fs::write(path(&config), bytes).unwrap();
        let error = refused(&config);
        assert!(matches!(error, HistoryError::Damaged { .. }), "{what}: {error}");
    }
}

#[test]
fn damage_that_was_not_looked_for_is_an_error_when_it_is_met() {
    let folder = tempfile::tempdir().unwrap();
    let config = HistoryConfig { check: false, ..in_folder(folder.path()) };
    filled(&config);
    let mut bytes = fs::read(path(&config)).unwrap();
    let end = bytes.len();
    bytes[end - 4096..].fill(0xff);
    fs::write(path(&config), &bytes).unwrap();
    let store = Store::open(&config).unwrap();
    let error = store.contents().unwrap_err();
    assert!(matches!(error, HistoryError::Damaged { .. }), "{error}");
}

#[test]
fn a_path_that_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = in_folder(folder.path());
    fs::create_dir_all(path(&config)).unwrap();
    let error = Store::open(&config).err().unwrap();
    assert!(
        matches!(&error, HistoryError::Failed { file, .. } if file.ends_with("history.sqlite")),
        "{error}"
    );
}

#[test]
fn two_brokers_do_not_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = in_folder(folder.path());
    let mut first = Store::open(&config).unwrap();
    let error = refused(&HistoryConfig { busy_timeout: Duration::from_millis(1), ..config.clone() });
    assert!(matches!(error, HistoryError::InUse { .. }), "{error}");
    first.persist(&[created("a")]).unwrap();
    first.close().unwrap();
    let second = Store::open(&config).unwrap();
    assert_eq!(second.contents().unwrap().rooms.len(), 1);
}

#[test]
fn a_broker_waits_for_one_that_is_ending() {
    let folder = tempfile::tempdir().unwrap();
    let config = HistoryConfig { busy_timeout: Duration::from_secs(60), ..in_folder(folder.path()) };
    let mut first = Store::open(&config).unwrap();
    first.persist(&[created("a")]).unwrap();
    let second = std::thread::spawn(move || Store::open(&config).unwrap().contents().unwrap());
    first.close().unwrap();
    assert_eq!(second.join().unwrap().rooms.len(), 1);
}

#[test]
fn another_program_may_hold_the_file_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let config = HistoryConfig { busy_timeout: Duration::from_millis(1), ..in_folder(folder.path()) };
    let store = Store::open(&config).unwrap();
    let other = Connection::open(path(&config)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.begin().unwrap_err();
    assert!(matches!(&error, HistoryError::Failed { problem, .. } if problem.contains("locked")), "{error}");
    other.execute_batch("COMMIT").unwrap();
    store.persist(&[created("a")]).unwrap();
}

#[test]
fn a_backup_may_read_while_we_write() {
    let folder = tempfile::tempdir().unwrap();
    let config = in_folder(folder.path());
    let store = Store::open(&config).unwrap();
    store.persist(&[created("a")]).unwrap();
    let backup = Connection::open(path(&config)).unwrap();
    backup.execute_batch("BEGIN").unwrap();
    let rooms = || backup.query_row("SELECT count(*) FROM rooms", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(rooms(), 1);
    store.persist(&[created("b")]).unwrap();
    assert_eq!(rooms(), 1, "it sees one moment");
}

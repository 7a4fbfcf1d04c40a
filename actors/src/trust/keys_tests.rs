use super::*;
use std::fs;

fn open(root: &Path) -> KeyStore {
    KeyStore::open(root, &config(), Arc::default()).unwrap()
}

fn config() -> TrustConfig {
    TrustConfig { bcrypt_cost: 4, ..TrustConfig::new("") }
}

fn id(text: &str) -> ClientId {
    ClientId::new(text).unwrap()
}

fn full_check(store: &KeyStore, id: &ClientId, key: &str) -> bool {
    match store.quick(id, key) {
        Quick::Valid => true,
        Quick::Invalid => false,
        Quick::Hash(hash) => verify(key, &hash, 15) && store.verified(id, key, &hash),
    }
}

#[test]
fn defect_8_10_persistent_keys_survive_a_restart_and_are_not_replaced() {
    let root = tempfile::tempdir().unwrap();
    let a = id("a");
    let key = open(root.path()).generate(&a).unwrap();
    assert_eq!(uuid::Uuid::parse_str(&key).unwrap().get_version_num(), 4);
    let before = fs::read(root.path().join("keys/clients.json")).unwrap();
    let again = open(root.path());
    again.ensure(std::slice::from_ref(&a));
    assert!(!again.has_pending(), "a record exists");
    again.persist_pending().unwrap();
    assert!(full_check(&again, &a, &key));
    assert_eq!(again.quick(&a, &key), Quick::Valid, "cached");
    assert_eq!(again.quick(&a, "other"), Quick::Invalid, "without hashing");
    assert_eq!(fs::read(root.path().join("keys/clients.json")).unwrap(), before);
}

#[test]
fn defect_8_11_never_a_hash() {
    let root = tempfile::tempdir().unwrap();
    let a = id("a");
    open(root.path()).generate(&a).unwrap();
    let store = open(root.path());
    assert_eq!(store.plaintext(&a), None, "made by an earlier process");
    let session = store.session_key(&a).unwrap();
    assert_eq!(store.plaintext(&a), Some(session));
    let fresh = store.generate(&a).unwrap();
    assert_eq!(store.plaintext(&a), Some(fresh));
    let shown = format!("{:?}", store.list());
    assert!(!shown.contains('$'), "{shown}");
}

#[test]
fn defect_8_12_the_file_holds_hashes_only() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let key = store.generate(&id("a")).unwrap();
    store.ensure(&[id("b")]);
    let pending = store.plaintext(&id("b")).unwrap();
    assert_eq!(store.list().len(), 2, "listed at once");
    store.persist_pending().unwrap();
    let text = fs::read_to_string(root.path().join("keys/clients.json")).unwrap();
    assert!(!text.contains(&key) && !text.contains(&pending));
    assert_eq!(text.matches("$2b$04$").count(), 2);
    assert!(full_check(&open(root.path()), &id("b"), &pending));
}

#[test]
fn session_keys_are_one_per_client_and_valid_beside_the_persistent_key() {
    let root = tempfile::tempdir().unwrap();
    let (store, a, b) = (open(root.path()), id("a"), id("b"));
    let persistent = store.generate(&a).unwrap();
    let session = store.session_key(&a).unwrap();
    assert_eq!(store.session_key(&a).unwrap(), session);
    assert!(full_check(&store, &a, &session) && full_check(&store, &a, &persistent));
    assert!(!full_check(&store, &b, &session) && !full_check(&store, &b, &persistent));
    let next = store.generate(&a).unwrap();
    for old in [&session, &persistent] {
        assert!(!full_check(&store, &a, old));
    }
    assert!(full_check(&store, &a, &next));
    let session = store.session_key(&a).unwrap();
    store.remove(&a).unwrap();
    store.remove(&a).unwrap();
    assert!(!full_check(&store, &a, &session) && !full_check(&store, &a, &next));
    assert!(store.list().is_empty());
}

#[test]
fn unknown_records_and_fields_survive_and_rooms_are_listed() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("keys")).unwrap();
    let file = root.path().join("keys/clients.json");
    fs::write(&file, r#"{"x/y":{"key":"$2b$10$q","rooms":["r"],"note":1},"odd":7}"#).unwrap();
    let store = open(root.path());
    store.generate(&id("a")).unwrap();
    let text: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(text["x/y"], json!({"key": "$2b$10$q", "rooms": ["r"], "note": 1}));
    assert_eq!(text["odd"], json!(7));
    let listed = store.list();
    assert_eq!(listed[0].rooms, json!(["r"]));
    assert_eq!(listed.len(), 2);
}

#[test]
fn a_damaged_file_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("keys")).unwrap();
    let file = root.path().join("keys/clients.json");
    fs::write(&file, "{ oops").unwrap();
    let store = open(root.path());
    assert_eq!(store.generate(&id("a")), Err(KeyError::NotStored));
    store.ensure(&[id("a")]);
    assert!(!store.has_pending(), "nothing can be stored");
    assert_eq!(fs::read_to_string(&file).unwrap(), "{ oops");
    let session = store.session_key(&id("a")).unwrap();
    assert!(full_check(&store, &id("a"), &session), "session keys still work");
}

#[test]
fn defect_8_51_concurrent_changes_are_all_kept() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (open(root.path()), open(root.path()));
    std::thread::scope(|scope| {
        for i in 0..8 {
            let one = &one;
            scope.spawn(move || one.generate(&id(&format!("c{i}"))).unwrap());
        }
    });
    two.generate(&id("other-process")).unwrap();
    one.reload();
    assert_eq!(one.list().len(), 9);
    assert_eq!(open(root.path()).list().len(), 9);
}

#[test]
fn another_process_revokes() {
    let root = tempfile::tempdir().unwrap();
    let (broker, command, a) = (open(root.path()), open(root.path()), id("a"));
    let key = broker.generate(&a).unwrap();
    let session = broker.session_key(&a).unwrap();
    command.remove(&a).unwrap();
    broker.reload();
    assert!(!full_check(&broker, &a, &key) && !full_check(&broker, &a, &session));
    let next = command.generate(&a).unwrap();
    broker.reload();
    assert!(full_check(&broker, &a, &next));
}

#[test]
fn a_removal_is_told_whoever_asked_for_it() {
    let root = tempfile::tempdir().unwrap();
    let (broker, command) = (open(root.path()), open(root.path()));
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    broker.on_removed(move |id| tell.lock().push(id));
    for name in ["a", "b"] {
        broker.generate(&id(name)).unwrap();
    }
    command.remove(&id("a")).unwrap();
    broker.reload();
    broker.remove(&id("b")).unwrap();
    assert_eq!(*told.lock(), [id("a"), id("b")], "one of another process, one of this");
    // Who has a session key alone has sockets, too.
    broker.session_key(&id("c")).unwrap();
    broker.remove(&id("c")).unwrap();
    assert_eq!(told.lock().last(), Some(&id("c")));
}

#[cfg(unix)]
#[test]
fn the_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    open(root.path()).generate(&id("a")).unwrap();
    let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode();
    assert_eq!(mode("keys/clients.json") & 0o777, 0o600);
    assert_eq!(mode("keys") & 0o777, 0o700);
}

#[test]
fn the_file_has_a_bound() {
    let root = tempfile::tempdir().unwrap();
    let small = TrustConfig { max_key_file_bytes: 300, ..config() };
    let store = KeyStore::open(root.path(), &small, Arc::default()).unwrap();
    let made = (0..10).map_while(|i| store.generate(&id(&format!("c{i}"))).ok()).count();
    assert!((1..10).contains(&made), "{made}");
    assert_eq!(open(root.path()).list().len(), made);
}

#[test]
fn a_removed_key_is_not_made_anew_before_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    let (store, a) = (open(root.path()), id("a"));
    store.ensure(std::slice::from_ref(&a));
    store.persist_pending().unwrap();
    store.remove(&a).unwrap();
    store.ensure(std::slice::from_ref(&a));
    assert!(store.list().is_empty() && store.plaintext(&a).is_none());
    let again = open(root.path());
    again.ensure(std::slice::from_ref(&a));
    assert_eq!(again.list().len(), 1);
}

#[test]
fn session_keys_have_a_bound() {
    let root = tempfile::tempdir().unwrap();
    let small = TrustConfig { max_session_keys: 2, ..config() };
    let store = KeyStore::open(root.path(), &small, Arc::default()).unwrap();
    let first = store.session_key(&id("a")).unwrap();
    store.session_key(&id("b")).unwrap();
    assert_eq!(store.session_key(&id("c")), Err(KeyError::Busy));
    assert_eq!(store.session_key(&id("a")).unwrap(), first);
}

#[test]
fn the_key_in_memory_is_the_one_on_disk_at_every_moment() {
    let root = tempfile::tempdir().unwrap();
    let (store, a) = (open(root.path()), id("a"));
    let over = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let watch = || {
            let mut seen = HashSet::new();
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let state = store.state.read();
                let stored = state.hash("a").map(str::to_owned);
                seen.extend(state.plain.get(&a).cloned().zip(stored));
            }
            seen
        };
        let watchers = [scope.spawn(watch), scope.spawn(watch)];
        let generate = || (0..100).for_each(|_| drop(store.generate(&a).unwrap()));
        for writer in [scope.spawn(generate), scope.spawn(generate)] {
            writer.join().unwrap();
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        watchers.into_iter().flat_map(|watcher| watcher.join().unwrap()).collect::<HashSet<_>>()
    });
    for (key, hash) in &seen {
        assert!(verify(key, hash, 15), "one key in memory, another on disk");
    }
    assert!(seen.len() > 1, "nothing was seen to change");
    let last = store.plaintext(&a).unwrap();
    assert!(full_check(&open(root.path()), &a, &last), "and so it is in the end");
}

#[test]
fn another_process_is_waited_for_and_not_for_ever() {
    let root = tempfile::tempdir().unwrap();
    let (patient, a) = (open(root.path()), id("a"));
    let metrics = Arc::new(Metrics::default());
    let no_patience = TrustConfig { lock_timeout: Duration::ZERO, ..config() };
    let hasty = KeyStore::open(root.path(), &no_patience, metrics.clone()).unwrap();
    let lock = fs::File::create(root.path().join("keys/.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(hasty.generate(&a), Err(KeyError::NotStored));
    assert!(metrics.text().contains("trust.lock_timeout"), "counted");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| patient.generate(&a));
        assert!(!waiting.is_finished());
        lock.unlock().unwrap();
        waiting.join().unwrap().unwrap();
    });
    hasty.generate(&a).unwrap();
}

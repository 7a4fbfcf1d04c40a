use super::*;
use crate::trust::SettingsError;
use crate::trust::file_lock::until_awaited;
use crate::trust::fixture::{EXTENSION, Root, id};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

fn trusted(store: &TrustStore, name: &str) -> bool {
    store.grant(&id(name)).is_some()
}

#[test]
fn a_missing_settings_file_is_created_and_starts_again() {
    let root = Root::empty();
    root.open();
    let first = root.text("settings/server_settings.json");
    assert_eq!(serde_json::from_str::<Value>(&first).unwrap(), settings_file::defaults());
    root.open();
    assert_eq!(root.text("settings/server_settings.json"), first);
}

#[test]
fn the_shipped_settings_are_the_defaults_and_trust_three_clients() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../settings");
    let root = Root::empty();
    for entry in fs::read_dir(shipped).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        root.write(&format!("settings/{name}"), &fs::read_to_string(&path).unwrap());
    }
    let before = root.text("settings/server_settings.json");
    let store = root.open();
    assert_eq!(**store.settings().load(), ServerSettings::default());
    assert_eq!(root.text("settings/server_settings.json"), before);
    for name in [EXTENSION, "monitor", "frontendExample"] {
        assert!(trusted(&store, name), "{name}");
    }
    assert!(store.grant(&id("monitor")).unwrap().admin);
    assert!(!store.grant(&id(EXTENSION)).unwrap().admin);
    assert!(store.password(&id(EXTENSION)).is_none());
    assert!(store.files.lock().problems.is_empty());
}

#[test]
fn the_content_counts_not_the_name() {
    let root = Root::empty();
    root.write("settings/whatever.json", r#"{"clientId":"app","isTrust":true}"#);
    root.write("settings/bob.json", r#"{"clientId":"alice","isTrust":true}"#);
    root.write("settings/no.json", r#"{"clientId":"no","isTrust":"yes"}"#);
    root.write("settings/half.json", r#"{"isTrust":true}"#);
    root.write("settings/note.txt", r#"{"clientId":"txt","isTrust":true}"#);
    root.write("settings/deep/x.json", r#"{"clientId":"deep","isTrust":true}"#);
    root.write("settings/.hidden.json", r#"{"clientId":"hidden","isTrust":true}"#);
    root.write("settings/bad.json", "{\"clientId\":\"bad\",\n\"isTrust\":true,}");
    let store = root.open();
    for (name, expected) in [
        ("app", true),
        ("alice", true),
        ("bob", false),
        ("no", false),
        ("txt", false),
        ("deep", false),
        ("hidden", false),
        ("bad", false),
        ("whatever", false),
    ] {
        assert_eq!(trusted(&store, name), expected, "{name}");
    }
    let problem = store.files.lock().problems["bad.json"].clone();
    assert!(problem.contains("line 2 column 16"), "{problem}");
    assert_eq!(root.text("settings/bad.json"), "{\"clientId\":\"bad\",\n\"isTrust\":true,}");
}

#[test]
fn of_two_files_both_must_say_so() {
    for (first, second, expected) in [(true, true, true), (true, false, false), (false, true, false)] {
        let root = Root::empty();
        root.write(
            "settings/1.json",
            &json!({"clientId": "a", "isTrust": first, "role": "admin"}).to_string(),
        );
        root.write("settings/2.json", &json!({"clientId": "a", "isTrust": second}).to_string());
        let store = root.open();
        assert_eq!(trusted(&store, "a"), expected);
        assert!(!store.snapshot().load().entry("a").unwrap().admin);
    }
    let root = Root::empty();
    root.write("settings/1.json", r#"{"clientId":"a","isTrust":true}"#);
    root.write("settings/2.json", r#"{"clientId":"a"}"#);
    assert!(!trusted(&root.open(), "a"), "silence is no trust");
}

#[test]
fn unparsable_server_settings_are_left_alone() {
    let root = Root::new();
    let text = "{\n  \"networkSafe\": true,\n}\n";
    root.write("settings/server_settings.json", text);
    let store = root.open();
    assert!(store.settings().load().network_safe, "the defaults");
    assert_eq!(root.text("settings/server_settings.json"), text);
    assert!(store.files.lock().problems["server_settings.json"].contains("line 3 column 1"));

    root.write("settings/server_settings.json", r#"{"networkSafe":false}"#);
    store.rescan();
    assert!(!store.settings().load().network_safe);
    root.write("settings/server_settings.json", text);
    store.rescan();
    assert!(!store.settings().load().network_safe, "what was last read stays");
}

/// A comma too many opens nothing.
#[test]
fn unparsable_server_settings_check_keys_unless_they_say_otherwise() {
    const FILE: &str = "settings/server_settings.json";
    for (text, safe) in [
        (r#"{"networkSafe": false,}"#, false),
        (r#"{"networkSafe" : true,}"#, true),
        (r#"{"networkSafe":true,"timeout":1"#, true),
        (r#"{"networkSafe":true,"networkSafe":false,}"#, false),
        (r#"{"networkSafe":"true",}"#, false),
        (r#"{"networkSafe" true}"#, false),
        (r#"{"timeout":1,}"#, false),
        ("", false),
    ] {
        let root = Root::new();
        root.write(FILE, text);
        let store = root.open();
        assert_eq!(store.settings().load().network_safe, safe, "{text}");
        let problem = store.files.lock().problems["server_settings.json"].clone();
        assert_eq!(problem.ends_with(" (keys are checked)"), !safe, "{problem}");
        root.write(FILE, r#"{"timeout":7}"#);
        store.rescan();
        assert!(store.settings().load().network_safe, "{text}");
        root.write(FILE, text);
        store.rescan();
        assert!(store.settings().load().network_safe, "what was last read stays");
        assert_eq!(store.settings().load().timeout.as_millis(), 7);
    }
}

#[test]
fn a_setting_that_cannot_be_used_stays_as_it_was() {
    const FILE: &str = "settings/server_settings.json";
    let root = Root::new();
    root.write(FILE, r#"{"networkSafe":false,"timeout":7,"contextPageSize":9}"#);
    let store = root.open();
    let after = |text: &str| {
        root.write(FILE, text);
        store.rescan();
        let settings = store.settings().load_full();
        (settings.network_safe, settings.timeout.as_millis(), settings.context_page_size)
    };
    assert_eq!(after(r#"{"networkSafe":"false","timeout":[],"contextPageSize":10}"#), (false, 7, 10));
    assert_eq!(after(r#"{"networkSafe":0,"timeout":"x"}"#), (false, 7, 50), "an absent one has its default");
    assert_eq!(after(r#"{"networkSafe":"\ud83d"}"#), (false, 5000, 50), "text that is none");
    let problem = store.files.lock().problems["server_settings.json"].clone();
    assert_eq!(problem, "unusable: networkSafe (keys are checked)");
    assert_eq!(after(r#"{"networkSafe":null}"#), (true, 5000, 50));
    assert_eq!(after(r#"{"networkSafe":"false"}"#), (true, 5000, 50));
    let problem = store.files.lock().problems["server_settings.json"].clone();
    assert_eq!(problem, "unusable: networkSafe (keys are not checked)");
}

#[test]
fn keys_are_checked_from_the_start_if_network_safe_cannot_be_used() {
    for value in [json!("false"), json!("true"), json!(0), json!([])] {
        let root = Root::new();
        let file = json!({"networkSafe": value, "timeout": "x"});
        root.write("settings/server_settings.json", &file.to_string());
        let store = root.open();
        assert!(!store.settings().load().network_safe, "{value}");
        assert_eq!(store.settings().load().timeout.as_millis(), 5000, "the default");
        store.rescan();
        assert!(!store.settings().load().network_safe, "{value}");
    }
}

#[test]
fn a_mode_that_is_none_is_the_default_as_the_spec_says() {
    let root = Root::new();
    root.write("settings/server_settings.json", r#"{"defaultRoomMessageRequestMode":"MasterOnly"}"#);
    let store = root.open();
    root.write("settings/server_settings.json", r#"{"defaultRoomMessageRequestMode":"Loud"}"#);
    store.rescan();
    assert_eq!(store.settings().load().default_room_message_request_mode, "Immediate");
}

#[test]
fn defect_8_02_runtime_state_and_odd_files_do_not_stop_the_start() {
    for text in [
        r#"{"sillyTavernPassword":{}}"#,
        r#"{"sillyTavernPassword":{"a":{"hashed":false,"password":"x"}},"Rooms":["a"]}"#,
        r#"{"serverPort":{},"networkSafe":[],"restrictedFiles":7}"#,
        "[]",
        "null",
        "",
        "{\"a\":\"\\ud83d\"}",
    ] {
        let root = Root::new();
        root.write("settings/server_settings.json", text);
        assert!(trusted(&root.open(), "app"), "{text}");
        assert_eq!(root.text("settings/server_settings.json"), text);
    }
}

#[test]
fn defect_8_14_plain_passwords_are_hashed_in_place_and_not_inherited() {
    let root = Root::empty();
    root.write(
        "settings/1.json",
        r#"{"clientId":"SillyTavern-1","isTrust":true,"sillyTavernPassWord":"secret","x":1.50}"#,
    );
    root.write("settings/2.json", r#"{"clientId":"SillyTavern-2","isTrust":true}"#);
    let store = root.open();
    let text = root.text("settings/1.json");
    assert!(!text.contains("secret") && !text.contains("sillyTavernMasterKey"), "{text}");
    assert!(text.contains("\"x\": 1.50"), "{text}");
    let hash = root.json("settings/1.json")["sillyTavernPassWord"].as_str().unwrap().to_owned();
    assert!(password::verify("secret", &hash, 15));
    assert_eq!(store.password(&id("SillyTavern-1")).as_deref(), Some(&*hash));
    assert!(store.password(&id("SillyTavern-2")).is_none());
    store.rescan();
    assert_eq!(root.text("settings/1.json"), text, "hashed once");
}

#[test]
fn the_legacy_map_gives_passwords_to_clients_without_their_own() {
    let root = Root::new();
    let hash = bcrypt::hash("old", 4).unwrap();
    root.write(
        "settings/server_settings.json",
        &json!({"sillyTavernPassword": {"app": hash, EXTENSION: "$2b$04$other"}}).to_string(),
    );
    let store = root.open();
    assert_eq!(store.password(&id("app")).as_deref(), Some(&*hash));
    assert_ne!(store.password(&id(EXTENSION)).as_deref(), Some("$2b$04$other"));
}

#[test]
fn defect_8_50_files_count_before_the_port_opens_and_changes_without_restart() {
    let root = Root::new();
    let store = root.open();
    assert!(trusted(&store, "app"));
    root.write("settings/new.json", r#"{"clientId":"new","isTrust":true}"#);
    fs::remove_file(root.path("settings/app.json")).unwrap();
    let before = Instant::now();
    store.rescan();
    assert!(trusted(&store, "new") && !trusted(&store, "app"));
    fs::remove_file(root.path("settings/new.json")).unwrap();
    store.rescan_since(before);
    assert!(trusted(&store, "new"), "a scan after `before` exists already");
}

#[test]
fn patterns_trust_plain_clients_only_and_files_take_precedence() {
    let mut root = Root::new();
    root.config.trust_patterns = vec!["web-*".to_owned(), "*".to_owned()];
    root.write("settings/web-9.json", r#"{"clientId":"web-9","isTrust":false}"#);
    fs::remove_file(root.path("settings/monitor.json")).unwrap();
    let store = root.open();
    for (name, expected) in [
        ("web-1", true),
        ("web-9", false),
        ("SillyTavern-9", false),
        ("monitor", false),
        // Nobody has looked at this id, and lists show it (spec §8.1 8-54).
        ("web-<img src=x onerror=alert(1)>", false),
    ] {
        assert_eq!(trusted(&store, name), expected, "{name}");
    }
    assert!(!store.grant(&id("web-1")).unwrap().admin);
}

#[test]
fn reserved_ids_are_never_trusted() {
    let mut root = Root::new();
    root.config.reserved_ids = vec![id("SillyTavern-demo"), id("app")];
    root.config.trust_patterns = vec!["*".to_owned()];
    let store = root.open();
    assert!(!trusted(&store, "app") && !trusted(&store, "SillyTavern-demo"));
    assert!(store.keys().list().iter().all(|listing| listing.client_id != "app"));
}

#[test]
fn the_number_of_files_and_their_size_are_bounded() {
    let mut root = Root::empty();
    root.config.max_client_files = 2;
    root.config.max_json_bytes = 2000;
    for name in ["a", "b", "c"] {
        root.write(&format!("settings/{name}.json"), &json!({"clientId": name, "isTrust": true}).to_string());
    }
    let store = root.open();
    assert!(trusted(&store, "a") && trusted(&store, "b") && !trusted(&store, "c"));
    root.write(
        "settings/a.json",
        &json!({"clientId": "a", "isTrust": true, "x": "x".repeat(2000)}).to_string(),
    );
    store.rescan();
    assert!(trusted(&store, "a"), "what was last read of it stays");
    assert!(!trusted(&root.open(), "a"), "and whoever starts now reads nothing");
}

#[test]
fn trusted_clients_without_a_record_get_a_key_and_others_do_not() {
    let root = Root::new();
    root.write("settings/no.json", r#"{"clientId":"no","isTrust":false}"#);
    let store = root.open();
    let listed: Vec<String> = store.keys().list().into_iter().map(|l| l.client_id).collect();
    assert_eq!(listed, ["SillyTavern-8000", "app", "monitor"]);
}

#[test]
fn a_missing_root_is_an_error_with_its_name() {
    let error = TrustStore::open(TrustConfig::new("/nonexistent/root"), Arc::default()).err().unwrap();
    assert!(error.to_string().contains("/nonexistent/root"));
}

#[test]
fn debug_mode_is_switched_in_the_file_and_each_change_is_told() {
    const FILE: &str = "settings/server_settings.json";
    let root = Root::new();
    root.write(FILE, r#"{"mine":[1.0],"debugMode":false}"#);
    let store = root.open();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    store.on_debug_mode(move |on| tell.lock().push(on));
    store.rescan();
    assert!(told.lock().is_empty(), "nothing has changed");

    assert_eq!(store.toggle_debug_mode(), Ok(true));
    assert!(store.settings().load().debug_mode, "in force at once");
    assert_eq!(root.json(FILE), json!({"mine": [1.0], "debugMode": true}));
    store.rescan();
    assert_eq!(store.toggle_debug_mode(), Ok(false));
    assert_eq!(*told.lock(), [true, false]);

    root.write(FILE, r#"{"debugMode":true}"#);
    store.rescan();
    assert_eq!(*told.lock(), [true, false, true], "whoever has written it");

    root.write(FILE, "{");
    assert_eq!(store.toggle_debug_mode(), Err(SettingsError::Unparsable));
    assert_eq!(root.text(FILE), "{", "left alone");
    assert!(store.settings().load().debug_mode, "and nothing changed");
    assert_eq!(told.lock().len(), 3);
}

/// What becomes of a file with a plain password that is changed between its reading and its writing.
fn changed_while_hashed(change: impl FnOnce(&Path)) -> (Root, Arc<TrustStore>) {
    let root = Root::new();
    let store = root.open();
    root.write("settings/app.json", r#"{"clientId":"app","isTrust":true,"sillyTavernPassWord":"secret"}"#);
    let lock = FolderLock::take(&root.path("settings"), Duration::from_secs(20)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| store.rescan());
        until_awaited(&root.path("settings"));
        change(&root.path("settings/app.json"));
        drop(lock);
    });
    (root, store)
}

#[test]
fn what_somebody_writes_while_a_password_is_hashed_is_kept() {
    let edited = r#"{"clientId":"app","isTrust":false,"sillyTavernPassWord":"secret"}"#;
    let (root, store) = changed_while_hashed(|path| fs::write(path, edited).unwrap());
    let file = root.json("settings/app.json");
    assert_eq!(file["isTrust"], false);
    assert!(password::verify("secret", file["sillyTavernPassWord"].as_str().unwrap(), 15), "hashed as well");
    assert!(!trusted(&store, "app"));
}

#[test]
fn a_file_that_is_removed_while_its_password_is_hashed_stays_removed() {
    let (root, store) = changed_while_hashed(|path| fs::remove_file(path).unwrap());
    assert!(!root.path("settings/app.json").exists());
    assert!(!trusted(&store, "app"), "at once");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn unknown_keys_survive_the_hashing_of_a_password(
        extra in prop::collection::btree_map("[a-z_]{1,8}", any::<i64>(), 0..6)
    ) {
        let root = Root::empty();
        let mut file = json!({"clientId": "SillyTavern-1", "isTrust": true, "sillyTavernPassWord": "pw"});
        for (key, value) in &extra {
            file[key.as_str()] = json!(value);
        }
        root.write("settings/1.json", &file.to_string());
        root.open();
        let written = root.json("settings/1.json");
        for (key, value) in &extra {
            prop_assert_eq!(&written[key.as_str()], &json!(value));
        }
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        prop_assert_eq!(keys(&written), keys(&file));
    }
}

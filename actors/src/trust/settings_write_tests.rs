use super::*;
use crate::trust::file_lock::FolderLock;
use crate::trust::file_lock::until_awaited;
use crate::trust::fixture::{EXTENSION, Root, admin, caller, client, extension, lan};
use proptest::prelude::*;
use serde_json::json;
use std::time::Duration;

const SETTINGS: &str = "settings/server_settings.json";
const FILE: &str = "settings/SillyTavern-8000-settings.json";

fn object(value: &Value) -> RawObject {
    RawObject::parse(&value.to_string(), 64).unwrap()
}

fn from_lan() -> Caller {
    Caller { peer: lan(), ..extension() }
}

fn denied(field: &str) -> Result<(), SettingsError> {
    Err(SettingsError::FieldDenied { field: field.to_owned() })
}

#[test]
fn defect_8_15_extensions_merge_known_keys_and_others_are_refused() {
    let root = Root::new();
    root.write(SETTINGS, r#"{"mine":[1.0],"serverPort":4000,"timeout":5000}"#);
    let store = root.open();
    let payload = json!({"type": 12, "requestId": "r", "serverPort": "4001", "reconnectAttempts": 10, "Rooms": ["x"], "clientKeys": {"a": "k"}});
    for caller in [client(), admin(), caller("app", true)] {
        assert_eq!(store.client_settings(&caller, &payload.to_string()), Err(SettingsError::NotAnExtension));
    }
    store.client_settings(&extension(), &payload.to_string()).unwrap();
    assert_eq!(
        root.json(SETTINGS),
        json!({"mine": [1.0], "serverPort": "4001", "timeout": 5000, "reconnectAttempts": 10})
    );
    assert!(root.text(SETTINGS).contains("\n  \"serverPort\": \"4001\""));
    assert_eq!(store.settings().load().server_port, 4001, "in force at once");
    for bad in ["[]", "7", "null", "\"x\"", "{", &format!("{{\"a\":{}", "[".repeat(100))] {
        assert_eq!(store.client_settings(&extension(), bad), Err(SettingsError::NotAnObject), "{bad}");
    }
}

#[test]
fn network_safe_changes_from_loopback_or_by_an_administrator() {
    let root = Root::new();
    let store = root.open();
    let off = json!({"networkSafe": false}).to_string();
    let on = json!({"networkSafe": true}).to_string();
    assert_eq!(store.client_settings(&from_lan(), &off), denied("networkSafe"));
    assert!(store.settings().load().network_safe);
    assert_eq!(store.client_settings(&from_lan(), &on), Ok(()), "repeats the current value");
    assert_eq!(store.client_settings(&extension(), &off), Ok(()));
    assert!(!store.settings().load().network_safe);
    for trick in [json!({"networkSafe": null}), json!({"networkSafe": "true"}), json!({"networkSafe": 1})] {
        assert_eq!(
            store.client_settings(&from_lan(), &trick.to_string()),
            denied("networkSafe"),
            "{trick}: would read as the default"
        );
    }
    let administrator = Caller { admin: true, ..from_lan() };
    assert_eq!(store.client_settings(&administrator, &on), Ok(()));
}

#[test]
fn a_value_that_cannot_be_used_is_not_saved() {
    let root = Root::new();
    let file = r#"{"contextPageSize":0}"#;
    root.write(SETTINGS, file);
    let store = root.open();
    for (key, value) in [
        ("networkSafe", json!("false")),
        ("networkSafe", json!(0)),
        ("serverPort", json!("http")),
        ("restrictedFiles", json!([1])),
        ("contextPageSize", json!(-1)),
    ] {
        let save = json!({"timeout": 1, key: value});
        let told = Err(format!("{key} has no usable value."));
        let saved = store.write_server_settings(&admin(), object(&save), UnknownKeys::Refuse);
        assert_eq!(saved.map_err(|error| error.to_string()), told);
        if key != "restrictedFiles" {
            let saved = store.client_settings(&extension(), &save.to_string());
            assert_eq!(saved.map_err(|error| error.to_string()), told);
        }
        assert_eq!(root.text(SETTINGS), file, "nothing of a refused save is written");
    }
    for usable in [
        json!({"contextPageSize": 0, "timeout": 1}),
        json!({"networkSafe": null, "serverPort": "4001"}),
        json!({"defaultRoomMessageRequestMode": "Loud"}),
    ] {
        assert_eq!(store.client_settings(&extension(), &usable.to_string()), Ok(()), "{usable}");
    }
}

#[test]
fn a_save_may_repeat_what_it_may_not_change() {
    let root = Root::new();
    root.write(SETTINGS, r#"{"mine":{"a":[1,2]},"restrictedFiles":["data/x.json"]}"#);
    let store = root.open();
    let save = |caller: &Caller, value: Value| {
        store.write_server_settings(caller, object(&value), UnknownKeys::Refuse)
    };
    assert_eq!(save(&extension(), json!({"mine": {"a": [1, 2]}, "timeout": 1})), Ok(()));
    assert_eq!(save(&extension(), json!({"mine": {"a": [2]}})), denied("mine"));
    assert_eq!(save(&extension(), json!({"other": 1})), denied("other"));
    assert_eq!(save(&extension(), json!({"restrictedFiles": []})), denied("restrictedFiles"));
    assert_eq!(save(&extension(), json!({"sillyTavernPassword": {}})), denied("sillyTavernPassword"));
    assert_eq!(save(&extension(), json!({"Rooms": [], "clientKeys": {}})), Ok(()), "left out");
    assert_eq!(save(&admin(), json!({"mine": 1, "other": 2, "restrictedFiles": []})), Ok(()));
    assert_eq!(root.json(SETTINGS), json!({"mine": 1, "restrictedFiles": [], "timeout": 1, "other": 2}));
}

#[test]
fn the_published_save_button_works() {
    let root = Root::new();
    let store = root.open();
    let payload = json!({"serverPort": "4000", "serverAddress": "http://localhost", "networkSafe": true,
        "reconnectAttempts": 10, "reconnectDelay": 1000, "timeout": 5000, "autoConnect": true,
        "socketIOPath": "/socket.io", "queryParameters": {}, "transport": "websocket"});
    assert_eq!(store.write_server_settings(&from_lan(), object(&payload), UnknownKeys::Refuse), Ok(()));
}

#[test]
fn an_unparsable_file_is_refused_and_untouched() {
    let root = Root::new();
    root.write(SETTINGS, "{,}");
    let store = root.open();
    assert_eq!(store.client_settings(&extension(), r#"{"timeout":1}"#), Err(SettingsError::Unparsable));
    assert_eq!(root.text(SETTINGS), "{,}");
}

#[test]
fn own_file_without_trust_role_or_password() {
    let root = Root::new();
    let store = root.open();
    let file = "settings/SillyTavern-8000-settings.json";
    let path = root.path(file);
    let save = |caller: &Caller, value: Value| store.write_client_file(caller, &path, object(&value));
    for (field, value) in [
        ("isTrust", json!(false)),
        ("clientId", json!("monitor")),
        ("role", json!("admin")),
        ("clientType", json!("admin")),
        ("sillyTavernPassWord", json!("new")),
        ("sillyTavernPassword", json!("new")),
        ("sillyTavernMasterKey", json!("$2b$04$x")),
        ("SILLYTAVERNPASSWORD", json!("new")),
    ] {
        let before = root.text(file);
        assert_eq!(save(&extension(), json!({ "x": 1, field: value })), denied(field));
        assert_eq!(root.text(file), before, "nothing of a refused save is written");
    }
    let password = root.json(file)["sillyTavernPassWord"].clone();
    assert_eq!(
        save(&extension(), json!({"Remember_me": false, "clientId": EXTENSION, "isTrust": true})),
        Ok(())
    );
    assert_eq!(
        root.json(file),
        json!({"clientId": EXTENSION, "Remember_me": false, "isTrust": true, "sillyTavernPassWord": password})
    );
    assert_eq!(save(&admin(), json!({"sillyTavernPassWord": "new", "role": "admin"})), Ok(()));
    assert!(!root.text(file).contains("\"new\""), "hashed before it is written");
    assert!(store.grant(&crate::trust::fixture::id(EXTENSION)).unwrap().admin, "in force at once");
}

/// Saves to the extension's file while another program holds the folder and changes the file.
fn saved_while(change: impl FnOnce(&Path)) -> (Root, Result<(), SettingsError>) {
    let root = Root::new();
    let store = root.open();
    let path = root.path(FILE);
    let lock = FolderLock::take(&root.path("settings"), Duration::from_secs(20)).unwrap();
    let saved = std::thread::scope(|scope| {
        let given = object(&json!({"Remember_me": false}));
        let save = scope.spawn(|| store.write_client_file(&extension(), &path, given));
        until_awaited(&root.path("settings"));
        change(&path);
        drop(lock);
        save.join().unwrap()
    });
    (root, saved)
}

#[test]
fn a_save_changes_what_another_program_has_written_before_it() {
    let edited = json!({"clientId": EXTENSION, "Remember_me": true, "isTrust": false}).to_string();
    let (root, saved) = saved_while(|path| std::fs::write(path, edited).unwrap());
    assert_eq!(saved, Ok(()));
    assert_eq!(root.json(FILE), json!({"clientId": EXTENSION, "Remember_me": false, "isTrust": false}));
}

#[test]
fn a_save_does_not_bring_back_a_file_that_was_removed() {
    let (root, saved) = saved_while(|path| std::fs::remove_file(path).unwrap());
    assert_eq!(saved, Err(SettingsError::Io));
    assert!(!root.path(FILE).exists());
}

#[test]
fn a_file_that_an_editor_writes_or_removes_meanwhile_is_not_overwritten() {
    let root = Root::new();
    let store = root.open();
    let path = root.path(FILE);
    // Editors know no locks: they write whenever they like.
    let mut edits = [r#"{"isTrust":false}"#, r#"{"isTrust":false,"more":1}"#].into_iter();
    let saved = store.rewrite_shared(&path, |current, exists| {
        assert!(exists);
        if let Some(edit) = edits.next() {
            std::fs::write(&path, edit).unwrap();
        }
        current.set("Remember_me", &false.into());
        Ok(())
    });
    assert_eq!(saved, Ok(()));
    assert_eq!(root.json(FILE), json!({"isTrust": false, "more": 1, "Remember_me": false}));

    let mut count = 0;
    let saved = store.rewrite_shared(&path, |_, _| {
        count += 1;
        std::fs::write(&path, format!("{{\"count\":{count}}}")).unwrap();
        Ok(())
    });
    assert_eq!(saved, Err(SettingsError::Busy));
    assert_eq!(root.json(FILE), json!({"count": 3}));

    let saved = store.rewrite_shared(&path, |_, _| {
        std::fs::remove_file(&path).unwrap();
        Ok(())
    });
    assert_eq!((saved, path.exists()), (Err(SettingsError::Io), false));
}

#[test]
fn a_save_does_not_wait_for_ever_for_another_program() {
    let mut root = Root::new();
    root.config.lock_timeout = Duration::ZERO;
    let store = root.open();
    let _held = FolderLock::take(&root.path("settings"), Duration::from_secs(20)).unwrap();
    assert_eq!(store.client_settings(&extension(), r#"{"timeout":1}"#), Err(SettingsError::Busy));
}

#[test]
fn files_stay_below_the_limit() {
    let mut root = Root::new();
    root.config.max_json_bytes = 4000;
    let store = root.open();
    let path = root.path("data/app/x.json");
    let half = json!({"a": "x".repeat(2500)});
    store.write_data_file(&path, object(&half)).unwrap();
    let other = json!({"b": "x".repeat(2500)});
    assert_eq!(store.write_data_file(&path, object(&other)), Err(SettingsError::TooLarge));
    assert_eq!(root.json("data/app/x.json"), half);
    let large = json!({"timeout": "x".repeat(4000)}).to_string();
    assert_eq!(store.client_settings(&extension(), &large), Err(SettingsError::TooLarge));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn unknown_keys_are_preserved_when_settings_are_rewritten(
        extra in prop::collection::btree_map("[a-z_]{1,8}", "[ -~]{0,8}", 0..6), timeout in any::<u32>()
    ) {
        let root = Root::empty();
        let mut file = json!({"serverPort": 4002});
        for (key, value) in &extra {
            file[key.as_str()] = json!(value);
        }
        root.write(SETTINGS, &file.to_string());
        let store = root.open();
        store.client_settings(&extension(), &json!({"timeout": timeout}).to_string()).unwrap();
        file["timeout"] = json!(timeout);
        prop_assert_eq!(root.json(SETTINGS), file);
    }
}

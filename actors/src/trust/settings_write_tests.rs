use super::*;
use crate::trust::fixture::{EXTENSION, Root, admin, caller, client, extension, lan};
use proptest::prelude::*;
use serde_json::json;

const SETTINGS: &str = "settings/server_settings.json";

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

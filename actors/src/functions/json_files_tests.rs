use super::*;
use crate::trust::fixture::{EXTENSION, Root, admin, client, extension};
use proptest::prelude::*;
use serde_json::json;

fn read(store: &TrustStore, caller: &Caller, path: &str) -> Value {
    shown(&read_json(store, caller, path))
}

fn save(store: &TrustStore, caller: &Caller, path: &str, json: &str) -> Value {
    shown(&save_json(store, caller, path, &RawValue::from_string(json.to_owned()).unwrap()))
}

fn shown(reply: &FunctionReply) -> Value {
    serde_json::from_str(reply.to_ack(None).get()).unwrap()
}

fn result(inner: Value) -> Value {
    json!({"success": true, "result": inner})
}

fn denied(message: &str) -> Value {
    json!({"success": false, "error": {"message": message}})
}

const OUTSIDE: &str = "Access denied: Path is outside the server directory.";
const RESTRICTED: &str = "Access denied: File is restricted.";

#[test]
fn the_extensions_start_sequence_reads_both_files() {
    let root = Root::new();
    let store = root.open();
    let own = read(&store, &extension(), "./settings/SillyTavern-8000-settings.json");
    assert_eq!(
        own,
        result(json!({"success": true, "result":
            {"clientId": EXTENSION, "Remember_me": true, "isTrust": true}}))
    );
    let settings = read(&store, &extension(), "./settings/server_settings.json");
    assert_eq!(settings["result"]["result"]["networkSafe"], json!(true));
}

#[test]
fn secrets_are_removed_for_everybody() {
    let root = Root::new();
    root.write(
        "settings/server_settings.json",
        r#"{"networkSafe":true,"clientKeys":{"a":"k"},"sillyTavernPassword":{"a":"$2"}}"#,
    );
    root.write(
        "settings/app.json",
        r#"{"clientId":"app","isTrust":true,"sillyTavernMasterKey":"$2","sillyTavernPassword":"$2"}"#,
    );
    let store = root.open();
    for (caller, path, left) in [
        (admin(), "settings/server_settings.json", json!({"networkSafe": true})),
        (extension(), "settings/server_settings.json", json!({"networkSafe": true})),
        (admin(), "settings/app.json", json!({"clientId": "app", "isTrust": true})),
        (client(), "settings/app.json", json!({"clientId": "app", "isTrust": true})),
    ] {
        assert_eq!(read(&store, &caller, path)["result"]["result"], left, "{path}");
    }
}

#[test]
fn defect_8_41_failures_are_inside_the_result_and_show_no_server_path() {
    let root = Root::new();
    let store = root.open();
    let missing = read(&store, &client(), "./data/app/none.json");
    assert_eq!(
        missing,
        result(json!({"success": false, "error":
            {"message": "ENOENT: no such file or directory, open './data/app/none.json'", "code": "ENOENT"}}))
    );
    root.write("data/app/bad.json", "{");
    let bad = read(&store, &client(), "data/app/bad.json");
    assert_eq!(bad["result"]["error"], json!({"message": "File does not contain valid JSON."}));
    std::fs::create_dir_all(root.path("data/app/folder.json")).unwrap();
    let folder = read(&store, &client(), "data/app/folder.json");
    assert_eq!(folder["result"]["error"]["code"], "EISDIR");
    let saved = save(&store, &client(), "data/app/folder.json", "{}");
    for answer in [missing, bad, folder, saved] {
        let text = answer.to_string();
        assert!(!text.contains(root.dir.path().to_str().unwrap()), "{text}");
        assert_eq!(answer["success"], json!(true), "wrapped twice");
    }
}

#[test]
fn defect_8_40_access_is_denied_outside_and_restricted_files() {
    let mut root = Root::new();
    root.config.restricted_files = vec!["data/app/Private".to_owned()];
    root.write("settings/server_settings.json", r#"{"restrictedFiles":["./data/app/no.json"]}"#);
    root.write("keys/clients.json", "{}");
    let store = root.open();
    let absolute = format!("{}/keys/clients.json", store.root().display());
    for (path, message) in [
        ("../x.json", OUTSIDE),
        ("settings/../keys/clients.json", OUTSIDE),
        ("..\\keys\\clients.json", OUTSIDE),
        ("C:\\x.json", OUTSIDE),
        ("/etc/passwd", OUTSIDE),
        ("x\0.json", OUTSIDE),
        ("", OUTSIDE),
        ("keys/clients.json", RESTRICTED),
        ("Keys\\clients.json", RESTRICTED),
        (&absolute, RESTRICTED),
        ("settings/monitor.json", RESTRICTED),
        ("data/app/no.json", RESTRICTED),
        ("DATA/app/no.json", RESTRICTED),
        ("data/app/private/x.json", RESTRICTED),
        ("data/other/x.json", RESTRICTED),
        ("data/app/x.txt", RESTRICTED),
    ] {
        assert_eq!(read(&store, &client(), path), denied(message), "{path:?}");
        assert_eq!(save(&store, &client(), path, "{}"), denied(message), "{path:?}");
    }
    assert_eq!(root.text("keys/clients.json"), "{}");
}

#[cfg(unix)]
#[test]
fn defect_8_40_symlinks_do_not_widen_rights() {
    use std::os::unix::fs::symlink;
    let root = Root::new();
    root.write("keys/clients.json", "{}");
    root.write("data/other/x.json", "{}");
    std::fs::create_dir_all(root.path("data/app")).unwrap();
    symlink("../../keys/clients.json", root.path("data/app/k.json")).unwrap();
    symlink("../other", root.path("data/app/o")).unwrap();
    symlink("../../settings/app.json", root.path("data/app/s.json")).unwrap();
    symlink("/", root.path("data/app/root")).unwrap();
    let store = root.open();
    for (path, message) in [
        ("data/app/k.json", RESTRICTED),
        ("data/app/o/x.json", RESTRICTED),
        ("data/app/s.json", RESTRICTED),
        ("data/app/root/etc/x.json", OUTSIDE),
    ] {
        assert_eq!(read(&store, &client(), path), denied(message), "{path}");
        assert_eq!(save(&store, &client(), path, "{\"a\":1}"), denied(message), "{path}");
    }
}

#[test]
fn saves_create_folders_and_merge_shallowly() {
    let root = Root::new();
    let store = root.open();
    let path = "/data/app/deep/x.json";
    let ok = result(json!({"success": true}));
    assert_eq!(save(&store, &client(), path, r#"{"a":{"x":1},"b":1.0}"#), ok);
    assert_eq!(save(&store, &client(), path, r#"{"a":{"y":"\ud83d"},"c":12345678901234567890123}"#), ok);
    let text =
        "{\n  \"a\": {\n    \"y\": \"\\ud83d\"\n  },\n  \"b\": 1.0,\n  \"c\": 12345678901234567890123\n}\n";
    assert_eq!(root.text("data/app/deep/x.json"), text);
    let raw = read_json(&store, &client(), path).to_ack(None);
    assert!(raw.get().contains("\\ud83d") && raw.get().contains("12345678901234567890123"));
}

#[test]
fn saves_that_fail_say_so_as_text() {
    let root = Root::new();
    root.write("data/app/bad.json", "{ oops");
    let store = root.open();
    let failure = |message: &str| result(json!({"success": false, "error": message}));
    for (path, json, message) in [
        ("data/app/x.json", "[]", "Data to save must be a JSON object."),
        ("data/app/x.json", "null", "Data to save must be a JSON object."),
        ("data/app/x.json", "\"{}\"", "Data to save must be a JSON object."),
        ("data/app/bad.json", "{}", "Existing file is not valid JSON."),
    ] {
        assert_eq!(save(&store, &client(), path, json), failure(message), "{path} {json}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
    let answer = save(&store, &client(), "data/app/x.json", &deep);
    assert_eq!(answer, failure("Data to save must be a JSON object."));
    assert_eq!(root.text("data/app/bad.json"), "{ oops");
}

#[test]
fn files_and_their_number_are_bounded() {
    let mut root = Root::new();
    root.config.max_data_files = 3;
    root.config.max_json_bytes = 1000;
    root.write("data/app/large.json", &format!("{{\"a\":\"{}\"}}", "x".repeat(1000)));
    let store = root.open();
    assert_eq!(read(&store, &client(), "data/app/large.json")["result"]["error"]["code"], "EFBIG");
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(1000));
    assert_eq!(save(&store, &client(), "data/app/1.json", &large)["result"]["error"], "File is too large.");
    for name in ["1", "2"] {
        let answer = save(&store, &client(), &format!("data/app/{name}.json"), "{}");
        assert_eq!(answer["result"]["success"], json!(true));
    }
    assert_eq!(save(&store, &client(), "data/app/3.json", "{}")["result"]["error"], "Too many files.");
    let again = save(&store, &client(), "data/app/2.json", "{\"a\":1}");
    assert_eq!(again["result"]["success"], json!(true), "an existing file may change");
}

#[test]
fn settings_are_written_within_the_rights() {
    let root = Root::new();
    let store = root.open();
    let settings = "./settings/server_settings.json";
    let own = "./settings/SillyTavern-8000-settings.json";
    let ok = result(json!({"success": true}));
    assert_eq!(save(&store, &extension(), settings, r#"{"serverPort":"4001"}"#), ok);
    let field = |name: &str| denied(&format!("Access denied: {name} cannot be changed."));
    assert_eq!(save(&store, &extension(), settings, r#"{"evil":1}"#), field("evil"));
    assert_eq!(save(&store, &extension(), own, r#"{"Remember_me":false}"#), ok);
    assert_eq!(save(&store, &extension(), own, r#"{"role":"admin"}"#), field("role"));
    assert_eq!(save(&store, &admin(), "settings/new.json", r#"{"clientId":"new","isTrust":true}"#), ok);
    assert!(store.grant(&crate::trust::fixture::id("new")).is_some(), "in force at once");
    assert_eq!(save(&store, &client(), "settings/app.json", "{}"), denied(RESTRICTED));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_path_of_a_client_touches_anything_but_its_folder(
        path in prop_oneof![
            ".*",
            prop::collection::vec(
                prop::sample::select(vec![
                    "..", ".", "data", "app", "settings", "keys", "clients.json", "app.json",
                    "server_settings.json", "x.json", "\\", "", "monitor.json",
                ]),
                1..6,
            ).prop_map(|parts| parts.join("/")),
        ]
    ) {
        let root = Root::new();
        root.write("keys/clients.json", "{}");
        let store = root.open();
        let files = ["keys/clients.json", "settings/app.json", "settings/monitor.json", "settings/server_settings.json"];
        let before: Vec<String> = files.iter().map(|file| root.text(file)).collect();
        save(&store, &client(), &path, r#"{"evil":1}"#);
        let after: Vec<String> = files.iter().map(|file| root.text(file)).collect();
        prop_assert_eq!(before, after);
        for entry in std::fs::read_dir(root.dir.path()).unwrap() {
            let name = entry.unwrap().file_name();
            prop_assert!(["data", "keys", "settings"].iter().any(|known| name == *known), "{:?}", name);
        }
    }
}

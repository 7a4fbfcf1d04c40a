use super::*;
use crate::trust::fixture::{EXTENSION, Root, admin, caller, client, extension};
use std::path::Path;

fn check(snapshot: &TrustSnapshot, caller: &Caller, access: Access, text: &str) -> Option<Kind> {
    let path = by_content(RelPath::parse(Path::new("/r"), text).unwrap(), snapshot);
    authorize(caller, access, &path, snapshot).ok()
}

#[test]
fn the_table_of_rule_4() {
    let root = Root::new();
    root.write("settings/odd-name.json", r#"{"clientId":"SillyTavern-9000","isTrust":true}"#);
    let snapshot = root.open().snapshot().load_full();
    let other = caller("SillyTavern-9000", false);
    let head = caller(EXTENSION, true);
    let (server, file, data) = (Some(Kind::ServerSettings), Some(Kind::ClientFile), Some(Kind::Data));
    let settings = "settings/server_settings.json";
    let own = "settings/SillyTavern-8000-settings.json";
    // caller, path → read, write
    for (caller, path, read, write) in [
        (&extension(), own, file, file),
        (&extension(), settings, server, server),
        (&extension(), "settings/app.json", None, None),
        (&extension(), "settings/monitor.json", None, None),
        (&extension(), "settings/SillyTavern-9000-settings.json", None, None),
        (&extension(), "settings/new.json", None, None),
        (&extension(), "data/SillyTavern-8000/x.json", None, None),
        (&other, "settings/SillyTavern-9000-settings.json", file, file),
        (&other, "settings/odd-name.json", file, file),
        (&other, own, None, None),
        (&admin(), settings, server, server),
        (&admin(), own, file, file),
        (&admin(), "settings/app.json", file, file),
        (&admin(), "settings/new.json", file, file),
        (&admin(), "settings/deep/new.json", None, None),
        (&admin(), "data/monitor/x.json", data, data),
        (&admin(), "data/app/x.json", None, None),
        (&head, "settings/app.json", file, file),
        (&client(), "settings/app.json", file, None),
        (&client(), "settings/app-settings.json", file, None),
        (&client(), settings, None, None),
        (&client(), own, None, None),
        (&client(), "data/app/x.json", data, data),
        (&client(), "data/app/deep/er/x.json", data, data),
        (&client(), "data/other/x.json", None, None),
        (&client(), "data/x.json", None, None),
        (&client(), "data/app.json", None, None),
    ] {
        let who = &caller.client_id;
        assert_eq!(check(&snapshot, caller, Access::Read, path), read, "{who} reads {path}");
        assert_eq!(check(&snapshot, caller, Access::Write, path), write, "{who} writes {path}");
    }
}

#[test]
fn defect_8_40_nobody_touches_keys_logs_and_code_in_any_spelling() {
    let root = Root::new();
    let snapshot = root.open().snapshot().load_full();
    for path in [
        "keys/clients.json",
        "/keys/clients.json",
        "KEYS/clients.json",
        "keys\\clients.json",
        "logs/combined.log",
        "logs/x.json",
        "dist/function_call.js",
        "package.json",
        "config.toml",
        "web/package.json",
        "settings/SERVER_SETTINGS.JSON",
        "settings/Server_Settings.json",
        "Settings/server_settings.json",
        "settings/app.JSON",
        "settings/app.json.bak",
        "settings/.app.json",
        "settings/.json",
        "data/app/.hidden/x.json",
        "data/app/x.js",
        "data/app/json",
        "Data/app/x.json",
    ] {
        for caller in [extension(), admin(), client(), caller(EXTENSION, true)] {
            for access in [Access::Read, Access::Write] {
                let found = check(&snapshot, &caller, access, path);
                assert_eq!(found, None, "{} {access:?} {path}", caller.client_id);
            }
        }
    }
}

#[test]
fn refusals_say_outside_only_where_the_path_looked_absolute() {
    let root = Root::new();
    let snapshot = root.open().snapshot().load_full();
    for (text, error) in [
        ("/etc/passwd.json", PathError::Outside),
        ("/etc/passwd", PathError::Outside),
        ("etc/passwd.json", PathError::Restricted),
        ("/keys/clients.json", PathError::Restricted),
        ("keys/clients.json", PathError::Restricted),
    ] {
        let path = RelPath::parse(Path::new("/r"), text).unwrap();
        assert_eq!(authorize(&client(), Access::Read, &path, &snapshot), Err(error), "{text}");
    }
}

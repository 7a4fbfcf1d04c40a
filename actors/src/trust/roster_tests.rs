use std::fs;

use super::*;
use crate::trust::fixture::{Root, id};
use crate::trust::keys::Quick;

fn roster(root: &Root) -> Roster {
    Roster::new(root.config.clone())
}

fn problems(root: &Root) -> Vec<String> {
    let roster = roster(root);
    let mut problems = roster.check_settings();
    problems.extend(roster.list().unwrap().1);
    let root = format!("{}/", root.dir.path().display());
    problems.iter().map(|problem| problem.to_string().replace(&root, "")).collect()
}

#[test]
fn a_client_that_is_added_is_trusted_and_its_key_verifies() {
    let root = Root::new();
    let store = root.open();
    let added = roster(&root).add("new", true, Some("secret")).unwrap();
    assert_eq!(added.file, root.path("settings/new.json"));
    store.rescan();
    let grant = store.grant(&id("new")).unwrap();
    assert!(grant.admin);
    let Quick::Hash(hash) = store.keys().quick(&id("new"), &added.key) else { panic!("no hash") };
    assert!(keys::verify(&added.key, &hash, 15));
    assert!(!store.keys().has_pending_of(&id("new")), "the broker makes no key of its own");
    let text = root.text("settings/new.json") + &root.text("keys/clients.json");
    assert!(!text.contains("secret") && !text.contains(&added.key), "{text}");
    #[cfg(unix)]
    for file in ["settings/new.json", "keys/clients.json"] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(root.path(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn who_exists_or_cannot_be_is_not_added() {
    let mut root = Root::new();
    root.config.reserved_ids = vec![id("SillyTavern-demo")];
    root.write("settings/odd-name.json", r#"{"clientId":"odd","isTrust":false}"#);
    root.write("settings/broken.json", "{");
    let before = fs::read_dir(root.path("settings")).unwrap().count();
    for (given, said) in [
        ("app", "exists already"),
        ("odd", "odd-name.json"),
        ("broken", "exists already"),
        ("server", "reserved"),
        ("SillyTavern-demo", "reserved"),
        ("server_settings", "name of a settings file"),
        (".hidden", "name of a settings file"),
        ("", "empty"),
        ("a/b", "character"),
        ("<b>", "< or >"),
    ] {
        let error = roster(&root).add(given, false, None).err().expect(given).to_string();
        assert!(error.contains(said), "{given}: {error}");
    }
    assert!(matches!(roster(&root).add("new", false, Some("")), Err(RosterError::Password)));
    let names = fs::read_dir(root.path("settings")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.iter().filter(|name| *name != ".lock").count(), before, "{names:?}");
    assert!(!root.path("keys/clients.json").exists());
}

#[test]
fn writers_do_not_lose_each_others_keys() {
    let root = Root::empty();
    let broker = root.open();
    root.write("settings/own.json", r#"{"clientId":"own","isTrust":true}"#);
    broker.rescan();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let root = &root;
            scope.spawn(move || {
                (0..4).for_each(|i| drop(roster(root).add(&format!("c{n}-{i}"), false, None).unwrap()));
            });
        }
        for _ in 0..4 {
            scope.spawn(|| broker.keys().generate(&id("own")).unwrap());
        }
    });
    let records = root.json("keys/clients.json");
    assert_eq!(records.as_object().unwrap().len(), 17);
    assert_eq!(roster(&root).list().unwrap().0.iter().filter(|listed| listed.has_key).count(), 17);
}

#[test]
fn revoking_takes_the_key_and_if_asked_the_file() {
    let root = Root::new();
    let store = root.open();
    store.keys().persist_pending().unwrap();
    let file = root.path("settings/app.json");
    let revoked = |key, files| Revoked { key, files, problems: vec![] };
    assert_eq!(roster(&root).revoke("app", false).unwrap(), revoked(true, vec![]));
    assert!(file.exists() && root.json("keys/clients.json").get("app").is_none());
    assert_eq!(roster(&root).revoke("app", true).unwrap(), revoked(false, vec![file.clone()]));
    assert!(!file.exists());
    assert!(matches!(roster(&root).revoke("app", true), Err(RosterError::Unknown(_))));
}

#[test]
fn nobody_is_called_removed_whom_a_broken_file_may_describe() {
    let root = Root::new();
    root.write("settings/odd.json", "{,");
    root.write("settings/app-settings.json", "{,");
    let remove = |id: &str| roster(&root).revoke(id, true);
    let names = |problems: &[Problem]| {
        let names =
            problems.iter().map(|problem| problem.file.file_name().unwrap().to_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let Err(RosterError::Unread { files, .. }) = remove("app") else { panic!("not refused") };
    assert_eq!(names(&files), ["app-settings.json"], "though it has a good one as well");
    let Err(RosterError::Unread { files, .. }) = remove("nobody") else { panic!("not refused") };
    assert_eq!(names(&files), ["app-settings.json", "odd.json"], "it may be in any");
    assert!(root.path("settings/app.json").exists(), "nothing is changed");

    let revoked = remove("monitor").unwrap();
    assert_eq!(revoked.files, [root.path("settings/monitor.json")]);
    assert_eq!(names(&revoked.problems), ["app-settings.json", "odd.json"], "which are of others");

    // A file that can be read and names no client describes nobody.
    fs::remove_file(root.path("settings/app-settings.json")).unwrap();
    root.write("settings/odd.json", "{}");
    assert_eq!(names(&remove("app").unwrap().problems), ["odd.json"]);
    assert!(matches!(remove("app"), Err(RosterError::Unknown(_))));
}

#[test]
fn a_broken_key_file_is_named_and_left_alone() {
    let root = Root::new();
    root.write("keys/clients.json", "{\n  \"a\": {\"key\": \"$2b$\"},\n}");
    for outcome in [roster(&root).add("new", false, None).err(), roster(&root).revoke("app", false).err()] {
        let error = outcome.unwrap().to_string();
        assert!(error.contains("clients.json:3:1: "), "{error}");
    }
    assert!(root.text("keys/clients.json").ends_with(",\n}"));
    assert!(!root.path("settings/new.json").exists());
}

#[test]
fn every_problem_has_its_place() {
    let mut root = Root::new();
    root.config.reserved_ids = vec![id("SillyTavern-demo")];
    assert_eq!(problems(&root), [""; 0]);
    root.write("settings/server_settings.json", "{\n  \"serverPort\": 0,\n  \"networkSafe\": \"no\"\n}");
    root.write("settings/1.json", "{\n  \"clientId\": \"a\",\n}");
    root.write("settings/2.json", "{\n  \"clientId\": 5, \"isTrust\": true}");
    root.write("settings/3.json", "{\"clientId\": \"c\", \"isTrust\": \"true\"}");
    root.write("settings/4.json", "{\"clientId\": \"d\"}");
    root.write("settings/5.json", "{\"clientId\": \"app\", \"isTrust\": false}");
    root.write("settings/6.json", "{\"clientId\": \"SillyTavern-demo\", \"isTrust\": true}");
    fs::write(root.path("settings/7.json"), b"{\n\xff}").unwrap();
    assert_eq!(
        problems(&root),
        [
            "settings/server_settings.json:2:17: serverPort has no usable value",
            "settings/server_settings.json:3:18: networkSafe has no usable value",
            "settings/1.json:3:1: trailing comma",
            "settings/2.json:2:15: clientId is not a string",
            "settings/3.json:1:30: isTrust is not true or false",
            "settings/4.json:1:1: isTrust is missing",
            "settings/6.json:1:14: the id \"SillyTavern-demo\" is reserved",
            "settings/7.json:2:1: not UTF-8",
            "settings/app.json:1:29: 5.json says otherwise about \"app\": it is not trusted",
        ]
    );
}

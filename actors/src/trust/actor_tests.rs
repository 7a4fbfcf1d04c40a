use super::*;
use crate::functions::StaticResources;
use crate::ids::ClientId;
use crate::trust::fixture::{self, EXTENSION, Root, extension, id, lan, loopback, public};
use crate::trust::{InvalidKeyPolicy, Peer, TrustStore};
use std::time::Duration;

fn start(root: &Root) -> (Addr<Trust>, Arc<TrustStore>) {
    let store = root.open();
    let statics = StaticResources::new(8);
    (Trust::new(Desk::new(Arc::clone(&store), statics)).start(), store)
}

/// A root whose network is not safe.
fn guarded() -> Root {
    let root = Root::new();
    root.write("settings/server_settings.json", r#"{"networkSafe":false}"#);
    root
}

fn shake(name: &str, key: Option<&str>, password: Option<&str>) -> Handshake {
    Handshake {
        client_id: id(name),
        key: key.map(str::to_owned),
        password: password.map(str::to_owned),
        on_auth: true,
    }
}

async fn check(trust: &Addr<Trust>, handshake: Handshake, peer: Peer) -> Verdict {
    trust.send(CheckAuth { handshake, peer }).await.unwrap()
}

fn login(session: &str, client_id: &str, password: &str, peer: Peer) -> Login {
    Login {
        session: id(session),
        client_id: Some(client_id.to_owned()),
        password: Some(password.to_owned()),
        peer,
    }
}

fn failed(message: &'static str) -> LoginOutcome {
    LoginOutcome::Failure { message, code: None }
}

fn accepted(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Accept { .. })
}

const INVALID: Verdict = Verdict::Reject(Rejection::invalid_key());
const RATED: Verdict = Verdict::Reject(Rejection::rate_limited());
const NOT_TRUSTED: Verdict = Verdict::Reject(Rejection::not_trusted());

#[actix::test]
async fn a_trusted_peer_of_a_safe_network_is_answered_without_blocking_work() {
    let root = Root::new();
    let (trust, _) = start(&root);
    for peer in [loopback(), lan()] {
        for key in [None, Some("wrong"), Some("getKey")] {
            let verdict = check(&trust, shake("app", key, None), peer).await;
            let Verdict::Accept { grant, pushes } = verdict else { panic!("{verdict:?}") };
            assert_eq!((grant.class, grant.admin), (ClientClass::Client, false));
            assert_eq!(pushes.is_some(), key == Some("getKey"));
        }
    }
    assert_eq!(check(&trust, shake("nobody", None, None), loopback()).await, NOT_TRUSTED);
    assert_eq!(check(&trust, shake("app", Some("wrong"), None), public(1)).await, INVALID);
}

#[actix::test]
async fn keys_open_every_namespace() {
    let root = guarded();
    let (trust, _) = start(&root);
    let key = trust.send(GenerateKey { client_id: id("app") }).await.unwrap().unwrap();
    let session = trust.send(SessionKey { client_id: id("app") }).await.unwrap().unwrap();
    assert!(accepted(&check(&trust, shake("app", Some(&key), None), public(1)).await));
    assert!(accepted(&check(&trust, shake("app", Some(&session), None), public(1)).await));
    assert_eq!(check(&trust, shake("monitor", Some(&key), None), public(1)).await, INVALID);

    let (after_restart, _) = start(&root);
    assert!(accepted(&check(&after_restart, shake("app", Some(&key), None), public(1)).await));
    assert_eq!(check(&after_restart, shake("app", Some(&session), None), public(1)).await, INVALID);
    assert_eq!(after_restart.send(GetKey { client_id: id("app") }).await.unwrap(), None);

    trust.send(RemoveKey { client_id: id("app") }).await.unwrap().unwrap();
    for old in [&key, &session] {
        assert_eq!(check(&trust, shake("app", Some(old), None), public(1)).await, INVALID);
    }
    let mut listed = trust.send(ListClients).await.unwrap();
    listed.sort();
    assert_eq!(listed, [EXTENSION, "monitor"]);
}

#[actix::test]
async fn key_operations_answer_as_the_tables_say() {
    let root = Root::new();
    let (trust, _) = start(&root);
    let generate = |name: &str| trust.send(GenerateKey { client_id: id(name) });
    assert_eq!(generate("nobody").await.unwrap().unwrap_err().to_string(), "Client not found.");
    assert_eq!(trust.send(RemoveKey { client_id: id("nobody") }).await.unwrap(), Ok(()));
    assert_eq!(trust.send(GetKey { client_id: id("nobody") }).await.unwrap(), None);
    let key = generate("app").await.unwrap().unwrap();
    assert_eq!(trust.send(GetKey { client_id: id("app") }).await.unwrap(), Some(key));
    let listings = trust.send(ListKeys).await.unwrap();
    assert_eq!(keys_object(&listings)["app"], serde_json::json!({"key": "", "hasKey": true, "rooms": []}));
}

#[actix::test]
async fn operations_on_one_key_run_in_the_order_asked() {
    let mut root = guarded();
    // A hash takes as long as it does in production, and much longer than a removal.
    root.config.bcrypt_cost = 10;
    let (trust, store) = start(&root);
    let client_id = id("app");
    let generate = || trust.send(GenerateKey { client_id: client_id.clone() });
    let remove = || trust.send(RemoveKey { client_id: client_id.clone() });
    let get = || trust.send(GetKey { client_id: client_id.clone() });
    let session = || trust.send(SessionKey { client_id: client_id.clone() });

    // Nobody waits for an answer before asking the next.
    let asked = (generate(), get(), session(), remove(), get());
    let (key, got, session_key, removed, nothing) =
        futures::join!(asked.0, asked.1, asked.2, asked.3, asked.4);
    let (key, session_key) = (key.unwrap().unwrap(), session_key.unwrap().unwrap());
    assert_eq!((got.unwrap(), removed.unwrap(), nothing.unwrap()), (Some(key.clone()), Ok(()), None));
    for key in [&key, &session_key] {
        assert_eq!(check(&trust, shake("app", Some(key), None), public(1)).await, INVALID);
    }
    assert!(root.json("keys/clients.json").get("app").is_none());

    let asked = (remove(), generate(), session());
    let (_, key, session_key) = futures::join!(asked.0, asked.1, asked.2);
    for key in [key.unwrap().unwrap(), session_key.unwrap().unwrap()] {
        assert!(accepted(&check(&trust, shake("app", Some(&key), None), public(1)).await));
    }

    let asked = [generate(), generate(), generate()];
    let keys = futures::future::join_all(asked).await;
    let last = keys.into_iter().last().unwrap().unwrap().unwrap();
    assert_eq!(store.keys().plaintext(&client_id), Some(last), "the last one asked for holds");
}

#[actix::test]
async fn operations_on_keys_that_wait_are_bounded() {
    let mut root = Root::new();
    root.config.max_waiting_hashes = 3;
    let (trust, _) = start(&root);
    let asked: Vec<_> = (0..20).map(|_| trust.send(GenerateKey { client_id: id("app") })).collect();
    let answers = futures::future::join_all(asked).await;
    let busy = answers.iter().filter(|answer| **answer == Ok(Err(KeyError::Busy))).count();
    assert_eq!(busy, 17, "{answers:?}");
}

#[actix::test]
async fn defect_8_09_asking_for_a_session_key_makes_nobody_trusted() {
    let root = Root::new();
    let (trust, store) = start(&root);
    let ask = trust.send(SessionKey { client_id: id("SillyTavern-9") }).await.unwrap();
    assert_eq!(ask, Err(KeyError::NotTrusted));
    assert!(store.grant(&id("SillyTavern-9")).is_none());
    assert_eq!(check(&trust, shake("SillyTavern-9", None, None), loopback()).await, NOT_TRUSTED);
}

#[actix::test]
async fn get_key_by_loopback_or_password() {
    let root = guarded();
    let (trust, _) = start(&root);
    let get = |password| shake(EXTENSION, Some("getKey"), password);
    let pushed = |verdict: Verdict| match verdict {
        Verdict::Accept { pushes: Some(pushes), .. } => pushes,
        other => panic!("{other:?}"),
    };
    let by_loopback = pushed(check(&trust, get(None), loopback()).await);
    assert!(!by_loopback.assigned);
    let by_password = pushed(check(&trust, get(Some("secret")), public(1)).await);
    assert!(by_password.assigned);
    assert_eq!(by_loopback.key, by_password.key, "one session key per client");
    let verdict = check(&trust, shake(EXTENSION, Some(&by_password.key), None), public(1)).await;
    assert!(accepted(&verdict), "and it is usable");

    let limited = |assigned_failure| Verdict::Limited { assigned_failure };
    assert_eq!(check(&trust, get(None), public(1)).await, limited(None));
    let wrong = check(&trust, get(Some("wrong")), public(1)).await;
    assert_eq!(wrong, limited(Some("Incorrect password.")));
    let unset = check(&trust, shake("app", Some("getKey"), Some("x")), public(1)).await;
    assert_eq!(unset, limited(Some("Password not set on server.")));
}

#[actix::test]
async fn ten_failures_ban_but_a_valid_key_is_never_refused() {
    let root = guarded();
    let key = start(&root).0.send(GenerateKey { client_id: id("app") }).await.unwrap().unwrap();
    // A fresh process has to hash before it knows the key.
    let (trust, _) = start(&root);
    for _ in 0..10 {
        assert_eq!(check(&trust, shake("app", Some("wrong"), None), public(1)).await, INVALID);
    }
    assert_eq!(check(&trust, shake("app", Some("wrong"), None), public(1)).await, RATED);
    let with_password = shake("app", Some("getKey"), Some("secret"));
    assert_eq!(check(&trust, with_password, public(1)).await, RATED);
    assert_eq!(
        trust.send(login("app", "app", "x", public(1))).await.unwrap(),
        LoginOutcome::Failure { message: "Incorrect password.", code: Some("rate_limited") }
    );
    assert_eq!(check(&trust, shake("app", Some("wrong"), None), public(2)).await, INVALID);
    assert!(accepted(&check(&trust, shake("app", Some(&key), None), public(1)).await));
    assert_eq!(check(&trust, shake("app", Some("wrong"), None), public(1)).await, RATED);
}

#[actix::test]
async fn defect_8_53_many_wrong_keys_at_once_are_bounded() {
    let mut root = guarded();
    start(&root).0.send(GenerateKey { client_id: id("app") }).await.unwrap().unwrap();
    root.config.max_concurrent_hashes = 1;
    root.config.max_waiting_hashes = 8;
    let (trust, _) = start(&root);
    let checks = (0..60).map(|i| check(&trust, shake("app", Some(&format!("k{i}")), None), public(1)));
    let verdicts = futures::future::join_all(checks.collect::<Vec<_>>()).await;
    let count = |wanted: &Verdict| verdicts.iter().filter(|verdict| *verdict == wanted).count();
    let busy = Verdict::Reject(Rejection::busy());
    assert_eq!(count(&INVALID) + count(&RATED) + count(&busy), 60);
    assert!(count(&INVALID) <= 10, "those under way count, and few may wait");
}

#[actix::test]
async fn invalid_keys_may_lead_to_a_temp_room() {
    let mut root = guarded();
    root.config.invalid_key_policy = InvalidKeyPolicy::TempRoom;
    let (trust, _) = start(&root);
    let verdict = check(&trust, shake("app", Some("wrong"), None), public(1)).await;
    assert_eq!(verdict, Verdict::TempRoom);
}

#[actix::test]
async fn login_table() {
    let root = guarded();
    let (trust, _) = start(&root);
    let mut host = 0;
    let mut peer = || {
        host += 1;
        public(host)
    };
    let missing = |client_id: Option<&str>, password: Option<&str>, peer| Login {
        session: id(EXTENSION),
        client_id: client_id.map(str::to_owned),
        password: password.map(str::to_owned),
        peer,
    };
    let cases = [
        (missing(None, Some("secret"), peer()), "Invalid login data."),
        (missing(Some(EXTENSION), None, peer()), "Invalid login data."),
        (missing(Some(EXTENSION), Some(""), peer()), "Invalid login data."),
        (login(EXTENSION, "monitor", "secret", peer()), "Invalid login data."),
        (login(EXTENSION, "../../keys/clients", "secret", peer()), "Invalid login data."),
        (login(EXTENSION, EXTENSION, "wrong", peer()), "Incorrect password."),
        (login("app", "app", "secret", peer()), "Password not set on server."),
        (login("nobody", "nobody", "secret", peer()), "Password not set on server."),
    ];
    for (msg, message) in cases {
        let shown = format!("{msg:?}");
        assert_eq!(trust.send(msg).await.unwrap(), failed(message), "{shown}");
    }
    let outcome = trust.send(login(EXTENSION, EXTENSION, "secret", peer())).await.unwrap();
    assert_eq!(outcome.to_ack().to_string(), r#"{"success":true}"#);
    let LoginOutcome::Success { session_key, grant } = outcome else { panic!("{outcome:?}") };
    assert_eq!(grant.class, ClientClass::Extension);
    let verdict = check(&trust, shake(EXTENSION, Some(&session_key), None), public(99)).await;
    assert!(accepted(&verdict));
}

#[actix::test]
async fn five_logins_a_minute() {
    let root = guarded();
    let (trust, _) = start(&root);
    for _ in 0..5 {
        let outcome = trust.send(login(EXTENSION, EXTENSION, "secret", public(1))).await.unwrap();
        assert!(matches!(outcome, LoginOutcome::Success { .. }));
    }
    let sixth = trust.send(login(EXTENSION, EXTENSION, "secret", public(1))).await.unwrap();
    assert_eq!(
        sixth.to_ack().to_string(),
        r#"{"success":false,"message":"Incorrect password.","code":"rate_limited"}"#
    );
}

#[actix::test]
async fn secrets_are_not_shown() {
    let shown = format!(
        "{:?} {:?}",
        shake("app", Some("KEY"), Some("PASSWORD")),
        login("app", "app", "PASSWORD", loopback())
    );
    assert!(!shown.contains("KEY") && !shown.contains("PASSWORD"), "{shown}");
    let pushes = KeyPushes { key: "KEY".to_owned(), assigned: true };
    assert!(!format!("{pushes:?}").contains("KEY"));
}

#[actix::test]
async fn an_unknown_id_causes_a_scan_at_most_once_per_interval() {
    let mut root = Root::new();
    // Neither the watcher nor a second scan may help.
    root.config.rescan_interval = Duration::from_secs(3600);
    root.config.watch_debounce = Duration::from_secs(3600);
    let (trust, _) = start(&root);
    root.write("settings/new.json", r#"{"clientId":"new","isTrust":true}"#);
    assert!(accepted(&check(&trust, shake("new", None, None), loopback()).await));
    root.write("settings/later.json", r#"{"clientId":"later","isTrust":true}"#);
    assert_eq!(check(&trust, shake("later", None, None), loopback()).await, NOT_TRUSTED);
    trust.send(Rescan).await.unwrap();
    assert!(accepted(&check(&trust, shake("later", None, None), loopback()).await));
}

#[actix::test]
async fn defect_8_50_a_watched_change_needs_no_restart() {
    let mut root = Root::new();
    root.config.rescan_interval = Duration::from_secs(3600);
    root.config.watch_debounce = Duration::from_millis(1);
    let (trust, store) = start(&root);
    assert!(accepted(&check(&trust, shake("app", None, None), loopback()).await));
    std::fs::remove_file(root.path("settings/app.json")).unwrap();
    let gone = async {
        while store.grant(&id("app")).is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the watcher tells");
}

#[cfg(unix)]
#[actix::test]
async fn a_folder_that_takes_the_place_of_the_watched_one_needs_no_restart() {
    let mut root = Root::new();
    root.config.rescan_interval = Duration::from_secs(3600);
    root.config.watch_debounce = Duration::from_millis(1);
    root.config.poll_interval = Duration::from_millis(1);
    // No key is stored, which would be noticed and have everything read.
    root.write("keys/clients.json", &format!(r#"{{"app":{{}},"monitor":{{}},"{EXTENSION}":{{}}}}"#));
    let (trust, store) = start(&root);
    // The scan at start is over then.
    trust.send(Rescan).await.unwrap();
    assert!(accepted(&check(&trust, shake("app", None, None), loopback()).await));
    std::fs::rename(root.path("settings"), root.path("old")).unwrap();
    root.write("settings/app.json", r#"{"clientId":"app","isTrust":false}"#);
    let gone = async {
        while store.grant(&id("app")).is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("a look finds it");
}

#[actix::test]
async fn new_clients_keys_reach_the_disk() {
    let root = Root::new();
    let (trust, store) = start(&root);
    let stored = async {
        while store.keys().has_pending() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), stored).await.expect("stored");
    let key = trust.send(GetKey { client_id: id("app") }).await.unwrap().unwrap();
    assert!(root.json("keys/clients.json")["app"]["key"].is_string());
    let mut again = guarded_copy(&root);
    again.config.bcrypt_cost = 4;
    let (after_restart, _) = start(&again);
    assert!(accepted(&check(&after_restart, shake("app", Some(&key), None), public(1)).await));
}

/// The same root, opened by another process.
fn guarded_copy(root: &Root) -> Root {
    let copy = guarded();
    copy.write("keys/clients.json", &root.text("keys/clients.json"));
    copy
}

#[actix::test]
async fn reserved_ids_and_the_server_are_refused() {
    let mut root = Root::new();
    root.config.reserved_ids = vec![id("SillyTavern-demo")];
    let (trust, _) = start(&root);
    assert_eq!(check(&trust, shake("SillyTavern-demo", None, None), loopback()).await, NOT_TRUSTED);
    assert!(ClientId::new("server").is_err());
}

#[actix::test]
async fn settings_and_functions_are_served() {
    let root = Root::new();
    let (trust, store) = start(&root);
    let settings = ClientSettings { caller: extension(), json: r#"{"timeout":7}"#.to_owned() };
    assert_eq!(trust.send(settings).await.unwrap(), Ok(()));
    assert_eq!(store.settings().load().timeout, Duration::from_millis(7));
    let call =
        RunFunction { caller: fixture::client(), name: "nope".to_owned(), args: Some("[]".to_owned()) };
    let ack = trust.send(call).await.unwrap().to_ack(None);
    assert_eq!(ack.get(), r#"{"success":false,"error":{"message":"Function \"nope\" not found."}}"#);
}

#[actix::test]
#[expect(clippy::await_holding_lock, reason = "the job that waits for it is on another thread")]
async fn jobs_are_bounded() {
    let mut root = Root::new();
    root.config.max_file_jobs = 1;
    let (trust, store) = start(&root);
    // The files' lock keeps the first job busy.
    let held = store.files.lock();
    let settings = || ClientSettings { caller: extension(), json: "{}".to_owned() };
    let mut first = Box::pin(trust.send(settings()));
    assert!(futures::poll!(&mut first).is_pending());
    assert_eq!(trust.send(settings()).await.unwrap(), Err(SettingsError::Busy));
    drop(held);
    assert_eq!(first.await.unwrap(), Ok(()));
}

#[actix::test]
#[expect(clippy::await_holding_lock, reason = "the job that waits for it is on another thread")]
async fn one_client_leaves_room_for_the_jobs_of_others() {
    let mut root = Root::new();
    root.config.max_file_jobs = 4;
    let (trust, store) = start(&root);
    let held = store.files.lock();
    let settings = || trust.send(ClientSettings { caller: extension(), json: "{}".to_owned() });
    let first = settings();
    let second = settings();
    let third = tokio::time::timeout(Duration::from_secs(20), settings()).await;
    assert_eq!(third.expect("an answer at once").unwrap(), Err(SettingsError::Busy), "half of them");
    let call = |id| RunFunction { caller: fixture::caller(id, false), name: "none".to_owned(), args: None };
    for id in ["app", "monitor"] {
        let reply = trust.send(call(id)).await.unwrap().to_ack(None);
        assert!(reply.get().contains("not found"), "{id} waits for nobody: {reply}");
    }
    drop(held);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Ok(())));
}

#[actix::test]
async fn what_one_client_does_to_files_happens_in_the_order_asked() {
    let root = Root::new();
    let (trust, store) = start(&root);
    let function = |caller: Caller, name: &str, args: serde_json::Value| {
        let question = RunFunction { caller, name: name.to_owned(), args: Some(args.to_string()) };
        trust.send(question)
    };
    let mut answers = Vec::new();
    for round in 0..15 {
        let saved = function(
            fixture::client(),
            "saveJsonToFile",
            serde_json::json!(["data/app/x.json", {"round": round}]),
        );
        let read = function(fixture::client(), "readJsonFromFile", serde_json::json!(["data/app/x.json"]));
        answers.push((saved, read));
    }
    for (round, (saved, read)) in answers.into_iter().enumerate() {
        let (saved, read) = futures::join!(saved, read);
        assert_eq!(saved.unwrap().to_ack(None).get(), r#"{"success":true,"result":{"success":true}}"#);
        let read = read.unwrap().to_ack(None);
        let read: serde_json::Value = serde_json::from_str(read.get()).unwrap();
        assert_eq!(read["result"]["result"]["round"], round);
    }

    // CLIENT_SETTINGS and the functions write the same file.
    let file = "settings/server_settings.json";
    let mut answers = Vec::new();
    for round in 0..15 {
        let settings = serde_json::json!({"timeout": 2 * round}).to_string();
        let settings = trust.send(ClientSettings { caller: extension(), json: settings });
        let saved =
            function(extension(), "saveJsonToFile", serde_json::json!([file, {"timeout": 2 * round + 1}]));
        answers.push((settings, saved));
    }
    for (settings, saved) in answers {
        assert_eq!(settings.await.unwrap(), Ok(()));
        assert!(saved.await.unwrap().to_ack(None).get().contains(r#""result":{"success":true}"#));
    }
    assert_eq!(store.settings().load().timeout, Duration::from_millis(29));
    assert_eq!(root.json(file)["timeout"], 29);
}

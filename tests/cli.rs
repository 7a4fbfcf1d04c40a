//! The other commands of the program, as somebody runs them: `client …` and `check-config`, alone and beside a
//! broker (spec §2.2, §2.4, §9.2 Q10).

mod support;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use support::{Broker, Peer, auth_with_key, key};

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn run(data: &Path, args: &[&str]) -> Said {
    run_with(data, args, "")
}

fn run_with(data: &Path, args: &[&str], input: &str) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_newage-broker"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NEWAGE_")) {
        command.env_remove(name);
    }
    command.args(args).arg("--data").arg(data);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program runs");
    // A command that does not read has closed it.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said { code: output.status.code().expect("a code"), out: text(output.stdout), err: text(output.stderr) }
}

impl Said {
    #[track_caller]
    fn succeeds(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    fn fails(self, with: &str) {
        assert_eq!(self.code, 1, "{}{}", self.out, self.err);
        assert!(self.err.contains(with), "{:?} is not in {:?}", with, self.err);
        assert_eq!(self.out, "");
    }
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn clients_are_added_listed_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("new");
    let added = run(&data, &["client", "add", "my-app", "--admin"]);
    assert!(added.err.contains("my-app.json"), "{}", added.err);
    let key = added.succeeds();
    assert_eq!((key.trim().len(), key.lines().count()), (36, 1), "the key and nothing else");
    let file = json!({"clientId": "my-app", "isTrust": true, "role": "admin"});
    assert_eq!(json_of(&data.join("settings/my-app.json")), file);
    let stored = json_of(&data.join("keys/clients.json"))["my-app"]["key"].as_str().unwrap().to_owned();
    assert!(bcrypt::verify(key.trim(), &stored).unwrap());

    let secret =
        run_with(&data, &["client", "add", "SillyTavern-8005", "--password", "-"], "pass word\nnot this\n");
    secret.succeeds();
    let hash = json_of(&data.join("settings/SillyTavern-8005.json"));
    assert!(bcrypt::verify("pass word", hash["sillyTavernPassWord"].as_str().unwrap()).unwrap());

    fs::write(data.join("settings/off.json"), r#"{"clientId":"off","isTrust":false}"#).unwrap();
    let expected = "ID                CLASS      TRUSTED  ADMIN  KEY\n\
                    SillyTavern-8005  extension  yes      no     yes\n\
                    my-app            client     yes      yes    yes\n\
                    off               client     no       no     no\n";
    assert_eq!(run(&data, &["client", "list"]).succeeds(), expected);
    let listed: Value = serde_json::from_str(&run(&data, &["client", "list", "--json"]).succeeds()).unwrap();
    assert_eq!(
        listed[1],
        json!({"clientId": "my-app", "class": "client", "trusted": true, "admin": true, "hasKey": true,
            "file": "my-app.json"})
    );

    run(&data, &["client", "revoke", "my-app"]).succeeds();
    assert!(json_of(&data.join("keys/clients.json")).get("my-app").is_none());
    assert!(data.join("settings/my-app.json").exists());
    run(&data, &["client", "revoke", "my-app", "--remove"]).succeeds();
    assert!(!data.join("settings/my-app.json").exists());
    run(&data, &["client", "revoke", "my-app"]).fails("there is no client \"my-app\"");
}

#[test]
fn who_cannot_be_added_is_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    run(data, &["client", "add", "a"]).succeeds();
    run(data, &["client", "add", "a"]).fails("client \"a\" exists already");
    run(data, &["client", "add", "server"]).fails("reserved");
    run(data, &["client", "add", "SillyTavern-demo"]).fails("reserved");
    run(data, &["client", "add", "history.sqlite"]).fails("reserved");
    run(data, &["client", "add", "../a"]).fails("contains the character");
    run_with(data, &["client", "add", "b", "--password", "-"], "\n").fails("the password is empty");
    // Never on the command line, which others can read.
    assert_eq!(run(data, &["client", "add", "b", "--password", "secret"]).code, 2);
    let names = fs::read_dir(data.join("settings"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".json"));
    assert_eq!(names.count(), 1, "nothing is left of it");
}

#[test]
fn the_configuration_is_checked_and_every_problem_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    fs::create_dir(data.join("settings")).unwrap();
    fs::copy("config.toml", data.join("config.toml")).unwrap();
    fs::write(data.join("settings/a.json"), r#"{"clientId":"a","isTrust":true}"#).unwrap();
    let good = run(data, &["check-config"]).succeeds();
    assert!(good.contains("clients: 1, of which 1 trusted and 0 with a key"), "{good}");
    assert!(!data.join("keys").exists(), "it changes nothing");

    fs::write(data.join("config.toml"), "[limits]\nmax_dept = 3\n\n[log]\nfiles = 1\n").unwrap();
    fs::write(data.join("settings/server_settings.json"), "{\n  \"networkSafe\": false,\n}\n").unwrap();
    fs::write(data.join("settings/b.json"), "{\n  \"clientId\": \"b\"\n  \"isTrust\": true\n}\n").unwrap();
    let said = run(data, &["check-config"]);
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    let lines: Vec<&str> = said.out.lines().collect();
    for (line, (file, problem)) in lines.iter().zip([
        ("config.toml", ":2:1: unknown field `max_dept`"),
        ("config.toml", ":5:9: invalid type: integer `1`"),
        ("settings/server_settings.json", ":3:1: trailing comma"),
        ("settings/b.json", ":3:3: expected `,` or `}`"),
    ]) {
        let expected = format!("{}{problem}", data.join(file).display());
        assert!(line.starts_with(&expected), "{line} is not {expected}…");
    }
    assert_eq!(lines.len(), 4, "{lines:#?}");
    let other = data.join("other.toml");
    fs::write(&other, "[nope]\n").unwrap();
    let said = run(data, &["check-config", "--config", other.to_str().unwrap()]);
    assert!(said.out.contains("other.toml:1:2: unknown field `nope`"), "{}", said.out);
    run(&data.join("nowhere"), &["check-config"]).fails("no such directory");
}

#[tokio::test]
async fn a_client_that_is_added_beside_a_broker_connects_and_one_that_is_revoked_is_out() {
    let broker = Broker::setup().settings(json!({"networkSafe": false})).start(|_| ());
    let data = broker.data().to_owned();
    let key_of_new = run(&data, &["client", "add", "new-app"]).succeeds().trim().to_owned();
    let mut new = Peer::connect_ws(&broker).await;
    new.join("/llm", auth_with_key("new-app", &key_of_new)).await;
    new.join("/rooms", auth_with_key("new-app", &key_of_new)).await;
    let mut other = Peer::connect_ws(&broker).await;
    other.join("/llm", auth_with_key("app-a", &key("app-a"))).await;

    run(&data, &["client", "revoke", "new-app"]).succeeds();
    let mut ended = [new.next().await, new.next().await].map(|frame| format!("{frame:?}"));
    ended.sort();
    assert_eq!(ended, ["text 41/llm,", "text 41/rooms,"]);
    new.send_text(&format!("40/llm,{}", auth_with_key("new-app", &key_of_new))).await;
    assert_eq!(new.expect_rejection("/llm").await["message"], "Invalid key.");

    // The others keep what they have, and the broker's own keys survive the command's write.
    other.expect_nothing().await;
    other.join("/rooms", auth_with_key("app-a", &key("app-a"))).await;

    run(&data, &["client", "revoke", "app-a", "--remove"]).succeeds();
    other.wait_for("an ERROR", |packet| packet.contains("Client is not trusted.")).await;
}

#[tokio::test]
async fn a_client_is_not_called_removed_while_a_broken_file_keeps_it_trusted() {
    let broker = Broker::start(|_| ());
    let data = broker.data().to_owned();
    let file = data.join("settings/app-a-settings.json");
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", auth_with_key("app-a", &key("app-a"))).await;
    fs::write(&file, "{\n  \"clientId\": \"app-a\",\n}\n").unwrap();
    let problem = format!("{}:3:1: trailing comma", file.display());

    run(&data, &["client", "revoke", "app-a", "--remove"]).fails(&problem);
    assert!(json_of(&data.join("keys/clients.json")).get("app-a").is_some(), "nothing is changed");
    peer.expect_nothing().await;
    for (args, out) in [
        (&["client", "revoke", "app-b", "--remove"][..], "app-b-settings.json"),
        (&["client", "revoke", "app-a"][..], "the key of \"app-a\" is revoked"),
    ] {
        let said = run(&data, args);
        assert_eq!(said.err.trim(), problem, "of others it is a note, and of the key alone");
        let said = said.succeeds();
        assert!(said.contains(out), "{said}");
    }
    // By another name it may be anybody's who has no other file.
    let odd = data.join("settings/odd.json");
    fs::rename(&file, &odd).unwrap();
    run(&data, &["client", "revoke", "app-a", "--remove"]).fails("odd.json:3:1: trailing comma");
    fs::write(&odd, r#"{"clientId":"app-a","isTrust":true}"#).unwrap();
    let said = run(&data, &["client", "revoke", "app-a", "--remove"]).succeeds();
    assert!(said.contains("odd.json"), "{said}");
}

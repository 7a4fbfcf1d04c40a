//! Who may need whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

use crate::{is_comment, none, read, root, rust_files};

pub(crate) struct Graph {
    packages: BTreeMap<String, Package>,
}

pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) license: String,
    pub(crate) source: Option<String>,
    /// Normal dependencies, resolved.
    needs: Vec<String>,
}

impl Graph {
    /// What is built on this platform.
    pub(crate) fn load() -> Self {
        let rustc = Command::new("rustc").arg("-vV").output().expect("rustc runs");
        let rustc = String::from_utf8(rustc.stdout).unwrap();
        let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut packages = BTreeMap::new();
        for package in json["packages"].as_array().unwrap() {
            let new = Package {
                name: text(&package["name"]).unwrap(),
                license: text(&package["license"]).unwrap_or_default(),
                source: text(&package["source"]),
                needs: Vec::new(),
            };
            packages.insert(text(&package["id"]).unwrap(), new);
        }
        let mut resolved = BTreeSet::new();
        for node in json["resolve"]["nodes"].as_array().unwrap() {
            let id = text(&node["id"]).unwrap();
            let is_normal = |need: &&Value| {
                need["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null())
            };
            let needs = node["deps"].as_array().unwrap().iter().filter(is_normal);
            packages.get_mut(&id).unwrap().needs = needs.map(|need| text(&need["pkg"]).unwrap()).collect();
            resolved.insert(id);
        }
        packages.retain(|id, _| resolved.contains(id));
        Self { packages }
    }

    /// Names of everything that a package of ours needs to run, directly or not.
    fn closure(&self, name: &str) -> BTreeSet<&str> {
        let is_ours = |package: &&Package| package.name == name && package.source.is_none();
        let start = self.packages.values().find(is_ours).unwrap_or_else(|| panic!("no package {name}"));
        let mut names = BTreeSet::new();
        let mut open = vec![start];
        while let Some(package) = open.pop() {
            for need in package.needs.iter().map(|id| &self.packages[id]) {
                if names.insert(need.name.as_str()) {
                    open.push(need);
                }
            }
        }
        names
    }

    pub(crate) fn foreign(&self) -> impl Iterator<Item = &Package> {
        self.packages.values().filter(|package| package.source.is_some())
    }
}

#[test]
fn dependencies_point_one_way() {
    let graph = Graph::load();
    let needs = |package: &str, banned: &[&str]| -> Vec<String> {
        let closure = graph.closure(package);
        let is_banned = |name: &&&str| {
            banned.iter().any(|ban| ban.strip_suffix('*').map_or(**name == *ban, |ban| name.starts_with(ban)))
        };
        closure.iter().filter(is_banned).map(|name| format!("{package} → {name}")).collect()
    };
    let runtime = [
        "tokio*",
        "actix*",
        "futures*",
        "mio",
        "async-*",
        "log",
        "tracing*",
        "newage-actors",
        "newage-broker",
    ];
    none("framing has no runtime", needs("newage-framing", &runtime));
    let edge = ["actix-web", "actix-http", "actix-ws", "actix-files", "clap", "toml", "newage-broker"];
    none("the actors know no HTTP, no flags and no config.toml", needs("newage-actors", &edge));
}

#[test]
fn modules_keep_to_themselves() {
    let mut found = Vec::new();
    for (word, allowed) in [
        ("actix_ws", "src/transport/"),
        ("actix_http::ws", "src/transport/"),
        ("bcrypt::", "actors/src/trust/"),
        // Meanings of events are the actors' (DESIGN §2).
        ("MsgType", "actors/src/"),
        ("StreamEvent", "actors/src/"),
    ] {
        let code =
            rust_files().into_iter().filter(|path| !path.contains("tests/") && !path.contains("_tests.rs"));
        for path in code.filter(|path| !path.starts_with(allowed) && !path.starts_with("framing/fuzz")) {
            let uses = read(&path).lines().filter(|line| !is_comment(line)).any(|line| line.contains(word));
            if uses {
                found.push(format!("{path} uses {word}, which belongs in {allowed}"));
            }
        }
    }
    none("modules", found);
}

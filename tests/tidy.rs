//! What the compiler does not hold: the direction of dependencies, licences, the size of files, and
//! that the documents are true. Needs no network: `cargo metadata` reads what the build has fetched.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Lines of code, without comments and empty lines, that a file may have.
const MAX_LINES: usize = 450;

/// A file of tests is a list, and is read in pieces.
const MAX_TEST_LINES: usize = 600;

/// Files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below `folder` with one of the extensions, as a path below the root.
fn files(folder: &str, extensions: &[&str]) -> Vec<String> {
    const NOT_OURS: [&str; 7] = ["node_modules", "dist", ".venv", ".git", ".cache", "corpus", "artifacts"];
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                // Cargo marks its target folders; actors/src/target is none.
                if !NOT_OURS.contains(&name.as_str()) && !path.join("CACHEDIR.TAG").exists() {
                    folders.push(path);
                }
            } else if extensions.contains(&path.extension().unwrap_or_default().to_string_lossy().as_ref()) {
                found.push(path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<String> {
    ["framing", "actors", "src", "tests", "examples"]
        .iter()
        .flat_map(|folder| files(folder, &["rs"]))
        .collect()
}

/// Nothing may be found; whatever is, is listed.
fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

// --- dependencies

struct Graph {
    packages: BTreeMap<String, Package>,
}

struct Package {
    name: String,
    license: String,
    source: Option<String>,
    /// Normal dependencies, resolved.
    needs: Vec<String>,
}

impl Graph {
    /// What is built on this platform.
    fn load() -> Self {
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

    fn foreign(&self) -> impl Iterator<Item = &Package> {
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

#[test]
fn licences_and_sources_are_allowed() {
    let deny: toml::Table = toml::from_str(&read("deny.toml")).unwrap();
    let strings = |value: &toml::Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    let allowed = strings(&deny["licenses"]["allow"]);
    none(
        "copyleft in deny.toml",
        allowed.iter().filter(|licence| licence.contains("GPL")).cloned().collect(),
    );

    let banned = deny["bans"]["deny"].as_array().unwrap();
    let banned: Vec<&str> = banned.iter().filter_map(|entry| entry["crate"].as_str()).collect();
    let mut found = Vec::new();
    for Package { name, license, source, .. } in Graph::load().foreign() {
        if !is_allowed(license, &allowed) {
            found.push(format!("{name}: {license:?}"));
        }
        if banned.contains(&name.as_str()) {
            found.push(format!("{name}: banned"));
        }
        if source.as_deref() != Some("registry+https://github.com/rust-lang/crates.io-index") {
            found.push(format!("{name}: from {source:?}"));
        }
    }
    none("dependencies against deny.toml", found);
}

/// Evaluates an SPDX expression; `/` is an old spelling of `OR`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let result = any_of(&mut words, allowed);
    result && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut result = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        result |= all_of(words, allowed);
    }
    result
}

fn all_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut result = licence(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        result &= licence(words, allowed);
    }
    result
}

fn licence(words: &mut Words<'_>, allowed: &[String]) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let result = any_of(words, allowed);
        return words.next() == Some(")") && result;
    }
    let mut name = words.next().unwrap_or_default().to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        name = format!("{name} WITH {}", words.next().unwrap_or_default());
    }
    allowed.contains(&name)
}

#[test]
fn licence_expressions() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"].map(str::to_owned);
    for (expression, expected) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("MIT AND GPL-2.0-only", false),
        ("MIT OR GPL-2.0-only AND BSL-1.0", true),
        ("(MIT OR GPL-2.0-only) AND BSL-1.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("MIT WITH LLVM-exception", false),
        ("", false),
        ("MIT OR", true),
        ("(MIT", false),
        ("MIT Apache-2.0", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression:?}");
    }
}

// --- files

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs")
}

#[test]
fn no_file_is_long_without_a_reason() {
    let mut code = rust_files();
    code.extend(files("bench", &["rs", "mjs"]));
    code.extend(files("web", &["ts", "mjs", "css"]));
    code.extend(files("extension", &["ts", "css", "html"]));
    code.extend(files("tests/clients", &["mjs", "py"]));
    code.extend(files("tests/sillytavern", &["mjs"]));
    let mut found = Vec::new();
    let mut long = BTreeSet::new();
    for path in &code {
        let lines = read(path).lines().filter(|line| !line.trim().is_empty() && !is_comment(line)).count();
        if lines > if is_test(path) { MAX_TEST_LINES } else { MAX_LINES } {
            long.insert(path.as_str());
            if !LONG_FILES.iter().any(|(known, _)| known == path) {
                found.push(format!(
                    "{path}: {lines} lines of code; cut it, or list it in tests/tidy.rs with a reason"
                ));
            }
        }
    }
    for (path, _) in LONG_FILES.iter().filter(|(path, _)| !long.contains(path)) {
        found.push(format!("{path}: listed as long, and is not"));
    }
    none("files", found);
}

// --- documents

/// Each setting of config.toml as `section.key`, with its value.
fn settings() -> Vec<(String, toml::Value)> {
    let table: toml::Table = toml::from_str(&read("config.toml")).unwrap();
    let mut found = Vec::new();
    for (section, values) in table {
        for (key, value) in values.as_table().unwrap() {
            found.push((format!("{section}.{key}"), value.clone()));
        }
    }
    found
}

/// Numbers that bound nothing, each with the reason.
const NO_BOUNDS: &[(&str, &str)] = &[
    ("server.workers", "how many threads there are, and not what they may hold"),
    ("rooms.supervisors", "how many threads there are, and not what they may hold"),
    ("server.backlog", "the system's queue, in the row of server.max_connections"),
    ("session.ping_interval", "how often, and not how long"),
    ("streams.hold", "how long a token is gathered that is there: nobody is waited for"),
    ("streams.hold_max_pieces", "which tokens are gathered; streams.max_stream_bytes bounds what waits"),
    ("demo.pace", "how fast the demo speaks"),
];

/// A row of the tables of queues and of waits.
struct Row {
    what: String,
    settings: Vec<String>,
    metric: String,
    tests: Vec<String>,
}

/// Rows of five columns whose second is called "Setting".
fn bounds() -> Vec<Row> {
    let document = read("docs/architecture.md");
    let mut rows = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, what, setting, _, metric, test, _] = cells[..] else {
            inside = false;
            continue;
        };
        if setting == "Setting" {
            assert_eq!((metric, test), ("Metric", "Test"), "a table of bounds has these columns");
            inside = true;
        } else if inside && !what.starts_with("---") {
            rows.push(Row {
                what: what.to_owned(),
                settings: code_spans(setting),
                metric: metric.to_owned(),
                tests: code_spans(test),
            });
        }
    }
    assert!(rows.len() > 50, "the tables of bounds have moved");
    rows
}

#[test]
fn every_number_of_the_configuration_has_a_row() {
    let rows = bounds();
    let is_number = |value: &toml::Value| value.is_integer() || value.is_float();
    let numbers: Vec<String> =
        settings().into_iter().filter(|(_, value)| is_number(value)).map(|(setting, _)| setting).collect();
    let mut found = Vec::new();
    for setting in &numbers {
        let has_row = rows.iter().any(|row| row.settings.contains(setting));
        let reason = NO_BOUNDS.iter().any(|(known, _)| known == setting);
        match (has_row, reason) {
            (true, false) | (false, true) => (),
            (true, true) => found.push(format!("{setting}: bounds nothing, and has a row")),
            (false, false) => found.push(format!(
                "{setting}: give it a row in docs/architecture.md, or tests/tidy.rs a reason why it needs none"
            )),
        }
    }
    for (setting, _) in NO_BOUNDS.iter().filter(|(setting, _)| !numbers.iter().any(|known| known == setting))
    {
        found.push(format!("{setting}: no number of config.toml"));
    }
    none("bounds", found);
}

/// "counted", `newage_…`, or "none" with a reason; what is counted is counted in the code.
#[test]
fn every_bound_has_a_metric() {
    let code: String = rust_files()
        .iter()
        .filter(|path| (path.starts_with("src/") || path.starts_with("actors/src/")) && !is_test(path))
        .map(|path| read(path))
        .collect();
    let registered: Vec<String> = read("actors/src/metrics.rs")
        .split("register!(")
        .skip(1)
        .filter_map(|call| call.split('"').nth(1).map(str::to_owned))
        .collect();
    let mut found = Vec::new();
    for Row { what, settings, metric, .. } in bounds() {
        let names: Vec<String> =
            code_spans(&metric).into_iter().filter(|name| name.starts_with("newage_")).collect();
        for name in &names {
            let bare = name.trim_start_matches("newage_").trim_end_matches("_total");
            if !registered.iter().any(|known| known == bare) {
                found.push(format!("{what}: no metric {name}"));
            }
        }
        let counted = metric.contains("counted") && !metric.contains("counted as");
        for setting in settings.iter().filter(|_| counted) {
            if !code.contains(&format!("\"{setting}\"")) {
                found.push(format!("{what}: nothing counts {setting}"));
            }
        }
        let excused = metric.strip_prefix("none").and_then(|rest| rest.split_once(": ")).is_some();
        if names.is_empty() && !metric.contains("counted") && !excused {
            found.push(format!("{what}: no metric, and no reason: {metric:?}"));
        }
    }
    none("metrics of bounds", found);
}

/// Each row names a test that reaches its bound.
#[test]
fn every_bound_has_a_test() {
    let mut tests = BTreeSet::new();
    for path in rust_files() {
        let text = read(&path);
        let mut is_test = text.contains("proptest! {");
        for line in text.lines().map(str::trim_start) {
            if let Some(name) = line.trim_start_matches("async ").strip_prefix("fn ") {
                if is_test {
                    tests.insert(name.split(['(', '<']).next().unwrap_or_default().to_owned());
                }
                is_test = text.contains("proptest! {");
            } else if line == "#[test]" || (line.starts_with("#[") && line.contains("::test")) {
                is_test = true;
            }
        }
    }
    let mut found = Vec::new();
    for Row { what, tests: named, .. } in bounds() {
        if named.is_empty() {
            found.push(format!("{what}: no test"));
        }
        for name in named.iter().filter(|name| !tests.contains(*name)) {
            found.push(format!("{what}: no test {name}"));
        }
    }
    none("tests of bounds", found);
}

#[test]
fn documents_and_metrics_name_settings_that_exist() {
    let table: toml::Table = toml::from_str(&read("config.toml")).unwrap();
    let known: BTreeSet<String> =
        settings().into_iter().map(|(setting, _)| setting).chain(["server.public_url".to_owned()]).collect();
    let mut found = Vec::new();
    let mut check = |place: &str, name: &str| {
        let (section, key) = name.split_once('.').unwrap_or_default();
        let is_setting = table.contains_key(section)
            && !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        // `config.rs` and the like are files.
        if is_setting && !["rs", "md", "toml", "mjs"].contains(&key) && !known.contains(name) {
            found.push(format!("{place}: {name}"));
        }
    };
    for path in markdown() {
        code_spans(&read(&path)).iter().for_each(|span| check(&path, span));
    }
    for path in rust_files() {
        for part in read(&path).split("limit_reached(\"").skip(1) {
            check(&path, part.split('"').next().unwrap_or_default());
        }
    }
    none("no such setting in config.toml", found);
}

fn markdown() -> Vec<String> {
    files(".", &["md"]).into_iter().map(|path| path.trim_start_matches("./").to_owned()).collect()
}

/// Text between single backticks, outside of fenced blocks.
fn code_spans(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut spans = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            spans.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    spans
}

/// The heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut found = Vec::new();
    for path in markdown() {
        let text = read(&path);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(&path).parent().unwrap_or(Path::new(""));
            let target = if file.is_empty() { PathBuf::from(&path) } else { folder.join(file) };
            let Ok(metadata) = root().join(&target).metadata() else {
                found.push(format!("{path}: {link}"));
                continue;
            };
            if !place.is_empty() && metadata.is_file() {
                let text = read(&target.to_string_lossy());
                if !text.lines().any(|line| line.starts_with('#') && anchor(line) == place) {
                    found.push(format!("{path}: {link}: no such heading"));
                }
            }
        }
    }
    none("broken links", found);
}

/// An event's name, as documents write it.
fn is_event(span: &str) -> bool {
    span.contains('_') && span.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// Events and, in double quotes, texts of errors: those that docs/protocol.md names are the code's, and it
/// names every event.
#[test]
fn the_protocol_names_events_and_texts_that_exist() {
    let code: String = files("actors/src", &["rs"]).iter().map(|path| read(path)).collect();
    let code = code.replace("\\\"", "\"");
    let spans: BTreeSet<String> = code_spans(&read("docs/protocol.md")).into_iter().collect();
    let mut found = Vec::new();
    for span in &spans {
        let quoted = span.strip_prefix('"').and_then(|span| span.strip_suffix('"'));
        // What stands between < and > differs from case to case.
        let parts = quoted
            .into_iter()
            .flat_map(|text| text.split(['<', '…']))
            .map(|part| part.split_once('>').map_or(part, |(_, rest)| rest));
        let missing = parts.filter(|part| !code.contains(part)).count();
        if missing > 0 || (is_event(span) && !code.contains(&format!("\"{span}\""))) {
            found.push(span.clone());
        }
    }
    let rows = read("actors/src/protocol/msg_type.rs");
    let rows = rows.lines().filter(|line| {
        ["Both(", "NumericOnly(", "NamedOnly(", "Literal("].iter().any(|row| line.contains(row))
            && line.ends_with(");")
    });
    let events: Vec<&str> =
        rows.filter_map(|row| row.rsplit('"').nth(1)).filter(|name| is_event(name)).collect();
    assert!(events.len() > 60, "the table of events has moved");
    found.extend(
        events.iter().filter(|name| !spans.contains(**name)).map(|name| format!("{name} is missing")),
    );
    none("docs/protocol.md", found);
}

/// The translation names the same events, fields, texts and numbers.
#[test]
fn the_protocol_says_the_same_in_both_languages() {
    let spans = |path: &str| {
        let mut spans = code_spans(&read(path));
        spans.sort();
        spans
    };
    let (english, chinese) = (spans("docs/protocol.md"), spans("docs/protocol.zh.md"));
    let only = |these: &[String], those: &[String]| {
        let count = |list: &[String], span: &String| list.iter().filter(|other| *other == span).count();
        these.iter().filter(|span| count(those, span) < count(these, span)).cloned().collect::<BTreeSet<_>>()
    };
    none("only in English", only(&english, &chinese).into_iter().collect());
    none("only in Chinese", only(&chinese, &english).into_iter().collect());
}

/// `Type::name` (`path`): the path exists, and the name stands in that file.
#[test]
fn the_architecture_names_code_that_exists() {
    let text = read("docs/architecture.md");
    let mut found = Vec::new();
    for span in code_spans(&text) {
        let is_path = span.contains('/')
            && !span.contains(' ')
            && [".rs", ".ts", ".mjs", ".toml", "/"].iter().any(|end| span.ends_with(end))
            && !span.starts_with('/');
        if is_path && !root().join(&span).exists() {
            found.push(span);
        }
    }
    for (name, rest) in text.split('`').collect::<Vec<_>>().windows(3).filter_map(|part| {
        let [name, between, path] = part else { return None };
        (*between == " (" && path.ends_with(".rs")).then_some((*name, *path))
    }) {
        let last = name.rsplit("::").next().unwrap_or(name).trim_end_matches("()");
        if !fs::read_to_string(root().join(rest)).is_ok_and(|code| code.contains(last)) {
            found.push(format!("{name} in {rest}"));
        }
    }
    none("docs/architecture.md names what is not there", found);
}

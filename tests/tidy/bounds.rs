//! Every number of the configuration bounds something, is counted, and is reached by a test.

use std::collections::BTreeSet;

use crate::{
    code::is_test,
    documents::{code_spans, markdown},
    none, read, rust_files,
};

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

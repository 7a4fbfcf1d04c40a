//! What documents name exists, and the two languages say the same.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{files, none, read, root};

pub(crate) fn markdown() -> Vec<String> {
    files(".", &["md"]).into_iter().map(|path| path.trim_start_matches("./").to_owned()).collect()
}

/// Text between single backticks, outside of fenced blocks.
pub(crate) fn code_spans(text: &str) -> Vec<String> {
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

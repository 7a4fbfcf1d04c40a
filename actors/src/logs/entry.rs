//! One entry of a log file (spec §4.8): how it is written, and how it is found again.
//!
//! ```text
//! 2026-01-31 23:59:59 [warn] [llm-server] [401] [CLIENT_LEFT]: client did not come back
//!   {
//!     "client": "my-app"
//!   }
//! ```
//!
//! Only the first line of an entry begins with a time; text of users cannot begin a line.

use std::fmt::Write;

use log::Level;
use serde_json::{Map, Value};

/// The service of an entry that names none.
pub const SERVICE: &str = "llm-server";

/// Bytes of a message or of a value that are kept: a log is no place for long texts.
const MAX_TEXT: usize = 1024;

/// The parts of an entry.
#[derive(Debug)]
pub struct Entry<'a> {
    /// `YYYY-MM-DD HH:mm:ss`.
    pub time: &'a str,
    /// The level.
    pub level: Level,
    /// Who writes.
    pub service: &'a str,
    /// A number of spec §4.8's ranges.
    pub code: Option<i64>,
    /// The name of an event: upper-case letters, digits and `_`.
    pub event: Option<&'a str>,
    /// What has happened.
    pub message: &'a str,
    /// With what.
    pub fields: Map<String, Value>,
}

impl Entry<'_> {
    /// The entry's lines, the last line's end included.
    pub fn to_text(&self) -> String {
        let level = word(self.level);
        let mut text = format!("{} [{level}] [{}]", self.time, one_line(self.service));
        // Writing into a String does not fail.
        if let Some(code) = self.code {
            let _ = write!(text, " [{code}]");
        }
        if let Some(event) = self.event {
            let _ = write!(text, " [{}]", one_line(event));
        }
        let _ = writeln!(text, ": {}", one_line(self.message));
        if !self.fields.is_empty() {
            let fields = self.fields.iter().map(|(name, value)| (name.clone(), clipped(value))).collect();
            let json = format!("{:#}", Value::Object(fields));
            for line in json.lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

fn clipped(value: &Value) -> Value {
    match value {
        Value::String(text) => clip(text).into(),
        other => other.clone(),
    }
}

fn clip(text: &str) -> String {
    match text.len() > MAX_TEXT {
        true => format!("{}…", &text[..text.floor_char_boundary(MAX_TEXT)]),
        false => text.to_owned(),
    }
}

/// Text without anything that ends a line or speaks to a terminal.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in clip(text).chars() {
        match c {
            '\u{2028}' | '\u{2029}' => line.extend(c.escape_unicode()),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

/// What an entry's `[level]` says, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Error,
    Warn,
    Info,
    /// `debug`, `trace`, or a word that is no level.
    Other,
}

/// The severity of the entry that this line begins; `None` if it begins none.
pub(super) fn begins(line: &[u8]) -> Option<Severity> {
    const TIME: &[u8] = b"0000-00-00 00:00:00 [";
    let (head, rest) = line.split_at_checked(TIME.len())?;
    let same = |(given, model): (&u8, &u8)| match model {
        b'0' => given.is_ascii_digit(),
        _ => given == model,
    };
    if !head.iter().zip(TIME).all(same) {
        return None;
    }
    let end = rest.iter().position(|byte| *byte == b']')?;
    rest[end..].starts_with(b"] [").then(|| match &rest[..end] {
        b"error" => Severity::Error,
        b"warn" => Severity::Warn,
        b"info" => Severity::Info,
        _ => Severity::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn entry<'a>(message: &'a str, fields: Map<String, Value>) -> Entry<'a> {
        let (code, event) = (None, None);
        Entry {
            time: "2026-01-31 23:59:59",
            level: Level::Warn,
            service: SERVICE,
            code,
            event,
            message,
            fields,
        }
    }

    #[test]
    fn the_format_of_the_specification() {
        assert_eq!(
            entry("m", Map::new()).to_text(),
            "2026-01-31 23:59:59 [warn] [llm-server]: m\n",
            "the shortest"
        );
        let full = Entry {
            code: Some(401),
            event: Some("CLIENT_LEFT"),
            ..entry("m", fields(json!({"client": "a", "n": 1})))
        };
        assert_eq!(
            full.to_text(),
            "2026-01-31 23:59:59 [warn] [llm-server] [401] [CLIENT_LEFT]: m\n  {\n    \"client\": \"a\",\n    \"n\": 1\n  }\n"
        );
        for (level, expected) in [(Level::Error, "error"), (Level::Info, "info"), (Level::Debug, "debug")] {
            let text = Entry { level, ..entry("m", Map::new()) }.to_text();
            assert!(text.contains(&format!(" [{expected}] ")), "{text}");
        }
    }

    #[test]
    fn text_of_users_begins_no_line() {
        let forged = "x\r\n2026-01-31 23:59:59 [error] [llm-server]: forged\u{1b}[31m\u{85}\u{2028}";
        let text = entry(forged, fields(json!({"client": forged}))).to_text();
        assert_eq!(text.lines().filter(|line| begins(line.as_bytes()).is_some()).count(), 1, "{text}");
        assert!(text.starts_with("2026-01-31 23:59:59 [warn] [llm-server]: x\\r\\n2026"), "{text}");
        assert!(!text.contains(['\r', '\u{1b}']), "{text}");
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let long = "é".repeat(MAX_TEXT);
        let text = entry(&long, fields(json!({"reason": long}))).to_text();
        assert!(text.len() < 3 * MAX_TEXT && text.matches('…').count() == 2);
    }

    #[test]
    fn beginnings_and_continuations() {
        for (line, expected) in [
            ("2026-01-31 23:59:59 [error] [s]: m", Some(Severity::Error)),
            ("2026-01-31 23:59:59 [warn] [s] [51] [E]: m", Some(Severity::Warn)),
            ("2026-01-31 23:59:59 [info] [s]", Some(Severity::Info)),
            ("2026-01-31 23:59:59 [debug] [s]: m", Some(Severity::Other)),
            ("2026-01-31 23:59:59 [silly] [s]: m", Some(Severity::Other)),
            ("2026-01-31 23:59:59 [] [s]: m", Some(Severity::Other)),
            ("2026-01-31 23:59:59 [error]", None),
            ("2026-01-31 23:59:59 error", None),
            (" 2026-01-31 23:59:59 [error] [s]: m", None),
            ("2026-01-31T23:59:59 [error] [s]: m", None),
            ("{", None),
            ("  }", None),
            ("", None),
        ] {
            assert_eq!(begins(line.as_bytes()), expected, "{line}");
        }
    }
}

//! `check-config`: everything that is wrong with the files, each with its place.

use std::{ops::Range, path::Path};

use actors::trust::roster::Problem;
use serde::Deserialize;
use toml::de::{DeTable, DeValue, Deserializer};

use super::{Said, roster_of};
use crate::config::{Config, File, Flags};

pub(super) fn run(flags: &Flags) -> Result<Said, String> {
    let file = flags.config_file();
    let mut problems = Vec::new();
    if let Some(file) = &file {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        problems = problems_of(file, &text);
    }
    // With a broken config.toml the rest is looked at as by default.
    let config = match problems.is_empty() {
        true => Config::load(flags),
        false => Config::without_file(flags),
    };
    let config = config.map_err(|error| error.to_string())?;
    if !config.data.is_dir() {
        return Err(format!("{}: no such directory", config.data.display()));
    }
    let roster = roster_of(&config);
    problems.extend(roster.check_settings());
    let (clients, more) = roster.list().map_err(|error| error.to_string())?;
    problems.extend(more);
    if !problems.is_empty() {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Ok(Said { failed: true, ..Said::result(lines.join("\n")) });
    }
    let file = file.map_or("no config.toml, so the defaults".to_owned(), |file| file.display().to_string());
    let trusted = clients.iter().filter(|client| client.trusted).count();
    let with_key = clients.iter().filter(|client| client.has_key).count();
    Ok(Said::result(format!(
        "{file}: good\n{}: good\nclients: {}, of which {trusted} trusted and {with_key} with a key",
        config.data.join("settings/server_settings.json").display(),
        clients.len()
    )))
}

/// What is wrong with the text of a `config.toml`: all of it, where the broker stops at the first.
fn problems_of(file: &Path, text: &str) -> Vec<Problem> {
    let at = |span: Option<Range<usize>>, what: String| {
        let (line, column) = actors::trust::json_text::place(text, span.map_or(0, |span| span.start));
        Problem { file: file.to_owned(), line, column, what }
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return errors.iter().map(|error| at(error.span(), one_line(error.message()))).collect();
    }
    let mut problems = Vec::new();
    let mut rest = document.clone();
    // Each problem is taken out and the rest looked at again, so this ends.
    let parsed = loop {
        match File::deserialize(Deserializer::from(rest.clone())) {
            Ok(parsed) => break Some(parsed),
            Err(error) => {
                problems.push(at(error.span(), one_line(error.message())));
                if !error.span().is_some_and(|span| remove_at(rest.get_mut(), span.start)) {
                    break None;
                }
            }
        }
    };
    for (key, problem) in parsed.iter().flat_map(File::problems) {
        problems.push(at(span_of(document.get_ref(), key), format!("{key} {problem}")));
    }
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

/// Removes the setting that a place is in, or the section if that is its name.
fn remove_at(table: &mut DeTable<'_>, at: usize) -> bool {
    let own = table.iter().find(|(key, value)| {
        let value_is = !matches!(value.get_ref(), DeValue::Table(_)) && value.span().contains(&at);
        value_is || key.span().contains(&at)
    });
    let own = own.map(|(key, _)| key.clone());
    own.is_some_and(|key| table.remove(&key).is_some())
        || table.iter_mut().any(|(_, value)| match value.get_mut() {
            DeValue::Table(section) => remove_at(section, at),
            _ => false,
        })
}

/// Where `section.key` stands; the section if the key is not there.
fn span_of(document: &DeTable<'_>, key: &str) -> Option<Range<usize>> {
    let (section, name) = key.split_once('.')?;
    let (span, value) = find(document, section)?;
    let own = match value {
        DeValue::Table(section) => find(section, name).map(|(span, _)| span),
        _ => None,
    };
    own.or(Some(span))
}

fn find<'t, 'd>(table: &'t DeTable<'d>, name: &str) -> Option<(Range<usize>, &'t DeValue<'d>)> {
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    Some((key.span(), value.get_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let problems = problems_of(Path::new("c"), text);
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), expected.len(), "{texts:#?}");
        for (text, expected) in texts.iter().zip(expected) {
            assert!(text.starts_with(expected), "{text:?} is not {expected:?}…");
        }
    }

    #[test]
    fn every_problem_is_named_at_its_place() {
        check(include_str!("../../config.toml"), &[]);
        check(
            "[server]\nwokers = 2\nbacklog = \"many\"\n\n[nope]\na = 1\n[limits]\nmax_depth = 0\nrooms = -1\n",
            &[
                "c:2:1: unknown field `wokers`",
                "c:3:11: invalid type: string \"many\"",
                "c:5:2: unknown field `nope`",
                "c:8:1: limits.max_depth must be greater than 0",
                "c:9:9: invalid value: integer `-1`",
            ],
        );
        check("[llm]\npolicy = \"shut\"\n", &["c:2:10: unknown variant `shut`"]);
        check("[streams]\nmax_unacked = 5000\n", &["c:1:1: limits.max_pending_acks must not be smaller"]);
        check("[server\nworkers = 1\n", &["c:1:8: "]);
    }
}

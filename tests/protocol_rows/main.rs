//! Every row of the tables in spec §4, and the tests that hold it: its success and each named error, in each
//! dialect that has it. What is checked here is that the table is whole and true: no event and no refusal of a
//! room is missing, every test exists, asks for the event in the dialect and names the error's exact text.

mod source;
mod table;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use source::{Said, Sources};
use table::{NEVER, TABLE};

/// A line of the table.
struct Line {
    /// As it is shown where something is wrong.
    shown: String,
    number: Option<&'static str>,
    name: Option<&'static str>,
    case: Case,
    numeric: bool,
    named: bool,
    tests: Vec<&'static str>,
}

#[derive(PartialEq)]
enum Case {
    Ok,
    Error(String),
    Never(String),
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn lines() -> Vec<Line> {
    let mut section = "";
    let mut event = "";
    let mut found = Vec::new();
    for line in TABLE.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(title) = line.strip_prefix("## ") {
            (section, event) = (title, "");
            continue;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [first, case, dialects, tests] = cells[..] else { panic!("four cells: {line}") };
        if !first.is_empty() {
            event = first;
        }
        let (number, name) = match event.split_once(' ') {
            Some((number, name)) => (Some(number), Some(name)),
            None if event.bytes().all(|byte| byte.is_ascii_digit()) => (Some(event), None),
            None => (None, Some(event)),
        };
        let text = |case: &str| {
            let text = case.strip_prefix('"').and_then(|case| case.strip_suffix('"'));
            text.unwrap_or_else(|| panic!("{case} is no text: {line}")).replace("\\\"", "\"")
        };
        let case = match case.strip_prefix("never ") {
            Some(case) => Case::Never(text(case)),
            None if case == "ok" => Case::Ok,
            None => Case::Error(text(case)),
        };
        assert!(["", "1", "2", "12"].contains(&dialects), "no dialects: {line}");
        found.push(Line {
            shown: format!("§{section}: {event}: {}", cells[1]),
            number,
            name,
            case,
            numeric: dialects.contains('1'),
            named: dialects.contains('2'),
            tests: tests.split_whitespace().collect(),
        });
    }
    found
}

/// Nothing may be found; whatever is, is listed.
fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

impl Line {
    /// The event is one of the wire, and no handshake.
    fn is_event(&self) -> bool {
        self.name != Some("connect")
    }

    /// What is wrong with what its tests say.
    fn faults(&self, sources: &Sources) -> Vec<String> {
        let mut faults = Vec::new();
        let mut said: Vec<Said> = Vec::new();
        for test in &self.tests {
            match sources.said(test) {
                Ok(found) => {
                    if let Case::Error(text) = &self.case
                        && !found.says(text)
                    {
                        faults.push(format!("{test} does not say the text"));
                    }
                    if self.is_event() && !self.is_in(&found) && !matches!(self.case, Case::Never(_)) {
                        faults.push(format!("{test} does not name the event"));
                    }
                    said.push(found);
                }
                Err(fault) => faults.push(fault),
            }
        }
        if self.tests.is_empty() {
            faults.push("no test".to_owned());
        }
        let asked = self.is_event() && !matches!(self.case, Case::Never(_));
        if let (true, Some(number)) = (asked && self.numeric, self.number)
            && !said.iter().any(|said| said.numbers(number))
        {
            faults.push(format!("nobody asks for {number}"));
        }
        if let (true, Some(name)) = (asked && (self.named || self.number.is_none()), self.name)
            && !said.iter().any(|said| said.names(name))
        {
            faults.push(format!("nobody asks for {name}"));
        }
        faults.into_iter().map(|fault| format!("{}: {fault}", self.shown)).collect()
    }

    fn is_in(&self, said: &Said) -> bool {
        let numbers = self.number.is_some_and(|number| said.numbers(number));
        numbers || self.name.is_some_and(|name| said.names(name))
    }
}

#[test]
fn every_row_has_its_tests() {
    let sources = Sources::read(&root().join("tests"));
    none("tests/protocol_rows/table.rs", lines().iter().flat_map(|line| line.faults(&sources)).collect());
}

/// A row that is not true is found: another text, a test that has gone, a test of something else.
#[test]
fn every_row_could_be_wrong() {
    let sources = Sources::read(&root().join("tests"));
    let mut found = Vec::new();
    for at in 0..lines().len() {
        let wrong = |what: &str, change: &dyn Fn(&mut Line)| {
            let mut line = lines().swap_remove(at);
            change(&mut line);
            line.faults(&sources).is_empty().then(|| format!("{}: {what} is not found", line.shown))
        };
        found.extend(wrong("a test that has gone", &|line| line.tests[0] = "events::gone"));
        let line = lines().swap_remove(at);
        if let Case::Error(text) = &line.case {
            let other = text.replacen(|c: char| c.is_ascii_lowercase(), "_", 1);
            found.extend(wrong("another text", &|line| line.case = Case::Error(other.clone())));
        }
        if line.is_event() && !matches!(line.case, Case::Never(_)) {
            found.extend(wrong("another test", &|line| line.tests = vec!["tidy::licence_expressions"]));
        }
    }
    none("tests/protocol_rows/main.rs", found);
}

#[test]
fn every_event_succeeds_somewhere_and_what_never_comes_has_a_reason() {
    let lines = lines();
    let mut found = Vec::new();
    let events: BTreeSet<_> = lines.iter().map(|line| (line.number, line.name)).collect();
    for (number, name) in events {
        let held = |line: &&Line| (line.number, line.name) == (number, name) && line.case == Case::Ok;
        let of: Vec<&Line> = lines.iter().filter(held).collect();
        let excused = lines.iter().any(|line| {
            (line.number, line.name) == (number, name)
                && matches!(&line.case, Case::Never(text) if text == "it is sent to nobody")
        });
        if of.is_empty() && !excused {
            found.push(format!("{number:?} {name:?}: no success"));
        }
    }
    let never: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| match &line.case {
            Case::Never(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let reasons: BTreeSet<&str> = NEVER.iter().map(|(text, _)| *text).collect();
    found.extend(never.symmetric_difference(&reasons).map(|text| format!("{text:?}: a reason, and a line")));
    none("tests/protocol_rows/table.rs", found);
}

/// Every event of the protocol has a line, with its number; where both dialects have it, both are asked.
#[test]
fn no_event_is_missing() {
    let lines = lines();
    let mut found = Vec::new();
    let mut count = 0;
    for row in read("actors/src/protocol/msg_type.rs").lines() {
        // Variant "CONSTANT" Kind(number, "NAME");
        let row = row.strip_suffix(");").and_then(|row| row.rsplit_once("\" "));
        let Some((kind, rest)) = row.and_then(|(_, row)| row.split_once('(')) else { continue };
        let (number, name) = match kind {
            "Both" => rest.split_once(", ").map_or((None, None), |(number, name)| (Some(number), Some(name))),
            "NumericOnly" => (Some(rest), None),
            "NamedOnly" | "Literal" => (None, Some(rest)),
            // The `type` of a payload, and no event.
            _ => continue,
        };
        let name = name.map(|name| name.trim_matches('"'));
        count += 1;
        let is_it = |line: &&Line| line.number == number && line.name == name;
        let of: Vec<&Line> = lines.iter().filter(is_it).collect();
        // A warning is told in rooms alone, which dialect 1 cannot be kicked from.
        let both = kind != "Both" || name == Some("WARNING");
        if of.is_empty() {
            found.push(format!("{number:?} {name:?}: no line"));
        } else if !both && !of.iter().any(|line| line.numeric && line.named) {
            found.push(format!("{number:?} {name:?}: not in both dialects"));
        }
    }
    assert!(count > 60, "the table of events has moved: {count}");
    none("events of the protocol", found);
}

/// Every refusal of a room, of a log and of the router is one of the table's errors.
#[test]
fn no_refusal_is_missing() {
    let lines = lines();
    let mut found = Vec::new();
    for path in ["actors/src/rooms/refusal.rs", "actors/src/lobby/assignments.rs"] {
        let refusals = read(path);
        let texts = refusals.split("#[error(\"").skip(1).filter_map(|rest| rest.split_once('"'));
        let mut count = 0;
        for (text, _) in texts.filter(|(text, _)| *text != "{0}") {
            count += 1;
            let parts: Vec<&str> =
                text.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest)).collect();
            let is_it = |said: &str| {
                let mut rest = said;
                parts.iter().all(|part| rest.find(part).map(|at| rest = &rest[at + part.len()..]).is_some())
            };
            let held = lines.iter().any(|line| match &line.case {
                Case::Error(said) => is_it(said),
                _ => false,
            });
            if !held {
                found.push(format!("{path}: {text}"));
            }
        }
        assert!(count > 2, "{path}: the texts have moved");
    }
    none("texts that no row holds", found);
}

/// The reader of sources is right about what it reads.
#[test]
fn a_source_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| fs::write(folder.path().join(path), text).expect("a file");
    write(
        "one.rs",
        "mod llm_world;\nconst FAILED: &str = \"Room {x} is \\\"gone\\\".\";\n#[tokio::test]\nasync fn first<'a>() {\n\
         // \"comment\"\n let c = '\"'; helper(); ask(FAILED, r#\"42[9,{\"a\"}]\"#); app.asks();\n}\nfn helper() { json!(26); }\n\
         #[test]\nfn second() { \"a \\\n   b\"; }\nfn third() {}\n",
    );
    fs::create_dir(folder.path().join("llm_world")).expect("a folder");
    write(
        "llm_world/mod.rs",
        "impl App { pub async fn asks(&mut self) { \"LLM_REQUEST\"; } fn other() { 7; } }",
    );
    let sources = Sources::read(Path::new(folder.path()));
    let first = sources.said("one::first").expect("a test");
    assert!(first.says("Room <r> is \"gone\".") && first.numbers("9") && first.numbers("26"));
    assert!(
        first.names("LLM_REQUEST") && !first.numbers("7") && !first.says("comment") && !first.says("a b")
    );
    assert!(sources.said("one::second").expect("a test").says("a b"));
    for (test, fault) in [
        ("one::third", "one::third: there is no such test"),
        ("one::fourth", "one::fourth: there is no such test"),
        ("two::first", "two::first: there is no tests/two.rs"),
    ] {
        assert_eq!(sources.said(test).err().as_deref(), Some(fault));
    }
}

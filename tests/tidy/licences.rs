//! Whose code is built in, and under which terms.

use crate::{
    dependencies::{Graph, Package},
    none, read,
};

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

//! The text of the modules that clients import: `/lib/constants.js` and `/lib/constants.named.js` (spec §7, Q1).

use std::fmt::Write;

use super::dialect::Dialect;
use super::msg_type::{EXTRA_CONSTANTS, MsgType};
use super::namespaces::Namespace;
use super::stream_events::StreamEvent;

/// Writes the ES module that exports `MSG_TYPE`, `STREAM_EVENTS` and `NAMESPACES` with a dialect's values.
pub fn module(dialect: Dialect) -> String {
    let own = MsgType::ALL.iter().filter(|msg| msg.is_constant_of(dialect)).map(|msg| (msg.constant(), *msg));
    let messages = own
        .chain(EXTRA_CONSTANTS.iter().copied())
        .filter_map(|(constant, msg)| msg.wire(dialect).map(|wire| (constant, wire.to_string())));
    let streams = StreamEvent::ALL.iter().map(|event| (event.constant(), quoted(event.wire())));
    let namespaces = Namespace::ALL.iter().map(|ns| (ns.constant(), quoted(ns.wire())));

    let mut text = String::new();
    object(&mut text, "MSG_TYPE", messages);
    object(&mut text, "STREAM_EVENTS", streams);
    object(&mut text, "NAMESPACES", namespaces);
    text
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

fn object(text: &mut String, name: &str, entries: impl Iterator<Item = (&'static str, String)>) {
    let mut write = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("writing to a string cannot fail");
    };
    write(format_args!("export const {name} = {{\n"));
    for (constant, value) in entries {
        write(format_args!("  {constant}: {value},\n"));
    }
    write(format_args!("}};\n\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_module_has_the_numbers_and_nothing_of_dialect_two() {
        let text = module(Dialect::Numeric);
        for line in [
            "export const MSG_TYPE = {",
            "  NON_STREAM: 0,",
            "  LLM_REQUEST: 9,",
            "  CLIENT_KEY: 20,",
            "  CLIENT_DISCONNETED: 27,",
            "  CLIENT_DISCONNECTED: 27,",
            "  GET_SILLYTAVERN_EXTENSION: 33,",
            "  TEMP_ROOM_ASSIGNED: \"TEMP_ROOM_ASSIGNED\",",
            "export const STREAM_EVENTS = {",
            "  streamed_data: \"SERVER_STREAM_DATA\",",
            "export const NAMESPACES = {",
            "  SILLY_TAVERN: \"/sillytavern\",",
            "  DEBUG: \"/debug\",",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}");
        }
        assert!(!text.contains("READ_LOG"));
    }

    #[test]
    fn named_module_defines_what_the_reference_left_undefined() {
        let text = module(Dialect::Named);
        for line in [
            "  NON_STREAM: 0,",
            "  LLM_REQUEST: \"LLM_REQUEST\",",
            "  CLIENT_DISCONNETED: \"CLIENT_DISCONNECTED\",",
            "  CLIENT_DISCONNECTED: \"CLIENT_DISCONNECTED\",",
            "  MESSAGES_DELETED: \"MESSAGES_DELETED\",",
            "  GET_FULL_CONTEXT: \"GET_FULL_CONTEXT\",",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}");
        }
        assert!(!text.contains("CLIENT_KEY:  "));
        assert!(!text.lines().any(|l| l.starts_with("  CLIENT_KEY:")));
    }

    #[test]
    fn no_constant_is_defined_twice() {
        for dialect in [Dialect::Numeric, Dialect::Named] {
            let text = module(dialect);
            for block in text.split("export const") {
                let mut names: Vec<_> =
                    block.lines().filter_map(|l| l.trim().split_once(": ").map(|p| p.0)).collect();
                let all = names.len();
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), all);
            }
        }
    }
}

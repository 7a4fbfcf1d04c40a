//! The size of files.

use std::collections::BTreeSet;

use crate::{files, is_comment, none, read, rust_files};

/// Lines of code, without comments and empty lines, that a file may have.
const MAX_LINES: usize = 450;

/// A file of tests is a list, and is read in pieces.
const MAX_TEST_LINES: usize = 600;

/// Files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

pub(crate) fn is_test(path: &str) -> bool {
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
                    "{path}: {lines} lines of code; cut it, or list it in tests/tidy/code.rs with a reason"
                ));
            }
        }
    }
    for (path, _) in LONG_FILES.iter().filter(|(path, _)| !long.contains(path)) {
        found.push(format!("{path}: listed as long, and is not"));
    }
    none("files", found);
}

//! What the compiler does not hold: the direction of dependencies, licences, the size of files, and
//! that the documents are true. Needs no network: `cargo metadata` reads what the build has fetched.

mod bounds;
mod code;
mod dependencies;
mod documents;
mod licences;

use std::{fs, path::PathBuf};

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

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

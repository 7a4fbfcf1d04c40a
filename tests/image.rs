//! The container image is built of what `.dockerignore` lets through, and of nothing else: it must be
//! enough. An engine is not needed to find out.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The lines of `.dockerignore`: the last one that matches decides.
struct Ignore(Vec<Rule>);

struct Rule {
    pattern: String,
    let_through: bool,
}

impl Ignore {
    fn read() -> Self {
        let text = fs::read_to_string(root().join(".dockerignore")).unwrap();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(
            lines
                .map(|line| Rule {
                    pattern: line.trim_start_matches('!').trim_end_matches('/').to_owned(),
                    let_through: line.starts_with('!'),
                })
                .collect(),
        )
    }

    fn lets_through(&self, path: &str) -> bool {
        self.0.iter().rfind(|rule| rule.matches(path)).is_none_or(|rule| rule.let_through)
    }
}

impl Rule {
    /// Whether it names the file, or a folder above it. A star stands at a pattern's end alone.
    fn matches(&self, path: &str) -> bool {
        match self.pattern.split_once('*') {
            Some((start, rest)) => {
                assert!(rest.is_empty(), "{}: this test knows a star at the end alone", self.pattern);
                path.starts_with(start)
            }
            None => {
                path.strip_prefix(&self.pattern).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default();
        if !path.is_dir() {
            found.push(path);
        // What cargo and npm have written is large, and ignored by its name.
        } else if name != "node_modules" && name != ".git" && !path.join("CACHEDIR.TAG").exists() {
            files(&path, found);
        }
    }
}

/// What an engine gets, in a folder of its own.
fn context() -> tempfile::TempDir {
    let context = tempfile::tempdir().unwrap();
    let ignore = Ignore::read();
    let mut all = Vec::new();
    files(root(), &mut all);
    for file in all {
        let path = file.strip_prefix(root()).unwrap();
        if ignore.lets_through(&path.to_string_lossy()) {
            let copy = context.path().join(path);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(file, copy).unwrap();
        }
    }
    context
}

#[test]
fn the_broker_is_built_of_what_the_engine_gets() {
    let context = context();
    assert!(!context.path().join("web/dist").exists(), "the image builds its own");
    // As the Dockerfile's stages do, before the broker's.
    for stage in ["web/dist", "extension/dist"] {
        fs::create_dir_all(context.path().join(stage)).unwrap();
    }
    let check = Command::new(env!("CARGO"))
        .args(["check", "--locked", "--offline", "--bin", "newage-broker"])
        .current_dir(context.path())
        // What the project needs has been built there.
        .env("CARGO_TARGET_DIR", std::env::current_exe().unwrap().ancestors().nth(3).unwrap())
        .output()
        .expect("cargo runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

/// Whoever has run the broker here has clients and keys in these folders.
#[test]
fn nothing_that_a_broker_has_written_gets_into_an_image() {
    let ignore = Ignore::read();
    for written in
        ["settings/my-bot.json", "settings/.lock", "keys/keys.json", "data/history.sqlite", "logs/broker.log"]
    {
        assert!(!ignore.lets_through(written), "{written}");
    }
    for shipped in ["settings/server_settings.json", "settings/monitor.json", "config.toml"] {
        assert!(ignore.lets_through(shipped), "{shipped}");
    }
}

/// What the Dockerfile copies from the folder is let through.
#[test]
fn what_the_dockerfile_copies_is_there() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let ignore = Ignore::read();
    let mut copied = 0;
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        if line.starts_with("--from=") {
            continue;
        }
        let names: Vec<&str> = line.split_whitespace().collect();
        for name in names[..names.len() - 1].iter().filter(|name| **name != ".") {
            let path = root().join(name);
            let mut inside = Vec::new();
            if path.is_dir() {
                files(&path, &mut inside);
            } else {
                inside.push(path);
            }
            let through =
                |file: &PathBuf| ignore.lets_through(&file.strip_prefix(root()).unwrap().to_string_lossy());
            assert!(inside.iter().any(|file| file.is_file() && through(file)), "{name}");
            copied += 1;
        }
    }
    assert!(copied > 5, "{copied} names: the Dockerfile is written in another way");
}

//! The monitor page and the extension are built by npm, before Cargo embeds them. Without them the
//! broker still builds, so that working on the Rust side needs no Node; it then says so.

use std::{fs, path::Path};

/// Folder, the file that it has once it is built, and how it is built.
const EMBEDDED: [(&str, &str, &str); 2] = [
    ("web/dist", "index.html", "`make web` for the monitor page and browser bundles"),
    ("extension/dist", "index.js", "`make extension` for what `newage-broker extension install` copies"),
];

fn main() {
    for (folder, file, how) in EMBEDDED {
        println!("cargo::rerun-if-changed={folder}");
        let folder = Path::new(folder);
        if !folder.join(file).exists() {
            println!("cargo::warning={} is not built: run {how}", folder.display());
            fs::create_dir_all(folder).expect("it can be created beside this file");
        }
    }
}

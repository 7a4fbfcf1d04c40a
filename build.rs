//! The monitor page is built by npm, before Cargo embeds it. Without it the broker still builds, so
//! that working on the Rust side needs no Node; it then says so at `/`.

use std::{fs, path::Path};

fn main() {
    let page = Path::new("web/dist");
    println!("cargo::rerun-if-changed=web/dist");
    if !page.join("index.html").exists() {
        println!(
            "cargo::warning=web/dist is not built: run `make web` for the monitor page and browser bundles"
        );
        fs::create_dir_all(page).expect("web/dist can be created beside this file");
    }
}

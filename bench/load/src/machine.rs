//! Where and with what it was measured.

use std::{fs, path::Path, process::Command};

pub struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    date: String,
    versions: Vec<String>,
}

impl Machine {
    pub fn look(bench: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let cores = info.lines().filter(|line| line.starts_with("processor")).count();
        let lock = fs::read_to_string(bench.join("Cargo.lock")).unwrap_or_default();
        let mut versions =
            vec![output("rustc", &["--version"]), format!("Node {}", output("node", &["--version"]))];
        for name in ["socketioxide", "axum", "actix-web", "actix-ws"] {
            versions.extend(crate_version(&lock, name));
        }
        let lock = fs::read_to_string(bench.join("servers/node/package-lock.json")).unwrap_or_default();
        let lock: serde_json::Value = serde_json::from_str(&lock).unwrap_or_default();
        for name in ["socket.io", "@sap_oss/node-socketio-stream"] {
            let version = lock["packages"][format!("node_modules/{name}")]["version"].as_str();
            versions.extend(version.map(|version| format!("{name} {version}")));
        }
        Self {
            cpu: model.map_or("unknown CPU", |(_, model)| model).to_owned(),
            cores,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: output("date", &["-u", "+%F"]),
            versions,
        }
    }

    pub fn describe(&self) -> String {
        let Self { cpu, cores, kernel, date, versions } = self;
        format!("{date}: {cores} cores of {cpu}, Linux {kernel}, loopback; {}", versions.join(", "))
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn crate_version(lock: &str, name: &str) -> Option<String> {
    let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(format!("{name} {}", after.split_once('"')?.0))
}

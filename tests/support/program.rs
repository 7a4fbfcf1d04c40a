//! The broker's program, run as a user would: flags, environment, what it prints and what it logs.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{Broker, Setup, within};

/// See the harness's documentation.
pub struct Program {
    child: Child,
    broker: Broker,
    /// Holds the data directory and, beside it, the log.
    folders: [TempDir; 2],
}

/// A program that ended instead of listening.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub log: String,
}

impl Program {
    /// Runs it on any free port.
    pub fn start(setup: Setup, args: &[&str], env: &[(&str, &str)]) -> Self {
        let args = [&["--port", "0"], args].concat();
        Self::run(setup, &args, env).unwrap_or_else(|ended| panic!("not listening: {ended:?}"))
    }

    /// Runs it with these flags and no others but `--data`.
    pub fn run(setup: Setup, args: &[&str], env: &[(&str, &str)]) -> Result<Self, Ended> {
        let data = setup.write();
        let logs = tempfile::tempdir().expect("a temporary directory");
        let (child, broker) = launch(data.path(), logs.path(), args, env)?;
        Ok(Self { child, broker, folders: [data, logs] })
    }

    /// Runs it in a folder where nothing is, with nothing of the environment and no flag but those that keep
    /// it there.
    pub fn in_an_empty_folder() -> Self {
        let [data, logs] = [(); 2].map(|()| tempfile::tempdir().expect("a temporary directory"));
        let mut command = Command::new(PROGRAM);
        command.env_clear().current_dir(data.path());
        let args = ["--port", "0"];
        let started = listen(command, data.path(), logs.path(), &args);
        let (child, broker) = started.unwrap_or_else(|ended| panic!("not listening: {ended:?}"));
        Self { child, broker, folders: [data, logs] }
    }

    /// Runs one of its other commands in its data directory: what it prints.
    pub fn command(&self, args: &[&str]) -> String {
        let mut command = Command::new(PROGRAM);
        let output = command.args(args).arg("--data").arg(self.broker.data()).output().expect("it runs");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// Kills it, as nothing can be prepared for.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }

    /// Runs it again after [`Program::kill`], in the data directory as it was left.
    pub fn run_again(&mut self) {
        let [data, logs] = &self.folders;
        let again = launch(data.path(), logs.path(), &["--port", "0"], &[]);
        (self.child, self.broker) = again.unwrap_or_else(|ended| panic!("not listening: {ended:?}"));
    }

    /// What it said that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.broker.address()
    }

    /// What peers connect to.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Its memory that is not of files, in kB.
    #[cfg(target_os = "linux")]
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line for it");
        line.trim().strip_suffix(" kB").and_then(|number| number.parse().ok()).expect("a number of kB")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folders[1].path().join("log")).expect("a log of text")
    }

    /// Waits for a text in its log.
    pub async fn until_log(&self, text: &str) {
        let wait = async {
            while !self.log().contains(text) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(&format!("{text:?} in the log"), wait).await;
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_newage-broker");

fn launch(data: &Path, logs: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<(Child, Broker), Ended> {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NEWAGE_") || name == "RUST_LOG") {
        command.env_remove(name);
    }
    command.envs(env.iter().copied());
    listen(command, data, logs, args)
}

/// Starts it, and waits until it says where it listens.
fn listen(mut command: Command, data: &Path, logs: &Path, args: &[&str]) -> Result<(Child, Broker), Ended> {
    let log = File::create(logs.join("log")).expect("a file for the log");
    command.arg("--data").arg(data).args(args);
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the program runs");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("its output is piped");
    BufReader::new(stdout).read_line(&mut line).expect("text");
    let address = line.trim().strip_prefix("listening on http://").and_then(|address| address.parse().ok());
    match address {
        Some(address) => Ok((child, Broker::elsewhere(address, data.to_owned()))),
        None => {
            let status = child.wait().expect("it ends");
            let log = fs::read_to_string(logs.join("log")).expect("a log of text");
            Err(Ended { code: status.code(), log })
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

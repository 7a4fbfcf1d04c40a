//! A server under test: started fresh on a core of its own, with a data folder of its own, and measured from
//! outside.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::Outcome;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Ours,
    Socketioxide,
    /// The same, with each token held until it is complete.
    Held,
    Node,
    Raw,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Ours, Self::Socketioxide, Self::Held, Self::Node, Self::Raw];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Socketioxide => "socketioxide",
            Self::Held => "held",
            Self::Node => "node",
            Self::Raw => "raw",
        }
    }

    /// An event's number as it stands in a packet: socketioxide closes the connection on a number.
    pub fn event(self, number: u32) -> String {
        match self {
            Self::Socketioxide | Self::Held => format!("\"{number}\""),
            _ => number.to_string(),
        }
    }

    pub fn path(self) -> &'static str {
        match self {
            Self::Raw => "/echo",
            _ => "/socket.io/?EIO=4&transport=websocket",
        }
    }
}

/// Where the servers are, and where they run.
pub struct Servers {
    /// `bench/` of this repository.
    pub bench: PathBuf,
    pub ours: PathBuf,
    cores: Cores,
}

impl Servers {
    pub fn of_this_repository() -> Outcome<Self> {
        let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| bench.join("../target"), PathBuf::from);
        let ours = std::path::absolute(target.join("release/newage-broker"))?;
        Ok(Self { bench, ours, cores: Cores::of_this_process()? })
    }

    fn command(&self, kind: Kind, data: &Path) -> Command {
        match kind {
            Kind::Ours => {
                let mut command = Command::new(&self.ours);
                command.arg("--config").arg(self.bench.join("config.toml")).arg("--data").arg(data);
                command.args(["--port", "0", "--bind", "127.0.0.1"]);
                command
            }
            Kind::Node => {
                let mut command = Command::new("node");
                command.arg(self.bench.join("servers/node/server.mjs"));
                command
            }
            Kind::Socketioxide => Command::new(self.bench.join("target/release/bench-socketioxide")),
            Kind::Held => {
                let mut command = Command::new(self.bench.join("target/release/bench-socketioxide"));
                command.arg("--held");
                command
            }
            Kind::Raw => Command::new(self.bench.join("target/release/bench-raw")),
        }
    }
}

/// Two cores: the first for servers, the last for this program.
#[derive(Clone, Copy)]
struct Cores {
    server: usize,
    load: usize,
}

impl Cores {
    fn of_this_process() -> Outcome<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let cores: Vec<usize> =
            (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or_default()).collect();
        match cores[..] {
            [server, .., load] => Ok(Self { server, load }),
            _ => Err("two cores are needed".into()),
        }
    }

    fn pin(core: usize) -> Outcome {
        let mut set = CpuSet::new();
        set.set(core)?;
        Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
    }
}

pub struct Server {
    pub kind: Kind,
    pub address: SocketAddr,
    child: Child,
    clock: ClockId,
    _data: TempDir,
}

impl Server {
    /// `clients` are trusted.
    pub fn start(servers: &Servers, kind: Kind, clients: &[String]) -> Outcome<Self> {
        let data = tempfile::Builder::new().prefix("newage-bench-").tempdir()?;
        if kind == Kind::Ours {
            trust(data.path(), clients)?;
        }
        let mut command = servers.command(kind, data.path());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("NEWAGE_") || name == "RUST_LOG" || name == "PORT" {
                command.env_remove(name.as_ref());
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).current_dir(data.path());
        // Written as by a service; shown to whoever looks for an error.
        if std::env::var_os("BENCH_STDERR").is_none() {
            command.stderr(fs::File::create(data.path().join("stderr.txt"))?);
        }
        // A child keeps the core of its parent.
        Cores::pin(servers.cores.server)?;
        let child = command.spawn();
        Cores::pin(servers.cores.load)?;
        let mut child = child.map_err(|error| format!("{command:?}: {error}; make bench builds it"))?;
        let clock = clock_getcpuclockid(Pid::from_raw(child.id().try_into()?))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut server = Self { kind, address: ([0; 4], 0).into(), child, clock, _data: data };
        for line in BufReader::new(stdout).lines() {
            if let Some((_, address)) = line?.split_once("listening on http://") {
                server.address = address.trim_end_matches('/').parse()?;
                return Ok(server);
            }
        }
        Err(format!("{} ended before it listened", kind.name()).into())
    }

    /// What the process has had of its core, user and system, threads that have ended included.
    pub fn cpu(&self) -> Outcome<Duration> {
        Ok(self.clock.now()?.into())
    }

    /// The same, once the server has nothing more to do: what is measured ends in quiet.
    #[expect(clippy::disallowed_methods, reason = "nothing else is to happen meanwhile")]
    pub fn cpu_at_rest(&self) -> Outcome<Duration> {
        let patience = Instant::now() + Duration::from_millis(500);
        let mut before = self.cpu()?;
        loop {
            std::thread::sleep(Duration::from_millis(2));
            let now = self.cpu()?;
            // Timers of a runtime take a few microseconds.
            if now - before < Duration::from_micros(60) || Instant::now() > patience {
                return Ok(now);
            }
            before = now;
        }
    }

    /// Seconds in user and in system code, in ticks of 10 ms.
    pub fn split(&self) -> Outcome<(f64, f64)> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |index: usize| -> Outcome<f64> {
            Ok(fields.get(index).ok_or("too few fields")?.parse::<f64>()? / 100.0)
        };
        Ok((ticks(11)?, ticks(12)?))
    }

    /// Bytes of memory that it has in use.
    pub fn resident(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A settings file for each client, and a key's hash as a start of the broker before has stored it: to make one
/// takes 50 ms.
fn trust(data: &Path, clients: &[String]) -> Outcome {
    const HASH: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    let settings = data.join("settings");
    fs::create_dir_all(&settings)?;
    fs::create_dir_all(data.join("keys"))?;
    fs::write(settings.join("server_settings.json"), "{}")?;
    let mut keys = serde_json::Map::new();
    for client in clients {
        let trusted = serde_json::json!({"clientId": client, "isTrust": true});
        fs::write(settings.join(format!("{client}.json")), trusted.to_string())?;
        keys.insert(client.clone(), serde_json::json!({"key": HASH, "rooms": []}));
    }
    fs::write(data.join("keys/clients.json"), serde_json::Value::from(keys).to_string())?;
    Ok(())
}

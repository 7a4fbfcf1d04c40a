//! A broker in this process, on threads of its own.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, Once,
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use newage_broker::{
    config::{Config, Flags},
    server,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::within;

/// Clients that every broker of the tests trusts.
pub const CLIENTS: [&str; 6] =
    ["SillyTavern-8000", "SillyTavern-8001", "monitor", "frontendExample", "app-a", "app-b"];

/// The persistent key of one of [`CLIENTS`].
pub fn key(client: &str) -> String {
    format!("key-of-{client}")
}

/// What is written before a broker starts.
pub struct Setup {
    data: TempDir,
    settings: Map<String, Value>,
    clients: Vec<Map<String, Value>>,
    keys: Map<String, Value>,
}

/// Whatever listens: a broker, or another server over the same machinery.
pub trait Listens {
    /// Where, in IPv4.
    fn address(&self) -> SocketAddr;

    /// `http://127.0.0.1:PORT` and a path.
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }
}

impl Listens for SocketAddr {
    fn address(&self) -> SocketAddr {
        *self
    }
}

impl Listens for Broker {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A broker that serves. See the harness's documentation.
pub struct Broker {
    address: SocketAddr,
    data: PathBuf,
    orders: UnboundedSender<Order>,
    thread: Option<JoinHandle<()>>,
    /// What it was started with; its files go when it does.
    rest: Option<(Config, Arc<TempDir>)>,
}

enum Order {
    Metrics(SyncSender<String>),
    Stop,
}

/// Cheap on purpose: a test is not what the cost protects from.
const BCRYPT_COST: u32 = 4;

fn hashed(secret: &str) -> Value {
    bcrypt::hash(secret, BCRYPT_COST).expect("bcrypt hashes a short text").into()
}

impl Setup {
    fn new() -> Self {
        let data = tempfile::Builder::new().prefix("newage-test-").tempdir().expect("a temporary directory");
        let mut setup = Self { data, settings: Map::new(), clients: Vec::new(), keys: Map::new() };
        for id in CLIENTS {
            setup = setup.client(json!({"clientId": id, "isTrust": true}));
        }
        setup
    }

    /// Fields of `server_settings.json`.
    pub fn settings(mut self, fields: Value) -> Self {
        let Value::Object(fields) = fields else { panic!("settings are an object") };
        self.settings.extend(fields);
        self
    }

    /// A trust file, with the persistent key [`key`].
    pub fn client(mut self, file: Value) -> Self {
        let Value::Object(file) = file else { panic!("a trust file is an object") };
        let id = file["clientId"].as_str().expect("a clientId").to_owned();
        self.clients.retain(|other| other["clientId"] != id.as_str());
        self.keys.insert(id.clone(), json!({"key": hashed(&key(&id)), "rooms": []}));
        self.clients.push(file);
        self
    }

    /// The password of a client that has a trust file.
    pub fn password(mut self, client: &str, password: &str) -> Self {
        let file = self.clients.iter_mut().find(|file| file["clientId"] == client);
        file.expect("a client with a trust file").insert("sillyTavernPassWord".to_owned(), hashed(password));
        self
    }

    /// Makes each check of a client's persistent key take long: bcrypt of that cost.
    pub fn costly_key(mut self, client: &str, cost: u32) -> Self {
        let hash = bcrypt::hash(key(client), cost).expect("bcrypt hashes a short text");
        self.keys.insert(client.to_owned(), json!({"key": hash, "rooms": []}));
        self
    }

    /// Any other file of the data directory.
    pub fn file(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        write(self.data.path(), path, bytes.as_ref());
        self
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Starts the broker with the shipped defaults, as `change` changes them.
    pub fn start(self, change: impl FnOnce(&mut Config)) -> Broker {
        let data = self.write();
        let flags = Flags { data: Some(data.path().to_owned()), port: Some(0), ..Flags::default() };
        let mut config = Config::load(&flags).expect("the defaults are valid");
        // With 1 the shared actors run beside the sessions, as on a machine with one core.
        let workers = std::env::var("NEWAGE_TEST_WORKERS").ok().and_then(|workers| workers.parse().ok());
        config.server.workers = workers.unwrap_or(2);
        config.server.shutdown_timeout = 1;
        // Sockets of a test answer a ping when the test reads them.
        config.session.proof_timeout = 20_000;
        change(&mut config);
        Broker::run(config, Arc::new(data))
    }

    /// Writes settings, trust files and keys: the data directory.
    pub(super) fn write(self) -> TempDir {
        let Self { data, settings, clients, keys } = self;
        let json = |path: &str, value: &Value| write(data.path(), path, value.to_string().as_bytes());
        json("settings/server_settings.json", &Value::Object(settings));
        for client in clients {
            let file = format!("settings/{}-settings.json", client["clientId"].as_str().unwrap_or_default());
            json(&file, &Value::Object(client));
        }
        json("keys/clients.json", &Value::Object(keys));
        data
    }
}

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a folder above")).expect("the folder can be made");
    fs::write(path, bytes).expect("the file can be written");
}

impl Broker {
    /// A broker with the shipped defaults, as `change` changes them.
    pub fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::setup().start(change)
    }

    /// Writes more than the usual trust files before the start.
    pub fn setup() -> Setup {
        Setup::new()
    }

    fn run(config: Config, data: Arc<TempDir>) -> Self {
        watch_for_panics();
        let log = env_logger::Env::default().default_filter_or("off");
        // The first test of the process has done it already.
        let _ = env_logger::Builder::from_env(log).is_test(true).try_init();
        let (orders, mut given) = unbounded_channel();
        let (started, address) = sync_channel(1);
        let (root, again, held) = (data.path().to_owned(), config.clone(), data.clone());
        let serve = async move {
            let running = match server::start(config) {
                Ok(running) => running,
                Err(error) => return started.send(Err(error.to_string())).expect("the test waits"),
            };
            started.send(Ok(running.address())).expect("the test waits");
            while let Some(Order::Metrics(to)) = given.recv().await {
                // Whoever asked may have failed since.
                let _ = to.send(running.metrics().text());
            }
            running.stop().await;
            drop(held);
        };
        let thread = thread::Builder::new().name("actix broker".to_owned());
        let thread = thread.spawn(move || actix_rt::System::new().block_on(serve)).expect("a thread");
        let address =
            address.recv().expect("the broker's thread says how it went").expect("the broker starts");
        Self { address, data: root, orders, thread: Some(thread), rest: Some((again, data)) }
    }

    /// A broker that somebody else started, for peers to connect to: it cannot be asked what it counts.
    pub(super) fn elsewhere(address: SocketAddr, data: PathBuf) -> Self {
        Self { address, data, orders: unbounded_channel().0, thread: None, rest: None }
    }

    /// Where it listens, in IPv4.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT` and a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The OpenMetrics text of all that it has counted.
    pub fn metrics(&self) -> String {
        let (to, answer) = sync_channel(1);
        self.orders.send(Order::Metrics(to)).expect("the broker runs");
        answer.recv().expect("the broker answers")
    }

    /// The value of one line, such as `newage_sessions` or `newage_sessions_closed_total{reason="…"}`; 0 if
    /// it was never counted.
    pub fn metric(&self, line: &str) -> u64 {
        let text = self.metrics();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap_or_else(|_| panic!("{line} is not a number: {value}")))
    }

    /// How often a bound, named as in `config.toml`, has refused something.
    pub fn limit_reached(&self, limit: &str) -> u64 {
        self.metric(&format!("newage_limit_reached_total{{limit=\"{limit}\"}}"))
    }

    /// Waits until a line of the metrics has at least that value.
    pub async fn until_metric(&self, line: &str, at_least: u64) {
        let wait = async {
            while self.metric(line) < at_least {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(&format!("{line} to reach {at_least}"), wait).await;
    }

    /// Waits until a line of the metrics has exactly that value.
    pub async fn until_metric_is(&self, line: &str, value: u64) {
        let wait = async {
            while self.metric(line) != value {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(&format!("{line} to become {value}"), wait).await;
    }

    /// Stops it, and starts another one on the same data directory.
    pub async fn restart(mut self) -> Self {
        let (config, data) = self.rest.take().expect("a broker of this harness");
        self.stop().await;
        Self::run(config, data)
    }

    /// Asks it to stop; peers are told. [`Broker::stop`] waits for it.
    pub fn begin_stop(&self) {
        // It may have ended already.
        let _ = self.orders.send(Order::Stop);
    }

    /// Stops it and waits for its end.
    pub async fn stop(mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            let ended = tokio::task::spawn_blocking(move || thread.join());
            within("the broker to stop", ended).await.expect("a thread to wait on").expect("no panic");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.begin_stop();
        if !thread::panicking() {
            let panics = PANICS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            assert!(panics.is_empty(), "the broker has panicked: {panics:#?}");
        }
    }
}

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A panic on a thread of a broker costs one session there; here it must fail a test. Workers and arbiters
/// are named by actix; a test's own thread has the test's name.
fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            default(panic);
            let thread = thread::current();
            let name = thread.name().unwrap_or_default();
            if name.starts_with("actix") {
                PANICS
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner())
                    .push(format!("{name}: {panic}"));
            }
        }));
    });
}

//! Presence, lists, rooms and admission, asked as sessions ask.

use std::{collections::VecDeque, future::poll_fn};

use arc_swap::ArcSwap;
use framing::{encoded::Encoded, frame::Frame};

use super::*;
use crate::{
    llm_router::RouterLimits,
    lobby::ListRooms,
    outbox::{Batch, Drain, Outbox, OutboxLimits},
    protocol::{Dialect, SocketDialect},
    trust::{Rejection, TrustSnapshot},
};

const EXTENSION: &str = "SillyTavern-8000";
/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);

struct Fixture {
    registry: Addr<Registry>,
    lobby: Addr<Lobby>,
    metrics: Arc<Metrics>,
}

/// A socket as its session holds it.
struct Opened {
    key: SocketKey,
    outbox: Arc<Outbox>,
    came: VecDeque<Frame>,
}

impl Opened {
    fn of(entry: &SocketEntry) -> Self {
        Self { key: entry.key, outbox: entry.outbox.clone(), came: VecDeque::new() }
    }
}

fn id(text: &str) -> ClientId {
    ClientId::new(text).unwrap()
}

fn sid(seed: u8) -> Sid {
    Sid::from_random([seed; 15])
}

/// A question of a client whose session is `session`.
fn question(client: &str, ns: Namespace, session: u8) -> OpenSocket {
    let limits = OutboxLimits { max_bytes: 1 << 20, max_packets: 1000 };
    let entry = SocketEntry {
        key: SocketKey::next(),
        sid: sid(session),
        ns,
        client: id(client),
        identity: Identity::from(id(client)),
        client_type: "test".into(),
        desc: None,
        html: None,
        extension: id(client).is_extension(),
        admin: client == "monitor",
        outbox: Outbox::new(limits, Drain::WebSocket, Arc::default()),
        dialect: SharedDialect::new(SocketDialect::new(Some(Dialect::Numeric), false)),
        session: None,
    };
    let connected = Some(Encoded::connect(&emit::wire_namespace(ns), "socket"));
    OpenSocket { entry, link: SocketLink::Outbox, connected, admission: Admission::default() }
}

/// A router that nobody asks.
pub(crate) fn router(settings: Arc<ArcSwap<ServerSettings>>, metrics: &Arc<Metrics>) -> Addr<LlmRouter> {
    let limits = RouterLimits {
        per_client: 8,
        per_extension: 8,
        total: 8,
        outputs: 8,
        request_timeout: LONG,
        idle_timeout: LONG,
        grace: LONG,
        allow_shared: false,
    };
    LlmRouter::new(limits, settings, Instant::now(), metrics.clone()).start()
}

/// What a broker has beside its trust, with such bounds.
pub(crate) fn idle(
    settings: Arc<ArcSwap<ServerSettings>>,
    known: Arc<ArcSwap<TrustSnapshot>>,
    bound: usize,
    metrics: &Arc<Metrics>,
) -> (Addr<LlmRouter>, Rooms, Addr<Lobby>, Registry) {
    let router = router(settings.clone(), metrics);
    let (rooms, lobby, _) =
        crate::rooms::fixture::idle(router.clone(), settings.clone(), known, bound, metrics);
    let limits = RegistryLimits { connections_per_client: bound, sockets_per_client: 2 * bound, away: 8 };
    let registry = Registry::new(
        router.clone(),
        rooms.clone(),
        lobby.clone(),
        Extensions::new(Vec::new()),
        settings,
        limits,
        metrics.clone(),
    );
    (router, rooms, lobby, registry)
}

impl Fixture {
    fn new(grace: Duration, bound: usize) -> Self {
        let metrics = Arc::new(Metrics::default());
        let mut settings = ServerSettings::default();
        (settings.reconnect_attempts, settings.reconnect_delay) = (1, grace);
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let (_, _, lobby, registry) = idle(settings, Arc::default(), bound, &metrics);
        let registry = registry.start();
        Self { registry, lobby, metrics }
    }

    async fn ask(&self, question: OpenSocket) -> Result<Opened, NotAdmitted> {
        let opened = Opened::of(&question.entry);
        self.registry.send(question).await.unwrap().map(|_| opened)
    }

    async fn open(&self, client: &str, ns: Namespace, session: u8) -> Opened {
        let mut opened = self.ask(question(client, ns, session)).await.unwrap();
        assert_eq!(opened.next().await, format!("40{}{{\"sid\":\"socket\"}}", prefix(ns)));
        opened
    }

    async fn close(&self, socket: Opened) {
        self.registry.send(SocketClosed(socket.key)).await.unwrap();
    }

    async fn connected(&self) -> String {
        self.registry.send(ListConnected).await.unwrap()
    }

    async fn members(&self) -> Vec<String> {
        let list = self.registry.send(ListMembers).await.unwrap();
        let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
        list.iter().map(|member| member["clientId"].as_str().unwrap().to_owned()).collect()
    }
}

impl Opened {
    /// The next packet that is pushed to it.
    async fn next(&mut self) -> String {
        if self.came.is_empty() {
            let mut batch = Batch::default();
            let filled = tokio::time::timeout(LONG / 2, poll_fn(|cx| self.outbox.poll_batch(&mut batch, cx)));
            filled.await.expect("a packet in time");
            self.came.extend(batch.packets.iter().flat_map(Encoded::frames));
        }
        match self.came.pop_front() {
            Some(Frame::Text(text)) => text.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }

    fn has_nothing(&self) {
        assert!(self.came.is_empty() && self.outbox.take_ready().is_none());
    }
}

fn prefix(ns: Namespace) -> String {
    if ns.wire() == "/" { String::new() } else { format!("{},", ns.wire()) }
}

/// The event 31 with those clients.
fn update(ns: Namespace, clients: &[&str]) -> String {
    let clients: Vec<String> = clients.iter().map(|id| format!("{{\"id\":\"{id}\"}}")).collect();
    format!("42{}[31,{{\"clients\":[{}]}}]", prefix(ns), clients.join(","))
}

// Lists.

#[actix::test]
async fn a_place_in_the_lists_is_kept_while_the_client_is() {
    let f = Fixture::new(LONG, 8);
    let first = f.open("a", Namespace::Auth, 1).await;
    let _b = f.open("b", Namespace::Auth, 2).await;
    let both = "[{\"id\":\"a\"},{\"id\":\"b\"}]";
    assert_eq!(f.connected().await, both);
    // Its oldest socket closes, and another is there.
    let second = f.open("a", Namespace::Auth, 3).await;
    f.close(first).await;
    assert_eq!((f.connected().await.as_str(), f.members().await), (both, vec!["a".into(), "b".into()]));
    // It leaves the list at once, and comes back to its place within the grace.
    f.close(second).await;
    assert_eq!(f.connected().await, "[{\"id\":\"b\"}]");
    let _third = f.open("a", Namespace::Auth, 4).await;
    assert_eq!((f.connected().await.as_str(), f.members().await), (both, vec!["a".into(), "b".into()]));
}

#[actix::test]
async fn a_place_in_the_lists_ends_with_the_grace() {
    let f = Fixture::new(Duration::from_millis(5), 8);
    let mut watcher = f.open(EXTENSION, Namespace::SillyTavern, 9).await;
    let a = f.open("a", Namespace::Auth, 1).await;
    let _b = f.open("b", Namespace::Auth, 2).await;
    f.close(a).await;
    let gone = "Client a disconnected and failed to reconnect. Room deleted.";
    assert_eq!(watcher.next().await, format!("42/sillytavern,[21,{{\"type\":21,\"message\":\"{gone}\"}}]"));
    let _a = f.open("a", Namespace::Auth, 3).await;
    assert_eq!(f.connected().await, "[{\"id\":\"b\"},{\"id\":\"a\"}]");
    assert_eq!(f.members().await, [EXTENSION, "b", "a"]);
}

#[actix::test]
async fn the_client_list_counts_auth_sockets_of_plain_clients_only() {
    let f = Fixture::new(LONG, 8);
    let (on_auth, on_clients) =
        (f.open(EXTENSION, Namespace::Auth, 1).await, f.open(EXTENSION, Namespace::Clients, 1).await);
    let mut watchers = [(Namespace::Auth, on_auth), (Namespace::Clients, on_clients)];
    let plain = f.open("b", Namespace::Clients, 2).await;
    let elsewhere = f.open("a", Namespace::Llm, 3).await;
    assert_eq!(f.connected().await, "[]");
    let one = f.open("a", Namespace::Auth, 3).await;
    for (ns, watcher) in &mut watchers {
        assert_eq!(watcher.next().await, update(*ns, &["a"]));
    }
    let two = f.open("a", Namespace::Auth, 4).await;
    f.close(one).await;
    f.close(two).await;
    for (ns, watcher) in &mut watchers {
        // Until the last one closed it was there, however many of these are sent as one.
        let mut pushed = watcher.next().await;
        while pushed == update(*ns, &["a"]) {
            pushed = watcher.next().await;
        }
        assert_eq!(pushed, update(*ns, &[]));
    }
    // Nobody else is told.
    plain.has_nothing();
    elsewhere.has_nothing();
}

#[actix::test]
async fn a_description_is_the_clients_whichever_socket_gave_it() {
    let f = Fixture::new(LONG, 8);
    let _silent = f.open("a", Namespace::Auth, 1).await;
    let list = |desc: &str| format!("[{{\"id\":\"a\",\"description\":\"{desc}\"}}]");
    for (ns, desc, shown) in [
        // The list shows the sockets that it is about.
        (Namespace::Llm, "elsewhere", "[{\"id\":\"a\"}]".to_owned()),
        (Namespace::Auth, "first", list("first")),
        (Namespace::Auth, "second", list("first")),
    ] {
        let mut asked = question("a", ns, 1);
        asked.entry.desc = Some(desc.into());
        f.ask(asked).await.unwrap();
        assert_eq!(f.connected().await, shown);
    }
}

#[actix::test]
async fn a_socket_is_closed_once() {
    let f = Fixture::new(LONG, 8);
    let a = f.open("a", Namespace::Auth, 1).await;
    assert_eq!(f.metrics.sockets.get(), 1);
    for _ in 0..2 {
        f.registry.send(SocketClosed(a.key)).await.unwrap();
    }
    f.registry.send(SocketClosed(SocketKey::NONE)).await.unwrap();
    assert_eq!(f.metrics.sockets.get(), 0);
}

// Admission.

#[actix::test]
async fn whoever_left_while_it_was_admitted_is_not_answered() {
    let f = Fixture::new(LONG, 8);
    let left = question("a", Namespace::Llm, 1);
    let outbox = left.entry.outbox.clone();
    assert!(left.admission.withdraw());
    // The same session asks again at once; one answer comes, that of the socket that is there.
    let mut back = question("a", Namespace::Llm, 1);
    back.entry.outbox = outbox;
    back.connected = Some(Encoded::connect(&emit::wire_namespace(Namespace::Llm), "second"));
    let (admission, key) = (back.admission.clone(), left.entry.key);
    let mut opened = Opened::of(&back.entry);
    let (first, close, second) =
        (f.registry.send(left), f.registry.send(SocketClosed(key)), f.registry.send(back));
    assert_eq!(first.await.unwrap().unwrap_err(), NotAdmitted::Withdrawn);
    close.await.unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(opened.next().await, "40/llm,{\"sid\":\"second\"}");
    opened.has_nothing();
    assert_eq!((f.metrics.sockets.get(), f.members().await), (1, vec!["a".to_owned()]));
    assert!(!admission.withdraw(), "an answer that was given cannot be taken back");
}

#[actix::test]
async fn sockets_and_sessions_of_a_client_are_bounded() {
    let f = Fixture::new(LONG, 2);
    let mut open = Vec::new();
    for (ns, session) in [(Namespace::Auth, 1), (Namespace::Llm, 2), (Namespace::Llm, 1)] {
        open.push(f.open("a", ns, session).await);
    }
    let refused = |outcome: Result<Opened, NotAdmitted>| outcome.err().expect("a refusal");
    let third = f.ask(question("a", Namespace::Rooms, 3)).await;
    assert_eq!(refused(third), NotAdmitted::TooManyConnections);
    open.push(f.open("a", Namespace::Rooms, 2).await);
    let fifth = question("a", Namespace::Clients, 1);
    let (admission, outbox) = (fifth.admission.clone(), fifth.entry.outbox.clone());
    assert_eq!(refused(f.ask(fifth).await), NotAdmitted::TooManySockets);
    // The session says so itself.
    assert!(admission.withdraw() && outbox.take_ready().is_none());
    // Another client has its own bounds, and one that closes makes room.
    let _other = f.open("b", Namespace::Llm, 1).await;
    f.close(open.remove(0)).await;
    f.open("a", Namespace::Clients, 2).await;
}

// Who is reached.

/// Takes calls of functions, and is told to drop sockets.
#[derive(Default)]
struct Session(Arc<parking_lot::Mutex<Vec<(SocketKey, Revision)>>>);

impl Actor for Session {
    type Context = Context<Self>;
}

impl Handler<CallExtension> for Session {
    type Result = Option<Called>;

    fn handle(&mut self, _: CallExtension, _: &mut Self::Context) -> Self::Result {
        None
    }
}

impl Handler<ReviseSocket> for Session {
    type Result = ();

    fn handle(&mut self, revised: ReviseSocket, _: &mut Self::Context) {
        self.0.lock().push((revised.socket, revised.revision));
    }
}

#[actix::test]
async fn a_function_call_finds_the_newest_socket_of_its_extension() {
    let f = Fixture::new(LONG, 8);
    let session = Session::default().start();
    let mut opened = Vec::new();
    for client in [EXTENSION, EXTENSION, "SillyTavern-8001"] {
        let mut asked = question(client, Namespace::FunctionCall, 1);
        asked.link = SocketLink::Functions(session.clone().recipient());
        opened.push(f.ask(asked).await.unwrap());
    }
    // A socket that takes no calls, though it is newer.
    f.open(EXTENSION, Namespace::FunctionCall, 1).await;
    let found = |target: &'static str| {
        let asked = f.registry.send(FindFunctionSocket(target.into()));
        async move { asked.await.unwrap().map(|(key, _)| key) }
    };
    assert_eq!(found(EXTENSION).await, Some(opened[1].key));
    f.close(opened.remove(1)).await;
    assert_eq!(found(EXTENSION).await, Some(opened[0].key));
    assert_eq!(found("SillyTavern-9").await, None);
}

#[actix::test]
async fn all_sockets_of_a_client_go_with_its_key() {
    let f = Fixture::new(LONG, 8);
    let told = Session::default();
    let log = told.0.clone();
    let session = told.start();
    let mut keys = Vec::new();
    for (client, ns) in [("a", Namespace::Auth), ("b", Namespace::Auth), ("a", Namespace::Llm)] {
        let mut asked = question(client, ns, 1);
        asked.entry.session = Some(session.clone().recipient());
        keys.push(f.ask(asked).await.unwrap().key);
    }
    f.registry.send(DisconnectClient(id("a"))).await.unwrap();
    // Behind what it was told.
    session.send(ReviseSocket { socket: SocketKey::NONE, revision: Revision::KeyRemoved }).await.unwrap();
    assert_eq!(*log.lock(), [keys[0], keys[2], SocketKey::NONE].map(|key| (key, Revision::KeyRemoved)));
}

/// The two would share a room, and each would read what the other asks.
#[actix::test]
async fn a_name_that_another_client_has_now_is_given_back() {
    let f = Fixture::new(LONG, 8);
    let told = Session::default();
    let log = told.0.clone();
    let session = told.start();
    let instance = |name: &str| {
        let mut asked = question("app", Namespace::Llm, 1);
        asked.entry.identity = Identity::new(name).unwrap();
        asked.entry.session = Some(session.clone().recipient());
        asked
    };
    let mut opened = Vec::new();
    for name in ["app", "app-b", "app-b-tab", "app-c", "app-b-away"] {
        opened.push(f.ask(instance(name)).await.unwrap());
    }
    f.close(opened.pop().unwrap()).await;
    f.registry.send(ReviewGrants(Arc::new(TrustSnapshot::of(&["app", "app-b"])))).await.unwrap();
    session.send(ReviseSocket { socket: SocketKey::NONE, revision: Revision::KeyRemoved }).await.unwrap();
    let rejected = Revision::Reject(Rejection::unauthorized());
    let behind = (SocketKey::NONE, Revision::KeyRemoved);
    assert_eq!(*log.lock(), [(opened[1].key, rejected.clone()), (opened[2].key, rejected), behind]);
    // Nobody waits for them to come back: their rooms go with them.
    for at in [2, 1] {
        f.close(opened.remove(at)).await;
    }
    let _other = f.open("app-b", Namespace::Llm, 2).await;
    let rooms = async || -> Vec<String> {
        let rooms = f.lobby.send(ListRooms(None)).await.unwrap();
        rooms.into_iter().map(|room| room.to_string()).collect()
    };
    while rooms().await != ["app", "app-b", "app-c"] {
        tokio::task::yield_now().await;
    }
    assert_eq!(f.members().await, ["app", "app-c", "app-b"]);
}

#[test]
fn who_may_be_called_what() {
    let clients = TrustSnapshot::of(&["app", "app-b", "monitor", "SillyTavern-8000"]);
    for (client, name, may) in [
        ("app", "app", true),
        ("app", "app-c", true),
        ("app", "app-b", false),
        ("app", "app-b-tab", false),
        ("app-b", "app-b-tab", true),
        ("app-b", "app", false),
        ("app", "app<b>", false),
        ("monitor", "monitor-room", true),
        ("monitor-", "monitor-room", false),
        // It is its own id.
        ("monitor-room", "monitor-room", true),
    ] {
        assert_eq!(
            may_be_called(&clients, &id(client), &Identity::new(name).unwrap()),
            may,
            "{client}: {name}"
        );
    }
}

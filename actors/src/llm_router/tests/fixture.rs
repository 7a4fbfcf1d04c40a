//! Targets and requesters that write down what they are told.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use std::time::{Duration, Instant};

use actix::prelude::*;
use framing::{ByteString, Bytes, json::RawJson};
use parking_lot::Mutex;

use crate::{
    ids::{ClientId, Identity, RequestId},
    llm_router::{
        AttributeError, AttributeOutput, Deliver, Delivery, ForwardedRequest, OpenRequest, OpenedRoute, Peer,
        Refusal, Requester, RouteId, RouterLimits, ToTarget, book::Book,
    },
    registry::SocketKey,
    stream::{StreamInfo, StreamText},
};

/// What somebody was told, and which socket it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    Ask(SocketKey, RouteId),
    Adopt(SocketKey, RouteId),
    Fail(SocketKey, RouteId, &'static str, Option<String>),
    Complete(SocketKey, RouteId),
    Close(SocketKey, RouteId),
    Peers(SocketKey, RouteId, String, Vec<SocketKey>, bool),
    /// Beside those: sockets that are told what is whole.
    Newcomers(SocketKey, RouteId, String, Vec<SocketKey>),
    Returned(SocketKey, RouteId, Vec<String>),
    Failed(SocketKey, String, String),
    Text(SocketKey, String),
    Finished(SocketKey, String),
}

type Log = Arc<Mutex<Vec<Told>>>;

/// An actor that writes down. It takes nothing while the test does not wait, so its mailbox can be
/// filled.
struct Recorder {
    socket: SocketKey,
    log: Log,
    /// Messages with which routes were taken over, by whomever.
    adoptions: Arc<AtomicUsize>,
}

impl Actor for Recorder {
    type Context = Context<Self>;
}

impl Handler<ToTarget> for Recorder {
    type Result = ();

    fn handle(&mut self, message: ToTarget, _: &mut Self::Context) {
        let socket = self.socket;
        let told = match message {
            ToTarget::Ask { route, .. } => Told::Ask(socket, route.route),
            ToTarget::Adopt { routes, .. } => {
                self.adoptions.fetch_add(1, Relaxed);
                let told = routes.iter().map(|route| Told::Adopt(socket, route.route));
                return self.log.lock().extend(told);
            }
            ToTarget::Fail { route, reason, failure } => {
                let message = failure.map(|failure| failure.message.to_string());
                Told::Fail(socket, route, reason, message)
            }
            ToTarget::Complete { route } => Told::Complete(socket, route),
            ToTarget::Close { route } => Told::Close(socket, route),
            ToTarget::Peers { route, requester, peers, gone } => {
                let chosen = |newcomer| {
                    let chosen = peers.iter().filter(|peer| peer.newcomer == newcomer);
                    let mut chosen: Vec<_> = chosen.map(|peer| peer.socket).collect();
                    chosen.sort();
                    chosen
                };
                let who = requester.identity.to_string();
                let newcomers = chosen(true);
                if !newcomers.is_empty() {
                    self.log.lock().push(Told::Newcomers(socket, route, who.clone(), newcomers));
                }
                Told::Peers(socket, route, who, chosen(false), gone)
            }
            ToTarget::Returned { route, parts, .. } => {
                Told::Returned(socket, route, parts.iter().map(text_of).collect())
            }
        };
        self.log.lock().push(told);
    }
}

impl Handler<Deliver> for Recorder {
    type Result = ();

    fn handle(&mut self, Deliver { delivery, .. }: Deliver, _: &mut Self::Context) {
        let told = match &delivery {
            Delivery::Failed(failure) => {
                Told::Failed(self.socket, failure.request_id.to_string(), failure.message.to_string())
            }
            Delivery::Finished(request) => Told::Finished(self.socket, request.to_string()),
            other => Told::Text(self.socket, text_of(other)),
        };
        self.log.lock().push(told);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Done;

impl Handler<Done> for Recorder {
    type Result = ();

    fn handle(&mut self, _: Done, _: &mut Self::Context) {}
}

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

impl Handler<Stop> for Recorder {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

pub(super) fn part(request: &str, text: &str) -> Delivery {
    let info = Arc::new(StreamInfo::new("s".into(), "o".into(), request.into()));
    let text = Bytes::copy_from_slice(text.as_bytes());
    Delivery::Text(StreamText { info, at: 0, text, end: false })
}

pub(super) fn text_of(part: &Delivery) -> String {
    let Delivery::Text(text) = part else { panic!("{part:?} is no text") };
    String::from_utf8_lossy(&text.text).into_owned()
}

pub(super) const A: &str = "SillyTavern-8000";
pub(super) const B: &str = "SillyTavern-8001";
pub(super) const ME: &str = "app-a";
pub(super) const OTHER: &str = "app-b";
pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn limits() -> RouterLimits {
    RouterLimits {
        per_client: 32,
        per_extension: 256,
        total: 1000,
        outputs: 8,
        request_timeout: Duration::from_secs(600),
        idle_timeout: Duration::from_secs(60),
        grace: Duration::from_secs(5),
        allow_shared: false,
    }
}

/// A book, its sockets, and a clock that the test moves.
pub(super) struct Fixture {
    pub(super) book: Book,
    pub(super) now: Instant,
    log: Log,
    adoptions: Arc<AtomicUsize>,
    recorders: Vec<(SocketKey, Addr<Recorder>)>,
}

impl Fixture {
    pub(super) fn new(limits: RouterLimits) -> Self {
        let now = Instant::now();
        let (log, adoptions) = (Log::default(), Arc::default());
        Self { book: Book::new(limits, now), now, log, adoptions, recorders: Vec::new() }
    }

    /// Runs a test in an actix system.
    pub(super) fn run<F: Future>(limits: RouterLimits, test: impl FnOnce(Self) -> F) -> F::Output {
        System::new().block_on(async { test(Self::new(limits)).await })
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.now += time;
    }

    fn recorder(&mut self, capacity: usize) -> (SocketKey, Addr<Recorder>) {
        let (socket, log, adoptions) = (SocketKey::next(), self.log.clone(), self.adoptions.clone());
        let address = Recorder::create(|ctx| {
            ctx.set_mailbox_capacity(capacity);
            Recorder { socket, log, adoptions }
        });
        self.recorders.push((socket, address.clone()));
        (socket, address)
    }

    /// A target's socket opens.
    pub(super) fn target(&mut self, client: &str) -> SocketKey {
        self.target_with(client, 1000)
    }

    /// A socket of one instance of a target.
    pub(super) fn instance(&mut self, client: &str, identity: &str) -> SocketKey {
        self.target_of(Requester { identity: Identity::new(identity).unwrap(), ..requester(client) }, 1000)
    }

    /// One whose mailbox takes so many messages.
    pub(super) fn target_with(&mut self, client: &str, capacity: usize) -> SocketKey {
        self.target_of(requester(client), capacity)
    }

    fn target_of(&mut self, owner: Requester, capacity: usize) -> SocketKey {
        let (socket, address) = self.recorder(capacity);
        self.book.target_opened(socket, owner, address.recipient());
        socket
    }

    /// One whose session ends before the router hears of it.
    pub(super) async fn ended_target(&mut self, client: &str) -> SocketKey {
        let (socket, address) = self.recorder(1000);
        self.recorders.pop();
        self.book.target_opened(socket, requester(client), address.clone().recipient());
        address.send(Stop).await.unwrap();
        while address.connected() {
            tokio::task::yield_now().await;
        }
        socket
    }

    /// The addresses of a socket whose session has moved.
    pub(super) fn moved(&mut self, socket: SocketKey) -> (Recipient<ToTarget>, Arc<Recipient<Deliver>>) {
        let (log, adoptions) = (self.log.clone(), self.adoptions.clone());
        let address = Recorder { socket, log, adoptions }.start();
        self.recorders.push((socket, address.clone()));
        (address.clone().recipient(), address.recipient().into())
    }

    /// A requester's socket opens; its others live.
    pub(super) fn peer(&mut self, client: &str) -> SocketKey {
        let (socket, elders) = self.newcomer(client);
        for elder in elders {
            self.book.proven(socket, elder);
        }
        socket
    }

    /// The same; those of its others are returned that are to show it.
    pub(super) fn newcomer(&mut self, client: &str) -> (SocketKey, Vec<SocketKey>) {
        let (socket, address) = self.recorder(1000);
        let peer = Peer::new(socket, address.recipient().into());
        (socket, self.book.requester_opened(requester(client), peer))
    }

    /// Somebody who is told what is said, and is no requester.
    pub(super) fn room(&mut self) -> Peer {
        let (socket, address) = self.recorder(1000);
        Peer::new(socket, address.recipient().into())
    }

    pub(super) fn close(&mut self, socket: SocketKey) {
        self.book.socket_closed(socket, self.now);
    }

    pub(super) fn open(&mut self, from: &str, request: &str, targets: &[&str]) -> Result<(), Refusal> {
        let question = OpenRequest {
            from: requester(from),
            request_id: RequestId::new(request).unwrap(),
            targets: targets.iter().map(|target| ByteString::from(*target)).collect(),
            request: ForwardedRequest {
                payload: RawJson::from_static("{}"),
                attachments: Vec::new(),
                chat: None,
            },
            audience: Default::default(),
        };
        self.book.open(question, self.now)
    }

    /// The same of one target, which takes it: the route.
    pub(super) fn opened(&mut self, from: &str, request: &str, target: &str) -> RouteId {
        assert_eq!(self.open(from, request, &[target]), Ok(()));
        self.route(request, target).unwrap()
    }

    pub(super) fn attribute(
        &mut self,
        socket: SocketKey,
        target: &str,
        output: &str,
        named: Option<&str>,
    ) -> Option<OpenedRoute> {
        let question = AttributeOutput {
            socket,
            target: ClientId::new(target).unwrap(),
            output_id: output.into(),
            request_id: named.map(|named| RequestId::new(named).unwrap()),
        };
        self.book.attribute(&question)
    }

    /// An extension says that something has failed.
    pub(super) fn errored(
        &mut self,
        socket: SocketKey,
        target: &str,
        named: Option<&str>,
    ) -> Option<RouteId> {
        let question = AttributeError {
            socket,
            target: ClientId::new(target).unwrap(),
            request_id: named.map(|named| RequestId::new(named).unwrap()),
        };
        self.book.attribute_error(&question).map(|opened| opened.route)
    }

    /// A stream of a route starts and ends: it is answered, and quiet.
    pub(super) fn answered(&self, route: RouteId) {
        let state = &self.book.routes[&route].state;
        state.touch(self.book.millis(self.now));
        state.ended_once.store(true, Relaxed);
    }

    pub(super) fn touch(&self, route: RouteId) {
        self.book.routes[&route].state.touch(self.book.millis(self.now));
    }

    /// The route of a request at a target, if it is open.
    pub(super) fn route(&self, request: &str, target: &str) -> Option<RouteId> {
        let mut found =
            self.book.routes.iter().filter(|(_, route)| route.request == *request && route.target == *target);
        found.next().map(|(id, _)| *id)
    }

    pub(super) fn sweep(&mut self) -> usize {
        self.book.sweep(self.now)
    }

    /// In how many messages routes were taken over, of those that [`Fixture::told`] has waited for.
    pub(super) fn adoptions(&self) -> usize {
        self.adoptions.load(Relaxed)
    }

    /// Everything that was said since the last call, in the order heard by each.
    pub(super) async fn told(&mut self) -> Vec<Told> {
        for (_, recorder) in &self.recorders {
            recorder.send(Done).await.unwrap();
        }
        std::mem::take(&mut *self.log.lock())
    }
}

pub(super) fn requester(client: &str) -> Requester {
    let client = ClientId::new(client).unwrap();
    Requester { identity: Identity::from(client.clone()), client }
}

pub(super) fn not_found(target: &str) -> Result<(), Refusal> {
    Err(Refusal::TargetNotFound(target.into()))
}

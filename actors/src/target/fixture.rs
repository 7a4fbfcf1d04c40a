//! What the tests of the fan-out share: sockets that take as much as they are asked to, and one route.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64},
    },
    time::Instant,
};

use actix::prelude::*;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{FanOut, FanOutLimits};
use crate::{
    ids::{ClientId, Identity, RequestId},
    llm_router::{Deliver, Delivery, OpenedRoute, Peer, Requester, RouteId, RouteState},
    metrics::Metrics,
    registry::SocketKey,
    stream::{StreamInfo, StreamText, Unread},
};

pub(super) const ROUTE: RouteId = RouteId(1);

/// What a socket was given: texts joined by stream, and how streams ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Text(u64, String),
    End(u64),
    Failed(u64, &'static str),
    Message(String),
    Finished,
    Error(String),
    /// Behind all that it was sent.
    Fence,
}

/// A receiver that takes nothing while the test does not wait, so that its mailbox can be filled.
pub(super) struct Receiver {
    got: Arc<Mutex<Vec<Got>>>,
    parts: Arc<Mutex<Vec<Delivery>>>,
}

impl Actor for Receiver {
    type Context = Context<Self>;
}

impl Handler<Deliver> for Receiver {
    type Result = ();

    fn handle(&mut self, Deliver { delivery, .. }: Deliver, _: &mut Self::Context) {
        self.parts.lock().push(delivery.clone());
        let mut got = self.got.lock();
        match delivery {
            Delivery::Text(StreamText { info, text, end, .. }) => {
                if !text.is_empty() {
                    got.push(Got::Text(info.key, String::from_utf8(text.to_vec()).unwrap()));
                }
                if end {
                    got.push(Got::End(info.key));
                }
            }
            Delivery::StreamFailed { info, reason } => got.push(Got::Failed(info.key, reason)),
            Delivery::Finished(_) => got.push(Got::Finished),
            Delivery::Message { payload, .. } => got.push(Got::Message(payload.to_string())),
            Delivery::Opened { .. } => unreachable!("a room is told so"),
            Delivery::Failed(failure) => got.push(Got::Error(failure.message.to_string())),
            Delivery::Fence => got.push(Got::Fence),
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Done;

impl Handler<Done> for Receiver {
    type Result = ();

    fn handle(&mut self, _: Done, _: &mut Self::Context) {}
}

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

impl Handler<Stop> for Receiver {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

pub(super) struct Socket {
    pub(super) peer: Peer,
    pub(super) address: Addr<Receiver>,
    pub(super) got: Arc<Mutex<Vec<Got>>>,
    /// The same, as it came.
    pub(super) parts: Arc<Mutex<Vec<Delivery>>>,
}

impl Socket {
    pub(super) fn new(mailbox: usize) -> Self {
        let (got, parts) = (Arc::default(), Arc::default());
        let receiver = Receiver { got: Arc::clone(&got), parts: Arc::clone(&parts) };
        let address = Receiver::create(|ctx| {
            ctx.set_mailbox_capacity(mailbox);
            receiver
        });
        Self {
            peer: Peer::new(SocketKey::next(), Arc::new(address.clone().recipient())),
            address,
            got,
            parts,
        }
    }

    /// The mailbox is emptied.
    pub(super) async fn read(&self) {
        self.address.send(Done).await.unwrap();
    }

    /// Its actor ends.
    pub(super) async fn stop(&self) {
        self.address.send(Stop).await.unwrap();
        while self.address.connected() {
            tokio::task::yield_now().await;
        }
    }

    /// Everything so far, neighbouring texts of one stream joined.
    pub(super) fn got(&self) -> Vec<Got> {
        joined(&self.got.lock())
    }

    /// Texts of all streams, as a reader sees them.
    pub(super) fn text(&self) -> String {
        let texts = self.got();
        texts
            .iter()
            .filter_map(|got| if let Got::Text(_, text) = got { Some(text.as_str()) } else { None })
            .collect()
    }
}

pub(super) fn joined(all: &[Got]) -> Vec<Got> {
    let mut joined: Vec<Got> = Vec::new();
    for got in all {
        match (joined.last_mut(), got) {
            (Some(Got::Text(stream, before)), Got::Text(next, text)) if stream == next => {
                before.push_str(text)
            }
            _ => joined.push(got.clone()),
        }
    }
    joined
}

pub(super) fn me() -> Requester {
    requester("app-a")
}

pub(super) fn requester(client: &str) -> Requester {
    let client = ClientId::new(client).unwrap();
    Requester { identity: Identity::from(client.clone()), client }
}

pub(super) fn opened(requesters: Vec<(Requester, Vec<Peer>)>) -> OpenedRoute {
    let state = Arc::new(RouteState {
        last_event: AtomicU64::new(0),
        open_streams: AtomicU32::new(0),
        ended_once: AtomicBool::new(false),
        finished: AtomicBool::new(false),
        unread: Unread::new(),
        target_activity: Arc::default(),
    });
    let requesters = requesters.into_iter().map(|(requester, peers)| (requester, peers.into())).collect();
    OpenedRoute { route: ROUTE, request_id: RequestId::new("r").unwrap(), requesters, listener: None, state }
}

pub(super) fn stream() -> Arc<StreamInfo> {
    Arc::new(StreamInfo::new("s".into(), "o".into(), "r".into()))
}

pub(super) fn text(info: &Arc<StreamInfo>, at: u64, text: &str, end: bool) -> StreamText {
    StreamText { info: info.clone(), at, text: Bytes::copy_from_slice(text.as_bytes()), end }
}

pub(super) struct Fixture {
    /// The socket that was there at the beginning.
    pub(super) first: Option<SocketKey>,
    pub(super) fan_out: FanOut,
    pub(super) metrics: Arc<Metrics>,
    pub(super) now: Instant,
}

impl Fixture {
    pub(super) fn new(max_waiting_bytes: usize, requesters: Vec<(Requester, Vec<Peer>)>) -> Self {
        let first = requesters.first().and_then(|(_, peers)| peers.first()).map(|peer| peer.socket);
        let metrics = Arc::new(Metrics::default());
        let mut fan_out = FanOut::new(
            SocketKey::next(),
            FanOutLimits { max_waiting_bytes, max_routes: 2 },
            metrics.clone(),
        );
        assert!(fan_out.open(opened(requesters)));
        Self { first, fan_out, metrics, now: Instant::now() }
    }

    pub(super) fn send(&mut self, info: &Arc<StreamInfo>, words: &str, end: bool) {
        self.fan_out.text(ROUTE, info.clone(), Bytes::copy_from_slice(words.as_bytes()), end, self.now);
    }

    pub(super) fn say(&mut self, message: &str) {
        let message = Delivery::Message { request_id: RequestId::new("r").unwrap(), payload: message.into() };
        self.fan_out.send(ROUTE, &message, self.now);
    }

    pub(super) fn peers(&mut self, sockets: &[&Socket], gone: bool) {
        let peers = sockets.iter().map(|socket| socket.peer.clone()).collect();
        self.fan_out.peers(ROUTE, &me(), peers, gone, self.now);
    }

    /// Some of its sockets wait for an older one.
    pub(super) fn peers_and_newcomers(&mut self, served: &[&Socket], newcomers: &[&Socket]) {
        let newcomers = newcomers.iter().map(|socket| Peer { newcomer: true, ..socket.peer.clone() });
        let peers = served.iter().map(|socket| socket.peer.clone()).chain(newcomers).collect();
        self.fan_out.peers(ROUTE, &me(), peers, false, self.now);
    }

    pub(super) fn returned(&mut self, texts: Vec<StreamText>) {
        let parts = texts.into_iter().map(Delivery::Text).collect();
        let from = self.first.unwrap_or_else(SocketKey::next);
        self.fan_out.returned(ROUTE, &me(), from, parts, self.now);
    }

    pub(super) fn returned_from(&mut self, socket: &Socket, texts: Vec<StreamText>) {
        let parts = texts.into_iter().map(Delivery::Text).collect();
        self.fan_out.returned(ROUTE, &me(), socket.peer.socket, parts, self.now);
    }

    /// Everything that waits goes out.
    pub(super) async fn settle(&mut self, sockets: &[&Socket]) {
        loop {
            for socket in sockets {
                socket.read().await;
            }
            let Some(due) = self.fan_out.deadline() else { break };
            self.now = due;
            self.fan_out.flush(self.now);
        }
        for socket in sockets {
            socket.read().await;
        }
    }
}

pub(super) fn run<F: Future>(test: F) -> F::Output {
    System::new().block_on(test)
}

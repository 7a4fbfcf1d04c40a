//! What is measured.

use std::time::Duration;

use crate::{
    Outcome,
    answers::{Answers, Pace},
    idle,
    measure::{Sample, measure},
    net::Net,
    requests::{Requests, When},
    room::{self, Room},
    rpc::Rpc,
    script::Shape,
    server::{Kind, Server, Servers},
    world,
};

pub struct Scenario {
    pub name: &'static str,
    pub title: &'static str,
    /// What the server's time is divided by.
    pub unit: &'static str,
    /// Whether a plain echo can take part.
    pub raw: bool,
    pub work: Work,
}

#[derive(Clone, Copy)]
pub enum Work {
    Answers { shape: Shape, pace: Pace, clients: usize },
    Rpc { padding: usize },
    Requests { when: When, clients: usize, extensions: usize },
    FanOut { members: usize },
    Connect { connections: usize },
    Idle { connections: usize },
}

/// How long a run is warm, how long it counts, and how long idle connections are held.
#[derive(Clone, Copy)]
pub struct Length {
    pub warm_up: Duration,
    pub time: Duration,
    pub hold: Duration,
}

impl Default for Length {
    fn default() -> Self {
        Self {
            warm_up: Duration::from_millis(300),
            time: Duration::from_millis(800),
            hold: Duration::from_secs(60),
        }
    }
}

impl Length {
    pub fn tiny() -> Self {
        let moment = Duration::from_millis(50);
        Self { warm_up: moment, time: moment, hold: moment }
    }
}

/// How many take part.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Full,
    /// As few as show that all works.
    Tiny,
}

/// An extension serves so many clients: the default bound of its open requests is 256.
const PER_EXTENSION: usize = 200;
/// Chunks of an answer that comes at once.
const BURST: Pace = Pace::Burst { steps: 200 };
/// Of a short one: asking weighs as much as answering.
const SHORT: Pace = Pace::Burst { steps: 20 };
const CHUNKS_PER_SECOND: u32 = 5000;
/// Five pieces make a token.
const TOKENS_PER_SECOND: u32 = 1000;

const fn stream(
    name: &'static str,
    title: &'static str,
    chunk: usize,
    pace: Pace,
    clients: usize,
) -> Scenario {
    let work = Work::Answers { shape: Shape::Stream { chunk }, pace, clients };
    Scenario { name, title, unit: "chunk", raw: false, work }
}

const fn tokens(name: &'static str, title: &'static str, pace: Pace) -> Scenario {
    let work = Work::Answers { shape: Shape::PerToken, pace, clients: 100 };
    Scenario { name, title, unit: "piece", raw: false, work }
}

const fn rpc(name: &'static str, title: &'static str, padding: usize) -> Scenario {
    Scenario { name, title, unit: "call", raw: true, work: Work::Rpc { padding } }
}

pub const SCENARIOS: &[Scenario] = &[
    stream("stream-burst-8", "stream, as fast as it goes, 8 bytes", 8, BURST, 100),
    stream("stream-burst-64", "stream, as fast as it goes, 64 bytes", 64, BURST, 100),
    stream(
        "stream-paced-8",
        "stream, 5 000 chunks/s, 8 bytes",
        8,
        Pace::Steps { per_second: CHUNKS_PER_SECOND },
        100,
    ),
    stream(
        "stream-paced-64",
        "stream, 5 000 chunks/s, 64 bytes",
        64,
        Pace::Steps { per_second: CHUNKS_PER_SECOND },
        100,
    ),
    tokens("per-token-burst", "per token, as fast as it goes", BURST),
    tokens("per-token-paced", "per token, 5 000 pieces/s", Pace::Steps { per_second: TOKENS_PER_SECOND }),
    rpc("rpc-64", "event with ack, 64 bytes", 64),
    rpc("rpc-1024", "event with ack, 1 024 bytes", 1024),
    Scenario {
        name: "request",
        title: "request forwarded and acked",
        unit: "request",
        raw: false,
        work: Work::Requests { when: When::Later { requests: 32 }, clients: 64, extensions: 8 },
    },
    Scenario {
        name: "round-trip",
        title: "round trip through the extension",
        unit: "round trip",
        raw: false,
        work: Work::Requests { when: When::AtOnce, clients: 64, extensions: 1 },
    },
    Scenario {
        name: "many-requests",
        title: "1 000 clients with a request each in flight",
        unit: "request",
        raw: false,
        work: Work::Requests { when: When::Together, clients: 1000, extensions: 5 },
    },
    Scenario {
        name: "fan-out-100",
        title: "a message to a room of 100",
        unit: "delivery",
        raw: false,
        work: Work::FanOut { members: 100 },
    },
    Scenario {
        name: "fan-out-1000",
        title: "a message to a room of 1 000",
        unit: "delivery",
        raw: false,
        work: Work::FanOut { members: 1000 },
    },
    stream("growth-10", "growth: 10 clients", 64, BURST, 10),
    stream("growth-100", "growth: 100 clients", 64, BURST, 100),
    stream("growth-1000", "growth: 1 000 clients", 64, BURST, 1000),
    stream("growth-5000", "growth: 5 000 clients", 64, BURST, 5000),
    stream("short-10", "answers of 20 chunks: 10 clients", 64, SHORT, 10),
    stream("short-5000", "answers of 20 chunks: 5 000 clients", 64, SHORT, 5000),
    Scenario {
        name: "connect",
        title: "10 000 connections are made",
        unit: "connection",
        raw: true,
        work: Work::Connect { connections: 10_000 },
    },
    Scenario {
        name: "idle",
        title: "10 000 connections, held for 60 s",
        unit: "ping",
        raw: false,
        work: Work::Idle { connections: 10_000 },
    },
];

impl Scenario {
    pub fn takes(&self, kind: Kind) -> bool {
        match kind {
            Kind::Raw => self.raw,
            Kind::Held => matches!(self.work, Work::Answers { shape: Shape::PerToken, .. }),
            // A million chunks are minutes of theirs.
            Kind::Socketioxide => self.name != "growth-5000",
            Kind::Node => !matches!(self.work, Work::Answers { clients: 1000.., .. }),
            Kind::Ours => true,
        }
    }

    /// Whether there is time for one run alone.
    pub fn is_long(&self) -> bool {
        matches!(self.work, Work::Idle { .. })
    }

    /// One run with a fresh server.
    pub fn run(&self, servers: &Servers, kind: Kind, length: Length, size: Size) -> Outcome<Sample> {
        let mut net = Net::new()?;
        let work = if size == Size::Tiny { self.work.tiny() } else { self.work };
        let (clients, extensions) = work.peers();
        let mut ids = vec![room::MASTER.to_owned()];
        ids.extend((0..clients).map(world::client).chain((0..extensions).map(world::extension)));
        let server = Server::start(servers, kind, &ids)?;
        let Length { warm_up, time, hold } = length;
        let net = &mut net;
        match work {
            Work::Answers { shape, pace, clients } => {
                let mut load = Answers::new(net, &server, shape, pace, clients, PER_EXTENSION)?;
                measure(net, &server, &mut load, warm_up, time)
            }
            Work::Rpc { padding } => {
                let mut load = Rpc::new(net, &server, clients, padding)?;
                measure(net, &server, &mut load, warm_up, time)
            }
            Work::Requests { when, clients, extensions } => {
                let mut load = Requests::new(net, &server, when, clients, extensions)?;
                measure(net, &server, &mut load, warm_up, time)
            }
            Work::FanOut { members } => {
                let mut load = Room::new(net, &server, members)?;
                measure(net, &server, &mut load, warm_up, time)
            }
            Work::Connect { connections } => idle::connect(net, &server, connections),
            Work::Idle { connections } => idle::hold(net, &server, connections, hold),
        }
    }
}

impl Work {
    /// How many clients and extensions there are.
    fn peers(self) -> (usize, usize) {
        match self {
            Work::Answers { clients, .. } => (clients, clients.div_ceil(PER_EXTENSION)),
            Work::Rpc { .. } => (64, 1),
            Work::Requests { clients, extensions, .. } => (clients, extensions),
            Work::FanOut { members } => (members, 0),
            Work::Connect { connections } | Work::Idle { connections } => {
                (connections / idle::PER_CLIENT + 1, 0)
            }
        }
    }

    /// The same work of a few.
    fn tiny(mut self) -> Self {
        match &mut self {
            Self::Answers { pace, clients, .. } => {
                *clients = (*clients / 100).clamp(3, 12);
                if let Pace::Burst { steps } = pace {
                    *steps = 20;
                }
            }
            Self::Rpc { .. } => (),
            Self::Requests { when, clients, extensions } => {
                *clients = 6;
                *extensions = (*extensions).min(2);
                if let When::Later { requests } = when {
                    *requests = 4;
                }
            }
            Self::FanOut { members } => *members = (*members / 100).max(6),
            Self::Connect { connections } | Self::Idle { connections } => *connections = 80,
        }
        self
    }
}

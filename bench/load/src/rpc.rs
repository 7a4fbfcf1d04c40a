//! Events with an ack in a closed loop: each connection asks again when it has its answer.

use std::time::{Duration, Instant};

use crate::{
    Outcome,
    measure::{Done, Load, micros},
    net::{ConnId, Driver, Net},
    packet::{self, Packet},
    server::{Kind, Server},
    websocket::Frame,
    world::{self, Peer},
};

pub struct Rpc {
    /// The event after its ack id: `[33,{"pad":"…"}]`.
    question: String,
    /// The ack's arguments as they came first, and are compared from then on. An echo has none.
    answer: Option<Vec<u8>>,
    callers: Vec<Caller>,
    first: ConnId,
    until: Instant,
    open: usize,
    done: Done,
}

struct Caller {
    conn: ConnId,
    id: u64,
    asked_at: Instant,
    /// What an echo must send back.
    text: String,
}

impl Rpc {
    /// `padding` bytes in an object that nobody reads.
    pub fn new(net: &mut Net, server: &Server, connections: usize, padding: usize) -> Outcome<Self> {
        if server.kind != Kind::Raw {
            world::join(net, server, vec![Peer::extension(0)])?;
        }
        let peers = (0..connections).map(|index| Peer::client(index, &["/auth"])).collect();
        let conns = world::join(net, server, peers)?;
        let now = Instant::now();
        let caller = |conn: ConnId| Caller { conn, id: 0, asked_at: now, text: String::new() };
        Ok(Self {
            question: format!(r#"[{},{{"pad":"{}"}}]"#, server.kind.event(33), "x".repeat(padding)),
            answer: (server.kind != Kind::Raw).then(Vec::new),
            first: conns[0],
            callers: conns.into_iter().map(caller).collect(),
            until: now,
            open: 0,
            done: Done::default(),
        })
    }

    fn ask(&mut self, net: &mut Net, index: usize) {
        let caller = &mut self.callers[index];
        caller.id += 1;
        caller.asked_at = net.now;
        caller.text = format!("42/auth,{}{}", caller.id, self.question);
        net.send(caller.conn, caller.text.as_bytes());
        self.open += 1;
    }

    fn check(&mut self, index: usize, text: &[u8]) -> Outcome<bool> {
        let caller = &self.callers[index];
        let Some(wanted) = &mut self.answer else { return Ok(text == caller.text.as_bytes()) };
        let (namespace, packet) = packet::read(text)?;
        let Packet::Ack { id, args } = packet else { return Ok(false) };
        if wanted.is_empty() && packet::same_json(args, LIST) {
            *wanted = args.to_vec();
        }
        Ok(namespace == b"/auth" && id == caller.id && packet::same_json(args, wanted))
    }
}

const LIST: &[u8] =
    br#"[{"status":"ok","allTheSTSocket":["SillyTavern-8000"],"extensions":["SillyTavern-8000"]}]"#;

impl Driver for Rpc {
    fn frame(&mut self, net: &mut Net, at: ConnId, frame: Frame<'_>) -> Outcome {
        let index = at.checked_sub(self.first).ok_or("the extension is sent something")?;
        let Frame::Text(text) = frame else { return Err("not a text".into()) };
        if self.open == 0 || !self.check(index, text)? {
            return Err(format!("connection {index} is sent {}", packet::show(text)).into());
        }
        self.open -= 1;
        self.done.units += 1;
        self.done.latencies.push(micros(self.callers[index].asked_at, net.now));
        if net.now < self.until {
            self.ask(net, index);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.open == 0
    }

    fn waits_for(&self) -> String {
        format!("{} acks are missing", self.open)
    }
}

impl Load for Rpc {
    fn begin(&mut self, net: &mut Net, time: Duration) -> Outcome {
        net.now = Instant::now();
        self.until = net.now + time;
        for index in 0..self.callers.len() {
            self.ask(net, index);
        }
        Ok(())
    }

    fn take(&mut self) -> Done {
        std::mem::take(&mut self.done)
    }
}

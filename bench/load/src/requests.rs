//! `LLM_REQUEST` there, and a `message` back.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{
    Outcome,
    measure::{Done, Load, micros},
    net::{ConnId, Driver, Net},
    packet::{self, Packet},
    server::Server,
    websocket::Frame,
    world::{self, Peer},
};

/// `LLM_REQUEST` with an ack.
pub fn request(event: &str, ack: u64, target: &str, id: &str, message: &str) -> String {
    format!(r#"42/llm,{ack}[{event},{{"target":"{target}","requestId":"{id}","message":"{message}"}}]"#)
}

/// `LLM_REQUEST` as it comes to an extension.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forwarded<'a> {
    #[serde(borrow)]
    pub target: &'a str,
    pub request_id: &'a str,
    pub message: &'a str,
    pub client_id: &'a str,
    pub source: &'a str,
}

impl Forwarded<'_> {
    pub fn check(&self, target: &str, client: &str, message: &str) -> Outcome {
        let Self { source, client_id, .. } = *self;
        if self.target != target || self.message != message || source != client || client_id != client {
            return Err(format!("wrongly forwarded: {self:?}").into());
        }
        Ok(())
    }
}

/// When extensions answer, and what of it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once; a client asks again when it has ack and answer.
    AtOnce,
    /// Later, and not measured: a client asks again when it has the ack, so many times.
    Later { requests: u32 },
    /// When all clients have asked, and all acks are there.
    Together,
}

pub struct Requests {
    when: When,
    event: String,
    clients: Vec<Client>,
    extensions: Vec<Extension>,
    first: (ConnId, ConnId),
    until: Instant,
    /// Acks, forwarded requests and answers that are missing.
    acks: usize,
    forwards: usize,
    answers: usize,
    done: Done,
}

struct Client {
    conn: ConnId,
    extension: usize,
    /// Requests made, acked and answered since the beginning.
    made: u32,
    acked: u32,
    answered: u32,
    /// Requests that this round still makes.
    left: u32,
    asked_at: Instant,
}

struct Extension {
    conn: ConnId,
    id: String,
    /// Clients and numbers of requests that wait for their answer.
    waiting: VecDeque<(u32, u32)>,
}

impl Requests {
    pub fn new(
        net: &mut Net,
        server: &Server,
        when: When,
        clients: usize,
        extensions: usize,
    ) -> Outcome<Self> {
        let conns = world::join(net, server, (0..extensions).map(Peer::extension).collect())?;
        let first_extension = conns[0];
        let extension =
            |(index, conn)| Extension { conn, id: world::extension(index), waiting: VecDeque::new() };
        let extensions: Vec<_> = conns.into_iter().enumerate().map(extension).collect();
        let conns =
            world::join(net, server, (0..clients).map(|index| Peer::client(index, &["/llm"])).collect())?;
        let first = (conns[0], first_extension);
        let now = Instant::now();
        let client = |(index, conn)| Client {
            conn,
            extension: index % extensions.len(),
            made: 0,
            acked: 0,
            answered: 0,
            left: 0,
            asked_at: now,
        };
        Ok(Self {
            when,
            event: server.kind.event(9),
            clients: conns.into_iter().enumerate().map(client).collect(),
            extensions,
            first,
            until: now,
            acks: 0,
            forwards: 0,
            answers: 0,
            done: Done::default(),
        })
    }

    fn ask(&mut self, net: &mut Net, index: usize) {
        let client = &mut self.clients[index];
        client.made += 1;
        client.left = client.left.saturating_sub(1);
        client.asked_at = net.now;
        let target = &self.extensions[client.extension].id;
        let id = request_id(index, client.made);
        let text = request(&self.event, client.made.into(), target, &id, QUESTION);
        net.send(client.conn, text.as_bytes());
        self.acks += 1;
        self.forwards += 1;
        self.answers += 1;
    }

    fn wave(&mut self, net: &mut Net) {
        for index in 0..self.clients.len() {
            self.ask(net, index);
        }
    }

    fn heard(&mut self, net: &mut Net, index: usize, text: &[u8]) -> Outcome {
        let client = &mut self.clients[index];
        let refuse = || format!("client {index} is sent {}", packet::show(text));
        match packet::read(text)? {
            (b"/llm", Packet::Ack { id, args }) => {
                let next = u64::from(client.acked + 1);
                if id != next || id > client.made.into() || !packet::same_json(args, FORWARDED) {
                    return Err(refuse().into());
                }
                client.acked += 1;
                self.acks -= 1;
                if let When::Later { .. } = self.when {
                    self.done.units += 1;
                    self.done.latencies.push(micros(client.asked_at, net.now));
                    if client.left > 0 {
                        self.ask(net, index);
                    }
                }
            }
            (b"/llm", Packet::Event { attachments: 0, ack: None, args }) => {
                let (name, rest) = packet::event(args)?;
                let next = client.answered + 1;
                if name != b"message"
                    || next > client.made
                    || !packet::same_json(rest, answer(index, next, "server").as_bytes())
                {
                    return Err(refuse().into());
                }
                client.answered += 1;
                self.answers -= 1;
                if !matches!(self.when, When::Later { .. }) {
                    self.done.units += 1;
                    self.done.latencies.push(micros(client.asked_at, net.now));
                }
            }
            _ => return Err(refuse().into()),
        }
        self.go_on(net, index);
        Ok(())
    }

    fn asked(&mut self, net: &mut Net, at: usize, text: &[u8]) -> Outcome {
        let extension = &mut self.extensions[at];
        let refuse = || format!("{} is sent {}", extension.id, packet::show(text));
        let (b"/llm", Packet::Event { attachments: 0, args, .. }) = packet::read(text)? else {
            return Err(refuse().into());
        };
        let (b"9", rest) = packet::event(args)? else { return Err(refuse().into()) };
        let forwarded: Forwarded<'_> = serde_json::from_slice(rest)?;
        let (client, number) = of_request(forwarded.request_id).ok_or("a foreign request")?;
        let asking = self.clients.get(client as usize).ok_or("a foreign client")?;
        forwarded.check(&extension.id, &world::client(client as usize), QUESTION)?;
        // Requests of one client come in their order, and each once.
        let before = extension.waiting.iter().filter(|(other, _)| *other == client).count() as u32;
        if asking.extension != at || number != asking.answered + before + 1 || number > asking.made {
            return Err(refuse().into());
        }
        self.forwards -= 1;
        extension.waiting.push_back((client, number));
        if self.when == When::AtOnce {
            self.answer(net, at);
        }
        self.go_on(net, client as usize);
        Ok(())
    }

    fn answer(&mut self, net: &mut Net, extension: usize) {
        let Extension { conn, waiting, .. } = &mut self.extensions[extension];
        for (client, number) in waiting.drain(..) {
            let message = answer(client as usize, number, "client");
            net.send(*conn, format!("42/llm,[\"message\",{message}]").as_bytes());
        }
    }

    fn go_on(&mut self, net: &mut Net, index: usize) {
        match self.when {
            When::AtOnce => {
                let client = &self.clients[index];
                let idle = client.acked == client.made && client.answered == client.made;
                if idle && net.now < self.until {
                    self.ask(net, index);
                }
            }
            When::Later { .. } => (),
            When::Together if self.answers == 0 && self.acks == 0 => {
                if net.now < self.until {
                    self.wave(net);
                }
            }
            When::Together => {
                if self.acks == 0 && self.forwards == 0 {
                    for extension in 0..self.extensions.len() {
                        self.answer(net, extension);
                    }
                }
            }
        }
    }
}

const QUESTION: &str = "Tell me what the lamp saw while nobody was looking at it, from the evening when it was lit \
                        until the morning when it went out, and leave out nothing that anybody could have heard \
                        besides; the cat may be in it, if there was one.";
const ANSWER: &str = "Nothing moved but the light, and the cat.";
const FORWARDED: &[u8] = br#"[{"status":"ok","message":"Request forwarded."}]"#;

fn request_id(client: usize, number: u32) -> String {
    format!("{client:08x}-0000-4000-8000-{number:012x}")
}

fn of_request(id: &str) -> Option<(u32, u32)> {
    let number = |part: &str| u32::from_str_radix(part, 16).ok();
    Some((number(id.get(..8)?)?, number(id.get(24..)?)?))
}

/// A `message` from the extension, or from the server.
fn answer(client: usize, number: u32, source: &str) -> String {
    let id = request_id(client, number);
    let output = format!("{client:08x}-0000-4000-9000-{number:012x}");
    format!(r#"{{"type":0,"data":"{ANSWER}","source":"{source}","requestId":"{id}","outputId":"{output}"}}"#)
}

impl Driver for Requests {
    fn frame(&mut self, net: &mut Net, at: ConnId, frame: Frame<'_>) -> Outcome {
        let Frame::Text(text) = frame else { return Err("not a text".into()) };
        let (first_client, first_extension) = self.first;
        match at.checked_sub(first_client) {
            Some(client) => self.heard(net, client, text),
            None => self.asked(net, at - first_extension, text),
        }
    }

    fn is_done(&self) -> bool {
        let answered = match self.when {
            When::Later { .. } => self.extensions.iter().map(|extension| extension.waiting.len()).sum(),
            _ => 0,
        };
        self.acks == 0 && self.forwards == 0 && self.answers == answered
    }

    fn waits_for(&self) -> String {
        let Self { acks, forwards, answers, .. } = self;
        format!("missing: {acks} acks, {forwards} forwarded requests, {answers} answers")
    }
}

impl Load for Requests {
    fn begin(&mut self, net: &mut Net, time: Duration) -> Outcome {
        net.now = Instant::now();
        self.until = net.now + time;
        if let When::Later { requests } = self.when {
            self.clients.iter_mut().for_each(|client| client.left = requests);
        }
        self.wave(net);
        Ok(())
    }

    fn tidy(&mut self, net: &mut Net) -> Outcome<bool> {
        let waits = self.extensions.iter().any(|extension| !extension.waiting.is_empty());
        for extension in 0..self.extensions.len() {
            self.answer(net, extension);
        }
        Ok(waits)
    }

    fn take(&mut self) -> Done {
        std::mem::take(&mut self.done)
    }
}

//! Clients ask, extensions answer in streams, and clients read as `node-socketio-stream` does: a
//! `$stream-read` when a stream begins and after each chunk, an ack for each chunk, and an end for an end.

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
    requests::{Forwarded, request},
    script::{Answer, Shape},
    server::Server,
    websocket::Frame,
    world::{self, Peer},
};

/// How fast extensions speak.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// An answer of so many steps at once; the next request follows the answer.
    Burst { steps: usize },
    /// So many steps a second, of all clients together.
    Steps { per_second: u32 },
}

pub struct Answers {
    shape: Shape,
    pace: Pace,
    event: String,
    clients: Vec<Client>,
    extensions: Vec<(String, ConnId)>,
    /// The first connection of a client, and of an extension.
    first: (ConnId, ConnId),
    /// No request is made from then on.
    until: Instant,
    /// How often it has begun.
    rounds: usize,
    /// Answers that are not complete.
    open: usize,
    paced: Paced,
    done: Done,
}

/// Clients whose turn comes, one with each tick.
#[derive(Default)]
struct Paced {
    turns: VecDeque<(u32, usize)>,
    steps: usize,
    asked: usize,
}

struct Client {
    conn: ConnId,
    extension: usize,
    answer: Answer,
    /// Whether the current request is acked and its answer complete.
    acked: bool,
    expected: String,
    got: usize,
    /// Where each step ends in the text, and when it was sent.
    ends: Vec<usize>,
    sent: Vec<Instant>,
    asked_at: Instant,
    /// Steps that have come.
    steps: usize,
    /// Wire ids of streams that are open.
    streams: Vec<Vec<u8>>,
    /// The stream whose chunk is the next frame.
    chunk_follows: bool,
}

impl Answers {
    pub fn new(
        net: &mut Net,
        server: &Server,
        shape: Shape,
        pace: Pace,
        clients: usize,
        per_extension: usize,
    ) -> Outcome<Self> {
        let extensions = clients.div_ceil(per_extension);
        let conns = world::join(net, server, (0..extensions).map(Peer::extension).collect())?;
        let first_extension = conns[0];
        let extensions: Vec<_> =
            conns.into_iter().enumerate().map(|(index, conn)| (world::extension(index), conn)).collect();
        let conns =
            world::join(net, server, (0..clients).map(|index| Peer::client(index, &["/llm"])).collect())?;
        let first = (conns[0], first_extension);
        let now = Instant::now();
        let client = |(index, conn): (usize, ConnId)| Client {
            conn,
            extension: index % extensions.len(),
            answer: Answer { client: index as u32, number: 0, steps: 0 },
            acked: true,
            expected: String::new(),
            got: 0,
            ends: vec![],
            sent: vec![],
            asked_at: now,
            steps: 0,
            streams: vec![],
            chunk_follows: false,
        };
        Ok(Self {
            shape,
            pace,
            event: server.kind.event(9),
            clients: conns.into_iter().enumerate().map(client).collect(),
            extensions,
            first,
            until: now,
            rounds: 0,
            open: 0,
            paced: Paced::default(),
            done: Done::default(),
        })
    }

    fn ask(&mut self, net: &mut Net, index: usize) {
        let steps = match self.pace {
            // The first answers only warm up: of five thousand clients they take as long as what is measured.
            Pace::Burst { steps } if self.rounds == 1 => steps.div_ceil(4),
            Pace::Burst { steps } => steps,
            Pace::Steps { .. } => self.paced.steps,
        };
        let client = &mut self.clients[index];
        client.answer = Answer { number: client.answer.number + 1, steps, ..client.answer };
        client.acked = false;
        client.expected.clear();
        client.ends.clear();
        client.sent.clear();
        for step in 0..steps {
            client.answer.append_text(self.shape, step, &mut client.expected);
            client.ends.push(client.expected.len());
        }
        (client.got, client.steps, client.asked_at) = (0, 0, net.now);
        self.open += 1;
        let target = &self.extensions[client.extension].0;
        let text = request(&self.event, 0, target, &client.answer.request_id(), QUESTION);
        net.send(client.conn, text.as_bytes());
    }

    /// A request has come to an extension.
    fn asked(&mut self, net: &mut Net, extension: usize, args: &[u8]) -> Outcome {
        let forwarded: Forwarded<'_> = serde_json::from_slice(args)?;
        let (client, number) = Answer::of_request(forwarded.request_id).ok_or("a foreign request")?;
        let asking = self.clients.get(client as usize).ok_or("a foreign client")?;
        if asking.answer.number != number || asking.extension != extension {
            return Err(format!("a request twice, or to another extension: {forwarded:?}").into());
        }
        forwarded.check(&self.extensions[extension].0, &world::client(client as usize), QUESTION)?;
        match self.pace {
            Pace::Burst { .. } => {
                for step in 0..asking.answer.steps {
                    self.say(net, client as usize, step);
                }
            }
            Pace::Steps { per_second } => {
                self.paced.turns.push_back((client, 0));
                self.paced.asked += 1;
                if self.paced.asked == self.clients.len() {
                    net.tick_every(Some(Duration::from_secs(1) / per_second))?;
                }
            }
        }
        Ok(())
    }

    fn say(&mut self, net: &mut Net, client: usize, step: usize) {
        let client = &mut self.clients[client];
        let (id, conn) = &self.extensions[client.extension];
        client.sent.push(net.now);
        client.answer.events(self.shape, id, step, |packet| net.send(*conn, packet.as_bytes()));
    }

    fn heard(&mut self, net: &mut Net, index: usize, text: &[u8]) -> Outcome {
        let client = &mut self.clients[index];
        let (namespace, packet) = packet::read(text)?;
        let refuse = || format!("client {index} is sent {}", packet::show(text));
        if namespace != b"/llm" {
            return Err(refuse().into());
        }
        match packet {
            Packet::Ack { id: 0, args } if !client.acked => {
                if !packet::same_json(args, FORWARDED) {
                    return Err(refuse().into());
                }
                client.acked = true;
                self.complete(net, index);
                Ok(())
            }
            Packet::Event { attachments: 0, args, .. } => {
                let (name, rest) = packet::event(args)?;
                match name {
                    b"$stream" => {
                        // Nobody listens to the name's other spelling, so nobody reads such a stream.
                        if rest.starts_with(b"\"SERVER_STREAM_DATA\"") {
                            return Ok(());
                        }
                        client.announced(net, self.shape, args)
                    }
                    b"$stream-end" => {
                        let (wire, _) = packet::text(rest).ok_or_else(refuse)?;
                        let known = client.streams.iter().position(|stream| stream == wire);
                        client.streams.swap_remove(known.ok_or_else(refuse)?);
                        net.send(client.conn, &concat(&[b"42/llm,[\"$stream-end\",\"", wire, b"\"]"]));
                        self.complete(net, index);
                        Ok(())
                    }
                    _ => Err(refuse().into()),
                }
            }
            Packet::Event { attachments: 1, ack: Some(ack), args } => {
                let (name, rest) = packet::event(args)?;
                let (wire, rest) = packet::text(rest).ok_or_else(refuse)?;
                let known = client.streams.iter().any(|stream| stream == wire);
                let head = name == b"$stream-write"
                    && (rest == HEAD || packet::same_json(&array(rest), &array(HEAD)));
                if !known || !head || client.chunk_follows {
                    return Err(refuse().into());
                }
                client.chunk_follows = true;
                // The chunk comes next, and is checked there; both answers follow in one write anyway.
                net.send(client.conn, format!("43/llm,{ack}[]").as_bytes());
                net.send(client.conn, &read_on(wire));
                Ok(())
            }
            _ => Err(refuse().into()),
        }
    }

    fn chunk(&mut self, net: &mut Net, index: usize, chunk: &[u8]) -> Outcome {
        let client = &mut self.clients[index];
        let rest = &client.expected.as_bytes()[client.got..];
        if !std::mem::take(&mut client.chunk_follows) || chunk.is_empty() || !rest.starts_with(chunk) {
            let (got, wanted) = (packet::show(chunk), packet::show(rest));
            return Err(format!("client {index} is sent {got:?} instead of {wanted:?}").into());
        }
        let burst = matches!(self.pace, Pace::Burst { .. });
        if burst && client.got == 0 {
            self.done.latencies.push(micros(client.asked_at, net.now));
        }
        client.got += chunk.len();
        while client.ends.get(client.steps).is_some_and(|end| *end <= client.got) {
            if !burst {
                self.done.latencies.push(micros(client.sent[client.steps], net.now));
            }
            client.steps += 1;
            self.done.units += self.shape.units();
        }
        Ok(())
    }

    fn complete(&mut self, net: &mut Net, index: usize) {
        let client = &self.clients[index];
        if client.acked && client.got == client.expected.len() && client.streams.is_empty() {
            self.open -= 1;
            if matches!(self.pace, Pace::Burst { .. }) && net.now < self.until {
                self.ask(net, index);
            }
        }
    }
}

const QUESTION: &str = "What did the lamp see, while nobody was looking at it?";
const FORWARDED: &[u8] = br#"[{"status":"ok","message":"Request forwarded."}]"#;
const HEAD: &[u8] = br#",{"_placeholder":true,"num":0},"buffer""#;

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "$stream", borrow)]
    id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct About<'a> {
    #[serde(borrow)]
    stream_id: &'a str,
    output_id: &'a str,
    request_id: &'a str,
    source: &'a str,
}

impl Client {
    /// A stream begins: it is read.
    fn announced(&mut self, net: &mut Net, shape: Shape, args: &[u8]) -> Outcome {
        let (_, event, wire, about): (&str, &str, Wire<'_>, About<'_>) = serde_json::from_slice(args)?;
        let answer = self.answer;
        let streams = if shape == Shape::PerToken { answer.steps } else { 1 };
        // Streams that wait may be merged into one; it bears the id of one of them.
        let known = Answer::of_stream(about.stream_id)
            .is_some_and(|step| step < streams && about.stream_id == answer.stream_id(shape, step));
        if event != "streamed_data"
            || !known
            || about.output_id != answer.output_id()
            || about.request_id != answer.request_id()
            || about.source != "server"
            || self.streams.iter().any(|stream| stream == wire.id.as_bytes())
        {
            return Err(format!("client {} is sent {}", answer.client, packet::show(args)).into());
        }
        self.streams.push(wire.id.as_bytes().to_vec());
        net.send(self.conn, &read_on(wire.id.as_bytes()));
        Ok(())
    }
}

fn read_on(wire: &[u8]) -> Vec<u8> {
    concat(&[b"42/llm,[\"$stream-read\",\"", wire, b"\",16384]"])
}

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// The rest of arguments as an array, for a comparison of values.
fn array(rest: &[u8]) -> Vec<u8> {
    concat(&[b"[0", rest, b"]"])
}

impl Driver for Answers {
    fn frame(&mut self, net: &mut Net, at: ConnId, frame: Frame<'_>) -> Outcome {
        let (first_client, first_extension) = self.first;
        match (at.checked_sub(first_client), frame) {
            (Some(client), Frame::Text(text)) => self.heard(net, client, text),
            (Some(client), Frame::Binary(chunk)) => self.chunk(net, client, chunk),
            (None, Frame::Text(text)) => {
                let (namespace, packet) = packet::read(text)?;
                if let Packet::Event { attachments: 0, args, .. } = packet {
                    let (name, rest) = packet::event(args)?;
                    if (namespace, name) == (b"/llm", b"9") {
                        return self.asked(net, at - first_extension, rest);
                    }
                }
                Err(format!("an extension is sent {}", packet::show(text)).into())
            }
            _ => Err("an unexpected frame".into()),
        }
    }

    fn ticks(&mut self, net: &mut Net, count: u64) -> Outcome {
        for _ in 0..count {
            let Some((client, step)) = self.paced.turns.pop_front() else { break };
            self.say(net, client as usize, step);
            if step + 1 < self.paced.steps {
                self.paced.turns.push_back((client, step + 1));
            }
        }
        if self.paced.turns.is_empty() {
            net.tick_every(None)?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.open == 0
    }

    fn waits_for(&self) -> String {
        let missing = self.clients.iter().find(|client| client.got < client.expected.len());
        let missing = missing.map(|client| (client.answer, client.got, client.expected.len(), client.acked));
        format!("{} answers are not complete, the first is {missing:?}", self.open)
    }
}

impl Load for Answers {
    fn begin(&mut self, net: &mut Net, time: Duration) -> Outcome {
        self.rounds += 1;
        self.until = Instant::now() + time;
        net.now = Instant::now();
        if let Pace::Steps { per_second } = self.pace {
            let steps = f64::from(per_second) * time.as_secs_f64() / self.clients.len() as f64;
            self.paced = Paced { steps: (steps.round() as usize).max(1), ..Paced::default() };
        }
        for index in 0..self.clients.len() {
            self.ask(net, index);
        }
        Ok(())
    }

    fn take(&mut self) -> Done {
        std::mem::take(&mut self.done)
    }
}

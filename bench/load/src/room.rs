//! A message to a room: whoever is in it has it, once, and in the order of its sender.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use crate::{
    Outcome,
    measure::{Done, Load, micros},
    net::{ConnId, Driver, Net},
    packet::{self, Packet},
    server::{Kind, Server},
    websocket::Frame,
    world::{self, PATIENCE, Peer},
};

/// Members that write. Each writes again when everybody has its last message.
const SENDERS: usize = 4;
const ROOM: &str = "bench";
/// Its master, who makes the room.
pub const MASTER: &str = "monitor";

pub struct Room {
    members: Vec<Member>,
    flights: Vec<Flight>,
    first: ConnId,
    until: Instant,
    done: Done,
}

struct Member {
    conn: ConnId,
    /// The last message of each sender.
    seen: [u32; SENDERS],
}

/// A message that not everybody has.
#[derive(Default)]
struct Flight {
    number: u32,
    acked: bool,
    missing: usize,
    /// As the first member was sent it: it is the same for all.
    frame: Vec<u8>,
    sent_at: Option<Instant>,
}

impl Room {
    /// `size` members, the master among them.
    pub fn new(net: &mut Net, server: &Server, size: usize) -> Outcome<Self> {
        let namespaces: &[&str] = if server.kind == Kind::Ours { &["/rooms", "/llm"] } else { &["/llm"] };
        let master = Peer { id: MASTER.to_owned(), namespaces, dialect: Some(2) };
        let master = world::join(net, server, vec![master])?[0];
        let guest = |index| Peer { dialect: Some(2), ..Peer::client(index, &["/llm"]) };
        let mut conns = vec![master];
        conns.extend(world::join(net, server, (1..size).map(guest).collect())?);
        if server.kind == Kind::Ours {
            let calls = calls(size);
            let mut making = Making { master, calls, next: 0, unread: conns[1..].to_vec() };
            making.call(net);
            net.run(&mut making, PATIENCE)?;
        }
        // What members are told because others came.
        world::listen(net, Duration::from_millis(100))?;
        Ok(Self {
            first: conns[0],
            members: conns.into_iter().map(|conn| Member { conn, seen: [0; SENDERS] }).collect(),
            flights: (0..SENDERS).map(|_| Flight { acked: true, ..Flight::default() }).collect(),
            until: Instant::now(),
            done: Done::default(),
        })
    }

    fn write(&mut self, net: &mut Net, sender: usize) {
        let flight = &mut self.flights[sender];
        *flight = Flight {
            number: flight.number + 1,
            acked: false,
            missing: self.members.len(),
            frame: std::mem::take(&mut flight.frame),
            sent_at: Some(net.now),
        };
        flight.frame.clear();
        let id = id(sender, flight.number);
        let payload = json!({"requestId": id, "targetRoom": ROOM, "message": TEXT});
        let text = format!("42/llm,{}[\"LLM_REQUEST\",{payload}]", flight.number);
        // The master does not write: what guests say in this room is forwarded to nobody.
        net.send(self.members[sender + 1].conn, text.as_bytes());
    }

    fn told(&mut self, net: &Net, member: usize, text: &[u8]) -> Outcome<usize> {
        let refuse = || format!("member {member} is sent {}", packet::show(text));
        let known = self.flights.iter().position(|flight| flight.frame == text);
        let sender = match known {
            Some(sender) => sender,
            None => {
                let sender = self.read(text).ok_or_else(refuse)?;
                self.flights[sender].frame = text.to_vec();
                sender
            }
        };
        let flight = &mut self.flights[sender];
        let seen = &mut self.members[member].seen[sender];
        if *seen + 1 != flight.number {
            return Err(refuse().into());
        }
        *seen += 1;
        flight.missing -= 1;
        self.done.units += 1;
        if let Some(sent_at) = flight.sent_at {
            self.done.latencies.push(micros(sent_at, net.now));
        }
        Ok(sender)
    }

    /// A frame that came to nobody yet: whose message it is, if it is right.
    fn read(&self, text: &[u8]) -> Option<usize> {
        let (b"/llm", Packet::Event { attachments: 0, ack: None, args }) = packet::read(text).ok()? else {
            return None;
        };
        let (name, told): (&str, Told<'_>) = serde_json::from_slice(args).ok()?;
        let message = told.message;
        let sender = (0..SENDERS).find(|sender| message.client_id == world::client(sender + 1))?;
        let flight = &self.flights[sender];
        let right = name == "NEW_MESSAGE"
            && told.room_name == ROOM
            && message.target_room == ROOM
            && message.message == TEXT
            && message.identity == message.client_id
            && message.request_id == id(sender, flight.number)
            && message.from_client
            && flight.frame.is_empty();
        right.then_some(sender)
    }

    fn acked(&mut self, member: usize, id: u64, args: &[u8]) -> Outcome<usize> {
        let sender = member.checked_sub(1).filter(|sender| *sender < SENDERS).ok_or("an ack for nobody")?;
        let flight = &mut self.flights[sender];
        if flight.acked || id != u64::from(flight.number) || !packet::same_json(args, RECEIVED) {
            return Err(format!("member {member} is acked {}", packet::show(args)).into());
        }
        flight.acked = true;
        Ok(sender)
    }
}

const TEXT: &str = "The lamp was lit, and nobody knew by whom; it burned until dawn.";
const RECEIVED: &[u8] = br#"[{"status":"ok","message":"Request received."}]"#;

fn id(sender: usize, number: u32) -> String {
    format!("{sender:08x}-0000-4000-8000-{number:012x}")
}

/// The room, its members, and a mode in which a guest's message is told to the room and forwarded to nobody.
fn calls(size: usize) -> Vec<String> {
    let call = |event: &str, payload: serde_json::Value| format!("42/rooms,0[\"{event}\",{payload}]");
    let mut calls = vec![
        call("CREATE_ROOM", json!({"roomName": ROOM})),
        call("SET_ROOM_MESSAGE_REQUEST_MODE", json!({"roomName": ROOM, "mode": "MasterOnly"})),
    ];
    calls.extend((1..size).map(|index| {
        call(
            "ADD_CLIENT_TO_ROOM",
            json!({"identity": world::client(index), "roomName": ROOM, "role": "guest"}),
        )
    }));
    calls
}

/// One call of the master after another, until every newcomer has read what was said in the room before: that
/// comes in pages, with a pause after each.
struct Making {
    master: ConnId,
    calls: Vec<String>,
    next: usize,
    unread: Vec<ConnId>,
}

impl Making {
    fn call(&self, net: &mut Net) {
        if let Some(call) = self.calls.get(self.next) {
            net.send(self.master, call.as_bytes());
        }
    }
}

impl Driver for Making {
    fn frame(&mut self, net: &mut Net, at: ConnId, frame: Frame<'_>) -> Outcome {
        let Frame::Text(text) = frame else { return Err("not a text".into()) };
        match packet::read(text)?.1 {
            Packet::Ack { args, .. } if at == self.master => {
                if !args.starts_with(b"[{\"status\":\"ok\"") {
                    return Err(format!("{:?}: {}", self.calls.get(self.next), packet::show(args)).into());
                }
                self.next += 1;
                self.call(net);
            }
            Packet::Event { args, .. } if args.starts_with(b"[\"UPDATE_CONTEXT_PAGE\"") => {
                let (_, page): (&str, Page) = serde_json::from_slice(args)?;
                if page.is_last_page {
                    self.unread.retain(|unread| *unread != at);
                }
            }
            _ => (),
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.next == self.calls.len() && self.unread.is_empty()
    }

    fn waits_for(&self) -> String {
        format!("{} of {} calls, {} have not read", self.next, self.calls.len(), self.unread.len())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    is_last_page: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Told<'a> {
    #[serde(borrow)]
    room_name: &'a str,
    message: Message<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    #[serde(borrow)]
    request_id: &'a str,
    target_room: &'a str,
    message: &'a str,
    client_id: &'a str,
    identity: &'a str,
    from_client: bool,
}

impl Driver for Room {
    fn frame(&mut self, net: &mut Net, at: ConnId, frame: Frame<'_>) -> Outcome {
        let Frame::Text(text) = frame else { return Err("not a text".into()) };
        let member = at - self.first;
        let sender = match text {
            [b'4', b'3', ..] => match packet::read(text)?.1 {
                Packet::Ack { id, args } => self.acked(member, id, args)?,
                _ => return Err("not an ack".into()),
            },
            text => self.told(net, member, text)?,
        };
        let flight = &self.flights[sender];
        if flight.acked && flight.missing == 0 && net.now < self.until {
            self.write(net, sender);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.flights.iter().all(|flight| flight.acked && flight.missing == 0)
    }

    fn waits_for(&self) -> String {
        let missing: usize = self.flights.iter().map(|flight| flight.missing).sum();
        format!("{missing} deliveries are missing")
    }
}

impl Load for Room {
    fn begin(&mut self, net: &mut Net, time: Duration) -> Outcome {
        net.now = Instant::now();
        self.until = net.now + time;
        for sender in 0..SENDERS {
            self.write(net, sender);
        }
        Ok(())
    }

    fn take(&mut self) -> Done {
        std::mem::take(&mut self.done)
    }
}

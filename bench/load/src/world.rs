//! Who is connected: clients and extensions, each with a connection of its own.

use std::time::Duration;

use serde_json::json;

use crate::{
    Outcome,
    net::{ConnId, Driver, Net},
    packet::{self, Packet},
    server::{Kind, Server},
    websocket::Frame,
};

/// Connections that are being made at once.
const WINDOW: usize = 64;
/// Nothing comes for so long: it has been lost.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn client(index: usize) -> String {
    format!("client-{index:05}")
}

pub fn extension(index: usize) -> String {
    format!("SillyTavern-{}", 8000 + index)
}

/// A connection, and what it joins.
pub struct Peer {
    pub id: String,
    pub namespaces: &'static [&'static str],
    /// Named events are a handshake's choice; numbers are what clients speak who say nothing.
    pub dialect: Option<u32>,
}

impl Peer {
    pub fn client(index: usize, namespaces: &'static [&'static str]) -> Self {
        Self { id: client(index), namespaces, dialect: None }
    }

    /// The published extension speaks numbers, and has shown it in other namespaces before anybody asks it.
    pub fn extension(index: usize) -> Self {
        Self { id: extension(index), namespaces: &["/llm"], dialect: Some(1) }
    }

    fn handshake(&self) -> String {
        let mut auth = json!({"clientId": self.id, "clientType": "bench", "key": "k", "desc": "bench"});
        if let Some(dialect) = self.dialect {
            auth["dialect"] = json!(dialect);
        }
        auth.to_string()
    }
}

/// Connects all, in order, and returns their connections.
pub fn join(net: &mut Net, server: &Server, peers: Vec<Peer>) -> Outcome<Vec<ConnId>> {
    let mut joining = Joining { server, peers, conns: vec![], missing: vec![], ready: 0 };
    joining.fill(net)?;
    net.run(&mut joining, PATIENCE)?;
    Ok(joining.conns)
}

struct Joining<'a> {
    server: &'a Server,
    peers: Vec<Peer>,
    conns: Vec<ConnId>,
    /// Namespaces that each has not joined yet.
    missing: Vec<usize>,
    ready: usize,
}

impl Joining<'_> {
    fn fill(&mut self, net: &mut Net) -> Outcome {
        while self.conns.len() < self.peers.len() && self.conns.len() < self.ready + WINDOW {
            let peer = &self.peers[self.conns.len()];
            self.conns.push(net.connect(self.server.address, self.server.kind.path())?);
            self.missing.push(peer.namespaces.len());
            if self.server.kind == Kind::Raw {
                // It says nothing unasked; what it echoes shows that it is there.
                let at = self.conns[self.conns.len() - 1];
                net.send(at, b"40/auth,{}");
            }
        }
        Ok(())
    }
}

impl Driver for Joining<'_> {
    fn frame(&mut self, net: &mut Net, at: ConnId, frame: Frame<'_>) -> Outcome {
        let Frame::Text(text) = frame else { return Ok(()) };
        let first = self.conns.first().copied().unwrap_or_default();
        let Some(index) = at.checked_sub(first).filter(|index| *index < self.conns.len()) else {
            return Ok(());
        };
        match packet::read(text)?.1 {
            Packet::Open => {
                let handshake = self.peers[index].handshake();
                for namespace in self.peers[index].namespaces {
                    net.send(at, format!("40{namespace},{handshake}").as_bytes());
                }
            }
            Packet::Connected => {
                self.missing[index] -= 1;
                if self.missing[index] == 0 {
                    self.ready += 1;
                    self.fill(net)?;
                }
            }
            // A key on /auth, who is there, a room's state: what a joined client is told.
            Packet::Event { args, .. } => {
                let (name, rest) = packet::event(args)?;
                if matches!(name, b"21" | b"ERROR") {
                    let id = &self.peers[index].id;
                    return Err(format!("{id} is refused: {}", packet::show(rest)).into());
                }
            }
            Packet::Ack { .. } => (),
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.ready == self.peers.len()
    }

    fn waits_for(&self) -> String {
        format!("{} of {} peers have joined", self.ready, self.peers.len())
    }
}

/// For so long, to whatever comes; a closed connection is an error.
pub fn listen(net: &mut Net, time: Duration) -> Outcome {
    net.run_for(&mut Listening, time)
}

struct Listening;

impl Driver for Listening {
    fn frame(&mut self, _net: &mut Net, _at: ConnId, _frame: Frame<'_>) -> Outcome {
        Ok(())
    }

    fn is_done(&self) -> bool {
        true
    }

    fn waits_for(&self) -> String {
        String::new()
    }
}

//! A reader whose sockets die without a word: it opens others, and the dead ones are found later, in any order. Each byte
//! of each stream reaches it once.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::fixture::*;
use crate::{
    llm_router::Delivery,
    stream::{StreamInfo, StreamText},
};

#[derive(Clone, Debug)]
enum Act {
    /// One of the streams: its text comes later, or never.
    Starts {
        stream: usize,
    },
    /// Some text of one of the streams.
    Text {
        stream: usize,
        len: usize,
        end: bool,
    },
    /// The socket that it reads from, if there is one, is dead from now on.
    Opens {
        mailbox: usize,
    },
    Dies,
    /// So many bytes of one of the streams that wait.
    Reads {
        which: usize,
        bytes: usize,
    },
    /// The broker's word that one of the dead is so.
    Told {
        which: usize,
    },
    /// One of the dead gives back so many parts that it did not read. That may be before the word, or after it.
    GivesBack {
        which: usize,
        parts: usize,
    },
    Flush,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let text = (0usize..3, 1usize..8, prop::bool::weighted(0.2));
    let act = prop_oneof![
        3 => (0usize..3).prop_map(|stream| Act::Starts { stream }),
        8 => text.prop_map(|(stream, len, end)| Act::Text { stream, len, end }),
        2 => (1usize..9).prop_map(|mailbox| Act::Opens { mailbox }),
        1 => Just(Act::Dies),
        8 => (0usize..4, 1usize..12).prop_map(|(which, bytes)| Act::Reads { which, bytes }),
        2 => (0usize..4).prop_map(|which| Act::Told { which }),
        3 => (0usize..4, 1usize..5).prop_map(|(which, parts)| Act::GivesBack { which, parts }),
        1 => Just(Act::Flush),
    ];
    prop::collection::vec(act, 1..60)
}

/// A socket, and how much of each part that came was read.
struct Line {
    socket: Socket,
    read: Vec<usize>,
    /// So many of the parts it has given back, or read whole before.
    given_back: usize,
}

impl Line {
    fn parts(&mut self) -> Vec<Delivery> {
        let parts = self.socket.parts.lock().clone();
        self.read.resize(parts.len(), 0);
        parts
    }

    /// Reads of one of the streams, and returns which, where and what that was.
    fn read(&mut self, which: usize, bytes: usize) -> Option<(u64, u64, String)> {
        let parts = self.parts();
        let mut waiting: Vec<(usize, &StreamText)> = Vec::new();
        for (at, text) in parts.iter().enumerate().filter_map(|(at, part)| Some((at, part.text()?))) {
            let is_new = waiting.iter().all(|(_, other)| other.info.key != text.info.key);
            if self.read[at] < text.text.len() && is_new {
                waiting.push((at, text));
            }
        }
        let (at, text) = *waiting.get(which % waiting.len().max(1))?;
        let from = self.read[at];
        let to = text.text.len().min(from + bytes);
        self.read[at] = to;
        let words = String::from_utf8(text.text[from..to].to_vec()).unwrap();
        Some((text.info.key, text.at + from as u64, words))
    }

    /// The next parts that it did not read, or not whole.
    fn give_back(&mut self, most: usize) -> Vec<Delivery> {
        let parts = self.parts();
        let mut back = Vec::new();
        for (part, read) in parts.into_iter().zip(&self.read).skip(self.given_back) {
            self.given_back += 1;
            back.extend(match part {
                Delivery::Text(text) if text.text.len() <= *read => None,
                Delivery::Text(text) => Some(Delivery::Text(StreamText {
                    at: text.at + *read as u64,
                    text: text.text.slice(*read..),
                    ..text
                })),
                other => Some(other),
            });
            if back.len() == most {
                break;
            }
        }
        back
    }
}

struct World {
    f: Fixture,
    lines: Vec<Line>,
    /// Those that the broker takes for alive, and the one of them that is.
    known: Vec<usize>,
    alive: Option<usize>,
    streams: BTreeMap<usize, Arc<StreamInfo>>,
    sent: BTreeMap<u64, String>,
    read: BTreeMap<u64, Vec<Option<char>>>,
}

impl World {
    fn starts(&mut self, stream: usize) -> Arc<StreamInfo> {
        self.streams.entry(stream).or_insert_with(super::fixture::stream).clone()
    }

    fn text(&mut self, stream: usize, len: usize, end: bool) {
        let info = self.starts(stream);
        let sent = self.sent.entry(info.key).or_default();
        let words: String =
            (sent.len()..sent.len() + len).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
        sent.push_str(&words);
        self.f.send(&info, &words, end);
        if end {
            self.streams.remove(&stream);
        }
    }

    fn tell(&mut self) {
        let sockets: Vec<&Socket> = self.known.iter().map(|at| &self.lines[*at].socket).collect();
        self.f.peers(&sockets, false);
    }

    fn open(&mut self, mailbox: usize) {
        self.lines.push(Line { socket: Socket::new(mailbox), read: Vec::new(), given_back: 0 });
        self.alive = Some(self.lines.len() - 1);
        self.known.push(self.lines.len() - 1);
        self.tell();
    }

    async fn read(&mut self, which: usize, bytes: usize) -> Result<bool, TestCaseError> {
        let Some(at) = self.alive else { return Ok(false) };
        self.lines[at].socket.read().await;
        let Some((key, from, words)) = self.lines[at].read(which, bytes) else { return Ok(false) };
        let read = self.read.entry(key).or_default();
        for (place, letter) in (from as usize..).zip(words.chars()) {
            read.resize(read.len().max(place + 1), None);
            prop_assert_eq!(read[place], None, "byte {} of stream {} twice", place, key);
            read[place] = Some(letter);
        }
        Ok(true)
    }

    fn told(&mut self, which: usize) {
        let dead: Vec<usize> = self.known.iter().copied().filter(|at| Some(*at) != self.alive).collect();
        if let Some(at) = dead.get(which % dead.len().max(1)) {
            self.known.retain(|known| known != at);
            self.tell();
        }
    }

    async fn gives_back(&mut self, which: usize, most: usize) -> bool {
        let dead: Vec<usize> = (0..self.lines.len()).filter(|at| Some(*at) != self.alive).collect();
        let Some(&at) = dead.get(which % dead.len().max(1)) else { return false };
        let line = &mut self.lines[at];
        line.socket.read().await;
        let (back, from) = (line.give_back(most), line.socket.peer.socket);
        let any = !back.is_empty();
        if any {
            self.f.fan_out.returned(ROUTE, &me(), from, back, self.f.now);
        }
        any
    }
}

/// At the end it is away, or opens its last socket before all others are found dead.
async fn each_byte_is_read_once(acts: Vec<Act>, away_last: bool) -> Result<(), TestCaseError> {
    let mut world = World {
        f: Fixture::new(usize::MAX / 4, vec![(me(), Vec::new())]),
        lines: Vec::new(),
        known: Vec::new(),
        alive: None,
        streams: BTreeMap::new(),
        sent: BTreeMap::new(),
        read: BTreeMap::new(),
    };
    for act in acts {
        match act {
            Act::Starts { stream } => _ = world.starts(stream),
            Act::Text { stream, len, end } => world.text(stream, len, end),
            // Of more sockets than that it is not remembered what they have had.
            Act::Opens { mailbox } if world.lines.len() < 12 => world.open(mailbox),
            Act::Opens { .. } => (),
            Act::Dies => world.alive = None,
            Act::Reads { which, bytes } => _ = world.read(which, bytes).await?,
            Act::Told { which } => world.told(which),
            Act::GivesBack { which, parts } => _ = world.gives_back(which, parts).await,
            Act::Flush => world.f.fan_out.flush(world.f.now),
        }
    }
    if away_last {
        world.alive = None;
    } else {
        world.open(1000);
    }
    while world.known.iter().any(|at| Some(*at) != world.alive) {
        world.told(0);
    }
    for dead in 0..world.lines.len() {
        while world.gives_back(dead, 2).await {}
    }
    if away_last {
        world.open(1000);
    }
    let last = world.lines.len() - 1;
    world.f.settle(&[&world.lines[last].socket]).await;
    while world.read(0, 100).await? {}
    for (key, sent) in &world.sent {
        let read: String = world
            .read
            .remove(key)
            .unwrap_or_default()
            .into_iter()
            .map(|letter| letter.unwrap_or('_'))
            .collect();
        prop_assert_eq!(&read, sent, "stream {}", key);
    }
    Ok(())
}

proptest! {
    #[test]
    fn each_byte_reaches_a_reader_of_many_sockets_once(acts in acts(), away_last: bool) {
        run(each_byte_is_read_once(acts, away_last))?;
    }
}

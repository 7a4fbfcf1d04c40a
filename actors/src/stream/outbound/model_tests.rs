//! The sender against a simulated receiver, in random order.
//!
//! The receiver keeps the rules of the library and is as awkward as they allow: it reads when it
//! likes, acks before or after reading, and gives chunks to its program late: first chunks of
//! streams in the order of their coming, later chunks whenever it likes. Only the ack says that a
//! chunk has been given. So text that relies on more than rule 7 promises comes out in disorder.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;

use bytes::Bytes;

use super::*;

/// What travels to the sender.
enum Reply {
    Read(WireId),
    Ack(WireId, bool),
    End(WireId),
    Error(WireId),
}

#[derive(Default)]
struct Stream {
    output: String,
    /// Reads sent and not yet answered by a write: never more than one.
    reading: bool,
    /// Wants to read, and will do so at some step.
    wants: bool,
    writes: u32,
    ended: bool,
    dead: bool,
}

struct Receiver {
    listens: Vec<&'static str>,
    ack_first: bool,
    strict: bool,
    streams: HashMap<WireId, Stream>,
    /// Chunks on their way to the program.
    first: VecDeque<(WireId, Bytes)>,
    later: Vec<(WireId, Bytes)>,
    replies: VecDeque<Reply>,
    /// What the program has, by output.
    text: HashMap<String, String>,
    failed: bool,
}

impl Receiver {
    fn take(&mut self, command: Command) {
        match command {
            Command::Announce { wire, event, info } => {
                if self.listens.iter().any(|name| event == *name) {
                    let output = info.output_id.to_string();
                    let stream = Stream { output, wants: true, ..Stream::default() };
                    assert!(self.streams.insert(wire, stream).is_none(), "announced twice");
                }
            }
            Command::Write { wire, chunk } => {
                assert!(!chunk.is_empty() && chunk.len() <= 8, "size of a write");
                std::str::from_utf8(&chunk).expect("whole characters");
                let Some(stream) = self.streams.get_mut(&wire).filter(|stream| !stream.dead) else {
                    assert!(!self.strict, "write to a stream that is not there");
                    self.replies.push_back(Reply::Ack(wire, false));
                    return;
                };
                assert!(!stream.ended, "write after the end");
                assert!(std::mem::take(&mut stream.reading), "write without a permit");
                stream.writes += 1;
                match stream.writes {
                    1 => self.first.push_back((wire, chunk)),
                    _ => self.later.push((wire, chunk)),
                }
            }
            Command::End { wire } => {
                let stream = self.streams.get_mut(&wire).expect("end of a known stream");
                assert!(!std::mem::replace(&mut stream.ended, true), "ended twice");
                self.replies.push_back(Reply::End(wire));
            }
            Command::Error { wire, .. } => {
                self.failed = true;
                if let Some(stream) = self.streams.get_mut(&wire) {
                    stream.dead = true;
                }
            }
            Command::Ended { .. } => (),
            Command::Dropped { .. } => self.failed = true,
        }
    }

    /// Something happens in the receiver; `false` if nothing can.
    fn act(&mut self, dice: usize) -> bool {
        let mut wanting: Vec<WireId> =
            self.streams.iter().filter(|(_, s)| s.wants && !s.dead).map(|(id, _)| *id).collect();
        wanting.sort();
        let first = usize::from(!self.first.is_empty());
        let count = wanting.len() + first + self.later.len();
        if count == 0 {
            return false;
        }
        let pick = dice % count;
        if let Some(wire) = wanting.get(pick) {
            self.read(*wire);
            return true;
        }
        let pick = pick - wanting.len();
        let (wire, chunk) = match pick < first {
            true => self.first.pop_front().unwrap(),
            false => self.later.remove(pick - first),
        };
        let Some(stream) = self.streams.get_mut(&wire).filter(|stream| !stream.dead) else {
            return true;
        };
        stream.wants = true;
        let text = self.text.entry(stream.output.clone()).or_default();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        if !self.ack_first {
            self.read(wire);
        }
        self.replies.push_back(Reply::Ack(wire, true));
        true
    }

    fn read(&mut self, wire: WireId) {
        if let Some(stream) = self.streams.get_mut(&wire) {
            stream.wants = false;
            if !stream.ended {
                stream.reading = true;
            }
            self.replies.push_back(Reply::Read(wire));
        }
    }
}

struct World {
    sender: StreamSender,
    receiver: Receiver,
    now: Instant,
    out: Vec<Command>,
    wire: VecDeque<Command>,
}

impl World {
    /// Runs the sender once and puts what it says on the wire.
    fn run(&mut self, step: impl FnOnce(&mut StreamSender, Instant, &mut Vec<Command>)) {
        step(&mut self.sender, self.now, &mut self.out);
        self.wire.extend(self.out.drain(..));
        let limit = self.sender.limits.max_unread.max(self.sender.limits.event_names.len());
        assert!(self.sender.unread_wires <= limit, "too many unread announcements");
        let waiting: usize = self.sender.entries.iter().map(|(_, entry)| entry.text.len()).sum();
        assert_eq!(self.sender.queued_bytes(), waiting);
        let unread = self.sender.entries.iter().filter(|(_, entry)| entry.is_unread());
        assert_eq!(self.sender.unread_wires, unread.map(|(_, e)| e.wires().len()).sum::<usize>());
        assert!(self.sender.timers.len() <= self.sender.entries.len());
    }

    /// One random thing happens; `false` if all is quiet.
    fn happen(&mut self, dice: usize) -> bool {
        let (which, dice) = (dice % 3, dice / 3);
        for turn in 0..3 {
            let done = match (which + turn) % 3 {
                0 => self.wire.pop_front().map(|command| self.receiver.take(command)).is_some(),
                1 => match self.receiver.replies.pop_front() {
                    Some(reply) => {
                        self.run(|sender, now, out| match reply {
                            Reply::Read(wire) => sender.on_read(&wire.to_string(), now, out),
                            Reply::Ack(wire, true) => sender.on_ack(wire, Ok(()), now, out),
                            Reply::Ack(wire, false) => sender.on_ack(wire, Err("no"), now, out),
                            Reply::End(wire) => sender.on_end(&wire.to_string(), now, out),
                            Reply::Error(wire) => sender.on_error(&wire.to_string(), now, out),
                        });
                        true
                    }
                    None => false,
                },
                _ => self.receiver.act(dice),
            };
            if done {
                return true;
            }
        }
        false
    }
}

/// Pieces of one stream; the stream's output; whether it is ended with its last piece.
type Token = (Vec<String>, u8, bool);

fn tokens() -> impl Strategy<Value = Vec<Token>> {
    let pieces = proptest::collection::vec("[a-zé你😀]{0,7}", 1..4);
    proptest::collection::vec((pieces, 0u8..2, any::<bool>()), 1..25)
}

fn world(limits: OutboundLimits, listens: usize, ack_first: bool, strict: bool) -> World {
    let listens = [&["x"][..], &["y"], &["x", "y"]][listens].to_vec();
    World {
        sender: StreamSender::new(limits, None),
        receiver: Receiver {
            listens,
            ack_first,
            strict,
            streams: HashMap::new(),
            first: VecDeque::new(),
            later: Vec::new(),
            replies: VecDeque::new(),
            text: HashMap::new(),
            failed: false,
        },
        now: Instant::now(),
        out: Vec::new(),
        wire: VecDeque::new(),
    }
}

fn limits(max_unread: usize, by_output: bool) -> OutboundLimits {
    OutboundLimits {
        max_unread,
        max_unacked: 3,
        max_write: 8,
        event_names: ["x", "y"].map(ByteString::from_static).into(),
        grouping: if by_output { StreamGrouping::Output } else { StreamGrouping::Stream },
        ..OutboundLimits::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the order of reads, acks and ends: the text of each output arrives, in order, once.
    #[test]
    fn every_text_arrives_in_order_and_once(
        tokens in tokens(),
        dice in proptest::collection::vec(any::<u16>(), 1..200),
        (max_unread, listens) in (1usize..5, 0usize..3),
        (ack_first, by_output) in any::<(bool, bool)>(),
    ) {
        let mut world = world(limits(max_unread, by_output), listens, ack_first, true);
        let mut dice = dice.iter().cycle().map(|dice| usize::from(*dice));
        let mut sent: HashMap<String, String> = HashMap::new();
        for (number, (pieces, output, ends_with_text)) in tokens.iter().enumerate() {
            let (stream, output) = (number.to_string(), format!("o{output}"));
            let info = StreamInfo::new(stream.into(), output.as_str().into(), "r".into());
            let info = Arc::new(info);
            let push = |world: &mut World, at, text: &str, end| {
                let text = Bytes::copy_from_slice(text.as_bytes());
                let text = StreamText { info: Arc::clone(&info), at, text, end };
                world.run(|sender, now, out| sender.push(text, now, out));
            };
            let mut place = 0;
            let mut push = |world: &mut World, piece: &str, end| {
                push(world, place, piece, end);
                place += piece.len() as u64;
            };
            for (at, piece) in pieces.iter().enumerate() {
                sent.entry(output.clone()).or_default().push_str(piece);
                push(&mut world, piece, *ends_with_text && at + 1 == pieces.len());
                for _ in 0..dice.next().unwrap() % 4 {
                    world.happen(dice.next().unwrap());
                }
            }
            if !ends_with_text {
                push(&mut world, "", true);
            }
        }
        world.run(|sender, now, out| sender.finish("r", None, now, out));
        while world.happen(dice.next().unwrap()) {}
        sent.retain(|_, text| !text.is_empty());
        prop_assert!(!world.receiver.failed);
        prop_assert_eq!(&world.receiver.text, &sent);
        prop_assert!(world.sender.is_idle());
        prop_assert_eq!(world.sender.lanes.len(), 0);
        prop_assert_eq!(world.sender.queued_bytes(), 0);
        prop_assert_eq!(world.sender.deadline(), None);
        prop_assert_eq!(world.sender.by_group.len(), 0);
        prop_assert!(world.receiver.streams.values().all(|stream| stream.ended));
    }

    /// A receiver that cancels, fails, stops reading and comes back: what arrives is in order and
    /// at most once, and at the end nothing is left.
    #[test]
    fn nothing_is_repeated_swapped_or_left_behind(
        tokens in proptest::collection::vec((1usize..6, any::<bool>(), any::<bool>()), 1..40),
        dice in proptest::collection::vec(any::<u16>(), 1..200),
        (max_unread, listens) in (1usize..5, 0usize..3),
        (ack_first, by_output) in any::<(bool, bool)>(),
        max_queued_bytes in 12usize..80,
    ) {
        let mut limits = limits(max_unread, by_output);
        (limits.max_queued_bytes, limits.max_streams) = (max_queued_bytes, 6);
        let mut world = world(limits, listens, ack_first, false);
        let mut dice = dice.iter().cycle().map(|dice| usize::from(*dice));
        let mut words = 0..;
        let mut streams: HashMap<u64, String> = HashMap::new();
        for (number, (pieces, fails, reconnects)) in tokens.into_iter().enumerate() {
            let info = StreamInfo::new(number.to_string().into(), "o".into(), "r".into());
            let info = Arc::new(info);
            for at in 0..pieces {
                let word = format!("{:03};", words.next().unwrap_or(0));
                let whole = streams.entry(info.key).or_default();
                let place = whole.len() as u64;
                whole.push_str(&word);
                let end = at + 1 == pieces && !fails;
                let text = StreamText { info: Arc::clone(&info), at: place, text: word.into(), end };
                world.run(|sender, now, out| sender.push(text, now, out));
                for _ in 0..dice.next().unwrap() % 6 {
                    let (what, dice) = (dice.next().unwrap(), dice.next().unwrap());
                    let some = world.receiver.streams.keys().min().copied();
                    match what % 16 {
                        0 => {
                            world.now += std::time::Duration::from_secs(dice as u64 % 40);
                            world.run(|sender, now, out| sender.poll(now, out));
                        }
                        1 | 2 => if let Some(wire) = some
                            && let Some(mut stream) = world.receiver.streams.remove(&wire)
                            && !stream.ended
                        {
                            stream.dead = true;
                            world.receiver.streams.insert(wire, stream);
                            let reply = if what & 1 == 1 { Reply::End } else { Reply::Error };
                            world.receiver.replies.push_back(reply(wire));
                        },
                        3 => if let Some(wire) = some {
                            // It stops reading without a word.
                            if let Some(stream) = world.receiver.streams.get_mut(&wire) {
                                stream.wants = false;
                            }
                        },
                        _ => _ = world.happen(dice),
                    }
                }
            }
            if fails {
                world.run(|sender, now, out| sender.fail(&info, "source failed", now, out));
            }
            if reconnects && number % 8 == 7 {
                world.wire.clear();
                world.receiver.streams.clear();
                world.receiver.first.clear();
                world.receiver.later.clear();
                world.receiver.replies.clear();
                for text in world.sender.take_undelivered() {
                    let rest = streams[&text.info.key].get(text.at as usize..).unwrap_or_default();
                    prop_assert!(rest.as_bytes().starts_with(&text.text), "{text:?} is in its place");
                    world.run(|sender, now, out| sender.push(text, now, out));
                }
            }
            prop_assert!(world.sender.streams() <= 6);
            prop_assert!(world.sender.queued_bytes() <= max_queued_bytes);
        }
        world.run(|sender, now, out| sender.finish("r", None, now, out));
        for _ in 0..40 {
            for _ in 0..50 {
                world.happen(dice.next().unwrap());
            }
            world.now += std::time::Duration::from_secs(30);
            world.run(|sender, now, out| sender.poll(now, out));
        }
        let text = world.receiver.text.remove("o").unwrap_or_default();
        let words: Vec<u32> = text.split_terminator(';').map(|word| word.parse().unwrap()).collect();
        prop_assert!(words.is_sorted_by(|a, b| a < b), "{:?}", words);
        prop_assert!(world.sender.is_idle());
        prop_assert_eq!(world.sender.lanes.len(), 0);
        prop_assert_eq!(world.sender.deadline(), None);
        prop_assert_eq!(world.sender.by_group.len(), 0);
        prop_assert_eq!(world.sender.unread_wires, 0);
    }
}

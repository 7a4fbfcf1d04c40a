//! What was answered survives SIGKILL: a process writes and says what was answered, is killed at a
//! random moment, and the file is opened again. Twenty times over, with the same file.
#![cfg(unix)]

use std::{
    collections::{BTreeMap, VecDeque},
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use actix::{Arbiter, System};
use actors::{
    history::{
        Change, Contents, History, HistoryConfig, HistoryLink, LoadMessages, LoadRooms, MessageKind, Place,
        StoredMessage,
    },
    ids::{Identity, RoomName},
    metrics::Metrics,
    protocol::{RequestMode, Role},
};

/// Where the writer writes.
const FOLDER: &str = "NEWAGE_TEST_HISTORY";
/// Writers at once; each has its room, its key and its member.
const WRITERS: u64 = 4;
/// Steps that a writer sends before it waits, so that there is always something to lose.
const AHEAD: usize = 8;
const KILLS: usize = 20;

fn file(folder: &Path) -> PathBuf {
    folder.join("data/history.sqlite")
}

fn start(folder: &Path) -> HistoryLink {
    let config = HistoryConfig { place: Place::File(file(folder)), ..HistoryConfig::default() };
    History::start(config, Arc::new(Metrics::default()), &Arbiter::new().handle()).unwrap()
}

fn room(writer: u64) -> RoomName {
    RoomName::new(format!("room-{writer}")).unwrap()
}

/// The changes of one step: a message, the text of the one before it, a member, a key.
fn step(writer: u64, seq: u64) -> Vec<Change> {
    let room = room(writer);
    let json = format!("{{\"message\":\"{}\"}}", "x".repeat(usize::try_from(seq % 3000).unwrap()));
    let identity = Identity::new(format!("member-{writer}-{}", seq % 50)).unwrap();
    let role = Role::ALL[usize::try_from(seq % 3).unwrap()];
    let mut changes = vec![
        Change::MessageAdded {
            room: room.clone(),
            seq,
            id: format!("m{seq}"),
            kind: MessageKind::Request,
            json: json.into(),
        },
        Change::MemberSet { room: room.clone(), identity, role },
        Change::KeyValue { key: format!("key-{writer}"), value: Some(seq.to_string()) },
    ];
    if seq > 1 {
        changes.push(Change::MessageUpdated { room, seq: seq - 1, json: edited(seq - 1).into() });
    }
    changes
}

fn edited(seq: u64) -> String {
    format!("{{\"edited\":{seq}}}")
}

/// Writes for ever, on from what it finds, and says what was answered: `answered WRITER SEQ`.
async fn write(history: HistoryLink, writer: u64, contents: Contents) {
    let name = room(writer);
    let mut seq = match contents.rooms.iter().find(|found| found.name == name) {
        Some(found) => found.last_seq,
        None => {
            let mode = RequestMode::Immediate;
            let created =
                Change::RoomCreated { name, created_at_ms: 1, mode, personal: false, creator: None };
            history.persist(vec![created]).unwrap().await.unwrap();
            0
        }
    };
    let mut waiting = VecDeque::new();
    loop {
        while waiting.len() < AHEAD {
            seq += 1;
            waiting.push_back((seq, history.persist(step(writer, seq)).unwrap()));
        }
        let (seq, persisted) = waiting.pop_front().unwrap();
        persisted.await.unwrap();
        let mut out = std::io::stdout().lock();
        // The parent has gone if this fails, and there is nobody to write for.
        if writeln!(out, "answered {writer} {seq}").and_then(|()| out.flush()).is_err() {
            std::process::exit(1);
        }
    }
}

/// Not a test: what [`survives_twenty_kills`] kills.
#[test]
#[ignore = "the process that is killed, and started by the other test"]
fn writer() {
    let folder = PathBuf::from(env::var_os(FOLDER).expect("started by the other test"));
    let say = |what: &str| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{what}").and_then(|()| out.flush()).unwrap();
    };
    System::new().block_on(async move {
        say("opening");
        let history = start(&folder);
        say("open");
        let contents = history.addr.send(LoadRooms).await.unwrap().unwrap();
        let writers = (0..WRITERS).map(|writer| write(history.clone(), writer, contents.clone()));
        futures::future::join_all(writers).await;
    });
}

fn spawn(folder: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "writer", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(FOLDER, folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.spawn().unwrap()
}

/// When to kill: at one of the writer's words, or after so many answers.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Opening,
    Open,
    Answers(usize),
}

/// Lets a writer write until then, kills it, and adds what it was answered: writer → last place.
fn write_and_kill(folder: &Path, moment: Moment, answered: &mut BTreeMap<u64, u64>) -> usize {
    let mut child = spawn(folder);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut answers = 0;
    let mut killed = false;
    // Read to the end: what was said before the kill counts, whenever it is read.
    for line in lines {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        // A line that the kill has cut is no answer: a place in it would be a lower one.
        if let ["answered", writer, seq] = words[..] {
            answers += 1;
            let last = answered.entry(writer.parse().unwrap()).or_default();
            *last = (*last).max(seq.parse().unwrap());
        }
        let now = match moment {
            Moment::Opening => line == "opening",
            Moment::Open => line == "open",
            Moment::Answers(wanted) => answers >= wanted,
        };
        if now && !killed {
            killed = true;
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(killed, "the writer ended by itself: {status}");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    answers
}

/// The file is whole, and holds all that was answered, and nothing in parts.
async fn check(folder: &Path, answered: &BTreeMap<u64, u64>) {
    // First, so that nobody else has tidied up.
    let history = start(folder);
    let open = rusqlite::Connection::open(file(folder)).unwrap();
    let whole: String = open.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    drop(open);
    let contents = history.addr.send(LoadRooms).await.unwrap().unwrap();
    for (&writer, &last) in answered {
        let found = contents.rooms.iter().find(|found| found.name == room(writer)).unwrap();
        assert!(found.last_seq >= last, "writer {writer}: {} of {last}", found.last_seq);
        // The last steps may have been stored without an answer; then they are there as a whole.
        assert_eq!(contents.values[&format!("key-{writer}")], found.last_seq.to_string());
        for seq in (1..=found.last_seq).rev().take(50) {
            let identity = Identity::new(format!("member-{writer}-{}", seq % 50)).unwrap();
            let role = Role::ALL[usize::try_from(seq % 3).unwrap()];
            assert!(found.members.contains(&(identity, role)), "writer {writer}: {seq}");
        }
        let messages = history.addr.send(LoadMessages { room: room(writer) }).await.unwrap().unwrap();
        check_messages(&messages, found.last_seq);
    }
    history.close().await;
}

fn check_messages(messages: &[StoredMessage], last: u64) {
    let seqs: Vec<u64> = messages.iter().map(|message| message.seq).collect();
    let kept = HistoryConfig::default().retention.messages as u64;
    let first = last.saturating_sub(kept) + 1;
    assert_eq!(seqs, (first..=last).collect::<Vec<_>>(), "no message is missing");
    for message in &messages[..messages.len() - 1] {
        assert_eq!(message.json, edited(message.seq), "an edit is missing");
    }
}

#[actix::test]
async fn survives_twenty_kills() {
    let folder = tempfile::tempdir().unwrap();
    let mut answered = BTreeMap::new();
    let mut answers = 0;
    for kill in 0..KILLS {
        let moment = match kill {
            0 | 9 => Moment::Opening,
            1 | 10 => Moment::Open,
            _ => {
                let mut random = [0_u8; 2];
                getrandom::fill(&mut random).unwrap();
                Moment::Answers(1 + usize::from(u16::from_le_bytes(random)) % 400)
            }
        };
        let more = write_and_kill(folder.path(), moment, &mut answered);
        if let Moment::Answers(wanted) = moment {
            assert!(more >= wanted);
        }
        answers += more;
        eprintln!("killed at {moment:?} after {more} answers");
        check(folder.path(), &answered).await;
    }
    assert_eq!(answered.len() as u64, WRITERS, "every writer was answered");
    assert!(answers >= KILLS - 4);
}

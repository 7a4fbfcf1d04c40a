//! Each change: what is there afterwards, and when it is refused.

use rusqlite::params;

use super::{
    Change, HistoryConfig, HistoryError, MessageKind, Page, PageFrom, Retention, apply::ADD_MESSAGE,
    fixture::*, store::Store,
};
use crate::protocol::{RequestMode, Role};

/// What a history holds, one line each, in the order of the tables.
fn dump(store: &Store) -> Vec<String> {
    let contents = store.contents().unwrap();
    let mut lines = Vec::new();
    for found in &contents.rooms {
        let personal = if found.personal { " personal" } else { "" };
        lines.push(format!(
            "{} {} {}{personal} {}",
            found.name, found.created_at_ms, found.mode, found.last_seq
        ));
        lines.extend(found.members.iter().map(|(identity, role)| format!("  {identity} {role}")));
        for message in store.messages(&found.name).unwrap() {
            lines.push(format!("  {} {} {:?} {}", message.seq, message.id, message.kind, message.json));
        }
    }
    lines.extend(
        contents.mutes.iter().map(|(who, mute)| format!("muted {who} {:?} {}", mute.until_ms, mute.by)),
    );
    lines.extend(contents.values.iter().map(|(key, value)| format!("{key}={value}")));
    lines
}

/// Two rooms with two messages, a member, a mute and a value.
fn before() -> Vec<Change> {
    vec![
        created("a"),
        created("b"),
        member("a", "x", Role::Guest),
        message("a", 1, "m1", MessageKind::Request, "1"),
        message("a", 2, "m2", MessageKind::Response, "2"),
        message("a", 4, "m4", MessageKind::System, "4"),
        Change::Muted { identity: who("x"), until_ms: Some(i64::MAX), by: "boss".into() },
        Change::KeyValue { key: "k".into(), value: Some("v".into()) },
    ]
}

const BEFORE: [&str; 8] = [
    "a 7 Immediate 4",
    "  x guest",
    "  1 m1 Request 1",
    "  2 m2 Response 2",
    "  4 m4 System 4",
    "b 7 Immediate 0",
    "muted x Some(9223372036854775807) boss",
    "k=v",
];

/// Makes a change, and says what has come and gone: `+line`, `-line`.
fn difference(changes: &[Change]) -> Result<Vec<String>, HistoryError> {
    let store = Store::open(&HistoryConfig::default()).unwrap();
    store.persist(&before()).unwrap();
    assert_eq!(dump(&store), BEFORE);
    let answer = store.persist(changes);
    let after = dump(&store);
    let gone = BEFORE.iter().filter(|line| !after.iter().any(|found| found == *line));
    let come = after.iter().filter(|line| !BEFORE.contains(&line.as_str()));
    let lines: Vec<String> =
        gone.map(|line| format!("-{line}")).chain(come.map(|line| format!("+{line}"))).collect();
    if answer.is_err() {
        assert_eq!(lines, [""; 0], "what is refused changes nothing");
    }
    answer.map(|()| lines)
}

#[test]
fn every_change_does_what_it_says() {
    let personal = |name: &str, mode| Change::RoomCreated {
        name: room(name),
        created_at_ms: -1,
        mode,
        personal: true,
        creator: None,
    };
    let cleared = |requests, responses| Change::MessagesCleared { room: room("a"), requests, responses };
    let muted =
        |identity: &str, until_ms| Change::Muted { identity: who(identity), until_ms, by: "c".into() };
    let value = |key: &str, value: Option<&str>| Change::KeyValue {
        key: key.into(),
        value: value.map(str::to_owned),
    };
    let removed = |of: &str, seqs: &[u64]| Change::MessagesRemoved { room: room(of), seqs: seqs.to_vec() };
    let trimmed = |through_seq| Change::MessagesTrimmed { room: room("a"), through_seq };
    let updated = |seq| Change::MessageUpdated { room: room("a"), seq, json: "new".into() };
    let cases: Vec<(Change, &[&str])> = vec![
        (created("c"), &["+c 7 Immediate 0"]),
        (personal("c", RequestMode::Conversational), &["+c -1 Conversational personal 0"]),
        (
            Change::RoomDeleted { name: room("a") },
            &[
                "-a 7 Immediate 4",
                "-  x guest",
                "-  1 m1 Request 1",
                "-  2 m2 Response 2",
                "-  4 m4 System 4",
            ],
        ),
        (Change::RoomDeleted { name: room("nowhere") }, &[]),
        (
            Change::ModeSet { room: room("b"), mode: RequestMode::MasterOnly },
            &["-b 7 Immediate 0", "+b 7 MasterOnly 0"],
        ),
        (member("b", "y", Role::Master), &["+  y master"]),
        (member("a", "x", Role::Manager), &["-  x guest", "+  x manager"]),
        (Change::MemberRemoved { room: room("a"), identity: who("x") }, &["-  x guest"]),
        (Change::MemberRemoved { room: room("b"), identity: who("x") }, &[]),
        (Change::MemberRemoved { room: room("nowhere"), identity: who("x") }, &[]),
        (muted("y", None), &["+muted y None c"]),
        (muted("x", None), &["-muted x Some(9223372036854775807) boss", "+muted x None c"]),
        (
            muted("x", Some(i64::MAX)),
            &["-muted x Some(9223372036854775807) boss", "+muted x Some(9223372036854775807) c"],
        ),
        (Change::Unmuted { identity: who("x") }, &["-muted x Some(9223372036854775807) boss"]),
        (Change::Unmuted { identity: who("y") }, &[]),
        (value("k", Some("w")), &["-k=v", "+k=w"]),
        (value("l", Some("")), &["+l="]),
        (value("k", None), &["-k=v"]),
        (value("l", None), &[]),
        (
            message("b", 9, "m1", MessageKind::System, "{}"),
            &["-b 7 Immediate 0", "+b 7 Immediate 9", "+  9 m1 System {}"],
        ),
        (
            message("a", 5, "\u{0}漢", MessageKind::Response, "\u{0}\"漢"),
            &["-a 7 Immediate 4", "+a 7 Immediate 5", "+  5 \u{0}漢 Response \u{0}\"漢"],
        ),
        (
            message("a", i64::MAX as u64, "m9", MessageKind::Request, ""),
            &["-a 7 Immediate 4", "+a 7 Immediate 9223372036854775807", "+  9223372036854775807 m9 Request "],
        ),
        (updated(2), &["-  2 m2 Response 2", "+  2 m2 Response new"]),
        (removed("a", &[4, 1, 3, 9, u64::MAX]), &["-  1 m1 Request 1", "-  4 m4 System 4"]),
        (removed("a", &[]), &[]),
        (removed("nowhere", &[1]), &[]),
        (cleared(false, false), &[]),
        (cleared(true, false), &["-  1 m1 Request 1"]),
        (cleared(false, true), &["-  2 m2 Response 2"]),
        (cleared(true, true), &["-  1 m1 Request 1", "-  2 m2 Response 2", "-  4 m4 System 4"]),
        (trimmed(0), &[]),
        (trimmed(3), &["-  1 m1 Request 1", "-  2 m2 Response 2"]),
        (trimmed(u64::MAX), &["-  1 m1 Request 1", "-  2 m2 Response 2", "-  4 m4 System 4"]),
    ];
    for (change, expected) in cases {
        let shown = format!("{change:?}");
        let found = difference(&[change]).unwrap();
        let expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(found, expected, "{shown}");
    }
}

#[test]
fn what_needs_something_that_is_not_there_is_refused() {
    let nowhere = || room("nowhere");
    let updated = |seq| Change::MessageUpdated { room: room("a"), seq, json: "".into() };
    let no_room = HistoryError::NoSuchRoom { room: nowhere() };
    let out_of_place =
        |seq, id: &str| HistoryError::MessageOutOfPlace { room: room("a"), id: id.into(), seq };
    for (change, expected) in [
        (created("a"), HistoryError::RoomExists { room: room("a") }),
        (Change::ModeSet { room: nowhere(), mode: RequestMode::Immediate }, no_room.clone()),
        (member("nowhere", "x", Role::Guest), no_room.clone()),
        (added("nowhere", 1), no_room.clone()),
        (Change::MessageUpdated { room: nowhere(), seq: 1, json: "".into() }, no_room.clone()),
        (updated(3), HistoryError::NoSuchMessage { room: room("a"), seq: 3 }),
        (updated(u64::MAX), HistoryError::NoSuchMessage { room: room("a"), seq: u64::MAX }),
        (message("a", 0, "m0", MessageKind::Request, ""), out_of_place(0, "m0")),
        (message("a", 3, "m3", MessageKind::Request, ""), out_of_place(3, "m3")),
        (message("a", 4, "m5", MessageKind::Request, ""), out_of_place(4, "m5")),
        (message("a", u64::MAX, "m5", MessageKind::Request, ""), out_of_place(u64::MAX, "m5")),
    ] {
        assert!(expected.is_refusal());
        assert_eq!(difference(std::slice::from_ref(&change)).unwrap_err(), expected, "{change:?}");
        // Together with changes that are right, it takes them with it.
        let together = [created("c"), Change::RoomDeleted { name: room("b") }, change];
        assert_eq!(difference(&together).unwrap_err(), expected);
    }
}

/// What SQLite does for each message: a row and one index, and no table of the kinds that there are.
#[test]
fn a_message_costs_two_insertions() {
    let store = Store::open(&HistoryConfig::default()).unwrap();
    let mut explained = store.conn.prepare(&format!("EXPLAIN {ADD_MESSAGE}")).unwrap();
    let steps =
        explained.query_map(params![1, 2, "m", "request", "{}"], |row| row.get::<_, String>("opcode"));
    let steps: Vec<String> = steps.unwrap().map(Result::unwrap).collect();
    let count = |names: &[&str]| steps.iter().filter(|step| names.contains(&step.as_str())).count();
    assert_eq!(count(&["Insert", "IdxInsert"]), 2, "{steps:?}");
    assert_eq!(count(&["OpenEphemeral", "OpenAutoindex"]), 0, "{steps:?}");
}

#[test]
fn places_are_not_used_again() {
    let store = Store::open(&HistoryConfig::default()).unwrap();
    store.persist(&before()).unwrap();
    for removal in [
        Change::MessagesRemoved { room: room("a"), seqs: vec![4] },
        Change::MessagesTrimmed { room: room("a"), through_seq: 4 },
        Change::MessagesCleared { room: room("a"), requests: true, responses: true },
    ] {
        store.persist(&[removal]).unwrap();
        assert_eq!(store.contents().unwrap().rooms[0].last_seq, 4);
        assert!(store.persist(&[added("a", 4)]).unwrap_err().is_refusal());
    }
    store.persist(&[added("a", 5)]).unwrap();
}

#[test]
fn loading_keeps_the_bounds_of_a_room() {
    let retention = Retention { messages: 3, bytes: 10 };
    let store = Store::open(&HistoryConfig { retention, ..HistoryConfig::default() }).unwrap();
    store.persist(&[created("a"), created("b")]).unwrap();
    for seq in 1..=5 {
        store
            .persist(&[added("a", seq), message("b", seq, &seq.to_string(), MessageKind::Request, "漢漢")])
            .unwrap();
    }
    let seqs = |name: &str| -> Vec<u64> {
        store.messages(&room(name)).unwrap().iter().map(|message| message.seq).collect()
    };
    assert_eq!(seqs("a"), [3, 4, 5], "three messages of two bytes");
    assert_eq!(seqs("b"), [5], "one message of six bytes");
    let left = "SELECT count(*) FROM messages";
    assert_eq!(store.conn.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap(), 4);
    let nowhere = store.messages(&room("c")).unwrap_err();
    assert_eq!(nowhere, HistoryError::NoSuchRoom { room: room("c") });
}

#[test]
fn pages_go_both_ways() {
    let store = Store::open(&HistoryConfig::default()).unwrap();
    store.persist(&[created("a"), created("b")]).unwrap();
    for seq in [2, 3, 5, 8, 13] {
        store.persist(&[added("a", seq), added("b", seq)]).unwrap();
    }
    for (from, limit, expected, more) in [
        (PageFrom::After(0), 2, vec![2, 3], true),
        (PageFrom::After(3), 2, vec![5, 8], true),
        (PageFrom::After(8), 2, vec![13], false),
        (PageFrom::After(0), 5, vec![2, 3, 5, 8, 13], false),
        (PageFrom::After(0), usize::MAX, vec![2, 3, 5, 8, 13], false),
        (PageFrom::After(0), 0, vec![], true),
        (PageFrom::After(u64::MAX), 2, vec![], false),
        (PageFrom::Before(u64::MAX), 2, vec![8, 13], true),
        (PageFrom::Before(8), 2, vec![3, 5], true),
        (PageFrom::Before(3), 2, vec![2], false),
        (PageFrom::Before(0), 2, vec![], false),
    ] {
        let Page { messages, more: found } = store.page(&room("a"), from, limit).unwrap();
        let seqs: Vec<u64> = messages.iter().map(|message| message.seq).collect();
        assert_eq!((seqs, found), (expected, more), "{from:?} {limit}");
    }
    assert!(store.page(&room("c"), PageFrom::After(0), 1).unwrap_err().is_refusal());
}

//! The namespaces of one session: what may be sent when, and by when one must be joined.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use framing::Bytes;
use framing::close::CloseReason;
use framing::engine::Received;
use framing::limits::Limits;
use framing::socket::{Action, Namespace, SocketSession};
use proptest::prelude::*;

const TIMEOUT: Duration = Duration::from_secs(45);

/// A session, and verbs to write a trace with.
struct Peer {
    session: SocketSession,
    start: Instant,
}

impl Peer {
    fn new() -> Self {
        let start = Instant::now();
        let limits = Limits { max_namespaces: 3, ..Limits::default() };
        Self { session: SocketSession::new(limits, start + TIMEOUT), start }
    }

    /// What a message led to, in one word; errors as the close reason.
    fn send(&mut self, text: &str) -> String {
        match self.session.receive(Received::Message(text.into())) {
            Ok(None) => "-".to_owned(),
            Ok(Some(Action::Connect { ns, .. })) => format!("connect {ns}"),
            Ok(Some(Action::Event { ns, .. })) => format!("event {ns}"),
            Ok(Some(Action::Ack { ns, id, .. })) => format!("ack {ns} {id}"),
            Ok(Some(Action::Disconnect { ns })) => format!("disconnect {ns}"),
            Err(reason) => format!("close: {reason}"),
        }
    }

    fn accept(&mut self, name: &str) {
        self.session.accepted(&ns(name));
    }

    fn refuse(&mut self, name: &str) {
        self.session.refused(&ns(name));
    }

    fn end(&mut self, name: &str, at: Duration) {
        self.session.ended(&ns(name), self.start + at + TIMEOUT);
    }

    /// Seconds from the start to the deadline.
    fn deadline(&self) -> Option<u64> {
        Some((self.session.deadline()? - self.start).as_secs())
    }

    fn joined(&self) -> String {
        self.session.namespaces().map(Namespace::as_str).collect::<Vec<_>>().join(" ")
    }
}

fn ns(name: &str) -> Namespace {
    Namespace::new(name.into()).unwrap()
}

#[test]
fn names_of_served_namespaces_are_shared() {
    static SERVED: [Namespace; 1] = [Namespace::from_static("/llm")];
    let mut session = SocketSession::new(Limits::default(), Instant::now() + TIMEOUT).serving(&SERVED);
    for (name, shared) in [("/llm", true), ("/other", false)] {
        let Ok(Some(Action::Connect { ns, .. })) = session.text(format!("0{name},").into()) else {
            panic!("{name} is not asked for");
        };
        assert_eq!(ns.as_str(), name);
        assert_eq!(ns.as_str().as_ptr() == SERVED[0].as_str().as_ptr(), shared, "{name}");
    }
}

#[test]
fn a_life() {
    let mut peer = Peer::new();
    assert_eq!(peer.send("0"), "connect /");
    assert!(!peer.session.is_connected(&ns("/")));
    peer.accept("/");
    assert!(peer.session.is_connected(&ns("/")));
    assert_eq!(peer.send("0/llm,{}"), "connect /llm");
    peer.accept("/llm");
    assert_eq!(peer.joined(), "/ /llm");
    assert_eq!(peer.send(r#"2/llm,["x"]"#), "event /llm");
    assert_eq!(peer.send("3/llm,4[]"), "ack /llm 4");
    assert_eq!(peer.send("1/llm,"), "disconnect /llm");
    assert_eq!(peer.joined(), "/");
    assert_eq!(peer.send("2[1]"), "event /");
    assert_eq!(peer.send("0/llm,"), "connect /llm", "it may come back");
    assert_eq!(peer.session.receive(Received::Nothing), Ok(None));
    assert_eq!(peer.session.receive(Received::Closed), Err(CloseReason::ClientClosed));
}

#[test]
fn attachments_reach_their_event() {
    let mut peer = Peer::new();
    peer.send("0");
    peer.accept("/");
    assert_eq!(peer.send(r#"51-["x",{"_placeholder":true,"num":0}]"#), "-");
    let action = peer.session.receive(Received::Binary(Bytes::from_static(b"data")));
    let Ok(Some(Action::Event { event, .. })) = action else { panic!("{action:?}") };
    assert_eq!(event.attachments, [Bytes::from_static(b"data")]);
    let reason = peer.session.receive(Received::Binary(Bytes::new())).unwrap_err();
    assert_eq!(reason.to_string(), "parse error: attachment without a head");
}

#[test]
fn never_asked_for() {
    for text in ["2[1]", "30[]", "1", r#"2/llm,["x"]"#, "1/llm,"] {
        let mut peer = Peer::new();
        peer.send("0/other");
        peer.accept("/other");
        let closed = peer.send(text);
        assert!(closed.starts_with("close: packet for namespace /"), "{text}: {closed}");
    }
    // Events named null are ignored wherever they are sent (spec §1.2 rule 2).
    assert_eq!(Peer::new().send(r#"2/auth,[null,{}]"#), "-");
}

#[test]
fn events_ahead_of_the_answer_are_delivered() {
    let mut peer = Peer::new();
    peer.send("0/llm,");
    assert_eq!(peer.send("2/llm,[1]"), "event /llm");
    assert_eq!(peer.send("1/llm,"), "disconnect /llm");
    peer.accept("/llm");
    assert_eq!(peer.joined(), "", "the answer comes too late");
    assert_eq!(peer.send("2/llm,[1]"), "-");
}

#[test]
fn a_rejected_client_s_packets_are_ignored() {
    // CONNECT accepted, ERROR, disconnect (spec §3.2): events of its connect handler follow.
    let mut peer = Peer::new();
    peer.send("0/auth,{}");
    peer.accept("/auth");
    peer.end("/auth", Duration::from_secs(1));
    for text in ["2/auth,[29,{}]", r#"51-/auth,["x",{"_placeholder":true,"num":0}]"#] {
        assert_eq!(peer.send(text), "-");
    }
    assert_eq!(peer.session.receive(Received::Binary(Bytes::new())), Ok(None));
    assert_eq!(peer.send("3/auth,1[]"), "-");
    assert_eq!(peer.send("1/auth,"), "-");
    assert_eq!(peer.send("0/auth,{}"), "connect /auth");
    peer.refuse("/auth");
    assert_eq!(peer.send("2/auth,[29,{}]"), "-");
    assert_eq!(peer.send("0/auth,{}"), "connect /auth");
}

#[test]
fn connect_deadline() {
    let secs = Duration::from_secs;
    let mut peer = Peer::new();
    assert_eq!(peer.deadline(), Some(45));
    assert_eq!(peer.session.poll(peer.start + secs(44)), Ok(()));
    assert_eq!(peer.session.poll(peer.start + secs(45)), Err(CloseReason::ConnectTimeout));

    peer.send("0");
    assert_eq!(peer.deadline(), None, "the decision may take its time");
    peer.refuse("/");
    assert_eq!(peer.deadline(), Some(45));

    peer.send("0");
    peer.send("0/llm");
    peer.accept("/");
    peer.refuse("/llm");
    assert_eq!(peer.deadline(), None);
    assert_eq!(peer.session.poll(peer.start + secs(1000)), Ok(()));

    peer.send("1");
    assert_eq!(peer.deadline(), None, "a client that leaves by itself may stay");
    peer.send("0/llm");
    peer.refuse("/llm");
    assert_eq!(peer.deadline(), None);

    for name in ["/", "/llm"] {
        peer.send(&format!("0{name}"));
        peer.accept(name);
    }
    peer.end("/", secs(60));
    assert_eq!(peer.deadline(), None, "one is left");
    peer.end("/llm", secs(100));
    assert_eq!(peer.deadline(), Some(145));
    peer.end("/llm", secs(200));
    assert_eq!(peer.deadline(), Some(145), "it ends once");
}

#[test]
fn namespaces_that_were_left_do_not_pile_up() {
    let mut peer = Peer::new();
    for index in 0..1000 {
        assert_eq!(peer.send(&format!("0/n{index}")), format!("connect /n{index}"));
        peer.refuse(&format!("/n{index}"));
    }
    assert_eq!(peer.send("1/n999"), "-");
    assert_eq!(peer.send("1/n997"), "-");
    assert!(peer.send("1/n996").starts_with("close"), "forgotten");
    for name in ["0/a", "0/b", "0/c"] {
        assert!(peer.send(name).starts_with("connect"));
    }
    assert_eq!(peer.send("0/b"), "-", "a duplicate is not one more");
    assert_eq!(peer.send("0/d"), "close: more than 3 namespaces");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Connect(usize),
    Event(usize),
    Leave(usize),
    Accept(usize),
    Refuse(usize),
    End(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..4_usize).prop_map(Step::Connect),
        (0..4_usize).prop_map(Step::Connect),
        (0..4_usize).prop_map(Step::Event),
        (0..4_usize).prop_map(Step::Leave),
        (0..4_usize).prop_map(Step::Accept),
        (0..4_usize).prop_map(Step::Accept),
        (0..4_usize).prop_map(Step::Refuse),
        (0..4_usize).prop_map(Step::End),
    ];
    prop::collection::vec(step, 0..60)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Model {
    Joining,
    Joined,
    Left,
}

proptest! {
    /// The session against a plain map from names to states. Four names, three at a time.
    #[test]
    fn behaves_as_its_model(steps in steps()) {
        const NAMES: [&str; 4] = ["/", "/a", "/b", "/c"];
        let mut peer = Peer::new();
        let mut model: HashMap<usize, Model> = HashMap::new();
        let mut left: Vec<usize> = Vec::new();
        let mut deadline = Some(45);
        let leave = |model: &mut HashMap<usize, Model>, left: &mut Vec<usize>, n: usize| {
            model.insert(n, Model::Left);
            left.retain(|other| *other != n);
            left.push(n);
            if left.len() > 3 {
                model.remove(&left.remove(0));
            }
        };
        for (at, step) in steps.into_iter().enumerate() {
            let active = model.values().filter(|state| **state != Model::Left).count();
            match step {
                Step::Connect(n) => {
                    let answer = peer.send(&format!("0{}", NAMES[n]));
                    match model.get(&n) {
                        Some(Model::Joining | Model::Joined) => prop_assert_eq!(answer, "-"),
                        _ if active == 3 => {
                            prop_assert_eq!(answer, "close: more than 3 namespaces");
                            return Ok(());
                        }
                        _ => {
                            prop_assert_eq!(answer, format!("connect {}", NAMES[n]));
                            model.insert(n, Model::Joining);
                            left.retain(|other| *other != n);
                        }
                    }
                }
                Step::Event(n) | Step::Leave(n) => {
                    let leaves = matches!(step, Step::Leave(_));
                    let answer = peer.send(&match leaves {
                        true => format!("1{},", NAMES[n]),
                        false => format!("2{},[1]", NAMES[n]),
                    });
                    match model.get(&n) {
                        None => {
                            prop_assert!(answer.starts_with("close: packet for namespace"));
                            return Ok(());
                        }
                        Some(Model::Left) => prop_assert_eq!(answer, "-"),
                        Some(_) if leaves => {
                            prop_assert_eq!(answer, format!("disconnect {}", NAMES[n]));
                            leave(&mut model, &mut left, n);
                        }
                        Some(_) => prop_assert_eq!(answer, format!("event {}", NAMES[n])),
                    }
                }
                Step::Accept(n) => {
                    peer.accept(NAMES[n]);
                    if let Some(state @ Model::Joining) = model.get_mut(&n) {
                        *state = Model::Joined;
                        deadline = None;
                    }
                }
                Step::Refuse(n) => {
                    peer.refuse(NAMES[n]);
                    if model.get(&n) == Some(&Model::Joining) {
                        leave(&mut model, &mut left, n);
                    }
                }
                Step::End(n) => {
                    peer.end(NAMES[n], Duration::from_secs(at as u64));
                    if let Some(Model::Joining | Model::Joined) = model.get(&n) {
                        leave(&mut model, &mut left, n);
                        if active == 1 {
                            deadline = Some(45 + at as u64);
                        }
                    }
                }
            }
            let active = model.values().any(|state| *state != Model::Left);
            prop_assert_eq!(peer.deadline(), deadline.filter(|_| !active));
            for (n, name) in NAMES.iter().enumerate() {
                prop_assert_eq!(peer.session.is_connected(&ns(name)), model.get(&n) == Some(&Model::Joined));
            }
            prop_assert_eq!(peer.session.namespaces().count(), model.values().filter(|state| **state == Model::Joined).count());
        }
    }
}

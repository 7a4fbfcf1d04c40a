//! What waits for those who asked: nothing that fits is lost, nothing comes twice, and everything
//! stays in order, whatever the mailboxes do.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use proptest::prelude::*;

use super::fixture::*;
use crate::{
    ids::RequestId,
    llm_router::{OpenedRoute, RouteId},
    stream::StreamInfo,
};

#[test]
fn a_full_mailbox_holds_nothing_up_but_itself() {
    run(async {
        let (slow, quick) = (Socket::new(1), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![slow.peer.clone(), quick.peer.clone()])]);
        let info = stream();
        for word in ["1", "2", "3", "4", "5", "6"] {
            f.send(&info, word, word == "6");
        }
        f.say("done");
        quick.read().await;
        let all = [Got::Text(info.key, "123456".into()), Got::End(info.key), Got::Message("done".into())];
        assert_eq!(quick.got(), all);
        assert!(slow.text().len() < 6);
        assert!(f.fan_out.deadline().is_some());
        f.settle(&[&slow]).await;
        assert_eq!(slow.got(), all);
        assert!(f.fan_out.deadline().is_none());
        // Counted when it fills, and not for what waits behind.
        assert!(f.metrics.text().contains("limit_reached_total{limit=\"limits.session_mailbox\"} 1\n"));
    });
}

#[test]
fn a_requester_that_is_away_gets_what_was_kept() {
    run(async {
        let (before, after) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![before.peer.clone()])]);
        let info = stream();
        f.send(&info, "1", false);
        f.peers(&[], false);
        f.send(&info, "2", false);
        f.send(&info, "3", true);
        f.say("message");
        f.peers(&[&after], false);
        f.say("more");
        f.settle(&[&before, &after]).await;
        assert_eq!(before.text(), "1");
        let rest = [
            Got::Text(info.key, "23".into()),
            Got::End(info.key),
            Got::Message("message".into()),
            Got::Message("more".into()),
        ];
        assert_eq!(after.got(), rest);
    });
}

#[test]
fn a_backlog_survives_the_last_socket() {
    run(async {
        let (first, next) = (Socket::new(1), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let info = stream();
        for word in ["1", "2", "3", "4", "5"] {
            f.send(&info, word, word == "5");
        }
        f.peers(&[], false);
        f.peers(&[&next], false);
        f.settle(&[&first, &next]).await;
        // What was in its mailbox comes back by the socket itself, see `returned`.
        assert_eq!(first.text() + &next.text(), "12345");
    });
}

/// The moment at which what was kept may leave has passed, and nobody has looked since.
#[test]
fn what_was_kept_leaves_before_what_is_new() {
    run(async {
        let (first, next) = (Socket::new(1), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let info = stream();
        for word in ["1", "2", "3"] {
            f.send(&info, word, false);
        }
        f.peers(&[], false);
        f.send(&info, "4", false);
        f.peers(&[&next], false);
        f.now += Duration::from_secs(1);
        f.send(&info, "5", true);
        f.settle(&[&first, &next]).await;
        assert_eq!(first.text() + &next.text(), "12345");
    });
}

#[test]
fn a_requester_that_is_gone_is_forgotten() {
    run(async {
        let (socket, other) = (Socket::new(100), Socket::new(100));
        let asked = vec![(me(), vec![socket.peer.clone()]), (requester("app-b"), vec![other.peer.clone()])];
        let mut f = Fixture::new(10_000, asked);
        let info = stream();
        f.peers(&[], true);
        f.send(&info, "1", false);
        f.peers(&[&socket], false);
        f.send(&info, "2", true);
        f.settle(&[&socket, &other]).await;
        assert_eq!(other.text(), "12");
        assert_eq!(socket.text(), "2", "whoever comes anew gets what comes from then on");
    });
}

#[test]
fn overflow_fails_the_stream_once_and_notices_still_come() {
    run(async {
        for away in [false, true] {
            let (slow, next) = (Socket::new(1), Socket::new(1000));
            let mut f = Fixture::new(2000, vec![(me(), if away { vec![] } else { vec![slow.peer.clone()] })]);
            let info = stream();
            for _ in 0..20 {
                f.send(&info, &"x".repeat(300), false);
            }
            f.say("message");
            if away {
                f.peers(&[&next], false);
            }
            let reader = if away { &next } else { &slow };
            f.settle(&[reader]).await;
            let got = reader.got();
            let failed = got.iter().filter(|got| matches!(got, Got::Failed(..))).count();
            assert_eq!(failed, 1, "{got:?}");
            assert_eq!(got.last(), Some(&Got::Message("message".into())));
            assert!(f.metrics.text().contains("limit_reached_total{limit=\"streams.max_waiting_bytes\"}"));
        }
    });
}

/// Two streams that overflow by turns fail once each, not once per piece.
#[test]
fn each_stream_fails_once() {
    run(async {
        let slow = Socket::new(1);
        let mut f = Fixture::new(2000, vec![(me(), vec![slow.peer.clone()])]);
        let (one, two) = (stream(), stream());
        for _ in 0..10 {
            f.send(&one, &"x".repeat(300), false);
            f.send(&two, &"y".repeat(300), false);
        }
        f.settle(&[&slow]).await;
        for info in [&one, &two] {
            let failed = |got: &&Got| matches!(got, Got::Failed(key, _) if *key == info.key);
            assert_eq!(slow.got().iter().filter(failed).count(), 1, "{:?}", slow.got());
        }
    });
}

/// A hole in a stream is its end: text after it would read as if nothing were missing.
#[test]
fn nothing_follows_a_stream_that_failed() {
    run(async {
        let slow = Socket::new(1);
        let mut f = Fixture::new(1000, vec![(me(), vec![slow.peer.clone()])]);
        let info = stream();
        for _ in 0..10 {
            f.send(&info, &"x".repeat(300), false);
        }
        f.settle(&[&slow]).await;
        f.send(&info, "tail", true);
        f.settle(&[&slow]).await;
        let got = slow.got();
        let failed = got.iter().position(|got| matches!(got, Got::Failed(..))).expect("it overflowed");
        let after: Vec<_> = got[failed + 1..].iter().filter(|got| matches!(got, Got::Text(..))).collect();
        assert!(after.is_empty(), "{after:?}");
    });
}

/// A mailbox that is full at the end of a request is full for a moment only.
#[test]
fn what_waits_for_a_full_mailbox_survives_the_end_of_the_request() {
    run(async {
        let slow = Socket::new(1);
        let mut f = Fixture::new(10_000, vec![(me(), vec![slow.peer.clone()])]);
        let info = stream();
        for word in ["1", "2", "3", "4", "5", "6"] {
            f.send(&info, word, word == "6");
        }
        f.fan_out.close(ROUTE, f.now);
        f.settle(&[&slow]).await;
        assert_eq!(slow.text(), "123456");
    });
}

/// Nobody else has it, and nobody comes back for it.
#[test]
fn what_waits_for_a_room_leaves_with_the_target() {
    run(async {
        let room = Socket::new(1);
        let mut f = Fixture::new(10_000, Vec::new());
        let listener = Some(room.peer.clone());
        assert!(f.fan_out.open(OpenedRoute { route: RouteId(2), listener, ..opened(Vec::new()) }));
        let info = stream();
        for word in ["1", "2", "3", "4"] {
            f.fan_out.text(RouteId(2), info.clone(), Bytes::from_static(word.as_bytes()), word == "4", f.now);
        }
        let is_finished = |f: &Fixture| f.fan_out.state(RouteId(2)).unwrap().is_finished();
        assert!(!is_finished(&f));
        f.fan_out.complete(RouteId(2), false, f.now);
        assert!(is_finished(&f), "nothing more is taken for it");
        let left = f.fan_out.leave_rooms();
        assert_eq!(left.iter().map(|left| left.route).collect::<Vec<_>>(), [RouteId(2)]);
        room.read().await;
        assert_eq!(room.got(), [Got::Text(info.key, "1234".into()), Got::End(info.key), Got::Finished]);
    });
}

#[test]
fn nothing_waits_for_a_room_that_has_ended() {
    run(async {
        for ends_with in ["an end", "a text", "what waited"] {
            let room = Socket::new(1);
            let mut f = Fixture::new(10_000, Vec::new());
            let listener = Some(room.peer.clone());
            assert!(f.fan_out.open(OpenedRoute { route: RouteId(2), listener, ..opened(Vec::new()) }));
            let text = |f: &mut Fixture, words: &'static str| {
                f.fan_out.text(RouteId(2), stream(), Bytes::from_static(words.as_bytes()), false, f.now);
            };
            if ends_with == "what waited" {
                for word in ["1", "2", "3", "4"] {
                    text(&mut f, word);
                }
                assert!(f.fan_out.deadline().is_some(), "its mailbox is full");
            }
            room.stop().await;
            if ends_with == "a text" {
                text(&mut f, "1");
            }
            f.fan_out.complete(RouteId(2), true, f.now);
            f.fan_out.close(RouteId(2), f.now);
            f.settle(&[]).await;
            assert_eq!(f.fan_out.len(), 1, "{ends_with}");
        }
    });
}

#[test]
fn routes_are_bounded_found_by_request_and_opened_once() {
    run(async {
        let mut f = Fixture::new(1000, Vec::new());
        let route = |id: u64, request: &str| OpenedRoute {
            route: RouteId(id),
            request_id: RequestId::new(request).unwrap(),
            ..opened(Vec::new())
        };
        assert!(f.fan_out.open(route(1, "r")), "known");
        assert!(f.fan_out.open(route(2, "r2")));
        assert!(!f.fan_out.open(route(3, "r3")));
        assert!(f.metrics.text().contains("limit_reached_total{limit=\"limits.max_routes\"} 1"));
        assert_eq!((f.fan_out.len(), f.fan_out.is_empty()), (2, false));
        assert_eq!(f.fan_out.route_of("r2"), Some(RouteId(2)));
        f.fan_out.close(RouteId(2), f.now);
        assert_eq!(f.fan_out.route_of("r2"), None);
        assert!(f.fan_out.state(RouteId(2)).is_none() && f.fan_out.request_id(RouteId(2)).is_none());
        // What still comes for it is dropped.
        f.fan_out.text(RouteId(2), stream(), Bytes::from_static(b"late"), true, f.now);
        f.fan_out.close(RouteId(2), f.now);
        assert!(f.fan_out.open(route(3, "r3")));
    });
}

// --- the model ---------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Act {
    /// A word of one of the streams.
    Word {
        stream: usize,
        end: bool,
    },
    Message,
    /// A socket opens, or the one at that place closes and returns what it had not read.
    Opens {
        mailbox: usize,
    },
    Closes,
    /// The socket's mailbox is emptied.
    Read,
    Flush,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => (0usize..3, prop::bool::weighted(0.2)).prop_map(|(stream, end)| Act::Word { stream, end }),
        1 => Just(Act::Message),
        2 => (1usize..6).prop_map(|mailbox| Act::Opens { mailbox }),
        1 => Just(Act::Closes),
        2 => Just(Act::Read),
        2 => Just(Act::Flush),
    ];
    prop::collection::vec(act, 1..80)
}

/// One requester, one socket at a time, which returns in one part what it was given and did not
/// read: everything arrives once, in order, over all its sockets.
async fn arrives_once_in_order(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let mut f = Fixture::new(usize::MAX / 4, vec![(me(), Vec::new())]);
    let mut sent: Vec<Got> = Vec::new();
    let mut infos: BTreeMap<usize, Arc<StreamInfo>> = BTreeMap::new();
    let mut by_key: HashMap<u64, Arc<StreamInfo>> = HashMap::new();
    let mut sockets: Vec<Socket> = Vec::new();
    let mut open: Option<usize> = None;
    for (number, act) in acts.into_iter().enumerate() {
        match act {
            Act::Word { stream: at, end } => {
                let info = infos.entry(at).or_insert_with(stream).clone();
                by_key.insert(info.key, info.clone());
                let word = format!("{number} ");
                f.send(&info, &word, end);
                sent.push(Got::Text(info.key, word));
                if end {
                    sent.push(Got::End(info.key));
                    infos.remove(&at);
                }
            }
            Act::Message => {
                f.say(&number.to_string());
                sent.push(Got::Message(number.to_string()));
            }
            Act::Opens { mailbox } if open.is_none() => {
                sockets.push(Socket::new(mailbox));
                open = Some(sockets.len() - 1);
                f.peers(&[&sockets[sockets.len() - 1]], false);
            }
            Act::Closes => {
                // It reads to the end before it closes: returned text has tests of its own.
                if let Some(at) = open.take() {
                    f.peers(&[], false);
                    sockets[at].read().await;
                }
            }
            Act::Read => {
                if let Some(at) = open {
                    sockets[at].read().await;
                }
            }
            Act::Flush => f.fan_out.flush(f.now),
            Act::Opens { .. } => (),
        }
    }
    if open.is_none() {
        sockets.push(Socket::new(1));
        f.peers(&[&sockets[sockets.len() - 1]], false);
    }
    let last = &sockets[sockets.len() - 1];
    f.settle(&[last]).await;
    let got = sockets.iter().flat_map(|socket| socket.got.lock().clone());
    let got: Vec<Got> = got.filter(|got| *got != Got::Fence).collect();
    prop_assert_eq!(joined(&got), joined(&sent));
    Ok(())
}

/// With a bound: what arrives of each stream is a beginning of what was sent, and if something is
/// missing the receiver is told.
async fn nothing_is_lost_silently(acts: Vec<Act>, limit: usize) -> Result<(), TestCaseError> {
    let slow = Socket::new(1);
    let mut f = Fixture::new(limit, vec![(me(), vec![slow.peer.clone()])]);
    let mut sent: BTreeMap<u64, String> = BTreeMap::new();
    let info = stream();
    for (number, act) in acts.into_iter().enumerate() {
        match act {
            Act::Word { .. } => {
                let word = format!("{number:03} ").repeat(20);
                f.send(&info, &word, false);
                sent.entry(info.key).or_default().push_str(&word);
            }
            Act::Message | Act::Opens { .. } | Act::Closes => (),
            Act::Read => slow.read().await,
            Act::Flush => f.fan_out.flush(f.now),
        }
    }
    f.settle(&[&slow]).await;
    let got = slow.got();
    let failed = got.iter().position(|got| matches!(got, Got::Failed(..)));
    let all = sent.remove(&info.key).unwrap_or_default();
    let before: String = got[..failed.unwrap_or(got.len())]
        .iter()
        .filter_map(|got| if let Got::Text(_, text) = got { Some(text.as_str()) } else { None })
        .collect();
    prop_assert!(all.starts_with(&before));
    prop_assert!(failed.is_some() || before == all, "{} of {} bytes", before.len(), all.len());
    Ok(())
}

proptest! {
    #[test]
    fn everything_arrives_once_in_order(acts in acts()) {
        run(arrives_once_in_order(acts))?;
    }

    #[test]
    fn what_does_not_fit_is_reported(acts in acts(), limit in 200usize..3000) {
        run(nothing_is_lost_silently(acts, limit))?;
    }
}

#[test]
fn a_retry_is_due_soon_after_a_full_mailbox() {
    run(async {
        let slow = Socket::new(1);
        let mut f = Fixture::new(10_000, vec![(me(), vec![slow.peer.clone()])]);
        for _ in 0..5 {
            f.say("x");
        }
        let due = f.fan_out.deadline().expect("something waits");
        assert!(due - f.now <= Duration::from_millis(10));
    });
}

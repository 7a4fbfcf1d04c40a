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
    llm_router::{Delivery, OpenedRoute, RouteId},
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
fn what_waited_for_the_last_socket_is_kept_and_what_others_had_is_not_repeated() {
    run(async {
        let (first, second, third) = (Socket::new(1), Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone(), second.peer.clone()])]);
        let info = stream();
        for word in ["1", "2", "3", "4"] {
            f.send(&info, word, false);
        }
        // What the first one missed, the second one had.
        f.peers(&[&second], false);
        f.settle(&[&second]).await;
        assert_eq!(second.text(), "1234");
        f.peers(&[], false);
        f.peers(&[&third], false);
        f.settle(&[&third]).await;
        assert_eq!(third.text(), "");
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

/// It comes back in parts, and text comes meanwhile.
#[test]
fn what_comes_back_stands_before_what_comes() {
    run(async {
        let (first, next) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let info = stream();
        f.send(&info, "123", false);
        f.peers(&[], false);
        f.returned_from(&first, vec![text(&info, "1", false)]);
        f.send(&info, "4", false);
        f.returned_from(&first, vec![text(&info, "2", false)]);
        f.send(&info, "5", false);
        f.returned_from(&first, vec![text(&info, "3", false)]);
        f.peers(&[&next], false);
        f.send(&info, "6", true);
        f.settle(&[&next]).await;
        assert_eq!(next.text(), "123456");
    });
}

/// The first had read all that there was of it, and gave nothing back.
#[test]
fn a_stream_that_goes_on_is_not_what_an_older_socket_has_had() {
    run(async {
        let (first, second, third) = (Socket::new(100), Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let (goes_on, ended) = (stream(), stream());
        f.send(&goes_on, "1", false);
        f.send(&ended, "all of it", true);
        f.peers(&[], false);
        f.peers(&[&second], false);
        f.settle(&[&first, &second]).await;
        f.send(&goes_on, "2", false);
        f.peers(&[], false);
        f.returned_from(&second, vec![text(&goes_on, "2", false), text(&ended, "all of it", true)]);
        f.peers(&[&third], false);
        f.send(&goes_on, "3", true);
        f.settle(&[&third]).await;
        assert_eq!(third.text(), "23");
    });
}

/// However long it takes, up to a bound for faults.
#[test]
fn a_new_socket_is_served_behind_the_fence_of_the_last() {
    run(async {
        let (first, next) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let info = stream();
        f.send(&info, "12", false);
        f.peers(&[], false);
        first.read().await;
        assert_eq!(first.got(), [Got::Text(info.key, "12".into()), Got::Fence]);
        f.send(&info, "4", false);
        f.peers(&[&next], false);
        f.now += Duration::from_millis(900);
        f.send(&info, "5", false);
        f.fan_out.flush(f.now);
        next.read().await;
        assert_eq!(next.text(), "", "more may come back");
        f.returned_from(&first, vec![text(&info, "2", false)]);
        f.returned_from(&first, vec![text(&info, "3", false)]);
        next.read().await;
        assert_eq!(next.text(), "");
        f.fan_out.returned(ROUTE, &me(), first.peer.socket, vec![Delivery::Fence], f.now);
        next.read().await;
        assert_eq!(next.text(), "2345", "at once");
        // That of another one says nothing.
        f.peers(&[], false);
        f.fan_out.returned(ROUTE, &me(), first.peer.socket, vec![Delivery::Fence], f.now);
        let last = Socket::new(100);
        f.peers(&[&last], false);
        f.send(&info, "6", true);
        last.read().await;
        assert_eq!(last.text(), "");
        f.settle(&[&last]).await;
        assert_eq!(last.text(), "6");
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
fn returned_text_stands_before_what_is_kept() {
    run(async {
        let (first, next) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let (one, two) = (stream(), stream());
        f.peers(&[], false);
        f.send(&two, "4", true);
        f.returned(vec![text(&one, "1", false), text(&one, "2", true), text(&two, "3", false)]);
        f.peers(&[&next], false);
        f.settle(&[&next]).await;
        let all = [
            Got::Text(one.key, "12".into()),
            Got::End(one.key),
            Got::Text(two.key, "34".into()),
            Got::End(two.key),
        ];
        assert_eq!(next.got(), all);
    });
}

/// Two sockets of one requester: what the one that closes leaves unread, the other has had. The
/// router's word on the closing and the text may come in either order.
#[test]
fn a_second_socket_is_not_given_again_what_the_first_left_unread() {
    for word_first in [true, false] {
        run(async move {
            let (first, second) = (Socket::new(100), Socket::new(100));
            let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone(), second.peer.clone()])]);
            let info = stream();
            f.send(&info, "1", false);
            f.send(&info, "2", false);
            let parts =
                vec![Delivery::Text(text(&info, "1", false)), Delivery::Text(text(&info, "2", false))];
            if word_first {
                f.peers(&[&second], false);
            }
            f.fan_out.returned(ROUTE, &me(), first.peer.socket, parts, f.now);
            f.peers(&[&second], false);
            f.send(&info, "3", true);
            f.settle(&[&second]).await;
            assert_eq!(second.text(), "123", "the closing is told first: {word_first}");
        });
    }
}

/// A socket dies without a word; others come and read, and go. When its end is noticed at last, what it
/// had not read is nobody's any more; what no other has read is, once.
#[test]
fn what_a_dead_socket_held_goes_to_a_later_one_unless_another_has_had_it() {
    for second_has_read in [true, false] {
        run(async move {
            let (dead, second, third) = (Socket::new(100), Socket::new(100), Socket::new(100));
            let mut f = Fixture::new(10_000, vec![(me(), vec![dead.peer.clone()])]);
            f.peers(&[&dead, &second], false);
            let info = stream();
            f.send(&info, "words", true);
            let unread = || vec![Delivery::Text(text(&info, "words", true))];
            if !second_has_read {
                f.fan_out.returned(ROUTE, &me(), second.peer.socket, unread(), f.now);
            }
            f.peers(&[&dead], false);
            f.peers(&[&dead, &third], false);
            f.fan_out.returned(ROUTE, &me(), dead.peer.socket, unread(), f.now);
            f.peers(&[&third], false);
            f.settle(&[&third]).await;
            assert_eq!(third.text(), if second_has_read { "" } else { "words" });
        });
    }
}

/// A socket that closes gives back what its streams held; then, one by one, what was still in its
/// mailbox. All of it is older than what is kept, and none of it may change places.
/// Its session was too busy to take it, and the other one came later.
#[test]
fn what_waits_for_a_socket_goes_to_one_that_came_after_it_was_sent() {
    run(async {
        let (full, later) = (Socket::new(1), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![full.peer.clone()])]);
        let words: Vec<_> = (0..6).map(|number| (stream(), number.to_string())).collect();
        for (info, word) in &words {
            f.send(info, word, true);
        }
        f.peers(&[&full, &later], false);
        let both = stream();
        f.send(&both, "both", true);
        f.peers(&[&later], false);
        f.settle(&[&full, &later]).await;
        // What was in its mailbox comes back through its session, which is not here.
        let had = full.text();
        assert!(had.len() < 6, "{had}");
        let mut missing: Vec<_> =
            later.got().into_iter().filter(|got| *got != Got::Text(both.key, "both".into())).collect();
        missing.retain(|got| matches!(got, Got::Text(..)));
        let expected = words.iter().skip(had.len());
        let expected: Vec<_> = expected.map(|(info, word)| Got::Text(info.key, word.clone())).collect();
        assert_eq!(missing, expected);
        assert_eq!(later.text().matches("both").count(), 1);
    });
}

/// Two sockets at once give back what they have in pieces of different sizes.
#[test]
fn what_two_sockets_held_reaches_the_next_one_once() {
    run(async {
        let (one, two, next) = (Socket::new(100), Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![one.peer.clone(), two.peer.clone()])]);
        let words: Vec<_> = (0..9).map(|number| (stream(), number.to_string())).collect();
        for (info, word) in &words {
            f.send(info, word, true);
        }
        let back = |from: usize| words[from..].iter().map(|(info, word)| text(info, word, true)).collect();
        f.peers(&[&one], false);
        f.returned_from(&two, back(2));
        f.peers(&[], false);
        f.returned_from(&one, back(4));
        f.peers(&[&next], false);
        f.settle(&[&one, &two, &next]).await;
        // The first four the one has read; of the others neither has.
        assert_eq!(next.text(), "45678");
    });
}

#[test]
fn text_that_returns_in_several_parts_keeps_its_order() {
    run(async {
        let (first, next) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let info = stream();
        f.peers(&[], false);
        f.send(&info, "5", true);
        f.returned(vec![text(&info, "1", false), text(&info, "2", false)]);
        f.returned(vec![text(&info, "3", false)]);
        f.returned(vec![text(&info, "4", false)]);
        f.peers(&[&next], false);
        f.settle(&[&next]).await;
        assert_eq!(next.text(), "12345");
    });
}

/// The router's word that a socket has closed comes after the text that it returned.
#[test]
fn returned_text_is_not_sent_to_the_socket_that_returned_it() {
    run(async {
        let (first, next) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let info = stream();
        f.returned(vec![text(&info, "1", false)]);
        f.send(&info, "2", true);
        // Whatever was sent to the first one by now, it sends back.
        f.peers(&[], false);
        first.read().await;
        for got in first.got.lock().drain(..) {
            let Got::Text(_, words) = got else { continue };
            f.returned(vec![text(&info, &words, words == "2")]);
        }
        f.peers(&[&next], false);
        f.settle(&[&next]).await;
        assert_eq!(next.text(), "12");
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
            f.fan_out.send(RouteId(2), &Delivery::Text(text(&info, word, word == "4")), f.now);
        }
        f.fan_out.complete(RouteId(2), false, f.now);
        let left = f.fan_out.leave_rooms();
        assert_eq!(left.iter().map(|left| left.route).collect::<Vec<_>>(), [RouteId(2)]);
        room.read().await;
        assert_eq!(room.got(), [Got::Text(info.key, "1234".into()), Got::End(info.key), Got::Finished]);
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

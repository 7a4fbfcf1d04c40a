//! What sockets that are over give back: it reaches the next one once, whole, and before what is newer.

use std::time::Duration;

use super::fixture::*;
use crate::llm_router::Delivery;

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

/// It comes back in parts, and text comes meanwhile.
#[test]
fn what_comes_back_stands_before_what_comes() {
    run(async {
        let (first, next) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let info = stream();
        f.send(&info, "123", false);
        f.peers(&[], false);
        f.returned_from(&first, vec![text(&info, 0, "1", false)]);
        f.send(&info, "4", false);
        f.returned_from(&first, vec![text(&info, 1, "2", false)]);
        f.send(&info, "5", false);
        f.returned_from(&first, vec![text(&info, 2, "3", false)]);
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
        f.returned_from(&second, vec![text(&goes_on, 1, "2", false), text(&ended, 0, "all of it", true)]);
        f.peers(&[&third], false);
        f.send(&goes_on, "3", true);
        f.settle(&[&third]).await;
        assert_eq!(third.text(), "23");
    });
}

/// An extension that answers in parallel begins one and sends another.
#[test]
fn a_stream_without_text_is_neither_what_a_socket_has_had_nor_what_it_has_missed() {
    run(async {
        let (first, second, third) = (Socket::new(100), Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let (late, other) = (stream(), stream());
        f.send(&other, "other", true);
        f.peers(&[], false);
        f.peers(&[&second], false);
        f.settle(&[&first, &second]).await;
        f.send(&late, "late", true);
        f.peers(&[], false);
        f.returned_from(&second, vec![text(&late, 0, "late", true)]);
        f.peers(&[&third], false);
        f.settle(&[&third]).await;
        assert_eq!((second.text(), third.text()), ("late".into(), "late".into()), "it was not read there");
    });
    run(async {
        let (first, second) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let (late, other) = (stream(), stream());
        f.send(&other, "other", true);
        f.peers(&[&first, &second], false);
        f.send(&late, "late", true);
        f.peers(&[&second], false);
        f.returned_from(&first, vec![text(&late, 0, "late", true)]);
        f.settle(&[&second]).await;
        assert_eq!(second.text(), "late", "it was sent to both");
    });
}

#[test]
fn what_comes_back_keeps_the_order_of_its_sending_whichever_stream_started_first() {
    run(async {
        let (first, next) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let (later, earlier) = (stream(), stream());
        f.send(&earlier, "1", true);
        f.send(&later, "2", true);
        f.peers(&[], false);
        f.returned_from(&first, vec![text(&earlier, 0, "1", true), text(&later, 0, "2", true)]);
        f.peers(&[&next], false);
        f.settle(&[&next]).await;
        assert_eq!(next.text(), "12");
    });
}

/// It has given back what it had, and the router, which was not told yet, names it once more.
#[test]
fn a_socket_that_is_over_does_not_come_back() {
    run(async {
        let (first, next) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let info = stream();
        f.send(&info, "1", false);
        f.returned_from(&first, vec![text(&info, 0, "1", false)]);
        f.fan_out.returned(ROUTE, &me(), first.peer.socket, vec![Delivery::Fence], f.now);
        f.peers(&[&first], false);
        f.send(&info, "2", true);
        f.peers(&[&next], false);
        f.settle(&[&first, &next]).await;
        assert_eq!((first.text(), next.text()), ("1".into(), "12".into()));
    });
}

/// However long it takes, up to a bound for faults.
#[test]
fn a_new_socket_is_served_behind_the_fence_of_the_last() {
    run(async {
        let (first, next) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let info = stream();
        f.send(&info, "123", false);
        f.peers(&[], false);
        first.read().await;
        assert_eq!(first.got(), [Got::Text(info.key, "123".into()), Got::Fence]);
        f.send(&info, "4", false);
        f.peers(&[&next], false);
        f.now += Duration::from_millis(900);
        f.send(&info, "5", false);
        f.fan_out.flush(f.now);
        next.read().await;
        assert_eq!(next.text(), "", "more may come back");
        f.returned_from(&first, vec![text(&info, 1, "2", false)]);
        f.returned_from(&first, vec![text(&info, 2, "3", false)]);
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
fn returned_text_stands_before_what_is_kept() {
    run(async {
        let (first, next) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let (one, two) = (stream(), stream());
        f.send(&one, "12", true);
        f.send(&two, "3", false);
        f.peers(&[], false);
        f.send(&two, "4", true);
        f.returned(vec![text(&one, 0, "1", false), text(&one, 1, "2", true), text(&two, 0, "3", false)]);
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
                vec![Delivery::Text(text(&info, 0, "1", false)), Delivery::Text(text(&info, 1, "2", false))];
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
            let unread = || vec![Delivery::Text(text(&info, 0, "words", true))];
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
        let back = |from: usize| words[from..].iter().map(|(info, word)| text(info, 0, word, true)).collect();
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

/// The one that had both gives them back first: the other may still have had the older.
#[test]
fn what_two_sockets_held_is_in_its_order() {
    run(async {
        let (one, two, next) = (Socket::new(100), Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![one.peer.clone(), two.peer.clone()])]);
        let (older, newer) = (stream(), stream());
        f.send(&older, "1", true);
        f.peers(&[&one], false);
        f.send(&newer, "2", true);
        f.peers(&[], false);
        f.returned_from(&one, vec![text(&older, 0, "1", true), text(&newer, 0, "2", true)]);
        f.returned_from(&two, vec![text(&older, 0, "1", true)]);
        f.peers(&[&next], false);
        f.settle(&[&next]).await;
        assert_eq!(next.text(), "12");
    });
}

/// A socket that closes gives back what its streams held; then, one by one, what was still in its
/// mailbox. All of it is older than what is kept, and none of it may change places.
#[test]
fn text_that_returns_in_several_parts_keeps_its_order() {
    run(async {
        let (first, next) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![first.peer.clone()])]);
        let info = stream();
        f.send(&info, "1234", false);
        f.peers(&[], false);
        f.send(&info, "5", true);
        f.returned(vec![text(&info, 0, "1", false), text(&info, 1, "2", false)]);
        f.returned(vec![text(&info, 2, "3", false)]);
        f.returned(vec![text(&info, 3, "4", false)]);
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
        f.send(&info, "1", false);
        first.read().await;
        first.got.lock().clear();
        f.returned(vec![text(&info, 0, "1", false)]);
        f.send(&info, "2", true);
        // Whatever was sent to the first one by now, it sends back.
        f.peers(&[], false);
        first.read().await;
        for got in first.got.lock().drain(..) {
            let Got::Text(_, words) = got else { continue };
            f.returned(vec![text(&info, 1, &words, true)]);
        }
        f.peers(&[&next], false);
        f.settle(&[&next]).await;
        assert_eq!(next.text(), "12");
    });
}

//! Targets and requesters that come, move and go, and what was on its way to them.

use super::fixture::{A, B, Fixture, ME, OTHER, SECOND, Told, limits, not_found, part, requester};
use crate::{
    ids::RequestId,
    llm_router::{LeftRoom, Leftover, Origin, Peer, Refusal, RouteId, RouterLimits},
    registry::SocketKey,
};

#[test]
fn a_target_back_within_the_grace_adopts_its_requests() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let me = f.peer(ME);
        f.open(ME, "r", &[A]).unwrap();
        f.close(tab);
        assert_eq!(f.open(ME, "r2", &[A]), not_found(A), "no store and forward (Q8)");
        f.advance(4 * SECOND);
        assert_eq!(f.sweep(), 0);
        let back = f.target(A);
        f.told().await;
        f.advance(4 * SECOND);
        assert_eq!(f.sweep(), 0);
        // It leaves again, for good.
        f.close(back);
        f.advance(5 * SECOND);
        assert_eq!(f.sweep(), 1);
        let failed = Told::Failed(me, "r".into(), format!("Target client disconnected: {A}"));
        assert_eq!(f.told().await, [failed]);
        assert!(f.route("r", A).is_none());
    });
}

/// Lest a reconnect fill the mailbox.
#[test]
fn all_that_a_target_takes_over_comes_in_one_message() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        let old = f.target(A);
        for request in ["r1", "r2", "r3"] {
            f.opened(ME, request, A);
        }
        // It is back before its old socket is found dead, and after it.
        let next = f.target(A);
        f.close(old);
        assert_eq!((f.told().await.len(), f.adoptions()), (3 + 3, 1));
        f.close(next);
        f.target(A);
        assert_eq!((f.told().await.len(), f.adoptions()), (3, 2));
    });
}

#[test]
fn only_orphans_are_adopted() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        let tab = f.target(A);
        let route = f.opened(ME, "r", A);
        f.told().await;
        let second = f.target(A);
        assert_eq!(f.told().await, []);
        // It came back before its old socket was found dead.
        f.close(tab);
        assert_eq!(f.told().await, [Told::Adopt(second, route)]);
        f.target(A);
        assert_eq!(f.told().await, []);
    });
}

/// What the closing socket was to say of an end nobody else says: of one that comes, somebody will.
#[test]
fn the_rooms_of_a_socket_that_is_gone_are_told_of_the_ends_that_were() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        let (tab, room) = (f.target(A), f.room());
        let [over, goes_on] = ["over", "goes on"].map(|request| f.opened(ME, request, A));
        f.book.complete(over, None);
        f.told().await;
        f.book.rooms_left(tab, vec![left(over, "over", &room), left(goes_on, "goes on", &room)]);
        assert_eq!(f.told().await, [Told::Finished(room.socket, "over".into())]);
        // Another socket was told of it, and tells the room behind what it has sent there.
        let second = f.target(A);
        let unread = f.opened(OTHER, "unread", A);
        assert!(f.attribute(tab, A, "o", Some("unread")).is_some());
        f.book.complete(unread, None);
        f.told().await;
        f.book.rooms_left(tab, vec![left(unread, "unread", &room)]);
        assert_eq!(f.told().await, []);
        f.close(tab);
        f.told().await;
        f.book.rooms_left(second, vec![left(unread, "unread", &room)]);
        assert_eq!(f.told().await, [Told::Finished(room.socket, "unread".into())]);
    });
}

fn left(route: RouteId, request: &str, room: &Peer) -> LeftRoom {
    LeftRoom { route, request_id: RequestId::new(request).unwrap(), room: room.clone() }
}

#[test]
fn an_open_stream_ends_with_its_socket() {
    Fixture::run(RouterLimits { per_client: 1, ..limits() }, |mut f| async move {
        f.peer(ME);
        let tab = f.target(A);
        let route = f.opened(ME, "r", A);
        let state = f.book.routes[&route].state.clone();
        state.open_streams.store(3, std::sync::atomic::Ordering::Relaxed);
        state.ended_once.store(true, std::sync::atomic::Ordering::Relaxed);
        f.target(B);
        assert_eq!(f.open(ME, "r2", &[B]), Err(Refusal::TooMany));
        f.close(tab);
        assert!(state.is_quiet());
        assert_eq!(f.open(ME, "r2", &[B]), Ok(()));
    });
}

#[test]
fn requesters_come_and_go() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let first = f.peer(ME);
        let route = f.opened(ME, "r", A);
        f.told().await;
        let peers = |sockets: &[_], gone| Told::Peers(tab, route, ME.into(), sockets.to_vec(), gone);
        let second = f.peer(ME);
        let waits = Told::Newcomers(tab, route, ME.into(), vec![second]);
        assert_eq!(f.told().await, [waits, peers(&[first], false), peers(&[first, second], false)]);
        f.close(first);
        assert_eq!(f.told().await, [peers(&[second], false)]);
        // Not gone while a socket is there.
        f.book.requester_gone(&requester(ME));
        assert_eq!(f.told().await, []);
        f.close(second);
        f.book.requester_gone(&requester(ME));
        assert_eq!(f.told().await, [peers(&[], false), peers(&[], true)]);
        // Consumed and dropped until it is complete; nobody is told of a failure.
        assert_eq!(f.book.len(), 1);
        f.advance(601 * SECOND);
        assert_eq!(f.sweep(), 1);
        let text = "LLM request timed out.";
        assert_eq!(
            f.told().await,
            [Told::Fail(tab, route, text, Some(text.into())), Told::Close(tab, route)]
        );
    });
}

#[test]
fn an_end_waits_for_a_requester_that_is_away() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let first = f.peer(ME);
        let (answered, failed) = (f.opened(ME, "answered", A), f.opened(ME, "failed", A));
        f.close(first);
        f.told().await;
        f.book.complete(answered, None);
        f.book.complete(failed, Some(("short", "long".into())));
        let fail = Told::Fail(tab, failed, "short", Some("long".into()));
        let complete = |route| Told::Complete(tab, route);
        assert_eq!(f.told().await, [complete(answered), fail, complete(failed)], "it may still come back");
        let back = f.peer(ME);
        let peers = |route| Told::Peers(tab, route, ME.into(), vec![back], false);
        let mut expected =
            vec![peers(answered), peers(failed), Told::Close(tab, answered), Told::Close(tab, failed)];
        let mut told = f.told().await;
        told.sort();
        expected.sort();
        assert_eq!(told, expected);
        assert_eq!(f.book.len(), 0);
    });
}

#[test]
fn an_end_waits_until_its_text_is_read() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let socket = f.peer(ME);
        let (slow, quick) = (f.opened(ME, "slow", A), f.opened(ME, "quick", A));
        let text = f.book.routes[&slow].state.unread.clone();
        f.told().await;
        f.book.complete(slow, None);
        f.book.complete(quick, None);
        assert_eq!(f.told().await, [Told::Complete(tab, slow), Told::Close(tab, quick)]);
        // Its socket breaks: it is known whom the text goes back to.
        f.close(socket);
        let back = f.peer(ME);
        let peers = |peers: &[SocketKey]| Told::Peers(tab, slow, ME.into(), peers.to_vec(), false);
        assert_eq!(f.told().await, [peers(&[]), peers(&[back])]);
        f.sweep();
        assert_eq!(f.told().await, []);
        drop(text);
        f.sweep();
        assert_eq!(f.told().await, [Told::Close(tab, slow)]);
        assert!(f.book.is_empty());
    });
}

#[test]
fn an_end_that_is_read_is_closed_at_the_next_one() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        f.peer(ME);
        let (first, second) = (f.opened(ME, "first", A), f.opened(ME, "second", A));
        let text = f.book.routes[&first].state.unread.clone();
        f.told().await;
        f.book.complete(first, None);
        drop(text);
        f.book.complete(second, None);
        let closed = [Told::Complete(tab, first), Told::Close(tab, second), Told::Close(tab, first)];
        assert_eq!(f.told().await, closed);
    });
}

/// Whoever comes back sends again what it waits for: it cannot know that it was over by then.
#[test]
fn what_was_over_when_its_client_came_back_is_not_asked_again() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let socket = f.peer(ME);
        let route = f.opened(ME, "r", A);
        f.close(socket);
        f.book.complete(route, None);
        f.peer(ME);
        f.told().await;
        assert_eq!(f.book.len(), 0);
        assert_eq!(f.open(ME, "r", &[A]), Ok(()));
        assert_eq!((f.told().await, f.book.len()), (vec![], 0), "it is on its way already");
        // That was the repetition; now it is a new request, under the same id.
        assert_eq!(f.open(ME, "r", &[A]), Ok(()));
        assert!(matches!(f.told().await[..], [Told::Ask(asked, _)] if asked == tab));
    });
}

/// It was under way when its client came back, and is over before the client has asked for it again.
#[test]
fn what_is_over_since_its_client_came_back_is_not_asked_again() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let socket = f.peer(ME);
        let (first, second) = (f.opened(ME, "r", A), f.opened(ME, "r2", A));
        f.close(socket);
        f.peer(ME);
        f.book.complete(first, None);
        f.told().await;
        assert_eq!(f.open(ME, "r", &[A]), Ok(()));
        assert_eq!(f.open(ME, "r2", &[A]), Ok(()));
        assert_eq!(f.told().await, []);
        // Those were the repetitions.
        f.book.complete(second, None);
        f.told().await;
        for request in ["r", "r2"] {
            assert_eq!(f.open(ME, request, &[A]), Ok(()));
            assert!(matches!(f.told().await[..], [Told::Ask(asked, _)] if asked == tab), "{request}");
        }
    });
}

#[test]
fn an_end_does_not_wait_for_a_requester_that_is_gone() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let me = f.peer(ME);
        let route = f.opened(ME, "r", A);
        f.close(me);
        f.book.complete(route, None);
        f.told().await;
        f.book.requester_gone(&requester(ME));
        assert!(f.told().await.contains(&Told::Close(tab, route)));
        assert_eq!((f.book.len(), f.book.routes.len()), (0, 0));
    });
}

#[test]
fn returned_text_goes_to_the_targets_of_its_request_only() {
    Fixture::run(limits(), |mut f| async move {
        let (tab, other) = (f.target(A), f.target(B));
        let socket = f.peer(ME);
        let (a, b) = (f.opened(ME, "ra", A), f.opened(ME, "rb", B));
        f.close(socket);
        f.told().await;
        let from = |route: RouteId, holder: SocketKey| Origin { route, holder };
        let (of_a, of_b) = (from(a, tab), from(b, other));
        let finished = from(RouteId(u64::MAX), tab);
        f.book.returned(
            &requester(ME),
            socket,
            vec![
                (of_a, part("ra", "1")),
                (of_b, part("rb", "2")),
                (finished, part("x", "lost")),
                (of_a, part("ra", "3")),
            ],
        );
        // Of a closed socket its owner is still known.
        f.book.returned_to(socket, of_b, part("rb", "4"));
        let mut told = f.told().await;
        told.sort();
        let mut expected = [
            Told::Returned(tab, a, vec!["1".into(), "3".into()]),
            Told::Returned(other, b, vec!["2".into()]),
            Told::Returned(other, b, vec!["4".into()]),
        ];
        expected.sort();
        assert_eq!(told, expected);
    });
}

#[test]
fn what_a_target_leaves_reaches_those_who_asked_in_order() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let away = f.peer(ME);
        let route = f.opened(ME, "r", A);
        f.close(away);
        let left = |socket, parts| vec![Leftover { route, requester: requester(ME), socket, parts }];
        f.book.left_over(left(None, vec![part("r", "2"), part("r", "3")]));
        f.close(tab);
        // What its last socket had not written stands before that.
        f.book.returned_to(away, Origin { route, holder: tab }, part("r", "1"));
        // The target is lost meanwhile, and the request with it.
        f.advance(5 * SECOND);
        assert_eq!(f.sweep(), 1);
        f.told().await;
        let back = f.peer(ME);
        let text = |text: &str| Told::Text(back, text.into());
        let failed = Told::Failed(back, "r".into(), format!("Target client disconnected: {A}"));
        assert_eq!(f.told().await, [text("1"), text("2"), text("3"), failed]);
        assert_eq!((f.book.len(), f.book.routes.len()), (0, 0));
    });
}

/// The route of an answer that is over stays for as long as somebody is away, whoever else comes meanwhile.
#[test]
fn what_was_on_its_way_to_a_socket_that_is_gone_is_kept_whoever_comes_first() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let away = f.peer(ME);
        let route = f.opened(ME, "r", A);
        f.close(away);
        f.book.complete(route, None);
        f.close(tab);
        f.peer(OTHER);
        f.book.returned_to(away, Origin { route, holder: tab }, part("r", "1"));
        f.told().await;
        let back = f.peer(ME);
        assert_eq!(f.told().await, [Told::Text(back, "1".into())]);
        assert!(f.book.is_empty());
    });
}

#[test]
fn who_comes_or_goes_is_not_looked_for_among_the_requests_of_others() {
    Fixture::run(RouterLimits { allow_shared: true, ..limits() }, |mut f| async move {
        f.target(A);
        let names: Vec<String> = (0..100).map(|number| format!("app-{number}")).collect();
        for name in &names {
            f.peer(name);
            f.open(name, &format!("of-{name}"), &[A]).unwrap();
        }
        let looked_at = |f: &Fixture, client: &str| {
            let client = requester(client).client;
            f.book.requests_to_look_at(&client).map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(looked_at(&f, &names[7]), ["of-app-7"]);
        assert_eq!(looked_at(&f, ME), [""; 0]);
        // What two have asked is looked at for all.
        f.open(ME, "of-app-7", &[A]).unwrap();
        assert_eq!(looked_at(&f, ME), ["of-app-7"]);
        assert_eq!(looked_at(&f, &names[8]), ["of-app-8", "of-app-7"]);
    });
}

#[test]
fn what_a_target_leaves_for_one_socket_is_not_for_another() {
    Fixture::run(limits(), |mut f| async move {
        f.target(A);
        let (slow, quick) = (f.peer(ME), f.peer(ME));
        let route = f.opened(ME, "r", A);
        f.told().await;
        let left = |socket| Leftover {
            route,
            requester: requester(ME),
            socket: Some(socket),
            parts: vec![part("r", "late")],
        };
        f.book.left_over(vec![left(slow)]);
        assert_eq!(f.told().await, [Told::Text(slow, "late".into())]);
        f.close(slow);
        f.told().await;
        f.book.left_over(vec![left(slow)]);
        f.close(quick);
        f.peer(ME);
        assert!(!f.told().await.iter().any(|told| matches!(told, Told::Text(..))), "quick has had it");
    });
}

#[test]
fn what_is_kept_for_a_requester_that_is_gone_is_forgotten() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let me = f.peer(ME);
        let route = f.opened(ME, "r", A);
        f.close(me);
        let parts = vec![part("r", "x")];
        f.book.left_over(vec![Leftover { route, requester: requester(ME), socket: None, parts }]);
        f.close(tab);
        f.book.requester_gone(&requester(ME));
        f.told().await;
        f.peer(ME);
        assert_eq!(f.told().await, []);
    });
}

#[test]
fn a_target_that_moves_is_told_everything_once_and_in_order() {
    Fixture::run(RouterLimits { per_extension: 3, ..limits() }, |mut f| async move {
        let tab = f.target(A);
        f.peer(ME);
        let first = f.opened(ME, "r1", A);
        assert_eq!(f.told().await, [Told::Ask(tab, first)]);
        let (new, deliver) = f.moved(tab);
        f.book.socket_moved(tab, &deliver, Some(new));
        // Its old address still hands on what it was sent: this waits.
        let second = f.opened(ME, "r2", A);
        f.book.complete(second, None);
        assert_eq!(f.told().await, []);
        f.book.target_arrived(tab);
        assert_eq!(f.told().await, [Told::Ask(tab, second), Told::Close(tab, second)]);
        f.book.complete(first, None);
        assert_eq!(f.told().await, [Told::Close(tab, first)]);
    });
}

//! Each rule by itself.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::fixture::{Fixture, Told, limits, requester};
use crate::{
    llm_router::{Delivery, Leftover, Origin, Refusal, RouteId, RouterLimits},
    registry::SocketKey,
    stream::{StreamInfo, StreamText},
};

const A: &str = "SillyTavern-8000";
const B: &str = "SillyTavern-8001";
const ME: &str = "app-a";
const OTHER: &str = "app-b";
const SECOND: Duration = Duration::from_secs(1);

fn not_found(target: &str) -> Result<(), Refusal> {
    Err(Refusal::TargetNotFound(target.into()))
}

fn part(request: &str, text: &'static str) -> Delivery {
    let info = Arc::new(StreamInfo::new("s".into(), "o".into(), request.into()));
    let text = StreamText { info, text: Bytes::from_static(text.as_bytes()), end: false };
    Delivery::Text(text)
}

#[test]
fn a_request_goes_to_the_newest_socket_of_each_live_target() {
    Fixture::run(limits(), |mut f| async move {
        let _first_tab = f.target(A);
        let tab = f.target(A);
        let other = f.target(B);
        f.peer(ME);
        assert_eq!(f.open(ME, "r", &["SillyTavern-9", A, B, A]), Ok(()));
        let (a, b) = (f.route("r", A).unwrap(), f.route("r", B).unwrap());
        let mut told = f.told().await;
        told.sort();
        assert_eq!(told, [Told::Ask(tab, a), Told::Ask(other, b)]);
        assert_eq!(f.book.len(), 1);
    });
}

#[test]
fn the_first_target_is_named_when_none_is_live() {
    Fixture::run(limits(), |mut f| async move {
        assert_eq!(f.open(ME, "r", &[A, B]), not_found(A));
        let tab = f.target(A);
        f.close(tab);
        assert_eq!(f.open(ME, "r", &[A]), not_found(A));
        assert_eq!(f.book.len(), 0);
    });
}

#[test]
fn a_repeat_is_idempotent_and_a_foreign_id_is_refused_before_the_target_is_looked_up() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        let tab = f.target(A);
        assert_eq!(f.open(ME, "r", &[A]), Ok(()));
        assert_eq!(f.open(ME, "r", &[A]), Ok(()));
        assert_eq!(f.open(OTHER, "r", &[A]), Err(Refusal::Duplicate));
        assert_eq!(f.open(OTHER, "r", &["nobody"]), Err(Refusal::Duplicate));
        let route = f.route("r", A).unwrap();
        assert_eq!(f.told().await, [Told::Ask(tab, route)]);
        assert_eq!(f.book.requests["r"].requesters[..], [requester(ME)]);
    });
}

#[test]
fn a_new_target_of_an_open_request_is_asked_and_the_old_one_is_not_asked_again() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        f.target(A);
        let other = f.target(B);
        f.open(ME, "r", &[A]).unwrap();
        f.told().await;
        assert_eq!(f.open(ME, "r", &[A, B]), Ok(()));
        let route = f.route("r", B).unwrap();
        assert_eq!(f.told().await, [Told::Ask(other, route)]);
    });
}

#[test]
fn a_shared_request_gains_a_requester_and_its_holders_are_told() {
    Fixture::run(RouterLimits { allow_shared: true, ..limits() }, |mut f| async move {
        let tab = f.target(A);
        f.peer(ME);
        let joined = f.peer(OTHER);
        f.open(ME, "r", &[A]).unwrap();
        let route = f.route("r", A).unwrap();
        f.told().await;
        assert_eq!(f.open(OTHER, "r", &[A]), Ok(()));
        assert_eq!(f.told().await, [Told::Peers(tab, route, OTHER.into(), vec![joined], false)]);
        assert_eq!(f.book.requests["r"].requesters[..], [requester(ME), requester(OTHER)]);
    });
}

#[test]
fn limits_of_client_extension_and_all() {
    for (limit, refused) in [
        (RouterLimits { per_client: 2, ..limits() }, (ME, "r3", &[A][..])),
        (RouterLimits { per_client: 3, ..limits() }, (ME, "r3", &[A, B][..])),
        (RouterLimits { per_extension: 2, ..limits() }, (OTHER, "r3", &[A][..])),
        (RouterLimits { total: 2, ..limits() }, (OTHER, "r3", &[B][..])),
    ] {
        Fixture::run(limit.clone(), |mut f| async move {
            f.peer(ME);
            f.peer(OTHER);
            f.target(A);
            f.target(B);
            f.open(ME, "r1", &[A]).unwrap();
            f.open(ME, "r2", &[A]).unwrap();
            let (from, id, targets) = refused;
            assert_eq!(f.open(from, id, targets), Err(Refusal::TooMany), "{limit:?}");
            assert_eq!(f.book.len(), 2);
            // A repeat needs no room, and room is made by an end.
            assert_eq!(f.open(ME, "r2", &[A]), Ok(()));
            for request in ["r1", "r2"] {
                let route = f.route(request, A).unwrap();
                f.book.complete(route, None);
            }
            assert_eq!(f.open(from, id, targets), Ok(()));
        });
    }
}

#[test]
fn an_answered_request_is_not_pending_and_the_oldest_such_is_forgotten_first() {
    Fixture::run(RouterLimits { per_client: 2, ..limits() }, |mut f| async move {
        let tab = f.target(A);
        f.peer(ME);
        for request in ["r1", "r2"] {
            f.open(ME, request, &[A]).unwrap();
            f.answered(f.route(request, A).unwrap());
        }
        let oldest = f.route("r1", A).unwrap();
        f.told().await;
        f.open(ME, "r3", &[A]).unwrap();
        let asked = f.route("r3", A).unwrap();
        assert_eq!(f.told().await, [Told::Close(tab, oldest), Told::Ask(tab, asked)]);
        assert!(f.route("r2", A).is_some());
        f.open(ME, "r4", &[A]).unwrap();
        assert_eq!(f.open(ME, "r5", &[A]), Err(Refusal::TooMany));
    });
}

/// Which of many are answered is not looked at for each request; that shows in what is kept, and by no more than an
/// eighth.
#[test]
fn of_many_that_are_answered_the_bound_is_kept_and_an_eighth_more() {
    for limits in [
        RouterLimits { per_client: 16, ..limits() },
        RouterLimits { per_extension: 16, ..limits() },
        RouterLimits { total: 16, ..limits() },
    ] {
        Fixture::run(limits.clone(), |mut f| async move {
            f.peer(ME);
            f.target(A);
            let open = |f: &mut Fixture, number: usize| f.open(ME, &format!("r{number}"), &[A]);
            let mut most = 0;
            for number in 0..100 {
                open(&mut f, number).unwrap();
                let kept = f.book.routes.len();
                assert!(kept >= number.min(16), "{kept} after {number}: {limits:?}");
                most = most.max(kept);
                f.answered(f.route(&format!("r{number}"), A).unwrap());
            }
            assert_eq!(most, 16 + 2, "{limits:?}");
            // As many as ever may be pending beside them, and not one more.
            for number in 100..116 {
                open(&mut f, number).unwrap();
            }
            assert_eq!(open(&mut f, 116), Err(Refusal::TooMany), "{limits:?}");
            assert!(f.book.routes.len() <= 16 + 16, "{limits:?}");
            f.answered(f.route("r115", A).unwrap());
            open(&mut f, 116).unwrap();
            assert_eq!(open(&mut f, 117), Err(Refusal::TooMany), "{limits:?}");
        });
    }
}

#[test]
fn a_target_whose_session_has_just_ended_refuses_and_leaves_nothing_behind() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        f.ended_target(A).await;
        assert!(f.open(ME, "r", &[A]).is_err());
        assert_eq!((f.book.len(), f.book.routes.len()), (0, 0));
    });
}

/// The first of two targets has just ended; the second must still be asked, and nothing is left of
/// the first.
#[test]
fn a_target_that_takes_nothing_does_not_cost_the_other_its_request() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        f.ended_target(A).await;
        let other = f.target(B);
        assert_eq!(f.open(ME, "r", &[A, B]), Ok(()));
        let route = f.route("r", B).expect("the second target is asked");
        assert_eq!(f.told().await, [Told::Ask(other, route)]);
        assert_eq!((f.book.len(), f.book.routes.len()), (1, 1));
    });
}

/// `limits.session_mailbox` bounds what waits for a target, requests included (STYLE pair 6: an
/// address that is cloned for a message has a free slot every time).
#[test]
fn a_full_mailbox_is_not_filled_further() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        f.target_with(A, 2);
        let taken = (0..20).filter(|n| f.open(ME, &format!("r{n}"), &[A]).is_ok()).count();
        assert!(taken <= 4, "{taken} requests wait in a mailbox of 2");
        assert_eq!(f.book.len(), taken);
    });
}

#[test]
fn a_named_request_is_used_even_if_an_older_one_waits() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        let tab = f.target(A);
        f.open(ME, "r1", &[A]).unwrap();
        f.open(ME, "r2", &[A]).unwrap();
        let r2 = f.route("r2", A).unwrap();
        assert_eq!(f.attribute(tab, A, "o", Some("r2")).unwrap().route, r2);
        // The output keeps its request, named or not, known or not.
        assert_eq!(f.attribute(tab, A, "o", None).unwrap().route, r2);
        assert_eq!(f.attribute(tab, A, "o", Some("random")).unwrap().route, r2);
    });
}

#[test]
fn an_unnamed_answer_goes_to_the_oldest_request_without_output() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        let tab = f.target(A);
        for request in ["r1", "r2", "r3"] {
            f.open(ME, request, &[A]).unwrap();
        }
        f.attribute(tab, A, "o2", Some("r2")).unwrap();
        for (output, named, request) in [("o1", None, "r1"), ("o3", Some("random"), "r3")] {
            let route = f.route(request, A).unwrap();
            assert_eq!(f.attribute(tab, A, output, named).unwrap().route, route, "{output}");
        }
        assert!(f.attribute(tab, A, "o4", None).is_none());
    });
}

#[test]
fn an_answer_that_names_no_request_ends_those_before_it_and_one_that_does_displaces_nothing() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        let tab = f.target(A);
        for request in ["r1", "r2", "r3"] {
            f.open(ME, request, &[A]).unwrap();
        }
        f.attribute(tab, A, "o1", Some("r1")).unwrap();
        f.attribute(tab, A, "o2", Some("r2")).unwrap();
        assert_eq!(f.book.len(), 3, "answers may run side by side");
        let r3 = f.route("r3", A).unwrap();
        assert_eq!(f.attribute(tab, A, "o3", None).unwrap().route, r3);
        assert_eq!(f.book.len(), 1);
        assert!(f.attribute(tab, A, "o4", None).is_none());
        assert_eq!(f.book.len(), 0, "even if nothing is left for the new one");
    });
}

#[test]
fn requests_of_another_target_are_out_of_reach() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        f.target(A);
        let other = f.target(B);
        f.open(ME, "r", &[A]).unwrap();
        assert!(f.attribute(other, B, "o", Some("r")).is_none());
        assert!(f.attribute(other, B, "o", None).is_none());
        assert!(f.route("r", A).is_some());
    });
}

#[test]
fn an_older_tab_may_answer_too() {
    Fixture::run(limits(), |mut f| async move {
        let older = f.target(A);
        let newest = f.target(A);
        f.peer(ME);
        f.open(ME, "r", &[A]).unwrap();
        let route = f.route("r", A).unwrap();
        assert_eq!(f.told().await, [Told::Ask(newest, route)]);
        assert_eq!(f.attribute(older, A, "o", Some("r")).unwrap().route, route);
        // It holds the route now: the newest one may go.
        f.close(newest);
        f.advance(10 * SECOND);
        assert_eq!(f.sweep(), 0);
        f.book.complete(route, None);
        assert_eq!(f.told().await, [Told::Close(older, route)]);
    });
}

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

#[test]
fn only_orphans_are_adopted() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        let tab = f.target(A);
        f.open(ME, "r", &[A]).unwrap();
        let route = f.route("r", A).unwrap();
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

#[test]
fn deadlines() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        f.peer(ME);
        f.open(ME, "silent", &[A]).unwrap();
        f.open(ME, "answered", &[A]).unwrap();
        let (silent, answered) = (f.route("silent", A).unwrap(), f.route("answered", A).unwrap());
        f.told().await;
        f.advance(500 * SECOND);
        // A sign of life on one request is one for all of that target.
        f.answered(answered);
        f.advance(59 * SECOND);
        assert_eq!(f.sweep(), 0);
        assert_eq!(f.book.len(), 2);
        f.advance(SECOND);
        assert_eq!(f.sweep(), 0);
        assert_eq!(f.told().await, [Told::Close(tab, answered)], "idle after an END: complete");
        f.advance(539 * SECOND);
        assert_eq!(f.sweep(), 0);
        f.advance(SECOND);
        assert_eq!(f.sweep(), 1);
        let text = "LLM request timed out.";
        // Behind the text that it still has for those who asked.
        assert_eq!(
            f.told().await,
            [Told::Fail(tab, silent, text, Some(text.into())), Told::Close(tab, silent)]
        );
    });
}

/// Spec §5.9: a sign of life counts for all pending requests of a target, "since it serves them one
/// by one", also when one of them was opened before a reconnect and the other after it.
#[test]
fn a_sign_of_life_counts_for_requests_from_before_and_after_a_reconnect() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        let tab = f.target(A);
        f.open(ME, "before", &[A]).unwrap();
        f.close(tab);
        f.target(A);
        f.open(ME, "after", &[A]).unwrap();
        f.advance(500 * SECOND);
        f.touch(f.route("before", A).unwrap());
        f.advance(200 * SECOND);
        assert_eq!(f.sweep(), 0, "the target was alive 200 s ago");
    });
}

#[test]
fn an_open_stream_ends_with_its_socket() {
    Fixture::run(RouterLimits { per_client: 1, ..limits() }, |mut f| async move {
        f.peer(ME);
        let tab = f.target(A);
        f.open(ME, "r", &[A]).unwrap();
        let route = f.route("r", A).unwrap();
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
        f.open(ME, "r", &[A]).unwrap();
        let route = f.route("r", A).unwrap();
        f.told().await;
        let peers = |sockets: &[_], gone| Told::Peers(tab, route, ME.into(), sockets.to_vec(), gone);
        let second = f.peer(ME);
        assert_eq!(f.told().await, [peers(&[first, second], false)]);
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
        f.open(ME, "answered", &[A]).unwrap();
        f.open(ME, "failed", &[A]).unwrap();
        let (answered, failed) = (f.route("answered", A).unwrap(), f.route("failed", A).unwrap());
        f.close(first);
        f.told().await;
        f.book.complete(answered, None);
        f.book.complete(failed, Some(("short", "long".into())));
        let fail = Told::Fail(tab, failed, "short", Some("long".into()));
        assert_eq!(f.told().await, [fail], "it may still come back");
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
fn an_end_does_not_wait_for_a_requester_that_is_gone() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let me = f.peer(ME);
        f.open(ME, "r", &[A]).unwrap();
        let route = f.route("r", A).unwrap();
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
        f.open(ME, "ra", &[A]).unwrap();
        f.open(ME, "rb", &[B]).unwrap();
        let (a, b) = (f.route("ra", A).unwrap(), f.route("rb", B).unwrap());
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
        f.open(ME, "r", &[A]).unwrap();
        let route = f.route("r", A).unwrap();
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
        f.open(ME, "r", &[A]).unwrap();
        let route = f.route("r", A).unwrap();
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
            let ids = f.book.requests_to_look_at(&requester(client).client);
            ids.iter().map(ToString::to_string).collect::<Vec<_>>()
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
        f.open(ME, "r", &[A]).unwrap();
        let route = f.route("r", A).unwrap();
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
        f.open(ME, "r", &[A]).unwrap();
        let route = f.route("r", A).unwrap();
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
        f.open(ME, "r1", &[A]).unwrap();
        let first = f.route("r1", A).unwrap();
        assert_eq!(f.told().await, [Told::Ask(tab, first)]);
        let (new, deliver) = f.moved(tab);
        f.book.socket_moved(tab, &deliver, Some(new));
        // Its old address still hands on what it was sent: this waits.
        f.open(ME, "r2", &[A]).unwrap();
        let second = f.route("r2", A).unwrap();
        f.book.complete(second, None);
        assert_eq!(f.told().await, []);
        f.book.target_arrived(tab);
        assert_eq!(f.told().await, [Told::Ask(tab, second), Told::Close(tab, second)]);
        f.book.complete(first, None);
        assert_eq!(f.told().await, [Told::Close(tab, first)]);
    });
}

#[test]
fn an_id_can_be_used_again_after_completion() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        f.peer(OTHER);
        let tab = f.target(A);
        f.open(ME, "r", &[A]).unwrap();
        let first = f.route("r", A).unwrap();
        f.book.complete(first, None);
        assert_eq!(f.open(OTHER, "r", &[A]), Ok(()));
        let second = f.route("r", A).unwrap();
        assert_ne!(first, second);
        assert_eq!(f.told().await, [Told::Ask(tab, first), Told::Close(tab, first), Told::Ask(tab, second)]);
    });
}

#[test]
fn remembered_outputs_are_bounded() {
    Fixture::run(RouterLimits { outputs: 3, ..limits() }, |mut f| async move {
        f.peer(ME);
        let tab = f.target(A);
        f.open(ME, "r", &[A]).unwrap();
        for output in 0..10 {
            f.attribute(tab, A, &output.to_string(), Some("r")).unwrap();
        }
        let route = f.route("r", A).unwrap();
        assert_eq!(f.book.routes[&route].outputs[..], ["7".into(), "8".into(), "9".into()]);
    });
}

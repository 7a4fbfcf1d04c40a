//! Each rule by itself.

use super::fixture::{A, B, Fixture, ME, OTHER, SECOND, Told, limits, not_found, requester};
use crate::llm_router::{Refusal, RouterLimits};

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
        let route = f.opened(ME, "r", A);
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
        let asked = f.opened(ME, "r3", A);
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
        let r2 = f.opened(ME, "r2", A);
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
        let route = f.opened(ME, "r", A);
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
fn deadlines() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        f.peer(ME);
        let (silent, answered) = (f.opened(ME, "silent", A), f.opened(ME, "answered", A));
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
fn an_id_can_be_used_again_after_completion() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        f.peer(OTHER);
        let tab = f.target(A);
        let first = f.opened(ME, "r", A);
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

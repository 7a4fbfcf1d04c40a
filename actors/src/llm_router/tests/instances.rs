//! Several instances of one target, and what is over: an answer reaches nobody whom it is not meant for.

use super::fixture::{A, Fixture, ME, OTHER, SECOND, Told, limits, requester};
use crate::llm_router::{RouteId, RouterLimits};

const ONE: &str = "SillyTavern-8000-1";
const TWO: &str = "SillyTavern-8000-2";

/// A request to one instance by its own name.
fn asked(f: &mut Fixture, request: &str) -> RouteId {
    assert_eq!(f.open(ME, request, &[ONE]), Ok(()));
    f.route(request, A).unwrap()
}

#[test]
fn another_instance_of_a_target_does_not_inherit_what_it_was_never_asked() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        let two = f.instance(A, TWO);
        let one = f.instance(A, ONE);
        let route = asked(&mut f, "r");
        assert_eq!(f.told().await, [Told::Ask(one, route)]);
        f.close(one);
        // One that comes meanwhile was not asked either.
        let three = f.instance(A, "SillyTavern-8000-3");
        f.advance(5 * SECOND);
        assert_eq!(f.sweep(), 1, "it is away for as long as it may be, whoever else is there");
        assert!(
            f.told()
                .await
                .iter()
                .all(|told| !matches!(told, Told::Adopt(by, _) if [two, three].contains(by)))
        );
    });
}

#[test]
fn an_instance_that_is_back_goes_on() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        f.instance(A, TWO);
        let one = f.instance(A, ONE);
        let route = asked(&mut f, "r");
        f.close(one);
        f.told().await;
        let back = f.instance(A, ONE);
        assert_eq!(f.told().await, [Told::Adopt(back, route)]);
    });
}

#[test]
fn an_answer_without_a_name_is_to_what_its_own_instance_was_asked() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        let (one, two) = (f.instance(A, ONE), f.instance(A, TWO));
        let first = asked(&mut f, "r1");
        assert!(f.attribute(two, A, "o", None).is_none());
        assert!(f.errored(two, A, None).is_none());
        assert_eq!(f.attribute(one, A, "o1", None).unwrap().route, first);
        // The next answer of the other one ends nothing here.
        assert!(f.attribute(two, A, "o2", None).is_none());
        assert!(!f.book.routes[&first].finished);
        // Whoever names a request may answer it.
        assert_eq!(f.attribute(two, A, "o3", Some("r1")).unwrap().route, first);
    });
}

#[test]
fn what_names_a_request_that_is_over_is_about_no_other() {
    Fixture::run(limits(), |mut f| async move {
        f.peer(ME);
        f.peer(OTHER);
        let tab = f.target(A);
        let over = f.opened(ME, "r1", A);
        let open = f.opened(OTHER, "r2", A);
        f.attribute(tab, A, "o1", Some("r1")).unwrap();
        f.book.complete(over, None);
        assert!(f.attribute(tab, A, "o2", Some("r1")).is_none(), "a second answer, or a late one");
        assert!(f.errored(tab, A, Some("r1")).is_none());
        assert!(f.errored(tab, A, Some("random")).is_none());
        assert!(!f.book.routes[&open].finished, "and displaces nothing");
        // The published extension names what nobody ever asked; that says nothing.
        assert_eq!(f.attribute(tab, A, "o3", Some("random")).unwrap().route, open);
        // An id that is used again is as good as a new one.
        let again = f.opened(ME, "r1", A);
        assert_eq!(f.attribute(tab, A, "o4", Some("r1")).unwrap().route, again);
    });
}

/// As many as may be open.
#[test]
fn of_what_is_over_the_oldest_is_forgotten_first() {
    Fixture::run(RouterLimits { total: 4, ..limits() }, |mut f| async move {
        f.peer(ME);
        let tab = f.target(A);
        for request in ["r1", "r2", "r3", "r4", "r5"] {
            let route = f.opened(ME, request, A);
            f.book.complete(route, None);
        }
        let open = f.opened(ME, "r", A);
        assert!(f.attribute(tab, A, "o2", Some("r2")).is_none());
        assert_eq!(f.attribute(tab, A, "o1", Some("r1")).unwrap().route, open, "it might be a random one");
    });
}

#[test]
fn a_client_that_was_gone_finds_its_request_again() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let socket = f.peer(ME);
        let route = f.opened(ME, "r", A);
        f.close(socket);
        f.book.requester_gone(&requester(ME));
        f.told().await;
        let back = f.peer(ME);
        assert!(f.open(OTHER, "r", &[A]).is_err(), "it is nobody else's");
        assert_eq!(f.open(ME, "r", &[A]), Ok(()));
        assert_eq!(
            f.told().await,
            [Told::Peers(tab, route, ME.into(), vec![back], false)],
            "and is not asked again"
        );
        assert_eq!(f.book.requests["r"].requesters[..], [requester(ME)]);
    });
}

#[test]
fn an_id_whose_answer_waits_for_somebody_else_can_be_used_again() {
    Fixture::run(RouterLimits { allow_shared: true, ..limits() }, |mut f| async move {
        let tab = f.target(A);
        f.peer(ME);
        let away = f.peer(OTHER);
        let first = f.opened(ME, "r", A);
        f.open(OTHER, "r", &[A]).unwrap();
        f.close(away);
        f.book.complete(first, None);
        f.told().await;
        assert_eq!(f.open(ME, "r", &[A]), Ok(()));
        let second = f.book.routes.keys().copied().find(|id| *id != first).unwrap();
        assert_eq!(f.told().await, [Told::Ask(tab, second)]);
    });
}

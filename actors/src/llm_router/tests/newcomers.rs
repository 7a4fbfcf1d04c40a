//! Who comes back by another connection while the old one is there.

use super::fixture::{A, Fixture, ME, OTHER, SECOND, Told, limits, part, requester};
use crate::{
    llm_router::{Leftover, Origin, RouteId, RouterLimits},
    registry::SocketKey,
};

#[test]
fn old_requests_hear_of_another_socket_once_the_first_has_shown_that_it_lives() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let first = f.peer(ME);
        let (idle, elders) = f.newcomer(ME);
        assert_eq!(elders, [first]);
        // Nothing is under way: it is one of those who get all, at once.
        let route = f.opened(ME, "r", A);
        f.book.complete(route, None);
        f.close(idle);
        let route = f.opened(ME, "r2", A);
        f.told().await;
        let (second, elders) = f.newcomer(ME);
        assert_eq!(elders, [first]);
        let (third, elders) = f.newcomer(ME);
        assert_eq!(elders, [first, second]);
        let peers = |peers: &[SocketKey]| Told::Peers(tab, route, ME.into(), peers.to_vec(), false);
        let waiting = |peers: &[SocketKey]| Told::Newcomers(tab, route, ME.into(), peers.to_vec());
        assert_eq!(
            f.told().await,
            [waiting(&[second]), peers(&[first]), waiting(&[second, third]), peers(&[first])],
            "for what is whole"
        );
        f.book.proven(second, first);
        f.book.proven(second, first);
        assert_eq!(f.told().await, [waiting(&[third]), peers(&[first, second])]);
        f.book.proven(third, first);
        assert_eq!(f.told().await, []);
        f.book.proven(third, second);
        assert_eq!(f.told().await, [peers(&[first, second, third])]);
    });
}

/// What the dead one gives back stands before what comes, so its requests must not hear of both at once.
#[test]
fn old_requests_hear_of_another_socket_behind_the_end_of_the_first() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let first = f.peer(ME);
        let old = f.opened(ME, "old", A);
        let (second, _) = f.newcomer(ME);
        let new = f.opened(ME, "new", A);
        f.told().await;
        f.close(first);
        let peers = |route, peers: &[SocketKey]| Told::Peers(tab, route, ME.into(), peers.to_vec(), false);
        let told = f.told().await;
        let of =
            |route| told.iter().filter(move |told| matches!(told, Told::Peers(_, of, ..) if *of == route));
        assert_eq!(of(old).collect::<Vec<_>>(), [&peers(old, &[]), &peers(old, &[second])]);
        // It was there when this one was asked.
        assert!(of(new).all(|told| *told == peers(new, &[second])), "{told:?}");
        // Whoever waits and leaves is not told of.
        let (third, elders) = f.newcomer(ME);
        assert_eq!(elders, [second]);
        f.close(third);
        f.book.proven(third, second);
        assert!(
            f.told()
                .await
                .iter()
                .all(|told| !matches!(told, Told::Peers(_, _, _, peers, _) if peers.contains(&third)))
        );
    });
}

fn texts(told: &[Told]) -> Vec<&Told> {
    told.iter().filter(|told| matches!(told, Told::Text(..))).collect()
}

/// The router may hear of the end of a socket before what it gives back, as it does of every session, or behind it.
#[test]
fn what_a_dead_socket_gives_back_without_a_target_goes_to_the_socket_that_has_waited_for_it() {
    for closed_first in [true, false] {
        Fixture::run(limits(), |mut f| async move {
            let tab = f.target(A);
            let first = f.peer(ME);
            let route = f.opened(ME, "r", A);
            let (second, _) = f.newcomer(ME);
            // The extension leaves, and then it turns out that the first socket is dead.
            f.close(tab);
            let origin = Origin { route, holder: tab };
            let give_back =
                |f: &mut Fixture| f.book.returned(&requester(ME), first, vec![(origin, part("r", "rest"))]);
            if !closed_first {
                give_back(&mut f);
            }
            f.told().await;
            f.close(first);
            if closed_first {
                give_back(&mut f);
            }
            let told = f.told().await;
            assert_eq!(texts(&told), [&Told::Text(second, "rest".into())], "closed first: {closed_first}");
            // What was in its mailbox comes behind that.
            f.book.returned_to(first, origin, part("r", "more"));
            assert_eq!(f.told().await, [Told::Text(second, "more".into())]);
            // And goes on from there, if that one was not alive either.
            let (third, _) = f.newcomer(ME);
            f.close(second);
            f.book.returned(&requester(ME), second, vec![(origin, part("r", "rest"))]);
            let told = f.told().await;
            assert_eq!(texts(&told), [&Told::Text(third, "rest".into())]);
        });
    }
}

#[test]
fn what_one_of_two_sockets_gives_back_without_a_target_is_not_for_the_other_nor_for_the_next() {
    for extension_is_away in [true, false] {
        Fixture::run(limits(), |mut f| async move {
            let tab = f.target(A);
            let (first, second) = (f.peer(ME), f.peer(ME));
            let route = f.opened(ME, "r", A);
            if extension_is_away {
                f.close(tab);
            }
            f.told().await;
            let origin = Origin { route, holder: tab };
            let give_back = |f: &mut Fixture, socket, text: &str| {
                f.book.returned(&requester(ME), socket, vec![(origin, part("r", text))]);
            };
            f.close(first);
            give_back(&mut f, first, "both had it");
            let told = f.told().await;
            let returned = Told::Returned(tab, route, vec!["both had it".into()]);
            assert_eq!(told.contains(&returned), !extension_is_away, "who knows what each has had decides");
            if !extension_is_away {
                return;
            }
            assert!(texts(&told).is_empty(), "{told:?}");
            f.close(second);
            give_back(&mut f, second, "not read");
            f.told().await;
            let third = f.peer(ME);
            let told = f.told().await;
            assert_eq!(texts(&told), [&Told::Text(third, "not read".into())]);
            // It was not there when the last of them closed.
            f.book.returned_to(second, origin, part("r", "in its mailbox"));
            f.book.returned_to(first, origin, part("r", "in the mailbox of both"));
            assert_eq!(f.told().await, [Told::Text(third, "in its mailbox".into())]);
        });
    }
}

/// They have heard of the requests that were made since they came, and not of those before.
#[test]
fn what_a_socket_gives_back_without_a_target_is_for_those_who_were_not_told_of_its_route() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let first = f.peer(ME);
        let old = f.opened(ME, "old", A);
        let (second, _) = f.newcomer(ME);
        let new = f.opened(ME, "new", A);
        f.close(tab);
        f.close(first);
        f.told().await;
        let from = |route: RouteId| Origin { route, holder: tab };
        let parts = vec![(from(old), part("old", "old")), (from(new), part("new", "new"))];
        f.book.returned(&requester(ME), first, parts);
        assert_eq!(f.told().await, [Told::Text(second, "old".into())]);
    });
}

/// What is kept in order is for those who are served; who waits for one of them gets it when that one ends.
#[test]
fn what_a_target_leaves_is_not_for_a_socket_that_waits_for_another() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let first = f.peer(ME);
        let route = f.opened(ME, "r", A);
        let (second, _) = f.newcomer(ME);
        f.told().await;
        let parts = vec![part("r", "text")];
        f.book.left_over(vec![Leftover { route, requester: requester(ME), socket: None, parts }]);
        assert_eq!(f.told().await, [Told::Text(first, "text".into())]);
        // A failure is for all.
        f.close(tab);
        f.told().await;
        f.advance(5 * SECOND);
        assert_eq!(f.sweep(), 1);
        let failed = |socket| Told::Failed(socket, "r".into(), format!("Target client disconnected: {A}"));
        assert_eq!(f.told().await, [failed(first), failed(second)]);
    });
}

/// It was sent whole to a connection that is dead, or was read: nothing of it comes to the new one.
#[test]
fn what_is_over_and_read_is_asked_again_by_another_socket() {
    for unread in [false, true] {
        Fixture::run(RouterLimits { allow_shared: true, ..limits() }, |mut f| async move {
            let tab = f.target(A);
            f.peer(ME);
            let away = f.peer(OTHER);
            let route = f.opened(ME, "r", A);
            f.open(OTHER, "r", &[A]).unwrap();
            f.close(away);
            let text = unread.then(|| f.book.routes[&route].state.unread.clone());
            f.book.complete(route, None);
            assert!(f.book.routes.contains_key(&route), "it is kept for another");
            f.newcomer(ME);
            f.told().await;
            f.open(ME, "r", &[A]).unwrap();
            let asked =
                f.told().await.iter().any(|told| matches!(told, Told::Ask(socket, _) if *socket == tab));
            assert_eq!(asked, !unread);
            drop(text);
        });
    }
}

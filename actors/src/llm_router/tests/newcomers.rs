//! Who comes back by another connection while the old one is there.

use super::fixture::{A, Fixture, ME, OTHER, SECOND, Told, limits, part, requester};
use crate::{
    llm_router::{Leftover, Origin, RouterLimits},
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

#[test]
fn what_is_kept_for_somebody_goes_to_the_socket_that_has_not_had_it() {
    Fixture::run(limits(), |mut f| async move {
        let tab = f.target(A);
        let first = f.peer(ME);
        let route = f.opened(ME, "r", A);
        let (second, _) = f.newcomer(ME);
        // The extension leaves, and then it turns out that the first socket is dead.
        f.close(tab);
        let origin = Origin { route, holder: tab };
        f.book.returned(&requester(ME), first, vec![(origin, part("r", "rest"))]);
        f.told().await;
        f.close(first);
        assert!(f.told().await.contains(&Told::Text(second, "rest".into())));
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

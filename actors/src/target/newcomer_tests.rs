//! Sockets that wait until an older one of the same reader has shown that it lives: what is whole comes to them at once,
//! and once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::fixture::*;
use crate::{
    ids::RequestId,
    llm_router::{Delivery, Failure},
};

fn message(text: &str) -> Delivery {
    Delivery::Message { request_id: RequestId::new("r").unwrap(), payload: text.into() }
}

fn failure(text: &'static str) -> Delivery {
    Delivery::Failed(Failure { request_id: RequestId::new("r").unwrap(), message: text.into(), error: None })
}

impl Fixture {
    fn give_back(&mut self, socket: &Socket, parts: Vec<Delivery>) {
        self.fan_out.returned(ROUTE, &me(), socket.peer.socket, parts, self.now);
    }
}

/// The older one is dead, and nobody knows it yet.
#[test]
fn an_answer_in_one_piece_and_a_failure_do_not_wait_for_the_older_socket() {
    for (whole, got) in
        [(message("answer"), Got::Message("answer".into())), (failure("no"), Got::Error("no".into()))]
    {
        run(async move {
            let (old, new) = (Socket::new(100), Socket::new(100));
            let mut f = Fixture::new(10_000, vec![(me(), vec![old.peer.clone()])]);
            let info = stream();
            f.peers_and_newcomers(&[&old], &[&new]);
            f.send(&info, "text", true);
            f.fan_out.send(ROUTE, &whole, f.now);
            f.fan_out.complete(ROUTE, false, f.now);
            f.settle(&[&old, &new]).await;
            assert_eq!(new.got(), std::slice::from_ref(&got));
            assert_eq!(old.got().last(), Some(&got));
            // It did not take what it was given: that comes back whole, and the new one has had a part of it.
            f.peers_and_newcomers(&[], &[&new]);
            f.peers(&[&new], false);
            f.give_back(
                &old,
                vec![Delivery::Text(text(&info, 0, "text", true)), whole.clone(), Delivery::Fence],
            );
            f.settle(&[&new]).await;
            assert_eq!(new.got(), [got, Got::Text(info.key, "text".into()), Got::End(info.key)]);
        });
    }
}

#[test]
fn two_that_live_are_given_the_same() {
    run(async {
        let (one, two) = (Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![one.peer.clone()])]);
        f.peers_and_newcomers(&[&one], &[&two]);
        f.say("first");
        f.peers(&[&one, &two], false);
        f.say("second");
        f.settle(&[&one, &two]).await;
        let both = [Got::Message("first".into()), Got::Message("second".into())];
        assert_eq!((&one.got()[..], &two.got()[..]), (&both[..], &both[..]));
    });
}

/// The router has told of it before it heard that the request is over: it may have promised it the answer.
#[test]
fn an_answer_of_a_moment_ago_is_for_a_socket_that_the_router_has_told_of_meanwhile() {
    for acknowledged in [false, true] {
        run(async move {
            let (old, new) = (Socket::new(100), Socket::new(100));
            let mut f = Fixture::new(10_000, vec![(me(), vec![old.peer.clone()])]);
            f.say("answer");
            if acknowledged {
                f.fan_out.complete(ROUTE, false, f.now);
            }
            for _ in 0..2 {
                f.peers_and_newcomers(&[&old], &[&new]);
            }
            f.settle(&[&old, &new]).await;
            let expected = if acknowledged { vec![] } else { vec![Got::Message("answer".into())] };
            assert_eq!(new.got(), expected);
        });
    }
}

#[test]
fn what_waits_for_a_newcomer_outlives_the_request_and_its_target() {
    run(async {
        for target_leaves in [false, true] {
            let (old, new) = (Socket::new(100), Socket::new(1));
            let mut f = Fixture::new(10_000, vec![(me(), vec![old.peer.clone()])]);
            f.peers_and_newcomers(&[&old], &[&new]);
            for number in 0..6 {
                f.say(&number.to_string());
            }
            f.fan_out.complete(ROUTE, false, f.now);
            f.fan_out.close(ROUTE, f.now);
            assert!(f.fan_out.deadline().is_some());
            if target_leaves {
                let left = f.fan_out.into_leftovers();
                let sockets: Vec<_> = left.iter().map(|left| left.socket).collect();
                assert_eq!(sockets, [Some(new.peer.socket)]);
                new.read().await;
                assert_eq!(left[0].parts.len() + new.got().len(), 6);
            } else {
                f.settle(&[&old, &new]).await;
                assert_eq!(new.got().len(), 6);
                assert!(f.fan_out.is_empty());
            }
        }
    });
}

/// Its older socket has closed, and what that gives back is awaited; a third one has opened meanwhile.
#[test]
fn what_a_target_leaves_whole_is_for_those_who_have_not_had_it() {
    run(async {
        let (old, next, last) = (Socket::new(100), Socket::new(100), Socket::new(100));
        let mut f = Fixture::new(10_000, vec![(me(), vec![old.peer.clone()])]);
        f.peers(&[], false);
        f.peers_and_newcomers(&[&next], &[&last]);
        f.send(&stream(), "text", true);
        f.say("answer");
        last.read().await;
        assert_eq!(last.got(), [Got::Message("answer".into())]);
        let mut left: Vec<_> = f.fan_out.into_leftovers();
        left.sort_by_key(|left| left.socket.is_none());
        let kinds = |parts: &[Delivery]| parts.iter().map(Delivery::is_whole).collect::<Vec<_>>();
        let left: Vec<_> = left.iter().map(|left| (left.socket, kinds(&left.parts))).collect();
        assert_eq!(left, [(Some(next.peer.socket), vec![true]), (None, vec![false])]);
    });
}

#[derive(Clone, Debug)]
enum Act {
    Says,
    Opens { mailbox: usize },
    Proven,
    Closes { which: usize, gives_back: bool },
    Reads,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => Just(Act::Says),
        3 => (1usize..4).prop_map(|mailbox| Act::Opens { mailbox }),
        1 => Just(Act::Proven),
        3 => (0usize..4, any::<bool>()).prop_map(|(which, gives_back)| Act::Closes { which, gives_back }),
        2 => Just(Act::Reads),
    ];
    prop::collection::vec(act, 1..40)
}

/// Whoever is there gets each message, once; what is said while nobody is there, the next one.
async fn each_socket_is_told_once(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let mut f = Fixture::new(usize::MAX / 4, vec![(me(), Vec::new())]);
    let mut sockets: Vec<Socket> = Vec::new();
    // Those that are there, oldest first: so many of them are served, the others wait.
    let (mut there, mut served): (Vec<usize>, usize) = (Vec::new(), 0);
    let mut owed: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut kept: Vec<String> = Vec::new();
    for (number, act) in acts.into_iter().enumerate() {
        match act {
            Act::Says => {
                f.say(&number.to_string());
                for at in &there {
                    owed.entry(*at).or_default().push(number.to_string());
                }
                if there.is_empty() {
                    kept.push(number.to_string());
                }
            }
            Act::Opens { mailbox } => {
                sockets.push(Socket::new(mailbox));
                there.push(sockets.len() - 1);
                if there.len() == 1 {
                    served = 1;
                    owed.entry(sockets.len() - 1).or_default().append(&mut kept);
                }
            }
            Act::Proven => served = there.len(),
            Act::Closes { which, gives_back } => {
                let Some(at) = (!there.is_empty()).then(|| which % there.len()) else { continue };
                let closed = there.remove(at);
                owed.remove(&closed);
                served = served.saturating_sub(usize::from(at < served));
                let socket = &sockets[closed];
                // The router tells of it, and then of those who need not wait for it.
                let split = there.split_at(served);
                let of = |part: &[usize]| part.iter().map(|at| &sockets[*at]).collect::<Vec<_>>();
                f.peers_and_newcomers(&of(split.0), &of(split.1));
                served = served.max(1).min(there.len());
                if gives_back {
                    socket.read().await;
                    let parts = socket.parts.lock().clone();
                    f.give_back(socket, parts);
                }
            }
            Act::Reads => {
                for at in &there {
                    sockets[*at].read().await;
                }
            }
        }
        let (now, waiting) = there.split_at(served);
        let of = |part: &[usize]| part.iter().map(|at| &sockets[*at]).collect::<Vec<_>>();
        f.peers_and_newcomers(&of(now), &of(waiting));
    }
    let all: Vec<&Socket> = there.iter().map(|at| &sockets[*at]).collect();
    f.settle(&all).await;
    for (at, socket) in sockets.iter().enumerate() {
        let mut got: Vec<_> = socket.got().into_iter().filter(|got| *got != Got::Fence).collect();
        let len = got.len();
        got.sort_by_key(|got| format!("{got:?}"));
        got.dedup();
        prop_assert_eq!(got.len(), len, "socket {} is told twice", at);
        for message in owed.get(&at).into_iter().flatten() {
            prop_assert!(got.contains(&Got::Message(message.clone())), "{} for socket {}", message, at);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_whole_reaches_each_socket_that_is_there_once(acts in acts()) {
        run(each_socket_is_told_once(acts))?;
    }
}

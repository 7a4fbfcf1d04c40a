//! Random lives of many requests, against the rules as plain as can be (`rules`).

mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use proptest::prelude::*;

use super::fixture::{Fixture, Told, limits, part, requester, text_of};
use crate::{
    llm_router::{Delivery, Origin, Requester, RouteId, RouterLimits},
    registry::SocketKey,
};
use rules::{Model, Route, TEXT};

const TARGETS: [&str; 3] = ["SillyTavern-1", "SillyTavern-2", "SillyTavern-3"];
const CLIENTS: [&str; 3] = ["app-a", "app-b", "SillyTavern-1"];
const REQUESTS: [&str; 4] = ["r1", "r2", "r3", "r4"];
const OUTPUTS: [&str; 3] = ["o1", "o2", "o3"];

#[derive(Clone, Debug)]
enum Act {
    TargetOpens(usize),
    TargetCloses(usize),
    PeerOpens(usize),
    /// Its others have not shown yet that they live.
    Newcomer(usize),
    /// One of those does.
    Proof(usize),
    /// It may give back text of each route whose answers it gets.
    PeerCloses {
        which: usize,
        gives_back: bool,
    },
    Gone(usize),
    Open {
        from: usize,
        request: usize,
        targets: Vec<usize>,
    },
    Output {
        socket: usize,
        output: usize,
        named: Option<usize>,
    },
    /// Streams of a route start or end.
    Stream {
        route: usize,
        open: u32,
        ended: bool,
    },
    /// Somebody has text of a route, or has read it.
    Text {
        route: usize,
        unread: bool,
    },
    Complete(usize),
    Wait(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let which = 0usize..12;
    let act = prop_oneof![
        4 => (0..TARGETS.len()).prop_map(Act::TargetOpens),
        2 => which.clone().prop_map(Act::TargetCloses),
        3 => (0..CLIENTS.len()).prop_map(Act::PeerOpens),
        2 => (0..CLIENTS.len()).prop_map(Act::Newcomer),
        1 => which.clone().prop_map(Act::Proof),
        2 => (which.clone(), any::<bool>()).prop_map(|(which, gives_back)| Act::PeerCloses { which, gives_back }),
        1 => (0..CLIENTS.len()).prop_map(Act::Gone),
        9 => (0..CLIENTS.len(), 0..REQUESTS.len(), prop::collection::vec(0..=TARGETS.len(), 1..3))
            .prop_map(|(from, request, targets)| Act::Open { from, request, targets }),
        6 => (which.clone(), 0..OUTPUTS.len(), prop::option::of(0..=REQUESTS.len()))
            .prop_map(|(socket, output, named)| Act::Output { socket, output, named }),
        4 => (which.clone(), 0u32..2, any::<bool>()).prop_map(|(route, open, ended)| Act::Stream { route, open, ended }),
        4 => (which.clone(), any::<bool>()).prop_map(|(route, unread)| Act::Text { route, unread }),
        2 => which.clone().prop_map(Act::Complete),
        4 => prop_oneof![Just(1u64), Just(5), Just(30), Just(60), Just(600)].prop_map(Act::Wait),
    ];
    prop::collection::vec(act, 1..60)
}

fn kept(route: &crate::llm_router::book::Route) -> Vec<(String, String)> {
    let message = |part: &Delivery| match part {
        Delivery::Failed(failure) => failure.message.to_string(),
        Delivery::Text(_) => text_of(part),
        other => panic!("{other:?} was never sent"),
    };
    let of = |(requester, parts): &(Requester, std::collections::VecDeque<Delivery>)| {
        parts.iter().map(|part| (requester.client.to_string(), message(part))).collect::<Vec<_>>()
    };
    let mut kept: Vec<_> = route.kept.iter().flat_map(of).collect();
    kept.sort_by(|(one, _), (other, _)| one.cmp(other));
    kept
}

fn pick<T: Copy>(items: &[T], at: usize) -> Option<T> {
    (!items.is_empty()).then(|| items[at % items.len()])
}

async fn check(mut f: Fixture, limits: RouterLimits, acts: Vec<Act>) -> Result<(), TestCaseError> {
    let mut model = Model { most_ended: limits.total, ..Model::default() };
    let (mut texts, mut number) = (BTreeMap::new(), 0);
    for act in acts {
        match act.clone() {
            Act::TargetOpens(at) => {
                let client = TARGETS[at];
                let socket = f.target(client);
                model.targets.push((socket, client.to_owned()));
                for (id, route) in &mut model.routes {
                    if route.target == client && route.orphaned.take().is_some() {
                        route.holders.push(socket);
                        model.told.push(Told::Adopt(socket, *id));
                    }
                }
            }
            Act::TargetCloses(at) => {
                let Some((socket, _)) =
                    pick(&model.targets.iter().map(|(s, _)| (*s, ())).collect::<Vec<_>>(), at)
                else {
                    continue;
                };
                f.close(socket);
                model.targets.retain(|(other, _)| *other != socket);
                for (id, route) in &mut model.routes {
                    let held = route.holders.len();
                    route.holders.retain(|holder| *holder != socket);
                    if held > 0 && route.holders.is_empty() {
                        model.lives.get_mut(id).unwrap().open = 0;
                        // The newest of its other sockets takes over at once.
                        match model.targets.iter().rfind(|(_, client)| *client == route.target) {
                            Some((next, _)) => {
                                route.holders.push(*next);
                                model.told.push(Told::Adopt(*next, *id));
                            }
                            None => route.orphaned = Some(f.now),
                        }
                    }
                }
            }
            Act::PeerOpens(at) => {
                let client = CLIENTS[at];
                let others = model.sockets(client);
                let socket = f.peer(client);
                model.peers.push((socket, client.to_owned()));
                model.note_handed(client, others.is_empty());
                if others.is_empty() {
                    model.hand_out(client);
                }
                if !others.is_empty() && model.is_asking(client) {
                    model.newcomers.push((socket, RouteId(model.next), others.clone()));
                    model.peers_changed(client, false);
                    model.newcomers.pop();
                }
                if others.is_empty() || model.is_asking(client) {
                    let last = RouteId(model.next);
                    model.hand_out_to(client, socket, last);
                    model.peers_changed(client, false);
                }
                if others.is_empty() {
                    model.settle(client);
                }
            }
            Act::Newcomer(at) => {
                let client = CLIENTS[at];
                let others = model.sockets(client);
                if others.is_empty() {
                    continue;
                }
                let (socket, elders) = f.newcomer(client);
                model.peers.push((socket, client.to_owned()));
                model.note_handed(client, false);
                prop_assert_eq!(&elders, &others, "{:?}", act);
                if model.is_asking(client) {
                    model.newcomers.push((socket, RouteId(model.next), elders));
                    model.peers_changed(client, false);
                }
            }
            Act::Proof(at) => {
                let pairs: Vec<_> = model
                    .newcomers
                    .iter()
                    .flat_map(|(socket, _, elders)| elders.iter().map(|elder| (*socket, *elder)))
                    .collect();
                let Some((newcomer, elder)) = pick(&pairs, at) else { continue };
                f.book.proven(newcomer, elder);
                model.proven(newcomer, elder);
            }
            Act::PeerCloses { which: at, gives_back } => {
                if model.peers.is_empty() {
                    continue;
                }
                let at = at % model.peers.len();
                let (socket, client) = model.peers.remove(at);
                f.close(socket);
                model.newcomers.retain(|(other, ..)| *other != socket);
                let heard_by_others: BTreeSet<RouteId> = model
                    .routes
                    .keys()
                    .copied()
                    .filter(|id| !model.sockets_for(&client, *id).is_empty())
                    .collect();
                model.peers_changed(&client, false);
                for (newcomer, ..) in model.newcomers.clone() {
                    model.proven_if_waited(newcomer, socket);
                }
                for id in model.routes_for(&client).into_iter().filter(|_| gives_back) {
                    number += 1;
                    let (text, origin) =
                        (format!("{TEXT}{number}"), Origin { route: id, holder: SocketKey::NONE });
                    f.book.returned(&requester(&client), socket, vec![(origin, part("r", &text))]);
                    model.returned(id, &client, text, heard_by_others.contains(&id));
                }
            }
            Act::Gone(at) => {
                let client = CLIENTS[at];
                f.book.requester_gone(&requester(client));
                if model.sockets(client).is_empty() {
                    model.handed.remove(client);
                    model.peers_changed(client, true);
                    for requesters in model.requesters.values_mut() {
                        requesters.retain(|other| other != client);
                    }
                    for route in model.routes.values_mut() {
                        route.kept.retain(|(of, _)| of != client);
                    }
                    model.settle(client);
                }
            }
            Act::Open { from, request, targets } => {
                let targets: Vec<&str> =
                    targets.iter().map(|at| TARGETS.get(*at).copied().unwrap_or("nobody")).collect();
                let got = f.open(CLIENTS[from], REQUESTS[request], &targets);
                let expected = model.open(&limits, CLIENTS[from], REQUESTS[request], &targets, f.now);
                prop_assert_eq!(got, expected, "{:?}", act);
            }
            Act::Output { socket, output, named } => {
                if model.targets.is_empty() {
                    continue;
                }
                let (socket, target) = model.targets[socket % model.targets.len()].clone();
                let named = named.map(|at| REQUESTS.get(at).copied().unwrap_or("random"));
                let got = f.attribute(socket, &target, OUTPUTS[output], named);
                let expected = model.attribute(socket, &target, OUTPUTS[output], named);
                prop_assert_eq!(got.as_ref().map(|opened| opened.route), expected, "{:?}", act);
                if let Some(opened) = got {
                    let route = &model.routes[&opened.route];
                    prop_assert_eq!(opened.request_id.as_str(), &route.request);
                    let got: Vec<_> = opened
                        .requesters
                        .iter()
                        .map(|(who, peers)| {
                            let sockets = |waiting: bool| -> Vec<SocketKey> {
                                let peers = peers.iter().filter(|peer| peer.newcomer == waiting);
                                peers.map(|peer| peer.socket).collect()
                            };
                            (who.client.to_string(), sockets(false), sockets(true))
                        })
                        .collect();
                    let expected: Vec<_> = model.requesters[&route.request]
                        .iter()
                        .map(|client| {
                            let served = model.sockets_for(client, opened.route);
                            let mut waiting = model.sockets(client);
                            waiting.retain(|socket| !served.contains(socket));
                            (client.clone(), served, waiting)
                        })
                        .collect();
                    prop_assert_eq!(got, expected);
                }
            }
            Act::Stream { route, open, ended } => {
                let ids: Vec<_> = model.routes.keys().copied().collect();
                let Some(id) = pick(&ids, route) else { continue };
                let target = model.routes[&id].target.clone();
                // A sign of life of a target is one for all of its requests.
                for (id, _) in model.routes.iter().filter(|(_, route)| route.target == target) {
                    f.touch(*id);
                    model.lives.get_mut(id).unwrap().event = f.now;
                }
                let state = &f.book.routes[&id].state;
                state.open_streams.store(open, Relaxed);
                state.ended_once.fetch_or(ended, Relaxed);
                let life = model.lives.get_mut(&id).unwrap();
                life.open = open;
                life.ended |= ended;
            }
            Act::Text { route, unread } => {
                let ids: Vec<_> = model.routes.keys().copied().collect();
                let Some(id) = pick(&ids, route) else { continue };
                match unread {
                    true => drop(texts.insert(id, f.book.routes[&id].state.unread.clone())),
                    false => drop(texts.remove(&id)),
                }
                model.lives.get_mut(&id).unwrap().unread = unread;
            }
            Act::Complete(at) => {
                let ids: Vec<_> = model.routes.keys().copied().collect();
                let Some(id) = pick(&ids, at) else { continue };
                f.book.complete(id, None);
                model.end(id, None);
                // Completed twice, by two notices that crossed: nothing more.
                f.book.complete(id, None);
                model.end(id, None);
            }
            Act::Wait(seconds) => {
                f.advance(Duration::from_secs(seconds));
                prop_assert_eq!(f.sweep(), model.sweep(&limits, f.now), "{:?}", act);
            }
        }
        let (mut got, mut expected) = (f.told().await, std::mem::take(&mut model.told));
        got.sort();
        expected.sort();
        prop_assert_eq!(got, expected, "told after {:?}", act);
        let routes: BTreeMap<RouteId, Route> = f
            .book
            .routes
            .iter()
            .map(|(id, route)| {
                let route = Route {
                    request: route.request.to_string(),
                    target: route.target.to_string(),
                    holders: route.holders.to_vec(),
                    orphaned: route.orphaned,
                    outputs: route.outputs.iter().map(ToString::to_string).collect(),
                    kept: kept(route),
                    finished: route.finished,
                };
                (*id, route)
            })
            .collect();
        prop_assert_eq!(&routes, &model.routes, "after {:?}", act);
        prop_assert_eq!(f.book.len(), model.requesters.len());
        prop_assert!(!f.book.routes.is_empty() || f.book.is_empty(), "after {:?}", act);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_book_follows_the_rules(
        acts in acts(),
        per_client in 1usize..5,
        per_extension in 1usize..5,
        total in 2usize..8,
        allow_shared in any::<bool>(),
    ) {
        let limits = RouterLimits { per_client, per_extension, total, allow_shared, ..limits() };
        Fixture::run(limits.clone(), |f| check(f, limits, acts))?;
    }
}

//! Random lives of many requests, against the rules written down once more and as plainly as can be.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::fixture::{Fixture, Told, limits, requester};
use crate::{
    llm_router::{Delivery, Refusal, Requester, RouteId, RouterLimits},
    registry::SocketKey,
};

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
    PeerCloses(usize),
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
        2 => which.clone().prop_map(Act::PeerCloses),
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

#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    request: String,
    target: String,
    holders: Vec<SocketKey>,
    orphaned: Option<Instant>,
    outputs: Vec<String>,
    /// What those who are away are to be told.
    kept: Vec<(String, String)>,
    /// It is over, and kept for somebody who is away, or still to read it.
    finished: bool,
}

/// What a route did that only time judges.
#[derive(Clone, Debug)]
struct Life {
    event: Instant,
    ended: bool,
    open: u32,
    asker: String,
    unread: bool,
}

#[derive(Default)]
struct Model {
    /// In the order opened.
    targets: Vec<(SocketKey, String)>,
    peers: Vec<(SocketKey, String)>,
    routes: BTreeMap<RouteId, Route>,
    lives: BTreeMap<RouteId, Life>,
    requesters: BTreeMap<String, Vec<String>>,
    /// Target and request of what is over, and whether it was not asked again: the last that many.
    ended: Vec<(String, String, bool)>,
    most_ended: usize,
    /// Who was away when a route was over.
    unread: BTreeSet<(String, RouteId)>,
    /// Routes that were over before they were read.
    being_read: BTreeSet<RouteId>,
    /// Of a client that came back: targets and requests that were over by then, and were not asked again.
    handed: BTreeMap<String, Vec<(String, String)>>,
    /// Sockets of which routes up to one are not told, and those that are to show first that they live.
    newcomers: Vec<(SocketKey, RouteId, Vec<SocketKey>)>,
    told: Vec<Told>,
    next: u64,
}

impl Model {
    fn newest(&self, target: &str) -> Option<SocketKey> {
        self.targets.iter().rev().find(|(_, client)| client == target).map(|(socket, _)| *socket)
    }

    fn sockets(&self, client: &str) -> Vec<SocketKey> {
        self.peers.iter().filter(|(_, owner)| owner == client).map(|(socket, _)| *socket).collect()
    }

    /// Those that a route is answered to.
    fn sockets_for(&self, client: &str, route: RouteId) -> Vec<SocketKey> {
        let waits = |socket: &SocketKey| {
            self.newcomers.iter().any(|(other, before, _)| other == socket && route <= *before)
        };
        self.sockets(client).into_iter().filter(|socket| !waits(socket)).collect()
    }

    fn quiet(&self, id: RouteId) -> bool {
        self.lives[&id].ended && self.lives[&id].open == 0
    }

    fn peers_changed(&mut self, client: &str, gone: bool) {
        for (id, route) in &self.routes {
            let sockets = self.sockets_for(client, *id);
            if self.requesters[&route.request].iter().any(|other| other == client) {
                for holder in &route.holders {
                    self.told.push(Told::Peers(*holder, *id, client.to_owned(), sockets.clone(), gone));
                }
            }
        }
    }

    fn end(&mut self, id: RouteId, failure: Option<(&'static str, String)>) {
        let Some(route) = self.routes.get_mut(&id).filter(|route| !route.finished) else { return };
        route.finished = true;
        let (request, holders) = (route.request.clone(), route.holders.clone());
        if let Some((reason, message)) = failure {
            for (at, holder) in holders.iter().enumerate() {
                let message = (at == 0).then(|| message.clone());
                self.told.push(Told::Fail(*holder, id, reason, message));
            }
            for client in self.requesters[&request].clone().into_iter().filter(|_| holders.is_empty()) {
                if self.sockets(&client).is_empty() {
                    self.routes.get_mut(&id).unwrap().kept.push((client, message.clone()));
                } else {
                    self.fail(&client, &request, &message);
                }
            }
        }
        if self.waits(id) {
            let holders = self.routes[&id].holders.iter();
            self.told.extend(holders.map(|holder| Told::Complete(*holder, id)));
        } else {
            self.close(id);
        }
        // The oldest first, up to one that is not read.
        while let Some(id) = self.being_read.first().copied().filter(|id| !self.lives[id].unread) {
            self.being_read.remove(&id);
            self.close_if_read(id);
        }
    }

    fn fail(&mut self, client: &str, request: &str, message: &str) {
        for socket in self.sockets(client) {
            self.told.push(Told::Failed(socket, request.to_owned(), message.to_owned()));
        }
    }

    fn close_if_read(&mut self, id: RouteId) {
        if self.routes.get(&id).is_some_and(|route| route.finished) && !self.waits(id) {
            self.close(id);
        }
    }

    fn waits(&mut self, id: RouteId) -> bool {
        let (route, unread) = (&self.routes[&id], self.lives[&id].unread);
        if route.holders.is_empty() && route.kept.is_empty() && !unread {
            return false;
        }
        let away: Vec<_> =
            self.requesters[&route.request].iter().filter(|client| self.sockets(client).is_empty()).collect();
        let waits = unread || !away.is_empty();
        self.unread.extend(away.into_iter().map(|client| (client.clone(), id)));
        if unread {
            self.being_read.insert(id);
        }
        waits
    }

    fn close(&mut self, id: RouteId) {
        let Some(route) = self.routes.remove(&id) else { return };
        self.lives.remove(&id).unwrap();
        self.unread.retain(|(_, unread)| *unread != id);
        self.being_read.remove(&id);
        for holder in &route.holders {
            self.told.push(Told::Close(*holder, id));
        }
        if !self.routes.values().any(|other| other.request == route.request) {
            self.requesters.remove(&route.request);
        }
        self.asked_again(&route.target, &route.request);
        self.ended.push((route.target, route.request, true));
        if self.ended.len() > self.most_ended {
            self.ended.remove(0);
        }
    }

    fn asked_again(&mut self, target: &str, request: &str) {
        for (of, ended, is_over) in &mut self.ended {
            *is_over &= (of.as_str(), ended.as_str()) != (target, request);
        }
    }

    fn note_handed(&mut self, client: &str) {
        let theirs = |(id, route): &(&RouteId, &Route)| {
            let asks = self.requesters[&route.request].iter().any(|other| other == client);
            route.finished && asks && self.lives[id].asker == client
        };
        let over = self.routes.iter().filter(theirs);
        let handed = over.map(|(_, route)| (route.target.clone(), route.request.clone())).collect();
        self.handed.insert(client.to_owned(), handed);
    }

    /// What was kept for a client that is back is told it; of one that is gone it is forgotten.
    fn hand_out(&mut self, client: &str) {
        let mut told = Vec::new();
        for route in self.routes.values_mut() {
            for (_, message) in route.kept.extract_if(.., |(of, _)| of == client) {
                told.push((route.request.clone(), message));
            }
        }
        for (request, message) in told {
            self.fail(client, &request, &message);
        }
    }

    /// A socket lives, or has closed: another one need not wait for it.
    fn proven(&mut self, newcomer: SocketKey, elder: SocketKey) {
        let Some(at) = self.newcomers.iter().position(|(socket, ..)| *socket == newcomer) else { return };
        self.newcomers[at].2.retain(|other| *other != elder);
        if self.newcomers[at].2.is_empty() {
            let (socket, before, _) = self.newcomers.remove(at);
            let client = self.peers.iter().find(|(peer, _)| *peer == socket).unwrap().1.clone();
            self.hand_out_to(&client, socket, before);
            self.peers_changed(&client, false);
        }
    }

    fn proven_if_waited(&mut self, newcomer: SocketKey, elder: SocketKey) {
        if self.newcomers.iter().any(|(socket, _, elders)| *socket == newcomer && elders.contains(&elder)) {
            self.proven(newcomer, elder);
        }
    }

    fn is_asking(&self, client: &str) -> bool {
        self.requesters.values().flatten().any(|other| other == client)
    }

    fn hand_out_to(&mut self, client: &str, socket: SocketKey, before: RouteId) {
        for (id, route) in &mut self.routes {
            for (_, message) in route.kept.extract_if(.., |(of, _)| of == client) {
                if *id <= before {
                    self.told.push(Told::Failed(socket, route.request.clone(), message));
                }
            }
        }
    }

    /// The ends that waited for a client that is back, or gone.
    fn settle(&mut self, client: &str) {
        for (_, id) in self.unread.extract_if(.., |(of, _)| of == client).collect::<Vec<_>>() {
            self.close_if_read(id);
        }
    }

    /// Pending routes and `more` fit `limit`, and so do answered ones: the oldest are forgotten.
    fn room(&mut self, limit: usize, more: usize, counts: impl Fn(&Route, &Life) -> bool) -> bool {
        let counts = |id: &RouteId| counts(&self.routes[id], &self.lives[id]);
        let counted: Vec<RouteId> = self.routes.keys().copied().filter(counts).collect();
        let over = |id: &RouteId| self.routes[id].finished || self.quiet(*id);
        let (quiet, pending): (Vec<_>, Vec<_>) = counted.into_iter().partition(over);
        if pending.len() + more > limit {
            return false;
        }
        for id in quiet.iter().take((quiet.len() + more).saturating_sub(limit)) {
            self.end(*id, None);
            self.close(*id);
        }
        true
    }

    fn open(
        &mut self,
        limits: &RouterLimits,
        from: &str,
        request: &str,
        targets: &[&str],
        now: Instant,
    ) -> Result<(), Refusal> {
        let asked = self.requesters.get(request).cloned();
        let listed = asked.as_ref().is_some_and(|asked| asked.iter().any(|other| other == from));
        // Who opened it was gone for good, and is back.
        let opened =
            || self.routes.iter().any(|(id, route)| route.request == request && self.lives[id].asker == from);
        let mine = listed || asked.as_ref().is_some_and(Vec::is_empty) && opened();
        if asked.is_some() && !mine && !limits.allow_shared {
            return Err(Refusal::Duplicate);
        }
        if targets.iter().all(|target| self.newest(target).is_none()) {
            return Err(Refusal::TargetNotFound(targets[0].into()));
        }
        let mut new: Vec<&str> = Vec::new();
        for target in targets {
            let has = self
                .routes
                .values()
                .any(|route| route.request == request && route.target == *target && !route.finished);
            if self.newest(target).is_some() && !has && !new.contains(target) {
                new.push(target);
            }
        }
        let handed = self.handed.entry(from.to_owned()).or_default();
        new.retain(|target| {
            let known = handed.iter().position(|(of, id)| of == target && id == request);
            known.map(|known| handed.swap_remove(known)).is_none()
        });
        if new.is_empty() && asked.is_none() {
            return Ok(());
        }
        if !new.is_empty() {
            let all = self.routes.len();
            let fits = self.room(limits.per_client, new.len(), |_, life| life.asker == from)
                && new
                    .iter()
                    .all(|target| self.room(limits.per_extension, 1, |route, _| route.target == *target))
                && (all + new.len() <= limits.total || self.room(limits.total, new.len(), |_, _| true));
            if !fits {
                return Err(Refusal::TooMany);
            }
        }
        let requesters = self.requesters.entry(request.to_owned()).or_default();
        let joined = !requesters.iter().any(|other| other == from);
        if joined {
            requesters.push(from.to_owned());
        }
        if !listed && self.routes.values().any(|route| route.request == request) {
            // Only the holders of this request learn something new, but all of this client's hear it.
            self.peers_changed(from, false);
        }
        for target in new {
            self.next += 1;
            let (id, socket) = (RouteId(self.next), self.newest(target).unwrap());
            self.asked_again(target, request);
            let (request, target) = (request.to_owned(), target.to_owned());
            let route = Route {
                request,
                target,
                holders: vec![socket],
                orphaned: None,
                outputs: Vec::new(),
                kept: Vec::new(),
                finished: false,
            };
            self.routes.insert(id, route);
            let asker = from.to_owned();
            self.lives.insert(id, Life { event: now, ended: false, open: 0, asker, unread: false });
            self.told.push(Told::Ask(socket, id));
        }
        Ok(())
    }

    fn attribute(
        &mut self,
        socket: SocketKey,
        target: &str,
        output: &str,
        named: Option<&str>,
    ) -> Option<RouteId> {
        let of_target: Vec<RouteId> = self
            .routes
            .iter()
            .filter(|(_, r)| r.target == target && !r.finished)
            .map(|(id, _)| *id)
            .collect();
        let find =
            |test: &dyn Fn(&Route) -> bool| of_target.iter().copied().find(|id| test(&self.routes[id]));
        let by_name = named.and_then(|named| find(&|route| route.request == named));
        let by_output = find(&|route| route.outputs.iter().any(|other| other == output));
        // Somebody else was asked: the sender is no target of it.
        if by_name.is_none() && named.is_some_and(|named| self.requesters.contains_key(named)) {
            return None;
        }
        // It was asked this, and has answered.
        let is_over =
            |named: &str| self.ended.iter().any(|(of, ended, over)| *over && of == target && ended == named);
        if by_name.is_none() && named.is_some_and(is_over) {
            return None;
        }
        let id = match by_name.or(by_output) {
            Some(id) => id,
            None => {
                let oldest = find(&|route| route.outputs.is_empty());
                let over: Vec<_> =
                    of_target.iter().copied().filter(|id| !self.routes[id].outputs.is_empty()).collect();
                for id in over {
                    self.end(id, None);
                }
                oldest?
            }
        };
        let route = self.routes.get_mut(&id).unwrap();
        if !route.outputs.iter().any(|other| other == output) {
            route.outputs.push(output.to_owned());
        }
        if !route.holders.contains(&socket) {
            route.holders.push(socket);
        }
        route.orphaned = None;
        Some(id)
    }

    fn sweep(&mut self, limits: &RouterLimits, now: Instant) -> usize {
        let read = self.being_read.iter().copied().filter(|id| !self.lives[id].unread);
        for id in read.collect::<Vec<_>>() {
            self.being_read.remove(&id);
            self.close_if_read(id);
        }
        let mut failed = 0;
        for id in self.routes.keys().copied().collect::<Vec<_>>() {
            let Some(route) = self.routes.get(&id) else { continue };
            let life = &self.lives[&id];
            if route.finished {
                continue;
            }
            let since = now - life.event;
            if route.orphaned.is_some_and(|since| since + limits.grace <= now) {
                let text = format!("Target client disconnected: {}", route.target);
                self.end(id, Some(("Target client disconnected", text)));
                failed += 1;
            } else if life.ended && since >= limits.idle_timeout {
                self.end(id, None);
            } else if since >= limits.request_timeout {
                self.end(id, Some(("LLM request timed out.", "LLM request timed out.".to_owned())));
                failed += 1;
            }
        }
        failed
    }
}

fn kept(route: &crate::llm_router::book::Route) -> Vec<(String, String)> {
    let message = |part: &Delivery| match part {
        Delivery::Failed(failure) => failure.message.to_string(),
        other => panic!("{other:?} was never sent"),
    };
    let of = |(requester, parts): &(Requester, std::collections::VecDeque<Delivery>)| {
        parts.iter().map(|part| (requester.client.to_string(), message(part))).collect::<Vec<_>>()
    };
    route.kept.iter().flat_map(of).collect()
}

fn pick<T: Copy>(items: &[T], at: usize) -> Option<T> {
    (!items.is_empty()).then(|| items[at % items.len()])
}

async fn check(mut f: Fixture, limits: RouterLimits, acts: Vec<Act>) -> Result<(), TestCaseError> {
    let mut model = Model { most_ended: limits.total, ..Model::default() };
    let mut texts = BTreeMap::new();
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
                model.note_handed(client);
                if others.is_empty() {
                    model.hand_out(client);
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
                model.note_handed(client);
                prop_assert_eq!(&elders, &others, "{:?}", act);
                if model.is_asking(client) {
                    model.newcomers.push((socket, RouteId(model.next), elders));
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
            Act::PeerCloses(at) => {
                if model.peers.is_empty() {
                    continue;
                }
                let at = at % model.peers.len();
                let (socket, client) = model.peers.remove(at);
                f.close(socket);
                model.newcomers.retain(|(other, ..)| *other != socket);
                model.peers_changed(&client, false);
                for (newcomer, ..) in model.newcomers.clone() {
                    model.proven_if_waited(newcomer, socket);
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
                            (who.client.to_string(), peers.iter().map(|p| p.socket).collect::<Vec<_>>())
                        })
                        .collect();
                    let expected: Vec<_> = model.requesters[&route.request]
                        .iter()
                        .map(|client| (client.clone(), model.sockets_for(client, opened.route)))
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

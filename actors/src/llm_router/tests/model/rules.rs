//! The rules, written down once more and as plainly as can be.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::super::fixture::Told;
use crate::{
    llm_router::{Refusal, RouteId, RouterLimits},
    registry::SocketKey,
};

/// What begins like this is text; all else that somebody is told is a failure.
pub(super) const TEXT: &str = "text ";

fn told(socket: SocketKey, request: &str, what: String) -> Told {
    match what.starts_with(TEXT) {
        true => Told::Text(socket, what),
        false => Told::Failed(socket, request.to_owned(), what),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) request: String,
    pub(super) target: String,
    pub(super) holders: Vec<SocketKey>,
    pub(super) orphaned: Option<Instant>,
    pub(super) outputs: Vec<String>,
    /// What those who are away are to be told.
    pub(super) kept: Vec<(String, String)>,
    /// It is over, and kept for somebody who is away, or still to read it.
    pub(super) finished: bool,
}

/// What a route did that only time judges.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) event: Instant,
    pub(super) ended: bool,
    pub(super) open: u32,
    pub(super) asker: String,
    pub(super) unread: bool,
}

#[derive(Default)]
pub(super) struct Model {
    /// In the order opened.
    pub(super) targets: Vec<(SocketKey, String)>,
    pub(super) peers: Vec<(SocketKey, String)>,
    pub(super) routes: BTreeMap<RouteId, Route>,
    pub(super) lives: BTreeMap<RouteId, Life>,
    pub(super) requesters: BTreeMap<String, Vec<String>>,
    /// Target and request of what is over, and whether it was not asked again: the last that many.
    pub(super) ended: Vec<(String, String, bool)>,
    pub(super) most_ended: usize,
    /// Who was away when a route was over.
    pub(super) unread: BTreeSet<(String, RouteId)>,
    /// Routes that were over before they were read.
    pub(super) being_read: BTreeSet<RouteId>,
    /// Of a client that came back: targets and requests that were over by then, and were not asked again.
    pub(super) handed: BTreeMap<String, Vec<(String, String)>>,
    /// Sockets of which routes up to one are not told, and those that are to show first that they live.
    pub(super) newcomers: Vec<(SocketKey, RouteId, Vec<SocketKey>)>,
    pub(super) told: Vec<Told>,
    pub(super) next: u64,
}

impl Model {
    pub(super) fn newest(&self, target: &str) -> Option<SocketKey> {
        self.targets.iter().rev().find(|(_, client)| client == target).map(|(socket, _)| *socket)
    }

    pub(super) fn sockets(&self, client: &str) -> Vec<SocketKey> {
        self.peers.iter().filter(|(_, owner)| owner == client).map(|(socket, _)| *socket).collect()
    }

    /// Those that a route is answered to.
    pub(super) fn sockets_for(&self, client: &str, route: RouteId) -> Vec<SocketKey> {
        let waits = |socket: &SocketKey| {
            self.newcomers.iter().any(|(other, before, _)| other == socket && route <= *before)
        };
        self.sockets(client).into_iter().filter(|socket| !waits(socket)).collect()
    }

    pub(super) fn quiet(&self, id: RouteId) -> bool {
        self.lives[&id].ended && self.lives[&id].open == 0
    }

    pub(super) fn peers_changed(&mut self, client: &str, gone: bool) {
        for (id, route) in &self.routes {
            let sockets = self.sockets_for(client, *id);
            let mut newcomers = self.sockets(client);
            newcomers.retain(|socket| !sockets.contains(socket));
            if self.requesters[&route.request].iter().any(|other| other == client) {
                for holder in &route.holders {
                    if !newcomers.is_empty() {
                        let newcomers = newcomers.clone();
                        self.told.push(Told::Newcomers(*holder, *id, client.to_owned(), newcomers));
                    }
                    self.told.push(Told::Peers(*holder, *id, client.to_owned(), sockets.clone(), gone));
                }
            }
        }
    }

    pub(super) fn end(&mut self, id: RouteId, failure: Option<(&'static str, String)>) {
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
                    self.keep(id, client, message.clone(), false);
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

    pub(super) fn fail(&mut self, client: &str, request: &str, message: &str) {
        for socket in self.sockets(client) {
            self.told.push(told(socket, request, message.to_owned()));
        }
    }

    /// Behind what is kept for a client, or before it.
    fn keep(&mut self, id: RouteId, client: String, what: String, before: bool) {
        let kept = &mut self.routes.get_mut(&id).unwrap().kept;
        let at = kept.iter().position(|(of, _)| match before {
            true => *of >= client,
            false => *of > client,
        });
        kept.insert(at.unwrap_or(kept.len()), (client, what));
    }

    pub(super) fn routes_for(&self, client: &str) -> Vec<RouteId> {
        let gets = |route: &Route| self.requesters[&route.request].iter().any(|other| other == client);
        self.routes.iter().filter(|(_, route)| gets(route)).map(|(id, _)| *id).collect()
    }

    /// A socket that has closed gives back a text. Without a target it is for whoever was not told of the route by then,
    /// unless somebody was.
    pub(super) fn returned(&mut self, id: RouteId, client: &str, text: String, heard_by_others: bool) {
        let sockets = self.sockets_for(client, id);
        match self.routes[&id].holders.first() {
            Some(holder) => self.told.push(Told::Returned(*holder, id, vec![text])),
            None if heard_by_others => (),
            None if sockets.is_empty() => self.keep(id, client.to_owned(), text, true),
            None => self.told.extend(sockets.into_iter().map(|socket| Told::Text(socket, text.clone()))),
        }
    }

    pub(super) fn close_if_read(&mut self, id: RouteId) {
        if self.routes.get(&id).is_some_and(|route| route.finished) && !self.waits(id) {
            self.close(id);
        }
    }

    pub(super) fn waits(&mut self, id: RouteId) -> bool {
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

    pub(super) fn close(&mut self, id: RouteId) {
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

    pub(super) fn asked_again(&mut self, target: &str, request: &str) {
        for (of, ended, is_over) in &mut self.ended {
            *is_over &= (of.as_str(), ended.as_str()) != (target, request);
        }
    }

    pub(super) fn note_handed(&mut self, client: &str, was_away: bool) {
        let theirs = |(id, route): &(&RouteId, &Route)| {
            let asks = self.requesters[&route.request].iter().any(|other| other == client);
            let comes = was_away || !route.finished || self.lives[id].unread;
            asks && comes && self.lives[id].asker == client
        };
        let asked = self.routes.iter().filter(theirs);
        let handed = asked.map(|(_, route)| (route.target.clone(), route.request.clone())).collect();
        self.handed.insert(client.to_owned(), handed);
    }

    /// What was kept for a client that is back is told it; of one that is gone it is forgotten.
    pub(super) fn hand_out(&mut self, client: &str) {
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
    pub(super) fn proven(&mut self, newcomer: SocketKey, elder: SocketKey) {
        let Some(at) = self.newcomers.iter().position(|(socket, ..)| *socket == newcomer) else { return };
        self.newcomers[at].2.retain(|other| *other != elder);
        if self.newcomers[at].2.is_empty() {
            let (socket, before, _) = self.newcomers.remove(at);
            let client = self.peers.iter().find(|(peer, _)| *peer == socket).unwrap().1.clone();
            self.hand_out_to(&client, socket, before);
            self.peers_changed(&client, false);
        }
    }

    pub(super) fn proven_if_waited(&mut self, newcomer: SocketKey, elder: SocketKey) {
        if self.newcomers.iter().any(|(socket, _, elders)| *socket == newcomer && elders.contains(&elder)) {
            self.proven(newcomer, elder);
        }
    }

    pub(super) fn is_asking(&self, client: &str) -> bool {
        self.requesters.values().flatten().any(|other| other == client)
    }

    pub(super) fn hand_out_to(&mut self, client: &str, socket: SocketKey, before: RouteId) {
        for (id, route) in &mut self.routes {
            for (_, message) in route.kept.extract_if(.., |(of, _)| of == client) {
                if *id <= before {
                    self.told.push(told(socket, &route.request, message));
                }
            }
        }
    }

    /// The ends that waited for a client that is back, or gone.
    pub(super) fn settle(&mut self, client: &str) {
        for (_, id) in self.unread.extract_if(.., |(of, _)| of == client).collect::<Vec<_>>() {
            self.close_if_read(id);
        }
    }

    /// Pending routes and `more` fit `limit`, and so do answered ones: the oldest are forgotten.
    pub(super) fn room(&mut self, limit: usize, more: usize, counts: impl Fn(&Route, &Life) -> bool) -> bool {
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

    pub(super) fn open(
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
        let live: Vec<&str> =
            targets.iter().copied().filter(|target| self.newest(target).is_some()).collect();
        let handed = self.handed.entry(from.to_owned()).or_default();
        for target in live {
            if let Some(known) = handed.iter().position(|(of, id)| of == target && id == request) {
                handed.swap_remove(known);
                new.retain(|other| *other != target);
            }
        }
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

    pub(super) fn attribute(
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

    pub(super) fn sweep(&mut self, limits: &RouterLimits, now: Instant) -> usize {
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

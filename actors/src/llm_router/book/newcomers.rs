//! Another socket of somebody who has one.
//!
//! A client that comes back by another connection has left the old one dead, as a rule, with text that waits there. If
//! both were served, the new one would have what comes now before that. So of what was asked before it came it is told
//! once each older socket has shown that it lives, or is closed: then nothing has changed places, and nothing comes
//! twice. What is asked from then on goes to all of them at once, and so does what is whole, an answer in one `message` or
//! an `ERROR`: a connection that is dead gives nothing of that back.

use smallvec::SmallVec;

use super::Book;
use crate::{
    llm_router::{Peer, Peers, Requester, RouteId},
    registry::SocketKey,
};

/// See the module's documentation.
pub(super) struct Newcomer {
    socket: SocketKey,
    requester: Requester,
    /// Older ones that have shown nothing yet.
    elders: SmallVec<[SocketKey; 1]>,
    /// The last route that was there when it came.
    before: RouteId,
}

impl Newcomer {
    pub(super) fn is(&self, socket: SocketKey) -> bool {
        self.socket == socket
    }
}

impl Book {
    /// Notes a socket that has opened; returns those that are to show that they live. If nothing is under way, nothing
    /// waits for that.
    pub(super) fn newcomer(&mut self, socket: SocketKey, requester: &Requester) -> Vec<SocketKey> {
        let all = self.peers.get(requester).into_iter().flatten();
        let elders: Vec<SocketKey> = all.map(|peer| peer.socket).filter(|other| *other != socket).collect();
        if elders.is_empty() || self.requests_for(requester).is_empty() {
            return elders;
        }
        let before = RouteId(self.next_route);
        let (owner, elders_left) = (requester.clone(), elders.as_slice().into());
        self.newcomers.push(Newcomer { socket, requester: owner, elders: elders_left, before });
        self.peers_changed(requester, false);
        elders
    }

    /// The sockets of a requester that a route is answered to, each with whether it waits for an older one.
    pub(super) fn peers_for(&self, requester: &Requester, route: RouteId) -> Peers {
        let mut peers = self.peers.get(requester).cloned().unwrap_or_default();
        if !self.newcomers.is_empty() {
            let waits =
                |socket| self.newcomers.iter().any(|other| other.socket == socket && route <= other.before);
            peers.iter_mut().for_each(|peer| peer.newcomer = waits(peer.socket));
        }
        peers
    }

    /// Whether a requester has other sockets than this one, and the last route of which none of them was told; each is
    /// told what is whole.
    pub(super) fn others(&self, requester: &Requester, socket: SocketKey) -> Option<RouteId> {
        let others = self.peers.get(requester).into_iter().flatten().filter(|peer| peer.socket != socket);
        let untold = |peer: &Peer| {
            let waiting = self.newcomers.iter().find(|newcomer| newcomer.is(peer.socket));
            waiting.map_or(RouteId(0), |newcomer| newcomer.before)
        };
        others.map(untold).min()
    }

    /// An older socket lives, or need not be waited for.
    pub(in crate::llm_router) fn proven(&mut self, newcomer: SocketKey, elder: SocketKey) {
        let Some(at) = self.newcomers.iter().position(|other| other.socket == newcomer) else { return };
        let Some(known) = self.newcomers.get_mut(at) else { return };
        known.elders.retain(|other| *other != elder);
        if !known.elders.is_empty() {
            return;
        }
        let Newcomer { socket, requester, before, .. } = self.newcomers.swap_remove(at);
        let peer = self.peers.get(&requester).into_iter().flatten().find(|peer| peer.socket == socket);
        if let Some(peer) = peer.cloned() {
            self.hand_out(&requester, &peer, before);
        }
        self.peers_changed(&requester, false);
    }

    /// A socket has closed: it is not waited for.
    pub(super) fn elder_closed(&mut self, socket: SocketKey) {
        let waits = |newcomer: &&Newcomer| newcomer.elders.contains(&socket);
        let waiting: Vec<_> = self.newcomers.iter().filter(waits).map(|newcomer| newcomer.socket).collect();
        for newcomer in waiting {
            self.proven(newcomer, socket);
        }
    }
}

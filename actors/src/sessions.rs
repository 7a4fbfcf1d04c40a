//! Every open Engine.IO session of one endpoint, by its id: how an HTTP request on any worker finds
//! the session that it names.

use std::sync::Arc;

use actix::Addr;
use framing::engine::Sid;
use parking_lot::RwLock;

use crate::{
    maps::FastMap,
    outbox::Outbox,
    session::{Application, SessionActor},
};

/// Requests of different sessions should not wait for each other's lock.
const SHARDS: usize = 16;

/// Where a session is reached.
pub struct SessionLink<A: Application> {
    /// Its actor.
    pub session: Addr<SessionActor<A>>,
    /// Its outgoing packets.
    pub outbox: Arc<Outbox>,
}

impl<A: Application> Clone for SessionLink<A> {
    fn clone(&self) -> Self {
        Self { session: self.session.clone(), outbox: self.outbox.clone() }
    }
}

/// See the module's documentation. Bounded by the number of connections that the edge admits.
pub struct Sessions<A: Application> {
    shards: [RwLock<FastMap<Sid, SessionLink<A>>>; SHARDS],
}

impl<A: Application> Default for Sessions<A> {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()) }
    }
}

impl<A: Application> Sessions<A> {
    fn shard(&self, sid: Sid) -> &RwLock<FastMap<Sid, SessionLink<A>>> {
        let last = sid.as_str().bytes().next_back().unwrap_or_default();
        &self.shards[usize::from(last) % SHARDS]
    }

    /// The session of that id.
    pub fn get(&self, sid: Sid) -> Option<SessionLink<A>> {
        self.shard(sid).read().get(&sid).cloned()
    }

    /// How many sessions are open.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every session, for a shutdown.
    pub fn all(&self) -> Vec<SessionLink<A>> {
        self.shards.iter().flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>()).collect()
    }

    pub(crate) fn insert(&self, sid: Sid, session: Addr<SessionActor<A>>, outbox: Arc<Outbox>) {
        self.shard(sid).write().insert(sid, SessionLink { session, outbox });
    }

    /// Forgets a session that has ended.
    pub fn remove(&self, sid: Sid) {
        self.shard(sid).write().remove(&sid);
    }
}

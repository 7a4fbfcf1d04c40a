//! The supervisors of all rooms, as the rest of the broker knows them.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use actix::prelude::*;

use super::{Mutes, RoomSupervisor, Timestamp, shared::Shared};
use crate::{ids::Identity, seat::Place};

/// Every supervisor. A room's name picks one.
#[derive(Clone)]
pub struct Rooms {
    supervisors: Arc<[Addr<RoomSupervisor>]>,
    mutes: Arc<Mutes>,
}

impl Rooms {
    /// Starts the supervisors, each at its place: an arbiter of its own, or a thread that it shares.
    pub fn start(places: &[Place<'_>], shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let mutes = shared.mutes.clone();
        let count = places.len();
        let supervisors = places.iter().enumerate().map(|(number, place)| {
            let shared = shared.clone();
            place.start(move |ctx: &mut Context<RoomSupervisor>| {
                ctx.set_mailbox_capacity(shared.limits.mailbox);
                RoomSupervisor::new(number, count, shared)
            })
        });
        Self { supervisors: supervisors.collect(), mutes }
    }

    /// The supervisor of a room.
    pub fn of(&self, room: &str) -> Option<&Addr<RoomSupervisor>> {
        self.supervisors.get(place_of(room, self.supervisors.len()))
    }

    /// Whether somebody may not write, in no room.
    pub fn is_muted(&self, identity: &Identity) -> bool {
        self.mutes.is_muted(identity.as_str(), Timestamp::now())
    }

    /// All of them.
    pub fn all(&self) -> &[Addr<RoomSupervisor>] {
        &self.supervisors
    }
}

/// Which of so many supervisors a room falls to.
pub(super) fn place_of(room: &str, count: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    room.hash(&mut hasher);
    usize::try_from(hasher.finish() % count.max(1) as u64).unwrap_or_default()
}

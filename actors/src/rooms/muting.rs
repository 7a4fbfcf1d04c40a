//! A room mutes somebody in all rooms, and lets them speak again.

use actix::prelude::*;

use super::{
    Caller, RoomRefusal, Timestamp,
    command::Reply,
    room::{Answer, Room, done},
};
use crate::ids::{ClientId, Identity};

impl Room {
    /// A mute holds in every room (Q15), and everybody is host of a room of his own: the extension must be one that
    /// is assigned to this room. An administrator may name any.
    fn may_mute(&self, caller: &Caller, who: &Identity) -> Result<(), RoomRefusal> {
        self.state.may_mute(caller, who)?;
        let is_it = |id: &ClientId| id.as_str() == who.as_str() || self.presence.instances(id).contains(who);
        let is_here = caller.admin || self.is_member(who) || self.available.iter().any(is_it);
        is_here.then_some(()).ok_or(RoomRefusal::MemberNotFound)
    }

    /// `MUTE_MEMBER`.
    pub(super) fn mute(
        &mut self,
        caller: &Caller,
        who: &Identity,
        seconds: Option<u64>,
        now: Timestamp,
    ) -> Answer {
        let until =
            seconds.map(|seconds| now.after(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000)));
        // Before the room says so: what it has said is part of it.
        if let Err(refusal) = self.may_mute(caller, who) {
            return done(Err(refusal));
        }
        if self.mutes().mute(who, until, now).is_err() {
            self.shared.metrics.limit_reached("rooms.max_mutes");
            return done(Err(RoomRefusal::Busy));
        }
        match self.state.mute(caller, who, until, seconds, now) {
            Ok(effects) => self.kept(effects, Reply::Muted(until)),
            Err(refusal) => done(Err(refusal)),
        }
    }

    /// `UNMUTE_MEMBER`.
    pub(super) fn unmute(
        &mut self,
        caller: &Caller,
        who: &Identity,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) -> Answer {
        let may = self.may_mute(caller, who);
        let decision = may.and_then(|()| self.state.unmute(caller, who, now));
        if decision.is_ok() && self.mutes().unmute(who.as_str(), now) {
            self.thinks_again(who, ctx);
        }
        self.decided(decision)
    }
}

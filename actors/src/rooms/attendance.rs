//! A room learns who comes and goes, and which extensions it has.

use std::sync::Arc;

use actix::prelude::*;

use super::{Audience, Effects, Place, Push, Timestamp, room::Room, supervisor::Stop};
use crate::{
    history::Change,
    ids::{ClientId, Identity},
    launch::expendable,
    protocol::MsgType,
};

/// Somebody comes or goes.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum Attendance {
    /// The owner of a personal room is there.
    Owner(Identity),
    /// It has joined `/rooms`.
    Looks(Identity),
    /// Somebody is gone for good.
    Gone {
        /// Who.
        identity: Identity,
        /// It was one instance of several: nobody will have that name again.
        instance: bool,
    },
    /// Somebody's last socket closed; it may come back.
    Away(Identity),
}

impl Handler<Attendance> for Room {
    type Result = ();

    fn handle(&mut self, attendance: Attendance, ctx: &mut Self::Context) {
        let _room = expendable();
        let now = Timestamp::now();
        match attendance {
            Attendance::Owner(identity) => {
                if self.state.members().role(identity.as_str()).is_none() {
                    let effects = self.state.own(&identity);
                    self.membership_changed(&identity, true);
                    let _ = self.carry_out(effects);
                }
            }
            Attendance::Looks(identity) => {
                if !self.available.is_empty() {
                    self.show_available(Audience::Only(vec![identity]));
                }
            }
            Attendance::Gone { identity, instance } => self.gone(&identity, instance, now, ctx),
            Attendance::Away(identity) => {
                if !self.stops_processing(&identity, now) {
                    self.status(&identity, "idle", false, now);
                }
            }
        }
    }
}

/// The extensions of a room have changed (spec §4.9.3).
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Available(pub(super) Arc<[ClientId]>);

impl Handler<Available> for Room {
    type Result = ();

    fn handle(&mut self, Available(extensions): Available, _: &mut Self::Context) {
        let _room = expendable();
        if *self.available == *extensions {
            return;
        }
        self.available = extensions.to_vec();
        let gone = |id: &Identity| extensions.iter().all(|extension| extension.as_str() != id.as_str());
        let gone: Vec<Identity> = self.processing.iter().filter(|id| gone(id)).cloned().collect();
        for extension in gone {
            self.stops_processing(&extension, Timestamp::now());
        }
        self.show_available(Audience::Members);
    }
}

impl Room {
    fn show_available(&self, to: Audience) {
        let list = self.available.iter().map(|id| framing::json::quoted(id.as_str())).collect::<Vec<_>>();
        let room = framing::json::quoted(self.state.name().as_str());
        let payload = format!("{{\"extensions\":[{}],\"roomName\":{room}}}", list.join(","));
        self.push(&Push { to, place: Place::Rooms, event: MsgType::AvailableExtensions, payload });
    }
}

impl Room {
    /// An extension that said that it is processing will not say that it has stopped. Whether it had said so.
    fn stops_processing(&mut self, identity: &Identity, now: Timestamp) -> bool {
        let processed = self.processing.remove(identity);
        if processed {
            let mut effects = Effects::default();
            effects.status(self.state.name().as_str(), identity.as_str(), "idle", now);
            let _ = self.carry_out(effects);
        }
        processed
    }

    /// Somebody is gone for good. An empty room is deleted (Q16). A client's own room goes with it (spec
    /// §3.8): everybody leaves. What was written there stays for when the client is back; that of an
    /// instance, whose name nobody will have again, does not.
    fn gone(&mut self, identity: &Identity, instance: bool, now: Timestamp, ctx: &mut Context<Self>) {
        let owner = self.state.head().owner.as_ref() == Some(identity);
        let leaving: Vec<Identity> = match owner {
            true => self.state.members().list().into_iter().map(|(who, _)| who.clone()).collect(),
            false => vec![identity.clone()],
        };
        let mut effects = Effects::default();
        for who in leaving {
            if let Some(left) = self.state.leave(&who, now) {
                self.membership_changed(&who, false);
                effects.join(left);
            }
        }
        if !self.state.members().is_empty() {
            let _ = self.carry_out(effects);
            return;
        }
        let head = self.state.head();
        let sleeps = head.owner.is_some() && !instance;
        self.stop = if sleeps { Stop::Asleep(Box::new(self.state.forgetful())) } else { Stop::Deleted };
        if !sleeps {
            effects.changes.push(Change::RoomDeleted { name: head.name.clone() });
        }
        let _ = self.carry_out(effects);
        ctx.stop();
    }
}

//! A room learns who comes and goes, and which extensions it has.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;

use super::{Audience, Effects, MONITOR_ROOM, Place, Push, Timestamp, room::Room, supervisor::Stop};
use crate::{
    history::{Change, HistoryError},
    ids::{ClientId, Identity, MONITOR},
    launch::expendable,
    lobby::unassigned,
    protocol::MsgType,
};

/// Somebody comes or goes.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum Attendance {
    /// Somebody whose name this room has is there, or who has the monitor's rights in it: its owner, unless somebody
    /// else has made it.
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
                if self.is_member(&identity) {
                    return;
                }
                let owns = self.is_owned_by(&identity);
                if owns {
                    let effects = self.state.own(&identity);
                    let _ = self.carry_out(effects);
                }
                // Who is not is on the lobby's list: of that name alone, a room is one's own.
                self.membership_changed(&identity, owns);
            }
            Attendance::Looks(identity) => {
                if !self.available.is_empty() && self.is_member(&identity) {
                    self.show_available(Audience::Only(vec![identity]));
                }
            }
            Attendance::Gone { identity, instance } => self.gone(&identity, instance, now, ctx),
            // One that is gone will not say that it has stopped.
            Attendance::Away(identity) => {
                if self.processing.remove(&identity).is_some() || self.is_member(&identity) {
                    self.status(&identity, "idle", now);
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
        let gone = self.processing.extract_if(.., |_, client| !extensions.contains(client));
        let gone: Vec<Identity> = gone.map(|(instance, _)| instance).collect();
        for instance in gone {
            self.status(&instance, "idle", Timestamp::now());
        }
        self.show_available(Audience::Members);
    }
}

impl Room {
    /// A name can be chosen, so it makes nobody an owner: the room was made for somebody, or is the monitor's.
    pub(super) fn is_owned_by(&self, identity: &Identity) -> bool {
        let client_is = |id: &str| self.presence.with(identity.as_str(), |known| known.client.as_str() == id);
        match &self.state.head().owner {
            Some(owner) => owner == identity,
            None => self.state.name().as_str() == MONITOR_ROOM && client_is(MONITOR) == Some(true),
        }
    }

    fn show_available(&self, to: Audience) {
        let list = self.available.iter().map(|id| framing::json::quoted(id.as_str())).collect::<Vec<_>>();
        let room = framing::json::quoted(self.state.name().as_str());
        let payload = format!("{{\"extensions\":[{}],\"roomName\":{room}}}", list.join(","));
        self.push(&Push { to, place: Place::Rooms, event: MsgType::AvailableExtensions, payload });
    }
}

impl Room {
    /// Somebody is gone for good. An empty room is deleted (Q16). A client's own room goes with it (spec
    /// §3.8): everybody leaves. What was written there stays for when the client is back; that of an
    /// instance, whose name nobody will have again, does not.
    fn gone(&mut self, identity: &Identity, instance: bool, now: Timestamp, ctx: &mut Context<Self>) {
        let owner = self.state.head().owner.as_ref() == Some(identity);
        let mut leaving: Vec<Identity> = match owner {
            true => self.state.members().list().into_iter().map(|(who, _)| who.clone()).collect(),
            false => vec![identity.clone()],
        };
        let mut effects = Effects::default();
        for who in &leaving {
            if let Some(left) = self.state.leave(who, now) {
                self.membership_changed(who, false);
                effects.join(left);
            }
        }
        if owner {
            // Nobody inherits what is no more.
            effects.pushes.clear();
            leaving.retain(|who| who != identity);
            self.state.tell_of_deletion(leaving, &mut effects);
        }
        if !self.state.members().is_empty() {
            let _ = self.carry_out(effects);
            return;
        }
        let head = self.state.head();
        if head.owner.is_some() && !instance {
            self.stop = Stop::Asleep(Box::new(self.state.forgetful()));
            let _ = self.carry_out(effects);
            return ctx.stop();
        }
        let deleted = vec![Change::RoomDeleted { name: head.name.clone() }, unassigned(&head.name)];
        effects.pushes.iter().for_each(|push| self.push(push));
        self.goes(deleted, ctx);
    }

    /// It ends once that is kept: it would be back, with its members, when the process is. Nobody has asked for it,
    /// so that nobody would try again. What is asked meanwhile waits in the mailbox.
    fn goes(&mut self, deleted: Vec<Change>, ctx: &mut Context<Self>) {
        let history = self.shared.history.clone();
        let kept = async move {
            let mut pause = AGAIN;
            loop {
                let outcome = match history.persist(deleted.clone()) {
                    Ok(persisted) => persisted.await,
                    Err(error) => Err(error),
                };
                if matches!(outcome, Ok(()) | Err(HistoryError::Closed)) {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(AT_LAST);
            }
        };
        ctx.wait(kept.into_actor(self).map(|(), room, ctx| {
            room.stop = Stop::Deleted;
            ctx.stop();
        }));
    }
}

/// How long a room that nobody is in waits before it tries again to be deleted; twice as long each time, up to the
/// second of these.
const AGAIN: Duration = Duration::from_secs(1);
const AT_LAST: Duration = Duration::from_secs(60);

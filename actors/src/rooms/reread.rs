//! A room that could not keep what it was asked takes it back: it is once more what is kept of it. Whoever asked was
//! refused, and may ask again.
//!
//! What is kept of nobody stays as it is: answers that are under way, requests that wait, who is at work. So a full
//! disk costs the room nothing else, and it is read again once for all that failed together.

use actix::{MailboxError, prelude::*};
use log::{error, warn};

use super::{Command, RoomState, Timestamp, chat::Queued, room::Room, supervisor::Stop};
use crate::{
    history::{Contents, HistoryError, LoadMessages, LoadRooms, StoredMessage},
    ids::{Identity, RequestId},
    launch::expendable,
    protocol::RequestMode,
};

/// What a command has done beside the state that is kept.
#[derive(Clone, Debug)]
pub(super) enum Beside {
    /// Nothing.
    Nothing,
    /// It may wait for a host, and must not: its sender was told that it failed.
    Queued(RequestId),
    /// These do not wait for a host any more, and must.
    Dequeued(Vec<Queued>),
    /// A mute of all rooms begins or ends.
    Mute(Identity),
}

impl Beside {
    /// What a command will have done. None: it changes nothing before that is kept.
    pub(super) fn of(command: &Command, room: &RoomState) -> Option<Self> {
        match command {
            Command::Delete => None,
            Command::Request { request, .. } => {
                request.as_ref().map(|request| Self::Queued(request.request_id.clone()))
            }
            Command::Mute { identity, .. } | Command::Unmute(identity) => Some(Self::Mute(identity.clone())),
            Command::SetMode(mode) if *mode != RequestMode::HostSubmit => {
                Some(Self::Dequeued(room.queue.clone()))
            }
            Command::Kick(who) | Command::Remove(who) => Some(Self::Dequeued(
                room.queue.iter().filter(|queued| queued.from == *who).cloned().collect(),
            )),
            other => other.changes_something().then_some(Self::Nothing),
        }
    }
}

/// Something that the room was asked is not kept. From the room to itself.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct NotKept {
    /// How much it had been asked by then.
    pub(super) asked: u64,
    pub(super) beside: Beside,
}

type Read<T> = Result<Result<T, HistoryError>, MailboxError>;

impl Handler<NotKept> for Room {
    type Result = ();

    fn handle(&mut self, NotKept { asked, beside }: NotKept, ctx: &mut Self::Context) {
        let _room = expendable();
        if let Beside::Queued(request) = &beside {
            self.state.unqueue(request);
        }
        // Of all that failed together, the first has brought back the rest.
        if asked <= self.agreed && !matches!(beside, Beside::Mute(_)) {
            return self.waits_again(beside);
        }
        let (history, room) = (self.shared.history.addr.clone(), self.state.name().clone());
        // What was sent to the history before is stored before it answers, or has failed.
        let read = async move { (history.send(LoadRooms).await, history.send(LoadMessages { room }).await) };
        ctx.wait(read.into_actor(self).map(move |(contents, messages), room, ctx| {
            let _room = expendable();
            room.reread(beside, contents, messages, ctx);
        }));
    }
}

impl Room {
    fn reread(
        &mut self,
        beside: Beside,
        contents: Read<Contents>,
        messages: Read<Vec<StoredMessage>>,
        ctx: &mut Context<Self>,
    ) {
        let name = self.state.name();
        let contents = match contents {
            Ok(Ok(contents)) => contents,
            Ok(Err(error)) => return error!(room:% = name, error:%; "a room could not be read again"),
            // The process ends.
            Err(_) => return,
        };
        if let Beside::Mute(who) = &beside {
            let now = Timestamp::now();
            match contents.mutes.get(who) {
                Some(mute) => _ = self.mutes().mute(who, mute.until_ms.map(Timestamp), now),
                None => _ = self.mutes().unmute(who.as_str(), now),
            }
        }
        let Some(stored) = contents.rooms.into_iter().find(|stored| stored.name == *name) else {
            // Nothing of it can be kept.
            self.stop = Stop::NotMade;
            return ctx.stop();
        };
        let messages = match messages {
            Ok(Ok(messages)) => messages,
            Ok(Err(error)) => return error!(room:% = name, error:%; "messages could not be read again"),
            Err(_) => return,
        };
        warn!(room:% = name; "what was not kept is taken back");
        let members = |room: &Self| room.state.members().identities().cloned().collect::<Vec<_>>();
        let before = members(self);
        self.state.reread(stored, messages);
        self.agreed = self.asked;
        // Its owner's seat is its own, kept or not: nobody would give it back.
        let owner = before.iter().find(|who| self.is_owned_by(who) && !self.is_member(who));
        if let Some(owner) = owner {
            let effects = self.state.own(owner);
            let _ = self.carry_out(effects);
        }
        let after = members(self);
        for (some, others, joined) in [(&before, &after, false), (&after, &before, true)] {
            some.iter()
                .filter(|who| !others.contains(who))
                .for_each(|who| self.membership_changed(who, joined));
        }
        self.waits_again(beside);
        self.begin_thinking(ctx);
    }

    fn waits_again(&mut self, beside: Beside) {
        if let Beside::Dequeued(queued) = beside {
            self.state.waits_again(queued);
        }
    }
}

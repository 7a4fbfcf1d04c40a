//! One room's actor: carries out what its [state](super::state) decides.

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

use actix::{WeakAddr, prelude::*};
use log::{error, warn};
use tokio::sync::oneshot;

use super::{
    Audience, Caller, Command, Effects, MemberInfo, Message, Mutes, Place, Push, Reply, RoomRefusal,
    RoomState, Timestamp,
    answers::Answers,
    presence::Presence,
    reread::{Beside, NotKept},
    shared::Shared,
    supervisor::{RoomStopped, Seated, Stop},
    think::Thinking,
};
use crate::{
    history::{Change, LoadMessages, Permit, Persisted},
    ids::{ClientId, Identity, RequestId},
    launch::expendable,
    llm_router::{AudienceChanged, Requester},
    lobby::{Membership, unassigned},
    protocol::{Namespace, Role},
    registry::SocketKey,
};

/// See the module's documentation.
pub(super) struct Room {
    pub(super) state: RoomState,
    pub(super) answers: Answers,
    pub(super) presence: Rc<Presence>,
    pub(super) shared: Arc<Shared>,
    /// Its seat as a listener of answers.
    pub(super) seat: SocketKey,
    supervisor: WeakAddr<super::RoomSupervisor>,
    /// The requests of this room that the router is looking at.
    pub(super) asking: Vec<RequestId>,
    /// The extensions that members were last told of.
    pub(super) available: Vec<ClientId>,
    /// Instances of them that have said that they are processing.
    pub(super) processing: BTreeMap<Identity, ClientId>,
    /// How it ends, if it does.
    pub(super) stop: Stop,
    /// What it waits for before anything is asked of it.
    begins: Option<Begins>,
    /// Who waits for it to be deleted.
    deleted: Option<oneshot::Sender<Result<Reply, RoomRefusal>>>,
    /// Room in the history for what is being decided.
    reserved: Option<Permit>,
    pub(super) thinking: Thinking,
    /// How often it was asked for something.
    pub(super) asked: u64,
    /// By then it was what is kept of it.
    pub(super) agreed: u64,
}

/// How a room begins.
pub(super) enum Begins {
    /// It is made now: there is none before that is kept.
    New(Persisted),
    /// It was there before: its messages are read first.
    Kept,
}

pub(super) type Answer = ResponseFuture<Result<Reply, RoomRefusal>>;

impl Room {
    pub(super) fn new(
        state: RoomState,
        begins: Begins,
        presence: Rc<Presence>,
        shared: Arc<Shared>,
        supervisor: WeakAddr<super::RoomSupervisor>,
    ) -> Self {
        Self {
            state,
            answers: Answers::default(),
            presence,
            shared,
            seat: SocketKey::next(),
            supervisor,
            asking: Vec::new(),
            available: Vec::new(),
            processing: BTreeMap::new(),
            stop: Stop::Unasked,
            begins: Some(begins),
            deleted: None,
            reserved: None,
            thinking: Thinking::default(),
            asked: 0,
            agreed: 0,
        }
    }

    pub(super) fn available(&self) -> &[ClientId] {
        &self.available
    }

    pub(super) fn has_open_requests(&self) -> bool {
        self.open_requests().next().is_some()
    }

    fn open_requests(&self) -> impl Iterator<Item = &RequestId> {
        self.asking.iter().chain(self.answers.requests())
    }

    pub(super) fn somebody_is_here(&self) -> bool {
        self.state.members().identities().any(|who| self.is_here(who))
    }

    fn is_here(&self, who: &Identity) -> bool {
        self.presence.with(who.as_str(), |known| known.sockets > 0) == Some(true)
    }

    /// The router has taken a request, or has refused it.
    pub(super) fn request_settled(&mut self, request: &RequestId) {
        self.state.settled(request.as_str());
        if let Some(at) = self.asking.iter().position(|asking| asking == request) {
            self.asking.remove(at);
        }
    }

    pub(super) fn mutes(&self) -> &Mutes {
        &self.shared.mutes
    }

    /// Keeps and tells what was decided.
    pub(super) fn carry_out(&mut self, effects: Effects) -> Result<Option<Persisted>, RoomRefusal> {
        let Effects { changes, pushes } = effects;
        let persisted = match changes.is_empty() {
            true => None,
            false => Some(self.persist(changes)),
        };
        for push in &pushes {
            self.push(push);
        }
        persisted.transpose()
    }

    fn persist(&mut self, changes: Vec<Change>) -> Result<Persisted, RoomRefusal> {
        let persisted = match self.reserved.take() {
            Some(reserved) => self.shared.history.persist_in(reserved, changes),
            // Nobody has asked for it, so that nobody can be refused it.
            None => self.shared.history.persist(changes),
        };
        persisted.map_err(|error| {
            warn!(room:% = self.state.name(), error:%; "a change of a room is not kept");
            RoomRefusal::Busy
        })
    }

    pub(super) fn push(&self, Push { to, place, event, payload }: &Push) {
        use Namespace::{Llm, Rooms};
        let places: &[Namespace] = match place {
            Place::Rooms => &[Rooms],
            Place::Llm => &[Llm],
            Place::Both => &[Rooms, Llm],
        };
        let members = self.state.members();
        match to {
            Audience::Members => self.presence.push(members.identities(), places, *event, payload),
            Audience::Hosts => self.presence.push(members.hosts(), places, *event, payload),
            Audience::Only(who) => self.presence.push(who.iter(), places, *event, payload),
            Audience::MembersAndExtensions => {
                self.presence.push(members.identities(), places, *event, payload);
                let assigned = self.available.iter().flat_map(|id| self.presence.instances(id));
                // One copy per socket (Q18).
                let others: Vec<_> = assigned.filter(|id| members.role(id.as_str()).is_none()).collect();
                self.presence.push(others.iter(), places, *event, payload);
            }
        }
    }

    /// Answers `reply` once what was decided is kept.
    pub(super) fn kept(&mut self, effects: Effects, reply: Reply) -> Answer {
        match self.carry_out(effects) {
            Ok(None) => done(Ok(reply)),
            Ok(Some(persisted)) => Box::pin(async move {
                persisted.await.map_err(|_| RoomRefusal::NotRecorded)?;
                Ok(reply)
            }),
            Err(refusal) => done(Err(refusal)),
        }
    }

    pub(super) fn decided(&mut self, decision: Result<Effects, RoomRefusal>) -> Answer {
        match decision {
            Ok(effects) => self.kept(effects, Reply::Done),
            Err(refusal) => done(Err(refusal)),
        }
    }

    /// The same for what may find nothing to do.
    fn decided_or_nothing(&mut self, decision: Result<Effects, RoomRefusal>) -> Answer {
        match decision {
            Ok(effects) if effects.changes.is_empty() => done(Ok(Reply::Nothing)),
            other => self.decided(other),
        }
    }

    /// A member has joined or left: the lobby's list, and those who get answers, change with it.
    pub(super) fn membership_changed(&self, identity: &Identity, joined: bool) {
        let room = self.state.name().clone();
        if let Some(supervisor) = self.supervisor.upgrade() {
            let seated = Seated { room: room.clone(), identity: identity.clone(), joined };
            #[expect(clippy::disallowed_methods, reason = "once per membership")]
            supervisor.do_send(seated);
        }
        let notice = Membership { room, identity: identity.clone(), joined };
        #[expect(clippy::disallowed_methods, reason = "once per membership")]
        self.shared.lobby.do_send(notice);
        if let Some(member) = self.requester(identity).filter(|_| self.has_open_requests()) {
            let requests = self.open_requests().cloned().collect();
            let changed = AudienceChanged { requests, member, joins: joined };
            #[expect(clippy::disallowed_methods, reason = "once per membership")]
            self.shared.router.do_send(changed);
        }
    }

    pub(super) fn requester(&self, identity: &Identity) -> Option<Requester> {
        self.presence.with(identity.as_str(), |present| Requester {
            client: present.client.clone(),
            identity: identity.clone(),
        })
    }

    fn run(&mut self, caller: &Caller, command: Command, ctx: &mut Context<Self>) -> Answer {
        // Before anything is decided: what could not be kept does not happen.
        if command.changes_something() {
            match self.shared.history.reserve(self.bytes_of(&command)) {
                Ok(reserved) => self.reserved = Some(reserved),
                Err(_) => return done(Err(RoomRefusal::Busy)),
            }
        }
        let answer = self.decide(caller, command, ctx);
        self.reserved = None;
        answer
    }

    /// What a command brings for the history; what the room adds is little.
    fn bytes_of(&self, command: &Command) -> usize {
        let edited = match command {
            Command::Edit { id, .. } => self.state.messages().find(id).map_or(0, Message::bytes),
            _ => 0,
        };
        command.bytes() + edited
    }

    fn decide(&mut self, caller: &Caller, command: Command, ctx: &mut Context<Self>) -> Answer {
        let now = Timestamp::now();
        match command {
            Command::Delete => match self.state.delete(caller) {
                Ok(effects) => self.delete(effects, ctx),
                Err(refusal) => done(Err(refusal)),
            },
            Command::Add { identity, role } => {
                let Some(identity) = self.known(&identity) else {
                    // Who sits in the monitor's room would see what it sees (spec §8.1 8-06).
                    let refusal =
                        if caller.privileged { RoomRefusal::NotAdded } else { RoomRefusal::Unauthorized };
                    return done(Err(refusal));
                };
                let joins = self.state.members().role(identity.as_str()).is_none();
                let decision = self.state.add(caller, &identity, role, now);
                if joins && decision == Err(RoomRefusal::NotAdded) {
                    self.shared.metrics.limit_reached("limits.members_per_room");
                }
                if decision.is_ok() && joins {
                    self.membership_changed(&identity, true);
                    let lines = self.presence.with(identity.as_str(), |present| present.lines.clone());
                    lines.iter().flat_map(|lines| &**lines).for_each(|line| line.joins(self.state.name()));
                }
                self.decided(decision)
            }
            Command::Remove(identity) => {
                let decision = self.state.remove(caller, &identity, now);
                self.left(&identity, decision)
            }
            Command::Kick(identity) => {
                let decision = self.state.kick(caller, &identity, now);
                self.left(&identity, decision)
            }
            Command::SetRole { identity, role } => {
                let decision = self.state.set_role(caller, &identity, role);
                self.decided(decision)
            }
            Command::SetMode(mode) => {
                let decision = self.state.set_mode(caller, mode);
                self.begin_thinking(ctx);
                self.decided(decision)
            }
            Command::Mute { identity, seconds } => self.mute(caller, &identity, seconds, now),
            Command::Unmute(identity) => self.unmute(caller, &identity, now, ctx),
            Command::Members => done(self.members(caller)),
            Command::IsMember => {
                let member = self.state.members().role(caller.identity.as_str()).is_some();
                done(if member { Ok(Reply::Done) } else { Err(RoomRefusal::Unauthorized) })
            }
            Command::Request { request, attachments, extensions } => {
                self.request(caller, request, attachments, &extensions, now, ctx)
            }
            Command::Edit { id, updated } => {
                let decision = self.state.edit(caller, &id, &updated, now);
                self.decided(decision)
            }
            Command::DeleteMessages(ids) => {
                let decision = self.state.delete_messages(caller, &ids);
                self.decided_or_nothing(decision)
            }
            Command::Clear { requests, responses } => {
                let decision = self.state.clear(caller, requests, responses);
                self.decided_or_nothing(decision)
            }
            Command::Context { since, page_size, page } => done(self.may_read(caller).map(|()| {
                let messages = self.state.messages();
                let pages = messages.pages(since.as_deref(), page_size);
                let wanted = usize::try_from(page).ok().and_then(|number| pages.get(number.checked_sub(1)?));
                let wanted = wanted.map(|page| messages.page(*page));
                Reply::Pages(pages, wanted)
            })),
            Command::Page(page) => {
                done(self.may_read(caller).map(|()| Reply::Page(self.state.messages().page(page))))
            }
            Command::Typing(on) => {
                if self.is_member(&caller.identity) {
                    self.status(&caller.identity, if on { "typing" } else { "idle" }, now);
                }
                done(Ok(Reply::Done))
            }
            Command::Processing(on) => {
                // Any instance of an extension that is assigned to the room, while it is connected.
                if self.available.contains(&caller.client) && self.is_here(&caller.identity) {
                    match on {
                        true => _ = self.processing.insert(caller.identity.clone(), caller.client.clone()),
                        false => _ = self.processing.remove(&caller.identity),
                    }
                    self.status(&caller.identity, if on { "processing" } else { "idle" }, now);
                }
                done(Ok(Reply::Done))
            }
            #[cfg(test)]
            Command::Panic => panic!("as the test asked"),
        }
    }

    /// It is deleted once that is kept, and otherwise nothing has happened. What is asked meanwhile waits in the
    /// mailbox.
    fn delete(&mut self, Effects { mut changes, pushes }: Effects, ctx: &mut Context<Self>) -> Answer {
        changes.push(unassigned(self.state.name()));
        let persisted = match self.persist(changes) {
            Ok(persisted) => persisted,
            Err(refusal) => return done(Err(refusal)),
        };
        let (answer, answered) = oneshot::channel();
        ctx.wait(persisted.into_actor(self).map(move |kept, room, ctx| match kept {
            Ok(()) => {
                pushes.iter().for_each(|push| room.push(push));
                room.stop = Stop::Deleted;
                room.deleted = Some(answer);
                ctx.stop();
            }
            // Whoever asked may be gone.
            Err(_) => _ = answer.send(Err(RoomRefusal::NotRecorded)),
        }));
        Box::pin(async move { answered.await.unwrap_or(Err(RoomRefusal::Busy)) })
    }

    /// Who may be added: somebody who is here. A client that runs under another instance's name is that
    /// instance, if it has one only.
    fn known(&self, identity: &Identity) -> Option<Identity> {
        if self.state.name().as_str() == super::MONITOR_ROOM {
            return None;
        }
        if self.presence.knows(identity.as_str()) {
            return Some(identity.clone());
        }
        let client = ClientId::new(identity.as_str()).ok()?;
        match <[Identity; 1]>::try_from(self.presence.instances(&client)) {
            Ok([only]) => Some(only),
            Err(_) => None,
        }
    }

    fn left(&mut self, identity: &Identity, decision: Result<Effects, RoomRefusal>) -> Answer {
        if decision.is_ok() {
            self.membership_changed(identity, false);
        }
        self.decided(decision)
    }

    fn members(&self, caller: &Caller) -> Result<Reply, RoomRefusal> {
        let members = self.state.members();
        if !(caller.privileged || members.role(caller.identity.as_str()).is_some()) {
            return Err(RoomRefusal::Unauthorized);
        }
        let info = |(identity, role): (&Identity, Role)| {
            let known = self.presence.with(identity.as_str(), |present| {
                let here = present.sockets > 0;
                (here.then(|| present.client_type.clone()), present.desc.clone())
            });
            let (client_type, desc) = known.unwrap_or_default();
            MemberInfo { identity: identity.clone(), role, client_type, desc }
        };
        Ok(Reply::Members(members.list().into_iter().map(info).collect()))
    }

    /// Whether somebody may read what was written here.
    fn may_read(&self, caller: &Caller) -> Result<(), RoomRefusal> {
        match caller.admin || self.is_member(&caller.identity) {
            true => Ok(()),
            false => Err(RoomRefusal::NotAMember(self.state.name().to_string())),
        }
    }

    pub(super) fn is_member(&self, identity: &Identity) -> bool {
        self.state.members().role(identity.as_str()).is_some()
    }

    pub(super) fn status(&mut self, identity: &Identity, status: &str, now: Timestamp) {
        let mut effects = Effects::default();
        effects.status(self.state.name().as_str(), identity.as_str(), status, now);
        let _ = self.carry_out(effects);
    }
}

pub(super) fn done(outcome: Result<Reply, RoomRefusal>) -> Answer {
    Box::pin(std::future::ready(outcome))
}

impl Actor for Room {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Whatever is asked meanwhile waits in the mailbox.
        match self.begins.take() {
            Some(Begins::New(persisted)) => {
                ctx.wait(persisted.into_actor(self).map(|kept, room, ctx| {
                    if kept.is_err() {
                        room.stop = Stop::NotMade;
                        ctx.stop();
                    }
                }));
            }
            Some(Begins::Kept) => {
                let question = LoadMessages { room: self.state.name().clone() };
                let messages = self.shared.history.addr.send(question).into_actor(self);
                ctx.wait(messages.map(|messages, room, _| match messages {
                    Ok(Ok(messages)) => room.state.remember(messages),
                    other => {
                        error!(room:% = room.state.name(), answer:? = other.err(); "messages could not be read")
                    }
                }));
            }
            None => (),
        }
        self.begin_thinking(ctx);
    }
}

impl Drop for Room {
    /// However it ends: its supervisor starts it again, with the state that was kept, unless it was deleted.
    fn drop(&mut self) {
        if let Some(supervisor) = self.supervisor.upgrade() {
            let stopped = RoomStopped { room: self.state.name().clone(), how: self.stop.clone() };
            #[expect(clippy::disallowed_methods, reason = "once per room and life")]
            supervisor.do_send(stopped);
        }
        // Behind that: there is no such room for who asks when it knows.
        if let Some(answer) = self.deleted.take() {
            let _ = answer.send(Ok(Reply::Done));
        }
    }
}

/// Asks whether the room has begun. One that could not be kept does not answer.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct HasBegun;

impl Handler<HasBegun> for Room {
    type Result = ();

    fn handle(&mut self, _: HasBegun, _: &mut Self::Context) {}
}

/// What a supervisor hands on.
#[derive(Message)]
#[rtype(result = "Result<Reply, RoomRefusal>")]
pub(super) struct Run {
    pub(super) caller: Caller,
    pub(super) command: Command,
}

impl Handler<Run> for Room {
    type Result = Answer;

    fn handle(&mut self, Run { caller, command }: Run, ctx: &mut Self::Context) -> Self::Result {
        let _room = expendable();
        let not_kept = command.not_kept();
        let beside = Beside::of(&command, &self.state);
        let answer = self.run(&caller, command, ctx);
        self.asked += 1;
        let (room, asked) = (ctx.address(), self.asked);
        Box::pin(async move {
            match answer.await {
                Err(RoomRefusal::NotRecorded) => {
                    if let Some(beside) = beside {
                        // Before the refusal: it is taken back when that is asked again.
                        #[expect(clippy::disallowed_methods, reason = "once per command that is not kept")]
                        room.do_send(NotKept { asked, beside });
                    }
                    not_kept
                }
                other => other,
            }
        })
    }
}

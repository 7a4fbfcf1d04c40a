//! A room asks on behalf of its members, and listens to the answers.

use actix::prelude::*;
use framing::Bytes;
use log::debug;

use super::{
    Caller, ChatRequest, Extensions, Outgoing, Reply, RoomRefusal, RoomsConfig, Timestamp,
    answers::AnswerLimits,
    room::{Answer, Room, done},
};
use crate::{
    ids::RequestId,
    launch::expendable,
    llm_router::{Audience as RequestAudience, Deliver, ForwardedRequest, OpenRequest, Peer, Requester},
};

impl Room {
    pub(super) fn request(
        &mut self,
        caller: &Caller,
        request: Option<ChatRequest>,
        attachments: Vec<Bytes>,
        extensions: &Extensions,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) -> Answer {
        let muted = self.mutes().is_muted(caller.identity.as_str(), now);
        let decision = self.state.request(caller, request, extensions, muted, now);
        let (effects, outgoing) = match decision {
            Ok(decided) => decided,
            Err(refusal) => {
                if refusal == RoomRefusal::TooManyRequests {
                    self.shared.metrics.limit_reached("rooms.max_open_requests");
                }
                return done(Err(refusal));
            }
        };
        let persisted = match self.carry_out(effects) {
            Ok(persisted) => persisted,
            Err(refusal) => {
                if let Some(outgoing) = outgoing {
                    self.state.settled(outgoing.request_id.as_str());
                }
                return done(Err(refusal));
            }
        };
        let from = Requester { client: caller.client.clone(), identity: caller.identity.clone() };
        // Sent now, so that requests reach the router in the order in which the room took them.
        let opened = outgoing.map(|outgoing| {
            let request_id = outgoing.request_id.clone();
            let question = self.open_request(from, outgoing, attachments, ctx);
            (request_id, self.shared.router.send(question))
        });
        let room = ctx.address();
        Box::pin(async move {
            let mut outcome = Ok(Reply::Done);
            if let Some((request_id, opened)) = opened {
                outcome = match opened.await {
                    Ok(Ok(())) => Ok(Reply::Done),
                    Ok(Err(refusal)) => Err(RoomRefusal::Router(refusal)),
                    Err(_) => Err(RoomRefusal::Busy),
                };
                #[expect(clippy::disallowed_methods, reason = "once per request")]
                room.do_send(Settled(request_id));
            }
            if let Some(persisted) = persisted {
                persisted.await.map_err(|_| RoomRefusal::NotRecorded)?;
            }
            outcome
        })
    }

    pub(super) fn open_request(
        &mut self,
        from: Requester,
        outgoing: Outgoing,
        attachments: Vec<Bytes>,
        ctx: &mut Context<Self>,
    ) -> OpenRequest {
        let Outgoing { request_id, targets, payload, chat } = outgoing;
        let members =
            self.state.members().identities().filter_map(|identity| self.requester(identity)).collect();
        let listener = Some(Peer::new(self.seat, ctx.address().recipient().into()));
        self.asking.push(request_id.clone());
        OpenRequest {
            from,
            request_id,
            targets,
            request: ForwardedRequest { payload, attachments, chat: Some(chat.into()) },
            audience: RequestAudience { members, listener, nobody_asked: false },
        }
    }
}

/// The router has taken a request, or has refused it.
#[derive(Message)]
#[rtype(result = "()")]
struct Settled(RequestId);

impl Handler<Settled> for Room {
    type Result = ();

    fn handle(&mut self, Settled(request): Settled, _: &mut Self::Context) {
        let _room = expendable();
        self.request_settled(&request);
    }
}

impl Handler<Deliver> for Room {
    type Result = ();

    fn handle(&mut self, Deliver { origin, delivery, .. }: Deliver, _: &mut Self::Context) {
        let _room = expendable();
        let RoomsConfig { max_answer_bytes: bytes, max_answer_outputs: outputs, .. } = self.shared.limits;
        let limits = AnswerLimits { bytes, outputs };
        let effects = self.answers.take(&mut self.state, origin.route, delivery, limits, Timestamp::now());
        if let Some(bound) = self.answers.was_cut() {
            self.shared.metrics.limit_reached(bound);
        }
        if let Err(error) = self.carry_out(effects) {
            debug!(room:% = self.state.name(), error:%; "an answer is not kept");
        }
    }
}

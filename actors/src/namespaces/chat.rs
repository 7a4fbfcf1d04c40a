//! Chat on `/llm` (spec §4.9.4): requests that are made in a room, and what is done to its messages.

use framing::{
    json::{Kind, RawJson},
    socket::{Event, Namespace as WireNamespace},
};

use super::{
    Broker, Cx, LlmPolicy,
    llm_request::{Asked, NOT_TO_SERVER, signed},
    payload,
    reply::{BUSY, Reply},
    rooms::room_field,
};
use crate::{
    ids::{RoomName, SERVER},
    lobby::RequestInRoom,
    maps::FastSet,
    protocol::{MsgType, payload as payloads},
    rooms::{ChatRequest, Command, InRoom, Reply as RoomReply, RoomCommand, RoomRefusal},
};

impl Broker {
    /// `LLM_REQUEST` by name: in the room that it names, or in the sender's own. Muted? Member? Valid? In this
    /// order (spec §4.9.4); not `asked`: it is malformed.
    pub(super) fn chat_request(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        event: Event,
        asked: Option<Asked>,
    ) {
        let Some(socket) = self.sockets.get(ns) else {
            return;
        };
        let reply = Reply::to(&event);
        if self.directory.rooms.is_muted(&socket.identity) {
            return self.refuse_chat(cx, ns, &reply, &RoomRefusal::Muted.to_string());
        }
        if asked.as_ref().is_some_and(|asked| asked.targets.iter().any(|target| &**target == SERVER)) {
            return self.refuse_chat(cx, ns, &reply, NOT_TO_SERVER);
        }
        let named = payload::present(payload::object(&event).get("targetRoom"));
        let room = match &named {
            Some(name) => payload::text(Some(name)),
            None => Some(socket.identity.as_str().into()),
        };
        let Some(room) = room.and_then(|name| RoomName::new(name).ok()) else {
            return self.refuse_chat(cx, ns, &reply, &RoomRefusal::InvalidTargetRoom.to_string());
        };
        let request = asked.map(|Asked { request_id, targets }| {
            let payload = signed(&event, &socket.client);
            ChatRequest { request_id, targets, payload }
        });
        let (caller, key) = (socket.room_caller(true), socket.key);
        let attachments = event.attachments;
        let lobby = self.directory.lobby.clone();
        let from_its_rooms = self.directory.limits.llm_policy == LlmPolicy::Rooms;
        let ask = RequestInRoom { room, caller, from_its_rooms, request, attachments };
        let (joined, later) = (ns.clone(), reply.clone());
        // One question, and not a second one behind its answer: its sender may have left by then.
        let outcome = cx.session().ask(&lobby, ask, move |layer, session, outcome| {
            layer.with_handler(session, |broker, cx| {
                if !broker.still(&joined, key) {
                    return;
                }
                match outcome {
                    Ok(Ok(_)) => broker.ack(cx, &joined, later.ack, RECEIVED),
                    Ok(Err(refusal)) => broker.refuse_chat(cx, &joined, &later, &refusal.to_string()),
                    Err(_) => broker.refuse_chat(cx, &joined, &later, BUSY),
                }
            });
            Ok(())
        });
        if outcome.is_err() {
            self.refuse_chat(cx, ns, &reply, "Too many requests.");
        }
    }

    /// Failures are also sent as `ERROR` (spec §4.9.4).
    pub(super) fn refuse_chat(&self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, reply: &Reply, message: &str) {
        if reply.ack.is_some() {
            self.refuse(cx, ns, reply, message);
        }
        self.error(cx, ns, message, reply.request_id().as_deref(), None);
    }

    /// What is done to messages: `EDIT_MESSAGE`, `DELETE_MESSAGE`, `CLEAR_MESSAGES`.
    pub(super) fn message_command(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        message: MsgType,
        event: &Event,
    ) {
        let Some(caller) = self.sockets.get(ns).map(|socket| socket.room_caller(true)) else {
            return;
        };
        let (object, room) = (payload::object(event), room_field(event));
        let (command, missing) = match message {
            MsgType::EditMessage => (edited(object), RoomRefusal::EditFieldsMissing),
            MsgType::DeleteMessage => match deleted(object, self.directory.limits.max_named_messages) {
                Ok(command) => (Some(command), RoomRefusal::DeleteFieldsMissing),
                Err(refusal) => {
                    if refusal == RoomRefusal::DeleteTooMany {
                        cx.session().metrics().limit_reached("history.messages_per_room");
                    }
                    (None, refusal)
                }
            },
            _ => {
                let (requests, responses) = (flag(object, "clearRequests"), flag(object, "clearResponses"));
                (Some(Command::Clear { requests, responses }), RoomRefusal::ClearFieldsMissing)
            }
        };
        let (Some(room), Some(command)) = (room, command) else {
            return self.fail(cx, ns, event, &missing.to_string());
        };
        let nothing = match message {
            MsgType::DeleteMessage => "No matching messages found to delete or operation failed.",
            _ => "Messages already cleared or operation failed.",
        };
        let Some(supervisor) = self.directory.rooms.of(room.as_str()).cloned() else {
            return;
        };
        let ask = InRoom { room, caller, command: RoomCommand::Run(command) };
        self.ask_for(cx, ns, event, &supervisor, ask, move |outcome| match outcome {
            Ok(RoomReply::Nothing) => Ok(payloads::status_ok([("message", nothing.into())]).to_string()),
            Ok(_) => Ok(payloads::status_ok([]).to_string()),
            Err(refusal) => Err(refusal.to_string()),
        });
    }

    /// `START_TYPING`, `STOP_TYPING`, `START_PROCESSING`, `STOP_PROCESSING`: nobody waits for an answer.
    /// `STOP_…` without a room means all of them.
    pub(super) fn activity(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        message: MsgType,
        event: &Event,
    ) {
        let Some(caller) = self.sockets.get(ns).map(|socket| socket.room_caller(true)) else {
            return;
        };
        let command = match message {
            MsgType::StartTyping => Command::Typing(true),
            MsgType::StopTyping => Command::Typing(false),
            MsgType::StartProcessing => Command::Processing(true),
            _ => Command::Processing(false),
        };
        let name =
            payload::object(event).get("targetRoom").or_else(|| payload::object(event).get("roomName"));
        let room = payload::text(name.as_ref()).and_then(|name| RoomName::new(name).ok());
        let ask = |room: RoomName| InRoom {
            room,
            caller: caller.clone(),
            command: RoomCommand::Run(command.clone()),
        };
        match room {
            Some(room) => {
                if let Some(supervisor) = self.directory.rooms.of(room.as_str()) {
                    // Full: whoever types now is no news by then.
                    let _ = supervisor.try_send(ask(room));
                }
            }
            None if matches!(message, MsgType::StopTyping | MsgType::StopProcessing) => {
                let rooms = self.directory.rooms.clone();
                let question = crate::lobby::ListRooms(Some(caller.identity.clone()));
                let (caller, lobby) = (caller.clone(), self.directory.lobby.clone());
                let outcome = cx.session().ask(&lobby, question, move |_, _, names| {
                    for room in names.unwrap_or_default() {
                        if let Some(supervisor) = rooms.of(room.as_str()) {
                            let command = RoomCommand::Run(command.clone());
                            let _ = supervisor.try_send(InRoom { room, caller: caller.clone(), command });
                        }
                    }
                    Ok(())
                });
                // Too many questions: the client is busy with more than typing.
                let _ = outcome;
            }
            None => (),
        }
        if event.ack.is_some() {
            self.ack_value(cx, ns, event.ack, &payloads::status_ok([]));
        }
    }
}

const RECEIVED: &str = r#"{"status":"ok","message":"Request received."}"#;

/// `messageId` (or `responseId`), and `updatedFields` (documents: `updatedMessage`).
fn edited(object: &RawJson) -> Option<Command> {
    let [message_id, response_id, updated, updated_message] =
        object.fields(["messageId", "responseId", "updatedFields", "updatedMessage"]);
    let id = payload::text(message_id.as_ref()).or_else(|| payload::text(response_id.as_ref()))?;
    let updated = payload::present(updated).or_else(|| payload::present(updated_message))?;
    let updated = match updated.kind() {
        Kind::Object => updated,
        // The bare text.
        Kind::String => RawJson::from_static("{}").replacing(&[("message", updated.as_str())]),
        _ => return None,
    };
    Some(Command::Edit { id, updated })
}

/// `messageIds`, one or several (documents: `messageId`, `responseId`), each of them once.
fn deleted(object: &RawJson, max: usize) -> Result<Command, RoomRefusal> {
    let [many, one, response] = object.fields(["messageIds", "messageId", "responseId"]);
    let field = [many, one, response].into_iter().find_map(payload::present);
    let mut ids = FastSet::default();
    let mut take = |id: &RawJson| {
        ids.insert(payload::text(Some(id)).ok_or(RoomRefusal::DeleteFieldsMissing)?);
        if ids.len() > max { Err(RoomRefusal::DeleteTooMany) } else { Ok(()) }
    };
    match field {
        Some(id) if id.kind() == Kind::String => take(&id)?,
        Some(list) if list.kind() == Kind::Array => list.elements().try_for_each(|id| take(&id))?,
        _ => (),
    }
    if ids.is_empty() {
        return Err(RoomRefusal::DeleteFieldsMissing);
    }
    Ok(Command::DeleteMessages(ids.into_iter().collect()))
}

/// A flag that is on unless it says otherwise.
fn flag(object: &RawJson, name: &str) -> bool {
    payload::present(object.get(name)).and_then(|flag| flag.as_bool()) != Some(false)
}

//! `/rooms` (spec §4.5, §4.9.2): what an event asks of a room, or of the lobby, and how the answer is
//! written in the dialect of the question.

use framing::{
    ByteString,
    json::{Kind, quoted},
    socket::{Event, Namespace as WireNamespace},
};

use super::{Broker, Cx, Socket, administration::by_name, payload};
use crate::{
    ids::{ClientId, Identity, RoomName},
    lobby::{Assign, GetPolicy, ListAssignments, ListExtensions, ListRooms, Policy, SetPolicy},
    protocol::{MsgType, RequestMode, Role, payload as payloads},
    rooms::{Caller, Command, InRoom, MemberInfo, Reply, RoomCommand, RoomRefusal, Timestamp},
};

impl Socket {
    /// Who asks, with the rights of dialect 1's question or of dialect 2's: there an extension administers
    /// nothing.
    pub(super) fn room_caller(&self, by_name: bool) -> Caller {
        Caller {
            client: self.client.clone(),
            identity: self.identity.clone(),
            privileged: if by_name { self.admin } else { self.may_administer() },
            admin: self.admin,
        }
    }
}

impl Broker {
    /// 13–16, 19, 25, their literals and names.
    pub(super) fn room_command(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        message: MsgType,
        event: &Event,
    ) {
        let named = by_name(event, message);
        let Some(caller) = self.sockets.get(ns).map(|socket| socket.room_caller(named)) else {
            return;
        };
        let member = member_field(event, &["identity", "clientId"]);
        let command = match message {
            MsgType::GetRooms => return self.list_rooms(cx, ns, event, &caller, named),
            MsgType::CreateRoom => Ok(RoomCommand::Create { master: named }),
            MsgType::DeleteRoom => Ok(RoomCommand::Run(Command::Delete)),
            MsgType::AddClientToRoom => added(event, member, named).map(RoomCommand::Run),
            MsgType::RemoveClientFromRoom => match member {
                Some(None) => Err(RoomRefusal::NotRemoved),
                member => Ok(member.flatten().unwrap_or_else(|| caller.identity.clone())),
            }
            .map(|who| RoomCommand::Run(Command::Remove(who))),
            _ => Ok(RoomCommand::Run(Command::Members)),
        };
        // Rights first: whoever lacks them learns nothing of what else is wrong.
        let command = match command {
            Err(_) if !caller.privileged => Err(RoomRefusal::Unauthorized),
            other => other,
        };
        match (command, room_field(event)) {
            (Ok(command), Some(room)) => self.in_room(cx, ns, event, InRoom { room, caller, command }, named),
            (Ok(command), None) => {
                let refusal = without_name(&command, &caller, named);
                self.answer_room(cx, ns, event, Err(refusal), named, is_members(&command));
            }
            (Err(refusal), _) => self.fail(cx, ns, event, &refusal.to_string()),
        }
    }

    /// What only dialect 2 asks of a room: `KICK_MEMBER`, `SET_MEMBER_ROLE`, `SET_ROOM_MESSAGE_REQUEST_MODE`,
    /// `MUTE_MEMBER`, `UNMUTE_MEMBER`.
    pub(super) fn member_command(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        message: MsgType,
        event: &Event,
    ) {
        let Some(caller) = self.sockets.get(ns).map(|socket| socket.room_caller(true)) else {
            return;
        };
        let object = payload::object(event);
        let target =
            member_field(event, &["targetIdentity", "targetClientId", "identity", "clientId"]).flatten();
        let text = |name: &str| payload::text(payload::present(object.get(name)).as_ref());
        let room = room_field(event);
        let command = match message {
            MsgType::KickMember => target.map(Command::Kick).ok_or(RoomRefusal::NotKicked),
            MsgType::SetMemberRole => {
                match text("role").or_else(|| text("newRole")).map(|role| Role::parse(&role)) {
                    Some(Some(role)) => target
                        .map(|identity| Command::SetRole { identity, role })
                        .ok_or(RoomRefusal::RoleNotSet),
                    _ => Err(RoomRefusal::InvalidRole),
                }
            }
            MsgType::SetRoomMessageRequestMode => match (&room, text("mode")) {
                (Some(_), Some(mode)) => {
                    RequestMode::parse(&mode).map(Command::SetMode).ok_or(RoomRefusal::InvalidMode)
                }
                _ => Err(RoomRefusal::ModeFieldsMissing),
            },
            MsgType::MuteMember => {
                let duration = payload::present(object.get("duration")).and_then(|seconds| seconds.as_f64());
                // At most zero, and nothing at all: for ever.
                let seconds = duration.filter(|seconds| *seconds > 0.0).map(|seconds| seconds.ceil() as u64);
                target.map(|identity| Command::Mute { identity, seconds }).ok_or(RoomRefusal::MemberNotFound)
            }
            _ => target.map(Command::Unmute).ok_or(RoomRefusal::MemberNotFound),
        };
        match (command, room) {
            (Ok(command), Some(room)) => {
                self.in_room(
                    cx,
                    ns,
                    event,
                    InRoom { room, caller, command: RoomCommand::Run(command) },
                    true,
                );
            }
            (Ok(command), None) => {
                let refusal = match command {
                    Command::Kick(_) => RoomRefusal::NotKicked,
                    Command::SetRole { .. } => RoomRefusal::RoleNotSet,
                    _ => RoomRefusal::PermissionDenied,
                };
                self.fail(cx, ns, event, &refusal.to_string());
            }
            (Err(refusal), _) => self.fail(cx, ns, event, &refusal.to_string()),
        }
    }

    /// Asks a room, and answers in the dialect of the question.
    pub(super) fn in_room(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        event: &Event,
        ask: InRoom,
        named: bool,
    ) {
        let Some(supervisor) = self.directory.rooms.of(ask.room.as_str()).cloned() else {
            return;
        };
        let members = is_members(&ask.command);
        self.ask_for(cx, ns, event, &supervisor, ask, move |outcome| answer(outcome, named, members));
    }

    fn answer_room(
        &self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        event: &Event,
        outcome: Result<Reply, RoomRefusal>,
        named: bool,
        members: bool,
    ) {
        match answer(outcome, named, members) {
            Ok(json) => self.ack(cx, ns, event.ack, &json),
            Err(message) => self.fail(cx, ns, event, &message),
        }
    }

    /// 19 / `GET_ROOMS`: of dialect 1 all of them, for those who administer; of dialect 2 one's own, and
    /// all of them for administrators.
    fn list_rooms(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        event: &Event,
        caller: &Caller,
        named: bool,
    ) {
        if !named && !caller.privileged {
            return self.fail(cx, ns, event, &RoomRefusal::Unauthorized.to_string());
        }
        let whose = (named && !caller.admin).then(|| caller.identity.clone());
        // A literal is dialect 1's question; who is known to speak dialect 2 is answered in it all the same.
        let named = named || self.sockets.get(ns).is_some_and(|socket| socket.dialect.is_named());
        let lobby = self.directory.lobby.clone();
        self.ask_for(cx, ns, event, &lobby, ListRooms(whose), move |rooms| {
            let list = array(rooms.iter().map(|room| quoted(room.as_str())));
            Ok(if named { format!("{{\"status\":\"ok\",\"rooms\":{list}}}") } else { list })
        });
    }

    /// What dialect 2 asks of the lobby: policies, assignments, lists.
    pub(super) fn lobby_command(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        message: MsgType,
        event: &Event,
    ) {
        let Some(caller) = self.sockets.get(ns).map(|socket| socket.room_caller(true)) else {
            return;
        };
        let lobby = self.directory.lobby.clone();
        let object = payload::object(event);
        let unauthorized = RoomRefusal::Unauthorized.to_string();
        match message {
            MsgType::GetConnectionPolicy => self.ask_for(cx, ns, event, &lobby, GetPolicy, |policy| {
                Ok(payloads::status_ok([("policy", policy.into())]).to_string())
            }),
            MsgType::GetAssignments => {
                let whose = (!caller.admin).then_some(caller.identity);
                self.ask_for(cx, ns, event, &lobby, ListAssignments(whose), |assignments| {
                    let of = |(room, ids): &(RoomName, Vec<ClientId>)| {
                        format!("{}:{}", quoted(room.as_str()), ids_json(ids))
                    };
                    let all = assignments.iter().map(of).collect::<Vec<_>>().join(",");
                    Ok(format!("{{\"status\":\"ok\",\"assignments\":{{{all}}}}}"))
                });
            }
            MsgType::GetAssignmentsForRoom => {
                let room =
                    room_field(event).map_or_else(|| caller.identity.to_string(), |room| room.to_string());
                let whose = (!caller.admin).then_some(caller.identity);
                self.ask_for(cx, ns, event, &lobby, ListAssignments(whose), move |assignments| {
                    let found = assignments.iter().find(|(name, _)| name.as_str() == room);
                    let ids = found.map(|(_, ids)| ids_json(ids)).ok_or(unauthorized)?;
                    Ok(format!("{{\"status\":\"ok\",\"assignments\":{ids}}}"))
                });
            }
            MsgType::GetConnectedExtensions => {
                self.ask_for(cx, ns, event, &lobby, ListExtensions, |ids| {
                    Ok(format!("{{\"status\":\"ok\",\"extensions\":{}}}", ids_json(&ids)))
                });
            }
            _ if !caller.admin => self.fail(cx, ns, event, &unauthorized),
            MsgType::GetConnectedClientRooms => {
                self.ask_for(cx, ns, event, &lobby, ListAssignments(None), |assignments| {
                    let rooms = array(assignments.iter().map(|(room, _)| quoted(room.as_str())));
                    Ok(format!("{{\"status\":\"ok\",\"rooms\":{rooms}}}"))
                });
            }
            MsgType::SetConnectionPolicy => {
                const FAILED: &str = "Failed to set connection policy";
                let policy =
                    payload::text(object.get("policy").as_ref()).and_then(|text| Policy::parse(&text));
                let Some(policy) = policy else {
                    return self.fail(cx, ns, event, FAILED);
                };
                self.ask_for(cx, ns, event, &lobby, SetPolicy(policy), |kept| {
                    if kept { Ok(payloads::status_ok([]).to_string()) } else { Err(FAILED.to_owned()) }
                });
            }
            MsgType::SetMessageRequestMode => self.default_mode(cx, ns, event),
            _ => self.assign(cx, ns, event),
        }
    }

    /// `ASSIGN_EXTENSION_TO_CLIENT`
    fn assign(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        let [room, extensions] = payload::object(event).fields(["clientRoom", "extensions"]);
        let room = payload::text(room.as_ref()).and_then(|name| RoomName::new(name).ok());
        let Some(room) = room else {
            return self.fail(cx, ns, event, "Client room not found");
        };
        let mut ids = Vec::new();
        for element in extensions.iter().flat_map(|list| list.elements()) {
            let text = payload::text(Some(&element)).unwrap_or_default();
            match ClientId::new(text.clone()) {
                Ok(id) => ids.push(id),
                Err(_) => return self.fail(cx, ns, event, &format!("Extension not found: {text}")),
            }
        }
        let lobby = self.directory.lobby.clone();
        self.ask_for(cx, ns, event, &lobby, Assign { room, extensions: ids }, |outcome| {
            outcome.map(|()| payloads::status_ok([]).to_string())
        });
    }

    /// `SET_MESSAGE_REQUEST_MODE`: the mode of rooms that are made from now on, a server setting.
    fn default_mode(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        let mode = payload::text(payload::object(event).get("mode").as_ref());
        let Some(mode) = mode.and_then(|mode| RequestMode::parse_with_old_names(&mode)) else {
            return self.fail(cx, ns, event, &RoomRefusal::InvalidMode.to_string());
        };
        let Some(caller) = self.sockets.get(ns).map(|socket| socket.caller(self.peer)) else {
            return;
        };
        let mode = mode.wire();
        let trust = self.directory.trust.clone();
        self.ask_for(cx, ns, event, &trust, crate::trust::SetDefaultMode { caller, mode }, |outcome| {
            outcome.map(|()| payloads::status_ok([]).to_string()).map_err(|error| error.to_string())
        });
    }
}

/// `ADD_CLIENT_TO_ROOM`. By number it has no role: an extension may add, and administers nothing (spec §4.5, §4.9.2).
fn added(event: &Event, member: Option<Option<Identity>>, named: bool) -> Result<Command, RoomRefusal> {
    let role = if named { payload::object(event).get("role") } else { None };
    let role = payload::text(payload::present(role).as_ref());
    let role = role.map(|role| Role::parse(&role).ok_or(RoomRefusal::NotAdded)).transpose()?;
    let identity = member.flatten().ok_or(RoomRefusal::NotAdded)?;
    Ok(Command::Add { identity, role })
}

fn is_members(command: &RoomCommand) -> bool {
    matches!(command, RoomCommand::Run(Command::Members))
}

/// What it means that no room can have that name.
fn without_name(command: &RoomCommand, caller: &Caller, named: bool) -> RoomRefusal {
    match command {
        RoomCommand::Run(Command::Members) if !caller.privileged => RoomRefusal::Unauthorized,
        // Dialect 1 shows it as an empty one.
        RoomCommand::Run(Command::Members) if !named => RoomRefusal::NotFound,
        RoomCommand::Run(Command::Delete) => RoomRefusal::NotFound,
        RoomCommand::Run(Command::Remove(who)) if caller.privileged || *who == caller.identity => {
            RoomRefusal::NotRemoved
        }
        _ if !caller.privileged => RoomRefusal::Unauthorized,
        RoomCommand::Run(Command::Add { .. }) => RoomRefusal::NotAdded,
        RoomCommand::Create { .. } | RoomCommand::Run(_) => RoomRefusal::InvalidName,
    }
}

/// The JSON of an ack, or the text of a refusal.
fn answer(outcome: Result<Reply, RoomRefusal>, named: bool, members: bool) -> Result<String, String> {
    match outcome {
        Ok(Reply::Members(list)) if named => {
            Ok(format!("{{\"status\":\"ok\",\"clients\":{}}}", array(list.iter().map(named_member))))
        }
        // Dialect 1 acks the bare array (spec §1.3).
        Ok(Reply::Members(list)) => Ok(array(list.iter().map(numeric_member))),
        Ok(Reply::Muted(until)) => {
            let until = until.unwrap_or(Timestamp::NEVER).to_string();
            Ok(payloads::status_ok([("mutedUntil", until.into())]).to_string())
        }
        Ok(_) => Ok(payloads::status_ok([]).to_string()),
        Err(RoomRefusal::NotFound) if members && !named => Ok("[]".to_owned()),
        // Dialect 1 has one word for what cannot be left.
        Err(RoomRefusal::InvalidOperation) if !named => Err(RoomRefusal::NotRemoved.to_string()),
        Err(refusal) => Err(refusal.to_string()),
    }
}

fn named_member(member: &MemberInfo) -> String {
    let kind = member.client_type.clone().unwrap_or(ByteString::from_static("unknown"));
    let (id, kind) = (quoted(member.identity.as_str()), quoted(&kind));
    format!("{{\"clientId\":{id},\"clientType\":{kind},\"role\":{}}}", quoted(member.role.wire()))
}

fn numeric_member(member: &MemberInfo) -> String {
    let id = quoted(member.identity.as_str());
    match &member.desc {
        Some(desc) => format!("{{\"id\":{id},\"description\":{}}}", quoted(desc)),
        None => format!("{{\"id\":{id}}}"),
    }
}

fn ids_json(ids: &[ClientId]) -> String {
    array(ids.iter().map(|id| quoted(id.as_str())))
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// The first of those fields that is there, as a member: outer `None` if there is none, inner if it can
/// be nobody's.
fn member_field(event: &Event, names: &[&str]) -> Option<Option<Identity>> {
    let object = payload::object(event);
    let field = names.iter().find_map(|name| payload::present(object.get(name)))?;
    Some(payload::text(Some(&field)).and_then(|id| Identity::new(id).ok()))
}

/// A bare string, or `{roomName}`.
pub(super) fn room_field(event: &Event) -> Option<RoomName> {
    let first = event.args.first()?;
    let name = match first.kind() {
        Kind::String => payload::text(Some(first)),
        _ => payload::text(payload::object(event).get("roomName").as_ref()),
    };
    RoomName::new(name?).ok()
}

//! What each namespace does with each event (spec §3, §4): the broker's side of a session.
//!
//! ```text
//!   CONNECT ──► handshake ──► trust (may it?) ──► registry (is there room?) ──► joined
//!   event ──► goodbye, LOGIN, …                      admin.rs, function_call.rs
//!        ├──► LLM_REQUEST ──► router                 llm_request.rs
//!        ├──► EDIT_MESSAGE, GET_FULL_CONTEXT, … ──► rooms   chat.rs, context.rs
//!        ├──► READ_LOG, SERVER_STATUS, …            debug.rs
//!        ├──► CLIENT_STREAM_*, message, ERROR        answers.rs   (the target's side)
//!        └──► $stream-read, $stream-end, …           deliveries.rs (the requester's side)
//! ```

mod administration;
mod answers;
mod chat;
mod context;
mod debug;
mod deliveries;
mod function_call;
mod handshake;
mod identification;
mod llm_request;
mod payload;
mod reply;
mod rooms;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, LazyLock, OnceLock, atomic::AtomicU64},
    time::{Duration, Instant},
};

use actix::prelude::*;
use arc_swap::ArcSwap;
use framing::{
    ByteString,
    engine::Sid,
    json::RawJson,
    socket::{Event, EventName, Namespace as WireNamespace},
};
use log::debug;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use answers::Answers;
use deliveries::Deliveries;

use crate::{
    ids::{ClientId, Identity},
    llm_router::{LlmRouter, LlmSocketClosed, Requester},
    lobby::Lobby,
    logs::Logs,
    maps::FewMap,
    protocol::{Emit, MsgType, Namespace, msg_type},
    registry::{
        Admission, Called, LiveExtensions, Registry, SharedDialect, SocketClosed, SocketKey, SocketLink,
    },
    rooms::Rooms,
    session::{
        SessionActor,
        socketio::{AckArgs, NamespaceHandler, SocketIo, Sockets},
    },
    stream::{InboundLimits, OutboundLimits, outbound::WireId},
    target::FanOutLimits,
    trust::{Caller, ClientClass, Desk, NetworkSafeScope, Peer, ServerSettings, Trust, TrustSnapshot},
};

/// A session of the broker.
pub type BrokerSession = SessionActor<SocketIo<Broker>>;

/// The addresses and settings that every session of the broker shares.
pub struct Directory {
    /// Presence.
    pub registry: Addr<Registry>,
    /// Requests.
    pub router: Addr<LlmRouter>,
    /// Who may connect.
    pub trust: Addr<Trust>,
    /// The same where neither a hash nor a file decides.
    pub desk: Arc<Desk>,
    /// Rooms.
    pub rooms: Rooms,
    /// What concerns all rooms.
    pub lobby: Addr<Lobby>,
    /// The log files.
    pub logs: Addr<Logs>,
    /// Which extensions are there, as it is now.
    pub extensions: LiveExtensions,
    /// `server_settings.json`, as it is now.
    pub settings: Arc<ArcSwap<ServerSettings>>,
    /// Every client that has a settings file, as it is now.
    pub clients: Arc<ArcSwap<TrustSnapshot>>,
    /// Bounds and policies.
    pub limits: BrokerLimits,
    /// The zero of the routes' clock.
    pub epoch: Instant,
    /// Calls of extensions' functions so far, for the ids of their acks.
    pub calls: AtomicU64,
    /// What the process is, and since when.
    pub server: ServerInfo,
}

/// What `SERVER_STATUS` says of the process.
#[derive(Debug)]
pub struct ServerInfo {
    /// The program's version.
    pub version: &'static str,
    /// `YYYY-MM-DD HH:mm:ss`, on the clock of the log.
    pub start_time: String,
    /// The same as an instant.
    pub since: Instant,
    /// The port that it listens on, once it does.
    pub port: OnceLock<u16>,
}

impl ServerInfo {
    /// A process that starts now.
    pub fn new(version: &'static str, start_time: String) -> Self {
        Self { version, start_time, since: Instant::now(), port: OnceLock::new() }
    }
}

/// Who may ask whom (spec §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LlmPolicy {
    /// Any authenticated sender, any connected extension.
    #[default]
    Open,
    /// The sender must be a member of the room named after the extension.
    Rooms,
}

/// Bounds and policies of what a session does for its peer.
#[derive(Clone, Debug)]
pub struct BrokerLimits {
    /// Targets of one request.
    pub max_targets: usize,
    /// Time that an extension's function may take (spec §6.1).
    pub function_timeout: Duration,
    /// Who may ask whom.
    pub llm_policy: LlmPolicy,
    /// For whom `networkSafe` holds (spec §2.5).
    pub network_safe_scope: NetworkSafeScope,
    /// Time that a limited session may take to log in (spec §2.6).
    pub limited_session: Duration,
    /// Life of a session with an invalid key under `invalidKeyPolicy: "tempRoom"` (spec §3.4).
    pub temp_room: Duration,
    /// An extension's streams.
    pub inbound: InboundLimits,
    /// A requester's streams.
    pub outbound: OutboundLimits,
    /// What waits for requesters.
    pub fan_out: FanOutLimits,
    /// Events that wait until it is known which request they answer; what follows stays in the transport.
    pub max_unattributed: usize,
    /// The bytes that they may keep.
    pub max_unattributed_bytes: usize,
    /// Outputs whose request a session remembers.
    pub max_outputs: usize,
    /// Messages that one command may name: as many as a room can have.
    pub max_named_messages: usize,
}

/// The broker's namespace handler: one per session.
pub struct Broker {
    directory: Arc<Directory>,
    peer: Peer,
    /// At most one per namespace of the broker.
    sockets: FewMap<WireNamespace, Socket>,
    /// The `/llm` socket as a requester.
    deliveries: Option<Box<Deliveries>>,
    /// The `/llm` socket as a target, if it is an extension's.
    answers: Option<Box<Answers>>,
    /// Histories of rooms that its sockets are owed.
    owed: context::Owed,
}

/// One namespace socket of this session.
#[derive(Clone, Debug)]
struct Socket {
    ns: Namespace,
    key: SocketKey,
    sid: Sid,
    client: ClientId,
    identity: Identity,
    class: ClientClass,
    admin: bool,
    dialect: SharedDialect,
    standing: Standing,
    admission: Admission,
    labels: handshake::Labels,
}

/// What a socket may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its admission is being looked up.
    Joining,
    /// It has logged in, and is being registered.
    Upgrading,
    /// Everything that its rights allow.
    Full,
    /// `LOGIN` and goodbye only, until then (spec §2.6, §3.4).
    Limited { until: Instant },
}

/// What an ack is waited for.
pub enum Awaited {
    /// The receiver has taken a write of text.
    StreamWrite(WireId),
    /// An extension's function has answered. Emitted under two names, the first ack wins.
    Function(Arc<Mutex<Option<oneshot::Sender<Called>>>>),
}

type Cx<'a, 'c> = Sockets<'a, 'c, Broker>;

impl Socket {
    fn is_extension(&self) -> bool {
        self.class == ClientClass::Extension
    }

    fn caller(&self, peer: Peer) -> Caller {
        Caller { client_id: self.client.clone(), class: self.class, admin: self.admin, peer }
    }

    fn requester(&self) -> Requester {
        Requester { client: self.client.clone(), identity: self.identity.clone() }
    }

    fn emit(&self) -> Emit {
        self.dialect.emit()
    }

    /// How others reach it, whose session is at that address.
    fn link(&self, session: Addr<BrokerSession>) -> SocketLink {
        let extension = self.is_extension();
        match self.ns {
            Namespace::Llm => SocketLink::Llm {
                deliver: session.clone().recipient(),
                target: extension.then(|| session.clone().recipient()),
                prove: session.recipient(),
            },
            Namespace::FunctionCall if extension => SocketLink::Functions(session.recipient()),
            _ => SocketLink::Outbox,
        }
    }
}

impl Broker {
    /// The handler of a session that comes from `peer`.
    pub fn new(directory: Arc<Directory>, peer: Peer) -> Self {
        Self {
            directory,
            peer,
            sockets: FewMap::default(),
            deliveries: None,
            answers: None,
            owed: context::Owed::default(),
        }
    }

    fn llm_socket(&self) -> Option<(&WireNamespace, &Socket)> {
        self.sockets.iter().find(|(_, socket)| socket.ns == Namespace::Llm)
    }

    /// Ends one socket of ours: a goodbye, or a deadline.
    fn end(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace) {
        self.gone(cx, ns);
        cx.disconnect(ns);
    }

    /// A socket is no more, whoever ended it.
    fn gone(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace) {
        let Some(socket) = self.sockets.remove(ns) else {
            return;
        };
        // It may come back before the registry has looked at it: only one of the two is answered then.
        socket.admission.withdraw();
        if socket.ns == Namespace::Llm {
            // While the router still knows those who asked and those who answer.
            let rooms = self.answers_end(cx);
            // Before what comes back from it, which would be sent to it again otherwise.
            #[expect(clippy::disallowed_methods, reason = "once per socket lifetime")]
            self.directory.router.do_send(LlmSocketClosed { socket: socket.key, rooms });
            self.deliveries_end(&socket);
        }
        self.closed_in_registry(socket.key);
    }

    /// Whatever the registry knows of a socket by now, or will when a question under way reaches it: this
    /// stands behind it.
    fn closed_in_registry(&self, key: SocketKey) {
        #[expect(clippy::disallowed_methods, reason = "once per socket lifetime")]
        self.directory.registry.do_send(SocketClosed(key));
    }

    fn limited_until(&self) -> Option<Instant> {
        let limited = self.sockets.values().filter_map(|socket| match socket.standing {
            Standing::Limited { until } => Some(until),
            Standing::Joining | Standing::Upgrading | Standing::Full => None,
        });
        limited.min()
    }
}

/// The names of all namespaces, once for all sessions.
static SERVED: LazyLock<Vec<WireNamespace>> = LazyLock::new(|| {
    let name = |namespace: &Namespace| WireNamespace::from_static(namespace.wire());
    Namespace::ALL.iter().map(name).collect()
});

impl NamespaceHandler for Broker {
    type Awaited = Awaited;

    fn served() -> &'static [WireNamespace] {
        &SERVED
    }

    fn connect(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, auth: Option<RawJson>) {
        self.handshake(cx, ns, auth);
    }

    fn event(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: Event) {
        let Some(socket) = self.sockets.get(ns) else {
            return;
        };
        // The way of every chunk and every permit: before anything else is looked up.
        if let EventName::Text(name) = &event.name
            && socket.ns == Namespace::Llm
            && socket.standing == Standing::Full
            && (name.starts_with('$') || name.starts_with("CLIENT_STREAM_") || &**name == "message")
        {
            return self.llm_event(cx, ns, &name.clone(), event);
        }
        let name = match &event.name {
            EventName::Number(text) => msg_type::EventName::Number(text),
            EventName::Text(text) => msg_type::EventName::Name(text),
        };
        let Some((message, betrayed)) = MsgType::from_wire(name) else {
            debug!(client:% = socket.client, ns:%, event:% = event.name; "unknown event");
            return self.unknown_event(cx, ns, &event);
        };
        // What `/debug` alone serves has a name and no number, so that it says nothing of the dialect
        // (spec §4.8).
        if let Some(dialect) = betrayed.filter(|_| !debug::is_served(message)) {
            socket.dialect.spoke(dialect);
        }
        let limited = socket.standing != Standing::Full;
        match message {
            MsgType::ClientDisconnected => self.end(cx, ns),
            MsgType::Login if socket.ns == Namespace::Auth => self.login(cx, ns, &event),
            MsgType::FunctionCall if limited && socket.ns == Namespace::FunctionCall => {
                self.deny_call(cx, ns, &event);
            }
            _ if limited => self.fail(cx, ns, &event, "Unauthorized"),
            _ => self.dispatch(cx, ns, message, event),
        }
    }

    fn acked(&mut self, cx: &mut Cx<'_, '_>, awaited: Awaited, answer: Option<AckArgs>) {
        match awaited {
            Awaited::StreamWrite(wire) => self.write_acked(cx, wire, answer),
            Awaited::Function(waiting) => {
                // Without an answer the sender is dropped with its last holder, which says so.
                if let Some((answer, waiting)) =
                    answer.and_then(|answer| Some((answer, waiting.lock().take()?)))
                {
                    // The caller may have gone; nobody else wants the answer.
                    let _ = waiting.send(Called::Answered(answer));
                }
            }
        }
    }

    fn disconnected(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace) {
        self.gone(cx, ns);
    }

    fn moved(&mut self, cx: &mut Cx<'_, '_>, past: &Addr<BrokerSession>) {
        self.readdress(cx, past);
    }

    fn holds_back(&self) -> bool {
        self.answers.as_ref().is_some_and(|answers| answers.holds_back())
    }

    fn deadline(&self) -> Option<Instant> {
        let streams = self.deliveries.as_ref().and_then(|deliveries| deliveries.deadline());
        let answers = self.answers.as_ref().and_then(|answers| answers.deadline());
        [streams, answers, self.limited_until()].into_iter().flatten().min()
    }

    fn poll(&mut self, cx: &mut Cx<'_, '_>) {
        let now = cx.now();
        self.poll_deliveries(cx);
        self.poll_answers(cx);
        let over = |socket: &Socket| matches!(socket.standing, Standing::Limited { until } if until <= now);
        let expired: Vec<_> =
            self.sockets.iter().filter(|(_, socket)| over(socket)).map(|(ns, _)| ns.clone()).collect();
        cx.session().metrics().limit_reached_times("trust.limited_session", expired.len() as u64);
        for ns in expired {
            self.end(cx, &ns);
        }
    }

    fn closed(&mut self, _: &mut Cx<'_, '_>) {
        self.sockets.clear();
    }
}

impl Broker {
    fn dispatch(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, message: MsgType, event: Event) {
        use Namespace::{Auth, Clients, Debug, FunctionCall, Llm, Rooms, SillyTavern};
        let Some(place) = self.sockets.get(ns).map(|socket| socket.ns) else {
            return;
        };
        match (place, message) {
            (Llm, MsgType::LlmRequest) => self.llm_request(cx, ns, event),
            (Llm, MsgType::EditMessage | MsgType::DeleteMessage | MsgType::ClearMessages) => {
                self.message_command(cx, ns, message, &event);
            }
            (Llm, MsgType::GetFullContext | MsgType::GetOfflineMessages) => self.context(cx, ns, &event),
            (
                Llm,
                MsgType::StartTyping
                | MsgType::StopTyping
                | MsgType::StartProcessing
                | MsgType::StopProcessing,
            ) => self.activity(cx, ns, message, &event),
            (Llm, MsgType::Error) => self.extension_error(cx, &event),
            (FunctionCall, MsgType::FunctionCall) => self.function_call(cx, ns, event),
            (SillyTavern | Auth, MsgType::IdentifySillyTavern) => self.identify(cx, ns, &event),
            (SillyTavern, MsgType::ClientSettings) => self.client_settings(cx, ns, &event),
            (Auth, MsgType::GetSillyTavernExtension) => self.list_extensions(cx, ns, &event),
            (Auth | Clients, MsgType::GetClientKey) => self.get_key(cx, ns, &event),
            (Clients, MsgType::GetAllClientKeys) => self.all_keys(cx, ns, &event),
            (Clients, MsgType::GenerateClientKey) => self.generate_key(cx, ns, &event),
            (Clients, MsgType::RemoveClientKey) => self.remove_key(cx, ns, &event),
            (Clients, MsgType::UpdateConnectedClients) => self.connected_clients(cx, ns, &event),
            (Clients, MsgType::GetClientList) => self.client_list(cx, ns, &event),
            (Debug, MsgType::ToggleDebugMode) => self.toggle_debug_mode(cx, ns, &event),
            (Debug, MsgType::ServerStatus) => self.server_status(cx, ns, &event),
            (Debug, MsgType::ReadLog) => self.read_log(cx, ns, &event),
            (
                Rooms | Clients | Auth,
                MsgType::CreateRoom
                | MsgType::DeleteRoom
                | MsgType::AddClientToRoom
                | MsgType::RemoveClientFromRoom
                | MsgType::GetRooms
                | MsgType::GetClientsInRoom,
            ) => self.room_command(cx, ns, message, &event),
            (
                Rooms,
                MsgType::KickMember
                | MsgType::SetMemberRole
                | MsgType::SetRoomMessageRequestMode
                | MsgType::MuteMember
                | MsgType::UnmuteMember,
            ) => self.member_command(cx, ns, message, &event),
            (
                Rooms,
                MsgType::SetConnectionPolicy
                | MsgType::GetConnectionPolicy
                | MsgType::AssignExtensionToClient
                | MsgType::GetAssignments
                | MsgType::GetAssignmentsForRoom
                | MsgType::GetConnectedExtensions
                | MsgType::GetConnectedClientRooms
                | MsgType::SetMessageRequestMode,
            ) => self.lobby_command(cx, ns, message, &event),
            // Every namespace may receive an ERROR (spec §4); it needs no answer.
            (_, MsgType::Error) => (),
            _ => self.unknown_event(cx, ns, &event),
        }
    }

    fn llm_event(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, name: &ByteString, event: Event) {
        match &**name {
            "$stream-read" | "$stream-end" | "$stream-error" | "$stream-write" | "$stream" => {
                self.stream_event(cx, ns, name, &event);
            }
            "message" => self.message(cx, ns, &event),
            _ => self.extension_stream(cx, name, &event),
        }
    }
}

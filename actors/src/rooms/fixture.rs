//! Rooms without a broker around them, for tests.

use std::sync::Arc;

use actix::prelude::*;
use arc_swap::ArcSwap;

use super::{
    Caller, InRoom, Line, Members, Present, Reply, RoomCommand, RoomHead, RoomLimits, RoomRefusal, RoomState,
    Rooms, RoomsConfig, Shared, Timestamp,
};
use crate::{
    history::{History, HistoryConfig, HistoryLink, Retention},
    ids::{ClientId, Identity, MONITOR, RoomName},
    llm_router::LlmRouter,
    lobby::{Lobby, Supervisors},
    metrics::Metrics,
    protocol::RequestMode,
    seat::Place,
    trust::{ServerSettings, TrustSnapshot},
};

/// Rooms and their lobby, with such bounds.
pub(crate) fn idle(
    router: Addr<LlmRouter>,
    settings: Arc<ArcSwap<ServerSettings>>,
    known: Arc<ArcSwap<TrustSnapshot>>,
    bound: usize,
    metrics: &Arc<Metrics>,
) -> (Rooms, Addr<Lobby>, HistoryLink) {
    kept_by(HistoryConfig::default(), router, settings, known, bound, metrics)
}

/// The same, with such a history.
pub(super) fn kept_by(
    history: HistoryConfig,
    router: Addr<LlmRouter>,
    settings: Arc<ArcSwap<ServerSettings>>,
    known: Arc<ArcSwap<TrustSnapshot>>,
    bound: usize,
    metrics: &Arc<Metrics>,
) -> (Rooms, Addr<Lobby>, HistoryLink) {
    let history = History::start(history, metrics.clone(), &Arbiter::current()).unwrap();
    let lobby = Lobby::new(history.clone()).start();
    let config = RoomsConfig {
        supervisors: 2,
        rooms: bound,
        max_mutes: bound,
        think_per_hour: bound,
        max_answer_bytes: 1 << 20,
        max_answer_outputs: 8,
        mailbox: 1000,
        room: RoomLimits { log: Retention { messages: 100, bytes: 1 << 20 }, ..room_limits(bound) },
    };
    let shared =
        Shared::new(history.clone(), router, lobby.clone(), settings, known, config, metrics.clone());
    let here = Arbiter::current();
    let rooms = Rooms::start(&[Place::Arbiter(&here); 2], shared);
    lobby.try_send(Supervisors(rooms.clone())).unwrap();
    (rooms, lobby, history)
}

pub(crate) fn caller(client: &str, by_name: bool) -> Caller {
    let client = ClientId::new(client).unwrap();
    let admin = client.as_str() == MONITOR;
    Caller {
        identity: Identity::from(client.clone()),
        privileged: admin || (!by_name && client.is_extension()),
        admin,
        client,
    }
}

/// Somebody is there, with such sockets.
pub(crate) async fn present(rooms: &Rooms, client: &str, lines: Vec<Line>) {
    let present = Present {
        identity: Identity::new(client).unwrap(),
        client: ClientId::new(client).unwrap(),
        client_type: "test".into(),
        desc: None,
        sockets: lines.len().max(1),
        lines: lines.into(),
    };
    for supervisor in rooms.all() {
        supervisor.send(present.clone()).await.unwrap();
    }
}

pub(crate) async fn ask(
    rooms: &Rooms,
    caller: Caller,
    room: &str,
    command: RoomCommand,
) -> Result<Reply, RoomRefusal> {
    let ask = InRoom { room: RoomName::new(room).unwrap(), caller, command };
    rooms.of(room).unwrap().send(ask).await.unwrap()
}

/// A room of nobody's, with nobody in it.
pub(super) fn empty_room(limits: RoomLimits) -> RoomState {
    let head = RoomHead {
        name: RoomName::new("tea").unwrap(),
        owner: None,
        creator: None,
        mode: RequestMode::Immediate,
        created_at: Timestamp(0),
    };
    RoomState::new(head, Members::default(), Vec::new(), limits)
}

pub(super) fn room_limits(bound: usize) -> RoomLimits {
    RoomLimits {
        members: bound,
        queued: bound,
        open_requests: bound,
        context: 1 << 20,
        log: Retention { messages: bound, bytes: 1 << 20 },
    }
}

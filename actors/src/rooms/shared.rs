//! What every room of one broker shares, and what bounds them.

use std::sync::{Arc, atomic::AtomicUsize};

use actix::Addr;
use arc_swap::ArcSwap;

use super::{Mutes, RoomLimits};
use crate::{
    history::HistoryLink,
    llm_router::LlmRouter,
    lobby::Lobby,
    metrics::Metrics,
    trust::{ServerSettings, TrustSnapshot},
};

/// What every room of one broker shares.
pub struct Shared {
    pub(super) history: HistoryLink,
    pub(super) router: Addr<LlmRouter>,
    pub(super) lobby: Addr<Lobby>,
    pub(super) mutes: Arc<Mutes>,
    pub(super) settings: Arc<ArcSwap<ServerSettings>>,
    /// Every client that has a settings file: nobody else may make a room of that name.
    pub(super) known: Arc<ArcSwap<TrustSnapshot>>,
    pub(super) limits: RoomsConfig,
    pub(super) metrics: Arc<Metrics>,
    /// Rooms that users made, of all supervisors.
    pub(super) made: AtomicUsize,
}

impl Shared {
    /// For [`Rooms::start`](super::Rooms::start).
    pub fn new(
        history: HistoryLink,
        router: Addr<LlmRouter>,
        lobby: Addr<Lobby>,
        settings: Arc<ArcSwap<ServerSettings>>,
        known: Arc<ArcSwap<TrustSnapshot>>,
        limits: RoomsConfig,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mutes = Arc::new(Mutes::new(limits.max_mutes));
        Self { history, router, lobby, mutes, settings, known, limits, metrics, made: AtomicUsize::new(0) }
    }
}

/// Bounds of all rooms, and of each (`[rooms]`, `[limits]`, `[history]`).
#[derive(Clone, Copy, Debug)]
pub struct RoomsConfig {
    /// `rooms.supervisors`
    pub supervisors: usize,
    /// `limits.rooms`: rooms that users make.
    pub rooms: usize,
    /// `rooms.max_mutes`
    pub max_mutes: usize,
    /// `rooms.think_per_hour`
    pub think_per_hour: usize,
    /// `streams.max_output_bytes`: text of answers that a room puts together.
    pub max_answer_bytes: usize,
    /// `limits.max_outputs`: outputs of one answer that a room puts together.
    pub max_answer_outputs: usize,
    /// Messages that wait for one room, or one supervisor.
    pub mailbox: usize,
    /// Of each room.
    pub room: RoomLimits,
}

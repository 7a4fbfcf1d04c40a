//! Starts the actors that every session shares, on an arbiter of their own: a busy session must not
//! slow them, nor they a session (facts §3.1). The history has another one, because it waits for the
//! disk.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use arc_swap::ArcSwap;

use crate::{
    demo::{DEMO_ID, Demo},
    functions::{StaticMap, StaticResources},
    history::{History, HistoryConfig, HistoryError, HistoryLink},
    ids::ClientId,
    llm_router::{BuiltInTarget, LlmRouter, RouterLimits},
    lobby::{ExtensionsChanged, Lobby, Supervisors},
    logs::Logs,
    metrics::Metrics,
    namespaces::{BrokerLimits, Directory, ServerInfo},
    registry::{
        DebugModeChanged, DisconnectClient, Extensions, Registry, RegistryLimits, ReviewGrants, SocketKey,
    },
    rooms::{Rooms, RoomsConfig, Shared},
    seat::{Place, Seats},
    trust::{Desk, Trust, TrustConfig, TrustError, TrustStore},
};

/// Everything that the shared actors need to know.
pub struct Launch {
    /// Trust and files.
    pub trust: TrustConfig,
    /// Open requests.
    pub router: RouterLimits,
    /// What survives.
    pub history: HistoryConfig,
    /// Presence.
    pub registry: RegistryLimits,
    /// Sessions.
    pub broker: BrokerLimits,
    /// Rooms.
    pub rooms: RoomsConfig,
    /// One thread serves all sessions (`server.workers`): the registry, the router and the lobby share it.
    pub one_thread: bool,
    /// So do the rooms, unless somebody has asked for threads of their own (`rooms.supervisors`).
    pub rooms_share_it: bool,
    /// Log files that are read at once.
    pub max_log_reads: usize,
    /// Makes the log as talkative as `debugMode` says: called at the start and at each change.
    pub debug_mode: fn(bool),
    /// What the process is.
    pub server: ServerInfo,
    /// Messages that may wait for each shared actor, next to one per holder of its address.
    pub control_mailbox: usize,
    /// Set: the demo extension runs, one token per this time.
    pub demo: Option<Duration>,
}

/// The shared actors, running, but for those that sit with sessions.
pub struct Launched {
    /// Their addresses, for every session.
    pub directory: Arc<Directory>,
    /// Static mappings that clients have added, for the edge.
    pub statics: Arc<ArcSwap<StaticMap>>,
    /// Those that are to be started by the thread that serves sessions, if there is only one.
    pub seats: Seats,
    /// To stop them.
    pub shared_actors: SharedActors,
}

/// The threads of the shared actors.
pub struct SharedActors {
    history: HistoryLink,
    arbiter: ArbiterHandle,
    room_arbiters: Vec<ArbiterHandle>,
    history_arbiter: ArbiterHandle,
}

impl SharedActors {
    /// Stops the shared actors, the history last. Sessions must have ended before.
    pub async fn stop(&self) {
        self.arbiter.stop();
        for arbiter in &self.room_arbiters {
            arbiter.stop();
        }
        self.history.close().await;
        self.history_arbiter.stop();
    }
}

/// Why the shared actors did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The settings or key files.
    #[error("settings: {0}")]
    Trust(#[from] TrustError),
    /// The history's file.
    #[error("history: {0}")]
    History(#[from] HistoryError),
}

/// Ids that no client may have: what they name is the broker's own.
pub fn reserved_ids(demo: bool, history: &HistoryConfig) -> Vec<ClientId> {
    let demo = demo.then(|| DEMO_ID.to_owned());
    // A client's folder in data/ has its id for a name.
    let names = demo.into_iter().chain(history.file_names());
    names.filter_map(|name| ClientId::new(name).ok()).collect()
}

thread_local! {
    static CONTROL: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs the shared actors. A panic there takes their state with it: the process
/// must end rather than limp on (facts §3.4).
pub fn is_control_thread() -> bool {
    CONTROL.get()
}

/// While this lives, a panic of this thread means something else than before.
pub(crate) struct Stakes(bool);

/// Now a panic costs whoever panics and nobody else: a room, beside the supervisor that starts it again.
pub(crate) fn expendable() -> Stakes {
    Stakes(CONTROL.replace(false))
}

/// Now a panic is one of a shared actor.
pub(crate) fn vital() -> Stakes {
    Stakes(CONTROL.replace(true))
}

impl Drop for Stakes {
    fn drop(&mut self) {
        CONTROL.set(self.0);
    }
}

/// An arbiter whose actors nobody can do without.
fn control_arbiter() -> ArbiterHandle {
    let arbiter = Arbiter::new();
    arbiter.spawn_fn(|| CONTROL.set(true));
    arbiter.handle()
}

/// Loads the settings, opens the history, then starts the shared actors. Settings are loaded before
/// anybody can connect (spec §8.1 8-50). Blocks while passwords are hashed and the history is checked.
///
/// # Errors
/// The settings or key files cannot be read, or the history cannot be used.
pub fn launch(mut launch: Launch, metrics: &Arc<Metrics>) -> Result<Launched, LaunchError> {
    let demo_id = ClientId::new(DEMO_ID).ok().filter(|_| launch.demo.is_some());
    launch.trust.reserved_ids.extend(reserved_ids(launch.demo.is_some(), &launch.history));
    let max_static = launch.trust.max_static_resources;
    let store = Arc::new(TrustStore::open(launch.trust, metrics.clone())?);
    let statics = StaticResources::new(max_static);
    let settings = store.settings();
    let clients = store.snapshot();
    let epoch = Instant::now();

    let history_arbiter = control_arbiter();
    let history = History::start(launch.history, metrics.clone(), &history_arbiter).inspect_err(|_| {
        history_arbiter.stop();
    })?;
    let handle = control_arbiter();
    let mailbox = launch.control_mailbox;

    let (limits, current, counters) = (launch.router, settings.clone(), metrics.clone());
    let seats = Seats::default();
    // Several threads on one core would only take turns, and each turn costs more than what is done in it.
    // Registry and router are on the same thread either way: what the one tells the other is known when the
    // answer to a CONNECT has made its way to a client and something of the client's has come back.
    let place = if launch.one_thread { Place::Seat(&seats) } else { Place::Arbiter(&handle) };
    let router = place.start(move |ctx: &mut Context<LlmRouter>| {
        ctx.set_mailbox_capacity(mailbox);
        LlmRouter::new(limits, current, epoch, counters)
    });
    let link = history.clone();
    let lobby = place.start(move |ctx: &mut Context<Lobby>| {
        ctx.set_mailbox_capacity(mailbox);
        Lobby::new(link)
    });
    let supervisors = launch.rooms.supervisors;
    let of_their_own = if launch.rooms_share_it { 0 } else { supervisors };
    let room_arbiters: Vec<ArbiterHandle> = (0..of_their_own).map(|_| control_arbiter()).collect();
    let mut places: Vec<Place<'_>> = room_arbiters.iter().map(Place::Arbiter).collect();
    places.resize(supervisors, Place::Seat(&seats));
    let rooms = Rooms::start(
        &places,
        Shared::new(
            history.clone(),
            router.clone(),
            lobby.clone(),
            settings.clone(),
            clients.clone(),
            launch.rooms,
            metrics.clone(),
        ),
    );
    #[expect(clippy::disallowed_methods, reason = "once per process")]
    lobby.do_send(Supervisors(rooms.clone()));
    #[expect(clippy::disallowed_methods, reason = "once per process")]
    lobby.do_send(ExtensionsChanged(demo_id.clone().into_iter().collect()));
    let (limits, counters, to, current) =
        (launch.registry, metrics.clone(), router.clone(), settings.clone());
    let (supervisors, list) = (rooms.clone(), lobby.clone());
    let present = Extensions::new(demo_id.clone().into_iter().collect());
    let extensions = present.live();
    let registry = place.start(move |ctx: &mut Context<Registry>| {
        ctx.set_mailbox_capacity(mailbox);
        Registry::new(to, supervisors, list, present, current, limits, counters)
    });
    let (folder, max_reads, counters) = (store.root().to_owned(), launch.max_log_reads, metrics.clone());
    let logs = Logs::start_in_arbiter(&handle, move |ctx| {
        ctx.set_mailbox_capacity(mailbox);
        Logs::new(&folder, max_reads, counters)
    });
    let (switch, to) = (launch.debug_mode, registry.clone());
    switch(settings.load().debug_mode);
    store.on_debug_mode(move |on| {
        switch(on);
        #[expect(clippy::disallowed_methods, reason = "once per write of the settings file")]
        to.do_send(DebugModeChanged(on));
    });
    let to = registry.clone();
    store.on_grants(move |clients| {
        #[expect(clippy::disallowed_methods, reason = "once per change of the settings folder")]
        to.do_send(ReviewGrants(clients));
    });
    let to = registry.clone();
    store.keys().on_removed(move |client| {
        #[expect(clippy::disallowed_methods, reason = "once per key that is removed")]
        to.do_send(DisconnectClient(client));
    });
    let map = statics.map();
    let desk = Desk::new(store, statics);
    let at_desk = desk.clone();
    let trust = Trust::start_in_arbiter(&handle, move |ctx| {
        ctx.set_mailbox_capacity(mailbox);
        Trust::new(at_desk)
    });
    if let (Some(pace), Some(client)) = (launch.demo, demo_id) {
        let (to, limits, counters) = (router.clone(), launch.broker.fan_out, metrics.clone());
        let socket = SocketKey::next();
        let demo =
            Demo::start_in_arbiter(&handle, move |_| Demo::new(to, socket, pace, limits, epoch, counters));
        let built_in = BuiltInTarget { client, socket, target: demo.recipient() };
        #[expect(clippy::disallowed_methods, reason = "once per process")]
        router.do_send(built_in);
    }
    let limits = launch.broker;
    let server = launch.server;
    let directory = Directory {
        registry,
        router,
        trust,
        desk,
        rooms,
        lobby,
        logs,
        extensions,
        settings,
        clients,
        limits,
        epoch,
        calls: Default::default(),
        server,
    };
    let directory = Arc::new(directory);
    let shared_actors = SharedActors { history, arbiter: handle, room_arbiters, history_arbiter };
    Ok(Launched { directory, statics: map, seats, shared_actors })
}

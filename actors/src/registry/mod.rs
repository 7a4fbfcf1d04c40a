//! Who is connected: the sockets of every client, presence, and the lists that others are sent
//! (spec §3.7, §3.8, §4.2, §4.3).

mod admission;
mod attendance;
mod away;
mod debug;
mod dialect;
mod extensions;
mod lists;
mod messages;
mod review;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use framing::engine::Sid;
use log::{debug, info};

pub use admission::Admission;
use attendance::Attends;
use away::{Away, Departure};
pub use debug::DebugModeChanged;
pub use dialect::{ClientDialect, SharedDialect};
pub use extensions::{ExtensionList, Extensions, LiveExtensions};
pub use lists::{ListConnected, ListMembers};
pub use messages::{
    Admitted, CallExtension, Called, FindFunctionSocket, NotAdmitted, OpenSocket, SocketClosed, SocketEntry,
    SocketLink, SocketMoved,
};
pub use review::{DisconnectClient, ReviewGrants, ReviseSocket, Revision, may_be_called};

use crate::{
    emit,
    ids::{ClientId, Identity},
    llm_router::{LlmRouter, LlmSocketClosed, LlmSocketMoved, LlmSocketOpened, Requester, RequesterGone},
    lobby::Lobby,
    maps::FastMap,
    metrics::Metrics,
    protocol::{MsgType, Namespace},
    rooms::{Absent, Rooms},
    trust::{ServerSettings, TrustSnapshot},
};

/// One namespace socket; never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketKey(u64);

impl SocketKey {
    /// No socket has this key.
    pub const NONE: Self = Self(0);

    /// A fresh key.
    pub fn next() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Bounds of presence (spec appendix A).
#[derive(Clone, Debug)]
pub struct RegistryLimits {
    /// Engine.IO sessions of one client.
    pub connections_per_client: usize,
    /// Namespace sockets of one client.
    pub sockets_per_client: usize,
    /// Instances without a socket that may come back within their grace.
    pub away: usize,
}

struct Socket {
    entry: SocketEntry,
    link: SocketLink,
}

/// Who came first stands first in a list, however often its sockets change (spec §3.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u64);

/// One client with a live socket, or within its grace.
#[derive(Default)]
struct Client {
    /// Its live sockets; at most `limits.sockets_per_client`.
    sockets: Vec<(SocketKey, Sid)>,
    instances: FastMap<Identity, Instance>,
    /// Its place in the connected-client list: taken with the first `/auth` socket, kept over the grace.
    listed: Option<Place>,
    /// It was an extension when last seen.
    extension: bool,
}

impl Client {
    fn longest_away(&self) -> Option<Identity> {
        let away = self.instances.iter().filter_map(|(identity, instance)| Some((instance.away?, identity)));
        away.min_by_key(|(departure, _)| *departure).map(|(_, identity)| identity.clone())
    }
}

/// One running instance of a client.
#[derive(Default)]
struct Instance {
    /// Its place in the list of members, kept over the grace.
    place: Place,
    sockets: usize,
    dialect: ClientDialect,
    /// Set while no socket is there.
    away: Option<Departure>,
}

/// While somebody is away the grace is looked at so often: the settings file may have made it shorter.
const SWEEP: Duration = Duration::from_secs(1);

/// Lists that are sent whole are sent at most so often, however many clients come and go.
const LIST_DELAY: Duration = Duration::from_millis(20);

/// See the module's documentation.
pub struct Registry {
    /// In the order opened.
    sockets: BTreeMap<SocketKey, Socket>,
    by_namespace: FastMap<Namespace, BTreeSet<SocketKey>>,
    /// Bounded by the number of trusted clients.
    clients: FastMap<ClientId, Client>,
    last_place: Place,
    /// Which lists have changed since they were last sent.
    client_list_changed: bool,
    members_changed: bool,
    rooms: Rooms,
    lobby: Addr<Lobby>,
    extensions: Extensions,
    /// At most `limits.max_away`.
    away: Away,
    /// The one timer for all who are away is set.
    sweeping: bool,
    router: Addr<LlmRouter>,
    settings: Arc<arc_swap::ArcSwap<ServerSettings>>,
    /// The clients that there are, since they were looked at again.
    known: Arc<TrustSnapshot>,
    limits: RegistryLimits,
    metrics: Arc<Metrics>,
}

impl Registry {
    /// An empty registry.
    pub fn new(
        router: Addr<LlmRouter>,
        rooms: Rooms,
        lobby: Addr<Lobby>,
        extensions: Extensions,
        settings: Arc<arc_swap::ArcSwap<ServerSettings>>,
        limits: RegistryLimits,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            sockets: BTreeMap::new(),
            by_namespace: FastMap::default(),
            clients: FastMap::default(),
            last_place: Place::default(),
            client_list_changed: false,
            members_changed: false,
            rooms,
            lobby,
            extensions,
            away: Away::default(),
            sweeping: false,
            router,
            settings,
            known: Arc::default(),
            limits,
            metrics,
        }
    }

    fn grace(&self) -> Duration {
        self.settings.load().reconnect_grace()
    }

    fn check_bounds(&self, entry: &SocketEntry) -> Result<(), NotAdmitted> {
        let Some(client) = self.clients.get(&entry.client) else {
            return Ok(());
        };
        if client.sockets.len() >= self.limits.sockets_per_client {
            self.metrics.limit_reached("limits.sockets_per_client");
            return Err(NotAdmitted::TooManySockets);
        }
        let sids: std::collections::HashSet<Sid> = client.sockets.iter().map(|(_, sid)| *sid).collect();
        if !sids.contains(&entry.sid) && sids.len() >= self.limits.connections_per_client {
            self.metrics.limit_reached("limits.connections_per_client");
            return Err(NotAdmitted::TooManyConnections);
        }
        Ok(())
    }

    fn owner(entry: &SocketEntry) -> Requester {
        Requester { client: entry.client.clone(), identity: entry.identity.clone() }
    }

    fn open(&mut self, question: OpenSocket, ctx: &mut Context<Self>) -> Result<Admitted, NotAdmitted> {
        let OpenSocket { mut entry, link, connected, admission } = question;
        debug_assert!(!self.sockets.contains_key(&entry.key), "a socket is opened once");
        self.check_bounds(&entry)?;
        let granted = admission.grant().ok_or(NotAdmitted::Withdrawn)?;
        let owner = Self::owner(&entry);
        self.last_place.0 += 1;
        let place = self.last_place;
        let client = self.clients.entry(entry.client.clone()).or_default();
        client.extension = entry.extension;
        client.sockets.push((entry.key, entry.sid));
        if client.sockets.len() == 1 {
            present(&self.metrics, client.extension).inc();
        }
        if entry.ns == Namespace::Auth {
            client.listed.get_or_insert(place);
        }
        let instance = client
            .instances
            .entry(entry.identity.clone())
            .or_insert_with(|| Instance { place, ..Instance::default() });
        instance.sockets += 1;
        let instance_sockets = instance.sockets;
        if let Some(departure) = instance.away.take() {
            self.away.forget(departure);
        }
        let dialect = instance.dialect.clone();
        entry.dialect.join(dialect.clone());
        if let SocketLink::Llm { deliver, target, prove } = &link {
            let opened = LlmSocketOpened {
                socket: entry.key,
                owner,
                deliver: deliver.clone(),
                target: target.clone(),
                prove: prove.clone(),
            };
            #[expect(clippy::disallowed_methods, reason = "once per socket lifetime")]
            self.router.do_send(opened);
        }
        let first = instance_sockets == 1;
        self.by_namespace.entry(entry.ns).or_default().insert(entry.key);
        self.sockets.insert(entry.key, Socket { entry: entry.clone(), link });
        // Notices to router and rooms go out before the answer, as whoever sees that may ask at once; what rooms
        // push meanwhile comes behind it. A full outbox closes the session; its notice takes the socket away.
        let mut attends = || {
            self.attend(&entry, Attends::Opens { first });
            self.metrics.sockets.inc();
        };
        match connected {
            Some(connected) => _ = entry.outbox.push_behind(connected, attends),
            None => attends(),
        }
        drop(granted);
        debug!(client:% = entry.client, ns:% = entry.ns.wire(); "namespace joined");
        self.changed(&entry, ctx);
        Ok(Admitted { dialect })
    }

    fn closed(&mut self, key: SocketKey, ctx: &mut Context<Self>) {
        let Some(Socket { entry, link }) = self.sockets.remove(&key) else {
            return;
        };
        if let Some(keys) = self.by_namespace.get_mut(&entry.ns) {
            keys.remove(&key);
        }
        if let SocketLink::Llm { .. } = link {
            #[expect(clippy::disallowed_methods, reason = "once per socket lifetime")]
            self.router.do_send(LlmSocketClosed { socket: key, rooms: Vec::new() });
        }
        let mut last = false;
        if let Some(client) = self.clients.get_mut(&entry.client) {
            client.sockets.retain(|(other, _)| *other != key);
            if client.sockets.is_empty() {
                present(&self.metrics, client.extension).dec();
            }
            if let Some(instance) = client.instances.get_mut(&entry.identity) {
                instance.sockets = instance.sockets.saturating_sub(1);
                last = instance.sockets == 0;
            }
        }
        self.attend(&entry, Attends::Closes { last });
        if last {
            self.leaves(Self::owner(&entry), ctx);
        }
        self.changed(&entry, ctx);
        // Last: whoever sees it can rely on the rest.
        self.metrics.sockets.dec();
    }

    /// The last socket of an instance has closed: it has its grace to come back (spec §3.8).
    fn leaves(&mut self, owner: Requester, ctx: &mut Context<Self>) {
        if self.away.len() >= self.limits.away {
            self.metrics.limit_reached("limits.max_away");
            // Of its own first: who comes and goes under ever new identities takes nobody else's place.
            let own = self.clients.get(&owner.client).and_then(Client::longest_away);
            let own = own.map(|identity| Requester { client: owner.client.clone(), identity });
            if let Some(given_up) = own.or_else(|| self.away.longest()) {
                self.give_up(&given_up);
            }
        }
        let client = self.clients.get_mut(&owner.client);
        if let Some(instance) = client.and_then(|client| client.instances.get_mut(&owner.identity)) {
            instance.away = Some(self.away.leave(owner.clone(), Instant::now()));
        }
        if self.has_lost_its_name(&owner) {
            self.gives_name_back(&owner);
        }
        self.sweep(ctx);
    }

    /// Gives up those whose grace is over, and sets the timer for the next.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let (grace, now) = (self.grace(), Instant::now());
        while let Some(owner) = self.away.overdue(grace, now) {
            self.give_up(&owner);
        }
        if let Some(due) = self.away.until_due(grace, now).filter(|_| !self.sweeping) {
            self.sweeping = true;
            ctx.run_later(due.min(SWEEP), |registry, ctx| {
                registry.sweeping = false;
                registry.sweep(ctx);
            });
        }
    }

    /// An instance that did not come back is forgotten, and its client with the last one (spec §3.8).
    fn give_up(&mut self, owner: &Requester) {
        let Some(client) = self.clients.get_mut(&owner.client) else {
            return;
        };
        if let Some(Instance { away: Some(departure), .. }) = client.instances.remove(&owner.identity) {
            self.away.forget(departure);
        }
        let last = client.instances.is_empty();
        let extension = client.extension;
        #[expect(clippy::disallowed_methods, reason = "once per client presence")]
        self.router.do_send(RequesterGone(owner.clone()));
        for supervisor in self.rooms.all() {
            #[expect(clippy::disallowed_methods, reason = "once per client presence")]
            supervisor.do_send(Absent(owner.identity.clone()));
        }
        if !last {
            return;
        }
        info!(client:% = owner.client; "client did not come back");
        self.clients.remove(&owner.client);
        if extension {
            return;
        }
        let text = format!("Client {} disconnected and failed to reconnect. Room deleted.", owner.client);
        for entry in self.of(Namespace::SillyTavern).filter(|entry| entry.extension) {
            emit::error(entry, &text);
        }
    }

    /// The sockets of one namespace, oldest first.
    fn of(&self, ns: Namespace) -> impl Iterator<Item = &SocketEntry> {
        let keys = self.by_namespace.get(&ns).into_iter().flatten();
        keys.filter_map(|key| Some(&self.sockets.get(key)?.entry))
    }

    /// A socket came or went: the lists that show it are sent soon.
    fn changed(&mut self, entry: &SocketEntry, ctx: &mut Context<Self>) {
        let idle = !self.client_list_changed && !self.members_changed;
        self.client_list_changed |= entry.ns == Namespace::Auth && !entry.extension;
        let listened = self.of(Namespace::Clients).any(|entry| entry.dialect.may_be_named());
        self.members_changed |= listened;
        if idle && (self.client_list_changed || self.members_changed) {
            ctx.run_later(LIST_DELAY, |registry, _| registry.push_lists());
        }
    }

    fn push_lists(&mut self) {
        if std::mem::take(&mut self.client_list_changed) {
            // Spec §3.7: extensions listen on `/clients`, the reference pushed on `/auth`.
            let payload = format!("{{\"clients\":{}}}", lists::connected_json(&self.connected()));
            for entry in
                self.of(Namespace::Auth).chain(self.of(Namespace::Clients)).filter(|entry| entry.extension)
            {
                emit::event(entry, MsgType::ConnectedClientsUpdate, &payload);
            }
        }
        if std::mem::take(&mut self.members_changed) {
            // Spec §4.3, dialect 2: every member change is broadcast on `/clients`.
            let payload = format!("{{\"clients\":{}}}", lists::members_json(&self.members()));
            for entry in self.of(Namespace::Clients).filter(|entry| entry.dialect.may_be_named()) {
                emit::event(entry, MsgType::UpdateConnectedClients, &payload);
            }
        }
    }
}

/// The gauge of those who are there.
fn present(metrics: &Metrics, extension: bool) -> &prometheus_client::metrics::gauge::Gauge {
    if extension { &metrics.extensions } else { &metrics.clients }
}

impl Actor for Registry {
    type Context = Context<Self>;
}

impl Handler<OpenSocket> for Registry {
    type Result = Result<Admitted, NotAdmitted>;

    fn handle(&mut self, question: OpenSocket, ctx: &mut Self::Context) -> Self::Result {
        self.open(question, ctx)
    }
}

impl Handler<SocketMoved> for Registry {
    type Result = ();

    fn handle(&mut self, moved: SocketMoved, _: &mut Self::Context) {
        let SocketMoved { socket, link, session, past } = moved;
        let Some(known) = self.sockets.get_mut(&socket) else {
            return;
        };
        known.entry.session = Some(session);
        let entry = known.entry.clone();
        if matches!(entry.ns, Namespace::Rooms | Namespace::Llm) {
            self.tell_rooms(&entry);
        }
        match link {
            SocketLink::Llm { deliver, target, prove } => {
                #[expect(clippy::disallowed_methods, reason = "once per socket lifetime")]
                self.router.do_send(LlmSocketMoved { socket, deliver, target, prove, past });
            }
            // Calls of a function are rare, and two of them must not change places: they keep the old
            // address, which hands them on.
            SocketLink::Functions(_) | SocketLink::Outbox => (),
        }
    }
}

impl Handler<SocketClosed> for Registry {
    type Result = ();

    fn handle(&mut self, SocketClosed(key): SocketClosed, ctx: &mut Self::Context) {
        self.closed(key, ctx);
    }
}

impl Handler<FindFunctionSocket> for Registry {
    type Result = MessageResult<FindFunctionSocket>;

    fn handle(
        &mut self,
        FindFunctionSocket(target): FindFunctionSocket,
        _: &mut Self::Context,
    ) -> Self::Result {
        let of_target =
            |key: &&SocketKey| self.sockets.get(key).is_some_and(|socket| socket.entry.client == *target);
        let newest = self
            .by_namespace
            .get(&Namespace::FunctionCall)
            .into_iter()
            .flatten()
            .rev()
            .filter(of_target)
            .find_map(|key| match &self.sockets.get(key)?.link {
                SocketLink::Functions(call) => Some((*key, call.clone())),
                SocketLink::Outbox | SocketLink::Llm { .. } => None,
            });
        MessageResult(newest)
    }
}

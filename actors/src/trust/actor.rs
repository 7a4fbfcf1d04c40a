//! The `Trust` actor: answers at once what needs no hashing and no file, and leaves the rest to the blocking pool.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use actix::dev::{MessageResponse, OneshotSender};
use actix::prelude::*;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use log::{error, info};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::hashing::{HashPool, Lane};
use super::keys::{self, Quick};
use super::messages::*;
use super::password;
use super::store::{SETTINGS, TrustStore};
use super::throttle::{Suspect, Throttle};
use super::verdict::{self, Decision, Facts, KeyState, PasswordState};
use super::watch;
use crate::functions::{FunctionReply, Functions, StaticResources};
use crate::ids::ClientId;

/// The word that asks for a key instead of showing one.
const GET_KEY: &str = "getKey";

/// One per broker. Cheap to ask: the common handshake (a trusted local peer of a safe network) is answered
/// without leaving the handler.
pub struct Trust {
    desk: Arc<Desk>,
    _watcher: Option<notify::RecommendedWatcher>,
}

/// What the answers need; shared with those that are still being worked out.
struct Desk {
    store: Arc<TrustStore>,
    functions: Functions,
    hashes: HashPool,
    /// Failed key and password checks.
    failures: Mutex<Throttle>,
    /// `LOGIN` attempts, failed or not.
    logins: Mutex<Throttle>,
    /// Bounds functions, settings writes and key changes under way.
    jobs: Arc<Semaphore>,
    rescan: Mutex<RescanState>,
}

#[derive(Default)]
struct RescanState {
    last: Option<Instant>,
    running: Option<Shared<BoxFuture<'static, ()>>>,
}

/// An answer that may be ready.
pub enum Answer<T> {
    /// It is.
    Now(T),
    /// It takes hashing or a file.
    Later(Pin<Box<dyn Future<Output = T>>>),
}

impl<T: 'static> Answer<T> {
    fn later(future: impl Future<Output = T> + 'static) -> Self {
        Self::Later(Box::pin(future))
    }
}

impl<M: Message<Result = T>, T: 'static> MessageResponse<Trust, M> for Answer<T> {
    fn handle(self, _: &mut Context<Trust>, tx: Option<OneshotSender<T>>) {
        // Nobody waits any more if sending fails: the session is gone.
        let send = move |tx: Option<OneshotSender<T>>, answer| drop(tx.map(|tx| tx.send(answer)));
        match self {
            Self::Now(answer) => send(tx, answer),
            Self::Later(future) => {
                actix::spawn(async move { send(tx, future.await) });
            }
        }
    }
}

impl Trust {
    /// An actor over an opened store; `statics` is what the HTTP edge reads.
    pub fn new(store: Arc<TrustStore>, statics: Arc<StaticResources>) -> Self {
        let config = store.config();
        let desk = Desk {
            hashes: HashPool::new(config.max_concurrent_hashes, config.max_waiting_hashes),
            failures: Mutex::new(Throttle::new(
                config.failed_checks_per_minute,
                config.ban,
                config.max_throttled,
            )),
            logins: Mutex::new(Throttle::new(
                config.login_attempts_per_minute,
                std::time::Duration::ZERO,
                config.max_throttled,
            )),
            jobs: Arc::new(Semaphore::new(config.max_file_jobs.max(1))),
            rescan: Mutex::default(),
            functions: Functions::new(Arc::clone(&store), statics),
            store,
        };
        Self {
            desk: Arc::new(desk),
            _watcher: None,
        }
    }
}

impl Actor for Trust {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.desk.store_missing_keys();

        let folders = [SETTINGS, keys::FOLDER].map(|folder| self.desk.store.root().join(folder));
        let desk = Arc::clone(&self.desk);
        match watch::watch(&folders.each_ref().map(Path::new)) {
            Some((watcher, mut told)) => {
                self._watcher = Some(watcher);
                let debounce = self.desk.store.config().watch_debounce;
                // Ends with the watcher, which owns the sender.
                actix::spawn(async move {
                    while told.recv().await.is_some() {
                        tokio::time::sleep(debounce).await;
                        let _ = told.try_recv();
                        desk.rescan_now().await;
                    }
                });
            }
            None => {
                let every = self.desk.store.config().poll_interval;
                ctx.run_interval(every, move |_, _| {
                    let desk = Arc::clone(&desk);
                    actix::spawn(async move { desk.rescan_now().await });
                });
            }
        }
    }
}

impl Handler<CheckAuth> for Trust {
    type Result = Answer<Verdict>;

    fn handle(&mut self, msg: CheckAuth, _: &mut Self::Context) -> Self::Result {
        if let Some(verdict) = self.desk.check_now(&msg) {
            return Answer::Now(verdict);
        }
        let desk = Arc::clone(&self.desk);
        Answer::later(async move { desk.check(msg).await })
    }
}

impl Handler<Login> for Trust {
    type Result = Answer<LoginOutcome>;

    fn handle(&mut self, msg: Login, _: &mut Self::Context) -> Self::Result {
        let desk = Arc::clone(&self.desk);
        Answer::later(async move { desk.login(msg).await })
    }
}

impl Handler<SessionKey> for Trust {
    type Result = Answer<Result<String, KeyError>>;

    fn handle(&mut self, msg: SessionKey, _: &mut Self::Context) -> Self::Result {
        let store = &self.desk.store;
        Answer::Now(match store.grant(&msg.client_id) {
            Some(_) => store.keys().session_key(&msg.client_id),
            None => Err(KeyError::NotTrusted),
        })
    }
}

impl Handler<GenerateKey> for Trust {
    type Result = Answer<Result<String, KeyError>>;

    fn handle(&mut self, msg: GenerateKey, _: &mut Self::Context) -> Self::Result {
        let desk = Arc::clone(&self.desk);
        Answer::later(async move { desk.generate_key(msg.client_id).await })
    }
}

impl Handler<RemoveKey> for Trust {
    type Result = Answer<Result<(), KeyError>>;

    fn handle(&mut self, msg: RemoveKey, _: &mut Self::Context) -> Self::Result {
        let desk = Arc::clone(&self.desk);
        Answer::later(async move {
            desk.job(move |desk| desk.store.keys().remove(&msg.client_id))
                .await
                .unwrap_or(Err(KeyError::Busy))
        })
    }
}

impl Handler<GetKey> for Trust {
    type Result = Answer<Option<String>>;

    fn handle(&mut self, msg: GetKey, _: &mut Self::Context) -> Self::Result {
        Answer::Now(self.desk.store.keys().plaintext(&msg.client_id))
    }
}

impl Handler<ListKeys> for Trust {
    type Result = Answer<Vec<KeyListing>>;

    fn handle(&mut self, _: ListKeys, _: &mut Self::Context) -> Self::Result {
        Answer::Now(self.desk.store.keys().list())
    }
}

impl Handler<ListClients> for Trust {
    type Result = Answer<Vec<String>>;

    fn handle(&mut self, _: ListClients, _: &mut Self::Context) -> Self::Result {
        let listed = self.desk.store.keys().list();
        Answer::Now(
            listed
                .into_iter()
                .map(|listing| listing.client_id)
                .collect(),
        )
    }
}

impl Handler<ClientSettings> for Trust {
    type Result = Answer<Result<(), SettingsError>>;

    fn handle(&mut self, msg: ClientSettings, _: &mut Self::Context) -> Self::Result {
        let desk = Arc::clone(&self.desk);
        Answer::later(async move {
            desk.job(move |desk| desk.store.client_settings(&msg.caller, &msg.json))
                .await
                .unwrap_or(Err(SettingsError::Busy))
        })
    }
}

impl Handler<RunFunction> for Trust {
    type Result = Answer<FunctionReply>;

    fn handle(&mut self, msg: RunFunction, _: &mut Self::Context) -> Self::Result {
        let desk = Arc::clone(&self.desk);
        Answer::later(async move {
            desk.job(move |desk| {
                desk.functions
                    .run(&msg.caller, &msg.name, msg.args.as_deref())
            })
            .await
            .unwrap_or_else(|| FunctionReply::Error(SettingsError::Busy.to_string()))
        })
    }
}

impl Handler<Rescan> for Trust {
    type Result = Answer<()>;

    fn handle(&mut self, _: Rescan, _: &mut Self::Context) -> Self::Result {
        let desk = Arc::clone(&self.desk);
        Answer::later(async move { desk.rescan_now().await })
    }
}

impl Desk {
    /// Runs blocking work as one of a bounded number; `None` if that many are under way.
    async fn job<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.jobs).try_acquire_owned().ok()?;
        let desk = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&desk);
            drop(permit);
            result
        });
        task.await.ok()
    }

    /// The answer, if neither hashing nor a file is needed.
    fn check_now(&self, msg: &CheckAuth) -> Option<Verdict> {
        let id = &msg.handshake.client_id;
        let Some(grant) = self.store.grant(id) else {
            let known = self.store.snapshot().load().entry(id.as_str()).is_some();
            let reserved = self.store.config().reserved_ids.contains(id);
            let wait = !known && !reserved && self.rescan_is_due();
            return (!wait).then_some(Verdict::Reject(verdict::Rejection::not_trusted()));
        };
        let mut facts = self.facts(msg);
        if !verdict::network_is_safe(facts.network_safe, facts.scope, &facts.peer) {
            match (facts.key, &msg.handshake.key) {
                (KeyState::Missing | KeyState::GetKey, _)
                    if facts.password == PasswordState::Absent
                        || (facts.peer.on_loopback && facts.get_key_from_loopback) => {}
                (KeyState::Invalid, Some(key))
                    if self.store.keys().quick(id, key) == Quick::Valid =>
                {
                    facts.key = KeyState::Valid;
                }
                _ => return None,
            }
        }
        Some(self.conclude(msg, grant, &facts))
    }

    /// What is known before anything is compared; a key counts as invalid until it is.
    fn facts(&self, msg: &CheckAuth) -> Facts {
        let config = self.store.config();
        Facts {
            trusted: true,
            network_safe: self.store.settings().load().network_safe,
            scope: config.network_safe_scope,
            peer: msg.peer,
            key: match msg.handshake.key.as_deref() {
                None | Some("") => KeyState::Missing,
                Some(GET_KEY) => KeyState::GetKey,
                Some(_) => KeyState::Invalid,
            },
            password: match msg.handshake.password.as_deref() {
                None | Some("") => PasswordState::Absent,
                Some(_) => PasswordState::Unchecked,
            },
            on_auth: msg.handshake.on_auth,
            get_key_from_loopback: config.get_key_from_loopback,
            invalid_key_policy: config.invalid_key_policy,
            limited: false,
        }
    }

    async fn check(self: Arc<Self>, msg: CheckAuth) -> Verdict {
        let id = msg.handshake.client_id.clone();
        if self.store.grant(&id).is_none() {
            self.rescan_for_unknown().await;
            if self.store.grant(&id).is_some()
                && let Some(verdict) = self.check_now(&msg)
            {
                return verdict;
            }
        }
        let Some(grant) = self.store.grant(&id) else {
            return Verdict::Reject(verdict::Rejection::not_trusted());
        };

        let mut facts = self.facts(&msg);
        let suspect = Suspect::new(msg.peer.addr, &id);
        facts.limited = {
            let mut failures = self.failures.lock();
            let limited = failures.is_limited(&suspect, Instant::now());
            failures.begin(&suspect);
            limited
        };
        let checked = match facts.key {
            KeyState::Invalid => self.check_key(&msg, &mut facts).await,
            // While banned a password is not looked at; only a key that verifies is exempt.
            _ if facts.limited => Ok(false),
            _ => self.check_password(&msg, &mut facts).await,
        };
        match checked {
            Ok(true) => self.failures.lock().excuse(&suspect),
            Ok(false) => self.failures.lock().count(&suspect, Instant::now()),
            Err(rejection) => {
                self.failures.lock().excuse(&suspect);
                return Verdict::Reject(rejection);
            }
        }
        self.conclude(&msg, grant, &facts)
    }

    /// Whether the key verifies; the facts learn it.
    async fn check_key(&self, msg: &CheckAuth, facts: &mut Facts) -> Result<bool, Rejection> {
        let id = &msg.handshake.client_id;
        let key = msg.handshake.key.clone().unwrap_or_default();
        let valid = match self.store.keys().quick(id, &key) {
            Quick::Valid => true,
            Quick::Invalid => false,
            Quick::Hash(hash) => {
                let (lane, busy) = match facts.limited {
                    true => (Lane::Penalty, Rejection::rate_limited()),
                    false => (Lane::Regular, Rejection::busy()),
                };
                let max_cost = self.store.config().max_bcrypt_cost;
                let (given, stored) = (key.clone(), hash.clone());
                let verified = self
                    .hashes
                    .run(lane, move || keys::verify(&given, &stored, max_cost))
                    .await
                    .map_err(|_| busy)?;
                verified && self.store.keys().verified(id, &key, &hash)
            }
        };
        if valid {
            facts.key = KeyState::Valid;
        }
        Ok(valid)
    }

    /// Whether the password matches; the facts learn it.
    async fn check_password(&self, msg: &CheckAuth, facts: &mut Facts) -> Result<bool, Rejection> {
        let given = msg.handshake.password.clone().unwrap_or_default();
        facts.password = self
            .compare_password(&msg.handshake.client_id, given)
            .await
            .map_err(|_| Rejection::busy())?;
        Ok(facts.password == PasswordState::Matches)
    }

    /// Compares with the stored hash, or with a dummy where there is none: both take as long.
    async fn compare_password(
        &self,
        id: &ClientId,
        given: String,
    ) -> Result<PasswordState, super::hashing::Busy> {
        let config = self.store.config();
        let (max_cost, cost) = (config.max_bcrypt_cost, config.bcrypt_cost);
        let stored = self.store.grant(id).and_then(|_| self.store.password(id));
        let is_set = stored.is_some();
        let work = move || match stored {
            Some(hash) => password::verify(&given, &hash, max_cost),
            None => password::verify(&given, &password::dummy(cost), max_cost),
        };
        let matches = self.hashes.run(Lane::Regular, work).await?;
        Ok(match (is_set, matches) {
            (false, _) => PasswordState::NotSet,
            (true, true) => PasswordState::Matches,
            (true, false) => PasswordState::Wrong,
        })
    }

    fn conclude(&self, msg: &CheckAuth, grant: Grant, facts: &Facts) -> Verdict {
        match verdict::decide(facts) {
            Decision::Accept => Verdict::Accept {
                grant,
                pushes: None,
            },
            Decision::AcceptWithKeyPushes { assigned } => {
                let key = self.store.keys().session_key(&msg.handshake.client_id);
                let pushes = key.ok().map(|key| KeyPushes { key, assigned });
                Verdict::Accept { grant, pushes }
            }
            Decision::Limited { assigned_failure } => Verdict::Limited { assigned_failure },
            Decision::TempRoom => Verdict::TempRoom,
            Decision::Reject(rejection) => Verdict::Reject(rejection),
        }
    }

    async fn login(self: Arc<Self>, msg: Login) -> LoginOutcome {
        let failure = |message, code| LoginOutcome::Failure { message, code };
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (Some(client_id), Some(password)) = (given(msg.client_id), given(msg.password)) else {
            return failure("Invalid login data.", None);
        };
        if msg.session != *client_id.as_str() {
            return failure("Invalid login data.", None);
        }
        let suspect = Suspect::new(msg.peer.addr, &msg.session);
        let now = Instant::now();
        if self.logins.lock().is_limited(&suspect, now)
            || self.failures.lock().is_limited(&suspect, now)
        {
            return failure("Incorrect password.", Some("rate_limited"));
        }
        {
            // Every attempt counts, right or wrong; it is counted before the comparison.
            let mut logins = self.logins.lock();
            logins.begin(&suspect);
            logins.count(&suspect, now);
        }
        self.failures.lock().begin(&suspect);
        let compared = self.compare_password(&msg.session, password).await;
        let mut failures = self.failures.lock();
        match compared {
            Ok(PasswordState::Matches) => failures.excuse(&suspect),
            Ok(_) => failures.count(&suspect, Instant::now()),
            Err(_) => failures.excuse(&suspect),
        }
        drop(failures);
        match compared {
            Ok(PasswordState::Matches) => {
                match (
                    self.store.grant(&msg.session),
                    self.store.keys().session_key(&msg.session),
                ) {
                    (Some(grant), Ok(session_key)) => LoginOutcome::Success { grant, session_key },
                    _ => failure("Server error during login.", None),
                }
            }
            Ok(PasswordState::NotSet) => failure("Password not set on server.", None),
            Ok(_) => failure("Incorrect password.", None),
            Err(_) => failure("Server error during login.", Some("busy")),
        }
    }

    async fn generate_key(self: Arc<Self>, id: ClientId) -> Result<String, KeyError> {
        let known = |desk: &Self| desk.store.snapshot().load().entry(id.as_str()).is_some();
        if !known(&self) {
            self.rescan_for_unknown().await;
            if !known(&self) {
                return Err(KeyError::ClientNotFound);
            }
        }
        let store = Arc::clone(&self.store);
        let work = move || store.keys().generate(&id);
        self.hashes
            .run(Lane::Regular, work)
            .await
            .unwrap_or(Err(KeyError::Busy))
    }

    /// Whether an unknown id may cause (or join) a scan now.
    fn rescan_is_due(&self) -> bool {
        let state = self.rescan.lock();
        let interval = self.store.config().rescan_interval;
        state.running.is_some() || state.last.is_none_or(|last| last.elapsed() >= interval)
    }

    async fn rescan_for_unknown(self: &Arc<Self>) {
        if self.rescan_is_due() {
            let scan = self.start_rescan();
            scan.await;
        }
    }

    async fn rescan_now(self: &Arc<Self>) {
        let asked = Instant::now();
        // A scan under way may have read a file before it changed, so it does not count.
        self.start_rescan().await;
        if self.rescan.lock().last.is_none_or(|last| last < asked) {
            self.start_rescan().await;
        }
    }

    /// Starts a scan or joins the one under way.
    fn start_rescan(self: &Arc<Self>) -> Shared<BoxFuture<'static, ()>> {
        let mut state = self.rescan.lock();
        if let Some(running) = &state.running {
            return running.clone();
        }
        let desk = Arc::clone(self);
        state.last = Some(Instant::now());
        let scan = async move {
            let store = Arc::clone(&desk.store);
            if tokio::task::spawn_blocking(move || store.rescan())
                .await
                .is_err()
            {
                error!("scan of the settings folder failed");
            }
            desk.rescan.lock().running = None;
            desk.store_missing_keys();
        };
        let scan = scan.boxed().shared();
        state.running = Some(scan.clone());
        // Driven here too, so that it ends even if nobody waits for it.
        actix::spawn(scan.clone());
        scan
    }

    /// Stores, in the background, the keys that a scan made for new clients.
    fn store_missing_keys(&self) {
        if self.store.keys().has_pending() {
            let store = Arc::clone(&self.store);
            actix::spawn(async move {
                let stored = tokio::task::spawn_blocking(move || store.keys().persist_pending());
                match stored.await {
                    Ok(Ok(())) => info!("keys of new clients stored"),
                    Ok(Err(error)) => error!(error:%; "keys of new clients not stored"),
                    Err(_) => error!("keys of new clients not stored"),
                }
            });
        }
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;

//! What the answers of the trust actor are made of: the pure table, the brakes, the store and the hash pool.

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use log::{error, info};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::hashing::{Busy, HashPool, Lane};
use super::keys::{self, Quick};
use super::messages::*;
use super::password;
use super::store::TrustStore;
use super::throttle::{Suspect, Throttle};
use super::verdict::{self, Decision, Facts, KeyState, PasswordState};
use crate::functions::{Functions, StaticResources};
use crate::ids::ClientId;

/// The word that asks for a key instead of showing one.
const GET_KEY: &str = "getKey";

/// What the answers need; shared with those that are still being worked out, and with sessions, which need not ask
/// the actor what they can be told at once.
pub struct Desk {
    pub(super) store: Arc<TrustStore>,
    pub(super) functions: Functions,
    hashes: HashPool,
    /// Failed key and password checks.
    failures: Mutex<Throttle>,
    /// `LOGIN` attempts, failed or not.
    logins: Mutex<Throttle>,
    /// Bounds the threads that functions, settings writes and key removals take; lanes bound what waits.
    jobs: Arc<Semaphore>,
    rescan: Mutex<RescanState>,
}

#[derive(Default)]
struct RescanState {
    last: Option<Instant>,
    /// When an unknown id last caused one.
    last_for_unknown: Option<Instant>,
    running: Option<Shared<BoxFuture<'static, ()>>>,
}

impl Desk {
    /// A desk over an opened store; `statics` is what the HTTP edge reads.
    pub fn new(store: Arc<TrustStore>, statics: Arc<StaticResources>) -> Arc<Self> {
        let config = store.config();
        Arc::new(Self {
            hashes: HashPool::new(
                config.max_concurrent_hashes,
                config.max_waiting_hashes,
                store.metrics().clone(),
            ),
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
        })
    }

    /// Runs blocking work as one of a bounded number; `None` if it could not be run.
    pub(super) async fn job<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.jobs).acquire_owned().await.ok()?;
        let desk = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&desk);
            drop(permit);
            result
        });
        task.await.ok()
    }

    /// The verdict, from any thread, if neither hashing nor a file is needed (spec §3.2). None: the actor has to be
    /// asked.
    pub fn check_now(&self, msg: &CheckAuth) -> Option<Verdict> {
        let id = &msg.handshake.client_id;
        let Some(grant) = self.store.grant(id) else {
            let known = self.store.snapshot().load().entry(id.as_str()).is_some();
            let reserved = self.store.config().reserved_ids.contains(id);
            let wait = !known && !reserved && self.rescan_is_due();
            return (!wait).then_some(Verdict::Reject(Rejection::not_trusted()));
        };
        let mut facts = self.facts(msg);
        if !verdict::network_is_safe(facts.network_safe, facts.scope, &facts.peer) {
            match (facts.key, &msg.handshake.key) {
                (KeyState::Missing | KeyState::GetKey, _)
                    if facts.password == PasswordState::Absent
                        || (facts.peer.on_loopback && facts.get_key_from_loopback) => {}
                (KeyState::Invalid, Some(key)) if self.store.keys().quick(id, key) == Quick::Valid => {
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

    pub(super) async fn check(self: Arc<Self>, msg: CheckAuth) -> Verdict {
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
            return Verdict::Reject(Rejection::not_trusted());
        };

        let mut facts = self.facts(&msg);
        let suspect = Suspect::new(msg.peer.addr, &id);
        facts.limited = {
            let mut failures = self.failures.lock();
            let limited = failures.is_limited(&suspect, Instant::now());
            self.begin(&mut failures, &suspect);
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

    fn begin(&self, throttle: &mut Throttle, suspect: &Suspect) {
        if throttle.begin(suspect) {
            self.store.metrics().limit_reached("trust.max_throttled");
        }
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
        facts.password =
            self.compare_password(&msg.handshake.client_id, given).await.map_err(|_| Rejection::busy())?;
        Ok(facts.password == PasswordState::Matches)
    }

    /// Compares with the stored hash, or with a dummy where there is none: both take as long.
    async fn compare_password(&self, id: &ClientId, given: String) -> Result<PasswordState, Busy> {
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
            Decision::Accept => Verdict::Accept { grant, pushes: None },
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

    pub(super) async fn login(self: Arc<Self>, msg: Login) -> LoginOutcome {
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
        if self.logins.lock().is_limited(&suspect, now) || self.failures.lock().is_limited(&suspect, now) {
            return failure("Incorrect password.", Some("rate_limited"));
        }
        {
            // Every attempt counts, right or wrong; it is counted before the comparison.
            let mut logins = self.logins.lock();
            self.begin(&mut logins, &suspect);
            logins.count(&suspect, now);
        }
        self.begin(&mut self.failures.lock(), &suspect);
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
                match (self.store.grant(&msg.session), self.store.keys().session_key(&msg.session)) {
                    (Some(grant), Ok(session_key)) => LoginOutcome::Success { grant, session_key },
                    _ => failure("Server error during login.", None),
                }
            }
            Ok(PasswordState::NotSet) => failure("Password not set on server.", None),
            Ok(_) => failure("Incorrect password.", None),
            Err(_) => failure("Server error during login.", Some("busy")),
        }
    }

    pub(super) async fn generate_key(self: Arc<Self>, id: ClientId) -> Result<String, KeyError> {
        let known = |desk: &Self| desk.store.snapshot().load().entry(id.as_str()).is_some();
        if !known(&self) {
            self.rescan_for_unknown().await;
            if !known(&self) {
                return Err(KeyError::ClientNotFound);
            }
        }
        let store = Arc::clone(&self.store);
        let work = move || store.keys().generate(&id);
        self.hashes.run(Lane::Regular, work).await.unwrap_or_else(|_| {
            self.store.metrics().limit_reached("trust.max_waiting_hashes");
            Err(KeyError::Busy)
        })
    }

    pub(super) async fn remove_key(self: Arc<Self>, id: ClientId) -> Result<(), KeyError> {
        self.job(move |desk| desk.store.keys().remove(&id)).await.unwrap_or(Err(KeyError::Busy))
    }

    /// Whether an unknown id may cause (or join) a scan now.
    fn rescan_is_due(&self) -> bool {
        let state = self.rescan.lock();
        let interval = self.store.config().rescan_interval;
        state.running.is_some() || state.last_for_unknown.is_none_or(|last| last.elapsed() >= interval)
    }

    async fn rescan_for_unknown(self: &Arc<Self>) {
        let interval = self.store.config().rescan_interval;
        let running = {
            let mut state = self.rescan.lock();
            if state.last_for_unknown.is_none_or(|last| last.elapsed() >= interval) {
                state.last_for_unknown = Some(Instant::now());
                None
            } else {
                Some(state.running.clone())
            }
        };
        match running {
            // One under way may have read the folder before the file was there.
            None => self.rescan_now().await,
            Some(Some(scan)) => scan.await,
            Some(None) => (),
        }
    }

    pub(super) async fn rescan_now(self: &Arc<Self>) {
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
            if tokio::task::spawn_blocking(move || store.rescan()).await.is_err() {
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
    pub(super) fn store_missing_keys(&self) {
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

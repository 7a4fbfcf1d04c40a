//! The `Trust` actor: answers at once what needs no hashing and no file, and leaves the rest to the blocking pool.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix::dev::{MessageResponse, OneshotSender};
use actix::prelude::*;
use tokio::task::JoinHandle;

use super::config::TrustConfig;
use super::desk::Desk;
use super::keys;
use super::lanes::Lanes;
use super::messages::*;
use super::store::SETTINGS;
use super::watch::Watch;
use crate::functions::FunctionReply;
use crate::ids::ClientId;

/// One per broker. The common handshakes are not asked of it: a session looks at its desk first.
pub struct Trust {
    desk: Arc<Desk>,
    /// Operations on keys, by whose key it is.
    keys: Lanes<ClientId>,
    /// Server functions and settings writes, by who asks.
    files: Lanes<ClientId>,
    /// Reads the files again whenever they change.
    reader: Option<JoinHandle<()>>,
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

    /// The result of work in a lane, or of none if the lane is full.
    fn in_lane(
        lanes: &Lanes<ClientId>,
        key: &ClientId,
        work: impl Future<Output = T> + 'static,
        refused: impl FnOnce() -> T + 'static,
    ) -> Self {
        match lanes.run(key.clone(), work) {
            Some(done) => Self::later(async move { done.await.unwrap_or_else(|_| refused()) }),
            None => Self::Now(refused()),
        }
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
    /// An actor at that desk.
    pub fn new(desk: Arc<Desk>) -> Self {
        let store = &desk.store;
        let TrustConfig { max_waiting_hashes: keys, max_file_jobs: files, .. } = *store.config();
        let metrics = || store.metrics().clone();
        Self {
            keys: Lanes::new(keys, keys, "trust.max_waiting_hashes", metrics()),
            // One client's flood leaves room for others.
            files: Lanes::new(files, files.div_ceil(2), "trust.max_file_jobs", metrics()),
            desk,
            reader: None,
        }
    }
}

impl Actor for Trust {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.desk.store_missing_keys();

        let desk = Arc::clone(&self.desk);
        let TrustConfig { watch_debounce, poll_interval, .. } = *desk.store.config();
        let mut watch = Watch::new([SETTINGS, keys::FOLDER].map(|folder| desk.store.root().join(folder)));
        self.reader = Some(actix::spawn(async move {
            loop {
                // Also at first: opening a history takes time, and files may have changed since they were read.
                desk.rescan_now().await;
                watch.changed(watch_debounce, poll_interval).await;
            }
        }));
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
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
        let (store, id) = (Arc::clone(&self.desk.store), msg.client_id);
        let key = move |id: &ClientId| match store.grant(id) {
            Some(_) => store.keys().session_key(id),
            None => Err(KeyError::NotTrusted),
        };
        if self.keys.is_idle(&id) {
            return Answer::Now(key(&id));
        }
        let whose = id.clone();
        Answer::in_lane(&self.keys, &id, async move { key(&whose) }, || Err(KeyError::Busy))
    }
}

impl Handler<GenerateKey> for Trust {
    type Result = Answer<Result<String, KeyError>>;

    fn handle(&mut self, msg: GenerateKey, _: &mut Self::Context) -> Self::Result {
        let (desk, id) = (Arc::clone(&self.desk), msg.client_id.clone());
        let work = async move { desk.generate_key(id).await };
        Answer::in_lane(&self.keys, &msg.client_id, work, || Err(KeyError::Busy))
    }
}

impl Handler<RemoveKey> for Trust {
    type Result = Answer<Result<(), KeyError>>;

    fn handle(&mut self, msg: RemoveKey, _: &mut Self::Context) -> Self::Result {
        let (desk, id) = (Arc::clone(&self.desk), msg.client_id.clone());
        let work = async move { desk.remove_key(id).await };
        Answer::in_lane(&self.keys, &msg.client_id, work, || Err(KeyError::Busy))
    }
}

impl Handler<GetKey> for Trust {
    type Result = Answer<Option<String>>;

    fn handle(&mut self, msg: GetKey, _: &mut Self::Context) -> Self::Result {
        let (store, id) = (Arc::clone(&self.desk.store), msg.client_id);
        if self.keys.is_idle(&id) {
            return Answer::Now(store.keys().plaintext(&id));
        }
        let whose = id.clone();
        Answer::in_lane(&self.keys, &id, async move { store.keys().plaintext(&whose) }, || None)
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
        Answer::Now(listed.into_iter().map(|listing| listing.client_id).collect())
    }
}

impl Handler<ClientSettings> for Trust {
    type Result = Answer<Result<(), SettingsError>>;

    fn handle(&mut self, msg: ClientSettings, _: &mut Self::Context) -> Self::Result {
        let (desk, whose) = (Arc::clone(&self.desk), msg.caller.client_id.clone());
        let write = move |desk: &Desk| desk.store.client_settings(&msg.caller, &msg.json);
        let work = async move { desk.job(write).await.unwrap_or(Err(SettingsError::Busy)) };
        Answer::in_lane(&self.files, &whose, work, || Err(SettingsError::Busy))
    }
}

impl Handler<SetDefaultMode> for Trust {
    type Result = Answer<Result<(), SettingsError>>;

    fn handle(
        &mut self,
        SetDefaultMode { caller, mode }: SetDefaultMode,
        _: &mut Self::Context,
    ) -> Self::Result {
        let (desk, whose) = (Arc::clone(&self.desk), caller.client_id.clone());
        let set = move |desk: &Desk| desk.store.set_default_mode(&caller, mode);
        let work = async move { desk.job(set).await.unwrap_or(Err(SettingsError::Busy)) };
        Answer::in_lane(&self.files, &whose, work, || Err(SettingsError::Busy))
    }
}

impl Handler<ToggleDebugMode> for Trust {
    type Result = Answer<Result<bool, SettingsError>>;

    fn handle(&mut self, msg: ToggleDebugMode, _: &mut Self::Context) -> Self::Result {
        let desk = Arc::clone(&self.desk);
        let toggle = |desk: &Desk| desk.store.toggle_debug_mode();
        let work = async move { desk.job(toggle).await.unwrap_or(Err(SettingsError::Busy)) };
        Answer::in_lane(&self.files, &msg.client_id, work, || Err(SettingsError::Busy))
    }
}

impl Handler<RunFunction> for Trust {
    type Result = Answer<FunctionReply>;

    fn handle(&mut self, msg: RunFunction, _: &mut Self::Context) -> Self::Result {
        let busy = || FunctionReply::Error(SettingsError::Busy.to_string());
        let (desk, whose) = (Arc::clone(&self.desk), msg.caller.client_id.clone());
        let run = move |desk: &Desk| desk.functions.run(&msg.caller, &msg.name, msg.args.as_deref());
        let work = async move { desk.job(run).await.unwrap_or_else(busy) };
        Answer::in_lane(&self.files, &whose, work, busy)
    }
}

impl Handler<Rescan> for Trust {
    type Result = Answer<()>;

    fn handle(&mut self, _: Rescan, _: &mut Self::Context) -> Self::Result {
        let desk = Arc::clone(&self.desk);
        Answer::later(async move { desk.rescan_now().await })
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;

//! The one answer to a CONNECT (spec §3.2). The registry gives it, unless the session has taken the
//! question back meanwhile: its client left, or the answer took too long.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

/// Shared by a question to the registry and the session that asks it; whoever is first decides.
#[derive(Clone, Debug, Default)]
pub struct Admission(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Asked,
    Granted,
    Withdrawn,
}

/// Held while the answer is pushed, so that whoever withdraws after it finds the answer in the outbox.
pub(super) struct Granted<'a>(#[expect(dead_code, reason = "held, not read")] MutexGuard<'a, State>);

impl Admission {
    /// The registry's side. None: nobody waits for it any more.
    pub(super) fn grant(&self) -> Option<Granted<'_>> {
        let mut state = self.0.lock();
        if matches!(*state, State::Withdrawn) {
            return None;
        }
        *state = State::Granted;
        Some(Granted(state))
    }

    /// The session's side: whether the registry has not answered, and will not any more.
    pub fn withdraw(&self) -> bool {
        let mut state = self.0.lock();
        if matches!(*state, State::Granted) {
            return false;
        }
        *state = State::Withdrawn;
        true
    }
}

//! `checkAuth` as a pure decision table (spec §3.2 and §2.6).

use super::config::{InvalidKeyPolicy, NetworkSafeScope};
use super::peer::Peer;

/// Why a handshake is rejected: the `ERROR` to push before the namespace is disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// The protocol's text.
    pub message: &'static str,
    /// `rate_limited` or `busy`.
    pub code: Option<&'static str>,
}

impl Rejection {
    /// Rule 1: the id is missing or malformed.
    pub const fn client_id_required() -> Self {
        Self { message: "clientId is required.", code: None }
    }

    /// Rule 2: no settings file trusts the id.
    pub const fn not_trusted() -> Self {
        Self { message: "Client is not trusted.", code: None }
    }

    /// The namespace is for others.
    pub const fn unauthorized() -> Self {
        Self { message: "Unauthorized", code: None }
    }

    /// Rule 6: the key does not verify.
    pub const fn invalid_key() -> Self {
        Self { message: "Invalid key.", code: None }
    }

    /// Rule 6 while the peer is banned.
    pub const fn rate_limited() -> Self {
        Self { message: "Invalid key.", code: Some("rate_limited") }
    }

    /// Too many hashes wait; the key was not looked at.
    pub const fn busy() -> Self {
        Self { message: "Server is busy, try again later.", code: Some("busy") }
    }
}

/// What is known about the handshake's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Absent or empty.
    Missing,
    /// The word `getKey`.
    GetKey,
    /// It verified.
    Valid,
    /// It did not.
    Invalid,
}

/// What is known about the handshake's password. It is looked at only where it can decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordState {
    /// None was given.
    Absent,
    /// One was given and not looked at, because it cannot decide.
    Unchecked,
    /// It matched the stored one.
    Matches,
    /// It did not match.
    Wrong,
    /// The client has no password.
    NotSet,
}

/// The inputs of the table.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// A settings file (or a pattern) trusts the id, and it is not reserved.
    pub trusted: bool,
    /// `networkSafe` of the settings.
    pub network_safe: bool,
    /// For whom it holds.
    pub scope: NetworkSafeScope,
    /// Where the peer is.
    pub peer: Peer,
    /// Its key.
    pub key: KeyState,
    /// Its password.
    pub password: PasswordState,
    /// Whether the namespace is `/auth`.
    pub on_auth: bool,
    /// Whether loopback alone earns the key.
    pub get_key_from_loopback: bool,
    /// What an invalid key leads to.
    pub invalid_key_policy: InvalidKeyPolicy,
    /// Whether (address, client) is banned.
    pub limited: bool,
}

/// The output of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Serve the namespace.
    Accept,
    /// Serve it and push the session key; `assigned` adds `CLIENT_KEY_ASSIGNED`.
    AcceptWithKeyPushes {
        /// Whether a password was given where it counts.
        assigned: bool,
    },
    /// Serve only `LOGIN` and goodbye.
    Limited {
        /// The message of `CLIENT_KEY_ASSIGNED {success:false}`.
        assigned_failure: Option<&'static str>,
    },
    /// Serve only `LOGIN` and goodbye, in a room of its own.
    TempRoom,
    /// Refuse.
    Reject(Rejection),
}

/// Whether `networkSafe` frees this peer from showing its key.
pub fn network_is_safe(network_safe: bool, scope: NetworkSafeScope, peer: &Peer) -> bool {
    network_safe && (scope == NetworkSafeScope::Any || peer.local)
}

/// Decides; the first matching rule wins.
pub fn decide(facts: &Facts) -> Decision {
    if !facts.trusted {
        return Decision::Reject(Rejection::not_trusted());
    }
    let wants_pushes = facts.key == KeyState::GetKey && facts.on_auth;
    if network_is_safe(facts.network_safe, facts.scope, &facts.peer) {
        return accept(wants_pushes, false);
    }
    match facts.key {
        // Before the ban: a key that verifies is never refused.
        KeyState::Valid => Decision::Accept,
        KeyState::Missing | KeyState::GetKey => without_key(facts, wants_pushes),
        KeyState::Invalid if facts.limited => Decision::Reject(Rejection::rate_limited()),
        KeyState::Invalid => match facts.invalid_key_policy {
            InvalidKeyPolicy::Disconnect => Decision::Reject(Rejection::invalid_key()),
            InvalidKeyPolicy::TempRoom => Decision::TempRoom,
        },
    }
}

fn accept(pushes: bool, assigned: bool) -> Decision {
    if pushes { Decision::AcceptWithKeyPushes { assigned } } else { Decision::Accept }
}

/// The rows of spec §2.6 for `networkSafe: false`.
fn without_key(facts: &Facts, wants_pushes: bool) -> Decision {
    let by_loopback = facts.peer.on_loopback && facts.get_key_from_loopback;
    if by_loopback || (facts.password == PasswordState::Matches && !facts.limited) {
        return accept(wants_pushes, facts.password != PasswordState::Absent);
    }
    let failure = match facts.password {
        PasswordState::Absent => None,
        _ if facts.limited => return Decision::Reject(Rejection::rate_limited()),
        PasswordState::NotSet => Some("Password not set on server."),
        PasswordState::Wrong | PasswordState::Unchecked | PasswordState::Matches => {
            Some("Incorrect password.")
        }
    };
    Decision::Limited { assigned_failure: failure.filter(|_| wants_pushes) }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;

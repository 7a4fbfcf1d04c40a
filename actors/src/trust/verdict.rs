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
        Self {
            message: "clientId is required.",
            code: None,
        }
    }

    /// Rule 2: no settings file trusts the id.
    pub const fn not_trusted() -> Self {
        Self {
            message: "Client is not trusted.",
            code: None,
        }
    }

    /// Rule 6: the key does not verify.
    pub const fn invalid_key() -> Self {
        Self {
            message: "Invalid key.",
            code: None,
        }
    }

    /// Rule 6 while the peer is banned.
    pub const fn rate_limited() -> Self {
        Self {
            message: "Invalid key.",
            code: Some("rate_limited"),
        }
    }

    /// Too many hashes wait; the key was not looked at.
    pub const fn busy() -> Self {
        Self {
            message: "Server is busy, try again later.",
            code: Some("busy"),
        }
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
    if pushes {
        Decision::AcceptWithKeyPushes { assigned }
    } else {
        Decision::Accept
    }
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
    Decision::Limited {
        assigned_failure: failure.filter(|_| wants_pushes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: Peer = Peer {
        addr: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        on_loopback: true,
        local: true,
    };
    const LAN: Peer = Peer {
        addr: std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7)),
        on_loopback: false,
        local: true,
    };
    const PUBLIC: Peer = Peer {
        addr: std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9)),
        on_loopback: false,
        local: false,
    };

    /// A trusted peer from a public address on `/auth`, with keys checked.
    fn facts() -> Facts {
        Facts {
            trusted: true,
            network_safe: false,
            scope: NetworkSafeScope::Local,
            peer: PUBLIC,
            key: KeyState::Valid,
            password: PasswordState::Absent,
            on_auth: true,
            get_key_from_loopback: true,
            invalid_key_policy: InvalidKeyPolicy::Disconnect,
            limited: false,
        }
    }

    const PUSHES: Decision = Decision::AcceptWithKeyPushes { assigned: false };
    const ASSIGNED: Decision = Decision::AcceptWithKeyPushes { assigned: true };
    const LIMITED: Decision = Decision::Limited {
        assigned_failure: None,
    };
    const INVALID: Decision = Decision::Reject(Rejection::invalid_key());
    const RATED: Decision = Decision::Reject(Rejection::rate_limited());

    fn check(name: &str, facts: Facts, expected: Decision) {
        assert_eq!(decide(&facts), expected, "{name}: {facts:?}");
    }

    #[test]
    fn table_of_3_2() {
        use KeyState::{GetKey, Invalid, Missing, Valid};
        let base = facts();
        let safe = Facts {
            network_safe: true,
            peer: LAN,
            ..base
        };
        for key in [Valid, Invalid, GetKey, Missing] {
            let untrusted = Decision::Reject(Rejection::not_trusted());
            check(
                "2",
                Facts {
                    trusted: false,
                    key,
                    ..base
                },
                untrusted,
            );
            check(
                "2 safe",
                Facts {
                    trusted: false,
                    key,
                    ..safe
                },
                untrusted,
            );
        }
        check(
            "3",
            Facts {
                key: Invalid,
                ..safe
            },
            Decision::Accept,
        );
        check(
            "3 missing",
            Facts {
                key: Missing,
                ..safe
            },
            Decision::Accept,
        );
        check(
            "3 limited",
            Facts {
                key: Invalid,
                limited: true,
                ..safe
            },
            Decision::Accept,
        );
        check("5", base, Decision::Accept);
        check(
            "5 limited",
            Facts {
                limited: true,
                ..base
            },
            Decision::Accept,
        );
        check(
            "6",
            Facts {
                key: Invalid,
                ..base
            },
            INVALID,
        );
        check(
            "6 loopback",
            Facts {
                key: Invalid,
                peer: LOOPBACK,
                ..base
            },
            INVALID,
        );
        check(
            "6 limited",
            Facts {
                key: Invalid,
                limited: true,
                ..base
            },
            RATED,
        );
        let temp = Facts {
            key: Invalid,
            invalid_key_policy: InvalidKeyPolicy::TempRoom,
            ..base
        };
        check("6 temp", temp, Decision::TempRoom);
        check(
            "6 temp limited",
            Facts {
                limited: true,
                ..temp
            },
            RATED,
        );
        check(
            "6 password",
            Facts {
                key: Invalid,
                password: PasswordState::Matches,
                ..base
            },
            INVALID,
        );
    }

    #[test]
    fn network_safe_holds_by_scope() {
        let safe = Facts {
            network_safe: true,
            key: KeyState::Invalid,
            ..facts()
        };
        check("public, local", safe, INVALID);
        check(
            "public, any",
            Facts {
                scope: NetworkSafeScope::Any,
                ..safe
            },
            Decision::Accept,
        );
        check("lan, local", Facts { peer: LAN, ..safe }, Decision::Accept);
        check(
            "loopback, local",
            Facts {
                peer: LOOPBACK,
                ..safe
            },
            Decision::Accept,
        );
    }

    #[test]
    fn table_of_2_6() {
        use KeyState::{GetKey, Missing};
        use PasswordState::{Matches, NotSet, Unchecked, Wrong};
        let get = Facts {
            key: GetKey,
            ..facts()
        };
        let safe = Facts {
            network_safe: true,
            peer: LAN,
            ..get
        };
        check("safe", safe, PUSHES);
        check(
            "safe, password",
            Facts {
                password: Unchecked,
                ..safe
            },
            PUSHES,
        );
        check(
            "safe, elsewhere",
            Facts {
                on_auth: false,
                ..safe
            },
            Decision::Accept,
        );
        check(
            "safe, missing",
            Facts {
                key: Missing,
                ..safe
            },
            Decision::Accept,
        );

        let loopback = Facts {
            peer: LOOPBACK,
            ..get
        };
        check("loopback", loopback, PUSHES);
        check(
            "loopback, password",
            Facts {
                password: Unchecked,
                ..loopback
            },
            ASSIGNED,
        );
        check(
            "loopback, missing",
            Facts {
                key: Missing,
                ..loopback
            },
            Decision::Accept,
        );
        check(
            "loopback, off",
            Facts {
                get_key_from_loopback: false,
                ..loopback
            },
            LIMITED,
        );
        check(
            "loopback, limited",
            Facts {
                limited: true,
                ..loopback
            },
            PUSHES,
        );

        check(
            "password",
            Facts {
                password: Matches,
                ..get
            },
            ASSIGNED,
        );
        check(
            "password, elsewhere",
            Facts {
                password: Matches,
                on_auth: false,
                ..get
            },
            Decision::Accept,
        );
        let missing = Facts {
            key: Missing,
            ..get
        };
        check(
            "password, missing",
            Facts {
                password: Matches,
                ..missing
            },
            Decision::Accept,
        );
        check(
            "password, limited",
            Facts {
                password: Unchecked,
                limited: true,
                ..get
            },
            RATED,
        );

        check("other", get, LIMITED);
        check("other, lan", Facts { peer: LAN, ..get }, LIMITED);
        check("other, missing", missing, LIMITED);
        check(
            "other, limited",
            Facts {
                limited: true,
                ..get
            },
            LIMITED,
        );
        let wrong = Decision::Limited {
            assigned_failure: Some("Incorrect password."),
        };
        check(
            "wrong password",
            Facts {
                password: Wrong,
                ..get
            },
            wrong,
        );
        let unset = Decision::Limited {
            assigned_failure: Some("Password not set on server."),
        };
        check(
            "no password",
            Facts {
                password: NotSet,
                ..get
            },
            unset,
        );
        check(
            "wrong, missing",
            Facts {
                password: Wrong,
                ..missing
            },
            LIMITED,
        );
        check(
            "wrong, elsewhere",
            Facts {
                password: Wrong,
                on_auth: false,
                ..get
            },
            LIMITED,
        );
    }

    #[test]
    fn defect_8_03_a_trusted_client_with_a_key_connects_when_the_network_is_not_safe() {
        check("8-03", facts(), Decision::Accept);
    }

    #[test]
    fn defect_8_05_get_key_is_not_a_universal_key() {
        check(
            "8-05",
            Facts {
                key: KeyState::GetKey,
                ..facts()
            },
            LIMITED,
        );
    }

    #[test]
    fn defect_8_06_the_same_table_serves_every_namespace() {
        let elsewhere = Facts {
            trusted: false,
            on_auth: false,
            ..facts()
        };
        check(
            "8-06",
            elsewhere,
            Decision::Reject(Rejection::not_trusted()),
        );
    }

    #[test]
    fn defect_8_07_network_safe_does_not_skip_trust() {
        let safe = Facts {
            trusted: false,
            network_safe: true,
            peer: LOOPBACK,
            ..facts()
        };
        check("8-07", safe, Decision::Reject(Rejection::not_trusted()));
    }
}

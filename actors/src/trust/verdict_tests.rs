use super::*;

const LOOPBACK: Peer =
    Peer { addr: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), on_loopback: true, local: true };
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
const LIMITED: Decision = Decision::Limited { assigned_failure: None };
const INVALID: Decision = Decision::Reject(Rejection::invalid_key());
const RATED: Decision = Decision::Reject(Rejection::rate_limited());

fn check(name: &str, facts: Facts, expected: Decision) {
    assert_eq!(decide(&facts), expected, "{name}: {facts:?}");
}

#[test]
fn table_of_3_2() {
    use KeyState::{GetKey, Invalid, Missing, Valid};
    let base = facts();
    let safe = Facts { network_safe: true, peer: LAN, ..base };
    for key in [Valid, Invalid, GetKey, Missing] {
        let untrusted = Decision::Reject(Rejection::not_trusted());
        check("2", Facts { trusted: false, key, ..base }, untrusted);
        check("2 safe", Facts { trusted: false, key, ..safe }, untrusted);
    }
    check("3", Facts { key: Invalid, ..safe }, Decision::Accept);
    check("3 missing", Facts { key: Missing, ..safe }, Decision::Accept);
    check("3 limited", Facts { key: Invalid, limited: true, ..safe }, Decision::Accept);
    check("5", base, Decision::Accept);
    check("5 limited", Facts { limited: true, ..base }, Decision::Accept);
    check("6", Facts { key: Invalid, ..base }, INVALID);
    check("6 loopback", Facts { key: Invalid, peer: LOOPBACK, ..base }, INVALID);
    check("6 limited", Facts { key: Invalid, limited: true, ..base }, RATED);
    let temp = Facts { key: Invalid, invalid_key_policy: InvalidKeyPolicy::TempRoom, ..base };
    check("6 temp", temp, Decision::TempRoom);
    check("6 temp limited", Facts { limited: true, ..temp }, RATED);
    check("6 password", Facts { key: Invalid, password: PasswordState::Matches, ..base }, INVALID);
}

#[test]
fn network_safe_holds_by_scope() {
    let safe = Facts { network_safe: true, key: KeyState::Invalid, ..facts() };
    check("public, local", safe, INVALID);
    check("public, any", Facts { scope: NetworkSafeScope::Any, ..safe }, Decision::Accept);
    check("lan, local", Facts { peer: LAN, ..safe }, Decision::Accept);
    check("loopback, local", Facts { peer: LOOPBACK, ..safe }, Decision::Accept);
}

#[test]
fn table_of_2_6() {
    use KeyState::{GetKey, Missing};
    use PasswordState::{Matches, NotSet, Unchecked, Wrong};
    let get = Facts { key: GetKey, ..facts() };
    let safe = Facts { network_safe: true, peer: LAN, ..get };
    check("safe", safe, PUSHES);
    check("safe, password", Facts { password: Unchecked, ..safe }, PUSHES);
    check("safe, elsewhere", Facts { on_auth: false, ..safe }, Decision::Accept);
    check("safe, missing", Facts { key: Missing, ..safe }, Decision::Accept);

    let loopback = Facts { peer: LOOPBACK, ..get };
    check("loopback", loopback, PUSHES);
    check("loopback, password", Facts { password: Unchecked, ..loopback }, ASSIGNED);
    check("loopback, missing", Facts { key: Missing, ..loopback }, Decision::Accept);
    check("loopback, off", Facts { get_key_from_loopback: false, ..loopback }, LIMITED);
    check("loopback, limited", Facts { limited: true, ..loopback }, PUSHES);

    check("password", Facts { password: Matches, ..get }, ASSIGNED);
    check("password, elsewhere", Facts { password: Matches, on_auth: false, ..get }, Decision::Accept);
    let missing = Facts { key: Missing, ..get };
    check("password, missing", Facts { password: Matches, ..missing }, Decision::Accept);
    check("password, limited", Facts { password: Unchecked, limited: true, ..get }, RATED);

    check("other", get, LIMITED);
    check("other, lan", Facts { peer: LAN, ..get }, LIMITED);
    check("other, missing", missing, LIMITED);
    check("other, limited", Facts { limited: true, ..get }, LIMITED);
    let wrong = Decision::Limited { assigned_failure: Some("Incorrect password.") };
    check("wrong password", Facts { password: Wrong, ..get }, wrong);
    let unset = Decision::Limited { assigned_failure: Some("Password not set on server.") };
    check("no password", Facts { password: NotSet, ..get }, unset);
    check("wrong, missing", Facts { password: Wrong, ..missing }, LIMITED);
    check("wrong, elsewhere", Facts { password: Wrong, on_auth: false, ..get }, LIMITED);
}

#[test]
fn defect_8_03_a_trusted_client_with_a_key_connects_when_the_network_is_not_safe() {
    check("8-03", facts(), Decision::Accept);
}

#[test]
fn defect_8_05_get_key_is_not_a_universal_key() {
    check("8-05", Facts { key: KeyState::GetKey, ..facts() }, LIMITED);
}

#[test]
fn defect_8_06_the_same_table_serves_every_namespace() {
    let elsewhere = Facts { trusted: false, on_auth: false, ..facts() };
    check("8-06", elsewhere, Decision::Reject(Rejection::not_trusted()));
}

#[test]
fn defect_8_07_network_safe_does_not_skip_trust() {
    let safe = Facts { trusted: false, network_safe: true, peer: LOOPBACK, ..facts() };
    check("8-07", safe, Decision::Reject(Rejection::not_trusted()));
}

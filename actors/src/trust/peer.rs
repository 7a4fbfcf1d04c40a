//! Where a session comes from, as the edge saw it.

use std::net::IpAddr;

/// The peer of a session. The edge computes it from address and headers by the rules of spec §2.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The address, after a trusted proxy's header was applied.
    pub addr: IpAddr,
    /// Whether the peer is on loopback: address, `Host` and `Origin` all are.
    pub on_loopback: bool,
    /// Whether the address is loopback, private, link-local or shared (100.64.0.0/10).
    pub local: bool,
}

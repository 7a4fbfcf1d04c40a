//! Who may reach the broker at all (spec §8.1 8-39), and where a peer comes from (spec §2.5).
//!
//! A web page that the user visits can open connections to loopback. The Host rule stops DNS
//! rebinding, the Origin rule stops foreign pages; native programs send no Origin and pass.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use actix_web::{
    HttpRequest,
    http::{
        Uri,
        header::{self, HeaderMap, HeaderValue},
    },
};
use actors::trust::Peer;

use crate::forwarded::{is_forwarded, named_peer};

/// The settings of the two rules.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Host names beyond addresses and local names.
    pub allowed_hosts: Vec<String>,
    /// Origins beyond local ones and our own, as browsers write them; `*` allows every one.
    pub allowed_origins: Vec<String>,
    /// Addresses of proxies whose `X-Forwarded-For`, `Forwarded` or `X-Real-IP` names the peer.
    pub trusted_proxies: Vec<IpAddr>,
}

/// A request that may be served.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Where it comes from.
    pub peer: Peer,
    origin: Option<HeaderValue>,
}

/// Where a browser's request comes from, beside its page's origin.
const SEC_FETCH_SITE: header::HeaderName = header::HeaderName::from_static("sec-fetch-site");

/// Why a request is refused, with the setting that would allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The `Host` is neither an address nor a local name.
    Host(String),
    /// The `Origin` is a foreign site, `null`, or an app's scheme.
    Origin(String),
    /// A page of another site has a browser ask as for an image, which names no origin.
    Page,
    /// The peer's address is unknown.
    NoPeer,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "host {host:?} is not local; add it to server.allowed_hosts"),
            Self::Origin(origin) => {
                write!(f, "origin {origin:?} is not local; add it to server.allowed_origins")
            }
            Self::Page => f.write_str("a page of another site asks without its origin"),
            Self::NoPeer => f.write_str("peer address unknown"),
        }
    }
}

impl Access {
    /// Applies the rules of the `Host` and of the `Origin`.
    ///
    /// # Errors
    /// See [`Denied`]: answered 403.
    pub fn check(&self, request: &HttpRequest) -> Result<Admitted, Denied> {
        let headers = request.headers();
        let host = self.host(request)?;
        let origin = headers.get(header::ORIGIN);
        if let Some(origin) = origin {
            let origin = origin.to_str().unwrap_or("null");
            if !self.origin_passes(origin, host) {
                return Err(Denied::Origin(origin.to_owned()));
            }
        } else if text(headers, SEC_FETCH_SITE) == Some("cross-site") {
            return Err(Denied::Page);
        }
        let peer = self.peer(request, host).ok_or(Denied::NoPeer)?;
        Ok(Admitted { peer, origin: origin.cloned() })
    }

    /// Applies the rule of the `Host` alone: what is no secret may be linked to from anywhere, and still not be read
    /// by a page whose name was made to lead here.
    ///
    /// # Errors
    /// [`Denied::Host`].
    pub fn host<'a>(&self, request: &'a HttpRequest) -> Result<&'a str, Denied> {
        let host = text(request.headers(), header::HOST).or_else(|| request.uri().host()).unwrap_or_default();
        if self.host_passes(host) { Ok(host) } else { Err(Denied::Host(host.to_owned())) }
    }

    fn host_passes(&self, host: &str) -> bool {
        let name = without_port(host);
        is_local_name(name)
            || address(name).is_some()
            || self
                .allowed_hosts
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(name) || allowed.eq_ignore_ascii_case(host))
    }

    fn origin_passes(&self, origin: &str, host: &str) -> bool {
        let allowed =
            |allowed: &String| allowed == "*" || allowed.trim_end_matches('/').eq_ignore_ascii_case(origin);
        if self.allowed_origins.iter().any(allowed) {
            return true;
        }
        let Some((scheme, authority)) = web_origin(origin) else {
            return false;
        };
        let name = without_port(&authority);
        let own = authority.eq_ignore_ascii_case(host)
            || with_default_port(&scheme, &authority).eq_ignore_ascii_case(&with_default_port(&scheme, host));
        own || is_local_name(name) || address(name).is_some_and(is_local_address)
    }

    /// Spec §2.5.
    fn peer(&self, request: &HttpRequest, host: &str) -> Option<Peer> {
        let headers = request.headers();
        let socket = request.peer_addr()?.ip().to_canonical();
        let is_proxy = |ip: IpAddr| self.trusted_proxies.iter().any(|proxy| proxy.to_canonical() == ip);
        // Whoever was forwarded and is not named by a proxy of ours may be anywhere.
        let named = match is_forwarded(headers) {
            false => Some(socket),
            true if is_proxy(socket) => named_peer(headers, is_proxy),
            true => None,
        };
        let addr = named.unwrap_or(socket);
        let host_is_loopback = is_loopback_name(without_port(host));
        let origin_is_loopback =
            text(headers, header::ORIGIN).is_none_or(|origin| {
                web_origin(origin).is_some_and(|(_, authority)| is_loopback_name(without_port(&authority)))
            }) && headers.get(header::ORIGIN).is_none_or(|origin| origin.to_str().is_ok());
        Some(Peer {
            addr,
            on_loopback: named.is_some() && addr.is_loopback() && host_is_loopback && origin_is_loopback,
            local: named.is_some_and(is_local_address),
        })
    }
}

impl Admitted {
    /// Reflects an allowed origin, so that a browser lets its page read the answer.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = &self.origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// `scheme` and `host[:port]` of a web page's origin; none for `null` and apps' schemes.
fn web_origin(origin: &str) -> Option<(String, String)> {
    let uri: Uri = origin.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    Some((scheme.to_owned(), uri.authority()?.as_str().to_owned()))
}

fn with_default_port(scheme: &str, authority: &str) -> String {
    let has_port = without_port(authority).len() < authority.len() && !authority.ends_with(']');
    match (has_port, scheme) {
        (true, _) => authority.to_owned(),
        (false, "https") => format!("{authority}:443"),
        (false, _) => format!("{authority}:80"),
    }
}

fn without_port(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority.find(']').and_then(|end| authority.get(..=end)).unwrap_or(authority);
    }
    authority.rsplit_once(':').map_or(authority, |(name, _)| name)
}

fn address(name: &str) -> Option<IpAddr> {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse().ok()
}

fn is_loopback_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || address(name).is_some_and(|ip| ip.to_canonical().is_loopback())
}

/// `localhost`, single-label names and `*.local`: no public site has such a name.
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let legal = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let single = !name.contains('.') && !name.bytes().all(|b| b.is_ascii_digit());
    legal && (single || name.ends_with(".local") || name.ends_with(".localhost"))
}

/// Loopback, RFC 1918, ULA, link-local, 100.64.0.0/10.
fn is_local_address(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Loopback of both families, for callers that bind.
pub fn loopback() -> [IpAddr; 2] {
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn check(access: &Access, peer: &str, headers: &[(&'static str, &str)]) -> Result<(bool, bool), Denied> {
        let mut request = TestRequest::default().peer_addr(format!("{peer}:5000").parse().unwrap());
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        let admitted = access.check(&request.to_http_request())?;
        Ok((admitted.peer.on_loopback, admitted.peer.local))
    }

    #[test]
    fn hosts() {
        let access = Access { allowed_hosts: vec!["broker.example.org".to_owned()], ..Access::default() };
        for (host, passes) in [
            ("localhost:4000", true),
            ("LOCALHOST", true),
            ("127.0.0.1:4000", true),
            ("[::1]:4000", true),
            ("192.168.1.5", true),
            ("8.8.8.8", true),
            ("tower", true),
            ("tower.local:4000", true),
            ("broker.example.org", true),
            ("broker.example.org:4000", true),
            ("evil.example.org", false),
            ("localhost.evil.org", false),
            ("127.0.0.1.nip.io", false),
            ("", false),
        ] {
            assert_eq!(check(&access, "127.0.0.1", &[("host", host)]).is_ok(), passes, "{host}");
        }
    }

    #[test]
    fn origins() {
        let allowed_origins = vec!["https://app.example.org".to_owned(), "capacitor://localhost".to_owned()];
        let access = Access { allowed_origins, ..Access::default() };
        for (origin, passes) in [
            ("http://localhost:8000", true),
            ("http://127.0.0.1:8000", true),
            ("http://[::1]:8000", true),
            ("http://192.168.1.7:8000", true),
            ("http://100.64.1.1:8000", true),
            ("http://tower:8000", true),
            ("https://tower.local", true),
            ("https://app.example.org", true),
            ("capacitor://localhost", true),
            ("tauri://localhost", false),
            ("null", false),
            ("file://", false),
            ("https://evil.org", false),
            ("http://8.8.8.8", false),
            ("http://100.128.1.1", false),
            ("http://localhost.evil.org", false),
            ("http://127.0.0.1@evil.org", false),
        ] {
            let headers = [("host", "localhost:4000"), ("origin", origin)];
            assert_eq!(check(&access, "127.0.0.1", &headers).is_ok(), passes, "{origin}");
        }
    }

    #[test]
    fn own_origin_passes_with_its_host() {
        let access = Access { allowed_hosts: vec!["chat.example.org".to_owned()], ..Access::default() };
        for (host, origin, passes) in [
            ("chat.example.org", "https://chat.example.org", true),
            ("chat.example.org:443", "https://chat.example.org", true),
            ("chat.example.org:4000", "http://chat.example.org:4000", true),
            ("chat.example.org:4000", "http://chat.example.org:4001", false),
            ("8.8.8.8:4000", "http://8.8.8.8:4000", true),
        ] {
            assert_eq!(
                check(&access, "127.0.0.1", &[("host", host), ("origin", origin)]).is_ok(),
                passes,
                "{origin}"
            );
        }
    }

    #[test]
    fn who_is_local() {
        let access = Access { trusted_proxies: vec!["10.0.0.1".parse().unwrap()], ..Access::default() };
        for (peer, headers, expected) in [
            ("127.0.0.1", vec![("host", "localhost")], (true, true)),
            ("127.0.0.1", vec![("host", "tower")], (false, true)),
            ("127.0.0.1", vec![("host", "localhost"), ("origin", "http://localhost:8000")], (true, true)),
            ("127.0.0.1", vec![("host", "localhost"), ("origin", "http://192.168.1.2")], (false, true)),
            ("127.0.0.1", vec![("host", "localhost"), ("x-forwarded-for", "127.0.0.1")], (false, false)),
            ("127.0.0.1", vec![("host", "localhost"), ("forwarded", "for=1.2.3.4")], (false, false)),
            ("127.0.0.1", vec![("host", "localhost"), ("x-real-ip", "127.0.0.1")], (false, false)),
            (
                "10.0.0.1",
                vec![("host", "localhost"), ("x-forwarded-for", "127.0.0.1, 8.8.8.8")],
                (false, false),
            ),
            (
                "10.0.0.1",
                vec![("host", "localhost"), ("x-forwarded-for", "8.8.8.8, 192.168.1.9")],
                (false, true),
            ),
            ("10.0.0.1", vec![("host", "localhost")], (false, true)),
            ("10.0.0.1", vec![("host", "localhost"), ("x-forwarded-for", "127.0.0.1:4711")], (true, true)),
            ("10.0.0.1", vec![("host", "localhost"), ("x-forwarded-for", "8.8.8.8:4711")], (false, false)),
            ("10.0.0.1", vec![("host", "localhost"), ("x-forwarded-for", "unknown")], (false, false)),
            ("10.0.0.1", vec![("host", "localhost"), ("forwarded", "for=192.168.1.9")], (false, true)),
            ("10.0.0.1", vec![("host", "localhost"), ("forwarded", "for=8.8.8.8")], (false, false)),
            ("10.0.0.1", vec![("host", "localhost"), ("forwarded", "proto=https")], (false, false)),
            ("10.0.0.1", vec![("host", "localhost"), ("x-forwarded-proto", "https")], (false, false)),
            ("10.0.0.1", vec![("host", "localhost"), ("x-real-ip", "192.168.1.9")], (false, true)),
            ("192.168.1.9", vec![("host", "tower")], (false, true)),
            ("100.100.1.1", vec![("host", "tower")], (false, true)),
            ("8.8.8.8", vec![("host", "tower")], (false, false)),
        ] {
            assert_eq!(check(&access, peer, &headers), Ok(expected), "{peer} {headers:?}");
        }
    }
}

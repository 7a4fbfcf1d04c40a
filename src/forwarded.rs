//! Whom the headers of a trusted proxy name (spec §2.5): `X-Forwarded-For`, `Forwarded` (RFC 7239) and
//! `X-Real-IP`.
//!
//! Each hop adds the one that it was asked by at the end, so only the end can be trusted: the peer is the
//! nearest hop that is no proxy of ours. What lies beyond it is the peer's own word.

use std::net::IpAddr;

use actix_web::http::header::HeaderMap;

/// Whether a request says that it was forwarded, by whomever.
pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let name = name.as_str();
        name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-")
    })
}

/// The peer that the headers name. `None` if they name nobody, or something that is no address, or contradict
/// each other: a proxy sets one of them and passes on what a client wrote into another.
pub(crate) fn named_peer(headers: &HeaderMap, is_proxy: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let lines = |name: &str| {
        headers.get_all(name).map(|value| value.to_str().unwrap_or("?").to_owned()).collect::<Vec<_>>()
    };
    let list = |name: &str| lines(name).iter().flat_map(|line| hops(line)).collect::<Vec<_>>();
    let forwarded: Vec<_> = lines("forwarded").iter().flat_map(|line| elements(line)).collect();
    let mut peer = None;
    let mut proxy = None;
    for (name, hops) in [
        ("x-forwarded-for", list("x-forwarded-for")),
        ("forwarded", forwarded),
        ("x-real-ip", list("x-real-ip")),
    ] {
        if !headers.contains_key(name) {
            continue;
        }
        // A hop that is no address may be anybody, so nothing beyond it counts.
        let named = hops.iter().rev().find(|hop| hop.is_none_or(|ip| !is_proxy(ip)));
        match named {
            Some(hop) => {
                let ip = (*hop)?;
                if *peer.get_or_insert(ip) != ip {
                    return None;
                }
            }
            // A proxy of ours that asks for itself, if no other header knows better.
            None => proxy = proxy.or(Some(hops.first().copied().flatten()?)),
        }
    }
    peer.or(proxy)
}

/// The hops of `X-Forwarded-For`: a list of addresses.
fn hops(line: &str) -> Vec<Option<IpAddr>> {
    line.split(',').map(str::trim).filter(|hop| !hop.is_empty()).map(node).collect()
}

/// The hops of `Forwarded`: a list of elements, each a list of pairs, of which `for` is one.
fn elements(line: &str) -> Vec<Option<IpAddr>> {
    let elements = split(line, ',').into_iter().map(str::trim).filter(|element| !element.is_empty());
    let hop = |element: &str| {
        let pairs = split(element, ';').into_iter().filter_map(|pair| pair.split_once('='));
        let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
        let (_, value) = named.next()?;
        // Twice in one element is against the rules, and either may be the client's.
        if named.next().is_some() { None } else { node(&unquoted(value.trim())?) }
    };
    elements.map(hop).collect()
}

/// Splits outside of quoted strings.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    })
    .collect()
}

/// A token as it is, or the content of a quoted string.
fn unquoted(value: &str) -> Option<String> {
    let Some(rest) = value.strip_prefix('"') else {
        return Some(value.to_owned());
    };
    let mut content = String::new();
    let mut rest = rest.chars();
    loop {
        match rest.next()? {
            '"' => return rest.next().is_none().then_some(content),
            '\\' => content.push(rest.next()?),
            c => content.push(c),
        }
    }
}

/// An address, IPv6 with or without brackets, perhaps with a port, which may be obfuscated.
fn node(text: &str) -> Option<IpAddr> {
    let port = |text: &str| {
        let (digits, word) = (text.strip_prefix(|c: char| c.is_ascii_digit()), text.strip_prefix('_'));
        digits.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
            || word.is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            })
    };
    let ip = if let Some(rest) = text.strip_prefix('[') {
        let (ip, rest) = rest.split_once(']')?;
        let is_whole = rest.is_empty() || rest.strip_prefix(':').is_some_and(port);
        is_whole.then(|| ip.parse().ok().map(IpAddr::V6))?
    } else {
        let with_port = text.split_once(':').filter(|(ip, rest)| ip.contains('.') && port(rest));
        with_port.map_or(text, |(ip, _)| ip).parse().ok()
    };
    ip.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn named(lines: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let proxies: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        named_peer(&headers, |ip| proxies.contains(&ip)).map(|ip| ip.to_string())
    }

    #[test]
    fn addresses_and_their_ports() {
        for (text, ip) in [
            ("8.8.8.8", Some("8.8.8.8")),
            ("8.8.8.8:4711", Some("8.8.8.8")),
            ("8.8.8.8:_secret.1", Some("8.8.8.8")),
            ("2001:db8::7", Some("2001:db8::7")),
            ("[2001:db8::7]", Some("2001:db8::7")),
            ("[2001:db8::7]:4711", Some("2001:db8::7")),
            ("[2001:db8::7]:_p", Some("2001:db8::7")),
            ("::ffff:8.8.8.8", Some("8.8.8.8")),
            ("[::ffff:8.8.8.8]:1", Some("8.8.8.8")),
            ("unknown", None),
            ("_hidden", None),
            ("?", None),
            ("8.8.8.8:", None),
            ("8.8.8.8:x", None),
            ("8.8.8.8:1:2", None),
            ("8.8.8.8 9.9.9.9", None),
            ("[8.8.8.8]", None),
            ("[2001:db8::7", None),
            ("[2001:db8::7]4711", None),
            ("fe80::1%eth0", None),
            ("localhost", None),
        ] {
            assert_eq!(node(text).map(|ip| ip.to_string()).as_deref(), ip, "{text}");
        }
    }

    #[test]
    fn the_nearest_hop_that_is_no_proxy_of_ours() {
        for (value, peer) in [
            ("8.8.8.8", Some("8.8.8.8")),
            ("192.168.1.9, 8.8.8.8", Some("8.8.8.8")),
            ("8.8.8.8, 192.168.1.9, 10.0.0.1", Some("192.168.1.9")),
            ("8.8.8.8,, [2001:db8::1]:443 ,", Some("8.8.8.8")),
            ("127.0.0.1, unknown", None),
            ("127.0.0.1, unknown, 10.0.0.1", None),
            ("unknown, 8.8.8.8", Some("8.8.8.8")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("2001:db8::1, 10.0.0.1", Some("2001:db8::1")),
            ("", None),
            (",", None),
            ("127.0.0.1, 8.8.8.8\u{e9}", None),
        ] {
            assert_eq!(named(&[("x-forwarded-for", value)]).as_deref(), peer, "{value}");
        }
        let lines = [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "8.8.8.8")];
        assert_eq!(named(&lines).as_deref(), Some("8.8.8.8"), "several lines are one list");
    }

    #[test]
    fn forwarded_by_rfc_7239() {
        for (value, peer) in [
            ("for=8.8.8.8", Some("8.8.8.8")),
            ("For=\"8.8.8.8:4711\"", Some("8.8.8.8")),
            ("for=\"[2001:db8::7]:4711\"", Some("2001:db8::7")),
            ("for=\"[2001:db8::7]\";proto=https;by=203.0.113.43", Some("2001:db8::7")),
            ("proto=https ; for = 8.8.8.8", Some("8.8.8.8")),
            ("for=127.0.0.1, for=8.8.8.8;proto=https, for=10.0.0.1", Some("8.8.8.8")),
            ("for=\"8.8.\\8.8\"", Some("8.8.8.8")),
            ("by=\"a,for=127.0.0.1;\";for=8.8.8.8", Some("8.8.8.8")),
            ("by=\"\\\",for=127.0.0.1\", for=8.8.8.8", Some("8.8.8.8")),
            ("for=unknown", None),
            ("for=_hidden", None),
            ("for=127.0.0.1, for=unknown", None),
            ("for=127.0.0.1, proto=https", None),
            ("for=127.0.0.1;for=8.8.8.8", None),
            ("for=\"127.0.0.1", None),
            ("for=\"127.0.0.1\"x", None),
            ("proto=https", None),
            ("127.0.0.1", None),
            ("", None),
        ] {
            assert_eq!(named(&[("forwarded", value)]).as_deref(), peer, "{value}");
        }
    }

    #[test]
    fn headers_that_contradict_each_other_name_nobody() {
        for (lines, peer) in [
            (vec![("x-forwarded-for", "8.8.8.8"), ("x-real-ip", "8.8.8.8")], Some("8.8.8.8")),
            (vec![("x-forwarded-for", "8.8.8.8:1"), ("forwarded", "for=\"8.8.8.8:2\"")], Some("8.8.8.8")),
            (vec![("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "8.8.8.8")], None),
            (vec![("x-forwarded-for", "8.8.8.8"), ("forwarded", "for=127.0.0.1")], None),
            (vec![("x-forwarded-for", "8.8.8.8"), ("forwarded", "proto=https")], None),
            // The second of two proxies sees the first.
            (vec![("x-forwarded-for", "8.8.8.8, 10.0.0.1"), ("x-real-ip", "10.0.0.1")], Some("8.8.8.8")),
            (vec![("x-real-ip", "8.8.8.8")], Some("8.8.8.8")),
            (vec![("x-real-ip", "10.0.0.1")], Some("10.0.0.1")),
            (vec![("x-forwarded-proto", "https")], None),
        ] {
            assert_eq!(named(&lines).as_deref(), peer, "{lines:?}");
        }
    }
}

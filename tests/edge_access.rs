//! Who may reach the broker at all (spec §8.1 8-39), and who counts as local (spec §2.5), over real HTTP.

mod support;

use newage_broker::config::{Config, Scope};
use serde_json::json;
use support::{Broker, Opening, Peer, Refused, auth, auth_with_key, http, key};

const FORBIDDEN: &str = r#"{"code":4,"message":"Forbidden"}"#;
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Both transports are refused, with the same answer.
async fn is_refused(broker: &Broker, header: (&str, &str)) {
    let opening = Opening::new().header(header.0, header.1);
    for refused in [opening.polling(broker).await.err(), opening.ws(broker).await.err()] {
        let Some(Refused(reply)) = refused else { panic!("{header:?} passed") };
        assert_eq!((reply.status, reply.text()), (403, FORBIDDEN), "{header:?}");
        assert_eq!(reply.header("access-control-allow-origin"), None, "{header:?}");
    }
}

async fn passes(broker: &Broker, header: (&str, &str)) {
    let opening = Opening::new().header(header.0, header.1);
    for opened in [opening.polling(broker).await, opening.ws(broker).await] {
        opened.unwrap_or_else(|refused| panic!("{header:?}: {refused:?}"));
    }
}

#[tokio::test]
async fn defect_8_39_a_foreign_host_is_refused() {
    let broker = Broker::start(|config| config.server.allowed_hosts = vec!["broker.example.org".to_owned()]);
    for host in ["evil.example.org", "evil.example.org:4000", "127.0.0.1.nip.io", "localhost.evil.org"] {
        is_refused(&broker, ("host", host)).await;
    }
    for host in
        ["localhost", "LOCALHOST:4000", "127.0.0.1", "[::1]:4000", "tower", "tower.local:1", "8.8.8.8"]
    {
        passes(&broker, ("host", host)).await;
    }
    passes(&broker, ("host", "broker.example.org")).await;
}

#[tokio::test]
async fn defect_8_39_a_foreign_origin_is_refused() {
    let broker = Broker::start(|config| {
        config.server.allowed_origins =
            vec!["https://app.example.org".to_owned(), "capacitor://localhost".to_owned()];
    });
    for origin in [
        "https://evil.example.org",
        "null",
        "file://",
        "tauri://localhost",
        "http://8.8.8.8",
        "http://localhost.evil.org",
        "http://127.0.0.1@evil.org",
        "https://app.example.org.evil.org",
        "https://app.example.org:8443",
        "http://app.example.org",
        "",
    ] {
        is_refused(&broker, ("origin", origin)).await;
    }
    for origin in [
        "http://localhost:8000",
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
        "http://192.168.1.7:8000",
        "https://tower.local",
        "https://app.example.org",
        "capacitor://localhost",
    ] {
        passes(&broker, ("origin", origin)).await;
    }
}

#[tokio::test]
async fn the_published_address_is_its_own_origin() {
    let broker =
        Broker::start(|config| config.server.public_url = Some("https://chat.example.org/".to_owned()));
    let ours = Opening::new().header("host", "chat.example.org").header("origin", "https://chat.example.org");
    ours.ws(&broker).await.unwrap();
    ours.polling(&broker).await.unwrap();
    is_refused(&broker, ("origin", "https://other.example.org")).await;
}

#[tokio::test]
async fn an_open_session_is_no_way_around() {
    let broker = Broker::start(|_| ());
    let peer = Peer::open_polling(&broker).await;
    for (method, transport) in [("GET", "polling"), ("POST", "polling")] {
        let headers = [("origin", "https://evil.example.org")];
        http(&broker, method, &peer.path(transport), &headers, "6").await.expect(403, FORBIDDEN);
    }
    let mut peer = peer;
    peer.barrier().await;
}

#[tokio::test]
async fn an_allowed_origin_is_reflected_and_no_other() {
    let broker = Broker::start(|_| ());
    let origin = ("origin", "http://localhost:8000");
    let mut answers = vec![http(&broker, "GET", POLLING, &[origin], "").await];
    // Refusals that are not about access can be read by the page too.
    answers.push(http(&broker, "GET", "/socket.io/?EIO=3&transport=polling", &[origin], "").await);
    for reply in &answers {
        assert_eq!(reply.header("access-control-allow-origin"), Some("http://localhost:8000"));
        assert_eq!(reply.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(reply.header("vary"), Some("Origin"));
    }
    let native = http(&broker, "GET", POLLING, &[], "").await;
    assert_eq!(native.status, 200);
    assert_eq!(native.header("access-control-allow-origin"), None);
    assert_eq!(native.header("vary"), Some("Origin"));
}

#[tokio::test]
async fn every_origin_may_be_allowed_and_is_still_reflected() {
    let broker = Broker::start(|config| config.server.allowed_origins = vec!["*".to_owned()]);
    let reply = http(&broker, "GET", POLLING, &[("origin", "https://any.example.org")], "").await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://any.example.org"));
}

#[tokio::test]
async fn preflight() {
    let broker = Broker::start(|_| ());
    let asks = ("access-control-request-method", "POST");
    for path in [POLLING, "/socket.io/"] {
        let reply = http(&broker, "OPTIONS", path, &[("origin", "http://localhost:8000"), asks], "").await;
        assert_eq!((reply.status, reply.body.len()), (204, 0));
        assert_eq!(reply.header("access-control-allow-methods"), Some("GET,POST"));
        assert_eq!(reply.header("access-control-allow-origin"), Some("http://localhost:8000"));
        assert_eq!(reply.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(reply.header("vary"), Some("Origin"));
    }
    let wants = ("access-control-request-headers", "authorization,x-mine");
    let headers = [("origin", "http://localhost:8000"), asks, wants];
    let reply = http(&broker, "OPTIONS", POLLING, &headers, "").await;
    assert_eq!(
        (reply.status, reply.header("access-control-allow-headers")),
        (204, Some("authorization,x-mine"))
    );
    let foreign =
        http(&broker, "OPTIONS", POLLING, &[("origin", "https://evil.example.org"), asks], "").await;
    foreign.expect(403, FORBIDDEN);
}

/// Whether a peer with these headers needs no key, `networkSafe` being true.
async fn needs_no_key(broker: &Broker, headers: &[(&str, &str)]) -> bool {
    let opening = headers.iter().fold(Opening::new(), |opening, (name, value)| opening.header(name, value));
    let mut results = Vec::new();
    for peer in [opening.ws(broker).await, opening.polling(broker).await] {
        let mut peer = peer.unwrap_or_else(|refused| panic!("{headers:?}: {refused:?}"));
        // With a key that is wrong the answer is one of two, and neither takes time.
        peer.send_text(&format!("40/llm,{}", auth_with_key("app-a", "wrong"))).await;
        peer.expect_prefix("40/llm,{").await;
        peer.barrier().await;
        peer.send_text("42/llm,0[33]").await;
        peer.barrier().await;
        let packet = peer.expect_prefix("4").await;
        let safe = packet.starts_with("3/llm,0[");
        assert!(safe || packet == "2/llm,[21,{\"type\":21,\"message\":\"Invalid key.\"}]", "{packet}");
        results.push(safe);
    }
    assert_eq!(results[0], results[1], "{headers:?}: the transports disagree");
    results[0]
}

#[tokio::test]
async fn a_forwarded_peer_is_not_local() {
    let broker = Broker::start(|config| config.trust.failed_checks_per_minute = 1000);
    assert!(needs_no_key(&broker, &[]).await);
    for header in [
        ("x-forwarded-for", "8.8.8.8"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
    ] {
        assert!(!needs_no_key(&broker, &[header]).await, "{header:?}");
    }
    // With its key it is welcome.
    let mut peer = Opening::new().header("x-forwarded-for", "8.8.8.8").ws(&broker).await.unwrap();
    peer.join("/llm", auth_with_key("app-a", &key("app-a"))).await;
    let answer = peer.emit_with_ack("/llm", json!(9), json!({})).await;
    assert_eq!(answer["message"], "Invalid LLM request data.");
}

#[tokio::test]
async fn the_header_of_a_trusted_proxy_names_the_peer() {
    let broker = Broker::start(|config| {
        config.trust.failed_checks_per_minute = 1000;
        config.server.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    });
    for (name, value, local) in [
        ("x-forwarded-for", "192.168.1.9", true),
        ("x-forwarded-for", "192.168.1.9:4711", true),
        ("x-forwarded-for", "8.8.8.8", false),
        ("x-forwarded-for", "8.8.8.8:4711", false),
        ("x-forwarded-for", "192.168.1.9, 8.8.8.8", false),
        ("x-forwarded-for", "8.8.8.8, 192.168.1.9", true),
        ("x-forwarded-for", "8.8.8.8, 127.0.0.1", false),
        ("forwarded", "for=192.168.1.9", true),
        ("forwarded", "for=\"[fe80::1]:4711\";proto=https", true),
        ("forwarded", "for=8.8.8.8", false),
        ("forwarded", "for=192.168.1.9, for=\"[2001:db8::1]\"", false),
        ("x-real-ip", "192.168.1.9", true),
        ("x-real-ip", "8.8.8.8", false),
        // What names nobody does not make the peer the proxy.
        ("x-forwarded-for", "unknown", false),
        ("x-forwarded-for", "192.168.1.9, unknown", false),
        ("x-forwarded-for", "", false),
        ("forwarded", "for=unknown", false),
        ("forwarded", "for=_hidden", false),
        ("forwarded", "proto=https", false),
        ("x-forwarded-proto", "https", false),
        ("x-forwarded-host", "localhost", false),
    ] {
        assert_eq!(needs_no_key(&broker, &[(name, value)]).await, local, "{name}: {value}");
    }
    // A proxy sets one header and passes on the other, which a client has written.
    let forged = [("x-forwarded-for", "8.8.8.8"), ("forwarded", "for=127.0.0.1")];
    assert!(!needs_no_key(&broker, &forged).await);
    // Nor is it on loopback: it does not get its key for the asking.
    for header in [("x-forwarded-proto", "https"), ("x-forwarded-for", "unknown")] {
        let mut peer = Opening::new().header(header.0, header.1).ws(&broker).await.unwrap();
        peer.join("/auth", auth_with_key("app-a", "getKey")).await;
        peer.expect_nothing().await;
        let ack = peer.emit_with_ack("/auth", json!(33), json!({})).await;
        assert_eq!(ack["message"], "Unauthorized", "{header:?}");
    }
}

#[tokio::test]
async fn network_safe_for_any_frees_all_of_their_key() {
    let any = |config: &mut Config| config.trust.network_safe_scope = Scope::Any;
    let broker = Broker::start(any);
    assert!(needs_no_key(&broker, &[("x-forwarded-for", "8.8.8.8")]).await);
    let mut peer = Opening::new().header("x-forwarded-for", "8.8.8.8").ws(&broker).await.unwrap();
    peer.join("/auth", auth("app-a")).await;
}

/// A name that was made to lead here makes its page one of the same origin.
#[tokio::test]
async fn files_are_not_served_under_a_foreign_host() {
    let setup = Broker::setup().file("client/app-a/main.js", "let a").file("public/p.txt", "p");
    let broker = setup.start(|config| config.server.allowed_hosts = vec!["broker.example.org".to_owned()]);
    for path in ["/", "/client/app-a/main.js", "/public/p.txt", "/lib/constants.js", "/nothing"] {
        let reply = http(&broker, "GET", path, &[("host", "evil.example.org")], "").await;
        assert_eq!(reply.status, 403, "{path}");
        assert!(reply.text().contains("server.allowed_hosts"), "{path}");
        for host in ["broker.example.org", "localhost:4000"] {
            assert_ne!(http(&broker, "GET", path, &[("host", host)], "").await.status, 403, "{host} {path}");
        }
    }
}

/// A page may have its browser ask anybody for an image; that names no origin.
#[tokio::test]
async fn an_image_of_another_site_opens_no_session() {
    let broker = Broker::start(|_| ());
    for (site, status) in [("cross-site", 403), ("same-site", 200), ("same-origin", 200), ("none", 200)] {
        let reply = http(&broker, "GET", POLLING, &[("sec-fetch-site", site)], "").await;
        assert_eq!(reply.status, status, "{site}");
    }
    assert_eq!(broker.metric("newage_sessions"), 3);
    // An origin that is allowed is, from whatever site.
    let headers = [("sec-fetch-site", "cross-site"), ("origin", "http://localhost:8000")];
    assert_eq!(http(&broker, "GET", POLLING, &headers, "").await.status, 200);
}

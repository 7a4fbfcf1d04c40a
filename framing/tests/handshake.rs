//! The query of an Engine.IO request, and how it is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use framing::engine::{HandshakeError, Method, Request, Sid, TransportKind, parse_query};

#[test]
fn queries() {
    use HandshakeError::*;
    use Method::*;
    use TransportKind::{Polling, WebSocket};
    const SID: &str = "TOY1qTTymaxOa0FUAAAB";
    let request = |transport, known: bool| {
        Ok(Request { transport, sid: known.then(|| Sid::parse(SID).unwrap()), base64: false })
    };
    let table = [
        ("EIO=4&transport=polling", Get, false, request(Polling, false)),
        ("EIO=4&transport=polling&t=ypofbnzw", Get, false, request(Polling, false)),
        ("transport=polling&EIO=4&sid=", Get, false, request(Polling, false)),
        ("EIO=4&transport=websocket", Get, true, request(WebSocket, false)),
        ("EIO=4&transport=polling&sid=TOY1qTTymaxOa0FUAAAB", Get, false, request(Polling, true)),
        ("EIO=4&transport=polling&sid=TOY1qTTymaxOa0FUAAAB", Post, false, request(Polling, true)),
        ("EIO=4&transport=websocket&sid=TOY1qTTymaxOa0FUAAAB", Get, true, request(WebSocket, true)),
        ("EIO=4&transport=%70olling&sid=TOY1qTTymaxOa0FUAAA%42", Get, false, request(Polling, true)),
        ("transport=polling&sid=TOY1qTTymaxOa0FUAAAB", Get, false, request(Polling, true)),
        ("EIO=3&EIO=4&transport=abc&transport=polling", Get, false, request(Polling, false)),
        ("", Get, false, Err(UnknownTransport)),
        ("EIO=4", Get, false, Err(UnknownTransport)),
        ("EIO=4&transport=abc", Get, false, Err(UnknownTransport)),
        ("EIO=4&transport=webtransport", Get, true, Err(UnknownTransport)),
        ("EIO=4&transport", Get, false, Err(UnknownTransport)),
        ("EIO=4&transport=%", Get, false, Err(UnknownTransport)),
        ("EIO=4&transport=%ff%é", Get, false, Err(UnknownTransport)),
        ("transport=polling", Get, false, Err(UnsupportedProtocolVersion)),
        ("EIO=3&transport=polling", Get, false, Err(UnsupportedProtocolVersion)),
        ("EIO=abc&transport=websocket", Get, true, Err(UnsupportedProtocolVersion)),
        ("EIO=4&transport=polling", Post, false, Err(BadHandshakeMethod)),
        ("EIO=4&transport=polling", Other, false, Err(BadHandshakeMethod)),
        ("EIO=4&transport=polling", Options, false, Err(BadHandshakeMethod)),
        ("EIO=4&transport=websocket", Get, false, Err(BadRequest)),
        ("EIO=4&transport=polling", Get, true, Err(BadRequest)),
        ("EIO=4&transport=polling&sid=TOY1qTTymaxOa0FUAAAB", Other, false, Err(BadRequest)),
        ("EIO=4&transport=websocket&sid=TOY1qTTymaxOa0FUAAAB", Post, false, Err(BadRequest)),
        ("EIO=4&transport=polling&sid=abc", Get, false, Err(UnknownSid)),
        ("EIO=4&transport=polling&sid=abc", Post, false, Err(UnknownSid)),
        ("EIO=4&transport=polling&sid=+OY1qTTymaxOa0FUAAAB", Get, false, Err(UnknownSid)),
        ("EIO=4&transport=websocket&sid=é", Get, true, Err(UnknownSid)),
        // Several faults: the official server's order.
        ("EIO=3&transport=polling", Post, false, Err(BadHandshakeMethod)),
        ("EIO=3&transport=polling&sid=abc", Post, false, Err(UnknownSid)),
        ("EIO=3&transport=abc&sid=abc", Post, false, Err(UnknownTransport)),
    ];
    for (query, method, websocket, expected) in table {
        assert_eq!(parse_query(query, method, websocket), expected, "{query:?} {method:?} {websocket}");
    }
    assert!(parse_query("EIO=4&transport=polling&b64=1", Get, false).unwrap().base64);
}

#[test]
fn refusals_read_as_the_official_server_s() {
    use HandshakeError::*;
    let all =
        [UnknownTransport, UnknownSid, BadHandshakeMethod, BadRequest, Forbidden, UnsupportedProtocolVersion];
    for (code, error) in (0_u8..).zip(all) {
        assert_eq!(error.code(), code);
        assert_eq!(error.body(), format!(r#"{{"code":{code},"message":"{}"}}"#, error.message()));
        assert_eq!(error.to_string(), error.message());
        assert_eq!(error.status(), if error == Forbidden { 403 } else { 400 });
    }
}

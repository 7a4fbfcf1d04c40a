//! What the query of an Engine.IO request asks for, and how it is refused.

use std::borrow::Cow;

use thiserror::Error;

use super::Sid;

/// The ways an Engine.IO session can be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// HTTP long-polling.
    Polling,
    /// A WebSocket.
    WebSocket,
}

/// The method of a request, as far as Engine.IO tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Opens a session, or waits for packets.
    Get,
    /// Brings packets.
    Post,
    /// A browser's preflight; answered before the query is read.
    Options,
    /// Anything else.
    Other,
}

/// A request that may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The transport asked for.
    pub transport: TransportKind,
    /// The session it belongs to; `None` opens one.
    pub sid: Option<Sid>,
    /// The client wants binary as base64 text, on a WebSocket too (`b64`).
    pub base64: bool,
}

/// Why a request is refused, with the numbers of the official server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum HandshakeError {
    /// `transport` is neither `polling` nor `websocket`.
    #[error("Transport unknown")]
    UnknownTransport = 0,
    /// No session has this id.
    #[error("Session ID unknown")]
    UnknownSid = 1,
    /// A session is opened by GET only.
    #[error("Bad handshake method")]
    BadHandshakeMethod = 2,
    /// Transport and request do not fit together.
    #[error("Bad request")]
    BadRequest = 3,
    /// Refused by policy, such as a foreign origin.
    #[error("Forbidden")]
    Forbidden = 4,
    /// `EIO` is not 4.
    #[error("Unsupported protocol version")]
    UnsupportedProtocolVersion = 5,
}

impl HandshakeError {
    /// The number that clients know it by.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The text that goes with the number, as the official server words it.
    pub fn message(self) -> &'static str {
        match self {
            Self::UnknownTransport => "Transport unknown",
            Self::UnknownSid => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::Forbidden => "Forbidden",
            Self::UnsupportedProtocolVersion => "Unsupported protocol version",
        }
    }

    /// The body of the answer, `application/json`.
    pub fn body(self) -> &'static str {
        match self {
            Self::UnknownTransport => r#"{"code":0,"message":"Transport unknown"}"#,
            Self::UnknownSid => r#"{"code":1,"message":"Session ID unknown"}"#,
            Self::BadHandshakeMethod => r#"{"code":2,"message":"Bad handshake method"}"#,
            Self::BadRequest => r#"{"code":3,"message":"Bad request"}"#,
            Self::Forbidden => r#"{"code":4,"message":"Forbidden"}"#,
            Self::UnsupportedProtocolVersion => r#"{"code":5,"message":"Unsupported protocol version"}"#,
        }
    }

    /// The HTTP status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            _ => 400,
        }
    }
}

/// Reads the query of a request to the Socket.IO path.
///
/// `query` is what follows the `?`, still percent-encoded; of several values of a key the
/// last one counts. `websocket` says whether the request asks for a WebSocket by its headers.
/// The checks come in the order of the official server, so that a request with several
/// faults gets the same answer. Whether the session exists, and is on that transport, is
/// the caller's to check.
///
/// # Errors
///
/// See [`HandshakeError`]; an id that is no [`Sid`] is unknown, never a new session.
pub fn parse_query(query: &str, method: Method, websocket: bool) -> Result<Request, HandshakeError> {
    let value = |key| last_value(query, key);
    let transport = match value("transport").as_deref() {
        Some("polling") => TransportKind::Polling,
        Some("websocket") => TransportKind::WebSocket,
        _ => return Err(HandshakeError::UnknownTransport),
    };
    let sid = match value("sid").as_deref() {
        None | Some("") => None,
        Some(text) => Some(Sid::parse(text).ok_or(HandshakeError::UnknownSid)?),
    };
    let is_websocket = transport == TransportKind::WebSocket;
    match (sid, method) {
        (None, Method::Get) | (Some(_), Method::Get) => (),
        (Some(_), Method::Post) if !is_websocket => (),
        (None, _) => return Err(HandshakeError::BadHandshakeMethod),
        (Some(_), _) => return Err(HandshakeError::BadRequest),
    }
    if is_websocket != websocket {
        return Err(HandshakeError::BadRequest);
    }
    // The official server checks the version of the first request only; the id vouches for it later.
    if sid.is_none() && value("EIO").as_deref() != Some("4") {
        return Err(HandshakeError::UnsupportedProtocolVersion);
    }
    let base64 = value("b64").is_some_and(|text| !text.is_empty());
    Ok(Request { transport, sid, base64 })
}

fn last_value<'q>(query: &'q str, key: &str) -> Option<Cow<'q, str>> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .rfind(|(name, _)| percent_decode(name) == key)
        .map(|(_, value)| percent_decode(value))
}

/// `+` and `%XX` of a query component; what is no escape stays.
fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match (byte, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            _ => byte,
        });
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

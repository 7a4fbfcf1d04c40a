//! What the registry is asked and told.

use std::sync::Arc;

use actix::prelude::*;
use framing::{ByteString, encoded::Encoded, engine::Sid, json::RawJson};

use super::{Admission, ClientDialect, ReviseSocket, SharedDialect, SocketKey};
use crate::{
    ids::{ClientId, Identity},
    llm_router::{Deliver, ToTarget},
    outbox::Outbox,
    protocol::Namespace,
    session::{HandedOn, ProveAlive, socketio::AckArgs},
};

/// One authenticated namespace socket.
#[derive(Clone, Debug)]
pub struct SocketEntry {
    /// Its key.
    pub key: SocketKey,
    /// Its session.
    pub sid: Sid,
    /// Its namespace.
    pub ns: Namespace,
    /// The client that it authenticated as.
    pub client: ClientId,
    /// The client's instance.
    pub identity: Identity,
    /// `clientType`, a label.
    pub client_type: ByteString,
    /// `desc`, sanitised.
    pub desc: Option<ByteString>,
    /// `clienthtml`.
    pub html: Option<ByteString>,
    /// A trusted extension (spec §4 "E-only").
    pub extension: bool,
    /// Administrator's rights by the settings file.
    pub admin: bool,
    /// Where packets for it are pushed.
    pub outbox: Arc<Outbox>,
    /// What this socket has shown of its dialect.
    pub dialect: SharedDialect,
    /// Ends the socket or changes its rights, and those of no other of its session.
    pub session: Option<Recipient<ReviseSocket>>,
}

/// How the rest of the broker reaches an `/llm` or `/function_call` socket.
#[derive(Clone, Debug)]
pub enum SocketLink {
    /// Only packets are pushed to it.
    Outbox,
    /// `/llm`: answers are delivered, and requests too if it is an extension.
    Llm {
        /// To the requester.
        deliver: Recipient<Deliver>,
        /// To the target.
        target: Option<Recipient<ToTarget>>,
        /// Whether it lives.
        prove: Recipient<ProveAlive>,
    },
    /// An extension's `/function_call`.
    Functions(Recipient<CallExtension>),
}

/// Asks an extension to run a function (spec §6.1).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Option<Called>")]
pub struct CallExtension {
    /// The socket that is addressed.
    pub socket: SocketKey,
    /// The payload that is forwarded.
    pub payload: RawJson,
    /// Its attachments.
    pub attachments: Vec<framing::Bytes>,
}

/// What became of a call; nothing at all if the extension did not answer, or is gone.
#[derive(Debug)]
pub enum Called {
    /// The extension has answered.
    Answered(AckArgs),
    /// It was not called: it has more to take than this would fit behind.
    TooLarge,
}

/// A socket asks to be admitted. On success the answer to its CONNECT is pushed before anybody can
/// push anything else to it.
#[derive(Message)]
#[rtype(result = "Result<Admitted, NotAdmitted>")]
pub struct OpenSocket {
    /// The socket.
    pub entry: SocketEntry,
    /// How it is reached.
    pub link: SocketLink,
    /// The answer to its CONNECT, if it has not had one yet.
    pub connected: Option<Encoded>,
    /// Whether it still wants to be.
    pub admission: Admission,
}

/// What an admitted socket shares with its siblings.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The client's dialect.
    pub dialect: ClientDialect,
}

/// Why a socket is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// `limits.connections_per_client`
    TooManyConnections,
    /// `limits.sockets_per_client`
    TooManySockets,
    /// It has left since.
    Withdrawn,
}

/// A socket's session has moved to another worker.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SocketMoved {
    /// The socket.
    pub socket: SocketKey,
    /// How it is reached from now on.
    pub link: SocketLink,
    /// Ends it.
    pub session: Recipient<ReviseSocket>,
    /// Its old address, which hands on what it was sent.
    pub past: Recipient<HandedOn>,
}

/// A socket has left its namespace.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SocketClosed(pub SocketKey);

/// Asks for the newest `/function_call` socket of an extension.
#[derive(Message)]
#[rtype(result = "Option<(SocketKey, Recipient<CallExtension>)>")]
pub struct FindFunctionSocket(pub ByteString);

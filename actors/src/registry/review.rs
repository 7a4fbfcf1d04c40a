//! What becomes of live sockets when their client's rights change (spec §2.2, §4.3 18).

use std::sync::Arc;

use actix::prelude::*;

use super::{Registry, Socket, SocketKey};
use crate::{
    ids::{ClientId, RoomName},
    trust::{Rejection, TrustSnapshot},
};

/// To a session, from the registry or a room: one of its sockets is not any more what it was.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ReviseSocket {
    /// The socket.
    pub socket: SocketKey,
    /// What is new.
    pub revision: Revision,
}

/// What is new about a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revision {
    /// Its client's key was removed: it must go where it needed one, whatever its client does.
    KeyRemoved,
    /// It must go, and is told why.
    Reject(Rejection),
    /// Its administration rights.
    Admin(bool),
    /// It is in a room, and does not know what was written there.
    Joined(RoomName),
}

/// A client's key was removed: its sockets that needed one must go.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DisconnectClient(pub ClientId);

/// The settings files say something else now about somebody.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReviewGrants(pub Arc<TrustSnapshot>);

impl Socket {
    fn revise(&self, revision: Revision) {
        if let Some(session) = &self.entry.session {
            #[expect(
                clippy::disallowed_methods,
                reason = "once per socket and change of its client's rights"
            )]
            session.do_send(ReviseSocket { socket: self.entry.key, revision });
        }
    }
}

impl Handler<DisconnectClient> for Registry {
    type Result = ();

    fn handle(&mut self, DisconnectClient(client): DisconnectClient, _: &mut Self::Context) {
        for socket in self.sockets.values().filter(|socket| socket.entry.client == client) {
            socket.revise(Revision::KeyRemoved);
        }
    }
}

impl Handler<ReviewGrants> for Registry {
    type Result = ();

    // A socket whose handshake was judged by the files of before, and that is opened behind this, looks at the
    // files again itself when it is admitted.
    fn handle(&mut self, ReviewGrants(clients): ReviewGrants, _: &mut Self::Context) {
        for socket in self.sockets.values_mut() {
            match clients.grant(&socket.entry.client) {
                None => socket.revise(Revision::Reject(Rejection::not_trusted())),
                Some(grant) if grant.admin != socket.entry.admin => {
                    socket.entry.admin = grant.admin;
                    socket.revise(Revision::Admin(grant.admin));
                }
                Some(_) => (),
            }
        }
    }
}

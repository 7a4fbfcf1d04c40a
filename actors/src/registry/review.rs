//! What becomes of live sockets when their client's rights change (spec §2.2, §4.3 18).

use std::sync::Arc;

use actix::prelude::*;

use super::{Registry, Socket, SocketKey};
use crate::{
    ids::{ClientId, Identity, MONITOR, RoomName},
    llm_router::Requester,
    protocol::description,
    rooms::MONITOR_ROOM,
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

/// Whether an instance of a client may have that name: its client's id and a suffix, and not the id of another client,
/// nor what an instance of that one may be called: it would get its requests and answers. Nor is anybody but the monitor
/// called like the monitor's room. The suffix is shown in lists, unescaped.
pub fn may_be_called(clients: &TrustSnapshot, client: &ClientId, identity: &Identity) -> bool {
    let name = identity.as_str();
    let mut longer = (client.as_str().len() + 1..=name.len()).filter_map(|end| name.get(..end));
    name.strip_prefix(client.as_str()).is_some_and(|suffix| {
        suffix.is_empty()
            || !description::has_markup(suffix)
                && !longer.any(|id| clients.entry(id).is_some())
                && (name != MONITOR_ROOM || *client == MONITOR)
    })
}

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
            let entry = &mut socket.entry;
            match clients.grant(&entry.client) {
                None => socket.revise(Revision::Reject(Rejection::not_trusted())),
                // Its name is that of a client that has been added.
                Some(_) if !may_be_called(&clients, &entry.client, &entry.identity) => {
                    socket.revise(Revision::Reject(Rejection::unauthorized()));
                }
                Some(grant) if grant.admin != entry.admin => {
                    entry.admin = grant.admin;
                    socket.revise(Revision::Admin(grant.admin));
                }
                Some(_) => (),
            }
        }
        self.known = clients;
        let away = self.clients.iter().flat_map(|(client, known)| {
            let away = known.instances.iter().filter(|(_, instance)| instance.away.is_some());
            away.map(|(identity, _)| Requester { client: client.clone(), identity: identity.clone() })
        });
        let lost: Vec<Requester> = away.filter(|owner| self.has_lost_its_name(owner)).collect();
        lost.iter().for_each(|owner| self.gives_name_back(owner));
    }
}

impl Registry {
    /// Whether the name of an instance is that of another client, which has been added since.
    pub(super) fn has_lost_its_name(&self, Requester { client, identity }: &Requester) -> bool {
        !may_be_called(&self.known, client, identity)
    }

    /// It does not come back under that name, which somebody else may have by now.
    pub(super) fn gives_name_back(&mut self, owner: &Requester) {
        self.give_up(owner);
        let sockets = self.sockets.values().map(|socket| &socket.entry);
        for entry in sockets.filter(|entry| entry.identity == owner.identity) {
            self.lists_own_room(entry);
            self.tell_rooms(entry);
        }
    }
}

//! Who is there, as one supervisor's rooms see it.

use std::{cell::RefCell, sync::Arc};

use actix::prelude::*;
use framing::{ByteString, encoded::Encoded};

use crate::{
    emit,
    ids::{ClientId, Identity, RoomName},
    maps::FastMap,
    outbox::Outbox,
    protocol::{MsgType, Namespace},
    registry::{ReviseSocket, Revision, SharedDialect, SocketKey},
};

/// One socket of somebody in `/rooms` or `/llm`.
#[derive(Clone, Debug)]
pub struct Line {
    /// Which of the two.
    pub ns: Namespace,
    /// Its key.
    pub key: SocketKey,
    /// Its session.
    pub session: Option<Recipient<ReviseSocket>>,
    /// Where packets for it are pushed.
    pub outbox: Arc<Outbox>,
    /// What it has shown of its dialect.
    pub dialect: SharedDialect,
}

impl Line {
    /// It is in a room now: its session sends it what was written there.
    pub(super) fn joins(&self, room: &RoomName) {
        if self.ns == Namespace::Llm
            && self.dialect.may_be_named()
            && let Some(session) = &self.session
        {
            let joined = ReviseSocket { socket: self.key, revision: Revision::Joined(room.clone()) };
            #[expect(clippy::disallowed_methods, reason = "once per membership and socket")]
            session.do_send(joined);
        }
    }
}

/// Somebody is there, or its sockets have changed. Sent to every supervisor.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Present {
    /// Its instance.
    pub identity: Identity,
    /// Who it authenticated as.
    pub client: ClientId,
    /// `clientType`, a label.
    pub client_type: ByteString,
    /// `desc`.
    pub desc: Option<ByteString>,
    /// How many sockets it has, in any namespace; none while it is away.
    pub sockets: usize,
    /// Those in `/rooms` and `/llm`.
    pub lines: Arc<[Line]>,
}

/// Somebody's grace is over: it has left every room (spec §3.8).
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Absent(pub Identity);

/// Everybody who is there, or within its grace.
#[derive(Default)]
pub(super) struct Presence {
    known: RefCell<FastMap<Identity, Present>>,
    instances: RefCell<FastMap<ClientId, Vec<Identity>>>,
}

impl Presence {
    pub(super) fn set(&self, present: Present) {
        let (identity, client) = (present.identity.clone(), present.client.clone());
        if self.known.borrow_mut().insert(identity.clone(), present).is_none() {
            self.instances.borrow_mut().entry(client).or_default().push(identity);
        }
    }

    pub(super) fn forget(&self, identity: &Identity) {
        let Some(present) = self.known.borrow_mut().remove(identity) else {
            return;
        };
        let mut instances = self.instances.borrow_mut();
        if let Some(of_client) = instances.get_mut(&present.client) {
            of_client.retain(|other| other != identity);
            if of_client.is_empty() {
                instances.remove(&present.client);
            }
        }
    }

    /// The running instances of a client.
    pub(super) fn instances(&self, client: &ClientId) -> Vec<Identity> {
        self.instances.borrow().get(client).cloned().unwrap_or_default()
    }

    /// What is known of somebody.
    pub(super) fn with<R>(&self, identity: &str, read: impl FnOnce(&Present) -> R) -> Option<R> {
        self.known.borrow().get(identity).map(read)
    }

    pub(super) fn knows(&self, identity: &str) -> bool {
        self.known.borrow().contains_key(identity)
    }

    /// Pushes an event to the sockets that somebody has in one of those namespaces. Written once for each
    /// namespace, and shared.
    pub(super) fn push<'a>(
        &self,
        to: impl Iterator<Item = &'a Identity>,
        places: &[Namespace],
        event: MsgType,
        payload: &str,
    ) {
        let mut written: [Option<Encoded>; 2] = [None, None];
        let known = self.known.borrow();
        for line in to.filter_map(|identity| known.get(identity)).flat_map(|present| &*present.lines) {
            let Some(at) = places.iter().position(|ns| *ns == line.ns) else {
                continue;
            };
            // Dialect 1 has no names for these, and nobody who speaks it listens.
            if !line.dialect.may_be_named() {
                continue;
            }
            let Some(slot) = written.get_mut(at) else {
                continue;
            };
            let packet = match slot {
                Some(packet) => packet.clone(),
                None => match emit::named(line.ns, event, payload) {
                    Some(packet) => slot.insert(packet).clone(),
                    None => return,
                },
            };
            // A full outbox closes its session, which is all that can be done here.
            let _ = line.outbox.push_gathered(packet);
        }
    }
}

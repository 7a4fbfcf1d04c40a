//! What rooms and the lobby learn of who is there.

use std::sync::Arc;

use super::{Registry, SocketEntry};
use crate::{
    ids::{MONITOR, RoomName},
    lobby::{ExtensionsChanged, Listed, RoomListed},
    protocol::Namespace,
    rooms::{Line, MONITOR_ROOM, Present},
};

/// What a socket does.
#[derive(Clone, Copy)]
pub(super) enum Attends {
    /// Its CONNECT is answered.
    Opens {
        /// Its instance had none before.
        first: bool,
    },
    /// It is gone.
    Closes {
        /// Its instance has no other.
        last: bool,
    },
}

impl Registry {
    /// A socket comes or goes.
    pub(super) fn attend(&mut self, entry: &SocketEntry, attends: Attends) {
        if entry.extension && entry.ns == Namespace::Llm {
            self.extensions_changed(entry, attends);
        }
        if let Attends::Opens { first: true } = attends {
            self.lists_own_room(entry);
        }
        let (Attends::Opens { first: edge } | Attends::Closes { last: edge }) = attends;
        if edge || matches!(entry.ns, Namespace::Rooms | Namespace::Llm) {
            self.tell_rooms(entry);
        }
    }

    /// How an instance is reached now.
    pub(super) fn tell_rooms(&self, entry: &SocketEntry) {
        let present = self.present(entry);
        for supervisor in self.rooms.all() {
            #[expect(clippy::disallowed_methods, reason = "once per socket lifetime and supervisor")]
            supervisor.do_send(present.clone());
        }
    }

    fn present(&self, entry: &SocketEntry) -> Present {
        let of_client = self.clients.get(&entry.client).map_or(&[][..], |client| &client.sockets);
        let sockets = of_client.iter().filter_map(|(key, _)| Some(&self.sockets.get(key)?.entry));
        let own: Vec<&SocketEntry> = sockets.filter(|socket| socket.identity == entry.identity).collect();
        let in_rooms = own.iter().filter(|socket| matches!(socket.ns, Namespace::Rooms | Namespace::Llm));
        let lines: Arc<[Line]> = in_rooms
            .map(|socket| Line {
                ns: socket.ns,
                key: socket.key,
                session: socket.session.clone(),
                outbox: socket.outbox.clone(),
                dialect: socket.dialect.clone(),
            })
            .collect();
        let shown = own.first().copied().unwrap_or(entry);
        Present {
            identity: entry.identity.clone(),
            client: entry.client.clone(),
            client_type: shown.client_type.clone(),
            desc: own.iter().find_map(|socket| socket.desc.clone()),
            sockets: own.len(),
            lines,
        }
    }

    /// Its own room is in the list as soon as it can ask for that; the room itself may begin a moment later.
    pub(super) fn lists_own_room(&self, entry: &SocketEntry) {
        let monitor = (entry.client.as_str() == MONITOR).then_some(MONITOR_ROOM);
        for name in std::iter::once(entry.identity.as_str()).chain(monitor) {
            if let Ok(room) = RoomName::new(name) {
                let now = Listed::Here(vec![entry.identity.clone()]);
                #[expect(clippy::disallowed_methods, reason = "once per client presence")]
                self.lobby.do_send(RoomListed { room, now });
            }
        }
    }

    fn extensions_changed(&mut self, entry: &SocketEntry, attends: Attends) {
        match attends {
            Attends::Opens { .. } => self.extensions.opened(entry.key, entry.client.clone()),
            Attends::Closes { .. } => self.extensions.closed(entry.key),
        }
        let ids = self.extensions.ids();
        #[expect(clippy::disallowed_methods, reason = "once per socket lifetime")]
        self.lobby.do_send(ExtensionsChanged(ids));
    }
}

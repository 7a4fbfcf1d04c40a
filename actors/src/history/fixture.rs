//! What the tests of the history share.

use std::path::Path;

use super::{Change, HistoryConfig, HistoryError, MessageKind, Place, store::Store};
use crate::{
    ids::{Identity, RoomName},
    protocol::{RequestMode, Role},
};

pub(super) fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

pub(super) fn who(identity: &str) -> Identity {
    Identity::new(identity).unwrap()
}

pub(super) fn created(name: &str) -> Change {
    Change::RoomCreated {
        name: room(name),
        created_at_ms: 7,
        mode: RequestMode::Immediate,
        personal: false,
        creator: None,
    }
}

pub(super) fn member(of: &str, identity: &str, role: Role) -> Change {
    Change::MemberSet { room: room(of), identity: who(identity), role }
}

/// A request of that place, with an id made of it.
pub(super) fn added(to: &str, seq: u64) -> Change {
    message(to, seq, &format!("m{seq}"), MessageKind::Request, "{}")
}

pub(super) fn message(to: &str, seq: u64, id: &str, kind: MessageKind, json: &str) -> Change {
    Change::MessageAdded { room: room(to), seq, id: id.to_owned(), kind, json: json.into() }
}

/// A history in a folder.
pub(super) fn in_folder(folder: &Path) -> HistoryConfig {
    HistoryConfig { place: Place::File(folder.join("data/history.sqlite")), ..HistoryConfig::default() }
}

impl Store {
    /// A transaction of one call.
    pub(super) fn persist(&self, changes: &[Change]) -> Result<(), HistoryError> {
        self.begin().unwrap();
        let applied = self.apply(changes);
        self.commit().unwrap();
        applied
    }

    /// Lets the database grow by so many pages and no more.
    pub(super) fn limit_growth(&self, pages: u32) {
        let number =
            |pragma: &str| self.conn.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0)).unwrap();
        let max = number("page_count").saturating_add(pages);
        self.conn.pragma_update_and_check(None, "max_page_count", max, |_| Ok(())).unwrap();
    }
}

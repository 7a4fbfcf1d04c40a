//! What can go wrong with a history.

use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::ids::RoomName;

/// Why something was not stored or read. Clones share their texts: a failed commit has many askers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// As many changes wait as may; this one was not taken.
    #[error("too many changes wait to be stored")]
    Busy,
    /// The history has ended. Whether the change was stored is not known.
    #[error("the history is closed")]
    Closed,
    /// A change of a room that is not there.
    #[error("the history has no room {room}")]
    NoSuchRoom {
        /// Its name.
        room: RoomName,
    },
    /// A room of that name is there.
    #[error("the history has a room {room} already")]
    RoomExists {
        /// Its name.
        room: RoomName,
    },
    /// A change of a message that is not there.
    #[error("the history has no message {seq} in room {room}")]
    NoSuchMessage {
        /// The room.
        room: RoomName,
        /// The message's place.
        seq: u64,
    },
    /// A message of that place is there, or one of a higher place was.
    #[error("message {id} cannot have place {seq} in room {room}")]
    MessageOutOfPlace {
        /// The room.
        room: RoomName,
        /// The message.
        id: String,
        /// Its place.
        seq: u64,
    },
    /// The database has failed: no room on the disk, no right to write.
    #[error("{file}: {problem}")]
    Failed {
        /// The file.
        file: Arc<str>,
        /// The database's words.
        problem: Arc<str>,
    },
    /// The file is damaged, or no database. It is left as it is.
    #[error("{file} is damaged: {problem}; restore it from a backup, or move it away to begin anew")]
    Damaged {
        /// The file.
        file: Arc<str>,
        /// The database's words.
        problem: Arc<str>,
    },
    /// The file is a database of another program. It is left as it is.
    #[error("{file} is a database of another program")]
    Foreign {
        /// The file.
        file: Arc<str>,
    },
    /// The file was written by a later release. It is left as it is.
    #[error("{file} has version {found} and this release knows versions up to {known}; use a later release")]
    Newer {
        /// The file.
        file: Arc<str>,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Another broker uses the file.
    #[error("{file} is in use by another broker")]
    InUse {
        /// The file.
        file: Arc<str>,
    },
}

impl HistoryError {
    /// An error of the database, with the file that it is about.
    pub(super) fn of(file: &Arc<str>, error: &rusqlite::Error) -> Self {
        let (file, problem) = (file.clone(), Arc::from(error.to_string()));
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged { file, problem },
            _ => Self::Failed { file, problem },
        }
    }

    /// Whether the change was wrong, and not the database.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::NoSuchRoom { .. }
                | Self::RoomExists { .. }
                | Self::NoSuchMessage { .. }
                | Self::MessageOutOfPlace { .. }
        )
    }
}

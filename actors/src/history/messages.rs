//! What a history is asked.

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{Change, Contents, HistoryError, Page, StoredMessage, admission::Permit};
use crate::ids::RoomName;

/// Stores changes: all of them, or none. Made by [`HistoryLink::persist`](super::HistoryLink::persist),
/// which says whether they may wait.
///
/// The answer goes its own way and not actix's: a message whose asker has gone is dropped unread by
/// actix, and a change that is missing makes those behind it wrong.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Persist {
    pub(super) changes: Vec<Change>,
    /// Freed when the changes are committed, or refused.
    pub(super) permit: Permit,
    pub(super) answer: oneshot::Sender<Result<(), HistoryError>>,
}

/// Reads everything but the messages. Sees what was persisted before it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Contents, HistoryError>")]
pub struct LoadRooms;

/// Reads all messages of a room, the oldest first; those beyond the room's bounds are removed.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Vec<StoredMessage>, HistoryError>")]
pub struct LoadMessages {
    /// Which.
    pub room: RoomName,
}

/// Reads a part of a room's messages.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Page, HistoryError>")]
pub struct PageOfMessages {
    /// Which.
    pub room: RoomName,
    /// Where it begins.
    pub from: PageFrom,
    /// Messages at most.
    pub limit: usize,
}

/// Where a page begins. The message of that place is not on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFrom {
    /// The next messages after this place; 0 for the oldest.
    After(u64),
    /// The last messages before this place; `u64::MAX` for the newest.
    Before(u64),
}

/// Commits what waits, leaves the file complete, and stops. Nobody sends anything afterwards.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), HistoryError>")]
pub struct Close;

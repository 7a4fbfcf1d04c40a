//! What a history is asked.

use actix::prelude::*;

use super::{Contents, HistoryError, Page, StoredMessage};
use crate::ids::RoomName;

/// Some changes wait ([`HistoryLink::persist`](super::HistoryLink::persist)), and none did before.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct ChangesWait;

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

//! Each change, as the statements that make it.

use rusqlite::{ErrorCode, OptionalExtension, Params, params};

use super::{Change, HistoryError, MessageKind, store::Store};
use crate::ids::RoomName;

/// What most commits are full of.
pub(super) const ADD_MESSAGE: &str =
    "INSERT INTO messages (room, seq, id, kind, json) VALUES (?1, ?2, ?3, ?4, ?5)";

/// A room as messages know it.
struct Room {
    id: i64,
    last_seq: i64,
}

impl Store {
    /// Makes one change. If it is refused, nothing was written.
    pub(super) fn apply_one(&self, change: &Change) -> Result<(), HistoryError> {
        match change {
            Change::RoomCreated { name, created_at_ms, mode, personal, creator } => {
                let sql = "INSERT INTO rooms (name, created_at_ms, mode, personal, creator)
                     VALUES (?1, ?2, ?3, ?4, ?5)";
                let row = params![name.as_str(), created_at_ms, mode.wire(), personal, creator];
                self.unless_taken(sql, row, || HistoryError::RoomExists { room: name.clone() })
            }
            Change::RoomDeleted { name } => {
                self.write("DELETE FROM rooms WHERE name = ?1", [name.as_str()]).map(drop)
            }
            Change::ModeSet { room, mode } => {
                let sql = "UPDATE rooms SET mode = ?2 WHERE name = ?1";
                match self.write(sql, [room.as_str(), mode.wire()])? {
                    0 => Err(HistoryError::NoSuchRoom { room: room.clone() }),
                    _ => Ok(()),
                }
            }
            Change::MemberSet { room, identity, role } => {
                let sql = "INSERT INTO members (room, identity, role, joined)
                     VALUES (?1, ?2, ?3, (SELECT ifnull(max(joined), 0) + 1 FROM members WHERE room = ?1))
                     ON CONFLICT DO UPDATE SET role = excluded.role";
                let Room { id, .. } = self.room(room)?;
                self.write(sql, params![id, identity.as_str(), role.wire()]).map(drop)
            }
            Change::MemberRemoved { room, identity } => {
                let sql = "DELETE FROM members
                     WHERE room = (SELECT id FROM rooms WHERE name = ?1) AND identity = ?2";
                self.write(sql, [room.as_str(), identity.as_str()]).map(drop)
            }
            Change::Muted { identity, until_ms, by } => {
                let sql = "INSERT INTO mutes (identity, until_ms, muted_by) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET until_ms = excluded.until_ms, muted_by = excluded.muted_by";
                self.write(sql, params![identity.as_str(), until_ms, by]).map(drop)
            }
            Change::Unmuted { identity } => {
                self.write("DELETE FROM mutes WHERE identity = ?1", [identity.as_str()]).map(drop)
            }
            Change::KeyValue { key, value: Some(value) } => {
                let sql = "INSERT INTO key_values (key, value) VALUES (?1, ?2)
                     ON CONFLICT DO UPDATE SET value = excluded.value";
                self.write(sql, [key, value]).map(drop)
            }
            Change::KeyValue { key, value: None } => {
                self.write("DELETE FROM key_values WHERE key = ?1", [key]).map(drop)
            }
            Change::MessageAdded { room, seq, id, kind, json } => {
                let out_of_place =
                    || HistoryError::MessageOutOfPlace { room: room.clone(), id: id.clone(), seq: *seq };
                let Room { id: to, last_seq } = self.room(room)?;
                let place = place(*seq).filter(|place| *place > last_seq).ok_or_else(out_of_place)?;
                self.unless_taken(ADD_MESSAGE, params![to, place, id, kind.word(), &**json], out_of_place)
            }
            Change::MessageUpdated { room, seq, json } => {
                let Room { id: of, .. } = self.room(room)?;
                let sql = "UPDATE messages SET json = ?3 WHERE room = ?1 AND seq = ?2";
                match self.write(sql, params![of, place(*seq), &**json])? {
                    0 => Err(HistoryError::NoSuchMessage { room: room.clone(), seq: *seq }),
                    _ => Ok(()),
                }
            }
            Change::MessagesRemoved { room, seqs } => self.remove_of(room, |room| {
                let sql = "DELETE FROM messages WHERE room = ?1 AND seq = ?2";
                seqs.iter().try_for_each(|seq| self.write(sql, params![room, place(*seq)]).map(drop))
            }),
            Change::MessagesCleared { room, requests, responses } => self.remove_of(room, |room| {
                let sql = "DELETE FROM messages WHERE room = ?1 AND kind = ?2";
                let kinds = MessageKind::ALL.into_iter().filter(|kind| match kind {
                    MessageKind::Request => *requests,
                    MessageKind::Response => *responses,
                    MessageKind::System => *requests && *responses,
                });
                kinds
                    .map(MessageKind::word)
                    .try_for_each(|kind| self.write(sql, params![room, kind]).map(drop))
            }),
            Change::MessagesTrimmed { room, through_seq } => {
                self.remove_of(room, |room| self.trim(room, *through_seq))
            }
        }
    }

    /// Removes the oldest messages of a room.
    pub(super) fn trim(&self, room: i64, through_seq: u64) -> Result<(), HistoryError> {
        let last = place(through_seq).unwrap_or(i64::MAX);
        let gone = self.write("DELETE FROM messages WHERE room = ?1 AND seq <= ?2", [room, last])?;
        self.trimmed.set(self.trimmed.get() + gone);
        Ok(())
    }

    /// Removes messages of a room, if it is there, and remembers how far its places went.
    fn remove_of(
        &self,
        name: &RoomName,
        remove: impl FnOnce(i64) -> Result<(), HistoryError>,
    ) -> Result<(), HistoryError> {
        let Room { id, last_seq } = match self.room(name) {
            Ok(room) => room,
            Err(HistoryError::NoSuchRoom { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.write("UPDATE rooms SET last_seq = ?2 WHERE id = ?1 AND last_seq < ?2", [id, last_seq])?;
        remove(id)
    }

    fn room(&self, name: &RoomName) -> Result<Room, HistoryError> {
        let sql = "SELECT id, max(last_seq, ifnull((SELECT max(seq) FROM messages WHERE room = rooms.id), 0))
             FROM rooms WHERE name = ?1";
        let read = || {
            let mut statement = self.conn.prepare_cached(sql)?;
            let row = |row: &rusqlite::Row<'_>| Ok(Room { id: row.get(0)?, last_seq: row.get(1)? });
            statement.query_row([name.as_str()], row).optional()
        };
        let found = read().map_err(|error| self.failed(&error))?;
        found.ok_or_else(|| HistoryError::NoSuchRoom { room: name.clone() })
    }

    /// Runs a statement; the number of rows that it has changed.
    pub(super) fn write(&self, sql: &str, row: impl Params) -> Result<usize, HistoryError> {
        self.try_write(sql, row).map_err(|error| self.failed(&error))
    }

    /// The same; `taken` says what it means that a unique value is there already.
    fn unless_taken(
        &self,
        sql: &str,
        row: impl Params,
        taken: impl FnOnce() -> HistoryError,
    ) -> Result<(), HistoryError> {
        match self.try_write(sql, row) {
            Ok(_) => Ok(()),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Err(taken()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn try_write(&self, sql: &str, row: impl Params) -> rusqlite::Result<usize> {
        self.conn.prepare_cached(sql)?.execute(row)
    }
}

/// A place as the database has it. None: no message has it, nor can.
fn place(seq: u64) -> Option<i64> {
    i64::try_from(seq).ok()
}

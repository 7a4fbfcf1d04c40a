//! Reading a history back.

use bytestring::ByteString;
use log::warn;
use rusqlite::{OptionalExtension, Row, ToSql, params};

use super::{
    Contents, HistoryError, MessageKind, Mute, Page, PageFrom, StoredMessage, StoredRoom, store::Store,
};
use crate::{
    ids::{Identity, RoomName},
    protocol::{RequestMode, Role},
};

impl Store {
    /// Everything but the messages.
    pub(super) fn contents(&self) -> Result<Contents, HistoryError> {
        let mut contents = Contents::default();
        let rooms = "SELECT id, name, created_at_ms, mode, personal, creator,
                max(last_seq, ifnull((SELECT max(seq) FROM messages WHERE room = rooms.id), 0))
             FROM rooms ORDER BY id";
        for (id, mut room) in self.rows(rooms, &[], |row| Ok((row.get::<_, i64>(0)?, room(row)?)))? {
            let members = "SELECT identity, role FROM members WHERE room = ?1 ORDER BY joined, identity";
            let of_room =
                self.rows(members, &[&id], |row| Ok((identity(row, 0)?, parsed(row, 1, Role::parse)?)))?;
            room.members.extend(of_room);
            contents.rooms.push(room);
        }
        let mutes = "SELECT identity, until_ms, muted_by FROM mutes";
        let mute = |row: &Row<'_>| Ok((identity(row, 0)?, Mute { until_ms: row.get(1)?, by: row.get(2)? }));
        contents.mutes.extend(self.rows(mutes, &[], mute)?);
        let values =
            self.rows("SELECT key, value FROM key_values", &[], |row| Ok((row.get(0)?, row.get(1)?)))?;
        contents.values.extend(values);
        Ok(contents)
    }

    /// All messages of a room, the oldest first. Those beyond the room's bounds are removed before:
    /// the bounds may be lower than they were.
    pub(super) fn messages(&self, room: &RoomName) -> Result<Vec<StoredMessage>, HistoryError> {
        let id = self.id_of(room)?;
        let lengths = "SELECT seq, octet_length(json) FROM messages WHERE room = ?1 ORDER BY seq";
        let lengths =
            self.rows(lengths, &[&id], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)? as usize)))?;
        let bytes = lengths.iter().map(|(_, length)| length).sum();
        let through_seq = self.retention.excess(lengths.len(), bytes, lengths.iter().copied());
        if let Some(through_seq) = through_seq
            && let Err(error) = self.trim(id, through_seq)
        {
            // It can be read all the same.
            warn!(room:%, error:%; "messages beyond the bounds of a room are still kept");
        }
        let last = through_seq.map_or(-1, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
        let sql = "SELECT seq, id, kind, json FROM messages WHERE room = ?1 AND seq > ?2 ORDER BY seq";
        self.rows(sql, &[&id, &last], message)
    }

    /// At most `limit` messages of a room, the oldest first.
    pub(super) fn page(&self, room: &RoomName, from: PageFrom, limit: usize) -> Result<Page, HistoryError> {
        let id = self.id_of(room)?;
        let place = |seq| i64::try_from(seq).unwrap_or(i64::MAX);
        let (sql, seq) = match from {
            PageFrom::After(seq) => (
                "SELECT seq, id, kind, json FROM messages WHERE room = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
                place(seq),
            ),
            PageFrom::Before(seq) => (
                "SELECT seq, id, kind, json FROM messages WHERE room = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3",
                place(seq),
            ),
        };
        // One more tells whether there are more.
        let one_more = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
        let mut messages = self.rows(sql, &[&id, &seq, &one_more], message)?;
        let more = messages.len() > limit;
        messages.truncate(limit);
        if matches!(from, PageFrom::Before(_)) {
            messages.reverse();
        }
        Ok(Page { messages, more })
    }

    fn id_of(&self, room: &RoomName) -> Result<i64, HistoryError> {
        let read = || {
            let mut statement = self.conn.prepare_cached("SELECT id FROM rooms WHERE name = ?1")?;
            statement.query_row(params![room.as_str()], |row| row.get(0)).optional()
        };
        let found = read().map_err(|error| self.failed(&error))?;
        found.ok_or_else(|| HistoryError::NoSuchRoom { room: room.clone() })
    }

    fn rows<T>(
        &self,
        sql: &str,
        given: &[&dyn ToSql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, HistoryError> {
        let read_all = || {
            let mut statement = self.conn.prepare_cached(sql)?;
            let rows = statement.query_map(given, read)?;
            rows.collect::<rusqlite::Result<Vec<T>>>()
        };
        read_all().map_err(|error| self.failed(&error))
    }
}

fn room(row: &Row<'_>) -> rusqlite::Result<StoredRoom> {
    Ok(StoredRoom {
        name: parsed(row, 1, |text| RoomName::new(text).ok())?,
        created_at_ms: row.get(2)?,
        mode: parsed(row, 3, RequestMode::parse)?,
        personal: row.get(4)?,
        creator: row.get(5)?,
        members: Default::default(),
        last_seq: unsigned(row, 6)?,
    })
}

fn message(row: &Row<'_>) -> rusqlite::Result<StoredMessage> {
    Ok(StoredMessage {
        seq: unsigned(row, 0)?,
        id: row.get(1)?,
        kind: parsed(row, 2, MessageKind::from_word)?,
        json: ByteString::from(row.get::<_, String>(3)?),
    })
}

fn identity(row: &Row<'_>, column: usize) -> rusqlite::Result<Identity> {
    parsed(row, column, |text| Identity::new(text).ok())
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// A text that must be one of those that were written; another program may have changed it.
fn parsed<T>(row: &Row<'_>, column: usize, parse: impl FnOnce(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| {
        let problem = format!("{text:?} is no {}", row.as_ref().column_name(column).unwrap_or("such value"));
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, problem.into())
    })
}

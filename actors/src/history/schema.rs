//! The tables, and how an older file becomes one of this release.
//!
//! `user_version` counts the steps that a file has taken. A step is never changed once it was
//! released: what is to be different is a further step.

use rusqlite::{Connection, TransactionBehavior};

/// Tells a history from databases of other programs: "NAhi".
pub(super) const APPLICATION_ID: i32 = 0x4e41_6869;

/// Step n makes version n + 1 of version n.
pub(super) const STEPS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3];

/// `rooms.last_seq` covers messages that are gone; for those that are there, `messages` knows.
///
/// Texts of the specification are checked here too, so that no other program can leave a file that
/// this one cannot read.
const VERSION_1: &str = "
    CREATE TABLE rooms (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        created_at_ms INTEGER NOT NULL,
        mode TEXT NOT NULL CHECK (mode IN ('Immediate', 'HostSubmit', 'MasterOnly', 'Conversational')),
        personal INTEGER NOT NULL CHECK (personal IN (0, 1)),
        creator TEXT,
        last_seq INTEGER NOT NULL DEFAULT 0 CHECK (last_seq >= 0)
    ) STRICT;
    CREATE TABLE members (
        room INTEGER NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
        identity TEXT NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('master', 'manager', 'guest')),
        PRIMARY KEY (room, identity)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE messages (
        room INTEGER NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
        seq INTEGER NOT NULL CHECK (seq >= 0),
        id TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('request', 'response', 'system')),
        json TEXT NOT NULL,
        PRIMARY KEY (room, seq),
        UNIQUE (room, id)
    ) STRICT;
    CREATE TABLE mutes (
        identity TEXT PRIMARY KEY,
        until_ms INTEGER,
        muted_by TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE key_values (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Who came first inherits a room (spec Q16).
const VERSION_2: &str = "ALTER TABLE members ADD COLUMN joined INTEGER NOT NULL DEFAULT 0";

/// A message is known by its place; that no other of its room has its id is the room's care. A second index was a
/// third of what a commit writes. And for `IN` with more than two values SQLite makes a table of them, for each
/// message that is added: half of what adding it took.
const VERSION_3: &str = "
    CREATE TABLE messages_3 (
        room INTEGER NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
        seq INTEGER NOT NULL CHECK (seq >= 0),
        id TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind = 'request' OR kind = 'response' OR kind = 'system'),
        json TEXT NOT NULL,
        PRIMARY KEY (room, seq)
    ) STRICT;
    INSERT INTO messages_3 (room, seq, id, kind, json)
        SELECT room, seq, id, kind, json FROM messages ORDER BY room, seq;
    DROP TABLE messages;
    ALTER TABLE messages_3 RENAME TO messages;
";

/// The version of a file that has taken these steps.
pub(super) fn version_of(steps: &[&str]) -> i64 {
    i64::try_from(steps.len()).unwrap_or(i64::MAX)
}

/// Takes the steps that the file has not taken: all of them, or none if one fails. Foreign keys must
/// be off, so that a step may rebuild a table; they are checked at the end.
pub(super) fn migrate(conn: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let taken = usize::try_from(version).unwrap_or_default();
    if taken < steps.len() {
        for step in steps.iter().skip(taken) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version_of(steps))?;
        let broken: i64 =
            transaction.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
        if broken > 0 {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY);
            let problem = format!("{broken} rows refer to rows that are gone");
            return Err(rusqlite::Error::SqliteFailure(code, Some(problem)));
        }
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up history of a history: the second step rebuilds a table, the third adds one.
    const MADE_UP: [&str; 3] = [
        "CREATE TABLE a (x INTEGER PRIMARY KEY);
         CREATE TABLE b (a INTEGER NOT NULL REFERENCES a (x) ON DELETE CASCADE);",
        "CREATE TABLE c (x INTEGER PRIMARY KEY, y TEXT NOT NULL DEFAULT 'new');
         INSERT INTO c (x) SELECT x FROM a;
         DROP TABLE a;
         ALTER TABLE c RENAME TO a;",
        "CREATE TABLE d (z);
         INSERT INTO d SELECT count(*) FROM a;",
    ];

    fn numbers(conn: &Connection, sql: &str) -> Vec<i64> {
        let mut statement = conn.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn an_older_file_takes_the_steps_that_it_lacks() {
        for version in 1..=MADE_UP.len() {
            let mut conn = Connection::open_in_memory().unwrap();
            conn.pragma_update(None, "foreign_keys", false).unwrap();
            migrate(&mut conn, &MADE_UP[..version]).unwrap();
            assert_eq!(numbers(&conn, "PRAGMA user_version"), [version as i64]);
            conn.execute_batch("INSERT INTO a (x) VALUES (1), (2); INSERT INTO b VALUES (2)").unwrap();
            for _ in 0..2 {
                migrate(&mut conn, &MADE_UP).unwrap();
                assert_eq!(numbers(&conn, "PRAGMA user_version"), [3]);
                assert_eq!(numbers(&conn, "SELECT x FROM a WHERE y = 'new'"), [1, 2], "from {version}");
                assert_eq!(numbers(&conn, "SELECT a FROM b"), [2]);
                assert_eq!(numbers(&conn, "SELECT z FROM d").len(), 1, "a step is taken once");
            }
        }
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_it_was() {
        for bad in ["DROP TABLE b; CREATE TABLE a (x)", "DELETE FROM a"] {
            let mut conn = Connection::open_in_memory().unwrap();
            conn.pragma_update(None, "foreign_keys", false).unwrap();
            migrate(&mut conn, &MADE_UP[..1]).unwrap();
            conn.execute_batch("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)").unwrap();
            migrate(&mut conn, &[MADE_UP[0], bad]).unwrap_err();
            assert_eq!(numbers(&conn, "PRAGMA user_version"), [1]);
            assert_eq!(numbers(&conn, "SELECT b.a FROM a JOIN b ON b.a = a.x"), [1], "{bad}");
        }
    }

    #[test]
    fn texts_of_the_specification_are_those_that_the_tables_take() {
        use crate::{
            history::MessageKind,
            protocol::{RequestMode, Role},
        };
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, STEPS).unwrap();
        for (index, mode) in RequestMode::ALL.iter().enumerate() {
            let sql = format!(
                "INSERT INTO rooms (id, name, created_at_ms, mode, personal) VALUES ({index}, '{index}', 0, '{mode}', 0)"
            );
            conn.execute(&sql, []).unwrap();
        }
        for role in Role::ALL {
            conn.execute("INSERT INTO members (room, identity, role) VALUES (0, ?1, ?1)", [role.wire()])
                .unwrap();
        }
        for (seq, kind) in MessageKind::ALL.iter().enumerate() {
            let sql = "INSERT INTO messages VALUES (0, ?1, ?2, ?2, '')";
            conn.execute(sql, rusqlite::params![seq as i64, kind.word()]).unwrap();
        }
        conn.execute("INSERT INTO members (room, identity, role) VALUES (0, 'x', 'admin')", []).unwrap_err();
        conn.execute("UPDATE rooms SET mode = 'Default'", []).unwrap_err();
        conn.execute("UPDATE messages SET kind = 'x'", []).unwrap_err();
    }
}

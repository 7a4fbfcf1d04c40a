//! What is kept and what is said to be there agree, also when the history fails.

use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::{
    history::{Change, LoadRooms, Place},
    lobby::{Assign, ExtensionsChanged, ListAssignments, Policy, SetPolicy},
    rooms::Present,
};

/// A history in that folder, which waits for nobody.
fn impatient(folder: &Path) -> HistoryConfig {
    let place = Place::File(folder.join("history.sqlite"));
    HistoryConfig { place, busy_timeout: Duration::ZERO, ..HistoryConfig::default() }
}

/// Another program that writes to that history, and keeps everybody else from it meanwhile.
struct Writer(Connection);

impl Writer {
    fn begin(folder: &Path) -> Self {
        let db = Connection::open(folder.join("history.sqlite")).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(db)
    }

    fn end(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

impl Fixture {
    async fn assign(&self, room: &str, extensions: &[&str]) {
        let extensions = extensions.iter().map(|id| ClientId::new(*id).unwrap()).collect();
        self.lobby.send(Assign { room: RoomName::new(room).unwrap(), extensions }).await.unwrap().unwrap();
    }

    async fn assigned(&self, room: &str) -> Vec<String> {
        let all = self.lobby.send(ListAssignments(None)).await.unwrap();
        let of_room = all.into_iter().find(|(name, _)| name.as_str() == room).expect("it is listed").1;
        of_room.into_iter().map(|id| id.to_string()).collect()
    }

    /// What is kept that belongs to no room but by its name.
    async fn values(&self) -> Vec<String> {
        let contents = self.history.addr.send(LoadRooms).await.unwrap().unwrap();
        contents.values.into_keys().filter(|key| key != "connection_policy").collect()
    }

    async fn until_listed(&self, room: &str, listed: bool) {
        while self.listed().await.contains(&room.to_owned()) != listed {
            tokio::task::yield_now().await;
        }
    }
}

/// Somebody else's room of that name had the extension that was meant for another one.
#[actix::test]
async fn what_was_assigned_to_a_room_by_hand_goes_with_it() {
    let f = Fixture::new(8, &["a", "monitor"]).await;
    f.lobby.send(ExtensionsChanged(vec![ClientId::new(EXTENSION).unwrap()])).await.unwrap();
    assert!(f.lobby.send(SetPolicy(Policy::Manual)).await.unwrap());
    // By a word.
    f.create("monitor", "tea").await.unwrap();
    f.assign("tea", &[EXTENSION]).await;
    assert_eq!(f.assigned("tea").await, [EXTENSION]);
    f.run("monitor", "tea", Command::Delete).await.unwrap();
    assert_eq!(f.values().await, [""; 0], "nothing is kept of it");
    f.create(EXTENSION, "tea").await.unwrap();
    assert_eq!(f.assigned("tea").await, [""; 0]);
    // Because its last member has gone.
    f.run("monitor", "tea", add("a")).await.unwrap();
    f.assign("tea", &[EXTENSION]).await;
    // A room that is away comes back as it was.
    f.assign("a", &[EXTENSION]).await;
    f.goes("a").await;
    f.until_listed("tea", false).await;
    assert_eq!(f.values().await, ["manual_assignments/a"]);
    f.create("monitor", "tea").await.unwrap();
    assert_eq!(f.assigned("tea").await, [""; 0]);
    f.comes("a").await;
    assert_eq!(f.assigned("a").await, [EXTENSION]);
    // That of one instance of several is gone for good, whether anybody was in it or not.
    for (instance, used) in [("a-tab", false), ("a-other", true)] {
        let (room, now) = (RoomName::new(instance).unwrap(), Listed::Here(vec![id(instance)]));
        f.lobby.send(RoomListed { room, now }).await.unwrap();
        for supervisor in f.rooms.all() {
            let present = Present {
                identity: id(instance),
                client: ClientId::new("a").unwrap(),
                client_type: "test".into(),
                desc: None,
                sockets: 1,
                lines: Arc::from([]),
            };
            supervisor.send(present).await.unwrap();
        }
        f.assign(instance, &[EXTENSION]).await;
        if used {
            f.run(instance, instance, Command::IsMember).await.unwrap();
        }
        f.goes(instance).await;
        f.until_listed(instance, false).await;
        assert_eq!(f.values().await, ["manual_assignments/a"], "{instance}");
    }
}

/// It was so until the process ended, and said so again when it was asked again.
#[actix::test]
async fn what_is_not_kept_has_not_happened() {
    let folder = tempfile::tempdir().unwrap();
    let here = ["a", "b", "c", "d", "monitor"];
    let f = Fixture::kept_by(impatient(folder.path()), 3, &here).await;
    f.create("monitor", "tea").await.unwrap();
    for (who, role) in [("a", Role::Master), ("b", Role::Guest)] {
        f.run("monitor", "tea", Command::Add { identity: id(who), role: Some(role) }).await.unwrap();
    }
    f.run("a", "tea", Command::SetMode(RequestMode::HostSubmit)).await.unwrap();
    f.run("b", "tea", request("q1", &[])).await.unwrap();
    let members = f.members("tea").await;
    let messages = f.messages("tea").await;
    let said = messages.last().unwrap()["messageId"].as_str().unwrap().to_owned();
    let mute = || Command::Mute { identity: id("b"), seconds: None };
    let text = || RawJson::from_static("{\"message\":\"other\"}");
    let commands = || {
        [
            ("monitor", add("c"), RoomRefusal::NotAdded),
            ("a", Command::Kick(id("b")), RoomRefusal::NotKicked),
            ("b", Command::Remove(id("b")), RoomRefusal::NotRemoved),
            ("a", Command::SetRole { identity: id("b"), role: Role::Manager }, RoomRefusal::RoleNotSet),
            ("a", Command::SetMode(RequestMode::MasterOnly), RoomRefusal::ModeNotSet),
            ("a", Command::Edit { id: said.as_str().into(), updated: text() }, RoomRefusal::NotEdited),
            ("b", request("q2", &[]), RoomRefusal::NotRecorded),
            ("a", mute(), RoomRefusal::Busy),
        ]
    };
    let writer = Writer::begin(folder.path());
    // As often as it is asked.
    for (who, command, refusal) in commands().into_iter().chain(commands()) {
        let described = format!("{command:?}");
        assert_eq!(outcome(f.run(who, "tea", command).await), Err(refusal), "{described}");
        assert_eq!(f.members("tea").await, members, "{described}");
        assert_eq!(f.messages("tea").await, messages, "{described}");
    }
    for command in [
        Command::DeleteMessages(vec![said.as_str().into()]),
        Command::Clear { requests: true, responses: true },
    ] {
        assert!(matches!(f.run("a", "tea", command).await, Ok(Reply::Nothing)));
        assert_eq!(f.messages("tea").await, messages);
    }
    // Many at once are taken back as one is.
    let together = commands().map(|(who, command, _)| f.run(who, "tea", command));
    assert!(futures::future::join_all(together).await.iter().all(Result::is_err));
    assert_eq!((f.members("tea").await, f.messages("tea").await), (members, messages));
    let listed = f.lobby.send(ListRooms(Some(id("c")))).await.unwrap();
    assert_eq!(listed.len(), 1, "its own alone: {listed:?}");
    writer.end();
    // It is the room that it was: the guest's request waits for the host, and the one that failed does not.
    assert_eq!(f.metrics.rooms_restarted.get(), 0);
    for (request_id, outcome_of_it) in
        [("q2", Ok(())), ("q3", Ok(())), ("q4", Err(RoomRefusal::TooManyRequests))]
    {
        let said = f.run("b", "tea", request(request_id, &[])).await;
        assert_eq!(outcome(said), outcome_of_it, "{request_id}");
    }
    f.run("a", "tea", Command::Kick(id("b"))).await.unwrap();
    f.run("monitor", "tea", add("b")).await.unwrap();
    f.run("a", "tea", mute()).await.unwrap();
    // What is there now is what a restart finds.
    let (members, messages) = (f.members("tea").await, f.messages("tea").await);
    f.history.close().await;
    drop(f);
    let f = Fixture::kept_by(impatient(folder.path()), 3, &here).await;
    assert_eq!((f.members("tea").await, f.messages("tea").await), (members, messages));
}

/// Its name was taken until the process ended, and after that it was back.
#[actix::test]
async fn a_room_that_nobody_is_in_goes_as_soon_as_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let f = Fixture::kept_by(impatient(folder.path()), 8, &["a", "monitor"]).await;
    f.create("monitor", "tea").await.unwrap();
    f.run("monitor", "tea", add("a")).await.unwrap();
    let writer = Writer::begin(folder.path());
    f.goes("a").await;
    let failed = || f.metrics.history_failures.get();
    while failed() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(f.listed().await.contains(&"tea".to_owned()), "it is there while it is kept");
    writer.end();
    f.until_listed("tea", false).await;
    let kept = f.history.addr.send(LoadRooms).await.unwrap().unwrap();
    assert!(kept.rooms.iter().all(|room| room.name.as_str() != "tea"), "{kept:?}");
    f.create("monitor", "tea").await.unwrap();
    assert_eq!((f.members("tea").await, f.messages("tea").await), (vec![], vec![]));
}

/// What is kept of a room that there is not.
async fn leave_behind(history: &HistoryLink, room: &str) {
    let name = RoomName::new(room).unwrap();
    let created = Change::RoomCreated {
        name: name.clone(),
        created_at_ms: 0,
        mode: RequestMode::Immediate,
        personal: false,
        creator: None,
    };
    let member = Change::MemberSet { room: name, identity: id("a"), role: Role::Guest };
    history.persist(vec![created, member]).unwrap().await.unwrap();
}

#[actix::test]
async fn what_was_left_behind_is_in_nobodys_way() {
    let f = Fixture::new(8, &["a", "monitor"]).await;
    f.members("a").await;
    leave_behind(&f.history, "tea").await;
    f.create("monitor", "tea").await.unwrap();
    assert_eq!(f.members("tea").await, []);
}

/// A history that could not be read is not empty.
#[actix::test]
async fn what_could_not_be_read_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let f = Fixture::kept_by(impatient(folder.path()), 8, &[]).await;
    leave_behind(&f.history, "tea").await;
    f.history.close().await;
    drop(f);
    let db = Connection::open(folder.path().join("history.sqlite")).unwrap();
    let f = Fixture::kept_by(impatient(folder.path()), 8, &[]).await;
    db.execute_batch("ALTER TABLE mutes RENAME TO elsewhere").unwrap();
    assert_eq!(outcome(f.create("monitor", "tea").await), Err(RoomRefusal::Busy));
    let members: i64 = db.query_row("SELECT count(*) FROM members", [], |row| row.get(0)).unwrap();
    assert_eq!(members, 1);
}

/// A room of one's own wakes while the history takes nothing: what its owner asks fails, and its seat stays.
#[actix::test]
async fn an_owner_keeps_its_seat_when_nothing_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let f = Fixture::kept_by(impatient(folder.path()), 2, &["a"]).await;
    f.run("a", "a", Command::SetMode(RequestMode::MasterOnly)).await.unwrap();
    f.goes("a").await;
    let stored = f.history.addr.send(LoadRooms).await.unwrap().unwrap().rooms;
    assert!(stored.iter().all(|room| room.members.is_empty()), "it has left its seat");
    f.comes("a").await;
    let writer = Writer::begin(folder.path());
    let submit = || Command::SetMode(RequestMode::HostSubmit);
    for _ in 0..2 {
        assert_eq!(outcome(f.run("a", "a", submit()).await), Err(RoomRefusal::ModeNotSet));
    }
    writer.end();
    assert_eq!(outcome(f.run("a", "a", submit()).await), Ok(()));
}

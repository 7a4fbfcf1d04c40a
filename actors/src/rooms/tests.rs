//! Rooms as actors: made, filled, emptied, deleted, bounded, and back after they stopped.

mod failures;

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use arc_swap::ArcSwap;

use framing::json::RawJson;

use super::{
    ChatRequest, Command, Extensions, ExtensionsOf, Reply, RoomCommand, RoomRefusal, Rooms,
    fixture::{ask, caller, kept_by, present},
};
use crate::{
    history::{BatchLimits, HistoryConfig, HistoryLink, WaitingLimits},
    ids::{ClientId, Identity, RequestId, RoomName},
    lobby::{ListRooms, Listed, Lobby, RoomListed},
    metrics::Metrics,
    protocol::{RequestMode, Role},
    rooms::Absent,
};

const EXTENSION: &str = "SillyTavern-8000";

struct Fixture {
    rooms: Rooms,
    lobby: Addr<Lobby>,
    metrics: Arc<Metrics>,
    history: HistoryLink,
}

impl Fixture {
    async fn new(bound: usize, here: &[&str]) -> Self {
        Self::kept_by(HistoryConfig::default(), bound, here).await
    }

    async fn kept_by(history: HistoryConfig, bound: usize, here: &[&str]) -> Self {
        let metrics = Arc::new(Metrics::default());
        let settings = Arc::new(ArcSwap::default());
        let router = crate::registry::tests::router(settings.clone(), &metrics);
        let (rooms, lobby, history) = kept_by(history, router, settings, Arc::default(), bound, &metrics);
        let f = Self { rooms, lobby, metrics, history };
        for client in here {
            f.comes(client).await;
        }
        f
    }

    /// Somebody is there, and its room is listed, as the registry has it.
    async fn comes(&self, client: &str) {
        let (room, now) = (RoomName::new(client).unwrap(), Listed::Here(vec![id(client)]));
        self.lobby.send(RoomListed { room, now }).await.unwrap();
        present(&self.rooms, client, Vec::new()).await;
    }

    async fn run(&self, who: &str, room: &str, command: Command) -> Result<Reply, RoomRefusal> {
        ask(&self.rooms, caller(who, false), room, RoomCommand::Run(command)).await
    }

    async fn create(&self, who: &str, room: &str) -> Result<Reply, RoomRefusal> {
        ask(&self.rooms, caller(who, false), room, RoomCommand::Create { master: false }).await
    }

    async fn members(&self, room: &str) -> Vec<(String, Role)> {
        match self.run("monitor", room, Command::Members).await {
            Ok(Reply::Members(list)) => {
                list.into_iter().map(|member| (member.identity.to_string(), member.role)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn reached(&self, limit: &str) -> bool {
        self.metrics.text().contains(&format!("newage_limit_reached_total{{limit=\"{limit}\"}} 1"))
    }

    /// Somebody's grace is over.
    async fn goes(&self, client: &str) {
        for supervisor in self.rooms.all() {
            supervisor.send(Absent(id(client))).await.unwrap();
        }
    }

    async fn messages(&self, room: &str) -> Vec<serde_json::Value> {
        let command = Command::Context { since: None, page_size: 100, page: 1 };
        let pages = self.run("monitor", room, command).await;
        let Ok(Reply::Pages(_, Some(page))) = pages else { panic!("{pages:?}") };
        serde_json::from_str(&page).unwrap()
    }

    async fn listed(&self) -> Vec<String> {
        let names = self.lobby.send(ListRooms(None)).await.unwrap();
        names.into_iter().map(|name| name.to_string()).collect()
    }
}

fn id(text: &str) -> Identity {
    Identity::new(text).unwrap()
}

fn add(who: &str) -> Command {
    Command::Add { identity: id(who), role: None }
}

fn outcome(outcome: Result<Reply, RoomRefusal>) -> Result<(), RoomRefusal> {
    outcome.map(|_| ())
}

#[actix::test]
async fn rooms_are_made_filled_emptied_and_deleted() {
    use RoomRefusal::{InvalidOperation, NotAdded, NotFound, NotRemoved, Unauthorized};
    let f = Fixture::new(8, &["a", "b", EXTENSION]).await;
    for (who, room, refusal) in [
        ("a", "tea", Some(Unauthorized)),
        (EXTENSION, "tea", None),
        ("monitor", "tea", Some(RoomRefusal::Exists)),
        // Personal rooms are there already.
        (EXTENSION, "a", Some(RoomRefusal::Exists)),
        (EXTENSION, "monitor-room", Some(RoomRefusal::Exists)),
    ] {
        assert_eq!(f.create(who, room).await.err(), refusal, "{who} makes {room}");
    }
    let remove = |who: &str| Command::Remove(id(who));
    for (who, room, command, refusal) in [
        ("a", "tea", add("a"), Some(Unauthorized)),
        (EXTENSION, "tea", add("a"), None),
        (EXTENSION, "tea", add("nobody"), Some(NotAdded)),
        (EXTENSION, "coffee", add("a"), Some(NotAdded)),
        ("a", "tea", Command::IsMember, None),
        ("b", "tea", Command::IsMember, Some(Unauthorized)),
        ("a", "a", Command::IsMember, None),
        ("a", "tea", Command::Members, None),
        ("b", "tea", Command::Members, Some(Unauthorized)),
        ("monitor", "coffee", Command::Members, Some(NotFound)),
        ("b", "tea", remove("a"), Some(Unauthorized)),
        ("a", "a", remove("a"), Some(InvalidOperation)),
        ("a", "tea", remove("a"), None),
        ("a", "tea", remove("a"), Some(NotRemoved)),
        (EXTENSION, "coffee", remove("a"), Some(NotRemoved)),
        // The creator, or an administrator.
        ("SillyTavern-8001", "tea", Command::Delete, Some(Unauthorized)),
        ("monitor", "a", Command::Delete, Some(Unauthorized)),
        (EXTENSION, "tea", Command::Delete, None),
        ("monitor", "tea", Command::Delete, Some(NotFound)),
    ] {
        let described = format!("{who} in {room}: {command:?}");
        assert_eq!(outcome(f.run(who, room, command).await).err(), refusal, "{described}");
    }
}

#[actix::test]
async fn rooms_and_their_members_are_bounded() {
    let f = Fixture::new(1, &["a", "b"]).await;
    assert_eq!(f.create("monitor", "tea").await.err(), None);
    assert_eq!(f.create("monitor", "coffee").await.err(), Some(RoomRefusal::TooMany));
    assert_eq!(f.run("monitor", "tea", add("a")).await.err(), None);
    assert_eq!(f.run("monitor", "tea", add("a")).await.err(), None, "who is in it may be added again");
    assert_eq!(f.run("monitor", "tea", add("b")).await.err(), Some(RoomRefusal::NotAdded));
    assert!(f.reached("limits.rooms") && f.reached("limits.members_per_room"));
}

#[actix::test]
async fn the_monitors_room_is_the_monitors_alone() {
    let f = Fixture::new(8, &["a", EXTENSION, "monitor"]).await;
    assert_eq!(f.members("monitor-room").await, [("monitor".to_owned(), Role::Master)]);
    for (who, member) in [("a", "a"), (EXTENSION, "a"), (EXTENSION, EXTENSION), ("monitor", "a")] {
        let refusal = if who == "a" { RoomRefusal::Unauthorized } else { RoomRefusal::NotAdded };
        assert_eq!(f.run(who, "monitor-room", add(member)).await.err(), Some(refusal), "{who} adds {member}");
    }
}

/// A name is chosen; what somebody else has made is not had by it.
#[actix::test]
async fn nobody_owns_a_room_by_its_name_alone() {
    let f = Fixture::new(8, &["app", "monitor"]).await;
    f.create("monitor", "app-lounge").await.unwrap();
    f.run("monitor", "app-lounge", add("app")).await.unwrap();
    for room in ["app-lounge", "monitor-room"] {
        let before = f.members(room).await;
        f.comes(room).await;
        assert_eq!(f.members(room).await, before);
        let pages = f.run(room, room, Command::Context { since: None, page_size: 100, page: 1 }).await;
        assert_eq!(outcome(pages), Err(RoomRefusal::NotAMember(room.to_owned())));
        assert_eq!(f.run(room, room, Command::IsMember).await.err(), Some(RoomRefusal::Unauthorized));
        let listed = f.lobby.send(ListRooms(Some(id(room)))).await.unwrap();
        assert!(listed.is_empty(), "{listed:?}");
    }
    // As a member it is one like others.
    f.run("monitor", "app-lounge", add("app-lounge")).await.unwrap();
    assert_eq!(
        f.members("app-lounge").await,
        [("app".to_owned(), Role::Guest), ("app-lounge".to_owned(), Role::Guest)]
    );
}

#[actix::test]
async fn whoever_is_gone_leaves_every_room_and_its_own_sleeps() {
    let f = Fixture::new(8, &["a", "b", "monitor"]).await;
    f.create("monitor", "tea").await.unwrap();
    for (room, who) in [("tea", "a"), ("tea", "b"), ("a", "b")] {
        f.run("monitor", room, add(who)).await.unwrap();
    }
    for supervisor in f.rooms.all() {
        supervisor.send(Absent(id("a"))).await.unwrap();
    }
    // Everybody has left its room, too, which nobody sees any more.
    assert_eq!(f.members("tea").await, [("b".to_owned(), Role::Guest)]);
    while f.listed().await != ["b", "monitor", "monitor-room", "tea"] {
        tokio::task::yield_now().await;
    }
    assert_eq!(f.run("b", "a", Command::IsMember).await.err(), Some(RoomRefusal::Unauthorized));
    f.comes("a").await;
    assert_eq!(f.members("a").await, [("a".to_owned(), Role::Master)]);
    // What was said there is still known.
    let pages = f.run("a", "a", Command::Context { since: None, page_size: 100, page: 1 }).await;
    let Ok(Reply::Pages(_, Some(page))) = pages else { panic!("{pages:?}") };
    let messages: Vec<serde_json::Value> = serde_json::from_str(&page).unwrap();
    let said: Vec<&str> = messages.iter().map(|message| message["data"].as_str().unwrap()).collect();
    assert_eq!(said, ["b joined the room.", "b left the room."]);
    // An empty room that somebody made is deleted.
    for supervisor in f.rooms.all() {
        supervisor.send(Absent(id("b"))).await.unwrap();
    }
    while f.listed().await.contains(&"tea".to_owned()) {
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn a_room_that_panics_is_back_with_its_state() {
    let f = Fixture::new(8, &["a", "b", "monitor"]).await;
    f.create("monitor", "tea").await.unwrap();
    f.run("monitor", "tea", Command::Add { identity: id("a"), role: Some(Role::Master) }).await.unwrap();
    f.run("monitor", "tea", add("b")).await.unwrap();
    let before = f.members("tea").await;
    assert_eq!(outcome(f.run("monitor", "tea", Command::Panic).await), Err(RoomRefusal::Busy));
    while f.metrics.rooms_restarted.get() == 0 {
        tokio::task::yield_now().await;
    }
    let mut after = f.members("tea").await;
    after.sort();
    let mut before = before;
    before.sort();
    assert_eq!(after, before);
    let pages = f.run("a", "tea", Command::Context { since: None, page_size: 1, page: 1 }).await;
    assert!(matches!(pages, Ok(Reply::Pages(pages, _)) if pages.len() == 2));
    // And it goes on.
    f.run("a", "tea", Command::Kick(id("b"))).await.unwrap();
    assert_eq!(f.members("tea").await, [("a".to_owned(), Role::Master)]);
}

fn request(id: &str, targets: &[&str]) -> Command {
    let payload = format!("{{\"requestId\":\"{id}\",\"message\":\"{id}\"}}");
    Command::Request {
        request: Some(ChatRequest {
            request_id: RequestId::new(id).unwrap(),
            targets: targets.iter().map(|target| (*target).into()).collect(),
            payload: RawJson::parse(payload.into(), 8).unwrap(),
        }),
        attachments: Vec::new(),
        extensions: Extensions::default(),
    }
}

/// Everybody would read it, its sender would say it again, and after a restart one of the two is gone.
#[actix::test]
async fn what_cannot_be_kept_was_not_said() {
    let default = HistoryConfig::default();
    let history = HistoryConfig {
        // Long enough for all that is asked here to wait for the same commit.
        batch: BatchLimits { pause: Duration::from_millis(300), ..default.batch },
        waiting: WaitingLimits { bytes: 4 << 10, ..default.waiting },
        ..default
    };
    let f = Fixture::kept_by(history, 8, &["a", "monitor"]).await;
    f.create("monitor", "tea").await.unwrap();
    f.run("monitor", "tea", Command::Add { identity: id("a"), role: Some(Role::Master) }).await.unwrap();
    f.run("a", "tea", Command::SetMode(RequestMode::Conversational)).await.unwrap();
    let long = "x".repeat(240);
    let asked = (0..6).map(|at| f.run("a", "tea", request(&format!("{at}-{long}"), &[])));
    let said = futures::future::join_all(asked).await;
    let kept = said.iter().filter(|outcome| outcome.is_ok()).count();
    assert!((1..6).contains(&kept), "{said:?}");
    assert!(
        said.iter().all(|said| said.is_ok() || said.as_ref().is_err_and(|why| *why == RoomRefusal::Busy))
    );
    let pages = f.run("a", "tea", Command::Context { since: None, page_size: 100, page: 1 }).await;
    let Ok(Reply::Pages(_, Some(page))) = pages else { panic!("{pages:?}") };
    let messages: Vec<serde_json::Value> = serde_json::from_str(&page).unwrap();
    let requests = messages.iter().filter(|message| message["fromClient"] == true).count();
    assert_eq!(requests, kept);
    assert!(f.metrics.text().contains("limit_reached_total{limit=\"history.max_waiting_bytes\"}"));
}

#[actix::test]
async fn what_a_room_bounds() {
    let f = Fixture::new(2, &["a", "b", "c", "d", "monitor"]).await;
    f.create("monitor", "tea").await.unwrap();
    for (who, role) in [("a", Role::Master), ("b", Role::Guest)] {
        f.run("monitor", "tea", Command::Add { identity: id(who), role: Some(role) }).await.unwrap();
    }
    // Guests' requests that wait for their host.
    f.run("a", "tea", Command::SetMode(RequestMode::HostSubmit)).await.unwrap();
    for at in ["q1", "q2"] {
        f.run("b", "tea", request(at, &[])).await.unwrap();
    }
    assert_eq!(outcome(f.run("b", "tea", request("q3", &[])).await), Err(RoomRefusal::TooManyRequests));
    assert!(f.reached("rooms.max_open_requests"));
    // Mutes, of all rooms together.
    let mute = |who: &str| Command::Mute { identity: id(who), seconds: None };
    for who in ["SillyTavern-1", "SillyTavern-2"] {
        f.run("monitor", "tea", mute(who)).await.unwrap();
    }
    assert_eq!(outcome(f.run("monitor", "tea", mute("SillyTavern-3")).await), Err(RoomRefusal::Busy));
    assert!(f.reached("rooms.max_mutes"));
    let said = f.run("monitor", "tea", Command::Context { since: None, page_size: 100, page: 1 }).await;
    assert!(!format!("{said:?}").contains("SillyTavern-3"), "what was refused was not said");
    assert_eq!(outcome(f.run("monitor", "tea", mute("SillyTavern-1")).await), Ok(()), "again");
}

/// A mute holds in every room, and each client is host of one.
#[actix::test]
async fn only_extensions_of_the_room_are_muted_and_unmuted() {
    let f = Fixture::new(10, &["a", "monitor"]).await;
    f.create("monitor", "tea").await.unwrap();
    let host = Command::Add { identity: id("a"), role: Some(Role::Master) };
    f.run("monitor", "tea", host).await.unwrap();
    let mute = |who: &str| Command::Mute { identity: id(who), seconds: None };
    let unmute = |who: &str| Command::Unmute(id(who));
    let not_found = Err(RoomRefusal::MemberNotFound);
    for who in ["SillyTavern-1", "SillyTavern-made-up"] {
        assert_eq!(outcome(f.run("a", "tea", mute(who)).await), not_found);
        assert_eq!(outcome(f.run("a", "tea", unmute(who)).await), not_found);
    }
    assert_eq!(outcome(f.run("monitor", "tea", mute("SillyTavern-1")).await), Ok(()), "an administrator");
    let extensions: Arc<[ClientId]> = Arc::from([ClientId::new("SillyTavern-1").unwrap()]);
    for supervisor in f.rooms.all() {
        let told = ExtensionsOf { room: None, extensions: Arc::clone(&extensions) };
        supervisor.send(told).await.unwrap();
    }
    assert_eq!(outcome(f.run("a", "tea", unmute("SillyTavern-1")).await), Ok(()));
    assert_eq!(outcome(f.run("a", "tea", mute("SillyTavern-1")).await), Ok(()));
    assert_eq!(outcome(f.run("a", "tea", mute("SillyTavern-made-up")).await), not_found);
}

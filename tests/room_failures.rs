//! Rooms when something fails (spec §4.9.2, §4.9.4): a history that cannot be written, requests beyond their
//! bounds, and members, owners and their heirs who go at a bad moment.

mod room_world;
mod support;

use rusqlite::Connection;
use serde_json::{Value, json};

use room_world::{ADMIN, EXTENSION, LLM, ROOMS, SECOND, World, joined, named, note, ok, refused, tea};
use support::{Broker, Peer, auth, within};

const MASTER: &str = "app-a";
const MANAGER: &str = "app-b";
const GUEST: &str = "frontendExample";
const OUTSIDER: &str = "app-c";
const BUSY: &str = "Server is busy, try again later.";

/// "tea" with its members and somebody beside it; whoever writes its history waits for nobody.
async fn impatient() -> World {
    let mut world = World::full_of(Broker::setup(), |config| config.history.busy_timeout = 0).await;
    world.comes(OUTSIDER).await;
    world.quiet().await;
    world
}

/// All messages of a room, which fit into one page.
async fn history(world: &mut World, who: &str, room: &str) -> Vec<Value> {
    let ack = world.ask(who, "GET_FULL_CONTEXT", json!({"roomName": room})).await;
    let page = world.page(who, &ack).await;
    assert_eq!(page["isLastPage"], true);
    page["contextPage"].as_array().expect("messages").clone()
}

/// Another program that writes to the broker's history, and keeps everybody else from it meanwhile.
struct Writer(Connection);

impl Writer {
    async fn begin(broker: &Broker) -> Self {
        let db = Connection::open(broker.data().join("data/history.sqlite")).expect("a history");
        let begun = async {
            // The broker may be writing something that nobody waits for.
            while db.execute_batch("BEGIN IMMEDIATE").is_err() {
                tokio::task::yield_now().await;
            }
        };
        within("the history to be free", begun).await;
        Self(db)
    }

    fn end(self) {
        self.0.execute_batch("ROLLBACK").expect("it is writing");
    }
}

/// What a room cannot keep it does not claim to have done, each event in its own words.
#[tokio::test]
async fn what_a_room_cannot_keep_fails_in_words() {
    let mut world = impatient().await;
    let asked = json!({"requestId": "r", "targetRoom": "tea", "target": EXTENSION, "message": "hi"});
    world.does(GUEST, "LLM_REQUEST", asked).await;
    world.answers(EXTENSION, "r", "o", "hello").await;
    let messages = history(&mut world, MASTER, "tea").await;
    let [question, answer] = [0, 1].map(|at| messages[at]["messageId"].clone());
    let seated = members(&mut world, "tea").await;
    let writer = Writer::begin(&world.broker).await;
    let not_deleted =
        json!({"status": "ok", "message": "No matching messages found to delete or operation failed."});
    let not_cleared = json!({"status": "ok", "message": "Messages already cleared or operation failed."});
    for (who, event, payload, ack) in [
        (
            MASTER,
            "SET_ROOM_MESSAGE_REQUEST_MODE",
            tea(json!({"mode": "MasterOnly"})),
            refused("Failed to set room mode."),
        ),
        (
            ADMIN,
            "ADD_CLIENT_TO_ROOM",
            tea(json!({"identity": OUTSIDER})),
            refused("Failed to add client to room"),
        ),
        (
            MASTER,
            "SET_MEMBER_ROLE",
            tea(json!({"targetIdentity": GUEST, "role": "manager"})),
            refused("Failed to set member role"),
        ),
        (MASTER, "KICK_MEMBER", tea(json!({"targetIdentity": GUEST})), refused("Failed to kick member")),
        (
            GUEST,
            "REMOVE_CLIENT_FROM_ROOM",
            tea(json!({"identity": GUEST})),
            refused("Failed to remove client from room"),
        ),
        (MASTER, "MUTE_MEMBER", tea(json!({"targetIdentity": MANAGER, "duration": 60})), refused(BUSY)),
        (MASTER, "UNMUTE_MEMBER", tea(json!({"targetIdentity": MANAGER})), refused(BUSY)),
        (
            MASTER,
            "EDIT_MESSAGE",
            tea(json!({"messageId": question, "updatedFields": {"message": "new"}})),
            refused("Failed to edit message. It might not exist."),
        ),
        (MASTER, "DELETE_MESSAGE", tea(json!({"messageIds": answer})), not_deleted),
        (MASTER, "CLEAR_MESSAGES", tea(json!({})), not_cleared),
        (ADMIN, "CREATE_ROOM", json!({"roomName": "milk"}), refused(BUSY)),
        (
            ADMIN,
            "SET_CONNECTION_POLICY",
            json!({"policy": "Manual"}),
            refused("Failed to set connection policy"),
        ),
        (ADMIN, "ASSIGN_EXTENSION_TO_CLIENT", json!({"clientRoom": "tea", "extensions": []}), refused(BUSY)),
        (ADMIN, "DELETE_ROOM", tea(json!({})), refused(BUSY)),
    ] {
        assert_eq!(world.ask(who, event, payload).await, ack, "{who} {event}");
    }
    writer.end();
    // None of it has happened.
    assert_eq!(members(&mut world, "tea").await, seated);
    assert_eq!(history(&mut world, MASTER, "tea").await, messages);
    // What is asked afterwards is kept, also of the same.
    let kick = tea(json!({"targetIdentity": GUEST}));
    world.does(MASTER, "KICK_MEMBER", kick.clone()).await;
    assert_eq!(world.ask(MASTER, "KICK_MEMBER", kick).await, refused("Failed to kick member"));
    world.does(ADMIN, "SET_CONNECTION_POLICY", json!({"policy": "Free"})).await;
    world.does(ADMIN, "CREATE_ROOM", json!({"roomName": "juice"})).await;
}

/// It was there, and its name taken, for as long as the broker ran; nothing could be kept in it.
#[tokio::test]
async fn a_room_that_could_not_be_made_is_none() {
    let mut world = impatient().await;
    let milk = |more: Value| {
        let mut payload = tea(more);
        payload["roomName"] = json!("milk");
        payload
    };
    let writer = Writer::begin(&world.broker).await;
    assert_eq!(world.ask(ADMIN, "CREATE_ROOM", milk(json!({}))).await, refused(BUSY));
    writer.end();
    let add = milk(json!({"identity": OUTSIDER}));
    assert_eq!(
        world.ask(ADMIN, "ADD_CLIENT_TO_ROOM", add.clone()).await,
        refused("Failed to add client to room")
    );
    let listed = world.ask(ADMIN, "GET_ROOMS", json!({})).await;
    assert!(!listed["rooms"].as_array().unwrap().contains(&json!("milk")), "{listed}");
    world.does(ADMIN, "CREATE_ROOM", milk(json!({}))).await;
    world.does(ADMIN, "ADD_CLIENT_TO_ROOM", add).await;
}

/// It was gone, and back after a restart.
#[tokio::test]
async fn a_room_that_could_not_be_deleted_stays() {
    let mut world = impatient().await;
    let members = json!({"roomName": "tea"});
    let before = world.ask(ADMIN, "GET_CLIENTS_IN_ROOM", members.clone()).await;
    let writer = Writer::begin(&world.broker).await;
    world.row(ADMIN, "DELETE_ROOM", members.clone(), refused(BUSY), json!({})).await;
    assert_eq!(world.ask(ADMIN, "GET_CLIENTS_IN_ROOM", members.clone()).await, before);
    writer.end();
    world.does(GUEST, "LLM_REQUEST", json!({"requestId": "r", "targetRoom": "tea", "message": "hi"})).await;
    world.does(ADMIN, "DELETE_ROOM", members.clone()).await;
    assert_eq!(world.ask(ADMIN, "GET_CLIENTS_IN_ROOM", members.clone()).await, refused("Room not found"));
    world.does(ADMIN, "CREATE_ROOM", members).await;
}

/// A request that the room could not record: an ack and an `ERROR`, or an `ERROR` alone.
#[tokio::test]
async fn a_request_that_cannot_be_recorded_is_refused() {
    const NOT_RECORDED: &str = "Failed to record request message.";
    let mut world = impatient().await;
    world.does(MASTER, "SET_ROOM_MESSAGE_REQUEST_MODE", tea(json!({"mode": "MasterOnly"}))).await;
    let asked = |id: &str| json!({"requestId": id, "targetRoom": "tea", "message": "hi"});
    let writer = Writer::begin(&world.broker).await;
    assert_eq!(world.ask(GUEST, "LLM_REQUEST", asked("r1")).await, refused(NOT_RECORDED));
    world.peer(GUEST).emit(LLM, json!("LLM_REQUEST"), &[asked("r2")]).await;
    const ERROR: &str = "42/llm,[\"ERROR\",";
    for id in ["r1", "r2"] {
        let packet = world.peer(GUEST).wait_for("an ERROR", |packet| packet.starts_with(ERROR)).await;
        let error: Value = serde_json::from_str(&packet[ERROR.len()..packet.len() - 1]).expect("JSON");
        assert_eq!(error, json!({"type": "ERROR", "message": NOT_RECORDED, "requestId": id}));
    }
    writer.end();
    world.does(GUEST, "LLM_REQUEST", asked("r3")).await;
}

#[tokio::test]
async fn a_room_takes_so_many_requests_at_once() {
    const TOO_MANY: &str = "Too many pending requests.";
    let mut world = World::full_of(Broker::setup(), |config| {
        config.rooms.max_open_requests = 1;
        config.rooms.max_queued = 1;
    })
    .await;
    let asked =
        |id: &str| json!({"requestId": id, "targetRoom": "tea", "target": EXTENSION, "message": "hi"});
    world.does(GUEST, "LLM_REQUEST", asked("r1")).await;
    world.quiet().await;
    world.refuses_chat(MASTER, asked("r2"), TOO_MANY).await;
    // Another room has places of its own.
    world.does(MASTER, "LLM_REQUEST", json!({"requestId": "own", "message": "hi"})).await;
    world.answers(EXTENSION, "r1", "o1", "hello").await;
    world.does(MASTER, "LLM_REQUEST", asked("r2")).await;
    world.answers(EXTENSION, "r2", "o2", "hello").await;
    // Those that wait for a host are counted beside them.
    world.does(MASTER, "SET_ROOM_MESSAGE_REQUEST_MODE", tea(json!({"mode": "HostSubmit"}))).await;
    world.does(GUEST, "LLM_REQUEST", asked("q1")).await;
    world.quiet().await;
    world.refuses_chat(GUEST, asked("q2"), TOO_MANY).await;
    world.does(MASTER, "LLM_REQUEST", asked("host")).await;
    world.does(GUEST, "LLM_REQUEST", asked("q2")).await;
    assert_eq!(world.broker.limit_reached("rooms.max_open_requests"), 4);
}

/// The router's bounds hold for what is asked in rooms, too.
#[tokio::test]
async fn a_client_has_so_many_requests_in_all_its_rooms() {
    let mut world = World::full_of(Broker::setup(), |config| config.llm.pending_per_client = 1).await;
    let own = |id: &str| json!({"requestId": id, "target": EXTENSION, "message": "hi"});
    world.does(MASTER, "LLM_REQUEST", own("r1")).await;
    let mut other = own("r2");
    other["targetRoom"] = json!("tea");
    assert_eq!(world.ask(MASTER, "LLM_REQUEST", other).await, refused("Too many pending requests."));
    world.does(MANAGER, "LLM_REQUEST", own("r3")).await;
}

/// Settings that name no mode: rooms are made as if none were set (spec §2.1). So a room always has a mode,
/// and none can be configured that its requests would not know.
#[tokio::test]
async fn a_mode_that_is_none_is_immediate() {
    let setup = Broker::setup().settings(json!({"defaultRoomMessageRequestMode": "Whatever"}));
    let mut world = World::full(setup).await;
    let asked = json!({"requestId": "r", "targetRoom": "tea", "target": EXTENSION, "message": "hi"});
    world.does(GUEST, "LLM_REQUEST", asked).await;
    let heard = world.heard().await;
    let forwarded = &heard[EXTENSION][1];
    assert_eq!((&forwarded[1], &forwarded[2]["mode"]), (&json!("LLM_REQUEST"), &json!("Immediate")));
}

/// The grace is short, and the extension says when it is over.
async fn brief() -> (World, Peer) {
    let settings = json!({"reconnectAttempts": 1, "reconnectDelay": 50});
    let setup = Broker::setup().settings(settings).client(json!({"clientId": OUTSIDER, "isTrust": true}));
    let world = World::of(setup, |_| ()).await;
    let mut watch = Peer::connect_ws(&world.broker).await;
    watch.join("/sillytavern", auth(SECOND)).await;
    (world, watch)
}

async fn until_gone(watch: &mut Peer, who: &str) {
    let text = format!("Client {who} disconnected and failed to reconnect. Room deleted.");
    watch.wait_for(&text, |packet| packet.contains(&text)).await;
}

async fn members(world: &mut World, room: &str) -> Value {
    let ack = world.ask(ADMIN, "GET_CLIENTS_IN_ROOM", json!({"roomName": room})).await;
    ack["clients"].as_array().map_or(ack.clone(), |list| {
        list.iter().map(|member| json!([member["clientId"], member["role"]])).collect()
    })
}

/// Waits until a room has these members.
async fn until_members(world: &mut World, room: &str, wanted: Value) {
    let wait = async { while members(world, room).await != wanted {} };
    within(&format!("{wanted} in {room}"), wait).await;
}

/// A room of one's own goes with its owner, whoever is its master by then; back, the owner is its master, and
/// what was written is there (spec §3.8, §4.9.1).
#[tokio::test]
async fn a_personal_room_is_its_owners_whoever_was_its_master() {
    let (mut world, mut watch) = brief().await;
    for who in [MASTER, GUEST] {
        world.comes(who).await;
    }
    let own = |more: Value| {
        let mut payload = tea(more);
        payload["roomName"] = json!(MASTER);
        payload
    };
    world.does(ADMIN, "ADD_CLIENT_TO_ROOM", own(json!({"identity": GUEST}))).await;
    world.does(MASTER, "SET_MEMBER_ROLE", own(json!({"targetIdentity": GUEST, "role": "master"}))).await;
    until_members(&mut world, MASTER, json!([[MASTER, "manager"], [GUEST, "master"]])).await;
    world.quiet().await;
    // Not even its new master takes it from its owner.
    for who in [GUEST, ADMIN] {
        assert_eq!(
            world.ask(who, "KICK_MEMBER", own(json!({"targetIdentity": MASTER}))).await,
            refused("Failed to kick member")
        );
        assert_eq!(world.ask(who, "DELETE_ROOM", own(json!({}))).await, refused("Unauthorized"));
    }
    world.peers.remove(MASTER).expect("it is there").vanish().await;
    until_gone(&mut watch, MASTER).await;
    until_members(&mut world, MASTER, refused("Room not found")).await;
    let heard = world.heard().await;
    let deleted = json!({"roomName": MASTER, "message": format!("Room {MASTER} has been deleted.")});
    let events = heard[GUEST].as_array().expect("it is told");
    assert_eq!(events.last(), Some(&json!([ROOMS, "DELETE_ROOM", deleted])), "{heard}");
    assert!(events.iter().all(|event| event[1] != "MEMBER_ROLE_CHANGED"), "{heard}");
    world.comes(MASTER).await;
    until_members(&mut world, MASTER, json!([[MASTER, "master"]])).await;
    world.quiet().await;
    let news = note(MASTER, &format!("{GUEST} joined the room."));
    let join = joined(MASTER, GUEST, "guest");
    world.does(ADMIN, "ADD_CLIENT_TO_ROOM", own(json!({"identity": GUEST}))).await;
    let heard = world.heard().await;
    let events = heard[MASTER].as_array().expect("it is told");
    assert!(events.contains(&news) && events.contains(&join), "{heard}");
    // The notices of before are kept.
    let kept = history(&mut world, MASTER, MASTER).await;
    let came = format!("{GUEST} joined the room.");
    assert_eq!(kept.iter().filter(|message| message["data"] == came).count(), 2, "{kept:#?}");
}

/// Back within the grace, everybody is what it was.
#[tokio::test]
async fn a_master_that_is_away_stays_master() {
    let mut world = World::full(Broker::setup()).await;
    for room in ["tea", MASTER] {
        let before = members(&mut world, room).await;
        let sockets = world.broker.metric("newage_sockets");
        world.peers.remove(MASTER).expect("it is there").vanish().await;
        world.broker.until_metric_is("newage_sockets", sockets - 2).await;
        assert_eq!(members(&mut world, room).await, before, "{room}");
        world.comes(MASTER).await;
        assert_eq!(members(&mut world, room).await, before, "{room}");
    }
}

/// A master that does not come back is succeeded; the last one takes the room with it (Q16).
#[tokio::test]
async fn a_master_that_is_gone_is_succeeded() {
    let (mut world, mut watch) = brief().await;
    for (who, role) in [(MASTER, "master"), (GUEST, "guest"), (MANAGER, "manager")] {
        world.comes(who).await;
        world.does(ADMIN, "ADD_CLIENT_TO_ROOM", tea(json!({"identity": who, "role": role}))).await;
    }
    world.does(ADMIN, "REMOVE_CLIENT_FROM_ROOM", tea(json!({"identity": ADMIN}))).await;
    for (who, left) in [
        (MASTER, json!([[GUEST, "guest"], [MANAGER, "master"]])),
        (MANAGER, json!([[GUEST, "master"]])),
        (GUEST, refused("Room not found")),
    ] {
        world.peers.remove(who).expect("it is there").vanish().await;
        until_gone(&mut watch, who).await;
        until_members(&mut world, "tea", left).await;
    }
}

/// Whoever goes for good while it is being added is in no room afterwards.
#[tokio::test]
async fn whoever_leaves_while_it_is_added_has_gone() {
    let (mut world, mut watch) = brief().await;
    let payload = tea(json!({"identity": OUTSIDER, "role": "guest"}));
    for round in 0..8 {
        let mut peer = Peer::connect_ws(&world.broker).await;
        peer.join(ROOMS, named(OUTSIDER)).await;
        peer.vanish().await;
        // Asked all the time until it is gone: one of them meets it on its way out.
        loop {
            let ack = world.ask(ADMIN, "ADD_CLIENT_TO_ROOM", payload.clone()).await;
            if ack != ok() {
                assert_eq!(ack, refused("Failed to add client to room"), "round {round}");
                break;
            }
            let removed = tea(json!({"identity": OUTSIDER}));
            let ack = world.ask(ADMIN, "REMOVE_CLIENT_FROM_ROOM", removed).await;
            assert!(
                ack == ok() || ack == refused("Failed to remove client from room"),
                "round {round}: {ack}"
            );
        }
        until_gone(&mut watch, OUTSIDER).await;
        until_members(&mut world, "tea", json!([[ADMIN, "master"]])).await;
    }
}

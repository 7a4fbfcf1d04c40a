//! Which extensions rooms may ask (spec §4.9.3): the five policies, who may set them, and who is told.

mod room_world;
mod support;

use serde_json::{Value, json};

use room_world::{ADMIN, EXTENSION, SECOND, World, ok, refused};
use support::{Broker, Peer};

const APP: &str = "app-a";
const OTHER: &str = "app-b";

/// Two apps, each in its own room, and two extensions.
async fn world() -> World {
    let mut world = World::of(Broker::setup(), |_| ()).await;
    for extension in [EXTENSION, SECOND] {
        world.extension(extension).await;
    }
    for app in [APP, OTHER] {
        world.comes(app).await;
        assert_eq!(told(&mut world, app).await, json!([EXTENSION, SECOND]), "whoever comes is told");
    }
    world
}

/// The next list that somebody is told.
async fn told(world: &mut World, who: &str) -> Value {
    const HEAD: &str = "42/rooms,[\"AVAILABLE_EXTENSIONS\",";
    let packet = world.peer(who).wait_for("a list", |packet| packet.starts_with(HEAD)).await;
    let payload: Value = serde_json::from_str(&packet[HEAD.len()..packet.len() - 1]).expect("JSON");
    assert_eq!(payload, json!({"extensions": payload["extensions"], "roomName": who}), "of its own room");
    payload["extensions"].clone()
}

/// Nothing was told that was not read.
async fn told_nothing(world: &mut World, who: &str) {
    world.settle(who).await;
    let heard = world.peer(who).heard().await;
    assert_eq!(heard, [], "{who}");
}

async fn set(world: &mut World, policy: &str) {
    assert_eq!(world.ask(ADMIN, "SET_CONNECTION_POLICY", json!({"policy": policy})).await, ok());
    let ack = json!({"status": "ok", "policy": policy});
    assert_eq!(world.ask(APP, "GET_CONNECTION_POLICY", json!({})).await, ack);
}

async fn of(world: &mut World, who: &str, room: Option<&str>) -> Value {
    let payload = room.map_or(json!({}), |room| json!({"roomName": room}));
    let ack = world.ask(who, "GET_ASSIGNMENTS_FOR_ROOM", payload).await;
    assert_eq!(ack["status"], "ok", "{ack}");
    ack["assignments"].clone()
}

/// The reference always reported a failure.
#[tokio::test]
async fn defect_d2_11_set_connection_policy_says_that_it_worked() {
    const FAILED: &str = "Failed to set connection policy";
    let mut world = world().await;
    let free = json!({"status": "ok", "policy": "Free"});
    world.row(APP, "GET_CONNECTION_POLICY", json!({}), free, json!({})).await;
    world.refuses(APP, "SET_CONNECTION_POLICY", json!({"policy": "Free"}), "Unauthorized").await;
    for payload in [json!({}), json!({"policy": "free"}), json!({"policy": 7})] {
        world.refuses(ADMIN, "SET_CONNECTION_POLICY", payload, FAILED).await;
    }
    for policy in ["Broadcast", "Manual", "Balanced", "Random", "Free"] {
        set(&mut world, policy).await;
    }
}

#[tokio::test]
async fn free_and_broadcast_assign_all_of_them() {
    let mut world = world().await;
    for policy in ["Free", "Broadcast"] {
        set(&mut world, policy).await;
        assert_eq!(of(&mut world, APP, None).await, json!([EXTENSION, SECOND]));
    }
    told_nothing(&mut world, APP).await;
    // One that leaves is gone at once.
    world.peers.remove(SECOND).unwrap().vanish().await;
    for app in [APP, OTHER] {
        assert_eq!(told(&mut world, app).await, json!([EXTENSION]));
    }
    assert_eq!(of(&mut world, APP, None).await, json!([EXTENSION]));
    let list = json!({"status": "ok", "extensions": [EXTENSION]});
    assert_eq!(world.ask(APP, "GET_CONNECTED_EXTENSIONS", json!({})).await, list);
    world.extension(SECOND).await;
    assert_eq!(told(&mut world, APP).await, json!([EXTENSION, SECOND]));
}

#[tokio::test]
async fn manual_assigns_what_an_administrator_says() {
    const EVENT: &str = "ASSIGN_EXTENSION_TO_CLIENT";
    let mut world = world().await;
    let assign = |room: &str, ids: Value| json!({"clientRoom": room, "extensions": ids});
    let not_manual = "Manual assignment is only allowed in Manual mode";
    world.refuses(ADMIN, EVENT, assign(APP, json!([EXTENSION])), not_manual).await;
    set(&mut world, "Manual").await;
    for app in [APP, OTHER] {
        assert_eq!(told(&mut world, app).await, json!([]), "none without a word");
    }
    world.refuses(APP, EVENT, assign(APP, json!([EXTENSION])), "Unauthorized").await;
    for (payload, message) in [
        (assign("nowhere", json!([EXTENSION])), "Client room not found"),
        (json!({"extensions": [EXTENSION]}), "Client room not found"),
        (assign(APP, json!([EXTENSION, "SillyTavern-9"])), "Extension not found: SillyTavern-9"),
    ] {
        world.refuses(ADMIN, EVENT, payload, message).await;
    }
    assert_eq!(world.ask(ADMIN, EVENT, assign(APP, json!([SECOND]))).await, ok());
    assert_eq!(told(&mut world, APP).await, json!([SECOND]));
    told_nothing(&mut world, OTHER).await;
    assert_eq!(of(&mut world, APP, None).await, json!([SECOND]));
    // A request may only name what is assigned.
    let ask = |id: &str, target: &str| json!({"requestId": id, "target": target, "message": "hi"});
    let foreign = refused("Invalid LLM request data.");
    assert_eq!(world.ask(APP, "LLM_REQUEST", ask("r1", EXTENSION)).await, foreign);
    world.does(APP, "LLM_REQUEST", ask("r2", SECOND)).await;
    assert_eq!(world.ask(OTHER, "LLM_REQUEST", ask("r3", SECOND)).await, foreign);
    // Nor does it come to another by the name of one of its instances.
    for (id, client, outcome) in [("r4", EXTENSION, foreign), ("r5", SECOND, ok())] {
        let instance = format!("{client}-tab");
        let mut tab = Peer::connect_ws(&world.broker).await;
        let auth = json!({"clientId": client, "clientType": "extension", "identity": instance});
        tab.join("/llm", auth).await;
        assert_eq!(
            world.ask(APP, "LLM_REQUEST", ask(id, &instance)).await["status"],
            outcome["status"],
            "{id}"
        );
    }
}

#[tokio::test]
async fn balanced_and_random_assign_one_and_keep_it() {
    let mut world = world().await;
    set(&mut world, "Balanced").await;
    let (first, second) = (of(&mut world, APP, None).await, of(&mut world, OTHER, None).await);
    let lists = world.ask(ADMIN, "GET_ASSIGNMENTS", json!({})).await;
    let all = lists["assignments"].as_object().unwrap();
    let load = |id: &str| all.values().filter(|ids| **ids == json!([id])).count();
    assert_eq!((load(EXTENSION), load(SECOND)), (2, 2), "{lists}");
    assert_eq!(all.len(), 4, "{lists}");
    assert_eq!((told(&mut world, APP).await, told(&mut world, OTHER).await), (first, second));
    set(&mut world, "Random").await;
    let mine = of(&mut world, APP, None).await;
    let (kept, lost) = if mine == json!([EXTENSION]) { (EXTENSION, SECOND) } else { (SECOND, EXTENSION) };
    assert_eq!(mine, json!([kept]));
    world.peers.remove(lost).unwrap().vanish().await;
    world.broker.until_metric_is("newage_extensions", 1).await;
    assert_eq!(of(&mut world, APP, None).await, json!([kept]), "it stays while it is there");
    world.extension(lost).await;
    assert_eq!(of(&mut world, APP, None).await, json!([kept]));
}

#[tokio::test]
async fn who_sees_which_assignments() {
    let mut world = world().await;
    let both = json!([EXTENSION, SECOND]);
    let all = json!({"status": "ok", "assignments": {ADMIN: both, APP: both, OTHER: both, "tea": both}});
    world.row(ADMIN, "GET_ASSIGNMENTS", json!({}), all, json!({})).await;
    let own = json!({"status": "ok", "assignments": {APP: both}});
    world.row(APP, "GET_ASSIGNMENTS", json!({}), own, json!({})).await;
    assert_eq!(of(&mut world, ADMIN, Some(APP)).await, both);
    assert_eq!(of(&mut world, APP, Some(APP)).await, both);
    for room in [OTHER, "tea", "nowhere"] {
        world.refuses(APP, "GET_ASSIGNMENTS_FOR_ROOM", json!({"roomName": room}), "Unauthorized").await;
    }
    let rooms = json!({"status": "ok", "rooms": [APP, OTHER, ADMIN, "tea"]});
    world.row(ADMIN, "GET_CONNECTED_CLIENT_ROOMS", json!({}), rooms, json!({})).await;
    world.refuses(APP, "GET_CONNECTED_CLIENT_ROOMS", json!({}), "Unauthorized").await;
    let extensions = json!({"status": "ok", "extensions": [EXTENSION, SECOND]});
    world.row(APP, "GET_CONNECTED_EXTENSIONS", json!({}), extensions, json!({})).await;
}

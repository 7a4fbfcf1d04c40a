//! What the reference of dialect 2 gets wrong about rooms (spec §8.2); each test fails on a server that does
//! the same. Those of streams, thinking and policies stand with their subject.

mod room_world;
mod support;

use serde_json::{Value, json};

use room_world::{ADMIN, EXTENSION, LLM, ROOMS, World, joined, left, named, note, role_changed};
use support::{Broker, Peer};

const MASTER: &str = "app-a";
const MANAGER: &str = "app-b";
const GUEST: &str = "frontendExample";

fn tea(field: &str, value: impl Into<Value>) -> Value {
    json!({"roomName": "tea", field: value.into()})
}

/// The names of what somebody heard.
fn names(heard: &Value, who: &str) -> Vec<Value> {
    heard[who].as_array().into_iter().flatten().map(|event| event[1].clone()).collect()
}

/// A question of the guest that goes to nobody.
async fn said(world: &mut World) -> Value {
    world.does(MASTER, "SET_ROOM_MESSAGE_REQUEST_MODE", tea("mode", "MasterOnly")).await;
    world.quiet().await;
    world.does(GUEST, "LLM_REQUEST", json!({"requestId": "r", "targetRoom": "tea", "message": "hi"})).await;
    const HEAD: &str = "42/llm,[\"NEW_MESSAGE\",";
    let packet = world.peer(GUEST).wait_for("the news", |packet| packet.starts_with(HEAD)).await;
    let news: Value = serde_json::from_str(&packet[HEAD.len()..packet.len() - 1]).expect("JSON");
    world.quiet().await;
    news["message"]["messageId"].clone()
}

#[tokio::test]
async fn defect_d2_04_no_event_is_called_null() {
    let mut world = World::full(Broker::setup()).await;
    let id = said(&mut world).await;
    let ack = world.ask(GUEST, "GET_FULL_CONTEXT", json!({"roomName": "tea"})).await;
    world.page(GUEST, &ack).await;
    world.does(GUEST, "DELETE_MESSAGE", tea("messageIds", id)).await;
    let heard = world.heard().await;
    for who in [MASTER, MANAGER, GUEST, EXTENSION] {
        assert_eq!(names(&heard, who), ["MESSAGES_DELETED"]);
    }
}

#[tokio::test]
async fn defect_d2_05_notices_of_the_room_arrive() {
    let mut world = World::full(Broker::setup()).await;
    world
        .does(
            MASTER,
            "SET_MEMBER_ROLE",
            json!({"roomName": "tea", "targetIdentity": GUEST, "role": "manager"}),
        )
        .await;
    world.quiet().await;
    world.does(MASTER, "KICK_MEMBER", tea("targetIdentity", GUEST)).await;
    assert_eq!(world.heard().await[EXTENSION], json!([note("tea", "frontendExample left the room.")]));
}

#[tokio::test]
async fn defect_d2_07_answers_and_deletions_are_announced_and_whoever_leaves_has_not_joined() {
    let mut world = World::full(Broker::setup()).await;
    let id = said(&mut world).await;
    world.does(MASTER, "LLM_REQUEST", json!({"requestId": "r2", "targetRoom": "tea", "message": "hi"})).await;
    world.quiet().await;
    world.answers(EXTENSION, "r2", "o", "hello").await;
    let heard = world.heard().await;
    assert!(names(&heard, MANAGER).contains(&json!("NEW_MESSAGE")), "{heard}");
    world.does(MASTER, "DELETE_MESSAGE", tea("messageIds", id)).await;
    assert_eq!(names(&world.heard().await, MANAGER), ["MESSAGES_DELETED"]);
    world.does(GUEST, "REMOVE_CLIENT_FROM_ROOM", tea("identity", GUEST)).await;
    let told = json!([note("tea", "frontendExample left the room."), left("tea", GUEST)]);
    assert_eq!(world.heard().await[MANAGER], told);
}

/// Whoever sends no identity has its id for one, everywhere.
#[tokio::test]
async fn defect_d2_08_an_identity_is_the_id_unless_it_is_given() {
    let mut world = World::full(Broker::setup()).await;
    let mut instance = named("app-c");
    instance["identity"] = json!("app-c#2");
    world.comes_with("app-c#2", instance).await;
    world.does(ADMIN, "ADD_CLIENT_TO_ROOM", tea("identity", "app-c#2")).await;
    let news = note("tea", "app-c#2 joined the room.");
    let change = role_changed("tea", "app-c#2", "guest");
    let heard = world.heard().await;
    assert_eq!(heard["app-c#2"], json!([news, change]));
    assert_eq!(heard[MASTER], json!([news, joined("tea", "app-c#2", "guest"), change]));
    let request = json!({"requestId": "r", "targetRoom": "tea", "target": EXTENSION, "message": "hi"});
    world.does("app-c#2", "LLM_REQUEST", request.clone()).await;
    let heard = world.heard().await;
    let forwarded = &heard[EXTENSION][1][2];
    assert_eq!(
        (&forwarded["requestingIdentity"], &forwarded["clientId"]),
        (&json!("app-c#2"), &json!("app-c"))
    );
    // An extension is none of its members, and is asked by its id.
    assert_eq!(forwarded["target"], EXTENSION);
}

#[tokio::test]
async fn defect_d2_09_news_of_a_chat_come_on_llm() {
    let mut world = World::full(Broker::setup()).await;
    let mut alone = Peer::connect_ws(&world.broker).await;
    alone.join(LLM, named("app-c")).await;
    world.peers.insert("app-c".to_owned(), alone);
    world.does(ADMIN, "ADD_CLIENT_TO_ROOM", tea("identity", "app-c")).await;
    assert_eq!(world.heard().await["app-c"], json!([note("tea", "app-c joined the room.")]));
}

#[tokio::test]
async fn defect_d2_12_messages_are_their_authors_and_the_hosts() {
    let mut world = World::full(Broker::setup()).await;
    let id = said(&mut world).await;
    world
        .does(
            MASTER,
            "SET_MEMBER_ROLE",
            json!({"roomName": "tea", "targetIdentity": MANAGER, "role": "guest"}),
        )
        .await;
    world.quiet().await;
    let edit = json!({
        "roomName": "tea", "messageId": id, "updatedFields": {"message": "forged"}, "role": "master",
    });
    world.refuses(MANAGER, "EDIT_MESSAGE", edit, "Permission denied to edit this message.").await;
    let delete = json!({"roomName": "tea", "messageIds": [id], "role": "master", "identity": GUEST});
    world.refuses(MANAGER, "DELETE_MESSAGE", delete, "Permission denied to delete these messages.").await;
}

/// The last socket counts, and then the grace.
#[tokio::test]
async fn defect_d2_14_an_auxiliary_socket_takes_nobody_out_of_a_room() {
    let settings = json!({"reconnectAttempts": 1, "reconnectDelay": 100});
    let mut world = World::full(Broker::setup().settings(settings)).await;
    for ns in ["/sillytavern", "/clients"] {
        let peer = world.peer(GUEST);
        peer.join(ns, named(GUEST)).await;
        peer.leave(ns).await;
        peer.barrier().await;
    }
    // Somebody who goes later is gone for good: the grace of the guest would be over, too.
    world.peers.remove(MANAGER).unwrap().vanish().await;
    let gone = format!("42/rooms,[\"MEMBER_LEFT\",{}]", left("tea", MANAGER)[2]);
    world
        .peer(MASTER)
        .wait_for(&gone, |packet| packet.starts_with("42/rooms,[\"MEMBER_LEFT\"") && packet.contains(MANAGER))
        .await;
    let members = world.ask(MASTER, "GET_CLIENTS_IN_ROOM", json!({"roomName": "tea"})).await;
    let ids: Vec<&Value> =
        members["clients"].as_array().unwrap().iter().map(|member| &member["clientId"]).collect();
    assert_eq!(ids, [MASTER, GUEST]);
}

#[tokio::test]
async fn defect_d2_15_a_request_without_an_ack_is_served() {
    let mut world = World::full(Broker::setup()).await;
    let request = json!({"requestId": "r", "targetRoom": "tea", "target": EXTENSION, "message": "hi"});
    world.peer(GUEST).emit(LLM, json!("LLM_REQUEST"), &[request]).await;
    const HEAD: &str = "42/llm,[\"LLM_REQUEST\",";
    world.peer(EXTENSION).wait_for("the request", |packet| packet.starts_with(HEAD)).await;
}

#[tokio::test]
async fn defect_d2_16_whoever_is_not_trusted_leaves_no_trace() {
    let mut world = World::full(Broker::setup()).await;
    for (id, kind) in [("stranger", "test"), ("SillyTavern-666", "SillyTavern"), ("stranger", "monitor")] {
        for ns in ["/", ROOMS, LLM] {
            let mut peer = Peer::connect_ws(&world.broker).await;
            let prefix = if ns == "/" { String::new() } else { format!("{ns},") };
            let handshake = json!({"clientId": id, "clientType": kind, "identity": id, "dialect": 2});
            peer.send_text(&format!("40{prefix}{handshake}")).await;
            peer.expect_rejection(ns).await;
        }
    }
    let rooms =
        json!({"status": "ok", "rooms": [EXTENSION, MASTER, MANAGER, GUEST, ADMIN, "monitor-room", "tea"]});
    assert_eq!(world.ask(ADMIN, "GET_ROOMS", json!({})).await, rooms);
    let extensions = json!({"status": "ok", "extensions": [EXTENSION]});
    assert_eq!(world.ask(ADMIN, "GET_CONNECTED_EXTENSIONS", json!({})).await, extensions);
}

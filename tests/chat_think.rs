//! Conversations in which extensions speak by themselves (spec §4.9.4), and what bounds them (§8.2 D2-17).

mod room_world;
mod support;

use serde_json::{Value, json};

use room_world::{ADMIN, EXTENSION, LLM, SECOND, World, asked, new_message, plain, response};
use support::{Broker, Setup};

const MASTER: &str = "app-a";

/// A conversation comes round to an invitation every 100 ms.
fn eager() -> Setup {
    Broker::setup().settings(json!({
        "conversationalCheckInterval": 50,
        "conversationalThinkProbability": 1,
        "conversationalThinkIntervalMin": 100,
        "conversationalThinkIntervalMax": 100,
        "conversationalInstruction": "Think.",
        "postUnmuteInstruction": "You were muted.",
        "postUnmuteThinkDelay": 10,
    }))
}

async fn converse(world: &mut World, room: &str) {
    let mode = json!({"roomName": room, "mode": "Conversational"});
    world.does(ADMIN, "SET_ROOM_MESSAGE_REQUEST_MODE", mode).await;
}

/// The next request that the extension gets.
async fn invited(world: &mut World, extension: &str) -> Value {
    const HEAD: &str = "42/llm,[\"LLM_REQUEST\",";
    let packet = world.peer(extension).wait_for("an invitation", |packet| packet.starts_with(HEAD)).await;
    serde_json::from_str(&packet[HEAD.len()..packet.len() - 1]).expect("JSON")
}

/// Another room with the administrator in it, whose invitations show that time passes: so many of them, each
/// answered. No other room's comes meanwhile.
async fn only_milk(world: &mut World, times: usize) {
    for at in 0..times {
        let invitation = invited(world, EXTENSION).await;
        assert_eq!(invitation["targetRoom"], "milk", "{invitation}");
        let id = invitation["requestId"].as_str().unwrap().to_owned();
        world.answers(EXTENSION, &id, &format!("milk-{at}"), "hm").await;
    }
}

#[tokio::test]
async fn an_extension_is_invited_and_everybody_hears_what_it_thinks() {
    let mut world = World::full(eager()).await;
    let said = json!({"requestId": "r1", "targetRoom": "tea", "message": "what do you think?"});
    converse(&mut world, "tea").await;
    world.does(MASTER, "LLM_REQUEST", said.clone()).await;
    let invitation = invited(&mut world, EXTENSION).await;
    let id = invitation["requestId"].as_str().unwrap().to_owned();
    assert!(id.strip_prefix("think_").is_some_and(|uuid| uuid.len() == 36), "{id}");
    let current = json!({"requestId": id, "message": "Think."});
    let wanted = json!({
        "mode": "Conversational", "type": "THINK_REQUEST", "requestId": id, "targetRoom": "tea",
        "context": [asked(MASTER, &said)], "instruction": "Think.",
        "message": "Think.", "target": EXTENSION, "currentRequest": current, "requestingIdentity": null,
    });
    assert_eq!(plain(&invitation), plain(&wanted));
    world.quiet().await;
    world.answers(EXTENSION, &id, "o1", "I think so.").await;
    let heard = world.heard().await;
    let news = new_message(&response(&id, "o1", EXTENSION, "I think so."));
    let answer = json!([LLM, "message", {
        "type": 0, "data": "I think so.", "source": "server", "requestId": id, "outputId": "o1",
    }]);
    for who in [MASTER, "app-b", "frontendExample"] {
        let events = heard[who].as_array().unwrap();
        assert_eq!(
            (events.len(), events.contains(&news), events.contains(&answer)),
            (2, true, true),
            "{heard}"
        );
    }
    // Nobody asked: the extension does not get its own answer.
    let events = heard[EXTENSION].as_array().unwrap();
    assert!(events.contains(&news) && !events.contains(&answer), "{heard}");
}

#[tokio::test]
async fn defect_d2_17_a_room_that_selects_no_conversation_has_none_and_one_waits_for_its_answer() {
    let mut world = World::full(eager()).await;
    world.does(ADMIN, "CREATE_ROOM", json!({"roomName": "milk"})).await;
    converse(&mut world, "milk").await;
    // "tea" has not selected it.
    only_milk(&mut world, 2).await;
    converse(&mut world, "tea").await;
    let mut tea = 0;
    let mut milk = 0;
    while tea == 0 || milk < 4 {
        let invitation = invited(&mut world, EXTENSION).await;
        if invitation["targetRoom"] == "tea" {
            // It is never answered, and so there is no other one.
            tea += 1;
        } else {
            milk += 1;
            let id = invitation["requestId"].as_str().unwrap().to_owned();
            world.answers(EXTENSION, &id, &format!("o-{milk}"), "hm").await;
        }
    }
    assert_eq!(tea, 1);
}

#[tokio::test]
async fn defect_d2_17_nobody_is_invited_to_an_empty_room() {
    let mut world = World::full(eager()).await;
    world.does(ADMIN, "CREATE_ROOM", json!({"roomName": "milk"})).await;
    let before = world.broker.metric("newage_sockets");
    for who in [MASTER, "app-b", "frontendExample"] {
        world.peers.remove(who).unwrap().vanish().await;
    }
    // They may come back, but they are not there.
    world.broker.until_metric_is("newage_sockets", before - 6).await;
    converse(&mut world, "tea").await;
    converse(&mut world, "milk").await;
    only_milk(&mut world, 3).await;
}

#[tokio::test]
async fn defect_d2_17_invitations_are_limited_per_room_and_hour() {
    let mut world = World::full_of(eager(), |config| config.rooms.think_per_hour = 2).await;
    converse(&mut world, "tea").await;
    for at in 0..2 {
        let id = invited(&mut world, EXTENSION).await["requestId"].as_str().unwrap().to_owned();
        world.answers(EXTENSION, &id, &format!("o-{at}"), "hm").await;
    }
    let limit = "newage_limit_reached_total{limit=\"rooms.think_per_hour\"}";
    world.broker.until_metric(limit, 2).await;
    let heard = world.heard().await;
    let events = heard[EXTENSION].as_array().unwrap();
    assert!(events.iter().all(|event| event[1] != "LLM_REQUEST"), "{heard}");
}

/// One that is muted is not invited.
#[tokio::test]
async fn a_muted_extension_is_not_invited() {
    let mut world = World::full(eager()).await;
    world.extension(SECOND).await;
    let whom = json!({"targetIdentity": EXTENSION, "roomName": "tea", "duration": 0});
    world.does(MASTER, "MUTE_MEMBER", whom).await;
    converse(&mut world, "tea").await;
    for at in 0..8 {
        let id = invited(&mut world, SECOND).await["requestId"].as_str().unwrap().to_owned();
        world.answers(SECOND, &id, &format!("o-{at}"), "hm").await;
    }
    let heard = world.heard().await;
    let events = heard[EXTENSION].as_array().unwrap();
    assert!(events.iter().all(|event| event[1] != "LLM_REQUEST"), "{heard}");
}

/// Unmuted, it is asked what it makes of what it missed, at once.
#[tokio::test]
async fn an_extension_thinks_again_when_it_is_unmuted() {
    let hour = 3_600_000;
    let settings = json!({"conversationalThinkIntervalMin": hour, "conversationalThinkIntervalMax": hour});
    let mut world = World::full(eager().settings(settings)).await;
    let whom = json!({"targetIdentity": EXTENSION, "roomName": "tea", "duration": 0});
    world.does(MASTER, "MUTE_MEMBER", whom.clone()).await;
    converse(&mut world, "tea").await;
    world.does(MASTER, "UNMUTE_MEMBER", whom).await;
    let invitation = invited(&mut world, EXTENSION).await;
    assert_eq!(invitation["instruction"], "You were muted.\n\nThink.");
    assert_eq!((&invitation["type"], &invitation["targetRoom"]), (&json!("THINK_REQUEST"), &json!("tea")));
}

/// While a member waits for an answer, nobody is invited to say something else.
#[tokio::test]
async fn defect_d2_17_nobody_is_invited_while_a_member_waits_for_an_answer() {
    let mut world = World::full(eager()).await;
    let asked = json!({"requestId": "r1", "targetRoom": "tea", "target": EXTENSION, "message": "?"});
    world.does(MASTER, "LLM_REQUEST", asked).await;
    assert_eq!(invited(&mut world, EXTENSION).await["requestId"], "r1");
    world.does(ADMIN, "CREATE_ROOM", json!({"roomName": "milk"})).await;
    converse(&mut world, "tea").await;
    converse(&mut world, "milk").await;
    only_milk(&mut world, 4).await;
    // Its answer makes way.
    world.answers(EXTENSION, "r1", "o1", "so").await;
    loop {
        let invitation = invited(&mut world, EXTENSION).await;
        assert_eq!(invitation["type"], "THINK_REQUEST");
        if invitation["targetRoom"] == "tea" {
            return;
        }
        let id = invitation["requestId"].as_str().unwrap().to_owned();
        world.answers(EXTENSION, &id, &id, "hm").await;
    }
}

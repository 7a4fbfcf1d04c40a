//! What becomes of a room's messages (spec §4.9.4): edited, deleted, cleared, and kept over a restart; and what
//! members do meanwhile.

mod room_world;
mod support;

use serde_json::{Value, json};

use room_world::{
    ADMIN, EXTENSION, LLM, SECOND, World, asked, everybody, named, ok, plain, received, refused, response,
    status, tea,
};
use support::Broker;

const MASTER: &str = "app-a";
const MANAGER: &str = "app-b";
const GUEST: &str = "frontendExample";
const OUTSIDER: &str = "app-c";
const EVERYBODY: [&str; 4] = [EXTENSION, MASTER, MANAGER, GUEST];

/// "tea" with a question of the guest, and its answer: their ids.
async fn talked(world: &mut World) -> (Value, Value) {
    let request = json!({"requestId": "r1", "targetRoom": "tea", "target": EXTENSION, "message": "hi"});
    world.does(GUEST, "LLM_REQUEST", request).await;
    world.answers(EXTENSION, "r1", "o1", "hello").await;
    world.quiet().await;
    let pages = history(world, MASTER, "tea").await;
    (pages[0]["messageId"].clone(), pages[1]["messageId"].clone())
}

/// All messages, as one page.
async fn history(world: &mut World, who: &str, room: &str) -> Vec<Value> {
    let ack = world.ask(who, "GET_FULL_CONTEXT", json!({"roomName": room})).await;
    let page = world.page(who, &ack).await;
    assert_eq!((&page["pageNumber"], &page["isLastPage"]), (&json!(1), &json!(true)));
    page["contextPage"].as_array().expect("messages").clone()
}

/// Everybody of the room and its extension.
fn all_hear(event: &str, payload: Value) -> Value {
    EVERYBODY
        .iter()
        .map(|who| ((*who).to_owned(), json!([[LLM, event, payload]])))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[tokio::test]
async fn edit_message() {
    const MISSING: &str = "Missing required fields for editing message.";
    const DENIED: &str = "Permission denied to edit this message.";
    const FAILED: &str = "Failed to edit message. It might not exist.";
    let mut world = World::full(Broker::setup()).await;
    world.comes(OUTSIDER).await;
    let (question, answer) = talked(&mut world).await;
    let text = |id: &Value| tea(json!({"messageId": id, "updatedFields": {"message": "new"}}));
    for (who, payload, message) in [
        (GUEST, json!({}), MISSING),
        (GUEST, json!({"messageId": question, "updatedFields": {"message": "x"}}), MISSING),
        (GUEST, tea(json!({"updatedFields": {"message": "x"}})), MISSING),
        (GUEST, tea(json!({"messageId": question})), MISSING),
        (GUEST, tea(json!({"messageId": question, "updatedFields": 7})), MISSING),
        (OUTSIDER, text(&question), DENIED),
        (GUEST, text(&answer), DENIED),
        (MASTER, text(&json!("none")), FAILED),
        (
            MASTER,
            json!({"roomName": "milk", "messageId": question, "updatedFields": {"message": "x"}}),
            FAILED,
        ),
        // Only texts can be edited.
        (GUEST, tea(json!({"messageId": question, "updatedFields": {"identity": MASTER}})), FAILED),
    ] {
        world.refuses(who, "EDIT_MESSAGE", payload, message).await;
    }
    let request = json!({"requestId": "r1", "targetRoom": "tea", "target": EXTENSION});
    let edited = |text: &str| {
        let mut message = asked(GUEST, &request);
        message["messageId"] = json!("<id>");
        message["message"] = json!(text);
        message["lastEdited"] = json!("<time>");
        all_hear("MESSAGE_UPDATED", json!({"roomName": "tea", "message": message}))
    };
    let author = tea(json!({"messageId": question, "updatedFields": {"message": "a", "identity": MASTER}}));
    world.row(GUEST, "EDIT_MESSAGE", author, ok(), edited("a")).await;
    for (who, fields) in [
        (MANAGER, json!({"messageId": question, "updatedMessage": {"message": "b"}})),
        (MASTER, json!({"messageId": question, "updatedMessage": "b", "fromLlm": false})),
        (ADMIN, json!({"messageId": question, "updatedFields": {"message": "b"}})),
    ] {
        world.row(who, "EDIT_MESSAGE", tea(fields), ok(), edited("b")).await;
    }
    // An answer by its `responseId`; both spellings of its text.
    let mut message = response("r1", "o1", EXTENSION, "better");
    message["lastEdited"] = json!("<time>");
    let told = all_hear("MESSAGE_UPDATED", json!({"roomName": "tea", "message": message}));
    let response_id = history(&mut world, MASTER, "tea").await[1]["responseId"].clone();
    let payload =
        tea(json!({"responseId": response_id, "updatedFields": {"data": "better"}, "fromLlm": true}));
    world.row(MASTER, "EDIT_MESSAGE", payload, ok(), told).await;
    assert_eq!(plain(&history(&mut world, GUEST, "tea").await[1]), message);
}

#[tokio::test]
async fn delete_message() {
    const MISSING: &str = "Missing required fields for deleting messages.";
    const DENIED: &str = "Permission denied to delete these messages.";
    let mut world = World::full(Broker::setup()).await;
    world.comes(OUTSIDER).await;
    let (question, answer) = talked(&mut world).await;
    for (who, payload, message) in [
        (GUEST, json!({}), MISSING),
        (GUEST, tea(json!({})), MISSING),
        (GUEST, tea(json!({"messageIds": []})), MISSING),
        (GUEST, tea(json!({"messageIds": [7]})), MISSING),
        (GUEST, json!({"messageIds": question}), MISSING),
        (OUTSIDER, tea(json!({"messageIds": question})), DENIED),
        (GUEST, tea(json!({"messageIds": [question, answer]})), DENIED),
    ] {
        world.refuses(who, "DELETE_MESSAGE", payload, message).await;
    }
    let nothing = json!({
        "status": "ok", "message": "No matching messages found to delete or operation failed.",
    });
    world.row(GUEST, "DELETE_MESSAGE", tea(json!({"messageIds": "none"})), nothing.clone(), json!({})).await;
    let told = all_hear("MESSAGES_DELETED", json!({"roomName": "tea", "messageIds": ["<id>"]}));
    world.row(GUEST, "DELETE_MESSAGE", tea(json!({"messageId": question})), ok(), told.clone()).await;
    world.row(GUEST, "DELETE_MESSAGE", tea(json!({"messageIds": [question]})), nothing, json!({})).await;
    let response_id = history(&mut world, MASTER, "tea").await[0]["responseId"].clone();
    // What was not there is not announced.
    let payload = tea(json!({"messageIds": ["none", response_id]}));
    world.row(MANAGER, "DELETE_MESSAGE", payload, ok(), told).await;
    assert_eq!(history(&mut world, MASTER, "tea").await, Vec::<Value>::new());
}

/// No room has as many: whoever names more is refused before any is looked for.
#[tokio::test]
async fn no_more_messages_are_deleted_at_once_than_a_room_can_have() {
    const TOO_MANY: &str = "Too many messages to delete.";
    let mut world = World::full_of(Broker::setup(), |config| config.history.messages_per_room = 40).await;
    let (question, _) = talked(&mut world).await;
    let ids = |count: usize| -> Vec<String> { (0..count).map(|at| format!("none-{at}")).collect() };
    world.refuses(GUEST, "DELETE_MESSAGE", tea(json!({"messageIds": ids(41)})), TOO_MANY).await;
    assert_eq!(world.broker.limit_reached("history.messages_per_room"), 2);
    // The same one many times is one.
    let mut repeated = vec![question; 100];
    repeated.extend(ids(39).into_iter().map(Value::from));
    let told = all_hear("MESSAGES_DELETED", json!({"roomName": "tea", "messageIds": ["<id>"]}));
    world.row(GUEST, "DELETE_MESSAGE", tea(json!({"messageIds": repeated})), ok(), told).await;
    assert_eq!(world.broker.limit_reached("history.messages_per_room"), 2);
}

/// A text that was made longer counts as one that was written so.
#[tokio::test]
async fn an_edit_does_not_go_round_the_bound_of_a_room() {
    let mut world = World::full_of(Broker::setup(), |config| config.history.bytes_per_room = 4096).await;
    let (question, answer) = talked(&mut world).await;
    let payload = tea(json!({"messageId": answer, "updatedFields": {"message": "x".repeat(1900)}}));
    world.does(MASTER, "EDIT_MESSAGE", payload).await;
    let kept = history(&mut world, MASTER, "tea").await;
    assert_eq!(kept.len(), 1, "the older one had to go");
    assert_eq!(kept[0]["messageId"], answer);
    world.quiet().await;
    let payload = tea(json!({"messageId": question, "updatedFields": {"message": "late"}}));
    world.refuses(GUEST, "EDIT_MESSAGE", payload, "Failed to edit message. It might not exist.").await;
}

#[tokio::test]
async fn clear_messages() {
    const DENIED: &str = "Permission denied to clear messages.";
    let mut world = World::full(Broker::setup()).await;
    talked(&mut world).await;
    world.refuses(MASTER, "CLEAR_MESSAGES", json!({}), "roomName is required to clear messages.").await;
    world.refuses(GUEST, "CLEAR_MESSAGES", tea(json!({})), DENIED).await;
    world.refuses(MASTER, "CLEAR_MESSAGES", json!({"roomName": "milk"}), DENIED).await;
    let told = |requests: bool, responses: bool| {
        let cleared = json!({"roomName": "tea", "clearedRequests": requests, "clearedResponses": responses});
        all_hear("MESSAGES_CLEARED", cleared)
    };
    let payload = tea(json!({"clearRequests": false}));
    world.row(MANAGER, "CLEAR_MESSAGES", payload, ok(), told(false, true)).await;
    assert_eq!(history(&mut world, GUEST, "tea").await.len(), 1, "the question is left");
    world.row(ADMIN, "CLEAR_MESSAGES", tea(json!({})), ok(), told(true, true)).await;
    let nothing = json!({"status": "ok", "message": "Messages already cleared or operation failed."});
    world.row(MASTER, "CLEAR_MESSAGES", tea(json!({})), nothing, json!({})).await;
}

/// A request that the history has no room for does not happen: whoever asks again has not said it twice.
#[tokio::test]
async fn what_cannot_be_kept_was_not_said() {
    const LIMIT: &str = "history.max_waiting";
    let mut world = World::full_of(Broker::setup(), |config| config.history.max_waiting = 8).await;
    world.does(MASTER, "SET_ROOM_MESSAGE_REQUEST_MODE", tea(json!({"mode": "MasterOnly"}))).await;
    world.quiet().await;
    let mut said = Vec::new();
    while world.broker.limit_reached(LIMIT) == 0 {
        let first = said.len();
        let request = |at: usize| json!({"requestId": at.to_string(), "targetRoom": "tea", "message": "x"});
        let mut asked = Vec::new();
        for at in first..first + 50 {
            asked.push(world.peer(GUEST).begin_ack(LLM, json!("LLM_REQUEST"), &[request(at)]).await);
        }
        for ack in asked {
            let ack = world.peer(GUEST).expect_ack(LLM, ack).await;
            let busy = refused("Server is busy, try again later.");
            assert!(ack == received() || ack == busy, "{ack}");
            said.push(ack == received());
        }
    }
    let kept: Vec<usize> = history(&mut world, MASTER, "tea")
        .await
        .iter()
        .filter_map(|message| message["requestId"].as_str()?.parse().ok())
        .collect();
    let acked: Vec<usize> = (0..said.len()).filter(|at| said[*at]).collect();
    assert_eq!(kept, acked);
}

/// An extension that is gone, or not the room's any more, is not at work there.
#[tokio::test]
async fn an_extension_that_is_gone_does_not_process() {
    let mut world = World::full(Broker::setup()).await;
    world.extension(SECOND).await;
    let working = json!({"targetRoom": "tea", "requestId": "r"});
    for who in [EXTENSION, SECOND] {
        world.peer(who).emit(LLM, json!("START_PROCESSING"), std::slice::from_ref(&working)).await;
        world.settle(who).await;
    }
    world.quiet().await;
    world.peers.remove(SECOND).expect("it was there").vanish().await;
    let idle = |who: &str| format!("{{\"identity\":\"{who}\",\"roomName\":\"tea\",\"status\":\"idle\"");
    let gone = idle(SECOND);
    world.peer(GUEST).wait_for("it is idle", |packet| packet.contains(&gone)).await;
    world.does(ADMIN, "SET_CONNECTION_POLICY", json!({"policy": "Manual"})).await;
    let taken_away = idle(EXTENSION);
    world.peer(GUEST).wait_for("it is idle", |packet| packet.contains(&taken_away)).await;
    // Each once.
    world.settle(GUEST).await;
    assert_eq!(world.heard().await.get(GUEST), None);
}

#[tokio::test]
async fn members_type_and_extensions_process() {
    let mut world = World::full(Broker::setup()).await;
    world.comes(OUTSIDER).await;
    world.extension(SECOND).await;
    let told = |who: &str, state: &str| {
        let mut told = everybody(&[status("tea", who, state)]);
        told[EXTENSION] = json!([status("tea", who, state)]);
        told[SECOND] = json!([status("tea", who, state)]);
        told
    };
    let room = json!({"targetRoom": "tea"});
    for (who, event, payload, state) in [
        (GUEST, "START_TYPING", room.clone(), "typing"),
        (GUEST, "STOP_TYPING", room.clone(), "idle"),
        (EXTENSION, "START_PROCESSING", json!({"targetRoom": "tea", "requestId": "r"}), "processing"),
        (EXTENSION, "STOP_PROCESSING", room.clone(), "idle"),
    ] {
        world.peer(who).emit(LLM, json!(event), &[payload]).await;
        world.settle(who).await;
        assert_eq!(world.heard().await, told(who, state), "{who} {event}");
    }
    // Of an outsider nobody hears; whoever stops everywhere does so in its own room, too.
    world.peer(OUTSIDER).emit(LLM, json!("START_TYPING"), &[room]).await;
    world.settle(OUTSIDER).await;
    assert_eq!(world.heard().await, json!({}));
    world.does(GUEST, "STOP_TYPING", json!({})).await;
    world.settle(GUEST).await;
    world.settle(GUEST).await;
    let mut all = told(GUEST, "idle");
    for who in [GUEST, EXTENSION, SECOND] {
        let own = status(GUEST, GUEST, "idle");
        all[who].as_array_mut().unwrap().push(own);
    }
    let sorted = |mut heard: Value| {
        for events in heard.as_object_mut().unwrap().values_mut() {
            events.as_array_mut().unwrap().sort_by_key(Value::to_string);
        }
        heard
    };
    assert_eq!(sorted(world.heard().await), sorted(all));
    // Whoever goes is idle.
    let gone = world.peers.remove(GUEST).unwrap();
    gone.vanish().await;
    let idle = |packet: &str| packet.contains("MEMBER_STATUS_UPDATE") && packet.contains("\"tea\"");
    let packet = world.peer(MASTER).wait_for("a status", idle).await;
    assert!(packet.contains("\"status\":\"idle\"") && packet.contains(GUEST), "{packet}");
}

/// Members, roles, modes, mutes and messages are there again, on the same data directory.
#[tokio::test]
async fn rooms_survive_a_restart_of_the_broker() {
    let mut world = World::full(Broker::setup()).await;
    talked(&mut world).await;
    world.does(MASTER, "SET_ROOM_MESSAGE_REQUEST_MODE", tea(json!({"mode": "MasterOnly"}))).await;
    world.does(MASTER, "MUTE_MEMBER", tea(json!({"targetIdentity": GUEST, "duration": 0}))).await;
    let before = history(&mut world, MASTER, "tea").await;
    assert_eq!(before.len(), 3);
    let World { broker, peers } = world;
    drop(peers);
    let broker = broker.restart().await;
    let mut world = World { broker, peers: Default::default() };
    for who in [ADMIN, MASTER, MANAGER, GUEST] {
        world.comes(who).await;
    }
    assert_eq!(history(&mut world, MASTER, "tea").await, before);
    let member = |who: &str, role: &str| json!({"clientId": who, "clientType": "test", "role": role});
    let mut list = world.ask(MASTER, "GET_CLIENTS_IN_ROOM", tea(json!({}))).await;
    let mut wanted = json!([member(MASTER, "master"), member(MANAGER, "manager"), member(GUEST, "guest")]);
    for clients in [&mut list["clients"], &mut wanted] {
        clients.as_array_mut().unwrap().sort_by_key(Value::to_string);
    }
    assert_eq!(list["clients"], wanted);
    let request = json!({"requestId": "r2", "targetRoom": "tea", "message": "hi"});
    let muted = refused("You are currently muted and cannot send messages.");
    assert_eq!(world.ask(GUEST, "LLM_REQUEST", request.clone()).await, muted);
    world.does(MASTER, "UNMUTE_MEMBER", tea(json!({"targetIdentity": GUEST}))).await;
    // The mode of before: a guest's request needs no target there.
    world.does(GUEST, "LLM_REQUEST", request).await;
}

/// Extensions process, whichever of their instances it is, in the rooms that they are assigned to; members type.
#[tokio::test]
async fn only_assigned_extensions_process() {
    const INSTANCE: &str = "SillyTavern-8000-tab";
    let mut world = World::full(Broker::setup()).await;
    world.extension(SECOND).await;
    let mut handshake = named(EXTENSION);
    handshake["identity"] = json!(INSTANCE);
    world.comes_with(INSTANCE, handshake).await;
    world.does(ADMIN, "SET_CONNECTION_POLICY", json!({"policy": "Manual"})).await;
    let assigned = json!({"clientRoom": "tea", "extensions": [EXTENSION]});
    world.does(ADMIN, "ASSIGN_EXTENSION_TO_CLIENT", assigned).await;
    world.settle(ADMIN).await;
    world.quiet().await;
    let room = json!({"targetRoom": "tea"});
    for (who, event) in
        [(GUEST, "START_PROCESSING"), (SECOND, "START_PROCESSING"), (EXTENSION, "START_TYPING")]
    {
        world.peer(who).emit(LLM, json!(event), std::slice::from_ref(&room)).await;
        world.settle(who).await;
        assert_eq!(world.heard().await, json!({}), "{who} {event}");
    }
    for who in [EXTENSION, INSTANCE] {
        let news = status("tea", who, "processing");
        let mut told = everybody(std::slice::from_ref(&news));
        told[EXTENSION] = json!([news]);
        told[INSTANCE] = json!([news]);
        world.peer(who).emit(LLM, json!("START_PROCESSING"), std::slice::from_ref(&room)).await;
        world.settle(who).await;
        assert_eq!(world.heard().await, told, "{who}");
    }
    // One tab that closes stops its own work.
    world.peers.remove(INSTANCE).expect("it was there").vanish().await;
    let idle = format!("{{\"identity\":\"{INSTANCE}\",\"roomName\":\"tea\",\"status\":\"idle\"");
    world.peer(GUEST).wait_for("it is idle", |packet| packet.contains(&idle)).await;
}

//! What becomes of a room's messages (spec §4.9.4): edited, deleted, cleared, read in pages, and kept over a
//! restart; and what members do meanwhile.

mod room_world;
mod support;

use serde_json::{Value, json};

use room_world::{
    ADMIN, EXTENSION, LLM, SECOND, World, asked, everybody, named, ok, plain, received, refused, response,
    status, tea,
};
use support::{Broker, Peer};

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

#[tokio::test]
async fn history_is_read_in_pages() {
    let settings = json!({"contextPageSize": 2, "contextSendDelay": 1});
    let mut world = World::full(Broker::setup().settings(settings)).await;
    world.comes(OUTSIDER).await;
    for (who, payload, message) in [
        (MASTER, json!({}), "roomName is required."),
        (OUTSIDER, tea(json!({})), "You are not a member of room tea."),
        (MASTER, json!({"roomName": "milk"}), "Could not retrieve context for room milk."),
    ] {
        for event in ["GET_FULL_CONTEXT", "GET_OFFLINE_MESSAGES"] {
            world.refuses(who, event, payload.clone(), message).await;
        }
    }
    // Of nothing there is one page.
    let ack = world.ask(GUEST, "GET_FULL_CONTEXT", tea(json!({}))).await;
    let page = |id: &Value, number: u64, total: u64, messages: Value| {
        json!({
            "updateId": id, "roomName": "tea", "pageNumber": number, "totalPages": total,
            "isLastPage": number == total, "contextPage": messages,
        })
    };
    let id = &ack["updateId"];
    assert_eq!(ack, json!({"status": "ok", "updateId": id, "totalPages": 1}));
    assert_eq!(world.page(GUEST, &ack).await, page(id, 1, 1, json!([])));
    for number in 1..=5 {
        let request = json!({"requestId": number.to_string(), "targetRoom": "tea", "message": "x"});
        world.does(MASTER, "SET_ROOM_MESSAGE_REQUEST_MODE", tea(json!({"mode": "MasterOnly"}))).await;
        world.does(GUEST, "LLM_REQUEST", request).await;
    }
    world.quiet().await;
    // Oldest first (Q14), to the asker alone.
    let mut ids = Vec::new();
    for event in ["GET_FULL_CONTEXT", "GET_OFFLINE_MESSAGES"] {
        ids.clear();
        let ack = world.ask(GUEST, event, tea(json!({}))).await;
        assert_eq!((&ack["status"], &ack["totalPages"]), (&json!("ok"), &json!(3)));
        for number in 1..=3 {
            let got = world.page(GUEST, &ack).await;
            assert_eq!(got, page(&ack["updateId"], number, 3, got["contextPage"].clone()));
            for message in got["contextPage"].as_array().unwrap() {
                ids.push((message["requestId"].clone(), message["messageId"].clone()));
            }
        }
        let requests: Vec<&Value> = ids.iter().map(|(request, _)| request).collect();
        assert_eq!(requests, ["1", "2", "3", "4", "5"]);
        assert_eq!(world.heard().await, json!({}));
    }
    // One page, and what is newer than a message that one has.
    let ack = world.ask(GUEST, "GET_FULL_CONTEXT", tea(json!({"page": 2}))).await;
    assert_eq!(ack["totalPages"], 3);
    let got = world.page(GUEST, &ack).await;
    assert_eq!((&got["pageNumber"], &got["contextPage"][0]["requestId"]), (&json!(2), &json!("3")));
    let ack = world.ask(GUEST, "GET_OFFLINE_MESSAGES", tea(json!({"since": ids[3].1}))).await;
    assert_eq!(ack["totalPages"], 1);
    let got = world.page(GUEST, &ack).await;
    let newer: Vec<&Value> = got["contextPage"].as_array().unwrap().iter().map(|m| &m["requestId"]).collect();
    assert_eq!(newer, ["5"]);
    assert_eq!(world.heard().await, json!({}));
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

/// What was written is sent to whoever joins, or is back; to nobody else, and of no room that it is not in.
#[tokio::test]
async fn whoever_joins_or_is_back_is_sent_the_history() {
    let setup = Broker::setup().settings(json!({"contextPageSize": 2, "contextSendDelay": 1}));
    let mut world = World::full(setup).await;
    world.does(MASTER, "SET_ROOM_MESSAGE_REQUEST_MODE", tea(json!({"mode": "MasterOnly"}))).await;
    for number in 1..=3 {
        let request = json!({"requestId": number.to_string(), "targetRoom": "tea", "message": "x"});
        world.does(GUEST, "LLM_REQUEST", request).await;
    }
    world.comes(OUTSIDER).await;
    world.quiet().await;
    world.does(ADMIN, "ADD_CLIENT_TO_ROOM", tea(json!({"identity": OUTSIDER}))).await;
    let joined = all_pages(world.peer(OUTSIDER), "tea").await;
    let texts: Vec<&Value> = joined.iter().map(|message| &message["data"]).collect();
    assert_eq!(texts.last(), Some(&&json!("app-c joined the room.")));
    let requests = |messages: &[Value]| -> Vec<Value> {
        messages
            .iter()
            .filter(|message| message["isSystem"] != true)
            .map(|m| m["requestId"].clone())
            .collect()
    };
    assert_eq!(requests(&joined), ["1", "2", "3"]);

    // Away, and back: with what it has written in its own room, too.
    let own = json!({"requestId": "own", "message": "to myself", "target": EXTENSION});
    world.does(OUTSIDER, "LLM_REQUEST", own).await;
    world.peers.remove(OUTSIDER).expect("it was there").vanish().await;
    world.does(GUEST, "LLM_REQUEST", json!({"requestId": "4", "targetRoom": "tea", "message": "x"})).await;
    world.comes(OUTSIDER).await;
    let own = all_pages(world.peer(OUTSIDER), OUTSIDER).await;
    assert_eq!(requests(&own), ["own"]);
    assert_eq!(requests(&all_pages(world.peer(OUTSIDER), "tea").await), ["1", "2", "3", "4"]);

    // A member that did not move hears nothing of this, and somebody new has nothing to be sent.
    for who in [MASTER, ADMIN] {
        let heard = world.peer(who).heard().await;
        let pages = heard.iter().filter(|(_, name, _)| name == "UPDATE_CONTEXT_PAGE");
        assert_eq!(pages.count(), 0, "{who}: {heard:?}");
    }
}

/// The history of a room that comes unasked: all pages of it, in order.
/// Not when the history was asked for: what was deleted meanwhile is gone, and so is whoever may not read it any more.
#[tokio::test]
async fn a_page_is_looked_up_when_it_is_sent() {
    let settings = json!({"contextPageSize": 2, "contextSendDelay": 500});
    let mut world = World::full(Broker::setup().settings(settings)).await;
    world.does(MASTER, "SET_ROOM_MESSAGE_REQUEST_MODE", tea(json!({"mode": "MasterOnly"}))).await;
    for number in 1..=5 {
        let request = json!({"requestId": number.to_string(), "targetRoom": "tea", "message": "x"});
        world.does(GUEST, "LLM_REQUEST", request).await;
    }
    world.ask(MASTER, "GET_FULL_CONTEXT", tea(json!({}))).await;
    let all = all_pages(world.peer(MASTER), "tea").await;
    let ack = world.ask(GUEST, "GET_FULL_CONTEXT", tea(json!({}))).await;
    world.page(GUEST, &ack).await;
    world.does(MASTER, "DELETE_MESSAGE", tea(json!({"messageIds": [all[4]["messageId"]]}))).await;
    let edit = json!({"messageId": all[3]["messageId"], "updatedFields": {"message": "new"}});
    world.does(MASTER, "EDIT_MESSAGE", tea(edit)).await;
    assert_eq!(world.page(GUEST, &ack).await["contextPage"][1]["message"], "new");
    let last = world.page(GUEST, &ack).await;
    assert_eq!((&last["isLastPage"], &last["contextPage"]), (&json!(true), &json!([])));

    let ack = world.ask(GUEST, "GET_FULL_CONTEXT", tea(json!({}))).await;
    world.page(GUEST, &ack).await;
    world.does(MASTER, "KICK_MEMBER", tea(json!({"identity": GUEST}))).await;
    world.quiet().await;
    // As many pauses as its would have had.
    world.ask(MASTER, "GET_FULL_CONTEXT", tea(json!({}))).await;
    all_pages(world.peer(MASTER), "tea").await;
    let heard = world.peer(GUEST).heard().await;
    assert!(!heard.iter().any(|(_, name, _)| name == "UPDATE_CONTEXT_PAGE"), "{heard:?}");
}

async fn all_pages(peer: &mut Peer, room: &str) -> Vec<Value> {
    let mut messages = Vec::new();
    for number in 1.. {
        let page = peer.page("a page", |page| page["roomName"] == room).await;
        assert_eq!(page["pageNumber"], number, "{page}");
        messages.extend(page["contextPage"].as_array().expect("messages").clone());
        if page["isLastPage"] == true {
            break;
        }
    }
    messages
}

#[tokio::test]
async fn a_client_that_reads_contexts_whole_gets_no_pages() {
    const READER: &str = "app-d";
    let setup = Broker::setup()
        .settings(json!({"contextPageSize": 2, "contextSendDelay": 1}))
        .client(json!({"clientId": READER, "isTrust": true}));
    let mut world = World::full(setup).await;
    let mut handshake = named(READER);
    handshake["contextMode"] = json!("full");
    world.comes_with(READER, handshake).await;
    let joins = json!({"identity": READER, "roomName": "tea", "role": "guest"});
    world.does(ADMIN, "ADD_CLIENT_TO_ROOM", joins).await;
    // That of its joining.
    world.peer(READER).wait_for("a context", |packet| packet.contains("[\"UPDATE_CONTEXT\"")).await;
    world.does(MASTER, "CLEAR_MESSAGES", tea(json!({}))).await;
    world.does(MASTER, "SET_ROOM_MESSAGE_REQUEST_MODE", tea(json!({"mode": "MasterOnly"}))).await;
    for number in 1..=5 {
        let request = json!({"requestId": number.to_string(), "targetRoom": "tea", "message": "x"});
        world.does(GUEST, "LLM_REQUEST", request).await;
    }
    world.quiet().await;
    for event in ["GET_FULL_CONTEXT", "GET_OFFLINE_MESSAGES"] {
        let ack = world.ask(READER, event, tea(json!({}))).await;
        assert_eq!((&ack["status"], &ack["totalPages"]), (&json!("ok"), &json!(1)));
        let heard = world.peer(READER).heard().await;
        let [(_, name, told)] = heard.as_slice() else { panic!("{heard:?}") };
        assert_eq!((name, &told["roomName"]), (&json!("UPDATE_CONTEXT"), &json!("tea")));
        let messages = told["context"].as_array().expect("messages");
        let requests: Vec<&Value> = messages.iter().map(|message| &message["requestId"]).collect();
        assert_eq!(requests, ["1", "2", "3", "4", "5"]);
    }
    // One page that is asked for by its number is a page for everybody.
    let ack = world.ask(READER, "GET_FULL_CONTEXT", tea(json!({"page": 2}))).await;
    let page = world.page(READER, &ack).await;
    assert_eq!((&page["pageNumber"], &page["totalPages"]), (&json!(2), &json!(3)));
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

/// What is asked when a pause is over is answered when the answer is there, and not when the next ping is.
#[tokio::test]
async fn a_history_that_has_to_wait_for_another_answer_comes_after_it() {
    const CALLS: &str = "/function_call";
    let mut world = World::full_of(Broker::setup(), |config| {
        config.limits.max_questions = 2;
        config.session.question_timeout = 600_000;
        config.session.ping_interval = 600_000;
        config.llm.function_timeout = 600.0;
    })
    .await;
    world.does(MASTER, "LLM_REQUEST", json!({"requestId": "r1", "targetRoom": "tea", "message": "hi"})).await;
    let mut extension = Peer::connect_ws(&world.broker).await;
    extension.join(CALLS, named(EXTENSION)).await;
    world.comes(OUTSIDER).await;
    // Nothing that its coming has made it ask is open.
    world.ask(OUTSIDER, "GET_FULL_CONTEXT", json!({"roomName": OUTSIDER})).await;
    let newcomer = world.peer(OUTSIDER);
    newcomer.join(CALLS, named(OUTSIDER)).await;
    let call = json!({"requestId": "f", "functionName": "f", "args": [], "target": EXTENSION});
    newcomer.begin_ack(CALLS, json!("FUNCTION_CALL"), std::slice::from_ref(&call)).await;
    let call = newcomer.begin_ack(CALLS, json!("FUNCTION_CALL"), &[call]).await;
    extension.expect_prefix("42/function_call,0[").await;
    extension.expect_prefix("42/function_call,1[").await;
    let add = json!({"identity": OUTSIDER, "roomName": "tea", "role": "guest"});
    world.does(ADMIN, "ADD_CLIENT_TO_ROOM", add).await;
    let refused = "newage_limit_reached_total{limit=\"limits.max_questions\"}";
    world.broker.until_metric(refused, 2).await;
    extension.send_text("43/function_call,1[1]").await;
    let newcomer = world.peer(OUTSIDER);
    assert_eq!(newcomer.expect_ack(CALLS, call).await, json!(1));
    newcomer.page("the room's history", |page| page["roomName"] == "tea").await;
}

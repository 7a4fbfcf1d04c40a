//! How a room's messages are read (spec §4.9.4): in pages or whole, asked for or on joining.

mod room_world;
mod support;

use serde_json::{Value, json};

use room_world::{ADMIN, EXTENSION, World, named, tea};
use support::{Broker, Frame, Peer};

const MASTER: &str = "app-a";
const GUEST: &str = "frontendExample";
const OUTSIDER: &str = "app-c";

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

/// The history of a room that comes unasked: all pages of it, in order.
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

/// A reader is sent a history as fast as it takes it, and not thrown out for what it has not asked for.
#[tokio::test]
async fn a_history_waits_for_room_in_its_readers_outbox() {
    let settings = json!({"contextPageSize": 1, "contextSendDelay": 0});
    let setup = Broker::setup().settings(settings);
    let mut world = World::full_of(setup, |config| config.limits.outbox_bytes = 60_000).await;
    world.does(MASTER, "SET_ROOM_MESSAGE_REQUEST_MODE", tea(json!({"mode": "MasterOnly"}))).await;
    let long = "x".repeat(20_000);
    for number in 1..=6 {
        let request = json!({"requestId": number.to_string(), "targetRoom": "tea", "message": long});
        world.does(GUEST, "LLM_REQUEST", request).await;
        world.quiet().await;
    }
    let requests = |messages: &[Value]| -> Vec<Value> {
        let said = messages.iter().filter(|message| message["isSystem"] != true);
        said.map(|message| message["requestId"].clone()).collect()
    };
    // Nobody polls for a while: more is there than may wait.
    let mut slow = Peer::open_polling(&world.broker).await;
    slow.join("/llm", named(GUEST)).await;
    world.quiet().await;
    world.quiet().await;
    let pages = all_pages(&mut slow, "tea").await;
    assert_eq!(requests(&pages), ["1", "2", "3", "4", "5", "6"]);
    slow.vanish().await;

    // Whole, and what was asked for: the third does not fit behind the others.
    let mut handshake = named(GUEST);
    handshake["contextMode"] = json!("full");
    let mut slow = Peer::open_polling(&world.broker).await;
    slow.join("/llm", handshake).await;
    let is_context = |packet: &str| packet.contains("[\"UPDATE_CONTEXT\"");
    slow.wait_for("that of its coming", is_context).await;
    let since = pages.iter().find(|message| message["requestId"] == "5").unwrap()["messageId"].clone();
    let asks = (0..5).map(|id| {
        let payload = tea(json!({"since": since}));
        Frame::Text(format!("42/llm,{id}[\"GET_OFFLINE_MESSAGES\",{payload}]"))
    });
    slow.send_all(&asks.collect::<Vec<_>>()).await;
    for _ in 0..5 {
        let packet = slow.wait_for("a context", is_context).await;
        assert!(
            packet.contains("\"requestId\":\"6\"") && !packet.contains("\"requestId\":\"5\""),
            "{packet:.99}"
        );
    }
    assert_eq!(world.broker.metric("newage_outbox_overflows_total"), 0);
}

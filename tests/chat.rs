//! Chat in rooms (spec §4.9.4): what is asked in each mode, what the extension gets, and who hears what.

mod room_world;
mod support;

use serde_json::{Value, json};

use room_world::{
    ADMIN, EXTENSION, LLM, SECOND, World, asked, everybody, named, new_message, received, refused, response,
    status_update,
};
use support::{Broker, Frame, Peer};

const GUEST: &str = "frontendExample";

fn sorted(mut heard: Value) -> Value {
    for events in heard.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        events.as_array_mut().expect("events").sort_by_key(|event| event[1].to_string());
    }
    heard
}

/// What the extension is sent: the requester's object, and beside it what the room says.
fn forwarded(mode: &str, request: &Value, who: &str, context: &[Value], more: Value) -> Value {
    let mut current = request.clone();
    current["clientId"] = json!(who);
    current["source"] = json!(who);
    let mut all = current.clone();
    all["currentRequest"] = current;
    for (name, value) in [
        ("mode", json!(mode)),
        ("targetRoom", json!("tea")),
        ("requestingIdentity", json!(who)),
        ("context", json!(context)),
        ("target", json!(EXTENSION)),
    ] {
        all[name] = value;
    }
    for (name, value) in more.as_object().expect("fields") {
        all[name] = value.clone();
    }
    json!([LLM, "LLM_REQUEST", all])
}

#[tokio::test]
async fn immediate_a_request_is_recorded_forwarded_and_answered_to_everybody() {
    let mut world = World::full(Broker::setup()).await;
    let request =
        json!({"requestId": "r1", "targetRoom": "tea", "target": EXTENSION, "message": "hi", "n": 1.5});
    let recorded = asked(GUEST, &request);
    let mut told = everybody(&[new_message(&recorded)]);
    let to_extension = forwarded("Immediate", &request, GUEST, std::slice::from_ref(&recorded), json!({}));
    told[EXTENSION] = json!([new_message(&recorded), to_extension]);
    world.row(GUEST, "LLM_REQUEST", request, received(), told).await;

    let answer = json!({"type": 0, "data": "hello", "source": "server", "requestId": "r1", "outputId": "o1"});
    let answered = response("r1", "o1", EXTENSION, "hello");
    world.answers(EXTENSION, "r1", "o1", "hello").await;
    let mut told = everybody(&[json!([LLM, "message", answer]), new_message(&answered)]);
    told[GUEST] = json!([
        [LLM, "message", answer],
        new_message(&answered),
        status_update("Immediate", "r1", "completed"),
    ]);
    told[EXTENSION] = json!([new_message(&answered)]);
    // An answer and the news of it come by different ways, in any order.
    assert_eq!(sorted(world.heard().await), sorted(told));

    // The next one sees both.
    let request =
        json!({"requestId": "r2", "targetRoom": "tea", "target": EXTENSION, "data": {"prompt": "more"}});
    let second = asked("app-a", &request);
    world.does("app-a", "LLM_REQUEST", request.clone()).await;
    let to_extension = forwarded(
        "Immediate",
        &request,
        "app-a",
        &[recorded, answered, second.clone()],
        json!({"message": "more"}),
    );
    assert_eq!(world.heard().await[EXTENSION], json!([new_message(&second), to_extension]));
}

/// `targetRoom` and `target` may be left out (spec §4.9.4, Q17).
#[tokio::test]
async fn a_request_without_a_room_is_made_in_ones_own() {
    let mut world = World::full(Broker::setup()).await;
    world.does("app-a", "LLM_REQUEST", json!({"requestId": "r1", "message": "hi"})).await;
    let heard = world.heard().await;
    let names: Vec<&String> = heard.as_object().unwrap().keys().collect();
    assert_eq!(names, [EXTENSION, "app-a"], "nobody else is in it");
    let request = &heard[EXTENSION][1];
    assert_eq!((&request[1], &request[2]["targetRoom"]), (&json!("LLM_REQUEST"), &json!("app-a")));
    world.answers(EXTENSION, "r1", "o1", "hello").await;
    let heard = world.heard().await;
    let events = heard["app-a"].as_array().unwrap();
    let status = events.iter().find(|event| event[1] == "REQUEST_STATUS_UPDATE").unwrap();
    assert_eq!((&status[2]["status"], &status[2]["roomName"]), (&json!("completed"), &json!("app-a")));
    assert_eq!(heard.get("app-b"), None);
}

#[tokio::test]
async fn defect_d2_13_host_submit_gathers_what_guests_ask_until_a_host_sends_it() {
    let mut world = World::full(Broker::setup()).await;
    world
        .does("app-a", "SET_ROOM_MESSAGE_REQUEST_MODE", json!({"roomName": "tea", "mode": "HostSubmit"}))
        .await;
    world.comes("app-c").await;
    world.does(ADMIN, "ADD_CLIENT_TO_ROOM", json!({"identity": "app-c", "roomName": "tea"})).await;
    world.does("app-a", "CLEAR_MESSAGES", json!({"roomName": "tea"})).await;
    world.quiet().await;
    let mut context = Vec::new();
    for (who, id, text) in [
        (GUEST, "g1", json!({"message": "first, \"quoted\""})),
        ("app-c", "g2", json!({"data": {"text": "second\\"}})),
    ] {
        let mut request = json!({"requestId": id, "targetRoom": "tea"});
        for (name, value) in text.as_object().unwrap() {
            request[name] = value.clone();
        }
        let recorded = asked(who, &request);
        let mut told = everybody(&[new_message(&recorded)]);
        told["app-c"] = json!([new_message(&recorded)]);
        told[EXTENSION] = json!([new_message(&recorded)]);
        world.row(who, "LLM_REQUEST", request, received(), told).await;
        context.push(recorded);
    }
    let host =
        json!({"requestId": "h", "targetRoom": "tea", "target": EXTENSION, "message": "host", "x": [1]});
    let recorded = asked("app-b", &host);
    context.push(recorded.clone());
    world.does("app-b", "LLM_REQUEST", host.clone()).await;
    let text = "first, \"quoted\"\n\nsecond\\\n\nhost";
    let merged = json!({
        "message": text, "isMerged": true, "mergedFromCount": 3, "originalRequestIds": ["g1", "g2", "h"],
    });
    let mut to_extension = forwarded("HostSubmit", &host, "app-b", &context, merged.clone());
    to_extension[2]["currentRequest"]["message"] = json!(text);
    for (name, value) in merged.as_object().unwrap() {
        to_extension[2]["currentRequest"][name] = value.clone();
    }
    assert_eq!(world.heard().await[EXTENSION], json!([new_message(&recorded), to_extension]));
    // The queue is empty now, and the host alone is not merged.
    let host = json!({"requestId": "h2", "targetRoom": "tea", "target": EXTENSION, "message": "again"});
    world.does("app-a", "LLM_REQUEST", host).await;
    let alone = &world.heard().await[EXTENSION][1][2];
    assert_eq!((&alone["message"], alone.get("isMerged")), (&json!("again"), None));
}

/// What guests have asked waits until it has reached somebody.
#[tokio::test]
async fn guests_requests_wait_on_when_the_hosts_is_refused() {
    let mut world = World::full(Broker::setup()).await;
    world
        .does("app-a", "SET_ROOM_MESSAGE_REQUEST_MODE", json!({"roomName": "tea", "mode": "HostSubmit"}))
        .await;
    for id in ["g1", "g2"] {
        world.does(GUEST, "LLM_REQUEST", json!({"requestId": id, "targetRoom": "tea", "message": id})).await;
    }
    let host = |id: &str, target: &str| json!({"requestId": id, "targetRoom": "tea", "target": target, "message": "h"});
    let ack = world.ask("app-b", "LLM_REQUEST", host("h1", "SillyTavern-9")).await;
    assert_eq!(ack, refused("Target client not found: SillyTavern-9"));
    world.does(GUEST, "LLM_REQUEST", json!({"requestId": "g3", "targetRoom": "tea", "message": "g3"})).await;
    world.quiet().await;
    world.does("app-b", "LLM_REQUEST", host("h2", EXTENSION)).await;
    let heard = world.heard().await;
    let forwarded = &heard[EXTENSION][1][2];
    assert_eq!(forwarded["originalRequestIds"], json!(["g1", "g2", "g3", "h2"]), "{heard}");
    assert_eq!(forwarded["message"], "g1\n\ng2\n\ng3\n\nh");
}

#[tokio::test]
async fn defect_d2_12_modes_go_by_the_role_in_the_room_not_by_the_one_declared() {
    let mut world = World::full(Broker::setup()).await;
    let to_extension = |heard: &Value| -> Vec<Value> {
        let events = heard[EXTENSION].as_array().expect("the extension heard it");
        events.iter().filter(|event| event[1] == "LLM_REQUEST").map(|event| event[2].clone()).collect()
    };
    let ask = |id: &str, target: bool| {
        let mut request = json!({"requestId": id, "targetRoom": "tea", "message": "hi", "role": "master"});
        if target {
            request["target"] = json!(EXTENSION);
        }
        request
    };
    for (mode, rows) in [
        ("MasterOnly", [("app-a", true, 1), ("app-b", true, 1), (GUEST, true, 0), ("app-a", false, 1)]),
        ("Conversational", [("app-a", true, 1), (GUEST, true, 1), (GUEST, false, 0), ("app-a", false, 0)]),
        ("Immediate", [("app-a", true, 1), (GUEST, true, 1), (GUEST, false, 1), ("app-a", false, 1)]),
    ] {
        world.does("app-a", "SET_ROOM_MESSAGE_REQUEST_MODE", json!({"roomName": "tea", "mode": mode})).await;
        world.quiet().await;
        for (at, (who, target, forwarded)) in rows.into_iter().enumerate() {
            let id = format!("{mode}-{at}");
            world.does(who, "LLM_REQUEST", ask(&id, target)).await;
            let heard = world.heard().await;
            assert_eq!(heard["app-b"][0][2]["message"]["requestId"], json!(id), "it is history");
            let requests = to_extension(&heard);
            assert_eq!(requests.len(), forwarded, "{mode}: {who} with target {target}");
            let kind = (mode == "Conversational").then(|| json!("DIRECT_REQUEST"));
            assert!(requests.iter().all(|request| request.get("type") == kind.as_ref()), "{requests:?}");
        }
    }
}

/// Several targets: each answer is a step, the last of those that were really asked completes it.
#[tokio::test]
async fn the_requester_learns_how_far_its_request_is() {
    let mut world = World::full(Broker::setup()).await;
    world.extension(SECOND).await;
    let statuses = |heard: &Value| -> Vec<Value> {
        let events = heard[GUEST].as_array().cloned().unwrap_or_default();
        events.into_iter().filter(|event| event[1] == "REQUEST_STATUS_UPDATE").collect()
    };
    let ask = |id: &str, targets: Value| json!({"requestId": id, "targetRoom": "tea", "message": "?", "target": targets});
    world.does(GUEST, "LLM_REQUEST", ask("two", json!([EXTENSION, SECOND]))).await;
    world.quiet().await;
    for (extension, status) in [(EXTENSION, "processing"), (SECOND, "completed")] {
        world.answers(extension, "two", extension, "hello").await;
        let heard = world.heard().await;
        assert_eq!(statuses(&heard), [status_update("Immediate", "two", status)]);
        assert_eq!(
            heard.get("app-a").and_then(Value::as_array).map(Vec::len),
            Some(2),
            "others get the answer"
        );
    }
    // One that is not there is not waited for.
    world.does(GUEST, "LLM_REQUEST", ask("gone", json!(["SillyTavern-9", EXTENSION]))).await;
    world.answers(EXTENSION, "gone", "o", "hello").await;
    assert_eq!(statuses(&world.heard().await), [status_update("Immediate", "gone", "completed")]);
    // Nor one that has failed.
    world.does(GUEST, "LLM_REQUEST", ask("fails", json!([EXTENSION, SECOND]))).await;
    let failure = json!({"type": "ERROR", "message": "no", "requestId": "fails"});
    world.peer(EXTENSION).emit(LLM, json!("ERROR"), &[failure]).await;
    world.settle(EXTENSION).await;
    world.answers(SECOND, "fails", "o", "hello").await;
    assert_eq!(statuses(&world.heard().await), [status_update("Immediate", "fails", "completed")]);
}

#[tokio::test]
async fn requests_that_are_refused() {
    let mut world = World::full(Broker::setup()).await;
    world.extension(SECOND).await;
    world.does(ADMIN, "CREATE_ROOM", json!({"roomName": "milk"})).await;
    world.quiet().await;
    let ask = |more: Value| {
        let mut request =
            json!({"requestId": "r", "targetRoom": "tea", "target": EXTENSION, "message": "hi"});
        for (name, value) in more.as_object().expect("fields") {
            request[name] = value.clone();
        }
        request
    };
    const ROOM: &str = "Invalid or unauthorized target room.";
    const DATA: &str = "Invalid LLM request data.";
    for (payload, message) in [
        (ask(json!({"targetRoom": "milk"})), ROOM),
        (ask(json!({"targetRoom": "nowhere"})), ROOM),
        (ask(json!({"targetRoom": "app-a"})), ROOM),
        (ask(json!({"targetRoom": 7})), ROOM),
        (ask(json!({"targetRoom": "milk", "message": null})), ROOM),
        (ask(json!({"targetRoom": "app-a", "requestId": 7})), ROOM),
        (ask(json!({"requestId": null})), DATA),
        (ask(json!({"message": null})), DATA),
        (ask(json!({"target": 7})), DATA),
        (ask(json!({"target": ""})), DATA),
        // Two are assigned, and it names none (Q17).
        (ask(json!({"target": null})), DATA),
        (ask(json!({"target": "server"})), "LLM requests should not be sent to the server directly."),
    ] {
        world.refuses_chat(GUEST, payload, message).await;
    }
    world
        .does("app-b", "MUTE_MEMBER", json!({"targetIdentity": GUEST, "roomName": "tea", "duration": 0}))
        .await;
    world.quiet().await;
    let muted = "You are currently muted and cannot send messages.";
    for more in
        [json!({}), json!({"message": null}), json!({"targetRoom": "milk"}), json!({"target": "server"})]
    {
        world.refuses_chat(GUEST, ask(more), muted).await;
    }
    // Everywhere (Q15).
    world.refuses_chat(GUEST, json!({"requestId": "r", "message": "hi"}), muted).await;
    world.does("app-b", "UNMUTE_MEMBER", json!({"targetIdentity": GUEST, "roomName": "tea"})).await;
    world.does(GUEST, "LLM_REQUEST", ask(json!({}))).await;
    // One whose target is not there is recorded all the same: in a room it was said.
    let missing = refused("Target client not found: SillyTavern-9");
    world.quiet().await;
    let away = ask(json!({"requestId": "away", "target": "SillyTavern-9"}));
    assert_eq!(world.ask(GUEST, "LLM_REQUEST", away).await, missing);
    let heard = world.heard().await;
    let events: Vec<_> = heard[GUEST].as_array().unwrap().iter().map(|event| event[1].clone()).collect();
    assert_eq!(events, ["NEW_MESSAGE", "ERROR"]);
    // The same again is no other request; somebody else's is.
    world.quiet().await;
    world.row(GUEST, "LLM_REQUEST", ask(json!({})), received(), json!({})).await;
    let duplicate = world.ask("app-a", "LLM_REQUEST", ask(json!({}))).await;
    assert_eq!(duplicate, refused("Duplicate requestId."));
}

/// A script says something and ends.
#[tokio::test]
async fn what_is_said_on_leaving_is_heard() {
    let mut world = World::full(Broker::setup()).await;
    let said = json!({"requestId": "r1", "targetRoom": "tea", "message": "I am off"});
    let packet = format!("42/llm,[\"LLM_REQUEST\",{said}]");
    let mut script = Peer::open_polling(&world.broker).await;
    script.join(LLM, named(GUEST)).await;
    // Both in one POST: it has left before anybody has answered.
    script.send_all(&[Frame::Text(packet), Frame::Text("1".into())]).await;
    world.peer("app-a").wait_for("its last words", |packet| packet.contains("I am off")).await;
}

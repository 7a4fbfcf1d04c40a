//! Chat in rooms (spec §4.9.4): what is asked in each mode, what the extension gets, and who hears what.

mod room_world;
mod support;

use serde_json::{Value, json};

use room_world::{EXTENSION, LLM, World, received};
use support::Broker;

/// A request as the room records it.
fn asked(request: &str, who: &str, text: &str, more: Value) -> Value {
    let mut message = json!({
        "requestId": request, "targetRoom": "tea", "message": text, "clientId": who, "source": who,
        "messageId": "<id>", "identity": who, "timestamp": "<time>", "fromClient": true,
    });
    for (name, value) in more.as_object().expect("fields") {
        message[name] = value.clone();
    }
    message
}

fn new_message(message: &Value) -> Value {
    json!([LLM, "NEW_MESSAGE", {"roomName": "tea", "message": message}])
}

fn everybody(events: &[Value]) -> Value {
    json!({"app-a": events, "app-b": events, "frontendExample": events})
}

#[tokio::test]
async fn immediate_a_request_is_recorded_forwarded_and_answered_to_everybody() {
    let mut world = World::full(Broker::setup()).await;
    let request = json!({"requestId": "r1", "targetRoom": "tea", "target": EXTENSION, "message": "hi"});
    let recorded = asked("r1", "frontendExample", "hi", json!({"target": EXTENSION}));
    let mut told = everybody(&[new_message(&recorded)]);
    let forwarded = json!({
        "requestId": "r1", "targetRoom": "tea", "target": EXTENSION, "message": "hi",
        "clientId": "frontendExample", "source": "frontendExample", "mode": "Immediate",
        "requestingIdentity": "frontendExample", "context": [recorded],
        "currentRequest": {
            "requestId": "r1", "targetRoom": "tea", "target": EXTENSION, "message": "hi",
            "clientId": "frontendExample", "source": "frontendExample",
        },
    });
    told[EXTENSION] = json!([new_message(&recorded), [LLM, "LLM_REQUEST", forwarded]]);
    world.row("frontendExample", "LLM_REQUEST", request, received(), told).await;
}

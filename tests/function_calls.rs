//! Function calls over the wire (spec §4.7, §6).

mod llm_world;
mod support;

use serde_json::{Value, json};

use llm_world::{EXTENSION, error};
use support::{Broker, Peer, auth};

const FUNCTIONS: &str = "/function_call";

async fn callers(change: impl FnOnce(&mut newage_broker::config::Config)) -> (Broker, Peer, Peer) {
    let broker = Broker::start(change);
    let mut extension = Peer::connect_ws(&broker).await;
    extension.join(FUNCTIONS, auth(EXTENSION)).await;
    let mut app = Peer::connect_ws(&broker).await;
    app.join(FUNCTIONS, auth("app-a")).await;
    (broker, extension, app)
}

fn call(target: &str) -> Value {
    json!({"requestId": "f", "functionName": "myFunction1", "args": ["a", 2], "target": target})
}

fn call_failed(message: &str) -> Value {
    json!({"requestId": "f", "success": false, "error": {"message": message}})
}

#[tokio::test]
async fn defect_8_43_a_call_reaches_the_extension_and_its_ack_comes_back_untouched() {
    let (_broker, mut extension, mut app) = callers(|_| ()).await;
    let before = r#"{"requestId":"f","functionName":"nope","args":[1.0,{"x":null}],"target":"SillyTavern-8000","more":9007199254740993}"#;
    for (id, ack) in [
        r#"{"requestId":"f","success":true,"result":{"n":1.50,"big":9007199254740993}}"#,
        r#"{"requestId":"f","success":false,"error":{"message":"Function \"nope\" not found."}}"#,
        r#""malformed""#,
        "null",
        r#"[1,"\ud83d"]"#,
    ]
    .into_iter()
    .enumerate()
    {
        app.send_text(&format!("42/function_call,{id}[22,{before}]")).await;
        let got = extension.expect_prefix(&format!("42/function_call,{id}[22,")).await;
        assert!(
            got.contains(r#""args":[1.0,{"x":null}]"#) && got.contains(r#""more":9007199254740993"#),
            "{got}"
        );
        assert!(got.contains(r#""clientId":"app-a""#) && got.contains(r#""source":"app-a""#), "{got}");
        assert!(got.contains(r#""target":"SillyTavern-8000""#), "{got}");
        extension.send_text(&format!("43/function_call,{id}[{ack}]")).await;
        app.expect_text(&format!("43/function_call,{id}[{ack}]")).await;
    }
}

#[tokio::test]
async fn a_call_without_an_answer_times_out() {
    let (broker, mut extension, mut app) = callers(|config| config.llm.function_timeout = 0.2).await;
    let ack = app.begin_ack(FUNCTIONS, json!(22), &[call(EXTENSION)]).await;
    extension.expect_prefix("42/function_call,0[22,").await;
    assert_eq!(app.expect_ack(FUNCTIONS, ack).await, call_failed("Function call timed out."));
    assert_eq!(broker.limit_reached("llm.function_timeout"), 1);
    // A late ack is nobody's.
    extension.send_text("43/function_call,0[{\"success\":true}]").await;
    extension.barrier().await;
    app.expect_nothing().await;
}

#[tokio::test]
async fn defect_8_43_a_call_to_nobody_and_one_whose_extension_leaves() {
    let (_broker, mut extension, mut app) = callers(|_| ()).await;
    for target in ["SillyTavern-9999", "app-b", "app-a", ""] {
        let ack = app.emit_with_ack(FUNCTIONS, json!(22), call(target)).await;
        assert_eq!(ack, call_failed(&format!("Target not found: {target}")));
    }
    let ack = app.begin_ack(FUNCTIONS, json!(22), &[call(EXTENSION)]).await;
    extension.expect_prefix("42/function_call,0[22,").await;
    extension.vanish().await;
    assert_eq!(app.expect_ack(FUNCTIONS, ack).await, call_failed("Function call timed out."));
    // The list of sockets follows.
    let ack = app.emit_with_ack(FUNCTIONS, json!(22), call(EXTENSION)).await;
    assert_eq!(ack, call_failed("Target not found: SillyTavern-8000"));
}

/// A client sends an ack when its function ends, on whatever connection it has then.
#[tokio::test]
async fn an_ack_of_before_a_reconnect_answers_no_other_call() {
    let (broker, mut extension, mut app) = callers(|_| ()).await;
    let first = app.begin_ack(FUNCTIONS, json!(22), &[call(EXTENSION)]).await;
    extension.expect_prefix("42/function_call,0[22,").await;
    extension.vanish().await;
    assert_eq!(app.expect_ack(FUNCTIONS, first).await, call_failed("Function call timed out."));
    let mut extension = Peer::connect_ws(&broker).await;
    extension.join(FUNCTIONS, auth(EXTENSION)).await;
    let second = app.begin_ack(FUNCTIONS, json!(22), &[call(EXTENSION)]).await;
    extension.expect_prefix("42/function_call,1[22,").await;
    extension.send_text("43/function_call,0[\"of the first\"]").await;
    extension.send_text("43/function_call,1[\"of the second\"]").await;
    assert_eq!(app.expect_ack(FUNCTIONS, second).await, json!("of the second"));
}

#[tokio::test]
async fn a_call_of_the_servers_functions() {
    let (_broker, _extension, mut app) = callers(|_| ()).await;
    for name in ["nope", "constructor", "toString", ""] {
        let mut call = call("server");
        call["functionName"] = json!(name);
        let ack = app.emit_with_ack(FUNCTIONS, json!(22), call).await;
        assert_eq!(ack, call_failed(&format!("Function \"{name}\" not found.")));
    }
    let mut wrong = call("server");
    wrong["functionName"] = json!("readJsonFromFile");
    wrong["args"] = json!("text");
    assert_eq!(app.emit_with_ack(FUNCTIONS, json!(22), wrong).await, call_failed("Invalid arguments."));
    // Without an ack a failure is told as an event.
    app.emit(FUNCTIONS, json!(22), &[call("nobody")]).await;
    let (name, args) = app.expect_event(FUNCTIONS).await;
    assert_eq!((name, &args[0]), (json!(21), &error("Target not found: nobody", "f")));
}

/// An extension answers others on the same connection: it does not lose it for a call that does not fit.
#[tokio::test]
async fn a_call_that_is_too_large_for_the_extension_is_refused() {
    let broker = Broker::start(|config| config.limits.outbox_bytes = 65_536);
    let mut extension = Peer::connect_ws(&broker).await;
    // It is called by both names as long as it has not shown which it knows.
    extension.join(FUNCTIONS, json!({"clientId": EXTENSION, "clientType": "test"})).await;
    let mut app = Peer::connect_ws(&broker).await;
    app.join(FUNCTIONS, auth("app-a")).await;
    let small = app.begin_ack(FUNCTIONS, json!(22), &[call(EXTENSION)]).await;
    extension.expect_prefix("42/function_call,0[22,").await;
    extension.expect_prefix("42/function_call,1[\"FUNCTION_CALL\",").await;
    let mut large = call(EXTENSION);
    large["args"] = json!(["x".repeat(40_000)]);
    let refused = app.emit_with_ack(FUNCTIONS, json!(22), large).await;
    assert_eq!(refused, call_failed("Request too large."));
    extension.send_text("43/function_call,0[{\"success\":true}]").await;
    assert_eq!(app.expect_ack(FUNCTIONS, small).await, json!({"success": true}));
    assert_eq!(broker.metric("newage_outbox_overflows_total"), 0);
    assert_eq!(broker.limit_reached("limits.outbox_bytes"), 1);
}

//! Asking over the wire: who may, whom, and how often (spec §4.4, §5.1, §5.2, §5.9, appendix A).

mod llm_world;
mod support;

use serde_json::{Value, json};

use llm_world::{
    App, EXTENSION, LLM, NOTHING_OPEN, SECOND_EXTENSION, answer, error, forwarded, refused, trio,
};
use support::{Broker, Peer, auth};

// --- asking --------------------------------------------------------------------------------------

#[tokio::test]
async fn errors_of_the_ack_in_their_order() {
    let broker = Broker::start(|config| {
        config.llm.policy = newage_broker::config::Policy::Rooms;
        config.limits.max_targets = 2;
    });
    let mut app = App::join(&broker, "app-a").await;
    let invalid = "Invalid LLM request data.";
    let server = "LLM requests should not be sent to the server directly.";
    let not_allowed = "Client app-a is not allowed to send messages to room SillyTavern-8000.";
    for (payload, message) in [
        (json!({"target": "server", "message": "hi"}), invalid),
        (json!({"target": "server", "requestId": 5, "message": "hi"}), invalid),
        (json!({"requestId": "r", "message": "hi"}), invalid),
        (json!({"target": 5, "requestId": "r", "message": "hi"}), invalid),
        (json!({"target": ["server", 5], "requestId": "r", "message": "hi"}), invalid),
        (json!({"target": [], "requestId": "r", "message": "hi"}), invalid),
        (json!({"target": ["a", "b", "c"], "requestId": "r", "message": "hi"}), invalid),
        (json!({"target": "server", "requestId": "r"}), invalid),
        (json!({"target": "server", "requestId": "r", "message": null}), invalid),
        (json!({"target": "server", "requestId": "x".repeat(257), "message": "hi"}), invalid),
        (json!(null), invalid),
        (json!("text"), invalid),
        (json!({"target": "server", "requestId": "r", "message": "hi"}), server),
        (json!({"target": ["SillyTavern-8000", "server"], "requestId": "r", "prompt": "hi"}), server),
        (json!({"target": "SillyTavern-8000", "requestId": "r", "data": {"text": "hi"}}), not_allowed),
    ] {
        assert_eq!(app.ask_with(payload.clone()).await, refused(message), "{payload}");
    }
    let (broker, mut extension, mut app) = trio(|config| config.llm.pending_per_client = 1).await;
    assert_eq!(app.ask("nobody", "r").await, refused("Target client not found: nobody"));
    assert_eq!(app.ask("app-b", "r").await, refused("Target client not found: app-b"), "no extension");
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    assert_eq!(app.ask("nobody", "r2").await, refused("Target client not found: nobody"));
    assert_eq!(app.ask(EXTENSION, "r2").await, refused("Too many pending requests."));
    let mut other = App::join(&broker, "app-b").await;
    assert_eq!(other.ask("nobody", "r").await, refused("Duplicate requestId."), "before the target");
}

#[tokio::test]
async fn without_an_ack_a_failure_is_an_error_event_and_success_is_silent() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    app.peer.emit(LLM, json!(9), &[json!({"target": "nobody", "requestId": "r", "message": "hi"})]).await;
    assert_eq!(app.expect(21).await, error("Target client not found: nobody", "r"));
    app.peer.emit(LLM, json!(9), &[]).await;
    assert_eq!(app.expect(21).await, json!({"type": 21, "message": "Invalid LLM request data."}));
    app.peer.emit(LLM, json!(9), &[json!({"target": EXTENSION, "requestId": "r", "message": "hi"})]).await;
    extension.gets("r").await;
    app.settle().await;
    assert!(app.events.is_empty(), "{:?}", app.events);
}

/// An extension that has not said its dialect is sent a request under both names, the second time with the request in
/// it twice.
#[tokio::test]
async fn a_request_that_is_too_large_for_the_extension_ends_no_other() {
    let broker = Broker::start(|config| config.limits.outbox_bytes = 65_536);
    let undeclared = json!({"clientId": EXTENSION, "clientType": "test", "streamEvent": "streamed_data"});
    let mut extension = App::join_as(&broker, undeclared).await;
    let mut app = App::join(&broker, "app-a").await;
    app.asks(EXTENSION, "small").await;
    extension.gets("small").await;
    extension.expect("LLM_REQUEST").await;
    extension.token(Some("small"), "o", "o-0", "still ", true).await;
    app.reads("still ").await;
    let large = json!({"target": EXTENSION, "requestId": "large", "message": "x".repeat(25_000)});
    assert_eq!(app.ask_with(large).await["status"], "ok");
    assert_eq!(app.expect(21).await, error("Request too large.", "large"));
    extension.token(Some("small"), "o", "o-1", "here", false).await;
    app.reads("still here").await;
    assert_eq!(broker.metric("newage_outbox_overflows_total"), 0);
    assert_eq!(broker.limit_reached("limits.outbox_bytes"), 1);
}

/// `clientId` and `source` are replaced, wherever and however often the sender wrote them; everything
/// else travels as it was written.
#[tokio::test]
async fn the_forwarded_object_is_the_senders_but_for_its_name() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    let rest = r#""target":"SillyTavern-8000","requestId":"r1","message":"half \ud83d of 😀","n":12345678901234567890.10,"big":9007199254740993,"e":1e400,"deep":{"a":[1,{"clientId":"kept"}]},"__proto__":{"x":1}"#;
    for (sent, at) in [
        (format!("{{{rest}}}"), 1),
        (format!("{{\"clientId\":\"evil\",\"source\":\"evil\",{rest}}}"), 2),
        (
            format!(
                "{{\"clientId\":\"evil\",\"clientId\":\"evil\",{rest},\"client\\u0049d\":\"evil\",\"source\":\"evil\"}}"
            ),
            3,
        ),
    ] {
        let sent = sent.replace("\"r1\"", &format!("\"r{at}\""));
        app.peer.send_text(&format!("42/llm,{at}[9,{sent}]")).await;
        app.peer.expect_text(&format!("43/llm,{at}[{}]", forwarded())).await;
        let got = extension.peer.expect_prefix("42/llm,[9,{").await;
        assert!(!got.contains("evil"), "{got}");
        assert_eq!(got.matches("\"clientId\":\"app-a\"").count(), 1, "{got}");
        assert_eq!(got.matches("\"source\":\"app-a\"").count(), 1, "{got}");
        for field in rest
            .replace("\"r1\"", &format!("\"r{at}\""))
            .split(",\"")
            .map(|field| field.trim_start_matches('"'))
        {
            assert!(got.contains(field), "{field} in {got}");
        }
    }
}

#[tokio::test]
async fn attachments_travel_with_the_request() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    let placeholder = |num: u8| format!("{{\"_placeholder\":true,\"num\":{num}}}");
    let payload = format!(
        "{{\"target\":\"SillyTavern-8000\",\"requestId\":\"r\",\"message\":{},\"more\":[{}]}}",
        placeholder(0),
        placeholder(1)
    );
    app.peer.send_text(&format!("452-/llm,1[9,{payload}]")).await;
    app.peer.send_binary(b"first").await;
    app.peer.send_binary(b"").await;
    app.peer.expect_text(&format!("43/llm,1[{}]", forwarded())).await;
    let got = extension.event().await;
    assert_eq!(got.attachments, [b"first".to_vec(), Vec::new()]);
    assert!(got.raw.contains(&placeholder(0)) && got.raw.contains(&placeholder(1)), "{}", got.raw);
}

#[tokio::test]
async fn the_newest_socket_is_asked_and_every_one_may_answer() {
    let broker = Broker::start(|_| ());
    let mut older = App::join(&broker, EXTENSION).await;
    let mut newest = App::join(&broker, EXTENSION).await;
    let mut app = App::join(&broker, "app-a").await;
    app.asks(EXTENSION, "r1").await;
    newest.gets("r1").await;
    older.settle().await;
    assert!(older.events.is_empty());
    older.answers(Some("r1"), "o1", "from the older tab").await;
    assert_eq!(app.expect("message").await, answer("from the older tab", "r1", "o1"));
    newest.peer.vanish().await;
    broker.until_metric_is("newage_sockets", 2).await;
    app.asks(EXTENSION, "r2").await;
    older.gets("r2").await;
}

#[tokio::test]
async fn an_array_of_targets_is_one_request_with_several_answers() {
    let (broker, mut first, mut app) = trio(|_| ()).await;
    let mut second = App::join(&broker, SECOND_EXTENSION).await;
    let targets = json!([EXTENSION, "SillyTavern-9999", SECOND_EXTENSION, EXTENSION]);
    assert_eq!(
        app.ask_with(json!({"target": targets, "requestId": "r", "message": "hi"})).await,
        forwarded()
    );
    for extension in [&mut first, &mut second] {
        let request = extension.gets("r").await;
        assert_eq!(request["target"], targets);
        extension.settle().await;
        assert!(extension.events.is_empty());
    }
    first.answers(Some("r"), "o1", "one").await;
    assert_eq!(app.expect("message").await, answer("one", "r", "o1"));
    second.answers(Some("r"), "o2", "two").await;
    assert_eq!(app.expect("message").await, answer("two", "r", "o2"));
    broker.until_metric_is(NOTHING_OPEN, 0).await;
    let nobody = json!(["SillyTavern-9", "SillyTavern-99"]);
    let ack = app.ask_with(json!({"target": nobody, "requestId": "r", "message": "hi"})).await;
    assert_eq!(ack, refused("Target client not found: SillyTavern-9"));
}

#[tokio::test]
async fn members_of_the_room_may_ask_under_the_policy_of_rooms() {
    let (_broker, mut extension, mut app) =
        trio(|config| config.llm.policy = newage_broker::config::Policy::Rooms).await;
    let denied = refused("Client app-a is not allowed to send messages to room SillyTavern-8000.");
    assert_eq!(app.ask(EXTENSION, "r").await, denied);
    extension.peer.join("/rooms", auth(EXTENSION)).await;
    let member = json!({"clientId": "app-a", "roomName": EXTENSION});
    let ok = json!({"status": "ok"});
    // The room of that name is there, or is made by its own extension.
    let _ = extension.peer.emit_with_ack("/rooms", json!(13), json!({"roomName": EXTENSION})).await;
    assert_eq!(extension.peer.emit_with_ack("/rooms", json!(15), member.clone()).await, ok);
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    assert_eq!(extension.peer.emit_with_ack("/rooms", json!(16), member).await, ok);
    assert_eq!(app.ask(EXTENSION, "r2").await, denied);
}

#[tokio::test]
async fn the_built_in_target_is_listed_and_answers_and_its_name_is_taken() {
    let broker = Broker::start(|config| {
        config.demo.enabled = true;
        config.demo.pace = 1;
    });
    let mut app = App::join(&broker, "app-a").await;
    app.peer.join("/auth", auth("app-a")).await;
    let list = app.peer.ack_of("/auth", json!(33), &[]).await;
    assert_eq!(list["allTheSTSocket"], json!(["SillyTavern-demo"]));
    app.asks("SillyTavern-demo", "r").await;
    app.until("words of the demo", |app| app.text.len() > 20).await;
    let mut thief = Peer::connect_ws(&broker).await;
    thief.send_text(&format!("40/llm,{}", auth("SillyTavern-demo"))).await;
    assert_eq!(thief.expect_rejection(LLM).await["message"], "Client is not trusted.");
}

// --- one request, several who ask ----------------------------------------------------------------

#[tokio::test]
async fn defect_8_33_a_repeat_is_acked_and_not_forwarded_again() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    let mut second_socket = App::join(&broker, "app-a").await;
    app.asks(EXTENSION, "r").await;
    app.asks(EXTENSION, "r").await;
    second_socket.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    extension.settle().await;
    assert!(extension.events.is_empty());
    extension.answers(Some("r"), "o", "once").await;
    for app in [&mut app, &mut second_socket] {
        assert_eq!(app.expect("message").await, answer("once", "r", "o"));
        app.settle().await;
        assert!(app.events.is_empty());
    }
    broker.until_metric_is(NOTHING_OPEN, 0).await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
}

#[tokio::test]
async fn defect_8_33_a_foreign_request_is_refused_unless_requests_are_shared() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    let mut other = App::join(&broker, "app-b").await;
    app.asks(EXTENSION, "r").await;
    assert_eq!(other.ask(EXTENSION, "r").await, refused("Duplicate requestId."));
    extension.gets("r").await;
    extension.answers(Some("r"), "o", "private").await;
    app.expect("message").await;
    other.settle().await;
    assert!(other.events.is_empty());

    let (broker, mut extension, mut app) = trio(|config| config.llm.allow_shared_requests = true).await;
    let mut other = App::join(&broker, "app-b").await;
    app.asks(EXTENSION, "r").await;
    other.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    extension.settle().await;
    assert!(extension.events.is_empty(), "the target is not new");
    extension.tokens(Some("r"), "o", &["shared"]).await;
    app.reads("shared").await;
    other.reads("shared").await;
}

#[tokio::test]
async fn every_socket_of_a_requester_receives_everything() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    let mut second = App::join(&broker, "app-a").await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    extension.tokens(Some("r"), "o", &["one ", "two "]).await;
    app.reads("one two ").await;
    second.reads("one two ").await;
    // One that comes in the middle gets what comes from then on, once the others have shown that they live.
    let mut third = App::join(&broker, "app-a").await;
    let mut text = String::from("one two ");
    for n in 0.. {
        extension.token(Some("r"), "p", &format!("p{n}"), "three ", n == 0).await;
        text += "three ";
        app.reads(&text).await;
        second.reads(&text).await;
        third.settle().await;
        if !third.text.is_empty() {
            break;
        }
    }
    assert!(third.text.starts_with(b"three "));
}

#[tokio::test]
async fn an_extension_may_ask_too() {
    let broker = Broker::start(|_| ());
    let mut target = App::join(&broker, EXTENSION).await;
    let mut asker = App::join(&broker, SECOND_EXTENSION).await;
    asker.asks(EXTENSION, "r").await;
    assert_eq!(target.gets("r").await["clientId"], SECOND_EXTENSION);
    target.tokens(Some("r"), "o", &["for a colleague"]).await;
    asker.reads("for a colleague").await;
    // Even itself.
    asker.asks(SECOND_EXTENSION, "own").await;
    asker.gets("own").await;
    asker.answers(Some("own"), "p", "to myself").await;
    assert_eq!(asker.expect("message").await, answer("to myself", "own", "p"));
}

// --- dialects ------------------------------------------------------------------------------------

fn named(client: &str) -> Value {
    json!({"clientId": client, "clientType": "SillyTavern", "dialect": 2})
}

#[tokio::test]
async fn a_named_extension_gets_the_superset() {
    let broker = Broker::start(|_| ());
    let mut extension = App::join_as(&broker, named(EXTENSION)).await;
    let mut app = App::join(&broker, "app-a").await;
    let sent = json!({"target": [EXTENSION], "requestId": "r", "data": {"prompt": "from data"}, "requestType": "newMessage", "x": [1]});
    assert_eq!(app.ask_with(sent).await, forwarded());
    let got = extension.expect("LLM_REQUEST").await;
    let current = &got["currentRequest"];
    assert_eq!(current["data"], json!({"prompt": "from data"}));
    assert_eq!(current["target"], json!([EXTENSION]));
    for (field, value) in [
        ("mode", json!("Immediate")),
        ("requestId", json!("r")),
        ("targetRoom", json!("app-a")),
        ("requestingIdentity", json!("app-a")),
        ("context", json!([])),
        ("message", json!("from data")),
        ("target", json!(EXTENSION)),
        ("requestType", json!("newMessage")),
        ("clientId", json!("app-a")),
        ("source", json!("app-a")),
        ("x", json!([1])),
    ] {
        assert_eq!(got[field], value, "{field}");
    }
    extension.answers(Some("r"), "o", "named").await;
    assert_eq!(app.expect("message").await, answer("named", "r", "o"));
    // What is no text is the extension's to read.
    let sent = json!({"target": EXTENSION, "requestId": "r2", "message": {"tokens": ["a"]}});
    assert_eq!(app.ask_with(sent).await, forwarded());
    assert_eq!(extension.expect("LLM_REQUEST").await["message"], json!({"tokens": ["a"]}));
}

#[tokio::test]
async fn an_extension_of_unknown_dialect_gets_both_names_and_a_named_client_its_own_words() {
    let broker = Broker::start(|_| ());
    let mut extension =
        App::join_as(&broker, json!({"clientId": EXTENSION, "clientType": "SillyTavern"})).await;
    let mut app = App::join_as(&broker, named("app-a")).await;
    let ask = |request: &str| json!({"target": EXTENSION, "requestId": request, "message": "hi"});
    let ack = app.ask_as(json!("LLM_REQUEST"), ask("r")).await;
    assert_eq!(ack, json!({"status": "ok", "message": "Request received."}));
    // The room tells its extensions what is said in it, before one of them is asked.
    assert_eq!(extension.expect("NEW_MESSAGE").await["roomName"], "app-a");
    assert_eq!(extension.expect(9).await["requestId"], "r");
    assert_eq!(extension.expect("LLM_REQUEST").await["requestId"], "r");
    // The answer goes out once.
    extension.tokens(Some("r"), "o", &["word"]).await;
    app.reads("word").await;
    assert_eq!(app.expect("NEW_MESSAGE").await["message"]["requestId"], "r");
    let end = app.expect("streamed_end").await;
    assert_eq!(end, json!({"streamId": "o-0", "outputId": "o", "requestId": "r", "source": "server"}));
    extension.peer.emit(LLM, json!("ERROR"), &[json!({"message": "no", "requestId": "r"})]).await;
    // Its room keeps what there is of the answer, which comes by another way.
    let mut both = [app.event().await, app.event().await];
    both.sort_by_key(|event| event.name.to_string());
    let [error, news] = both;
    assert!(error.is("ERROR") && news.is("NEW_MESSAGE"), "{error:?} {news:?}");
    assert_eq!(*error.payload(), json!({"type": "ERROR", "message": "no", "requestId": "r"}));
    // It has spoken now.
    assert_eq!(app.ask_as(json!("LLM_REQUEST"), ask("r2")).await["status"], "ok");
    extension.settle().await;
    let mut asked = extension.events.iter().filter(|event| !event.is("NEW_MESSAGE"));
    let next = asked.next().expect("a request");
    assert!(next.is("LLM_REQUEST") && next.payload()["requestId"] == "r2", "{next:?}");
    assert_eq!(asked.next(), None);
}

// --- bounds --------------------------------------------------------------------------------------

#[tokio::test]
async fn pending_requests_of_a_client_and_of_an_extension_are_bounded() {
    let (broker, mut extension, mut app) = trio(|config| {
        config.llm.pending_per_client = 2;
        config.llm.pending_per_extension = 3;
    })
    .await;
    let too_many = refused("Too many pending requests.");
    app.asks(EXTENSION, "r1").await;
    app.asks(EXTENSION, "r2").await;
    assert_eq!(app.ask(EXTENSION, "r3").await, too_many);
    let mut other = App::join(&broker, "app-b").await;
    other.asks(EXTENSION, "s1").await;
    assert_eq!(other.ask(EXTENSION, "s2").await, too_many);
    assert_eq!(broker.metric("newage_llm_requests_refused_total"), 2);
    // A streamed answer that rests is not pending.
    extension.tokens(Some("r1"), "o", &["all"]).await;
    app.reads("all").await;
    app.asks(EXTENSION, "r3").await;
    assert_eq!(app.ask(EXTENSION, "r4").await, too_many);
}

#[tokio::test]
async fn requests_in_all_are_bounded() {
    let (broker, _extension, mut app) = trio(|config| config.llm.pending_total = 1).await;
    app.asks(EXTENSION, "r1").await;
    assert_eq!(app.ask(EXTENSION, "r2").await, refused("Too many pending requests."));
    assert_eq!(broker.metric("newage_llm_requests_refused_total"), 1);
}

/// An accepted request that is not forwarded must not leave its requester waiting.
#[tokio::test]
async fn a_request_beyond_the_routes_of_an_extension_fails_in_words() {
    let (broker, mut extension, mut app) = trio(|config| config.limits.max_routes = 1).await;
    app.asks(EXTENSION, "r1").await;
    extension.gets("r1").await;
    let ack = app.ask(EXTENSION, "r2").await;
    broker.until_metric("newage_limit_reached_total{limit=\"limits.max_routes\"}", 1).await;
    if ack["status"] == "ok" {
        app.settle().await;
        extension.settle().await;
        app.settle().await;
        assert!(!app.events.is_empty(), "acked as forwarded, never forwarded, and nothing was said");
    }
    extension.answers(Some("r1"), "o", "the first").await;
    app.until("the first answer", |app| app.events.iter().any(|event| event.is("message"))).await;
}

#[tokio::test]
async fn requests_over_polling_are_answered_too() {
    let broker = Broker::start(|_| ());
    let mut handshake = auth(EXTENSION);
    handshake["streamEvent"] = json!("streamed_data");
    let mut extension = App::join_polling(&broker, handshake.clone()).await;
    handshake["clientId"] = json!("app-a");
    let mut app = App::join_polling(&broker, handshake).await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    extension.tokens(Some("r"), "o", &["over ", "polling ", "😀"]).await;
    app.reads("over polling 😀").await;
}

//! The life of an LLM request over the wire (spec §4.4, §5.1, §5.2, §5.8, §5.9).

mod llm_world;
mod support;

use serde_json::{Value, json};

use llm_world::{App, EXTENSION, Event, LLM, SECOND_EXTENSION, forwarded, refused};
use support::{Broker, Frame, Peer, auth};

const NOTHING_OPEN: &str = "newage_llm_requests";

/// A broker whose clients may be away for a short while only.
fn with_grace(millis: u64, change: impl FnOnce(&mut newage_broker::config::Config)) -> Broker {
    Broker::setup().settings(json!({"reconnectAttempts": 1, "reconnectDelay": millis})).start(change)
}

/// A broker, an extension and an app.
async fn trio(change: impl FnOnce(&mut newage_broker::config::Config)) -> (Broker, App, App) {
    let broker = Broker::start(change);
    let extension = App::join(&broker, EXTENSION).await;
    let app = App::join(&broker, "app-a").await;
    (broker, extension, app)
}

fn error(message: &str, request: &str) -> Value {
    json!({"type": 21, "message": message, "requestId": request})
}

fn answer(text: &str, request: &str, output: &str) -> Value {
    json!({"type": 0, "data": text, "source": "server", "requestId": request, "outputId": output})
}

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

// --- answers that are not streamed ---------------------------------------------------------------

#[tokio::test]
async fn a_message_is_delivered_in_its_shape_and_completes_the_request() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    for (at, (data, text)) in
        [(json!("plain 你好 😀"), "plain 你好 😀"), (json!(42), "42"), (json!(true), "true")]
            .into_iter()
            .enumerate()
    {
        let (request, output) = (format!("r{at}"), format!("o{at}"));
        app.asks(EXTENSION, &request).await;
        extension.gets(&request).await;
        let ignored = json!({"type": 1, "data": "no", "requestId": request, "outputId": "other"});
        extension.emit("message", &ignored).await;
        let payload = json!({"type": 0, "data": data, "source": "client", "requestId": request, "outputId": output, "clientId": "x"});
        extension.emit("message", &payload).await;
        assert_eq!(app.expect("message").await, answer(text, &request, &output));
        broker.until_metric_is(NOTHING_OPEN, 0).await;
    }
}

/// The extension's helper sends a random `requestId` (spec §5.8).
#[tokio::test]
async fn a_message_under_a_random_request_goes_to_the_oldest() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r1").await;
    app.asks(EXTENSION, "r2").await;
    extension.answers(Some("random"), "o1", "one").await;
    assert_eq!(app.expect("message").await, answer("one", "r1", "o1"));
    extension.answers(None, "o2", "two").await;
    assert_eq!(app.expect("message").await, answer("two", "r2", "o2"));
    extension.answers(None, "o3", "nobody asked").await;
    extension.settle().await;
    app.settle().await;
    assert!(app.events.is_empty());
}

#[tokio::test]
async fn a_health_check_is_answered_and_routed_to_nobody() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r1").await;
    extension.gets("r1").await;
    let question = json!({"type": 0, "data": "Connection active?", "source": "client", "requestId": "h", "outputId": "x"});
    for peer in [&mut extension, &mut app] {
        peer.emit("message", &question).await;
        let mut got = peer.expect("message").await;
        let output = got["outputId"].take();
        assert!(output.as_str().is_some_and(|id| id.len() == 36 && id != "x"), "{output}");
        got["outputId"] = json!("new");
        assert_eq!(got, answer("Yes,connection is fine.", "h", "new"));
    }
    extension.answers(Some("r1"), "o", "still there").await;
    assert_eq!(app.expect("message").await, answer("still there", "r1", "o"));
}

#[tokio::test]
async fn an_answer_from_somebody_who_was_not_asked_is_dropped() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    let mut forger = App::join(&broker, SECOND_EXTENSION).await;
    let mut client = App::join(&broker, "app-b").await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    for forger in [&mut forger, &mut client] {
        forger.answers(Some("r"), "o", "forged").await;
        forger.tokens(Some("r"), "o2", &["forged"]).await;
        forger.peer.emit(LLM, json!(21), &[json!({"message": "forged", "requestId": "r"})]).await;
        forger.settle().await;
    }
    extension.answers(Some("r"), "o", "true").await;
    assert_eq!(app.expect("message").await, answer("true", "r", "o"));
    app.settle().await;
    assert!(app.events.is_empty() && app.streams.is_empty());
}

// --- one request, several who ask ----------------------------------------------------------------

#[tokio::test]
async fn a_repeat_is_acked_and_not_forwarded_again() {
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
async fn a_foreign_request_is_refused_unless_requests_are_shared() {
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
    // One that comes in the middle gets what comes from then on.
    app.reads("one two ").await;
    let mut third = App::join(&broker, "app-a").await;
    extension.tokens(Some("r"), "p", &["three"]).await;
    app.reads("one two three").await;
    second.reads("one two three").await;
    third.reads("three").await;
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

// --- ends ----------------------------------------------------------------------------------------

#[tokio::test]
async fn a_streamed_answer_is_over_when_it_says_so() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    extension.begins(Some("r"), "o", "s", 5).await;
    extension.piece("FIRST", "o", "s", "0", "\"all\"").await;
    extension
        .emit("CLIENT_STREAM_END", &json!({"type": 3, "streamId": "s", "outputId": "o", "final": true}))
        .await;
    broker.until_metric_is(NOTHING_OPEN, 0).await;
    app.reads("all").await;
    extension.tokens(Some("r"), "o", &["late"]).await;
    extension.settle().await;
    app.settle().await;
    assert_eq!(app.streams.len(), 1);
}

#[tokio::test]
async fn a_streamed_answer_is_over_when_the_next_one_begins() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r1").await;
    app.asks(EXTENSION, "r2").await;
    extension.tokens(None, "o1", &["a", "b"]).await;
    app.reads("ab").await;
    extension.tokens(None, "o2", &["c", "d"]).await;
    app.reads("abcd").await;
    let requests: Vec<_> = app.streams.iter().map(|stream| stream.info["requestId"].clone()).collect();
    assert_eq!(requests, ["r1", "r1", "r2", "r2"]);
    broker.until_metric_is(NOTHING_OPEN, 1).await;
    extension.tokens(None, "o3", &["nobody"]).await;
    broker.until_metric_is(NOTHING_OPEN, 0).await;
    app.settle().await;
    assert_eq!(app.streams.len(), 4);
}

/// Two answers that name no request, in one burst: the second ends the first, but only after what the
/// first said was delivered.
#[tokio::test]
async fn an_answer_in_one_burst_with_the_next_one_is_not_lost() {
    let broker = Broker::start(|_| ());
    // The packets of one POST are read at once, before the router can have answered.
    let mut extension = App::join_polling(&broker, auth(EXTENSION)).await;
    let mut app = App::join(&broker, "app-a").await;
    app.asks(EXTENSION, "r1").await;
    app.asks(EXTENSION, "r2").await;
    extension.gets("r1").await;
    extension.gets("r2").await;
    let packets =
        ["o1", "o2"].into_iter().flat_map(|output| llm_world::token(None, output, output, output, true));
    let packets: Vec<Frame> = packets.map(Frame::Text).collect();
    extension.peer.send_all(&packets).await;
    app.reads("o1o2").await;
}

#[tokio::test]
async fn answers_that_name_their_requests_run_side_by_side() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r1").await;
    app.asks(EXTENSION, "r2").await;
    for (request, output, stream, text) in
        [("r2", "o2", "1", "c"), ("r1", "o1", "2", "a"), ("r2", "o2", "3", "d"), ("r1", "o1", "4", "b")]
    {
        extension.token(Some(request), output, stream, text, false).await;
    }
    app.until("both answers", |app| app.text.len() == 4).await;
    for (request, text) in [("r1", "ab"), ("r2", "cd")] {
        let of: String = app
            .streams
            .iter()
            .filter(|stream| stream.info["requestId"] == request)
            .map(|stream| stream.text())
            .collect();
        assert_eq!(of, text);
    }
    broker.until_metric_is(NOTHING_OPEN, 2).await;
}

#[tokio::test]
async fn a_streamed_answer_is_over_when_nothing_more_comes() {
    let (broker, mut extension, mut app) = trio(|config| config.llm.request_idle_timeout = 0.2).await;
    app.asks(EXTENSION, "r").await;
    extension.tokens(Some("r"), "o", &["all"]).await;
    app.reads("all").await;
    broker.until_metric_is(NOTHING_OPEN, 0).await;
    app.settle().await;
    assert!(app.events.is_empty(), "completed, not failed: {:?}", app.events);
}

#[tokio::test]
async fn a_request_without_any_answer_times_out() {
    let (broker, mut extension, mut app) = trio(|config| config.llm.request_timeout = 0.3).await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    assert_eq!(app.expect(21).await, error("LLM request timed out.", "r"));
    broker.until_metric_is(NOTHING_OPEN, 0).await;
    extension.answers(Some("r"), "o", "too late").await;
    extension.settle().await;
    app.settle().await;
    assert!(app.events.is_empty());
    app.asks(EXTENSION, "r").await;
}

#[tokio::test]
async fn an_error_of_the_extension_ends_streams_and_is_relayed() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r").await;
    app.asks(EXTENSION, "other").await;
    extension.gets("r").await;
    extension.begins(Some("r"), "o", "s", 100).await;
    extension.piece("FIRST", "o", "s", "0", "\"half an ans\"").await;
    app.reads("half an ans").await;
    let failure = json!({"type": 21, "message": "out of tokens", "error": {"code": 1.50, "why": ["x"]}, "requestId": "r"});
    extension.peer.emit(LLM, json!(21), std::slice::from_ref(&failure)).await;
    assert_eq!(app.expect(21).await, failure);
    app.until("the end of the stream", |app| app.streams[0].ended).await;
    assert!(app.streams[0].error.is_some());
    broker.until_metric_is(NOTHING_OPEN, 1).await;
    extension.answers(Some("other"), "p", "fine").await;
    assert_eq!(app.expect("message").await, answer("fine", "other", "p"));
}

#[tokio::test]
async fn an_extension_that_stays_away_fails_its_streams_at_once_and_its_requests_after_the_grace() {
    let broker = with_grace(400, |_| ());
    let mut extension = App::join(&broker, EXTENSION).await;
    let mut app = App::join(&broker, "app-a").await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    extension.begins(Some("r"), "o", "s", 100).await;
    extension.piece("FIRST", "o", "s", "0", "\"half\"").await;
    app.reads("half").await;
    extension.peer.vanish().await;
    app.until("an error on the stream", |app| app.streams[0].error.is_some()).await;
    assert!(app.events.is_empty(), "the request waits for the grace");
    broker.until_metric_is("newage_sockets", 1).await;
    assert_eq!(app.ask(EXTENSION, "r2").await, refused("Target client not found: SillyTavern-8000"));
    assert_eq!(app.expect(21).await, error("Target client disconnected: SillyTavern-8000", "r"));
    broker.until_metric_is(NOTHING_OPEN, 0).await;
}

#[tokio::test]
async fn an_extension_back_within_the_grace_goes_on() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r").await;
    app.asks(EXTENSION, "r2").await;
    extension.gets("r").await;
    extension.tokens(Some("r"), "o", &["before "]).await;
    app.reads("before ").await;
    extension.peer.vanish().await;
    broker.until_metric_is("newage_sockets", 1).await;
    let mut extension = App::join(&broker, EXTENSION).await;
    extension.settle().await;
    assert!(extension.events.is_empty(), "nothing is asked twice");
    extension.token(None, "o", "again", "after", false).await;
    app.reads("before after").await;
    assert_eq!(app.streams[1].info["requestId"], "r");
    extension.answers(None, "p", "the other one").await;
    assert_eq!(app.expect("message").await, answer("the other one", "r2", "p"));
}

#[tokio::test]
async fn a_requester_back_within_the_grace_gets_the_rest_once_and_in_order() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    let word = |n: usize| format!("{n} ");
    let words = |from: usize, to: usize| (from..to).map(word).collect::<String>();
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    for n in 0..3 {
        extension.token(Some("r"), "o", &format!("s{n}"), &word(n), n == 0).await;
    }
    app.reads(&words(0, 3)).await;
    // It reads nothing from here on, so nothing is written to it.
    app.settle().await;
    for n in 3..10 {
        extension.token(Some("r"), "o", &format!("s{n}"), &word(n), false).await;
    }
    extension.settle().await;
    app.peer.vanish().await;
    for n in 10..20 {
        extension.token(Some("r"), "o", &format!("s{n}"), &word(n), false).await;
    }
    extension.settle().await;
    broker.until_metric_is("newage_sockets", 1).await;
    let mut back = App::join(&broker, "app-a").await;
    for n in 20..25 {
        extension.token(Some("r"), "o", &format!("s{n}"), &word(n), false).await;
    }
    back.reads(&words(3, 25)).await;
    back.settle().await;
    assert_eq!(String::from_utf8_lossy(&back.text), words(3, 25));
}

/// Over and over, with text on its way: nothing is lost, doubled or turned around, wherever the text is
/// when the socket closes.
#[tokio::test]
async fn a_requester_that_comes_and_goes_while_text_flows_loses_nothing() {
    comes_and_goes(true).await;
}

/// The same for one that is back before its end was noticed. Until then its sockets are two, and the new
/// one may be given what came last before what the old one leaves: each word once is all that can be
/// promised.
#[tokio::test]
async fn a_requester_back_before_its_end_is_noticed_gets_each_word_once() {
    comes_and_goes(false).await;
}

async fn comes_and_goes(noticed: bool) {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    let mut sent: Vec<String> = Vec::new();
    let mut got = String::new();
    for round in 0..12 {
        for n in 0..20 {
            let word = format!("{round}.{n} ");
            extension.token(Some("r"), "o", &format!("s{round}-{n}"), &word, false).await;
            sent.push(word);
        }
        // While the tokens are on their way, at another place of it each time.
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        // Nothing that it was sent since was read, so no write is under way: text that was written and not
        // acked is not repeated.
        got += std::str::from_utf8(&app.text).expect("whole characters");
        app.peer.vanish().await;
        if noticed {
            broker.until_metric_is("newage_sockets", 1).await;
        }
        app = App::join(&broker, "app-a").await;
        let all: usize = sent.iter().map(String::len).sum();
        app.until("the rest", |app| got.len() + app.text.len() >= all).await;
        app.settle().await;
        let read = got.clone() + std::str::from_utf8(&app.text).expect("whole characters");
        if noticed {
            assert_eq!(read, sent.concat(), "round {round}");
        } else {
            let mut words: Vec<&str> = read.split_inclusive(' ').collect();
            let mut expected: Vec<&str> = sent.iter().map(String::as_str).collect();
            words.sort_unstable();
            expected.sort_unstable();
            assert_eq!(words, expected, "round {round}");
        }
    }
}

#[tokio::test]
async fn a_second_socket_is_not_given_again_what_the_first_left_unread() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    let mut second = App::join(&broker, "app-a").await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    extension.tokens(Some("r"), "o", &["one ", "two ", "three "]).await;
    second.reads("one two three ").await;
    // The first one has read nothing.
    app.peer.vanish().await;
    broker.until_metric_is("newage_sockets", 2).await;
    extension.tokens(Some("r"), "p", &["four"]).await;
    second.reads("one two three four").await;
}

#[tokio::test]
async fn an_answer_that_is_complete_while_its_requester_is_away_waits_for_it() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    for request in ["message", "stream", "failed"] {
        app.asks(EXTENSION, request).await;
        extension.gets(request).await;
    }
    app.peer.vanish().await;
    broker.until_metric_is("newage_sockets", 1).await;
    extension.answers(Some("message"), "o", "for later").await;
    extension.begins(Some("stream"), "p", "s", 5).await;
    extension.piece("FIRST", "p", "s", "0", "\"streamed for later\"").await;
    extension
        .emit("CLIENT_STREAM_END", &json!({"type": 3, "streamId": "s", "outputId": "p", "final": true}))
        .await;
    extension.peer.emit(LLM, json!(21), &[json!({"type": 21, "message": "no", "requestId": "failed"})]).await;
    extension.settle().await;
    let mut back = App::join(&broker, "app-a").await;
    back.until("all three", |app| app.text.len() == 18 && app.events.len() == 2).await;
    assert_eq!(back.text, b"streamed for later");
    let events: Vec<Value> = back.events.iter().map(|event| event.payload().clone()).collect();
    assert!(events.contains(&answer("for later", "message", "o")), "{events:?}");
    assert!(events.contains(&error("no", "failed")), "{events:?}");
    broker.until_metric_is(NOTHING_OPEN, 0).await;
}

/// The answer was accepted: that its extension's tab is closed meanwhile takes nothing away.
#[tokio::test]
async fn text_of_an_extension_that_leaves_waits_for_a_requester_that_is_away() {
    let broker = Broker::setup().settings(json!({"reconnectDelay": 200})).start(|_| ());
    let mut extension = App::join(&broker, EXTENSION).await;
    let mut app = App::join(&broker, "app-a").await;
    for request in ["whole", "half"] {
        app.asks(EXTENSION, request).await;
        extension.gets(request).await;
    }
    app.peer.send_text("1").await;
    app.peer.expect_close(1000).await;
    broker.until_metric_is("newage_sockets", 1).await;
    extension.answers(Some("whole"), "o1", "an answer").await;
    extension.tokens(Some("half"), "o2", &["so ", "far"]).await;
    extension.settle().await;
    extension.peer.send_text("1").await;
    extension.peer.expect_close(1000).await;
    broker.until_metric_is("newage_sockets", 0).await;
    let mut app = App::join(&broker, "app-a").await;
    app.reads("so far").await;
    let is_answer = |event: &Event| event.is("message") && event.payload()["data"] == "an answer";
    app.until("the answer", |app| app.events.iter().any(is_answer)).await;
    // The extension does not come back: the request that it had not answered fails behind its text.
    app.until("the failure", |app| app.events.iter().any(|event| event.is(21))).await;
    let failed: Vec<_> = app.events.iter().filter(|event| event.is(21)).map(Event::payload).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["requestId"], "half");
}

#[tokio::test]
async fn a_request_whose_requester_is_gone_is_consumed() {
    let broker = with_grace(100, |_| ());
    let mut extension = App::join(&broker, EXTENSION).await;
    let mut app = App::join(&broker, "app-a").await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    extension.peer.join("/sillytavern", auth(EXTENSION)).await;
    app.peer.vanish().await;
    let gone = "42/sillytavern,[21,{\"type\":21,\"message\":\"Client app-a disconnected and failed to reconnect. Room deleted.\"}]";
    extension.peer.wait_for(gone, |packet| packet == gone).await;
    let mut back = App::join(&broker, "app-a").await;
    extension.tokens(Some("r"), "o", &["nobody ", "listens"]).await;
    extension.answers(Some("r"), "o", "nobody listens").await;
    broker.until_metric_is(NOTHING_OPEN, 0).await;
    back.settle().await;
    assert!(back.events.is_empty() && back.streams.is_empty());
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
    assert_eq!(extension.expect(9).await["requestId"], "r");
    assert_eq!(extension.expect("LLM_REQUEST").await["requestId"], "r");
    // The answer goes out once.
    extension.tokens(Some("r"), "o", &["word"]).await;
    app.reads("word").await;
    let end = app.expect("streamed_end").await;
    assert_eq!(end, json!({"streamId": "o-0", "outputId": "o", "requestId": "r", "source": "server"}));
    extension.peer.emit(LLM, json!("ERROR"), &[json!({"message": "no", "requestId": "r"})]).await;
    assert_eq!(app.expect("ERROR").await, json!({"type": "ERROR", "message": "no", "requestId": "r"}));
    // It has spoken now.
    assert_eq!(app.ask_as(json!("LLM_REQUEST"), ask("r2")).await["status"], "ok");
    assert_eq!(extension.expect("LLM_REQUEST").await["requestId"], "r2");
    extension.settle().await;
    assert!(extension.events.is_empty());
}

// --- functions -----------------------------------------------------------------------------------

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
async fn a_call_reaches_the_extension_and_its_ack_comes_back_untouched() {
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
    let (_broker, mut extension, mut app) = callers(|config| config.llm.function_timeout = 0.2).await;
    let ack = app.begin_ack(FUNCTIONS, json!(22), &[call(EXTENSION)]).await;
    extension.expect_prefix("42/function_call,0[22,").await;
    assert_eq!(app.expect_ack(FUNCTIONS, ack).await, call_failed("Function call timed out."));
    // A late ack is nobody's.
    extension.send_text("43/function_call,0[{\"success\":true}]").await;
    extension.barrier().await;
    app.expect_nothing().await;
}

#[tokio::test]
async fn a_call_to_nobody_and_one_whose_extension_leaves() {
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
async fn events_of_an_unknown_output_are_bounded_while_it_is_looked_up() {
    let broker = Broker::start(|config| config.limits.max_unattributed = 2);
    // The packets of one POST are read at once, before the router can have answered.
    let mut extension = App::join_polling(&broker, auth(EXTENSION)).await;
    let mut app = App::join(&broker, "app-a").await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    let packets = llm_world::token(None, "o", "s", "a long enough text", true);
    let packets: Vec<Frame> = packets.into_iter().map(Frame::Text).collect();
    extension.peer.send_all(&packets).await;
    extension.settle().await;
    // START and the first piece wait, four pieces and END are dropped.
    assert_eq!(broker.limit_reached("limits.max_unattributed"), 5);
    extension.answers(Some("r"), "o", "still alive").await;
    app.until("the answer", |app| app.events.iter().any(|event| event.is("message"))).await;
}

#[tokio::test]
async fn open_streams_of_an_extension_are_bounded() {
    let (broker, mut extension, mut app) = trio(|config| config.streams.max_streams = 2).await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    for stream in ["s1", "s2", "s3"] {
        extension.begins(Some("r"), "o", stream, 5).await;
    }
    extension.piece("FIRST", "o", "s3", "0", "\"ignored\"").await;
    extension.piece("FIRST", "o", "s2", "0", "\"taken\"").await;
    extension.ends("o", "s2").await;
    app.reads("taken").await;
    assert_eq!(broker.limit_reached("streams.max_streams"), 1);
    extension.tokens(Some("r"), "o4", &[" and more"]).await;
    app.reads("taken and more").await;
}

#[tokio::test]
async fn text_that_waits_for_a_gap_is_bounded_per_stream_and_per_output() {
    for per_stream in [true, false] {
        let (broker, mut extension, mut app) = trio(|config| {
            config.streams.max_stream_bytes = if per_stream { 4000 } else { 1 << 20 };
            config.streams.max_output_bytes = if per_stream { 1 << 20 } else { 4000 };
        })
        .await;
        app.asks(EXTENSION, "r").await;
        extension.gets("r").await;
        extension.begins(Some("r"), "o", "s", 100).await;
        extension.piece("FIRST", "o", "s", "0", "\"beginning\"").await;
        app.reads("beginning").await;
        let long = json!("x".repeat(2500)).to_string();
        extension.piece("MIDDLE", "o", "s", "2", &long).await;
        extension.piece("MIDDLE", "o", "s", "3", &long).await;
        let failure = app.expect(21).await;
        assert_eq!(failure["requestId"], "r");
        app.until("the end of the stream", |app| app.streams[0].error.is_some()).await;
        let limit = if per_stream { "streams.max_stream_bytes" } else { "streams.max_output_bytes" };
        assert_eq!(broker.limit_reached(limit), 1, "{limit}");
        broker.until_metric_is(NOTHING_OPEN, 0).await;
    }
}

#[tokio::test]
async fn text_that_waits_for_a_slow_reader_is_bounded() {
    let (broker, mut extension, mut app) = trio(|config| {
        config.streams.max_waiting_bytes = 20_000;
        config.streams.write_size = 1000;
    })
    .await;
    let mut quick = App::join(&broker, "app-a").await;
    // The library's receiver that never gets to read.
    app.listens = None;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    let word = "x".repeat(3000);
    for n in 0..10 {
        extension.token(Some("r"), "o", &format!("s{n}"), &word, false).await;
        quick.reads(&word.repeat(n + 1)).await;
    }
    broker.until_metric("newage_streams_dropped_total", 1).await;
    app.settle().await;
    quick.settle().await;
    assert!(quick.streams.iter().all(|stream| stream.error.is_none()));
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

//! Answers over the wire: whose they are, and when they are over (spec §5.4, §5.8, §5.9).

mod llm_world;
mod support;

use serde_json::json;

use llm_world::{App, EXTENSION, LLM, NOTHING_OPEN, SECOND_EXTENSION, answer, error, trio};
use support::{Broker, Frame, auth};

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
async fn defect_8_36_a_health_check_is_answered_and_routed_to_nobody() {
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
async fn defect_8_32_an_answer_from_somebody_who_was_not_asked_is_dropped() {
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
    app.reads("all").await;
    broker.until_metric_is(NOTHING_OPEN, 0).await;
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
async fn defect_8_35_a_request_without_any_answer_times_out() {
    let (broker, mut extension, mut app) = trio(|config| config.llm.request_timeout = 0.3).await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    assert_eq!(app.expect(21).await, error("LLM request timed out.", "r"));
    broker.until_metric_is("newage_llm_requests_failed_total", 1).await;
    broker.until_metric_is(NOTHING_OPEN, 0).await;
    extension.answers(Some("r"), "o", "too late").await;
    extension.settle().await;
    app.settle().await;
    assert!(app.events.is_empty());
    app.asks(EXTENSION, "r").await;
}

#[tokio::test]
async fn defect_8_34_an_error_of_the_extension_ends_streams_and_is_relayed() {
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

// --- whose an answer is --------------------------------------------------------------------------

/// The forger has a request of its own, to which a text of an unknown request would go.
#[tokio::test]
async fn defect_8_32_an_answer_to_somebody_elses_request_goes_nowhere() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    let mut forger = App::join(&broker, SECOND_EXTENSION).await;
    app.asks(EXTENSION, "theirs").await;
    extension.gets("theirs").await;
    app.asks(SECOND_EXTENSION, "its own").await;
    forger.gets("its own").await;
    forger.token(Some("its own"), "real", "1", "so far", true).await;
    app.reads("so far").await;
    forger.answers(Some("theirs"), "o", "forged").await;
    forger.token(Some("theirs"), "p", "2", "forged", true).await;
    forger.emit("ERROR", &json!({"message": "forged", "requestId": "theirs"})).await;
    forger.settle().await;
    // Nor does it end the answer that the forger is giving.
    forger.token(Some("its own"), "real", "3", " so good", false).await;
    extension.answers(Some("theirs"), "q", "true").await;
    app.until("the answer", |app| app.events.len() == 1).await;
    app.reads("so far so good").await;
    assert_eq!(app.events[0].payload(), &answer("true", "theirs", "q"));
}

#[tokio::test]
async fn pieces_and_ends_that_name_no_output_belong_to_their_stream() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    for request in ["r1", "r2"] {
        app.asks(EXTENSION, request).await;
        extension.gets(request).await;
    }
    // Known by name, and by the router's word.
    for (request, stream) in [(Some("r1"), "1"), (None, "2")] {
        extension.begins(request, stream, stream, 9).await;
        for index in 0..3 {
            let piece = json!({"type": 5, "streamId": stream, "chunkIndex": index, "data": stream});
            extension.emit("CLIENT_STREAM_DATA_MIDDLE", &piece).await;
        }
        extension.emit("CLIENT_STREAM_END", &json!({"type": 3, "streamId": stream})).await;
    }
    app.reads("111222").await;
    // Of no stream at all: this is no answer that could end another one.
    let stray = json!({"type": 5, "streamId": "3", "chunkIndex": 0, "data": "x"});
    extension.emit("CLIENT_STREAM_DATA_MIDDLE", &stray).await;
    extension.token(Some("r2"), "2", "4", "2", false).await;
    app.reads("1112222").await;
    assert_eq!(broker.metric("newage_llm_requests_failed_total"), 0);
}

#[tokio::test]
async fn ids_that_are_too_long_are_no_ids() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r").await;
    let (longest, too_long) = ("x".repeat(256), "x".repeat(257));
    extension.token(Some("r"), "o", &too_long, "no stream", true).await;
    extension.token(Some("r"), &longest, &longest, "a stream", true).await;
    app.reads("a stream").await;
    // An output that cannot be named is one of its own.
    extension.token(Some("r"), &too_long, "s", "!", true).await;
    app.reads("a stream!").await;
    assert_eq!(app.streams[1].info["outputId"], "s");
}

#[tokio::test]
async fn a_piece_that_is_given_up_without_data_leaves_no_gap() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r").await;
    // Not held back: what is in order leaves at once, long before an END.
    extension.begins(Some("r"), "o", "s", 9).await;
    extension.piece("FIRST", "o", "s", "0", "\"a\"").await;
    for given_up in [json!({"chunkIndex": 1}), json!({"chunkIndex": 2, "data": null})] {
        let mut piece = json!({"type": 8, "streamId": "s", "outputId": "o"});
        piece.as_object_mut().unwrap().extend(given_up.as_object().unwrap().clone());
        extension.emit("CLIENT_STREAM_DATA_FAILED", &piece).await;
    }
    extension.piece("MIDDLE", "o", "s", "3", "\"b\"").await;
    app.reads("ab").await;
}

#[tokio::test]
async fn data_that_is_no_text_is_written_out() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    for (data, text) in [
        (json!(4.50), "4.5"),
        (json!(true), "true"),
        (json!(null), "null"),
        (json!([1, "a"]), "[1,\"a\"]"),
        (json!({"a": 1}), "{\"a\":1}"),
    ] {
        app.asks(EXTENSION, text).await;
        // A type that is not 0 is no answer.
        for other in [json!(1), json!("0"), json!({}), json!(null)] {
            let ignored = json!({"type": other, "data": "ignored", "requestId": text, "outputId": "o"});
            extension.emit("message", &ignored).await;
        }
        let payload = json!({"type": 0, "data": data, "requestId": text, "outputId": "o"});
        extension.emit("message", &payload).await;
        assert_eq!(app.expect("message").await, answer(text, text, "o"));
    }
    app.asks(EXTENSION, "nothing").await;
    extension.emit("message", &json!({"type": 0, "requestId": "nothing", "outputId": "o"})).await;
    assert_eq!(app.expect("message").await, answer("", "nothing", "o"));
    broker.until_metric_is(NOTHING_OPEN, 0).await;
}

// --- errors of an extension ----------------------------------------------------------------------

#[tokio::test]
async fn an_error_from_another_tab_or_about_no_request_ends_what_it_is_about() {
    let (broker, mut first, mut app) = trio(|_| ()).await;
    for request in ["r1", "r2"] {
        app.asks(EXTENSION, request).await;
        first.gets(request).await;
    }
    // The request went to the older socket.
    let mut second = App::join(&broker, EXTENSION).await;
    second.emit("ERROR", &json!({"message": "no model", "requestId": "r2"})).await;
    assert_eq!(app.expect(21).await, error("no model", "r2"));
    // One request at a time: it is about the one that is being served.
    first.token(Some("r1"), "o", "1", "so far", true).await;
    first.begins(Some("r1"), "o", "2", 9).await;
    first.piece("MIDDLE", "o", "2", "0", "\" and\"").await;
    app.reads("so far and").await;
    first.emit("ERROR", &json!({"message": "out of memory"})).await;
    assert_eq!(app.expect(21).await, error("out of memory", "r1"));
    assert_eq!(app.streams[1].error.as_deref(), Some("generation failed"));
    broker.until_metric_is(NOTHING_OPEN, 0).await;
    first.emit("ERROR", &json!({"message": "about nothing"})).await;
    first.settle().await;
    app.settle().await;
    assert!(app.events.is_empty(), "{:?}", app.events);
}

#[tokio::test]
async fn an_error_about_a_request_that_is_over_leaves_the_others_alone() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r1").await;
    extension.gets("r1").await;
    extension.emit("ERROR", &json!({"message": "the tab was reloaded", "requestId": "r1"})).await;
    assert_eq!(app.expect(21).await, error("the tab was reloaded", "r1"));
    app.asks(EXTENSION, "r2").await;
    extension.gets("r2").await;
    extension.token(Some("r2"), "o", "1", "so far", false).await;
    // Said again by the tab that is back, and of an id that is none.
    extension.emit("ERROR", &json!({"message": "the tab was reloaded", "requestId": "r1"})).await;
    extension.emit("ERROR", &json!({"message": "no id", "requestId": "x".repeat(257)})).await;
    extension.token(Some("r2"), "o", "2", " and on", true).await;
    app.reads("so far and on").await;
    extension.settle().await;
    app.settle().await;
    assert!(app.events.is_empty(), "{:?}", app.events);
}

#[tokio::test]
async fn a_request_that_is_complete_cannot_fail() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r").await;
    let error = json!({"type": 21, "message": "too late", "requestId": "r"});
    let whole = json!({"type": 0, "data": "all", "requestId": "r", "outputId": "o"});
    // In one burst: the router has had no time to forget the request.
    let packets = [format!("42/llm,[\"message\",{whole}]"), format!("42/llm,[21,{error}]")];
    extension.peer.send_all(&packets.map(Frame::Text)).await;
    extension.settle().await;
    assert_eq!(app.expect("message").await, answer("all", "r", "o"));
    app.settle().await;
    assert!(app.events.is_empty(), "{:?}", app.events);
}

/// An extension serves one request at a time: while it writes what nobody asked for, those that wait
/// behind it are not lost (spec §5.9).
#[tokio::test]
async fn a_long_generation_that_nobody_asked_for_keeps_requests_alive() {
    let (broker, mut extension, mut app) = trio(|config| config.llm.request_timeout = 1.0).await;
    app.asks(EXTENSION, "first").await;
    extension.answers(Some("first"), "o", "done").await;
    app.expect("message").await;
    app.asks(EXTENSION, "second").await;
    extension.gets("first").await;
    extension.gets("second").await;
    // Of the answer that is over: it names its request, and nobody reads it.
    let begun = std::time::Instant::now();
    let mut beat = tokio::time::interval(std::time::Duration::from_millis(50));
    while begun.elapsed() < std::time::Duration::from_millis(2_500) {
        beat.tick().await;
        let piece = json!({"type": 5, "streamId": "s", "outputId": "o", "chunkIndex": 0, "data": "x"});
        extension.emit("CLIENT_STREAM_DATA_MIDDLE", &piece).await;
    }
    assert_eq!(broker.metric("newage_llm_requests_failed_total"), 0);
    extension.answers(Some("second"), "p", "served").await;
    assert_eq!(app.expect("message").await, answer("served", "second", "p"));
}

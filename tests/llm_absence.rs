//! Requesters and extensions that go and come back while answers flow (spec §3.8, §5.5 rule 14, §5.9).

mod llm_world;
mod support;

use serde_json::{Value, json};

use llm_world::{
    App, EXTENSION, Event, LLM, NOTHING_OPEN, Stream, answer, error, refused, settled, trio, with_grace,
};
use support::{Broker, Peer, auth};

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
        // More than are announced unread: those behind are merged.
        for n in 0..60 {
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

/// One stream for the whole answer, over many connections: some have read all that there was, and give nothing back;
/// some have read nothing.
#[tokio::test]
async fn a_stream_that_goes_on_over_many_connections_comes_once_and_in_order() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    extension.begins(Some("r"), "o", "s", 1000).await;
    let (mut sent, mut got) = (String::new(), String::new());
    for round in 0..20 {
        for n in 0..20 {
            let word = format!("{round}.{n} ");
            let index = (round * 20 + n).to_string();
            extension.piece("MIDDLE", "o", "s", &index, &json!(word).to_string()).await;
            sent += &word;
        }
        extension.settle().await;
        // Between these, nothing is read at all: text that is written and not acked is not repeated.
        if [0, 3, 4, 8, 10, 13, 19].contains(&round) {
            let all = sent.len() - got.len();
            app.until("what was sent", |app| app.text.len() >= all).await;
            app.settle().await;
            got += std::str::from_utf8(&app.text).expect("whole characters");
            assert_eq!(got, sent, "round {round}");
        }
        app.peer.vanish().await;
        broker.until_metric_is("newage_sockets", 1).await;
        app = App::join(&broker, "app-a").await;
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

/// One stream for the whole answer, and the word that nothing follows.
async fn answers_in_full(extension: &mut App, request: &str, output: &str, text: &str) {
    extension.begins(Some(request), output, output, 1).await;
    extension.piece("FIRST", output, output, "0", &json!(text).to_string()).await;
    let end = json!({"type": 3, "streamId": output, "outputId": output, "final": true});
    extension.emit("CLIENT_STREAM_END", &end).await;
    extension.settle().await;
}

/// Its socket was there when the answer was over, though nothing has come through to it since: a phone that has lost
/// its network.
#[tokio::test]
async fn an_answer_that_was_over_before_its_connection_was_found_dead_is_read_on_the_next() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    for request in ["first", "second"] {
        app.asks(EXTENSION, request).await;
        extension.gets(request).await;
    }
    // It reads nothing from here on: nothing is written.
    for request in ["first", "second"] {
        answers_in_full(&mut extension, request, request, &format!("{request} ")).await;
    }
    app.peer.vanish().await;
    broker.until_metric_is("newage_sockets", 1).await;
    let mut back = App::join(&broker, "app-a").await;
    // As it was told to do after a reconnect. Both answers are on their way.
    for request in ["first", "second"] {
        back.asks(EXTENSION, request).await;
    }
    back.until("both", |app| app.text.len() == 13).await;
    let mut read: Vec<&str> = back.streams.iter().map(Stream::text).collect();
    read.sort_unstable();
    assert_eq!(read, ["first ", "second "]);
    settled(&broker, NOTHING_OPEN, 0).await;
    extension.settle().await;
    assert!(extension.events.is_empty(), "nothing is asked twice");
    // What has been read is over: under the same id, that is a new request.
    back.asks(EXTENSION, "first").await;
    extension.gets("first").await;
}

/// The same for one that is back before that.
#[tokio::test]
async fn an_answer_that_was_over_is_handed_to_a_socket_that_joined_later() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    answers_in_full(&mut extension, "r", "o", "all of it").await;
    let mut back = App::join(&broker, "app-a").await;
    back.settle().await;
    assert_eq!(back.text, b"");
    app.peer.vanish().await;
    back.reads("all of it").await;
    back.settle().await;
    assert_eq!(back.text, b"all of it");
    settled(&broker, NOTHING_OPEN, 0).await;
}

/// A phone that has changed its network: the broker has not been told that the old connection is dead, and text waits
/// there. Nothing overtakes it.
#[tokio::test]
async fn a_client_that_comes_back_waits_for_its_old_connection_to_be_found_dead() {
    let (broker, mut extension, mut app) = trio(|config| config.session.proof_timeout = 300).await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    extension.begins(Some("r"), "o", "s", 100).await;
    extension.piece("MIDDLE", "o", "s", "0", "\"one \"").await;
    extension.settle().await;
    // The old connection neither reads nor answers from here on, and is not closed.
    let mut back = App::join(&broker, "app-a").await;
    extension.piece("MIDDLE", "o", "s", "1", "\"two \"").await;
    extension.settle().await;
    // What is asked by the new one is answered there at once.
    back.asks(EXTENSION, "new").await;
    extension.gets("new").await;
    extension.answers(Some("new"), "p", "at once").await;
    assert_eq!(back.expect("message").await, answer("at once", "new", "p"));
    assert_eq!(back.text, b"", "the text is not in order before the old connection is over");
    back.reads("one two ").await;
    extension.piece("MIDDLE", "o", "s", "2", "\"three\"").await;
    let end = json!({"type": 3, "streamId": "s", "outputId": "o", "final": true});
    extension.emit("CLIENT_STREAM_END", &end).await;
    back.reads("one two three").await;
    back.settle().await;
    assert_eq!(back.text, b"one two three");
    assert_eq!(broker.limit_reached("session.proof_timeout"), 1);
    settled(&broker, NOTHING_OPEN, 0).await;
}

/// The pong was on its way when the client left: it answers a ping from before that.
#[tokio::test]
async fn a_pong_that_was_under_way_does_not_show_that_a_connection_lives() {
    let (broker, mut extension, mut app) = trio(|config| {
        config.session.ping_interval = 200;
        config.session.proof_timeout = 300;
    })
    .await;
    app.peer.answers_pings = false;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    extension.token(Some("r"), "o", "s0", "one ", false).await;
    app.peer.wait_for("a ping", |packet| packet == "2").await;
    let mut back = App::join(&broker, "app-a").await;
    app.peer.wait_for("a ping", |packet| packet == "2").await;
    app.peer.send_text("3").await;
    extension.token(Some("r"), "o", "s1", "two", true).await;
    back.reads("one two").await;
    assert_eq!(broker.limit_reached("session.proof_timeout"), 1);
}

/// Of two tabs that both live, the second one has the rest of what was asked before it came.
#[tokio::test]
async fn a_second_socket_has_what_comes_once_the_first_has_answered() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    extension.token(Some("r"), "o", "s0", "before ", true).await;
    app.reads("before ").await;
    let mut second = App::join(&broker, "app-a").await;
    let mut text = String::from("before ");
    for n in 1.. {
        extension.token(Some("r"), "o", &format!("s{n}"), &format!("{n} "), false).await;
        text += &format!("{n} ");
        // It answers the ping on the way.
        app.reads(&text).await;
        second.settle().await;
        if !second.text.is_empty() {
            break;
        }
    }
    let last = text.split_inclusive(' ').next_back().unwrap_or_default();
    second.until("the last", |second| second.text.ends_with(last.as_bytes())).await;
    let read = String::from_utf8_lossy(&second.text).into_owned();
    assert!(text.ends_with(&read) && !read.contains("before"), "{read:?} of {text:?}");
    assert_eq!(broker.limit_reached("session.proof_timeout"), 0);
}

/// Of a connection that does not answer its ping it cannot be told whether its client reads: text is not given up
/// before the connection is.
#[tokio::test]
async fn text_for_a_connection_that_is_silent_is_not_given_up() {
    let broker = Broker::start(|config| {
        config.session.ping_interval = 100;
        config.session.ping_timeout = 1500;
        config.streams.announce_stall = 0.2;
    });
    let mut extension = App::join(&broker, EXTENSION).await;
    let mut app = App::join(&broker, "app-a").await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    answers_in_full(&mut extension, "r", "o", "for later").await;
    // Neither of them answers a ping from here on.
    settled(&broker, "newage_sockets", 0).await;
    assert_eq!(broker.limit_reached("streams.announce_stall"), 0);
    App::join(&broker, "app-a").await.reads("for later").await;
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

/// What is whole does not wait until the connection of before is found dead.
#[tokio::test]
async fn an_answer_in_one_piece_reaches_the_connection_that_its_client_came_back_by() {
    let (broker, mut extension, mut app) = trio(|config| config.session.proof_timeout = 300).await;
    app.peer.answers_pings = false;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    let mut back = App::join(&broker, "app-a").await;
    back.asks(EXTENSION, "r").await;
    extension.answers(Some("r"), "o", "whole").await;
    assert_eq!(back.expect("message").await, answer("whole", "r", "o"));
    broker.until_metric("newage_limit_reached_total{limit=\"session.proof_timeout\"}", 1).await;
    back.settle().await;
    assert_eq!(back.text, b"", "and once");
}

/// Two connections that come at once have the elder asked twice; one ping leaves, and one pong is all that it can say.
#[tokio::test]
async fn a_ping_that_waits_is_asked_for_once() {
    let broker = Broker::start(|config| {
        config.session.ping_interval = 1500;
        config.session.proof_timeout = 300;
    });
    let mut elder = Peer::open_polling(&broker).await;
    elder.join("/llm", auth("app-a")).await;
    elder.answers_pings = false;
    let mut others = Vec::new();
    for _ in 0..2 {
        let mut other = Peer::connect_ws(&broker).await;
        other.join("/llm", auth("app-a")).await;
        other.barrier().await;
        others.push(other);
    }
    // The next ones are due long after a proof would be.
    for _ in 0..3 {
        elder.expect_text("2").await;
        elder.send_text("3").await;
    }
    elder.emit_with_ack("/llm", json!(9), json!({})).await;
}

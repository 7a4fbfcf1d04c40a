//! Streams over the wire: what an extension sends (spec §5.3), what is made of it (§5.4), and what
//! a receiver is told (§5.5, §5.6, §5.7).

mod llm_world;
mod support;

use serde_json::{Value, json};

use llm_world::{App, EXTENSION, LLM, SECOND_EXTENSION};
use support::{Broker, Peer, auth};

async fn trio(change: impl FnOnce(&mut newage_broker::config::Config)) -> (Broker, App, App) {
    let broker = Broker::start(change);
    let mut extension = App::join(&broker, EXTENSION).await;
    let mut app = App::join(&broker, "app-a").await;
    app.asks(EXTENSION, "R1").await;
    extension.gets("R1").await;
    (broker, extension, app)
}

/// The reference trace of spec §5.5, with the acks of both builds.
#[tokio::test]
async fn defect_8_17_the_frames_of_one_token() {
    for read_first in [false, true] {
        let (_broker, mut extension, mut app) = trio(|_| ()).await;
        extension.token(Some("R1"), "O1", "S1", "ab", true).await;
        let peer = &mut app.peer;
        let announced = peer.expect_prefix("42/llm,[\"$stream\",\"streamed_data\",{\"$stream\":\"").await;
        let (wire, rest) = announced.split_once('"').expect("an id");
        assert_eq!(rest, r#"},{"streamId":"S1","outputId":"O1","requestId":"R1","source":"server"}]"#);
        let read = format!("42/llm,[\"$stream-read\",\"{wire}\",16384]");
        peer.send_text(&read).await;
        let write = peer.expect_prefix("451-/llm,").await;
        let (ack, rest) = write.split_once('[').expect("an ack id");
        assert_eq!(
            rest,
            format!("\"$stream-write\",\"{wire}\",{{\"_placeholder\":true,\"num\":0}},\"buffer\"]")
        );
        peer.expect_binary(b"ab").await;
        let acked = format!("43/llm,{ack}[]");
        for packet in if read_first { [&read, &acked] } else { [&acked, &read] } {
            peer.send_text(packet).await;
        }
        let end = format!("42/llm,[\"$stream-end\",\"{wire}\"]");
        peer.expect_text(&end).await;
        peer.send_text(&end).await;
        peer.expect_nothing().await;
    }
}

#[tokio::test]
async fn defect_8_25_texts_arrive_as_they_were_cut() {
    let long = "0123456789 😀 长文本 ".repeat(4000);
    for reads_first in [false, true] {
        for tokens in [
            &["Hello", " good", " luck", " 😀"][..],
            &["", " a", "", "你", "好", "，世界", "\n", "\n\n", "👩‍💻", "é", ""],
            &["😀", "😁😂", "x😃y", "\u{0}", "\"\\"],
            &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"],
            &["short ", &long, " short again"],
        ] {
            let (_broker, mut extension, mut app) = trio(|_| ()).await;
            app.reads_first = reads_first;
            extension.tokens(Some("R1"), "O1", tokens).await;
            app.reads(&tokens.concat()).await;
            app.until("every end", |app| app.streams.iter().all(|stream| stream.ended)).await;
            for stream in &app.streams {
                assert!(stream.error.is_none(), "{stream:?}");
                assert!(!stream.text.is_empty(), "announced without text: {stream:?}");
            }
        }
    }
}

/// Rule 8: one token is one write, and as many streams as there were tokens with text, when the
/// receiver keeps up.
#[tokio::test]
async fn one_token_is_one_stream_and_one_write() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    let tokens = ["Hello", ",", "", " 😀", " 你好", ""];
    let mut text = String::new();
    for (at, token) in tokens.into_iter().enumerate() {
        extension.token(Some("R1"), "O1", &format!("S{at}"), token, at == 0).await;
        text += token;
        app.reads(&text).await;
        app.until("its end", |app| app.streams.iter().all(|stream| stream.ended)).await;
    }
    let streams: Vec<_> = app.streams.iter().map(|stream| stream.info["streamId"].clone()).collect();
    assert_eq!(streams, ["S0", "S1", "S3", "S4"]);
    assert!(app.streams.iter().all(|stream| stream.writes.len() == 1));
    assert_eq!(broker.metric("newage_chunks_out_total"), 4);
}

struct Piece(&'static str, &'static str, &'static str);

/// Spec §5.4, row by row; pieces are kind, index and data as JSON text.
#[tokio::test]
async fn defect_8_27_order_gaps_repeats_and_halves() {
    let p = |kind, index, data| Piece(kind, index, data);
    for (name, pieces, text) in [
        (
            "out of order",
            vec![p("MIDDLE", "2", r#""c""#), p("FIRST", "0", r#""a""#), p("MIDDLE", "1", r#""b""#)],
            "abc",
        ),
        (
            "a gap is skipped at END",
            vec![p("FIRST", "0", r#""a""#), p("MIDDLE", "3", r#""d""#), p("MIDDLE", "2", r#""c""#)],
            "acd",
        ),
        (
            "a repeat of what was flushed",
            vec![p("FIRST", "0", r#""a""#), p("MIDDLE", "0", r#""X""#), p("MIDDLE", "1", r#""b""#)],
            "ab",
        ),
        (
            "a repeat of what waits replaces it",
            vec![p("MIDDLE", "1", r#""X""#), p("MIDDLE", "1", r#""b""#), p("FIRST", "0", r#""a""#)],
            "ab",
        ),
        (
            "RETRY fills a gap",
            vec![p("FIRST", "0", r#""a""#), p("MIDDLE", "2", r#""c""#), p("RETRY", "1", r#""b""#)],
            "abc",
        ),
        ("RETRY of what was flushed", vec![p("FIRST", "0", r#""a""#), p("RETRY", "0", r#""X""#)], "a"),
        (
            "FAILED gives an index up",
            vec![p("FIRST", "0", r#""a""#), p("MIDDLE", "2", r#""c""#), p("FAILED", "1", r#""""#)],
            "ac",
        ),
        ("FAILED with data", vec![p("FIRST", "0", r#""a""#), p("FAILED", "1", r#""b""#)], "ab"),
        (
            "no index means next",
            vec![p("FIRST", "null", r#""a""#), p("MIDDLE", "\"1\"", r#""b""#), p("MIDDLE", "-1", r#""c""#)],
            "abc",
        ),
        (
            "a number is a text",
            vec![p("FIRST", "0", "1.5"), p("MIDDLE", "1", "12345678901234567890")],
            "1.512345678901234567890",
        ),
        (
            "what is no text is ignored",
            vec![p("FIRST", "0", "{}"), p("MIDDLE", "0", r#""a""#), p("MIDDLE", "1", "null")],
            "a",
        ),
        (
            "a pair over two pieces",
            vec![p("FIRST", "0", r#""a\ud83d""#), p("MIDDLE", "1", r#""\ude00b""#)],
            "a😀b",
        ),
        (
            "a pair over an empty piece",
            vec![p("FIRST", "0", r#""\ud83d""#), p("MIDDLE", "1", r#""""#), p("MIDDLE", "2", r#""\ude00""#)],
            "😀",
        ),
        ("halves out of order", vec![p("MIDDLE", "1", r#""\ude00""#), p("FIRST", "0", r#""\ud83d""#)], "😀"),
        ("a lone low half", vec![p("FIRST", "0", r#""a\ude00b""#)], "a\u{fffd}b"),
        ("a lone high half", vec![p("FIRST", "0", r#""a\ud83db""#)], "a\u{fffd}b"),
    ] {
        for held in [true, false] {
            let (_broker, mut extension, mut app) = trio(|_| ()).await;
            extension.begins(Some("R1"), "O1", "S1", if held { 5 } else { 100 }).await;
            for Piece(kind, index, data) in &pieces {
                extension.piece(kind, "O1", "S1", index, data).await;
            }
            extension.ends("O1", "S1").await;
            // A late piece is dropped, and what follows shows that nothing is stuck.
            extension.piece("MIDDLE", "O1", "S1", "9", r#""late""#).await;
            extension.token(Some("R1"), "O1", "S2", "|", false).await;
            app.until(name, |app| app.text.ends_with(b"|")).await;
            assert_eq!(String::from_utf8_lossy(&app.text), format!("{text}|"), "{name}");
        }
    }
}

#[tokio::test]
async fn defect_8_30_a_pair_may_straddle_two_tokens() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    for (stream, data) in [("S1", r#""x\ud83d""#), ("S2", r#""\ude00y""#)] {
        extension.begins(Some("R1"), "O1", stream, 5).await;
        extension.piece("MIDDLE", "O1", stream, "0", data).await;
        extension.ends("O1", stream).await;
    }
    app.reads("x😀y").await;
}

#[tokio::test]
async fn starts_and_ends_that_are_ignored() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    let with_type = |kind: u8| json!({"type": kind, "streamId": "S1", "outputId": "O1", "requestId": "R1", "numStreams": 5});
    // A START of another type opens nothing.
    extension.emit("CLIENT_STREAM_START", &with_type(2)).await;
    extension.piece("FIRST", "O1", "S1", "0", "\"unknown\"").await;
    extension.emit("CLIENT_STREAM_START", &with_type(1)).await;
    extension.piece("FIRST", "O1", "S1", "0", "\"a\"").await;
    // A second START of an open stream changes nothing; an END of another type ends nothing.
    extension.emit("CLIENT_STREAM_START", &with_type(1)).await;
    extension.emit("CLIENT_STREAM_END", &with_type(1)).await;
    extension.piece("MIDDLE", "O1", "S1", "1", "\"b\"").await;
    extension.ends("O1", "S1").await;
    // The same name again is a new stream.
    extension.token(Some("R1"), "O1", "S1", "c", false).await;
    app.reads("abc").await;
    let odd: [Value; 5] = [json!(null), json!("text"), json!([]), json!({}), json!({"streamId": {}})];
    for name in ["CLIENT_STREAM_START", "CLIENT_STREAM_DATA_MIDDLE", "CLIENT_STREAM_END", "CLIENT_STREAM_NEW"]
    {
        for payload in &odd {
            extension.emit(name, payload).await;
        }
        extension.peer.emit(LLM, json!(name), &[]).await;
    }
    extension.token(Some("R1"), "__proto__", "constructor", "d", false).await;
    app.reads("abcd").await;
}

#[tokio::test]
async fn a_stream_without_end_fails_when_it_is_idle() {
    let (broker, mut extension, mut app) = trio(|config| config.streams.idle_timeout = 0.2).await;
    extension.begins(Some("R1"), "O1", "S1", 5).await;
    extension.piece("FIRST", "O1", "S1", "0", "\"half\"").await;
    app.until("an error", |app| app.streams.first().is_some_and(|stream| stream.error.is_some())).await;
    assert_eq!(app.text, b"half");
    assert_eq!(broker.limit_reached("streams.idle_timeout"), 1);
    extension.token(Some("R1"), "O1", "S2", " more", false).await;
    app.reads("half more").await;
}

// --- names ---------------------------------------------------------------------------------------

#[tokio::test]
async fn the_name_that_is_read_is_kept() {
    for (name, other) in [("streamed_data", "SERVER_STREAM_DATA"), ("SERVER_STREAM_DATA", "streamed_data")] {
        let broker = Broker::start(|_| ());
        let mut extension = App::join(&broker, EXTENSION).await;
        let mut app = App::join_as(&broker, auth("app-a")).await;
        app.listens = Some(name);
        app.asks(EXTENSION, "R1").await;
        extension.gets("R1").await;
        extension.token(Some("R1"), "O1", "S1", "one ", true).await;
        app.reads("one ").await;
        app.settle().await;
        // From here on there is one announcement per token.
        extension.token(Some("R1"), "O1", "S2", "two", false).await;
        let announced = app.peer.expect_prefix("42/llm,[\"$stream\",").await;
        assert!(announced.starts_with(&format!("\"{name}\",")), "{announced}, not {other}");
        app.peer.expect_nothing().await;
    }
}

#[tokio::test]
async fn both_names_are_announced_under_ids_of_their_own_and_the_other_is_ended_if_it_is_read() {
    let broker = Broker::start(|_| ());
    let mut extension = App::join(&broker, EXTENSION).await;
    let mut app = App::join_as(&broker, auth("app-a")).await;
    app.asks(EXTENSION, "R1").await;
    extension.gets("R1").await;
    extension.token(Some("R1"), "O1", "S1", "text", true).await;
    let mut ids = Vec::new();
    for name in ["streamed_data", "SERVER_STREAM_DATA"] {
        let rest = app.peer.expect_prefix(&format!("42/llm,[\"$stream\",\"{name}\",{{\"$stream\":\"")).await;
        ids.push(rest.split_once('"').expect("an id").0.to_owned());
    }
    assert_ne!(ids[0], ids[1]);
    for id in &ids {
        app.peer.send_text(&format!("42/llm,[\"$stream-read\",\"{id}\",16384]")).await;
    }
    app.peer.expect_prefix("451-/llm,").await;
    app.peer.expect_binary(b"text").await;
    let mut ends = vec![app.peer.expect_prefix("42/llm,[\"$stream-end\",\"").await];
    ends.push(app.peer.expect_prefix("42/llm,[\"$stream-end\",\"").await);
    ends.sort();
    ids.sort();
    assert_eq!(ends, ids.iter().map(|id| format!("{id}\"]")).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_configured_name_is_not_probed() {
    let broker = Broker::start(|config| config.streams.event_names = vec!["my_stream".to_owned()]);
    let mut extension = App::join(&broker, EXTENSION).await;
    let mut app = App::join_as(&broker, auth("app-a")).await;
    app.listens = Some("my_stream");
    app.asks(EXTENSION, "R1").await;
    extension.tokens(Some("R1"), "O1", &["only", " one"]).await;
    app.reads("only one").await;
    assert_eq!(broker.metric("newage_chunks_out_total"), 2);
}

#[tokio::test]
async fn one_stream_per_output_if_so_configured() {
    let (broker, mut extension, mut app) =
        trio(|config| config.streams.grouping = newage_broker::config::Grouping::Output).await;
    extension.tokens(Some("R1"), "O1", &["one ", "two ", "😀"]).await;
    app.reads("one two 😀").await;
    assert_eq!((app.streams.len(), app.streams[0].ended), (1, false));
    assert_eq!(app.streams[0].info["streamId"], "O1-0");
    extension.begins(Some("R1"), "O1", "last", 5).await;
    extension
        .emit("CLIENT_STREAM_END", &json!({"type": 3, "streamId": "last", "outputId": "O1", "final": true}))
        .await;
    app.until("its end", |app| app.streams[0].ended).await;
    assert!(app.streams[0].error.is_none());
    broker.until_metric_is("newage_llm_requests", 0).await;
}

// --- receivers -----------------------------------------------------------------------------------

#[tokio::test]
async fn defect_8_23_deaf_slow_and_leaving_receivers_hold_nobody_else_up() {
    let (broker, mut extension, mut app) = trio(|config| config.streams.announce_stall = 0.1).await;
    // The same client's other sockets: one listens to nothing, one never reads a frame, one leaves.
    let mut deaf = App::join(&broker, "app-a").await;
    deaf.listens = None;
    let mut silent = Peer::connect_ws(&broker).await;
    silent.join(LLM, auth("app-a")).await;
    let leaving = App::join(&broker, "app-a").await;
    let mut text = String::new();
    let mut leaving = Some(leaving);
    for n in 0..60 {
        let token = format!("{n} ");
        extension.token(Some("R1"), "O1", &format!("S{n}"), &token, n == 0).await;
        text += &token;
        app.reads(&text).await;
        if n == 20 {
            drop(leaving.take());
            // Deaf to streams, but not dead: it answers its pings.
            tokio::select! {
                () = async { loop { deaf.settle().await } } => (),
                _ = broker.until_metric("newage_streams_dropped_total", 3) => (),
            }
        }
    }
    // The deaf one begins to listen: of what comes from then on, one stream at a time asks whether it does,
    // and the first that it reads in time reaches it.
    deaf.listens = Some("streamed_data");
    for n in 60..1_000 {
        let token = format!("{n} ");
        extension.token(Some("R1"), "O1", &format!("S{n}"), &token, false).await;
        text += &token;
        app.reads(&text).await;
        deaf.settle().await;
        if !deaf.text.is_empty() {
            break;
        }
    }
    assert!(!deaf.text.is_empty());
    assert!(app.streams.iter().all(|stream| stream.error.is_none()));
}

#[tokio::test]
async fn a_refused_write_frees_its_stream_and_the_next_goes_on() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    extension.token(Some("R1"), "O1", "S1", "refused", true).await;
    let announced = app.peer.expect_prefix("42/llm,[\"$stream\",\"streamed_data\",{\"$stream\":\"").await;
    let wire = announced.split_once('"').expect("an id").0.to_owned();
    app.peer.send_text(&format!("42/llm,[\"$stream-read\",\"{wire}\",16384]")).await;
    let write = app.peer.expect_prefix("451-/llm,").await;
    let ack = write.split_once('[').expect("an ack id").0.to_owned();
    app.peer.expect_binary(b"refused").await;
    app.peer.expect_text(&format!("42/llm,[\"$stream-end\",\"{wire}\"]")).await;
    app.peer.send_text(&format!("43/llm,{ack}[\"invalid stream id: {wire}\"]")).await;
    extension.token(Some("R1"), "O1", "S2", "taken", false).await;
    app.reads("taken").await;
}

#[tokio::test]
async fn a_receiver_may_cancel_or_fail_one_stream() {
    for word in ["$stream-end", "$stream-error"] {
        let (_broker, mut extension, mut app) = trio(|_| ()).await;
        extension.begins(Some("R1"), "O1", "S1", 100).await;
        extension.piece("FIRST", "O1", "S1", "0", "\"begin\"").await;
        app.reads("begin").await;
        let wire = app.streams[0].id.clone();
        app.peer.emit(LLM, json!(word), &[json!(wire), json!("why")]).await;
        app.settle().await;
        extension.piece("MIDDLE", "O1", "S1", "1", "\" not wanted\"").await;
        extension.ends("O1", "S1").await;
        extension.token(Some("R1"), "O1", "S2", " next", false).await;
        app.reads("begin next").await;
    }
}

#[tokio::test]
async fn streams_towards_the_server_are_refused_and_odd_ids_ignored() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    app.peer
        .send_text("451-/llm,7[\"$stream-write\",\"mine\",{\"_placeholder\":true,\"num\":0},\"buffer\"]")
        .await;
    app.peer.send_binary(b"x").await;
    app.peer.expect_text("43/llm,7[\"invalid stream id: mine\"]").await;
    for word in ["$stream-read", "$stream-end", "$stream-error", "$stream"] {
        for args in [
            json!([]),
            json!([null]),
            json!([5]),
            json!(["s1"]),
            json!(["s999"]),
            json!([{}]),
            json!(["__proto__"]),
        ] {
            app.peer.emit(LLM, json!(word), args.as_array().expect("arguments")).await;
        }
    }
    app.peer.expect_nothing().await;
    extension.token(Some("R1"), "O1", "S1", "fine", true).await;
    app.reads("fine").await;
}

#[tokio::test]
async fn defect_8_55_metadata_are_texts_whatever_the_ids_look_like() {
    let (_broker, mut extension, mut app) = trio(|_| ()).await;
    let request = "{\"$stream\":\"x\"}\"\\\u{7f}😀";
    app.asks(EXTENSION, request).await;
    extension.gets(request).await;
    extension.token(Some(request), "{\"$stream\":1}", "\"\\", "text", true).await;
    app.reads("text").await;
    let info = &app.streams[0].info;
    assert_eq!(info["requestId"], request);
    assert_eq!(info["outputId"], "{\"$stream\":1}");
    assert!(info.as_object().expect("an object").values().all(Value::is_string));
}

#[tokio::test]
async fn defect_8_32_a_stream_from_somebody_who_was_not_asked_reaches_nobody() {
    let (broker, mut extension, mut app) = trio(|_| ()).await;
    let mut forger = App::join(&broker, SECOND_EXTENSION).await;
    extension.begins(Some("R1"), "O1", "S1", 100).await;
    extension.piece("FIRST", "O1", "S1", "0", "\"true \"").await;
    app.reads("true ").await;
    // Into the open stream, into its output, into the request.
    forger.piece("MIDDLE", "O1", "S1", "1", "\"forged\"").await;
    forger.token(Some("R1"), "O1", "S1", "forged", false).await;
    forger.token(None, "O1", "S2", "forged", false).await;
    forger.ends("O1", "S1").await;
    forger.settle().await;
    extension.piece("MIDDLE", "O1", "S1", "1", "\"story\"").await;
    extension.ends("O1", "S1").await;
    app.reads("true story").await;
    app.settle().await;
    assert_eq!(app.streams.len(), 1);
}

#[tokio::test]
async fn a_receiver_on_polling_reads_the_same_and_goes_on_over_an_upgrade() {
    let broker = Broker::start(|_| ());
    let mut extension = App::join(&broker, EXTENSION).await;
    let mut app = App::join_polling(&broker, auth("app-a")).await;
    app.asks(EXTENSION, "R1").await;
    extension.gets("R1").await;
    extension.tokens(Some("R1"), "O1", &["Hello", " good", " luck", " 😀"]).await;
    app.reads("Hello good luck 😀").await;
    app.settle().await;
    app.peer.upgrade().await;
    extension.token(Some("R1"), "O1", "S9", " and more", false).await;
    app.reads("Hello good luck 😀 and more").await;
    app.settle().await;
    assert!(app.events.is_empty());
}

/// A client without the stream library may ask for plain events (spec §5.7).
#[tokio::test]
async fn text_as_plain_events_for_whom_declares_it() {
    let broker = Broker::start(|_| ());
    let mut extension = App::join(&broker, EXTENSION).await;
    let mut handshake = auth("app-a");
    handshake["streamMode"] = json!("plain");
    let mut app = App::join_as(&broker, handshake).await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    let with = |stream: &str, more: Value| {
        let mut payload = json!({"streamId": stream, "outputId": "o", "requestId": "r", "source": "server"});
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        payload
    };
    for (stream, text) in [("1", "Hello "), ("2", "😀你好")] {
        extension.token(Some("r"), "o", stream, text, stream == "1").await;
        assert_eq!(app.expect("streamed_data").await, with(stream, json!({"data": text})));
        assert_eq!(app.expect("streamed_end").await, with(stream, json!({})));
    }
    extension.begins(Some("r"), "o", "3", 9).await;
    extension.piece("FIRST", "o", "3", "0", "\"half\"").await;
    assert_eq!(app.expect("streamed_data").await, with("3", json!({"data": "half"})));
    extension.emit("ERROR", &json!({"message": "no", "requestId": "r"})).await;
    assert_eq!(app.expect("streamed_end").await, with("3", json!({"error": "generation failed"})));
    assert_eq!(app.expect(21).await["message"], "no");
    assert!(app.streams.is_empty());
}

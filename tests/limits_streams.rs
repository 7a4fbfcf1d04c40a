//! What makes text wait, be cut or be dropped on its way from an extension to a reader: every bound of `[streams]`,
//! and of `[limits]` on answers, is reached here.

mod llm_world;
mod support;

use newage_broker::config::Config;
use serde_json::json;

use llm_world::{App, EXTENSION, NOTHING_OPEN, Packet, trio};
use support::{Broker, Frame, Peer, auth, masked_frame};

/// A broker, an extension that was asked "r", and an app that reads nothing by itself.
async fn asked(change: impl FnOnce(&mut Config)) -> (Broker, App, App) {
    // A token leaves whole, however slowly its pieces come.
    let broker = Broker::start(|config| {
        config.streams.hold = 10_000;
        change(config);
    });
    let mut extension = App::join(&broker, EXTENSION).await;
    let mut app = App::join(&broker, "app-a").await;
    app.asks(EXTENSION, "r").await;
    extension.gets("r").await;
    app.listens = None;
    (broker, extension, app)
}

/// The next stream that is announced: its id.
async fn announced(app: &mut App) -> String {
    let rest = app.peer.expect_prefix("42/llm,[\"$stream\",\"streamed_data\",{\"$stream\":\"").await;
    rest.split('"').next().unwrap().to_owned()
}

async fn reads(app: &mut App, stream: &str) {
    app.peer.send_text(&format!("42/llm,[\"$stream-read\",\"{stream}\",16384]")).await;
}

/// The next write: its ack id and its text.
async fn written(app: &mut App) -> (u64, String) {
    let Packet::Event(event) = app.packet().await else { panic!("no event") };
    assert!(event.is("$stream-write"), "{event:?}");
    let [text] = <[Vec<u8>; 1]>::try_from(event.attachments).unwrap();
    (event.ack.unwrap(), String::from_utf8(text).unwrap())
}

async fn acks(app: &mut App, id: u64) {
    app.peer.send_text(&format!("43/llm,{id}[]")).await;
}

/// Sends tokens of one answer, and waits until the broker has read them.
async fn tokens(extension: &mut App, tokens: &[&str]) {
    extension.tokens(Some("r"), "o", tokens).await;
    extension.settle().await;
}

#[tokio::test]
async fn max_unread() {
    let (broker, mut extension, mut app) = asked(|config| config.streams.max_unread = 2).await;
    // Each is too long to be joined with another.
    let text = "x".repeat(16_000);
    tokens(&mut extension, &[text.as_str(); 4]).await;
    let first = announced(&mut app).await;
    announced(&mut app).await;
    broker.until_metric("newage_limit_reached_total{limit=\"streams.max_unread\"}", 1).await;
    app.peer.expect_nothing().await;
    // One that is read makes room for one.
    reads(&mut app, &first).await;
    let (_, chunk) = written(&mut app).await;
    assert_eq!(chunk, text);
    app.peer.expect_text(&format!("42/llm,[\"$stream-end\",\"{first}\"]")).await;
    announced(&mut app).await;
    app.peer.expect_nothing().await;
    assert_eq!(broker.limit_reached("streams.max_unread"), 2);
    assert_eq!(broker.metric("newage_streams_dropped_total"), 0);
}

#[tokio::test]
async fn max_waiting_streams() {
    let (broker, mut extension, mut app) = asked(|config| {
        config.streams.max_unread = 1;
        config.streams.max_waiting_streams = 2;
    })
    .await;
    let text = "x".repeat(16_000);
    tokens(&mut extension, &[text.as_str(); 3]).await;
    let first = announced(&mut app).await;
    // The oldest has failed, in words, and the next takes its place.
    app.peer.expect_text(&format!("42/llm,[\"$stream-error\",\"{first}\",\"receiver too slow\"]")).await;
    let second = announced(&mut app).await;
    assert_eq!(broker.limit_reached("streams.max_waiting_streams"), 1);
    assert_eq!(broker.metric("newage_streams_dropped_total"), 1);
    reads(&mut app, &second).await;
    assert_eq!(written(&mut app).await.1, text);
}

#[tokio::test]
async fn max_waiting_bytes() {
    let (broker, mut extension, mut app) = asked(|config| config.streams.max_waiting_bytes = 20_000).await;
    let (lost, kept) = ("x".repeat(16_000), "y".repeat(16_000));
    tokens(&mut extension, &[&lost, &kept]).await;
    let first = announced(&mut app).await;
    app.peer.expect_text(&format!("42/llm,[\"$stream-error\",\"{first}\",\"receiver too slow\"]")).await;
    let second = announced(&mut app).await;
    assert_eq!(broker.limit_reached("streams.max_waiting_bytes"), 1);
    reads(&mut app, &second).await;
    assert_eq!(written(&mut app).await.1, kept);
}

#[tokio::test]
async fn max_unacked() {
    let (broker, mut extension, mut app) = asked(|config| config.streams.max_unacked = 1).await;
    tokens(&mut extension, &["a"]).await;
    let first = announced(&mut app).await;
    tokens_named(&mut extension, "s2", "b").await;
    let second = announced(&mut app).await;
    reads(&mut app, &first).await;
    reads(&mut app, &second).await;
    let (ack, text) = written(&mut app).await;
    assert_eq!(text, "a");
    app.peer.expect_text(&format!("42/llm,[\"$stream-end\",\"{first}\"]")).await;
    app.peer.expect_nothing().await;
    assert_eq!(broker.limit_reached("streams.max_unacked"), 1);
    acks(&mut app, ack).await;
    assert_eq!(written(&mut app).await.1, "b");
}

async fn tokens_named(extension: &mut App, stream: &str, text: &str) {
    extension.token(Some("r"), "o", stream, text, false).await;
    extension.settle().await;
}

#[tokio::test]
async fn announce_stall_and_deaf_after() {
    let (broker, mut extension, mut app) = asked(|config| {
        config.streams.announce_stall = 0.05;
        config.streams.deaf_after = 2;
    })
    .await;
    for (stream, deaf) in [("s1", 0), ("s2", 1)] {
        tokens_named(&mut extension, stream, "never read").await;
        let wire = announced(&mut app).await;
        let error = format!("42/llm,[\"$stream-error\",\"{wire}\",\"stream not read\"]");
        app.peer.expect_text(&error).await;
        assert_eq!(broker.limit_reached("streams.announce_stall"), 1 + deaf);
        assert_eq!(broker.limit_reached("streams.deaf_after"), deaf);
    }
    assert_eq!(broker.metric("newage_streams_dropped_total"), 2);
}

#[tokio::test]
async fn progress_stall() {
    let (broker, mut extension, mut app) = asked(|config| {
        config.streams.progress_stall = 0.05;
        config.streams.write_size = 4;
    })
    .await;
    tokens(&mut extension, &["more than one write"]).await;
    let wire = announced(&mut app).await;
    reads(&mut app, &wire).await;
    assert_eq!(written(&mut app).await.1, "more");
    // It is acked never, and not read on.
    let error = format!("42/llm,[\"$stream-error\",\"{wire}\",\"receiver stalled\"]");
    app.peer.expect_text(&error).await;
    assert_eq!(broker.limit_reached("streams.progress_stall"), 1);
    assert_eq!(broker.metric("newage_streams_dropped_total"), 1);
}

#[tokio::test]
async fn write_size() {
    let (broker, mut extension, mut app) = asked(|config| config.streams.write_size = 8).await;
    app.listens = Some("streamed_data");
    let text = "0123456789 你好 😀😀";
    extension.tokens(Some("r"), "o", &["short", text]).await;
    app.reads(&format!("short{text}")).await;
    let writes: Vec<usize> = app.streams.iter().map(|stream| stream.writes.len()).collect();
    assert_eq!((writes[0], app.streams.len()), (1, 2), "{writes:?}");
    assert!(app.streams.iter().flat_map(|stream| &stream.writes).all(|write| write.len() <= 8));
    // All but the last write of the long one left something.
    assert_eq!(broker.limit_reached("streams.write_size"), writes[1] as u64 - 1);
}

#[tokio::test]
async fn max_outputs() {
    let (broker, mut extension, mut app) = asked(|config| config.limits.max_outputs = 1).await;
    app.listens = Some("streamed_data");
    app.asks(EXTENSION, "r2").await;
    extension.gets("r2").await;
    extension.token(Some("r"), "o1", "s1", "one ", true).await;
    extension.token(Some("r2"), "o2", "s2", "two ", true).await;
    app.reads("one two ").await;
    assert_eq!(broker.limit_reached("limits.max_outputs"), 1);
    // The forgotten output still has its request: it is asked for again.
    extension.token(None, "o1", "s3", "three", false).await;
    app.reads("one two three").await;
    assert_eq!(app.streams.last().unwrap().info["requestId"], "r");
    assert_eq!(broker.limit_reached("limits.max_outputs"), 2);
}

#[tokio::test]
async fn an_output_whose_request_is_over_is_forgotten_uncounted() {
    let (broker, mut extension, mut app) = asked(|config| config.limits.max_outputs = 1).await;
    for (request, output) in [("r", "o1"), ("r2", "o2"), ("r3", "o3")] {
        if request != "r" {
            app.asks(EXTENSION, request).await;
            extension.gets(request).await;
        }
        let answer = json!({"type": 0, "data": "hello", "requestId": request, "outputId": output});
        extension.emit("message", &answer).await;
        assert_eq!(app.expect("message").await["outputId"], output);
    }
    assert_eq!(broker.limit_reached("limits.max_outputs"), 0);
}

#[tokio::test]
async fn packets_per_poll() {
    let broker = Broker::start(|config| config.limits.packets_per_poll = 3);
    let mut peer = Peer::open_polling(&broker).await;
    peer.join("/auth", auth("app-a")).await;
    // Unknown events are answered as they are read, and one body is read in one go.
    let asks: Vec<Frame> = (0..7).map(|id| Frame::Text(format!("42/auth,{id}[\"nothing\"]"))).collect();
    peer.send_all(&asks).await;
    let mut seen = Vec::new();
    while seen.iter().sum::<usize>() < 7 {
        let reply = peer.poll().await;
        let packets = support::split_payload(reply.text()).into_iter();
        seen.push(
            packets
                .filter(|packet| matches!(packet, Frame::Text(text) if text.starts_with("43/auth,")))
                .count(),
        );
    }
    assert_eq!(seen, [3, 3, 1]);
    assert_eq!(broker.limit_reached("limits.packets_per_poll"), 2);
    peer.emit_with_ack("/auth", json!(33), json!({})).await;
}

#[tokio::test]
async fn events_of_an_unknown_output_are_bounded_while_it_is_looked_up() {
    type Change = fn(&mut Config);
    let cases: [(&str, Change); 2] = [
        ("limits.max_unattributed", |config| config.limits.max_unattributed = 2),
        // START and the first pieces have as much.
        ("limits.max_payload", |config| config.limits.max_payload = 400),
    ];
    for (limit, change) in cases {
        let (broker, mut extension, mut app) = trio(change).await;
        app.asks(EXTENSION, "r").await;
        extension.gets("r").await;
        let text = "a text that is long enough";
        let packets = llm_world::token(None, "o", "s", text, true);
        // One segment is read in one go: the router cannot have answered before its end.
        let frames = packets.iter().flat_map(|packet| masked_frame(true, 1, packet.as_bytes()));
        let segment: Vec<u8> = frames.collect();
        extension.peer.send_raw(&segment).await;
        // What does not fit is read when it is known what it answers.
        app.reads(text).await;
        assert_eq!(broker.limit_reached(limit), 1);
    }
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

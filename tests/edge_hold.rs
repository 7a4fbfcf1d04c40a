//! Whoever asks much at once has all of its answers: what it has sent waits until it has taken enough of them.

mod support;

use std::time::Duration;

use futures::future::join;
use serde_json::json;
use support::{Broker, Frame, Opening, Peer, auth, http};

/// Event `id` of `/llm`, which is answered with an error that tells what it lacks.
fn question(id: usize) -> Frame {
    Frame::Text(format!("42/llm,{id}[9,{{}}]"))
}

fn body(ids: std::ops::Range<usize>) -> String {
    let packets = ids.map(|id| match question(id) {
        Frame::Text(text) => text,
        other => panic!("{other:?}"),
    });
    packets.collect::<Vec<_>>().join("\u{1e}")
}

/// All of them are answered, in their order.
async fn all_answered(peer: &mut Peer, ids: std::ops::Range<usize>) {
    for id in ids {
        peer.expect_prefix(&format!("43/llm,{id}[")).await;
    }
}

async fn polling(broker: &Broker) -> Peer {
    let mut peer = Peer::open_polling(broker).await;
    peer.join("/llm", auth("app-a")).await;
    peer
}

#[tokio::test]
async fn a_client_that_posts_much_at_once_has_all_its_answers() {
    let broker = Broker::start(|config| config.limits.outbox_packets = 64);
    let mut peer = polling(&broker).await;
    let path = peer.path("polling");
    let posted = http(&broker, "POST", &path, &[], body(0..1000));
    let (posted, ()) = join(posted, all_answered(&mut peer, 0..1000)).await;
    posted.expect(200, "ok");
    assert_eq!(broker.metric("newage_outbox_overflows_total"), 0);
    assert!(broker.metric("newage_reads_held_total") > 0);
    // It is served as ever.
    peer.emit_with_ack("/llm", json!(9), json!({})).await;
}

#[tokio::test]
async fn a_client_that_writes_much_before_it_reads_has_all_its_answers() {
    const ALL: usize = 100_000;
    let broker = Broker::start(|config| {
        config.limits.outbox_packets = 64;
        // No timer wakes the session meanwhile.
        config.session.ping_interval = 120_000;
        config.session.question_timeout = 120_000;
    });
    let mut peer = Opening::new().receive_buffer(4096).ws(&broker).await.unwrap();
    peer.join("/llm", auth("app-a")).await;
    let all: Vec<Frame> = (0..ALL).map(question).collect();
    peer.send_all(&all).await;
    broker.until_metric("newage_reads_held_total", 1).await;
    all_answered(&mut peer, 0..ALL).await;
    assert_eq!(broker.metric("newage_outbox_overflows_total"), 0);
    peer.emit_with_ack("/llm", json!(9), json!({})).await;
}

/// A broker whose peers answer a ping within a fifth of a second, and are held back at 8 packets.
fn impatient() -> Broker {
    Broker::start(|config| {
        config.session.ping_interval = 100;
        config.session.ping_timeout = 200;
        config.limits.outbox_packets = 16;
        config.limits.packets_per_poll = 4;
    })
}

#[tokio::test]
async fn one_that_is_held_back_and_takes_its_answers_slowly_lives() {
    let broker = impatient();
    let mut peer = polling(&broker).await;
    // Its pong would come in a POST of its own, and waits for this one.
    peer.answers_pings = false;
    let path = peer.path("polling");
    let posted = http(&broker, "POST", &path, &[], body(0..200));
    let slowly = async {
        let mut next = 0;
        let mut pings = 0;
        while next < 200 {
            // Fifty of these are ten times as long as a pong may take.
            tokio::time::sleep(Duration::from_millis(40)).await;
            let reply = peer.poll().await;
            assert_eq!(reply.status, 200, "after {next} answers: {}", reply.text());
            for packet in reply.text().split('\u{1e}') {
                if packet == "2" {
                    pings += 1;
                    continue;
                }
                assert!(packet.starts_with(&format!("43/llm,{next}[")), "{packet} after {next} answers");
                next += 1;
            }
        }
        pings
    };
    let (posted, pings) = join(posted, slowly).await;
    posted.expect(200, "ok");
    assert_eq!(pings, 1, "the next ping follows the pong");
    peer.send_text("3").await;
    peer.answers_pings = true;
    peer.emit_with_ack("/llm", json!(9), json!({})).await;
}

#[tokio::test]
async fn one_that_is_held_back_and_takes_nothing_is_given_up() {
    let broker = impatient();
    let peer = polling(&broker).await;
    let posted = http(&broker, "POST", &peer.path("polling"), &[], body(0..200)).await;
    posted.expect(400, r#"{"code":3,"message":"Bad request"}"#);
    broker.until_metric("newage_sessions_closed_total{reason=\"ping timeout\"}", 1).await;
    assert_eq!(broker.metric("newage_reads_held_total"), 1);
    assert_eq!(broker.metric("newage_outbox_overflows_total"), 0);
}

#[tokio::test]
async fn a_client_that_is_held_back_can_upgrade() {
    let broker = Broker::start(|config| config.limits.outbox_packets = 16);
    let mut peer = polling(&broker).await;
    let path = peer.path("polling");
    let post = http(&broker, "POST", &path, &[], body(0..200));
    let probed = async {
        broker.until_metric("newage_reads_held_total", 1).await;
        let mut probe = peer.second_ws().await.ok().unwrap();
        probe.send_text("2probe").await;
        probe.expect(Frame::Text("3probe".to_owned())).await;
        probe
    };
    // The official client polls no more, and waits for its POST before it switches.
    let (posted, probe) = join(post, probed).await;
    posted.expect(200, "ok");
    // What it has said meanwhile comes in one more.
    peer.post(body(200..300)).await.expect(200, "ok");
    peer.switch(probe).await;
    all_answered(&mut peer, 0..300).await;
    assert_eq!(broker.metric("newage_outbox_overflows_total"), 0);
    peer.emit_with_ack("/llm", json!(9), json!({})).await;
}

//! What is not needed any more goes back to the system.
#![cfg(target_os = "linux")]

mod llm_world;
mod support;

use std::time::{Duration, Instant};

use llm_world::{App, EXTENSION};
use serde_json::{Value, json};
use support::{Broker, Peer, Program, auth};

const CROWD: usize = 800;

#[tokio::test]
async fn a_crowd_that_leaves_takes_its_memory_along() {
    let program = Program::start(Broker::setup(), &[], &[]);
    let broker = program.broker();
    let before = program.resident();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut peer = Peer::connect_ws(broker).await;
        peer.join("/llm", auth("app-a")).await;
        crowd.push(peer);
    }
    let with_it = program.resident();
    assert!(with_it > before + 2 * CROWD as u64, "{before} kB, {with_it} kB with {CROWD} peers");
    drop(crowd);
    falls_below(&program, before + (with_it - before) / 2).await;
}

const LARGE: usize = 1 << 20;
const PACKETS: usize = 100;

/// Less than a third of what they hold together.
const MOST_OF_PACKETS: u64 = 32 * 1024;

fn padded(mut payload: Value) -> Value {
    payload["padding"] = "x".repeat(LARGE).into();
    payload
}

#[tokio::test]
async fn what_a_handshake_says_does_not_keep_the_packet() {
    let program = Program::start(Broker::setup(), &[], &[]);
    let before = program.resident();
    let mut there = Vec::new();
    for _ in 0..PACKETS {
        let mut handshake = padded(auth("app-a"));
        handshake["identity"] = json!(format!("app-a-{}", there.len()));
        handshake["streamEvent"] = json!("streamed_data");
        handshake["desc"] = json!("somebody");
        there.push(App::join_as(program.broker(), handshake).await);
    }
    falls_below(&program, before + MOST_OF_PACKETS).await;
    drop(there);
}

#[tokio::test]
async fn ids_do_not_keep_the_packets_that_they_came_in() {
    let program = Program::start(Broker::setup(), &[], &[]);
    let broker = program.broker();
    let mut extension = App::join(broker, EXTENSION).await;
    let mut app = App::join(broker, "app-a").await;
    let before = program.resident();
    for n in 0..PACKETS {
        let (request, output) = (format!("r{n}"), format!("o{n}"));
        let asked = json!({"target": EXTENSION, "requestId": request, "message": "hi"});
        assert_eq!(app.ask_with(padded(asked)).await, llm_world::forwarded());
        extension.gets(&request).await;
        // Its outputs are remembered when it is answered.
        let answer = json!({"type": 0, "data": "hello", "requestId": request, "outputId": output});
        extension.emit("message", &padded(answer)).await;
        assert_eq!(app.expect("message").await["outputId"], output);
    }
    falls_below(&program, before + MOST_OF_PACKETS).await;
}

/// Waits until the program holds less. What was given back decays over ten seconds; after 45 the sessions themselves
/// would end, for want of a pong.
async fn falls_below(program: &Program, limit: u64) {
    let patience = Instant::now() + Duration::from_secs(30);
    while program.resident() > limit {
        assert!(Instant::now() < patience, "{} kB and not below {limit} kB", program.resident());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

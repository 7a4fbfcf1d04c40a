//! What a crowd has needed goes back to the system once it has left.
#![cfg(target_os = "linux")]

mod support;

use std::time::{Duration, Instant};

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
    // It decays over ten seconds.
    let patience = Instant::now() + Duration::from_secs(60);
    let half = before + (with_it - before) / 2;
    while program.resident() > half {
        assert!(Instant::now() < patience, "{before} kB, {with_it} kB, now {} kB", program.resident());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

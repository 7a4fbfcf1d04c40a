//! The harness of the end-to-end tests: a broker in this process, and peers on the other side of a
//! real wire. Nothing here knows the broker's insides, except that it starts and that it counts.
//!
//! ```ignore
//! mod support;
//! use support::{Broker, Peer, auth};
//!
//! let broker = Broker::start(|config| config.limits.max_sessions = 1);
//! let mut peer = Peer::connect_ws(&broker).await;
//! let sid = peer.join("/llm", auth("app-a")).await;
//! let ack = peer.emit_with_ack("/llm", json!(9), json!({"target": "nobody", …})).await;
//! peer.send_text("42/llm,[\"ask\"]").await;
//! peer.expect_text("42/llm,[\"answer\"]").await;
//! assert_eq!(broker.limit_reached("limits.max_sessions"), 0);
//! ```
//!
//! # Brokers ([`Broker`], [`Setup`])
//! - `Broker::start(|config| …)`: the shipped defaults, port 0, loopback of both families, a data
//!   directory of its own. `Broker::setup()` first, to write more: `.settings(json!({…}))` into
//!   `server_settings.json`, `.client(json!({…}))` as a trust file, `.password(id, text)`,
//!   `.costly_key(id, cost)`, `.file(path, bytes)`, then `.start(|config| …)`.
//! - [`CLIENTS`] are trusted; the persistent key of each is [`key`]`(id)`. Nobody else is.
//! - `url(path)`, `address()`, `data()`, `metrics()` (the text), `metric(line)` (one value),
//!   `limit_reached(name)`, `until_metric(line, at_least)`.
//! - It stops when it is dropped; a panic on one of its threads fails the test then. `stop().await`
//!   waits for it.
//!
//! # Programs ([`Program`])
//! - `Program::start(setup, args, env)` runs the binary as a user would; `log()`, `until_log(text)` are what
//!   it has written, `broker()` is what peers connect to. It is killed when it is dropped.
//! - `Program::in_an_empty_folder()` has neither settings nor an environment; `command(args)` runs another
//!   command of it beside.
//!
//! # Peers ([`Peer`])
//! - `connect_ws`, `open_polling`, to a broker or to an address; `Opening::new().header(…)` for other headers or another query,
//!   then `.ws(&broker)` or `.polling(&broker)`, which may be [`Refused`].
//! - `send_text`, `send_binary`: one Engine.IO packet with its type (`42/llm,[…]`).
//! - `next` is the next frame of any kind; `expect_text`, `expect_binary`, `expect_close(code)` fail with
//!   what came instead, and with all that came before. Pings are answered and skipped, unless
//!   `peer.answers_pings = false`; then they are frames like others.
//! - `join(ns, auth)`, `emit(ns, event, args)`, `emit_with_ack` wait for their own answer; what
//!   comes in between is kept, in order, for the next `expect_…`.
//! - `barrier()` returns when everything sent before has been read by the session.
//! - `upgrade()` moves a polling peer to a WebSocket, as the official client does.
//! - [`handshake`] has what only the tests of admission and of bad input share.
//!
//! Nothing sleeps: whoever waits, waits for something, for at most [`PATIENCE`].

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "every test file compiles the harness for itself and uses a part of it"
)]

mod broker;
pub mod handshake;
mod http;
mod opening;
mod peer;
mod polling;
mod program;
mod ws;

use std::{future::Future, time::Duration};

use serde_json::{Value, json};

pub use broker::{Broker, CLIENTS, Listens, Setup, key};
pub use http::{Reply, http, raw_http};
pub use opening::{Opening, Refused};
pub use peer::{Frame, Peer};
pub use polling::split_payload;
pub use program::Program;
pub use ws::{frame_header, masked_frame};

/// How long anything may take before a test fails: long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The handshake of a client that speaks dialect 1.
pub fn auth(client: &str) -> Value {
    json!({"clientId": client, "clientType": "test", "dialect": 1})
}

/// The same, with a key.
pub fn auth_with_key(client: &str, key: &str) -> Value {
    json!({"clientId": client, "clientType": "test", "dialect": 1, "key": key})
}

/// Whether it is a time as log files and the server's status have it.
pub fn is_time(text: &str) -> bool {
    let model = "0000-00-00 00:00:00";
    let same = |(given, model): (char, char)| given == model || model == '0' && given.is_ascii_digit();
    text.len() == model.len() && text.chars().zip(model.chars()).all(same)
}

/// Waits for something, and says what was waited for if it does not come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing happened in {PATIENCE:?}"),
    }
}

/// A test that cannot run here says why, and fails where every test must run.
pub fn cannot_run(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "this test must run in CI: {why}");
    eprintln!("skipped: {why}");
}

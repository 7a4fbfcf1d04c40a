//! Panics, provoked in a process of their own (spec §8.1 8-20, facts §3.4). Nothing in the broker panics on
//! demand; but an answer wakes whoever waits for it, on the thread of the actor that answers, and a waker may
//! be anything.

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    process::{Command, Output},
    sync::Arc,
    task::{Context, Wake, Waker},
};

use actors::{llm_router::CountPending, session::PollingPayload, trust::ListKeys};
use framing::engine::Sid;

use super::*;
use crate::{config::Flags, telemetry};

/// Names the panic that this process is to provoke.
const PROVOKE: &str = "NEWAGE_TEST_PROVOKE";

/// Its data directory.
const DATA: &str = "NEWAGE_TEST_DATA";

struct Bomb;

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        panic!("provoked by a test");
    }
}

/// Asks, and waits for the answer with a waker that panics in the actor that answers. The answer stays awaited
/// until the returned value is dropped.
async fn with_a_bomb<F: Future>(ask: impl Fn() -> F) -> Pin<Box<F>> {
    let waker = Waker::from(Arc::new(Bomb));
    loop {
        let mut question = Box::pin(ask());
        if question.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            return question;
        }
        // The actor was quicker than we are, which it is not every time. Tokio counts what a task polls without
        // coming up for air, and would wake us itself.
        tokio::task::yield_now().await;
    }
}

/// This test binary again, for the one test below: what it said, and what its log file holds.
fn rerun(provoke: &str) -> (Output, String) {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["server::tests::provoked", "--exact", "--ignored", "--nocapture"]);
    command.env(PROVOKE, provoke).env(DATA, data.path()).env_remove("RUST_LOG");
    let output = command.output().unwrap();
    let file = std::fs::read_to_string(data.path().join("logs/error.log")).unwrap();
    assert!(file.contains("server_tests.rs"), "it says where: {file}");
    assert!(!file.contains("provoked by a test"), "what panics say may quote anything: {file}");
    (output, file)
}

#[test]
fn a_panic_in_a_shared_actor_ends_the_process() {
    ends_the_process("shared actor");
}

/// Also where sessions share its thread, whose panics cost them alone.
#[test]
fn a_panic_in_the_router_ends_the_process() {
    ends_the_process("router");
}

fn ends_the_process(provoke: &str) {
    let (output, file) = rerun(provoke);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(70), "{log}");
    assert!(log.contains("provoked by a test") && log.contains("a shared actor has panicked"), "{log}");
    assert!(file.contains("[error] [llm-server]: a shared actor has panicked; the process ends\n"), "{file}");
}

#[test]
fn defect_8_20_a_panic_in_a_session_costs_that_session() {
    let (output, file) = rerun("session");
    let (log, said) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success() && said.contains("others are served"), "{said}\n{log}");
    assert_eq!(log.matches("provoked by a test").count(), 1, "{log}");
    assert!(log.contains("a session has panicked") && file.contains("a session has panicked"), "{log}{file}");
}

#[test]
#[ignore = "the tests above run it, in a process that may end"]
fn provoked() {
    let Ok(provoke) = std::env::var(PROVOKE) else {
        return;
    };
    let data = PathBuf::from(std::env::var_os(DATA).unwrap());
    telemetry::init(&telemetry::LogConfig::default(), &data);
    telemetry::end_process_on_control_panic();
    let trusted = r#"{"clientId":"app","isTrust":true}"#;
    std::fs::create_dir(data.join("settings")).unwrap();
    std::fs::write(data.join("settings/app.json"), trusted).unwrap();
    let flags = Flags { data: Some(data), port: Some(0), ..Flags::default() };
    let mut config = Config::load(&flags).unwrap();
    // One worker, so that the sessions share a thread.
    config.server.workers = 1;
    actix_rt::System::new().block_on(async {
        let running = start(config).unwrap();
        match provoke.as_str() {
            "session" => {
                let test = one_session_of_two(&running);
                tokio::time::timeout(Duration::from_secs(30), test).await.unwrap();
            }
            "router" => {
                let _bomb = with_a_bomb(|| running.directory.router.send(CountPending)).await;
                tokio::time::sleep(Duration::from_secs(20)).await;
                println!("the process lives on");
            }
            _ => {
                let _bomb = with_a_bomb(|| running.directory.trust.send(ListKeys)).await;
                tokio::time::sleep(Duration::from_secs(20)).await;
                println!("the process lives on");
            }
        }
        running.stop().await;
        telemetry::flush();
    });
}

async fn one_session_of_two(running: &Running) {
    let base = format!("http://{}/socket.io/?EIO=4&transport=polling", running.address());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |url: String| client.get(url).send().await.unwrap().text().await.unwrap();
    let post = async |url: String, body: &'static str| client.post(url).body(body).send().await.unwrap();
    let mut urls = Vec::new();
    for _ in 0..2 {
        let open = get(base.clone()).await;
        let (_, rest) = open.split_once("\"sid\":\"").unwrap();
        let url = format!("{base}&sid={}", rest.split('"').next().unwrap());
        post(url.clone(), "40/llm,{\"clientId\":\"app\",\"dialect\":1}").await;
        let joined = get(url.clone()).await;
        assert!(joined.starts_with("40/llm,{"), "{joined}");
        urls.push(url);
    }
    let [doomed, other] = <[String; 2]>::try_from(urls).unwrap();
    let sessions = &running.endpoint.shared.sessions;
    let link = sessions.get(Sid::parse(doomed.rsplit('=').next().unwrap()).unwrap()).unwrap();
    // A POST without packets, of which nothing else would come.
    let bomb = with_a_bomb(|| {
        let turn = std::iter::repeat_with(|| link.outbox.begin_post()).find_map(Result::ok).unwrap();
        link.session.send(PollingPayload::new([], turn).0)
    });
    let bomb = bomb.await;
    while sessions.len() > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(bomb);
    post(other.clone(), "42/llm,0[9,{}]").await;
    let ack = get(other).await;
    assert!(ack.starts_with("43/llm,0[{\"status\":\"error\""), "{ack}");
    let gone = client.get(doomed).send().await.unwrap();
    assert_eq!(gone.status().as_u16(), 400, "its session is no more");
    println!("others are served");
}

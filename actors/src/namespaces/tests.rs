//! Admission while the registry is busy: what a session does meanwhile must leave one answer a CONNECT.

use std::{
    sync::mpsc,
    task::{Context, Poll, ready},
};

use framing::{close::CloseReason, encoded::Encoded, frame::Frame, limits::Limits};
use futures::{
    StreamExt,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
};

use super::*;
use crate::{
    functions::StaticResources,
    metrics::Metrics,
    outbox::{Batch, Drain, Outbox, OutboxLimits},
    registry::{Extensions, tests::idle},
    session::{SessionConfig, Shared, WebSocket, socketio::SocketIoConfig},
    sessions::Sessions,
    trust::{
        CheckAuth, Handshake, Verdict,
        fixture::{Root, id, loopback},
    },
};

const LONG: Duration = Duration::from_secs(60);
const JOIN: &str = "40/llm,{\"clientId\":\"app\",\"dialect\":1}";

/// A session of the broker, whose registry is on a thread that can be held.
struct Stage {
    _root: Root,
    trust: Addr<Trust>,
    metrics: Arc<Metrics>,
    registry: Arbiter,
    frames: UnboundedSender<Result<Frame, CloseReason>>,
    written: UnboundedReceiver<Batch>,
    came: Vec<String>,
}

/// A WebSocket without a network: frames come out of one channel, and what is written goes into another.
struct Channels {
    read: UnboundedReceiver<Result<Frame, CloseReason>>,
    write: UnboundedSender<Batch>,
}

impl WebSocket for Channels {
    fn poll_frame(&mut self, task: &mut Context<'_>) -> Poll<Result<Frame, CloseReason>> {
        self.read.poll_next_unpin(task).map(|frame| frame.unwrap_or(Err(CloseReason::TransportClosed)))
    }

    fn poll_drain(&mut self, outbox: &Outbox, task: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut batch = Batch::default();
            ready!(outbox.poll_batch(&mut batch, task));
            let ended = batch.end.is_some();
            if self.write.unbounded_send(batch).is_err() || ended {
                return Poll::Ready(());
            }
        }
    }
}

/// Until it is dropped, the registry does nothing.
struct Held(#[expect(dead_code, reason = "its drop releases the thread")] mpsc::Sender<()>);

impl Stage {
    fn new(question_timeout: Duration) -> Self {
        let root = Root::new();
        let store = root.open();
        let (settings, clients) = (store.settings(), store.snapshot());
        let metrics = Arc::new(Metrics::default());
        let (epoch, thread) = (Instant::now(), Arbiter::new());
        let (router, rooms, lobby, registry) = idle(settings.clone(), clients.clone(), 8, &metrics);
        let registry = Registry::start_in_arbiter(&thread.handle(), move |_| registry);
        let desk = Desk::new(store, StaticResources::new(8));
        let trust = Trust::new(desk.clone()).start();
        let limits = BrokerLimits {
            max_targets: 8,
            function_timeout: LONG,
            llm_policy: LlmPolicy::Open,
            network_safe_scope: crate::trust::NetworkSafeScope::Local,
            limited_session: LONG,
            temp_room: LONG,
            inbound: InboundLimits::default(),
            outbound: OutboundLimits::default(),
            fan_out: FanOutLimits { max_waiting_bytes: 1 << 20, max_routes: 8 },
            max_unattributed: 8,
            max_unattributed_bytes: 1 << 20,
            max_outputs: 8,
            max_named_messages: 8,
        };
        let logs = Logs::new(root.dir.path(), 1, metrics.clone()).start();
        let server = ServerInfo::new("", String::new());
        let directory = Directory {
            registry,
            router,
            trust: trust.clone(),
            desk,
            rooms,
            lobby,
            logs,
            extensions: Extensions::new(Vec::new()).live(),
            settings,
            clients,
            limits,
            epoch,
            calls: Default::default(),
            server,
        };
        let bounds = OutboxLimits { max_bytes: 1 << 20, max_packets: 1000 };
        let config = SessionConfig {
            ping_interval: LONG,
            ping_timeout: LONG,
            max_payload: 1 << 20,
            upgrade_timeout: LONG,
            close_timeout: LONG,
            proof_timeout: LONG,
            outbox: bounds,
            mailbox: 16,
            max_questions: 16,
            control_mailbox: 64,
            question_timeout,
        };
        let socketio = SocketIoConfig {
            limits: Limits::default(),
            connect_timeout: LONG,
            max_pending_acks: 8,
            max_early_events: 8,
        };
        let handler = Broker::new(Arc::new(directory), loopback());
        let app = SocketIo::new(socketio, handler, Instant::now());
        let shared = Arc::new(Shared { config, sessions: Sessions::default(), metrics: metrics.clone() });
        let outbox = Outbox::new(bounds, Drain::WebSocket, metrics.clone());
        let (frames, read) = unbounded();
        let (write, written) = unbounded();
        let sid = Sid::from_random([1; 15]);
        SessionActor::open(
            shared,
            sid,
            app,
            outbox,
            Some(Box::new(Channels { read, write })),
            Instant::now(),
        );
        Self { _root: root, trust, metrics, registry: thread, frames, written, came: Vec::new() }
    }

    fn hold(&self) -> Held {
        let (release, wait) = mpsc::channel();
        // An error is the release.
        self.registry.spawn_fn(move || {
            let _ = wait.recv();
        });
        Held(release)
    }

    fn send(&self, packet: &str) {
        self.frames.unbounded_send(Ok(Frame::Text(packet.into()))).expect("the session reads");
    }

    /// Waits for a packet that begins like this; all that came before it is kept.
    async fn until(&mut self, prefix: &str) {
        while !self.came.iter().any(|packet| packet.starts_with(prefix)) {
            let batch = tokio::time::timeout(LONG / 2, self.written.next());
            let batch = batch.await.unwrap_or_else(|_| panic!("no {prefix} after {:?}", self.came));
            let batch = batch.expect("the session writes");
            let frames = batch.packets.iter().flat_map(Encoded::frames);
            self.came.extend(frames.map(|frame| match frame {
                Frame::Text(text) => text.to_string(),
                Frame::Binary(_) => panic!("nothing here is binary"),
            }));
        }
    }

    /// All that was sent has been read, and every verdict on it is known.
    async fn settle(&mut self) {
        self.send("40/no-such-namespace,");
        self.until("44/no-such-namespace,").await;
        let handshake = Handshake { client_id: id("app"), key: None, password: None, on_auth: false };
        let verdict = self.trust.send(CheckAuth { handshake, peer: loopback() }).await;
        assert!(matches!(verdict, Ok(Verdict::Accept { .. })), "{verdict:?}");
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    /// What of it was sent to `/llm`, socket ids left out.
    fn on_llm(&self) -> Vec<&str> {
        let packets = self.came.iter().filter(|packet| packet.contains("/llm,"));
        packets
            .map(|packet| packet.split_once("{\"sid\"").map_or(packet.as_str(), |(head, _)| head))
            .collect()
    }
}

#[actix::test]
async fn who_leaves_while_the_registry_is_busy_is_answered_once_when_it_is_back() {
    let mut stage = Stage::new(LONG);
    let held = stage.hold();
    stage.send(JOIN);
    stage.settle().await;
    stage.send("41/llm,");
    stage.send(JOIN);
    stage.settle().await;
    assert!(stage.on_llm().is_empty(), "{:?}", stage.came);
    drop(held);
    stage.send("42/llm,0[9,{}]");
    stage.until("43/llm,0[").await;
    let invalid = "43/llm,0[{\"status\":\"error\",\"message\":\"Invalid LLM request data.\"}]";
    assert_eq!(stage.on_llm(), ["40/llm,", invalid]);
    assert_eq!(stage.metrics.sockets.get(), 1);
}

#[actix::test]
async fn who_is_turned_away_because_the_registry_is_late_is_not_admitted_behind_it() {
    let mut stage = Stage::new(Duration::from_millis(50));
    let held = stage.hold();
    stage.send(JOIN);
    stage.until("41/llm,").await;
    drop(held);
    // The registry has looked at the first by the time it admits the second.
    stage.send("40/auth,{\"clientId\":\"app\",\"dialect\":1}");
    stage.until("40/auth,").await;
    let busy = "42/llm,[21,{\"type\":21,\"message\":\"Server is busy, try again later.\",\"code\":\"busy\"}]";
    assert_eq!(stage.on_llm(), ["40/llm,", busy, "41/llm,"]);
    assert_eq!(stage.metrics.sockets.get(), 1);
}

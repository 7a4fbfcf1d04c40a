//! Many rooms at once, with one supervisor and with two:
//! `cargo run --release -p newage-actors --example many_rooms [ROOMS [MEMBERS_OF_EACH [MESSAGES_OF_EACH]]]`.
//!
//! Every member writes, types, reads the history back and edits, and waits for each answer before it goes
//! on, as clients do; the history is a file. Afterwards every member must have been told every message of
//! its room, each once and all members in the same order, which is the history's. All members are driven by
//! one thread, so the figures are of rooms that have the other ones.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Arbiter, ArbiterHandle, System, prelude::Actor};
use actors::{
    history::{History, HistoryConfig, Place, Retention},
    ids::{ClientId, Identity, RequestId, RoomName},
    llm_router::{LlmRouter, RouterLimits},
    lobby::{Lobby, Supervisors},
    metrics::Metrics,
    outbox::{Batch, Drain, Outbox, OutboxLimits},
    protocol::{Dialect, Namespace, RequestMode, Role, SocketDialect},
    registry::{SharedDialect, SocketKey},
    rooms::{
        Caller, ChatRequest, Command, Extensions, InRoom, Line, Present, Reply, RoomCommand, RoomLimits,
        RoomRefusal, Rooms, RoomsConfig, Shared,
    },
    seat,
};
use arc_swap::ArcSwap;
use framing::{frame::Frame, json::RawJson};

#[derive(Clone, Copy)]
struct Size {
    rooms: usize,
    members: usize,
    messages: usize,
}

fn config(supervisors: usize, size: Size) -> RoomsConfig {
    RoomsConfig {
        supervisors,
        rooms: size.rooms,
        max_mutes: 1,
        think_per_hour: 0,
        max_answer_bytes: 1 << 20,
        max_answer_outputs: 8,
        mailbox: 4096,
        room: RoomLimits {
            members: size.members + 1,
            queued: 64,
            open_requests: 64,
            context: 1 << 20,
            log: Retention { messages: 1 << 20, bytes: 1 << 30 },
        },
    }
}

fn start(folder: &Path, supervisors: usize, size: Size, metrics: &Arc<Metrics>) -> Rooms {
    let mut kept =
        HistoryConfig { place: Place::File(folder.join("history.sqlite")), ..HistoryConfig::default() };
    kept.retention.messages = 1 << 20;
    kept.retention.bytes = 1 << 30;
    let history = History::start(kept, metrics.clone(), &Arbiter::new().handle()).expect("the history opens");
    let limits = RouterLimits {
        per_client: 32,
        per_extension: 256,
        total: 16_384,
        outputs: 1024,
        request_timeout: Duration::from_secs(600),
        idle_timeout: Duration::from_secs(60),
        grace: Duration::from_secs(5),
        allow_shared: false,
    };
    let settings = Arc::default();
    let router = LlmRouter::new(limits, Arc::clone(&settings), Instant::now(), metrics.clone());
    let control = Arbiter::new().handle();
    let router = LlmRouter::start_in_arbiter(&control, |_| router);
    let kept = history.clone();
    let lobby = Lobby::start_in_arbiter(&control, |_| Lobby::new(kept));
    let known = Arc::new(ArcSwap::default());
    let shared = Shared::new(
        history,
        router,
        lobby.clone(),
        settings,
        known,
        config(supervisors, size),
        metrics.clone(),
    );
    let arbiters: Vec<ArbiterHandle> = (0..supervisors).map(|_| Arbiter::new().handle()).collect();
    let places: Vec<seat::Place<'_>> = arbiters.iter().map(seat::Place::Arbiter).collect();
    let rooms = Rooms::start(&places, shared);
    lobby.try_send(Supervisors(rooms.clone())).expect("an empty mailbox");
    rooms
}

fn caller(who: &str, admin: bool) -> Caller {
    let client = ClientId::new(who).expect("a legal id");
    Caller { identity: Identity::from(client.clone()), privileged: admin, admin, client }
}

async fn ask(rooms: &Rooms, caller: &Caller, room: &RoomName, command: RoomCommand) -> Reply {
    let question = InRoom { room: room.clone(), caller: caller.clone(), command };
    let answer = rooms.of(room.as_str()).expect("a supervisor").send(question).await;
    let answer: Result<Reply, RoomRefusal> = answer.expect("it runs");
    answer.unwrap_or_else(|refusal| panic!("{room}: {refusal}"))
}

/// Somebody with one connection.
async fn appear(rooms: &Rooms, who: &Caller, metrics: &Arc<Metrics>) -> Arc<Outbox> {
    let limits = OutboxLimits { max_bytes: 1 << 30, max_packets: 1 << 20 };
    let outbox = Outbox::new(limits, Drain::WebSocket, metrics.clone());
    let dialect = SharedDialect::new(SocketDialect::new(Some(Dialect::Named), false));
    let lines = [Namespace::Rooms, Namespace::Llm].map(|ns| Line {
        ns,
        key: SocketKey::NONE,
        session: None,
        outbox: outbox.clone(),
        dialect: dialect.clone(),
    });
    let present = Present {
        identity: who.identity.clone(),
        client: who.client.clone(),
        client_type: "test".into(),
        desc: None,
        sockets: 2,
        lines: lines.into(),
    };
    for supervisor in rooms.all() {
        supervisor.send(present.clone()).await.expect("it runs");
    }
    outbox
}

/// The value of a field that is a text without escapes.
fn field<'a>(packet: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = packet.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next()
}

/// Reads what one member is told until it has so many messages: their ids, and how many packets there were.
async fn read(outbox: &Outbox, messages: usize) -> (Vec<String>, usize) {
    let (mut ids, mut packets, mut batch) = (Vec::new(), 0, Batch::default());
    while ids.len() < messages {
        poll_fn(|cx| outbox.poll_batch(&mut batch, cx)).await;
        for packet in &batch.packets {
            packets += 1;
            for frame in packet.frames() {
                let Frame::Text(text) = frame else { continue };
                if text.contains("[\"NEW_MESSAGE\",")
                    && let Some(id) = field(&text, "requestId")
                {
                    ids.push(id.to_owned());
                }
            }
        }
    }
    (ids, packets)
}

fn run(command: Command) -> RoomCommand {
    RoomCommand::Run(command)
}

/// What one member does: how many questions were answered.
async fn take_part(rooms: &Rooms, me: &Caller, room: &RoomName, messages: usize) -> usize {
    let mut answered = 0;
    for number in 0..messages {
        ask(rooms, me, room, run(Command::Typing(true))).await;
        let id = format!("{}.{number}", me.client);
        let payload = format!("{{\"requestId\":\"{id}\",\"message\":\"{}\"}}", "x".repeat(200));
        let request = Some(ChatRequest {
            request_id: RequestId::new(id).expect("a legal id"),
            targets: Vec::new(),
            payload: RawJson::parse(payload.into(), 8).expect("JSON"),
        });
        let extensions = Extensions::default();
        ask(rooms, me, room, run(Command::Request { request, attachments: Vec::new(), extensions })).await;
        ask(rooms, me, room, run(Command::Typing(false))).await;
        answered += 3;
        if number % 5 == 4 {
            let whole = Command::Context { since: None, page_size: usize::MAX, page: 1 };
            let Reply::Pages(_, Some(context)) = ask(rooms, me, room, run(whole)).await else {
                panic!("no page")
            };
            // The newest message of one's own, which is allowed to its author.
            let own = context.rsplit_once(&format!("\"requestId\":\"{}.", me.client));
            let own = own.and_then(|(_, mine)| field(mine, "messageId")).map(str::to_owned);
            let updated = RawJson::from_static("{\"message\":\"edited\"}");
            ask(rooms, me, room, run(Command::Edit { id: own.expect("it is there").into(), updated })).await;
            answered += 2;
        }
    }
    answered
}

async fn history(rooms: &Rooms, who: &Caller, room: &RoomName) -> Vec<String> {
    let context = Command::Context { since: None, page_size: 1, page: 1 };
    let Reply::Pages(pages, _) = ask(rooms, who, room, run(context)).await else { panic!("no pages") };
    let mut requests = Vec::new();
    for page in pages {
        let Reply::Page(page) = ask(rooms, who, room, run(Command::Page(page))).await else {
            panic!("no page")
        };
        requests.extend(field(&page, "requestId").map(str::to_owned));
    }
    requests
}

async fn measure(supervisors: usize, size: Size) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let metrics = Arc::new(Metrics::default());
    let rooms = start(folder.path(), supervisors, size, &metrics);
    let admin = caller("monitor", true);
    let mut seats = Vec::new();
    for number in 0..size.rooms {
        let name = RoomName::new(format!("room-{number}")).expect("a legal name");
        ask(&rooms, &admin, &name, RoomCommand::Create { master: true }).await;
        ask(&rooms, &admin, &name, run(Command::SetMode(RequestMode::MasterOnly))).await;
        for member in 0..size.members {
            let me = caller(&format!("app-{number}-{member}"), false);
            let outbox = appear(&rooms, &me, &metrics).await;
            let add = Command::Add { identity: me.identity.clone(), role: Some(Role::Guest) };
            ask(&rooms, &admin, &name, run(add)).await;
            seats.push((name.clone(), me, outbox));
        }
    }
    let begun = Instant::now();
    let all = size.members * size.messages;
    let members = seats.iter().map(|(room, me, outbox)| async {
        futures::join!(take_part(&rooms, me, room, size.messages), read(outbox, all))
    });
    let outcomes = futures::future::join_all(members).await;
    let seconds = begun.elapsed().as_secs_f64();

    let mut order: BTreeMap<&RoomName, Vec<String>> = BTreeMap::new();
    let (mut answers, mut pushed) = (0, 0);
    for ((room, me, _), (answered, (told, packets))) in seats.iter().zip(outcomes) {
        answers += answered;
        pushed += packets;
        let same = order.entry(room).or_insert_with(|| told.clone());
        assert_eq!(*same, told, "{room}: members were told in different orders");
        for number in 0..size.messages {
            let id = format!("{}.{number}", me.client);
            assert_eq!(told.iter().filter(|other| **other == id).count(), 1, "{room}: {id}");
        }
        let own = told.iter().filter_map(|id| id.strip_prefix(me.client.as_str())?.strip_prefix('.'));
        let own: Vec<usize> = own.map(|number| number.parse().expect("a number")).collect();
        assert_eq!(own, (0..size.messages).collect::<Vec<_>>(), "{room}: not in the order of its author");
    }
    for (room, told) in &order {
        assert_eq!(history(&rooms, &admin, room).await, *told, "{room}: its history is another one");
    }
    println!(
        "{supervisors} supervisors: {} rooms, {} members, {} messages: {:>7.0} messages/s {:>7.0} questions/s {:>7.0} pushes/s in {seconds:.2} s; nothing lost, order kept",
        size.rooms,
        size.rooms * size.members,
        all * size.rooms,
        (all * size.rooms) as f64 / seconds,
        answers as f64 / seconds,
        pushed as f64 / seconds,
    );
}

fn main() {
    let mut given = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let mut next = |default| given.next().unwrap_or(default);
    let size = Size { rooms: next(200), members: next(5), messages: next(20) };
    for supervisors in [1, 2] {
        System::new().block_on(measure(supervisors, size));
    }
}

//! What was acked survives SIGKILL: clients make rooms, fill them, write and are given keys until the
//! program is killed at a random moment, twenty times in one data directory. After each start an
//! administrator sees all of it over the wire.

mod support;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use serde_json::{Value, json};
use support::{Broker, Frame, Opening, Peer, Program, auth_with_key, key};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const KILLS: u64 = 20;
const ADMIN: &str = "monitor";
const EXTENSION: &str = "SillyTavern-8000";
const WRITERS: [&str; 2] = ["app-a", "app-b"];
/// Whose keys are made anew.
const KEYED: [&str; 2] = ["SillyTavern-8001", "frontendExample"];
const MODES: [&str; 4] = ["Immediate", "HostSubmit", "MasterOnly", "Conversational"];
/// Messages that a writer sends before it waits, so that there is always something to lose.
const AHEAD: usize = 4;

fn random(below: usize) -> usize {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    usize::try_from(u32::from_le_bytes(bytes)).unwrap() % below
}

/// What was acked.
#[derive(Clone, Debug, Default, PartialEq)]
struct World {
    rooms: BTreeMap<String, Room>,
    keys: BTreeMap<&'static str, String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Room {
    /// Who has which role.
    members: BTreeMap<String, String>,
    mode: &'static str,
}

/// What an administrator does.
#[derive(Clone, Debug)]
enum Deed {
    Create(String),
    Delete(String),
    Add(String, &'static str, &'static str),
    SetRole(String, &'static str, &'static str),
    Kick(String, &'static str),
    SetMode(String, &'static str),
    Key(&'static str),
}

impl Deed {
    /// One that may be done.
    fn any(world: &World) -> Self {
        let name = format!("busy-{}", random(6));
        let Some(room) = world.rooms.get(&name) else { return Self::Create(name) };
        let who = ["app-a", "app-b", EXTENSION][random(3)];
        let role = ["guest", "manager"][random(2)];
        match (random(12), room.members.contains_key(who)) {
            (0, _) => Self::Delete(name),
            (1, _) => Self::Key(KEYED[random(2)]),
            (2..=4, _) => Self::SetMode(name, MODES[random(4)]),
            (5..=6, true) => Self::Kick(name, who),
            (_, true) => Self::SetRole(name, who, role),
            (_, false) => Self::Add(name, who, role),
        }
    }

    fn event(&self) -> (&'static str, &'static str, Value) {
        match self {
            Self::Create(room) => ("/rooms", "CREATE_ROOM", json!({"roomName": room})),
            Self::Delete(room) => ("/rooms", "DELETE_ROOM", json!({"roomName": room})),
            Self::Add(room, who, role) => {
                ("/rooms", "ADD_CLIENT_TO_ROOM", json!({"roomName": room, "identity": who, "role": role}))
            }
            Self::SetRole(room, who, role) => {
                ("/rooms", "SET_MEMBER_ROLE", json!({"roomName": room, "targetIdentity": who, "role": role}))
            }
            Self::Kick(room, who) => {
                ("/rooms", "KICK_MEMBER", json!({"roomName": room, "targetIdentity": who}))
            }
            Self::SetMode(room, mode) => {
                ("/rooms", "SET_ROOM_MESSAGE_REQUEST_MODE", json!({"roomName": room, "mode": mode}))
            }
            Self::Key(client) => ("/clients", "GENERATE_CLIENT_KEY", json!({"targetClientId": client})),
        }
    }

    /// What it leads to, once it is acked.
    fn done(&self, world: &mut World, ack: &Value) {
        let rooms = &mut world.rooms;
        match self.clone() {
            Self::Create(room) => {
                let members = BTreeMap::from([(ADMIN.to_owned(), "master".to_owned())]);
                rooms.insert(room, Room { members, mode: "Immediate" });
            }
            Self::Delete(room) => drop(rooms.remove(&room)),
            Self::Add(room, who, role) | Self::SetRole(room, who, role) => {
                rooms.get_mut(&room).unwrap().members.insert(who.to_owned(), role.to_owned());
            }
            Self::Kick(room, who) => drop(rooms.get_mut(&room).unwrap().members.remove(who)),
            Self::SetMode(room, mode) => rooms.get_mut(&room).unwrap().mode = mode,
            Self::Key(client) => {
                world.keys.insert(client, ack["key"].as_str().unwrap().to_owned());
            }
        }
    }
}

/// From elsewhere, where keys are asked for.
async fn peer(broker: &Broker, client: &str, key: &str, namespaces: &[&str]) -> Peer {
    let mut peer = Opening::new().header("x-forwarded-for", "192.0.2.1").ws(broker).await.unwrap();
    for ns in namespaces {
        peer.join(ns, named(client, key)).await;
    }
    peer
}

fn named(client: &str, key: &str) -> Value {
    let mut auth = auth_with_key(client, key);
    auth["dialect"] = json!(2);
    auth
}

/// The ack of that id; none if the program has ended before.
async fn ack(peer: &mut Peer, ns: &str, id: u64) -> Option<Value> {
    let head = format!("43{ns},{id}");
    loop {
        match peer.next().await {
            Frame::Text(text) if text.starts_with(&head) => {
                let args: Value = serde_json::from_str(&text[head.len()..]).unwrap();
                return Some(args[0].clone());
            }
            Frame::Closed(_) => return None,
            _ => (),
        }
    }
}

/// Does one thing after the other until the program is killed: what was acked, and what was not.
async fn administer(mut admin: Peer, mut world: World, acked: UnboundedSender<()>) -> (World, Deed) {
    loop {
        let deed = Deed::any(&world);
        let (ns, name, payload) = deed.event();
        let id = admin.begin_ack(ns, json!(name), &[payload]).await;
        let Some(answer) = ack(&mut admin, ns, id).await else { return (world, deed) };
        assert_eq!(answer["status"], "ok", "{deed:?}: {answer}");
        deed.done(&mut world, &answer);
        // Nobody counts any more.
        let _ = acked.send(());
    }
}

/// Writes until the program is killed: what was acked, in order.
async fn write(mut peer: Peer, room: String, acked: UnboundedSender<()>) -> Vec<String> {
    let (mut said, mut waiting) = (Vec::new(), VecDeque::new());
    for number in 0.. {
        let id = format!("{room}-{number}");
        let request = json!({"requestId": id, "targetRoom": room, "message": "x".repeat(number % 400)});
        let ack = peer.begin_ack("/llm", json!("LLM_REQUEST"), &[request]).await;
        waiting.push_back((id, ack));
        if waiting.len() < AHEAD {
            continue;
        }
        let (id, number) = waiting.pop_front().unwrap();
        let Some(answer) = crate::ack(&mut peer, "/llm", number).await else { break };
        assert_eq!(answer["status"], "ok", "{id}: {answer}");
        said.push(id);
        let _ = acked.send(());
    }
    said
}

/// Everybody in each room, and what mode it is in, as the administrator sees it.
async fn seen(admin: &mut Peer, extension: &mut Peer) -> BTreeMap<String, Room> {
    let rooms = admin.ack_of("/rooms", json!("GET_ROOMS"), &[]).await;
    let mut seen = BTreeMap::new();
    for name in rooms["rooms"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()) {
        if !(name.starts_with("busy-") || name.starts_with("said-")) {
            continue;
        }
        let list = admin.ack_of("/rooms", json!("GET_CLIENTS_IN_ROOM"), &[json!({"roomName": name})]).await;
        let member = |member: &Value| {
            let text = |field: &str| member[field].as_str().unwrap().to_owned();
            (text("clientId"), text("role"))
        };
        let members = list["clients"].as_array().unwrap().iter().map(member).collect();
        let mode = if name.starts_with("busy-") { mode(admin, extension, name).await } else { "MasterOnly" };
        seen.insert(name.to_owned(), Room { members, mode });
    }
    seen
}

/// An extension is told the mode of the room in which it is asked.
async fn mode(admin: &mut Peer, extension: &mut Peer, room: &str) -> &'static str {
    let id = format!("mode-of-{room}-{}", random(1 << 30));
    let request = json!({"requestId": id, "targetRoom": room, "target": EXTENSION, "message": "?"});
    let ack = admin.emit_with_ack("/llm", json!("LLM_REQUEST"), request).await;
    assert_eq!(ack["status"], "ok", "{room}: {ack}");
    let asked = extension
        .wait_for("the request", |packet| packet.contains(&id) && packet.contains("\"currentRequest\""))
        .await;
    let answer = json!({"requestId": id, "outputId": id, "data": "", "target": "server", "type": 0});
    extension.emit("/llm", json!("message"), &[answer]).await;
    let mode = MODES.iter().find(|mode| asked.contains(&format!("\"mode\":\"{mode}\"")));
    mode.unwrap_or_else(|| panic!("no mode: {asked}"))
}

/// The requests of a room's history, in order.
async fn history(admin: &mut Peer, room: &str) -> Vec<String> {
    let ack = admin.emit_with_ack("/llm", json!("GET_FULL_CONTEXT"), json!({"roomName": room})).await;
    assert_eq!(ack["status"], "ok", "{room}: {ack}");
    let mut ids = Vec::new();
    for page in 1..=ack["totalPages"].as_u64().unwrap() {
        let (update, number) = (format!("{}", ack["updateId"]), format!("\"pageNumber\":{page},"));
        let wanted = |packet: &str| {
            packet.contains("UPDATE_CONTEXT_PAGE") && packet.contains(&update) && packet.contains(&number)
        };
        let packet = admin.wait_for("a page", wanted).await;
        let event: Value = serde_json::from_str(packet.strip_prefix("42/llm,").unwrap()).unwrap();
        let messages = event[1]["contextPage"].as_array().unwrap();
        ids.extend(messages.iter().filter_map(|message| Some(message["requestId"].as_str()?.to_owned())));
    }
    ids
}

/// All that was acked is there, each once and in order.
async fn check_history(admin: &mut Peer, room: &str, said: &[String]) {
    let mut found = history(admin, room).await.into_iter();
    for id in said {
        assert!(found.any(|other| other == *id), "{room}: {id} is not there, or not in its place");
    }
    // What was stored without an ack is less than what was on its way.
    assert!(found.len() <= AHEAD, "{room}: {:?}", found.collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_acked_survives_twenty_kills() {
    let begun = Instant::now();
    let setup = Broker::setup().settings(json!({"networkSafe": false}));
    let mut program = Program::start(setup, &[], &[]);
    let mut world = World::default();
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for client in KEYED {
        world.keys.insert(client, key(client));
    }
    let mut total = 0;
    for kill in 0..KILLS {
        let broker = program.broker();
        let mut admin = peer(broker, ADMIN, &key(ADMIN), &["/rooms", "/clients", "/llm"]).await;
        let extension = peer(broker, EXTENSION, &key(EXTENSION), &["/llm"]).await;
        let (acked, mut acks) = unbounded_channel();
        let mut writers = Vec::new();
        for who in WRITERS {
            let room = format!("said-{kill}-{who}");
            let writer = peer(broker, who, &key(who), &["/llm"]).await;
            for deed in [
                Deed::Create(room.clone()),
                Deed::Add(room.clone(), who, "guest"),
                Deed::SetMode(room.clone(), "MasterOnly"),
            ] {
                let (ns, name, payload) = deed.event();
                let answer = admin.emit_with_ack(ns, json!(name), payload).await;
                assert_eq!(answer["status"], "ok", "{deed:?}: {answer}");
                deed.done(&mut world, &answer);
            }
            writers.push((room.clone(), tokio::spawn(write(writer, room, acked.clone()))));
        }
        let administers = tokio::spawn(administer(admin, world.clone(), acked));
        let wanted = 1 + random(300);
        for _ in 0..wanted {
            acks.recv().await.expect("somebody writes");
        }
        program.kill();
        drop(extension);
        let (after, doubtful) = administers.await.unwrap();
        world = after;
        for (room, writer) in writers {
            said.insert(room, writer.await.unwrap());
        }
        total += wanted;

        program.run_again();
        let broker = program.broker();
        let mut admin = peer(broker, ADMIN, &key(ADMIN), &["/rooms", "/llm"]).await;
        let mut extension = peer(broker, EXTENSION, &key(EXTENSION), &["/llm"]).await;
        let rooms = seen(&mut admin, &mut extension).await;
        if rooms != world.rooms {
            // What was not acked may have been done, as a whole.
            assert!(!matches!(doubtful, Deed::Key(_)), "kill {kill}: {rooms:#?}\n{:#?}", world.rooms);
            doubtful.done(&mut world, &Value::Null);
            assert_eq!(rooms, world.rooms, "kill {kill}, {doubtful:?}");
        }
        let mut looked_at = said.iter().filter(|(room, _)| {
            kill + 1 == KILLS || room.starts_with(&format!("said-{kill}-")) || random(8) == 0
        });
        for (room, ids) in looked_at.by_ref() {
            check_history(&mut admin, room, ids).await;
        }
        for (client, key) in &world.keys {
            // A key that was being made may have taken the place of the one before.
            if !matches!(doubtful, Deed::Key(doubtful) if doubtful == *client) {
                let mut owner = peer(broker, client, key, &["/rooms"]).await;
                let ack = owner.ack_of("/rooms", json!("GET_ROOMS"), &[]).await;
                assert_eq!(ack["status"], "ok", "kill {kill}: {client}");
            }
        }
        if let Deed::Key(client) = doubtful {
            let mut admin = peer(broker, ADMIN, &key(ADMIN), &["/clients"]).await;
            let again = Deed::Key(client);
            let (ns, name, payload) = again.event();
            let answer = admin.emit_with_ack(ns, json!(name), payload).await;
            again.done(&mut world, &answer);
        }
    }
    eprintln!("{total} acks, {} rooms, in {:?}", world.rooms.len(), begun.elapsed());
    assert!(said.values().any(|ids| ids.len() > 10), "somebody has written");
}

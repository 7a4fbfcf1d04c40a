//! Many rooms at once over real sockets, under one supervisor and under two: every member is told every
//! message of its room, each once and in the order of the room's history.

mod support;

use std::collections::VecDeque;

use serde_json::{Value, json};
use support::{Broker, Peer};

const ADMIN: &str = "monitor";
const ROOMS: usize = 20;
const MEMBERS: usize = 5;
/// Messages of each member.
const MESSAGES: usize = 5;
/// Of those, so many are sent before the first is acked.
const AHEAD: usize = 3;

async fn peer(broker: &Broker, client: &str) -> Peer {
    let mut peer = Peer::connect_ws(broker).await;
    for ns in ["/rooms", "/llm"] {
        peer.join(ns, json!({"clientId": client, "clientType": "test", "dialect": 2})).await;
    }
    peer
}

async fn done(admin: &mut Peer, name: &str, payload: Value) {
    let ack = admin.emit_with_ack("/rooms", json!(name), payload.clone()).await;
    assert_eq!(ack["status"], "ok", "{name} {payload}: {ack}");
}

async fn write(peer: &mut Peer, client: &str, room: &str) {
    let mut waiting = VecDeque::new();
    for number in 0..MESSAGES {
        peer.emit("/llm", json!("START_TYPING"), &[json!({"targetRoom": room})]).await;
        let id = format!("{client}.{number}");
        let request = json!({"requestId": id, "targetRoom": room, "message": id});
        waiting.push_back(peer.begin_ack("/llm", json!("LLM_REQUEST"), &[request]).await);
        if waiting.len() == AHEAD {
            acked(peer, &mut waiting).await;
        }
    }
    while !waiting.is_empty() {
        acked(peer, &mut waiting).await;
    }
}

async fn acked(peer: &mut Peer, waiting: &mut VecDeque<u64>) {
    let ack = peer.expect_ack("/llm", waiting.pop_front().unwrap()).await;
    assert_eq!(ack["status"], "ok", "{ack}");
}

/// The ids of the requests that a member is told of, in order.
async fn told(peer: &mut Peer) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < MEMBERS * MESSAGES {
        let packet = peer
            .wait_for("a message", |packet| {
                packet.starts_with("42/llm,[\"NEW_MESSAGE\"") && packet.contains("\"requestId\"")
            })
            .await;
        let event: Value = serde_json::from_str(packet.strip_prefix("42/llm,").unwrap()).unwrap();
        ids.push(event[1]["message"]["requestId"].as_str().unwrap().to_owned());
    }
    ids
}

async fn history(peer: &mut Peer, room: &str) -> Vec<String> {
    let ack = peer.emit_with_ack("/llm", json!("GET_FULL_CONTEXT"), json!({"roomName": room})).await;
    assert_eq!(ack["totalPages"], 1, "{ack}");
    // Behind that of its joining.
    let update = ack["updateId"].to_string();
    let page = |packet: &str| packet.contains("UPDATE_CONTEXT_PAGE") && packet.contains(&update);
    let packet = peer.wait_for("the page", page).await;
    let event: Value = serde_json::from_str(packet.strip_prefix("42/llm,").unwrap()).unwrap();
    let messages = event[1]["contextPage"].as_array().unwrap();
    messages.iter().filter_map(|message| Some(message["requestId"].as_str()?.to_owned())).collect()
}

async fn nothing_is_lost(supervisors: usize, workers: usize) {
    let broker = Broker::start(|config| {
        config.rooms.supervisors = supervisors;
        config.server.workers = workers;
        config.trust.trust_patterns = vec!["member-*".to_owned()];
    });
    let mut admin = peer(&broker, ADMIN).await;
    let mut lives = Vec::new();
    for number in 0..ROOMS {
        let room = format!("room-{number}");
        done(&mut admin, "CREATE_ROOM", json!({"roomName": room})).await;
        done(&mut admin, "SET_ROOM_MESSAGE_REQUEST_MODE", json!({"roomName": room, "mode": "MasterOnly"}))
            .await;
        let mut members = Vec::new();
        for member in 0..MEMBERS {
            let client = format!("member-{number}-{member}");
            let peer = peer(&broker, &client).await;
            done(&mut admin, "ADD_CLIENT_TO_ROOM", json!({"roomName": room, "identity": client})).await;
            members.push((client, peer));
        }
        lives.push((room, members));
    }
    let lives = lives.into_iter().map(|(room, members)| {
        tokio::spawn(async move {
            let members = members.into_iter().map(|(client, mut peer)| {
                let room = room.clone();
                async move {
                    write(&mut peer, &client, &room).await;
                    let told = told(&mut peer).await;
                    assert_eq!(history(&mut peer, &room).await, told, "{client}");
                    let own = told.iter().filter_map(|id| id.strip_prefix(&format!("{client}.")));
                    let expected: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
                    assert_eq!(own.collect::<Vec<_>>(), expected, "{client}: not in its order");
                    told
                }
            });
            let told = futures::future::join_all(members).await;
            assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{room}: {told:#?}");
        })
    });
    for life in lives.collect::<Vec<_>>() {
        life.await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_lost_and_order_is_kept_under_one_supervisor_and_two() {
    for supervisors in [1, 2] {
        nothing_is_lost(supervisors, 2).await;
    }
}

/// As on a machine with one core.
#[tokio::test]
async fn nothing_is_lost_and_order_is_kept_on_one_thread() {
    nothing_is_lost(0, 1).await;
}

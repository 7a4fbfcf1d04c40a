//! The tables of spec §4.5, in both dialects: rooms and their members.

mod stage;
mod support;

use serde_json::{Value, json};

use stage::{ADMIN, APP, EXTENSION, OTHER, Stage, both, ok, only, refused, unauthorized};
use support::{Peer, auth};

const ROOM_NAMESPACES: [&str; 3] = ["/rooms", "/clients", "/auth"];

#[tokio::test]
async fn rooms_13_to_16_and_25() {
    for ns in ROOM_NAMESPACES {
        for at in [0, 1] {
            let mut stage = Stage::new();
            stage.peer(APP, "/llm", "number").await;
            stage.peer("app-b", "/llm", "number").await;
            let name = |number, name| only(both(number, name).swap_remove(at));
            let (create, delete) = (|| name(13, "CREATE_ROOM"), || name(14, "DELETE_ROOM"));
            let (add, remove) = (|| name(15, "ADD_CLIENT_TO_ROOM"), || name(16, "REMOVE_CLIENT_FROM_ROOM"));
            let members = || name(25, "GET_CLIENTS_IN_ROOM");
            let room = |name: &str| vec![json!({"roomName": name})];
            let of = |client: &str, room: &str| vec![json!({"clientId": client, "roomName": room})];
            // Dialect 2 leaves rooms to administrators, and makes whoever makes one its master.
            let maker = if at == 0 { EXTENSION } else { ADMIN };
            let list = |master: Option<&str>, ids: &[&str]| match at {
                0 => ids.iter().map(|id| json!({"id": id})).collect::<Value>(),
                _ => {
                    let shown =
                        |id: &str, role: &str| json!({"clientId": id, "clientType": "test", "role": role});
                    let guests = ids.iter().map(|id| shown(id, "guest"));
                    let clients = master.iter().map(|id| shown(id, "master")).chain(guests);
                    json!({"status": "ok", "clients": clients.collect::<Value>()})
                }
            };
            let unknown = if at == 0 { json!([]) } else { refused("Room not found") };
            let unnamed = if at == 0 { json!([]) } else { refused("Invalid room name") };
            let own = match at {
                0 => json!([{"id": APP}]),
                _ => list(Some(APP), &[]),
            };
            let rows = [
                (APP, create(), room("tea"), unauthorized()),
                (maker, create(), vec![], refused("Invalid room name")),
                (maker, create(), vec![json!("")], refused("Invalid room name")),
                (maker, create(), vec![json!("a\nb")], refused("Invalid room name")),
                (maker, create(), vec![json!({"roomName": 7})], refused("Invalid room name")),
                (maker, create(), room("tea"), ok()),
                (ADMIN, create(), vec![json!("coffee")], ok()),
                (ADMIN, create(), room("tea"), refused("Room already exists")),
                // The id of a client, whether it is here or not, and the monitor's room.
                (maker, create(), room(APP), refused("Room already exists")),
                (maker, create(), room(OTHER), refused("Room already exists")),
                (ADMIN, create(), vec![json!("frontendExample")], refused("Room already exists")),
                (ADMIN, create(), room("monitor-room"), refused("Room already exists")),
                (APP, add(), of(APP, "tea"), unauthorized()),
                (maker, add(), of("nobody", "tea"), refused("Failed to add client to room")),
                (maker, add(), of(APP, "milk"), refused("Failed to add client to room")),
                (maker, add(), room("tea"), refused("Failed to add client to room")),
                (maker, add(), vec![], refused("Failed to add client to room")),
                (maker, add(), of(APP, "tea"), ok()),
                (ADMIN, add(), of("app-b", "tea"), ok()),
                // Members, extensions and administrators see who is in it.
                (APP, members(), room("tea"), list(Some(ADMIN), &[APP, "app-b"])),
                (ADMIN, members(), vec![json!("tea")], list(Some(ADMIN), &[APP, "app-b"])),
                (maker, members(), room("coffee"), list(Some(ADMIN), &[])),
                (maker, members(), room("milk"), unknown),
                (maker, members(), vec![], unnamed),
                (APP, members(), room(APP), own),
                (APP, members(), room("coffee"), unauthorized()),
                (APP, members(), room("milk"), unauthorized()),
                (APP, members(), room(EXTENSION), unauthorized()),
                (APP, remove(), of("app-b", "tea"), unauthorized()),
                (APP, remove(), room("tea"), ok()),
                (APP, remove(), of(APP, "tea"), refused("Failed to remove client from room")),
                (APP, members(), room("tea"), unauthorized()),
                (maker, remove(), of("app-b", "tea"), ok()),
                (maker, remove(), of("app-b", "milk"), refused("Failed to remove client from room")),
                (ADMIN, remove(), vec![], refused("Failed to remove client from room")),
                // The creator, or an administrator; a personal room nobody.
                (APP, delete(), room("tea"), unauthorized()),
                (OTHER, delete(), room("tea"), unauthorized()),
                (maker, delete(), room(maker), unauthorized()),
                (maker, delete(), room("milk"), refused("Room not found")),
                (maker, delete(), vec![], refused("Room not found")),
                (maker, delete(), vec![json!("tea")], ok()),
                (maker, delete(), room("tea"), refused("Room not found")),
                (ADMIN, delete(), room("coffee"), ok()),
            ];
            stage.rows(ns, rows).await;
        }
    }
}

#[tokio::test]
async fn rooms_19_get_rooms() {
    for ns in ROOM_NAMESPACES {
        let mut stage = Stage::new();
        assert_eq!(stage.ask(EXTENSION, ns, &json!(13), &[json!("tea")]).await, ok());
        let named = |rooms: Value| json!({"status": "ok", "rooms": rooms});
        for (who, all, own) in [
            (EXTENSION, json!([EXTENSION, "tea"]), json!([EXTENSION])),
            (
                ADMIN,
                json!([EXTENSION, ADMIN, "monitor-room", "tea"]),
                json!([EXTENSION, ADMIN, "monitor-room", "tea"]),
            ),
        ] {
            for args in [vec![], vec![json!({})], vec![json!(null)]] {
                let plain = [only(19), only("getRooms")].concat();
                stage.rows(ns, [(who, plain, args.clone(), all.clone())]).await;
                stage.rows(ns, [(who, only("GET_ROOMS"), args, named(own.clone()))]).await;
            }
        }
        let plain = [only(19), only("getRooms")].concat();
        stage.rows(ns, [(APP, plain, vec![json!({})], unauthorized())]).await;
        stage.rows(ns, [(APP, only("GET_ROOMS"), vec![], named(json!([APP])))]).await;
    }
}

#[tokio::test]
async fn clients_in_a_room_by_their_literal_are_a_bare_array() {
    let mut stage = Stage::new();
    let mut app = Peer::connect_ws(&stage.broker).await;
    let mut handshake = auth(APP);
    handshake["desc"] = json!("the first");
    app.join("/llm", handshake).await;
    let names = || [only("getClientsInRoom"), only(25)].concat();
    let list = json!([{"id": APP, "description": "the first"}]);
    for ns in ROOM_NAMESPACES {
        let rows = [
            (ADMIN, names(), vec![json!(APP)], list.clone()),
            (ADMIN, names(), vec![json!({"roomName": APP})], list.clone()),
            (EXTENSION, names(), vec![json!("milk")], json!([])),
            ("app-b", names(), vec![json!(APP)], unauthorized()),
        ];
        stage.rows(ns, rows).await;
    }
    // Who is away within its grace is of a type that is not known.
    let room = json!({"roomName": "tea"});
    let member = json!({"clientId": APP, "roomName": "tea"});
    assert_eq!(stage.ask(ADMIN, "/rooms", &json!(13), std::slice::from_ref(&room)).await, ok());
    assert_eq!(stage.ask(ADMIN, "/rooms", &json!(15), &[member]).await, ok());
    let before = stage.broker.metric("newage_sockets");
    app.vanish().await;
    stage.broker.until_metric_is("newage_sockets", before - 1).await;
    let away = json!({
        "status": "ok",
        "clients": [{"clientId": APP, "clientType": "unknown", "role": "guest"}],
    });
    stage.rows("/rooms", [(ADMIN, only("GET_CLIENTS_IN_ROOM"), vec![room], away)]).await;
}

/// By number an extension may add, and gives nobody a role: not even itself, in a room of somebody else.
#[tokio::test]
async fn who_is_added_by_number_is_a_guest() {
    let mut stage = Stage::new();
    let mut app = Peer::connect_ws(&stage.broker).await;
    app.join("/llm", auth(APP)).await;
    for role in ["master", "manager", "no role"] {
        let member = json!({"clientId": EXTENSION, "roomName": APP, "role": role});
        assert_eq!(stage.ask(EXTENSION, "/rooms", &json!(15), &[member]).await, ok());
    }
    let list = stage.ask(ADMIN, "/rooms", &json!("GET_CLIENTS_IN_ROOM"), &[json!({"roomName": APP})]).await;
    let mut roles: Vec<_> = list["clients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| (&member["clientId"], &member["role"]))
        .collect();
    roles.sort_by_key(|(id, _)| id.to_string());
    let (extension, app_id, guest, master) = (json!(EXTENSION), json!(APP), json!("guest"), json!("master"));
    let mut expected = vec![(&extension, &guest), (&app_id, &master)];
    expected.sort_by_key(|(id, _)| id.to_string());
    assert_eq!(roles, expected);
}

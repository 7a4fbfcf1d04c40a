//! Rooms of dialect 2 (spec §4.9.1–§4.9.3), row by row: who asks what, the ack, and who is told what.

mod room_world;
mod support;

use serde_json::{Value, json};

use room_world::{
    ADMIN, EXTENSION, LLM, ROOMS, World, everybody, joined, left, named, note, ok, refused, role_changed,
    status, tea,
};
use support::Broker;

const MASTER: &str = "app-a";
const MANAGER: &str = "app-b";
const GUEST: &str = "frontendExample";
const OUTSIDER: &str = "app-c";

async fn world() -> World {
    let mut world = World::full(Broker::setup()).await;
    world.comes(OUTSIDER).await;
    world
}

#[tokio::test]
async fn get_rooms_and_clients_in_room() {
    let mut world = world().await;
    let rooms = |rooms: Value| json!({"status": "ok", "rooms": rooms});
    for (who, list) in [
        (ADMIN, json!([EXTENSION, MASTER, MANAGER, OUTSIDER, GUEST, ADMIN, "monitor-room", "tea"])),
        (MASTER, json!([MASTER, "tea"])),
        (OUTSIDER, json!([OUTSIDER])),
    ] {
        world.row(who, "GET_ROOMS", json!({}), rooms(list), json!({})).await;
    }
    let member = |who: &str, role: &str| json!({"clientId": who, "clientType": "test", "role": role});
    let list = json!({"status": "ok", "clients": [
        member(MASTER, "master"), member(MANAGER, "manager"), member(GUEST, "guest"),
    ]});
    for who in [ADMIN, MASTER, MANAGER, GUEST] {
        world.row(who, "GET_CLIENTS_IN_ROOM", tea(json!({})), list.clone(), json!({})).await;
    }
    world.refuses(OUTSIDER, "GET_CLIENTS_IN_ROOM", tea(json!({})), "Unauthorized").await;
    world.refuses(ADMIN, "GET_CLIENTS_IN_ROOM", json!({"roomName": "milk"}), "Room not found").await;
    world.refuses(ADMIN, "GET_CLIENTS_IN_ROOM", json!({"roomName": ""}), "Invalid room name").await;
    world.refuses(ADMIN, "GET_CLIENTS_IN_ROOM", json!({}), "Invalid room name").await;
}

/// `roomName` is honoured, and the caller is its master.
#[tokio::test]
async fn create_and_delete_room() {
    let mut world = world().await;
    let milk = || json!({"roomName": "milk"});
    for who in [MASTER, OUTSIDER] {
        world.refuses(who, "CREATE_ROOM", milk(), "Unauthorized").await;
    }
    world.row(ADMIN, "CREATE_ROOM", milk(), ok(), json!({})).await;
    let list =
        json!({"status": "ok", "clients": [{"clientId": ADMIN, "clientType": "test", "role": "master"}]});
    world.row(ADMIN, "GET_CLIENTS_IN_ROOM", milk(), list, json!({})).await;
    world.refuses(ADMIN, "CREATE_ROOM", milk(), "Room already exists").await;
    world.refuses(ADMIN, "CREATE_ROOM", json!({"roomName": OUTSIDER}), "Room already exists").await;
    for who in [MASTER, GUEST, OUTSIDER] {
        world.refuses(who, "DELETE_ROOM", tea(json!({})), "Unauthorized").await;
    }
    world.refuses(ADMIN, "DELETE_ROOM", json!({"roomName": "juice"}), "Room not found").await;
    // Nobody's own room, while it is here.
    world.refuses(ADMIN, "DELETE_ROOM", json!({"roomName": OUTSIDER}), "Unauthorized").await;
    let deleted = json!([ROOMS, "DELETE_ROOM", {"roomName": "tea", "message": "Room tea has been deleted."}]);
    world.row(ADMIN, "DELETE_ROOM", tea(json!({})), ok(), everybody(&[deleted])).await;
    world.refuses(ADMIN, "DELETE_ROOM", tea(json!({})), "Room not found").await;
    world.row(MASTER, "GET_ROOMS", json!({}), json!({"status": "ok", "rooms": [MASTER]}), json!({})).await;
}

#[tokio::test]
async fn add_and_remove_client() {
    const NOT_ADDED: &str = "Failed to add client to room";
    const NOT_REMOVED: &str = "Failed to remove client from room";
    let mut world = world().await;
    for who in [MASTER, OUTSIDER] {
        world.refuses(who, "ADD_CLIENT_TO_ROOM", tea(json!({"identity": OUTSIDER})), "Unauthorized").await;
    }
    for payload in [
        tea(json!({"identity": "nobody"})),
        tea(json!({})),
        tea(json!({"identity": OUTSIDER, "role": "moderator"})),
        json!({"identity": OUTSIDER, "roomName": "milk"}),
        json!({"identity": OUTSIDER}),
    ] {
        world.refuses(ADMIN, "ADD_CLIENT_TO_ROOM", payload, NOT_ADDED).await;
    }
    // `identity`, or `clientId` as the documents have it.
    for (at, field) in ["identity", "clientId"].into_iter().enumerate() {
        let role = if at == 0 { "guest" } else { "manager" };
        let mut payload = tea(json!({}));
        payload[field] = json!(OUTSIDER);
        if at > 0 {
            payload["role"] = json!(role);
        }
        let news = note("tea", "app-c joined the room.");
        let (join, change) = (joined("tea", OUTSIDER, role), role_changed("tea", OUTSIDER, role));
        let mut told = json!({
            EXTENSION: [news],
            MASTER: [news, join, change],
            MANAGER: [news, join, change],
            GUEST: [news],
            OUTSIDER: [news, change],
        });
        if role == "manager" {
            told[OUTSIDER] = json!([news, join, change]);
        }
        world.row(ADMIN, "ADD_CLIENT_TO_ROOM", payload.clone(), ok(), told).await;
        // Once more is no news.
        world.row(ADMIN, "ADD_CLIENT_TO_ROOM", payload, ok(), json!({})).await;
        let news = note("tea", "app-c left the room.");
        let leave = left("tea", OUTSIDER);
        let told = json!({EXTENSION: [news], MASTER: [news, leave], MANAGER: [news, leave], GUEST: [news]});
        let by = if at == 0 { ADMIN } else { OUTSIDER };
        let payload = tea(json!({"identity": OUTSIDER}));
        world.refuses(GUEST, "REMOVE_CLIENT_FROM_ROOM", payload.clone(), "Unauthorized").await;
        world.row(by, "REMOVE_CLIENT_FROM_ROOM", payload.clone(), ok(), told).await;
        world.refuses(ADMIN, "REMOVE_CLIENT_FROM_ROOM", payload, NOT_REMOVED).await;
    }
    world
        .refuses(
            ADMIN,
            "REMOVE_CLIENT_FROM_ROOM",
            json!({"identity": GUEST, "roomName": "milk"}),
            NOT_REMOVED,
        )
        .await;
    // One's own personal room.
    let own = json!({"identity": GUEST, "roomName": GUEST});
    for who in [GUEST, ADMIN] {
        world.refuses(who, "REMOVE_CLIENT_FROM_ROOM", own.clone(), "Invalid operation").await;
    }
}

/// The oldest manager inherits, or else the oldest guest (Q16).
#[tokio::test]
async fn a_master_that_leaves_is_succeeded() {
    let mut world = world().await;
    world.does(ADMIN, "ADD_CLIENT_TO_ROOM", tea(json!({"identity": OUTSIDER}))).await;
    world.quiet().await;
    let news = note("tea", "app-a left the room.");
    let told = json!({
        EXTENSION: [news],
        MANAGER: [news, left("tea", MASTER), role_changed("tea", MANAGER, "master")],
        GUEST: [news],
        OUTSIDER: [news],
    });
    world.row(MASTER, "REMOVE_CLIENT_FROM_ROOM", tea(json!({"identity": MASTER})), ok(), told).await;
    let news = note("tea", "app-b left the room.");
    let told = json!({
        EXTENSION: [news],
        GUEST: [news, left("tea", MANAGER), role_changed("tea", GUEST, "master")],
        OUTSIDER: [news],
    });
    world.row(MANAGER, "REMOVE_CLIENT_FROM_ROOM", tea(json!({"identity": MANAGER})), ok(), told).await;
}

#[tokio::test]
async fn set_member_role() {
    const FAILED: &str = "Failed to set member role";
    let mut world = world().await;
    let set = |who: &str, role: &str| tea(json!({"targetIdentity": who, "role": role}));
    for (who, payload, message) in [
        (MASTER, set(GUEST, "king"), "Invalid role"),
        (MASTER, set(GUEST, "special"), "Invalid role"),
        (MASTER, tea(json!({"targetIdentity": GUEST})), "Invalid role"),
        (MASTER, set(OUTSIDER, "manager"), FAILED),
        (MASTER, tea(json!({"role": "guest"})), FAILED),
        (MASTER, json!({"roomName": "milk", "targetIdentity": GUEST, "role": "guest"}), FAILED),
        (MASTER, json!({"targetIdentity": GUEST, "role": "guest"}), FAILED),
        (MANAGER, set(GUEST, "manager"), FAILED),
        (GUEST, set(GUEST, "master"), FAILED),
        (OUTSIDER, set(GUEST, "manager"), FAILED),
    ] {
        world.refuses(who, "SET_MEMBER_ROLE", payload, message).await;
    }
    let change = role_changed("tea", GUEST, "manager");
    let told = everybody(&[change]);
    world.row(MASTER, "SET_MEMBER_ROLE", set(GUEST, "manager"), ok(), told).await;
    world.row(MASTER, "SET_MEMBER_ROLE", set(GUEST, "manager"), ok(), json!({})).await;
    // As the documents spell it, by an administrator; a new master demotes the old one.
    let payload = tea(json!({"targetClientId": MANAGER, "role": "master"}));
    let told = everybody(&[role_changed("tea", MANAGER, "master"), role_changed("tea", MASTER, "manager")]);
    world.row(ADMIN, "SET_MEMBER_ROLE", payload, ok(), told).await;
    world.refuses(MASTER, "SET_MEMBER_ROLE", set(GUEST, "guest"), FAILED).await;
}

#[tokio::test]
async fn kick_member() {
    const FAILED: &str = "Failed to kick member";
    let mut world = world().await;
    world.does(ADMIN, "ADD_CLIENT_TO_ROOM", tea(json!({"identity": OUTSIDER}))).await;
    world.quiet().await;
    let kick = |who: &str| tea(json!({"targetIdentity": who}));
    for (who, payload) in [
        (GUEST, kick(OUTSIDER)),
        (MANAGER, kick(MASTER)),
        (MANAGER, kick(MANAGER)),
        (MASTER, kick("nobody")),
        (MASTER, tea(json!({}))),
        (MASTER, json!({"roomName": "milk", "targetIdentity": GUEST})),
        (ADMIN, json!({"roomName": GUEST, "targetIdentity": GUEST})),
    ] {
        world.refuses(who, "KICK_MEMBER", payload, FAILED).await;
    }
    let warning = json!([ROOMS, "WARNING", {"message": "You have been kicked from room tea."}]);
    let (news, leave) = (note("tea", "app-c left the room."), left("tea", OUTSIDER));
    let told = json!({
        EXTENSION: [news], MASTER: [news, leave], MANAGER: [news, leave], GUEST: [news], OUTSIDER: [warning],
    });
    world.row(MANAGER, "KICK_MEMBER", kick(OUTSIDER), ok(), told).await;
    let (news, leave) = (note("tea", "frontendExample left the room."), left("tea", GUEST));
    let told = json!({EXTENSION: [news], MASTER: [news, leave], MANAGER: [news, leave], GUEST: [warning]});
    world.row(ADMIN, "KICK_MEMBER", tea(json!({"targetClientId": GUEST})), ok(), told).await;
    world.refuses(GUEST, "GET_CLIENTS_IN_ROOM", tea(json!({})), "Unauthorized").await;
}

#[tokio::test]
async fn mute_and_unmute_member() {
    let mut world = world().await;
    let of = |who: &str| tea(json!({"targetIdentity": who}));
    for event in ["MUTE_MEMBER", "UNMUTE_MEMBER"] {
        for (who, payload, message) in [
            (GUEST, of(MANAGER), "Permission denied."),
            (OUTSIDER, of(GUEST), "Permission denied."),
            (MANAGER, of(MASTER), "Permission denied."),
            (MASTER, of("nobody"), "Member not found"),
            (MASTER, of(OUTSIDER), "Member not found"),
            (MASTER, of("SillyTavern-made-up"), "Member not found"),
            (MASTER, tea(json!({})), "Member not found"),
            (MASTER, json!({"roomName": "milk", "targetIdentity": GUEST}), "Member not found"),
        ] {
            world.refuses(who, event, payload, message).await;
        }
    }
    const NEVER: &str = "9999-12-31T23:59:59.999Z";
    for (field, duration, until, shown, text) in [
        ("targetIdentity", json!(0), NEVER, json!("permanent"), "frontendExample was muted by app-b."),
        ("targetClientId", json!(-1), NEVER, json!("permanent"), "frontendExample was muted by app-b."),
        (
            "targetIdentity",
            json!(60),
            "<time>",
            json!(60),
            "frontendExample was muted by app-b for 60 seconds.",
        ),
    ] {
        let mut payload = tea(json!({"duration": duration}));
        payload[field] = json!(GUEST);
        let muted = json!({
            "identity": GUEST, "mutedBy": MANAGER, "mutedUntil": until, "duration": shown, "roomName": "tea",
        });
        let (news, state) = (note("tea", text), status("tea", GUEST, "muted"));
        let mut told = everybody(&[news.clone(), state.clone()]);
        told[EXTENSION] = json!([news, state]);
        told[GUEST] = json!([[ROOMS, "MEMBER_MUTED", muted], [LLM, "MEMBER_MUTED", muted], news, state]);
        let ack = json!({"status": "ok", "mutedUntil": until});
        world.row(MANAGER, "MUTE_MEMBER", payload, ack, told).await;
    }
    // Also who is not muted.
    for _ in 0..2 {
        let unmuted = json!({"identity": GUEST, "unmutedBy": MASTER, "roomName": "tea"});
        let (news, state) =
            (note("tea", "frontendExample was unmuted by app-a."), status("tea", GUEST, "idle"));
        let mut told = everybody(&[news.clone(), state.clone()]);
        told[EXTENSION] = json!([news, state]);
        told[GUEST] =
            json!([[ROOMS, "MEMBER_UNMUTED", unmuted], [LLM, "MEMBER_UNMUTED", unmuted], news, state]);
        world.row(MASTER, "UNMUTE_MEMBER", of(GUEST), ok(), told).await;
    }
}

#[tokio::test]
async fn set_room_message_request_mode() {
    const EVENT: &str = "SET_ROOM_MESSAGE_REQUEST_MODE";
    const MISSING: &str = "roomName and mode are required.";
    const INVALID: &str =
        "Invalid mode specified. Valid modes are: Immediate, HostSubmit, MasterOnly, Conversational";
    const DENIED: &str = "Permission denied. Only room master/manager or admin can set the mode.";
    let mut world = world().await;
    for (who, payload, message) in [
        (MASTER, json!({}), MISSING),
        (MASTER, tea(json!({})), MISSING),
        (MASTER, json!({"mode": "Immediate"}), MISSING),
        (MASTER, tea(json!({"mode": "immediate"})), INVALID),
        (MASTER, tea(json!({"mode": "Default"})), INVALID),
        (MASTER, json!({"roomName": "milk", "mode": "Immediate"}), "Room milk not found."),
        (GUEST, tea(json!({"mode": "Immediate"})), DENIED),
        (OUTSIDER, tea(json!({"mode": "Immediate"})), DENIED),
    ] {
        world.refuses(who, EVENT, payload, message).await;
    }
    let modes =
        [(MASTER, "HostSubmit"), (MANAGER, "MasterOnly"), (ADMIN, "Conversational"), (MASTER, "Immediate")];
    for (who, mode) in modes {
        let told = everybody(&[
            json!([ROOMS, "ROOM_MODE_CHANGED", {"roomName": "tea", "mode": mode, "setter": who}]),
        ]);
        world.row(who, EVENT, tea(json!({"mode": mode})), ok(), told).await;
    }
}

/// The former global mode: what rooms begin with that are made from now on, with its old names.
#[tokio::test]
async fn set_message_request_mode() {
    const EVENT: &str = "SET_MESSAGE_REQUEST_MODE";
    let mut world = world().await;
    world.refuses(MASTER, EVENT, json!({"mode": "MasterOnly"}), "Unauthorized").await;
    let invalid =
        "Invalid mode specified. Valid modes are: Immediate, HostSubmit, MasterOnly, Conversational";
    world.refuses(ADMIN, EVENT, json!({"mode": "x"}), invalid).await;
    for (at, (given, mode)) in
        [("Default", "HostSubmit"), ("Separate", "Immediate"), ("MasterOnly", "MasterOnly")]
            .into_iter()
            .enumerate()
    {
        world.row(ADMIN, EVENT, json!({"mode": given}), ok(), json!({})).await;
        let file =
            std::fs::read_to_string(world.broker.data().join("settings/server_settings.json")).unwrap();
        let file: Value = serde_json::from_str(&file).unwrap();
        assert_eq!(file["defaultRoomMessageRequestMode"], mode);
        // A guest's request shows it: who is told that it is forwarded.
        let room = format!("room-{at}");
        world.does(ADMIN, "CREATE_ROOM", json!({"roomName": room})).await;
        world.does(ADMIN, "ADD_CLIENT_TO_ROOM", json!({"roomName": room, "identity": GUEST})).await;
        world.quiet().await;
        let request = json!({"requestId": room, "targetRoom": room, "target": EXTENSION, "message": "hi"});
        world.does(GUEST, "LLM_REQUEST", request).await;
        let heard = world.heard().await;
        let events = heard[EXTENSION].as_array().unwrap();
        assert_eq!(events.iter().any(|event| event[1] == "LLM_REQUEST"), mode == "Immediate", "{mode}");
    }
}

#[tokio::test]
async fn instances_of_one_client_are_members_of_their_own() {
    let mut world = world().await;
    for identity in ["app-c-1", "app-c-2"] {
        let mut handshake = named("app-c");
        handshake["identity"] = json!(identity);
        world.comes_with(identity, handshake).await;
        world.does(ADMIN, "ADD_CLIENT_TO_ROOM", tea(json!({"identity": identity}))).await;
    }
    let rooms = json!({"status": "ok", "rooms": ["app-c-1", "tea"]});
    assert_eq!(world.ask("app-c-1", "GET_ROOMS", json!({})).await, rooms);
    world.quiet().await;
    world.does("app-c-1", "REMOVE_CLIENT_FROM_ROOM", tea(json!({"identity": "app-c-1"}))).await;
    let heard = world.heard().await;
    assert_eq!(heard["app-c-2"], json!([note("tea", "app-c-1 left the room.")]));
    assert_eq!(heard.get("app-c-1"), None);
    let gone = refused("Unauthorized");
    assert_eq!(world.ask("app-c-1", "GET_CLIENTS_IN_ROOM", tea(json!({}))).await, gone);
}

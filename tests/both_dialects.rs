//! What both dialects have, asked in each of them where no table of events does: handshakes, keys and logins
//! (spec §4.2), requests and their failures (§4.4), calls of functions (§4.7).

mod llm_world;
mod support;

use newage_broker::config::{Config, KeyPolicy, Policy};
use serde_json::{Value, json};

use llm_world::{App, EXTENSION, LLM, answer, refused};
use support::{Broker, Frame, Opening, Peer, key};

/// The number and the name of an event, for sockets that have declared the one or the other.
#[derive(Clone, Copy)]
struct Dialect(u8);

const DIALECTS: [Dialect; 2] = [Dialect(1), Dialect(2)];

impl Dialect {
    fn event(self, number: u32, name: &str) -> Value {
        if self.0 == 1 { json!(number) } else { json!(name) }
    }

    fn error(self) -> Value {
        self.event(21, "ERROR")
    }

    fn handshake(self, client: &str) -> Value {
        json!({"clientId": client, "clientType": "test", "dialect": self.0})
    }

    fn with_key(self, client: &str, key: &str) -> Value {
        let mut handshake = self.handshake(client);
        handshake["key"] = json!(key);
        handshake
    }

    async fn app(self, broker: &Broker, client: &str) -> App {
        let mut handshake = self.handshake(client);
        handshake["streamEvent"] = json!("streamed_data");
        App::join_as(broker, handshake).await
    }

    async fn peer(self, broker: &Broker, ns: &str, client: &str) -> Peer {
        let mut peer = Peer::connect_ws(broker).await;
        peer.join(ns, self.handshake(client)).await;
        peer
    }

    /// An extension, and an app that asks it.
    async fn pair(self, change: impl FnOnce(&mut Config)) -> (Broker, App, App) {
        let broker = Broker::start(change);
        let extension = self.app(&broker, EXTENSION).await;
        let app = self.app(&broker, "app-a").await;
        (broker, extension, app)
    }

    fn request(self) -> Value {
        self.event(9, "LLM_REQUEST")
    }
}

fn asked(request: &str) -> Value {
    json!({"target": EXTENSION, "requestId": request, "message": "hi"})
}

/// Reads until an event of that name has come: its payload. A member of a room hears more than that.
async fn until(app: &mut App, name: &Value) -> Value {
    loop {
        let event = app.event().await;
        if event.name == *name {
            return event.payload().clone();
        }
    }
}

fn unsafe_broker(change: impl FnOnce(&mut Config)) -> Broker {
    Broker::setup().settings(json!({"networkSafe": false})).password("app-a", "pass-a").start(change)
}

/// A peer that is not on loopback.
async fn from_afar(broker: &Broker) -> Peer {
    Opening::new().header("x-forwarded-for", "192.0.2.1").ws(broker).await.unwrap()
}

// --- §4.1, §4.2 ------------------------------------------------------------------------------------

#[tokio::test]
async fn a_handshake_is_answered_in_the_words_of_its_dialect() {
    const NAMESPACES: [&str; 8] =
        ["/", "/auth", "/clients", "/llm", "/rooms", "/sillytavern", "/function_call", "/debug"];
    let broker = unsafe_broker(|config| config.trust.failed_checks_per_minute = 100);
    let mut peer = Peer::connect_ws(&broker).await;
    for dialect in DIALECTS {
        for ns in NAMESPACES {
            for (client, client_key, message) in [
                (json!(""), "", "clientId is required."),
                (json!(null), "", "clientId is required."),
                (json!("nobody"), "", "Client is not trusted."),
                (json!("app-a"), "wrong", "Invalid key."),
            ] {
                let mut handshake = dialect.with_key("", client_key);
                handshake["clientId"] = client;
                let prefix = if ns == "/" { String::new() } else { format!("{ns},") };
                peer.send_text(&format!("40{prefix}{handshake}")).await;
                let wanted = json!({"type": dialect.error(), "message": message});
                assert_eq!(peer.expect_rejection(ns).await, wanted, "{ns} {handshake}");
            }
        }
        for ns in NAMESPACES {
            let mut extension = Peer::connect_ws(&broker).await;
            extension.join(ns, dialect.with_key(EXTENSION, &key(EXTENSION))).await;
            extension.emit(ns, dialect.event(27, "CLIENT_DISCONNECTED"), &[]).await;
            let end = if ns == "/" { "41".to_owned() } else { format!("41{ns},") };
            extension.wait_for(&end, |packet| packet == end).await;
        }
        // Whom `/debug` does not serve.
        peer.send_text(&format!("40/debug,{}", dialect.with_key("app-a", &key("app-a")))).await;
        let wanted = json!({"type": dialect.error(), "message": "Unauthorized"});
        assert_eq!(peer.expect_rejection("/debug").await, wanted);
    }
}

/// 26, 20 (dialect 1 alone) and 28 / `GET_CLIENT_KEY` and `CLIENT_KEY_ASSIGNED`.
#[tokio::test]
async fn a_password_in_the_handshake_is_answered_in_both_dialects() {
    for dialect in DIALECTS {
        let broker = unsafe_broker(|_| ());
        let assigned = dialect.event(28, "CLIENT_KEY_ASSIGNED");
        let mut handshake = dialect.with_key("app-a", "getKey");
        handshake["password"] = json!("wrong");
        let mut peer = from_afar(&broker).await;
        peer.join("/auth", handshake.clone()).await;
        let failure = json!({"success": false, "message": "Incorrect password."});
        assert_eq!(peer.expect_event("/auth").await, (assigned.clone(), vec![failure]));

        handshake["password"] = json!("pass-a");
        let mut peer = from_afar(&broker).await;
        peer.join("/auth", handshake).await;
        let (name, args) = peer.expect_event("/auth").await;
        let pushed = dialect.event(26, "GET_CLIENT_KEY");
        let own = args[0]["key"].clone();
        assert_eq!(
            (&name, &args),
            (&pushed, &vec![json!({"type": pushed, "key": own, "clientId": "app-a"})])
        );
        if dialect.0 == 1 {
            assert_eq!(peer.expect_event("/auth").await, (json!(20), vec![json!({"Key": own})]));
        }
        let success = json!({"success": true, "key": own});
        assert_eq!(peer.expect_event("/auth").await, (assigned, vec![success]));
    }
}

/// `TEMP_ROOM_ASSIGNED` is a name in both dialects.
#[tokio::test]
async fn an_invalid_key_leads_to_a_temp_room_in_both_dialects() {
    for dialect in DIALECTS {
        let broker = unsafe_broker(|config| config.trust.invalid_key_policy = KeyPolicy::TempRoom);
        let mut peer = Peer::connect_ws(&broker).await;
        peer.join("/auth", dialect.with_key("app-a", "wrong")).await;
        let room = json!({"roomId": "temp_app-a"});
        assert_eq!(peer.expect_event("/auth").await, (json!("TEMP_ROOM_ASSIGNED"), vec![room]));
        let list = dialect.event(33, "GET_SILLYTAVERN_EXTENSION");
        assert_eq!(peer.emit_with_ack("/auth", list, json!({})).await, refused("Unauthorized"));
        let login = dialect.event(23, "LOGIN");
        let ack =
            peer.emit_with_ack("/auth", login, json!({"clientId": "app-a", "password": "pass-a"})).await;
        assert_eq!(ack, json!({"success": true}));
    }
}

/// 23 / `LOGIN` while every place for a hash is taken.
#[tokio::test]
async fn a_login_that_cannot_be_served_says_so_in_both_dialects() {
    for dialect in DIALECTS {
        let broker = Broker::setup()
            .settings(json!({"networkSafe": false}))
            .password("app-a", "pass-a")
            .costly_key("app-b", 12)
            .start(|config| {
                config.trust.max_concurrent_hashes = 1;
                config.trust.max_waiting_hashes = 0;
                config.session.question_timeout = 120_000;
            });
        let mut peer = Peer::open_polling(&broker).await;
        peer.join("/auth", dialect.handshake("app-a")).await;
        // One hash at a time. This one takes long, and what comes with it in one POST is asked right behind it.
        let login = json!([dialect.event(23, "LOGIN"), {"clientId": "app-a", "password": "pass-a"}]);
        let connect = format!("40/llm,{}", dialect.with_key("app-b", &key("app-b")));
        peer.send_all(&[Frame::Text(connect), Frame::Text(format!("42/auth,100{login}"))]).await;
        let ack = peer.expect_ack("/auth", 100).await;
        assert_eq!(ack, json!({"success": false, "message": "Server error during login.", "code": "busy"}));
    }
}

// --- §4.4 ------------------------------------------------------------------------------------------

/// 9 / `LLM_REQUEST` where a client may ask those extensions only in whose rooms it is (spec §5.2): a room of
/// dialect 2 is no way around.
#[tokio::test]
async fn the_policy_of_rooms_holds_in_both_dialects() {
    for dialect in DIALECTS {
        let (broker, mut extension, mut app) = dialect.pair(|config| config.llm.policy = Policy::Rooms).await;
        let mut rooms = Dialect(1).peer(&broker, "/rooms", EXTENSION).await;
        let denied = |target: &str| {
            refused(&format!("Client app-a is not allowed to send messages to room {target}."))
        };
        let mut unnamed = asked("r");
        unnamed.as_object_mut().unwrap().remove("target");
        let mut absent = asked("r");
        absent["target"] = json!("SillyTavern-8001");
        let mut payloads = vec![(asked("r"), EXTENSION), (absent, "SillyTavern-8001")];
        if dialect.0 == 2 {
            // The only extension is meant.
            payloads.push((unnamed, EXTENSION));
        }
        for (payload, target) in payloads {
            assert_eq!(app.ask_as(dialect.request(), payload.clone()).await, denied(target), "{payload}");
        }
        let member = json!({"clientId": "app-a", "roomName": EXTENSION});
        assert_eq!(rooms.emit_with_ack("/rooms", json!(15), member.clone()).await, json!({"status": "ok"}));
        assert_eq!(app.ask_as(dialect.request(), asked("r")).await["status"], "ok");
        assert_eq!(until(&mut extension, &dialect.request()).await["requestId"], "r");
        assert_eq!(rooms.emit_with_ack("/rooms", json!(16), member).await, json!({"status": "ok"}));
        assert_eq!(app.ask_as(dialect.request(), asked("r2")).await, denied(EXTENSION));
    }
}

#[tokio::test]
async fn pending_requests_are_bounded_in_both_dialects() {
    for dialect in DIALECTS {
        let (broker, _extension, mut app) = dialect.pair(|config| config.llm.pending_per_client = 1).await;
        assert_eq!(app.ask_as(dialect.request(), asked("r1")).await["status"], "ok");
        let ack = app.ask_as(dialect.request(), asked("r2")).await;
        assert_eq!(ack, refused("Too many pending requests."));
        let mut other = dialect.app(&broker, "app-b").await;
        let ack = other.ask_as(dialect.request(), asked("r1")).await;
        assert_eq!(ack, refused("Duplicate requestId."));
    }
}

#[tokio::test]
async fn a_health_check_is_answered_in_both_dialects() {
    for dialect in DIALECTS {
        let (_broker, mut extension, mut app) = dialect.pair(|_| ()).await;
        let question = json!({"type": 0, "data": "Connection active?", "source": "client", "requestId": "h"});
        for asker in [&mut extension, &mut app] {
            asker.emit("message", &question).await;
            let mut got = until(asker, &json!("message")).await;
            assert_eq!(got["outputId"].take().as_str().map(str::len), Some(36));
            got["outputId"] = json!("new");
            assert_eq!(got, answer("Yes,connection is fine.", "h", "new"));
        }
    }
}

/// Streams (§5.3–§5.5) and a `message`, from an extension of each dialect to an app of each.
#[tokio::test]
async fn answers_cross_from_each_dialect_into_each() {
    for (from, to) in [(1, 1), (1, 2), (2, 1), (2, 2)].map(|(from, to)| (Dialect(from), Dialect(to))) {
        let broker = Broker::start(|_| ());
        let mut extension = from.app(&broker, EXTENSION).await;
        let mut app = to.app(&broker, "app-a").await;
        for request in ["r1", "r2"] {
            assert_eq!(app.ask_as(to.request(), asked(request)).await["status"], "ok");
            assert_eq!(until(&mut extension, &from.request()).await["requestId"], request);
        }
        extension.tokens(Some("r1"), "o1", &["Hello", " there 😀"]).await;
        app.reads("Hello there 😀").await;
        let info = json!({"streamId": "o1-0", "outputId": "o1", "requestId": "r1", "source": "server"});
        assert_eq!(app.streams[0].info, info);
        extension.answers(Some("r2"), "o2", "whole").await;
        assert_eq!(until(&mut app, &json!("message")).await, answer("whole", "r2", "o2"));
    }
}

/// 21 / `ERROR` of the extension, of the broker when nothing comes, and of the broker when it is gone.
#[tokio::test]
async fn failures_are_told_in_both_dialects() {
    for (from, to) in [(1, 1), (1, 2), (2, 1), (2, 2)].map(|(from, to)| (Dialect(from), Dialect(to))) {
        let broker =
            Broker::setup().settings(json!({"reconnectAttempts": 1, "reconnectDelay": 50})).start(|_| ());
        let mut extension = from.app(&broker, EXTENSION).await;
        let mut app = to.app(&broker, "app-a").await;
        for request in ["r1", "r2"] {
            assert_eq!(app.ask_as(to.request(), asked(request)).await["status"], "ok");
        }
        let error = |message: &str, request: &str| json!({"type": to.error(), "message": message, "requestId": request});
        let failure = json!({
            "type": from.error(), "message": "out of tokens", "error": {"code": 1.5}, "requestId": "r1",
        });
        extension.peer.emit(LLM, from.error(), &[failure]).await;
        let mut relayed = error("out of tokens", "r1");
        relayed["error"] = json!({"code": 1.5});
        assert_eq!(until(&mut app, &to.error()).await, relayed);
        extension.peer.vanish().await;
        let gone = error("Target client disconnected: SillyTavern-8000", "r2");
        assert_eq!(until(&mut app, &to.error()).await, gone);
    }
    for dialect in DIALECTS {
        let (_broker, _extension, mut app) = dialect.pair(|config| config.llm.request_timeout = 0.2).await;
        assert_eq!(app.ask_as(dialect.request(), asked("r")).await["status"], "ok");
        let late = json!({"type": dialect.error(), "message": "LLM request timed out.", "requestId": "r"});
        assert_eq!(until(&mut app, &dialect.error()).await, late);
    }
}

// --- §4.7 ------------------------------------------------------------------------------------------

/// 22 / `FUNCTION_CALL` from a client of each dialect to an extension of each.
#[tokio::test]
async fn functions_are_called_from_each_dialect_in_each() {
    const FUNCTIONS: &str = "/function_call";
    for (from, to) in [(1, 1), (1, 2), (2, 1), (2, 2)].map(|(from, to)| (Dialect(from), Dialect(to))) {
        let broker = Broker::start(|_| ());
        let mut extension = to.peer(&broker, FUNCTIONS, EXTENSION).await;
        let mut app = from.peer(&broker, FUNCTIONS, "app-a").await;
        let (asks, gets) = (from.event(22, "FUNCTION_CALL"), to.event(22, "FUNCTION_CALL"));
        let mut call = json!({"requestId": "f", "functionName": "own", "args": [1], "target": EXTENSION});
        let failed =
            |message: &str| json!({"requestId": "f", "success": false, "error": {"message": message}});

        let ack = app.begin_ack(FUNCTIONS, asks.clone(), std::slice::from_ref(&call)).await;
        let head = format!("42/function_call,0[{gets},");
        let rest = extension.expect_prefix(&head).await;
        let got: Value = serde_json::from_str(&rest[..rest.len() - 1]).expect("JSON");
        let mut wanted = call.clone();
        wanted["clientId"] = json!("app-a");
        wanted["source"] = json!("app-a");
        assert_eq!(got, wanted);
        let answer = json!({"requestId": "f", "success": true, "result": [1.5]});
        extension.send_text(&format!("43/function_call,0[{answer}]")).await;
        assert_eq!(app.expect_ack(FUNCTIONS, ack).await, answer);

        // One that leaves answers no more.
        let ack = app.begin_ack(FUNCTIONS, asks.clone(), std::slice::from_ref(&call)).await;
        extension.expect_prefix(&format!("42/function_call,1[{gets},")).await;
        extension.vanish().await;
        assert_eq!(app.expect_ack(FUNCTIONS, ack).await, failed("Function call timed out."));
        call["target"] = json!("server");
        call["functionName"] = json!("readJsonFromFile");
        call["args"] = json!(["keys/clients.json"]);
        let ack = app.emit_with_ack(FUNCTIONS, asks, call).await;
        assert_eq!(ack, failed("Access denied: File is restricted."));
    }
}

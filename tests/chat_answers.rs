//! Streamed answers in rooms (spec §4.9.4, §5.7–§5.9): to everybody in the room, once into its history,
//! whoever comes, goes, lags or is away meanwhile.

mod llm_world;
mod room_world;
mod support;

use newage_broker::config::Config;
use serde_json::{Value, json};

use llm_world::App;
use room_world::{ADMIN, EXTENSION, ROOMS, World, named};
use support::{Broker, Frame, Peer, Setup};

const GUEST: &str = "frontendExample";

/// An administrator's "tea" with these members, each with a stream reader on `/llm`.
struct Tea {
    world: World,
    extension: App,
    members: Vec<App>,
}

impl Tea {
    async fn with(setup: Setup, members: &[&str]) -> Self {
        Self::with_idle(setup, members, 300.0).await
    }

    /// An answer of which nothing comes for so many seconds is complete.
    async fn with_idle(setup: Setup, members: &[&str], idle: f64) -> Self {
        Self::of(setup, members, |config| config.llm.request_idle_timeout = idle).await
    }

    async fn of(setup: Setup, members: &[&str], change: impl FnOnce(&mut Config)) -> Self {
        let setup = setup.client(json!({"clientId": "app-c", "isTrust": true}));
        let mut world = World::of(setup, |config| {
            config.llm.request_idle_timeout = 300.0;
            change(config);
        })
        .await;
        world.extension(EXTENSION).await;
        let extension = App::over(world.peers.remove(EXTENSION).unwrap());
        let mut tea = Self { world, extension, members: Vec::new() };
        for who in members {
            let app = tea.comes(who).await;
            tea.members.push(app);
        }
        tea
    }

    async fn comes(&mut self, who: &str) -> App {
        let mut handshake = named(who);
        handshake["streamEvent"] = json!("streamed_data");
        let app = App::join_as(&self.world.broker, handshake).await;
        self.add(who).await;
        app
    }

    async fn add(&mut self, who: &str) {
        self.world.does(ADMIN, "ADD_CLIENT_TO_ROOM", json!({"identity": who, "roomName": "tea"})).await;
    }

    async fn asks(&mut self, request: &str) {
        let payload = json!({"requestId": request, "targetRoom": "tea", "target": EXTENSION, "message": "?"});
        let ack = self.members[0].ask_as(json!("LLM_REQUEST"), payload).await;
        assert_eq!(ack, room_world::received());
        until(&mut self.extension, "LLM_REQUEST").await;
    }

    /// The answers that the room has kept: request, output, text.
    async fn kept(&mut self) -> Vec<(String, String, String)> {
        let ack = self.world.ask(ADMIN, "GET_FULL_CONTEXT", json!({"roomName": "tea"})).await;
        let page = self.world.page(ADMIN, &ack).await;
        let messages = page["contextPage"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let answers = messages.iter().filter(|message| message["isResponse"] == true);
        answers.map(|m| (text(&m["requestId"]), text(&m["outputId"]), text(&m["data"]))).collect()
    }
}

/// Reads until an event of that name has come: its payload.
async fn until(app: &mut App, name: &str) -> Value {
    loop {
        let event = app.event().await;
        if event.is(name) {
            return event.payload().clone();
        }
    }
}

/// Until the room has kept an answer of that output.
async fn until_kept(app: &mut App, output: &str) {
    loop {
        let news = until(app, "NEW_MESSAGE").await;
        if news["message"]["outputId"] == output {
            return;
        }
    }
}

fn entry(request: &str, output: &str, text: &str) -> (String, String, String) {
    (request.to_owned(), output.to_owned(), text.to_owned())
}

/// The end of an answer that says so (Q4).
async fn ends(extension: &mut App, output: &str, stream: &str) {
    extension.begins(None, output, stream, 1).await;
    extension
        .emit("CLIENT_STREAM_END", &json!({"type": 3, "streamId": stream, "outputId": output, "final": true}))
        .await;
}

/// The reference made one history entry per token, with all of the text so far.
#[tokio::test]
async fn defect_d2_06_an_answer_is_one_entry_at_its_completion() {
    let mut tea = Tea::with(Broker::setup(), &["app-a", "app-b", GUEST]).await;
    tea.asks("r1").await;
    tea.extension.tokens(Some("r1"), "o1", &["Hello", " good", " luck 😀"]).await;
    for member in &mut tea.members {
        member.reads("Hello good luck 😀").await;
        let info = &member.streams[0].info;
        let wanted = json!({"streamId": "o1-0", "outputId": "o1", "requestId": "r1", "source": "server"});
        assert_eq!(*info, wanted, "the source is always the server (spec §5.7)");
    }
    assert_eq!(tea.kept().await, [], "it may go on");
    ends(&mut tea.extension, "o1", "end").await;
    until_kept(&mut tea.members[2], "o1").await;
    assert_eq!(tea.kept().await, [entry("r1", "o1", "Hello good luck 😀")]);
    let status = until(&mut tea.members[0], "REQUEST_STATUS_UPDATE").await;
    assert_eq!((&status["requestId"], &status["status"]), (&json!("r1"), &json!("completed")));
    // Each wire stream is followed by `streamed_end` in dialect 2.
    let end = until(&mut tea.members[1], "streamed_end").await;
    assert_eq!(end, json!({"streamId": "o1-0", "outputId": "o1", "requestId": "r1", "source": "server"}));
}

/// Readers get all of an answer; the room keeps as much as it may.
#[tokio::test]
async fn of_an_answer_that_is_too_long_a_part_is_kept() {
    let setup = Broker::setup();
    let mut tea = Tea::of(setup, &["app-a"], |config| config.streams.max_output_bytes = 7).await;
    tea.asks("r1").await;
    tea.extension.tokens(Some("r1"), "o1", &["Hello", "😀", " world"]).await;
    ends(&mut tea.extension, "o1", "end").await;
    tea.members[0].reads("Hello😀 world").await;
    until_kept(&mut tea.members[0], "o1").await;
    assert_eq!(tea.kept().await, [entry("r1", "o1", "Hello")]);
    assert!(tea.world.broker.limit_reached("streams.max_output_bytes") > 0);
}

/// Without a word of its end, it is complete when nothing has come for a while, or another one begins.
#[tokio::test]
async fn an_answer_that_does_not_say_its_end_is_kept_all_the_same() {
    let mut tea = Tea::with_idle(Broker::setup(), &["app-a"], 0.3).await;
    tea.asks("r1").await;
    tea.extension.tokens(Some("r1"), "o1", &["one"]).await;
    tea.asks("r2").await;
    tea.extension.tokens(None, "o2", &["two"]).await;
    until_kept(&mut tea.members[0], "o1").await;
    until_kept(&mut tea.members[0], "o2").await;
    assert_eq!(tea.kept().await, [entry("r1", "o1", "one"), entry("r2", "o2", "two")]);
}

/// Somebody with `/rooms` alone reads no answers: the others, and the room, do not wait for it.
#[tokio::test]
async fn a_member_without_llm_holds_nothing_up() {
    let mut tea = Tea::with(Broker::setup(), &["app-a"]).await;
    let mut quiet = Peer::connect_ws(&tea.world.broker).await;
    quiet.join(ROOMS, named("app-b")).await;
    tea.add("app-b").await;
    for request in ["r1", "r2"] {
        tea.asks(request).await;
        tea.extension.tokens(Some(request), request, &["text"]).await;
        ends(&mut tea.extension, request, &format!("{request}-end")).await;
        until_kept(&mut tea.members[0], request).await;
        // A completed id is free again.
        tea.asks(request).await;
        tea.extension.answers(Some(request), &format!("{request}-again"), "more").await;
        until_kept(&mut tea.members[0], &format!("{request}-again")).await;
    }
    let kept: Vec<String> = tea.kept().await.into_iter().map(|(_, output, _)| output).collect();
    assert_eq!(kept, ["r1", "r1-again", "r2", "r2-again"]);
}

#[tokio::test]
async fn members_come_and_go_while_an_answer_streams() {
    let mut tea = Tea::with(Broker::setup(), &["app-a", "app-b"]).await;
    tea.asks("r1").await;
    tea.extension.token(Some("r1"), "o1", "s1", "one", true).await;
    tea.members[1].reads("one").await;
    let mut late = tea.comes(GUEST).await;
    let payload = json!({"identity": "app-b", "roomName": "tea"});
    tea.world.does(ADMIN, "REMOVE_CLIENT_FROM_ROOM", payload).await;
    // The router has heard of both: it is asked behind them.
    tea.asks("r2").await;
    tea.extension.token(Some("r1"), "o1", "s2", " two", false).await;
    late.reads(" two").await;
    tea.members[0].reads("one two").await;
    tea.members[1].settle().await;
    assert_eq!(tea.members[1].text, b"one", "it has left");
}

#[tokio::test]
async fn a_slow_member_slows_nobody() {
    let mut tea = Tea::with(Broker::setup(), &["app-a", "app-b"]).await;
    // It reads nothing at all.
    let _slow = tea.comes(GUEST).await;
    tea.asks("r1").await;
    let token = "x".repeat(20_000);
    let tokens: Vec<&str> = (0..20).map(|_| token.as_str()).collect();
    tea.extension.tokens(Some("r1"), "o1", &tokens).await;
    let all = token.repeat(20);
    for member in &mut tea.members {
        member.reads(&all).await;
    }
    ends(&mut tea.extension, "o1", "end").await;
    until_kept(&mut tea.members[0], "o1").await;
    assert_eq!(tea.kept().await, [entry("r1", "o1", &all)]);
}

/// An extension that is lost fails its request; the room goes on, and keeps what it had said.
#[tokio::test]
async fn an_extension_that_is_lost_leaves_the_room_free() {
    let settings = json!({"reconnectAttempts": 1, "reconnectDelay": 100});
    let mut tea = Tea::with(Broker::setup().settings(settings), &["app-a"]).await;
    tea.asks("r1").await;
    tea.extension.tokens(Some("r1"), "o1", &["half"]).await;
    tea.members[0].reads("half").await;
    let Tea { mut world, extension, mut members } = tea;
    extension.peer.vanish().await;
    let mut member = members.remove(0);
    let wanted = json!({
        "type": "ERROR", "message": format!("Target client disconnected: {EXTENSION}"), "requestId": "r1",
    });
    // The failure and what the room keeps come by different ways, in any order.
    let (mut failed, mut kept) = (false, false);
    while !(failed && kept) {
        let event = member.event().await;
        if event.is("ERROR") {
            assert_eq!(*event.payload(), wanted);
            failed = true;
        }
        kept |= event.is("NEW_MESSAGE") && event.payload()["message"]["outputId"] == "o1";
    }
    world.extension(EXTENSION).await;
    let extension = App::over(world.peers.remove(EXTENSION).unwrap());
    let mut tea = Tea { world, extension, members: vec![member] };
    assert_eq!(tea.kept().await, [entry("r1", "o1", "half")]);
    // The same id is a new request.
    tea.asks("r1").await;
    tea.extension.answers(Some("r1"), "o2", "whole").await;
    let status = until(&mut tea.members[0], "REQUEST_STATUS_UPDATE").await;
    assert_eq!(status["status"], "completed");
}

/// Its last word and its goodbye come together: the room keeps the answer, and is free again.
#[tokio::test]
async fn an_extension_that_leaves_with_its_last_word_has_answered() {
    let mut tea = Tea::with(Broker::setup(), &["app-a"]).await;
    for request in ["r1", "r2"] {
        // Beside its other socket, the first time: that one takes what is not over.
        tea.extension = App::join_polling(&tea.world.broker, named(EXTENSION)).await;
        tea.asks(request).await;
        tea.extension.tokens(Some(request), request, &["whole"]).await;
        tea.extension.begins(None, request, "end", 1).await;
        let end = json!({"type": 3, "streamId": "end", "outputId": request, "final": true});
        let last = format!("42/llm,[\"CLIENT_STREAM_END\",{end}]");
        tea.extension.peer.send_all(&[Frame::Text(last), Frame::Text("41/llm,".to_owned())]).await;
        let status = until(&mut tea.members[0], "REQUEST_STATUS_UPDATE").await;
        assert_eq!((&status["requestId"], &status["status"]), (&json!(request), &json!("completed")));
    }
    assert_eq!(tea.kept().await, [entry("r1", "r1", "whole"), entry("r2", "r2", "whole")]);
}

/// An answer that does not say its end is over when the next begins, though its extension leaves with that.
#[tokio::test]
async fn an_extension_that_leaves_with_its_next_answer_has_given_the_one_before() {
    let mut tea = Tea::with(Broker::setup(), &["app-a"]).await;
    tea.extension = App::join_polling(&tea.world.broker, named(EXTENSION)).await;
    tea.asks("r1").await;
    tea.extension.tokens(Some("r1"), "o1", &["whole"]).await;
    tea.members[0].reads("whole").await;
    let start = json!({"type": 1, "streamId": "next", "outputId": "o2", "numStreams": 1});
    let next = format!("42/llm,[\"CLIENT_STREAM_START\",{start}]");
    tea.extension.peer.send_all(&[Frame::Text(next), Frame::Text("41/llm,".to_owned())]).await;
    until_kept(&mut tea.members[0], "o1").await;
    assert_eq!(tea.kept().await, [entry("r1", "o1", "whole")]);
}

#[tokio::test]
async fn attachments_travel_with_a_request() {
    let mut tea = Tea::with(Broker::setup(), &["app-a"]).await;
    let request = json!({
        "requestId": "r1", "targetRoom": "tea", "target": EXTENSION, "message": "look",
        "picture": {"_placeholder": true, "num": 0},
    });
    tea.members[0].peer.send_text(&format!("451-/llm,[\"LLM_REQUEST\",{request}]")).await;
    tea.members[0].peer.send_binary(b"\x01\x02").await;
    loop {
        let event = tea.extension.event().await;
        if event.is("LLM_REQUEST") {
            assert_eq!(event.payload()["picture"], json!({"_placeholder": true, "num": 0}));
            assert_eq!(event.attachments, [b"\x01\x02"]);
            break;
        }
    }
    // What is kept of it stands for no attachment: in a later event it would stand for another one.
    let news = loop {
        let news = until(&mut tea.members[0], "NEW_MESSAGE").await;
        if news["message"]["requestId"] == "r1" {
            break news;
        }
    };
    assert_eq!((&news["message"]["message"], &news["message"]["picture"]), (&json!("look"), &json!(null)));
}

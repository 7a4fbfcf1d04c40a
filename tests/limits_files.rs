//! What clients may do with files: every bound of `[trust]` on the settings folder and on the server's
//! functions is reached here.

mod support;

use serde_json::{Map, Value, json};
use support::{Broker, Frame, Peer, auth};

const FUNCTIONS: &str = "/function_call";

async fn joined(broker: &Broker) -> Peer {
    let mut peer = Peer::connect_ws(broker).await;
    peer.join(FUNCTIONS, auth("app-a")).await;
    peer
}

fn call(function: &str, args: &Value) -> Value {
    json!({"requestId": "r", "target": "server", "functionName": function, "args": args})
}

async fn runs(peer: &mut Peer, function: &str, args: Value) -> Value {
    peer.emit_with_ack(FUNCTIONS, json!(22), call(function, &args)).await["result"].clone()
}

#[tokio::test]
async fn max_json_bytes() {
    let fits = json!({"text": "x".repeat(900)}).to_string();
    let long = json!({"text": "x".repeat(1100)}).to_string();
    let setup = Broker::setup().file("data/app-a/fits.json", &fits).file("data/app-a/long.json", &long);
    let broker = setup.start(|config| config.trust.max_json_bytes = 1000);
    let mut peer = joined(&broker).await;
    let read = runs(&mut peer, "readJsonFromFile", json!(["data/app-a/fits.json"])).await;
    assert_eq!(read["success"], true, "{read}");
    let read = runs(&mut peer, "readJsonFromFile", json!(["data/app-a/long.json"])).await;
    assert_eq!((&read["success"], &read["error"]["code"]), (&json!(false), &json!("EFBIG")));
    assert_eq!(broker.limit_reached("trust.max_json_bytes"), 1);
    // What is sent is too long, and then what would become of the file.
    for (file, text, times) in [("new.json", 1100, 2), ("fits.json", 200, 3)] {
        let args = json!([format!("data/app-a/{file}"), {"more": "y".repeat(text)}]);
        let saved = runs(&mut peer, "saveJsonToFile", args).await;
        assert_eq!(saved["success"], false, "{saved}");
        assert_eq!(broker.limit_reached("trust.max_json_bytes"), times, "{file}");
    }
    assert!(!broker.data().join("data/app-a/new.json").exists());
    assert_eq!(std::fs::read_to_string(broker.data().join("data/app-a/fits.json")).unwrap(), fits);
}

#[tokio::test]
async fn a_settings_file_that_is_too_long_is_not_read() {
    let file = json!({"clientId": "app-a", "isTrust": true, "desc": "x".repeat(1000)});
    let broker = Broker::setup().client(file).start(|config| config.trust.max_json_bytes = 1000);
    let mut peer = Peer::connect_ws(&broker).await;
    peer.send_text(&format!("40/llm,{}", auth("app-a"))).await;
    peer.expect_rejection("/llm").await;
    assert!(broker.limit_reached("trust.max_json_bytes") >= 1);
    peer.join("/llm", auth("app-b")).await;
}

#[tokio::test]
async fn max_client_files() {
    let broker = Broker::start(|config| config.trust.max_client_files = 3);
    assert!(broker.limit_reached("trust.max_client_files") >= 1);
    // The first by name are read.
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", auth("SillyTavern-8000")).await;
    let mut peer = Peer::connect_ws(&broker).await;
    peer.join("/llm", auth("app-a")).await;
    peer.send_text(&format!("40/auth,{}", auth("monitor"))).await;
    peer.expect_rejection("/auth").await;
}

#[tokio::test]
async fn max_data_files() {
    let broker = Broker::start(|config| config.trust.max_data_files = 2);
    let mut peer = joined(&broker).await;
    for (file, expected) in [("a", true), ("b", true), ("c", false), ("a", true)] {
        let args = json!([format!("data/app-a/{file}.json"), {"file": file}]);
        let saved = runs(&mut peer, "saveJsonToFile", args).await;
        assert_eq!(saved["success"], expected, "{file}: {saved}");
    }
    assert_eq!(broker.limit_reached("trust.max_data_files"), 1);
    assert!(!broker.data().join("data/app-a/c.json").exists());
}

#[tokio::test]
async fn max_file_jobs() {
    const CALLS: u64 = 50;
    let long = json!({"text": "x".repeat(900_000)}).to_string();
    let setup = Broker::setup().file("data/app-a/long.json", long);
    let broker = setup.start(|config| config.trust.max_file_jobs = 1);
    let mut peer = Peer::open_polling(&broker).await;
    peer.join(FUNCTIONS, auth("app-a")).await;
    // One body is asked in one go, long before the first file is read.
    let payload = call("readJsonFromFile", &json!(["data/app-a/long.json"]));
    let calls: Vec<Frame> =
        (0..CALLS).map(|id| Frame::Text(format!("42{FUNCTIONS},{id}[22,{payload}]"))).collect();
    peer.send_all(&calls).await;
    let mut served = 0;
    for id in 0..CALLS {
        let ack = peer.expect_ack(FUNCTIONS, id).await;
        served += u64::from(ack["success"] == true);
    }
    assert!((1..CALLS).contains(&served), "{served}");
    assert_eq!(broker.limit_reached("trust.max_file_jobs"), CALLS - served);
    assert_eq!(runs(&mut peer, "readJsonFromFile", json!(["data/app-a/long.json"])).await["success"], true);
}

#[tokio::test]
async fn max_static_resources() {
    let setup = Broker::setup().file("data/app-a/page.txt", "mine");
    let broker = setup.start(|config| config.trust.max_static_resources = 2);
    let mut peer = joined(&broker).await;
    let map = |urls: &[&str]| {
        let files = urls.iter().map(|url| ((*url).to_owned(), Value::from("data/app-a/page.txt")));
        json!([files.collect::<Map<_, _>>()])
    };
    let added = runs(&mut peer, "addStaticResources", map(&["/a", "/b"])).await;
    assert_eq!(added["success"], true, "{added}");
    // One that is there already takes no place.
    let added = runs(&mut peer, "addStaticResources", map(&["/b", "/c"])).await;
    assert_eq!((&added["success"], &added["error"]), (&json!(false), &json!("Too many static resources.")));
    assert_eq!(broker.limit_reached("trust.max_static_resources"), 1);
    for (url, status) in [("/a", 200), ("/b", 200), ("/c", 404)] {
        assert_eq!(support::http(&broker, "GET", url, &[], "").await.status, status, "{url}");
    }
}

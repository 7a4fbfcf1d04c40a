//! A broker on socketioxide that does the work of the scenarios, correctly, and nothing else: no
//! authentication, no limits, no history. `broker.rs` has who is asked what, `relay.rs` the streams.
//!
//! socketioxide runs each event handler in a task of its own. So what must stay in order is done before the
//! task begins: in the closure, whose future is ready at once.

mod broker;
mod relay;

use std::{sync::Arc, time::Duration};

use broker::{Broker, Peer, Request};
use relay::{Mark, Piece};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use socketioxide::{
    SocketIo,
    extract::{AckSender, Data, SocketRef, TryData},
};
use std::future::ready;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handshake {
    client_id: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The default of 128 packets that wait for a socket is less than an extension is asked at once, and of many
    // clients some wait for longer than the default of 5 s.
    let (layer, io) =
        SocketIo::builder().max_buffer_size(65_536).ack_timeout(Duration::from_secs(60)).build_layer();
    let broker = Arc::new(Broker::new(io.clone(), std::env::args().any(|argument| argument == "--held")));
    let here = Arc::clone(&broker);
    io.ns("/llm", move |socket: SocketRef, TryData(auth): TryData<Handshake>| {
        match auth {
            Ok(auth) => llm(&here, &socket, auth.client_id),
            Err(_) => drop(socket.disconnect()),
        }
        ready(())
    });
    io.ns("/auth", move |socket: SocketRef, TryData(auth): TryData<Handshake>| {
        if auth.is_err() {
            let _ = socket.disconnect();
            return ready(());
        }
        let broker = Arc::clone(&broker);
        socket.on("33", move |ack: AckSender| {
            let ids = broker.extensions();
            let _ = ack.send(&json!({"status": "ok", "allTheSTSocket": ids, "extensions": ids}));
            ready(())
        });
        ready(())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let app = axum::Router::new().layer(layer);
    axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), app)
        .await?;
    Ok(())
}

fn llm(broker: &Arc<Broker>, socket: &SocketRef, id: String) {
    let peer = Arc::new(Peer::new(socket.clone(), id, broker.hold));
    broker.joined(&peer);

    let (here, from) = (Arc::clone(broker), Arc::clone(&peer));
    socket.on("9", move |Data(request): Data<Map<String, Value>>, ack: AckSender| {
        let answer = match here.request(&from, request) {
            Ok(()) => json!({"status": "ok", "message": "Request forwarded."}),
            Err(message) => json!({"status": "error", "message": message}),
        };
        let _ = ack.send(&answer);
        ready(())
    });
    let (here, from) = (Arc::clone(broker), Arc::clone(&peer));
    socket.on("message", move |Data(message): Data<Map<String, Value>>| {
        here.message(&from, message);
        ready(())
    });
    let (here, from) = (Arc::clone(broker), Arc::clone(&peer));
    socket.on("LLM_REQUEST", move |Data(request): Data<Request>, ack: AckSender| {
        let answer = match here.chat(&from, request) {
            Ok(()) => json!({"status": "ok", "message": "Request received."}),
            Err(message) => json!({"status": "error", "message": message}),
        };
        let _ = ack.send(&answer);
        ready(())
    });

    let (here, from) = (Arc::clone(broker), Arc::clone(&peer));
    socket.on("CLIENT_STREAM_START", move |Data(mark): Data<Mark>| {
        here.stream_begins(&from, mark);
        ready(())
    });
    for event in ["CLIENT_STREAM_DATA_FIRST", "CLIENT_STREAM_DATA_MIDDLE", "CLIENT_STREAM_DATA_LAST"] {
        let from = Arc::clone(&peer);
        socket.on(event, move |Data(piece): Data<Piece>| {
            from.piece(piece);
            ready(())
        });
    }
    let from = Arc::clone(&peer);
    socket.on("CLIENT_STREAM_END", move |Data(mark): Data<Mark>| {
        from.stream_ends(&mark);
        ready(())
    });
    let from = Arc::clone(&peer);
    socket.on("$stream-read", move |Data((wire, _)): Data<(String, u32)>| {
        from.reads(&wire);
        ready(())
    });
    let from = Arc::clone(&peer);
    socket.on("$stream-end", move |Data(wire): Data<String>| {
        from.ended(&wire);
        ready(())
    });
    let (here, from) = (Arc::clone(broker), peer);
    socket.on_disconnect(move || {
        here.left(&from);
        ready(())
    });
}

//! What one chunk costs: allocations, bytes copied into new buffers, frames and write calls, counted
//! exactly in a broker of its own process while one extension streams to one requester.
//!
//! `cargo test --test cost_per_chunk`
//!
//! Two shapes: one chunk at a time in a long stream, and the published extension's seven events per
//! token (spec §5.3). The counts are exact but for what timers and pings add: no time is measured. It fails
//! when they rise; when they fall, the bounds are to follow.

use std::{
    alloc::System,
    error::Error,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use futures::{SinkExt, StreamExt};
use newage_broker::{
    config::{Config, Flags},
    server,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config, tungstenite::Message};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Anyhow<T> = Result<T, Box<dyn Error>>;

/// What a chunk may cost.
struct Bound {
    allocations: f64,
    bytes: f64,
    frames: f64,
}

const ONE_STREAM: Bound = Bound { allocations: 12.4, bytes: 1070.0, frames: 2.01 };
const PER_TOKEN: Bound = Bound { allocations: 33.3, bytes: 4400.0, frames: 4.01 };

const CHUNKS: usize = 2000;
const WARM_UP: usize = 200;

#[actix_web::main]
async fn main() -> Anyhow<()> {
    match std::env::args().nth(1).as_deref() {
        Some("serve") => serve().await,
        _ => measure().await,
    }
}

/// The measured process: a broker on one worker that prints its counters for every line it reads.
async fn serve() -> Anyhow<()> {
    let data = tempfile::tempdir()?;
    let settings = data.path().join("settings");
    std::fs::create_dir_all(&settings)?;
    for id in ["SillyTavern-8000", "frontendExample"] {
        std::fs::write(
            settings.join(format!("{id}.json")),
            format!(r#"{{"clientId":"{id}","isTrust":true}}"#),
        )?;
    }
    let mut config =
        Config::load(&Flags { data: Some(data.path().to_owned()), port: Some(0), ..Flags::default() })?;
    config.server.workers = 1;
    let running = server::start(config)?;
    println!("ws://{}/socket.io/?EIO=4&transport=websocket", running.address());
    let metrics = running.metrics_text_source();
    tokio::task::spawn_blocking(move || {
        for _ in std::io::stdin().lines() {
            let stats = ALLOCATOR.stats();
            let frames = counter(&metrics(), "newage_frames_out_total");
            println!("{} {} {frames}", stats.allocations + stats.reallocations, stats.bytes_allocated);
        }
    })
    .await?;
    Ok(())
}

fn counter(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split(' ').nth(1)).and_then(|value| value.parse().ok()).unwrap_or_default()
}

struct Server {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

#[derive(Clone, Copy)]
struct Counts {
    allocations: usize,
    bytes: usize,
    frames: usize,
}

impl Server {
    fn start() -> Anyhow<(Self, String)> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .env("RUST_LOG", "off")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ask = child.stdin.take().ok_or("no stdin")?;
        let mut answers = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut url = String::new();
        answers.read_line(&mut url)?;
        Ok((Self { child, ask, answers }, url.trim().to_owned()))
    }

    fn counts(&mut self) -> Anyhow<Counts> {
        writeln!(self.ask)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let mut numbers = line.split_whitespace().map(str::parse::<usize>);
        let mut next = || numbers.next().ok_or("too few numbers");
        Ok(Counts { allocations: next()??, bytes: next()??, frames: next()?? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn join(url: &str, client: &str) -> Anyhow<Socket> {
    let (mut socket, _) = connect_async_with_config(url, None, true).await?;
    let text = format!(
        "40/llm,{{\"clientId\":\"{client}\",\"clientType\":\"cost\",\"dialect\":1,\"streamEvent\":\"streamed_data\"}}"
    );
    socket.send(Message::text(text)).await?;
    wait_for(&mut socket, "40/llm").await?;
    Ok(socket)
}

/// The next text frame that begins so; pings are answered, everything else is skipped.
async fn wait_for(socket: &mut Socket, prefix: &str) -> Anyhow<String> {
    loop {
        match socket.next().await.ok_or("connection closed")?? {
            Message::Text(text) if text.as_str() == "2" => socket.send(Message::text("3")).await?,
            Message::Text(text) if text.starts_with(prefix) => return Ok(text.to_string()),
            _ => (),
        }
    }
}

async fn request(client: &mut Socket, extension: &mut Socket, id: usize) -> Anyhow<()> {
    let text =
        format!("42/llm,[9,{{\"target\":\"SillyTavern-8000\",\"requestId\":\"r{id}\",\"message\":\"hi\"}}]");
    client.send(Message::text(text)).await?;
    wait_for(extension, "42/llm,[9,").await?;
    Ok(())
}

fn event(name: &str, request: usize, stream: usize, fields: &str) -> Message {
    Message::text(format!(
        "42/llm,[\"CLIENT_STREAM_{name}\",{{\"streamId\":\"stream-{stream}\",\"outputId\":\"output-{request}\",\
         \"requestId\":\"r{request}\",\"source\":\"SillyTavern-8000\",\"target\":\"server\",{fields}}}]"
    ))
}

fn wire_id(announcement: &str) -> Option<&str> {
    announcement.split_once("{\"$stream\":\"")?.1.split_once('"').map(|(id, _)| id)
}

/// The id of the ack that a `$stream-write` asks for.
fn ack_of(write: &str) -> Option<&str> {
    write.strip_prefix("451-/llm,")?.split_once('[').map(|(id, _)| id)
}

/// Acks a write, asks for more, and waits for the next one's head.
async fn read_on(client: &mut Socket, wire: &str, ack: &str) -> Anyhow<()> {
    client.feed(Message::text(format!("43/llm,{ack}[]"))).await?;
    client.feed(Message::text(format!("42/llm,[\"$stream-read\",\"{wire}\",16384]"))).await?;
    client.flush().await?;
    Ok(())
}

/// One long stream, one chunk under way.
async fn one_at_a_time(
    client: &mut Socket,
    extension: &mut Socket,
    server: &mut Server,
) -> Anyhow<(Counts, Counts)> {
    request(client, extension, 1).await?;
    extension.send(event("START", 1, 1, "\"type\":1,\"numStreams\":100000")).await?;
    let data = |index: usize| {
        event("DATA_MIDDLE", 1, 1, &format!("\"type\":5,\"chunkIndex\":{index},\"data\":\"eight ch\""))
    };
    extension.send(data(0)).await?;
    let announcement = wait_for(client, "42/llm,[\"$stream\"").await?;
    let wire = wire_id(&announcement).ok_or("no wire id")?.to_owned();
    client.send(Message::text(format!("42/llm,[\"$stream-read\",\"{wire}\",16384]"))).await?;
    let mut before = server.counts()?;
    for index in 1..=WARM_UP + CHUNKS {
        let write = wait_for(client, "451-/llm,").await?;
        let ack = ack_of(&write).ok_or("no ack id")?.to_owned();
        read_on(client, &wire, &ack).await?;
        if index == WARM_UP {
            before = server.counts()?;
        }
        extension.send(data(index)).await?;
    }
    wait_for(client, "451-/llm,").await?;
    Ok((before, server.counts()?))
}

/// The published extension: seven events per token, one token under way.
async fn per_token(
    client: &mut Socket,
    extension: &mut Socket,
    server: &mut Server,
) -> Anyhow<(Counts, Counts)> {
    request(client, extension, 2).await?;
    let mut before = server.counts()?;
    // The first stream is still open under its own id.
    for stream in 2..WARM_UP + CHUNKS + 2 {
        if stream == WARM_UP + 2 {
            before = server.counts()?;
        }
        extension.feed(event("START", 2, stream, "\"type\":1,\"numStreams\":5")).await?;
        for (index, (kind, data)) in
            [(4, "to"), (5, "ke"), (5, "n "), (5, ""), (6, "")].into_iter().enumerate()
        {
            let name = if index == 4 { "DATA_LAST" } else { "DATA_MIDDLE" };
            extension
                .feed(event(
                    name,
                    2,
                    stream,
                    &format!("\"type\":{kind},\"chunkIndex\":{index},\"data\":\"{data}\""),
                ))
                .await?;
        }
        extension.feed(event("END", 2, stream, "\"type\":3")).await?;
        extension.flush().await?;
        let announcement = wait_for(client, "42/llm,[\"$stream\"").await?;
        let wire = wire_id(&announcement).ok_or("no wire id")?.to_owned();
        client.send(Message::text(format!("42/llm,[\"$stream-read\",\"{wire}\",16384]"))).await?;
        let write = wait_for(client, "451-/llm,").await?;
        let ack = ack_of(&write).ok_or("no ack id")?.to_owned();
        read_on(client, &wire, &ack).await?;
        wait_for(client, "42/llm,[\"$stream-end\"").await?;
    }
    Ok((before, server.counts()?))
}

async fn measure() -> Anyhow<()> {
    let (mut server, url) = Server::start()?;
    let mut extension = join(&url, "SillyTavern-8000").await?;
    let mut client = join(&url, "frontendExample").await?;
    let mut risen = Vec::new();
    let mut report = |what: &'static str, bound: Bound, before: Counts, after: Counts| {
        let per = |a: usize, b: usize| (b - a) as f64 / CHUNKS as f64;
        let (allocations, bytes) =
            (per(before.allocations, after.allocations), per(before.bytes, after.bytes));
        let frames = per(before.frames, after.frames);
        println!("{what:<44} {allocations:>6.2} allocations  {bytes:>7.0} bytes  {frames:>5.2} frames out");
        if allocations > bound.allocations || bytes > bound.bytes || frames > bound.frames {
            risen.push(what);
        }
    };
    println!("per chunk, read, write and ack included, {CHUNKS} chunks after {WARM_UP} of warm-up:");
    let (before, after) = one_at_a_time(&mut client, &mut extension, &mut server).await?;
    report("one stream, chunk in → write out → ack, read", ONE_STREAM, before, after);
    let (before, after) = per_token(&mut client, &mut extension, &mut server).await?;
    report("per token: 7 events in → stream out", PER_TOKEN, before, after);
    if !risen.is_empty() {
        return Err(format!("it costs more than it did: {}", risen.join("; ")).into());
    }
    Ok(())
}

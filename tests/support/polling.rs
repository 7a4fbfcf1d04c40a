//! A peer's long-polling: one GET at a time, which waits in the background.

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::task::JoinHandle;

use super::{
    http::{Reply, client, read},
    opening::Opening,
    peer::Frame,
    within,
};

pub(super) struct Polling {
    client: reqwest::Client,
    url: String,
    headers: Vec<(String, String)>,
    waiting: Option<JoinHandle<Reply>>,
}

impl Polling {
    /// The handshake's answer, and what goes on from it.
    pub(super) async fn open(url: String, opening: &Opening) -> (Self, Reply) {
        let mut polling = Self { client: client(), url, headers: opening.headers.clone(), waiting: None };
        let reply = polling.get().await.expect("nobody has aborted it");
        (polling, reply)
    }

    pub(super) fn name_session(&mut self, url: String) {
        self.url = url;
    }

    fn request(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Begins a GET, unless one waits already.
    pub(super) fn begin(&mut self) {
        if self.waiting.is_none() {
            let request = self.request(self.client.get(&self.url));
            self.waiting =
                Some(tokio::spawn(async move { read(request.send().await.expect("an answer")).await }));
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Ends the waiting GET as a closed tab would.
    pub(super) async fn abort(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.abort();
            // Only once the task is gone, its connection is.
            let _ = waiting.await;
        }
    }

    /// The answer of the GET that waits, or of a new one. Safe to drop: the GET goes on.
    pub(super) async fn get(&mut self) -> Option<Reply> {
        self.begin();
        let answer = self.waiting.as_mut()?.await;
        self.waiting = None;
        match answer {
            Ok(reply) => Some(reply),
            Err(error) if error.is_cancelled() => None,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    pub(super) async fn post(&self, body: Vec<u8>) -> Reply {
        let request =
            self.request(self.client.post(&self.url)).header("content-type", "text/plain;charset=UTF-8");
        read(within("a POST", request.body(body).send()).await.expect("an answer")).await
    }
}

/// The frames of a polling body.
pub fn split_payload(body: &str) -> Vec<Frame> {
    let packets = body.split('\u{1e}').map(|packet| match packet.strip_prefix('b') {
        Some(base64) => Frame::Binary(STANDARD.decode(base64).expect("base64")),
        None => Frame::Text(packet.to_owned()),
    });
    packets.collect()
}

/// One frame as a packet of a polling body.
pub(super) fn packet(frame: &Frame) -> String {
    match frame {
        Frame::Text(text) => text.clone(),
        Frame::Binary(bytes) => format!("b{}", STANDARD.encode(bytes)),
        other => panic!("{other:?} cannot be sent"),
    }
}

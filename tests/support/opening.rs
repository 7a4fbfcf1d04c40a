//! How a peer opens its session: what its handshake says, and over which transport it goes.

use super::{
    Listens,
    http::Reply,
    peer::{Frame, Peer, Transport},
    polling::Polling,
    ws::Ws,
};

/// A handshake that was answered with an HTTP error.
#[derive(Debug)]
pub struct Refused(pub Reply);

/// How a peer opens its session.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    pub(super) headers: Vec<(String, String)>,
    pub(super) receive_buffer: Option<usize>,
    query: Vec<(String, String)>,
    base: Option<String>,
}

impl Opening {
    pub fn new() -> Self {
        Self::default()
    }

    /// A header of every request of the peer, `Host` included.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One more parameter of the query.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another path than `/socket.io/`.
    pub fn base(mut self, path: &str) -> Self {
        self.base = Some(path.to_owned());
        self
    }

    /// Bytes that the system buffers for this peer's WebSocket while it does not read.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    pub(super) fn path(&self, transport: &str, sid: Option<&str>) -> String {
        let base = self.base.as_deref().unwrap_or("/socket.io/");
        let mut path = format!("{base}?EIO=4&transport={transport}");
        for (name, value) in &self.query {
            path += &format!("&{name}={value}");
        }
        if let Some(sid) = sid {
            path += &format!("&sid={sid}");
        }
        path
    }

    /// A WebSocket from the start.
    pub async fn ws(&self, server: &impl Listens) -> Result<Peer, Refused> {
        let ws = Ws::open(server.address(), &self.path("websocket", None), self).await?;
        let mut peer = Peer::over(Transport::Ws(ws), self.clone(), server.address());
        let open = peer.frame("the open packet").await;
        let Frame::Text(open) = open else { peer.instead("the open packet", &open) };
        peer.opened(&open);
        Ok(peer)
    }

    /// Long-polling.
    pub async fn polling(&self, server: &impl Listens) -> Result<Peer, Refused> {
        let (polling, reply) = Polling::open(server.url(&self.path("polling", None)), self).await;
        if reply.status != 200 {
            return Err(Refused(reply));
        }
        let mut peer = Peer::over(Transport::Polling(polling), self.clone(), server.address());
        let text = reply.text().to_owned();
        peer.opened(&text);
        let url = server.url(&self.path("polling", Some(&peer.sid)));
        if let Transport::Polling(polling) = &mut peer.transport {
            polling.name_session(url);
        }
        Ok(peer)
    }
}

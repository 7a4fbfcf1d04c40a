//! A peer's WebSocket.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue},
        protocol::frame::coding::CloseCode,
    },
};

use super::{
    http::Reply,
    opening::{Opening, Refused},
    peer::Frame,
    within,
};

pub(super) struct Ws(WebSocketStream<TcpStream>);

impl Ws {
    pub(super) async fn open(address: SocketAddr, path: &str, opening: &Opening) -> Result<Self, Refused> {
        let mut request = format!("ws://{address}{path}").into_client_request().expect("a request");
        for (name, value) in &opening.headers {
            let name: HeaderName = name.parse().expect("a header name");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a header value"));
        }
        let connect = async {
            let stream = match opening.receive_buffer {
                Some(bytes) => small_window(address, bytes).await,
                None => TcpStream::connect(address).await.expect("a connection"),
            };
            stream.set_nodelay(true).expect("a TCP socket");
            client_async(request, stream).await
        };
        match within("a WebSocket handshake", connect).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => {
                let (head, body) = response.into_parts();
                Err(Refused(Reply {
                    status: head.status.as_u16(),
                    headers: head.headers,
                    body: body.unwrap_or_default(),
                }))
            }
            Err(error) => panic!("no WebSocket, and no refusal: {error:?}"),
        }
    }

    pub(super) async fn send(&mut self, message: Message) {
        if let Err(error) = within("a frame to leave", self.0.send(message)).await {
            // The broker may have closed while this left; what it said is what the test reads next.
            assert!(
                matches!(
                    error,
                    Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_) | Error::Protocol(_)
                ),
                "{error:?}"
            );
        }
    }

    pub(super) async fn send_raw(&mut self, bytes: &[u8]) {
        // An error here is a close that the test will read.
        let _ = within("bytes to leave", self.0.get_mut().write_all(bytes)).await;
    }

    pub(super) async fn next(&mut self) -> Frame {
        loop {
            return match self.0.next().await {
                Some(Ok(Message::Text(text))) => Frame::Text(text.to_string()),
                Some(Ok(Message::Binary(bytes))) => Frame::Binary(bytes.to_vec()),
                Some(Ok(Message::Pong(bytes))) => Frame::WsPong(bytes.to_vec()),
                Some(Ok(Message::Close(frame))) => {
                    Frame::Closed(frame.map_or(1005, |frame| u16::from(frame.code)))
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => {
                    eprintln!("websocket ended: {error:?}");
                    Frame::Closed(1006)
                }
                None => Frame::Closed(1006),
            };
        }
    }
}

/// A connection whose system buffers little of what it is sent, so that who does not read is noticed.
async fn small_window(address: SocketAddr, bytes: usize) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(u32::try_from(bytes).expect("a small buffer")).expect("a buffer size");
    socket.connect(address).await.expect("a connection")
}

/// The header of a masked client frame that declares `length` bytes; the mask is zero.
pub fn frame_header(fin: bool, opcode: u8, length: u64) -> Vec<u8> {
    let mut header = vec![if fin { 0x80 | opcode } else { opcode }];
    match length {
        0..126 => header.push(0x80 | length as u8),
        126..65536 => {
            header.push(0x80 | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header.extend([0; 4]);
    header
}

/// A whole frame, masked with zeros.
pub fn masked_frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_header(fin, opcode, payload.len() as u64);
    frame.extend(payload);
    frame
}

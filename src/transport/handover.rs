//! How a connection leaves HTTP. actix-http gives up the connection of a request that asks for a WebSocket and calls
//! a service with it; that service lets the application answer, as it answers any other request. Its handler may
//! leave behind what takes the connection over.
//!
//! ```text
//!  request, connection ─► switching ─► App ─► websocket.rs: 101, and a taker in the Handover
//!                            │◄───────────────┘
//!                            ├── 101: taker(connection), with the response's head unsent
//!                            └── another answer: written, and the connection closed
//! ```

use std::{cell::RefCell, convert::Infallible, io, pin::pin, rc::Rc};

use actix_codec::{Encoder, Framed, FramedParts};
use actix_http::{
    ConnectionType, HttpMessage, Request, Response, StatusCode,
    body::{BodySize, BoxBody, MessageBody},
    h1::{Codec, Message},
};
use actix_rt::net::TcpStream;
use bytes::BytesMut;
use futures::future::poll_fn;
use log::debug;
use tokio::{io::AsyncWriteExt, sync::oneshot};

use crate::{connections::Counted, timed_stream::TimedStream};

/// A connection that has left HTTP.
pub(super) struct Connection {
    pub(super) io: TcpStream,
    /// What the peer has sent behind its request.
    pub(super) received: BytesMut,
    /// What has not been written yet; at first the head of the response.
    pub(super) unsent: BytesMut,
    /// The server counts the connection as open until this is dropped.
    _open: oneshot::Sender<Infallible>,
}

type Taker = Box<dyn FnOnce(Connection)>;

/// Where the handler of a request leaves what takes its connection over. The extensions of a request that asks for
/// a WebSocket hold one.
#[derive(Clone, Default)]
pub(super) struct Handover(Rc<RefCell<Option<Taker>>>);

impl Handover {
    /// `taker` gets the connection once the response is known to be 101.
    pub(super) fn to(&self, taker: impl FnOnce(Connection) + 'static) {
        *self.0.borrow_mut() = Some(Box::new(taker));
    }
}

/// Answers a request that asks for a WebSocket. Ends with the connection, which the server counts until then.
pub(crate) async fn switching(
    request: Request,
    connection: Framed<TimedStream, Codec>,
    app: impl AsyncFnOnce(Request) -> Response<BoxBody>,
) -> Result<(), Infallible> {
    let counted = request.conn_data::<Rc<Counted>>().cloned();
    // In a box: what the request takes is given back when it is answered.
    match Box::pin(answer(request, connection, app)).await {
        Ok(None) => (),
        // Never sent to, only dropped.
        Ok(Some(closed)) => drop(closed.await),
        Err(error) => debug!(error:%; "a request for a websocket could not be answered"),
    }
    drop(counted);
    Ok(())
}

/// The end of the connection, if it goes on as a WebSocket.
async fn answer(
    request: Request,
    connection: Framed<TimedStream, Codec>,
    app: impl AsyncFnOnce(Request) -> Response<BoxBody>,
) -> io::Result<Option<oneshot::Receiver<Infallible>>> {
    let handover = Handover::default();
    request.extensions_mut().insert(handover.clone());
    let response = app(request).await;
    let taker = handover.0.borrow_mut().take();
    let FramedParts { io, mut codec, read_buf: received, write_buf: mut unsent, .. } =
        connection.into_parts();
    let io = io.into_inner();
    let Some(taker) = taker.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) else {
        write(response, codec, unsent, io).await?;
        return Ok(None);
    };
    codec.encode(Message::Item((response.drop_body(), BodySize::None)), &mut unsent)?;
    let (open, closed) = oneshot::channel();
    taker(Connection { io, received, unsent, _open: open });
    Ok(Some(closed))
}

/// Writes a whole response and closes the connection.
async fn write(
    response: Response<BoxBody>,
    mut codec: Codec,
    mut unsent: BytesMut,
    mut io: TcpStream,
) -> io::Result<()> {
    let (mut head, body) = response.into_parts();
    head.head_mut().set_connection_type(ConnectionType::Close);
    codec.encode(Message::Item((head, body.size())), &mut unsent)?;
    let mut body = pin!(body);
    while let Some(chunk) = poll_fn(|task| body.as_mut().poll_next(task)).await {
        let chunk = chunk.map_err(|error| {
            debug!(error:%; "a response broke off");
            io::Error::other(error.to_string())
        })?;
        codec.encode(Message::Chunk(Some(chunk)), &mut unsent)?;
        io.write_all_buf(&mut unsent).await?;
    }
    codec.encode(Message::Chunk(None), &mut unsent)?;
    io.write_all_buf(&mut unsent).await?;
    io.shutdown().await
}

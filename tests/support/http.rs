//! Plain HTTP: through a real client, or byte by byte where a real client would correct the request.

use std::net::SocketAddr;

use reqwest::{Method, header::HeaderMap};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Broker, within};

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    /// One header, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a header of text"))
    }

    #[track_caller]
    pub fn expect(self, status: u16, body: &str) -> Self {
        assert_eq!((self.status, self.text()), (status, body));
        self
    }
}

/// A client that follows nothing and corrects as little as it can.
pub fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.build().expect("an HTTP client")
}

/// One request.
pub async fn http(
    broker: &Broker,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Reply {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let mut request = client().request(method, broker.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = within(path, request.body(body.into()).send()).await;
    read(answer.unwrap_or_else(|error| panic!("{path}: {error:?}"))).await
}

pub(super) async fn read(answer: reqwest::Response) -> Reply {
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = within("the body of an answer", answer.bytes()).await.expect("a whole body").to_vec();
    Reply { status, headers, body }
}

/// Sends bytes, and reads everything until the other side closes: the head must say `Connection: close`.
pub async fn raw_http(address: SocketAddr, request: &[u8]) -> Reply {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request).await.expect("the request is taken");
        let mut answer = Vec::new();
        // A reset after the answer is as good as an end.
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    let answer = within("an answer to raw bytes", exchange).await;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no HTTP answer: {:?}", String::from_utf8_lossy(&answer)));
    let head = std::str::from_utf8(&answer[..end]).expect("a head of text");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status line");
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| {
        let name: reqwest::header::HeaderName = name.parse().expect("a header name");
        (name, value.trim().parse().expect("a header value"))
    });
    Reply { status, headers: headers.collect(), body: answer[end + 4..].to_vec() }
}

//! A plain HTTP/1.1 client: a connection for each request, nothing retried, nothing hidden.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

use super::content::FRAME;
use super::{Content, documented, within};

/// Longest wait for an answer or a whole body.
const BOUND_SECONDS: u64 = 300;

/// Someone who speaks HTTP with one port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Http {
    address: SocketAddr,
}

impl Http {
    pub(crate) const fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        let builder = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string());
        Request {
            what: format!("{method} {path}"),
            address: self.address,
            builder,
            body: Sent::nothing(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request("GET", path).answer().await
    }

    pub(crate) async fn put(&self, path: &str, content: Content) -> Answer {
        self.request("PUT", path).content(content).answer().await
    }
}

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Request {
    what: String,
    address: SocketAddr,
    builder: http::request::Builder,
    body: Sent,
}

impl Request {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    /// A body of a text.
    pub(crate) fn text(mut self, text: &str) -> Self {
        let text = Some(text.to_owned().into()).filter(|text: &Bytes| !text.is_empty());
        self.body = Sent { text, ..Sent::nothing() };
        self
    }

    /// A body of known length.
    pub(crate) fn content(mut self, content: Content) -> Self {
        self.body = Sent::of(content);
        self
    }

    /// A body whose length is not told.
    pub(crate) fn content_of_unknown_length(mut self, content: Content) -> Self {
        self.body = Sent { announced: false, ..Sent::of(content) };
        self
    }

    /// Sends it; an error when no answer comes.
    pub(crate) async fn try_send(self) -> Result<Download, String> {
        let Self { what, address, builder, body } = self;
        let request =
            builder.body(body).unwrap_or_else(|error| panic!("{what} is no request: {error}"));
        let exchange = async {
            let socket = TcpStream::connect(address).await.map_err(describe)?;
            socket.set_nodelay(true).map_err(describe)?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(socket))
                    .await
                    .map_err(describe)?;
            tokio::spawn(connection);
            sender.send_request(request).await.map_err(describe)
        };
        let response = within(BOUND_SECONDS, &what, exchange)
            .await
            .map_err(|error| format!("{what}: {error}"))?;
        let (head, body) = response.into_parts();
        documented::check(&what, head.status.as_u16(), &head.headers);
        Ok(Download { what, status: head.status.as_u16(), headers: head.headers, body })
    }

    /// Sends it and returns when the head of the answer is there.
    pub(crate) async fn send(self) -> Download {
        self.try_send().await.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Sends it and reads the whole answer.
    pub(crate) async fn answer(self) -> Answer {
        self.send().await.collect().await
    }
}

fn describe(error: impl std::error::Error + 'static) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Download {
    pub(crate) what: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Incoming,
}

impl Download {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The next bytes; nothing at the end; an error when the body is broken off.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            let frame = within(BOUND_SECONDS, &self.what, self.body.frame()).await;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(describe(error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Length and SHA-256 of the rest of the body.
    pub(crate) async fn try_digest(mut self) -> Result<(u64, [u8; 32]), String> {
        let (mut length, mut hash) = (0, Sha256::new());
        while let Some(data) = self.next().await? {
            length += data.len() as u64;
            hash.update(&data);
        }
        Ok((length, hash.finalize().into()))
    }

    pub(crate) async fn digest(self) -> (u64, [u8; 32]) {
        let what = self.what.clone();
        let read = self.try_digest().await;
        read.unwrap_or_else(|error| panic!("{what}: the body broke off: {error}"))
    }

    pub(crate) async fn collect(mut self) -> Answer {
        let mut body = Vec::new();
        loop {
            match self.next().await {
                Ok(Some(data)) => body.extend_from_slice(&data),
                Ok(None) => break,
                Err(error) => panic!("{}: the body broke off: {error}", self.what),
            }
        }
        Answer { what: self.what, status: self.status, headers: self.headers, body: body.into() }
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    what: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The header, which must be there.
    pub(crate) fn must_have(&self, name: &str) -> &str {
        let (what, headers) = (&self.what, &self.headers);
        self.header(name).unwrap_or_else(|| panic!("{what}: no {name} in {headers:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]).into_owned()
    }

    /// Fails unless the status is this one.
    pub(crate) fn expect(self, status: u16) -> Self {
        let (what, got) = (&self.what, self.status);
        assert_eq!(got, status, "{what}: {:?} {}", self.headers, self.text());
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: {error} in {}", self.what, self.text()))
    }

    /// Fails unless it is a problem of this status; the detail of it.
    pub(crate) fn problem(self, status: u16) -> String {
        let answer = self.expect(status);
        let what = &answer.what;
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{what}");
        let problem = answer.json();
        assert_eq!(problem["status"], u64::from(status), "{what}: {problem}");
        for field in ["type", "title", "detail", "request_id"] {
            let text = problem[field].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{what}: no {field} in {problem}");
        }
        let id = answer.must_have("x-request-id");
        assert_eq!(problem["request_id"], id, "{what}: {problem}");
        problem["detail"].as_str().unwrap_or_default().to_owned()
    }
}

/// A body that is made while it is sent.
#[derive(Debug)]
struct Sent {
    content: Content,
    made: u64,
    announced: bool,
    /// Instead of the content.
    text: Option<Bytes>,
}

impl Sent {
    fn of(content: Content) -> Self {
        Self { content, made: 0, announced: true, text: None }
    }

    fn nothing() -> Self {
        Self::of(Content::new(0, 0))
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(text) = self.text.take() {
            return Poll::Ready(Some(Ok(Frame::data(text))));
        }
        if self.made == self.content.length {
            return Poll::Ready(None);
        }
        let end = (self.made + FRAME).min(self.content.length);
        let bytes = self.content.bytes(self.made, end);
        self.made = end;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.announced && self.text.is_none() && self.made == self.content.length
    }

    fn size_hint(&self) -> SizeHint {
        if let Some(text) = &self.text {
            SizeHint::with_exact(text.len() as u64)
        } else if self.announced {
            SizeHint::with_exact(self.content.length - self.made)
        } else {
            SizeHint::default()
        }
    }
}

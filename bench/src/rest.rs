//! HTTP/1.1, for Cairn and nginx alike: one connection, kept open.

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::content::Noise;
use crate::load::{Client, Failure, Operation};

/// Names in one page of a list.
const PAGE: u64 = 1000;

/// One connection.
pub(crate) struct Rest {
    sender: SendRequest<BoxBody<Bytes, std::convert::Infallible>>,
    authority: String,
    /// What comes before the name of a file.
    base: &'static str,
    noise: Noise,
    verify: bool,
}

impl Rest {
    /// Connects to `authority`, e.g. `127.0.0.1:8080`.
    pub(crate) async fn connect(
        authority: &str,
        base: &'static str,
        noise: Noise,
        verify: bool,
    ) -> Result<Self, Failure> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        cairn_runtime::Spawner::current().spawn(connection);
        Ok(Self { sender, authority: authority.to_owned(), base, noise, verify })
    }

    async fn send(
        &mut self,
        method: Method,
        path: String,
        length: Option<u64>,
        body: BoxBody<Bytes, std::convert::Infallible>,
    ) -> Result<http::Response<Incoming>, Failure> {
        let mut request =
            Request::builder().method(method).uri(path).header("host", &*self.authority);
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request.body(body)?).await?)
    }

    async fn put(&mut self, path: String, file: u64, size: u64) -> Result<u64, Failure> {
        let pieces = self.noise.clone().pieces(file, size).map(|piece| Ok(Frame::data(piece)));
        let body = BodyExt::boxed(StreamBody::new(sync(stream::iter(pieces))));
        let answer = self.send(Method::PUT, path, Some(size), body).await?;
        expect(&answer, &[StatusCode::CREATED, StatusCode::OK, StatusCode::NO_CONTENT])?;
        answer.into_body().collect().await?;
        Ok(size)
    }

    async fn get(&mut self, path: String, file: u64, size: u64) -> Result<u64, Failure> {
        let answer = self.send(Method::GET, path, None, nothing()).await?;
        expect(&answer, &[StatusCode::OK])?;
        let mut body = answer.into_body();
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if self.verify && !self.noise.matches(file, received, &data) {
                return Err(format!("file {file} differs after byte {received}").into());
            }
            received += data.len() as u64;
        }
        if received == size { Ok(size) } else { Err(format!("{received} bytes of {size}").into()) }
    }

    async fn list(&mut self, path: String, size: u64) -> Result<u64, Failure> {
        let answer = self.send(Method::GET, path, None, nothing()).await?;
        expect(&answer, &[StatusCode::OK])?;
        let page = answer.into_body().collect().await?.to_bytes();
        if self.verify {
            let page: serde_json::Value = serde_json::from_slice(&page)?;
            let first = &page["files"][0];
            if first["length"] != size || first["key"] != format!("{:08}", 0) {
                return Err(format!("the list begins with {first}").into());
            }
        }
        Ok(0)
    }

    async fn discard(
        &mut self,
        method: Method,
        path: String,
        ok: StatusCode,
    ) -> Result<u64, Failure> {
        let answer = self.send(method, path, None, nothing()).await?;
        expect(&answer, &[ok])?;
        answer.into_body().collect().await?;
        Ok(0)
    }
}

/// A small text by GET, e.g. metrics.
pub(crate) async fn text(authority: &str, path: &str) -> Result<String, Failure> {
    let mut rest = Rest::connect(authority, "", Noise::new(), false).await?;
    let answer = rest.send(Method::GET, path.to_owned(), None, nothing()).await?;
    expect(&answer, &[StatusCode::OK])?;
    Ok(String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?)
}

/// hyper wants bodies that can be shared; this one is only ever owned.
fn sync<S>(stream: S) -> sync_stream::Owned<S> {
    sync_stream::Owned::new(stream)
}

mod sync_stream {
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::{Context, Poll};

    use futures_util::Stream;

    /// A stream behind a lock that nobody else takes.
    pub(super) struct Owned<S>(Mutex<S>);

    impl<S> Owned<S> {
        pub(super) fn new(stream: S) -> Self {
            Self(Mutex::new(stream))
        }
    }

    impl<S: Stream + Unpin> Stream for Owned<S> {
        type Item = S::Item;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
            match self.0.get_mut() {
                Ok(stream) => Pin::new(stream).poll_next(cx),
                Err(_) => Poll::Ready(None),
            }
        }
    }
}

fn nothing() -> BoxBody<Bytes, std::convert::Infallible> {
    BodyExt::boxed(Empty::new())
}

fn expect(answer: &http::Response<Incoming>, ok: &[StatusCode]) -> Result<(), Failure> {
    if ok.contains(&answer.status()) {
        Ok(())
    } else {
        Err(format!("the server answered {}", answer.status()).into())
    }
}

impl Client for Rest {
    async fn run(&mut self, operation: Operation, file: u64, size: u64) -> Result<u64, Failure> {
        let path = format!("{}{file:08}", self.base);
        match operation {
            Operation::Put => self.put(path, file, size).await,
            Operation::Get => self.get(path, file, size).await,
            Operation::Delete => self.discard(Method::DELETE, path, StatusCode::NO_CONTENT).await,
            Operation::List => {
                let path = format!("{}?list&limit={PAGE}", self.base.trim_end_matches('/'));
                self.list(path, size).await
            }
        }
    }
}

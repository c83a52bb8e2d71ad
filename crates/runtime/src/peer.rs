//! Calling other services: an address becomes a channel, over the network or within the process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt;
use hyper_util::client::legacy::connect::{Connect, Connection, HttpConnector};
use hyper_util::client::legacy::{self as client, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::Service;
use tower::util::{BoxCloneSyncService, ServiceExt, service_fn};

use crate::{Owned, Spawner};

/// What generated clients are built on. Cheap to clone; connects when first used, and again after a failure.
pub type PeerChannel = BoxCloneSyncService<Request<Body>, Response<Body>, PeerError>;

/// A peer gave no answer. A type of its own, because futures that hold a boxed `dyn Error` are not seen to be `Send`.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PeerError(tower::BoxError);

/// The address cannot be dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} is no address of a service: use http://HOST:PORT")]
pub struct InvalidAddress {
    /// The address as it was given.
    pub address: String,
}

/// Turns addresses into channels.
pub trait Dial: Send + Sync + fmt::Debug {
    /// A channel for gRPC to the service at `address`. Does not wait for a connection.
    ///
    /// # Errors
    /// [`InvalidAddress`] when the text is no address.
    fn dial(&self, address: &str) -> Result<PeerChannel, InvalidAddress>;

    /// A channel for plain HTTP/1.1: one request at a time on each connection. Requests name a path alone. Does not wait
    /// for a connection.
    ///
    /// # Errors
    /// [`InvalidAddress`] when the text is no address.
    fn dial_http1(&self, address: &str) -> Result<PeerChannel, InvalidAddress>;
}

/// Cheap handle to a [`Dial`].
pub type Dialer = Arc<dyn Dial>;

/// HTTP/2 window of one stream: 64 KiB windows stall a stream of large frames.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// HTTP/2 window of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Bound on making a connection.
const CONNECT_BOUND: Duration = Duration::from_secs(3);
/// A connection that is quiet for this long is probed, so that a peer that is cut off is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// An HTTP/1.1 connection that is not used is closed after this: before the service at its other end does.
const HTTP1_IDLE: Duration = Duration::from_secs(10);
/// HTTP/1.1 connections to one peer that are kept for later.
const HTTP1_KEPT: usize = 16;
/// Read buffer of an HTTP/1.1 connection: how much of a body arrives in one piece.
const HTTP1_READ_BYTES: usize = 1 << 20;

/// Makes a gRPC channel that connects when first used.
type ConnectGrpc = dyn Fn(&Endpoint) -> Channel + Send + Sync;
/// Makes a client with connections of its own.
type ConnectHttp1 = dyn Fn() -> Http1 + Send + Sync;
type Http1 = BoxCloneSyncService<Request<Body>, Response<Incoming>, client::Error>;

/// Dials over the network.
pub struct NetworkDial {
    channels_per_peer: usize,
    grpc: Box<ConnectGrpc>,
    http1: Box<ConnectHttp1>,
}

impl fmt::Debug for NetworkDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkDial")
            .field("channels_per_peer", &self.channels_per_peer)
            .finish_non_exhaustive()
    }
}

impl NetworkDial {
    /// TCP. One connection is one task on one core, so gRPC gets several to each peer.
    pub fn tcp(channels_per_peer: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_BOUND));
        Self::with(channels_per_peer, connector)
    }

    /// Another network, such as a simulated one.
    pub fn with<C>(channels_per_peer: usize, connector: C) -> Self
    where
        C: Service<Uri> + Clone + Send + Sync + 'static,
        C::Response: rt::Read + rt::Write + Connection + Unpin + Send + 'static,
        C::Error: std::error::Error + Send + Sync + 'static,
        C::Future: Unpin + Send + 'static,
    {
        let http1 = connector.clone();
        Self {
            channels_per_peer: channels_per_peer.max(1),
            grpc: Box::new(move |endpoint| endpoint.connect_with_connector_lazy(connector.clone())),
            http1: Box::new(move || BoxCloneSyncService::new(http1_client(http1.clone()))),
        }
    }
}

fn http1_client<C>(connector: C) -> Client<C, Body>
where
    C: Connect + Clone,
{
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(HTTP1_IDLE)
        .pool_max_idle_per_host(HTTP1_KEPT)
        .http1_max_buf_size(HTTP1_READ_BYTES)
        .build(connector)
}

impl Dial for NetworkDial {
    fn dial(&self, address: &str) -> Result<PeerChannel, InvalidAddress> {
        let endpoint = Endpoint::from(peer_uri(address)?)
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_BOUND)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        Ok(in_turns((0..self.channels_per_peer).map(|_| (self.grpc)(&endpoint)).collect()))
    }

    fn dial_http1(&self, address: &str) -> Result<PeerChannel, InvalidAddress> {
        let (peer, client) = (peer_uri(address)?, (self.http1)());
        Ok(BoxCloneSyncService::new(service_fn(move |mut request: Request<Body>| {
            let (client, uri) = (client.clone(), at_peer(&peer, request.uri()));
            async move {
                *request.uri_mut() = uri.map_err(|error| PeerError(error.into()))?;
                let answer = client.oneshot(request).await;
                let answer = answer.map_err(|error| PeerError(error.into()))?;
                Ok(answer.map(Body::new))
            }
        })))
    }
}

fn peer_uri(address: &str) -> Result<Uri, InvalidAddress> {
    let uri = address.parse::<Uri>().ok();
    let usable = |uri: &Uri| uri.scheme_str() == Some("http") && uri.host().is_some();
    uri.filter(usable).ok_or_else(|| InvalidAddress { address: address.to_owned() })
}

/// The path and query of `request` at `peer`.
fn at_peer(peer: &Uri, request: &Uri) -> Result<Uri, http::uri::InvalidUriParts> {
    let mut parts = peer.clone().into_parts();
    parts.path_and_query = request.path_and_query().cloned();
    Uri::from_parts(parts)
}

/// Gives each request to the next channel.
fn in_turns(channels: Vec<Channel>) -> PeerChannel {
    let channels: Arc<[Channel]> = channels.into();
    let next = Arc::new(AtomicUsize::new(0));
    BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
        let turn = next.fetch_add(1, Ordering::Relaxed) % channels.len();
        let channel = channels[turn].clone();
        async move { channel.oneshot(request).await.map_err(|error| PeerError(error.into())) }
    }))
}

/// Services of this process, by address; others are dialled over the network.
#[derive(Debug)]
pub struct LocalDial {
    services: Mutex<BTreeMap<String, (axum::Router, Spawner)>>,
    others: Dialer,
}

impl LocalDial {
    /// No services yet; what is not added goes to `others`.
    pub fn new(others: Dialer) -> Self {
        Self { services: Mutex::default(), others }
    }

    /// Makes `routes` reachable at `address`; each request runs as a task of its own on `spawner`, as it would
    /// behind a socket.
    pub fn add(&self, address: impl Into<String>, routes: axum::Router, spawner: Spawner) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.insert(address.into(), (routes, spawner));
    }

    fn service(&self, address: &str) -> Option<PeerChannel> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let (routes, spawner) = services.get(address)?;
        Some(local(routes.clone(), spawner.clone()))
    }
}

impl Dial for LocalDial {
    fn dial(&self, address: &str) -> Result<PeerChannel, InvalidAddress> {
        self.service(address).map_or_else(|| self.others.dial(address), Ok)
    }

    fn dial_http1(&self, address: &str) -> Result<PeerChannel, InvalidAddress> {
        self.service(address).map_or_else(|| self.others.dial_http1(address), Ok)
    }
}

fn local(routes: axum::Router, spawner: Spawner) -> PeerChannel {
    BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
        let request = request.map(axum::body::Body::new);
        let answer = Owned::new(spawner.spawn(routes.clone().oneshot(request)));
        async move {
            match answer.join().await {
                Ok(Ok(response)) => Ok(response.map(Body::new)),
                Ok(Err(never)) => match never {},
                Err(panicked) => Err(PeerError(panicked.into())),
            }
        }
    }))
}

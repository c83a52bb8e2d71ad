//! Calling other services: an address becomes a channel, over the network or within the process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Uri};
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
    /// A channel to the service at `address`. Does not wait for a connection.
    ///
    /// # Errors
    /// [`InvalidAddress`] when the text is no address.
    fn dial(&self, address: &str) -> Result<PeerChannel, InvalidAddress>;
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

/// How a connection is made; turned around in a simulation.
type Connect = dyn Fn(Endpoint) -> Channel + Send + Sync;

/// Dials over the network.
pub struct NetworkDial {
    channels_per_peer: usize,
    connect: Box<Connect>,
}

impl fmt::Debug for NetworkDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkDial")
            .field("channels_per_peer", &self.channels_per_peer)
            .finish_non_exhaustive()
    }
}

impl NetworkDial {
    /// TCP. One connection is one task on one core, so a peer gets several.
    pub fn tcp(channels_per_peer: usize) -> Self {
        Self::with(channels_per_peer, |endpoint| endpoint.connect_lazy())
    }

    /// Another network: `connect` makes a channel that connects when first used.
    pub fn with(
        channels_per_peer: usize,
        connect: impl Fn(Endpoint) -> Channel + Send + Sync + 'static,
    ) -> Self {
        Self { channels_per_peer: channels_per_peer.max(1), connect: Box::new(connect) }
    }
}

impl Dial for NetworkDial {
    fn dial(&self, address: &str) -> Result<PeerChannel, InvalidAddress> {
        let invalid = || InvalidAddress { address: address.to_owned() };
        let uri: Uri = address.parse().map_err(|_| invalid())?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(invalid());
        }
        let endpoint = Endpoint::from(uri)
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_BOUND)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let channels: Vec<_> =
            (0..self.channels_per_peer).map(|_| (self.connect)(endpoint.clone())).collect();
        Ok(in_turns(channels))
    }
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
}

impl Dial for LocalDial {
    fn dial(&self, address: &str) -> Result<PeerChannel, InvalidAddress> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        match services.get(address) {
            Some((routes, spawner)) => Ok(local(routes.clone(), spawner.clone())),
            None => self.others.dial(address),
        }
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

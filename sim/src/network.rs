//! The simulated network as the services see it: a listener, and a dialer for gRPC.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use cairn_runtime::{Dialer, Listen, NetworkDial};
use http::Uri;
use hyper_util::client::legacy::connect::{self, Connected};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// Most bytes of one segment. Turmoil bounds segments, not bytes: without this a slow reader would hold nobody up.
const SEGMENT_BYTES: usize = 16 << 10;
/// Channels to each peer, as in production.
const CHANNELS_PER_PEER: usize = 2;

/// The network of one host for one life of its process, which knows its connections. Cheap to clone.
///
/// A process that dies closes its connections in the order in which they were opened. Left to the runtime, the order
/// would be that in which it drops its tasks, which depends on numbers that all simulations of this process share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network(Arc<Mutex<Connections>>);

#[derive(Debug, Default)]
struct Connections {
    down: bool,
    open: Vec<Weak<Slot>>,
}

type Slot = Mutex<Option<TcpStream>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    pub(crate) async fn bind(&self, port: u16) -> io::Result<Listener> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
        Ok(Listener { listener, network: self.clone() })
    }

    /// Connects to `host:port` by name.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> io::Result<Connection> {
        self.own(TcpStream::connect((host, port)).await?)
    }

    /// Production's dialer with this network below it.
    pub(crate) fn dialer(&self) -> Dialer {
        let network = self.clone();
        let dial = move |uri: Uri| {
            let network = network.clone();
            Box::pin(async move {
                let host = uri.host().unwrap_or_default().to_owned();
                let stream = network.connect(&host, uri.port_u16().unwrap_or(80)).await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            })
        };
        Arc::new(NetworkDial::with(CHANNELS_PER_PEER, tower::service_fn(dial)))
    }

    /// Closes all connections and opens none any more. To be called on the host.
    pub(crate) fn go_down(&self) {
        let mut connections = lock(&self.0);
        connections.down = true;
        for slot in connections.open.drain(..).filter_map(|slot| slot.upgrade()) {
            drop(lock(&slot).take());
        }
    }

    fn own(&self, stream: TcpStream) -> io::Result<Connection> {
        let mut connections = lock(&self.0);
        if connections.down {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        let slot = Arc::new(Mutex::new(Some(stream)));
        connections.open.retain(|slot| slot.strong_count() > 0);
        connections.open.push(Arc::downgrade(&slot));
        Ok(Connection(slot))
    }
}

/// Accepts connections.
pub(crate) struct Listener {
    listener: TcpListener,
    network: Network,
}

impl Listen for Listener {
    type Io = Connection;

    async fn accept(&mut self) -> io::Result<(Connection, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        Ok((self.network.own(stream)?, peer))
    }
}

/// A connection, closed when dropped or when its host's network goes down.
#[derive(Debug)]
pub(crate) struct Connection(Arc<Slot>);

impl Connection {
    fn poll<T>(
        &self,
        poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut *lock(&self.0) {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NetworkDown.into())),
        }
    }
}

impl connect::Connection for Connection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let segment = &bytes[..bytes.len().min(SEGMENT_BYTES)];
        self.poll(|stream| stream.poll_write(cx, segment))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(cx))
    }
}

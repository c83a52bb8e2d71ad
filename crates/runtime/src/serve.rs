//! The accept loop of every service.
//!
//! ```text
//! accept ─► (connection limit) ─► task: sniff ─► HTTP/1 or HTTP/2 ─► routes
//! ```
//!
//! On `Draining` the listener closes and every connection finishes the requests that it has; on `Stopped` what is
//! left is dropped.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::drain::{Drained, Phase};
use crate::listen::{Listen, Protocol, Rewound, sniff};
use crate::{Clock, Spawner};

/// Bounds on what clients may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections at once; more wait in the backlog of the operating system. Default 1024.
    pub connections: usize,
    /// Bytes of a request's headers; more is answered with 431. Default 32 KiB.
    pub header_bytes: usize,
    /// Time for the first bytes of a connection, and for a request's headers. Default 15 s.
    pub header_time: Duration,
    /// Streams at once on one HTTP/2 connection. Default 256.
    pub streams: u32,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            header_bytes: 32 << 10,
            header_time: Duration::from_secs(15),
            streams: 256,
        }
    }
}

/// Header fields of one request; more are answered with 431.
const MAX_HEADERS: usize = 128;
/// Read buffer of an HTTP/1 connection: the size in which bodies arrive.
const READ_BUFFER_BYTES: usize = 256 << 10;
/// HTTP/2 windows and frames: as wide as the ones in [`crate::peer`].
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const FRAME_BYTES: u32 = 1 << 20;
/// Wait after the operating system refused a connection (e.g. no file descriptor), instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `routes` to everyone who connects, until `drained` says to stop.
pub async fn serve<L: Listen>(
    mut listener: L,
    routes: Router,
    limits: ServeLimits,
    clock: Clock,
    spawner: Spawner,
    mut drained: Drained,
) {
    let connection = Connection { routes, limits, clock: clock.clone(), drained: drained.clone() };
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut draining = drained.clone();
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepted = async { (place.await, listener.accept().await) };
        let (place, accepted) = tokio::select! {
            biased;
            () = draining.reached(Phase::Draining) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accepted => accepted,
        };
        let Ok((io, peer)) = accepted else {
            clock.sleep(ACCEPT_PAUSE).await;
            continue;
        };
        tracing::trace!(%peer, "connection");
        let connection = connection.clone();
        spawner.spawn_in(&mut connections, async move {
            connection.run(io).await;
            drop(place);
        });
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        biased;
        () = finished => {}
        () = drained.reached(Phase::Stopped) => {}
    }
    // Returns when what was broken off is gone as well, so that whoever waits may stop what it needed.
    connections.shutdown().await;
}

#[derive(Clone)]
struct Connection {
    routes: Router,
    limits: ServeLimits,
    clock: Clock,
    drained: Drained,
}

impl Connection {
    async fn run<Io>(self, io: Io)
    where
        Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let sniffed = self.clock.timeout(self.limits.header_time, sniff(io)).await;
        let Ok(Ok((protocol, io))) = sniffed else {
            return;
        };
        let ended = match protocol {
            Protocol::Http1 => self.http1(io).await,
            Protocol::Http2 => self.http2(io).await,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }

    async fn http1<Io>(mut self, io: Rewound<Io>) -> hyper::Result<()>
    where
        Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_time)
            .max_headers(MAX_HEADERS)
            .max_header_size(self.limits.header_bytes)
            .max_buf_size(READ_BUFFER_BYTES);
        let service = TowerToHyperService::new(self.routes);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = self.drained.reached(Phase::Draining) => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }

    async fn http2<Io>(mut self, io: Rewound<Io>) -> hyper::Result<()>
    where
        Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let header_bytes = u32::try_from(self.limits.header_bytes).unwrap_or(u32::MAX);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(header_bytes)
            .max_concurrent_streams(self.limits.streams)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES);
        let service = TowerToHyperService::new(self.routes);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = self.drained.reached(Phase::Draining) => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }
}

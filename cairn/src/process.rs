//! What every command shares: runtimes, seams, listening, signals, stopping in order.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::thread::available_parallelism;
use std::time::Duration;

use axum::Router;
use cairn_runtime::ops::{Metrics, Readiness};
use cairn_runtime::request::Guard;
use cairn_runtime::{
    Blocking, Clock, Drain, Drained, Entropy, ServeLimits, Spawner, serve, telemetry,
};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::args::Common;

/// Why a command ended without having done its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// Something failed.
    #[error("{doing}: {cause}")]
    Failed { doing: String, cause: String },
}

/// Says what was done when something failed.
pub(crate) fn failed<E: ToString>(doing: impl Into<String>) -> impl FnOnce(E) -> StartError {
    let doing = doing.into();
    move |cause| StartError::Failed { doing, cause: cause.to_string() }
}

/// Channels to each peer: connections are tasks, and one task is one core.
pub(crate) const CHANNELS_PER_PEER: usize = 2;
/// Threads for each node's disk. More let more fsyncs wait at once.
pub(crate) const DISK_THREADS: usize = 8;

/// Longest wait for aborts of uploads that were broken off by the end.
pub(crate) const SETTLE_BOUND: Duration = Duration::from_secs(3);

/// One process of Cairn.
pub(crate) struct Process {
    /// For chunk bytes: gateways and nodes.
    data: Runtime,
    /// For facts and heartbeats, which never wait for data.
    control: Runtime,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    drain_for: Duration,
}

impl Process {
    /// Checks that the command is allowed to serve, sets up logs and runtimes.
    pub(crate) fn start(common: &Common, listen: &[SocketAddr]) -> Result<Self, StartError> {
        allowed(common, listen)?;
        let log_error = |error: telemetry::LogError| StartError::Usage(error.to_string());
        telemetry::init(common.log_format.into(), &common.log).map_err(log_error)?;
        let cores = available_parallelism().map_or(1, usize::from);
        let data = runtime("cairn-data", cores)?;
        let control = runtime("cairn-control", 1)?;
        let clock = data.block_on(async { Clock::system() });
        Ok(Self {
            data,
            control,
            clock,
            entropy: Entropy::from_system().map_err(failed("start"))?,
            metrics: Metrics::default(),
            readiness: Readiness::default(),
            drain_for: common.drain_for,
        })
    }

    pub(crate) fn data(&self) -> Spawner {
        Spawner::on(self.data.handle().clone())
    }

    pub(crate) fn control(&self) -> Spawner {
        Spawner::on(self.control.handle().clone())
    }

    /// Threads that hash: one for each core.
    pub(crate) fn hashing(&self) -> Result<Blocking, StartError> {
        let cores = available_parallelism().map_or(1, usize::from);
        Blocking::threads("cairn-hash", cores).map_err(failed("start hashing threads"))
    }

    /// Threads for one disk.
    pub(crate) fn disk(&self) -> Result<Blocking, StartError> {
        Blocking::threads("cairn-disk", DISK_THREADS).map_err(failed("start disk threads"))
    }

    pub(crate) fn guard(&self, service: &'static str) -> Guard {
        Guard { service, clock: self.clock.clone(), entropy: self.entropy.clone() }
    }

    /// Runs `main` on the data runtime.
    pub(crate) fn run<T>(&self, main: impl Future<Output = T>) -> T {
        self.data.block_on(main)
    }

    /// Listens, and serves `routes` until `drained`.
    pub(crate) async fn serve(
        &self,
        listen: SocketAddr,
        routes: Router,
        spawner: &Spawner,
        drained: Drained,
    ) -> Result<Served, StartError> {
        let bound = bind(listen).await?;
        Ok(self.serve_on(bound, routes, spawner, drained))
    }

    /// Serves `routes` on what was bound before.
    pub(crate) fn serve_on(
        &self,
        bound: Bound,
        routes: Router,
        spawner: &Spawner,
        drained: Drained,
    ) -> Served {
        let Bound { listener, address } = bound;
        let (limits, clock) = (ServeLimits::default(), self.clock.clone());
        let served = serve(listener, routes, limits, clock, spawner.clone(), drained);
        Served { address, task: spawner.spawn(served) }
    }

    /// Waits for SIGTERM or Ctrl-C, then lets `served` finish what they have.
    pub(crate) async fn until_stopped(
        &self,
        drain: &Drain,
        served: Vec<Served>,
    ) -> Result<(), StartError> {
        stop_signal().await.map_err(failed("wait for signals"))?;
        tracing::info!("draining");
        drain.begin();
        let mut finished = std::pin::pin!(async {
            for one in served {
                // A task that panicked has ended as well.
                let _ = one.task.await;
            }
        });
        if self.clock.timeout(self.drain_for, finished.as_mut()).await.is_err() {
            tracing::warn!(waited = ?self.drain_for, "requests are broken off");
            drain.finish();
            finished.await;
        }
        drain.finish();
        Ok(())
    }

    /// Ends what still runs.
    pub(crate) fn end(self) {
        self.control.shutdown_timeout(Duration::from_secs(1));
        self.data.shutdown_timeout(Duration::from_secs(1));
    }
}

/// A listener that serves nothing yet.
pub(crate) struct Bound {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// Takes an address; port 0 takes a free port.
pub(crate) async fn bind(listen: SocketAddr) -> Result<Bound, StartError> {
    let listener = TcpListener::bind(listen).await;
    let listener = listener.map_err(failed(format!("listen on {listen}")))?;
    let address = listener.local_addr().map_err(failed("read the listening address"))?;
    Ok(Bound { listener, address })
}

/// A listener at work.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

/// Tells people and scripts what they wait for. A reader that has gone away (`cairn up | head -1`) is no reason to stop
/// serving.
pub(crate) fn announce(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Without identity, services are open to all who can connect: only where that was asked for by name.
fn allowed(common: &Common, listen: &[SocketAddr]) -> Result<(), StartError> {
    if !common.open {
        return Err(StartError::Usage(
            "there are no users and keys yet, so whoever can connect can read and write everything: \
             say --open to accept that"
                .to_owned(),
        ));
    }
    let outside = listen.iter().find(|address| !address.ip().is_loopback());
    match outside {
        Some(address) if !common.open_to_network => Err(StartError::Usage(format!(
            "{address} is no loopback address: say --open-to-network to let everyone on the \
             network read and write everything"
        ))),
        _ => Ok(()),
    }
}

fn runtime(name: &str, threads: usize) -> Result<Runtime, StartError> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name(name).enable_all();
    builder.build().map_err(failed("start a runtime"))
}

async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

//! What every command shares: runtimes, seams, listening, signals, stopping in order.

use std::future::Future;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use axum::Router;
use cairn_runtime::measure::RequestMetrics;
use cairn_runtime::ops::{Metrics, Readiness};
use cairn_runtime::request::Guard;
use cairn_runtime::telemetry::{self, SpanCounts, Traces, TracesConfig};
use cairn_runtime::{
    Blocking, Clock, Dialer, Drain, Drained, Entropy, ServeLimits, Spawner, TracedDial, serve,
};
use http::Uri;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::args::{Common, TraceSettings};

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
    requests: RequestMetrics,
    traces: Option<Traces>,
    drain_for: Duration,
}

impl Process {
    /// Checks that the command is allowed to serve, sets up logs, traces and runtimes. `service` is the command's name.
    pub(crate) fn start(
        service: &str,
        common: &Common,
        listen: &[SocketAddr],
    ) -> Result<Self, StartError> {
        allowed(common, listen)?;
        let cores = available_parallelism().map_or(1, usize::from);
        let data = runtime("cairn-data", cores)?;
        let control = runtime("cairn-control", 1)?;
        let clock = data.block_on(async { Clock::system() });
        let metrics = Metrics::default();
        let spawner = Spawner::on(data.handle().clone());
        let traces = traces(service, &common.traces, &metrics, &clock, &spawner)?;
        telemetry::init(common.log_format.into(), &common.log, traces.as_ref())
            .map_err(|error| StartError::Usage(error.to_string()))?;
        let requests = metrics.register(|registry| {
            cairn_runtime::process_metrics::register(registry, &clock);
            RequestMetrics::register(registry)
        });
        Ok(Self {
            data,
            control,
            clock,
            entropy: Entropy::from_system().map_err(failed("start"))?,
            metrics,
            readiness: Readiness::default(),
            requests,
            traces,
            drain_for: common.drain_for,
        })
    }

    /// Dials through `dialer`; calls carry the trace of their request, when there are traces.
    pub(crate) fn traced(&self, dialer: Dialer) -> Dialer {
        match self.traces {
            Some(_) => Arc::new(TracedDial::new(dialer)),
            None => dialer,
        }
    }

    /// Counts the requests that `routes` get. `route` names the route of a plain HTTP request.
    pub(crate) fn measured(
        &self,
        service: &'static str,
        route: fn(&Uri) -> &'static str,
        routes: Router,
    ) -> Router {
        self.requests.around(service, route, self.clock.clone(), routes)
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
        signals: StopSignals,
        drain: &Drain,
        served: Vec<Served>,
    ) -> Result<(), StartError> {
        signals.received().await;
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

    /// Sends the last traces and ends what still runs.
    pub(crate) fn end(self) {
        if let Some(traces) = self.traces {
            self.data.block_on(traces.end());
        }
        self.control.shutdown_timeout(Duration::from_secs(1));
        self.data.shutdown_timeout(Duration::from_secs(1));
    }
}

fn traces(
    service: &str,
    settings: &TraceSettings,
    metrics: &Metrics,
    clock: &Clock,
    spawner: &Spawner,
) -> Result<Option<Traces>, StartError> {
    let start = |registry: &mut Registry| {
        let counts = SpanCounts::register(registry);
        let Some(endpoint) = settings.otlp_endpoint.clone() else { return Ok(None) };
        let config = TracesConfig {
            endpoint,
            sample: settings.otlp_sample,
            service: settings.otlp_service.clone().unwrap_or_else(|| format!("cairn-{service}")),
            instance: settings.otlp_instance.clone().unwrap_or_else(instance),
        };
        Traces::start(&config, counts, clock.clone(), spawner).map(Some)
    };
    metrics.register(start).map_err(|error| StartError::Usage(error.to_string()))
}

/// Tells processes apart, also several on one host.
fn instance() -> String {
    let host = rustix::system::uname();
    format!("{}:{}", host.nodename().to_string_lossy(), std::process::id())
}

/// A listener that serves nothing yet.
pub(crate) struct Bound {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// Takes an address; port 0 takes a free port.
pub(crate) async fn bind(listen: SocketAddr) -> Result<Bound, StartError> {
    let listener = TcpListener::bind(listen).await;
    let taken = "another program listens there: stop it, or choose another address or port 0";
    let listener = listener.map_err(|error| {
        let in_use = error.kind() == ErrorKind::AddrInUse;
        let cause = if in_use { taken.to_owned() } else { error.to_string() };
        failed(format!("listen on {listen}"))(cause)
    })?;
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

/// SIGTERM and Ctrl-C, heard from [`Self::listen`] on: before it they end the process at once, as it has nothing to
/// finish.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// To be called before anybody is told that the service is there.
    pub(crate) fn listen() -> Result<Self, StartError> {
        let listen = |kind| signal(kind).map_err(failed("wait for signals"));
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: listen(terminate)?, interrupt: listen(interrupt)? })
    }

    async fn received(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

//! Keeps the node known to a master; there is one of these for each.
//!
//! ```text
//!   ┌──────────────► register ──── refused or no answer: wait, again ───┐
//!   │                    │ ◄────────────────────────────────────────────┘
//!   │                    ▼
//!   └─ node unknown ─ heartbeat, each interval; no answer: wait less, again
//! ```

use std::sync::Arc;
use std::time::Duration;

use cairn_chain::{ChunkStore, DiskReport, TierReport};
use cairn_proto::error::refuse;
use cairn_proto::v1::master_client::MasterClient;
use cairn_proto::v1::{DiskStatus, HeartbeatRequest, NodeStatus, RegisterNodeRequest, TierStatus};
use cairn_proto::{Reason, RemoteError, convert};
use cairn_runtime::{Clock, Drained, Entropy, PeerChannel, Phase};
use prometheus_client::metrics::gauge::Gauge;
use tonic::{Request, Response, Status};

use crate::config::Config;
use crate::fence::Fence;
use crate::metrics::Metrics;

/// A master that asks for more heartbeats than this is not taken at its word.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);
/// A master that asks for fewer heartbeats than this is not taken at its word.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// Most characters of an error in a heartbeat: within 1,024 bytes, whatever they are.
const MAX_ERROR_CHARS: usize = 256;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) master: MasterClient<PeerChannel>,
    /// Where that master is.
    pub(crate) address: String,
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn ChunkStore>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) drained: Drained,
    pub(crate) metrics: Metrics,
    pub(crate) fence: Fence,
}

impl Registration {
    /// Runs until the node is told to stop.
    pub(crate) async fn run(mut self) {
        let mut drained = self.drained.clone();
        tokio::select! {
            biased;
            () = drained.reached(Phase::Draining) => {}
            () = self.keep_known() => {}
        }
    }

    async fn keep_known(&mut self) {
        loop {
            let interval = self.register().await;
            let _known = Known::to_one_more(&self.metrics.registered);
            self.heartbeats(interval).await;
        }
    }

    /// Registers, however long it takes; gives the interval of heartbeats.
    async fn register(&mut self) -> Duration {
        let mut backoff = Backoff::new(&self.config);
        loop {
            match self.call_register().await {
                Ok(interval) => {
                    tracing::info!(
                        target: "cairn",
                        node = %self.config.identity.node(), disks = self.disks_named(),
                        address = self.config.address, master = self.address, ?interval,
                        "registered with the master"
                    );
                    return interval;
                }
                Err(error) => self.failed("register", &error, &mut backoff).await,
            }
        }
    }

    /// Sends heartbeats until the master does not know the node.
    async fn heartbeats(&mut self, interval: Duration) {
        let mut backoff = Backoff::new(&self.config);
        self.clock.sleep(interval).await;
        loop {
            match self.call_heartbeat().await {
                Ok(()) => {
                    backoff = Backoff::new(&self.config);
                    self.clock.sleep(interval).await;
                }
                Err(error) if error.reason == Reason::NodeUnknown => {
                    tracing::info!(target: "cairn", node = %self.config.identity.node(), master = self.address, "the master asks to register");
                    return;
                }
                Err(error) => self.failed("heartbeat", &error, &mut backoff).await,
            }
        }
    }

    async fn failed(&self, call: &'static str, error: &RemoteError, backoff: &mut Backoff) {
        let wait = backoff.next(&self.entropy);
        self.metrics.failed(call, error.reason);
        tracing::warn!(target: "cairn", call, master = self.address, %error, ?wait, "the master did not take the call");
        self.clock.sleep(wait).await;
    }

    async fn call_register(&mut self) -> Result<Duration, RemoteError> {
        let catalog = self.config.identity.catalog();
        let request = RegisterNodeRequest {
            node_id: convert::bytes(self.config.identity.node().as_bytes()),
            address: self.config.address.clone(),
            zone: self.config.zone.clone(),
            status: Some(self.status()),
            catalog_id: catalog.map(|id| convert::bytes(id.as_bytes())).unwrap_or_default(),
        };
        let request = self.request(request);
        let call = self.master.register_node(request);
        let answer = bounded(&self.clock, self.config.call_bound, call).await?;
        self.join(&answer.catalog_id).await?;
        let interval = Duration::from_millis(answer.heartbeat_ms);
        Ok(interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL))
    }

    /// Belongs to the master's catalog before anything is stored for it.
    async fn join(&self, catalog: &[u8]) -> Result<(), RemoteError> {
        let joined = match convert::catalog_id(catalog) {
            Ok(catalog) => self.config.identity.join(catalog).await.map_err(|e| e.to_string()),
            Err(field) => Err(field.to_string()),
        };
        joined.map_err(|problem| refuse(Reason::ForeignCatalog, false, problem).into())
    }

    async fn call_heartbeat(&mut self) -> Result<(), RemoteError> {
        let request = HeartbeatRequest {
            node_id: convert::bytes(self.config.identity.node().as_bytes()),
            status: Some(self.status()),
        };
        let request = self.request(request);
        let call = self.master.heartbeat(request);
        bounded(&self.clock, self.config.call_bound, call).await.map(drop)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.config.call_bound);
        request
    }

    /// The disks' incarnations, for the log.
    fn disks_named(&self) -> String {
        let disks = self.store.disks();
        disks.iter().map(|report| report.disk.to_string()).collect::<Vec<_>>().join(" ")
    }

    fn status(&self) -> NodeStatus {
        // Before anything else is asked: what is told of it was so at this moment, or later.
        let moment = self.fence.moment();
        let usage = self.store.usage();
        NodeStatus {
            capacity: usage.capacity,
            used: usage.capacity - usage.free(),
            chunks: usage.chunks,
            open_writes: usage.open_writes,
            disks: self.store.disks().iter().map(disk_status).collect(),
            tiers: self.store.tiers().iter().map(tier_status).collect(),
            moment: Some(moment.into()),
        }
    }
}

fn disk_status(report: &DiskReport) -> DiskStatus {
    let DiskReport { disk, usage, failed } = *report;
    DiskStatus {
        disk: convert::bytes(disk.as_bytes()),
        capacity: usage.capacity,
        used: usage.used + usage.reserved,
        chunks: usage.chunks,
        damaged: usage.damaged,
        failed,
    }
}

fn tier_status(report: &TierReport) -> TierStatus {
    let TierReport { tier, usage, degraded, errors, last_error, waiting, .. } = report;
    TierStatus {
        name: tier.to_string(),
        capacity: usage.capacity,
        used: usage.used + usage.reserved,
        degraded: *degraded,
        errors: *errors,
        last_error: last_error.as_deref().map(shortened).unwrap_or_default(),
        waiting: *waiting,
    }
}

/// The beginning of a text that may be too long for a heartbeat.
fn shortened(text: &str) -> String {
    text.chars().take(MAX_ERROR_CHARS).collect()
}

/// The answer of a call, or an error when there is none in time.
pub(crate) async fn bounded<T>(
    clock: &Clock,
    bound: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, RemoteError> {
    let answer = clock.timeout(bound, call).await;
    let answer = answer.unwrap_or_else(|late| Err(Status::deadline_exceeded(late.to_string())));
    Ok(answer?.into_inner())
}

/// A master knows the node, until this is dropped.
struct Known(Gauge);

impl Known {
    fn to_one_more(registered: &Gauge) -> Self {
        registered.inc();
        Self(registered.clone())
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Waits that double up to a bound, half of each random.
#[derive(Debug)]
struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    fn new(config: &Config) -> Self {
        Self { next: config.retry_first.min(config.retry_most), most: config.retry_most }
    }

    fn next(&mut self, entropy: &Entropy) -> Duration {
        let half = self.next / 2;
        self.next = (self.next * 2).min(self.most);
        let random = entropy.below(u64::try_from(half.as_micros()).unwrap_or(u64::MAX));
        half + Duration::from_micros(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_are_never_none() {
        let mut backoff =
            Backoff { next: Duration::from_millis(200), most: Duration::from_secs(5) };
        let entropy = Entropy::seeded(3);
        let waits: Vec<_> = (0..10).map(|_| backoff.next(&entropy)).collect();
        assert!(waits[0] >= Duration::from_millis(100) && waits[0] < Duration::from_millis(200));
        assert!(waits.iter().all(|wait| *wait < Duration::from_secs(5)), "{waits:?}");
        assert!(waits[9] >= Duration::from_millis(2500), "{waits:?}");
    }
}

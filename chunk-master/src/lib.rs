//! The chunk master: it owns every fact about files, quotas and placement.
//!
//! ```text
//! rpc/    one file per call of cairn.v1.Master      wire ─► domain ─► one transaction ─► wire
//! admin/  the calls of cairn.v1.Admin
//!   │
//!   ├─► upload/  object/  bucket/   what a call does to the catalog, as pure bounded closures over a transaction
//!   │        └─► catalog/  the records, one file each ─► cairn-kv
//!   ├─► nodes/             registry in memory, placement, channels to nodes
//! journal/             what is committed, on storage nodes as well; backup: all of it, read and restored
//! jobs/                    what takes long, in steps that another master goes on with; a file per kind
//! sweep/                   expires, purges, erases; plans in the catalog, then asks nodes
//! repair/                  gives each chunk the copies it should have, where they should be: repair, drain, rebalance
//! audit/                   whether all records agree with each other
//! fsck/                    the same beside the traffic, and with what the nodes hold; mends what can be mended
//! ```
//!
//! Invariants: all facts are in the key-value store, and what is in memory (liveness, fill, cursors) can be
//! lost; no lock is held across an await; nothing waits without a bound; a chunk is deleted on a node only
//! when its blob is absent or Purging, which is final, or as a copy that nobody names, as of a moment of its node: what is
//! written there later stays.

mod accounts;
mod admin;
mod answer;
mod audit;
mod backup;
mod bucket;
mod catalog;
mod census;
mod config;
mod duties;
mod error;
mod fsck;
mod jobs;
mod journal;
mod master;
mod metrics;
mod nodes;
mod object;
mod repair;
mod rpc;
mod sweep;
mod tenant;
mod time;
mod upload;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use cairn_core::ids::CatalogId;
use cairn_kv::Kv;
use cairn_proto::MAX_MESSAGE_BYTES;
use cairn_proto::v1::admin_server::AdminServer;
use cairn_proto::v1::master_server::MasterServer;
use cairn_runtime::{Clock, Dialer, Entropy, Spawner};
use prometheus_client::registry::Registry as MetricsRegistry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use admin::service::AdminRpc;
pub use audit::{Audit, audit};
pub use backup::{Import, export};
pub use catalog::Held;
pub use config::Config;
#[cfg(feature = "seeded-bugs")]
pub use config::SeededBug;
pub use journal::MetaJournal;
pub use master::known_nodes;
pub use rpc::service::MasterRpc;
pub use sweep::SweepReport;

use master::Master;

/// Components that come from outside, so that a simulation can give its own.
#[derive(Debug, Clone)]
pub struct Seams {
    /// Time.
    pub clock: Clock,
    /// Randomness, for ids.
    pub entropy: Entropy,
    /// Where the master's loops run.
    pub spawner: Spawner,
    /// How nodes are reached.
    pub dialer: Dialer,
}

/// The master does not start, or a pass of the sweep broke off. The text tells the operator why.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {cause}")]
pub struct MasterError {
    doing: &'static str,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl MasterError {
    fn new<E: std::error::Error + Send + Sync + 'static>(
        doing: &'static str,
    ) -> impl Fn(E) -> Self {
        move |cause| Self { doing, cause: Box::new(cause) }
    }
}

/// The chunk master. Cheap to clone; clones are the same master.
#[derive(Clone)]
pub struct ChunkMaster {
    master: Arc<Master>,
    spawner: Spawner,
    ready: Arc<AtomicBool>,
}

impl fmt::Debug for ChunkMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkMaster")
            .field("config", &self.master.config)
            .field("ready", &self.ready())
            .finish_non_exhaustive()
    }
}

/// Puts a master together. It does nothing before [`ChunkMaster::start`].
pub fn build(config: Config, kv: Kv, seams: Seams) -> ChunkMaster {
    let Seams { clock, entropy, spawner, dialer } = seams;
    let master = Master {
        nodes: nodes::Registry::new(clock.clone(), &config),
        peers: nodes::Peers::new(dialer, clock.clone(), config.node_call),
        sweeper: sweep::Sweeper::new(),
        census: census::Round::default(),
        repairer: repair::Repairer::new(clock.clone()),
        jobs: jobs::Jobs::new(kv.clone()),
        metrics: metrics::Metrics::default(),
        time: time::Time::new(clock.clone()),
        freed: watch::Sender::new(0),
        duties: duties::Duties::new(entropy.uuid_v7(&clock), !kv.is_shared()),
        catalog: OnceLock::new(),
        journal: OnceLock::new(),
        spawner: spawner.clone(),
        stop: CancellationToken::new(),
        config,
        kv,
        clock,
        entropy,
    };
    ChunkMaster { master: Arc::new(master), spawner, ready: Arc::default() }
}

impl ChunkMaster {
    /// `cairn.v1.Master`, for gateways and nodes. To be served once [`Self::start`] is done.
    pub fn master_service(&self) -> MasterServer<MasterRpc> {
        MasterServer::new(MasterRpc(Arc::clone(&self.master)))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// `cairn.v1.Admin`, for the admin port.
    pub fn admin_service(&self) -> AdminServer<AdminRpc> {
        AdminServer::new(AdminRpc(Arc::clone(&self.master)))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The calls of `cairn.v1.Master` for callers in this process: as the service has them, without a wire.
    pub fn calls(&self) -> MasterRpc {
        MasterRpc(Arc::clone(&self.master))
    }

    /// The calls of `cairn.v1.Admin` for callers in this process.
    pub fn admin(&self) -> AdminRpc {
        AdminRpc(Arc::clone(&self.master))
    }

    /// Keeps `journal`, which the store was opened with, on nodes once the master has started. To be called before that.
    pub fn keep_journal(&self, journal: MetaJournal) {
        self.master.journal.get_or_init(|| journal);
    }

    /// Shows the master's metrics in `registry`.
    pub fn register_metrics(&self, registry: &mut MetricsRegistry) {
        self.master.metrics.register(registry);
        metrics::Metrics::register_store(self.master.kv.clone(), registry);
        metrics::Metrics::register_progress(&self.master, registry);
        if let Some(journal) = self.master.journal.get() {
            metrics::Metrics::register_journal(journal.clone(), registry);
        }
    }

    /// [`Self::open`]s the catalog and starts the loops. To be called once.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn start(&self) -> Result<(), MasterError> {
        self.open().await?;
        if let Some(journal) = self.master.journal.get().cloned() {
            let (keeping, spawner) = (Arc::clone(&self.master), self.spawner.clone());
            self.spawner.spawn(async move { journal::run(&keeping, &journal, &spawner).await });
        }
        self.master.metrics.does_duties(self.does_duties());
        if self.master.kv.is_shared() {
            let looking = Arc::clone(&self.master);
            self.spawner.spawn(async move { duties::run(&looking).await });
        }
        let sweeping = Arc::clone(&self.master);
        self.spawner.spawn(async move { sweep::run(&sweeping).await });
        let repairing = Arc::clone(&self.master);
        self.spawner.spawn(async move { repair::run(&repairing).await });
        let working = Arc::clone(&self.master);
        self.spawner.spawn(async move { jobs::run(&working).await });
        let watching = Arc::clone(&self.master);
        self.spawner.spawn(async move { watch_liveness(&watching).await });
        Ok(())
    }

    /// Makes the standard tenant and bucket of a new catalog and reads the nodes from the catalog: from here on calls are answered. Without the
    /// loops that [`Self::start`] adds, sweeps happen only when [`Self::pass`] is called.
    ///
    /// # Errors
    /// [`MasterError`] when the store cannot be read or written.
    pub async fn open(&self) -> Result<(), MasterError> {
        let master = &self.master;
        let drawn = CatalogId::from_uuid(master.entropy.uuid_v7(&master.clock));
        duties::look(master).await.map_err(MasterError::new("learn who does the duties"))?;
        let catalog = master::found_catalog(&master.kv, drawn, master.time.wall_ms()).await;
        let catalog = catalog.map_err(MasterError::new("read or make the catalog"))?;
        master.catalog.get_or_init(|| catalog);
        let nodes = master::know_nodes(master).await;
        nodes.map_err(MasterError::new("read the nodes"))?;
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    /// True from the end of [`Self::start`] until [`Self::stop`].
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.master.stop.is_cancelled()
    }

    /// True while this master does what one of several does for all: the sweep, and saying what time it is.
    pub fn does_duties(&self) -> bool {
        self.master.duties.are_mine(self.master.clock.monotonic())
    }

    /// Nodes that take chunks now.
    pub fn nodes_up(&self) -> usize {
        let nodes = self.master.nodes.directory();
        nodes.values().filter(|node| node.state.takes_chunks()).count()
    }

    /// Ends the loops and the streams of watchers. Calls that still come are answered; the store is its
    /// owner's to close.
    pub fn stop(&self) {
        self.master.stop.cancel();
    }

    /// Walks the whole catalog once and makes anew the copies that chunks are short of, as the loops do, until nothing is left that
    /// can be made now.
    ///
    /// # Errors
    /// [`MasterError`] when the catalog cannot be read; what was made stays made.
    pub async fn repair(&self) -> Result<(), MasterError> {
        let round = census::round(&self.master).await;
        round.map_err(MasterError::new("look for chunks that are short of copies"))?;
        let repaired = repair::until_idle(&self.master).await;
        repaired.map_err(MasterError::new("look for chunks that are to be moved"))
    }

    /// Lets the deletions of buckets get on, and runs one bounded pass of the sweep, as the loops do.
    ///
    /// # Errors
    /// [`MasterError`] when the store fails; what was done stays done.
    pub async fn pass(&self) -> Result<SweepReport, MasterError> {
        jobs::delete_buckets(&self.master).await;
        let pass = sweep::pass(&self.master, sweep::Effort::Bounded).await;
        pass.map_err(MasterError::new("sweep"))
    }
}

/// Judges silence several times a heartbeat, so that watchers hear of it without delay.
async fn watch_liveness(master: &Master) {
    let interval = master.config.heartbeat / 2;
    loop {
        master.nodes.reassess();
        master.metrics.show_nodes(&master.nodes.directory());
        let pause = master.clock.sleep(interval);
        if master.stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

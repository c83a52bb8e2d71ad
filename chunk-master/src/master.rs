//! What all calls and loops share.

use std::sync::OnceLock;

use cairn_core::bucket::ClusterDefaults;
use cairn_core::ids::{CatalogId, NodeId};
use cairn_core::names::{BucketName, TenantId};
use cairn_kv::{Durability, Kv, Snapshot, TransactError, Txn, ViewError};
use cairn_proto::WireError;
use cairn_runtime::{Clock, Entropy, Spawner};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::MasterError;
use crate::answer;
use crate::backup::{self, BackupError};
use crate::catalog::{Bucket, BucketKey, Identity, NodeRecord, Tenant, record};
use crate::census::Round;
use crate::config::{Config, SeededBug, millis};
use crate::duties::Duties;
use crate::error::{CatalogError, operation_error};
use crate::jobs::Jobs;
use crate::journal::MetaJournal;
use crate::metrics::Metrics;
use crate::nodes::{Peers, Registry};
use crate::object::condemn::Moment;
use crate::repair::Repairer;
use crate::sweep::Sweeper;
use crate::time::Time;

operation_error! {
    /// Why the master does not start.
    LoadError {
        Catalog(CatalogError),
    }
}

/// The master's state: all facts are in `kv`, the rest can be lost.
#[derive(Debug)]
pub(crate) struct Master {
    pub(crate) config: Config,
    pub(crate) kv: Kv,
    pub(crate) clock: Clock,
    pub(crate) time: Time,
    pub(crate) entropy: Entropy,
    pub(crate) nodes: Registry,
    pub(crate) peers: Peers,
    pub(crate) sweeper: Sweeper,
    pub(crate) census: Round,
    pub(crate) repairer: Repairer,
    pub(crate) jobs: Jobs,
    pub(crate) metrics: Metrics,
    /// Bumped after each transaction that gives quota back, for those who wait for it.
    pub(crate) freed: watch::Sender<u64>,
    /// Whether it does what is done once for all masters.
    pub(crate) duties: Duties,
    /// Which catalog this is; known from the start on.
    pub(crate) catalog: OnceLock<CatalogId>,
    /// Where the metadata is kept besides the store.
    pub(crate) journal: OnceLock<MetaJournal>,
    pub(crate) spawner: Spawner,
    pub(crate) stop: CancellationToken,
}

impl Master {
    /// Runs a transaction of a call; what goes wrong becomes the answer.
    pub(crate) async fn transact<T, E, F>(
        &self,
        durability: Durability,
        closure: F,
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        E: WireError + Send + 'static,
        F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
    {
        let begun = self.clock.monotonic();
        let done = self.kv.transact(durability, closure).await;
        self.metrics.transacted(durability, self.clock.monotonic().saturating_sub(begun));
        done.map_err(answer::not_transacted)
    }

    /// As [`Self::transact`], without waiting for the journal, and also while that is behind.
    pub(crate) async fn transact_locally<T, E, F>(
        &self,
        durability: Durability,
        closure: F,
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        E: WireError + Send + 'static,
        F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
    {
        let done = self.kv.transact_locally(durability, closure).await;
        done.map_err(answer::not_transacted)
    }

    /// Runs a view of a call; what goes wrong becomes the answer.
    pub(crate) async fn view<T, E, F>(&self, closure: F) -> Result<T, Status>
    where
        T: Send + 'static,
        E: WireError + Send + 'static,
        F: FnMut(&Snapshot<'_>) -> Result<T, E> + Send + 'static,
    {
        self.kv.view(closure).await.map_err(answer::not_viewed)
    }

    /// How durable a change is before a client is told of it. `bug` is the fault on purpose by which it is not.
    pub(crate) fn acknowledged(&self, bug: SeededBug) -> Durability {
        if self.config.faults().has(bug) { Durability::Buffered } else { Durability::Synced }
    }

    /// What counts where a bucket says nothing.
    pub(crate) fn defaults(&self) -> ClusterDefaults {
        let Config { copies, least_copies, condemn_for, .. } = self.config;
        ClusterDefaults { copies, least_copies, retention_ms: millis(condemn_for) }
    }

    /// Now, for what is condemned.
    pub(crate) fn moment(&self) -> Moment {
        Moment {
            now_ms: self.time.later_ms(),
            defaults: self.defaults(),
            least_ms: millis(self.config.least_wait()),
        }
    }

    /// Whether a node keeps the journal of the metadata.
    pub(crate) fn keeps_journal(&self, node: NodeId) -> bool {
        self.journal.get().is_some_and(|journal| journal.keepers().contains_key(&node))
    }

    /// Wakes those who wait for quota.
    pub(crate) fn gave_back(&self) {
        self.freed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// When a lease that begins now ends.
    pub(crate) fn lease_until_ms(&self) -> u64 {
        self.time.steady_ms().saturating_add(millis(self.config.lease))
    }
}

/// Nodes that one view reads at a start.
const NODES_PER_VIEW: usize = 256;

/// Makes the catalog's identity with the standard tenant and bucket, unless it is there. `drawn` is the id of a new
/// catalog. A bucket that was deleted since does not come back.
pub(crate) async fn found_catalog(
    kv: &Kv,
    drawn: CatalogId,
    created_ms: u64,
) -> Result<CatalogId, TransactError<BackupError>> {
    let closure = move |txn: &mut Txn<'_>| -> Result<CatalogId, BackupError> {
        backup::refuse_unfinished(txn)?;
        if let Some(Identity(catalog)) = record::get(txn, &())? {
            return Ok(catalog);
        }
        record::put(txn, &(), &Identity(drawn))?;
        record::put(txn, &TenantId::standard(), &Tenant { created_ms })?;
        let key = BucketKey { tenant: TenantId::standard(), bucket: BucketName::standard() };
        record::put(txn, &key, &Bucket { created_ms, ..Bucket::default() })?;
        Ok(drawn)
    };
    // No node keeps the journal before it is registered with this catalog.
    kv.transact_locally(Durability::Synced, closure).await
}

/// Reads a page of the nodes in the catalog.
pub(crate) async fn load_nodes(
    kv: &Kv,
    after: Option<NodeId>,
) -> Result<Vec<(NodeId, NodeRecord)>, ViewError<LoadError>> {
    kv.view(move |view| {
        let mut range = record::all::<NodeRecord>();
        if let Some(after) = after {
            range = range.after(record::key_of::<NodeRecord>(&after));
        }
        Ok(record::scan(view, &range, NODES_PER_VIEW)?)
    })
    .await
}

/// Takes all nodes from the catalog into the registry.
pub(crate) async fn know_nodes(master: &Master) -> Result<(), ViewError<LoadError>> {
    let mut after = None;
    loop {
        let nodes = load_nodes(&master.kv, after).await?;
        let Some((last, _)) = nodes.last() else { return Ok(()) };
        after = Some(*last);
        master.nodes.load(nodes);
    }
}

/// The nodes that the catalog in `kv` knows.
///
/// # Errors
/// [`MasterError`] when the store cannot be read.
pub async fn known_nodes(kv: &Kv) -> Result<Vec<NodeId>, MasterError> {
    let mut known: Vec<NodeId> = Vec::new();
    loop {
        let page = load_nodes(kv, known.last().copied()).await;
        let page = page.map_err(MasterError::new("read the nodes"))?;
        if page.is_empty() {
            return Ok(known);
        }
        known.extend(page.into_iter().map(|(node, _)| node));
    }
}

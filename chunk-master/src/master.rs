//! What all calls and loops share.

use std::sync::OnceLock;

use cairn_core::ids::{CatalogId, NodeId};
use cairn_core::names::{BucketName, TenantId};
use cairn_kv::{Durability, Kv, Snapshot, TransactError, Txn, ViewError};
use cairn_proto::WireError;
use cairn_runtime::{Clock, Entropy};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::answer;
use crate::catalog::{Bucket, BucketKey, Identity, NodeRecord, record};
use crate::config::{Config, millis};
use crate::error::{CatalogError, operation_error};
use crate::metrics::Metrics;
use crate::nodes::{Peers, Registry};
use crate::object::reads::ReadLeases;
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
    pub(crate) metrics: Metrics,
    /// Bumped after each transaction that gives quota back, for those who wait for it.
    pub(crate) freed: watch::Sender<u64>,
    /// Who reads what.
    pub(crate) reads: ReadLeases,
    /// Which catalog this is; known from the start on.
    pub(crate) catalog: OnceLock<CatalogId>,
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
        let done = self.kv.transact(durability, closure).await;
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

/// Makes the standard bucket and the catalog's identity unless they are there. `drawn` is the id of a new catalog.
pub(crate) async fn found_catalog(
    kv: &Kv,
    drawn: CatalogId,
) -> Result<CatalogId, TransactError<LoadError>> {
    let closure = move |txn: &mut Txn<'_>| -> Result<CatalogId, LoadError> {
        let key = BucketKey { tenant: TenantId::standard(), bucket: BucketName::standard() };
        if record::get::<Bucket>(txn, &key)?.is_none() {
            record::put(txn, &key, &Bucket::default())?;
        }
        if let Some(Identity(catalog)) = record::get(txn, &())? {
            return Ok(catalog);
        }
        record::put(txn, &(), &Identity(drawn))?;
        Ok(drawn)
    };
    kv.transact(Durability::Synced, closure).await
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

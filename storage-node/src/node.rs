//! The composition root of a storage node: build, start, stop.

use std::sync::Arc;

use axum::Router;
use cairn_chain::ChunkStore;
use cairn_core::copies::CopyReceipt;
use cairn_core::ids::DiskIncarnation;
use cairn_proto::MAX_MESSAGE_BYTES;
use cairn_proto::v1::chunks_server::ChunksServer;
use cairn_proto::v1::master_client::MasterClient;
use cairn_runtime::request::Guard;
use cairn_runtime::{Blocking, Clock, Dialer, Drained, InvalidAddress, Phase, Spawner};
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Config, Seams};
use crate::fence::Fence;
use crate::lane;
use crate::metrics::Metrics;
use crate::registration::Registration;
use crate::reporter::{Reporter, Reports};
use crate::rpc::ChunksService;

/// A storage node that has been built. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StorageNode {
    node: Arc<Node>,
    registrations: Vec<Registration>,
    reporter: Reporter,
    spawner: Spawner,
}

impl StorageNode {
    /// Builds a node around an open store, and registers its metrics.
    ///
    /// # Errors
    /// [`InvalidAddress`] when a master's address is none.
    pub fn build(
        config: Config,
        store: Arc<dyn ChunkStore>,
        seams: Seams,
        registry: &mut Registry,
    ) -> Result<Self, InvalidAddress> {
        let Seams { clock, entropy, spawner, hashing, dialer, drained } = seams;
        let metrics = Metrics::register(registry, Arc::clone(&store));
        let fence = Fence::new(entropy.uuid_v7(&clock));
        let registration = |master: &String| -> Result<Registration, InvalidAddress> {
            Ok(Registration {
                master: MasterClient::new(dialer.dial(master)?),
                address: master.clone(),
                config: config.clone(),
                store: Arc::clone(&store),
                clock: clock.clone(),
                entropy: entropy.clone(),
                drained: drained.clone(),
                metrics: metrics.clone(),
                fence: fence.clone(),
            })
        };
        let registrations = config.masters.iter().map(registration).collect::<Result<_, _>>()?;
        let open_writes = Arc::new(Semaphore::new(config.max_open_writes as usize));
        let node =
            Node { config, store, clock, hashing, dialer, drained, metrics, fence, open_writes };
        Ok(Self { node: Arc::new(node), registrations, reporter: Reporter::new(), spawner })
    }

    /// The service to put behind the listener, or to give to a client in this process.
    pub fn chunks_service(&self) -> ChunksServer<ChunksService> {
        ChunksServer::new(ChunksService::new(Arc::clone(&self.node)))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The lane, to be served beside it.
    pub fn lane(&self, guard: Guard) -> Router {
        lane::routes(Arc::clone(&self.node), guard)
    }

    /// Tells the masters what the node finds out about its own copies.
    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    fn reports(&self) -> Reports {
        let config = &self.node.config;
        Reports {
            reporter: self.reporter(),
            node: config.identity.node(),
            masters: self.registrations.iter().map(|known| known.master.clone()).collect(),
            clock: self.node.clock.clone(),
            bound: config.call_bound,
            drained: self.node.drained.clone(),
        }
    }

    /// Makes the node known to the masters and keeps it known, until it is told to stop. Call it when the service can
    /// be reached.
    pub fn start(&self) {
        for registration in &self.registrations {
            drop(self.spawner.spawn(registration.clone().run()));
        }
        drop(self.spawner.spawn(self.reports().run()));
    }

    /// True while a master knows the node.
    pub fn registered(&self) -> bool {
        self.node.metrics.registered.get() > 0
    }

    /// Waits until it is told to stop, then for the open writes as long as it may, and closes the store.
    pub async fn stopped(&self) {
        let mut drained = self.node.drained.clone();
        drained.reached(Phase::Draining).await;
        tokio::select! {
            biased;
            // The last permit comes back when the last write ends; new ones are refused.
            _ = self.node.open_writes.acquire_many(self.node.config.max_open_writes) => {}
            () = drained.reached(Phase::Stopped) => {}
        }
        self.node.store.close().await;
    }
}

/// What the calls share.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn ChunkStore>,
    pub(crate) clock: Clock,
    pub(crate) hashing: Blocking,
    pub(crate) dialer: Dialer,
    pub(crate) metrics: Metrics,
    pub(crate) fence: Fence,
    drained: Drained,
    open_writes: Arc<Semaphore>,
}

/// No further chunk is written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAdmitted {
    #[error("the node writes {0} chunks and takes no more at a time")]
    Busy(u32),
    #[error("the node is stopping")]
    Stopping,
}

impl Node {
    /// The right to write one chunk, given back when dropped.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, NotAdmitted> {
        if !self.drained.takes_work() {
            return Err(NotAdmitted::Stopping);
        }
        let most = self.config.max_open_writes;
        Arc::clone(&self.open_writes).try_acquire_owned().map_err(|_| NotAdmitted::Busy(most))
    }

    /// The node's word for a copy that is durable.
    pub(crate) fn receipt(&self, disk: DiskIncarnation) -> CopyReceipt {
        CopyReceipt { node: self.config.identity.node(), disk }
    }
}

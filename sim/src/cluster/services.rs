//! What runs on the hosts: each service built and served as the binary does it.

use std::sync::Arc;
use std::time::Duration;

use cairn_api_gateway::{Config as GatewayConfig, Gateway, GatewayMetrics, Seams as GatewaySeams};
use cairn_chain::{ChunkStore, Disk, SegmentStore, SegmentStoreConfig, SegmentStoreSeams};
use cairn_chunk_master::{ChunkMaster, Config as MasterConfig, Seams as MasterSeams, build};
use cairn_core::chunking::ChunkSizes;
use cairn_core::doubt::FlapBounds;
use cairn_core::liveness::LivenessBounds;
use cairn_kv::simulated::SimulatedStore;
use cairn_runtime::grpc::{GrpcServices, Health, beside_http};
use cairn_runtime::request::Guard;
use cairn_runtime::{Drain, Drained, ServeLimits, serve};
use cairn_storage_node::{Config as NodeConfig, NodeIdentity, Seams as NodeSeams, StorageNode};
use cairn_transport::Transport;
use prometheus_client::registry::Registry;

use super::control::DiskSlot;
use super::watched::Watched;
use super::{ClusterConfig, InFlight, Life, Machine};
use crate::EventLog;
use crate::network::Listener;

pub(crate) const GATEWAY: &str = "gateway";
pub(crate) const MASTER: &str = "master";
pub(crate) const GATEWAY_PORT: u16 = 8080;
pub(crate) const ADMIN_PORT: u16 = 7001;
const MASTER_PORT: u16 = 7000;
const NODE_PORT: u16 = 7100;

/// Bytes that each node may hold.
const NODE_BYTES: u64 = 128 << 20;
/// Small, so that segments are filled and compacted.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Longest silence of a client; below the lease, as production demands it.
const CLIENT_IDLE: Duration = Duration::from_secs(8);
/// Longest silence of a gateway; above the client's.
const GATEWAY_IDLE: Duration = Duration::from_secs(20);

/// The master's settings: production's rules with shorter waits.
pub(super) fn master_config(config: &ClusterConfig, chunk_sizes: ChunkSizes) -> MasterConfig {
    MasterConfig {
        copies: config.copies,
        chunk_sizes,
        lease: Duration::from_secs(15),
        condemn_for: Duration::from_secs(15),
        remember_for: Duration::from_secs(60),
        liveness: LivenessBounds {
            suspect_after: Duration::from_secs(3),
            down_after: Duration::from_secs(10),
        },
        repair_after: Duration::from_secs(5),
        flaps: FlapBounds {
            hold: Duration::from_secs(5),
            most_hold: Duration::from_secs(15),
            ..FlapBounds::default()
        },
        seeded_bug: config.seeded_bug,
        ..MasterConfig::default()
    }
}

impl Life {
    fn guard(&self, service: &'static str) -> Guard {
        Guard { service, clock: self.clock.clone(), entropy: self.entropy.clone() }
    }

    async fn serve(&self, listener: Listener, routes: axum::Router, drained: Drained) {
        let (limits, clock) = (ServeLimits::default(), self.clock.clone());
        serve(listener, routes, limits, clock, self.spawner.clone(), drained).await;
    }
}

async fn serving(healths: &[Health]) {
    for health in healths {
        health.set_serving(true).await;
    }
}

#[derive(Debug, Clone)]
pub(super) struct MasterHost {
    pub(super) machine: Machine,
    pub(super) config: MasterConfig,
    pub(super) store: SimulatedStore,
}

impl MasterHost {
    pub(super) async fn run(self) -> turmoil::Result {
        self.machine.clone().run(|life| self.serve(life)).await
    }

    async fn serve(self, life: Life) -> turmoil::Result {
        let master = self.start(&life).await;
        let calls = GrpcServices::new().with(master.master_service());
        let (calls, calls_health) = calls.build(life.guard("master"));
        let admin = GrpcServices::new().with(master.admin_service());
        let (admin, admin_health) = admin.build(life.guard("admin"));
        let drain = Drain::default();
        let listeners =
            (life.network.bind(MASTER_PORT).await?, life.network.bind(ADMIN_PORT).await?);
        serving(&[calls_health, admin_health]).await;
        tokio::join!(
            life.serve(listeners.0, calls, drain.watch()),
            life.serve(listeners.1, admin, drain.watch()),
        );
        Ok(())
    }
}

impl MasterHost {
    /// A master whose store fails as it starts ends; whoever looks after the machine starts it again.
    async fn start(&self, life: &Life) -> ChunkMaster {
        const AGAIN: Duration = Duration::from_millis(200);
        loop {
            let seams = MasterSeams {
                clock: life.clock.clone(),
                entropy: life.entropy.clone(),
                spawner: life.spawner.clone(),
                dialer: life.network.dialer(),
            };
            let master = build(self.config.clone(), self.store.open(), seams);
            match master.start().await {
                Ok(()) => return master,
                Err(error) => tracing::warn!(target: "cairn", %error, "the master does not start"),
            }
            life.clock.sleep(AGAIN).await;
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct NodeHost {
    pub(super) machine: Machine,
    pub(super) disk: DiskSlot,
    pub(super) zone: String,
    pub(super) in_flight: InFlight,
    pub(super) log: EventLog,
}

impl NodeHost {
    pub(super) async fn run(self) -> turmoil::Result {
        self.machine.clone().run(|life| self.serve(life)).await
    }

    async fn serve(self, life: Life) -> turmoil::Result {
        let host = self.machine.host;
        let disk = self.disk.lock().map_err(|poisoned| poisoned.to_string())?.clone();
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let listener = life.network.bind(NODE_PORT).await?;
        let config = SegmentStoreConfig {
            capacity: Some(NODE_BYTES),
            segment_bytes: Some(SEGMENT_BYTES),
            ..SegmentStoreConfig::default()
        };
        let seams = SegmentStoreSeams {
            disk: Arc::clone(&disk),
            blocking: life.blocking.clone(),
            spawner: life.spawner.clone(),
            entropy: life.entropy.clone(),
            clock: life.clock.clone(),
        };
        let store: Arc<dyn ChunkStore> = Arc::new(SegmentStore::open(config, seams).await?);
        let identity = NodeIdentity::open(disk, &life.blocking, &life.entropy, &life.clock).await?;
        let address = format!("http://{host}:{NODE_PORT}");
        let master = format!("http://{MASTER}:{MASTER_PORT}");
        let mut config = NodeConfig::new(identity, address, vec![master]);
        config.zone = self.zone;
        config.body_idle = GATEWAY_IDLE;
        let (in_flight, log) = (self.in_flight, self.log);
        let store = Arc::new(Watched { store, host, in_flight, log });
        let drain = Drain::default();
        let seams = NodeSeams {
            clock: life.clock.clone(),
            entropy: life.entropy.clone(),
            spawner: life.spawner.clone(),
            hashing: life.blocking.clone(),
            dialer: life.network.dialer(),
            drained: drain.watch(),
        };
        let node = StorageNode::build(config, store, seams, &mut Registry::default())?;
        let chunks = GrpcServices::new().with(node.chunks_service());
        let (grpc, health) = chunks.build(life.guard("node"));
        let routes = beside_http(grpc, node.lane(life.guard("node")));
        node.start();
        serving(&[health]).await;
        life.serve(listener, routes, drain.watch()).await;
        Ok(())
    }
}

#[derive(Debug, Clone)]
pub(super) struct GatewayHost {
    pub(super) machine: Machine,
    pub(super) chunk_bytes: u64,
    pub(super) transport: Transport,
}

impl GatewayHost {
    pub(super) async fn run(self) -> turmoil::Result {
        self.machine.clone().run(|life| self.serve(life)).await
    }

    async fn serve(self, life: Life) -> turmoil::Result {
        let mut config =
            GatewayConfig::with_masters(vec![format!("http://{MASTER}:{MASTER_PORT}")]);
        // A body that is longer than one chunk and does not say so is one of unknown length.
        config.transport = self.transport;
        config.upload.gather_bytes = self.chunk_bytes;
        config.upload.body_idle = CLIENT_IDLE;
        let drain = Drain::default();
        let seams = GatewaySeams {
            clock: life.clock.clone(),
            entropy: life.entropy.clone(),
            spawner: life.spawner.clone(),
            hashing: life.blocking.clone(),
            dialer: life.network.dialer(),
            drained: drain.watch(),
            metrics: GatewayMetrics::register(&mut Registry::default()),
        };
        let gateway = Gateway::build(&config, seams)?;
        let listener = life.network.bind(GATEWAY_PORT).await?;
        serving(&[gateway.health()]).await;
        life.serve(listener, gateway.routes(), drain.watch()).await;
        Ok(())
    }
}

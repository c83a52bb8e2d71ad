//! `cairn node`, and the nodes within `cairn up`.

pub(crate) mod folder;
mod store;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Uri;
use cairn_chain::disk_set::lock_folder;
use cairn_chain::plan::Plan;
use cairn_chain::{Disk, RealDisk};
use cairn_runtime::grpc::{GrpcServices, Health, beside_http};
use cairn_runtime::measure::operations_route;
use cairn_runtime::{Blocking, Dialer, Drain, Drained, NetworkDial, ops};
use cairn_storage_node::{
    Config, DiskMetrics, MetaKeeper, MeteredDisk, NodeIdentity, Scrub, ScrubConfig, ScrubMetrics,
    Seams, StorageNode, TierMetrics,
};
use cairn_transport::lane;
use store::{DiskSettings, NodeFolder, NodeStore, Surroundings};

use crate::args::{Node as Args, NodeSettings, TransferSettings};
use crate::process::{CHANNELS_PER_PEER, Process, StartError, StopSignals, announce, bind, failed};

/// Longest silence of a gateway within a chunk: longer than the gateway bears from its client, so that a slow client is
/// the gateway's to give up.
const BODY_IDLE: Duration = Duration::from_secs(90);

pub(crate) fn run(args: &Args, tiers: Option<Plan>) -> Result<(), StartError> {
    let process = Process::start("node", &args.common, &[args.listen])?;
    let ended = process.run(serve(&process, args, tiers));
    process.end();
    ended
}

async fn serve(process: &Process, args: &Args, tiers: Option<Plan>) -> Result<(), StartError> {
    let drain = Drain::default();
    let dialer = process.traced(Arc::new(NetworkDial::tcp(CHANNELS_PER_PEER)));
    let bound = bind(args.listen).await?;
    let address = bound.address;
    let place = NodePlace {
        data: &args.data,
        zone: args.zone.as_str(),
        advertise: args.advertise.clone().unwrap_or_else(|| format!("http://{address}")),
        masters: &args.masters,
        disks: &args.disks,
        tiers,
    };
    let settings = (&args.settings, args.transfer);
    let (node, meta) = open(process, place, settings, dialer, drain.watch()).await?;
    let known = node.clone();
    process.readiness.require("node", move || match known.registered() {
        true => Ok(()),
        false => Err("the master does not know the node".to_owned()),
    });
    let (grpc, lane, health) = routes(process, &node, &meta);
    let operations = ops::routes(process.metrics.clone(), process.readiness.clone());
    let both = measured(process, beside_http(grpc, operations.merge(lane)));
    let served = process.serve_on(bound, both, &process.data(), drain.watch());
    node.start();
    health.set_serving(true).await;
    let signals = StopSignals::listen()?;
    announce(&format!("node on http://{address}"));
    let stopped = process.until_stopped(signals, &drain, vec![served]).await;
    node.stopped().await;
    stopped
}

/// Where a node is and whom it belongs to.
pub(crate) struct NodePlace<'a> {
    pub(crate) data: &'a Path,
    pub(crate) zone: &'a str,
    pub(crate) advertise: String,
    pub(crate) masters: &'a [String],
    /// The disks that it keeps chunks on; its folder, when there are none.
    pub(crate) disks: &'a [PathBuf],
    /// What it keeps chunks in; its disks, when nothing is described.
    pub(crate) tiers: Option<Plan>,
}

/// Opens a node's folder and puts the node together.
pub(crate) async fn open(
    process: &Process,
    place: NodePlace<'_>,
    (settings, transfer): (&NodeSettings, TransferSettings),
    dialer: Dialer,
    drained: Drained,
) -> Result<(StorageNode, MetaKeeper), StartError> {
    let doing = || format!("open the storage node in {}", place.data.display());
    let syncs = DiskMetrics::new(process.clock.clone());
    let (folder, identity) = open_folder(process, place.data, &syncs, doing).await?;
    let (disk, blocking) = (Arc::clone(&folder.disk), folder.blocking.clone());
    let calls = TierMetrics::default();
    let store = match place.tiers {
        Some(_) if settings.capacity.is_some() || !place.disks.is_empty() => {
            let problem =
                "--capacity and --disk are for a node without tiers: say for each tier what it has";
            return Err(StartError::Usage(problem.to_owned()));
        }
        Some(plan) => {
            store::open_tiers(folder, plan, &around(process, &syncs), calls.clone()).await
        }
        None => {
            let settings = DiskSettings { disks: place.disks, capacity: settings.capacity };
            store::open_segments(folder, settings, &around(process, &syncs)).await
        }
    };
    let store = store.map_err(failed(doing()))?;
    let meta = MetaKeeper::open(Arc::clone(&disk), &blocking, identity.clone()).await;
    let meta = meta.map_err(failed(doing()))?;
    let id = identity.node();
    let mut config = Config::new(identity, place.advertise, place.masters.to_vec());
    config.zone = place.zone.to_owned();
    config.body_idle = BODY_IDLE;
    config.transport = transfer.chunk_transport;
    let seams = Seams {
        clock: process.clock.clone(),
        entropy: process.entropy.clone(),
        spawner: process.control(),
        hashing: process.hashing()?,
        dialer,
        drained: drained.clone(),
    };
    let metrics = ScrubMetrics::default();
    let built = process.metrics.register(|registry| {
        let label = (Cow::Borrowed("node"), Cow::Owned(id.to_string()));
        let registry = registry.sub_registry_with_label(label);
        syncs.register(registry);
        metrics.register(registry);
        calls.register(registry, Arc::clone(&store.whole));
        StorageNode::build(config, Arc::clone(&store.whole), seams, registry)
    });
    let node = built.map_err(failed("reach the master"))?;
    let each = settings.scrub_rate / store.scrubbed.len().max(1) as u64;
    let config = ScrubConfig { period: settings.scrub_period, rate: each };
    start_scrubs(process, &node, &store, (disk, blocking), config, (metrics, drained))?;
    Ok((node, meta))
}

/// Reads and proves the chunks of each store that is to be scrubbed, from now on.
fn start_scrubs(
    process: &Process,
    node: &StorageNode,
    store: &NodeStore,
    (disk, blocking): (Arc<dyn Disk>, Blocking),
    config: ScrubConfig,
    (metrics, drained): (ScrubMetrics, Drained),
) -> Result<(), StartError> {
    let hashing = process.hashing()?;
    for (n, scrubbed) in store.scrubbed.iter().enumerate() {
        let scrub = Scrub {
            store: Arc::clone(scrubbed),
            whole: Arc::clone(&store.whole),
            reporter: node.reporter(),
            disk: Arc::clone(&disk),
            file: if n == 0 { "scrub".to_owned() } else { format!("scrub-{n}") },
            blocking: blocking.clone(),
            hashing: hashing.clone(),
            clock: process.clock.clone(),
            drained: drained.clone(),
            config,
            metrics: metrics.clone(),
        };
        drop(process.data().spawn(scrub.run()));
    }
    Ok(())
}

/// What the stores of a node need of the process.
fn around(process: &Process, syncs: &DiskMetrics) -> Surroundings {
    Surroundings {
        spawner: process.data(),
        clock: process.clock.clone(),
        entropy: process.entropy.clone(),
        syncs: syncs.clone(),
    }
}

/// Takes the node's folder for this process, and learns which node it is.
async fn open_folder<'a>(
    process: &Process,
    path: &'a Path,
    syncs: &DiskMetrics,
    doing: impl Fn() -> String,
) -> Result<(NodeFolder<'a>, NodeIdentity), StartError> {
    let disk = Arc::new(RealDisk::open(path).map_err(failed(doing()))?);
    let disk: Arc<dyn Disk> = Arc::new(MeteredDisk::new(disk, syncs.clone()));
    let blocking = process.disk()?;
    let locked = Arc::clone(&disk);
    let lock = blocking.run(move || lock_folder(&*locked)).await.map_err(failed(doing()))?;
    let lock = lock.map_err(failed(doing()))?;
    let (entropy, clock) = (&process.entropy, &process.clock);
    let identity = NodeIdentity::open(Arc::clone(&disk), &blocking, entropy, clock).await;
    let identity = identity.map_err(failed(doing()))?;
    let node = identity.node();
    Ok((NodeFolder { path, disk, blocking, lock, node }, identity))
}

/// Counts the requests of a node.
pub(crate) fn measured(process: &Process, routes: Router) -> Router {
    process.measured("node", route, routes)
}

/// The routes that a node has; every chunk is one of them.
fn route(uri: &Uri) -> &'static str {
    match uri.path().starts_with(lane::CHUNKS) {
        true => "/chunks/{id}",
        false => operations_route(uri),
    }
}

/// What gateways, the master and other nodes call: gRPC, the lane beside it, and what tells clients of their health.
pub(crate) fn routes(
    process: &Process,
    node: &StorageNode,
    meta: &MetaKeeper,
) -> (Router, Router, Health) {
    let grpc = GrpcServices::new().with(node.chunks_service()).with(meta.service());
    let (grpc, health) = grpc.build(process.guard("node"));
    (grpc, node.lane(process.guard("node")), health)
}

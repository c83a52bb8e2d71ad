//! `cairn node`, and the nodes within `cairn up`.

pub(crate) mod folder;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Uri;
use cairn_chain::{
    ChunkStore, Disk, RealDisk, SegmentStore, SegmentStoreConfig, SegmentStoreSeams,
};
use cairn_runtime::grpc::{GrpcServices, Health, beside_http};
use cairn_runtime::measure::operations_route;
use cairn_runtime::{Dialer, Drain, Drained, NetworkDial, ops};
use cairn_storage_node::{
    Config, DiskMetrics, MetaKeeper, MeteredDisk, NodeIdentity, Scrub, ScrubConfig, ScrubMetrics,
    Seams, StorageNode,
};
use cairn_transport::lane;

use crate::args::{Node as Args, NodeSettings, TransferSettings};
use crate::process::{CHANNELS_PER_PEER, Process, StartError, StopSignals, announce, bind, failed};

/// Longest silence of a gateway within a chunk: longer than the gateway bears from its client, so that a slow client is
/// the gateway's to give up.
const BODY_IDLE: Duration = Duration::from_secs(90);

pub(crate) fn run(args: &Args) -> Result<(), StartError> {
    let process = Process::start("node", &args.common, &[args.listen])?;
    let ended = process.run(serve(&process, args));
    process.end();
    ended
}

async fn serve(process: &Process, args: &Args) -> Result<(), StartError> {
    let drain = Drain::default();
    let dialer = process.traced(Arc::new(NetworkDial::tcp(CHANNELS_PER_PEER)));
    let bound = bind(args.listen).await?;
    let address = bound.address;
    let place = NodePlace {
        data: &args.data,
        zone: args.zone.as_str(),
        advertise: args.advertise.clone().unwrap_or_else(|| format!("http://{address}")),
        masters: &args.masters,
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
    let disk = Arc::new(RealDisk::open(place.data).map_err(failed(doing()))?);
    let (clock, entropy) = (process.clock.clone(), process.entropy.clone());
    let syncs = DiskMetrics::new(clock.clone());
    let disk: Arc<dyn Disk> = Arc::new(MeteredDisk::new(disk, syncs.clone()));
    let blocking = process.disk()?;
    let config =
        SegmentStoreConfig { capacity: settings.capacity, ..SegmentStoreConfig::default() };
    let seams = SegmentStoreSeams {
        disk: Arc::clone(&disk),
        blocking: blocking.clone(),
        spawner: process.data(),
        entropy: entropy.clone(),
        clock: clock.clone(),
    };
    let store: Arc<dyn ChunkStore> =
        Arc::new(SegmentStore::open(config, seams).await.map_err(failed(doing()))?);
    let identity = NodeIdentity::open(Arc::clone(&disk), &blocking, &entropy, &clock).await;
    let identity = identity.map_err(failed(doing()))?;
    let meta = MetaKeeper::open(Arc::clone(&disk), &blocking, identity.clone()).await;
    let meta = meta.map_err(failed(doing()))?;
    let id = identity.node();
    let mut config = Config::new(identity, place.advertise, place.masters.to_vec());
    config.zone = place.zone.to_owned();
    config.body_idle = BODY_IDLE;
    config.transport = transfer.chunk_transport;
    let hashing = process.hashing()?;
    let scrub = Scrub {
        store: Arc::clone(&store),
        disk,
        blocking,
        hashing: hashing.clone(),
        clock: clock.clone(),
        drained: drained.clone(),
        config: ScrubConfig { period: settings.scrub_period, rate: settings.scrub_rate },
        metrics: ScrubMetrics::default(),
    };
    let scrubbed = scrub.metrics.clone();
    let seams = Seams { clock, entropy, spawner: process.control(), hashing, dialer, drained };
    let built = process.metrics.register(|registry| {
        let label = (Cow::Borrowed("node"), Cow::Owned(id.to_string()));
        let registry = registry.sub_registry_with_label(label);
        syncs.register(registry);
        scrubbed.register(registry);
        StorageNode::build(config, store, seams, registry)
    });
    let built = built.map_err(failed("reach the master"))?;
    drop(process.data().spawn(scrub.run()));
    Ok((built, meta))
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

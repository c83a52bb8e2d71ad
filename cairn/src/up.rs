//! `cairn up`: gateway, master and nodes in one process, calling each other without sockets.

use std::sync::Arc;
use std::time::Duration;

use cairn_runtime::grpc::beside_http;
use cairn_runtime::{Dialer, Drain, LocalDial, NetworkDial};
use cairn_storage_node::StorageNode;

use crate::args::Up as Args;
use crate::node::NodePlace;
use crate::process::{
    CHANNELS_PER_PEER, Process, SETTLE_BOUND, StartError, StopSignals, announce, bind,
};
use crate::{gateway, master, node};

/// Names of services within the process.
const MASTER: &str = "local://master";

fn node_address(n: u32) -> String {
    format!("local://node-{n}")
}

pub(crate) fn run(args: &Args) -> Result<(), StartError> {
    if args.nodes < args.master.copies {
        let (nodes, copies) = (args.nodes, args.master.copies);
        let problem = format!(
            "{copies} copies need {copies} nodes, and there are {nodes}: raise --nodes or lower --copies"
        );
        return Err(StartError::Usage(problem));
    }
    let process = Process::start("up", &args.common, &[args.listen, args.admin_listen])?;
    let ended = process.run(serve(&process, args));
    process.end();
    ended
}

async fn serve(process: &Process, args: &Args) -> Result<(), StartError> {
    let (files, admin) = (bind(args.listen).await?, bind(args.admin_listen).await?);
    // The gateway lets its requests finish before what they need is told to stop.
    let (edge, inner) = (Drain::default(), Drain::default());
    let local = Arc::new(LocalDial::new(Arc::new(NetworkDial::tcp(CHANNELS_PER_PEER))));
    let dialer = process.traced(Arc::clone(&local) as Dialer);

    let master_data = args.data.join("master");
    // All folders are one machine's as a rule: a journal on nodes is worth its fsyncs only where somebody asks for it.
    let settings = (&args.master, master::meta_copies(&args.master, 0)?);
    let master =
        master::Running::start(process, &master_data, settings, Arc::clone(&dialer)).await?;
    let (calls, _) = master.routes(process);
    local.add(MASTER, calls, process.control());
    let nodes = nodes(process, args, &local, &dialer, &inner).await?;
    let settings = (&args.gateway, args.transfer);
    let gateway = gateway::build(process, vec![MASTER.to_owned()], settings, dialer, edge.watch())?;

    let (operations, admin_health) = master.admin_routes(process);
    let files =
        process.serve_on(files, gateway::routes(process, &gateway), &process.data(), edge.watch());
    let admin = process.serve_on(admin, operations, &process.control(), edge.watch());
    ready(process, &master, args.nodes).await?;
    gateway.health().set_serving(true).await;
    admin_health.set_serving(true).await;
    let signals = StopSignals::listen()?;
    let url = format!("http://{}", files.address);
    announce(&format!("gateway on {url}"));
    announce(&format!("admin on http://{}", admin.address));
    announce(&format!("store a file:  curl -T FILE {url}/v1/files/NAME"));
    announce(&format!("fetch it:      curl -o FILE {url}/v1/files/NAME"));

    let stopped = process.until_stopped(signals, &edge, vec![files, admin]).await;
    gateway.settled(SETTLE_BOUND).await;
    inner.begin();
    inner.finish();
    for node in nodes {
        node.stopped().await;
    }
    master.close().await?;
    stopped
}

async fn nodes(
    process: &Process,
    args: &Args,
    local: &LocalDial,
    dialer: &Dialer,
    drain: &Drain,
) -> Result<Vec<StorageNode>, StartError> {
    let zones = args.zones.unwrap_or(args.nodes);
    let mut nodes = Vec::new();
    for n in 1..=args.nodes {
        let place = NodePlace {
            data: &args.data.join(format!("node-{n}")),
            zone: &format!("zone-{}", (n - 1) % zones + 1),
            advertise: node_address(n),
            masters: &[MASTER.to_owned()],
            disks: &[],
            tiers: None,
        };
        let dialer = Arc::clone(dialer);
        let settings = (&args.node, args.transfer);
        let (node, meta) = node::open(process, place, settings, dialer, drain.watch()).await?;
        let (grpc, lane, _) = node::routes(process, &node, &meta);
        let routes = node::measured(process, beside_http(grpc, lane));
        local.add(node_address(n), routes, process.data());
        node.start();
        nodes.push(node);
    }
    Ok(nodes)
}

/// Waits until files can be stored on every node.
async fn ready(process: &Process, master: &master::Running, nodes: u32) -> Result<(), StartError> {
    const LOOK_AGAIN: Duration = Duration::from_millis(10);
    const BOUND: Duration = Duration::from_secs(30);
    let missing = || {
        let mut missing = process.readiness.missing();
        let up = master.nodes_up();
        if up < nodes as usize {
            missing.push(format!("{up} of {nodes} storage nodes are up"));
        }
        missing
    };
    let ready = async {
        while !missing().is_empty() {
            process.clock.sleep(LOOK_AGAIN).await;
        }
    };
    process.clock.timeout(BOUND, ready).await.map_err(|_| StartError::Failed {
        doing: "wait for the services".to_owned(),
        cause: missing().join("; "),
    })
}

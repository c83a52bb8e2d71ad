//! `cairn gateway`, and the gateway within `cairn up`.

use std::sync::Arc;

use axum::Router;
use cairn_api_gateway::{Config, Gateway, GatewayMetrics, Seams};
use cairn_runtime::measure::operations_route;
use cairn_runtime::{Dialer, Drain, Drained, NetworkDial, ops};

use crate::args::{Gateway as Args, GatewaySettings, TransferSettings};
use crate::process::{
    CHANNELS_PER_PEER, Process, SETTLE_BOUND, StartError, StopSignals, announce, failed,
};

/// Smallest upload budget: one large chunk.
const LEAST_UPLOAD_BUDGET: u64 = cairn_core::chunking::LARGE_CHUNK_BYTES;
/// Smallest download budget: two frames ahead for a few downloads.
const LEAST_DOWNLOAD_BUDGET: u64 = 8 << 20;

pub(crate) fn run(args: &Args) -> Result<(), StartError> {
    let process = Process::start("gateway", &args.common, &[args.listen, args.admin_listen])?;
    let ended = process.run(serve(&process, args));
    process.end();
    ended
}

async fn serve(process: &Process, args: &Args) -> Result<(), StartError> {
    let drain = Drain::default();
    let dialer = process.traced(Arc::new(NetworkDial::tcp(CHANNELS_PER_PEER)));
    let settings = (&args.gateway, args.transfer);
    let gateway = build(process, args.masters.clone(), settings, dialer, drain.watch())?;
    let operations = ops::routes(process.metrics.clone(), process.readiness.clone());
    let operations = process.measured("admin", operations_route, operations);
    let routes = routes(process, &gateway);
    let files = process.serve(args.listen, routes, &process.data(), drain.watch()).await?;
    let admin =
        process.serve(args.admin_listen, operations, &process.control(), drain.watch()).await?;
    gateway.health().set_serving(true).await;
    let signals = StopSignals::listen()?;
    announce(&format!("gateway on http://{}, health on http://{}", files.address, admin.address));
    let stopped = process.until_stopped(signals, &drain, vec![files, admin]).await;
    gateway.settled(SETTLE_BOUND).await;
    stopped
}

/// What clients call.
pub(crate) fn routes(process: &Process, gateway: &Gateway) -> Router {
    process.measured("gateway", cairn_api_gateway::rest::route, gateway.routes())
}

/// Puts a gateway together.
pub(crate) fn build(
    process: &Process,
    masters: Vec<String>,
    (settings, transfer): (&GatewaySettings, TransferSettings),
    dialer: Dialer,
    drained: Drained,
) -> Result<Gateway, StartError> {
    let mut config = Config::with_masters(masters);
    config.transport = transfer.chunk_transport;
    config.upload.budget_bytes =
        at_least("--upload-budget", settings.upload_budget, LEAST_UPLOAD_BUDGET)?;
    config.download.budget_bytes =
        at_least("--download-budget", settings.download_budget, LEAST_DOWNLOAD_BUDGET)?;
    config.upload.body_idle = settings.body_idle;
    config.download.strategy = settings.read_strategy;
    let seams = Seams {
        clock: process.clock.clone(),
        entropy: process.entropy.clone(),
        spawner: process.data(),
        hashing: process.hashing()?,
        dialer,
        drained,
        metrics: process.metrics.register(GatewayMetrics::register),
    };
    let gateway = Gateway::build(&config, seams).map_err(failed("reach the master"))?;
    gateway.require_ready(&process.readiness);
    Ok(gateway)
}

fn at_least(option: &str, bytes: u64, least: u64) -> Result<u64, StartError> {
    if bytes >= least {
        Ok(bytes)
    } else {
        Err(StartError::Usage(format!("{option} {bytes}: use at least {least} bytes")))
    }
}

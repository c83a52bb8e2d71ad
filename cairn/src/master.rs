//! `cairn master`, and the master within `cairn up`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use cairn_chunk_master::{ChunkMaster, Config, Seams};
use cairn_core::chunking::ChunkSizes;
use cairn_core::liveness::LivenessBounds;
use cairn_kv::{Kv, OpenError, PostgresConfig, RedbConfig};
use cairn_runtime::grpc::{GrpcServices, Health, beside_http};
use cairn_runtime::measure::operations_route;
use cairn_runtime::{Dialer, Drain, NetworkDial, ops};

use crate::args::{Master as Args, MasterSettings, StoreUrl};
use crate::process::{CHANNELS_PER_PEER, Process, StartError, announce, failed};

/// The catalog's file within the master's folder.
const CATALOG_FILE: &str = "catalog.redb";

pub(crate) fn run(args: &Args) -> Result<(), StartError> {
    let process = Process::start("master", &args.common, &[args.listen, args.admin_listen])?;
    let ended = process.run(serve(&process, args));
    process.end();
    ended
}

async fn serve(process: &Process, args: &Args) -> Result<(), StartError> {
    let drain = Drain::default();
    let dialer = process.traced(Arc::new(NetworkDial::tcp(CHANNELS_PER_PEER)));
    let master = Running::start(process, &args.data, &args.settings, dialer).await?;
    let (calls, calls_health) = master.routes(process);
    let (admin, admin_health) = master.admin_routes(process);
    let control = process.control();
    let calls = process.serve(args.listen, calls, &control, drain.watch()).await?;
    let admin = process.serve(args.admin_listen, admin, &control, drain.watch()).await?;
    calls_health.set_serving(true).await;
    admin_health.set_serving(true).await;
    announce(&format!("master on http://{}", calls.address));
    announce(&format!("admin on http://{}", admin.address));
    let stopped = process.until_stopped(&drain, vec![calls, admin]).await;
    master.close().await?;
    stopped
}

/// A master and its store.
pub(crate) struct Running {
    master: ChunkMaster,
    kv: Kv,
}

impl Running {
    /// Opens the catalog and starts the master.
    pub(crate) async fn start(
        process: &Process,
        data: &Path,
        settings: &MasterSettings,
        dialer: Dialer,
    ) -> Result<Self, StartError> {
        let config = config(settings)?;
        let kv = match &settings.store {
            None => open_file(data)?,
            Some(url) => open_database(process, url, settings.store_ca.clone())?,
        };
        let seams = Seams {
            clock: process.clock.clone(),
            entropy: process.entropy.clone(),
            spawner: process.control(),
            dialer,
        };
        let master = cairn_chunk_master::build(config, kv.clone(), seams);
        process.metrics.register(|registry| master.register_metrics(registry));
        let ready = master.clone();
        process.readiness.require("master", move || {
            if ready.ready() { Ok(()) } else { Err("not started, or stopping".to_owned()) }
        });
        master.start().await.map_err(failed("start the master"))?;
        Ok(Self { master, kv })
    }

    /// Nodes that take chunks now.
    pub(crate) fn nodes_up(&self) -> usize {
        self.master.nodes_up()
    }

    /// What gateways and nodes call.
    pub(crate) fn routes(&self, process: &Process) -> (Router, Health) {
        let services = GrpcServices::new().with(self.master.master_service());
        let (routes, health) = services.build(process.guard("master"));
        (process.measured("master", operations_route, routes), health)
    }

    /// What operators call.
    pub(crate) fn admin_routes(&self, process: &Process) -> (Router, Health) {
        let services = GrpcServices::new().with(self.master.admin_service());
        let (grpc, health) = services.build(process.guard("admin"));
        let operations = ops::routes(process.metrics.clone(), process.readiness.clone());
        let both = beside_http(grpc, operations);
        (process.measured("admin", operations_route, both), health)
    }

    /// Stops the master and makes all that it knows durable.
    pub(crate) async fn close(self) -> Result<(), StartError> {
        self.master.stop();
        self.kv.close().await.map_err(failed("close the catalog"))
    }
}

fn open_file(data: &Path) -> Result<Kv, StartError> {
    let making = format!("make the folder {}", data.display());
    fs::create_dir_all(data).map_err(failed(making))?;
    let path = data.join(CATALOG_FILE);
    Kv::redb(&path, RedbConfig::default()).map_err(|error| {
        let advice = match error {
            OpenError::InUse => {
                ": another cairn uses it; stop that one, or name another folder with --data"
            }
            _ => "",
        };
        failed(format!("open the catalog {}", path.display()))(format!("{error}{advice}"))
    })
}

fn open_database(
    process: &Process,
    url: &StoreUrl,
    authority: Option<PathBuf>,
) -> Result<Kv, StartError> {
    let config = PostgresConfig::new(&url.0, authority)
        .map_err(|error| StartError::Usage(format!("--store: {error}")))?;
    Kv::postgres(config, process.clock.clone(), process.entropy.clone())
        .map_err(failed("open the catalog in the database"))
}

fn config(settings: &MasterSettings) -> Result<Config, StartError> {
    let chunk_sizes = ChunkSizes::starting_with(settings.chunk_size);
    let MasterSettings { heartbeat, suspect_after, down_after, .. } = settings;
    if heartbeat >= suspect_after || suspect_after > down_after {
        let problem = "--heartbeat must be shorter than --suspect-after, and that no longer than --down-after";
        return Err(StartError::Usage(problem.to_owned()));
    }
    Ok(Config {
        copies: settings.copies,
        chunk_sizes: chunk_sizes.map_err(|error| StartError::Usage(error.to_string()))?,
        lease: settings.lease,
        condemn_for: settings.condemn_for,
        space_floor_percent: settings.space_floor,
        heartbeat: *heartbeat,
        liveness: LivenessBounds { suspect_after: *suspect_after, down_after: *down_after },
        ..Config::default()
    })
}

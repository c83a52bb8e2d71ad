//! `cairn master`, and the master within `cairn up`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use cairn_chunk_master::{ChunkMaster, Config, MetaJournal, Seams};
use cairn_core::chunking::ChunkSizes;
use cairn_core::liveness::LivenessBounds;
use cairn_kv::{Kv, OpenError, PostgresConfig, RedbConfig};
use cairn_runtime::grpc::{GrpcServices, Health, beside_http};
use cairn_runtime::measure::operations_route;
use cairn_runtime::{Clock, Dialer, Drain, Entropy, NetworkDial, ops};

use crate::args::{Master as Args, MasterSettings, StoreUrl};
use crate::process::{CHANNELS_PER_PEER, Process, StartError, StopSignals, announce, failed};

/// Nodes of a cluster that keep the journal, when nothing else is asked for.
const META_COPIES: u32 = 2;
/// The catalog's file within the master's folder.
pub(crate) const CATALOG_FILE: &str = "catalog.redb";

pub(crate) fn run(args: &Args) -> Result<(), StartError> {
    let process = Process::start("master", &args.common, &[args.listen, args.admin_listen])?;
    let ended = process.run(serve(&process, args));
    process.end();
    ended
}

async fn serve(process: &Process, args: &Args) -> Result<(), StartError> {
    let drain = Drain::default();
    let dialer = process.traced(Arc::new(NetworkDial::tcp(CHANNELS_PER_PEER)));
    let settings = (&args.settings, meta_copies(&args.settings, META_COPIES)?);
    let master = Running::start(process, &args.data, settings, dialer).await?;
    let (calls, calls_health) = master.routes(process);
    let (admin, admin_health) = master.admin_routes(process);
    let control = process.control();
    let calls = process.serve(args.listen, calls, &control, drain.watch()).await?;
    let admin = process.serve(args.admin_listen, admin, &control, drain.watch()).await?;
    calls_health.set_serving(true).await;
    admin_health.set_serving(true).await;
    let signals = StopSignals::listen()?;
    announce(&format!("master on http://{}", calls.address));
    announce(&format!("admin on http://{}", admin.address));
    let stopped = process.until_stopped(signals, &drain, vec![calls, admin]).await;
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
        (settings, meta_copies): (&MasterSettings, u32),
        dialer: Dialer,
    ) -> Result<Self, StartError> {
        let config = Config { meta_copies, ..config(settings)? };
        let (clock, entropy) = (process.clock.clone(), &process.entropy);
        let journal = (meta_copies > 0).then(|| MetaJournal::new(meta_copies, clock, entropy));
        let kv = match &settings.store {
            None => open_file(data, journal.clone())?,
            Some(url) => {
                let (clock, entropy) = (process.clock.clone(), process.entropy.clone());
                open_database(clock, entropy, url, settings.store_ca.clone())?
            }
        };
        let seams = Seams {
            clock: process.clock.clone(),
            entropy: process.entropy.clone(),
            spawner: process.control(),
            dialer,
        };
        let master = cairn_chunk_master::build(config, kv.clone(), seams);
        if let Some(journal) = journal {
            master.keep_journal(journal);
        }
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

/// Nodes that keep the journal: at most `by_itself`, and never more than uploads need anyway, unless that is asked for.
pub(crate) fn meta_copies(settings: &MasterSettings, by_itself: u32) -> Result<u32, StartError> {
    match (&settings.store, settings.meta_copies) {
        (Some(_), Some(1..)) => Err(StartError::Usage(
            "--meta-copies is for the catalog in a folder: a database has copies of its own"
                .to_owned(),
        )),
        (Some(_), _) => Ok(0),
        (None, given) => Ok(given.unwrap_or(settings.copies.min(by_itself))),
    }
}

pub(crate) fn open_file(data: &Path, journal: Option<MetaJournal>) -> Result<Kv, StartError> {
    let making = format!("make the folder {}", data.display());
    fs::create_dir_all(data).map_err(failed(making))?;
    let path = data.join(CATALOG_FILE);
    let opened = match journal {
        None => Kv::redb(&path, RedbConfig::default()),
        Some(journal) => Kv::redb_journaled(&path, RedbConfig::default(), Arc::new(journal)),
    };
    opened.map_err(|error| {
        let advice = match error {
            OpenError::InUse => {
                ": another cairn uses it; stop that one, or name another folder with --data"
            }
            _ => "",
        };
        failed(format!("open the catalog {}", path.display()))(format!("{error}{advice}"))
    })
}

pub(crate) fn open_database(
    clock: Clock,
    entropy: Entropy,
    url: &StoreUrl,
    authority: Option<PathBuf>,
) -> Result<Kv, StartError> {
    let config = PostgresConfig::new(&url.0, authority)
        .map_err(|error| StartError::Usage(format!("--store: {error}")))?;
    Kv::postgres(config, clock, entropy).map_err(failed("open the catalog in the database"))
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
        least_copies: settings.least_copies,
        meta_renew: settings.meta_renew,
        chunk_sizes: chunk_sizes.map_err(|error| StartError::Usage(error.to_string()))?,
        lease: settings.lease,
        condemn_for: settings.condemn_for,
        repair_after: settings.repair_after,
        repair_rate: settings.repair_rate,
        repair_rate_per_node: settings.repair_rate_per_node,
        rebalance_rate: settings.rebalance_rate,
        space_floor_percent: settings.space_floor,
        heartbeat: *heartbeat,
        liveness: LivenessBounds { suspect_after: *suspect_after, down_after: *down_after },
        ..Config::default()
    })
}

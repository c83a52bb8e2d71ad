//! Rounds: both sides in turn, figures as medians, ratios pair by pair.

use std::path::Path;

use cairn_runtime::Clock;

use crate::args::{Args, Interface};
use crate::content::Noise;
use crate::figures::{Figures, median};
use crate::grpc::Grpc;
use crate::load::{self, Amount, Client, Failure, Operation};
use crate::nginx;
use crate::rest::Rest;
use crate::server::Server;

/// A load that is measured in every round.
#[derive(Debug, Clone, Copy)]
struct Load {
    operation: Operation,
    amount: Amount,
}

/// One side's figures of one load, round by round.
struct Row {
    load: Load,
    cairn: Vec<Figures>,
    nginx: Vec<Figures>,
}

/// Lists are asked for this often.
const LISTS: u64 = 100;

/// Runs all rounds over one interface and prints the table.
pub(crate) async fn run(args: &Args, interface: Interface) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("cairn-bench-").tempdir_in(&args.dir)?;
    let mut rows = rows(args);
    for round in 0..args.rounds {
        let folder = folder.path().join(round.to_string());
        std::fs::create_dir_all(&folder)?;
        cairn_round(args, interface, &folder.join("cairn"), &mut rows).await?;
        if args.nginx {
            nginx_round(args, &folder.join("nginx"), &mut rows).await?;
        }
        std::fs::remove_dir_all(&folder)?;
    }
    print(args, interface, &rows);
    Ok(())
}

fn rows(args: &Args) -> Vec<Row> {
    let load = |size: u64, operation| {
        let files = (args.bytes / size.max(1)).clamp(1, args.files);
        let files = if operation == Operation::List { LISTS } else { files };
        let amount = Amount { files, size, concurrency: args.concurrency };
        Row { load: Load { operation, amount }, cairn: Vec::new(), nginx: Vec::new() }
    };
    let all = [Operation::Put, Operation::Get, Operation::List, Operation::Delete];
    args.sizes.iter().flat_map(|size| all.map(|operation| load(*size, operation))).collect()
}

async fn cairn_round(
    args: &Args,
    interface: Interface,
    data: &Path,
    rows: &mut [Row],
) -> Result<(), Failure> {
    let server = Server::cairn(&args.binary()?, data, args.nodes, args.copies).await?;
    let noise = Noise::new();
    match interface {
        Interface::Rest => {
            let base = "/v1/files/";
            let mut clients = rest_clients(args, &server, base, &noise).await?;
            for row in rows {
                row.cairn.push(measured(&server, &mut clients, row.load, None).await?);
            }
        }
        Interface::Grpc => {
            let client = |_| Grpc::new(&server.authority, noise.clone(), args.verify);
            let mut clients = (0..args.concurrency).map(client).collect::<Result<Vec<_>, _>>()?;
            for row in rows {
                row.cairn.push(measured(&server, &mut clients, row.load, None).await?);
            }
        }
    }
    server.stop().await
}

async fn nginx_round(args: &Args, folder: &Path, rows: &mut [Row]) -> Result<(), Failure> {
    let server = nginx::start(folder).await?;
    let mut clients = rest_clients(args, &server, "/files/", &Noise::new()).await?;
    for row in rows.iter_mut().filter(|row| row.load.operation != Operation::List) {
        let changes = row.load.operation != Operation::Get;
        let sync = changes.then_some(folder);
        row.nginx.push(measured(&server, &mut clients, row.load, sync).await?);
    }
    server.stop().await
}

async fn rest_clients(
    args: &Args,
    server: &Server,
    base: &'static str,
    noise: &Noise,
) -> Result<Vec<Rest>, Failure> {
    let mut clients = Vec::new();
    for _ in 0..args.concurrency {
        clients.push(Rest::connect(&server.authority, base, noise.clone(), args.verify).await?);
    }
    Ok(clients)
}

/// Runs a load; `sync` names the folder to be synced within the time, where the server's answers do not mean that.
async fn measured<C: Client>(
    server: &Server,
    clients: &mut [C],
    load: Load,
    sync: Option<&Path>,
) -> Result<Figures, Failure> {
    let before = server.cost().await?;
    let mut figures = load::run(clients, load.operation, load.amount).await?;
    if let Some(folder) = sync {
        let clock = Clock::system();
        nginx::sync(folder)?;
        figures.time += clock.monotonic();
    }
    let after = server.cost().await?;
    figures.cost.cpu = after.cpu.saturating_sub(before.cpu);
    figures.cost.peak_bytes = after.peak_bytes;
    let fsyncs = after.fsyncs.zip(before.fsyncs);
    figures.cost.fsyncs = fsyncs.map(|(after, before)| after.saturating_sub(before));
    Ok(figures)
}

fn medians(figures: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    median(figures.iter().map(of).collect())
}

fn fsyncs(figures: &[Figures]) -> String {
    let told: Option<Vec<f64>> = figures.iter().map(Figures::fsyncs_per_operation).collect();
    told.map_or_else(|| "–".to_owned(), |told| format!("{:.2}", median(told)))
}

#[expect(clippy::print_stdout, reason = "the result")]
fn print(args: &Args, interface: Interface, rows: &[Row]) {
    let Args { concurrency, copies, nodes, rounds, .. } = args;
    println!(
        "cairn up --nodes {nodes} --copies {copies}, {interface:?}, {concurrency} at once, medians of {rounds} rounds"
    );
    println!(
        "{:>10} {:>6} {:>7} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} | {:>9} {:>8} {:>7}",
        "size",
        "what",
        "files",
        "MB/s",
        "op/s",
        "p50 ms",
        "p99 ms",
        "s/GB",
        "s/1000",
        "peak MiB",
        "fsyncs/op",
        "nginx",
        "s/GB",
        "ratio",
    );
    for Row { load, cairn, nginx } in rows {
        let Load { operation, amount } = load;
        let moves = matches!(operation, Operation::Put | Operation::Get);
        let speed = |figures: &Figures| {
            if moves { figures.megabytes_per_second() } else { figures.operations_per_second() }
        };
        let or_nothing = |value: f64| if moves { format!("{value:.2}") } else { "–".to_owned() };
        print!(
            "{:>10} {:>6} {:>7} {:>9} {:>9.0} {:>8.2} {:>8.2} {:>8} {:>8.2} {:>9.0} {:>9} |",
            amount.size,
            operation.to_string(),
            amount.files,
            if moves { format!("{:.0}", medians(cairn, speed)) } else { "–".to_owned() },
            medians(cairn, Figures::operations_per_second),
            medians(cairn, |figures| figures.percentile(0.5)),
            medians(cairn, |figures| figures.percentile(0.99)),
            or_nothing(medians(cairn, Figures::cpu_per_gb)),
            medians(cairn, Figures::cpu_per_thousand),
            medians(cairn, |figures| figures.cost.peak_bytes as f64 / f64::from(1 << 20)),
            fsyncs(cairn),
        );
        if nginx.is_empty() {
            println!();
            continue;
        }
        let ratios = cairn.iter().zip(nginx).map(|(ours, theirs)| speed(ours) / speed(theirs));
        println!(
            " {:>9.0} {:>8} {:>6.0}%",
            medians(nginx, speed),
            or_nothing(medians(nginx, Figures::cpu_per_gb)),
            100.0 * median(ratios.collect()),
        );
    }
}

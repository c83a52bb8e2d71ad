//! Commits per second: `cargo run --release -p cairn-kv --example commits -- [seconds] [folder]`.
//!
//! Each transaction reads four keys and writes three: an object of 4 KiB, a record beside it, and one
//! account that all share. Every commit is synced. PostgreSQL runs on this machine with its default
//! settings, reached over TCP.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool for a person who measures"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cairn_kv::{AccessError, Durability, Kv, PostgresConfig, Read, RedbConfig, Txn};
use cairn_runtime::{Clock, Entropy};
use cairn_test_postgres::Server;
use tokio::task::JoinSet;

const OBJECT_BYTES: usize = 4 << 10;
const WRITERS: [usize; 3] = [1, 16, 64];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(5, |text| text.parse().unwrap());
    let folder = arguments.next().map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = tempfile::tempdir_in(folder).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    println!(
        "{:32} {:>10} {:>14} {:>14}",
        "engine, writers", "commits/s", "per group", "fsyncs/commit"
    );
    for writers in WRITERS {
        let bound = Duration::from_secs(seconds);
        let redb = open_redb(folder.path(), writers);
        let measured = runtime.block_on(measure(&[redb], writers, bound));
        // redb syncs once for each group.
        measured.report(&format!("redb, {writers}"), measured.groups);
        let Some(server) = Server::shared() else { continue };
        for masters in [1, 2] {
            let url = server.new_database();
            let stores: Vec<Kv> = (0..masters).map(|_| open_postgres(&url)).collect();
            let before = syncs(server);
            let measured = runtime.block_on(measure(&stores, writers, bound));
            // Sessions report what they did when they end.
            for store in &stores {
                runtime.block_on(store.close()).unwrap();
            }
            let name = format!("postgres, {writers}, {masters} masters");
            measured.report(&name, syncs(server) - before);
            let conflicts: u64 = stores.iter().map(|store| store.stats().conflicts).sum();
            println!("{:32} {conflicts} conflicts in {} groups", "", measured.groups);
        }
    }
}

fn open_redb(folder: &Path, writers: usize) -> Kv {
    Kv::redb(folder.join(format!("{writers}.redb")), RedbConfig::default()).unwrap()
}

fn open_postgres(url: &str) -> Kv {
    let config = PostgresConfig::new(url, None).unwrap();
    Kv::postgres(config, Clock::system(), Entropy::from_system().unwrap()).unwrap()
}

/// How often the server has synced its log. Its statistics lag by up to a second.
fn syncs(server: &Server) -> u64 {
    std::thread::sleep(Duration::from_secs(2));
    server.sql("postgres", "SELECT wal_sync FROM pg_stat_wal").parse().unwrap()
}

struct Measured {
    commits: u64,
    groups: u64,
    elapsed: Duration,
}

impl Measured {
    fn report(&self, name: &str, syncs: u64) {
        let per_second = self.commits as f64 / self.elapsed.as_secs_f64();
        let per_group = self.commits as f64 / self.groups as f64;
        let syncs = syncs as f64 / self.commits as f64;
        println!("{name:32} {per_second:>10.0} {per_group:>14.1} {syncs:>14.3}");
    }
}

async fn measure(stores: &[Kv], writers: usize, bound: Duration) -> Measured {
    let (stop, numbers) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let store = stores[writer % stores.len()].clone();
        let (stop, numbers) = (stop.clone(), numbers.clone());
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let commit = move |txn: &mut Txn<'_>| commit(txn, number);
                store.transact(Durability::Synced, commit).await.unwrap();
            }
        });
    }
    let stopping = stop.clone();
    std::thread::spawn(move || {
        std::thread::sleep(bound);
        stopping.store(true, Ordering::Relaxed);
    });
    tasks.join_all().await;
    let elapsed = began.elapsed();
    let stats = stores.iter().map(Kv::stats);
    let (commits, groups) = stats.fold((0, 0), |(commits, groups), stats| {
        (commits + stats.transactions, groups + stats.synced_commits)
    });
    Measured { commits, groups, elapsed }
}

/// Something like the commit of an upload.
fn commit(txn: &mut Txn<'_>, number: u64) -> Result<(), AccessError> {
    let (object, record) = (format!("object/{number:020}"), format!("record/{number:020}"));
    txn.get(b"bucket")?;
    if txn.get(object.as_bytes())?.is_some() || txn.get(record.as_bytes())?.is_some() {
        return Ok(());
    }
    let used = txn.get(b"account")?.map_or(0, |used| used.len() as u64);
    txn.put("account", vec![0; usize::try_from((used + 1) % 64).unwrap()])?;
    let mut content = number.to_be_bytes().repeat(OBJECT_BYTES / 8);
    content.truncate(OBJECT_BYTES);
    txn.put(object, content)?;
    txn.put(record, number.to_be_bytes().to_vec())
}

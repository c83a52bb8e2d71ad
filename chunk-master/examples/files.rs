//! Files of 4 KiB committed per second, and fsyncs per file: `cargo xtask show commits`, or
//! `cargo run --profile ci --workspace --example files -- [seconds] [folder]`.
//!
//! Each file is what a gateway asks of the master for it: a begin, and a commit that brings the receipts of its one
//! chunk. The master is whole; nodes are names. redb's fsyncs are counted at its file, PostgreSQL's by the server, which
//! runs on this machine with its default settings and is reached over TCP.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool for a person who measures"
)]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_chunk_master::{ChunkMaster, Config, MasterRpc, Seams, audit, build};
use cairn_kv::{Kv, PostgresConfig, RedbConfig};
use cairn_proto::v1;
use cairn_proto::v1::master_server::Master as _;
use cairn_runtime::{Clock, Entropy, NetworkDial, Spawner};
use cairn_test_postgres::Server;
use redb::StorageBackend;
use redb::backends::FileBackend;
use tokio::task::JoinSet;
use tonic::Request;
use uuid::Uuid;

const FILE_BYTES: u64 = 4 << 10;
const WRITERS: [u64; 3] = [1, 16, 64];
const NODES: u128 = 2;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(5, |text| text.parse().unwrap());
    let folder = arguments.next().map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = tempfile::tempdir_in(folder).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!(
        "{:16} {:>10} {:>12} {:>14} {:>20}",
        "engine, writers", "commits/s", "ms each", "fsyncs/commit", "transactions/group"
    );
    for writers in WRITERS {
        let bound = Duration::from_secs(seconds);
        let syncs = Arc::new(AtomicU64::new(0));
        let redb = open_redb(&folder.path().join(format!("{writers}.redb")), &syncs);
        let measured = runtime.block_on(measure(&redb, writers, bound));
        measured.report(&format!("redb, {writers}"), syncs.load(Ordering::Relaxed));
        let Some(server) = Server::shared() else { continue };
        let postgres = open_postgres(&server.new_database());
        let before = syncs_of(server);
        let measured = runtime.block_on(measure(&postgres, writers, bound));
        measured.report(&format!("PostgreSQL, {writers}"), syncs_of(server) - before);
    }
}

/// A file that counts how often it is synced.
#[derive(Debug)]
struct Counted {
    file: FileBackend,
    syncs: Arc<AtomicU64>,
}

impl StorageBackend for Counted {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

fn open_redb(path: &Path, syncs: &Arc<AtomicU64>) -> Kv {
    let (path, syncs) = (path.to_owned(), Arc::clone(syncs));
    let open = move || {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path)?;
        let file = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Counted { file, syncs: Arc::clone(&syncs) })
    };
    Kv::redb_on(open, RedbConfig::default()).unwrap()
}

fn open_postgres(url: &str) -> Kv {
    let config = PostgresConfig::new(url, None).unwrap();
    Kv::postgres(config, Clock::system(), Entropy::from_system().unwrap()).unwrap()
}

/// How often the server has synced its log. Its statistics lag by up to a second.
fn syncs_of(server: &Server) -> u64 {
    std::thread::sleep(Duration::from_secs(2));
    server.sql("postgres", "SELECT wal_sync FROM pg_stat_wal").parse().unwrap()
}

struct Measured {
    commits: u64,
    /// Transactions, and commits of the engine that they shared.
    transactions: u64,
    groups: u64,
    elapsed: Duration,
    writers: u64,
}

impl Measured {
    fn report(&self, name: &str, syncs: u64) {
        let commits = self.commits as f64;
        let per_second = commits / self.elapsed.as_secs_f64();
        let each = self.elapsed.as_secs_f64() * 1000.0 * self.writers as f64 / commits;
        let syncs = syncs as f64 / commits;
        let per_group = self.transactions as f64 / self.groups as f64;
        println!("{name:16} {per_second:>10.0} {each:>12.2} {syncs:>14.3} {per_group:>20.1}");
    }
}

async fn measure(kv: &Kv, writers: u64, bound: Duration) -> Measured {
    let master = start(kv).await;
    let before = kv.stats();
    let over = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let (calls, over) = (master.calls(), Arc::clone(&over));
        tasks.spawn(async move { write_on(&calls, writer, &over).await });
    }
    tokio::time::sleep(bound).await;
    over.store(true, Ordering::Relaxed);
    let commits = tasks.join_all().await.into_iter().sum();
    let (elapsed, after) = (began.elapsed(), kv.stats());
    master.stop();
    assert_eq!(audit(kv).await.unwrap().contradictions, Vec::<String>::new());
    // Sessions of a server report what they did when they end.
    kv.close().await.unwrap();
    Measured {
        commits,
        transactions: after.transactions - before.transactions,
        groups: after.commits - before.commits,
        elapsed,
        writers,
    }
}

/// A master with nodes that take chunks.
async fn start(kv: &Kv) -> ChunkMaster {
    let seams = Seams {
        clock: Clock::system(),
        entropy: Entropy::from_system().unwrap(),
        spawner: Spawner::current(),
        dialer: Arc::new(NetworkDial::tcp(1)),
    };
    // Nodes are heard once, so they stay Up; nothing is swept.
    let liveness = cairn_core::liveness::LivenessBounds {
        suspect_after: Duration::from_secs(1 << 20),
        down_after: Duration::from_secs(1 << 20),
    };
    let sweep_every = Duration::from_secs(1 << 20);
    let master = build(Config { liveness, sweep_every, ..Config::default() }, kv.clone(), seams);
    master.start().await.unwrap();
    let calls = master.calls();
    for node in 1..=NODES {
        let disks = vec![v1::DiskStatus { disk: id(node), ..Default::default() }];
        let status = v1::NodeStatus { capacity: 1 << 40, disks, ..Default::default() };
        let request = v1::RegisterNodeRequest {
            node_id: id(node),
            address: format!("http://127.0.0.1:{node}"),
            zone: format!("zone-{node}"),
            status: Some(status.clone()),
            catalog_id: Bytes::new(),
        };
        calls.register_node(Request::new(request)).await.unwrap();
        let heard = v1::HeartbeatRequest { node_id: id(node), status: Some(status) };
        calls.heartbeat(Request::new(heard)).await.unwrap();
    }
    master
}

fn id(number: u128) -> Bytes {
    Bytes::copy_from_slice(Uuid::from_u128(number).as_bytes())
}

/// Stores file after file until `over`; their number.
async fn write_on(calls: &MasterRpc, writer: u64, over: &AtomicBool) -> u64 {
    let mut done = 0;
    while !over.load(Ordering::Relaxed) {
        store(calls, writer, done).await;
        done += 1;
    }
    done
}

async fn store(calls: &MasterRpc, writer: u64, nth: u64) {
    let upload_id = id(u128::from(writer) << 64 | u128::from(nth) | 1 << 127);
    let begin = v1::BeginUploadRequest {
        upload_id: upload_id.clone(),
        bucket: "default".into(),
        key: format!("{writer}/{nth}"),
        length: Some(FILE_BYTES),
        place_chunks: 1,
        ..Default::default()
    };
    let begun = calls.begin_upload(Request::new(begin)).await.unwrap().into_inner();
    let places = begun.placements.into_iter().flat_map(|placement| placement.places);
    let copies =
        places.map(|place| v1::CopyReceipt { disk: place.node_id.clone(), node_id: place.node_id });
    let receipt = v1::ChunkReceipt {
        index: 0,
        length: FILE_BYTES,
        hash: vec![7; 32].into(),
        copies: copies.collect(),
    };
    let commit = v1::CommitUploadRequest {
        upload_id,
        blob_id: begun.blob_id,
        receipts: vec![receipt],
        length: FILE_BYTES,
        root: vec![9; 32].into(),
        ..Default::default()
    };
    calls.commit_upload(Request::new(commit)).await.unwrap();
}

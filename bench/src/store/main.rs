//! The segment store beside a file per chunk, and beside fio, on the same disk in the same run.
//!
//! ```text
//! for each round:  4 KiB chunks, 64 writers    segments : files      chunks a second, syncs a chunk
//!                  8 MiB chunks,  4 writers    segments : files, fio bytes a second
//! once:            opening a store of many chunks from its index : from its records; memory for each chunk
//! ```
//!
//! All of them acknowledge after fsync. fio writes files of the same size, each synced at its end.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cairn_chain::disk::{Disk, DiskEntry, DiskFile, DiskLock, DiskSpace};
use cairn_chain::{
    ChunkEnd, ChunkStore, FileStore, FileStoreConfig, FileStoreSeams, RealDisk, SegmentStore,
    SegmentStoreConfig, SegmentStoreSeams,
};
use cairn_core::digest::{BlockCrcs, ChunkHasher};
use cairn_core::ids::{BlobId, ChunkId};
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};
use clap::Parser;
use futures_util::future::try_join_all;

/// Threads of a node's disk.
const THREADS: usize = 8;
const SMALL: usize = 4 << 10;
const SMALL_WRITERS: u32 = 64;
const LARGE: usize = 8 << 20;
const LARGE_WRITERS: u32 = 4;
const FRAME: usize = 1 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures the stores of a storage node.
#[derive(Debug, Parser)]
struct Args {
    /// On which file system
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Rounds; medians are printed
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Chunks of 4 KiB in a round
    #[arg(long, default_value_t = 8192)]
    small: u32,
    /// Chunks of 8 MiB in a round
    #[arg(long, default_value_t = 64)]
    large: u32,
    /// Chunks of the store that is opened
    #[arg(long, default_value_t = 1_000_000)]
    open: u32,
    /// Little of everything: shows that it works, not how fast
    #[arg(long)]
    smoke: bool,
}

#[expect(clippy::print_stderr, reason = "a command-line program")]
fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.smoke {
        args = Args { rounds: 1, small: 256, large: 4, open: 2000, ..args };
    }
    let ran = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(&args)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cairn-store-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command-line program")]
async fn run(args: &Args) -> Result<(), Failure> {
    let (mut small, mut large, mut fio) = (Vec::new(), Vec::new(), Vec::new());
    let mut syncs = Vec::new();
    for _ in 0..args.rounds {
        let files = load(&args.dir, Kind::Files, args.small, SMALL, SMALL_WRITERS).await?;
        let segments = load(&args.dir, Kind::Segments, args.small, SMALL, SMALL_WRITERS).await?;
        println!(
            "4 KiB, 64 writers: segments {:.0}/s, {:.3} syncs each; files {:.0}/s, {:.2} syncs each",
            segments.rate(args.small),
            segments.syncs_each(args.small),
            files.rate(args.small),
            files.syncs_each(args.small),
        );
        small.push(segments.rate(args.small) / files.rate(args.small));
        syncs.push(segments.syncs_each(args.small));
        let bytes = f64::from(args.large) * LARGE as f64 / 1e6;
        let files = load(&args.dir, Kind::Files, args.large, LARGE, LARGE_WRITERS).await?;
        let segments = load(&args.dir, Kind::Segments, args.large, LARGE, LARGE_WRITERS).await?;
        let (files, segments) = (bytes / files.seconds(), bytes / segments.seconds());
        let by_fio = with_fio(&args.dir, args.large)?;
        println!(
            "8 MiB, 4 writers: segments {segments:.0} MB/s; files {files:.0}; fio {by_fio:.0?}"
        );
        large.push(segments / files);
        fio.extend(by_fio.map(|by_fio| segments / by_fio));
    }
    println!(
        "median: 4 KiB segments : files {:.1}, {:.3} syncs each",
        median(small),
        median(syncs)
    );
    println!("median: 8 MiB segments : files {:.2}", median(large));
    match fio.is_empty() {
        true => println!("SKIPPED: no fio (apt-get install fio)"),
        false => println!("median: 8 MiB segments : fio {:.2}", median(fio)),
    }
    opening(args).await
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Files,
    Segments,
}

/// What a load took.
struct Load {
    took: Duration,
    syncs: u64,
}

impl Load {
    fn seconds(&self) -> f64 {
        self.took.as_secs_f64()
    }

    fn rate(&self, chunks: u32) -> f64 {
        f64::from(chunks) / self.seconds()
    }

    fn syncs_each(&self, chunks: u32) -> f64 {
        self.syncs as f64 / f64::from(chunks)
    }
}

async fn open(
    folder: &Path,
    kind: Kind,
    syncs: Arc<AtomicU64>,
) -> Result<Arc<dyn ChunkStore>, Failure> {
    let disk: Arc<dyn Disk> = Arc::new(Counted { disk: RealDisk::open(folder)?, syncs });
    let blocking = Blocking::threads("disk", THREADS)?;
    let (spawner, clock) = (Spawner::current(), Clock::system());
    let entropy = Entropy::from_system()?;
    Ok(match kind {
        Kind::Files => {
            let seams = FileStoreSeams { disk, blocking, spawner, entropy, clock };
            Arc::new(FileStore::open(FileStoreConfig::default(), seams).await?)
        }
        Kind::Segments => {
            let seams = SegmentStoreSeams { disk, blocking, spawner, entropy, clock };
            Arc::new(SegmentStore::open(SegmentStoreConfig::default(), seams).await?)
        }
    })
}

fn chunk(index: u32) -> ChunkId {
    let mut id = [0x11; 16];
    id[12..].copy_from_slice(&(index / 1000).to_be_bytes());
    ChunkId::new(BlobId::from_slice(&id).unwrap_or_else(|_| unreachable!("16 bytes")), index % 1000)
}

/// Writes chunks `first`, `first + writers`, … below `count`.
async fn write(
    store: Arc<dyn ChunkStore>,
    content: Bytes,
    (first, writers, count): (u32, u32, u32),
) -> Result<(), Failure> {
    let mut hasher = ChunkHasher::default();
    hasher.update(&content);
    let hash = hasher.finish();
    let mut index = first;
    while index < count {
        let mut writer = store.begin(chunk(index), content.len() as u64).await?;
        let mut crcs = BlockCrcs::new(chunk(index));
        let mut at = 0;
        while at < content.len() {
            let frame = content.slice(at..(at + FRAME).min(content.len()));
            at += frame.len();
            let mut sealed = Vec::new();
            crcs.update(&frame, |crc| sealed.push(crc));
            writer.append(frame, sealed).await?;
        }
        let length = content.len() as u64;
        writer.finish(ChunkEnd { length, hash, last_block_crc: crcs.finish() }).await?;
        index += writers;
    }
    Ok(())
}

async fn fill(
    store: &Arc<dyn ChunkStore>,
    count: u32,
    bytes: usize,
    writers: u32,
) -> Result<(), Failure> {
    let content = Bytes::from(vec![7; bytes]);
    let task = |first| {
        Spawner::current().spawn(write(Arc::clone(store), content.clone(), (first, writers, count)))
    };
    for written in try_join_all((0..writers).map(task)).await? {
        written?;
    }
    Ok(())
}

async fn load(
    dir: &Path,
    kind: Kind,
    count: u32,
    bytes: usize,
    writers: u32,
) -> Result<Load, Failure> {
    let folder = tempfile::tempdir_in(dir)?;
    let syncs = Arc::new(AtomicU64::new(0));
    let store = open(folder.path(), kind, Arc::clone(&syncs)).await?;
    let clock = Clock::system();
    let (begun, before) = (clock.monotonic(), syncs.load(Ordering::Relaxed));
    fill(&store, count, bytes, writers).await?;
    let took = clock.monotonic() - begun;
    let syncs = syncs.load(Ordering::Relaxed) - before;
    store.close().await;
    Ok(Load { took, syncs })
}

/// MB/s of fio, when it is there.
fn with_fio(dir: &Path, files: u32) -> Result<Option<f64>, Failure> {
    let folder = tempfile::tempdir_in(dir)?;
    let each = files / LARGE_WRITERS;
    let output = Command::new("fio")
        .args(["--name=cairn", "--rw=write", "--bs=512k", "--ioengine=psync", "--fallocate=none"])
        .args([
            "--end_fsync=0",
            "--fsync_on_close=1",
            "--openfiles=1",
            "--file_service_type=sequential",
        ])
        .args(["--group_reporting", "--output-format=json", "--create_on_open=1"])
        .arg(format!("--numjobs={LARGE_WRITERS}"))
        .arg(format!("--nrfiles={each}"))
        .arg(format!("--filesize={LARGE}"))
        .arg(format!("--directory={}", folder.path().display()))
        .output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let write = &report["jobs"][0]["write"];
    let bytes = write["io_bytes"].as_f64().ok_or("fio told no bytes")?;
    let milliseconds = report["jobs"][0]["job_runtime"].as_f64().ok_or("fio told no time")?;
    // The runtimes of all jobs are added up.
    Ok(Some(bytes / 1e3 / (milliseconds / f64::from(LARGE_WRITERS))))
}

/// Resident memory of this process, in bytes.
fn resident() -> Result<u64, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("no resident pages")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}

#[expect(clippy::print_stdout, reason = "a command-line program")]
async fn opening(args: &Args) -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(&args.dir)?;
    let syncs = Arc::new(AtomicU64::new(0));
    let store = open(folder.path(), Kind::Segments, Arc::clone(&syncs)).await?;
    fill(&store, args.open, SMALL, 256).await?;
    store.close().await;
    drop(store);
    let clock = Clock::system();
    let mut ratios = Vec::new();
    for round in 0..args.rounds {
        let mut seconds = [0.0; 2];
        for (at, seconds) in seconds.iter_mut().enumerate() {
            if at == 1 {
                std::fs::remove_file(folder.path().join("index"))?;
            }
            let (before, begun) = (resident()?, clock.monotonic());
            let store = open(folder.path(), Kind::Segments, Arc::clone(&syncs)).await?;
            *seconds = (clock.monotonic() - begun).as_secs_f64();
            let grown = resident()?.saturating_sub(before);
            if round == 0 && at == 0 {
                let each = grown as f64 / f64::from(args.open);
                println!("{} chunks: {each:.0} bytes of memory each", store.usage().chunks);
            }
            store.close().await;
        }
        let [index, records] = seconds;
        println!("open: from the index {index:.2} s, from the records {records:.2} s");
        ratios.push(records / index);
    }
    println!("median: records : index {:.1}", median(ratios));
    Ok(())
}

/// A disk that counts syncs.
#[derive(Debug)]
struct Counted {
    disk: RealDisk,
    syncs: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountedFile {
    file: Box<dyn DiskFile>,
    syncs: Arc<AtomicU64>,
}

impl Disk for Counted {
    fn create_new(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.create_new(path)?;
        Ok(Box::new(CountedFile { file, syncs: Arc::clone(&self.syncs) }))
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_folder(&self, path: &str) -> io::Result<()> {
        self.disk.create_folder(path)
    }

    fn list_folder(&self, path: &str) -> io::Result<Vec<DiskEntry>> {
        self.disk.list_folder(path)
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.disk.sync_folder(path)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.sync_all()
    }

    fn space(&self) -> io::Result<DiskSpace> {
        self.disk.space()
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

impl DiskFile for CountedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.file.read_at(offset, length)
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync()
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

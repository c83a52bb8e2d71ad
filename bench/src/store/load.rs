//! Chunks that are written by many writers at once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_chain::disk::WatchedDisk;
use cairn_chain::{
    ChunkEnd, ChunkStore, FileStore, FileStoreConfig, FileStoreSeams, RealDisk, SegmentStore,
    SegmentStoreConfig, SegmentStoreSeams,
};
use cairn_core::digest::{BlockCrcs, ChunkHasher};
use cairn_core::ids::{BlobId, ChunkId};
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};
use futures_util::future::try_join_all;

use super::Failure;
use super::counted::Counts;

/// Threads of a node's disk.
const THREADS: usize = 8;
/// Bytes that a client sends at a time.
const FRAME: usize = 1 << 20;

/// Which store.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Files,
    Segments,
}

/// `count` chunks of `bytes` bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) count: u32,
    pub(crate) bytes: usize,
    pub(crate) writers: u32,
}

/// What a load took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    load: Load,
    time: Duration,
    syncs: u64,
}

impl Took {
    /// Chunks a second.
    pub(crate) fn rate(&self) -> f64 {
        f64::from(self.load.count) / self.time.as_secs_f64()
    }

    pub(crate) fn megabytes_per_second(&self) -> f64 {
        self.rate() * self.load.bytes as f64 / 1e6
    }

    pub(crate) fn syncs_each(&self) -> f64 {
        self.syncs as f64 / f64::from(self.load.count)
    }
}

/// Opens the store in a folder.
pub(crate) async fn open(
    folder: &Path,
    kind: Kind,
    counts: Counts,
) -> Result<Arc<dyn ChunkStore>, Failure> {
    let disk = Arc::new(WatchedDisk::new(Arc::new(RealDisk::open(folder)?), counts));
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

/// Chunks of a blob of a thousand each.
pub(crate) fn chunk(index: u32) -> ChunkId {
    let mut id = [0x11; 16];
    id[12..].copy_from_slice(&(index / 1000).to_be_bytes());
    ChunkId::new(BlobId::from_slice(&id).unwrap_or_else(|_| unreachable!("16 bytes")), index % 1000)
}

/// What all chunks of a load hold.
pub(crate) fn content(bytes: usize) -> Bytes {
    Bytes::from(vec![7; bytes])
}

/// Writes chunks `first`, `first + writers`, … of the load.
async fn write(
    store: Arc<dyn ChunkStore>,
    content: Bytes,
    load: Load,
    first: u32,
) -> Result<(), Failure> {
    let mut hasher = ChunkHasher::default();
    hasher.update(&content);
    let hash = hasher.finish();
    let mut index = first;
    while index < load.count {
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
        index += load.writers;
    }
    Ok(())
}

/// Writes all chunks of a load, of this content.
pub(crate) async fn fill(
    store: &Arc<dyn ChunkStore>,
    content: &Bytes,
    load: Load,
) -> Result<(), Failure> {
    let task =
        |first| Spawner::current().spawn(write(Arc::clone(store), content.clone(), load, first));
    for written in try_join_all((0..load.writers).map(task)).await? {
        written?;
    }
    Ok(())
}

/// Writes a load to a new store.
pub(crate) async fn run(dir: &Path, kind: Kind, load: Load) -> Result<Took, Failure> {
    let folder = tempfile::tempdir_in(dir)?;
    let counts = Counts::default();
    let store = open(folder.path(), kind, counts.clone()).await?;
    rustix::fs::sync();
    let clock = Clock::system();
    let (begun, before) = (clock.monotonic(), counts.syncs());
    fill(&store, &content(load.bytes), load).await?;
    let time = clock.monotonic() - begun;
    let syncs = counts.syncs() - before;
    store.close().await;
    Ok(Took { load, time, syncs })
}

//! Stores, chains and chunks for the tests.

use std::sync::Arc;

use bytes::Bytes;
use cairn_chain::chain::{Chain, ChainConfig, ChainSeams, Journal, JournalSeams, Tier, TierConfig};
use cairn_chain::conformance::{blob, content, get_all};
use cairn_chain::disk::memory::MemoryDisk;
use cairn_chain::report::{TierError, TierErrors};
use cairn_chain::wrap::{Lru, LruConfig, LruSeams};
use cairn_chain::{
    ChunkStore, FileStore, FileStoreConfig, FileStoreSeams, Pins, ReadError, SegmentStore,
    SegmentStoreConfig, SegmentStoreSeams, Spread, SpreadSeams,
};
use cairn_core::ids::ChunkId;
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};
use tokio::sync::mpsc;

use super::gate::Gate;

pub(super) fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

pub(super) fn bytes(length: usize) -> Bytes {
    content(length, 7)
}

/// A task of its own.
pub(super) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    Spawner::current().spawn(work)
}

/// A disk with room for anything.
pub(super) fn disk() -> MemoryDisk {
    MemoryDisk::new(1 << 30)
}

/// A store on `disk`; `seed` makes its incarnation another than the others'.
pub(super) async fn file(disk: &MemoryDisk, seed: u64) -> Arc<FileStore> {
    let seams = FileStoreSeams {
        disk: Arc::new(disk.clone()),
        blocking: Blocking::inline(),
        spawner: Spawner::current(),
        entropy: Entropy::seeded(seed),
        clock: Clock::system(),
    };
    let config = FileStoreConfig { capacity: None, keep_free: 0 };
    Arc::new(FileStore::open(config, seams).await.expect("a store"))
}

/// A store of segments on `disk`; `seed` makes its incarnation another than the others'.
pub(super) async fn segments(disk: &MemoryDisk, seed: u64) -> Arc<SegmentStore> {
    let seams = SegmentStoreSeams {
        disk: Arc::new(disk.clone()),
        blocking: Blocking::inline(),
        spawner: Spawner::current(),
        entropy: Entropy::seeded(seed),
        clock: Clock::system(),
    };
    let config = SegmentStoreConfig {
        keep_free: 0,
        segment_bytes: Some(1 << 20),
        compact_rate: u64::MAX,
        ..SegmentStoreConfig::default()
    };
    Arc::new(SegmentStore::open(config, seams).await.expect("a store"))
}

/// Chunks spread over `disks`, named by their positions.
pub(super) fn spread(disks: Vec<Arc<dyn ChunkStore>>) -> Arc<Spread> {
    let seams = SpreadSeams { spawner: Spawner::current(), entropy: Entropy::seeded(1) };
    let named = disks.into_iter().enumerate().map(|(at, disk)| (at.to_string(), disk));
    Arc::new(Spread::new(named.collect(), seams).expect("disks"))
}

pub(super) async fn journal(disk: &MemoryDisk) -> Journal {
    let seams = JournalSeams {
        disk: Arc::new(disk.clone()),
        blocking: Blocking::inline(),
        spawner: Spawner::current(),
    };
    Journal::open(seams).await.expect("a journal")
}

pub(super) fn lru_seams(errors: TierErrors, pins: Pins) -> LruSeams {
    LruSeams {
        tier: "cache".into(),
        spawner: Spawner::current(),
        clock: Clock::system(),
        pins,
        errors,
    }
}

pub(super) async fn lru(store: Arc<dyn ChunkStore>, capacity: u64) -> Arc<Lru> {
    let seams = lru_seams(TierErrors::logged_only(), Pins::default());
    Arc::new(Lru::open(store, &LruConfig::of(capacity), seams).await.expect("an LRU"))
}

pub(super) fn seams(errors: TierErrors) -> ChainSeams {
    ChainSeams {
        spawner: Spawner::current(),
        clock: Clock::system(),
        entropy: Entropy::seeded(1),
        errors,
    }
}

pub(super) fn sync(name: &str, store: Arc<dyn ChunkStore>) -> Tier {
    Tier::new(TierConfig::named(name), store)
}

pub(super) fn cache(name: &str, store: Arc<dyn ChunkStore>) -> Tier {
    Tier::new(TierConfig::named(name).cache(), store)
}

pub(super) fn behind(name: &str, store: Arc<dyn ChunkStore>) -> Tier {
    Tier::new(TierConfig::named(name).behind(), store)
}

/// Tiers one after another, each a file store behind a gate, with what they report.
pub(super) struct Stack {
    pub(super) chain: Arc<Chain>,
    pub(super) gates: Vec<Arc<Gate>>,
    pub(super) errors: mpsc::Receiver<TierError>,
}

/// A chain of tiers that `place` makes of gates around file stores.
pub(super) async fn stack(
    config: ChainConfig,
    journal: Option<Journal>,
    place: &[fn(Arc<Gate>) -> Tier],
) -> Stack {
    let mut gates = Vec::new();
    for seed in 0..place.len() {
        gates.push(Gate::around(file(&disk(), seed as u64).await));
    }
    let (errors, receiver) = TierErrors::channel(100);
    let tiers = place.iter().zip(&gates).map(|(place, gate)| place(Arc::clone(gate))).collect();
    let chain = Chain::open(config, tiers, journal, seams(errors)).expect("a chain");
    Stack { chain: Arc::new(chain), gates, errors: receiver }
}

impl Stack {
    /// What was reported so far: tier, operation.
    pub(super) fn reported(&mut self) -> Vec<String> {
        let errors = std::iter::from_fn(|| self.errors.try_recv().ok());
        errors.map(|error| format!("{} {}", error.tier, error.op)).collect()
    }

    /// Which tiers hold the chunk, intact.
    pub(super) async fn holders(&self, chunk: ChunkId) -> Vec<bool> {
        let mut holders = Vec::new();
        for gate in &self.gates {
            holders.push(holds(&*gate.inner, chunk).await);
        }
        holders
    }
}

pub(super) async fn holds(store: &dyn ChunkStore, chunk: ChunkId) -> bool {
    match get_all(store, chunk).await {
        Ok(_) => true,
        Err(ReadError::NotFound { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

//! Power goes, syncs fail, disks fill, in random workloads: a chunk is whole or absent, what was answered holds, and the
//! records say the same as the index file.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use cairn_chain::conformance::{blob, content, get_all, put};
use cairn_chain::disk::memory::{DiskOp, Loss, MemoryDisk};
use cairn_chain::{ChunkStore, DeleteError, ListChunks, ReadError, SegmentStore, WriteError};
use cairn_core::ids::ChunkId;
use cairn_runtime::Entropy;

use crate::open_memory;

/// Crash points of the random workloads; more are asked for with `CAIRN_CRASH_POINTS`.
const CRASH_POINTS: u64 = 500;
const DISK_BYTES: u64 = 64 << 20;

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob((index % 5) as u8), index)
}

/// What may be in a chunk's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Present,
    Absent,
    /// A change of it was not answered.
    Either,
}

/// What was asked of a store, and what it answered.
#[derive(Debug, Default)]
struct Model {
    chunks: BTreeMap<u32, Expected>,
    next: u32,
}

/// The bytes of a chunk are a function of its index.
fn bytes(index: u32) -> bytes::Bytes {
    let length = match index % 7 {
        0 => 0,
        1 => 600_000 + index as usize,
        2 => 530_000,
        3 => 70_000,
        _ => 1000 + 37 * index as usize,
    };
    content(length, index as u8)
}

impl Model {
    async fn step(&mut self, store: &SegmentStore, entropy: &Entropy) {
        let known: Vec<_> = self.chunks.keys().copied().collect();
        let any = |entropy: &Entropy| known[entropy.below(known.len() as u64) as usize];
        match entropy.below(10) {
            0..=5 => {
                let index = self.next;
                self.next += 1;
                self.put(store, index).await;
            }
            6 if !known.is_empty() => self.put(store, any(entropy)).await,
            7 | 8 if !known.is_empty() => {
                self.delete(store, vec![any(entropy), any(entropy)]).await
            }
            9 => {
                let several: Vec<_> = (self.next..self.next + 6).collect();
                self.next += 6;
                let puts = several.iter().map(|index| async move {
                    put(store, chunk(*index), &bytes(*index)).await.is_ok()
                });
                let stored = futures_util::future::join_all(puts).await;
                for (index, stored) in several.into_iter().zip(stored) {
                    self.note_put(index, stored);
                }
            }
            _ => {}
        }
    }

    async fn put(&mut self, store: &SegmentStore, index: u32) {
        let stored = put(store, chunk(index), &bytes(index)).await;
        self.note_put(index, stored.is_ok());
    }

    fn note_put(&mut self, index: u32, stored: bool) {
        let expected = self.chunks.entry(index).or_insert(Expected::Absent);
        *expected = match (stored, *expected) {
            (true, _) | (false, Expected::Present) => Expected::Present,
            (false, _) => Expected::Either,
        };
    }

    async fn delete(&mut self, store: &SegmentStore, indexes: Vec<u32>) {
        let deleted = store.delete(indexes.iter().map(|index| chunk(*index)).collect()).await;
        for index in indexes {
            let expected = self.chunks.entry(index).or_insert(Expected::Absent);
            *expected = match (deleted.is_ok(), *expected) {
                (true, _) | (false, Expected::Absent) => Expected::Absent,
                (false, _) => Expected::Either,
            };
        }
    }

    /// Compares, and takes what is there as what must be there from now on.
    async fn check(&mut self, store: &SegmentStore, when: &str) {
        for (index, expected) in &mut self.chunks {
            let found = match get_all(store, chunk(*index)).await {
                Ok(read) => {
                    assert!(read == bytes(*index), "{when}: chunk {index} has other bytes");
                    Expected::Present
                }
                Err(ReadError::NotFound { .. }) => Expected::Absent,
                Err(error) => panic!("{when}: chunk {index}: {error}"),
            };
            let fits = *expected == Expected::Either || found == *expected;
            assert!(fits, "{when}: chunk {index} is {found:?}, not {expected:?}");
            *expected = found;
        }
        let listed = list(store).await.len();
        let present = self.chunks.values().filter(|e| **e == Expected::Present).count();
        assert_eq!(listed, present, "{when}: what is listed is what is there");
    }
}

async fn list(store: &SegmentStore) -> Vec<cairn_chain::StoredChunk> {
    let list = ListChunks { after: None, blob: None, limit: 100_000 };
    store.list(list).await.expect("a list").chunks
}

/// What the records alone say is what the store says.
async fn records_say_the_same(disk: &MemoryDisk, when: &str) -> MemoryDisk {
    let disk = disk.crash(Loss::Nothing);
    let store = open_memory(&disk).await;
    let (held, usage) = (list(&store).await, store.usage().chunks);
    drop(store);
    let disk = disk.crash(Loss::Nothing);
    disk.remove_file("index");
    let store = open_memory(&disk).await;
    assert_eq!(list(&store).await, held, "{when}");
    assert_eq!(store.usage().chunks, usage, "{when}");
    disk
}

fn crash_points() -> u64 {
    let asked = std::env::var("CAIRN_CRASH_POINTS").ok();
    asked.map_or(CRASH_POINTS, |points| points.parse().expect("a number of crash points"))
}

#[tokio::test]
async fn random_workloads_survive_power_loss_at_any_change() {
    let points = crash_points();
    let mut crashes = 0;
    let mut seed =
        std::env::var("CAIRN_SEED").map_or(0, |seed| seed.parse::<u64>().expect("a seed") - 1);
    while crashes < points {
        seed += 1;
        let entropy = Entropy::seeded(seed);
        let mut model = Model::default();
        let mut disk = MemoryDisk::new(DISK_BYTES);
        // Several lives of one disk: what one crash leaves, the next meets.
        for life in 0..4 {
            let when = format!("seed {seed}, life {life}");
            let store = open_memory(&disk).await;
            model.check(&store, &when).await;
            disk.stop_after(entropy.below(150));
            for _ in 0..40 {
                model.step(&store, &entropy).await;
                // Upkeep has its turn.
                tokio::task::yield_now().await;
                if disk.is_off() {
                    break;
                }
            }
            if !disk.is_off() && entropy.below(2) == 0 {
                store.close().await;
            }
            crashes += 1;
            let loss = match entropy.below(6) {
                0 => Loss::Everything,
                1 => Loss::Content,
                2 => Loss::Nothing,
                _ => Loss::Coin(entropy.below(u64::MAX)),
            };
            disk = disk.crash(loss);
            if entropy.below(4) == 0 {
                disk = records_say_the_same(&disk, &when).await;
            }
        }
        let store = open_memory(&disk).await;
        model.check(&store, &format!("seed {seed}, the end")).await;
    }
}

#[tokio::test]
async fn a_crash_at_any_change_of_the_first_open_leaves_a_folder_that_opens() {
    for step in 0..40 {
        for loss in [Loss::Everything, Loss::Content, Loss::Nothing, Loss::Coin(step)] {
            let disk = MemoryDisk::new(DISK_BYTES);
            disk.stop_after(step);
            let seen = crate::open(
                Arc::new(disk.clone()),
                cairn_runtime::Blocking::inline(),
                crate::config(None),
            )
            .await;
            let known = seen.as_ref().map(|store| store.disks()[0].disk).ok();
            let store = open_memory(&disk.crash(loss)).await;
            if let Some(known) = known {
                assert_eq!(store.disks()[0].disk, known, "{loss:?} after {step} changes");
            }
        }
    }
}

#[tokio::test]
async fn random_workloads_survive_writes_and_files_that_fail() {
    for seed in 1..=60 {
        let entropy = Entropy::seeded(seed);
        let mut model = Model::default();
        let disk = MemoryDisk::new(DISK_BYTES);
        let store = open_memory(&disk).await;
        for _ in 0..40 {
            if entropy.below(4) == 0 {
                let op = [DiskOp::Write, DiskOp::Create][entropy.below(2) as usize];
                let kind =
                    [ErrorKind::Other, ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem]
                        [entropy.below(3) as usize];
                disk.fail(op, entropy.below(3), kind);
            }
            model.step(&store, &entropy).await;
            tokio::task::yield_now().await;
        }
        let when = format!("seed {seed}");
        // A put that fails may not undo one before it, and the next one goes through.
        model.check(&store, &when).await;
        drop(store);
        let disk = records_say_the_same(&disk, &when).await;
        let store = open_memory(&disk).await;
        model.check(&store, &when).await;
    }
}

#[tokio::test]
async fn a_failed_sync_is_not_acknowledged_and_ends_writing_but_not_reading() {
    for index in [1, 3] {
        let disk = MemoryDisk::new(DISK_BYTES);
        let store = open_memory(&disk).await;
        let first = 4;
        put(&*store, chunk(first), &bytes(first)).await.unwrap();
        put(&*store, chunk(8), &bytes(8)).await.unwrap();
        disk.fail(DiskOp::Sync, 0, ErrorKind::Other);
        let stored = put(&*store, chunk(index), &bytes(index)).await;
        assert!(matches!(stored, Err(WriteError::Disk { .. })), "{stored:?}");
        assert!(store.disks()[0].failed);
        let usage = store.usage();
        assert_eq!(usage.free(), 0, "nothing more is placed here");
        for _ in 0..2 {
            let stored = put(&*store, chunk(index), &bytes(index)).await;
            assert!(matches!(stored, Err(WriteError::DiskFailed)), "{stored:?}");
        }
        let deleted = store.delete(vec![chunk(first)]).await;
        assert!(matches!(deleted, Err(DeleteError::DiskFailed)), "{deleted:?}");
        get_all(&*store, chunk(first)).await.unwrap();
        let absent = get_all(&*store, chunk(index)).await;
        assert!(matches!(absent, Err(ReadError::NotFound { .. })), "{absent:?}");
        let store = open_memory(&disk.crash(Loss::Everything)).await;
        get_all(&*store, chunk(first)).await.unwrap();
        put(&*store, chunk(index), &bytes(index)).await.unwrap();
    }
}

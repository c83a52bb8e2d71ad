//! Segments and the index file.

use std::sync::Arc;

use bytes::Bytes;
use cairn_chain::conformance::{blob, content, put};
use cairn_chain::disk::memory::MemoryDisk;
use cairn_chain::{
    ChunkStore, ListChunks, OpenError, SegmentStore, SegmentStoreConfig, SegmentStoreSeams,
};
use cairn_core::digest::plain_crc;
use cairn_core::ids::ChunkId;
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};

use super::mutate::{below, mutate, scramble, seal, served};
use super::watch::{Asking, Watch};
use crate::cases;

const HEADER_BYTES: usize = 4096;
const RECORD_BYTES: usize = 128;
const UNIT_BYTES: usize = 64;
const INDEX: &str = "index";
const CHUNKS: u32 = 12;
/// In every so many cases there is a large chunk.
const LARGE: u64 = 16;

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

fn bytes(index: u32) -> Bytes {
    let length = match index {
        0 => 600_000,
        1 => 90_000,
        _ => [200, 70_000, 1, 5000][index as usize % 4],
    };
    content(length, index as u8)
}

async fn open(disk: &MemoryDisk) -> Result<SegmentStore, OpenError> {
    let config = SegmentStoreConfig {
        keep_free: 0,
        segment_bytes: Some(1 << 20),
        compact_rate: u64::MAX,
        ..SegmentStoreConfig::default()
    };
    let seams = SegmentStoreSeams {
        disk: Arc::new(Asking(disk.clone())),
        blocking: Blocking::inline(),
        spawner: Spawner::current(),
        entropy: Entropy::seeded(1),
        clock: Clock::system(),
    };
    SegmentStore::open(config, seams).await
}

fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.files().into_iter().filter(|path| path.starts_with("segments/")).collect()
}

/// A store of two lives with chunks, tombstones, a chunk in quarantine and a segment that is a copy.
async fn filled(first: u32) -> MemoryDisk {
    let disk = MemoryDisk::new(1 << 26);
    let store = open(&disk).await.expect("a store");
    for index in first..CHUNKS / 2 {
        put(&store, chunk(index), &bytes(index)).await.expect("stored");
    }
    store.close().await;
    drop(store);
    let store = open(&disk).await.expect("a store");
    for index in CHUNKS / 2..CHUNKS {
        put(&store, chunk(index), &bytes(index)).await.expect("stored");
    }
    disk.edit(segments(&disk).last().expect("a segment"), |file| {
        let at = file.len() - 1;
        file[at - 70] ^= 1;
    });
    // Sparse, the first segment is copied.
    store.delete(vec![chunk(1), chunk(2), chunk(3)]).await.expect("deleted");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let mut aside = 0;
    for index in 0..CHUNKS {
        aside += u32::from(store.quarantine(chunk(index)).await.expect("proven"));
    }
    assert_eq!(aside, 1, "a chunk is in quarantine");
    store.close().await;
    let copies = segments(&disk).iter().filter(|path| sources(&disk, path) > 0).count();
    assert_eq!(copies, 1, "a segment was compacted");
    disk
}

fn sources(disk: &MemoryDisk, path: &str) -> u8 {
    let mut count = 0;
    disk.edit(path, |file| count = file[51]);
    count
}

/// Offsets of what looks like records.
fn records(file: &[u8]) -> Vec<usize> {
    let units = (HEADER_BYTES..file.len().saturating_sub(RECORD_BYTES)).step_by(UNIT_BYTES);
    units.filter(|at| file[*at..].starts_with(b"CAIRNREC")).collect()
}

/// Changes what a segment says, with the checksums that belong to it.
fn forge_segment(file: &mut [u8], entropy: &Entropy) {
    let records = records(file);
    if records.is_empty() || entropy.below(8) == 0 {
        scramble(&mut file[12..HEADER_BYTES - 4].split_at_mut(60).0[..60], entropy);
        let covered = file[..HEADER_BYTES - 4].to_vec();
        return seal(file, HEADER_BYTES - 4, &covered);
    }
    for _ in 0..=entropy.below(3) {
        let at = records[below(entropy, records.len())];
        // The kind, and everything from the id on.
        match entropy.below(6) {
            0 => file[at + 8] = below(entropy, 6) as u8,
            _ => scramble(&mut file[at + 16..at + RECORD_BYTES], entropy),
        }
        let mut covered = file[32..48].to_vec();
        covered.extend_from_slice(&file[12..16]);
        covered.extend_from_slice(&(at as u64).to_be_bytes());
        covered.extend_from_slice(&file[at..at + 12]);
        covered.extend_from_slice(&file[at + 16..at + RECORD_BYTES]);
        seal(file, at + 12, &covered);
    }
}

/// Changes what the index file says, with the checksums that belong to it.
fn forge_index(file: &mut [u8], entropy: &Entropy) {
    let number =
        |at: usize| u32::from_be_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]);
    // Head, segments, and the one block of chunks, each with its checksum.
    let segments = 48..48 + number(40) as usize * 8;
    let block = segments.end + 4;
    let parts = [0..44, segments, block..block + 4 + number(block) as usize * 32];
    for _ in 0..=entropy.below(3) {
        let part = parts[below(entropy, parts.len())].clone();
        let kept = if part.start == 0 { 28 } else { 0 };
        scramble(&mut file[part.start + kept..part.end], entropy);
        let crc = plain_crc(&file[part.clone()]) ^ plain_crc(&0_u32.to_be_bytes());
        file[part.end..part.end + 4].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Opens the store, uses all of it, and compares what comes out.
async fn use_all(disk: &MemoryDisk, when: &str) {
    let Ok(store) = open(disk).await else {
        return;
    };
    let all = ListChunks { after: None, blob: None, limit: 1000 };
    let listed = store.list(all).await.expect("a list").chunks;
    let listed = listed.into_iter().map(|held| held.chunk);
    for held in listed.chain((0..CHUNKS).map(chunk)) {
        if let Some(served) = served(&store, held).await {
            let ours = held.blob == blob(1) && held.index < CHUNKS;
            assert!(ours, "{when}: {held} was never stored");
            assert!(served == bytes(held.index), "{when}: {held} has other bytes");
        }
    }
    let new = chunk(CHUNKS);
    if put(&store, new, &bytes(4)).await.is_ok() {
        let served = served(&store, new).await;
        assert!(served.as_deref() == Some(&*bytes(4)), "{when}: a new chunk is not there");
    }
    drop(store.delete(vec![chunk(4), new]).await);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    store.survey();
    store.close().await;
}

struct Filled {
    small: MemoryDisk,
    large: MemoryDisk,
}

impl Filled {
    async fn new() -> Self {
        Self { small: filled(1).await, large: filled(0).await }
    }

    fn copy(&self, entropy: &Entropy) -> MemoryDisk {
        if entropy.below(LARGE) == 0 { self.large.copy() } else { self.small.copy() }
    }
}

#[tokio::test]
async fn segments_that_are_damaged_or_forged_are_harmless() {
    let filled = Filled::new().await;
    for (entropy, when) in cases(40) {
        let disk = filled.copy(&entropy);
        if entropy.below(4) > 0 {
            disk.remove_file(INDEX);
        }
        let paths = segments(&disk);
        let forged = entropy.below(3) > 0;
        disk.edit(&paths[below(&entropy, paths.len())], |file| match forged {
            true => forge_segment(file, &entropy),
            false => mutate(file, &entropy),
        });
        let watch = Watch::begin();
        use_all(&disk, &when).await;
        // What was written then is read by the next life.
        if entropy.below(4) == 0 {
            use_all(&disk, &when).await;
        }
        watch.end(&when);
    }
}

#[tokio::test]
async fn an_index_file_that_is_damaged_or_forged_is_harmless() {
    let filled = Filled::new().await;
    for (entropy, when) in cases(20) {
        let disk = filled.copy(&entropy);
        let forged = entropy.below(4) > 0;
        disk.edit(INDEX, |file| match forged {
            true => forge_index(file, &entropy),
            false => mutate(file, &entropy),
        });
        let watch = Watch::begin();
        use_all(&disk, &when).await;
        if entropy.below(4) == 0 {
            use_all(&disk, &when).await;
        }
        watch.end(&when);
    }
}

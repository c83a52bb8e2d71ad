//! Bits flip, files are cut, exchanged and lost: what comes out is right, or an error, or missing.

use cairn_chain::conformance::{blob, content, get, get_all, put};
use cairn_chain::disk::memory::{Loss, MemoryDisk};
use cairn_chain::{ChunkStore, Damage, ListChunks, ReadError, SegmentStore};
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_runtime::Entropy;

use crate::open_memory;

/// Flips of each kind, and exchanged, cut and missing records.
const ROUNDS: u64 = 1000;
const CHUNKS: u32 = 12;

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

fn bytes(index: u32) -> bytes::Bytes {
    let length = [200, 70_000, 0, 600_000, 5000, 65_536][index as usize % 6];
    content(length, index as u8)
}

/// A store with chunks of every kind, closed.
async fn filled() -> MemoryDisk {
    let disk = MemoryDisk::new(1 << 26);
    let store = open_memory(&disk).await;
    for index in 0..CHUNKS {
        put(&*store, chunk(index), &bytes(index)).await.expect("stored");
    }
    store.delete(vec![chunk(7)]).await.expect("deleted");
    store.close().await;
    disk
}

/// What a look at all chunks found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    intact: u32,
    missing: u32,
    corrupt: u32,
}

/// Reads everything: whatever is damaged, no wrong byte comes out.
async fn look(store: &SegmentStore, when: &str) -> Found {
    let mut found = Found::default();
    for index in 0..CHUNKS {
        match get_all(store, chunk(index)).await {
            Ok(read) => {
                assert!(read == bytes(index), "{when}: chunk {index} has other bytes");
                // A tombstone may be what was damaged: the chunk is back then, as it was.
                found.intact += 1;
            }
            Err(ReadError::NotFound { .. }) => found.missing += 1,
            Err(ReadError::Corrupt { .. }) => found.corrupt += 1,
            Err(error) => panic!("{when}: chunk {index}: {error}"),
        }
    }
    found
}

fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.files().into_iter().filter(|path| path.starts_with("segments/")).collect()
}

#[tokio::test]
async fn flipped_bits_in_segments_are_harmless_or_reported_with_and_without_the_index_file() {
    let filled = filled().await;
    let entropy = Entropy::seeded(1);
    let mut reported = 0;
    for round in 0..ROUNDS {
        let disk = filled.copy();
        if round % 2 == 0 {
            disk.remove_file("index");
        }
        let paths = segments(&disk);
        let path = &paths[entropy.below(paths.len() as u64) as usize];
        let mut flipped = 0;
        disk.edit(path, |file| {
            // Headers, records and tables are small: half of the flips go where records begin.
            let at = match entropy.below(2) {
                0 => entropy.below(file.len() as u64),
                _ => (entropy.below(file.len() as u64) / 4096 * 4096 + entropy.below(160))
                    .min(file.len() as u64 - 1),
            };
            flipped = at;
            file[at as usize] ^= 1 << entropy.below(8);
        });
        let when = format!("round {round}: byte {flipped} of {path}");
        let store = open_memory(&disk).await;
        let found = look(&store, &when).await;
        reported += u64::from(found != Found { intact: CHUNKS - 1, missing: 1, corrupt: 0 });
    }
    assert!(reported > ROUNDS / 4, "most of the bytes are content: {reported}");
}

#[tokio::test]
async fn a_damaged_index_file_is_as_good_as_none() {
    let filled = filled().await;
    let entropy = Entropy::seeded(2);
    for round in 0..ROUNDS {
        let disk = filled.copy();
        disk.edit("index", |file| match round % 10 {
            0 => file.truncate(entropy.below(file.len() as u64) as usize),
            _ => {
                let at = entropy.below(file.len() as u64) as usize;
                file[at] ^= 1 << entropy.below(8);
            }
        });
        let store = open_memory(&disk).await;
        let found = look(&store, &format!("round {round}")).await;
        assert_eq!(found, Found { intact: CHUNKS - 1, missing: 1, corrupt: 0 });
    }
}

#[tokio::test]
async fn exchanged_and_cut_records_are_never_served() {
    let filled = filled().await;
    let entropy = Entropy::seeded(3);
    for round in 0..ROUNDS {
        let disk = filled.copy();
        let paths = segments(&disk);
        let path = &paths[entropy.below(paths.len() as u64) as usize];
        match round % 4 {
            // Two pages exchanged within a segment.
            0 => drop(disk.edit(path, |file| {
                let pages = file.len() / 4096;
                let [one, two] = [0; 2].map(|_| entropy.below(pages as u64) as usize * 4096);
                let (kept, moved) =
                    (file[one..one + 4096].to_vec(), file[two..two + 4096].to_vec());
                file[one..one + 4096].copy_from_slice(&moved);
                file[two..two + 4096].copy_from_slice(&kept);
            })),
            1 => drop(disk.edit(path, |file| {
                file.truncate(entropy.below(file.len() as u64) as usize);
            })),
            // Two files exchanged.
            2 => {
                let (mut one, mut two) = (Vec::new(), Vec::new());
                disk.edit(&paths[0], |file| one = file.clone());
                disk.edit(&paths[1], |file| two = std::mem::replace(file, one.clone()));
                disk.edit(&paths[0], |file| *file = two);
            }
            _ => drop(disk.remove_file(path)),
        }
        if entropy.below(2) == 0 {
            disk.remove_file("index");
        }
        let store = open_memory(&disk).await;
        look(&store, &format!("round {round}")).await;
        // The node goes on: what is missing is written again.
        let again = put(&*store, chunk(20), &bytes(4)).await;
        again.expect("stored");
    }
}

#[tokio::test]
async fn a_range_beside_the_damage_is_served() {
    let disk = filled().await;
    let store = open_memory(&disk).await;
    let path = &segments(&disk)[1];
    // The large chunk's data begins at the second page of its extent.
    disk.edit(path, |file| file[2 * 4096 + 10] ^= 1);
    let read = get_all(&*store, chunk(3)).await;
    let damage = matches!(read, Err(ReadError::Corrupt { damage: Damage::Block(0), .. }));
    assert!(damage, "{read:?}");
    let range = ByteRange { offset: 70_000, length: u64::MAX };
    let (at, read) = get(&*store, chunk(3), range).await.expect("read");
    assert!(read == bytes(3)[at as usize..]);
}

#[tokio::test]
async fn what_is_found_damaged_is_put_aside_for_good_and_can_be_written_again() {
    let disk = filled().await;
    let store = open_memory(&disk).await;
    disk.edit(&segments(&disk)[1], |file| file[2 * 4096 + 10] ^= 1);
    assert!(store.quarantine(chunk(3)).await.expect("put aside"));
    assert!(!store.quarantine(chunk(3)).await.expect("it is there no more"));
    let mut disk = disk;
    for loss in [Loss::Everything, Loss::Nothing] {
        disk = disk.crash(loss);
        let store = open_memory(&disk).await;
        let gone = get_all(&*store, chunk(3)).await;
        assert!(matches!(gone, Err(ReadError::NotFound { .. })), "{gone:?}");
        let usage = store.usage();
        assert_eq!((usage.chunks, usage.damaged), (u64::from(CHUNKS) - 2, 1));
        let list = ListChunks { after: None, blob: None, limit: 100 };
        let listed = store.list(list).await.expect("a list").chunks;
        assert!(listed.iter().all(|held| held.chunk != chunk(3)), "it counts as missing");
        disk.remove_file("index");
    }
    let store = open_memory(&disk.crash(Loss::Nothing)).await;
    put(&*store, chunk(3), &bytes(3)).await.expect("stored");
    assert!(get_all(&*store, chunk(3)).await.expect("read") == bytes(3));
    assert_eq!(store.usage().damaged, 0);
}

#[tokio::test]
async fn a_repeat_of_the_put_heals_a_damaged_copy() {
    let disk = filled().await;
    let store = open_memory(&disk).await;
    for (path, at, index) in [(0, 4096 + 150, 0), (1, 2 * 4096 + 10, 3)] {
        disk.edit(&segments(&disk)[path], |file| file[at] ^= 1);
        let read = get_all(&*store, chunk(index)).await;
        assert!(matches!(read, Err(ReadError::Corrupt { .. })), "{read:?}");
        put(&*store, chunk(index), &bytes(index)).await.expect("stored");
        assert!(get_all(&*store, chunk(index)).await.expect("read") == bytes(index));
        assert_eq!(store.usage().chunks, u64::from(CHUNKS) - 1);
    }
    disk.remove_file("index");
    let store = open_memory(&disk.crash(Loss::Nothing)).await;
    for index in [0, 3] {
        assert!(get_all(&*store, chunk(index)).await.expect("read") == bytes(index));
    }
}

#[tokio::test]
async fn content_that_is_a_segment_is_content() {
    let disk = filled().await;
    let mut segment = Vec::new();
    disk.edit(&segments(&disk)[0], |file| segment = file.clone());
    let store = open_memory(&disk).await;
    let forged = bytes::Bytes::from(segment);
    put(&*store, chunk(30), &forged).await.expect("stored");
    // An upload of it that is broken off leaves its bytes in an extent without a record.
    let long: bytes::Bytes = forged.repeat(8).into();
    let mut writer = store.begin(chunk(31), long.len() as u64).await.expect("room");
    cairn_chain::conformance::send(&mut *writer, chunk(31), &long, 1 << 20).await.expect("sent");
    let after = put(&*store, chunk(32), &content(600_000, 1)).await;
    after.expect("stored");
    drop(writer);
    drop(store);
    let disk = disk.crash(Loss::Nothing);
    disk.remove_file("index");
    let store = open_memory(&disk).await;
    let found = look(&store, "after a scan").await;
    assert_eq!(found, Found { intact: CHUNKS - 1, missing: 1, corrupt: 0 });
    assert!(get_all(&*store, chunk(30)).await.expect("read") == forged);
    let absent = get_all(&*store, chunk(31)).await;
    assert!(matches!(absent, Err(ReadError::NotFound { .. })), "{absent:?}");
    get_all(&*store, chunk(32)).await.expect("behind the broken one");
}

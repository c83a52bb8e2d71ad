//! What a segment store does beside the contract: it opens as it was closed, packs, and gives space back.

use std::sync::Arc;
use std::time::Duration;

use cairn_chain::conformance::{PLENTY, blob, content, get_all, put};
use cairn_chain::disk::memory::{Loss, MemoryDisk};
use cairn_chain::{
    ChunkStore, Disk, ListChunks, OpenError, ReadError, SegmentStoreConfig, StoredChunk, WriteError,
};
use cairn_core::ids::ChunkId;
use cairn_runtime::{Blocking, Clock};
use futures_util::FutureExt;

use crate::{config, open, open_folder, open_memory};

const SMALL: usize = 10_000;
const LARGE: usize = 700_000;

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

fn bytes(index: u32) -> bytes::Bytes {
    content(if index.is_multiple_of(3) { LARGE } else { SMALL }, index as u8)
}

fn held(store: &dyn ChunkStore) -> u64 {
    let usage = store.usage();
    usage.used + usage.reclaimable
}

async fn all(store: &dyn ChunkStore) -> Vec<StoredChunk> {
    let list = ListChunks { after: None, blob: None, limit: 10_000 };
    store.list(list).await.expect("a list").chunks
}

#[tokio::test]
async fn a_store_opens_as_it_was_closed_with_and_without_its_index_file() {
    let disk = MemoryDisk::new(1 << 28);
    let store = open_memory(&disk).await;
    for index in 0..30 {
        put(&*store, chunk(index), &bytes(index)).await.unwrap();
    }
    store.delete(vec![chunk(4), chunk(6), chunk(28)]).await.unwrap();
    let (held, incarnation) = (all(&*store).await, store.disks()[0].disk);
    assert_eq!(held.len(), 27);
    store.close().await;
    for with_index in [true, false, true] {
        let store = open_memory(&disk).await;
        assert_eq!(all(&*store).await, held, "with the index file: {with_index}");
        assert_eq!(store.disks()[0].disk, incarnation);
        for index in [0, 1, 2, 29] {
            assert!(get_all(&*store, chunk(index)).await.unwrap() == bytes(index));
        }
        store.close().await;
        if with_index {
            assert!(disk.remove_file("index"), "closing wrote it");
        }
    }
}

#[tokio::test]
async fn small_chunks_share_few_files() {
    let disk = MemoryDisk::new(1 << 28);
    let store = open_memory(&disk).await;
    for index in 0..50 {
        put(&*store, chunk(index), &content(100, 1)).await.unwrap();
    }
    store.close().await;
    let segments = disk.files().into_iter().filter(|path| path.starts_with("segments/"));
    assert_eq!(segments.count(), 1);
}

#[tokio::test]
async fn deleted_space_comes_back_and_what_is_left_stays_whole() {
    let disk = MemoryDisk::new(1 << 28);
    let store = open_memory(&disk).await;
    for index in 0..60 {
        put(&*store, chunk(index), &bytes(index)).await.unwrap();
    }
    let full = held(&*store);
    let gone: Vec<_> = (0..60).filter(|index| index % 10 != 0).map(chunk).collect();
    store.delete(gone).await.unwrap();
    while held(&*store) > full / 4 {
        tokio::task::yield_now().await;
    }
    for index in (0..60).step_by(10) {
        assert!(get_all(&*store, chunk(index)).await.unwrap() == bytes(index));
    }
    let held = all(&*store).await;
    store.close().await;
    for with_index in [true, false] {
        let store = open_memory(&disk).await;
        assert_eq!(all(&*store).await, held, "with the index file: {with_index}");
        store.close().await;
        disk.remove_file("index");
    }
}

#[tokio::test]
async fn a_full_store_has_room_again_after_deletions() {
    let disk = MemoryDisk::new(24 << 20);
    let store = open_memory(&disk).await;
    for round in 0..4 {
        let mut stored = Vec::new();
        for index in 0.. {
            let chunk = ChunkId::new(blob(round), index);
            match put(&*store, chunk, &content(LARGE, 1)).await {
                Ok(()) => stored.push(chunk),
                Err(error) => {
                    let full = matches!(error, WriteError::NoRoom { .. });
                    assert!(full, "{error}");
                    break;
                }
            }
        }
        assert!(stored.len() > 20, "{} chunks in round {round}", stored.len());
        store.delete(stored).await.unwrap();
        while held(&*store) > 4 << 20 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_is_refused_on_a_disk_that_others_fill_leaves_a_bounded_trace() {
    let disk = MemoryDisk::new(8 << 20);
    // More than there is: the disk itself refuses.
    let store = open(Arc::new(disk.clone()), Blocking::inline(), config(Some(PLENTY))).await;
    let store = store.expect("a store");
    put(&*store, chunk(1), &bytes(1)).await.expect("stored");
    let others = disk.create_new("others").expect("a file");
    let mut at = 0;
    while others.write_at(at, &[7; 512]).is_ok() {
        at += 512;
    }
    for index in 0..3000 {
        let refused = put(&*store, chunk(1000 + index), &content(SMALL, 2)).await;
        assert!(matches!(refused, Err(WriteError::NoRoom { .. })), "{refused:?}");
    }
    assert!(get_all(&*store, chunk(1)).await.expect("read") == bytes(1));
    disk.remove("others").expect("removed");
    put(&*store, chunk(2), &bytes(2)).await.expect("there is room again");
    let notes: u32 = store.survey().iter().map(|segment| segment.notes).sum();
    assert!((1..1100).contains(&notes), "{notes} tombstones for what was refused");
}

#[tokio::test]
async fn a_second_store_on_the_folder_is_refused_without_harm() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_folder(folder.path()).await.unwrap();
    put(&*store, chunk(0), &content(10, 1)).await.unwrap();
    let second = open_folder(folder.path()).await;
    assert!(matches!(second, Err(OpenError::Locked)), "{second:?}");
    get_all(&*store, chunk(0)).await.unwrap();
    store.close().await;
    let again = open_folder(folder.path()).await.unwrap();
    get_all(&*again, chunk(0)).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_is_removed_under_the_store_is_noticed_before_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_folder(folder.path()).await.unwrap();
    put(&*store, chunk(1), &content(SMALL, 1)).await.unwrap();
    put(&*store, chunk(2), &content(LARGE, 1)).await.unwrap();
    std::fs::remove_dir_all(folder.path()).unwrap();
    for index in [4, 3] {
        let stored = put(&*store, chunk(index), &bytes(index)).await;
        assert!(stored.is_err(), "it would be gone with the process");
    }
    assert!(store.disks()[0].failed, "nothing more is placed here");
}

#[tokio::test]
async fn a_missing_segment_is_missing_chunks_and_nothing_else() {
    let disk = MemoryDisk::new(1 << 28);
    let store = open_memory(&disk).await;
    put(&*store, chunk(0), &content(SMALL, 1)).await.unwrap();
    put(&*store, chunk(1), &content(LARGE, 2)).await.unwrap();
    store.close().await;
    let segments: Vec<_> =
        disk.files().into_iter().filter(|path| path.starts_with("segments/")).collect();
    assert_eq!(segments.len(), 2, "one for each size");
    assert!(disk.remove_file(&segments[1]));
    for _ in 0..2 {
        let store = open_memory(&disk.crash(Loss::Nothing)).await;
        get_all(&*store, chunk(0)).await.unwrap();
        let gone = get_all(&*store, chunk(1)).await;
        assert!(matches!(gone, Err(ReadError::NotFound { .. })), "{gone:?}");
        disk.remove_file("index");
    }
}

/// At its rate it would take weeks. The clock of this test moves when everybody waits for it.
#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_for_compaction() {
    let (disk, clock) = (MemoryDisk::new(1 << 28), Clock::system());
    let slow = SegmentStoreConfig { compact_rate: 1, ..config(None) };
    let store = open(Arc::new(disk.clone()), Blocking::inline(), slow).await.expect("a store");
    for index in 0..12 {
        put(&*store, chunk(index), &content(LARGE / 3, 1)).await.unwrap();
    }
    let segments = || disk.files().into_iter().filter(|file| file.starts_with("segments/"));
    let before: Vec<_> = segments().collect();
    store.delete(vec![chunk(0), chunk(1), chunk(2)]).await.unwrap();
    while segments().count() == before.len() {
        tokio::task::yield_now().await;
    }
    store.close().await;
    assert_eq!(clock.monotonic(), Duration::ZERO, "closing waited");
    assert_eq!(segments().collect::<Vec<_>>(), before, "the copy is gone, and nothing else");
    let store = open_memory(&disk).await;
    for index in 3..12 {
        get_all(&*store, chunk(index)).await.expect("it is where it was");
    }
}

/// Several disks of a node are asked for a chunk that one of them has.
#[tokio::test]
async fn that_a_chunk_is_absent_is_told_while_the_disk_is_busy() {
    let blocking = Blocking::threads("disk", 1).expect("a thread");
    let disk = Arc::new(MemoryDisk::new(1 << 28));
    let store = open(disk, blocking.clone(), config(None)).await.expect("a store");
    let (free, busy) = std::sync::mpsc::channel::<()>();
    let work = async move { blocking.run(move || busy.recv()).await };
    let mut work = Box::pin(work);
    assert!(work.as_mut().now_or_never().is_none(), "the only thread is busy");
    let stat = store.stat(chunk(0)).now_or_never().expect("an answer at once");
    assert!(matches!(stat, Err(ReadError::NotFound { .. })), "{stat:?}");
    drop(free);
    work.await.expect("a thread").expect_err("nobody sends");
}

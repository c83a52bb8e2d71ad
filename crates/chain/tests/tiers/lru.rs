//! The LRU around a store: its numbers, and what happens when calls meet.

use std::sync::Arc;
use std::time::Duration;

use cairn_chain::conformance::{blob, get_all, put};
use cairn_chain::report::TierErrors;
use cairn_chain::wrap::{Lru, LruConfig, LruError, LruStats};
use cairn_chain::{ChunkStore, ListChunks, Pins, ReadError, WriteError};
use cairn_core::ids::ChunkId;
use cairn_runtime::Entropy;

use super::gate::{At, Gate};
use super::setup::{bytes, chunk, disk, file, holds, lru, lru_seams, spawn};

async fn gated(capacity: u64) -> (Arc<Lru>, Arc<Gate>) {
    let gate = Gate::around(file(&disk(), 0).await);
    (lru(gate.clone(), capacity).await, gate)
}

/// Rows B28, B30 and B32, with 20 bytes and a cushion of a tenth.
#[tokio::test]
async fn in_20_bytes_what_was_used_longest_ago_makes_room() {
    let (lru, _gate) = gated(20).await;
    for (index, size, remaining) in [(0, 3, 17), (1, 4, 13), (2, 5, 8), (3, 7, 1)] {
        put(&*lru, chunk(index), &bytes(size)).await.unwrap();
        assert_eq!(lru.stats().remaining, remaining);
    }
    get_all(&*lru, chunk(0)).await.unwrap();
    put(&*lru, chunk(4), &bytes(1)).await.unwrap();
    lru.settle().await;
    let evicted = get_all(&*lru, chunk(1)).await;
    assert!(matches!(evicted, Err(ReadError::NotFound { .. })), "{evicted:?}");
    get_all(&*lru, chunk(4)).await.expect("the newer one is still there");
    get_all(&*lru, chunk(0)).await.expect("and what was used again");
    let stats = LruStats {
        capacity: 20,
        cushion: 2,
        remaining: 4,
        chunks: 4,
        evicted: 1,
        evicted_bytes: 4,
        failed_evictions: 0,
        refused: 0,
    };
    assert_eq!(lru.stats(), stats);
    lru.delete(vec![chunk(3)]).await.unwrap();
    assert_eq!((lru.stats().remaining, lru.stats().chunks), (11, 3), "a deletion frees");
}

/// Rows B29 and B34.
#[tokio::test]
async fn less_than_10_bytes_is_no_capacity_and_more_than_the_capacity_no_chunk() {
    let open = |config: LruConfig| async move {
        let seams = lru_seams(TierErrors::logged_only(), Pins::default());
        Lru::open(file(&disk(), 0).await, &config, seams).await.err()
    };
    assert!(matches!(open(LruConfig::of(9)).await, Some(LruError::TooSmall { capacity: 9 })));
    assert!(open(LruConfig::of(10)).await.is_none());
    let config = LruConfig { cushion_percent: 101, ..LruConfig::of(10) };
    assert!(matches!(open(config).await, Some(LruError::CushionTooLarge { .. })));
    let (lru, gate) = gated(20).await;
    let stored = put(&*lru, chunk(0), &bytes(21)).await;
    assert!(matches!(stored, Err(WriteError::NoRoom { wanted: 21, .. })), "{stored:?}");
    assert_eq!((gate.calls(At::Begin), lru.stats().refused), (0, 1), "nothing was evicted for it");
}

/// Row B31.
#[tokio::test]
async fn what_is_read_untracked_is_tracked_and_what_is_gone_is_not() {
    let (lru, gate) = gated(100).await;
    put(&*gate.inner, chunk(0), &bytes(30)).await.unwrap();
    get_all(&*lru, chunk(0)).await.unwrap();
    assert_eq!((lru.stats().remaining, lru.stats().chunks), (70, 1));
    gate.inner.delete(vec![chunk(0)]).await.unwrap();
    get_all(&*lru, chunk(0)).await.expect_err("gone");
    assert_eq!((lru.stats().remaining, lru.stats().chunks), (100, 0));
    put(&*lru, chunk(1), &bytes(40)).await.unwrap();
    put(&*lru, chunk(1), &bytes(40)).await.expect("a repeat");
    assert_eq!((lru.stats().remaining, lru.stats().chunks), (60, 1));
    lru.erase_blob(blob(1), 10).await.unwrap();
    assert_eq!((lru.stats().remaining, lru.stats().chunks), (100, 0));
}

/// Row B35.
#[tokio::test]
async fn a_write_that_fails_or_is_dropped_gives_its_room_back() {
    let (lru, gate) = gated(100).await;
    for at in [At::Begin, At::Append, At::Finish] {
        gate.fail(at, 0, 1);
        put(&*lru, chunk(0), &bytes(50)).await.expect_err("on purpose");
        assert_eq!((lru.stats().remaining, lru.stats().chunks), (100, 0), "{at:?}");
    }
    let open = lru.begin(chunk(0), 60).await.unwrap();
    assert_eq!(lru.stats().remaining, 40);
    drop(open);
    assert_eq!(lru.stats().remaining, 100);
}

/// Row B46.
#[tokio::test(start_paused = true)]
async fn room_counts_as_free_only_when_the_evicted_chunks_are_gone() {
    let (lru, gate) = gated(100).await;
    for index in 0..3 {
        put(&*lru, chunk(index), &bytes(30)).await.unwrap();
    }
    gate.shut(At::Delete);
    let refused = put(&*lru, chunk(3), &bytes(50)).await;
    assert!(matches!(refused, Err(WriteError::NoRoom { .. })), "not within its bound: {refused:?}");
    assert_eq!(lru.stats().remaining, 10, "nothing is gone yet");
    let writer = Arc::clone(&lru);
    let waits = spawn(async move { put(&*writer, chunk(3), &bytes(50)).await });
    gate.reached(At::Delete).await;
    assert!(holds(&*gate.inner, chunk(0)).await);
    assert_eq!(gate.calls(At::Begin), 3);
    gate.open(At::Delete);
    waits.await.unwrap().expect("as soon as there is room");
    lru.settle().await;
    assert!(!holds(&*gate.inner, chunk(0)).await);
    assert!(lru.stats().remaining >= 10);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_that_fails_is_reported_and_tried_again() {
    let gate = Gate::around(file(&disk(), 0).await);
    let (errors, mut receiver) = TierErrors::channel(10);
    let seams = lru_seams(errors, Pins::default());
    let lru = Lru::open(gate.clone(), &LruConfig::of(100), seams).await.unwrap();
    put(&lru, chunk(0), &bytes(60)).await.unwrap();
    gate.fail(At::Delete, 0, 2);
    put(&lru, chunk(1), &bytes(60)).await.expect("the third try makes room");
    let error = receiver.recv().await.unwrap();
    assert_eq!((error.op.name(), error.chunk), ("evict", Some(chunk(0))));
    assert_eq!(lru.stats().failed_evictions, 2);
    assert!(!holds(&lru, chunk(0)).await && holds(&lru, chunk(1)).await);
}

/// Row B33: in the order of ids, which is that of age.
#[tokio::test]
async fn what_is_there_at_opening_is_tracked_and_what_is_too_much_leaves() {
    let store = file(&disk(), 0).await;
    for index in 0..10 {
        put(&*store, chunk(index), &bytes(10)).await.unwrap();
    }
    let wide = lru(store.clone(), 1000).await;
    assert_eq!((wide.stats().remaining, wide.stats().chunks), (900, 10));
    drop(wide);
    let narrow = lru(store.clone(), 50).await;
    narrow.settle().await;
    assert_eq!((narrow.stats().remaining, narrow.stats().chunks), (10, 4));
    assert!(!holds(&*narrow, chunk(5)).await && holds(&*narrow, chunk(6)).await);
}

/// Rows B31 and B35: whoever meets whom, the books are right in the end, and nothing that is tracked is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_leave_the_books_right() {
    let store = file(&disk(), 0).await;
    let lru = lru(store.clone(), 10_000).await;
    let mut tasks = Vec::new();
    for seed in 0..8 {
        let lru = Arc::clone(&lru);
        tasks.push(spawn(async move {
            let entropy = Entropy::seeded(seed);
            for _ in 0..300 {
                let index = u32::try_from(entropy.below(30)).unwrap();
                let chunk = ChunkId::new(blob(1), index);
                let size = 200 + 50 * index as usize;
                match entropy.below(6) {
                    0..=2 => match put(&*lru, chunk, &bytes(size)).await {
                        Ok(()) | Err(WriteError::NoRoom { .. }) => {}
                        Err(error) => panic!("{error}"),
                    },
                    3 | 4 => match get_all(&*lru, chunk).await {
                        Ok(read) => assert!(read == bytes(size)),
                        Err(ReadError::NotFound { .. } | ReadError::Disk { .. }) => {}
                        Err(error) => panic!("{error}"),
                    },
                    _ => drop(lru.delete(vec![chunk]).await.unwrap()),
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    lru.settle().await;
    let all = ListChunks { after: None, blob: None, limit: 1000 };
    let held = store.list(all).await.unwrap().chunks;
    let bytes: u64 = held.iter().map(|held| held.length).sum();
    let stats = lru.stats();
    assert_eq!(stats.remaining, 10_000 - i64::try_from(bytes).unwrap(), "{stats:?}");
    assert_eq!(stats.chunks, held.len() as u64);
    assert!(stats.evicted > 0, "{stats:?}");
}

#[test]
fn settings_are_read_as_an_operator_writes_them() {
    let config: LruConfig = toml::from_str("capacity = '500MB'").unwrap();
    assert_eq!((config.capacity, config.cushion()), (500_000_000, 50_000_000));
    let config: LruConfig =
        toml::from_str("capacity = 100\ncushion-percent = 20\nwait = '3s'").unwrap();
    assert_eq!((config.cushion(), config.wait), (20, Duration::from_secs(3)));
    toml::from_str::<LruConfig>("capacity = 100\ncushon = 1").expect_err("no such setting");
    toml::from_str::<LruConfig>("capacity = 'much'").expect_err("no such quantity");
}

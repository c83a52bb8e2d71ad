//! Each fault strikes as asked, and leaves the inner store whole.

use std::sync::Arc;
use std::time::Duration;

use cairn_core::digest::block_crc;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_runtime::{Clock, Entropy, Spawner};
use futures_util::StreamExt;

use super::{FaultConfig, FaultSeams, FaultStore};
use crate::conformance::{PLENTY, blob, content, get_all, put};
use crate::memory::{MemoryStore, MemoryStoreConfig, MemoryStoreSeams};
use crate::store::{ChunkStore, Damage, DeleteError, ReadError, WriteError};

fn open(config: FaultConfig) -> (FaultStore, Arc<dyn ChunkStore>) {
    let (entropy, clock) = (Entropy::seeded(1), Clock::system());
    let (spawner, capacity) = (Spawner::current(), PLENTY);
    let seams = MemoryStoreSeams { spawner, entropy: entropy.clone(), clock: clock.clone() };
    let inner = Arc::new(MemoryStore::open(&MemoryStoreConfig { capacity }, &seams));
    let store = FaultStore::new(inner.clone(), config, FaultSeams { entropy, clock });
    (store.expect("rates"), inner)
}

async fn fresh(_capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
    (Arc::new(open(FaultConfig::default()).0), ())
}

crate::chunk_store_conformance!(fresh);

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

fn bytes() -> bytes::Bytes {
    content(200_000, 1)
}

#[tokio::test]
async fn a_store_that_always_fails_fails_every_call_and_stores_nothing() {
    let (store, inner) = open(FaultConfig { fail_rate: 1.0, ..FaultConfig::default() });
    let stored = put(&store, chunk(0), &bytes()).await;
    assert!(matches!(stored, Err(WriteError::Disk { .. })), "{stored:?}");
    let read = get_all(&store, chunk(0)).await;
    assert!(matches!(read, Err(ReadError::Disk { .. })), "{read:?}");
    let deleted = store.delete(vec![chunk(0)]).await;
    assert!(matches!(deleted, Err(DeleteError::Disk { .. })), "{deleted:?}");
    assert_eq!(inner.usage().chunks, 0);
    assert_eq!(store.struck()["fail"], 3);
}

#[tokio::test]
async fn a_fail_rate_is_a_share_of_the_calls() {
    let (store, _) = open(FaultConfig { fail_rate: 0.25, ..FaultConfig::default() });
    let mut failed = 0;
    for _ in 0..1000 {
        failed += u64::from(store.delete(Vec::new()).await.is_err());
    }
    assert_eq!(store.struck()["fail"], failed);
    assert!((200..300).contains(&failed), "{failed} of 1000 failed");
}

#[tokio::test]
async fn a_call_hangs_until_it_is_released() {
    let (store, _) = open(FaultConfig { hang: true, ..FaultConfig::default() });
    let hanging = store.clone();
    let call = Spawner::current().spawn(async move { put(&hanging, chunk(0), &bytes()).await });
    store.wait_until_struck("hang", 1).await;
    assert!(!call.is_finished());
    store.set(FaultConfig::default()).expect("rates");
    call.await.expect("no panic").expect("stored");
    assert!(get_all(&store, chunk(0)).await.expect("read") == bytes());
}

#[tokio::test]
async fn a_call_that_hangs_may_be_given_up() {
    let (store, inner) = open(FaultConfig { hang: true, ..FaultConfig::default() });
    let clock = Clock::system();
    let given_up = clock.timeout(Duration::from_millis(1), put(&store, chunk(0), &bytes())).await;
    given_up.expect_err("it hangs");
    store.set(FaultConfig::default()).expect("rates");
    assert_eq!(inner.usage().open_writes, 0);
    put(&store, chunk(0), &bytes()).await.expect("stored");
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_waited_for_on_the_clock() {
    let (store, _) =
        open(FaultConfig { delay: Duration::from_millis(5), ..FaultConfig::default() });
    let clock = Clock::system();
    let too_short = clock.timeout(Duration::ZERO, store.delete(Vec::new())).await;
    too_short.expect_err("the deadline is shorter than the delay");
    store.delete(Vec::new()).await.expect("after the delay");
    assert_eq!(store.struck()["delay"], 2);
}

#[tokio::test]
async fn a_corrupt_frame_comes_with_the_checksums_of_the_right_one() {
    let (store, _) = open(FaultConfig { corrupt_rate: 1.0, ..FaultConfig::default() });
    put(&store, chunk(0), &bytes()).await.expect("stored");
    let mut reader = store.read(chunk(0), ByteRange::whole(200_000)).await.expect("opened");
    let frame = reader.frames.next().await.expect("a frame").expect("bytes");
    let blocks = (0..).zip(frame.bytes.chunks(65_536));
    let crcs: Vec<u32> = blocks.map(|(at, block)| block_crc(chunk(0), at, block)).collect();
    let wrong = crcs.iter().zip(&frame.block_crcs).filter(|(one, other)| one != other);
    assert_eq!(wrong.count(), 1, "one bit of one block");
}

#[tokio::test]
async fn a_partial_write_breaks_the_writer_and_leaves_nothing() {
    let (store, inner) = open(FaultConfig { partial_rate: 1.0, ..FaultConfig::default() });
    let stored = put(&store, chunk(0), &bytes()).await;
    assert!(matches!(stored, Err(WriteError::Disk { .. })), "{stored:?}");
    assert_eq!((inner.usage().chunks, inner.usage().open_writes), (0, 0));
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_serves_what_it_has() {
    let (store, _) = open(FaultConfig::default());
    put(&store, chunk(0), &bytes()).await.expect("stored");
    let mut open = store.begin(chunk(1), 10).await.expect("room");
    store.set(FaultConfig { full: true, ..FaultConfig::default() }).expect("rates");
    let appended = open.append(content(10, 1), Vec::new()).await;
    assert!(matches!(appended, Err(WriteError::NoRoom { .. })), "{appended:?}");
    let begun = store.begin(chunk(2), 10).await;
    assert!(matches!(begun, Err(WriteError::NoRoom { .. })), "{begun:?}");
    assert_eq!(store.usage().capacity, store.usage().used);
    assert!(get_all(&store, chunk(0)).await.expect("read") == bytes());
    store.delete(vec![chunk(0)]).await.expect("deleted");
}

#[tokio::test]
async fn damage_is_noticed_until_the_chunk_is_put_aside_or_written_again() {
    let (store, inner) = open(FaultConfig::default());
    for index in 0..2 {
        put(&store, chunk(index), &bytes()).await.expect("stored");
        store.damage(chunk(index));
        let read = get_all(&store, chunk(index)).await;
        let noticed = matches!(read, Err(ReadError::Corrupt { damage: Damage::Block(0), .. }));
        assert!(noticed, "{read:?}");
    }
    assert!(store.quarantine(chunk(0)).await.expect("put aside"));
    let read = get_all(&store, chunk(0)).await;
    assert!(matches!(read, Err(ReadError::NotFound { .. })), "{read:?}");
    assert_eq!(inner.usage().chunks, 1);
    put(&store, chunk(1), &bytes()).await.expect("written again");
    assert!(get_all(&store, chunk(1)).await.expect("read") == bytes());
}

#[test]
fn its_settings_are_rates_a_time_and_switches() {
    let text = "fail-rate = 0.5\ndelay = \"20 ms\"\nhang = true";
    let read: FaultConfig = toml::from_str(text).expect("settings");
    let wanted = FaultConfig {
        fail_rate: 0.5,
        delay: Duration::from_millis(20),
        hang: true,
        ..FaultConfig::default()
    };
    assert_eq!(read, wanted);
    assert_eq!(toml::from_str::<FaultConfig>("").expect("nothing"), FaultConfig::default());
    assert!(toml::from_str::<FaultConfig>("fail_rate = 0.5").is_err());
    let wrong = FaultConfig { corrupt_rate: 1.5, ..FaultConfig::default() }.check();
    assert!(wrong.expect_err("no share").to_string().contains("corrupt-rate"));
}

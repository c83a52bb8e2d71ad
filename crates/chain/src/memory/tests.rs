//! What only this store can show.

use std::sync::Arc;

use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_runtime::{Clock, Entropy, Spawner};
use futures_util::StreamExt;

use super::{MemoryEngine, MemoryStore, MemoryStoreConfig, MemoryStoreSeams};
use crate::conformance::{self, PLENTY, blob, content, get_all, put};
use crate::engine::Engine;
use crate::store::{ChunkStore, Damage, FRAME_BYTES, ListChunks, ReadError};

fn open(capacity: u64) -> MemoryStore {
    let seams = MemoryStoreSeams {
        spawner: Spawner::current(),
        entropy: Entropy::seeded(1),
        clock: Clock::system(),
    };
    MemoryStore::open(&MemoryStoreConfig { capacity }, &seams)
}

async fn fresh(capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
    (Arc::new(open(capacity)), ())
}

crate::chunk_store_conformance!(fresh);

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

#[tokio::test]
async fn readers_share_the_stored_bytes() {
    let store = open(PLENTY);
    let bytes = content(FRAME_BYTES + 70_000, 1);
    put(&store, chunk(0), &bytes).await.expect("stored");
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let reader = store.read(chunk(0), ByteRange::whole(bytes.len() as u64)).await;
        let frames: Vec<_> = reader.expect("opened").frames.collect().await;
        let begins = frames.into_iter().map(|frame| frame.expect("a frame").bytes.as_ptr());
        addresses.push(begins.map(|begin| begin as usize).collect::<Vec<_>>());
    }
    assert_eq!(addresses[0].len(), 2);
    assert_eq!(addresses[0], addresses[1], "a read copied bytes");
}

#[tokio::test]
async fn a_flipped_bit_is_noticed_and_the_chunk_counts_as_missing_once_it_is_put_aside() {
    let store = open(PLENTY);
    let bytes = content(FRAME_BYTES + 70_000, 1);
    put(&store, chunk(0), &bytes).await.expect("stored");
    store.engine().damage(chunk(0), FRAME_BYTES + 65_536);
    let read = get_all(&store, chunk(0)).await;
    let damage = Damage::Block(17);
    assert!(
        matches!(&read, Err(ReadError::Corrupt { damage: found, .. }) if *found == damage),
        "{read:?}"
    );
    assert!(store.quarantine(chunk(0)).await.expect("put aside"));
    let read = get_all(&store, chunk(0)).await;
    assert!(matches!(read, Err(ReadError::NotFound { .. })), "{read:?}");
    let all = ListChunks { after: None, blob: None, limit: 10 };
    assert!(store.list(all).await.expect("a list").chunks.is_empty());
    assert_eq!(store.usage().used, 0);
    put(&store, chunk(0), &bytes).await.expect("stored again");
    assert!(get_all(&store, chunk(0)).await.expect("read") == bytes);
}

#[tokio::test]
async fn a_repeat_heals_a_damaged_chunk() {
    let store = open(PLENTY);
    let bytes = content(100, 1);
    put(&store, chunk(0), &bytes).await.expect("stored");
    store.engine().damage(chunk(0), 5);
    put(&store, chunk(0), &bytes).await.expect("the same again");
    assert!(get_all(&store, chunk(0)).await.expect("read") == bytes);
}

#[tokio::test]
async fn the_capacity_is_a_bound_to_the_byte() {
    let room = MemoryEngine::room(10);
    let store = open(room * 2);
    put(&store, chunk(0), &content(10, 1)).await.expect("the first fits");
    let larger = put(&store, chunk(1), &content(11, 1)).await;
    assert!(matches!(larger, Err(crate::WriteError::NoRoom { .. })), "{larger:?}");
    put(&store, chunk(1), &content(10, 1)).await.expect("the second fits to the byte");
    assert_eq!(store.usage().used, store.usage().capacity);
}

#[tokio::test]
async fn every_opening_is_another_life_of_the_disk() {
    let entropy = Entropy::seeded(1);
    let mut lives = Vec::new();
    for _ in 0..2 {
        let (spawner, clock) = (Spawner::current(), Clock::system());
        let seams = MemoryStoreSeams { spawner, entropy: entropy.clone(), clock };
        let store = MemoryStore::open(&MemoryStoreConfig { capacity: 1 }, &seams);
        lives.push(store.disks()[0].disk);
    }
    assert_ne!(lives[0], lives[1]);
}

#[tokio::test]
async fn what_is_dropped_on_its_way_leaves_nothing() {
    let store = open(PLENTY);
    let bytes = content(FRAME_BYTES * 3, 1);
    let mut writer = store.begin(chunk(0), bytes.len() as u64).await.expect("room");
    conformance::send(&mut *writer, chunk(0), &bytes, 500_000).await.expect("sent");
    drop(writer);
    store.close().await;
    assert!(store.engine().chunks().is_empty());
}

#[test]
fn its_settings_are_one_size() {
    let read = |text: &str| toml::from_str::<MemoryStoreConfig>(text);
    assert_eq!(read("capacity = \"64 MiB\"").expect("a size").capacity, 64 << 20);
    assert_eq!(read("capacity = 65536").expect("a number").capacity, 65_536);
    for wrong in ["", "capacity = -1", "capacity = \"much\"", "capacity = 1\nroom = 2"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

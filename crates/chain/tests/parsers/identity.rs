//! The text that says what a store is: facts with a checksum.

use std::sync::Arc;

use cairn_chain::disk::memory::MemoryDisk;
use cairn_chain::disk::{durable_write, read_small};
use cairn_chain::{ChunkStore, OpenError, SegmentStore, SegmentStoreConfig, SegmentStoreSeams};
use cairn_core::digest::plain_crc;
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};

use super::mutate::{mutate, scramble};
use super::watch::{Asking, Watch};
use crate::cases;

const FILE: &str = "store";

async fn open(disk: &MemoryDisk) -> Result<SegmentStore, OpenError> {
    let seams = SegmentStoreSeams {
        disk: Arc::new(Asking(disk.clone())),
        blocking: Blocking::inline(),
        spawner: Spawner::current(),
        entropy: Entropy::seeded(1),
        clock: Clock::system(),
    };
    SegmentStore::open(SegmentStoreConfig::default(), seams).await
}

/// Changes the lines, with the checksum that belongs to them.
fn forge(text: &mut Vec<u8>, entropy: &Entropy) {
    let lines = text.windows(7).position(|word| word == b"crc32c ").unwrap_or(0);
    text.truncate(lines);
    match entropy.below(2) {
        0 => scramble(text, entropy),
        _ => mutate(text, entropy),
    }
    let crc = plain_crc(text);
    text.extend_from_slice(format!("crc32c {crc:08x}\n").as_bytes());
}

#[tokio::test]
async fn an_identity_that_is_damaged_or_forged_is_refused_or_read_as_it_stands() {
    let filled = MemoryDisk::new(1 << 26);
    let store = open(&filled).await.expect("a store");
    let disk = store.disks()[0].disk;
    store.close().await;
    drop(store);
    let text = read_small(&filled, FILE, 1024).expect("read").expect("an identity");
    for (entropy, when) in cases(10) {
        let mut bytes = text.clone();
        let forged = entropy.below(2) == 0;
        match forged {
            true => forge(&mut bytes, &entropy),
            false => mutate(&mut bytes, &entropy),
        }
        let copy = filled.copy();
        durable_write(&copy, FILE, &bytes).expect("written");
        let watch = Watch::begin();
        if let Ok(store) = open(&copy).await {
            let same = store.disks()[0].disk == disk;
            assert!(same || forged, "{when}: another disk's identity from flipped bytes");
            store.close().await;
        }
        watch.end(&when);
    }
}

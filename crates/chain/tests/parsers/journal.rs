//! The journal of the tiers behind.

use std::sync::Arc;

use cairn_chain::chain::{Journal, JournalError, JournalSeams};
use cairn_chain::conformance::blob;
use cairn_chain::disk::memory::MemoryDisk;
use cairn_chain::disk::{Disk, durable_write};
use cairn_core::digest::plain_crc;
use cairn_core::ids::ChunkId;
use cairn_runtime::{Blocking, Entropy, Spawner};

use super::mutate::{below, mutate, scramble, seal};
use super::watch::{Asking, Watch};
use crate::cases;

const FILE: &str = "journal";
const HEADER_BYTES: usize = 16;
const RECORD_BYTES: usize = 32;
const RECORDS: u32 = 40;

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

async fn open(disk: &MemoryDisk) -> Result<Journal, JournalError> {
    let disk: Arc<dyn Disk> = Arc::new(Asking(disk.clone()));
    let (blocking, spawner) = (Blocking::inline(), Spawner::current());
    Journal::open(JournalSeams { disk, blocking, spawner }).await
}

/// A journal of which every fourth chunk is copied.
fn written() -> Vec<u8> {
    let mut bytes = b"cairnbhd".to_vec();
    bytes.extend_from_slice(&1_u32.to_be_bytes());
    bytes.extend_from_slice(&plain_crc(&bytes).to_be_bytes());
    for slot in 0..RECORDS {
        let (kind, index) = if slot % 4 == 3 { (2_u32, slot - 3) } else { (1, slot) };
        let mut record = kind.to_be_bytes().to_vec();
        record.extend_from_slice(&chunk(index).to_bytes());
        record.extend_from_slice(&slot.to_be_bytes());
        record.extend_from_slice(&plain_crc(&record).to_be_bytes());
        bytes.extend_from_slice(&record);
    }
    bytes
}

/// Changes what a record or the head says, with the checksum that belongs to it.
fn forge(file: &mut [u8], entropy: &Entropy) {
    let part = match entropy.below(8) {
        0 => &mut file[..HEADER_BYTES],
        _ => {
            let slot = below(entropy, (file.len() - HEADER_BYTES) / RECORD_BYTES);
            &mut file[HEADER_BYTES + slot * RECORD_BYTES..][..RECORD_BYTES]
        }
    };
    let end = part.len() - 4;
    scramble(&mut part[..end], entropy);
    let covered = part[..end].to_vec();
    seal(part, end, &covered);
}

#[tokio::test]
async fn a_journal_that_is_damaged_or_forged_names_no_chunk_that_nobody_noted() {
    let whole = written();
    let disk = MemoryDisk::new(1 << 20);
    durable_write(&disk, FILE, &whole).expect("written");
    let recovered = open(&disk).await.expect("intact").recovered();
    assert_eq!(recovered.len(), 20, "what is to be copied and is not");
    for (entropy, when) in cases(15) {
        let mut bytes = whole.clone();
        let forged = entropy.below(2) == 0;
        match forged {
            true => forge(&mut bytes, &entropy),
            false => mutate(&mut bytes, &entropy),
        }
        let disk = MemoryDisk::new(1 << 20);
        durable_write(&disk, FILE, &bytes).expect("written");
        let watch = Watch::begin();
        if let Ok(journal) = open(&disk).await {
            let recovered = journal.recovered();
            let noted = |held: &ChunkId| held.blob == blob(1) && held.index < RECORDS;
            assert!(forged || recovered.iter().all(noted), "{when}: {recovered:?}");
            drop(journal);
            let again = open(&disk).await.map(|journal| journal.recovered());
            assert_eq!(again.expect("written anew"), recovered, "{when}");
        }
        watch.end(&when);
    }
}

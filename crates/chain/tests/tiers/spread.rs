//! Chunks spread over several disks: which one takes a chunk, and what one that fails means for the others.

use std::io::ErrorKind;
use std::sync::Arc;

use cairn_chain::conformance::{PLENTY, blob, content, get_all, put, send};
use cairn_chain::disk::memory::{DiskOp, MemoryDisk};
use cairn_chain::{
    ChunkStore, DeleteError, ListChunks, NoDisks, ReadError, Spread, SpreadSeams, WriteError,
};
use cairn_core::ids::ChunkId;
use cairn_runtime::{Entropy, Spawner};

use super::gate::{At, Gate};
use super::setup::{bytes, chunk, holds, segments, spawn, spread};

/// Stores of segments behind gates, on disks of so many bytes.
struct Node {
    disks: Vec<MemoryDisk>,
    gates: Vec<Arc<Gate>>,
    spread: Arc<Spread>,
}

async fn node(capacities: &[u64]) -> Node {
    let disks: Vec<_> = capacities.iter().map(|bytes| MemoryDisk::new(*bytes)).collect();
    let mut gates = Vec::new();
    for (seed, disk) in (0..).zip(&disks) {
        gates.push(Gate::around(segments(disk, seed).await));
    }
    let stores = gates.iter().map(|gate| Arc::clone(gate) as Arc<dyn ChunkStore>);
    let spread = spread(stores.collect());
    Node { disks, gates, spread }
}

impl Node {
    /// Which disks hold the chunk, intact.
    async fn holders(&self, chunk: ChunkId) -> Vec<usize> {
        let mut holders = Vec::new();
        for (at, gate) in self.gates.iter().enumerate() {
            if holds(&*gate.inner, chunk).await {
                holders.push(at);
            }
        }
        holders
    }

    async fn holder(&self, chunk: ChunkId) -> usize {
        let holders = self.holders(chunk).await;
        assert_eq!(holders.len(), 1, "{chunk} is on disks {holders:?}");
        holders[0]
    }

    /// Puts chunks until one lies on disk `at`; gives it.
    async fn put_on(&self, at: usize) -> ChunkId {
        for index in 1000..1100 {
            put(&*self.spread, chunk(index), &bytes(1000)).await.expect("stored");
            if self.holder(chunk(index)).await == at {
                return chunk(index);
            }
        }
        panic!("a hundred chunks, and none went to disk {at}");
    }

    /// Disk `at` fails to make a chunk durable, and takes no more.
    async fn poison(&self, at: usize) {
        self.disks[at].fail(DiskOp::Sync, 0, ErrorKind::Other);
        put(&*self.gates[at].inner, chunk(999), &bytes(10)).await.expect_err("a failed sync");
        assert!(self.spread.disks()[at].failed);
    }
}

fn full_share(node: &Node, at: usize) -> f64 {
    let usage = node.gates[at].usage();
    usage.used as f64 / usage.capacity as f64
}

#[test]
fn no_disk_is_no_store() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let spawner = Spawner::on(runtime.handle().clone());
    let seams = SpreadSeams { spawner, entropy: Entropy::seeded(1) };
    assert_eq!(Spread::new(Vec::new(), seams).unwrap_err(), NoDisks);
}

#[tokio::test]
async fn disks_of_any_size_fill_at_one_rate() {
    let node = node(&[32 << 20, 64 << 20, 128 << 20]).await;
    for index in 0..1000 {
        put(&*node.spread, chunk(index), &bytes(100_000)).await.unwrap();
    }
    let shares: Vec<_> = (0..3).map(|at| full_share(&node, at)).collect();
    let (least, most) = shares
        .iter()
        .fold((1.0_f64, 0.0_f64), |(least, most), share| (least.min(*share), most.max(*share)));
    assert!(least > 0.35 && most - least < 0.1, "{shares:?}");
}

#[tokio::test]
async fn a_disk_that_is_added_fills_faster_and_not_alone() {
    let old = MemoryDisk::new(64 << 20);
    let full = segments(&old, 0).await;
    for index in 0..400 {
        put(&*full, chunk(index), &bytes(100_000)).await.unwrap();
    }
    let new = segments(&MemoryDisk::new(64 << 20), 1).await;
    let spread = spread(vec![full.clone(), new.clone()]);
    for index in 400..600 {
        put(&*spread, chunk(index), &bytes(100_000)).await.unwrap();
    }
    let (to_old, to_new) = (full.usage().chunks - 400, new.usage().chunks);
    assert_eq!(to_old + to_new, 200);
    assert!(to_new > 2 * to_old && to_old > 10, "{to_old} to the old, {to_new} to the new disk");
}

#[tokio::test]
async fn what_one_disk_has_no_room_for_goes_to_another_and_a_refusal_tells_the_most_that_is_free() {
    let node = node(&[4 << 20, 16 << 20, 8 << 20]).await;
    let large = |index| node.spread.begin(chunk(index), 10 << 20);
    let first = large(0).await.expect("it fits on one of them");
    assert_eq!(node.gates[1].usage().open_writes, 1);
    let refused = large(1).await;
    let Err(WriteError::NoRoom { wanted, free }) = refused else { panic!("{refused:?}") };
    assert!(wanted >= 10 << 20);
    let most = node.gates.iter().map(|gate| gate.usage().free()).max();
    assert_eq!(Some(free), most);
    drop(first);
    large(1).await.expect("room again");
}

/// Nobody asks for a chunk twice on purpose, but answers get lost.
#[tokio::test]
async fn a_repeat_and_a_conflict_are_told_by_the_disk_that_has_the_chunk() {
    let node = node(&[PLENTY; 4]).await;
    for index in 0..20 {
        put(&*node.spread, chunk(index), &bytes(1000)).await.unwrap();
        let holder = node.holder(chunk(index)).await;
        put(&*node.spread, chunk(index), &bytes(1000)).await.expect("the same again");
        let other = put(&*node.spread, chunk(index), &content(1000, 8)).await;
        assert!(matches!(other, Err(WriteError::Conflict { .. })), "{other:?}");
        assert_eq!(node.holder(chunk(index)).await, holder);
    }
}

#[tokio::test]
async fn writers_of_one_chunk_that_begin_at_once_write_to_one_disk() {
    let node = node(&[PLENTY; 4]).await;
    for gate in &node.gates {
        gate.shut(At::Begin);
    }
    for index in 0..20 {
        let mut writers = Vec::new();
        for _ in 0..3 {
            let spread = Arc::clone(&node.spread);
            let write = async move { put(&*spread, chunk(index), &bytes(1000)).await };
            writers.push(spawn(write));
        }
        let reached = node.gates.iter().map(|gate| Box::pin(gate.reached(At::Begin)));
        let ((), first, _) = futures_util::future::select_all(reached).await;
        let calls: usize = node.gates.iter().map(|gate| gate.calls(At::Begin)).sum();
        assert_eq!(calls, 3 * index as usize + 1, "the others wait for the first");
        node.gates[first].open(At::Begin);
        for writer in writers {
            writer.await.unwrap().expect("the same content");
        }
        node.gates[first].shut(At::Begin);
        assert_eq!(node.holder(chunk(index)).await, first);
    }
}

#[tokio::test]
async fn whoever_comes_while_a_chunk_is_written_writes_to_the_same_disk() {
    let node = node(&[PLENTY; 4]).await;
    let mut first = node.spread.begin(chunk(0), 1000).await.unwrap();
    for _ in 0..10 {
        let later = node.spread.begin(chunk(0), 1000).await.unwrap();
        let writes: Vec<_> = node.gates.iter().map(|gate| gate.usage().open_writes).collect();
        assert_eq!(writes.iter().filter(|writes| **writes > 0).count(), 1, "{writes:?}");
        drop(later);
    }
    let end = send(&mut *first, chunk(0), &bytes(1000), 1000).await.unwrap();
    first.finish(end).await.unwrap();
    node.holder(chunk(0)).await;
}

/// The disk goes on with what it was told to finish.
#[tokio::test]
async fn a_chunk_whose_writer_went_away_at_the_end_is_not_written_elsewhere() {
    let node = node(&[PLENTY; 4]).await;
    for gate in &node.gates {
        gate.shut(At::Finish);
    }
    for index in 0..20 {
        let mut writer = node.spread.begin(chunk(index), 1000).await.unwrap();
        let end = send(&mut *writer, chunk(index), &bytes(1000), 1000).await.unwrap();
        drop(writer.finish(end));
        let reached = node.gates.iter().map(|gate| Box::pin(gate.reached(At::Finish)));
        let ((), first, _) = futures_util::future::select_all(reached).await;
        let again = node.spread.begin(chunk(index), 1000).await.unwrap();
        let writes: Vec<_> = node.gates.iter().map(|gate| gate.usage().open_writes).collect();
        assert_eq!(writes[first], 2, "{writes:?}");
        drop(again);
        node.gates[first].open(At::Finish);
        put(&*node.spread, chunk(index), &bytes(1000)).await.expect("the same again");
        node.gates[first].shut(At::Finish);
        assert_eq!(node.holder(chunk(index)).await, first);
    }
}

#[tokio::test]
async fn a_disk_that_cannot_sync_is_read_and_the_others_take_the_writes() {
    let node = node(&[PLENTY; 3]).await;
    let old = node.put_on(1).await;
    node.poison(1).await;
    for index in 0..30 {
        put(&*node.spread, chunk(index), &bytes(1000)).await.expect("two disks are well");
        assert_ne!(node.holder(chunk(index)).await, 1);
    }
    assert!(get_all(&*node.spread, old).await.expect("it is read") == bytes(1000));
    let again = put(&*node.spread, old, &bytes(1000)).await;
    assert!(matches!(again, Err(WriteError::DiskFailed)), "no second copy: {again:?}");
    for at in [0, 2] {
        node.poison(at).await;
    }
    let refused = put(&*node.spread, chunk(30), &bytes(1000)).await;
    assert!(matches!(refused, Err(WriteError::DiskFailed)), "{refused:?}");
}

#[tokio::test]
async fn a_disk_whose_writes_fail_is_tried_less_and_less_until_it_works_again() {
    let node = node(&[PLENTY; 2]).await;
    node.gates[0].fail(At::Finish, 0, 12);
    let mut failed = 0;
    for index in 0..2000 {
        failed += usize::from(put(&*node.spread, chunk(index), &bytes(10)).await.is_err());
    }
    assert!((2..=12).contains(&failed), "{failed} of 2000 writes failed");
    assert_eq!(node.gates[1].usage().chunks + node.gates[0].usage().chunks, 2000 - failed as u64);
    node.gates[0].fail(At::Finish, 0, 0);
    let before = node.gates[0].usage().chunks;
    for index in 2000..20_000 {
        put(&*node.spread, chunk(index), &bytes(10)).await.expect("both disks are well");
    }
    let taken = node.gates[0].usage().chunks - before;
    assert!(taken > 1000, "a disk that works again gets {taken} of 18,000");
}

#[tokio::test]
async fn not_found_is_what_all_disks_say_and_a_failure_is_told() {
    let node = node(&[PLENTY; 3]).await;
    let there = node.put_on(2).await;
    for at in [0, 1] {
        node.gates[at].fail(At::Read, 0, 2);
    }
    get_all(&*node.spread, there).await.expect("the disk that has it was asked");
    let absent = get_all(&*node.spread, chunk(0)).await;
    assert!(matches!(absent, Err(ReadError::Disk { .. })), "it may be there: {absent:?}");
    let absent = get_all(&*node.spread, chunk(0)).await;
    assert!(matches!(absent, Err(ReadError::NotFound { .. })), "{absent:?}");
    node.disks[2].fail(DiskOp::Read, 0, ErrorKind::Other);
    let unread = get_all(&*node.spread, there).await;
    assert!(matches!(unread, Err(ReadError::Disk { .. })), "{unread:?}");
    node.disks[2].fail(DiskOp::Read, 0, ErrorKind::Other);
    let unknown = node.spread.stat(there).await;
    assert!(matches!(unknown, Err(ReadError::Disk { .. })), "{unknown:?}");
}

/// It is asked by one who holds the chunk, too: a disk that does not answer reads must not get in the way.
#[tokio::test]
async fn a_disk_that_lacks_a_chunk_says_so_without_reading() {
    let node = node(&[PLENTY; 2]).await;
    let there = node.put_on(1).await;
    node.disks[0].stop_after(0);
    get_all(&*node.spread, there).await.expect("the disk is off, and is not asked to read");
    node.spread.stat(there).await.expect("known");
    let again = put(&*node.spread, there, &bytes(1000)).await;
    again.expect("the disk that has it is well");
}

#[tokio::test]
async fn a_disk_that_cannot_be_listed_fails_the_list() {
    let node = node(&[PLENTY; 3]).await;
    for index in 0..10 {
        put(&*node.spread, chunk(index), &bytes(10)).await.unwrap();
    }
    node.gates[1].fail(At::List, 0, 1);
    let all = ListChunks { after: None, blob: None, limit: 100 };
    node.spread.list(all).await.expect_err("half a list would be a lie");
    assert_eq!(node.spread.list(all).await.unwrap().chunks.len(), 10);
}

#[tokio::test]
async fn a_deletion_goes_to_all_disks_whatever_fails_and_can_be_repeated() {
    let node = node(&[PLENTY; 3]).await;
    let chunks = [node.put_on(0).await, node.put_on(1).await, node.put_on(2).await];
    node.gates[0].fail(At::Delete, 0, 1);
    node.gates[1].fail(At::Delete, 0, 1);
    let deleted = node.spread.delete(chunks.to_vec()).await;
    let Err(DeleteError::Disks(failed)) = deleted else { panic!("{deleted:?}") };
    let failed: Vec<_> = failed.iter().map(|(disk, _)| disk.as_str()).collect();
    assert_eq!(failed, ["0", "1"]);
    assert!(!holds(&*node.spread, chunks[2]).await, "the third was not spared");
    assert_eq!(node.spread.delete(chunks.to_vec()).await.expect("again"), 2);
    assert_eq!(node.spread.delete(chunks.to_vec()).await.expect("and again"), 0);
}

#[tokio::test]
async fn a_failed_disk_keeps_what_it_has_and_is_not_in_the_way_of_other_deletions() {
    let node = node(&[PLENTY; 2]).await;
    let (kept, gone) = (node.put_on(0).await, node.put_on(1).await);
    let other = ChunkId::new(blob(2), 0);
    put(&*node.gates[1].inner, other, &bytes(10)).await.unwrap();
    node.poison(0).await;
    assert_eq!(node.spread.delete(vec![gone]).await.expect("the failed disk has nothing of it"), 1);
    let erased = node.spread.erase_blob(blob(2), 10).await.expect("nor of this");
    assert_eq!((erased.deleted, erased.more), (1, false));
    let refused = node.spread.delete(vec![kept]).await;
    assert!(matches!(refused, Err(DeleteError::DiskFailed)), "{refused:?}");
    let refused = node.spread.erase_blob(blob(1), 1000).await;
    assert!(matches!(refused, Err(DeleteError::DiskFailed)), "{refused:?}");
    assert_eq!(node.holders(kept).await, [0], "what it has is there");
    assert_eq!(node.gates[1].usage().chunks, 0, "the other disk has erased all the same");
}

#[tokio::test]
async fn a_blob_that_was_erased_is_refused_by_every_disk() {
    let node = node(&[PLENTY; 4]).await;
    node.put_on(2).await;
    node.spread.erase_blob(blob(1), 1000).await.unwrap();
    for gate in &node.gates {
        let refused = put(&*gate.inner, chunk(5), &bytes(10)).await;
        assert!(matches!(refused, Err(WriteError::Erased { .. })), "{refused:?}");
    }
}

/// A disk was away while its chunks were stored anew on another.
#[tokio::test]
async fn of_two_copies_both_are_deleted_and_the_list_has_one() {
    let node = node(&[PLENTY; 3]).await;
    for at in [0, 2] {
        put(&*node.gates[at].inner, chunk(0), &bytes(1000)).await.unwrap();
    }
    let all = ListChunks { after: None, blob: None, limit: 10 };
    let listed = node.spread.list(all).await.unwrap();
    assert_eq!(listed.chunks.len(), 1);
    let stat = node.spread.stat(chunk(0)).await.unwrap();
    assert_eq!(listed.chunks[0].disk, stat.disk);
    node.spread.delete(vec![chunk(0)]).await.unwrap();
    assert_eq!(node.holders(chunk(0)).await, [0; 0]);
}

#[tokio::test]
async fn a_damaged_chunk_is_put_aside_on_its_disk_and_can_be_written_again() {
    let node = node(&[PLENTY; 3]).await;
    let damaged = node.put_on(1).await;
    for file in node.disks[1].files().iter().filter(|file| file.starts_with("segments/")) {
        node.disks[1].edit(file, |bytes| {
            let at = bytes.len() - 2000;
            bytes[at..].iter_mut().for_each(|byte| *byte ^= 1);
        });
    }
    let read = get_all(&*node.spread, damaged).await;
    assert!(matches!(read, Err(ReadError::Corrupt { .. })), "{read:?}");
    node.poison(0).await;
    assert!(node.spread.quarantine(damaged).await.expect("the failed disk does not have it"));
    assert!(!node.spread.quarantine(damaged).await.expect("it is aside"));
    assert_eq!(node.spread.usage().damaged, 1);
    put(&*node.spread, damaged, &bytes(1000)).await.expect("written again");
    assert!(get_all(&*node.spread, damaged).await.expect("read") == bytes(1000));
}

/// Chunks and contents of the random workloads.
const CHUNKS: u64 = 6;
const CONTENTS: u64 = 2;

/// Up to three writers of one chunk at once, some of whom go away at the end. Gives the content that was acknowledged, if any.
async fn race(node: &Node, entropy: &Entropy, chunk: ChunkId) -> Option<u8> {
    let mut writers = Vec::new();
    for _ in 0..=entropy.below(3) {
        let (seed, leaves) = (entropy.below(CONTENTS) as u8, entropy.below(4) == 0);
        let spread = Arc::clone(&node.spread);
        writers.push(async move {
            let bytes = content(300_000, seed);
            let mut writer = spread.begin(chunk, 300_000).await.ok()?;
            let end = send(&mut *writer, chunk, &bytes, 100_000).await.ok()?;
            let finish = writer.finish(end);
            if leaves {
                return None;
            }
            finish.await.ok().map(|_| seed)
        });
    }
    let done = futures_util::future::join_all(writers).await;
    let mut acknowledged = done.into_iter().flatten();
    let first = acknowledged.next()?;
    assert!(acknowledged.all(|other| other == first), "two contents of {chunk} were taken");
    Some(first)
}

#[tokio::test]
async fn whatever_fails_a_chunk_is_on_one_disk_and_what_was_acknowledged_is_there() {
    let (mut stored, mut refused) = (0, 0);
    for seed in 1..=60 {
        let entropy = Entropy::seeded(seed);
        let node = node(&[3 << 20, 5 << 20, 4 << 20]).await;
        for step in 0..60 {
            let chunk = chunk(entropy.below(CHUNKS) as u32);
            let disk = &node.disks[entropy.below(3) as usize];
            match entropy.below(8) {
                0 => disk.fail(DiskOp::Write, entropy.below(4), ErrorKind::Other),
                1 if entropy.below(20) == 0 => disk.fail(DiskOp::Sync, 0, ErrorKind::Other),
                1 | 2 => drop(node.spread.delete(vec![chunk]).await),
                _ => {
                    let taken = race(&node, &entropy, chunk).await;
                    while node.spread.usage().open_writes > 0 {
                        tokio::task::yield_now().await;
                    }
                    if let Some(taken) = taken {
                        let read = get_all(&*node.spread, chunk).await.expect("acknowledged");
                        assert!(read == content(300_000, taken), "seed {seed}, step {step}");
                    }
                    let counted = if taken.is_some() { &mut stored } else { &mut refused };
                    *counted += 1;
                }
            }
            let holders = node.holders(chunk).await;
            assert!(holders.len() < 2, "seed {seed}, step {step}: {chunk} on {holders:?}");
        }
    }
    assert!(stored > 500 && refused > 100, "{stored} stored, {refused} refused");
}

#[tokio::test]
async fn closing_closes_every_disk_whatever_panics() {
    let node = node(&[PLENTY; 3]).await;
    node.gates[0].panic_at_close();
    node.spread.close().await;
    node.spread.close().await;
    for gate in &node.gates[1..] {
        let begun = gate.inner.begin(chunk(0), 1).await;
        assert!(matches!(begun, Err(WriteError::Closed)), "{begun:?}");
    }
}

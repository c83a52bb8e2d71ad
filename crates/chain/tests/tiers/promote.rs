//! Promotion: what is read further down comes up, in the background, and never comes back from the dead.

use std::sync::Arc;
use std::time::Duration;

use cairn_chain::chain::{ChainConfig, PromoteConfig, Tier, TierConfig};
use cairn_chain::conformance::{blob, get_all, put};
use cairn_chain::disk::memory::MemoryDisk;
use cairn_chain::{ChunkStore, FRAME_BYTES, ReadError};
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;

use super::gate::{At, Gate};
use super::setup::{Stack, bytes, cache, chunk, file, holds, spawn, stack, sync};

fn memory(gate: Arc<Gate>) -> Tier {
    cache("memory", gate)
}

fn small(gate: Arc<Gate>) -> Tier {
    cache("small", gate)
}

fn one(gate: Arc<Gate>) -> Tier {
    sync("one", gate)
}

fn never(gate: Arc<Gate>) -> Tier {
    Tier::new(TierConfig { promote: false, ..TierConfig::named("never").cache() }, gate)
}

fn config(promote: PromoteConfig) -> ChainConfig {
    ChainConfig { promote, ..ChainConfig::default() }
}

/// Chunks 0 to 4 are in the last tier only.
async fn below(config: ChainConfig, place: &[fn(Arc<Gate>) -> Tier]) -> Stack {
    let stack = stack(config, None, place).await;
    let last = stack.gates.last().expect("a tier");
    for index in 0..5 {
        put(&*last.inner, chunk(index), &bytes(100_000)).await.expect("stored");
    }
    stack
}

/// Row B12.
#[tokio::test]
async fn what_is_read_further_down_comes_to_every_tier_before() {
    let mut stack = below(ChainConfig::default(), &[memory, small, one]).await;
    assert!(get_all(&*stack.chain, chunk(0)).await.unwrap() == bytes(100_000));
    stack.chain.settle().await;
    assert_eq!(stack.holders(chunk(0)).await, [true; 3]);
    assert_eq!(stack.chain.stats().promote.done, 2);
    assert_eq!(stack.reported(), Vec::<String>::new(), "successes are no errors");
    get_all(&*stack.chain, chunk(0)).await.unwrap();
    assert_eq!(stack.chain.stats().tiers[0].hits, 1);
}

#[tokio::test]
async fn a_chunk_is_promoted_once_however_many_read_it() {
    let stack = below(ChainConfig::default(), &[memory, one]).await;
    stack.gates[0].shut(At::Begin);
    for _ in 0..5 {
        get_all(&*stack.chain, chunk(0)).await.unwrap();
    }
    stack.gates[0].open(At::Begin);
    stack.chain.settle().await;
    assert_eq!(stack.gates[0].calls(At::Begin), 1);
    assert_eq!(stack.holders(chunk(0)).await, [true, true]);
}

#[tokio::test]
async fn a_promotion_goes_on_when_its_reader_goes_away() {
    let stack = below(ChainConfig::default(), &[memory, one]).await;
    let whole = ByteRange { offset: 0, length: u64::MAX };
    drop(stack.chain.read(chunk(0), whole).await.unwrap());
    stack.chain.settle().await;
    assert_eq!(stack.holders(chunk(0)).await, [true, true]);
}

#[tokio::test]
async fn with_too_many_on_their_way_the_next_is_not_promoted() {
    let promote = PromoteConfig { queue: 2, workers: 1, ..PromoteConfig::default() };
    let stack = below(config(promote), &[memory, one]).await;
    stack.gates[0].shut(At::Begin);
    for index in 0..4 {
        get_all(&*stack.chain, chunk(index)).await.expect("the readers do not mind");
    }
    assert_eq!(stack.chain.stats().promote.skipped, 2);
    stack.gates[0].open(At::Begin);
    stack.chain.settle().await;
    assert_eq!(stack.chain.stats().promote.done, 2);
}

#[tokio::test]
async fn what_is_too_large_a_part_of_a_tier_or_not_wanted_there_is_not_promoted() {
    let stack = below(
        config(PromoteConfig { admit_percent: 0, ..PromoteConfig::default() }),
        &[memory, one],
    )
    .await;
    get_all(&*stack.chain, chunk(0)).await.unwrap();
    stack.chain.settle().await;
    assert_eq!(stack.gates[0].calls(At::Begin), 0);
    assert_eq!(stack.chain.stats().promote.not_admitted, 1);
    let stack = below(ChainConfig::default(), &[never, memory, one]).await;
    get_all(&*stack.chain, chunk(0)).await.unwrap();
    stack.chain.settle().await;
    assert_eq!(stack.holders(chunk(0)).await, [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_promotion_that_fails_or_takes_too_long_is_reported_and_hurts_nobody() {
    let promote = PromoteConfig { deadline: Duration::from_secs(3), ..PromoteConfig::default() };
    let mut stack = below(config(promote), &[memory, one]).await;
    stack.gates[0].fail(At::Append, 0, 1);
    get_all(&*stack.chain, chunk(0)).await.unwrap();
    stack.chain.settle().await;
    stack.gates[0].shut(At::Begin);
    get_all(&*stack.chain, chunk(1)).await.unwrap();
    stack.chain.settle().await;
    assert_eq!(stack.reported(), ["memory promote", "memory promote"]);
    assert_eq!(stack.chain.stats().promote.failed, 2);
    assert_eq!(stack.holders(chunk(0)).await, [false, true]);
    assert_eq!(stack.holders(chunk(1)).await, [false, true]);
}

/// Row B13, at each point where a promotion can be caught.
#[tokio::test]
async fn a_promotion_does_not_bring_a_deleted_chunk_back() {
    for at in [At::Begin, At::Append, At::Finish] {
        for blob_wise in [false, true] {
            let stack = below(ChainConfig::default(), &[memory, one]).await;
            stack.gates[0].shut(at);
            get_all(&*stack.chain, chunk(0)).await.unwrap();
            stack.gates[0].reached(at).await;
            let chain = Arc::clone(&stack.chain);
            let deletion = spawn(async move {
                match blob_wise {
                    false => chain.delete(vec![chunk(0)]).await.map(drop),
                    true => chain.erase_blob(blob(1), 10).await.map(drop),
                }
            });
            tokio::task::yield_now().await;
            stack.gates[0].open(at);
            deletion.await.unwrap().unwrap();
            stack.chain.settle().await;
            assert_eq!(stack.holders(chunk(0)).await, [false, false], "{at:?} {blob_wise}");
        }
    }
}

/// Row B13: the deletion comes between the read and the begin of the promotion.
#[tokio::test]
async fn a_promotion_that_waits_its_turn_finds_that_the_chunk_is_deleted() {
    let promote = PromoteConfig { workers: 1, ..PromoteConfig::default() };
    let mut stack = below(config(promote), &[memory, one]).await;
    stack.gates[0].shut(At::Begin);
    get_all(&*stack.chain, chunk(0)).await.unwrap();
    stack.gates[0].reached(At::Begin).await;
    get_all(&*stack.chain, chunk(1)).await.unwrap();
    stack.chain.delete(vec![chunk(1)]).await.unwrap();
    stack.gates[0].open(At::Begin);
    stack.chain.settle().await;
    assert_eq!(stack.holders(chunk(0)).await, [true, true]);
    assert_eq!(stack.holders(chunk(1)).await, [false, false]);
    assert_eq!(stack.reported(), Vec::<String>::new());
    assert_eq!(stack.chain.stats().promote.gave_way, 1);
}

/// Row B14, with real damage.
#[tokio::test]
async fn a_damaged_copy_is_put_aside_and_written_anew_from_the_tier_below() {
    let disk = MemoryDisk::new(1 << 30);
    let damaged = file(&disk, 1).await;
    let intact = file(&MemoryDisk::new(1 << 30), 2).await;
    let tiers = vec![sync("damaged", damaged.clone()), sync("intact", intact)];
    let (errors, mut receiver) = cairn_chain::report::TierErrors::channel(10);
    let chain = cairn_chain::chain::Chain::open(
        ChainConfig::default(),
        tiers,
        None,
        super::setup::seams(errors),
    );
    let chain = chain.unwrap();
    let bytes = bytes(3 * FRAME_BYTES);
    for (index, at) in [(0, 0), (1, 2 * FRAME_BYTES), (2, 3 * FRAME_BYTES + 1)] {
        let chunk = ChunkId::new(blob(1), index);
        put(&chain, chunk, &bytes).await.unwrap();
        let path = disk.files().into_iter().find(|path| path.ends_with(&chunk.to_string()));
        assert!(disk.edit(&path.unwrap(), |bytes| bytes[at] ^= 1));
        assert!(get_all(&chain, chunk).await.unwrap() == bytes, "from the other tier");
        chain.settle().await;
        assert!(holds(&*damaged, chunk).await, "healed");
        let error = receiver.try_recv().unwrap();
        assert_eq!(error.error.kind, cairn_chain::report::FaultKind::Corrupt);
    }
    assert_eq!((chain.stats().promote.put_aside, chain.stats().promote.done), (3, 3));
}

#[tokio::test]
async fn a_scrub_of_a_chain_counts_a_chunk_as_missing_only_when_no_tier_has_it_intact() {
    let disks = [MemoryDisk::new(1 << 30), MemoryDisk::new(1 << 30)];
    let stores = [file(&disks[0], 1).await, file(&disks[1], 2).await];
    let tiers = vec![sync("one", stores[0].clone()), sync("two", stores[1].clone())];
    let seams = super::setup::seams(cairn_chain::report::TierErrors::logged_only());
    let chain = cairn_chain::chain::Chain::open(ChainConfig::default(), tiers, None, seams);
    let chain = chain.unwrap();
    put(&chain, chunk(0), &bytes(1000)).await.unwrap();
    let damage = |disk: &MemoryDisk| {
        let path = disk.files().into_iter().find(|path| path.starts_with("chunks/")).unwrap();
        assert!(disk.edit(&path, |bytes| bytes[0] ^= 1));
    };
    damage(&disks[0]);
    assert!(!chain.quarantine(chunk(0)).await.unwrap(), "the other tier has it");
    chain.settle().await;
    assert!(holds(&*stores[0], chunk(0)).await, "and has given it back");
    damage(&disks[0]);
    damage(&disks[1]);
    assert!(chain.quarantine(chunk(0)).await.unwrap());
    let read = get_all(&chain, chunk(0)).await;
    assert!(matches!(read, Err(ReadError::NotFound { .. })), "{read:?}");
}

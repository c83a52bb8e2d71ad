//! Writing behind: what was acknowledged gets to the tier behind, whatever happens in between.

use std::sync::Arc;
use std::time::Duration;

use cairn_chain::chain::{BehindConfig, Chain, ChainConfig, Tier, TierConfig};
use cairn_chain::conformance::{blob, get_all, put};
use cairn_chain::disk::memory::{DiskOp, Loss, MemoryDisk};
use cairn_chain::report::TierErrors;
use cairn_chain::wrap::{Lru, LruConfig};
use cairn_chain::{ChunkStore, WriteError};
use cairn_core::ids::ChunkId;

use super::gate::{At, Gate};
use super::setup::{
    Stack, behind, bytes, chunk, disk, file, holds, journal, lru_seams, seams, spawn, stack, sync,
};

const LOSSES: [Loss; 7] = [
    Loss::Everything,
    Loss::Content,
    Loss::Nothing,
    Loss::Coin(1),
    Loss::Coin(2),
    Loss::Coin(3),
    Loss::Coin(4),
];

fn near(gate: Arc<Gate>) -> Tier {
    sync("near", gate)
}

fn far(gate: Arc<Gate>) -> Tier {
    behind("far", gate)
}

fn farther(gate: Arc<Gate>) -> Tier {
    behind("farther", gate)
}

fn config(queue: usize, workers: usize) -> ChainConfig {
    let behind = BehindConfig { queue, workers, ..BehindConfig::default() };
    ChainConfig { behind, ..ChainConfig::default() }
}

async fn two_tiers(config: ChainConfig) -> Stack {
    stack(config, Some(journal(&disk()).await), &[near, far]).await
}

#[tokio::test(start_paused = true)]
async fn a_write_is_answered_before_the_tier_behind_has_it_and_flush_waits_for_that() {
    let stack = two_tiers(ChainConfig::default()).await;
    stack.gates[1].shut(At::Finish);
    put(&*stack.chain, chunk(0), &bytes(300_000)).await.unwrap();
    stack.gates[1].reached(At::Finish).await;
    assert_eq!(stack.holders(chunk(0)).await, [true, false]);
    assert_eq!(stack.chain.stats().behind.waiting, 1);
    assert_eq!(stack.chain.stats().behind.waiting_bytes, 300_000);
    stack.gates[1].open(At::Finish);
    stack.chain.flush().await.unwrap();
    assert_eq!(stack.holders(chunk(0)).await, [true, true]);
    assert_eq!((stack.chain.stats().behind.waiting, stack.chain.stats().behind.copied), (0, 1));
}

/// Row B09, B10: each failure once, successes never.
#[tokio::test(start_paused = true)]
async fn a_copy_that_fails_is_reported_and_tried_again_until_it_succeeds() {
    let mut stack = two_tiers(ChainConfig::default()).await;
    stack.gates[1].fail(At::Finish, 0, 3);
    put(&*stack.chain, chunk(0), &bytes(1000)).await.expect("the writer sees success");
    stack.chain.flush().await.unwrap();
    assert_eq!(stack.holders(chunk(0)).await, [true, true]);
    assert_eq!(stack.reported(), ["far copy"; 3]);
    assert_eq!(stack.chain.stats().behind.failed, 3);
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_fails_does_not_keep_the_chunk_from_the_next_one_behind() {
    let journal = journal(&disk()).await;
    let stack = stack(ChainConfig::default(), Some(journal), &[near, far, farther]).await;
    stack.gates[1].fail(At::Begin, 0, 1);
    put(&*stack.chain, chunk(0), &bytes(1000)).await.unwrap();
    stack.chain.flush().await.unwrap();
    assert_eq!(stack.holders(chunk(0)).await, [true, true, true]);
    assert_eq!(stack.gates[2].calls(At::Begin), 1, "what has it is not asked again");
}

/// Row B06.
#[tokio::test(start_paused = true)]
async fn when_too_many_chunks_wait_a_write_waits_for_its_bound_and_is_then_refused() {
    let stack = two_tiers(config(2, 1)).await;
    stack.gates[1].shut(At::Begin);
    for index in 0..2 {
        put(&*stack.chain, chunk(index), &bytes(10)).await.unwrap();
    }
    let refused = put(&*stack.chain, chunk(2), &bytes(10)).await;
    let Err(error @ WriteError::Backlog { waiting: 2 }) = refused else { panic!("{refused:?}") };
    assert!(error.is_retryable());
    let chain = Arc::clone(&stack.chain);
    let waits = spawn(async move { put(&*chain, chunk(2), &bytes(10)).await });
    stack.gates[1].open(At::Begin);
    waits.await.unwrap().expect("there is room as soon as one is copied");
    stack.chain.flush().await.unwrap();
    for index in 0..3 {
        assert_eq!(stack.holders(chunk(index)).await, [true, true]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_is_copied_once_however_often_it_is_written() {
    let stack = two_tiers(config(10, 3)).await;
    stack.gates[1].shut(At::Append);
    for _ in 0..3 {
        put(&*stack.chain, chunk(0), &bytes(10)).await.unwrap();
    }
    assert_eq!(stack.chain.stats().behind.waiting, 1);
    stack.gates[1].open(At::Append);
    stack.chain.flush().await.unwrap();
    put(&*stack.chain, chunk(0), &bytes(10)).await.unwrap();
    let begun = stack.gates[1].calls(At::Begin);
    stack.chain.flush().await.unwrap();
    assert_eq!(stack.gates[1].calls(At::Begin), begun, "what is there is not sent again");
}

/// Row B16: before the copy begins, while it is sent, while it is made durable, and while a retry waits.
#[tokio::test(start_paused = true)]
async fn a_deletion_of_a_chunk_that_waits_cancels_its_copy() {
    for at in [At::Begin, At::Append, At::Finish] {
        for blob_wise in [false, true] {
            let stack = two_tiers(config(10, 1)).await;
            stack.gates[1].shut(at);
            for index in 0..2 {
                put(&*stack.chain, chunk(index), &bytes(1000)).await.unwrap();
            }
            stack.gates[1].reached(at).await;
            let chain = Arc::clone(&stack.chain);
            let deletion = spawn(async move {
                match blob_wise {
                    false => chain.delete(vec![chunk(0), chunk(1)]).await.map(drop),
                    true => chain.erase_blob(blob(1), 10).await.map(drop),
                }
            });
            tokio::task::yield_now().await;
            stack.gates[1].open(at);
            deletion.await.unwrap().expect("deleted");
            stack.chain.flush().await.unwrap();
            for index in 0..2 {
                assert_eq!(stack.holders(chunk(index)).await, [false, false], "{at:?}");
            }
            assert_eq!(stack.chain.stats().behind.waiting, 0);
        }
    }
    let stack = two_tiers(config(10, 1)).await;
    stack.gates[1].fail(At::Begin, 0, 1);
    put(&*stack.chain, chunk(0), &bytes(1000)).await.unwrap();
    while stack.chain.stats().behind.failed == 0 {
        tokio::task::yield_now().await;
    }
    stack.chain.delete(vec![chunk(0)]).await.unwrap();
    stack.chain.flush().await.unwrap();
    assert_eq!(stack.holders(chunk(0)).await, [false, false]);
}

/// The stores of a machine: a disk, the journal's disk, and one that is far away and keeps its power.
struct Machine {
    near: MemoryDisk,
    journal: MemoryDisk,
    far: Arc<dyn ChunkStore>,
}

impl Machine {
    async fn new() -> Self {
        Self { near: disk(), journal: disk(), far: file(&disk(), 9).await }
    }

    /// Starts the chain; the tier behind cannot be reached while `cut_off`.
    async fn start(&self, cut_off: bool) -> Chain {
        let far = Gate::around(Arc::clone(&self.far));
        far.fail(At::Begin, 0, if cut_off { usize::MAX } else { 0 });
        let tiers = vec![sync("near", file(&self.near, 0).await), behind("far", far)];
        let journal = journal(&self.journal).await;
        let seams = seams(TierErrors::logged_only());
        Chain::open(ChainConfig::default(), tiers, Some(journal), seams).expect("a chain")
    }

    fn crash(&mut self, loss: Loss) {
        self.near = self.near.crash(loss);
        self.journal = self.journal.crash(loss);
    }
}

/// Row B08.
#[tokio::test(start_paused = true)]
async fn after_a_loss_of_power_at_any_step_what_was_acknowledged_gets_to_the_tier_behind() {
    for loss in LOSSES {
        for of_journal in [false, true] {
            for step in 0.. {
                let mut machine = Machine::new().await;
                let chain = machine.start(true).await;
                put(&chain, chunk(0), &bytes(70_000)).await.unwrap();
                let loser = if of_journal { &machine.journal } else { &machine.near };
                loser.stop_after(step);
                let stored = put(&chain, chunk(1), &bytes(200_000)).await;
                drop(chain);
                machine.crash(loss);
                let chain = machine.start(false).await;
                chain.flush().await.unwrap();
                let case = format!("{loss:?} {of_journal} {step}");
                assert!(holds(&*machine.far, chunk(0)).await, "{case}: the older chunk");
                let near = holds(&chain, chunk(1)).await;
                assert!(near || stored.is_err(), "{case}: lost");
                if stored.is_ok() {
                    assert!(holds(&*machine.far, chunk(1)).await, "{case}: never copied");
                    let copy = get_all(&*machine.far, chunk(1)).await.unwrap();
                    assert!(copy == bytes(200_000), "{case}: other bytes");
                }
                put(&chain, chunk(1), &bytes(200_000)).await.expect("nothing is in the way");
                if stored.is_ok() {
                    assert!(step > 1, "the power went before anything happened");
                    break;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_copies_within_its_bound_and_the_rest_is_copied_after_the_next_start() {
    let machine = Machine::new().await;
    let chain = machine.start(false).await;
    put(&chain, chunk(0), &bytes(1000)).await.unwrap();
    chain.close().await;
    assert!(holds(&*machine.far, chunk(0)).await, "a closed store can still be read");
    let mut machine = Machine::new().await;
    let chain = machine.start(true).await;
    put(&chain, chunk(0), &bytes(1000)).await.unwrap();
    drop(chain);
    machine.crash(Loss::Nothing);
    let chain = machine.start(false).await;
    chain.flush().await.unwrap();
    assert!(holds(&*machine.far, chunk(0)).await);
}

#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_for_ever_for_a_tier_that_is_away() {
    let machine = Machine::new().await;
    let chain = machine.start(true).await;
    put(&chain, chunk(0), &bytes(1000)).await.unwrap();
    chain.close().await;
    assert_eq!(chain.stats().behind.waiting, 1);
    let flushed = chain.flush().await;
    assert!(matches!(flushed, Err(WriteError::Closed)), "{flushed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_made_durable_refuses_the_write_and_takes_it_back() {
    let machine = Machine::new().await;
    let chain = machine.start(true).await;
    machine.journal.fail(DiskOp::Sync, 0, std::io::ErrorKind::Other);
    let stored = put(&chain, chunk(0), &bytes(1000)).await;
    assert!(matches!(stored, Err(WriteError::Disk { .. })), "{stored:?}");
    assert!(!holds(&chain, chunk(0)).await);
    let stored = put(&chain, chunk(0), &bytes(1000)).await;
    assert!(
        matches!(stored, Err(WriteError::DiskFailed)),
        "no second sync is believed: {stored:?}"
    );
}

/// Rows B08 and B36: an LRU in front keeps what waits, also over a restart.
#[tokio::test(start_paused = true)]
async fn what_waits_is_not_evicted_from_an_lru_in_front() {
    let far = Gate::around(file(&disk(), 1).await);
    far.fail(At::Begin, 0, usize::MAX);
    let start = async |near: &MemoryDisk, books: &MemoryDisk| {
        let journal = journal(books).await;
        let seams_of_lru = lru_seams(TierErrors::logged_only(), journal.pins());
        let lru = Lru::open(file(near, 0).await, &LruConfig::of(3000), seams_of_lru).await;
        let lru = Arc::new(lru.unwrap());
        let tiers = vec![
            Tier::evicting(TierConfig::named("near"), lru.clone()),
            behind("far", far.clone() as Arc<dyn ChunkStore>),
        ];
        let seams = seams(TierErrors::logged_only());
        let chain = Chain::open(ChainConfig::default(), tiers, Some(journal), seams).unwrap();
        (chain, lru)
    };
    let (near, books) = (disk(), disk());
    let (chain, lru) = start(&near, &books).await;
    for index in 0..3 {
        put(&chain, chunk(index), &bytes(1000)).await.unwrap();
    }
    let full = put(&chain, chunk(3), &bytes(1000)).await;
    assert!(matches!(full, Err(WriteError::NoRoom { .. })), "{full:?}");
    assert_eq!((lru.stats().chunks, lru.stats().evicted), (3, 0));
    drop((chain, lru));
    let (near, books) = (near.crash(Loss::Nothing), books.crash(Loss::Nothing));
    let (chain, lru) = start(&near, &books).await;
    let full = put(&chain, chunk(3), &bytes(1000)).await;
    assert!(matches!(full, Err(WriteError::NoRoom { .. })), "{full:?}");
    far.fail(At::Begin, 0, 0);
    chain.flush().await.unwrap();
    put(&chain, chunk(3), &bytes(1000)).await.expect("what is copied makes room");
    lru.settle().await;
    assert!(lru.stats().evicted >= 1);
    for index in 0..4 {
        assert!(get_all(&chain, ChunkId::new(blob(1), index)).await.unwrap() == bytes(1000));
    }
    assert!(chain.usage().capacity > 3000, "the tier behind says how full the chain is");
    assert_eq!(chain.stats().behind.waiting_bytes % 1000, 0);
    chain.flush().await.unwrap();
    assert_eq!(chain.usage().chunks, 4);
}

#[tokio::test(start_paused = true)]
async fn by_setting_the_tier_behind_takes_over_at_once_when_the_one_before_cannot_begin() {
    use cairn_chain::chain::OnError;
    fn may_fail(gate: Arc<Gate>) -> Tier {
        let config = TierConfig { on_error: OnError::Next, ..TierConfig::named("near") };
        Tier::new(config, gate)
    }
    let stack = stack(ChainConfig::default(), Some(journal(&disk()).await), &[may_fail, far]).await;
    stack.gates[0].fail(At::Begin, 0, 1);
    put(&*stack.chain, chunk(0), &bytes(1000)).await.expect("the far one takes it");
    assert_eq!(stack.holders(chunk(0)).await, [false, true]);
    assert_eq!(stack.chain.stats().behind.waiting, 0, "nothing is left to copy");
}

#[tokio::test(start_paused = true)]
async fn retries_are_spaced_out_up_to_the_longest_wait() {
    let behind = BehindConfig {
        first_retry: Duration::from_secs(1),
        last_retry: Duration::from_secs(8),
        ..BehindConfig::default()
    };
    let stack = two_tiers(ChainConfig { behind, ..ChainConfig::default() }).await;
    stack.gates[1].fail(At::Begin, 0, 5);
    let clock = cairn_runtime::Clock::system();
    put(&*stack.chain, chunk(0), &bytes(10)).await.unwrap();
    stack.gates[1].shut(At::Finish);
    stack.gates[1].reached(At::Finish).await;
    // 1, 2, 4, 8 and 8 seconds, each up to a quarter shorter; the timer of tests moves only for waits.
    let waited = clock.monotonic();
    assert!((17..=24).contains(&waited.as_secs()), "{waited:?}");
}

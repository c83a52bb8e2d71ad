//! Writing to several tiers: in order, all or none, caches aside.

use std::sync::Arc;

use cairn_chain::chain::{
    Chain, ChainConfig, ChainError, OnError, OnFailure, Tier, TierConfig, open_tiers,
};
use cairn_chain::conformance::{get_all, put, send};
use cairn_chain::report::{FaultKind, TierErrors};
use cairn_chain::{ChunkStore, WriteError};

use super::gate::{At, Gate};
use super::setup::{behind, bytes, cache, chunk, disk, file, holds, lru, seams, stack, sync};

fn one(gate: Arc<Gate>) -> Tier {
    sync("one", gate)
}

fn two(gate: Arc<Gate>) -> Tier {
    sync("two", gate)
}

fn three(gate: Arc<Gate>) -> Tier {
    sync("three", gate)
}

fn memory(gate: Arc<Gate>) -> Tier {
    cache("memory", gate)
}

fn may_fail(gate: Arc<Gate>) -> Tier {
    let config = TierConfig { on_error: OnError::Next, ..TierConfig::named("may fail") };
    Tier::new(config, gate)
}

#[tokio::test]
async fn an_empty_chain_is_refused() {
    let config = ChainConfig::default();
    let made = Chain::open(config.clone(), vec![], None, seams(TierErrors::logged_only()));
    assert_eq!(made.err(), Some(ChainError::Empty));
    let store = file(&disk(), 0).await;
    let tiers = vec![cache("memory", store.clone())];
    let made = Chain::open(config.clone(), tiers, None, seams(TierErrors::logged_only()));
    assert_eq!(made.err(), Some(ChainError::NothingDurable));
    let tiers = vec![sync("disk", store.clone()), behind("far", store)];
    let made = Chain::open(config, tiers, None, seams(TierErrors::logged_only()));
    assert_eq!(made.err(), Some(ChainError::NoJournal("far".to_owned())));
}

#[tokio::test]
async fn tiers_open_in_order_and_the_first_failure_closes_those_that_are_open() {
    let (first, last) = (file(&disk(), 0).await, file(&disk(), 1).await);
    let opened = |store: Arc<dyn ChunkStore>, name: &'static str| {
        let opening: cairn_chain::chain::Opening = Box::pin(async move { Ok(sync(name, store)) });
        (name.to_owned(), opening)
    };
    let fails = |name: &'static str| {
        let opening: cairn_chain::chain::Opening =
            Box::pin(async move { Err(format!("{name} on purpose").into()) });
        (name.to_owned(), opening)
    };
    let openings = vec![
        opened(first.clone(), "first"),
        fails("second"),
        fails("third"),
        opened(last.clone(), "last"),
    ];
    let error = open_tiers(openings).await.expect_err("the second fails");
    assert_eq!(error.to_string(), "open tier second: second on purpose");
    let begun = first.begin(chunk(0), 1).await;
    assert!(matches!(begun, Err(WriteError::Closed)), "the first was closed");
    last.begin(chunk(0), 1).await.expect("the last was never opened");
}

#[tokio::test]
async fn a_write_goes_to_all_synchronous_tiers_and_the_receipt_names_the_last_durable_one() {
    let stack = stack(ChainConfig::default(), None, &[memory, one, two]).await;
    let bytes = bytes(300_000);
    let mut writer = stack.chain.begin(chunk(0), bytes.len() as u64).await.unwrap();
    let end = send(&mut *writer, chunk(0), &bytes, 70_000).await.unwrap();
    let receipt = writer.finish(end).await.unwrap();
    assert_eq!(receipt, stack.gates[2].disks()[0].disk);
    assert_eq!(stack.holders(chunk(0)).await, [true, true, true]);
    assert_eq!(stack.chain.stat(chunk(0)).await.unwrap().disk, receipt);
    assert_eq!(stack.chain.disks().len(), 2, "the cache is no place that counts");
}

#[tokio::test]
async fn a_write_stops_at_the_first_tier_that_fails_and_what_earlier_ones_took_is_taken_back() {
    for at in [At::Begin, At::Append, At::Finish] {
        let mut stack = stack(ChainConfig::default(), None, &[one, two, three]).await;
        stack.gates[1].fail(at, 0, 1);
        let stored = put(&*stack.chain, chunk(0), &bytes(1000)).await;
        assert!(matches!(stored, Err(WriteError::Disk { .. })), "{stored:?}");
        assert_eq!(stack.gates[2].calls(at), 0, "the third was not tried");
        assert_eq!(stack.holders(chunk(0)).await, [false; 3]);
        assert_eq!(stack.reported(), [format!("two {at:?}").to_lowercase()]);
        put(&*stack.chain, chunk(0), &bytes(1000)).await.expect("the next one goes through");
    }
}

#[tokio::test]
async fn by_setting_what_earlier_tiers_took_stays() {
    let config = ChainConfig { on_failure: OnFailure::Keep, ..ChainConfig::default() };
    let stack = stack(config, None, &[one, two]).await;
    stack.gates[1].fail(At::Finish, 0, 1);
    put(&*stack.chain, chunk(0), &bytes(1000)).await.expect_err("the second fails");
    assert_eq!(stack.holders(chunk(0)).await, [true, false]);
}

#[tokio::test]
async fn a_repeat_that_fails_takes_nothing_back_that_was_there_before() {
    let stack = stack(ChainConfig::default(), None, &[one, two]).await;
    put(&*stack.chain, chunk(0), &bytes(1000)).await.unwrap();
    stack.gates[1].fail(At::Finish, 0, 1);
    put(&*stack.chain, chunk(0), &bytes(1000)).await.expect_err("the second fails");
    assert_eq!(stack.holders(chunk(0)).await, [true, true]);
}

#[tokio::test]
async fn a_cache_that_fails_never_fails_a_write_and_is_reported() {
    for at in [At::Begin, At::Append, At::Finish] {
        let mut stack = stack(ChainConfig::default(), None, &[memory, one]).await;
        stack.gates[0].fail(at, 0, 1);
        put(&*stack.chain, chunk(0), &bytes(1000)).await.expect("the durable tier has it");
        assert_eq!(stack.holders(chunk(0)).await, [false, true]);
        assert_eq!(stack.reported(), [format!("memory {at:?}").to_lowercase()]);
        assert!(stack.chain.stats().tiers[0].degraded);
    }
}

/// Row B44.
#[tokio::test]
async fn by_setting_a_later_tier_takes_over_from_one_that_fails() {
    for at in [At::Begin, At::Append, At::Finish] {
        let mut stack = stack(ChainConfig::default(), None, &[may_fail, two]).await;
        stack.gates[0].fail(at, 0, 1);
        put(&*stack.chain, chunk(0), &bytes(1000)).await.expect("the second takes over");
        assert_eq!(stack.holders(chunk(0)).await, [false, true]);
        assert_eq!(stack.reported(), [format!("may fail {at:?}").to_lowercase()]);
        get_all(&*stack.chain, chunk(0)).await.unwrap();
        stack.chain.settle().await;
        assert_eq!(stack.holders(chunk(0)).await, [true, true], "a read brings it back");
    }
    let last = stack(ChainConfig::default(), None, &[one, may_fail]).await;
    last.gates[1].fail(At::Finish, 0, 1);
    put(&*last.chain, chunk(0), &bytes(1000)).await.expect_err("nothing comes after the last");
}

#[tokio::test]
async fn the_wrong_bytes_fail_a_write_even_when_a_cache_is_the_first_to_see() {
    let mut stack = stack(ChainConfig::default(), None, &[memory, one]).await;
    let mut writer = stack.chain.begin(chunk(0), 1 << 20).await.unwrap();
    let refused = writer.append(bytes(1 << 16), vec![1]).await;
    assert!(matches!(refused, Err(WriteError::BlockMismatch { .. })), "{refused:?}");
    assert_eq!(stack.reported(), Vec::<String>::new(), "the tier is not at fault");
}

/// Row B34.
#[tokio::test]
async fn a_tier_that_is_too_small_for_a_chunk_is_passed_by_and_the_last_one_refuses() {
    let small = lru(file(&disk(), 0).await, 1000).await;
    let large = file(&disk(), 1).await;
    let tiers = vec![cache("small", small.clone()), sync("large", large.clone())];
    let seams_of = || seams(TierErrors::logged_only());
    let chain = Chain::open(ChainConfig::default(), tiers, None, seams_of()).unwrap();
    put(&chain, chunk(0), &bytes(1001)).await.expect("the large one takes it");
    put(&chain, chunk(1), &bytes(900)).await.expect("both take it");
    assert_eq!((holds(&*small, chunk(0)).await, holds(&*large, chunk(0)).await), (false, true));
    assert!(holds(&*small, chunk(1)).await);
    assert_eq!(chain.stats().tiers[0].bypassed, 1);
    let tiers = vec![sync("small", small)];
    let chain = Chain::open(ChainConfig::default(), tiers, None, seams_of()).unwrap();
    let stored = put(&chain, chunk(2), &bytes(1001)).await;
    assert!(matches!(stored, Err(WriteError::NoRoom { wanted: 1001, .. })), "{stored:?}");
}

#[tokio::test]
async fn the_end_of_a_write_runs_to_its_end_when_the_caller_goes_away() {
    let stack = stack(ChainConfig::default(), None, &[one, two]).await;
    let bytes = bytes(1000);
    let mut writer = stack.chain.begin(chunk(0), 1000).await.unwrap();
    let end = send(&mut *writer, chunk(0), &bytes, 1000).await.unwrap();
    stack.gates[1].shut(At::Finish);
    let finish = writer.finish(end);
    stack.gates[1].reached(At::Finish).await;
    drop(finish);
    stack.gates[1].open(At::Finish);
    stack.chain.close().await;
    assert_eq!(stack.holders(chunk(0)).await, [true, true], "not one of two");
}

#[tokio::test]
async fn errors_that_nobody_receives_are_counted_and_nobody_waits_for_them() {
    let (errors, mut receiver) = TierErrors::channel(1);
    let gate = Gate::around(file(&disk(), 0).await);
    let chain = Chain::open(
        ChainConfig::default(),
        vec![sync("one", gate.clone())],
        None,
        seams(errors.clone()),
    )
    .unwrap();
    gate.fail(At::Begin, 0, 3);
    for _ in 0..3 {
        put(&chain, chunk(0), &bytes(10)).await.expect_err("on purpose");
    }
    assert_eq!((errors.reported(), errors.lost()), (3, 2));
    let first = receiver.recv().await.unwrap();
    assert_eq!((&*first.tier, first.chunk), ("one", Some(chunk(0))));
    assert_eq!(first.error.kind, FaultKind::Failed);
}

//! Deleting from all tiers, and closing them.

use std::sync::Arc;

use cairn_chain::chain::{ChainConfig, Tier};
use cairn_chain::conformance::{blob, put};
use cairn_chain::{ChunkStore, DeleteError, ListChunks, WriteError};

use super::gate::{At, Gate};
use super::setup::{bytes, cache, chunk, stack, sync};

fn one(gate: Arc<Gate>) -> Tier {
    sync("one", gate)
}

fn two(gate: Arc<Gate>) -> Tier {
    sync("two", gate)
}

fn memory(gate: Arc<Gate>) -> Tier {
    cache("memory", gate)
}

/// Row B16.
#[tokio::test]
async fn a_deletion_goes_through_all_tiers_whatever_fails_and_can_be_repeated() {
    let mut stack = stack(ChainConfig::default(), None, &[memory, one, two]).await;
    put(&*stack.chain, chunk(0), &bytes(1000)).await.unwrap();
    stack.gates[0].fail(At::Delete, 0, 1);
    stack.gates[1].fail(At::Delete, 0, 1);
    let deleted = stack.chain.delete(vec![chunk(0)]).await;
    let Err(DeleteError::Tiers(failed)) = deleted else { panic!("{deleted:?}") };
    let failed: Vec<_> = failed.iter().map(|(tier, _)| tier.as_str()).collect();
    assert_eq!(failed, ["memory", "one"]);
    assert_eq!(stack.holders(chunk(0)).await, [true, true, false], "the third was not spared");
    assert_eq!(stack.reported(), ["memory delete", "one delete"]);
    assert_eq!(stack.chain.delete(vec![chunk(0)]).await.expect("again"), 1);
    assert_eq!(stack.chain.delete(vec![chunk(0)]).await.expect("and again"), 0);
    assert_eq!(stack.holders(chunk(0)).await, [false; 3]);
}

#[tokio::test]
async fn a_blob_is_erased_in_all_tiers_whatever_fails() {
    let stack = stack(ChainConfig::default(), None, &[one, two]).await;
    for index in 0..5 {
        put(&*stack.chain, chunk(index), &bytes(10)).await.unwrap();
    }
    stack.gates[0].fail(At::Delete, 0, 1);
    let erased = stack.chain.erase_blob(blob(1), 3).await;
    assert!(matches!(erased, Err(DeleteError::Disk { .. })), "{erased:?}");
    let mut steps = Vec::new();
    for _ in 0..3 {
        let erased = stack.chain.erase_blob(blob(1), 3).await.unwrap();
        steps.push((erased.deleted, erased.more));
    }
    assert_eq!(steps, [(3, true), (2, false), (0, false)]);
    assert_eq!(stack.holders(chunk(4)).await, [false, false]);
}

#[tokio::test]
async fn a_list_is_of_all_durable_tiers_and_fails_when_one_cannot_be_listed() {
    let mut stack = stack(ChainConfig::default(), None, &[memory, one, two]).await;
    for index in 0..6 {
        put(&*stack.chain, chunk(index), &bytes(10)).await.unwrap();
    }
    stack.gates[1].inner.delete(vec![chunk(1), chunk(2)]).await.unwrap();
    stack.gates[2].inner.delete(vec![chunk(2), chunk(4)]).await.unwrap();
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = stack.chain.list(ListChunks { after, blob: None, limit: 2 }).await.unwrap();
        seen.extend(page.chunks.iter().map(|held| held.chunk.index));
        after = page.chunks.last().map(|held| held.chunk);
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, [0, 1, 3, 4, 5], "only the cache has chunk 2");
    stack.gates[1].fail(At::List, 0, 1);
    let all = ListChunks { after: None, blob: None, limit: 10 };
    stack.chain.list(all).await.expect_err("half a list would be a lie");
    assert_eq!(stack.reported(), ["one list"]);
}

/// Row B03.
#[tokio::test]
async fn closing_closes_every_tier_and_is_for_good() {
    let stack = stack(ChainConfig::default(), None, &[memory, one, two]).await;
    stack.chain.close().await;
    stack.chain.close().await;
    for gate in &stack.gates {
        let begun = gate.inner.begin(chunk(0), 1).await;
        assert!(matches!(begun, Err(WriteError::Closed)), "{begun:?}");
    }
    let begun = stack.chain.begin(chunk(0), 1).await;
    assert!(matches!(begun, Err(WriteError::Closed)), "{begun:?}");
}

#[tokio::test]
async fn a_tier_that_panics_while_it_closes_does_not_keep_the_others_open() {
    let stack = stack(ChainConfig::default(), None, &[one, two]).await;
    stack.gates[0].panic_at_close();
    stack.chain.close().await;
    let begun = stack.gates[1].inner.begin(chunk(0), 1).await;
    assert!(matches!(begun, Err(WriteError::Closed)), "{begun:?}");
}

//! Reading down the tiers: what each answer means for the next.

use std::sync::Arc;

use cairn_chain::chain::{ChainConfig, PromoteConfig, Tier};
use cairn_chain::conformance::{get, get_all, put};
use cairn_chain::{ChunkStore, FRAME_BYTES, ReadError};
use cairn_core::range::ByteRange;
use futures_util::StreamExt;

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

/// Nothing is put back, so that a test sees the reads alone.
fn read_only() -> ChainConfig {
    let promote = PromoteConfig { queue: 0, ..PromoteConfig::default() };
    ChainConfig { promote, ..ChainConfig::default() }
}

#[tokio::test]
async fn a_read_stops_at_the_first_tier_that_has_the_chunk() {
    let stack = stack(read_only(), None, &[one, two]).await;
    put(&*stack.chain, chunk(0), &bytes(1000)).await.unwrap();
    assert!(get_all(&*stack.chain, chunk(0)).await.unwrap() == bytes(1000));
    assert_eq!((stack.gates[0].calls(At::Read), stack.gates[1].calls(At::Read)), (1, 0));
    stack.gates[0].inner.delete(vec![chunk(0)]).await.unwrap();
    assert!(get_all(&*stack.chain, chunk(0)).await.unwrap() == bytes(1000));
    assert_eq!(stack.gates[1].calls(At::Read), 1);
}

#[tokio::test]
async fn a_chunk_of_no_bytes_is_a_hit_and_a_miss_is_an_answer_of_its_own() {
    let stack = stack(read_only(), None, &[memory, one]).await;
    put(&*stack.chain, chunk(0), &bytes(0)).await.unwrap();
    assert_eq!(get_all(&*stack.chain, chunk(0)).await.unwrap().len(), 0);
    let missed = get_all(&*stack.chain, chunk(1)).await;
    assert!(matches!(missed, Err(ReadError::NotFound { .. })), "{missed:?}");
}

/// Row B14.
#[tokio::test]
async fn a_tier_that_fails_is_passed_by_and_reported_and_is_not_the_same_as_missing() {
    let mut stack = stack(read_only(), None, &[one, two]).await;
    put(&*stack.chain, chunk(0), &bytes(1000)).await.unwrap();
    stack.gates[0].fail(At::Read, 0, 1);
    assert!(get_all(&*stack.chain, chunk(0)).await.unwrap() == bytes(1000));
    assert_eq!(stack.reported(), ["one read"]);
    assert!(stack.chain.stats().tiers[0].degraded);
    stack.gates[0].fail(At::Read, 0, 1);
    let unknown = get_all(&*stack.chain, chunk(1)).await;
    assert!(matches!(unknown, Err(ReadError::Disk { .. })), "one tier could not say: {unknown:?}");
    get_all(&*stack.chain, chunk(0)).await.unwrap();
    assert!(!stack.chain.stats().tiers[0].degraded, "it works again");
}

#[tokio::test]
async fn a_damaged_copy_is_put_aside_and_written_anew_from_the_next_tier() {
    let mut stack = stack(ChainConfig::default(), None, &[one, two]).await;
    let bytes = bytes(3 * FRAME_BYTES);
    put(&*stack.chain, chunk(0), &bytes).await.unwrap();
    // The gate says that it is damaged; the store beneath looks for itself and finds it intact.
    stack.gates[0].damage_frame(1);
    assert!(get_all(&*stack.chain, chunk(0)).await.unwrap() == bytes, "the rest is from below");
    stack.chain.settle().await;
    assert_eq!(stack.reported(), ["one read"]);
    assert_eq!(stack.chain.stats().promote.put_aside, 0, "it was intact after all");
}

/// The last good block is where the next tier goes on.
#[tokio::test]
async fn a_failure_between_two_frames_goes_on_at_the_right_block_in_the_next_tier() {
    for (passing, range) in [
        (1, ByteRange { offset: 0, length: u64::MAX }),
        (2, ByteRange { offset: 100_000, length: 2 * FRAME_BYTES as u64 + 5 }),
        (0, ByteRange { offset: FRAME_BYTES as u64 + 7, length: 1 }),
    ] {
        let mut stack = stack(read_only(), None, &[one, two]).await;
        put(&*stack.chain, chunk(0), &bytes(3 * FRAME_BYTES + 9)).await.unwrap();
        let whole = get(&*stack.chain, chunk(0), range).await.unwrap();
        stack.gates[0].fail(At::Frame, passing, 1);
        // `get` checks each block's checksum against its number.
        let resumed = get(&*stack.chain, chunk(0), range).await.unwrap();
        assert!(resumed == whole, "{range:?}");
        assert_eq!(stack.gates[1].calls(At::Read), 1);
        assert_eq!(stack.reported(), ["one read"]);
    }
}

#[tokio::test]
async fn with_no_tier_left_a_failure_between_two_frames_ends_the_read_with_it() {
    let stack = stack(read_only(), None, &[one, two]).await;
    put(&*stack.chain, chunk(0), &bytes(3 * FRAME_BYTES)).await.unwrap();
    stack.gates[0].fail(At::Frame, 1, 1);
    stack.gates[1].fail(At::Frame, 1, 1);
    let whole = ByteRange { offset: 0, length: u64::MAX };
    let reader = stack.chain.read(chunk(0), whole).await.unwrap();
    let frames: Vec<_> = reader.frames.collect().await;
    let [Ok(_), Ok(_), Err(ReadError::Disk { .. })] = &frames[..] else {
        panic!("{} frames", frames.len());
    };
}

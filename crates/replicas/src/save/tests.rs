use std::sync::Mutex;

use bytes::Bytes;
use cairn_core::digest::ChunkHasher;
use cairn_core::strategy::Enough;
use futures_util::FutureExt;
use proptest::prelude::{prop, prop_assert_eq, proptest};
use tokio::sync::{Barrier, Semaphore};

use super::{NotSaved, Replace, Save, SaveBounds, SaveError, Saved, save, save_or_undo};
use crate::buffer::BufferReader;
use crate::buffer::ChunkBuffer;
use crate::double::{Behaviour, Doubles, chunk, node, place};
use crate::replica::CopyError;
use crate::rule::SaveRule;
use crate::targets::Targets;
use cairn_core::copies::{ChunkWant, CopyReceipt, Place};
use cairn_core::ids::NodeId;
use cairn_core::strategy::SaveStrategy;
use cairn_runtime::Clock;
use std::sync::Arc;
use std::time::Duration;

const ALL: SaveStrategy = SaveStrategy::Parallel(Enough::All);
const FAIL_FAST: SaveStrategy = SaveStrategy::Parallel(Enough::FailFast);

const fn quorum(copies: u32) -> SaveStrategy {
    SaveStrategy::Parallel(Enough::Quorum(copies))
}

/// Gives out nodes in order, and keeps what was asked.
#[derive(Debug, Clone)]
struct Spares(Arc<Mutex<(Vec<u128>, Vec<ChunkWant>)>>, Duration);

impl Spares {
    fn new(nodes: &[u128]) -> Self {
        Self(Arc::new(Mutex::new((nodes.to_vec(), Vec::new()))), Duration::ZERO)
    }

    /// An answer takes so long.
    fn taking(self, time: Duration) -> Self {
        Self(self.0, time)
    }

    fn asked(&self) -> Vec<ChunkWant> {
        self.0.lock().unwrap().1.clone()
    }
}

impl Replace for Spares {
    type Error = &'static str;

    async fn replace(&self, want: ChunkWant) -> Result<Vec<Place>, &'static str> {
        self.0.lock().unwrap().1.push(want);
        Clock::system().sleep(self.1).await;
        let mut spares = self.0.lock().unwrap();
        if spares.0.is_empty() { Err("none left") } else { Ok(vec![place(spares.0.remove(0))]) }
    }
}

fn whole(bytes: &'static [u8]) -> BufferReader {
    let mut buffer = ChunkBuffer::new(chunk());
    let reader = buffer.reader();
    buffer.push(Bytes::from_static(bytes));
    let mut hasher = ChunkHasher::default();
    hasher.update(bytes);
    buffer.end(hasher.finish());
    reader
}

type Outcome = Result<Saved<Spares>, Box<SaveError<&'static str>>>;

/// What is saved to `places`, of content that is whole.
fn asked(
    doubles: &Arc<Doubles>,
    places: &[u128],
    spares: &Spares,
    strategy: impl SaveRule + 'static,
) -> Save<Spares> {
    Save {
        chunk: chunk(),
        reserve: 100,
        targets: Targets::new(places.iter().map(|n| place(*n))).expect("places"),
        least: places.len(),
        strategy: Arc::new(strategy),
        source: whole(b"hello"),
        replicas: doubles.clone(),
        replace: spares.clone(),
        bounds: SaveBounds::default(),
        clock: Clock::system(),
    }
}

async fn saved(doubles: &Arc<Doubles>, places: &[u128], spares: &Spares) -> Outcome {
    save(asked(doubles, places, spares, ALL)).await
}

fn nodes(copies: &[CopyReceipt]) -> Vec<NodeId> {
    copies.iter().map(|copy| copy.node).collect()
}

fn doubles(nodes: &[(u128, Behaviour)]) -> Arc<Doubles> {
    Arc::new(Doubles::new(nodes))
}

fn full() -> Behaviour {
    Behaviour::FailsWrite(CopyError::Full)
}

#[tokio::test]
async fn every_place_gets_the_whole_chunk_and_receipts_keep_the_order_of_placement() {
    let doubles = doubles(&[(2, Behaviour::Healthy), (1, Behaviour::Healthy)]);
    let saved = saved(&doubles, &[2, 1], &Spares::new(&[])).await.expect("both are healthy");
    assert_eq!(nodes(&saved.copies), [node(2), node(1)]);
    assert_eq!(doubles.stored(1), Some(Bytes::from_static(b"hello")));
    assert_eq!(doubles.stored(2), Some(Bytes::from_static(b"hello")));
}

#[tokio::test]
async fn a_copy_that_fails_is_placed_anew_and_written_from_the_start() {
    let doubles = doubles(&[
        (1, Behaviour::FailsWrite(CopyError::Unreachable("gone".into()))),
        (2, Behaviour::Healthy),
        (3, Behaviour::FailsWrite(CopyError::Full)),
        (4, Behaviour::Healthy),
    ]);
    let spares = Spares::new(&[3, 4]);
    let saved = saved(&doubles, &[1, 2], &spares).await.expect("node 4 takes it");
    assert_eq!(nodes(&saved.copies), [node(4), node(2)]);
    assert_eq!(doubles.stored(4), Some(Bytes::from_static(b"hello")));
    let asked = spares.asked();
    assert_eq!(asked[1].holders, [node(2)]);
    assert_eq!(asked[1].failed, [node(1), node(3)]);
}

#[tokio::test(start_paused = true)]
async fn copies_that_fail_at_once_are_placed_anew_on_different_nodes() {
    let healthy = [3, 4, 5].map(|n| (n, Behaviour::Healthy));
    let failing = [1, 2].map(|n| (n, Behaviour::Hangs));
    let doubles = doubles(&[&failing[..], &healthy[..]].concat());
    let spares = Spares::new(&[4, 4, 5]).taking(Duration::from_millis(5));
    let asked = Save { least: 2, ..asked(&doubles, &[1, 2, 3], &spares, ALL) };
    let saved = save(asked).await.expect("there is room");
    assert_eq!(nodes(&saved.copies), [4, 3].map(node), "a place that is taken is none");
    let asked = spares.asked();
    assert_eq!(asked[1].holders, [3, 4].map(node), "asked for when the first one is known");
}

#[tokio::test]
async fn without_another_place_the_chunk_fails_and_says_what_is_durable() {
    let doubles = doubles(&[(1, Behaviour::FailsWrite(CopyError::Full)), (2, Behaviour::Healthy)]);
    let error = saved(&doubles, &[2, 1], &Spares::new(&[])).await.expect_err("one is full");
    assert_eq!(error.cause, NotSaved::NoPlace("none left"));
    assert_eq!(error.failures, [(node(1), CopyError::Full)]);
}

#[tokio::test]
async fn replacements_are_bounded() {
    let numbers: Vec<u128> = (1..=20).collect();
    let failing: Vec<_> =
        numbers.iter().map(|n| (*n, Behaviour::FailsWrite(CopyError::Full))).collect();
    let doubles = doubles(&failing);
    let spares = Spares::new(&numbers[1..]);
    let error = saved(&doubles, &[1], &spares).await.expect_err("all are full");
    assert_eq!(error.failures.len(), SaveBounds::default().replacements + 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_after_the_last_byte_is_replaced() {
    let doubles = doubles(&[(1, Behaviour::Hangs), (2, Behaviour::Healthy)]);
    let saved = saved(&doubles, &[1], &Spares::new(&[2])).await.expect("node 2 takes it");
    assert_eq!(nodes(&saved.copies), [node(2)]);
}

#[tokio::test]
async fn a_chunk_whose_writer_goes_away_is_not_placed_anew() {
    let doubles = doubles(&[(1, Behaviour::Healthy)]);
    let buffer = ChunkBuffer::new(chunk());
    let reader = buffer.reader();
    drop(buffer);
    let spares = Spares::new(&[2]);
    let error = save(Save { source: reader, ..asked(&doubles, &[1], &spares, ALL) }).await;
    let error = error.expect_err("broken");
    assert_eq!(error.cause, NotSaved::Cancelled);
    assert!(spares.asked().is_empty());
    assert_eq!(doubles.stored(1), None);
}

#[tokio::test]
async fn all_at_once_means_that_nobody_waits_for_another() {
    let meeting = Behaviour::Meets(Arc::new(Barrier::new(3)));
    let doubles = doubles(&[(1, meeting.clone()), (2, meeting.clone()), (3, meeting)]);
    let saved = saved(&doubles, &[3, 1, 2], &Spares::new(&[])).await.expect("they meet");
    assert_eq!(nodes(&saved.copies), [3, 1, 2].map(node), "in order of placement");
}

#[tokio::test(start_paused = true)]
async fn receipts_keep_the_order_of_placement_whoever_is_first() {
    let slow = |ms| Behaviour::Slow(Duration::from_millis(ms));
    let doubles = doubles(&[(1, slow(1)), (2, slow(9)), (3, slow(5))]);
    let saved = saved(&doubles, &[2, 3, 1], &Spares::new(&[])).await.expect("all are slow");
    assert_eq!(nodes(&saved.copies), [2, 3, 1].map(node));
    assert_eq!(saved.took, [9, 5, 1].map(Duration::from_millis));
}

#[tokio::test]
async fn one_after_another_begins_a_copy_when_the_one_before_it_is_durable() {
    let permits = Arc::new(Semaphore::new(0));
    let doubles = doubles(&[(1, Behaviour::Waits(permits.clone())), (2, Behaviour::Healthy)]);
    let sequential = asked(&doubles, &[1, 2], &Spares::new(&[]), SaveStrategy::Sequential);
    let mut saving = Box::pin(save(sequential));
    assert!(saving.as_mut().now_or_never().is_none());
    assert_eq!((doubles.asked(1), doubles.asked(2)), (1, 0));
    permits.add_permits(1);
    assert_eq!(nodes(&saving.await.expect("both").copies), [1, 2].map(node));
}

#[tokio::test]
async fn one_after_another_stops_where_a_copy_fails_and_says_who_has_it() {
    let doubles = doubles(&[(1, Behaviour::Healthy), (2, full()), (3, Behaviour::Healthy)]);
    let sequential = asked(&doubles, &[1, 2, 3], &Spares::new(&[]), SaveStrategy::Sequential);
    let error = save(sequential).await.expect_err("node 2 is full");
    assert_eq!(nodes(&error.saved), [node(1)]);
    assert_eq!(error.failures, [(node(2), CopyError::Full)]);
    assert_eq!(doubles.asked(3), 0);
}

#[tokio::test]
async fn one_after_another_places_a_failed_copy_anew_before_it_goes_on() {
    let doubles = doubles(&[(1, full()), (2, Behaviour::Healthy), (3, Behaviour::Healthy)]);
    let sequential = asked(&doubles, &[1, 2], &Spares::new(&[3]), SaveStrategy::Sequential);
    let saved = save(sequential).await.expect("node 3 takes it");
    assert_eq!(nodes(&saved.copies), [3, 2].map(node));
    assert_eq!(saved.failures, [(node(1), CopyError::Full)]);
}

#[tokio::test]
async fn what_is_broken_off_before_it_begins_asks_nobody() {
    for strategy in [SaveStrategy::Sequential, ALL, FAIL_FAST, quorum(1)] {
        let doubles = doubles(&[(1, Behaviour::Healthy), (2, Behaviour::Healthy)]);
        let source = ChunkBuffer::new(chunk()).reader();
        let save_it = asked(&doubles, &[1, 2], &Spares::new(&[]), strategy);
        let error = save(Save { source, ..save_it }).await.expect_err("broken off");
        assert_eq!((error.cause, error.saved.len()), (NotSaved::Cancelled, 0), "{strategy}");
        assert_eq!((doubles.asked(1), doubles.asked(2)), (0, 0), "{strategy}");
    }
}

#[tokio::test]
async fn what_is_broken_off_while_it_is_written_begins_no_other_copy_and_is_not_placed_anew() {
    for (strategy, second) in
        [(SaveStrategy::Sequential, 0), (ALL, 1), (FAIL_FAST, 1), (quorum(1), 1)]
    {
        let doubles = doubles(&[(1, Behaviour::Healthy), (2, Behaviour::Healthy)]);
        let buffer = ChunkBuffer::new(chunk());
        let spares = Spares::new(&[3]);
        let save_it = asked(&doubles, &[1, 2], &spares, strategy);
        let mut saving = Box::pin(save(Save { source: buffer.reader(), ..save_it }));
        assert!(saving.as_mut().now_or_never().is_none(), "{strategy}: its end has not come");
        drop(buffer);
        let error = saving.await.expect_err("broken off");
        assert_eq!((error.cause, error.saved.len()), (NotSaved::Cancelled, 0), "{strategy}");
        assert_eq!((doubles.asked(1), doubles.asked(2)), (1, second), "{strategy}");
        assert_eq!((doubles.stored(1), doubles.stored(2)), (None, None), "{strategy}");
        assert!(spares.asked().is_empty(), "{strategy}");
    }
}

#[tokio::test]
async fn whoever_drops_a_save_drops_the_writes_under_way() {
    for (strategy, writes) in [(SaveStrategy::Sequential, 1), (ALL, 2), (quorum(2), 2)] {
        let doubles = doubles(&[(1, Behaviour::Hangs), (2, Behaviour::Hangs)]);
        let mut saving = Box::pin(save(asked(&doubles, &[1, 2], &Spares::new(&[]), strategy)));
        assert!(saving.as_mut().now_or_never().is_none());
        assert_eq!(doubles.under_way(), writes, "{strategy}");
        drop(saving);
        assert_eq!(doubles.under_way(), 0, "{strategy}");
    }
}

#[tokio::test]
async fn fail_fast_ends_with_the_first_failure_and_drops_the_others() {
    let doubles = doubles(&[(1, Behaviour::Hangs), (2, full()), (3, Behaviour::Hangs)]);
    let spares = Spares::new(&[4]);
    let error = save(asked(&doubles, &[1, 2, 3], &spares, FAIL_FAST)).await.expect_err("full");
    assert_eq!(error.failures, [(node(2), CopyError::Full)]);
    assert!(spares.asked().is_empty(), "it is not placed anew");
    assert_eq!(doubles.under_way(), 0);
}

#[tokio::test]
async fn a_quorum_is_answered_while_the_last_copy_is_written_and_hands_on_its_receipt() {
    let permits = Arc::new(Semaphore::new(0));
    let slow = Behaviour::Waits(permits.clone());
    let doubles = doubles(&[(1, slow), (2, Behaviour::Healthy), (3, Behaviour::Healthy)]);
    let asked = asked(&doubles, &[1, 2, 3], &Spares::new(&[]), quorum(2));
    let mut saved = save(asked).await.expect("two are enough");
    assert_eq!(nodes(&saved.copies), [2, 3].map(node));
    assert!(!saved.late.is_empty());
    permits.add_permits(1);
    assert_eq!(saved.late.next().await.map(|copy| copy.node), Some(node(1)));
    assert_eq!(doubles.stored(1), Some(Bytes::from_static(b"hello")));
    assert_eq!(saved.late.next().await, None);
    assert!(saved.late.is_empty());
}

#[tokio::test(start_paused = true)]
async fn late_copies_are_given_up_when_their_time_is_over_and_when_they_are_dropped() {
    let of = || doubles(&[(1, Behaviour::Healthy), (2, Behaviour::Hangs)]);
    let hanging = of();
    let saved = save(asked(&hanging, &[1, 2], &Spares::new(&[]), quorum(1))).await;
    let mut saved = saved.expect("one is enough");
    let clock = Clock::system();
    let begun = clock.monotonic();
    assert_eq!(saved.late.next().await, None);
    assert_eq!(clock.monotonic() - begun, SaveBounds::default().late);
    assert_eq!(hanging.under_way(), 0);

    let dropped = of();
    let saved = save(asked(&dropped, &[1, 2], &Spares::new(&[]), quorum(1))).await;
    drop(saved.expect("one is enough"));
    assert_eq!(dropped.under_way(), 0);
}

#[tokio::test]
async fn a_quorum_places_a_failed_copy_anew_when_it_needs_it() {
    let doubles = doubles(&[(1, full()), (2, Behaviour::Hangs), (3, Behaviour::Healthy)]);
    let saved = save(asked(&doubles, &[1, 2], &Spares::new(&[3]), quorum(1))).await;
    assert_eq!(nodes(&saved.expect("node 3 takes it").copies), [node(3)]);
}

#[tokio::test]
async fn a_quorum_larger_than_what_was_placed_asks_nobody() {
    let doubles = doubles(&[(1, Behaviour::Healthy), (2, Behaviour::Healthy)]);
    let error = save(asked(&doubles, &[1, 2], &Spares::new(&[]), quorum(3))).await;
    let cause = error.expect_err("too many").cause;
    assert_eq!(cause, NotSaved::Quorum { quorum: 3, places: 2 });
    assert_eq!((doubles.asked(1), doubles.asked(2)), (0, 0));
}

#[tokio::test]
async fn where_fewer_copies_are_allowed_the_others_are_waited_for_before_it_is_answered() {
    let permits = Arc::new(Semaphore::new(0));
    let slow = Behaviour::Waits(permits.clone());
    for strategy in [ALL, SaveStrategy::Sequential] {
        let doubles = doubles(&[(1, full()), (2, slow.clone()), (3, Behaviour::Healthy)]);
        let asked = asked(&doubles, &[1, 2, 3], &Spares::new(&[]), strategy);
        let mut saving = Box::pin(save(Save { least: 2, ..asked }));
        assert!(saving.as_mut().now_or_never().is_none(), "node 2 may still take it");
        permits.add_permits(1);
        let saved = saving.await.expect("two are allowed");
        assert_eq!(nodes(&saved.copies), [2, 3].map(node));
        assert_eq!(saved.failures, [(node(1), CopyError::Full)]);
    }
}

#[tokio::test]
async fn fewer_copies_than_allowed_are_refused() {
    let doubles = doubles(&[(1, full()), (2, full()), (3, Behaviour::Healthy)]);
    let asked = asked(&doubles, &[1, 2, 3], &Spares::new(&[]), ALL);
    let error = save(Save { least: 2, ..asked }).await.expect_err("one is too few");
    assert_eq!(error.failures.len(), 2, "each is told");
    assert_eq!(error.cause, NotSaved::NoPlace("none left"));
}

#[tokio::test]
async fn a_failed_save_is_undone_where_that_was_asked_and_tells_what_is_left() {
    let doubles = doubles(&[(1, Behaviour::Healthy), (2, Behaviour::Healthy), (3, full())]);
    let sequential = asked(&doubles, &[1, 2, 3], &Spares::new(&[]), SaveStrategy::Sequential);
    let away = || CopyError::Unreachable("gone".into());
    let deleted = Mutex::new(Vec::new());
    let error = save_or_undo(sequential, async |n| {
        deleted.lock().unwrap().push(n);
        if n == node(2) { Err(away()) } else { Ok(()) }
    });
    let error = error.await.expect_err("node 3 is full");
    assert_eq!(nodes(&error.saved), [node(2)], "it could not be deleted");
    assert_eq!(error.failures, [(node(3), CopyError::Full), (node(2), away())]);
    assert_eq!(deleted.into_inner().unwrap(), [1, 2, 3].map(node));
}

proptest! {
    /// Whatever is named, each node is asked once, and the receipts are in the order of the names.
    #[test]
    fn a_node_that_is_named_twice_is_written_once(
        named in prop::collection::vec(1_u128..5, 1..10), nth in 0_usize..4,
    ) {
        let healthy = [1, 2, 3, 4].map(|n| (n, Behaviour::Healthy));
        let doubles = doubles(&healthy);
        let strategy = [ALL, FAIL_FAST, SaveStrategy::Sequential, quorum(1)][nth];
        let saving = save(asked(&doubles, &named, &Spares::new(&[]), strategy));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut saved = runtime.block_on(saving).expect("all are healthy");
        while let Some(receipt) = runtime.block_on(saved.late.next()) {
            saved.copies.push(receipt);
        }
        let targets = Targets::new(named.iter().map(|n| place(*n))).expect("named");
        let mut found = nodes(&saved.copies);
        let mut expected = targets.nodes();
        if nth == 3 {
            found.sort();
            expected.sort();
        }
        prop_assert_eq!(found, expected);
        for n in 1..5 {
            prop_assert_eq!(doubles.asked(n), usize::from(named.contains(&n)));
        }
    }
}

#[derive(Debug)]
struct TwoAtATime;

impl SaveRule for TwoAtATime {
    fn at_once(&self, _: usize) -> usize {
        2
    }

    fn enough(&self, places: usize) -> usize {
        places - 1
    }
}

#[tokio::test]
async fn a_rule_of_ones_own_writes_as_many_at_a_time_and_waits_for_as_many_as_it_says() {
    let permits = Arc::new(Semaphore::new(0));
    let waits = |n| (n, Behaviour::Waits(Arc::clone(&permits)));
    let doubles = doubles(&[waits(1), waits(2), waits(3), waits(4)]);
    let saving = save(asked(&doubles, &[1, 2, 3, 4], &Spares::new(&[]), TwoAtATime));
    let mut saving = Box::pin(saving);
    for done in 0..3 {
        assert!(saving.as_mut().now_or_never().is_none(), "after {done}");
        assert_eq!(doubles.under_way(), 2, "after {done}");
        permits.add_permits(1);
    }
    let saved = saving.await.expect("three of four are durable");
    assert_eq!(saved.copies.len(), 3);
}

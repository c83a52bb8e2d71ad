use std::sync::Mutex;

use cairn_core::strategy::ReadStrategy::{self, Hedged, Ordered, Race};
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

use super::{Elsewhere, Fetch, FetchError, fetch};
use crate::double::{Behaviour, Doubles, Events, chunk, hash, node, pace, place};
use crate::pace::Pace;
use crate::pace::{PaceBounds, ReadEvent};
use crate::replica::CopyError;
use crate::rule::{Named, ReadRule};
use bytes::Bytes;
use cairn_core::copies::{ChunkLocation, CopyFinding, CopyReport, Place};
use cairn_core::digest::BLOCK_BYTES;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_runtime::Blocking;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;

const LENGTH: usize = 5 * BLOCK_BYTES + 100;

fn content() -> Bytes {
    (0..LENGTH).map(|i| (i % 249) as u8).collect()
}

type Outcome = (Vec<u8>, Option<FetchError>, Vec<CopyReport>);

async fn fetched(doubles: &[(u128, Behaviour)], range: ByteRange) -> Outcome {
    fetched_of(&content(), doubles, range).await
}

async fn fetched_of(content: &Bytes, doubles: &[(u128, Behaviour)], range: ByteRange) -> Outcome {
    let reading = Fetched::of(content, doubles, Ordered);
    reading.read(range).await
}

/// Knows where the chunk is.
struct Known(Vec<Place>);

impl Elsewhere for Known {
    fn places(&self, _: ChunkId) -> BoxFuture<'static, Vec<Place>> {
        Box::pin(std::future::ready(self.0.clone()))
    }
}

/// Nodes that hold the content, and a reader of it.
struct Fetched {
    content: Bytes,
    places: Vec<Place>,
    /// Where it is said to be when it is asked for again.
    elsewhere: Vec<Place>,
    doubles: Arc<Doubles>,
    strategy: Arc<dyn ReadRule>,
    pace: Pace,
    events: Events,
}

impl Fetched {
    fn of(content: &Bytes, doubles: &[(u128, Behaviour)], strategy: ReadStrategy) -> Self {
        Self::by(content, doubles, Arc::new(strategy))
    }

    fn by(content: &Bytes, doubles: &[(u128, Behaviour)], strategy: Arc<dyn ReadRule>) -> Self {
        let (pace, events) = pace(PaceBounds::default());
        Self {
            content: content.clone(),
            places: doubles.iter().map(|(n, _)| place(*n)).collect(),
            elsewhere: Vec::new(),
            doubles: Arc::new(Doubles::new(doubles).holding(content)),
            strategy,
            pace,
            events,
        }
    }

    /// It was at the places of these nodes, and is at those of all by now.
    fn moved_from(mut self, nodes: &[u128]) -> Self {
        self.elsewhere = self.places.clone();
        self.places.retain(|place| nodes.iter().any(|n| place.node == node(*n)));
        self
    }

    async fn whole(&self) -> Outcome {
        self.read(ByteRange::whole(self.content.len() as u64)).await
    }

    async fn read(&self, range: ByteRange) -> Outcome {
        let reports = Arc::new(Mutex::new(Vec::new()));
        let reported = Arc::clone(&reports);
        let stream = fetch(Fetch {
            location: ChunkLocation {
                chunk: chunk(),
                offset: 0,
                length: self.content.len() as u64,
                hash: hash(&self.content),
                places: self.places.clone(),
            },
            range,
            elsewhere: Arc::new(Known(self.elsewhere.clone())),
            strategy: self.strategy.clone(),
            replicas: self.doubles.clone(),
            report: Arc::new(move |report| reported.lock().unwrap().push(report)),
            stall: Duration::from_secs(10),
            pace: self.pace.clone(),
            hashing: Blocking::inline(),
        });
        let mut stream = std::pin::pin!(stream);
        let mut bytes = Vec::new();
        let mut error = None;
        while let Some(item) = stream.next().await {
            match item {
                Ok(run) => bytes.extend_from_slice(&run.bytes),
                Err(e) => error = Some(e),
            }
        }
        let reports = reports.lock().unwrap().clone();
        (bytes, error, reports)
    }

    /// Reads the whole, which must be right, without a report.
    async fn is_read(&self) {
        assert_eq!(self.whole().await, (self.content.to_vec(), None, vec![]));
    }

    fn asked(&self) -> Vec<usize> {
        let number = |place: &Place| place.address.parse().unwrap();
        self.places.iter().map(|place| self.doubles.asked(number(place))).collect()
    }
}

async fn whole(doubles: &[(u128, Behaviour)]) -> Outcome {
    fetched(doubles, ByteRange::whole(LENGTH as u64)).await
}

fn report(n: u128, finding: CopyFinding) -> CopyReport {
    CopyReport { chunk: chunk(), node: node(n), finding }
}

#[tokio::test]
async fn the_first_copy_serves_when_it_is_healthy() {
    let healthy = [(1, Behaviour::Healthy), (2, Behaviour::Hangs)];
    assert_eq!(whole(&healthy).await, (content().to_vec(), None, vec![]));
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_to_the_first_copy_the_second_goes_on_at_the_right_block() {
    use Behaviour::{BreaksAfter, FailsRead, FlipsBlock, Hangs, WrongHeader};
    let away = || CopyError::Unreachable("gone".to_owned());
    for (behaviour, finding) in [
        (FailsRead(CopyError::Missing), Some(CopyFinding::Missing)),
        (FailsRead(away()), None),
        (BreaksAfter(0), None),
        (BreaksAfter(2), None),
        (FlipsBlock(0), Some(CopyFinding::Corrupt)),
        (FlipsBlock(3), Some(CopyFinding::Corrupt)),
        (FlipsBlock(5), Some(CopyFinding::Corrupt)),
        (WrongHeader, Some(CopyFinding::Corrupt)),
        (Hangs, None),
    ] {
        let (bytes, error, reports) =
            whole(&[(1, behaviour.clone()), (2, Behaviour::Healthy)]).await;
        assert_eq!(error, None, "{behaviour:?}");
        assert_eq!(bytes, content(), "{behaviour:?}");
        let expected: Vec<_> = finding.into_iter().map(|found| report(1, found)).collect();
        assert_eq!(reports, expected, "{behaviour:?}");
    }
}

#[tokio::test]
async fn a_copy_that_lies_never_looks_like_a_complete_chunk() {
    let (bytes, error, reports) = whole(&[(1, Behaviour::Lies), (2, Behaviour::Healthy)]).await;
    assert!(error.is_some(), "bytes were passed on: the end must be an error");
    assert!(bytes.len() < LENGTH);
    assert_eq!(reports, [report(1, CopyFinding::Corrupt)]);
}

#[tokio::test(start_paused = true)]
async fn without_a_good_copy_every_cause_is_told() {
    let (bytes, error, _) = whole(&[
        (1, Behaviour::FailsRead(CopyError::Missing)),
        (2, Behaviour::FailsRead(CopyError::Unreachable("gone".to_owned()))),
        (3, Behaviour::FailsRead(CopyError::Refused("busy".to_owned()))),
    ])
    .await;
    assert!(bytes.is_empty());
    let causes = error.expect("no copy is good").causes;
    let nodes: Vec<_> = causes.iter().map(|(node, _)| *node).collect();
    let asked = [1, 2, 3, 2, 3].map(node);
    assert_eq!(nodes, asked, "nodes that are away or busy are asked once more");
}

/// In the middle as well: the hash of the whole chunk is still proven.
#[tokio::test]
async fn a_chunk_that_is_not_where_it_was_said_to_be_is_followed_to_where_it_is() {
    let missing = || Behaviour::FailsRead(CopyError::Missing);
    for strategy in [Ordered, Race, Hedged] {
        for first in [missing(), Behaviour::BreaksAfter(2)] {
            let copies = [(1, first), (2, missing()), (3, Behaviour::Healthy)];
            let moved = Fetched::of(&content(), &copies, strategy).moved_from(&[1, 2]);
            let (bytes, error, _) = moved.whole().await;
            assert_eq!((bytes, error), (content().to_vec(), None), "{strategy}");
        }
        let lies = [(1, Behaviour::BreaksAfter(1)), (2, Behaviour::Lies)];
        let (bytes, error, _) =
            Fetched::of(&content(), &lies, strategy).moved_from(&[1]).whole().await;
        assert!(bytes.len() < LENGTH && error.is_some(), "{strategy}: what is wrong is not whole");
        let nowhere = Fetched::of(&content(), &[(1, missing())], strategy).moved_from(&[1]);
        assert!(nowhere.whole().await.1.is_some(), "{strategy}: it is said to be where it is not");
    }
}

#[tokio::test]
async fn a_range_within_a_chunk_of_few_blocks_is_cut_at_both_ends() {
    let end = LENGTH as u64;
    for (offset, length) in [(5, 6), (0, 1), (1, end - 2), (end - 1, 1), (70_000, end - 70_001)] {
        let range = ByteRange { offset, length };
        let (bytes, error, _) = fetched(&[(1, Behaviour::Healthy)], range).await;
        let expected = content().slice(offset as usize..range.end() as usize);
        assert_eq!((bytes, error), (expected.to_vec(), None), "{range:?}");
    }
    let (bytes, ..) = fetched_of(
        &content().slice(..1000),
        &[(1, Behaviour::Healthy)],
        ByteRange { offset: 5, length: 6 },
    )
    .await;
    assert_eq!(bytes, content().slice(5..11).to_vec(), "one block alone");
}

#[tokio::test]
async fn an_empty_range_asks_nobody() {
    let range = ByteRange { offset: 3, length: 0 };
    assert_eq!(fetched(&[(1, Behaviour::Hangs)], range).await, (vec![], None, vec![]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_range_is_exact_over_a_failover(
        offset in 0..LENGTH, length in 0..LENGTH, frames in 0_usize..4, flipped in 0_usize..7,
    ) {
        let range = ByteRange::within(offset as u64, length as u64, LENGTH as u64);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        let (bytes, error, _) = runtime.block_on(fetched(
            &[
                (1, Behaviour::BreaksAfter(frames)),
                (2, Behaviour::FlipsBlock(flipped)),
                (3, Behaviour::Healthy),
            ],
            range,
        ));
        prop_assert_eq!(error, None);
        let end = usize::try_from(range.end())?;
        prop_assert_eq!(bytes, content().slice(offset..end).to_vec());
    }
}

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Whatever is wrong with some copies, a good one is found, and what is bad is reported.
#[tokio::test(start_paused = true)]
async fn every_strategy_gets_past_copies_that_are_missing_corrupt_silent_or_away() {
    use Behaviour::{BreaksAfter, FailsRead, FlipsBlock, Hangs, Healthy, WrongHeader};
    let away = FailsRead(CopyError::Unreachable("gone".to_owned()));
    let bad =
        [away, FailsRead(CopyError::Missing), BreaksAfter(1), FlipsBlock(1), Hangs, WrongHeader];
    for strategy in [Ordered, Race, Hedged] {
        for bad in &bad {
            let doubles = [(1, bad.clone()), (2, bad.clone()), (3, Healthy)];
            let fetched = Fetched::of(&content(), &doubles, strategy);
            let (bytes, error, _) = fetched.whole().await;
            assert_eq!((error, bytes == content()), (None, true), "{strategy} past {bad:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_race_asks_all_at_once_and_the_fast_one_serves_while_the_others_are_dropped() {
    let doubles =
        [(1, Behaviour::Hangs), (2, Behaviour::Slow(MS(50))), (3, Behaviour::Slow(MS(5)))];
    let fetched = Fetched::of(&content(), &doubles, Race);
    let begun = fetched.pace.clock().monotonic();
    fetched.is_read().await;
    assert_eq!(fetched.pace.clock().monotonic() - begun, MS(5));
    assert_eq!(fetched.asked(), [1, 1, 1]);
    assert_eq!(fetched.doubles.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_fast_and_corrupt_does_not_win_a_race() {
    let doubles =
        [(1, Behaviour::Slow(MS(50))), (2, Behaviour::FlipsBlock(0)), (3, Behaviour::Hangs)];
    let (bytes, error, reports) = Fetched::of(&content(), &doubles, Race).whole().await;
    assert_eq!((bytes, error), (content().to_vec(), None));
    assert_eq!(reports, [report(2, CopyFinding::Corrupt)]);
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_in_a_race_every_cause_is_told() {
    let missing = Behaviour::FailsRead(CopyError::Missing);
    let doubles = [(1, missing.clone()), (2, Behaviour::FlipsBlock(0)), (3, missing)];
    let (bytes, error, _) = Fetched::of(&content(), &doubles, Race).whole().await;
    assert!(bytes.is_empty());
    let mut nodes: Vec<_> =
        error.expect("none is good").causes.into_iter().map(|(node, _)| node).collect();
    nodes.sort();
    assert_eq!(nodes, [1, 2, 3].map(node));
}

#[tokio::test(start_paused = true)]
async fn the_winner_of_a_race_that_breaks_off_is_followed_by_one_that_lost() {
    let doubles = [(1, Behaviour::BreaksAfter(1)), (2, Behaviour::Slow(MS(5)))];
    Fetched::of(&content(), &doubles, Race).is_read().await;
}

#[tokio::test(start_paused = true)]
async fn the_winner_of_a_race_that_turns_out_corrupt_is_followed_by_one_that_lost() {
    let doubles = [(1, Behaviour::FlipsBlock(3)), (2, Behaviour::Slow(MS(5)))];
    let (bytes, error, reports) = Fetched::of(&content(), &doubles, Race).whole().await;
    assert_eq!((bytes, error), (content().to_vec(), None));
    assert_eq!(reports, [report(1, CopyFinding::Corrupt)]);
}

#[tokio::test(start_paused = true)]
async fn a_race_that_nobody_wins_ends_when_the_silent_one_is_given_up() {
    let missing = Behaviour::FailsRead(CopyError::Missing);
    let fetched = Fetched::of(&content(), &[(1, Behaviour::Hangs), (2, missing)], Race);
    let (bytes, error, reports) = fetched.whole().await;
    assert!(bytes.is_empty());
    let causes = error.expect("none is good").causes;
    let nodes: Vec<_> = causes.iter().map(|(node, _)| *node).collect();
    assert_eq!(nodes, [2, 1, 1].map(node), "a node that is away is asked once more");
    assert_eq!(reports, [report(2, CopyFinding::Missing)], "what is silent is not missing");
    assert_eq!(fetched.doubles.under_way(), 0);
}

#[tokio::test]
async fn a_chunk_of_which_no_copy_is_known_cannot_be_read_and_nobody_is_waited_for() {
    for strategy in [Ordered, Race, Hedged] {
        let (bytes, error, reports) = Fetched::of(&content(), &[], strategy).whole().await;
        assert!(bytes.is_empty() && reports.is_empty(), "{strategy}");
        let error = error.expect("there is no copy");
        assert!(error.causes.is_empty(), "{strategy}: {error}");
        assert!(error.to_string().ends_with("it has no copies"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_reading_drops_all_that_was_asked() {
    let doubles = [(1, Behaviour::Hangs), (2, Behaviour::Hangs)];
    let fetched = Fetched::of(&content(), &doubles, Race);
    let mut reading = Box::pin(fetched.whole());
    assert!(reading.as_mut().now_or_never().is_none());
    assert_eq!(fetched.doubles.under_way(), 2);
    drop(reading);
    assert_eq!(fetched.doubles.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_copy_named_twice_is_asked_once() {
    let mut fetched = Fetched::of(&content(), &[(1, Behaviour::Healthy)], Race);
    fetched.places.push(place(1));
    fetched.is_read().await;
    assert_eq!(fetched.doubles.asked(1), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_copy_is_asked_after_the_delay_and_the_slow_node_comes_last_for_a_while() {
    let doubles = [(1, Behaviour::Slow(MS(500))), (2, Behaviour::Healthy)];
    let fetched = Fetched::of(&content(), &doubles, Hedged);
    let begun = fetched.pace.clock().monotonic();
    fetched.is_read().await;
    assert_eq!(fetched.pace.clock().monotonic() - begun, fetched.pace.delay());
    assert_eq!(fetched.events.seen(), [ReadEvent::Hedged, ReadEvent::HedgeWon]);
    assert_eq!(fetched.doubles.under_way(), 0, "the slow one is dropped");
    for _ in 0..10 {
        fetched.is_read().await;
    }
    assert_eq!(fetched.asked(), [1, 11], "node 2 is asked first now");
    assert_eq!(fetched.events.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn where_the_second_copy_is_as_silent_as_the_first_a_third_one_is_asked() {
    let doubles = [(1, Behaviour::Hangs), (2, Behaviour::Hangs), (3, Behaviour::Healthy)];
    let fetched = Fetched::of(&content(), &doubles, Hedged);
    let begun = fetched.pace.clock().monotonic();
    fetched.is_read().await;
    assert_eq!(fetched.pace.clock().monotonic() - begun, 3 * fetched.pace.delay());
    assert_eq!(fetched.asked(), [1, 1, 1]);
    fetched.is_read().await;
    assert_eq!(fetched.asked(), [1, 1, 2], "both come last now");
}

#[tokio::test(start_paused = true)]
async fn whoever_is_silent_is_passed_by_even_when_the_allowance_is_used_up() {
    let doubles = [(1, Behaviour::Hangs), (2, Behaviour::Healthy)];
    let mut fetched = Fetched::of(&content(), &doubles, Hedged);
    let none = PaceBounds { hedge_percent: 0, most_hedges: 0, ..PaceBounds::default() };
    (fetched.pace, fetched.events) = pace(none);
    let begun = fetched.pace.clock().monotonic();
    fetched.is_read().await;
    assert_eq!(fetched.pace.clock().monotonic() - begun, 7 * fetched.pace.delay());
    let [refused, asked, won] = [ReadEvent::HedgeRefused, ReadEvent::Hedged, ReadEvent::HedgeWon];
    assert_eq!(fetched.events.seen(), [refused, refused, asked, won]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_asks_nobody_else() {
    let doubles = [(1, Behaviour::Slow(MS(200))), (2, Behaviour::Healthy)];
    let fetched = Fetched::of(&content(), &doubles, Hedged);
    fetched.is_read().await;
    assert_eq!((fetched.asked(), fetched.events.seen()), (vec![1, 0], vec![]));
}

#[tokio::test(start_paused = true)]
async fn the_first_copy_may_still_win_against_the_second() {
    let doubles = [(1, Behaviour::Slow(MS(300))), (2, Behaviour::Slow(MS(300)))];
    let fetched = Fetched::of(&content(), &doubles, Hedged);
    fetched.is_read().await;
    assert_eq!((fetched.asked(), fetched.events.seen()), (vec![1, 1], vec![ReadEvent::Hedged]));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_stops_in_the_middle_is_overtaken_long_before_it_counts_as_gone() {
    let doubles = [(1, Behaviour::Pauses(1, MS(9_000))), (2, Behaviour::Healthy)];
    let fetched = Fetched::of(&content(), &doubles, Hedged);
    let begun = fetched.pace.clock().monotonic();
    fetched.is_read().await;
    assert_eq!(fetched.pace.clock().monotonic() - begun, fetched.pace.delay());
    assert_eq!(fetched.events.seen(), [ReadEvent::Hedged, ReadEvent::HedgeWon]);
}

#[tokio::test(start_paused = true)]
async fn second_copies_are_a_share_of_all_reads_however_slow_the_first_ones_are() {
    let doubles = [(1, Behaviour::Slow(MS(300))), (2, Behaviour::Slow(MS(300)))];
    let fetched = Fetched::of(&content(), &doubles, Hedged);
    for _ in 0..200 {
        fetched.is_read().await;
    }
    let count = |event| fetched.events.seen().iter().filter(|seen| **seen == event).count();
    let bounds = PaceBounds::default();
    let most = (bounds.most_hedges + bounds.hedge_percent * 200 / 100) as usize;
    // A read earns nothing while the allowance is full.
    assert!((most - 1..=most).contains(&count(ReadEvent::Hedged)));
    assert_eq!(count(ReadEvent::Hedged) + count(ReadEvent::HedgeRefused), 200);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_away_are_asked_again_only_within_the_allowance() {
    let away = Behaviour::FailsRead(CopyError::Unreachable("gone".to_owned()));
    let fetched = Fetched::of(&content(), &[(1, away)], Ordered);
    for _ in 0..200 {
        assert!(fetched.whole().await.1.is_some());
    }
    let count = |event| fetched.events.seen().iter().filter(|seen| **seen == event).count();
    let repeated = count(ReadEvent::Repeated);
    let bounds = PaceBounds::default();
    let most = (bounds.most_repeats + bounds.repeat_percent * 200 / 100) as usize;
    assert!((most - 1..=most).contains(&repeated));
    assert_eq!(repeated + count(ReadEvent::RepeatRefused), 200);
    assert_eq!(fetched.doubles.asked(1), 200 + repeated);
}

#[derive(Debug)]
struct TwoCopies;

impl ReadRule for TwoCopies {
    fn at_once(&self, _: usize) -> usize {
        2
    }
}

#[tokio::test]
async fn a_rule_of_ones_own_asks_as_many_copies_as_it_says() {
    let doubles = [(1, Behaviour::Hangs), (2, Behaviour::Healthy), (3, Behaviour::Healthy)];
    let mut rules: Named<dyn ReadRule> = Named::default();
    rules.add("two_copies", Arc::new(TwoCopies)).expect("a name of its own");
    let fetched = Fetched::by(&content(), &doubles, rules.get("two_copies").expect("just added"));
    fetched.is_read().await;
    let asked = [1, 2, 3].map(|n| fetched.doubles.asked(n));
    assert_eq!(asked, [1, 1, 0]);
    assert!(fetched.events.seen().is_empty(), "nobody was asked because another took long");
}

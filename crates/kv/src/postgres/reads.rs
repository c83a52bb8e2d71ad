//! What a SQL transaction has read so far, and what its closures asked for in vain.
//!
//! Closures cannot wait for a connection. They read here; what is not here yet is noted as missing
//! and the run does not count. Then everything missing is fetched at once, and they run again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::error::StorageFailure;
use crate::range::{Direction, KeyRange};
use crate::read::Entry;
use crate::source::{Source, Visit};

/// Most entries that one statement fetches.
const MAX_PAGE: usize = 1024;

/// Where an interval of keys ends. The order of the variants is the order of ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// Before this key.
    Before(Bytes),
    /// Nowhere.
    Open,
}

/// Keys from `start` on, `start` included, and the side from which they are wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interval {
    pub(super) start: Bytes,
    pub(super) end: End,
    pub(super) direction: Direction,
}

/// What is to be fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) keys: BTreeSet<Bytes>,
    /// How many entries of each interval.
    pub(super) scans: BTreeMap<Interval, usize>,
}

/// One state of the database, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Keys that were fetched; `None` for those without a value.
    known: BTreeMap<Bytes, Option<Bytes>>,
    /// Intervals whose entries are all in `known`: start and end. They do not touch.
    whole: BTreeMap<Bytes, End>,
    bytes: usize,
    fetched: Wanted,
    missing: RefCell<Wanted>,
    /// Whether the run that is going on asked for something in vain.
    missed: Cell<bool>,
}

impl Wanted {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.scans.is_empty()
    }

    fn add(&mut self, more: &Wanted) {
        self.keys.extend(more.keys.iter().cloned());
        for (interval, limit) in &more.scans {
            self.scan(interval.clone(), *limit);
        }
    }

    fn scan(&mut self, interval: Interval, limit: usize) {
        let wanted = self.scans.entry(interval).or_default();
        *wanted = (*wanted).max(limit);
    }
}

impl Reads {
    /// Takes what all runs since the last call asked for in vain.
    pub(super) fn take_missing(&self) -> Wanted {
        self.missing.take()
    }

    /// Whether something was asked for in vain since the last call: the run in between is void.
    pub(super) fn take_missed(&self) -> bool {
        self.missed.take()
    }

    /// Everything that was fetched: what another attempt will want.
    pub(super) fn into_fetched(self) -> Wanted {
        self.fetched
    }

    /// How many bytes of keys and values are held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes what the statements for `wanted` are about to answer.
    pub(super) fn note_fetched(&mut self, wanted: &Wanted) {
        self.fetched.add(wanted);
        for key in &wanted.keys {
            self.known.entry(key.clone()).or_insert(None);
        }
    }

    /// Adds an entry.
    pub(super) fn add_entry(&mut self, key: Bytes, value: Bytes) {
        self.bytes += key.len() + value.len();
        self.known.insert(key, Some(value));
    }

    /// Adds what a scan met; fewer entries than its limit mean that there are no more.
    pub(super) fn add_page(&mut self, interval: &Interval, limit: usize, page: Vec<Entry>) {
        let last = page.last().map(|(key, _)| key.clone());
        let ends = page.len() < limit;
        for (key, value) in page {
            self.add_entry(key, value);
        }
        match (last, interval.direction) {
            (Some(last), Direction::Forward) if !ends => {
                self.add_whole(interval.start.clone(), End::Before(successor(&last)));
            }
            (Some(last), Direction::Backward) if !ends => {
                self.add_whole(last, interval.end.clone());
            }
            _ => self.add_whole(interval.start.clone(), interval.end.clone()),
        }
    }

    /// Joins the interval with those that it meets or touches.
    fn add_whole(&mut self, mut start: Bytes, mut end: End) {
        let before = self.whole.range(..=start.clone()).next_back();
        if let Some((earlier, until)) = before
            && *until >= End::Before(start.clone())
        {
            start = earlier.clone();
        }
        loop {
            let next = self.whole.range(start.clone()..).next();
            let Some((met, until)) = next else { break };
            if End::Before(met.clone()) > end {
                break;
            }
            end = end.max(until.clone());
            let met = met.clone();
            self.whole.remove(&met);
        }
        self.whole.insert(start, end);
    }

    /// The end of the whole interval that holds `key`.
    fn whole_from(&self, key: &Bytes) -> Option<&End> {
        let (_, end) = self.whole.range(..=key.clone()).next_back()?;
        (*end > End::Before(key.clone())).then_some(end)
    }

    /// The start of the whole interval that reaches up to `end`.
    fn whole_up_to(&self, end: &End) -> Option<&Bytes> {
        let below = match end {
            End::Before(key) => self.whole.range(..key.clone()).next_back(),
            End::Open => self.whole.last_key_value(),
        };
        let (start, until) = below?;
        (until >= end).then_some(start)
    }

    fn lacks(&self, interval: Interval, limit: usize) -> StorageFailure {
        self.missing.borrow_mut().scan(interval, limit.clamp(1, MAX_PAGE));
        self.not_fetched()
    }

    fn not_fetched(&self) -> StorageFailure {
        self.missed.set(true);
        StorageFailure::new("read", "not fetched yet")
    }

    fn forward(
        &self,
        start: Bytes,
        end: End,
        mut limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StorageFailure> {
        let direction = Direction::Forward;
        let Some(until) = self.whole_from(&start) else {
            return Err(self.lacks(Interval { start, end, direction }, limit));
        };
        for (key, value) in self.known.range(bounds(&start, until.min(&end))) {
            let Some(value) = value else { continue };
            limit = limit.saturating_sub(1);
            if visit(key.clone(), value.clone()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        match until {
            End::Before(from) if *until < end => {
                Err(self.lacks(Interval { start: from.clone(), end, direction }, limit))
            }
            End::Before(_) | End::Open => Ok(ControlFlow::Continue(())),
        }
    }

    fn backward(
        &self,
        start: Bytes,
        end: End,
        mut limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StorageFailure> {
        let direction = Direction::Backward;
        let Some(from) = self.whole_up_to(&end) else {
            return Err(self.lacks(Interval { start, end, direction }, limit));
        };
        for (key, value) in self.known.range(bounds(from.max(&start), &end)).rev() {
            let Some(value) = value else { continue };
            limit = limit.saturating_sub(1);
            if visit(key.clone(), value.clone()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if *from > start {
            let end = End::Before(from.clone());
            return Err(self.lacks(Interval { start, end, direction }, limit));
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Source for Reads {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageFailure> {
        if let Some(value) = self.known.get(key) {
            return Ok(value.clone());
        }
        let key = Bytes::copy_from_slice(key);
        if self.whole_from(&key).is_some() {
            return Ok(None);
        }
        self.missing.borrow_mut().keys.insert(key);
        Err(self.not_fetched())
    }

    fn walk(
        &self,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StorageFailure> {
        self.walk_up_to(range, direction, MAX_PAGE, visit)
    }

    fn walk_up_to(
        &self,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StorageFailure> {
        let (start, end) = interval_of(range);
        if end <= End::Before(start.clone()) {
            return Ok(ControlFlow::Continue(()));
        }
        match direction {
            Direction::Forward => self.forward(start, end, limit, visit),
            Direction::Backward => self.backward(start, end, limit, visit),
        }
    }
}

/// The same keys, the start included and the end not.
fn interval_of(range: &KeyRange) -> (Bytes, End) {
    let (start, end) = range.bounds();
    let start = match start {
        Bound::Included(key) => Bytes::copy_from_slice(key),
        Bound::Excluded(key) => successor(key),
        Bound::Unbounded => Bytes::new(),
    };
    let end = match end {
        Bound::Included(key) => End::Before(successor(key)),
        Bound::Excluded(key) => End::Before(Bytes::copy_from_slice(key)),
        Bound::Unbounded => End::Open,
    };
    (start, end)
}

/// The smallest key greater than `key`.
fn successor(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

/// Bounds for a map of keys. The interval is not empty.
fn bounds(start: &Bytes, end: &End) -> (Bound<Bytes>, Bound<Bytes>) {
    let end = match end {
        End::Before(key) => Bound::Excluded(key.clone()),
        End::Open => Bound::Unbounded,
    };
    (Bound::Included(start.clone()), end)
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
    use proptest::{prop_assert, prop_assert_eq};

    use super::*;
    use crate::source::collect;

    type Database = BTreeMap<Bytes, Bytes>;

    #[derive(Clone, Debug)]
    enum Query {
        Get(Bytes),
        Scan(KeyRange, usize, Direction),
    }

    /// What the statements of a SQL transaction answer.
    fn fetch(database: &Database, wanted: &Wanted, reads: &mut Reads) {
        reads.note_fetched(wanted);
        for key in &wanted.keys {
            if let Some(value) = database.get(key) {
                reads.add_entry(key.clone(), value.clone());
            }
        }
        for (interval, limit) in &wanted.scans {
            let within = |key: &&Bytes| {
                **key >= interval.start && End::Before((*key).clone()) < interval.end
            };
            let mut keys: Vec<&Bytes> = database.keys().filter(within).collect();
            if interval.direction == Direction::Backward {
                keys.reverse();
            }
            keys.truncate(*limit);
            let page = keys.into_iter().map(|key| (key.clone(), database[key].clone()));
            reads.add_page(interval, *limit, page.collect());
        }
    }

    fn key() -> impl Strategy<Value = Bytes> {
        vec(prop_oneof![Just(0), Just(b'a'), Just(0xff)], 0..3).prop_map(Bytes::from)
    }

    fn bound() -> impl Strategy<Value = Bound<Bytes>> {
        prop_oneof![
            key().prop_map(Bound::Included),
            key().prop_map(Bound::Excluded),
            Just(Bound::Unbounded),
        ]
    }

    fn query() -> impl Strategy<Value = Query> {
        let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Backward)];
        let scan = (bound(), bound(), 1..6_usize, direction);
        prop_oneof![
            key().prop_map(Query::Get),
            scan.prop_map(|(start, end, limit, direction)| {
                Query::Scan(KeyRange::new(start, end), limit, direction)
            }),
        ]
    }

    fn ask(source: &dyn Source, query: &Query) -> Result<Vec<Entry>, StorageFailure> {
        match query {
            Query::Get(key) => {
                Ok(source.get(key)?.map(|value| (key.clone(), value)).into_iter().collect())
            }
            Query::Scan(range, limit, direction) => collect(source, range, *limit, *direction),
        }
    }

    proptest! {
        #[test]
        fn what_was_fetched_answers_like_the_database_after_few_rounds(
            database in btree_map(key(), any::<u8>(), 0..14),
            queries in vec(query(), 1..12),
        ) {
            let value = |(key, value): (Bytes, u8)| (key, Bytes::from(vec![value]));
            let database: Database = database.into_iter().map(value).collect();
            let mut reads = Reads::default();
            for query in &queries {
                let mut rounds = 0;
                let answer = loop {
                    let answer = ask(&reads, query);
                    let missed = reads.take_missed();
                    prop_assert_eq!(missed, answer.is_err());
                    if let Ok(answer) = answer {
                        break answer;
                    }
                    let missing = reads.take_missing();
                    prop_assert!(!missing.is_empty());
                    fetch(&database, &missing, &mut reads);
                    rounds += 1;
                    // Each round gets at least one of the 13 keys, or the end of a gap.
                    prop_assert!(rounds <= 14, "{query:?} takes more than {rounds} rounds");
                };
                prop_assert_eq!(answer, ask(&database, query).expect("a map can be read"));
            }
            // Another transaction that reads the same is served by one fetch.
            let expected = reads.into_fetched();
            let mut again = Reads::default();
            fetch(&database, &expected, &mut again);
            for query in &queries {
                prop_assert!(ask(&again, query).is_ok(), "{query:?}");
            }
        }
    }
}

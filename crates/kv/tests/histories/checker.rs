//! Decides whether a history of transactions can have happened one after the other.
//!
//! Every value is written once and every write is preceded by a read of its key in the same
//! transaction, so the versions of each key form a chain that can be read off the history. From them
//! follow the dependencies of Adya's thesis (2000), as in Elle (Kingsbury and Alvaro, 2020):
//!
//! ```text
//!   ww   A's version of a key was replaced by B's        A before B
//!   wr   B read A's version                              A before B
//!   rw   A read the version that B replaced              A before B
//!   rt   A was answered before B began                   A before B
//! ```
//! A cycle cannot be put in an order. Without one, any order that keeps the dependencies is a serial
//! history with the same answers.

use std::collections::BTreeMap;
use std::fmt;

/// Who wrote a version: the number of the transaction. `None` is the state before all of them.
pub(crate) type Version = Option<u32>;
pub(crate) type Key = u8;

/// One transaction that was answered with success.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) number: u32,
    /// What it read of each key, before its own writes.
    pub(crate) reads: BTreeMap<Key, Version>,
    /// The keys that it wrote, all of which it read.
    pub(crate) writes: Vec<Key>,
    /// When it was asked for and when it was answered, in ticks of one counter.
    pub(crate) asked: u64,
    pub(crate) answered: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    WriteWrite,
    WriteRead,
    ReadWrite,
    RealTime,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Anomaly {
    /// A version was read that no transaction with success wrote.
    FromNowhere { reader: u32, key: Key, version: u32 },
    /// Two transactions replaced the same version: the first of them is lost.
    LostUpdate { key: Key, of: Version, by: [u32; 2] },
    /// Each comes before the next one, and the last before the first.
    Cycle(Vec<(u32, Why)>),
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

type Edges = BTreeMap<u32, BTreeMap<u32, Why>>;

/// The first anomaly found.
pub(crate) fn check(history: &[Done]) -> Result<(), Anomaly> {
    let replaced = replacements(history)?;
    let mut edges = Edges::new();
    let mut edge = |from: u32, to: u32, why: Why| {
        if from != to {
            edges.entry(from).or_default().entry(to).or_insert(why);
        }
    };
    for reader in history {
        for (key, version) in &reader.reads {
            if let Some(writer) = *version {
                edge(writer, reader.number, Why::WriteRead);
            }
            if let Some(next) = replaced.get(&(*key, *version)) {
                edge(reader.number, *next, Why::ReadWrite);
                if let Some(writer) = *version {
                    edge(writer, *next, Why::WriteWrite);
                }
            }
        }
    }
    for earlier in history {
        for later in history {
            if earlier.answered < later.asked {
                edge(earlier.number, later.number, Why::RealTime);
            }
        }
    }
    match cycle(history, &edges) {
        Some(cycle) => Err(Anomaly::Cycle(cycle)),
        None => Ok(()),
    }
}

/// Which transaction replaced each version.
fn replacements(history: &[Done]) -> Result<BTreeMap<(Key, Version), u32>, Anomaly> {
    let mut replaced = BTreeMap::new();
    let mut written = Vec::new();
    for done in history {
        for key in &done.writes {
            let of = done.reads[key];
            written.push((*key, done.number));
            if let Some(other) = replaced.insert((*key, of), done.number) {
                return Err(Anomaly::LostUpdate { key: *key, of, by: [other, done.number] });
            }
        }
    }
    written.sort_unstable();
    for done in history {
        for (key, version) in &done.reads {
            if let Some(version) = *version
                && written.binary_search(&(*key, version)).is_err()
            {
                let (reader, key) = (done.number, *key);
                return Err(Anomaly::FromNowhere { reader, key, version });
            }
        }
    }
    Ok(replaced)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Open,
    Closed,
}

/// A cycle, found depth first, without recursion: histories are long.
fn cycle(history: &[Done], edges: &Edges) -> Option<Vec<(u32, Why)>> {
    let none = BTreeMap::new();
    let mut marks = BTreeMap::new();
    for done in history {
        if marks.contains_key(&done.number) {
            continue;
        }
        let next = |number: &u32| edges.get(number).unwrap_or(&none).iter();
        let mut path = vec![(done.number, Why::RealTime, next(&done.number))];
        marks.insert(done.number, Mark::Open);
        while let Some((number, _, rest)) = path.last_mut() {
            let number = *number;
            match rest.next() {
                None => {
                    marks.insert(number, Mark::Closed);
                    path.pop();
                }
                Some((to, why)) => match marks.get(to) {
                    Some(Mark::Closed) => {}
                    Some(Mark::Open) => {
                        let from = path.iter().position(|(on_path, _, _)| on_path == to)?;
                        let mut cycle: Vec<_> =
                            path[from + 1..].iter().map(|(to, why, _)| (*to, *why)).collect();
                        cycle.push((*to, *why));
                        return Some(cycle);
                    }
                    None => {
                        marks.insert(*to, Mark::Open);
                        path.push((*to, *why, next(to)));
                    }
                },
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: Key = 0;
    const Y: Key = 1;

    type ReadsAndWrites<'a> = (&'a [(Key, Version)], &'a [Key]);

    /// Transactions that all overlap in time.
    fn overlapping(transactions: &[ReadsAndWrites<'_>]) -> Vec<Done> {
        let done = |(number, (reads, writes)): (u32, &ReadsAndWrites<'_>)| Done {
            number,
            reads: reads.iter().copied().collect(),
            writes: writes.to_vec(),
            asked: 0,
            answered: 1,
        };
        (1..).zip(transactions).map(done).collect()
    }

    #[test]
    fn a_serial_history_passes() {
        let history = overlapping(&[
            (&[(X, None)], &[X]),
            (&[(X, Some(1)), (Y, None)], &[X, Y]),
            (&[(X, Some(2)), (Y, Some(2))], &[]),
        ]);
        assert_eq!(check(&history), Ok(()));
    }

    #[test]
    fn a_lost_update_is_found() {
        let history = overlapping(&[(&[(X, None)], &[X]), (&[(X, None)], &[X])]);
        assert_eq!(check(&history), Err(Anomaly::LostUpdate { key: X, of: None, by: [1, 2] }));
    }

    #[test]
    fn write_skew_is_found() {
        let both: &[(Key, Version)] = &[(X, None), (Y, None)];
        let history = overlapping(&[(both, &[X]), (both, &[Y])]);
        let cycle = vec![(2, Why::ReadWrite), (1, Why::ReadWrite)];
        assert_eq!(check(&history), Err(Anomaly::Cycle(cycle)));
    }

    #[test]
    fn a_read_of_what_was_never_committed_is_found() {
        let history = overlapping(&[(&[(X, Some(9))], &[])]);
        let nowhere = Anomaly::FromNowhere { reader: 1, key: X, version: 9 };
        assert_eq!(check(&history), Err(nowhere));
    }

    #[test]
    fn a_torn_read_is_found() {
        // The second sees half of what the first wrote.
        let history =
            overlapping(&[(&[(X, None), (Y, None)], &[X, Y]), (&[(X, Some(1)), (Y, None)], &[])]);
        assert!(matches!(check(&history), Err(Anomaly::Cycle(_))));
    }

    #[test]
    fn two_readers_that_see_two_writers_in_different_order_are_found() {
        let history = overlapping(&[
            (&[(X, None)], &[X]),
            (&[(Y, None)], &[Y]),
            (&[(X, Some(1)), (Y, None)], &[]),
            (&[(X, None), (Y, Some(2))], &[]),
        ]);
        assert!(matches!(check(&history), Err(Anomaly::Cycle(cycle)) if cycle.len() == 4));
    }

    #[test]
    fn a_report_that_no_serial_order_explains_is_found() {
        // Fekete, O'Neil and O'Neil (2004): only the reader makes it an anomaly.
        let history = overlapping(&[
            (&[(X, None), (Y, None)], &[X]),
            (&[(Y, None)], &[Y]),
            (&[(X, None), (Y, Some(2))], &[]),
        ]);
        assert!(matches!(check(&history), Err(Anomaly::Cycle(cycle)) if cycle.len() == 3));
        assert_eq!(check(&history[..2]), Ok(()));
    }

    #[test]
    fn a_stale_read_is_found() {
        let mut history = overlapping(&[(&[(X, None)], &[X]), (&[(X, None)], &[])]);
        assert_eq!(check(&history), Ok(()));
        (history[1].asked, history[1].answered) = (2, 3);
        assert!(matches!(check(&history), Err(Anomaly::Cycle(_))));
    }
}

//! Numbers records in the order in which they are written, and knows up to which number all are durable.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::format::MAX_SEQUENCE;

/// See the module.
#[derive(Debug)]
pub(super) struct Sequences(Mutex<State>);

#[derive(Debug)]
struct State {
    next: u64,
    /// First numbers of the batches that are being written.
    open: BTreeSet<u64>,
}

/// The numbers of a batch, until it is durable or given up.
#[derive(Debug)]
pub(super) struct Numbers<'a> {
    sequences: &'a Sequences,
    first: u64,
    /// All records up to this one are durable already.
    pub(super) durable: u64,
    next: u64,
}

impl Sequences {
    /// Numbers up to `last` are taken, and durable.
    pub(super) fn after(last: u64) -> Self {
        Self(Mutex::new(State { next: last + 1, open: BTreeSet::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers for `count` records, at least one.
    ///
    /// # Errors
    /// When there are none left that a reader would believe.
    pub(super) fn take(&self, count: u64) -> io::Result<Numbers<'_>> {
        let mut state = self.lock();
        let (first, durable) = (state.next, state.durable());
        let next = first.saturating_add(count.max(1));
        if next > MAX_SEQUENCE {
            return Err(io::Error::other("the store's numbers for records are used up"));
        }
        state.next = next;
        state.open.insert(first);
        Ok(Numbers { sequences: self, first, durable, next: first })
    }

    /// All records up to this one are durable, or were given up.
    pub(super) fn durable(&self) -> u64 {
        self.lock().durable()
    }
}

impl State {
    fn durable(&self) -> u64 {
        self.open.first().unwrap_or(&self.next) - 1
    }
}

impl Numbers<'_> {
    /// The next number of the batch.
    pub(super) fn next(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

impl Drop for Numbers<'_> {
    fn drop(&mut self) {
        self.sequences.lock().open.remove(&self.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_durable_ends_before_the_oldest_open_batch() {
        let sequences = Sequences::after(10);
        assert_eq!(sequences.durable(), 10);
        let mut one = sequences.take(2).expect("numbers");
        let two = sequences.take(3).expect("numbers");
        assert_eq!((one.next(), one.next(), two.durable), (11, 12, 10));
        drop(two);
        assert_eq!(sequences.durable(), 10);
        drop(one);
        assert_eq!(sequences.durable(), 15);
    }

    #[test]
    fn no_number_is_given_that_a_reader_would_not_believe() {
        let sequences = Sequences::after(MAX_SEQUENCE - 2);
        assert!(sequences.take(2).is_err());
        assert_eq!(sequences.take(1).expect("one is left").next(), MAX_SEQUENCE - 1);
        assert!(sequences.take(1).is_err());
    }
}

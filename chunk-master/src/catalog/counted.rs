//! Reads that are counted, for what must stay bounded.

use std::cell::Cell;

use bytes::Bytes;
use cairn_kv::{AccessError, Direction, Entry, KeyRange, Read};

/// Reads through, and counts the records that come back.
#[derive(Debug)]
pub(crate) struct Counted<'a, R> {
    read: &'a R,
    records: Cell<usize>,
}

impl<'a, R: Read> Counted<'a, R> {
    pub(crate) fn new(read: &'a R) -> Self {
        Self { read, records: Cell::new(0) }
    }

    /// Records read so far; one that was asked for and is absent counts as well.
    pub(crate) fn records(&self) -> usize {
        self.records.get()
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, AccessError> {
        self.records.set(self.records.get() + 1);
        self.read.get(key)
    }

    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<Entry>, AccessError> {
        let found = self.read.scan(range, limit, direction)?;
        self.records.set(self.records.get() + found.len());
        Ok(found)
    }
}

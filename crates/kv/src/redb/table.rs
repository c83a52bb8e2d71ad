//! Reads a redb table as a [`Source`].

use std::cell::OnceCell;
use std::ops::ControlFlow;

use bytes::Bytes;
use redb::{AccessGuard, ReadableTable, StorageError, Table};

use crate::error::StorageFailure;
use crate::range::{Direction, KeyRange};
use crate::source::{Source, Visit};

/// A table, and whether reading it broke the database.
pub(super) struct TableSource<'a, T> {
    table: &'a T,
    broken: OnceCell<StorageFailure>,
}

/// The table of entries inside a write transaction.
pub(super) type WriteTable<'t> = Table<'t, ByteString, ByteString>;

type ByteString = &'static [u8];
type Row<'t> = (AccessGuard<'t, ByteString>, AccessGuard<'t, ByteString>);

impl<'a, T: ReadableTable<ByteString, ByteString>> TableSource<'a, T> {
    pub(super) fn new(table: &'a T) -> Self {
        TableSource { table, broken: OnceCell::new() }
    }

    /// The failure after which redb answers nothing more until it is reopened.
    pub(super) fn broken(&self) -> Option<&StorageFailure> {
        self.broken.get()
    }

    fn failed(&self, error: StorageError) -> StorageFailure {
        // A corrupt page spoils the reads that need it; reopening would not mend it.
        let only_here = matches!(error, StorageError::Corrupted(_));
        let failure = StorageFailure::new("read the table", error);
        if !only_here {
            self.broken.get_or_init(|| failure.clone());
        }
        failure
    }
}

impl<T: ReadableTable<ByteString, ByteString>> Source for TableSource<'_, T> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageFailure> {
        let value = self.table.get(key).map_err(|error| self.failed(error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn walk(
        &self,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StorageFailure> {
        let mut rows =
            self.table.range::<&[u8]>(range.bounds()).map_err(|error| self.failed(error))?;
        let mut show = |row: Result<Row<'_>, StorageError>| match row {
            Err(error) => ControlFlow::Break(Err(self.failed(error))),
            Ok((key, value)) => {
                let key = Bytes::copy_from_slice(key.value());
                let value = Bytes::copy_from_slice(value.value());
                visit(key, value).map_break(Ok)
            }
        };
        let walked = match direction {
            Direction::Forward => rows.try_for_each(&mut show),
            Direction::Backward => rows.rev().try_for_each(&mut show),
        };
        match walked {
            ControlFlow::Continue(()) => Ok(ControlFlow::Continue(())),
            ControlFlow::Break(stopped) => stopped.map(ControlFlow::Break),
        }
    }
}

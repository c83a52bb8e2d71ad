//! The journal's side of the file: how far it is, and the records that may not be durable elsewhere.

use std::sync::Arc;

use bytes::Bytes;
use cairn_core::journal::{JournalRecord, Position};
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::open::META;
use super::store::{Store, storage};
use crate::error::StorageFailure;
use crate::job::Failure;
use crate::journal::{Journal, JournalStart};
use crate::overlay::{Change, Overlay};

/// Records by sequence.
const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");
const BRANCH: &str = "journal branch";
const SEQUENCE: &str = "journal sequence";
const CRC: &str = "journal crc";
const TERM: &str = "journal term";
/// 1 while the store is, or was last, written without its journal.
const OFF: &str = "journal off";

/// With a journal, commits are synced when this much was written since the last sync: it bounds a record.
pub(super) const MAX_UNSYNCED_BYTES: usize = 4 << 20;

/// Makes a record of each synced commit.
pub(super) struct Recorder {
    journal: Arc<dyn Journal>,
    /// The last record that is committed.
    last: Position,
    /// The last record that the journal was given.
    given: u64,
    /// What was written since then.
    unsynced: Overlay,
    /// In the commit that is going on.
    prepared: Option<JournalRecord>,
}

impl Recorder {
    /// Begins a term, and a branch when the file was written without its journal since the last one.
    pub(super) fn open(store: &Store, journal: Arc<dyn Journal>) -> Result<Recorder, Failure> {
        let txn = store.begin_write()?;
        let (start, unsent) = {
            let mut meta = txn.open_table(META).map_err(failed("open the meta table"))?;
            let number = |key| -> Result<u64, Failure> {
                let found = meta.get(key).map_err(failed("read the journal's state"))?;
                Ok(found.map_or(0, |found| found.value()))
            };
            let (term, off) = (number(TERM)? + 1, number(OFF)? == 1);
            let mut last = read(&number)?;
            let mut outbox = txn.open_table(OUTBOX).map_err(failed("open the outbox"))?;
            if off || last.branch == 0 {
                last = Position { branch: term, sequence: last.sequence, crc: 0 };
                outbox.retain(|_, _| false).map_err(failed("empty the outbox"))?;
            }
            for (key, value) in numbers(last, term) {
                meta.insert(key, value).map_err(failed("begin a term of the journal"))?;
            }
            ((last, term), records(&outbox)?)
        };
        txn.commit().map_err(failed("begin a term of the journal"))?;
        let (last, term) = start;
        journal.opened(JournalStart { position: last, term, unsent });
        let unsynced = Overlay::default();
        Ok(Recorder { journal, last, given: last.sequence, unsynced, prepared: None })
    }

    /// Whether the next commit must be a synced one.
    pub(super) fn is_full(&self, writes: &Overlay) -> bool {
        self.unsynced.bytes() + writes.bytes() >= MAX_UNSYNCED_BYTES
    }

    /// A commit without a sync is about to happen.
    pub(super) fn keep(&mut self, writes: &Overlay) {
        self.unsynced.absorb(writes.clone());
    }

    /// Puts into `txn` the record of a synced commit of `writes`, and takes out what is durable elsewhere.
    pub(super) fn record(
        &mut self,
        txn: &WriteTransaction,
        writes: &Overlay,
    ) -> Result<(), Failure> {
        let mut all = self.unsynced.clone();
        all.absorb(writes.clone());
        if all.is_empty() {
            return Ok(());
        }
        let changes = all.iter().map(|(key, change)| match change {
            Change::Put(value) => (key.as_ref(), Some(value.as_ref())),
            Change::Delete => (key.as_ref(), None),
        });
        let record = JournalRecord::new(self.last, changes);
        let position = record.position();
        let mut outbox = txn.open_table(OUTBOX).map_err(failed("open the outbox"))?;
        let durable = self.journal.durable();
        outbox
            .retain_in(..=durable, |_, _| false)
            .map_err(failed("take records out of the outbox"))?;
        let bytes: &[u8] = record.bytes();
        outbox.insert(position.sequence, bytes).map_err(failed("write the outbox"))?;
        let mut meta = txn.open_table(META).map_err(failed("open the meta table"))?;
        for (key, value) in [(SEQUENCE, position.sequence), (CRC, u64::from(position.crc))] {
            meta.insert(key, value).map_err(failed("write the journal's state"))?;
        }
        self.prepared = Some(record);
        Ok(())
    }

    /// The synced commit has happened.
    pub(super) fn committed(&mut self) {
        self.unsynced = Overlay::default();
        if let Some(record) = self.prepared.take() {
            self.last = record.position();
            self.give(record);
        }
    }

    /// The store was opened again: only the file knows what has happened.
    pub(super) fn reopened(&mut self, store: &Store) -> Result<(), Failure> {
        self.unsynced = Overlay::default();
        self.prepared = None;
        let txn = store.begin_read()?;
        self.last = position(&txn).map_err(Failure::Storage)?;
        let outbox = txn.open_table(OUTBOX).map_err(failed("open the outbox"))?;
        for record in records(&outbox)? {
            self.give(record);
        }
        Ok(())
    }

    fn give(&mut self, record: JournalRecord) {
        let sequence = record.position().sequence;
        if sequence > self.given {
            self.given = sequence;
            self.journal.committed(record);
        }
    }

    /// The last record that is committed: it covers all that is synced.
    pub(super) fn sequence(&self) -> u64 {
        self.last.sequence
    }
}

/// Notes that the file is written without its journal, if it ever had one: the next one begins a branch.
pub(super) fn without_journal(store: &Store) -> Result<(), Failure> {
    let had_one = {
        let txn = store.begin_read()?;
        position(&txn).map_err(Failure::Storage)?.branch > 0
    };
    if had_one {
        let txn = store.begin_write()?;
        {
            let mut meta = txn.open_table(META).map_err(failed("open the meta table"))?;
            meta.insert(OFF, 1).map_err(failed("write the journal's state"))?;
        }
        txn.commit().map_err(failed("note that the journal is off"))?;
    }
    Ok(())
}

/// Sets where the journal goes on, in a file that was just filled from it: the next opening begins a branch in a term
/// behind `term`.
pub(super) fn adopt(store: &Store, last: Position, term: u64) -> Result<(), Failure> {
    let txn = store.begin_write()?;
    {
        let mut meta = txn.open_table(META).map_err(failed("open the meta table"))?;
        for (key, value) in numbers(last, term).into_iter().chain([(OFF, 1)]) {
            meta.insert(key, value).map_err(failed("write the journal's state"))?;
        }
    }
    txn.commit().map_err(failed("write the journal's state"))
}

/// How far the journal is in the state that `txn` sees.
pub(super) fn position(txn: &ReadTransaction) -> Result<Position, StorageFailure> {
    const DOING: &str = "read the journal's state";
    let meta = txn.open_table(META).map_err(|error| StorageFailure::new(DOING, error))?;
    let number = |key| -> Result<u64, Failure> {
        let found = meta.get(key).map_err(failed(DOING))?;
        Ok(found.map_or(0, |found| found.value()))
    };
    read(&number).map_err(|failure| match failure {
        Failure::Storage(failure) | Failure::MayHaveHappened(failure) => failure,
        Failure::Closed(reason) => StorageFailure::new(DOING, reason),
    })
}

fn read(number: &impl Fn(&'static str) -> Result<u64, Failure>) -> Result<Position, Failure> {
    let crc = u32::try_from(number(CRC)?).unwrap_or(0);
    Ok(Position { branch: number(BRANCH)?, sequence: number(SEQUENCE)?, crc })
}

fn numbers(last: Position, term: u64) -> [(&'static str, u64); 5] {
    let Position { branch, sequence, crc } = last;
    [(BRANCH, branch), (SEQUENCE, sequence), (CRC, crc.into()), (TERM, term), (OFF, 0)]
}

fn records(outbox: &impl ReadableTable<u64, &'static [u8]>) -> Result<Vec<JournalRecord>, Failure> {
    const DOING: &str = "read the outbox";
    let mut records = Vec::new();
    for row in outbox.iter().map_err(failed(DOING))? {
        let (_, value) = row.map_err(failed(DOING))?;
        let mut bytes = Bytes::copy_from_slice(value.value());
        let record = JournalRecord::take(&mut bytes).map_err(failed(DOING))?;
        records.extend(record);
    }
    Ok(records)
}

fn failed<E>(doing: &'static str) -> impl FnOnce(E) -> Failure
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |error| storage(doing, error)
}

//! The journal of metadata: what each group of transactions wrote, as records that follow each other.
//!
//! ```text
//! record   length u32 │ crc32c u32 │ format u8 = 1 │ branch u64 │ sequence u64 │ previous u32 │ count u32 │ change …
//! change   1 │ key length u16 │ key │ value length u32 │ value        put
//!          2 │ key length u16 │ key                                 delete
//! ```
//!
//! Numbers are big-endian. `length` counts what is behind the checksum, which covers the same. `previous` is the
//! checksum of the record before: two histories that part anywhere have other checksums from there on. A *branch* is a
//! history without gaps; a catalog that was restored, or that was written without its journal, begins a new one.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use uuid::Uuid;

use crate::digest::plain_crc;
use crate::ids::CatalogId;

/// The only format so far.
const FORMAT: u8 = 1;
/// Bytes before what the checksum covers.
const FRONT_BYTES: usize = 8;
/// Bytes of what the checksum covers, without changes.
const HEAD_BYTES: usize = 1 + 8 + 8 + 4 + 4;
/// The longest record: a group of transactions and what came before it unsynced, with its keys.
pub const MAX_RECORD_BYTES: usize = 24 << 20;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// How far a journal has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The history that it belongs to; 0 before there is a journal.
    pub branch: u64,
    /// The last record.
    pub sequence: u64,
    /// The checksum of the last record; 0 before the first.
    pub crc: u32,
}

/// Who writes a journal: a master, from the opening of its catalog on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalWriter {
    /// The catalog.
    pub catalog: CatalogId,
    /// Goes up with each opening.
    pub term: u64,
    /// Tells copies of a catalog apart that were opened as often.
    pub id: Uuid,
}

impl JournalWriter {
    /// True when whoever obeys `self` must not obey `other` any more.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.term > other.term || (self.term == other.term && self.id != other.id)
    }
}

/// What a node has of a journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalKept {
    /// Who may write.
    pub writer: Option<JournalWriter>,
    /// On how many nodes the writer makes each record durable before it answers.
    pub copies: u32,
    /// The last record, or the backup when nothing follows it; `None` without a backup.
    pub position: Option<Position>,
    /// Bytes of records.
    pub journal_bytes: u64,
    /// Bytes of the backup.
    pub backup_bytes: u64,
}

/// A key and its new value; `None` when it was deleted.
pub type Change = (Bytes, Option<Bytes>);

/// A record, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRecord {
    position: Position,
    previous: u32,
    bytes: Bytes,
}

/// Bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecord {
    /// They end in the middle.
    #[error("the record is cut off")]
    Cut,
    /// The checksum does not match.
    #[error("the record does not match its checksum")]
    Damaged,
    /// It was written by another version.
    #[error("the record has format {0}, this version knows format 1")]
    UnknownFormat(u8),
    /// It says that it is longer than any record.
    #[error("the record would have {0} bytes, more than any")]
    TooLong(usize),
}

impl JournalRecord {
    /// The record behind `last` with these changes.
    pub fn new<'a>(
        last: Position,
        changes: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Self {
        let mut body = BytesMut::with_capacity(1024);
        let mut count = 0_u32;
        for (key, value) in changes {
            count += 1;
            body.put_u8(if value.is_some() { PUT } else { DELETE });
            // Keys have at most 2 KiB, values at most 1 MiB: the store's limits.
            body.put_u16(u16::try_from(key.len()).unwrap_or(u16::MAX));
            body.put_slice(key);
            if let Some(value) = value {
                body.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
                body.put_slice(value);
            }
        }
        let sequence = last.sequence + 1;
        let mut covered = BytesMut::with_capacity(HEAD_BYTES + body.len());
        covered.put_u8(FORMAT);
        covered.put_u64(last.branch);
        covered.put_u64(sequence);
        covered.put_u32(last.crc);
        covered.put_u32(count);
        covered.put(body);
        let crc = plain_crc(&covered);
        let mut bytes = BytesMut::with_capacity(FRONT_BYTES + covered.len());
        bytes.put_u32(u32::try_from(covered.len()).unwrap_or(u32::MAX));
        bytes.put_u32(crc);
        bytes.put(covered);
        let position = Position { branch: last.branch, sequence, crc };
        Self { position, previous: last.crc, bytes: bytes.freeze() }
    }

    /// Takes the first record off `bytes`; `None` when there are no bytes.
    ///
    /// # Errors
    /// [`InvalidRecord`]; `bytes` is left as it was.
    pub fn take(bytes: &mut Bytes) -> Result<Option<Self>, InvalidRecord> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let Some(front) = bytes.first_chunk::<FRONT_BYTES>() else {
            return Err(InvalidRecord::Cut);
        };
        let mut front = front.as_slice();
        let (length, crc) = (front.get_u32() as usize, front.get_u32());
        if length > MAX_RECORD_BYTES {
            return Err(InvalidRecord::TooLong(length));
        }
        if length < HEAD_BYTES {
            return Err(InvalidRecord::Damaged);
        }
        let whole = FRONT_BYTES + length;
        if bytes.len() < whole {
            return Err(InvalidRecord::Cut);
        }
        let mut covered = &bytes[FRONT_BYTES..whole];
        if plain_crc(covered) != crc {
            return Err(InvalidRecord::Damaged);
        }
        let format = covered.get_u8();
        if format != FORMAT {
            return Err(InvalidRecord::UnknownFormat(format));
        }
        let position = Position { branch: covered.get_u64(), sequence: covered.get_u64(), crc };
        let previous = covered.get_u32();
        Ok(Some(Self { position, previous, bytes: bytes.split_to(whole) }))
    }

    /// How many bytes a record has in all whose first 8 bytes these are.
    ///
    /// # Errors
    /// [`InvalidRecord::TooLong`] and [`InvalidRecord::Cut`].
    pub fn length(front: &[u8]) -> Result<usize, InvalidRecord> {
        let front = front.first_chunk::<4>().ok_or(InvalidRecord::Cut)?;
        let length = u32::from_be_bytes(*front) as usize;
        if length > MAX_RECORD_BYTES {
            return Err(InvalidRecord::TooLong(length));
        }
        Ok(FRONT_BYTES + length)
    }

    /// Where the journal is after this record.
    pub fn position(&self) -> Position {
        self.position
    }

    /// True when the record is the next one behind `last`.
    pub fn follows(&self, last: Position) -> bool {
        let Position { branch, sequence, .. } = self.position;
        branch == last.branch && sequence == last.sequence + 1 && self.previous == last.crc
    }

    /// The record as it is stored and sent.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What the record changes, each key once.
    ///
    /// # Errors
    /// [`InvalidRecord::Damaged`] when the changes do not fit their lengths, although the checksum matches.
    pub fn changes(&self) -> Result<Vec<Change>, InvalidRecord> {
        let damaged = InvalidRecord::Damaged;
        let mut rest = self.bytes.slice(FRONT_BYTES + HEAD_BYTES - 4..);
        let count = rest.get_u32();
        let mut changes = Vec::new();
        for _ in 0..count {
            let kind = rest.try_get_u8().map_err(|_| damaged)?;
            let length = rest.try_get_u16().map_err(|_| damaged)?.into();
            let key = taken(&mut rest, length).ok_or(damaged)?;
            let value = match kind {
                PUT => {
                    let length = rest.try_get_u32().map_err(|_| damaged)? as usize;
                    Some(taken(&mut rest, length).ok_or(damaged)?)
                }
                DELETE => None,
                _ => return Err(damaged),
            };
            changes.push((key, value));
        }
        if rest.is_empty() { Ok(changes) } else { Err(damaged) }
    }
}

/// The first `length` bytes, unless there are fewer.
pub(crate) fn taken(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (bytes.len() >= length).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::{any, proptest};
    use proptest::{prop_assert, prop_assert_eq};

    use super::*;

    fn record(last: Position, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> JournalRecord {
        JournalRecord::new(last, changes.iter().map(|(key, value)| (&key[..], value.as_deref())))
    }

    #[test]
    fn a_record_follows_the_one_that_it_was_made_behind_and_no_other() {
        let start = Position { branch: 3, sequence: 7, crc: 0 };
        let first = record(start, &[(b"a".to_vec(), None)]);
        let second = record(first.position(), &[]);
        assert!(first.follows(start) && second.follows(first.position()));
        assert!(!second.follows(start) && !first.follows(first.position()));
        let other = record(start, &[(b"b".to_vec(), None)]);
        assert!(!second.follows(other.position()), "another history");
        let elsewhere = Position { branch: 4, ..first.position() };
        assert!(!second.follows(elsewhere), "another branch");
    }

    proptest! {
        #[test]
        fn records_read_back_one_by_one(
            all in vec(vec((vec(any::<u8>(), 0..40), option::of(vec(any::<u8>(), 0..200))), 0..5), 0..5),
        ) {
            let mut last = Position { branch: 1, sequence: 0, crc: 0 };
            let mut bytes = BytesMut::new();
            let mut written = Vec::new();
            for changes in &all {
                let record = record(last, changes);
                prop_assert_eq!(JournalRecord::length(record.bytes()), Ok(record.bytes().len()));
                last = record.position();
                bytes.extend_from_slice(record.bytes());
                written.push(record);
            }
            let mut bytes = bytes.freeze();
            for (record, changes) in written.iter().zip(&all) {
                let read = JournalRecord::take(&mut bytes).expect("as written").expect("not the end");
                prop_assert_eq!(&read, record);
                let changes: Vec<_> = changes
                    .iter()
                    .map(|(key, value)| (Bytes::from(key.clone()), value.clone().map(Bytes::from)))
                    .collect();
                prop_assert_eq!(read.changes().expect("as written"), changes);
            }
            prop_assert_eq!(JournalRecord::take(&mut bytes), Ok(None));
        }

        #[test]
        fn a_record_that_is_cut_or_changed_anywhere_is_none(
            key in vec(any::<u8>(), 0..20), at in any::<usize>(), bit in 0..8_u32,
        ) {
            let whole = record(Position::default(), &[(key, Some(b"value".to_vec()))]);
            let at = at % whole.bytes().len();
            let mut cut = whole.bytes().slice(..at);
            let expected = if at == 0 { Ok(None) } else { Err(InvalidRecord::Cut) };
            prop_assert_eq!(JournalRecord::take(&mut cut), expected);
            let mut flipped = whole.bytes().to_vec();
            flipped[at] ^= 1 << bit;
            prop_assert!(JournalRecord::take(&mut flipped.into()).is_err());
        }
    }
}

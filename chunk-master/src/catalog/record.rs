//! What all records share: a key within a table, and a value that proves itself.
//!
//! A value is a protobuf payload under a seal: see [`cairn_core::sealed`].

use std::ops::Bound;

use bytes::Bytes;
use cairn_core::sealed;
use cairn_kv::{AccessError, Direction, KeyRange, Read, Txn};

use super::key::{KeyReader, KeyWriter};
use crate::error::{CatalogError, DamagedRecord};

/// Which table a record is in: the first byte of its key. Numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Table {
    Bucket = 1,
    Head = 2,
    Version = 3,
    Blob = 4,
    Page = 5,
    Upload = 6,
    Finished = 7,
    Alarm = 8,
    Account = 9,
    Node = 10,
    Condemned = 11,
    PurgeQueue = 12,
    NodePage = 13,
    Finding = 14,
    Deletion = 15,
    Identity = 16,
    Tenant = 17,
    Job = 18,
    BucketCondemned = 19,
    Duty = 20,
    ReadLease = 21,
    Held = 22,
    Importing = 23,
    Pending = 24,
    /// Runs of jobs, as `cairn-workflow` keeps them: no [`Record`].
    JobRun = 25,
    NodeUpload = 26,
}

/// Why bytes are no record. Becomes a [`DamagedRecord`] with the key.
#[derive(Debug)]
pub(crate) struct Malformed(String);

impl Malformed {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl<E: std::error::Error> From<E> for Malformed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// A kind of record: one table, one key, one payload.
pub(crate) trait Record: Sized {
    /// What names a record in its table.
    type Key;
    /// Its table.
    const TABLE: Table;
    /// The form of its payload. Another one is refused.
    const FORMAT: u8 = 1;

    /// Writes the key's parts.
    fn write_key(key: &Self::Key, parts: &mut KeyWriter);
    /// Reads what [`Self::write_key`] wrote.
    fn read_key(parts: &mut KeyReader<'_>) -> Result<Self::Key, Malformed>;
    /// The payload.
    fn to_payload(&self) -> Vec<u8>;
    /// Reads what [`Self::to_payload`] wrote.
    fn from_payload(payload: &[u8]) -> Result<Self, Malformed>;
}

/// The bytes of a key.
pub(crate) fn key_of<R: Record>(key: &R::Key) -> Bytes {
    prefix_of::<R>(|parts| R::write_key(key, parts))
}

/// The bytes of a key that need not be a whole one: to seek to.
pub(crate) fn raw_key<R: Record>(write: impl FnOnce(&mut KeyWriter)) -> Bytes {
    prefix_of::<R>(write)
}

fn prefix_of<R: Record>(write: impl FnOnce(&mut KeyWriter)) -> Bytes {
    let mut parts = KeyWriter::new(R::TABLE as u8);
    write(&mut parts);
    parts.finish()
}

/// All keys of the table.
pub(crate) fn all<R: Record>() -> KeyRange {
    prefixed::<R>(|_| {})
}

/// The keys of the table that begin with the parts that `write` writes.
pub(crate) fn prefixed<R: Record>(write: impl FnOnce(&mut KeyWriter)) -> KeyRange {
    KeyRange::prefix(prefix_of::<R>(write))
}

/// All keys of the table from `from` on; `from` need not be a whole key.
pub(crate) fn starting_at<R: Record>(from: Bytes) -> KeyRange {
    let behind = Bytes::copy_from_slice(&[R::TABLE as u8 + 1]);
    KeyRange::new(Bound::Included(from), Bound::Excluded(behind))
}

/// All keys of the table before `end`, which need not be a whole key.
pub(crate) fn ending_before<R: Record>(end: Bytes) -> KeyRange {
    KeyRange::new(Bound::Included(prefix_of::<R>(|_| {})), Bound::Excluded(end))
}

fn seal<R: Record>(key: &[u8], record: &R) -> Vec<u8> {
    sealed::seal(key, R::FORMAT, &record.to_payload())
}

fn damaged<R: Record>(key: &[u8], Malformed(why): Malformed) -> CatalogError {
    CatalogError::Damaged(DamagedRecord {
        table: format!("{:?}", R::TABLE),
        key: key.escape_ascii().to_string(),
        why,
    })
}

fn decode<R: Record>(key: &[u8], value: &[u8]) -> Result<R, CatalogError> {
    let payload = sealed::open(key, R::FORMAT, value).map_err(Malformed::from);
    payload.and_then(R::from_payload).map_err(|why| damaged::<R>(key, why))
}

fn decode_key<R: Record>(key: &[u8]) -> Result<R::Key, CatalogError> {
    let mut parts = KeyReader::new(key);
    R::read_key(&mut parts)
        .and_then(|read| parts.finish().map(|()| read))
        .map_err(|why| damaged::<R>(key, why))
}

/// The record under `key`, if there is one.
pub(crate) fn get<R: Record>(read: &impl Read, key: &R::Key) -> Result<Option<R>, CatalogError> {
    let key = key_of::<R>(key);
    let value = read.get(&key)?;
    value.map(|value| decode::<R>(&key, &value)).transpose()
}

/// A record that another one names: its absence is damage.
pub(crate) fn must_get<R: Record>(read: &impl Read, key: &R::Key) -> Result<R, CatalogError> {
    let missing = || damaged::<R>(&key_of::<R>(key), Malformed::new("the record is missing"));
    get(read, key)?.ok_or_else(missing)
}

/// A record as it is stored: its key and its value.
pub(crate) fn sealed<R: Record>(key: &R::Key, record: &R) -> (Bytes, Bytes) {
    let key = key_of::<R>(key);
    let value = seal(&key, record).into();
    (key, value)
}

/// Reads what is stored under a key of the record's table.
pub(crate) fn read_entry<R: Record>(key: &[u8], value: &[u8]) -> Result<(R::Key, R), CatalogError> {
    Ok((decode_key::<R>(key)?, decode::<R>(key, value)?))
}

/// Writes a record.
pub(crate) fn put<R: Record>(
    txn: &mut Txn<'_>,
    key: &R::Key,
    record: &R,
) -> Result<(), AccessError> {
    let (key, value) = sealed(key, record);
    txn.put(key, value)
}

/// Removes a record; one that is not there may be removed too.
pub(crate) fn delete<R: Record>(txn: &mut Txn<'_>, key: &R::Key) -> Result<(), AccessError> {
    txn.delete(key_of::<R>(key))
}

/// The first `limit` records of `range`, in key order.
pub(crate) fn scan<R: Record>(
    read: &impl Read,
    range: &KeyRange,
    limit: usize,
) -> Result<Vec<(R::Key, R)>, CatalogError> {
    read.scan(range, limit, Direction::Forward)?
        .iter()
        .map(|(key, value)| read_entry::<R>(key, value))
        .collect()
}

/// Records read in one step of a walk over a whole table.
const STEP: usize = 1000;

/// Shows every record of a table, in key order. Not bounded: for audits.
pub(crate) fn each<R: Record>(
    read: &impl Read,
    mut show: impl FnMut(R::Key, R),
) -> Result<(), CatalogError> {
    let mut range = all::<R>();
    loop {
        let records = scan::<R>(read, &range, STEP)?;
        let Some((last, _)) = records.last() else { return Ok(()) };
        range = range.after(key_of::<R>(last));
        for (key, record) in records {
            show(key, record);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The check that every record's file runs: it comes back as it was, and nothing else comes back.
    #[track_caller]
    pub(crate) fn round_trips<R>(key: &R::Key, record: &R)
    where
        R: Record + PartialEq + std::fmt::Debug,
        R::Key: PartialEq + std::fmt::Debug,
    {
        let name = key_of::<R>(key);
        assert_eq!(&decode_key::<R>(&name).expect("the key reads back"), key);
        let value = seal(&name, record);
        assert_eq!(&decode::<R>(&name, &value).expect("reads back"), record);

        let elsewhere = [&name[..], b"x"].concat();
        assert!(decode::<R>(&elsewhere, &value).is_err(), "under another key");
        for at in 0..value.len() {
            let mut flipped = value.clone();
            flipped[at] ^= 1;
            assert!(decode::<R>(&name, &flipped).is_err(), "byte {at} flipped");
        }
        assert!(decode::<R>(&name, &value[..value.len() - 1]).is_err(), "cut");
        assert!(decode::<R>(&name, &[]).is_err(), "empty");
        assert!(decode_key::<R>(&elsewhere).is_err(), "a longer key");
    }
}

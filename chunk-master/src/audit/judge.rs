//! Judging records one by one: each says what the records that it names, and those that must name it, have to be.
//!
//! ```text
//! family ─► look   some records of it, in key order ─► each judged in the same view ─► differences
//!       └─► mend   one record judged again in a transaction, which carries out what mends it
//! ```
//!
//! A judgement reads a bounded number of records, all from one state of the catalog: so it is right however much is going
//! on. What needs to see all records at once is in `references.rs` and `usage.rs`.

use bytes::Bytes;
use cairn_core::quota::Account;
use cairn_kv::{AccessError, Direction, Read, Txn};

use super::difference::{Difference, Found, Kind, Mend, RESTORE};
use crate::catalog::record::{self, Record};
use crate::catalog::{
    Alarm, Blob, Bucket, BucketCondemned, Condemned, Deletion, Duty, Finding, Finished, Head,
    Identity, Job, NodePage, NodeRecord, NodeUpload, Page, Pending, PurgeQueued, ReadLease, Tenant,
    Upload, Version,
};
use crate::error::CatalogError;

/// A record that can be judged by what it names.
pub(super) trait Judged: Record {
    /// Adds what contradicts this record.
    fn judge(
        &self,
        key: &Self::Key,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError>;
}

/// Records that name nothing: that they can be read is all.
macro_rules! names_nothing {
    ($($record:ident),+) => {$(
        impl Judged for $record {
            fn judge(&self, _: &Self::Key, _: &impl Read, _: &mut Found) -> Result<(), CatalogError> {
                Ok(())
            }
        }
    )+};
}
names_nothing!(Identity, Duty, Tenant, NodeRecord, Job, Finished, Deletion);

/// What a look at some records of a family found.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// The differences, each with the key of the record that was judged.
    pub(crate) differences: Vec<(Bytes, Difference)>,
    pub(crate) looked_at: usize,
    /// Where the next look begins; absent at the end of the family.
    pub(crate) next: Option<Bytes>,
}

macro_rules! families {
    ($($family:ident),+ $(,)?) => {
        /// A kind of record, in the order in which they are looked at: what is mended in one shows in the next.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Family { $($family),+ }

        impl Family {
            pub(crate) const ALL: &[Self] = &[$(Self::$family),+];

            /// Judges up to `limit` records after the key `after`.
            pub(crate) fn look(
                self,
                read: &impl Read,
                after: Option<&Bytes>,
                limit: usize,
            ) -> Result<Look, CatalogError> {
                match self { $(Self::$family => look::<$family>(read, after, limit)),+ }
            }

            /// Judges the record under `key` again and carries out what mends it; what was mended.
            pub(crate) fn mend(
                self,
                txn: &mut Txn<'_>,
                key: &Bytes,
            ) -> Result<Vec<Difference>, CatalogError> {
                match self { $(Self::$family => mend::<$family>(txn, key)),+ }
            }
        }
    };
}
families!(
    Identity,
    Duty,
    Tenant,
    NodeRecord,
    Account,
    Bucket,
    Job,
    Version,
    Head,
    Condemned,
    BucketCondemned,
    ReadLease,
    Upload,
    Pending,
    NodeUpload,
    Finished,
    Deletion,
    Alarm,
    Blob,
    PurgeQueued,
    Page,
    NodePage,
    Finding,
);

fn look<R: Judged>(
    read: &impl Read,
    after: Option<&Bytes>,
    limit: usize,
) -> Result<Look, CatalogError> {
    let mut range = record::all::<R>();
    if let Some(after) = after {
        range = range.after(after.clone());
    }
    let entries = read.scan(&range, limit, Direction::Forward)?;
    let mut look = Look { looked_at: entries.len(), ..Look::default() };
    if entries.len() == limit {
        look.next = entries.last().map(|(key, _)| key.clone());
    }
    for (key, value) in entries {
        let found = judge::<R>(read, &key, &value)?;
        look.differences.extend(found.into_iter().map(|found| (key.clone(), found)));
    }
    Ok(look)
}

/// Judges one record; one that is damaged, or is judged by one that is, is a difference itself.
fn judge<R: Judged>(
    read: &impl Read,
    key: &Bytes,
    value: &Bytes,
) -> Result<Vec<Difference>, CatalogError> {
    let mut found = Found::default();
    let judged = record::read_entry::<R>(key, value)
        .and_then(|(key, record)| record.judge(&key, read, &mut found));
    match judged {
        Ok(()) => {}
        Err(CatalogError::Access(error)) => return Err(error.into()),
        Err(damage) => found.add(Kind::Damaged, damage.to_string(), Mend::Leave(RESTORE)),
    }
    Ok(found.0)
}

fn mend<R: Judged>(txn: &mut Txn<'_>, key: &Bytes) -> Result<Vec<Difference>, CatalogError> {
    let Some(value) = txn.get(key)? else { return Ok(Vec::new()) };
    let mut mended = judge::<R>(txn, key, &value)?;
    mended.retain(|difference| !matches!(difference.mend, Mend::Leave(_)));
    for difference in &mended {
        carry_out(txn, &difference.mend)?;
    }
    Ok(mended)
}

fn carry_out(txn: &mut Txn<'_>, mend: &Mend) -> Result<(), AccessError> {
    match mend {
        Mend::Remove(key) => txn.delete(key.clone()),
        Mend::Write(key, value) => txn.put(key.clone(), value.clone()),
        Mend::Leave(_) => Ok(()),
    }
}

//! Condemn and purge: the two steps by which a version goes away.
//!
//! ```text
//! current ── condemn (replaced, deleted) ──► condemned ── purge (wait is over) ──► gone
//! ```
//!
//! A blob follows its versions: Condemned when no current version has it, Purging when no condemned one
//! has it either.

use cairn_core::bucket::{BucketPolicy, ClusterDefaults};
use cairn_core::lifecycle::BlobState;
use cairn_core::quota::Amount;
use cairn_kv::Txn;

use crate::accounts::Accounts;
use crate::catalog::{
    Blob, BucketCondemned, BucketCondemnedKey, BucketKey, Condemned, CondemnedKey, Head, HeadKey,
    PurgeQueued, ReadLease, Version, VersionKey, VersionState, record,
};
use crate::error::CatalogError;

/// The moment of a call that may condemn. How long what it condemns waits is its bucket's to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now_ms: u64,
    pub(crate) defaults: ClusterDefaults,
    /// Least wait: who was told of the version just before it was condemned reads it with a lease that is written
    /// nowhere.
    pub(crate) least_ms: u64,
}

impl Moment {
    /// The wait of what is condemned now in a bucket with this policy.
    pub(crate) fn wait(&self, policy: &BucketPolicy) -> Wait {
        let wait_ms = policy.effective(&self.defaults).retention_ms;
        self.wait_for(wait_ms)
    }

    /// The shortest wait that there is.
    pub(crate) fn no_wait(&self) -> Wait {
        self.wait_for(0)
    }

    fn wait_for(&self, wait_ms: u64) -> Wait {
        let wait_ms = wait_ms.max(self.least_ms);
        Wait { since_ms: self.now_ms, until_ms: self.now_ms.saturating_add(wait_ms) }
    }
}

/// Since when and until when a condemned version waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) since_ms: u64,
    pub(crate) until_ms: u64,
}

/// Takes the version from its name.
pub(crate) fn condemn(
    txn: &mut Txn<'_>,
    key: &HeadKey,
    head: &Head,
    wait: Wait,
) -> Result<(), CatalogError> {
    record::delete::<Head>(txn, key)?;
    let version_key = VersionKey { tenant: key.tenant.clone(), version: head.version };
    let mut version: Version = record::must_get(txn, &version_key)?;
    let Wait { since_ms, until_ms } = wait;
    version.state = VersionState::Condemned { since_ms, until_ms };
    record::put(txn, &version_key, &version)?;
    let bucket = BucketKey { tenant: key.tenant.clone(), bucket: key.bucket.clone() };
    enqueue(txn, &BucketCondemnedKey { bucket, until_ms, version: head.version })?;
    let mut accounts = Accounts::load(txn, &version.principal, &version.info.bucket)?;
    accounts.condemn(Amount::object(version.info.length))?;
    accounts.store(txn)?;
    for extent in &version.extents {
        let mut blob: Blob = record::must_get(txn, &extent.blob)?;
        blob.current_refs = blob.current_refs.saturating_sub(1);
        blob.condemned_refs += 1;
        if blob.current_refs == 0 {
            blob.state = blob.state.step(BlobState::Condemned)?;
        }
        record::put(txn, &extent.blob, &blob)?;
    }
    Ok(())
}

fn of_all(key: &BucketCondemnedKey) -> CondemnedKey {
    let BucketCondemnedKey { bucket, until_ms, version } = key;
    CondemnedKey { until_ms: *until_ms, tenant: bucket.tenant.clone(), version: *version }
}

fn enqueue(txn: &mut Txn<'_>, key: &BucketCondemnedKey) -> Result<(), CatalogError> {
    record::put(txn, &of_all(key), &Condemned)?;
    record::put(txn, key, &BucketCondemned)?;
    Ok(())
}

/// The version does not wait any more.
pub(crate) fn dequeue(txn: &mut Txn<'_>, key: &BucketCondemnedKey) -> Result<(), CatalogError> {
    record::delete::<Condemned>(txn, &of_all(key))?;
    record::delete::<BucketCondemned>(txn, key)?;
    Ok(())
}

/// Moves the end of a condemned version's wait.
pub(crate) fn wait_until(
    txn: &mut Txn<'_>,
    key: &BucketCondemnedKey,
    until_ms: u64,
) -> Result<(), CatalogError> {
    let name = VersionKey { tenant: key.bucket.tenant.clone(), version: key.version };
    let mut version: Version = record::must_get(txn, &name)?;
    if let VersionState::Condemned { until_ms: until, .. } = &mut version.state {
        *until = until_ms;
    }
    record::put(txn, &name, &version)?;
    dequeue(txn, key)?;
    enqueue(txn, &BucketCondemnedKey { until_ms, ..key.clone() })
}

/// Ends a condemned version's wait: its record goes, and blobs that nothing else has are to be erased. Its length.
pub(crate) fn purge(txn: &mut Txn<'_>, key: &CondemnedKey) -> Result<u64, CatalogError> {
    let version_key = VersionKey { tenant: key.tenant.clone(), version: key.version };
    let version: Version = record::must_get(txn, &version_key)?;
    let bucket = BucketKey { tenant: key.tenant.clone(), bucket: version.info.bucket.clone() };
    let CondemnedKey { until_ms, version: id, .. } = *key;
    dequeue(txn, &BucketCondemnedKey { bucket, until_ms, version: id })?;
    record::delete::<Version>(txn, &version_key)?;
    record::delete::<ReadLease>(txn, &version_key)?;
    let mut accounts = Accounts::load(txn, &version.principal, &version.info.bucket)?;
    accounts.purge(Amount::object(version.info.length))?;
    accounts.store(txn)?;
    for extent in &version.extents {
        let mut blob: Blob = record::must_get(txn, &extent.blob)?;
        blob.condemned_refs = blob.condemned_refs.saturating_sub(1);
        if blob.current_refs == 0 && blob.condemned_refs == 0 {
            blob.state = blob.state.step(BlobState::Purging)?;
            record::put(txn, &extent.blob, &PurgeQueued)?;
        }
        record::put(txn, &extent.blob, &blob)?;
    }
    Ok(version.info.length)
}

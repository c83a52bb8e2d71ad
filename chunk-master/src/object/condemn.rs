//! Condemn and purge: the two steps by which a version goes away.
//!
//! ```text
//! current ── condemn (replaced, deleted) ──► condemned ── purge (wait is over) ──► gone
//! ```
//!
//! A blob follows its versions: Condemned when no current version has it, Purging when no condemned one
//! has it either.

use cairn_core::lifecycle::BlobState;
use cairn_core::quota::Amount;
use cairn_kv::Txn;

use crate::accounts::Accounts;
use crate::catalog::{
    Blob, Condemned, CondemnedKey, Head, HeadKey, PurgeQueued, Version, VersionKey, VersionState,
    record,
};
use crate::error::CatalogError;

/// Takes the version from its name.
pub(crate) fn condemn(
    txn: &mut Txn<'_>,
    key: &HeadKey,
    head: &Head,
    now_ms: u64,
) -> Result<(), CatalogError> {
    record::delete::<Head>(txn, key)?;
    let version_key = VersionKey { tenant: key.tenant.clone(), version: head.version };
    let mut version: Version = record::must_get(txn, &version_key)?;
    version.state = VersionState::Condemned { since_ms: now_ms };
    record::put(txn, &version_key, &version)?;
    let waiting =
        CondemnedKey { since_ms: now_ms, tenant: version_key.tenant, version: head.version };
    record::put(txn, &waiting, &Condemned)?;
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

/// Ends a condemned version's wait: its record goes, and blobs that nothing else has are to be erased.
pub(crate) fn purge(txn: &mut Txn<'_>, key: &CondemnedKey) -> Result<(), CatalogError> {
    record::delete::<Condemned>(txn, key)?;
    let version_key = VersionKey { tenant: key.tenant.clone(), version: key.version };
    let version: Version = record::must_get(txn, &version_key)?;
    record::delete::<Version>(txn, &version_key)?;
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
    Ok(())
}

//! Undelete: a condemned version comes back under its name.

use cairn_core::lifecycle::BlobState;
use cairn_core::names::TenantId;
use cairn_core::object::{ObjectInfo, VersionId};
use cairn_core::quota::Amount;
use cairn_kv::Txn;

use super::{condemn, head};
use crate::accounts::{Accounts, RestoreError};
use crate::bucket::{self, NoBucket};
use crate::catalog::{
    Blob, BucketCondemnedKey, BucketKey, Version, VersionKey, VersionState, record,
};
use crate::config::{Faults, SeededBug};
use crate::error::{CatalogError, NameTaken, VersionNotCondemned, operation_error};

operation_error! {
    /// Why a version does not come back.
    UndeleteError {
        Catalog(CatalogError),
        Bucket(NoBucket),
        Gone(VersionNotCondemned),
        Taken(NameTaken),
        Accounts(RestoreError),
    }
}

/// Makes a condemned version the current one of its name, which must have none. The version keeps its id, its tag and
/// the time of its commit. A purge that began is final: then there is nothing to bring back.
pub(crate) fn undelete(
    txn: &mut Txn<'_>,
    tenant: &TenantId,
    id: VersionId,
    faults: Faults,
) -> Result<ObjectInfo, UndeleteError> {
    let key = VersionKey { tenant: tenant.clone(), version: id };
    let mut version: Version = record::get(txn, &key)?.ok_or(VersionNotCondemned(id))?;
    let VersionState::Condemned { until_ms, .. } = version.state else {
        return Err(VersionNotCondemned(id).into());
    };
    let info = version.info.clone();
    let name = BucketKey { tenant: tenant.clone(), bucket: info.bucket.clone() };
    let bucket = bucket::live(txn, &name)?;
    if head::current(txn, &name, &info.key)?.is_some() {
        return Err(NameTaken { bucket: info.bucket, key: info.key }.into());
    }
    let mut accounts = Accounts::load(txn, &version.principal, &info.bucket)?;
    accounts.restore(Amount::object(info.length))?;
    accounts.store(txn)?;
    for extent in &version.extents {
        let mut blob: Blob = record::must_get(txn, &extent.blob)?;
        blob.condemned_refs = blob.condemned_refs.saturating_sub(1);
        blob.current_refs += 1;
        if blob.state == BlobState::Condemned {
            blob.state = blob.state.step(BlobState::Live).map_err(CatalogError::from)?;
        }
        record::put(txn, &extent.blob, &blob)?;
    }
    let waiting = BucketCondemnedKey { bucket: name.clone(), until_ms, version: id };
    if !faults.has(SeededBug::UndeleteKeepsWaiting) {
        condemn::dequeue(txn, &waiting)?;
    }
    version.state = VersionState::Current;
    record::put(txn, &key, &version)?;
    head::point(txn, &name, bucket, &info)?;
    Ok(info)
}

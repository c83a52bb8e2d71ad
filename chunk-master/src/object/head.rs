//! The name's current version.

use cairn_core::names::ObjectKey;
use cairn_core::object::{CurrentVersion, ObjectInfo, WriteCondition};
use cairn_kv::{Read, Txn};

use crate::bucket::{self, NoBucket};
use crate::catalog::{Bucket, BucketKey, Head, HeadKey, Version, VersionKey, record};
use crate::error::{CatalogError, ConditionRefused, ObjectNotFound, operation_error};

operation_error! {
    /// Why a name leads nowhere.
    LookupError {
        Catalog(CatalogError),
        Bucket(NoBucket),
        Object(ObjectNotFound),
    }
}

/// The current version of a name, if it has one.
pub(crate) fn current(
    read: &impl Read,
    bucket: &BucketKey,
    key: &ObjectKey,
) -> Result<Option<(HeadKey, Head)>, CatalogError> {
    let range = record::prefixed::<Head>(|parts| {
        parts.text(bucket.tenant.as_str()).text(bucket.bucket.as_str()).text(key.as_str());
    });
    Ok(record::scan(read, &range, 1)?.pop())
}

/// Decides a condition for the current version.
pub(crate) fn check(
    condition: &WriteCondition,
    current: Option<&(HeadKey, Head)>,
) -> Result<(), ConditionRefused> {
    let current = current
        .map(|(_, head)| CurrentVersion { etag: &head.etag, committed_ms: head.committed_ms });
    Ok(condition.check(current)?)
}

/// The current version of a name that must have one.
pub(crate) fn lookup(
    read: &impl Read,
    bucket: &BucketKey,
    key: &ObjectKey,
) -> Result<(HeadKey, Head), LookupError> {
    bucket::live(read, bucket)?;
    current(read, bucket, key)?.ok_or_else(|| absent(bucket, key).into())
}

/// Makes a version the newest of its name, in commit order. `bucket` is as the transaction read it.
pub(crate) fn point(
    txn: &mut Txn<'_>,
    key: &BucketKey,
    mut bucket: Bucket,
    object: &ObjectInfo,
) -> Result<(), CatalogError> {
    let head = HeadKey {
        tenant: key.tenant.clone(),
        bucket: key.bucket.clone(),
        key: object.key.clone(),
        sequence: bucket.next_sequence,
    };
    bucket.next_sequence += 1;
    record::put(txn, key, &bucket)?;
    record::put(txn, &head, &Head::of(object))?;
    Ok(())
}

/// The name has no current version.
pub(crate) fn absent(bucket: &BucketKey, key: &ObjectKey) -> ObjectNotFound {
    ObjectNotFound { bucket: bucket.bucket.clone(), key: key.clone() }
}

/// All that is known of a name's current version.
pub(crate) fn version(
    read: &impl Read,
    bucket: &BucketKey,
    key: &ObjectKey,
) -> Result<Version, LookupError> {
    let (_, head) = lookup(read, bucket, key)?;
    let key = VersionKey { tenant: bucket.tenant.clone(), version: head.version };
    Ok(record::must_get(read, &key)?)
}

//! The name's current version.

use cairn_core::names::ObjectKey;
use cairn_core::object::{CurrentVersion, WriteCondition};
use cairn_kv::Read;

use crate::catalog::{Bucket, BucketKey, Head, HeadKey, Version, VersionKey, record};
use crate::error::{
    BucketNotFound, CatalogError, ConditionRefused, ObjectNotFound, operation_error,
};

operation_error! {
    /// Why a name leads nowhere.
    LookupError {
        Catalog(CatalogError),
        Bucket(BucketNotFound),
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
    if let Some(found) = current(read, bucket, key)? {
        return Ok(found);
    }
    Err(absent(read, bucket, key)?)
}

/// Tells a missing bucket from a missing object.
pub(crate) fn absent(
    read: &impl Read,
    bucket: &BucketKey,
    key: &ObjectKey,
) -> Result<LookupError, CatalogError> {
    let name = bucket.bucket.clone();
    Ok(match record::get::<Bucket>(read, bucket)? {
        None => BucketNotFound(name).into(),
        Some(_) => ObjectNotFound { bucket: name, key: key.clone() }.into(),
    })
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

//! Buckets: what each call does to the catalog, as bounded closures over one transaction.
//!
//! ```text
//! create ─► change ─► … ─► delete: at once while empty, else Deleting ─► sweep/buckets.rs ─► gone
//! ```

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod show;

use cairn_core::bucket::BucketState;
use cairn_core::names::{BucketName, Principal};
use cairn_kv::Read;

use crate::catalog::{Bucket, BucketKey, record};
use crate::error::{BucketNotFound, CatalogError, operation_error};

operation_error! {
    /// Why nothing can be done in a bucket.
    NoBucket {
        Catalog(CatalogError),
        NotFound(BucketNotFound),
    }
}

/// A bucket of a principal's tenant.
pub(crate) fn key_of(principal: &Principal, bucket: &BucketName) -> BucketKey {
    BucketKey { tenant: principal.tenant.clone(), bucket: bucket.clone() }
}

/// The bucket, in which things can be done: whoever begins, commits, reads or lists asks here first.
pub(crate) fn live(read: &impl Read, key: &BucketKey) -> Result<Bucket, NoBucket> {
    match record::get::<Bucket>(read, key)? {
        Some(bucket) if bucket.state == BucketState::Live => Ok(bucket),
        Some(_) => Err(BucketNotFound::Deleting(key.bucket.clone()).into()),
        None => Err(BucketNotFound::Absent(key.bucket.clone()).into()),
    }
}

//! Delete: an empty bucket goes at once; one with contents becomes Deleting, and a job does the rest in bounded steps, each
//! of which may be repeated (`jobs/delete_bucket.rs`).
//!
//! ```text
//! open uploads          aborted
//! files                 condemned, to be purged at once
//! what waited already   is to be purged at once as well
//! nothing is left       account and record go
//! ```
//!
//! The account of the bucket tells what is left: it is exact.

use cairn_core::bucket::BucketState;
use cairn_core::quota::{Account, Amount};
use cairn_kv::{Read, Txn};

use crate::catalog::{Bucket, BucketCondemned, BucketKey, Head, JobKey, Left, Scope, record};
use crate::config::{Faults, SeededBug};
use crate::error::{BucketNotEmpty, BucketNotFound, CatalogError, operation_error};
use crate::jobs::Begin;
use crate::object::condemn::{self, Wait};

operation_error! {
    /// Why a bucket is not deleted.
    DeleteError {
        Catalog(CatalogError),
        NotFound(BucketNotFound),
        NotEmpty(BucketNotEmpty),
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Delete {
    pub(crate) bucket: BucketKey,
    pub(crate) with_contents: bool,
    /// Begins the job.
    pub(crate) job: Begin,
    pub(crate) faults: Faults,
}

/// Deletes or begins to delete; true when the bucket is gone. One that is being deleted goes on being so.
pub(crate) fn delete(txn: &mut Txn<'_>, request: &Delete) -> Result<bool, DeleteError> {
    let key = &request.bucket;
    let bucket: Option<Bucket> = record::get(txn, key)?;
    let bucket = bucket.ok_or_else(|| BucketNotFound::Absent(key.bucket.clone()))?;
    if bucket.state == BucketState::Deleting {
        return Ok(false);
    }
    let Account { used, reserved, condemned, .. } = account(txn, key)?;
    let leaves_uploads = request.faults.has(SeededBug::DeleteUnderUploads);
    if is_empty(txn, key)? || leaves_uploads && [used, condemned] == [Amount::ZERO; 2] {
        remove(txn, key)?;
        return Ok(true);
    }
    if !request.with_contents {
        return Err(BucketNotEmpty {
            bucket: key.bucket.clone(),
            files: used.objects,
            uploads: reserved.objects,
            condemned: condemned.objects,
        }
        .into());
    }
    record::put(txn, key, &Bucket { state: BucketState::Deleting, ..bucket })?;
    request.job.begin(txn, &JobKey::DeleteBucket(key.clone()))?;
    Ok(false)
}

fn scope(key: &BucketKey) -> Scope {
    Scope::Bucket(key.tenant.clone(), key.bucket.clone())
}

fn account(read: &impl Read, key: &BucketKey) -> Result<Account, CatalogError> {
    Ok(record::get(read, &scope(key))?.unwrap_or_default())
}

fn is_empty(read: &impl Read, key: &BucketKey) -> Result<bool, CatalogError> {
    let Account { used, reserved, condemned, .. } = account(read, key)?;
    Ok([used, reserved, condemned] == [Amount::ZERO; 3])
}

fn remove(txn: &mut Txn<'_>, key: &BucketKey) -> Result<(), CatalogError> {
    record::delete::<Account>(txn, &scope(key))?;
    record::delete::<Bucket>(txn, key)?;
    Ok(())
}

/// What is left of a bucket: files, open uploads, and what waits to be purged.
pub(crate) fn left(read: &impl Read, key: &BucketKey) -> Result<Left, CatalogError> {
    let Account { used, reserved, condemned, .. } = account(read, key)?;
    let pots = [used, reserved, condemned];
    Ok(Left {
        count: pots.iter().map(|pot| pot.objects).sum(),
        bytes: pots.iter().map(|pot| pot.bytes).sum(),
    })
}

/// True while uploads are open in the bucket.
pub(crate) fn has_uploads(read: &impl Read, key: &BucketKey) -> Result<bool, CatalogError> {
    Ok(account(read, key)?.reserved.objects > 0)
}

/// Condemns up to `most` files of a bucket that is being deleted; the number.
pub(crate) fn condemn_files(
    txn: &mut Txn<'_>,
    key: &BucketKey,
    now: Wait,
    most: usize,
) -> Result<usize, CatalogError> {
    if !is_deleting(txn, key)? {
        return Ok(0);
    }
    let names = record::prefixed::<Head>(|parts| {
        parts.text(key.tenant.as_str()).text(key.bucket.as_str());
    });
    let heads = record::scan::<Head>(txn, &names, most)?;
    for (name, head) in &heads {
        condemn::condemn(txn, name, head, now)?;
    }
    Ok(heads.len())
}

/// Ends the wait of up to `most` versions of a bucket that is being deleted; the number.
pub(crate) fn hasten(
    txn: &mut Txn<'_>,
    key: &BucketKey,
    now: Wait,
    most: usize,
) -> Result<usize, CatalogError> {
    if !is_deleting(txn, key)? {
        return Ok(0);
    }
    let later = record::prefixed::<BucketCondemned>(|parts| {
        parts.text(key.tenant.as_str()).text(key.bucket.as_str());
    })
    .after(record::raw_key::<BucketCondemned>(|parts| {
        parts.text(key.tenant.as_str()).text(key.bucket.as_str());
        parts.u64(now.until_ms).id(&[u8::MAX; 16]);
    }));
    let waiting = record::scan::<BucketCondemned>(txn, &later, most)?;
    for (version, _) in &waiting {
        condemn::wait_until(txn, version, now.until_ms)?;
    }
    Ok(waiting.len())
}

/// Removes a bucket that is being deleted when nothing is left of its contents; true when it is gone.
pub(crate) fn finish(txn: &mut Txn<'_>, key: &BucketKey) -> Result<bool, CatalogError> {
    if !is_deleting(txn, key)? {
        return Ok(true);
    }
    if !is_empty(txn, key)? {
        return Ok(false);
    }
    remove(txn, key)?;
    Ok(true)
}

fn is_deleting(read: &impl Read, key: &BucketKey) -> Result<bool, CatalogError> {
    let bucket: Option<Bucket> = record::get(read, key)?;
    Ok(bucket.is_some_and(|bucket| bucket.state == BucketState::Deleting))
}

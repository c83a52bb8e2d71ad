//! Deletes a bucket with its contents.
//!
//! ```text
//! abort uploads ─► condemn files, without a wait ─► remove: end other waits ── something is left: later
//!                                                                            └─ the bucket is gone
//! ```
//!
//! What is condemned is purged and erased by the sweep, as everything else. That a bucket is Deleting is final, so nothing is
//! taken back.

use std::time::Duration;

use cairn_core::ids::UploadId;
use cairn_kv::{Durability, Read, Txn};
use cairn_runtime::Clock;
use cairn_workflow::{Bounds, Coordinator};

use super::steps::{JobContext, Pace, Trouble, step};
use crate::bucket::{delete, key_of};
use crate::catalog::{BucketKey, Upload, record};
use crate::config::Faults;
use crate::error::{CatalogError, operation_error};
use crate::object::condemn::Wait;
use crate::upload::abort::give_back;

/// Uploads that are looked at, and given back, in one step.
const UPLOADS_PER_STEP: usize = 128;
/// Versions of one transaction.
const VERSIONS_PER_STEP: usize = 64;
/// A step is many short transactions, each with bounds of its own.
const BOUNDS: Bounds =
    Bounds { run: Duration::MAX, step: Duration::MAX, compensation: Duration::MAX };

operation_error! {
    /// Why a part of the deletion fails.
    DeleteBucketError {
        Catalog(CatalogError),
    }
}

/// The steps by which `bucket` goes.
pub(super) fn workflow(bucket: &BucketKey, clock: Clock) -> Coordinator<JobContext, ()> {
    let mut steps = Coordinator::builder("delete bucket", clock, BOUNDS);
    let key = bucket.clone();
    step(&mut steps, "abort uploads", move |job| abort_uploads(job, key.clone()));
    let key = bucket.clone();
    step(&mut steps, "condemn files", move |job| condemn(job, key.clone()));
    let key = bucket.clone();
    step(&mut steps, "remove", move |job| remove(job, key.clone()));
    steps.build().expect("the steps have names of their own")
}

/// Gives back the uploads that were open when the deletion began. All open uploads are walked, as long as the bucket's
/// account says that some of them are its own; none is added to it any more.
async fn abort_uploads(job: JobContext, bucket: BucketKey) -> Result<Pace, Trouble> {
    let master = &job.master;
    let mut after = None;
    loop {
        let key = bucket.clone();
        let look = master.kv.view(move |view| uploads(view, &key, after)).await?;
        if !look.own.is_empty() {
            let (now_ms, faults) = (master.time.steady_ms(), master.config.faults());
            let closure = move |txn: &mut Txn<'_>| give_up(txn, &look.own, now_ms, faults);
            master.kv.transact(Durability::Buffered, closure).await?;
            master.gave_back();
        }
        match look.next {
            Some(next) => after = Some(next),
            None => return Ok(Pace::Done),
        }
    }
}

/// Condemns all files, without a wait.
async fn condemn(job: JobContext, bucket: BucketKey) -> Result<Pace, Trouble> {
    by_steps(&job, &bucket, delete::condemn_files).await?;
    Ok(Pace::Done)
}

/// Changes versions of the bucket: at most so many, whose wait ends then; gives the number.
type Part = fn(&mut Txn<'_>, &BucketKey, Wait, usize) -> Result<usize, CatalogError>;

/// Does a part of the work until nothing is left of it.
async fn by_steps(job: &JobContext, bucket: &BucketKey, part: Part) -> Result<(), Trouble> {
    let wait = job.master.moment().no_wait();
    loop {
        let (key, progress) = (bucket.clone(), job.progress());
        let closure = move |txn: &mut Txn<'_>| -> Result<usize, DeleteBucketError> {
            let done = part(txn, &key, wait, VERSIONS_PER_STEP)?;
            progress.has_left(txn, delete::left(txn, &key)?)?;
            Ok(done)
        };
        let done = job.master.kv.transact(Durability::Buffered, closure).await?;
        if done > 0 {
            job.master.gave_back();
        }
        if done < VERSIONS_PER_STEP {
            return Ok(());
        }
    }
}

/// Ends the wait of what was condemned before, also by a master whose clock was ahead, and removes the bucket once nothing is
/// left.
async fn remove(job: JobContext, bucket: BucketKey) -> Result<Pace, Trouble> {
    by_steps(&job, &bucket, delete::hasten).await?;
    let key = bucket.clone();
    let closure = move |txn: &mut Txn<'_>| -> Result<bool, DeleteBucketError> {
        Ok(delete::finish(txn, &key)?)
    };
    if !job.master.kv.transact(Durability::Synced, closure).await? {
        return Ok(Pace::Later);
    }
    job.master.metrics.bucket_removed();
    tracing::info!(target: "cairn", bucket = %bucket.bucket, "bucket is gone");
    Ok(Pace::Done)
}

/// A part of all open uploads.
struct Look {
    /// Those of the bucket.
    own: Vec<UploadId>,
    /// Where the next part begins.
    next: Option<UploadId>,
}

fn uploads(
    read: &impl Read,
    bucket: &BucketKey,
    after: Option<UploadId>,
) -> Result<Look, DeleteBucketError> {
    if !delete::has_uploads(read, bucket)? {
        return Ok(Look { own: Vec::new(), next: None });
    }
    let mut range = record::all::<Upload>();
    if let Some(after) = after {
        range = range.after(record::key_of::<Upload>(&after));
    }
    let found = record::scan::<Upload>(read, &range, UPLOADS_PER_STEP)?;
    let next = found.last().filter(|_| found.len() == UPLOADS_PER_STEP).map(|(id, _)| *id);
    let is_own = |upload: &Upload| key_of(&upload.principal, &upload.bucket) == *bucket;
    let own = found.iter().filter(|(_, upload)| is_own(upload)).map(|(id, _)| *id).collect();
    Ok(Look { own, next })
}

/// Gives back those that are open still. Their alarms ring later and find how they ended.
fn give_up(
    txn: &mut Txn<'_>,
    uploads: &[UploadId],
    now_ms: u64,
    faults: Faults,
) -> Result<(), DeleteBucketError> {
    for id in uploads {
        if let Some(upload) = record::get::<Upload>(txn, id)? {
            give_back(txn, *id, upload, now_ms, faults)?;
        }
    }
    Ok(())
}

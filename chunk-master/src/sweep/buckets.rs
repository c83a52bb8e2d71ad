//! Buckets that are being deleted: what is in them is given up, step by step, then they go. What the steps condemn is
//! purged and erased as everything else.

use cairn_core::ids::UploadId;
use cairn_kv::{Durability, Read, Txn};

use super::{Effort, PassError, SweepError, SweepReport};
use crate::bucket::delete;
use crate::bucket::key_of;
use crate::catalog::{BucketDeletion, BucketKey, Upload, record};
use crate::config::Faults;
use crate::master::Master;
use crate::upload::abort::give_back;

/// Buckets of one look.
const BUCKETS_PER_LOOK: usize = 32;
/// Looks of a bounded pass.
const LOOKS: usize = 8;
/// Uploads that are looked at, and given back, in one step.
const UPLOADS_PER_STEP: usize = 128;
/// Versions of one transaction.
const VERSIONS_PER_STEP: usize = 64;
/// Steps over the files of one bucket in a bounded pass.
const STEPS_PER_BUCKET: usize = 64;

pub(super) async fn run(
    master: &Master,
    effort: Effort,
    report: &mut SweepReport,
) -> Result<(), PassError> {
    let mut after = None;
    let mut looks = 0;
    while !effort.is_enough(looks, LOOKS) {
        let buckets = master.kv.view(move |view| doomed(view, after.as_ref())).await?;
        let Some(last) = buckets.last() else { break };
        after = Some(last.clone());
        for bucket in buckets {
            report.buckets_removed += u64::from(empty(master, effort, &bucket, report).await?);
        }
        looks += 1;
    }
    Ok(())
}

fn doomed(read: &impl Read, after: Option<&BucketKey>) -> Result<Vec<BucketKey>, SweepError> {
    let mut range = record::all::<BucketDeletion>();
    if let Some(after) = after {
        range = range.after(record::key_of::<BucketDeletion>(after));
    }
    let found = record::scan::<BucketDeletion>(read, &range, BUCKETS_PER_LOOK)?;
    Ok(found.into_iter().map(|(key, _)| key).collect())
}

/// Does what can be done for one bucket now; true when it is gone.
async fn empty(
    master: &Master,
    effort: Effort,
    bucket: &BucketKey,
    report: &mut SweepReport,
) -> Result<bool, PassError> {
    abort_uploads(master, bucket).await?;
    let wait = master.moment().no_wait();
    for part in [delete::condemn_files, delete::hasten] {
        let mut steps = 0;
        while !effort.is_enough(steps, STEPS_PER_BUCKET) {
            let key = bucket.clone();
            let closure = move |txn: &mut Txn<'_>| -> Result<usize, SweepError> {
                Ok(part(txn, &key, wait, VERSIONS_PER_STEP)?)
            };
            let done = master.kv.transact(Durability::Buffered, closure).await?;
            if done > 0 {
                master.gave_back();
            }
            if done < VERSIONS_PER_STEP {
                break;
            }
            steps += 1;
        }
        report.behind |= effort.is_enough(steps, STEPS_PER_BUCKET);
    }
    let key = bucket.clone();
    let closure =
        move |txn: &mut Txn<'_>| -> Result<bool, SweepError> { Ok(delete::finish(txn, &key)?) };
    let gone = master.kv.transact(Durability::Synced, closure).await?;
    if gone {
        tracing::info!(target: "cairn", bucket = %bucket.bucket, "bucket is gone");
    }
    Ok(gone)
}

/// Gives back the uploads that were open when the deletion began. All open uploads are walked, as long as the bucket's
/// account says that some of them are its own; none is added to it any more.
async fn abort_uploads(master: &Master, bucket: &BucketKey) -> Result<(), PassError> {
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
            None => return Ok(()),
        }
    }
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
) -> Result<Look, SweepError> {
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
) -> Result<(), SweepError> {
    for id in uploads {
        if let Some(upload) = record::get::<Upload>(txn, id)? {
            give_back(txn, *id, upload, now_ms, faults)?;
        }
    }
    Ok(())
}

//! Delete: the current version is condemned.

use cairn_core::names::{ObjectKey, Principal};
use cairn_core::object::{VersionId, WriteCondition};
use cairn_kv::Txn;

use super::condemn::{Moment, condemn};
use super::head;
use crate::bucket::{self, NoBucket};
use crate::catalog::{Alarm, AlarmKey, BucketKey, Deletion, DeletionKey, Subject, record};
use crate::error::{
    CatalogError, ConditionRefused, IdempotencyKeyTaken, ObjectNotFound, operation_error,
};

operation_error! {
    /// Why nothing is deleted.
    DeleteError {
        Catalog(CatalogError),
        Bucket(NoBucket),
        Object(ObjectNotFound),
        Condition(ConditionRefused),
        KeyTaken(IdempotencyKeyTaken),
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Delete {
    pub(crate) principal: Principal,
    /// Names the call, so that a repeat deletes nothing more.
    pub(crate) call: Option<DeletionKey>,
    pub(crate) bucket: BucketKey,
    pub(crate) key: ObjectKey,
    pub(crate) condition: WriteCondition,
    /// When it is deleted.
    pub(crate) moment: Moment,
    /// Until when the answer is kept for repeats.
    pub(crate) keep_until_ms: u64,
}

/// Deletes, or gives the answer of the call that this one repeats.
pub(crate) fn delete(txn: &mut Txn<'_>, request: &Delete) -> Result<VersionId, DeleteError> {
    if let Some(call) = &request.call
        && let Some(earlier) = record::get::<Deletion>(txn, call)?
    {
        return if earlier.principal == request.principal {
            Ok(earlier.version)
        } else {
            Err(IdempotencyKeyTaken.into())
        };
    }
    let bucket = bucket::live(txn, &request.bucket)?;
    let current = head::current(txn, &request.bucket, &request.key)?;
    let current = current.ok_or_else(|| head::absent(&request.bucket, &request.key))?;
    head::check(&request.condition, Some(&current))?;
    let (key, head) = current;
    condemn(txn, &key, &head, request.moment.wait(&bucket.policy))?;
    if let Some(call) = request.call {
        remember(txn, request, call, head.version)?;
    }
    Ok(head.version)
}

fn remember(
    txn: &mut Txn<'_>,
    request: &Delete,
    call: DeletionKey,
    version: VersionId,
) -> Result<(), CatalogError> {
    let deletion = Deletion { principal: request.principal.clone(), version };
    record::put(txn, &call, &deletion)?;
    let alarm = AlarmKey { due_ms: request.keep_until_ms, subject: Subject::Deletion(call) };
    Ok(record::put(txn, &alarm, &Alarm)?)
}

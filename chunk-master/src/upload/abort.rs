//! Abort: what an upload holds is given back, once.

use cairn_core::ids::UploadId;
use cairn_core::lifecycle::BlobState;
use cairn_core::names::Principal;
use cairn_core::quota::Amount;
use cairn_kv::Txn;

use super::{Found, find, take_nodes};
use crate::accounts::Accounts;
use crate::catalog::{Blob, Finished, Outcome, Pending, PendingKey, PurgeQueued, Upload, record};
use crate::config::{Faults, SeededBug};
use crate::error::{CatalogError, UploadCommitted, UploadNotFound, operation_error};

operation_error! {
    /// Why an upload is not aborted.
    AbortError {
        Catalog(CatalogError),
        NotFound(UploadNotFound),
        Committed(UploadCommitted),
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Abort {
    pub(crate) upload: UploadId,
    pub(crate) principal: Principal,
    pub(crate) now_ms: u64,
    pub(crate) faults: Faults,
}

/// Aborts; false when it was aborted before.
pub(crate) fn abort(txn: &mut Txn<'_>, request: &Abort) -> Result<bool, AbortError> {
    let id = request.upload;
    match find(txn, id, &request.principal)? {
        None => Err(UploadNotFound(id).into()),
        Some(Found::Open(upload)) => {
            give_back(txn, id, *upload, request.now_ms, request.faults)?;
            Ok(true)
        }
        Some(Found::Finished(finished)) => match finished.outcome {
            Outcome::Aborted => Ok(false),
            Outcome::Committed(_) => Err(UploadCommitted(id).into()),
        },
    }
}

/// Ends an open upload: the reservation is released, the blob is to be erased. The upload's record goes
/// in the same transaction, so this cannot happen twice.
pub(crate) fn give_back(
    txn: &mut Txn<'_>,
    id: UploadId,
    upload: Upload,
    now_ms: u64,
    faults: Faults,
) -> Result<(), CatalogError> {
    let mut accounts = Accounts::load(txn, &upload.principal, &upload.bucket)?;
    release(&mut accounts, Amount::object(upload.reserved), faults)?;
    accounts.store(txn)?;
    let mut blob: Blob = record::must_get(txn, &upload.blob)?;
    blob.state = blob.state.step(BlobState::Purging)?;
    record::put(txn, &upload.blob, &blob)?;
    record::put(txn, &upload.blob, &PurgeQueued)?;
    take_nodes(txn, id, &blob)?;
    record::delete::<Pending>(txn, &PendingKey::of(id, &upload))?;
    record::delete::<Upload>(txn, &id)?;
    let finished =
        Finished { principal: upload.principal, finished_ms: now_ms, outcome: Outcome::Aborted };
    record::put(txn, &id, &finished)?;
    Ok(())
}

fn release(accounts: &mut Accounts, amount: Amount, faults: Faults) -> Result<(), CatalogError> {
    if faults.has(SeededBug::SkipRelease) {
        return accounts.release_without_bucket(amount);
    }
    accounts.release(amount)
}

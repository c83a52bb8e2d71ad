//! The audit: whether the catalog's records agree with each other.
//!
//! ```text
//! judge       names, blobs: each record beside those that it names, bounded
//! references  who has each blob, what rings for each upload
//! usage       accounts = sum over versions and uploads
//! ```
//!
//! It trusts no counter. [`audit`] does all of it in one view: for checks of a store that serves nobody, and for
//! simulations; it is not bounded. `fsck` does the same in bounded steps beside the traffic.

mod blobs;
mod difference;
mod judge;
mod limits;
mod names;
pub(crate) mod references;
pub(crate) mod usage;

use cairn_kv::{Kv, Read, Snapshot};

pub(crate) use difference::{Difference, Kind, Mend};
pub(crate) use judge::Family;

use self::references::{BlobOwners, Rings};
use crate::MasterError;
use crate::catalog::record;
use crate::catalog::{
    Alarm, Blob, Condemned, Deletion, Finished, PurgeQueued, Subject, Upload, Version,
};
use crate::error::{CatalogError, operation_error};

operation_error! {
    /// Why there is no audit.
    AuditError {
        Catalog(CatalogError),
    }
}

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Records that contradict each other, a sentence each.
    pub contradictions: Vec<String>,
    /// Accounts that hold more than their limit: a contradiction, unless the limit was lowered.
    pub over_limit: Vec<String>,
    /// Open uploads.
    pub open_uploads: usize,
    /// Versions that wait to be purged.
    pub condemned: usize,
    /// Blobs that wait to be erased.
    pub purging: usize,
}

/// Records judged in one step.
const STEP: usize = 1000;

/// Judges every record. A disk that was replaced is no contradiction: it happens.
fn judged(view: &impl Read, audit: &mut Audit) -> Result<(), CatalogError> {
    for family in Family::ALL {
        let mut after = None;
        loop {
            let look = family.look(view, after.as_ref(), STEP)?;
            let found = look.differences.into_iter().map(|(_, difference)| difference);
            let found = found.filter(|difference| difference.kind != Kind::ReplacedDisk);
            audit.contradictions.extend(found.map(|difference| difference.what));
            after = look.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Counts who has each blob, and what rings for each upload and kept answer: exactly one alarm.
fn counted(view: &impl Read, audit: &mut Audit) -> Result<(), CatalogError> {
    let (mut owners, mut rings) = (BlobOwners::default(), Rings::default());
    record::each::<Blob>(view, |id, blob| owners.watch(id, blob))?;
    record::each::<Version>(view, |_, version| owners.version(&version))?;
    record::each::<Upload>(view, |id, upload| {
        owners.upload(&upload);
        rings.watch(Subject::Upload(id));
        audit.open_uploads += 1;
    })?;
    record::each::<Finished>(view, |id, _| rings.watch(Subject::Upload(id)))?;
    record::each::<Deletion>(view, |call, _| rings.watch(Subject::Deletion(call)))?;
    record::each::<Alarm>(view, |key, alarm| rings.alarm(&key, &alarm))?;
    record::each::<Condemned>(view, |_, _| audit.condemned += 1)?;
    record::each::<PurgeQueued>(view, |_, _| audit.purging += 1)?;
    for (id, (blob, owners)) in &owners.0 {
        let refs = (u64::from(blob.current_refs), u64::from(blob.condemned_refs));
        if !references::add_up(blob, owners) || refs != (owners.current, owners.condemned) {
            audit.contradictions.push(references::told(*id, blob, owners));
        }
    }
    for (subject, alarms) in rings.0.iter().filter(|(_, alarms)| **alarms != 1) {
        audit.contradictions.push(format!("{subject:?} has {alarms} alarms"));
    }
    Ok(())
}

/// Audits the catalog in `kv`, all of it in one view.
///
/// # Errors
/// [`MasterError`] when the store cannot be read, or holds a record that is damaged.
pub async fn audit(kv: &Kv) -> Result<Audit, MasterError> {
    let closure = |view: &Snapshot<'_>| -> Result<Audit, AuditError> {
        let mut audit = Audit::default();
        judged(view, &mut audit)?;
        counted(view, &mut audit)?;
        let books = usage::audit(view)?.differences;
        audit.contradictions.extend(books.iter().map(ToString::to_string));
        audit.over_limit = limits::over_limit(view)?;
        Ok(audit)
    };
    kv.view(closure).await.map_err(MasterError::new("audit the catalog"))
}

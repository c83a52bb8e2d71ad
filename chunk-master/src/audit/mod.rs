//! The audit: whether the catalog's records agree with each other.
//!
//! ```text
//! one view ─► records of every table ─┬─► usage   accounts = sum over versions and uploads
//!                                     ├─► names   heads, versions, condemned, uploads, alarms
//!                                     └─► blobs   states and references, manifest pages, their index
//! ```
//!
//! It reads the whole catalog and trusts no counter. It is for checks of a store that serves nobody, and for
//! simulations: it is not bounded.

mod blobs;
mod limits;
mod names;
pub(crate) mod usage;

use std::collections::BTreeMap;

use cairn_core::ids::BlobId;
use cairn_core::quota::Account;
use cairn_kv::{Kv, Snapshot};

use crate::MasterError;
use crate::catalog::record::{self, Record};
use crate::catalog::{
    Alarm, AlarmKey, Blob, Condemned, CondemnedKey, Deletion, DeletionKey, Finding, FindingKey,
    Finished, Head, HeadKey, NodePage, NodePageKey, Page, PageKey, PurgeQueued, Scope, Upload,
    Version, VersionKey,
};
use crate::error::{CatalogError, operation_error};
use cairn_core::ids::UploadId;

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

/// All records, as one view sees them.
struct Records {
    accounts: Vec<(Scope, Account)>,
    heads: Vec<(HeadKey, Head)>,
    versions: Vec<(VersionKey, Version)>,
    condemned: Vec<(CondemnedKey, Condemned)>,
    uploads: Vec<(UploadId, Upload)>,
    finished: Vec<(UploadId, Finished)>,
    deletions: Vec<(DeletionKey, Deletion)>,
    alarms: Vec<(AlarmKey, Alarm)>,
    blobs: BTreeMap<BlobId, Blob>,
    purging: Vec<(BlobId, PurgeQueued)>,
    pages: BTreeMap<PageKey, Page>,
    node_pages: Vec<(NodePageKey, NodePage)>,
    findings: Vec<(FindingKey, Finding)>,
}

fn every<R: Record>(view: &Snapshot<'_>) -> Result<Vec<(R::Key, R)>, CatalogError> {
    record::scan(view as &Snapshot<'_>, &record::all::<R>(), usize::MAX)
}

impl Records {
    fn read(view: &Snapshot<'_>) -> Result<Self, CatalogError> {
        Ok(Self {
            accounts: every(view)?,
            heads: every(view)?,
            versions: every(view)?,
            condemned: every(view)?,
            uploads: every(view)?,
            finished: every(view)?,
            deletions: every(view)?,
            alarms: every(view)?,
            blobs: every(view)?.into_iter().collect(),
            purging: every(view)?,
            pages: every(view)?.into_iter().collect(),
            node_pages: every(view)?,
            findings: every(view)?,
        })
    }

    fn judge(&self) -> Audit {
        let mut contradictions = Vec::new();
        names::check(self, &mut contradictions);
        blobs::check(self, &mut contradictions);
        Audit {
            contradictions,
            over_limit: limits::over_limit(self),
            open_uploads: self.uploads.len(),
            condemned: self.condemned.len(),
            purging: self.purging.len(),
        }
    }
}

/// Audits the catalog in `kv`, all of it in one view.
///
/// # Errors
/// [`MasterError`] when the store cannot be read, or holds a record that is damaged.
pub async fn audit(kv: &Kv) -> Result<Audit, MasterError> {
    let closure = |view: &Snapshot<'_>| -> Result<Audit, AuditError> {
        let mut found = Records::read(view)?.judge();
        let books = usage::audit(view)?.differences;
        found.contradictions.extend(books.iter().map(ToString::to_string));
        Ok(found)
    };
    kv.view(closure).await.map_err(MasterError::new("audit the catalog"))
}

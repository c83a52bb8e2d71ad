//! Who has what, of what no index tells: the versions and uploads that have each of some blobs, and the alarms that ring
//! for each of some uploads and kept answers. Counted from the side that names; never from counters.

use std::collections::BTreeMap;

use cairn_core::ids::BlobId;
use cairn_core::lifecycle::BlobState;

use crate::catalog::{Alarm, AlarmKey, Blob, Subject, Upload, Version, VersionState};

/// Who has a blob.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Owners {
    pub(crate) current: u64,
    pub(crate) condemned: u64,
    pub(crate) uploads: u64,
}

/// Some blobs, with who has them.
#[derive(Debug, Default)]
pub(crate) struct BlobOwners(pub(crate) BTreeMap<BlobId, (Blob, Owners)>);

impl BlobOwners {
    pub(crate) fn watch(&mut self, id: BlobId, blob: Blob) {
        self.0.insert(id, (blob, Owners::default()));
    }

    pub(crate) fn version(&mut self, version: &Version) {
        for extent in &version.extents {
            if let Some((_, owners)) = self.0.get_mut(&extent.blob) {
                match version.state {
                    VersionState::Current => owners.current += 1,
                    VersionState::Condemned { .. } => owners.condemned += 1,
                }
            }
        }
    }

    pub(crate) fn upload(&mut self, upload: &Upload) {
        if let Some((_, owners)) = self.0.get_mut(&upload.blob) {
            owners.uploads += 1;
        }
    }
}

/// Whether so many versions, in whatever state, and uploads have the blob as it says.
pub(crate) fn add_up(blob: &Blob, owners: &Owners) -> bool {
    let versions = u64::from(blob.current_refs) + u64::from(blob.condemned_refs);
    let uploads = u64::from(blob.state == BlobState::Open);
    (owners.current + owners.condemned, owners.uploads) == (versions, uploads)
}

pub(crate) fn told(id: BlobId, blob: &Blob, owners: &Owners) -> String {
    let Owners { current, condemned, uploads } = owners;
    format!(
        "blob {id} of {} bytes is {:?} with {} current and {} condemned references: it has {uploads} uploads, {current} \
         current and {condemned} condemned versions",
        blob.length, blob.state, blob.current_refs, blob.condemned_refs
    )
}

/// Some uploads and kept answers, with how many alarms ring for each.
#[derive(Debug, Default)]
pub(crate) struct Rings(pub(crate) BTreeMap<Subject, u64>);

impl Rings {
    pub(crate) fn watch(&mut self, subject: Subject) {
        self.0.insert(subject, 0);
    }

    pub(crate) fn alarm(&mut self, key: &AlarmKey, _: &Alarm) {
        if let Some(count) = self.0.get_mut(&key.subject) {
            *count += 1;
        }
    }
}

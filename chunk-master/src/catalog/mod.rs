//! The catalog: every fact that the master keeps, one short file per record.
//!
//! ```text
//! tenant   tenant                         → exists
//! bucket   tenant bucket                  → policy, state, next sequence number
//! head     tenant bucket key !sequence    → version, and what lists show of it
//! version  tenant version                 → object info, extents, current or condemned
//! blob     blob                           → state, references, sizes, nodes ever handed out
//! page     blob page                      → up to 128 chunk entries with their copies
//! upload   upload                         → an open upload: reservation, progress, lease
//! pending  tenant bucket key upload       → which uploads of a name are open
//! finished upload                         → how an upload ended, kept for a while
//! account  tenant kind name               → limits, used, reserved, condemned
//! node     node                           → disks, address, zone
//! identity –                              → the catalog's id
//! held     –                              → why the sweep waits, after a restore
//! importing –                             → the store is not whole
//! duty     –                              → which of several masters sweeps, and its time
//! job      kind subject                   → what is done in the background: its state, its progress
//! job run  job serial                     → how far its steps are (cairn-workflow)
//!
//! alarm      time subject                 look again at an upload or a kept answer
//! condemned  time tenant version          versions that wait to be purged; also by bucket
//! purge      blob                         blobs that are being erased
//! node page  node blob page               pages that name a node
//! node upload node upload                 open uploads that were given a node
//! finding    blob chunk node              copies that a reader found missing or wrong
//! read lease  tenant version              condemned versions that somebody reads
//! deletion   idempotency key              what a DeleteObject answered, kept for a while
//! ```

mod account;
mod alarm;
mod blob;
mod bucket;
mod condemned;
mod counted;
mod deletion;
mod duty;
pub(crate) mod finding;
mod finished;
mod head;
mod held;
mod identity;
mod importing;
mod job;
mod key;
mod node;
mod node_page;
mod node_upload;
mod page;
mod pending;
mod purge;
mod read_lease;
pub(crate) mod record;
mod tenant;
mod upload;
mod version;

pub(crate) use account::Scope;
pub(crate) use alarm::{Alarm, AlarmKey, Subject};
pub(crate) use blob::Blob;
pub(crate) use bucket::{Bucket, BucketKey};
pub(crate) use condemned::{BucketCondemned, BucketCondemnedKey, Condemned, CondemnedKey};
pub(crate) use counted::Counted;
pub(crate) use deletion::{Deletion, DeletionKey};
pub(crate) use duty::Duty;
pub(crate) use finding::{Finding, FindingKey};
pub(crate) use finished::{Committed, Finished, Outcome};
pub(crate) use head::{Head, HeadKey};
pub use held::Held;
pub(crate) use identity::Identity;
pub(crate) use importing::Importing;
pub(crate) use job::{Job, JobKey, JobState, Left, NoJobName};
pub(crate) use node::NodeRecord;
pub(crate) use node_page::{NodePage, NodePageKey};
pub(crate) use node_upload::{NodeUpload, NodeUploadKey};
pub(crate) use page::{Attempt, ChunkEntry, Copy, PAGE_CHUNKS, Page, PageKey};
pub(crate) use pending::{Pending, PendingKey};
pub(crate) use purge::PurgeQueued;
pub(crate) use read_lease::ReadLease;
pub(crate) use tenant::Tenant;
pub(crate) use upload::{Progress, Upload};
pub(crate) use version::{Extent, Version, VersionKey, VersionState};

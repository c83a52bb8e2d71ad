//! Who has each blob, and what rings for each upload and kept answer.
//!
//! Nothing in the catalog tells from a blob which versions have it. So for some blobs at a time all versions and uploads
//! are walked, and those are counted that name one. The walk takes many views. A blob whose references are after the walk
//! what they were before had the same versions all along, each of which the walk has met; one that has changed is walked
//! again. An alarm only ever moves to a later time, so a walk from early to late meets it.

use std::collections::BTreeMap;

use cairn_core::ids::BlobId;
use cairn_core::lifecycle::BlobState;
use cairn_kv::{Durability, Read, Snapshot, Txn};

use super::accounts::TOO_LARGE;
use super::{FsckError, Outcome, Step, StepError, Told, Unchecked, Walk, told};
use crate::audit::Kind;
use crate::audit::references::{BlobOwners, Owners, Rings, add_up, told as tell};
use crate::audit::usage::MAX_RECOUNTED;
use crate::catalog::record::{self, Record};
use crate::catalog::{Alarm, AlarmKey, Blob, Deletion, Finished, Subject, Upload, Version};
use crate::error::CatalogError;

/// Blobs, or uploads and answers, of one window: some 20 MiB.
const WINDOW: usize = 65_536;
/// Records of one view.
const RECORDS_PER_VIEW: usize = 500;
/// Walks for one window: a blob changes its references no more often than this from its begin to its end.
const LOOKS: usize = 4;
/// Differences of one message.
const PER_STEP: usize = 256;

pub(super) async fn walk(walk: &mut Walk<'_>) -> Result<(), FsckError> {
    blobs(walk).await?;
    alarms(walk).await
}

/// A part of a table, in one view.
fn part<R: Record>(
    read: &impl Read,
    after: Option<&R::Key>,
) -> Result<Vec<(R::Key, R)>, StepError> {
    let mut range = record::all::<R>();
    if let Some(after) = after {
        range = range.after(record::key_of::<R>(after));
    }
    Ok(record::scan::<R>(read, &range, RECORDS_PER_VIEW)?)
}

/// Shows up to `most` records of a table after `after`; where it stopped, unless that is the end.
async fn each<R>(
    walk: &mut Walk<'_>,
    mut after: Option<R::Key>,
    most: usize,
    mut show: impl FnMut(R::Key, R),
) -> Result<Option<R::Key>, FsckError>
where
    R: Record + Send + 'static,
    R::Key: Clone + Send + 'static,
{
    let mut shown = 0;
    while shown < most {
        let from = after.clone();
        let records = walk.master.kv.view(move |view| part::<R>(view, from.as_ref())).await?;
        let ends = records.len() < RECORDS_PER_VIEW;
        shown += records.len();
        after = records.last().map(|(key, _)| key.clone());
        for (key, record) in records {
            show(key, record);
        }
        walk.tell(Step { at: format!("references: {:?}", R::TABLE), ..Step::default() }).await?;
        if ends {
            return Ok(None);
        }
    }
    Ok(after)
}

async fn blobs(walk: &mut Walk<'_>) -> Result<(), FsckError> {
    let mut after = None;
    loop {
        let mut watched = BlobOwners::default();
        after = each::<Blob>(walk, after, WINDOW, |id, blob| watched.watch(id, blob)).await?;
        for _ in 0..LOOKS {
            if watched.0.is_empty() {
                break;
            }
            each::<Version>(walk, None, usize::MAX, |_, version| watched.version(&version)).await?;
            each::<Upload>(walk, None, usize::MAX, |_, upload| watched.upload(&upload)).await?;
            watched = decide(walk, watched).await?;
        }
        if !watched.0.is_empty() {
            let what = format!("the versions of {} blobs", watched.0.len());
            let why = "they changed during every look".to_owned();
            let unchecked = vec![Unchecked { what, why, node: None }];
            walk.tell(Step { unchecked, ..Step::default() }).await?;
        }
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Tells of blobs that are wrong; those that have changed meanwhile, to be looked at again.
async fn decide(walk: &mut Walk<'_>, watched: BlobOwners) -> Result<BlobOwners, FsckError> {
    let suspects: BTreeMap<_, _> =
        watched.0.into_iter().filter(|(_, (blob, owners))| !add_up(blob, owners)).collect();
    let suspects: Vec<_> = suspects.into_iter().collect();
    let mut again = BlobOwners::default();
    for part in suspects.chunks(PER_STEP) {
        let ids: Vec<BlobId> = part.iter().map(|(id, _)| *id).collect();
        let now = walk.master.kv.view(move |view| read_all(view, &ids)).await?;
        let mut differences = Vec::new();
        for ((id, (before, owners)), now) in part.iter().zip(now) {
            match now {
                None => {}
                Some(now) if held(&now) != held(before) => again.watch(*id, now),
                Some(now) => differences.push(settle(walk, *id, &now, owners).await?),
            }
        }
        walk.tell(Step { at: "references".to_owned(), differences, ..Step::default() }).await?;
    }
    Ok(again)
}

fn read_all(read: &impl Read, ids: &[BlobId]) -> Result<Vec<Option<Blob>>, StepError> {
    let blobs = ids.iter().map(|id| record::get::<Blob>(read, id));
    Ok(blobs.collect::<Result<_, CatalogError>>()?)
}

/// What stays while no version and no upload takes or leaves the blob.
fn held(blob: &Blob) -> (u64, bool) {
    let versions = u64::from(blob.current_refs) + u64::from(blob.condemned_refs);
    (versions, blob.state == BlobState::Open)
}

async fn settle(
    walk: &Walk<'_>,
    id: BlobId,
    blob: &Blob,
    owners: &Owners,
) -> Result<Told, FsckError> {
    let what = tell(id, blob, owners);
    let countable = matches!(blob.state, BlobState::Live | BlobState::Condemned)
        && owners.uploads == 0
        && owners.current + owners.condemned > 0;
    let (outcome, action) = if !countable {
        (Outcome::Left, "left: nothing tells whether a version or the blob is lost; the bytes stay")
    } else if walk.repair {
        recount(walk, id).await?
    } else {
        (Outcome::Would, "count its versions anew")
    };
    Ok(Told { outcome, action, ..told(Kind::Contradiction, what) })
}

/// Counts the versions of a blob anew, in one transaction, unless its tenant has too many for one.
async fn recount(walk: &Walk<'_>, id: BlobId) -> Result<(Outcome, &'static str), FsckError> {
    let closure = move |txn: &mut Txn<'_>| -> Result<bool, StepError> {
        let Some(mut blob) = record::get::<Blob>(txn, &id)? else { return Ok(true) };
        let versions = record::prefixed::<Version>(|parts| {
            parts.text(blob.tenant.as_str());
        });
        let versions = record::scan::<Version>(txn, &versions, MAX_RECOUNTED + 1)?;
        if versions.len() > MAX_RECOUNTED {
            return Ok(false);
        }
        let mut owners = BlobOwners::default();
        owners.watch(id, blob.clone());
        versions.iter().for_each(|(_, version)| owners.version(version));
        let Some((_, owners)) = owners.0.remove(&id) else { return Ok(false) };
        let fits = matches!(blob.state, BlobState::Live | BlobState::Condemned);
        if !fits || owners.current + owners.condemned == 0 {
            return Ok(false);
        }
        blob.current_refs = u32::try_from(owners.current).unwrap_or(u32::MAX);
        blob.condemned_refs = u32::try_from(owners.condemned).unwrap_or(u32::MAX);
        blob.state = if owners.current > 0 { BlobState::Live } else { BlobState::Condemned };
        record::put(txn, &id, &blob)?;
        Ok(true)
    };
    let done = walk.master.kv.transact(Durability::Synced, closure).await?;
    Ok(if done {
        (Outcome::Mended, "counted its versions anew")
    } else {
        (Outcome::Refused, TOO_LARGE)
    })
}

/// Uploads, their ends and kept deletions ring, or they would stay for ever.
async fn alarms(walk: &mut Walk<'_>) -> Result<(), FsckError> {
    ringing::<Upload>(walk, Subject::Upload).await?;
    ringing::<Finished>(walk, Subject::Upload).await?;
    ringing::<Deletion>(walk, Subject::Deletion).await
}

async fn ringing<R>(walk: &mut Walk<'_>, subject: fn(R::Key) -> Subject) -> Result<(), FsckError>
where
    R: Record + Send + 'static,
    R::Key: Clone + Send + 'static,
{
    let mut after = None;
    loop {
        let mut rings = Rings::default();
        after = each::<R>(walk, after, WINDOW, |key, _| rings.watch(subject(key))).await?;
        silent(walk, rings).await?;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Tells of those for which nothing rings.
async fn silent(walk: &mut Walk<'_>, mut rings: Rings) -> Result<(), FsckError> {
    if rings.0.is_empty() {
        return Ok(());
    }
    each::<Alarm>(walk, None, usize::MAX, |key, alarm| rings.alarm(&key, &alarm)).await?;
    let silent: Vec<_> = rings
        .0
        .into_iter()
        .filter(|(_, alarms)| *alarms == 0)
        .map(|(subject, _)| subject)
        .collect();
    for part in silent.chunks(PER_STEP) {
        let subjects = part.to_vec();
        let there = walk.master.kv.view(move |view| still_there(view, &subjects)).await?;
        if walk.repair {
            let (subjects, due_ms) = (there.clone(), walk.master.lease_until_ms());
            let closure = move |txn: &mut Txn<'_>| ring(txn, &subjects, due_ms);
            walk.master.kv.transact(Durability::Synced, closure).await?;
        }
        let (outcome, action) = if walk.repair {
            (Outcome::Mended, "set an alarm")
        } else {
            (Outcome::Would, "set an alarm")
        };
        let what = |subject| format!("{subject:?} has no alarm: it would stay for ever");
        let tell = |subject| Told { outcome, action, ..told(Kind::Index, what(subject)) };
        let differences = there.into_iter().map(tell).collect();
        walk.tell(Step { at: "alarms".to_owned(), differences, ..Step::default() }).await?;
    }
    Ok(())
}

fn is_there(read: &impl Read, subject: Subject) -> Result<bool, CatalogError> {
    Ok(match subject {
        Subject::Upload(id) => {
            record::get::<Upload>(read, &id)?.is_some()
                || record::get::<Finished>(read, &id)?.is_some()
        }
        Subject::Deletion(call) => record::get::<Deletion>(read, &call)?.is_some(),
    })
}

fn still_there(read: &Snapshot<'_>, subjects: &[Subject]) -> Result<Vec<Subject>, StepError> {
    let mut there = Vec::new();
    for subject in subjects {
        if is_there(read, *subject)? {
            there.push(*subject);
        }
    }
    Ok(there)
}

fn ring(txn: &mut Txn<'_>, subjects: &[Subject], due_ms: u64) -> Result<(), StepError> {
    for &subject in subjects {
        if is_there(txn, subject)? {
            record::put(txn, &AlarmKey { due_ms, subject }, &Alarm)?;
        }
    }
    Ok(())
}

//! Counts what is in the catalog, for metrics: a bounded part beside each pass of the sweep.
//!
//! The accounts, open uploads and the purge queue are counted at once; chunks in rounds, up to 256 manifest pages (32,768
//! chunks) a step; those for which something is to be done go to [`crate::repair`]. Until a round is complete the numbers of the one before are shown. All of it can be lost.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_core::ids::ChunkId;
use cairn_core::quota::{Account, Amount};
use cairn_kv::{Read, Snapshot, ViewError};

use crate::admin::chunks::{UnsettledChunk, unsettled_chunks};
use crate::catalog::{Left, PurgeQueued, Scope, Tenant, Upload, record};
use crate::error::{CatalogError, operation_error};
use crate::master::Master;
use crate::repair::Around;
use crate::repair::progress::Purpose;

operation_error! {
    /// Why the catalog is not counted.
    CensusError {
        Catalog(CatalogError),
    }
}

/// Open uploads, and blobs that wait to be erased, that are counted. More are shown as this many.
const MOST_COUNTED: usize = 10_000;
/// Tenants whose accounts are added up, by name; the others are not in the sums.
const MOST_TENANTS: usize = 10_000;
/// Records of one view.
const RECORDS_PER_VIEW: usize = 500;

/// What a round counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chunks {
    /// Chunks of live blobs that have fewer good copies than wanted.
    pub(crate) short: u64,
    /// Those that have no good copy now.
    pub(crate) without_copy: u64,
    /// Copies that are to be made, less those that were made since.
    pub(crate) left: BTreeMap<Purpose, Left>,
    /// Rebalance was paused, or has no rate: what it would do was not counted.
    pub(crate) settled: bool,
}

impl Chunks {
    fn add(&mut self, found: &UnsettledChunk) {
        self.short += u64::from(found.short);
        self.without_copy += u64::from(found.short && found.good == 0);
        if let Some(purpose) = found.urgency.and_then(Purpose::of) {
            let left = self.left.entry(purpose).or_default();
            left.count += found.missing.count;
            left.bytes += found.missing.bytes;
        }
    }

    fn copied(&mut self, purpose: Purpose, bytes: u64) {
        if let Some(left) = self.left.get_mut(&purpose) {
            left.count = left.count.saturating_sub(1);
            left.bytes = left.bytes.saturating_sub(bytes);
        }
    }
}

/// What was counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Census {
    pub(crate) open_uploads: u64,
    pub(crate) purge_queue: u64,
    pub(crate) used: Amount,
    pub(crate) reserved: Amount,
    pub(crate) condemned: Amount,
    /// When this step ended a round over all chunks.
    pub(crate) chunks: Option<Chunks>,
    pub(crate) wall_ms: u64,
}

/// How far a round is, and what the one before counted.
#[derive(Debug, Default)]
pub(crate) struct Round(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    after: Option<ChunkId>,
    so_far: Chunks,
    last: Option<Chunks>,
}

impl Round {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_anew(&self) {
        let mut round = self.lock();
        (round.after, round.so_far) = Default::default();
    }

    /// What the last round counted that went over all chunks.
    pub(crate) fn counted(&self) -> Option<Chunks> {
        self.lock().last.clone()
    }

    /// A copy was made. The round under way may have counted it as missing: that is right again with the next one.
    pub(crate) fn copied(&self, purpose: Purpose, bytes: u64) {
        let mut round = self.lock();
        if let Some(last) = &mut round.last {
            last.copied(purpose, bytes);
        }
    }

    /// A part of the round was counted, up to `next`; the sums when it was the last one.
    fn counts(
        &self,
        part: &[UnsettledChunk],
        next: Option<ChunkId>,
        settled: bool,
    ) -> Option<Chunks> {
        let mut round = self.lock();
        round.so_far.settled |= settled;
        part.iter().for_each(|found| round.so_far.add(found));
        round.after = next;
        if next.is_some() {
            return None;
        }
        round.last = Some(std::mem::take(&mut round.so_far));
        round.last.clone()
    }
}

/// Counts the next part.
pub(crate) async fn step(master: &Master) -> Result<(), ViewError<CensusError>> {
    let mut census = master.kv.view(accounts).await?;
    census.open_uploads = count::<Upload>(master).await?;
    census.purge_queue = count::<PurgeQueued>(master).await?;
    census.chunks = chunks(master).await?;
    census.wall_ms = master.time.wall_ms();
    master.metrics.counted(&census);
    Ok(())
}

/// Goes over all chunks once, from the first one on.
pub(crate) async fn round(master: &Master) -> Result<Chunks, ViewError<CensusError>> {
    master.census.begin_anew();
    loop {
        if let Some(sum) = chunks(master).await? {
            return Ok(sum);
        }
    }
}

/// The accounts of all tenants: users and buckets are charged with the same bytes.
fn accounts(view: &Snapshot<'_>) -> Result<Census, CensusError> {
    let mut census = Census::default();
    for (tenant, _) in record::scan::<Tenant>(view, &record::all::<Tenant>(), MOST_TENANTS)? {
        let account: Account = record::get(view, &Scope::Tenant(tenant))?.unwrap_or_default();
        for (sum, more) in [
            (&mut census.used, account.used),
            (&mut census.reserved, account.reserved),
            (&mut census.condemned, account.condemned),
        ] {
            sum.bytes = sum.bytes.saturating_add(more.bytes);
            sum.objects = sum.objects.saturating_add(more.objects);
        }
    }
    Ok(census)
}

async fn count<R: record::Record>(master: &Master) -> Result<u64, ViewError<CensusError>>
where
    R::Key: Clone + Send + 'static,
{
    let mut counted = 0;
    let mut after: Option<R::Key> = None;
    while counted < MOST_COUNTED {
        let (number, last) = master.kv.view(move |view| keys::<R>(view, after.as_ref())).await?;
        counted += number;
        after = last;
        if number < RECORDS_PER_VIEW {
            break;
        }
    }
    Ok(counted as u64)
}

fn keys<R: record::Record>(
    view: &impl Read,
    after: Option<&R::Key>,
) -> Result<(usize, Option<R::Key>), CensusError> {
    let mut range = record::all::<R>();
    if let Some(after) = after {
        range = range.after(record::key_of::<R>(after));
    }
    let mut page = record::scan::<R>(view, &range, RECORDS_PER_VIEW)?;
    Ok((page.len(), page.pop().map(|(key, _)| key)))
}

/// A part of the round; the sums when it was the last one.
async fn chunks(master: &Master) -> Result<Option<Chunks>, ViewError<CensusError>> {
    let after = master.census.lock().after;
    let around = Around::now(master);
    let view = move |view: &Snapshot<'_>| -> Result<_, CensusError> {
        let around = around.clone().heeding(view)?;
        Ok((unsettled_chunks(view, &around, after)?, around.is_settled()))
    };
    let ((part, next), settled) = master.kv.view(view).await?;
    for found in &part {
        if let Some(urgency) = found.urgency {
            master.repairer.offer(found.chunk, urgency);
        }
    }
    Ok(master.census.counts(&part, next, settled))
}

//! Purge: condemned versions whose wait is over, in the order in which it ended.

use cairn_kv::{Durability, Read, Txn};

use super::{Effort, PassError, SweepError, SweepReport};
use crate::catalog::{Condemned, CondemnedKey, record};
use crate::config::SeededBug;
use crate::master::Master;
use crate::object::condemn;

/// Versions of one transaction.
pub(super) const VERSIONS_PER_STEP: usize = 32;
/// Versions that are looked at for those that nobody reads.
const VERSIONS_PER_LOOK: usize = 256;
/// Steps of a bounded pass.
const STEPS: usize = 32;

pub(super) async fn run(
    master: &Master,
    effort: Effort,
    report: &mut SweepReport,
) -> Result<(), PassError> {
    let until_ms = master.time.earlier_ms();
    if !may_begin(master) {
        return Ok(());
    }
    let mut steps = 0;
    while !effort.is_enough(steps, STEPS) {
        // A look first: a transaction that is synced costs the store a flush.
        let due = master.kv.view(move |view| due(view, until_ms, VERSIONS_PER_LOOK)).await?;
        let unread = unread(master, due, VERSIONS_PER_STEP);
        if unread.is_empty() {
            break;
        }
        report.versions_purged += carry_out(master, unread).await?.versions;
        steps += 1;
    }
    Ok(())
}

/// False while somebody may read of whom this master does not know.
pub(super) fn may_begin(master: &Master) -> bool {
    master.reads.expire(master.clock.monotonic())
}

/// The first `most` that nobody reads; nobody is given them to read from here on.
pub(super) fn unread(
    master: &Master,
    versions: Vec<CondemnedKey>,
    most: usize,
) -> Vec<CondemnedKey> {
    let now = master.clock.monotonic();
    let ignores_readers = master.config.faults().has(SeededBug::PurgeIgnoresReaders);
    let takes = |key: &CondemnedKey| master.reads.take(key.version, now);
    versions.into_iter().filter(|key| ignores_readers || takes(key)).take(most).collect()
}

/// What a step purged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Purged {
    pub(super) versions: u64,
    /// Bytes of content.
    pub(super) bytes: u64,
}

/// Purges those that are condemned still, in one transaction.
pub(super) async fn carry_out(
    master: &Master,
    versions: Vec<CondemnedKey>,
) -> Result<Purged, PassError> {
    let closure = move |txn: &mut Txn<'_>| step(txn, &versions);
    let purged = master.kv.transact(Durability::Synced, closure).await?;
    tracing::info!(target: "cairn", versions = purged.versions, "versions purged");
    Ok(purged)
}

/// The versions whose wait ended first, at `until_ms` or before.
fn due(read: &impl Read, until_ms: u64, limit: usize) -> Result<Vec<CondemnedKey>, SweepError> {
    let end = record::raw_key::<Condemned>(|parts| {
        parts.u64(until_ms.saturating_add(1));
    });
    let due = record::scan::<Condemned>(read, &record::ending_before::<Condemned>(end), limit)?;
    Ok(due.into_iter().map(|(key, _)| key).collect())
}

/// Purges those that are condemned still: one may have come back since the look.
fn step(txn: &mut Txn<'_>, due: &[CondemnedKey]) -> Result<Purged, SweepError> {
    let mut purged = Purged::default();
    for key in due {
        if record::get::<Condemned>(txn, key)?.is_some() {
            purged.bytes = purged.bytes.saturating_add(condemn::purge(txn, key)?);
            purged.versions += 1;
        }
    }
    Ok(purged)
}

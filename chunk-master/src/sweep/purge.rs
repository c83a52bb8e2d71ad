//! Purge: condemned versions whose wait is over, in the order in which it ended.

use cairn_kv::{Durability, Read, Txn};

use super::{Effort, PassError, SweepError, SweepReport};
use crate::catalog::{Condemned, CondemnedKey, VersionKey, record};
use crate::config::{SeededBug, millis};
use crate::master::Master;
use crate::object::{condemn, reads};

/// Versions of one transaction.
pub(super) const VERSIONS_PER_STEP: usize = 32;
/// Versions that are looked at for those that nobody reads.
const VERSIONS_PER_LOOK: usize = 256;
/// Steps of a bounded pass.
const STEPS: usize = 32;

/// The times that decide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Waits that ended then or before are over.
    pub(super) until_ms: u64,
    /// Read leases that ended then or before are over, in steady time.
    now_ms: u64,
    ignores_readers: bool,
}

impl Plan {
    /// The times of now; none while somebody may read of whom the catalog does not tell: who read before a restart may
    /// go on, whatever the wall has done meanwhile.
    pub(super) fn now(master: &Master) -> Option<Self> {
        let knows_readers = master.time.awake_ms() >= millis(master.config.least_wait());
        knows_readers.then(|| Self {
            until_ms: master.time.earlier_ms(),
            now_ms: master.time.steady_ms(),
            ignores_readers: master.config.faults().has(SeededBug::PurgeIgnoresReaders),
        })
    }
}

pub(super) async fn run(
    master: &Master,
    effort: Effort,
    report: &mut SweepReport,
) -> Result<(), PassError> {
    let Some(plan) = Plan::now(master) else { return Ok(()) };
    let mut steps = 0;
    while !effort.is_enough(steps, STEPS) {
        // A look first: a transaction that is synced costs the store a flush.
        let due = master.kv.view(move |view| unread(view, plan)).await?;
        if due.is_empty() {
            break;
        }
        report.versions_purged += carry_out(master, due, plan).await?.versions;
        steps += 1;
    }
    Ok(())
}

/// What a step purged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Purged {
    pub(super) versions: u64,
    /// Bytes of content.
    pub(super) bytes: u64,
}

/// Purges in one transaction those that may go still.
pub(super) async fn carry_out(
    master: &Master,
    due: Vec<CondemnedKey>,
    plan: Plan,
) -> Result<Purged, PassError> {
    let closure = move |txn: &mut Txn<'_>| step(txn, &due, plan);
    let purged = master.kv.transact(Durability::Synced, closure).await?;
    tracing::info!(target: "cairn", versions = purged.versions, "versions purged");
    Ok(purged)
}

/// The versions whose wait ended first, of those that nobody reads.
fn unread(read: &impl Read, plan: Plan) -> Result<Vec<CondemnedKey>, SweepError> {
    let end = record::raw_key::<Condemned>(|parts| {
        parts.u64(plan.until_ms.saturating_add(1));
    });
    let due = record::ending_before::<Condemned>(end);
    let due = record::scan::<Condemned>(read, &due, VERSIONS_PER_LOOK)?;
    let mut unread = Vec::with_capacity(VERSIONS_PER_STEP);
    for (key, _) in due {
        if unread.len() == VERSIONS_PER_STEP {
            break;
        }
        if may_go(read, &key, plan)? {
            unread.push(key);
        }
    }
    Ok(unread)
}

/// Purges those that may go still: one may have come back since the look, or found a reader.
fn step(txn: &mut Txn<'_>, due: &[CondemnedKey], plan: Plan) -> Result<Purged, SweepError> {
    let mut purged = Purged::default();
    for key in due {
        if record::get::<Condemned>(txn, key)?.is_some() && may_go(txn, key, plan)? {
            purged.bytes = purged.bytes.saturating_add(condemn::purge(txn, key)?);
            purged.versions += 1;
        }
    }
    Ok(purged)
}

/// Whether nobody reads it.
pub(super) fn may_go(read: &impl Read, key: &CondemnedKey, plan: Plan) -> Result<bool, SweepError> {
    let CondemnedKey { tenant, version, .. } = key.clone();
    let key = VersionKey { tenant, version };
    Ok(plan.ignores_readers || !reads::is_read(read, &key, plan.now_ms)?)
}

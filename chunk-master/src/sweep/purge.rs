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
/// Looks of a bounded pass, each with a step.
const LOOKS: usize = 32;

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
    let (mut after, mut looks, mut purged) = (None, 0, 0);
    while !effort.is_enough(looks, LOOKS) {
        // A look first: a transaction that is synced costs the store a flush.
        let look = master.kv.view(move |view| look(view, after.as_ref(), plan)).await?;
        if !look.unread.is_empty() {
            purged += carry_out(master, look.unread, plan).await?.versions;
        }
        looks += 1;
        after = look.next;
        if after.is_none() {
            break;
        }
    }
    report.versions_purged += purged;
    report.behind |= purged > 0 && after.is_some();
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

/// Versions whose wait is over.
struct Look {
    /// Those that nobody reads.
    unread: Vec<CondemnedKey>,
    /// Where the next look begins.
    next: Option<CondemnedKey>,
}

/// The next versions whose wait is over, past those that are being read.
fn look(read: &impl Read, after: Option<&CondemnedKey>, plan: Plan) -> Result<Look, SweepError> {
    let end = record::raw_key::<Condemned>(|parts| {
        parts.u64(plan.until_ms.saturating_add(1));
    });
    let mut due = record::ending_before::<Condemned>(end);
    if let Some(after) = after {
        due = due.after(record::key_of::<Condemned>(after));
    }
    let due = record::scan::<Condemned>(read, &due, VERSIONS_PER_LOOK)?;
    let mut next =
        due.last().filter(|_| due.len() == VERSIONS_PER_LOOK).map(|(key, _)| key.clone());
    let mut unread = Vec::with_capacity(VERSIONS_PER_STEP);
    for (key, _) in due {
        if unread.len() == VERSIONS_PER_STEP {
            next = unread.last().cloned();
            break;
        }
        if may_go(read, &key, plan)? {
            unread.push(key);
        }
    }
    Ok(Look { unread, next })
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

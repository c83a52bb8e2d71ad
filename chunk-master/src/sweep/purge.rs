//! Purge: condemned versions whose wait is over, oldest first.

use cairn_kv::{Durability, Read, Txn};

use super::{Effort, PassError, SweepError, SweepReport};
use crate::catalog::{Condemned, CondemnedKey, record};
use crate::config::millis;
use crate::master::Master;
use crate::object::condemn;

/// Versions of one transaction.
const VERSIONS_PER_STEP: usize = 32;
/// Steps of a bounded pass.
const STEPS: usize = 32;

pub(super) async fn run(
    master: &Master,
    effort: Effort,
    report: &mut SweepReport,
) -> Result<(), PassError> {
    let wait_ms = millis(master.config.condemn_for);
    let Some(until_ms) = master.time.earlier_ms().checked_sub(wait_ms) else {
        return Ok(());
    };
    let mut steps = 0;
    while !effort.is_enough(steps, STEPS) {
        // A look first: a transaction that is synced costs the store a flush.
        if master.kv.view(move |view| due(view, until_ms, 1)).await?.is_empty() {
            break;
        }
        let closure = move |txn: &mut Txn<'_>| step(txn, until_ms);
        let purged = master.kv.transact(Durability::Synced, closure).await?;
        tracing::info!(target: "cairn", versions = purged, "versions purged");
        report.versions_purged += purged;
        steps += 1;
    }
    Ok(())
}

/// The oldest versions that were condemned at `until_ms` or before.
fn due(read: &impl Read, until_ms: u64, limit: usize) -> Result<Vec<CondemnedKey>, SweepError> {
    let end = record::raw_key::<Condemned>(|parts| {
        parts.u64(until_ms.saturating_add(1));
    });
    let due = record::scan::<Condemned>(read, &record::ending_before::<Condemned>(end), limit)?;
    Ok(due.into_iter().map(|(key, _)| key).collect())
}

fn step(txn: &mut Txn<'_>, until_ms: u64) -> Result<u64, SweepError> {
    let due = due(txn, until_ms, VERSIONS_PER_STEP)?;
    for key in &due {
        condemn::purge(txn, key)?;
    }
    Ok(due.len() as u64)
}

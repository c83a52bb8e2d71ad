//! Expire: alarms that ring. An upload whose lease was renewed is looked at again later; one whose lease
//! ended is aborted; kept answers are removed.

use std::time::Duration;

use cairn_core::ids::UploadId;
use cairn_kv::{Durability, KeyRange, Read, Txn};

use super::{Effort, PassError, SweepError, SweepReport};
use crate::catalog::{Alarm, AlarmKey, Deletion, Finished, Subject, Upload, record};
use crate::config::{Faults, millis};
use crate::error::CatalogError;
use crate::journal::MetaJournal;
use crate::master::Master;
use crate::upload::abort::give_back;

/// Alarms of one transaction.
const ALARMS_PER_STEP: usize = 32;
/// Steps of a bounded pass.
const STEPS: usize = 32;

/// The times that decide.
#[derive(Debug, Clone, Copy)]
struct Plan {
    now_ms: u64,
    /// How long this master has been there and taken what it was told: nothing ends before that was for as long as such a thing lasts.
    awake_ms: u64,
    /// How long an upload lives without progress.
    lease_ms: u64,
    /// How long ends of uploads are remembered.
    remember_ms: u64,
    faults: Faults,
}

impl Plan {
    /// When something that lasts for `lasts_ms` may end at the earliest, if this master is too young to end it now.
    fn not_before(&self, lasts_ms: u64) -> Option<u64> {
        let left_ms = lasts_ms.checked_sub(self.awake_ms).filter(|left_ms| *left_ms > 0)?;
        Some(self.now_ms.saturating_add(left_ms))
    }
}

pub(super) async fn run(
    master: &Master,
    effort: Effort,
    report: &mut SweepReport,
) -> Result<(), PassError> {
    let admits = master.journal.get().map_or(Duration::MAX, MetaJournal::admits_since);
    let plan = Plan {
        now_ms: master.time.steady_ms(),
        // While the journal was behind nobody could renew a lease.
        awake_ms: master.time.awake_ms().min(millis(admits)),
        lease_ms: millis(master.config.lease),
        remember_ms: millis(master.config.remember_for),
        faults: master.config.faults(),
    };
    let mut steps = 0;
    while !effort.is_enough(steps, STEPS) {
        // A look first: a transaction that is synced costs the store a flush.
        let rings = master.kv.view(move |view| rings(view, plan.now_ms)).await?;
        if !rings {
            break;
        }
        let closure = move |txn: &mut Txn<'_>| step(txn, plan);
        let expired = master.kv.transact(Durability::Synced, closure).await?;
        if expired > 0 {
            tracing::info!(target: "cairn", uploads = expired, "uploads expired");
            report.uploads_expired += expired;
            master.gave_back();
        }
        steps += 1;
    }
    report.behind |= effort.is_enough(steps, STEPS);
    Ok(())
}

/// Alarms that are due: up to and with `now_ms`.
fn due(now_ms: u64) -> KeyRange {
    let end = record::raw_key::<Alarm>(|parts| {
        parts.u64(now_ms.saturating_add(1));
    });
    record::ending_before::<Alarm>(end)
}

fn rings(read: &impl Read, now_ms: u64) -> Result<bool, SweepError> {
    Ok(!record::scan::<Alarm>(read, &due(now_ms), 1)?.is_empty())
}

/// Handles a batch of alarms; the number of uploads that expired.
fn step(txn: &mut Txn<'_>, plan: Plan) -> Result<u64, SweepError> {
    let alarms = record::scan::<Alarm>(txn, &due(plan.now_ms), ALARMS_PER_STEP)?;
    let mut expired = 0;
    for (alarm, _) in alarms {
        record::delete::<Alarm>(txn, &alarm)?;
        let (again, gave_up) = ring(txn, alarm, plan)?;
        if let Some(due_ms) = again {
            record::put(txn, &AlarmKey { due_ms, ..alarm }, &Alarm)?;
        }
        expired += u64::from(gave_up);
    }
    Ok(expired)
}

/// Looks at what an alarm is about: when to look again, and whether it was an upload that expired now.
fn ring(
    txn: &mut Txn<'_>,
    alarm: AlarmKey,
    plan: Plan,
) -> Result<(Option<u64>, bool), CatalogError> {
    let again = match alarm.subject {
        Subject::Upload(id) => match record::get::<Upload>(txn, &id)? {
            Some(upload) => return ring_upload(txn, id, upload, plan),
            None => ring_finished(txn, id, plan)?,
        },
        Subject::Deletion(call) => {
            let again = plan.not_before(plan.remember_ms);
            if again.is_none() {
                record::delete::<Deletion>(txn, &call)?;
            }
            again
        }
    };
    Ok((again, false))
}

fn ring_upload(
    txn: &mut Txn<'_>,
    id: UploadId,
    upload: Upload,
    plan: Plan,
) -> Result<(Option<u64>, bool), CatalogError> {
    let leased = Some(upload.lease_until_ms).filter(|until_ms| *until_ms > plan.now_ms);
    if let Some(again_ms) = leased.or(plan.not_before(plan.lease_ms)) {
        return Ok((Some(again_ms), false));
    }
    give_back(txn, id, upload, plan.now_ms, plan.faults)?;
    Ok((Some(plan.now_ms.saturating_add(plan.remember_ms.max(1))), true))
}

fn ring_finished(txn: &mut Txn<'_>, id: UploadId, plan: Plan) -> Result<Option<u64>, CatalogError> {
    let Some(finished) = record::get::<Finished>(txn, &id)? else {
        return Ok(None);
    };
    let kept_ms = finished.finished_ms.saturating_add(plan.remember_ms);
    let kept = Some(kept_ms).filter(|kept_ms| *kept_ms > plan.now_ms);
    let again = kept.or(plan.not_before(plan.remember_ms));
    if again.is_none() {
        record::delete::<Finished>(txn, &id)?;
    }
    Ok(again)
}

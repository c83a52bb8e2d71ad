//! Every record of the catalog beside those that it names, some at a time.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_kv::{Durability, Snapshot, Txn};

use super::{FsckError, Outcome, Step, StepError, Told, Walk, told};
use crate::audit::{Difference, Family, Mend};

/// Records of one view. A page of a manifest has up to 128 chunks and as many differences.
const RECORDS_PER_STEP: usize = 64;

pub(super) async fn walk(walk: &mut Walk<'_>) -> Result<(), FsckError> {
    for &family in Family::ALL {
        let mut after: Option<Bytes> = None;
        loop {
            let from = after.clone();
            let closure = move |view: &Snapshot<'_>| -> Result<_, StepError> {
                Ok(family.look(view, from.as_ref(), RECORDS_PER_STEP)?)
            };
            let look = walk.master.kv.view(closure).await?;
            walk.records += look.looked_at as u64;
            let differences = settle(walk, family, look.differences).await?;
            walk.tell(Step { at: format!("{family:?}"), differences, ..Step::default() }).await?;
            after = look.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Mends what can be mended, if that is asked for.
async fn settle(
    walk: &Walk<'_>,
    family: Family,
    found: Vec<(Bytes, Difference)>,
) -> Result<Vec<Told>, FsckError> {
    let (left, mendable): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(_, found)| matches!(found.mend, Mend::Leave(_)));
    let left = left.into_iter().map(|(_, found)| walk.unmended(found));
    if !walk.repair || mendable.is_empty() {
        let would = mendable.into_iter().map(|(_, found)| walk.unmended(found));
        return Ok(left.chain(would).collect());
    }
    let keys: BTreeSet<Bytes> = mendable.into_iter().map(|(key, _)| key).collect();
    let closure = move |txn: &mut Txn<'_>| -> Result<Vec<Difference>, StepError> {
        let mut mended = Vec::new();
        for key in &keys {
            mended.extend(family.mend(txn, key)?);
        }
        Ok(mended)
    };
    let mended = walk.master.kv.transact(Durability::Synced, closure).await?;
    let mended = mended.into_iter().map(|difference| Told {
        outcome: Outcome::Mended,
        action: match difference.mend {
            Mend::Remove(_) => "removed the record",
            Mend::Write(..) | Mend::Leave(_) => "wrote the record anew",
        },
        ..told(difference.kind, difference.what)
    });
    Ok(left.chain(mended).collect())
}

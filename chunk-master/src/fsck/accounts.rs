//! What the accounts hold beside what versions and uploads add up to, in one view.

use cairn_kv::{Durability, Snapshot, Txn};

use super::{FsckError, Outcome, Step, StepError, Told, Unchecked, Walk, told};
use crate::audit::{Kind, usage};
use crate::catalog::{Scope, record};

pub(super) async fn walk(walk: &mut Walk<'_>) -> Result<(), FsckError> {
    let closure = |view: &Snapshot<'_>| -> Result<_, StepError> { Ok(usage::audit(view)?) };
    let audit = walk.master.kv.view(closure).await?;
    let mut step = Step { at: "accounts".to_owned(), ..Step::default() };
    for difference in audit.differences {
        let (outcome, action) = if walk.repair {
            recount(walk, difference.scope.clone()).await?
        } else {
            (Outcome::Would, "add it up anew")
        };
        let what = difference.to_string();
        step.differences.push(Told { outcome, action, ..told(Kind::Account, what) });
    }
    if audit.more_differences > 0 {
        let what = format!("{} more numbers of accounts", audit.more_differences);
        let why = "too many differ to be told".to_owned();
        step.unchecked.push(Unchecked { what, why, node: None });
    }
    walk.tell(step).await
}

/// Adds an account up anew in one transaction, unless its tenant has too much for one.
async fn recount(walk: &Walk<'_>, scope: Scope) -> Result<(Outcome, &'static str), FsckError> {
    let closure = move |txn: &mut Txn<'_>| -> Result<bool, StepError> {
        let Some(account) = usage::recount(txn, &scope)? else { return Ok(false) };
        record::put(txn, &scope, &account)?;
        Ok(true)
    };
    let done = walk.master.kv.transact(Durability::Synced, closure).await?;
    walk.master.gave_back();
    Ok(if done { (Outcome::Mended, "added it up anew") } else { (Outcome::Refused, TOO_LARGE) })
}

pub(super) const TOO_LARGE: &str = "left: the tenant has more than 10000 versions, or there are more open uploads, than one transaction adds up";

//! One copy of a chunk, as a workflow.
//!
//! ```text
//! name ─► copy: wait for a turn, Chunks.Copy at the target ─► book
//!   │       │     proven and durable there                      └─ failed ─┐
//!   │       ├─ no node gives it, or takes it ──────────────────────────────┴─► un-name ─► why, for whoever may choose another target
//!   │       └─ skipped, and what follows: no copy is to be made there any more
//! ```
//!
//! Its runs are not stored: that would be three synced transactions more for each chunk. The entry that is Copying is what a run
//! leaves that is cut off; from there whoever looks at the chunk next goes on, this master or another one.

use std::sync::Arc;
use std::time::Duration;

use cairn_core::copies::{CopyReceipt, Place};
use cairn_kv::{Durability, Txn};
use cairn_runtime::Clock;
use cairn_workflow::{
    Bounds, BoxError, Caller, Check, Coordinator, InMemory, Output, StepContext, StepError,
};

use super::look::Seen;
use super::turns::Rate;
use super::{bound_on, change, wait_for_turn};
use crate::catalog::Attempt;
use crate::master::Master;
use crate::nodes::Unreached;

/// Each transaction and each call has a bound of its own, and turns come when rates allow it.
const BOUNDS: Bounds =
    Bounds { run: Duration::MAX, step: Duration::MAX, compensation: Duration::MAX };

/// A copy that is to be made.
pub(super) struct Copying {
    pub(super) seen: Arc<Seen>,
    pub(super) target: Place,
    pub(super) attempt: Attempt,
    /// Rates to keep beside those of the nodes.
    pub(super) rates: Vec<Rate>,
}

type Step = StepContext<Master, Copying>;

/// Makes copies.
#[derive(Debug)]
pub(super) struct Copier {
    steps: Coordinator<Master, Copying, InMemory>,
    booked: Output<bool>,
}

impl Copier {
    pub(super) fn new(clock: Clock) -> Self {
        let mut steps = Coordinator::in_memory("copy a chunk", clock, BOUNDS);
        let named = steps.step("name").job(name).compensate(unname).add();
        let copied = steps
            .step("copy")
            .pre_check(move |step: Step| async move {
                let named = *step.output(named.made)?;
                let none = "no copy is to be made there any more";
                Ok(if named { Check::Go(()) } else { Check::skip((), none) })
            })
            .job(|step: Step| async move { Ok(copy(&step).await?) })
            .add();
        let booked = steps
            .step("book")
            // Where nothing was copied there is no receipt, and this is skipped.
            .pre_check(move |step: Step| async move { Ok(Check::Go(*step.output(copied.made)?)) })
            .job(move |step: Step| async move { book(&step, *step.output(copied.made)?).await })
            .add();
        let steps = steps.build().expect("the steps have names of their own");
        Self { steps, booked: booked.made }
    }

    /// Makes a copy. False when meanwhile none is to be made there, or it is not named any more.
    pub(super) async fn run(
        &self,
        master: &Arc<Master>,
        copying: Copying,
    ) -> Result<bool, StepError> {
        let report = self.steps.run(&Caller::new(Arc::clone(master)), copying).await;
        match report.ended_by() {
            Some(error) => Err(error.clone()),
            None => Ok(report.output(self.booked).is_ok_and(|booked| *booked)),
        }
    }
}

/// Names the copy, so that no sweep takes it for a stray.
async fn name(step: Step) -> Result<bool, BoxError> {
    let Copying { seen, target, attempt, .. } = step.input();
    let (chunk, hash, node, attempt) = (seen.chunk, seen.hash, target.node, *attempt);
    let begin = move |txn: &mut Txn<'_>| change::begin(txn, chunk, hash, node, attempt);
    Ok(step.context().kv.transact(Durability::Buffered, begin).await?)
}

/// Does not name it any more, unless it is booked.
async fn unname(step: Step) -> Result<(), BoxError> {
    let (chunk, attempt) = (step.input().seen.chunk, step.input().attempt);
    let give_up = move |txn: &mut Txn<'_>| change::give_up(txn, chunk, attempt);
    Ok(step.context().kv.transact(Durability::Buffered, give_up).await?)
}

/// Has the target fetch the chunk from the good copies, one after another, when it is their turn.
async fn copy(step: &Step) -> Result<CopyReceipt, Unreached> {
    let (master, Copying { seen, target, rates, .. }) = (step.context(), step.input());
    let bound = bound_on(master, seen.length);
    let mut last = None;
    for source in &seen.sources {
        wait_for_turn(master, seen.length, rates, &[source.node, target.node]).await;
        let copied = master.peers.copy(target, source, seen.chunk, (seen.length, seen.hash), bound);
        match copied.await {
            Ok(receipt) => return Ok(receipt),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or(Unreached::NoSource))
}

/// Writes down that the copy is durable. Synced: what counts as repaired must be so after a crash as well.
async fn book(step: &Step, receipt: CopyReceipt) -> Result<bool, BoxError> {
    let (chunk, attempt) = (step.input().seen.chunk, step.input().attempt);
    let finish = move |txn: &mut Txn<'_>| change::finish(txn, chunk, attempt, receipt);
    Ok(step.context().kv.transact(Durability::Synced, finish).await?)
}

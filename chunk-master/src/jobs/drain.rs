//! Empties a node.
//!
//! ```text
//! DrainNode: the node is Draining ─► move copies: looks what is left there ── something: later
//!                                                                          └─ nothing, and it keeps no journal: done
//! UndrainNode, cancel: the node is a Member again, in the same transaction
//! ```
//!
//! The copies are moved by [`crate::repair`], to which those of the node count as leaving, unless this job is paused. The job says how
//! far that is.

use std::time::Duration;

use cairn_core::ids::NodeId;
use cairn_core::liveness::Membership;
use cairn_kv::{Durability, Read, Snapshot, Txn};
use cairn_runtime::Clock;
use cairn_workflow::{Bounds, Coordinator};

use super::Begin;
use super::ask::{Ask, AskError, ask};
use super::steps::{JobContext, Pace, Trouble, step};
use crate::catalog::{Job, JobKey, JobState, Left, record};
use crate::error::{CatalogError, operation_error};
use crate::nodes::{self, MembershipError};

/// A step is one short look.
const BOUNDS: Bounds =
    Bounds { run: Duration::MAX, step: Duration::MAX, compensation: Duration::MAX };

operation_error! {
    /// Why a node is not drained, or not let back.
    DrainError {
        Catalog(CatalogError),
        Membership(MembershipError),
        Ask(AskError),
    }
}

/// The steps by which `node` is emptied.
pub(super) fn workflow(node: NodeId, clock: Clock) -> Coordinator<JobContext, ()> {
    let mut steps = Coordinator::builder("drain", clock, BOUNDS);
    step(&mut steps, "move copies", move |job| move_copies(job, node));
    steps.build().expect("the step has a name")
}

async fn move_copies(job: JobContext, node: NodeId) -> Result<Pace, Trouble> {
    let progress = job.progress();
    let look = move |view: &Snapshot<'_>| Ok::<_, DrainError>(nodes::left(view, node)?);
    let left = job.master.kv.view(look).await?;
    let note = move |txn: &mut Txn<'_>| -> Result<bool, DrainError> {
        progress.has_left(txn, Left { count: left.copies + left.uploads, bytes: left.bytes })?;
        Ok(left.is_nothing() && nodes::is_empty(txn, node)?)
    };
    let empty = job.master.kv.transact(Durability::Buffered, note).await?;
    Ok(if empty && !job.master.keeps_journal(node) { Pace::Done } else { Pace::Later })
}

/// Has a node emptied. Asked twice it is asked once; a job that waits for an operator goes on.
pub(crate) fn drain(
    txn: &mut Txn<'_>,
    node: NodeId,
    job: &Begin,
    now_ms: u64,
) -> Result<(), DrainError> {
    nodes::set(txn, node, Membership::Draining)?;
    let key = JobKey::Drain(node);
    match record::get::<Job>(txn, &key)?.map(|job| job.state) {
        // One that is being cancelled has nothing left to take back.
        None | Some(JobState::Done | JobState::Cancelled | JobState::Cancelling) => {
            Ok(job.begin(txn, &key)?)
        }
        Some(JobState::Running) => Ok(()),
        Some(JobState::Paused | JobState::Failed) => {
            ask(txn, &key, Ask::Resume, now_ms)?;
            Ok(())
        }
    }
}

/// Lets a node back, and ends the job that empties it.
pub(crate) fn undrain(txn: &mut Txn<'_>, node: NodeId, now_ms: u64) -> Result<(), DrainError> {
    let key = JobKey::Drain(node);
    let job = record::get::<Job>(txn, &key)?;
    if job.is_some_and(|job| !job.state.has_ended()) {
        ask(txn, &key, Ask::Cancel, now_ms)?;
        return Ok(());
    }
    Ok(nodes::set(txn, node, Membership::Member)?)
}

/// Whether an operator has paused the drain of a node.
pub(crate) fn is_paused(read: &impl Read, node: NodeId) -> Result<bool, CatalogError> {
    let job = record::get::<Job>(read, &JobKey::Drain(node))?;
    Ok(job.is_some_and(|job| job.state == JobState::Paused))
}

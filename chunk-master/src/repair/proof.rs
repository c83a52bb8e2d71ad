//! Proof: before a copy is given up, its nodes read the others and check them. A copy that rotted, and that nobody has read since,
//! counts as long as nobody knows; what is given up for its sake could be the last good one.

use std::collections::BTreeSet;

use cairn_core::copies::{CopyFinding, CopyReport};
use cairn_core::ids::NodeId;
use cairn_kv::{Durability, TransactError, Txn};
use cairn_proto::Reason;

use super::look::{Around, Seen};
use super::{bound_on, wait_for_turn};
use crate::master::Master;
use crate::nodes::{NodeView, Unreached};
use crate::object::report::{ReportError, report};

/// What a look at one copy comes to.
enum Proof {
    Intact,
    Bad(CopyFinding),
    Unknown,
}

/// Has as many copies as wanted proven by their nodes, beside the one that is to be `given_up`; those that are. What is found
/// bad is noted, as when a reader finds it.
pub(super) async fn of_enough(
    master: &Master,
    seen: &Seen,
    given_up: NodeId,
    around: &Around,
) -> Result<BTreeSet<NodeId>, TransactError<ReportError>> {
    let mut proven = BTreeSet::new();
    let mut found = Vec::new();
    let others = seen.copies.iter().filter(|copy| copy.is_certain() && copy.node != given_up);
    for copy in others {
        if proven.len() >= seen.wanted {
            break;
        }
        let Some(view) = around.directory.get(&copy.node) else { continue };
        match prove(master, seen, view).await {
            Proof::Intact => drop(proven.insert(copy.node)),
            Proof::Bad(finding) => {
                found.push(CopyReport { chunk: seen.chunk, node: copy.node, finding });
            }
            Proof::Unknown => {}
        }
    }
    if !found.is_empty() {
        tracing::warn!(target: "cairn", chunk = %seen.chunk, copies = found.len(), "copies were found missing or wrong before another one was given up");
        let note = move |txn: &mut Txn<'_>| report(txn, &found);
        master.kv.transact(Durability::Buffered, note).await?;
    }
    Ok(proven)
}

async fn prove(master: &Master, seen: &Seen, view: &NodeView) -> Proof {
    wait_for_turn(master, seen.length, &[], &[view.node]).await;
    let bound = bound_on(master, seen.length);
    match master.peers.prove(&view.record.address, seen.chunk, bound).await {
        // Another node is at the address by now.
        Ok((.., disk)) if !view.record.disks.contains(&disk) => Proof::Unknown,
        Ok((length, hash, _)) if (length, hash) == (seen.length, seen.hash) => Proof::Intact,
        Ok(_) => Proof::Bad(CopyFinding::Corrupt),
        Err(Unreached::Refused(error)) if error.reason == Reason::ChunkNotFound => {
            Proof::Bad(CopyFinding::Missing)
        }
        Err(Unreached::Refused(error)) if error.reason == Reason::ChunkCorrupt => {
            Proof::Bad(CopyFinding::Corrupt)
        }
        Err(error) => {
            tracing::debug!(target: "cairn", chunk = %seen.chunk, node = %view.node, %error, "a copy could not be proven");
            Proof::Unknown
        }
    }
}

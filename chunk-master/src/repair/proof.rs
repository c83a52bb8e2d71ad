//! Proof: before a copy is given up, its nodes read the others and check them. A copy that rotted, and that nobody has read since,
//! counts as long as nobody knows; what is given up for its sake could be the last good one.
//!
//! For a stray one proof is enough. It is not one of the copies wanted: without it the chunk has what the books say it has, and what must
//! not happen is that it was the last good one. A node that comes back after its copies were made anew may have millions, and they
//! cost nothing but room: so they are proven at a part of the rate, as many in a pass of the sweep as the pause until the next one has room
//! for. The others stay for later rounds over the node's inventory.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use cairn_core::copies::{CopyFinding, CopyReport};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_kv::{Durability, Read, TransactError, Txn};
use cairn_proto::Reason;
use futures_util::future::join_all;

use super::look::{Around, Seen, look};
use super::turns::Lane;
use super::{bound_on, wait_for_turn};
use crate::error::CatalogError;
use crate::master::Master;
use crate::nodes::{NodeView, Unreached};
use crate::object::report::{ReportError, report};

/// Chunks that are read at a time for the sake of strays.
const STRAYS_AT_ONCE: usize = 4;
/// Of what may be copied from a node in a second, the part that is read there for the sake of strays: a fourth, beside it.
const SHARE: u64 = 4;
/// A chunk counts as so many bytes at least: to read a small one takes a seek and a call.
const LEAST_BYTES: u64 = 64 << 10;

/// What a look at one copy comes to.
enum Proof {
    Intact,
    Bad(CopyFinding),
    Unknown,
}

/// Has as many copies as wanted proven by their nodes, beside the one that is to be `given_up`; those that are. What is found
/// bad is noted.
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
        wait_for_turn(master, seen.length, &[], &[view.node]).await;
        match prove(master, seen, view).await {
            Proof::Intact => drop(proven.insert(copy.node)),
            Proof::Bad(finding) => {
                found.push(CopyReport { chunk: seen.chunk, node: copy.node, finding });
            }
            Proof::Unknown => {}
        }
    }
    note(master, found).await?;
    Ok(proven)
}

/// Notes what was found missing or wrong, as when a reader finds it.
async fn note(master: &Master, found: Vec<CopyReport>) -> Result<(), TransactError<ReportError>> {
    for CopyReport { chunk, node, finding } in &found {
        tracing::warn!(target: "cairn", %chunk, %node, ?finding, "a copy was found missing or wrong before another one was given up");
    }
    if !found.is_empty() {
        let note = move |txn: &mut Txn<'_>| report(txn, &found);
        master.kv.transact(Durability::Buffered, note).await?;
    }
    Ok(())
}

/// Of chunks of which a node has strays, those that have all their copies. One that is short may have its last intact one there: the
/// stray stays, and a repair that chooses its node proves it and names it.
pub(crate) fn not_short(
    read: &impl Read,
    chunks: &[ChunkId],
    around: &Around,
) -> Result<Vec<Seen>, CatalogError> {
    let mut whole = Vec::with_capacity(chunks.len());
    for &chunk in chunks {
        let seen = look(read, chunk, around)?;
        whole.extend(seen.filter(|seen| seen.certain() >= seen.wanted));
    }
    Ok(whole)
}

/// Of chunks that have all their copies by the books, those of which a node has just read one and found it intact, as far as
/// that gets now: strays of these can go.
pub(crate) async fn of_strays(
    master: &Master,
    whole: &[Seen],
    around: &Around,
) -> Result<Vec<ChunkId>, TransactError<ReportError>> {
    let ends = master.clock.monotonic().saturating_add(master.config.sweep_every);
    let silent = Mutex::default();
    let (mut proven, mut found) = (Vec::new(), Vec::new());
    for some in whole.chunks(STRAYS_AT_ONCE) {
        if master.clock.monotonic() > ends {
            break;
        }
        let proofs = some.iter().map(|seen| one_of(master, seen, around, &silent));
        for (seen, (node, proof)) in some.iter().zip(join_all(proofs).await) {
            match (node, proof) {
                (Some(_), Proof::Intact) => proven.push(seen.chunk),
                (Some(node), Proof::Bad(finding)) => {
                    found.push(CopyReport { chunk: seen.chunk, node, finding });
                }
                (_, Proof::Unknown) | (None, _) => {}
            }
        }
    }
    note(master, found).await?;
    Ok(proven)
}

/// Has one of the copies that count proven, of the first node that has room for it now and answers.
async fn one_of(
    master: &Master,
    seen: &Seen,
    around: &Around,
    silent: &Mutex<BTreeSet<NodeId>>,
) -> (Option<NodeId>, Proof) {
    let rate = master.config.repair_rate_per_node / SHARE;
    let bytes = seen.length.max(LEAST_BYTES);
    for copy in seen.copies.iter().filter(|copy| copy.is_certain()) {
        let Some(view) = around.directory.get(&copy.node) else { continue };
        let is_silent = silent.lock().unwrap_or_else(PoisonError::into_inner).contains(&copy.node);
        let lane = (Lane::Strays(copy.node), rate);
        let now = master.clock.monotonic();
        let turns = &master.repairer.turns;
        if is_silent || !turns.has_room(now, bytes, lane, master.config.sweep_every) {
            continue;
        }
        match prove(master, seen, view).await {
            Proof::Unknown => {
                silent.lock().unwrap_or_else(PoisonError::into_inner).insert(copy.node);
            }
            proof => return (Some(copy.node), proof),
        }
    }
    (None, Proof::Unknown)
}

async fn prove(master: &Master, seen: &Seen, view: &NodeView) -> Proof {
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

//! RegisterNode.

use cairn_core::ids::{CatalogId, NodeId};
use cairn_core::liveness::Membership;
use cairn_core::names::Zone;
use cairn_kv::{Durability, Snapshot, Txn};
use cairn_proto::error::refuse;
use cairn_proto::v1::{RegisterNodeRequest, RegisterNodeResponse};
use cairn_proto::{InvalidField, Reason, WireError, convert};
use cairn_runtime::InvalidAddress;
use tonic::Status;

use super::{invalid, report};
use crate::answer;
use crate::catalog::{NodeRecord, record};
use crate::config::millis;
use crate::error::{CatalogError, ForeignCatalog, NodeRemoved, operation_error};
use crate::master::Master;
use crate::nodes::Report;

operation_error! {
    /// Why a node is not registered.
    RegisterError {
        Catalog(CatalogError),
        Removed(NodeRemoved),
    }
}

/// Longest address of a node.
const MAX_ADDRESS_BYTES: usize = 512;

fn parse(
    master: &Master,
    request: RegisterNodeRequest,
) -> Result<(NodeId, NodeRecord, Report), InvalidField> {
    let node = convert::node_id(&request.node_id)?;
    let address = request.address;
    if address.len() > MAX_ADDRESS_BYTES {
        return Err(InvalidField::new("address", "use at most 512 bytes"));
    }
    let wrong = |problem: InvalidAddress| InvalidField::new("address", problem.to_string());
    master.peers.check(&address).map_err(wrong)?;
    let zone = Zone::new(request.zone)
        .map_err(|problem| InvalidField::new("zone", problem.to_string()))?;
    let report = report(request.status)?;
    let membership = Membership::Member;
    let record = NodeRecord { disks: report.incarnations(), address, zone, membership };
    Ok((node, record, report))
}

/// The catalog that the node has joined, if any.
fn joined(catalog: &[u8]) -> Result<Option<CatalogId>, InvalidField> {
    if catalog.is_empty() { Ok(None) } else { convert::catalog_id(catalog).map(Some) }
}

/// Writes what the node says of itself. Whether it belongs to the cluster stays as the operator wants it.
fn write(txn: &mut Txn<'_>, node: NodeId, said: NodeRecord) -> Result<NodeRecord, RegisterError> {
    let known = record::get::<NodeRecord>(txn, &node)?;
    let membership = known.map_or(Membership::Member, |known| known.membership);
    if membership == Membership::Removed {
        return Err(NodeRemoved(node).into());
    }
    let record = NodeRecord { membership, ..said };
    record::put(txn, &node, &record)?;
    Ok(record)
}

pub(super) async fn register_node(
    master: &Master,
    request: RegisterNodeRequest,
) -> Result<RegisterNodeResponse, Status> {
    let Some(ours) = master.catalog.get().copied() else {
        return Err(refuse(Reason::Busy, true, "the master has not read its catalog yet"));
    };
    let theirs = joined(&request.catalog_id).map_err(|field| invalid(&field))?;
    if let Some(theirs) = theirs.filter(|theirs| *theirs != ours) {
        tracing::warn!(target: "cairn", %theirs, %ours, address = request.address, "foreign node");
        return Err(ForeignCatalog { ours, theirs }.to_status());
    }
    let (node, new, report) = parse(master, request).map_err(|field| invalid(&field))?;
    let said = new.clone();
    let known = move |view: &Snapshot<'_>| -> Result<Option<NodeRecord>, RegisterError> {
        let known = record::get::<NodeRecord>(view, &node)?;
        Ok(known
            .filter(|known| *known == NodeRecord { membership: known.membership, ..said.clone() }))
    };
    let known = master.view(known).await?;
    let record = match known.filter(|known| known.membership != Membership::Removed) {
        Some(known) => known,
        None => {
            let write = move |txn: &mut Txn<'_>| write(txn, node, new.clone());
            // Nodes make themselves known again after a restore, and must be able to while too few keep the journal.
            let written = master.kv.transact_locally(Durability::Synced, write).await;
            written.map_err(answer::not_transacted)?
        }
    };
    master.nodes.register(node, record, report);
    let catalog_id = convert::bytes(ours.as_bytes());
    Ok(RegisterNodeResponse { heartbeat_ms: millis(master.config.heartbeat), catalog_id })
}

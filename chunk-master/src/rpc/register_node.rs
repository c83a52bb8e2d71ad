//! RegisterNode.

use cairn_core::ids::{CatalogId, NodeId};
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
use crate::error::{CatalogError, ForeignCatalog, operation_error};
use crate::master::Master;
use crate::nodes::Report;

operation_error! {
    /// Why a node is not registered.
    RegisterError {
        Catalog(CatalogError),
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
    let record = NodeRecord { disks: report.incarnations(), address, zone };
    Ok((node, record, report))
}

/// The catalog that the node has joined, if any.
fn joined(catalog: &[u8]) -> Result<Option<CatalogId>, InvalidField> {
    if catalog.is_empty() { Ok(None) } else { convert::catalog_id(catalog).map(Some) }
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
    let known = move |view: &Snapshot<'_>| -> Result<Option<NodeRecord>, RegisterError> {
        Ok(record::get(view, &node)?)
    };
    if master.view(known).await?.as_ref() != Some(&new) {
        let new = new.clone();
        let write = move |txn: &mut Txn<'_>| -> Result<(), RegisterError> {
            Ok(record::put(txn, &node, &new)?)
        };
        // Nodes make themselves known again after a restore, and must be able to while too few keep the journal.
        let written = master.kv.transact_locally(Durability::Synced, write).await;
        written.map_err(answer::not_transacted)?;
    }
    master.nodes.register(node, new, report);
    let catalog_id = convert::bytes(ours.as_bytes());
    Ok(RegisterNodeResponse { heartbeat_ms: millis(master.config.heartbeat), catalog_id })
}

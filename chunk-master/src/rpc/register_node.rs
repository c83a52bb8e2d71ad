//! RegisterNode.

use cairn_core::ids::NodeId;
use cairn_core::names::Zone;
use cairn_kv::{Durability, Snapshot, Txn};
use cairn_proto::v1::{RegisterNodeRequest, RegisterNodeResponse};
use cairn_proto::{InvalidField, convert};
use cairn_runtime::InvalidAddress;
use tonic::Status;

use super::{fullness, invalid};
use crate::catalog::{NodeRecord, record};
use crate::config::millis;
use crate::error::{CatalogError, operation_error};
use crate::master::Master;
use crate::nodes::Fullness;

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
) -> Result<(NodeId, NodeRecord, Fullness), InvalidField> {
    let node = convert::node_id(&request.node_id)?;
    let address = request.address;
    if address.len() > MAX_ADDRESS_BYTES {
        return Err(InvalidField::new("address", "use at most 512 bytes"));
    }
    let wrong = |problem: InvalidAddress| InvalidField::new("address", problem.to_string());
    master.peers.check(&address).map_err(wrong)?;
    let zone = Zone::new(request.zone)
        .map_err(|problem| InvalidField::new("zone", problem.to_string()))?;
    let disk = convert::disk(&request.disk)?;
    let record = NodeRecord { disk, address, zone };
    Ok((node, record, fullness(request.status)?))
}

pub(super) async fn register_node(
    master: &Master,
    request: RegisterNodeRequest,
) -> Result<RegisterNodeResponse, Status> {
    let (node, new, fullness) = parse(master, request).map_err(|field| invalid(&field))?;
    let known = move |view: &Snapshot<'_>| -> Result<Option<NodeRecord>, RegisterError> {
        Ok(record::get(view, &node)?)
    };
    if master.view(known).await?.as_ref() != Some(&new) {
        let new = new.clone();
        let write = move |txn: &mut Txn<'_>| -> Result<(), RegisterError> {
            Ok(record::put(txn, &node, &new)?)
        };
        master.transact(Durability::Synced, write).await?;
    }
    master.nodes.register(node, new, fullness);
    Ok(RegisterNodeResponse { heartbeat_ms: millis(master.config.heartbeat) })
}

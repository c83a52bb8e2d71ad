//! DrainNode, UndrainNode, GetNodeLeft and RemoveNode.

use cairn_core::ids::NodeId;
use cairn_core::liveness::Membership;
use cairn_kv::{Durability, Snapshot, Txn};
use cairn_proto::v1::{
    DrainNodeRequest, DrainNodeResponse, GetNodeLeftRequest, GetNodeLeftResponse,
    RemoveNodeRequest, RemoveNodeResponse, UndrainNodeRequest, UndrainNodeResponse,
};
use cairn_proto::{WireError, convert, v1};
use tonic::Status;

use crate::catalog::{NodeRecord, record};
use crate::error::{NoSuchNode, NodeKeepsJournal};
use crate::jobs::drain;
use crate::master::Master;
use crate::nodes::{self, MembershipError};

fn parse(node: &[u8]) -> Result<NodeId, Status> {
    convert::node_id(node).map_err(|field| field.to_status())
}

async fn left(master: &Master, node: NodeId) -> Result<v1::NodeLeft, Status> {
    let look = move |view: &Snapshot<'_>| -> Result<_, MembershipError> {
        let record = record::get::<NodeRecord>(view, &node)?.ok_or(NoSuchNode(node))?;
        Ok((record.membership, nodes::left(view, node)?))
    };
    let (membership, left) = master.view(look).await?;
    let journal = master.keeps_journal(node);
    let leaves = membership != Membership::Member;
    Ok(v1::NodeLeft {
        copies: left.copies,
        uploads: left.uploads,
        more: left.more,
        journal,
        safe_to_remove: leaves && left.is_nothing() && !journal,
    })
}

pub(super) async fn drain_node(
    master: &Master,
    request: &DrainNodeRequest,
) -> Result<DrainNodeResponse, Status> {
    let node = parse(&request.node_id)?;
    let now_ms = master.time.wall_ms();
    let job = master.jobs.beginning(now_ms);
    let change = move |txn: &mut Txn<'_>| drain::drain(txn, node, &job, now_ms);
    master.transact(Durability::Synced, change).await?;
    master.nodes.belongs(node, Membership::Draining);
    master.jobs.look_again();
    tracing::info!(target: "cairn", %node, "a node is drained");
    Ok(DrainNodeResponse { left: Some(left(master, node).await?) })
}

pub(super) async fn undrain_node(
    master: &Master,
    request: &UndrainNodeRequest,
) -> Result<UndrainNodeResponse, Status> {
    let (node, now_ms) = (parse(&request.node_id)?, master.time.wall_ms());
    let change = move |txn: &mut Txn<'_>| drain::undrain(txn, node, now_ms);
    master.transact(Durability::Synced, change).await?;
    master.nodes.belongs(node, Membership::Member);
    master.jobs.look_again();
    tracing::info!(target: "cairn", %node, "a node was let back");
    Ok(UndrainNodeResponse {})
}

pub(super) async fn get_node_left(
    master: &Master,
    request: &GetNodeLeftRequest,
) -> Result<GetNodeLeftResponse, Status> {
    let left = left(master, parse(&request.node_id)?).await?;
    Ok(GetNodeLeftResponse { left: Some(left) })
}

pub(super) async fn remove_node(
    master: &Master,
    request: &RemoveNodeRequest,
) -> Result<RemoveNodeResponse, Status> {
    let node = parse(&request.node_id)?;
    if master.keeps_journal(node) {
        return Err(NodeKeepsJournal(node).to_status());
    }
    let change = move |txn: &mut Txn<'_>| nodes::remove(txn, node);
    master.transact(Durability::Synced, change).await?;
    master.nodes.belongs(node, Membership::Removed);
    tracing::info!(target: "cairn", %node, "a node was removed");
    Ok(RemoveNodeResponse {})
}

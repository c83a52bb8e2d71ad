//! Heartbeat.

use cairn_core::ids::{DiskIncarnation, NodeId};
use cairn_proto::v1::{HeartbeatRequest, HeartbeatResponse};
use cairn_proto::{InvalidField, WireError, convert};
use tonic::Status;

use super::{fullness, invalid};
use crate::master::Master;
use crate::nodes::Fullness;

fn parse(request: &HeartbeatRequest) -> Result<(NodeId, DiskIncarnation, Fullness), InvalidField> {
    let node = convert::node_id(&request.node_id)?;
    let disk = convert::disk(&request.disk)?;
    Ok((node, disk, fullness(request.status)?))
}

pub(super) async fn heartbeat(
    master: &Master,
    request: HeartbeatRequest,
) -> Result<HeartbeatResponse, Status> {
    let (node, disk, fullness) = parse(&request).map_err(|field| invalid(&field))?;
    let heard = master.nodes.heartbeat(node, disk, fullness);
    heard.map_err(|unknown| unknown.to_status())?;
    Ok(HeartbeatResponse {})
}

//! Heartbeat.

use cairn_core::ids::NodeId;
use cairn_proto::v1::{HeartbeatRequest, HeartbeatResponse};
use cairn_proto::{InvalidField, WireError, convert};
use tonic::Status;

use super::{invalid, report};
use crate::master::Master;
use crate::nodes::Report;

fn parse(request: HeartbeatRequest) -> Result<(NodeId, Report), InvalidField> {
    Ok((convert::node_id(&request.node_id)?, report(request.status)?))
}

pub(super) async fn heartbeat(
    master: &Master,
    request: HeartbeatRequest,
) -> Result<HeartbeatResponse, Status> {
    let (node, report) = parse(request).map_err(|field| invalid(&field))?;
    let heard = master.nodes.heartbeat(node, report);
    heard.map_err(|unknown| unknown.to_status())?;
    Ok(HeartbeatResponse {})
}

//! ReportCopies.

use cairn_core::copies::CopyReport;
use cairn_core::ids::GatewayId;
use cairn_kv::{Durability, Txn};
use cairn_proto::InvalidField;
use cairn_proto::convert::{self, NodeCalls};
use cairn_proto::v1::{ReportCopiesRequest, ReportCopiesResponse};
use tonic::Status;

use super::{MAX_RECEIPTS, invalid};
use crate::master::Master;
use crate::object::report::report;

/// What a gateway or a node tells.
struct Told {
    reports: Vec<CopyReport>,
    /// Calls of a gateway.
    calls: Option<(GatewayId, Vec<NodeCalls>)>,
}

fn parse(request: ReportCopiesRequest) -> Result<Told, InvalidField> {
    let reports = convert::at_most("reports", MAX_RECEIPTS, request.reports)?;
    let calls = convert::at_most("calls", MAX_RECEIPTS, request.calls)?;
    let calls = match calls.is_empty() {
        true => None,
        false => Some((convert::gateway_id(&request.gateway_id)?, convert::each(calls)?)),
    };
    Ok(Told { reports: convert::each(reports)?, calls })
}

pub(super) async fn report_copies(
    master: &Master,
    request: ReportCopiesRequest,
) -> Result<ReportCopiesResponse, Status> {
    let Told { reports, calls } = parse(request).map_err(|field| invalid(&field))?;
    if let Some((gateway, calls)) = calls {
        master.nodes.told(gateway, &calls);
    }
    if reports.is_empty() {
        return Ok(ReportCopiesResponse {});
    }
    let closure = move |txn: &mut Txn<'_>| report(txn, &reports);
    let recorded = master.transact(Durability::Buffered, closure).await?;
    if recorded > 0 {
        tracing::warn!(target: "cairn", copies = recorded, "copies were found missing or wrong");
    }
    Ok(ReportCopiesResponse {})
}

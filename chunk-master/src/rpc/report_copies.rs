//! ReportCopies.

use cairn_core::copies::CopyReport;
use cairn_kv::{Durability, Txn};
use cairn_proto::v1::{ReportCopiesRequest, ReportCopiesResponse};
use cairn_proto::{InvalidField, convert};
use tonic::Status;

use super::{MAX_RECEIPTS, invalid};
use crate::master::Master;
use crate::object::report::report;

fn parse(request: ReportCopiesRequest) -> Result<Vec<CopyReport>, InvalidField> {
    convert::each(convert::at_most("reports", MAX_RECEIPTS, request.reports)?)
}

pub(super) async fn report_copies(
    master: &Master,
    request: ReportCopiesRequest,
) -> Result<ReportCopiesResponse, Status> {
    let reports = parse(request).map_err(|field| invalid(&field))?;
    let closure = move |txn: &mut Txn<'_>| report(txn, &reports);
    let recorded = master.transact(Durability::Buffered, closure).await?;
    if recorded > 0 {
        tracing::warn!(target: "cairn", copies = recorded, "copies were found missing or wrong");
    }
    Ok(ReportCopiesResponse {})
}

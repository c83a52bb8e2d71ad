//! AbortUpload.

use cairn_kv::{Durability, Txn};
use cairn_proto::v1::{AbortUploadRequest, AbortUploadResponse};
use cairn_proto::{InvalidField, convert};
use tonic::Status;

use super::{caller, invalid};
use crate::master::Master;
use crate::upload::abort::{Abort, abort};

fn parse(master: &Master, request: AbortUploadRequest) -> Result<Abort, InvalidField> {
    let (principal, _) = caller(request.caller)?;
    Ok(Abort {
        upload: convert::upload_id(&request.upload_id)?,
        principal,
        now_ms: master.time.steady_ms(),
        faults: master.config.faults(),
    })
}

pub(super) async fn abort_upload(
    master: &Master,
    request: AbortUploadRequest,
) -> Result<AbortUploadResponse, Status> {
    let request = parse(master, request).map_err(|field| invalid(&field))?;
    let upload = request.upload;
    let closure = move |txn: &mut Txn<'_>| abort(txn, &request);
    if master.transact(Durability::Synced, closure).await? {
        master.metrics.aborted.inc();
        master.gave_back();
        tracing::info!(target: "cairn", %upload, "upload aborted");
    }
    Ok(AbortUploadResponse {})
}

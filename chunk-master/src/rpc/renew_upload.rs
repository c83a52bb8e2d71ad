//! RenewUpload.

use cairn_core::ids::UploadId;
use cairn_core::names::Principal;
use cairn_kv::{Durability, Txn};
use cairn_proto::v1::{RenewUploadRequest, RenewUploadResponse};
use cairn_proto::{InvalidField, convert};
use tonic::Status;

use super::{caller, invalid};
use crate::master::Master;
use crate::upload::renew;

fn parse(request: RenewUploadRequest) -> Result<(UploadId, Principal), InvalidField> {
    let (principal, _) = caller(request.caller)?;
    Ok((convert::upload_id(&request.upload_id)?, principal))
}

pub(super) async fn renew_upload(
    master: &Master,
    request: RenewUploadRequest,
) -> Result<RenewUploadResponse, Status> {
    let (upload, principal) = parse(request).map_err(|field| invalid(&field))?;
    let until = master.lease_until_ms();
    let closure = move |txn: &mut Txn<'_>| renew(txn, upload, &principal, until);
    master.transact(Durability::Buffered, closure).await?;
    Ok(RenewUploadResponse {})
}

//! DeleteObject.

use cairn_kv::{Durability, Txn};
use cairn_proto::v1::{DeleteObjectRequest, DeleteObjectResponse};
use cairn_proto::{InvalidField, convert};
use tonic::Status;

use super::{bucket_key, caller, condition, invalid};
use crate::config::millis;
use crate::master::Master;
use crate::object::delete::{Delete, delete};

fn parse(master: &Master, request: DeleteObjectRequest) -> Result<Delete, InvalidField> {
    let (principal, call) = caller(request.caller)?;
    Ok(Delete {
        call,
        bucket: bucket_key(&principal, &request.bucket)?,
        principal,
        key: convert::key(request.key)?,
        condition: condition(request.condition)?,
        condemned_ms: master.time.later_ms(),
        keep_until_ms: master.time.steady_ms().saturating_add(millis(master.config.remember_for)),
    })
}

pub(super) async fn delete_object(
    master: &Master,
    request: DeleteObjectRequest,
) -> Result<DeleteObjectResponse, Status> {
    let request = parse(master, request).map_err(|field| invalid(&field))?;
    let closure = move |txn: &mut Txn<'_>| delete(txn, &request);
    let version = master.transact(Durability::Synced, closure).await?;
    master.gave_back();
    tracing::info!(target: "cairn", %version, "object deleted");
    Ok(DeleteObjectResponse { version_id: convert::bytes(version.as_bytes()) })
}

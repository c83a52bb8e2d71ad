//! DeleteObject.

use cairn_kv::Txn;
use cairn_proto::v1::{DeleteObjectRequest, DeleteObjectResponse};
use cairn_proto::{InvalidField, convert};
use tonic::Status;

use super::{bucket_key, caller, condition, invalid};
use crate::config::{SeededBug, millis};
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
        moment: master.moment(),
        keep_until_ms: master.time.steady_ms().saturating_add(millis(master.config.remember_for)),
    })
}

pub(super) async fn delete_object(
    master: &Master,
    request: DeleteObjectRequest,
) -> Result<DeleteObjectResponse, Status> {
    let request = parse(master, request).map_err(|field| invalid(&field))?;
    let closure = move |txn: &mut Txn<'_>| delete(txn, &request);
    let durability = master.acknowledged(SeededBug::BufferedDelete);
    let version = master.transact(durability, closure).await?;
    master.gave_back();
    tracing::info!(target: "cairn", %version, "object deleted");
    Ok(DeleteObjectResponse { version_id: convert::bytes(version.as_bytes()) })
}

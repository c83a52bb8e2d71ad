//! StatObject.

use cairn_core::names::ObjectKey;
use cairn_kv::Snapshot;
use cairn_proto::v1::{StatObjectRequest, StatObjectResponse};
use cairn_proto::{InvalidField, convert};
use tonic::Status;

use super::{bucket_key, invalid};
use crate::catalog::BucketKey;
use crate::master::Master;
use crate::object::head;

fn parse(request: StatObjectRequest) -> Result<(BucketKey, ObjectKey), InvalidField> {
    let principal = convert::principal(request.principal)?;
    let bucket = bucket_key(&principal, &request.bucket)?;
    Ok((bucket, convert::key(request.key)?))
}

pub(super) async fn stat_object(
    master: &Master,
    request: StatObjectRequest,
) -> Result<StatObjectResponse, Status> {
    let (bucket, key) = parse(request).map_err(|field| invalid(&field))?;
    let closure = move |view: &Snapshot<'_>| head::version(view, &bucket, &key);
    let version = master.view(closure).await?;
    Ok(StatObjectResponse { object: Some((&version.info).into()) })
}

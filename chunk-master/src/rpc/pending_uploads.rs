//! PendingUploads.

use cairn_core::ids::UploadId;
use cairn_core::names::ObjectKey;
use cairn_kv::Snapshot;
use cairn_proto::v1::{PendingUploadsRequest, PendingUploadsResponse};
use cairn_proto::{InvalidField, convert};
use tonic::Status;

use super::{bucket_key, invalid};
use crate::bucket::{self, NoBucket};
use crate::catalog::{BucketKey, Pending, record};
use crate::error::{CatalogError, operation_error};
use crate::master::Master;

/// Most uploads of one answer: whoever waits for more names waits for some of them.
const MAX_PENDING: usize = 100;

operation_error! {
    /// Why it is not known which uploads are open.
    PendingError {
        Catalog(CatalogError),
        Bucket(NoBucket),
    }
}

fn parse(request: PendingUploadsRequest) -> Result<(BucketKey, ObjectKey), InvalidField> {
    let principal = convert::principal(request.principal)?;
    let bucket = bucket_key(&principal, &request.bucket)?;
    Ok((bucket, convert::key(request.key)?))
}

pub(super) async fn pending_uploads(
    master: &Master,
    request: PendingUploadsRequest,
) -> Result<PendingUploadsResponse, Status> {
    let (bucket, key) = parse(request).map_err(|field| invalid(&field))?;
    let closure = move |view: &Snapshot<'_>| -> Result<Vec<UploadId>, PendingError> {
        bucket::live(view, &bucket)?;
        let range = record::prefixed::<Pending>(|parts| {
            let parts = parts.text(bucket.tenant.as_str()).text(bucket.bucket.as_str());
            parts.text(key.as_str());
        });
        let found = record::scan::<Pending>(view, &range, MAX_PENDING)?;
        Ok(found.into_iter().map(|(key, _)| key.upload).collect())
    };
    let open = master.view(closure).await?;
    let upload_ids = open.iter().map(|id| convert::bytes(id.as_bytes())).collect();
    Ok(PendingUploadsResponse { upload_ids })
}

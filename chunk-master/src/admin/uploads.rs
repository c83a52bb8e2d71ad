//! ListUploads.

use cairn_core::ids::{InvalidId, UploadId};
use cairn_kv::Snapshot;
use cairn_proto::v1::{ListUploadsRequest, ListUploadsResponse, OpenUpload};
use cairn_proto::{InvalidField, WireError, convert};
use tonic::Status;

use super::limit;
use crate::catalog::{Upload, record};
use crate::error::{CatalogError, operation_error};
use crate::master::Master;

operation_error! {
    /// Why uploads are not listed.
    UploadsError {
        Catalog(CatalogError),
    }
}

fn parse(request: &ListUploadsRequest) -> Result<(Option<UploadId>, usize), InvalidField> {
    let after = if request.after.is_empty() {
        None
    } else {
        let wrong = |problem: InvalidId| InvalidField::new("after", problem.to_string());
        Some(UploadId::from_slice(&request.after).map_err(wrong)?)
    };
    Ok((after, limit(request.limit)?))
}

fn tell(id: UploadId, upload: &Upload) -> OpenUpload {
    OpenUpload {
        upload_id: convert::bytes(id.as_bytes()),
        bucket: upload.bucket.to_string(),
        key: upload.key.to_string(),
        blob_id: convert::bytes(upload.blob.as_bytes()),
        reserved_bytes: upload.reserved,
        confirmed_bytes: upload.progress.bytes,
        lease_until_ms: upload.lease_until_ms,
    }
}

pub(super) async fn list_uploads(
    master: &Master,
    request: ListUploadsRequest,
) -> Result<ListUploadsResponse, Status> {
    let (after, limit) = parse(&request).map_err(|field| field.to_status())?;
    let closure = move |view: &Snapshot<'_>| -> Result<Vec<(UploadId, Upload)>, UploadsError> {
        let mut range = record::all::<Upload>();
        if let Some(after) = after {
            range = range.after(record::key_of::<Upload>(&after));
        }
        Ok(record::scan(view, &range, limit + 1)?)
    };
    let found = master.view(closure).await?;
    let uploads = found.iter().take(limit).map(|(id, upload)| tell(*id, upload));
    Ok(ListUploadsResponse { uploads: uploads.collect(), more: found.len() > limit })
}

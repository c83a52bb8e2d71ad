//! Asks the master where a range lies.

use std::time::Duration;

use cairn_core::names::{BucketName, ObjectKey};
use cairn_core::object::{ObjectInfo, VersionId};
use cairn_core::range::ByteRange;
use cairn_proto::v1::master_client::MasterClient;
use cairn_proto::{convert, v1};
use cairn_runtime::PeerChannel;

use super::{DownloadError, Located};
use crate::master::{CallContext, Master};

/// Names what is read.
pub(super) struct What<'a> {
    pub(super) bucket: &'a BucketName,
    pub(super) key: &'a ObjectKey,
    /// The version to go on with; nothing for the current one.
    pub(super) version: Option<VersionId>,
}

/// The page of `range` that begins at its start.
pub(super) async fn locate(
    master: &Master,
    context: &CallContext,
    what: What<'_>,
    range: ByteRange,
) -> Result<Located, DownloadError> {
    let version_id = what.version.map(|version| convert::bytes(version.as_bytes()));
    let request = v1::LocateRequest {
        principal: Some(context.principal()),
        bucket: what.bucket.to_string(),
        key: what.key.to_string(),
        version_id: version_id.unwrap_or_default(),
        offset: range.offset,
        length: range.length,
    };
    let call = |mut client: MasterClient<PeerChannel>, request| async move {
        client.locate(request).await
    };
    let answer = master.call(context, request, call).await?;
    Ok(Located {
        object: convert::object(answer.object)?,
        chunks: convert::each(answer.chunks)?,
        next_offset: answer.next_offset,
        lease: Duration::from_millis(answer.lease_ms),
        read: convert::strategy("read", &answer.read)?,
    })
}

/// What is known of the current version.
pub(super) async fn stat(
    master: &Master,
    context: &CallContext,
    bucket: &BucketName,
    key: &ObjectKey,
) -> Result<ObjectInfo, DownloadError> {
    let request = v1::StatObjectRequest {
        principal: Some(context.principal()),
        bucket: bucket.to_string(),
        key: key.to_string(),
    };
    let call = |mut client: MasterClient<PeerChannel>, request| async move {
        client.stat_object(request).await
    };
    let answer = master.call(context, request, call).await?;
    Ok(convert::object(answer.object)?)
}

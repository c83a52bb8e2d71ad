//! ListCondemned and Undelete.

use bytes::Bytes;
use cairn_core::names::TenantId;
use cairn_core::object::VersionId;
use cairn_kv::{Durability, Snapshot, Txn};
use cairn_proto::v1::{
    CondemnedVersion, ListCondemnedRequest, ListCondemnedResponse, UndeleteRequest,
    UndeleteResponse,
};
use cairn_proto::{InvalidField, WireError, convert};
use tonic::Status;

use super::{limit, tenant};
use crate::catalog::{Condemned, CondemnedKey, Version, VersionKey, VersionState, record};
use crate::error::{CatalogError, operation_error};
use crate::master::Master;
use crate::object::undelete::undelete as restore;

operation_error! {
    /// Why condemned versions are not listed.
    ListCondemnedError {
        Catalog(CatalogError),
    }
}

/// What is asked for.
struct Wanted {
    tenant: TenantId,
    /// Empty: every bucket.
    bucket: String,
    prefix: String,
    after: Option<CondemnedKey>,
    limit: usize,
}

impl TryFrom<ListCondemnedRequest> for Wanted {
    type Error = InvalidField;

    fn try_from(request: ListCondemnedRequest) -> Result<Self, InvalidField> {
        let ListCondemnedRequest { tenant: whose, bucket, prefix, after, limit: most } = request;
        if !bucket.is_empty() {
            convert::bucket(&bucket)?;
        }
        let tenant = tenant("tenant", &whose)?;
        let after = cursor(&after)?;
        Ok(Self { tenant, bucket, prefix, after, limit: limit(most)? })
    }
}

/// A page's place in the queue of all tenants: until when, as 8 bytes big-endian, the version, and whose it is.
fn cursor(after: &[u8]) -> Result<Option<CondemnedKey>, InvalidField> {
    const ID_BYTES: usize = 16;
    if after.is_empty() {
        return Ok(None);
    }
    let wrong = || InvalidField::new("after", "is no place of a page");
    let (until, rest) = after.split_first_chunk().ok_or_else(wrong)?;
    let (version, tenant) = rest.split_first_chunk::<ID_BYTES>().ok_or_else(wrong)?;
    let version = VersionId::from_slice(version).map_err(|_| wrong())?;
    let tenant = str::from_utf8(tenant).map_err(|_| wrong())?;
    let tenant = TenantId::new(tenant).map_err(|_| wrong())?;
    Ok(Some(CondemnedKey { until_ms: u64::from_be_bytes(*until), tenant, version }))
}

fn place(key: &CondemnedKey) -> Bytes {
    let CondemnedKey { until_ms, tenant, version } = key;
    [&until_ms.to_be_bytes()[..], version.as_bytes(), tenant.as_str().as_bytes()].concat().into()
}

/// A page, and where the next one begins.
type Page = (Vec<(CondemnedKey, Version)>, Option<CondemnedKey>);

fn page(view: &Snapshot<'_>, wanted: &Wanted) -> Result<Page, ListCondemnedError> {
    let mut range = record::all::<Condemned>();
    if let Some(after) = &wanted.after {
        range = range.after(record::key_of::<Condemned>(after));
    }
    let looked_at = record::scan::<Condemned>(view, &range, wanted.limit)?;
    let full = looked_at.len() == wanted.limit;
    let next = looked_at.last().filter(|_| full).map(|(key, _)| key.clone());
    let mut versions = Vec::new();
    for (key, _) in looked_at {
        if key.tenant != wanted.tenant {
            continue;
        }
        let name = VersionKey { tenant: key.tenant.clone(), version: key.version };
        let version: Version = record::must_get(view, &name)?;
        let bucket = &version.info.bucket;
        let in_bucket = wanted.bucket.is_empty() || bucket.as_str() == wanted.bucket;
        if in_bucket && version.info.key.as_str().starts_with(&wanted.prefix) {
            versions.push((key, version));
        }
    }
    Ok((versions, next))
}

pub(super) async fn list_condemned(
    master: &Master,
    request: ListCondemnedRequest,
) -> Result<ListCondemnedResponse, Status> {
    let wanted = Wanted::try_from(request).map_err(|field| field.to_status())?;
    let (versions, next) = master.view(move |view| page(view, &wanted)).await?;
    let versions = versions.into_iter().map(|(key, version)| CondemnedVersion {
        object: Some((&version.info).into()),
        since_ms: match version.state {
            VersionState::Condemned { since_ms, .. } => since_ms,
            VersionState::Current => 0,
        },
        until_ms: key.until_ms,
    });
    let next_after = next.as_ref().map(place).unwrap_or_default();
    Ok(ListCondemnedResponse { versions: versions.collect(), next_after })
}

pub(super) async fn undelete(
    master: &Master,
    request: UndeleteRequest,
) -> Result<UndeleteResponse, Status> {
    let tenant = tenant("tenant", &request.tenant).map_err(|field| field.to_status())?;
    let version = convert::version_id(&request.version_id).map_err(|field| field.to_status())?;
    let faults = master.config.faults();
    let closure = move |txn: &mut Txn<'_>| restore(txn, &tenant, version, faults);
    let object = master.transact(Durability::Synced, closure).await?;
    tracing::info!(target: "cairn", bucket = %object.bucket, key = %object.key, %version, "undeleted");
    Ok(UndeleteResponse { object: Some((&object).into()) })
}

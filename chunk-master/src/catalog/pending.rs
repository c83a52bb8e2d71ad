//! Pending: which uploads of a name are open, for readers that wait for them.
//!
//! Key: tenant, bucket, key, upload. Lifetime: that of the upload's own record.

use cairn_core::ids::UploadId;
use cairn_core::names::{BucketName, ObjectKey, TenantId};

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};
use super::upload::Upload;

/// Names an open upload by what it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingKey {
    pub(crate) tenant: TenantId,
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
    pub(crate) upload: UploadId,
}

impl PendingKey {
    /// Of an upload.
    pub(crate) fn of(id: UploadId, upload: &Upload) -> Self {
        Self {
            tenant: upload.principal.tenant.clone(),
            bucket: upload.bucket.clone(),
            key: upload.key.clone(),
            upload: id,
        }
    }
}

/// All is in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pending;

impl Record for Pending {
    type Key = PendingKey;
    const TABLE: Table = Table::Pending;

    fn write_key(key: &PendingKey, parts: &mut KeyWriter) {
        let parts = parts.text(key.tenant.as_str()).text(key.bucket.as_str());
        parts.text(key.key.as_str()).id(key.upload.as_bytes());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<PendingKey, Malformed> {
        Ok(PendingKey {
            tenant: TenantId::new(parts.text()?)?,
            bucket: BucketName::new(parts.text()?)?,
            key: ObjectKey::new(parts.text()?)?,
            upload: UploadId::from_slice(&parts.id()?)?,
        })
    }

    fn to_payload(&self) -> Vec<u8> {
        Vec::new()
    }

    fn from_payload(_: &[u8]) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_pending_upload_round_trips() {
        let key = PendingKey {
            tenant: TenantId::standard(),
            bucket: BucketName::standard(),
            key: ObjectKey::new("a/b").expect("a key"),
            upload: UploadId::from_uuid(Uuid::from_u128(1)),
        };
        round_trips(&key, &Pending);
    }
}

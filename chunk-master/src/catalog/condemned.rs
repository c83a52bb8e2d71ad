//! Condemned: versions that wait to be purged, those whose wait ends first in front; and the same by bucket.
//!
//! Key: end of the wait, tenant, version; and tenant, bucket, end of the wait, version. Lifetime: both from condemnation
//! until the version is purged or comes back.

use cairn_core::names::{BucketName, TenantId};
use cairn_core::object::VersionId;

use super::bucket::BucketKey;
use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// Which version, and until when it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CondemnedKey {
    pub(crate) until_ms: u64,
    pub(crate) tenant: TenantId,
    pub(crate) version: VersionId,
}

/// All is in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condemned;

impl Record for Condemned {
    type Key = CondemnedKey;
    const TABLE: Table = Table::Condemned;

    fn write_key(key: &CondemnedKey, parts: &mut KeyWriter) {
        parts.u64(key.until_ms).text(key.tenant.as_str()).id(key.version.as_bytes());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<CondemnedKey, Malformed> {
        Ok(CondemnedKey {
            until_ms: parts.u64()?,
            tenant: TenantId::new(parts.text()?)?,
            version: VersionId::from_slice(&parts.id()?)?,
        })
    }

    fn to_payload(&self) -> Vec<u8> {
        Vec::new()
    }

    fn from_payload(_: &[u8]) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

/// Which version of a bucket, and until when it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BucketCondemnedKey {
    pub(crate) bucket: BucketKey,
    pub(crate) until_ms: u64,
    pub(crate) version: VersionId,
}

/// All is in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BucketCondemned;

impl Record for BucketCondemned {
    type Key = BucketCondemnedKey;
    const TABLE: Table = Table::BucketCondemned;

    fn write_key(key: &BucketCondemnedKey, parts: &mut KeyWriter) {
        let BucketKey { tenant, bucket } = &key.bucket;
        parts.text(tenant.as_str()).text(bucket.as_str());
        parts.u64(key.until_ms).id(key.version.as_bytes());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<BucketCondemnedKey, Malformed> {
        let (tenant, bucket) = (TenantId::new(parts.text()?)?, BucketName::new(parts.text()?)?);
        Ok(BucketCondemnedKey {
            bucket: BucketKey { tenant, bucket },
            until_ms: parts.u64()?,
            version: VersionId::from_slice(&parts.id()?)?,
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
    fn a_condemned_version_round_trips() {
        let version = VersionId::from_uuid(Uuid::from_u128(1));
        let tenant = TenantId::standard();
        let key = CondemnedKey { until_ms: 5, tenant: tenant.clone(), version };
        round_trips(&key, &Condemned);
        let bucket = BucketKey { tenant, bucket: BucketName::standard() };
        let key = BucketCondemnedKey { bucket, until_ms: 5, version };
        round_trips(&key, &BucketCondemned);
    }
}

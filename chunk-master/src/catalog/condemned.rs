//! Condemned: versions that wait to be purged, oldest first.
//!
//! Key: time of condemnation, tenant, version. Lifetime: from condemnation until the version is purged
//! or comes back.

use cairn_core::names::TenantId;
use cairn_core::object::VersionId;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// Which version, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CondemnedKey {
    pub(crate) since_ms: u64,
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
        parts.u64(key.since_ms).text(key.tenant.as_str()).id(key.version.as_bytes());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<CondemnedKey, Malformed> {
        Ok(CondemnedKey {
            since_ms: parts.u64()?,
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_condemned_version_round_trips() {
        let key = CondemnedKey {
            since_ms: 5,
            tenant: TenantId::standard(),
            version: VersionId::from_uuid(Uuid::from_u128(1)),
        };
        round_trips(&key, &Condemned);
    }
}

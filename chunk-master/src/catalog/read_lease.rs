//! Read lease: a condemned version that somebody reads still.
//!
//! Key: tenant, version. Lifetime: from the first reader who asks for a condemned version until the version is purged. A
//! version that has a name needs none: condemned, it waits for longer than a lease lasts.

use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};
use super::version::{Version, VersionKey};

/// Until when the version is not purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadLease {
    /// In steady time.
    pub(crate) until_ms: u64,
}

#[derive(Message)]
struct Payload {
    #[prost(uint64, tag = "1")]
    until_ms: u64,
}

impl Record for ReadLease {
    type Key = VersionKey;
    const TABLE: Table = Table::ReadLease;

    fn write_key(key: &VersionKey, parts: &mut KeyWriter) {
        Version::write_key(key, parts);
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<VersionKey, Malformed> {
        Version::read_key(parts)
    }

    fn to_payload(&self) -> Vec<u8> {
        Payload { until_ms: self.until_ms }.encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let Payload { until_ms } = Payload::decode(payload)?;
        Ok(Self { until_ms })
    }
}

#[cfg(test)]
mod tests {
    use cairn_core::names::TenantId;
    use cairn_core::object::VersionId;
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_read_lease_round_trips() {
        let version = VersionId::from_uuid(Uuid::from_u128(1));
        let key = VersionKey { tenant: TenantId::standard(), version };
        round_trips(&key, &ReadLease { until_ms: 9 });
    }
}

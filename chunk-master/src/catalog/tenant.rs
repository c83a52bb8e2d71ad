//! Tenant: exists, so that buckets can be created in it.
//!
//! Key: tenant. Lifetime: from creation until it is deleted without buckets; the tenant `default` for ever. What it may
//! hold and holds is in its account.

use cairn_core::names::TenantId;
use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// A tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tenant {
    /// For people.
    pub(crate) created_ms: u64,
}

#[derive(Message)]
struct Payload {
    #[prost(uint64, tag = "1")]
    created_ms: u64,
}

impl Record for Tenant {
    type Key = TenantId;
    const TABLE: Table = Table::Tenant;

    fn write_key(key: &TenantId, parts: &mut KeyWriter) {
        parts.text(key.as_str());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<TenantId, Malformed> {
        Ok(TenantId::new(parts.text()?)?)
    }

    fn to_payload(&self) -> Vec<u8> {
        Payload { created_ms: self.created_ms }.encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let Payload { created_ms } = Payload::decode(payload)?;
        Ok(Self { created_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_tenant_round_trips() {
        round_trips(&TenantId::standard(), &Tenant { created_ms: 5 });
    }
}

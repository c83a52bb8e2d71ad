//! Deletion: what a `DeleteObject` answered.
//!
//! Key: the caller's idempotency key. Lifetime: from the deletion for a while, so that a repeat does
//! not delete what was written since; then the sweeper removes it.

use cairn_core::names::{Principal, TenantId, UserId};
use cairn_core::object::VersionId;
use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// The idempotency key of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DeletionKey(pub(crate) [u8; 16]);

/// A deletion that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deletion {
    pub(crate) principal: Principal,
    pub(crate) version: VersionId,
}

#[derive(Message)]
struct Payload {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(string, tag = "2")]
    user: String,
    #[prost(bytes = "vec", tag = "3")]
    version: Vec<u8>,
}

impl Record for Deletion {
    type Key = DeletionKey;
    const TABLE: Table = Table::Deletion;

    fn write_key(key: &DeletionKey, parts: &mut KeyWriter) {
        parts.id(&key.0);
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<DeletionKey, Malformed> {
        Ok(DeletionKey(parts.id()?))
    }

    fn to_payload(&self) -> Vec<u8> {
        Payload {
            tenant: self.principal.tenant.to_string(),
            user: self.principal.user.to_string(),
            version: self.version.as_bytes().to_vec(),
        }
        .encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let read = Payload::decode(payload)?;
        Ok(Self {
            principal: Principal {
                tenant: TenantId::new(read.tenant)?,
                user: UserId::new(read.user)?,
            },
            version: VersionId::from_slice(&read.version)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_deletion_round_trips() {
        let deletion = Deletion {
            principal: Principal::standard(),
            version: VersionId::from_uuid(Uuid::from_u128(1)),
        };
        round_trips(&DeletionKey([3; 16]), &deletion);
    }
}

//! Finished: how an upload ended.
//!
//! Key: upload. Lifetime: from commit or abort for a while, so that a repeated Commit or Abort gets the
//! same answer; then the sweeper removes it.

use cairn_core::ids::UploadId;
use cairn_core::names::{Principal, TenantId, UserId};
use cairn_core::object::{Durability, ObjectInfo};
use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};
use super::version::InfoPayload;

/// What a commit answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) object: ObjectInfo,
    /// The name existed before.
    pub(crate) replaced: bool,
    pub(crate) durability: Durability,
}

/// How an upload ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed(Box<Committed>),
    Aborted,
}

/// An upload that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) principal: Principal,
    pub(crate) finished_ms: u64,
    pub(crate) outcome: Outcome,
}

#[derive(Message)]
struct CommittedPayload {
    #[prost(message, required, tag = "1")]
    object: InfoPayload,
    #[prost(bool, tag = "2")]
    replaced: bool,
    #[prost(uint32, tag = "3")]
    copies: u32,
    #[prost(uint32, tag = "4")]
    hosts: u32,
    #[prost(uint32, tag = "5")]
    zones: u32,
    #[prost(uint32, tag = "6")]
    meta: u32,
    #[prost(uint32, tag = "7")]
    wanted: u32,
}

#[derive(Message)]
struct Payload {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(string, tag = "2")]
    user: String,
    #[prost(uint64, tag = "3")]
    finished_ms: u64,
    /// Absent: aborted.
    #[prost(message, optional, tag = "4")]
    committed: Option<CommittedPayload>,
}

impl From<&Committed> for CommittedPayload {
    fn from(committed: &Committed) -> Self {
        let Durability { copies, hosts, zones, meta, wanted } = committed.durability;
        Self {
            object: (&committed.object).into(),
            replaced: committed.replaced,
            copies,
            hosts,
            zones,
            meta,
            wanted,
        }
    }
}

impl TryFrom<CommittedPayload> for Committed {
    type Error = Malformed;

    fn try_from(read: CommittedPayload) -> Result<Self, Malformed> {
        Ok(Self {
            object: read.object.try_into()?,
            replaced: read.replaced,
            durability: Durability {
                copies: read.copies,
                hosts: read.hosts,
                zones: read.zones,
                meta: read.meta,
                wanted: read.wanted,
            },
        })
    }
}

impl Record for Finished {
    type Key = UploadId;
    const TABLE: Table = Table::Finished;

    fn write_key(key: &UploadId, parts: &mut KeyWriter) {
        parts.id(key.as_bytes());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<UploadId, Malformed> {
        Ok(UploadId::from_slice(&parts.id()?)?)
    }

    fn to_payload(&self) -> Vec<u8> {
        let committed = match &self.outcome {
            Outcome::Committed(committed) => Some(committed.as_ref().into()),
            Outcome::Aborted => None,
        };
        Payload {
            tenant: self.principal.tenant.to_string(),
            user: self.principal.user.to_string(),
            finished_ms: self.finished_ms,
            committed,
        }
        .encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let read = Payload::decode(payload)?;
        let outcome = match read.committed {
            Some(committed) => Outcome::Committed(Box::new(committed.try_into()?)),
            None => Outcome::Aborted,
        };
        Ok(Self {
            principal: Principal {
                tenant: TenantId::new(read.tenant)?,
                user: UserId::new(read.user)?,
            },
            finished_ms: read.finished_ms,
            outcome,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;
    use crate::catalog::version::tests::info;

    #[test]
    fn both_ends_of_an_upload_round_trip() {
        let key = UploadId::from_uuid(Uuid::from_u128(1));
        let committed = Committed {
            object: info(),
            replaced: true,
            durability: Durability { copies: 2, hosts: 6, zones: 2, meta: 1, wanted: 3 },
        };
        for outcome in [Outcome::Committed(Box::new(committed)), Outcome::Aborted] {
            let finished = Finished { principal: Principal::standard(), finished_ms: 4, outcome };
            round_trips(&key, &finished);
        }
    }
}

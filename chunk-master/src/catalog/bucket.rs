//! Bucket: exists, and counts the commits in it.
//!
//! Key: tenant, bucket. Lifetime: from creation on; the bucket `default` of the tenant `default` from
//! the first start of the master.

use cairn_core::names::{BucketName, TenantId};
use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// Names a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BucketKey {
    pub(crate) tenant: TenantId,
    pub(crate) bucket: BucketName,
}

/// A bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Sequence number of the next commit: order is commit order, never a clock.
    pub(crate) next_sequence: u64,
}

#[derive(Message)]
struct Payload {
    #[prost(uint64, tag = "1")]
    next_sequence: u64,
}

impl Record for Bucket {
    type Key = BucketKey;
    const TABLE: Table = Table::Bucket;

    fn write_key(key: &BucketKey, parts: &mut KeyWriter) {
        parts.text(key.tenant.as_str()).text(key.bucket.as_str());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<BucketKey, Malformed> {
        Ok(BucketKey {
            tenant: TenantId::new(parts.text()?)?,
            bucket: BucketName::new(parts.text()?)?,
        })
    }

    fn to_payload(&self) -> Vec<u8> {
        let next_sequence = self.next_sequence;
        Payload { next_sequence }.encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let Payload { next_sequence } = Payload::decode(payload)?;
        Ok(Self { next_sequence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_bucket_round_trips() {
        let key = BucketKey { tenant: TenantId::standard(), bucket: BucketName::standard() };
        round_trips(&key, &Bucket { next_sequence: 9 });
    }
}

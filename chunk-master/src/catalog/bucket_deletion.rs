//! Bucket deletion: buckets that are being deleted with their contents.
//!
//! Key: tenant, bucket. Lifetime: from the bucket's step to Deleting until its record goes, in the same transactions.

use cairn_core::names::{BucketName, TenantId};

use super::bucket::BucketKey;
use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// All is in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BucketDeletion;

impl Record for BucketDeletion {
    type Key = BucketKey;
    const TABLE: Table = Table::BucketDeletion;

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
        Vec::new()
    }

    fn from_payload(_: &[u8]) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_bucket_deletion_round_trips() {
        let key = BucketKey { tenant: TenantId::standard(), bucket: BucketName::standard() };
        round_trips(&key, &BucketDeletion);
    }
}

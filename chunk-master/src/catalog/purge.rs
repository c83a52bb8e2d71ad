//! Purge queue: blobs that are being erased.
//!
//! Key: blob. Lifetime: from the blob's step to Purging until it is erased everywhere.

use cairn_core::ids::BlobId;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// All is in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PurgeQueued;

impl Record for PurgeQueued {
    type Key = BlobId;
    const TABLE: Table = Table::PurgeQueue;

    fn write_key(key: &BlobId, parts: &mut KeyWriter) {
        parts.id(key.as_bytes());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<BlobId, Malformed> {
        Ok(BlobId::from_slice(&parts.id()?)?)
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
    fn a_queued_blob_round_trips() {
        round_trips(&BlobId::from_uuid(Uuid::from_u128(1)), &PurgeQueued);
    }
}

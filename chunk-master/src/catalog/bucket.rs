//! Bucket: exists, says what it asks for, and counts the commits in it.
//!
//! Key: tenant, bucket. Lifetime: from creation until it is deleted and nothing is left of what was in it; the bucket
//! `default` of the tenant `default` from the first start of the master. What it may hold and holds is in its account.

use cairn_core::bucket::{BucketPolicy, BucketState, DurabilityLevel};
use cairn_core::names::{BucketName, TenantId};
use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// Names a bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BucketKey {
    pub(crate) tenant: TenantId,
    pub(crate) bucket: BucketName,
}

/// A bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Sequence number of the next commit: order is commit order, never a clock.
    pub(crate) next_sequence: u64,
    pub(crate) state: BucketState,
    pub(crate) policy: BucketPolicy,
    /// For people.
    pub(crate) created_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum State {
    Unknown = 0,
    Live = 1,
    Deleting = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum Level {
    Unknown = 0,
    Synced = 1,
}

#[derive(Message)]
struct PolicyPayload {
    #[prost(uint32, optional, tag = "1")]
    copies: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    zones: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    least_copies: Option<u32>,
    #[prost(enumeration = "Level", optional, tag = "4")]
    durability: Option<i32>,
    #[prost(bool, optional, tag = "5")]
    sha256: Option<bool>,
    #[prost(uint64, optional, tag = "6")]
    retention_seconds: Option<u64>,
    #[prost(string, optional, tag = "7")]
    write: Option<String>,
    #[prost(string, optional, tag = "8")]
    read: Option<String>,
}

#[derive(Message)]
struct Payload {
    #[prost(uint64, tag = "1")]
    next_sequence: u64,
    #[prost(enumeration = "State", tag = "2")]
    state: i32,
    #[prost(message, required, tag = "3")]
    policy: PolicyPayload,
    #[prost(uint64, tag = "4")]
    created_ms: u64,
}

impl From<&BucketPolicy> for PolicyPayload {
    fn from(policy: &BucketPolicy) -> Self {
        let level = |level: DurabilityLevel| match level {
            DurabilityLevel::Synced => Level::Synced.into(),
        };
        Self {
            copies: policy.copies,
            zones: policy.zones,
            least_copies: policy.least_copies,
            durability: policy.durability.map(level),
            sha256: policy.sha256,
            retention_seconds: policy.retention_seconds,
            write: policy.write.map(|write| write.to_string()),
            read: policy.read.map(|read| read.to_string()),
        }
    }
}

impl TryFrom<PolicyPayload> for BucketPolicy {
    type Error = Malformed;

    fn try_from(read: PolicyPayload) -> Result<Self, Malformed> {
        let level = |level| match Level::try_from(level) {
            Ok(Level::Synced) => Ok(DurabilityLevel::Synced),
            Ok(Level::Unknown) | Err(_) => Err(Malformed::new("the durability is not known")),
        };
        let unknown = |_| Malformed::new("the strategy is not known");
        Ok(Self {
            copies: read.copies,
            zones: read.zones,
            least_copies: read.least_copies,
            durability: read.durability.map(level).transpose()?,
            sha256: read.sha256,
            retention_seconds: read.retention_seconds,
            write: read.write.map(|name| name.parse()).transpose().map_err(unknown)?,
            read: read.read.map(|name| name.parse()).transpose().map_err(unknown)?,
        })
    }
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
        let state = match self.state {
            BucketState::Live => State::Live,
            BucketState::Deleting => State::Deleting,
        };
        Payload {
            next_sequence: self.next_sequence,
            state: state.into(),
            policy: (&self.policy).into(),
            created_ms: self.created_ms,
        }
        .encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let read = Payload::decode(payload)?;
        let state = match State::try_from(read.state) {
            Ok(State::Live) => BucketState::Live,
            Ok(State::Deleting) => BucketState::Deleting,
            Ok(State::Unknown) | Err(_) => return Err(Malformed::new("the state is not known")),
        };
        Ok(Self {
            next_sequence: read.next_sequence,
            state,
            policy: read.policy.try_into()?,
            created_ms: read.created_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_bucket_round_trips() {
        let key = BucketKey { tenant: TenantId::standard(), bucket: BucketName::standard() };
        round_trips(&key, &Bucket { next_sequence: 9, ..Bucket::default() });
        let policy = BucketPolicy {
            copies: Some(3),
            zones: Some(2),
            least_copies: Some(1),
            durability: Some(DurabilityLevel::Synced),
            sha256: Some(false),
            retention_seconds: Some(0),
            write: Some("parallel; quorum=2".parse().expect("known")),
            read: Some("race".parse().expect("known")),
        };
        let state = BucketState::Deleting;
        round_trips(&key, &Bucket { next_sequence: 0, state, policy, created_ms: 5 });
    }

    #[test]
    fn a_state_or_durability_that_is_not_known_is_refused() {
        let mut read = Payload::decode(&Bucket::default().to_payload()[..]).expect("reads back");
        for state in [0, 3] {
            read.state = state;
            assert!(Bucket::from_payload(&read.encode_to_vec()).is_err(), "state {state}");
        }
        read.state = State::Live.into();
        read.policy.durability = Some(2);
        assert!(Bucket::from_payload(&read.encode_to_vec()).is_err());
        read.policy.durability = None;
        read.policy.write = Some("first".to_owned());
        assert!(Bucket::from_payload(&read.encode_to_vec()).is_err());
    }
}

//! Held: the catalog was restored and may be older than what nodes hold, so the sweep waits for an operator.
//!
//! Key: none, there is one. Lifetime: from a restore or import until the operator lets the sweep go on.

use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// Why the sweep waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Since when, in milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
    /// Why, in a sentence.
    pub reason: String,
}

#[derive(Message)]
struct Payload {
    #[prost(uint64, tag = "1")]
    since_ms: u64,
    #[prost(string, tag = "2")]
    reason: String,
}

impl Record for Held {
    type Key = ();
    const TABLE: Table = Table::Held;

    fn write_key((): &(), _: &mut KeyWriter) {}

    fn read_key(_: &mut KeyReader<'_>) -> Result<(), Malformed> {
        Ok(())
    }

    fn to_payload(&self) -> Vec<u8> {
        Payload { since_ms: self.since_ms, reason: self.reason.clone() }.encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let Payload { since_ms, reason } = Payload::decode(payload)?;
        Ok(Self { since_ms, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_hold_round_trips() {
        round_trips(&(), &Held { since_ms: 5, reason: "a node was missing".into() });
    }
}

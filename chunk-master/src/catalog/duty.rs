//! Duty: which of several masters does what is done once for all, such as the sweep.
//!
//! Key: none, there is one. Lifetime: from the first master of a shared store on; written by its holder every second.

use prost::Message;
use uuid::Uuid;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// Who does the duties, and that it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Duty {
    /// The life of a master: another one after each start. Nil when it was laid down.
    pub(crate) holder: Uuid,
    /// One more each time that the holder writes: who sees it stand still for long knows that the holder is gone.
    pub(crate) beat: u64,
    /// The holder's steady time.
    pub(crate) steady_ms: u64,
}

#[derive(Message)]
struct Payload {
    #[prost(bytes = "vec", tag = "1")]
    holder: Vec<u8>,
    #[prost(uint64, tag = "2")]
    beat: u64,
    #[prost(uint64, tag = "3")]
    steady_ms: u64,
}

impl Record for Duty {
    type Key = ();
    const TABLE: Table = Table::Duty;

    fn write_key((): &(), _: &mut KeyWriter) {}

    fn read_key(_: &mut KeyReader<'_>) -> Result<(), Malformed> {
        Ok(())
    }

    fn to_payload(&self) -> Vec<u8> {
        let Self { holder, beat, steady_ms } = *self;
        Payload { holder: holder.as_bytes().to_vec(), beat, steady_ms }.encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let Payload { holder, beat, steady_ms } = Payload::decode(payload)?;
        Ok(Self { holder: Uuid::from_slice(&holder)?, beat, steady_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_duty_round_trips() {
        round_trips(&(), &Duty { holder: Uuid::from_u128(7), beat: 3, steady_ms: 9 });
    }
}

//! Identity: which catalog this is.
//!
//! Key: none, there is one. Lifetime: from the first start of the master on, never changed.

use cairn_core::ids::CatalogId;
use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// Which catalog this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(pub(crate) CatalogId);

#[derive(Message)]
struct Payload {
    #[prost(bytes = "vec", tag = "1")]
    catalog: Vec<u8>,
}

impl Record for Identity {
    type Key = ();
    const TABLE: Table = Table::Identity;

    fn write_key((): &(), _: &mut KeyWriter) {}

    fn read_key(_: &mut KeyReader<'_>) -> Result<(), Malformed> {
        Ok(())
    }

    fn to_payload(&self) -> Vec<u8> {
        Payload { catalog: self.0.as_bytes().to_vec() }.encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let Payload { catalog } = Payload::decode(payload)?;
        Ok(Self(CatalogId::from_slice(&catalog)?))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn an_identity_round_trips() {
        round_trips(&(), &Identity(CatalogId::from_uuid(Uuid::from_u128(5))));
    }
}

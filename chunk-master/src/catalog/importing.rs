//! Importing: the store is being filled and is not whole.
//!
//! Key: none, there is one. Lifetime: while an import or a restore runs, and after one that broke off.

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// The store is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Importing;

impl Record for Importing {
    type Key = ();
    const TABLE: Table = Table::Importing;

    fn write_key((): &(), _: &mut KeyWriter) {}

    fn read_key(_: &mut KeyReader<'_>) -> Result<(), Malformed> {
        Ok(())
    }

    fn to_payload(&self) -> Vec<u8> {
        Vec::new()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        if payload.is_empty() { Ok(Self) } else { Err(Malformed::new("there is something in it")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn the_mark_round_trips() {
        round_trips(&(), &Importing);
    }
}

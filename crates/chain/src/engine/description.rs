//! What a store says of a chunk: the footer and the table of a chunk's file, whatever the engine.

use cairn_core::digest::plain_crc;
use cairn_core::ids::ChunkId;

use crate::file::format::{FOOTER_BYTES, Footer, decode_table, encode_table, file_bytes};
use crate::store::{ChunkEnd, Damage};

/// Footer and table of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub(crate) footer: Footer,
    /// The checksum of each block.
    pub(crate) table: Vec<u32>,
}

impl Description {
    /// Describes a chunk whose end was proven.
    pub(crate) fn new(chunk: ChunkId, end: &ChunkEnd, table: Vec<u32>) -> Self {
        let table_crc = plain_crc(&encode_table(&table));
        let footer = Footer { chunk, length: end.length, hash: end.hash, table_crc };
        Self { footer, table }
    }
    /// The bytes that end a chunk's file: table and footer.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = encode_table(&self.table);
        bytes.extend_from_slice(&self.footer.encode());
        bytes
    }
    /// Reads what [`Self::encode`] gave, for `chunk`.
    pub(crate) fn decode(bytes: &[u8], chunk: ChunkId) -> Result<Self, Damage> {
        let at = bytes.len().checked_sub(FOOTER_BYTES).ok_or(Damage::Length)?;
        let (table, footer) = bytes.split_at(at);
        let footer = Footer::read(footer)?;
        footer.belongs(chunk, file_bytes(footer.length))?;
        let table = decode_table(table, &footer)?;
        Ok(Self { footer, table })
    }
}

#[cfg(test)]
mod tests {
    use cairn_core::digest::ChunkHash;
    use cairn_core::ids::BlobId;

    use super::*;

    #[test]
    fn a_description_survives_its_bytes_and_every_flipped_bit_is_noticed() {
        let chunk = ChunkId::new(BlobId::from_slice(&[7; 16]).expect("16 bytes"), 3);
        let end = ChunkEnd { length: 100_000, hash: ChunkHash([9; 32]), last_block_crc: None };
        let described = Description::new(chunk, &end, vec![1, 2]);
        let bytes = described.encode();
        assert_eq!(Description::decode(&bytes, chunk), Ok(described));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Description::decode(&bytes, chunk).is_err(), "bit {bit} went unnoticed");
        }
        for length in 0..bytes.len() {
            assert!(Description::decode(&bytes[..length], chunk).is_err(), "{length} bytes");
        }
    }
}

//! The bytes of a chunk's file, format version 1. Numbers are big-endian.
//!
//! ```text
//! ┌──────────────────────┬──────────────────────────┬────────────────┐
//! │ data, `length` bytes │ table, 4 bytes per block │ footer, 84     │
//! └──────────────────────┴──────────────────────────┴────────────────┘
//!
//! table    CRC32C of each 64 KiB block of data, seeded with chunk id and block number
//!
//! footer    0  20  chunk id (blob, index)
//!          20   8  length of the data
//!          28   4  block size, 65,536
//!          32  32  BLAKE3 of the data
//!          64   4  CRC32C of the table
//!          68   4  CRC32C of the footer without this field
//!          72   4  format version
//!          76   8  magic, "CAIRNCHK"
//! ```
//!
//! Data comes first because its length is known last: it is written where it stays while it arrives. The file's end
//! says what the file is, in every version: whatever the footer becomes, its last 12 bytes stay version and magic.
//! The chunk's id is in the footer because a file can end up under another's name.

use cairn_core::digest::{BLOCK_BYTES, ChunkHash, block_count, plain_crc};
use cairn_core::ids::ChunkId;

use crate::store::{Damage, MAX_CHUNK_BYTES};

/// The format that is written, and the only one that is read.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Bytes of the footer.
pub(super) const FOOTER_BYTES: usize = 84;
/// Disks give space in pages of this size.
const PAGE_BYTES: u64 = 4096;

const MAGIC: [u8; 8] = *b"CAIRNCHK";
const BLOCK_SIZE: u32 = BLOCK_BYTES as u32;
/// Where the footer's own checksum lies.
const CRC_AT: usize = 68;

/// What the end of a chunk's file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) chunk: ChunkId,
    pub(super) length: u64,
    pub(super) hash: ChunkHash,
    pub(super) table_crc: u32,
}

impl Footer {
    /// The footer's bytes.
    pub(super) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        bytes[..20].copy_from_slice(&self.chunk.to_bytes());
        bytes[20..28].copy_from_slice(&self.length.to_be_bytes());
        bytes[28..32].copy_from_slice(&BLOCK_SIZE.to_be_bytes());
        bytes[32..64].copy_from_slice(&self.hash.0);
        bytes[64..68].copy_from_slice(&self.table_crc.to_be_bytes());
        bytes[72..76].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
        bytes[76..].copy_from_slice(&MAGIC);
        let crc = footer_crc(&bytes);
        bytes[CRC_AT..72].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads the footer of the file that has `chunk`'s name and `file_length` bytes.
    pub(super) fn decode(bytes: &[u8], chunk: ChunkId, file_length: u64) -> Result<Self, Damage> {
        let bytes: &[u8; FOOTER_BYTES] = bytes.try_into().map_err(|_| Damage::Length)?;
        if bytes[76..] != MAGIC {
            return Err(Damage::Description);
        }
        let version = number(bytes, 72);
        if version != FORMAT_VERSION {
            return Err(Damage::UnknownFormat(version));
        }
        if number(bytes, CRC_AT) != footer_crc(bytes) || number(bytes, 28) != BLOCK_SIZE {
            return Err(Damage::Description);
        }
        let footer = Self::fields(bytes).ok_or(Damage::Description)?;
        if footer.chunk != chunk {
            return Err(Damage::OtherChunk(footer.chunk));
        }
        if footer.length > MAX_CHUNK_BYTES || file_bytes(footer.length) != file_length {
            return Err(Damage::Length);
        }
        Ok(footer)
    }

    fn fields(bytes: &[u8; FOOTER_BYTES]) -> Option<Self> {
        Some(Self {
            chunk: ChunkId::from_slice(&bytes[..20]).ok()?,
            length: u64::from_be_bytes(bytes[20..28].try_into().ok()?),
            hash: ChunkHash::try_from(&bytes[32..64]).ok()?,
            table_crc: number(bytes, 64),
        })
    }
}

/// The table's bytes.
pub(super) fn encode_table(crcs: &[u32]) -> Vec<u8> {
    crcs.iter().flat_map(|crc| crc.to_be_bytes()).collect()
}

/// Reads the table that belongs to `footer`.
pub(super) fn decode_table(bytes: &[u8], footer: &Footer) -> Result<Vec<u32>, Damage> {
    if bytes.len() as u64 != table_bytes(footer.length) || plain_crc(bytes) != footer.table_crc {
        return Err(Damage::Table);
    }
    let (crcs, _) = bytes.as_chunks();
    Ok(crcs.iter().map(|crc| u32::from_be_bytes(*crc)).collect())
}

/// Bytes of the table of a chunk of `length` bytes.
pub(super) const fn table_bytes(length: u64) -> u64 {
    block_count(length) * 4
}

/// Bytes of the file of a chunk of `length` bytes.
pub(super) const fn file_bytes(length: u64) -> u64 {
    length + table_bytes(length) + FOOTER_BYTES as u64
}

/// Bytes that the disk spends on a chunk of `length` bytes.
pub(super) const fn disk_bytes(length: u64) -> u64 {
    file_bytes(length).next_multiple_of(PAGE_BYTES)
}

fn footer_crc(bytes: &[u8; FOOTER_BYTES]) -> u32 {
    let mut covered = [0; FOOTER_BYTES - 4];
    covered[..CRC_AT].copy_from_slice(&bytes[..CRC_AT]);
    covered[CRC_AT..].copy_from_slice(&bytes[CRC_AT + 4..]);
    plain_crc(&covered)
}

fn number(bytes: &[u8; FOOTER_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use cairn_core::ids::BlobId;

    use super::*;

    fn footer() -> Footer {
        let blob = BlobId::from_slice(&[7; 16]).expect("16 bytes");
        Footer {
            chunk: ChunkId::new(blob, 3),
            length: 100_000,
            hash: ChunkHash([9; 32]),
            table_crc: 0xDEAD_BEEF,
        }
    }

    #[test]
    fn a_footer_survives_its_bytes() {
        let footer = footer();
        let file = file_bytes(footer.length);
        assert_eq!(Footer::decode(&footer.encode(), footer.chunk, file), Ok(footer));
    }

    #[test]
    fn the_bytes_of_format_1_stay_what_they_are() {
        let bytes = footer().encode();
        assert_eq!(bytes[..20], footer().chunk.to_bytes());
        assert_eq!(bytes[20..32], [0, 0, 0, 0, 0, 1, 0x86, 0xA0, 0, 1, 0, 0]);
        assert_eq!(bytes[64..68], [0xDE, 0xAD, 0xBE, 0xEF]);
        assert_eq!(bytes[72..], *b"\0\0\0\x01CAIRNCHK");
        assert_eq!(plain_crc(&bytes), 0x29C6_55AB, "of all 84 bytes");
    }

    #[test]
    fn every_flipped_bit_of_a_footer_is_noticed() {
        let footer = footer();
        for bit in 0..FOOTER_BYTES * 8 {
            let mut bytes = footer.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = Footer::decode(&bytes, footer.chunk, file_bytes(footer.length));
            assert!(read.is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn an_unknown_version_is_named() {
        let mut bytes = footer().encode();
        bytes[75] = 2;
        let read = Footer::decode(&bytes, footer().chunk, file_bytes(footer().length));
        assert_eq!(read, Err(Damage::UnknownFormat(2)));
        assert!(Damage::UnknownFormat(2).to_string().contains("newer Cairn"));
    }
}

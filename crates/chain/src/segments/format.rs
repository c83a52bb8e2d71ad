//! The bytes of a segment, format version 1. Numbers are big-endian.
//!
//! ```text
//! ┌──────────────┬───────────────────────────────┬────────┬───────
//! │ header, 4096 │ record │ record │ … padding … │ record │ …
//! └──────────────┴───────────────────────────────┴────────┴───────
//!
//! header    0   8  magic, "CAIRNSEG"
//!           8   4  format version
//!          12   4  number of the segment
//!          16  16  incarnation of the disk
//!          32  16  salt, random
//!          48   4  number of sources, at most 64: the segments whose live records were copied here; 0 in others
//!          52  4n  the sources' numbers
//!        4092   4  CRC32C of the bytes before
//!
//! record    0   8  magic, "CAIRNREC"
//!           8   1  kind: 1 chunk, 2 tombstone, 3 quarantine, 4 seal
//!           9   3  zeros
//!          12   4  CRC32C of salt, segment's number, record's offset (8) and the 128 bytes without this field
//!          16  20  chunk id
//!          36   4  extent: units of 64 bytes from here to where the next record may begin
//!          40   8  sequence: later ones count more
//!          48   8  all records up to this sequence were durable when this one was written
//!          56   8  chunk: length of the data
//!          64   4  chunk: where the data begins, from the record's beginning
//!          68   4  chunk: CRC32C of the table
//!          72   4  tombstone, quarantine: the segment of the record that it is about
//!          76   4  zeros
//!          80  32  chunk: BLAKE3 of the data
//!         112  16  zeros
//!         128      chunk: table, 4 bytes per block: CRC32C of each 64 KiB block of data, seeded with chunk id and block
//!                  number; then the data, at once or at the next page
//! ```
//!
//! The salt is never shown to a client, and offset and number are within the checksum: bytes of a chunk that look like a
//! record are none, and neither is a record in another place. A reader that does not find a record where one may begin
//! looks for the next one, unit by unit.

use cairn_core::digest::{ChunkHash, block_count, plain_crc};
use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation};

use crate::store::{Damage, MAX_CHUNK_BYTES};

/// The format that is written, and the only one that is read.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Bytes of a segment's header.
pub(super) const HEADER_BYTES: u64 = 4096;
/// Bytes of a record before its table.
pub(super) const RECORD_BYTES: usize = 128;
/// Records begin at multiples of this.
pub(super) const UNIT_BYTES: u64 = 64;
/// Batches and extents begin at multiples of this: a page that is durable is not written again.
pub(super) const PAGE_BYTES: u64 = 4096;
/// Most segments that are compacted into one.
pub(super) const MAX_SOURCES: usize = 64;
/// No record has a higher sequence: a record each nanosecond takes 146 years to get there. What says so is damaged, and
/// numbers are left for what comes after.
pub(super) const MAX_SEQUENCE: u64 = 1 << 62;
/// Chunks up to this many bytes are records of a batch; larger ones have an extent.
pub(super) const SMALL_BYTES: u64 = 512 << 10;

const SEGMENT_MAGIC: [u8; 8] = *b"CAIRNSEG";
const RECORD_MAGIC: [u8; 8] = *b"CAIRNREC";
const CRC_AT: usize = 12;

/// What the beginning of a segment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u32,
    pub(super) disk: DiskIncarnation,
    pub(super) salt: [u8; 16],
    pub(super) sources: Vec<u32>,
}

/// A segment's header is not what its file's name promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadSegment {
    #[error("its header is damaged or was not written")]
    Damaged,
    #[error("its format version {0} is not known here: it needs a newer Cairn")]
    UnknownFormat(u32),
    #[error("it says that it is segment {0}")]
    OtherNumber(u32),
    #[error("it belongs to disk {0}")]
    OtherDisk(DiskIncarnation),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        put(&mut bytes, 8, FORMAT_VERSION);
        put(&mut bytes, 12, self.number);
        bytes[16..32].copy_from_slice(self.disk.as_bytes());
        bytes[32..48].copy_from_slice(&self.salt);
        let sources = &self.sources[..self.sources.len().min(MAX_SOURCES)];
        put(&mut bytes, 48, u32::try_from(sources.len()).unwrap_or(0));
        for (at, source) in sources.iter().enumerate() {
            put(&mut bytes, 52 + 4 * at, *source);
        }
        let end = bytes.len() - 4;
        let crc = plain_crc(&bytes[..end]);
        put(&mut bytes, end, crc);
        bytes
    }

    /// Reads the header of the file that is named after segment `number` of `disk`.
    pub(super) fn decode(
        bytes: &[u8],
        number: u32,
        disk: DiskIncarnation,
    ) -> Result<Self, BadSegment> {
        if bytes.len() != HEADER_BYTES as usize || bytes[..8] != SEGMENT_MAGIC {
            return Err(BadSegment::Damaged);
        }
        let version = get(bytes, 8);
        if version != FORMAT_VERSION {
            return Err(BadSegment::UnknownFormat(version));
        }
        let end = bytes.len() - 4;
        let count = get(bytes, 48) as usize;
        if get(bytes, end) != plain_crc(&bytes[..end]) || count > MAX_SOURCES {
            return Err(BadSegment::Damaged);
        }
        let owner = DiskIncarnation::from_slice(&bytes[16..32]).map_err(|_| BadSegment::Damaged)?;
        if owner != disk {
            return Err(BadSegment::OtherDisk(owner));
        }
        if get(bytes, 12) != number {
            return Err(BadSegment::OtherNumber(get(bytes, 12)));
        }
        let mut salt = [0; 16];
        salt.copy_from_slice(&bytes[32..48]);
        let sources = (0..count).map(|at| get(bytes, 52 + 4 * at)).collect();
        Ok(Self { number, disk, salt, sources })
    }

    pub(super) fn salt(&self) -> Salt {
        Salt { salt: self.salt, segment: self.number }
    }
}

/// What ties records to their segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt {
    salt: [u8; 16],
    segment: u32,
}

impl Salt {
    /// Of no segment.
    pub(super) const NONE: Self = Self { salt: [0; 16], segment: 0 };
}

/// A record, without table and data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) chunk: ChunkId,
    /// Bytes from its beginning to where the next record may begin.
    pub(super) extent: u64,
    pub(super) sequence: u64,
    /// All records up to this sequence were durable when it was written.
    pub(super) durable: u64,
    pub(super) what: What,
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// The chunk is here.
    Chunk(Description),
    /// The chunk's earlier records in this segment do not count any more.
    Tombstone(u32),
    /// The chunk's earlier record in this segment is damaged.
    Quarantine(u32),
    /// Nothing follows: the copies of a compaction are complete.
    Seal,
}

/// What a record says of a chunk's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) length: u64,
    /// Where the data begins, from the record's beginning.
    pub(super) data_at: u64,
    pub(super) table_crc: u32,
    pub(super) hash: ChunkHash,
}

impl Record {
    /// The record's bytes, for offset `at` of a segment.
    pub(super) fn encode(&self, salt: &Salt, at: u64) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&RECORD_MAGIC);
        bytes[16..36].copy_from_slice(&self.chunk.to_bytes());
        put(&mut bytes, 36, u32::try_from(self.extent / UNIT_BYTES).unwrap_or(u32::MAX));
        bytes[40..48].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[48..56].copy_from_slice(&self.durable.to_be_bytes());
        bytes[8] = match self.what {
            What::Chunk(Description { length, data_at, table_crc, hash }) => {
                bytes[56..64].copy_from_slice(&length.to_be_bytes());
                put(&mut bytes, 64, u32::try_from(data_at).unwrap_or(u32::MAX));
                put(&mut bytes, 68, table_crc);
                bytes[80..112].copy_from_slice(&hash.0);
                1
            }
            What::Tombstone(segment) => {
                put(&mut bytes, 72, segment);
                2
            }
            What::Quarantine(segment) => {
                put(&mut bytes, 72, segment);
                3
            }
            What::Seal => 4,
        };
        let crc = record_crc(salt, at, &bytes);
        put(&mut bytes, CRC_AT, crc);
        bytes
    }

    /// Reads the record at offset `at` of a segment; nothing when there is none, or a damaged one.
    pub(super) fn decode(bytes: &[u8], salt: &Salt, at: u64) -> Option<Self> {
        let bytes: &[u8; RECORD_BYTES] = bytes.get(..RECORD_BYTES)?.try_into().ok()?;
        if bytes[..8] != RECORD_MAGIC || get(bytes, CRC_AT) != record_crc(salt, at, bytes) {
            return None;
        }
        let what = match bytes[8] {
            1 => What::Chunk(Description {
                length: long(bytes, 56),
                data_at: get(bytes, 64).into(),
                table_crc: get(bytes, 68),
                hash: ChunkHash::try_from(&bytes[80..112]).ok()?,
            }),
            2 => What::Tombstone(get(bytes, 72)),
            3 => What::Quarantine(get(bytes, 72)),
            4 => What::Seal,
            _ => return None,
        };
        let record = Self {
            chunk: ChunkId::from_slice(&bytes[16..36]).ok()?,
            extent: u64::from(get(bytes, 36)) * UNIT_BYTES,
            sequence: long(bytes, 40),
            durable: long(bytes, 48),
            what,
        };
        record.is_possible().then_some(record)
    }

    /// Whether the numbers fit each other.
    fn is_possible(&self) -> bool {
        let needed = match self.what {
            What::Chunk(Description { length, data_at, .. }) => {
                let table_end = RECORD_BYTES as u64 + table_bytes(length.min(MAX_CHUNK_BYTES));
                if length > MAX_CHUNK_BYTES || data_at < table_end {
                    return false;
                }
                data_at + length
            }
            What::Tombstone(_) | What::Quarantine(_) | What::Seal => RECORD_BYTES as u64,
        };
        self.extent >= needed && self.sequence.max(self.durable) <= MAX_SEQUENCE
    }
}

impl Description {
    /// Reads the table that belongs to the description.
    pub(super) fn table(&self, bytes: &[u8]) -> Result<Vec<u32>, Damage> {
        let bytes = bytes.get(..table_length(self.length)).ok_or(Damage::Length)?;
        if plain_crc(bytes) != self.table_crc {
            return Err(Damage::Table);
        }
        let (crcs, _) = bytes.as_chunks();
        Ok(crcs.iter().map(|crc| u32::from_be_bytes(*crc)).collect())
    }
}

/// The table's bytes.
pub(super) fn encode_table(crcs: &[u32]) -> Vec<u8> {
    crcs.iter().flat_map(|crc| crc.to_be_bytes()).collect()
}

/// Bytes of the table of a chunk of `length` bytes.
pub(super) const fn table_bytes(length: u64) -> u64 {
    block_count(length) * 4
}

/// The same, as a length in memory: at most 64 KiB.
pub(super) fn table_length(length: u64) -> usize {
    usize::try_from(table_bytes(length.min(MAX_CHUNK_BYTES))).unwrap_or(0)
}

/// Where the data of a chunk of up to `reserve` bytes begins in its record.
pub(super) const fn data_at(reserve: u64) -> u64 {
    let table_end = RECORD_BYTES as u64 + table_bytes(reserve);
    if reserve > SMALL_BYTES { table_end.next_multiple_of(PAGE_BYTES) } else { table_end }
}

/// Bytes that a chunk of `length` bytes takes: those of its record.
pub(super) const fn record_bytes(length: u64) -> u64 {
    let unit = if length > SMALL_BYTES { PAGE_BYTES } else { UNIT_BYTES };
    (data_at(length) + length).next_multiple_of(unit)
}

/// The id in records that are about no chunk.
pub(super) fn no_chunk() -> ChunkId {
    ChunkId::new(BlobId::from_slice(&[0; 16]).expect("an id has 16 bytes"), 0)
}

fn record_crc(salt: &Salt, at: u64, bytes: &[u8; RECORD_BYTES]) -> u32 {
    let mut covered = [0; 28 + RECORD_BYTES - 4];
    covered[..16].copy_from_slice(&salt.salt);
    put(&mut covered, 16, salt.segment);
    covered[20..28].copy_from_slice(&at.to_be_bytes());
    covered[28..28 + CRC_AT].copy_from_slice(&bytes[..CRC_AT]);
    covered[28 + CRC_AT..].copy_from_slice(&bytes[CRC_AT + 4..]);
    plain_crc(&covered)
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
}

fn get(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8; RECORD_BYTES], at: usize) -> u64 {
    u64::from(get(bytes, at)) << 32 | u64::from(get(bytes, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt { salt: [3; 16], segment: 9 };

    fn chunk() -> ChunkId {
        ChunkId::new(BlobId::from_slice(&[7; 16]).expect("16 bytes"), 3)
    }

    fn record() -> Record {
        let description = Description {
            length: 100_000,
            data_at: data_at(100_000),
            table_crc: 0xDEAD_BEEF,
            hash: ChunkHash([9; 32]),
        };
        Record {
            chunk: chunk(),
            extent: record_bytes(100_000),
            sequence: 77,
            durable: 70,
            what: What::Chunk(description),
        }
    }

    #[test]
    fn records_survive_their_bytes() {
        let others = [What::Tombstone(5), What::Quarantine(6), What::Seal];
        let others = others.map(|what| Record { what, ..record() });
        for record in others.into_iter().chain([record()]) {
            let bytes = record.encode(&SALT, 4096);
            assert_eq!(Record::decode(&bytes, &SALT, 4096), Some(record));
        }
    }

    #[test]
    fn a_record_counts_only_where_it_was_written() {
        let bytes = record().encode(&SALT, 4096);
        assert_eq!(Record::decode(&bytes, &SALT, 4160), None, "another offset");
        let other = Salt { segment: 10, ..SALT };
        assert_eq!(Record::decode(&bytes, &other, 4096), None, "another segment");
        let other = Salt { salt: [4; 16], ..SALT };
        assert_eq!(Record::decode(&bytes, &other, 4096), None, "another salt");
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        for bit in 0..RECORD_BYTES * 8 {
            let mut bytes = record().encode(&SALT, 4096);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&bytes, &SALT, 4096), None, "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn the_bytes_of_format_1_stay_what_they_are() {
        let bytes = record().encode(&SALT, 4096);
        assert_eq!(bytes[..12], *b"CAIRNREC\x01\0\0\0");
        assert_eq!(bytes[36..40], (100_160_u32 / 64).to_be_bytes());
        assert_eq!(plain_crc(&bytes), 0x1DD6_C97D, "of all 128 bytes");
    }

    #[test]
    fn a_segment_header_survives_its_bytes_and_every_flipped_bit_is_noticed() {
        let disk = DiskIncarnation::from_slice(&[5; 16]).expect("16 bytes");
        let header = SegmentHeader { number: 4, disk, salt: [8; 16], sources: vec![1, 2] };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes, 4, disk), Ok(header));
        assert_eq!(SegmentHeader::decode(&bytes, 5, disk), Err(BadSegment::OtherNumber(4)));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bytes, 4, disk).is_err(), "bit {bit} went unnoticed");
        }
    }
}

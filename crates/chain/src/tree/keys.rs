//! Keys and records. Keys are made of ids and numbers only.

use bytes::{Bytes, BytesMut};
use cairn_core::digest::plain_crc;
use cairn_core::ids::ChunkId;

use crate::engine::Description;
use crate::file::format::file_bytes;
use crate::store::Damage;

/// The key of the store's identity.
pub(super) const STORE: &[u8] = b"store";

const PLACE_BYTES: usize = 8;
/// A record's place and its checksum.
pub(super) const HEAD_BYTES: usize = PLACE_BYTES + 4;

/// The key of a slice.
pub(super) fn slice(place: u64, number: u32) -> Vec<u8> {
    [&place.to_be_bytes()[..], &number.to_be_bytes()].concat()
}

/// The place in a slice's key.
pub(super) fn place_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(..PLACE_BYTES)?.try_into().ok()?))
}

/// The key of a chunk.
pub(super) fn chunk(chunk: ChunkId) -> Vec<u8> {
    chunk.to_bytes().to_vec()
}

/// Where the slices of a chunk are, by its record; `None` when that is damaged.
pub(super) fn place_in(record: &[u8]) -> Option<u64> {
    let head = record.get(..HEAD_BYTES)?;
    let (place, crc) = head.split_at(PLACE_BYTES);
    (plain_crc(place).to_be_bytes() == crc).then(|| place_of(place)).flatten()
}

/// The record of a chunk.
pub(super) fn record(place: u64, description: &Description) -> Bytes {
    let place = place.to_be_bytes();
    let mut bytes = BytesMut::from(&place[..]);
    bytes.extend_from_slice(&plain_crc(&place).to_be_bytes());
    bytes.extend_from_slice(&description.encode());
    bytes.freeze()
}

/// Bytes of the record of a chunk of `length` bytes.
pub(super) fn record_bytes(length: u64) -> u64 {
    HEAD_BYTES as u64 + file_bytes(length) - length
}

/// Reads a record.
pub(super) fn read_record(record: &[u8], chunk: ChunkId) -> Result<(u64, Description), Damage> {
    let place = place_in(record).ok_or(Damage::Description)?;
    Ok((place, Description::decode(&record[HEAD_BYTES..], chunk)?))
}

#[cfg(test)]
mod tests {
    use cairn_core::ids::BlobId;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the ids and numbers are: keys have one length, and sort as what they are made of.
        #[test]
        fn keys_are_of_one_length_and_in_the_order_of_ids(
            one: ([u8; 16], u32), other: ([u8; 16], u32), places: (u64, u64), numbers: (u32, u32),
        ) {
            let id = |(blob, index): ([u8; 16], u32)| {
                ChunkId::new(BlobId::from_slice(&blob).expect("16 bytes"), index)
            };
            prop_assert_eq!(chunk(id(one)).len(), 20);
            prop_assert_eq!(chunk(id(one)).cmp(&chunk(id(other))), id(one).cmp(&id(other)));
            let (first, second) = (slice(places.0, numbers.0), slice(places.1, numbers.1));
            prop_assert_eq!(first.len(), 12);
            prop_assert_eq!(place_of(&first), Some(places.0));
            prop_assert_eq!(first.cmp(&second), (places.0, numbers.0).cmp(&(places.1, numbers.1)));
        }
    }
}

//! The file `store` in a store's folder: which format the folder has, and which life of the disk it is.
//!
//! ```text
//! cairn chunk store
//! format 1
//! disk 0197f3a2-…
//! crc32c 1a2b3c4d        over the lines before
//! ```

use cairn_core::ids::DiskIncarnation;

use super::open::OpenError;
use crate::identity::{self, Unreadable};

/// The file's name in the store's folder.
pub(super) const FILE: &str = "store";
/// Most bytes that the file can have.
pub(super) const MOST_BYTES: usize = identity::MOST_BYTES;

const TITLE: &str = "cairn chunk store";

/// The file's content.
pub(super) fn encode(disk: DiskIncarnation) -> String {
    identity::encode(TITLE, &[("disk", &disk.to_string())])
}

/// Reads the file's content.
pub(super) fn decode(bytes: &[u8]) -> Result<DiskIncarnation, OpenError> {
    let [disk] = identity::decode(bytes, TITLE, ["disk"]).map_err(|error| match error {
        Unreadable::UnknownFormat(format) => OpenError::UnknownFormat { format },
        Unreadable::Damaged => OpenError::IdentityDamaged,
    })?;
    disk.parse().map_err(|_| OpenError::IdentityDamaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_survives_its_text_and_every_flipped_bit_is_noticed() {
        let disk = DiskIncarnation::from_slice(&[5; 16]).expect("16 bytes");
        let text = encode(disk);
        assert_eq!(decode(text.as_bytes()).expect("our own text"), disk);
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn another_format_is_named() {
        let text = "cairn chunk store\nformat 2\nwhatever\n";
        let error = decode(text.as_bytes()).expect_err("format 2");
        assert!(error.to_string().contains("format 2"), "{error}");
    }
}

//! The file `store` in a store's folder: which kind of store and which format it has, and which life of the disk it is.
//!
//! ```text
//! cairn chunk store      or: cairn segment store
//! format 1
//! disk 0197f3a2-…
//! crc32c 1a2b3c4d        over the lines before
//! ```

use cairn_core::ids::DiskIncarnation;

use crate::facts::{self, Unreadable};
use crate::open::OpenError;

/// The file's name in the store's folder.
pub(crate) const FILE: &str = "store";
/// Most bytes that the file can have.
pub(crate) const MOST_BYTES: usize = facts::MOST_BYTES;

/// What keeps chunks in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file per chunk.
    Files,
    /// Segments.
    Segments,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Files, Self::Segments];

    const fn title(self) -> &'static str {
        match self {
            Self::Files => "cairn chunk store",
            Self::Segments => "cairn segment store",
        }
    }
}

/// The file's content.
pub(crate) fn encode(kind: Kind, disk: DiskIncarnation) -> String {
    facts::encode(kind.title(), &[("disk", &disk.to_string())])
}

/// Reads the file's content.
pub(crate) fn decode(kind: Kind, bytes: &[u8]) -> Result<DiskIncarnation, OpenError> {
    let wanted = kind.title();
    let [disk] = facts::decode(bytes, wanted, ["disk"]).map_err(|error| match error {
        Unreadable::UnknownFormat(format) => OpenError::UnknownFormat { format },
        Unreadable::Damaged => OpenError::IdentityDamaged,
        Unreadable::OtherTitle(found) => {
            let other = Kind::ALL.into_iter().find(|other| found == other.title());
            other.map_or(OpenError::IdentityDamaged, |other| OpenError::OtherStore {
                found: other.title(),
                wanted,
            })
        }
    })?;
    disk.parse().map_err(|_| OpenError::IdentityDamaged)
}

/// Which disk a folder is, whatever kind of store is in it.
pub(crate) fn disk_of(bytes: &[u8]) -> Result<DiskIncarnation, OpenError> {
    match decode(Kind::Segments, bytes) {
        Err(OpenError::OtherStore { .. }) => decode(Kind::Files, bytes),
        decoded => decoded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_survives_its_text_and_every_flipped_bit_is_noticed() {
        let disk = DiskIncarnation::from_slice(&[5; 16]).expect("16 bytes");
        let text = encode(Kind::Files, disk);
        assert_eq!(decode(Kind::Files, text.as_bytes()).expect("our own text"), disk);
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(Kind::Files, &bytes).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn another_format_is_named() {
        let text = "cairn chunk store\nformat 2\nwhatever\n";
        let error = decode(Kind::Files, text.as_bytes()).expect_err("format 2");
        assert!(error.to_string().contains("format 2"), "{error}");
    }

    #[test]
    fn a_folder_of_the_other_kind_is_named() {
        let disk = DiskIncarnation::from_slice(&[5; 16]).expect("16 bytes");
        let text = encode(Kind::Files, disk);
        let error = decode(Kind::Segments, text.as_bytes()).expect_err("the other kind");
        assert!(matches!(error, OpenError::OtherStore { .. }), "{error}");
        assert_eq!(disk_of(text.as_bytes()).expect("either kind"), disk);
    }
}

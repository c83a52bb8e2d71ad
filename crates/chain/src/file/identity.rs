//! The file `store` in a store's folder: which format the folder has, and which life of the disk it is.
//!
//! ```text
//! cairn chunk store
//! format 1
//! disk 0197f3a2-…
//! crc32c 1a2b3c4d        over the lines before
//! ```

use cairn_core::digest::plain_crc;
use cairn_core::ids::DiskIncarnation;

use super::open::OpenError;

/// The file's name in the store's folder.
pub(super) const FILE: &str = "store";
/// Most bytes that the file can have.
pub(super) const MOST_BYTES: usize = 1024;

const TITLE: &str = "cairn chunk store";
const FORMAT: &str = "1";

/// The file's content.
pub(super) fn encode(disk: DiskIncarnation) -> String {
    let text = format!("{TITLE}\nformat {FORMAT}\ndisk {disk}\n");
    let crc = plain_crc(text.as_bytes());
    format!("{text}crc32c {crc:08x}\n")
}

/// Reads the file's content.
pub(super) fn decode(bytes: &[u8]) -> Result<DiskIncarnation, OpenError> {
    let damaged = || OpenError::IdentityDamaged;
    let text = str::from_utf8(bytes).map_err(|_| damaged())?;
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return Err(damaged());
    }
    // The format is looked at first: a newer one may have other lines.
    let format = lines.next().and_then(|line| line.strip_prefix("format "));
    match format {
        Some(FORMAT) => {}
        Some(format) => {
            return Err(OpenError::UnknownFormat { format: format.to_owned() });
        }
        None => return Err(damaged()),
    }
    let disk = lines.next().and_then(|line| line.strip_prefix("disk "));
    let disk = disk.and_then(|disk| disk.parse().ok()).ok_or_else(damaged)?;
    if encode(disk) == text { Ok(disk) } else { Err(damaged()) }
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

//! Values of the key-value store that prove themselves.
//!
//! ```text
//! value   format (1 byte) │ CRC32C over key, format and payload, big-endian │ payload
//! ```
//!
//! The key is part of the checksum, so a value that ended up under another key is found as a flipped bit is. A format that is
//! not known, or a checksum that does not match, is an error and never a guess.

use crate::digest::plain_crc;

/// Bytes before the payload.
const HEADER_BYTES: usize = 5;

/// Why bytes are not what was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenSeal {
    /// They are too few.
    #[error("the value is shorter than its header")]
    Short,
    /// Another version of this program wrote them, or they are damaged.
    #[error("format {0} is not known")]
    Format(u8),
    /// They are damaged, or lie under another key.
    #[error("the checksum does not match")]
    Checksum,
}

fn crc(key: &[u8], format: u8, payload: &[u8]) -> u32 {
    plain_crc(&[key, &[format], payload].concat())
}

/// The value to be stored under `key`.
pub fn seal(key: &[u8], format: u8, payload: &[u8]) -> Vec<u8> {
    let crc = crc(key, format, payload).to_be_bytes();
    [&[format], crc.as_slice(), payload].concat()
}

/// The payload of a value of `known` format that was found under `key`.
///
/// # Errors
/// [`BrokenSeal`].
pub fn open<'a>(key: &[u8], known: u8, value: &'a [u8]) -> Result<&'a [u8], BrokenSeal> {
    let (header, payload) = value.split_first_chunk::<HEADER_BYTES>().ok_or(BrokenSeal::Short)?;
    let [format, stated @ ..] = *header;
    if format != known {
        return Err(BrokenSeal::Format(format));
    }
    if u32::from_be_bytes(stated) != crc(key, format, payload) {
        return Err(BrokenSeal::Checksum);
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_under_the_key_opens() {
        let value = seal(b"key", 3, b"payload");
        assert_eq!(open(b"key", 3, &value), Ok(&b"payload"[..]));
        assert_eq!(open(b"other", 3, &value), Err(BrokenSeal::Checksum));
        assert_eq!(open(b"key", 4, &value), Err(BrokenSeal::Format(3)));
        assert_eq!(open(b"key", 3, &value[..4]), Err(BrokenSeal::Short));
        for at in 0..value.len() {
            let mut flipped = value.clone();
            flipped[at] ^= 1;
            assert!(open(b"key", 3, &flipped).is_err(), "byte {at} flipped");
        }
    }
}

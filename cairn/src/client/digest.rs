//! SHA-256 of files, and the header that carries it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cairn_core::digest::{FileRoot, Sha256};
use http::HeaderMap;
use sha2::Digest;

/// Computes a SHA-256 as bytes pass.
#[derive(Debug, Clone, Default)]
pub(super) struct Hasher(sha2::Sha256);

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

/// The SHA-256 of the whole file in `Repr-Digest` (RFC 9530); nothing when it is not there or not readable.
pub(super) fn stated(headers: &HeaderMap) -> Option<Sha256> {
    let field = headers.get("repr-digest")?.to_str().ok()?;
    let value = field.split(',').find_map(|item| item.trim().strip_prefix("sha-256="))?;
    let inner = value.strip_prefix(':')?.strip_suffix(':')?;
    Sha256::try_from(&STANDARD.decode(inner).ok()?[..]).ok()
}

/// A SHA-256 in hex, as lists show it.
pub(super) fn from_hex(text: &str) -> Option<Sha256> {
    Sha256::try_from(&bytes_of(text)?[..]).ok()
}

/// A file root in hex.
pub(super) fn root_from_hex(text: &str) -> Option<FileRoot> {
    FileRoot::try_from(&bytes_of(text)?[..]).ok()
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_the_file_is_read_from_header_and_list() {
        let mut hasher = Hasher::default();
        hasher.update(b"abc");
        let sha256 = hasher.finish();
        // FIPS 180-4, the example of one block.
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((sha256.to_string().as_str(), from_hex(hex)), (hex, Some(sha256)));
        let mut headers = HeaderMap::new();
        let value = "md5=:AA==:, sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
        headers.insert("repr-digest", value.parse().expect("a header"));
        assert_eq!(stated(&headers), Some(sha256));
    }

    #[test]
    fn what_is_no_digest_is_none() {
        assert_eq!(stated(&HeaderMap::new()), None);
        assert_eq!(from_hex("zz"), None);
        assert_eq!(from_hex("ba7"), None);
        assert_eq!(from_hex("üü"), None);
    }
}

//! Keys of records: a table's byte, then the parts in an order that byte order keeps.
//!
//! ```text
//! table (1 byte) │ text, NUL │ id, 16 bytes │ number, big-endian │ …
//! ```
//!
//! Names hold no NUL, so a text sorts before every longer text that begins with it.

use bytes::Bytes;

use super::record::Malformed;

/// Writes a key part by part.
#[derive(Debug)]
pub(crate) struct KeyWriter(Vec<u8>);

impl KeyWriter {
    pub(super) fn new(table: u8) -> Self {
        Self(vec![table])
    }

    /// A text, ended by NUL.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.start_of_text(text);
        self.0.push(0);
        self
    }

    /// The beginning of a text: for prefixes of keys, as the last part.
    pub(crate) fn start_of_text(&mut self, text: &str) -> &mut Self {
        debug_assert!(!text.contains('\0'), "a name holds a NUL: {text:?}");
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// An id.
    pub(crate) fn id(&mut self, id: &[u8; 16]) -> &mut Self {
        self.0.extend_from_slice(id);
        self
    }

    /// One byte.
    pub(crate) fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    /// A number below 2³².
    pub(crate) fn u32(&mut self, number: u32) -> &mut Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// A number.
    pub(crate) fn u64(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.into()
    }
}

/// Reads a key part by part.
#[derive(Debug)]
pub(crate) struct KeyReader<'a>(&'a [u8]);

impl<'a> KeyReader<'a> {
    /// Reads the parts behind the table's byte.
    pub(super) fn new(key: &'a [u8]) -> Self {
        Self(key.get(1..).unwrap_or_default())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (part, rest) =
            self.0.split_first_chunk().ok_or_else(|| Malformed::new("the key is too short"))?;
        self.0 = rest;
        Ok(*part)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        let end = self
            .0
            .iter()
            .position(|&byte| byte == 0)
            .ok_or_else(|| Malformed::new("a text in the key has no end"))?;
        let (text, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Ok(str::from_utf8(text)?)
    }

    pub(crate) fn id(&mut self) -> Result<[u8; 16], Malformed> {
        self.array()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::new("the key is too long")) }
    }
}

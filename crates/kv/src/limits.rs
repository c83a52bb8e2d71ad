//! How large a transaction may be, the same on every engine.

/// The longest key that can be stored. PostgreSQL's indexes take keys up to 2.6 KiB.
pub const MAX_KEY_BYTES: usize = 2 << 10;
/// The longest value that can be stored.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// How many keys one transaction may write.
pub const MAX_TXN_WRITES: usize = 4096;
/// How many bytes of keys and values one transaction may write.
pub const MAX_TXN_BYTES: usize = 8 << 20;

/// A write that a transaction does not take. The writes before it stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The key is longer than [`MAX_KEY_BYTES`].
    #[error("the key has {len} bytes, at most {MAX_KEY_BYTES} can be stored")]
    KeyTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The value is longer than [`MAX_VALUE_BYTES`].
    #[error("the value has {len} bytes, at most {MAX_VALUE_BYTES} can be stored")]
    ValueTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The transaction writes more than [`MAX_TXN_WRITES`] keys.
    #[error("one transaction writes at most {MAX_TXN_WRITES} keys")]
    TooManyWrites,
    /// The transaction writes more than [`MAX_TXN_BYTES`].
    #[error("one transaction writes at most {MAX_TXN_BYTES} bytes")]
    TooManyBytes,
}

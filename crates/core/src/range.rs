//! Byte ranges within something of a known length.

/// A run of bytes: `offset` and `length`, never reaching past what it was cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

impl ByteRange {
    /// The whole of `length` bytes.
    pub const fn whole(length: u64) -> Self {
        Self { offset: 0, length }
    }

    /// The part of `offset .. offset + length` that lies within `total` bytes.
    pub fn within(offset: u64, length: u64, total: u64) -> Self {
        let offset = offset.min(total);
        Self { offset, length: length.min(total - offset) }
    }

    /// One past the last byte.
    pub const fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// True when there is no byte in it.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The smallest range of whole `block`s (the last one cut at `total`) that covers this one.
    pub fn aligned_to(&self, block: u64, total: u64) -> Self {
        if self.is_empty() {
            return *self;
        }
        let offset = self.offset - self.offset % block;
        let end = self.end().div_ceil(block).saturating_mul(block).min(total);
        Self { offset, length: end - offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_end() {
        assert_eq!(ByteRange::within(5, 10, 8), ByteRange { offset: 5, length: 3 });
        assert_eq!(ByteRange::within(9, 10, 8), ByteRange { offset: 8, length: 0 });
        assert_eq!(ByteRange::within(1, u64::MAX, 8), ByteRange { offset: 1, length: 7 });
    }

    #[test]
    fn alignment_grows_to_blocks_and_not_past_the_end() {
        let range = ByteRange { offset: 5, length: 4 };
        assert_eq!(range.aligned_to(4, 100), ByteRange { offset: 4, length: 8 });
        assert_eq!(range.aligned_to(4, 10), ByteRange { offset: 4, length: 6 });
    }
}

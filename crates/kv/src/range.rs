//! Which keys a scan looks at, and in which order.

use std::cmp::Ordering;
use std::ops::Bound;

use bytes::Bytes;

/// An interval of keys, in byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    start: Bound<Bytes>,
    end: Bound<Bytes>,
}

/// The order in which a scan meets the keys of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the smallest key up.
    Forward,
    /// From the greatest key down.
    Backward,
}

impl KeyRange {
    /// The keys between two bounds. A range that ends before it starts is empty.
    pub fn new(start: Bound<impl Into<Bytes>>, end: Bound<impl Into<Bytes>>) -> KeyRange {
        KeyRange { start: start.map(Into::into), end: end.map(Into::into) }
    }

    /// Every key.
    pub fn all() -> KeyRange {
        KeyRange { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// The keys that begin with `prefix`, the prefix itself included.
    pub fn prefix(prefix: impl Into<Bytes>) -> KeyRange {
        let prefix = prefix.into();
        let end = first_key_behind(&prefix).map_or(Bound::Unbounded, Bound::Excluded);
        KeyRange { start: Bound::Included(prefix), end }
    }

    /// The part of this range behind `key`: the next page of a forward scan that ended at `key`.
    pub fn after(self, key: impl Into<Bytes>) -> KeyRange {
        let key = key.into();
        match &self.start {
            Bound::Included(start) | Bound::Excluded(start) if *start > key => self,
            _ => KeyRange { start: Bound::Excluded(key), end: self.end },
        }
    }

    /// The part of this range before `key`: the next page of a backward scan that ended at `key`.
    pub fn before(self, key: impl Into<Bytes>) -> KeyRange {
        let key = key.into();
        match &self.end {
            Bound::Included(end) | Bound::Excluded(end) if *end < key => self,
            _ => KeyRange { start: self.start, end: Bound::Excluded(key) },
        }
    }

    /// Whether no key at all can lie in this range.
    pub(crate) fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (
                Bound::Included(start) | Bound::Excluded(start),
                Bound::Included(end) | Bound::Excluded(end),
            ) => start >= end,
        }
    }

    /// The bounds as ordered maps and tables take them.
    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.start.as_ref().map(Bytes::as_ref), self.end.as_ref().map(Bytes::as_ref))
    }
}

impl Direction {
    /// How a scan in this direction orders two keys.
    pub(crate) fn compare(self, left: &[u8], right: &[u8]) -> Ordering {
        match self {
            Direction::Forward => left.cmp(right),
            Direction::Backward => right.cmp(left),
        }
    }
}

/// The smallest key greater than every key that begins with `prefix`, if there is one.
fn first_key_behind(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use std::ops::RangeBounds;

    use super::*;

    fn contains(range: &KeyRange, key: &[u8]) -> bool {
        RangeBounds::<[u8]>::contains(&range.bounds(), key)
    }

    #[test]
    fn a_prefix_range_holds_exactly_the_keys_that_begin_with_it() {
        let range = KeyRange::prefix(&b"a\xff"[..]);
        assert!(contains(&range, b"a\xff"));
        assert!(contains(&range, b"a\xff\xff\xff"));
        assert!(!contains(&range, b"a\xfe"));
        assert!(!contains(&range, b"b"));
    }

    #[test]
    fn a_prefix_without_a_successor_is_open_to_the_end() {
        assert!(contains(&KeyRange::prefix(&b"\xff\xff"[..]), b"\xff\xff\xff"));
        assert_eq!(KeyRange::prefix(Bytes::new()).end, Bound::Unbounded);
    }

    #[test]
    fn the_next_page_never_leaves_the_range() {
        let range = KeyRange::prefix(&b"b"[..]);
        assert_eq!(range.clone().after(&b"a"[..]), range);
        assert_eq!(range.clone().before(&b"d"[..]), range);
        assert!(!contains(&range.clone().after(&b"b1"[..]), b"b1"));
        assert!(contains(&range.clone().after(&b"b1"[..]), b"b2"));
        assert!(!contains(&range.clone().before(&b"b1"[..]), b"b1"));
        assert!(range.after(&b"c"[..]).is_empty());
    }
}

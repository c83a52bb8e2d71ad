//! The `Range` field (RFC 9110, section 14).

use cairn_core::range::ByteRange;

/// Ranges in one request; with more of them the field is ignored, as if the client had asked for the file.
const MAX_RANGES: usize = 16;

/// What a `Range` field asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ranges {
    /// All of it: no field, or another unit, which must be ignored (section 14.2).
    Whole,
    /// The field breaks its grammar; it may be refused (section 14.2), and that helps whoever sent it.
    Malformed,
    /// These parts.
    Parts(Vec<ByteRange>),
    /// No byte of it exists.
    Unsatisfiable,
}

/// One `first-last`, `first-` or `-suffix`; nothing when it is not one.
fn part(text: &str, length: u64) -> Option<Option<ByteRange>> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A number beyond 64 bits is beyond every file.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = if first.is_empty() {
        let suffix = number(last)?.min(length);
        ByteRange { offset: length - suffix, length: suffix }
    } else {
        let first = number(first)?;
        let last = if last.is_empty() { u64::MAX } else { number(last)? };
        if last < first {
            return None;
        }
        ByteRange::within(first, (last - first).saturating_add(1), length)
    };
    Some((!range.is_empty()).then_some(range))
}

impl Ranges {
    /// Reads a field for a file of `length` bytes.
    pub(super) fn read(field: Option<&str>, length: u64) -> Self {
        let Some(list) = field.and_then(|field| field.trim().strip_prefix("bytes=")) else {
            return Self::Whole;
        };
        let texts: Vec<_> =
            list.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        let parts: Option<Vec<_>> = texts.iter().map(|text| part(text, length)).collect();
        match parts {
            None => Self::Malformed,
            Some(parts) if parts.is_empty() => Self::Malformed,
            Some(parts) if parts.len() > MAX_RANGES => Self::Whole,
            Some(parts) => {
                let parts: Vec<_> = parts.into_iter().flatten().collect();
                let asked: u64 = parts.iter().map(|part| part.length).sum();
                if parts.is_empty() {
                    Self::Unsatisfiable
                } else if parts.len() > 1 && asked > length {
                    // Overlapping ranges that amount to more than the file are an attack or a mistake (section 14.2).
                    Self::Whole
                } else {
                    Self::Parts(parts)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(offset: u64, length: u64) -> Ranges {
        Ranges::Parts(vec![ByteRange { offset, length }])
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let read = |text: &str| Ranges::read(Some(text), 100);
        assert_eq!(read("bytes=0-0"), one(0, 1));
        assert_eq!(read("bytes=10-"), one(10, 90));
        assert_eq!(read("bytes=-10"), one(90, 10));
        assert_eq!(read("bytes=-1000"), one(0, 100));
        assert_eq!(read("bytes=90-200"), one(90, 10));
        assert_eq!(read("bytes=90-99999999999999999999999"), one(90, 10));
        assert_eq!(read("bytes=100-"), Ranges::Unsatisfiable);
        assert_eq!(read("bytes=-0"), Ranges::Unsatisfiable);
        let two = vec![ByteRange { offset: 0, length: 1 }, ByteRange { offset: 98, length: 2 }];
        assert_eq!(read("bytes=0-0, -2"), Ranges::Parts(two));
        assert_eq!(read("bytes=0-0,200-"), one(0, 1));
        for ignored in ["lines=1-2", "bytes=0-,0-"] {
            assert_eq!(read(ignored), Ranges::Whole, "{ignored}");
        }
        for wrong in ["bytes=5-2", "bytes=a-b", "bytes=", "bytes=1", "bytes=1-2-3", "bytes=-"] {
            assert_eq!(read(wrong), Ranges::Malformed, "{wrong}");
        }
        assert_eq!(Ranges::read(None, 100), Ranges::Whole);
        assert_eq!(Ranges::read(Some("bytes=0-"), 0), Ranges::Unsatisfiable);
    }
}

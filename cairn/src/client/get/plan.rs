//! Which segments of a file are to be fetched, and whether an earlier try's part can be built upon.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::client::remote::Version;

/// Bytes of a segment: one request each. Small enough that little is lost by an end in the middle, large enough that
/// requests do not count.
pub(super) const SEGMENT_BYTES: u64 = 16 << 20;

/// What DEST.part holds; kept beside it as DEST.part.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// The version. Content of one entity tag is the same, whatever its key.
    etag: String,
    length: u64,
    segment_bytes: u64,
    /// Segments that are written whole.
    done: Vec<u64>,
}

/// Why a file is fetched from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anew {
    /// No earlier try left anything, or what it left is not readable.
    NothingLeft,
    /// The part is of another version.
    OtherVersion,
    /// The part does not have the form that its state tells of.
    OtherForm,
}

impl State {
    /// Nothing is there yet.
    pub(super) fn start(version: &Version) -> Self {
        let (etag, length) = (version.etag.clone(), version.length);
        Self { etag, length, segment_bytes: SEGMENT_BYTES, done: Vec::new() }
    }

    /// Whether an earlier try can be gone on with.
    pub(super) fn resume(
        left: Option<Self>,
        part_bytes: Option<u64>,
        version: &Version,
    ) -> Result<Self, Anew> {
        let (Some(mut left), Some(part_bytes)) = (left, part_bytes) else {
            return Err(Anew::NothingLeft);
        };
        if left.etag != version.etag {
            return Err(Anew::OtherVersion);
        }
        let segments = version.length.div_ceil(SEGMENT_BYTES);
        let fits = left.length == version.length
            && part_bytes == version.length
            && left.segment_bytes == SEGMENT_BYTES
            && left.done.iter().all(|segment| *segment < segments);
        if !fits {
            return Err(Anew::OtherForm);
        }
        left.done.sort_unstable();
        left.done.dedup();
        Ok(left)
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes of a segment.
    pub(super) fn range(&self, segment: u64) -> Range<u64> {
        let start = segment * SEGMENT_BYTES;
        start..self.length.min(start + SEGMENT_BYTES)
    }

    /// Segments that are not there yet, from the front.
    pub(super) fn missing(&self) -> Vec<u64> {
        let all = 0..self.length.div_ceil(SEGMENT_BYTES);
        all.filter(|segment| !self.has(*segment)).collect()
    }

    /// Notes a segment that is written whole.
    pub(super) fn note(&mut self, segment: u64) {
        if let Err(place) = self.done.binary_search(&segment) {
            self.done.insert(place, segment);
        }
    }

    /// Bytes from the front without a gap.
    pub(super) fn front(&self) -> u64 {
        let gap = (0..).zip(&self.done).find(|(nth, segment)| nth != *segment);
        let whole = gap.map_or(self.done.len() as u64, |(nth, _)| nth);
        self.length.min(whole * SEGMENT_BYTES)
    }

    /// Bytes that are there.
    pub(super) fn bytes_done(&self) -> u64 {
        let bytes = |segment: &u64| {
            let range = self.range(*segment);
            range.end - range.start
        };
        self.done.iter().map(bytes).sum()
    }

    fn has(&self, segment: u64) -> bool {
        self.done.binary_search(&segment).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use cairn_core::names::ObjectKey;

    use super::*;

    fn version(length: u64) -> Version {
        let key = ObjectKey::new("a").expect("a key");
        Version { key, length, etag: "e1".to_owned(), sha256: None }
    }

    fn left(length: u64, done: &[u64]) -> State {
        State { done: done.to_vec(), ..State::start(&version(length)) }
    }

    const LENGTH: u64 = 3 * SEGMENT_BYTES + 5;

    #[test]
    fn segments_cover_the_file_once() {
        for length in [0, 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, LENGTH] {
            let state = State::start(&version(length));
            let mut at = 0;
            for segment in state.missing() {
                let range = state.range(segment);
                assert!(range.start == at && range.end > at, "{length}: {range:?}");
                at = range.end;
            }
            assert_eq!(at, length);
        }
    }

    #[test]
    fn only_what_is_missing_is_fetched() {
        let state = State::resume(Some(left(LENGTH, &[3, 0, 3])), Some(LENGTH), &version(LENGTH));
        let state = state.expect("the same version");
        assert_eq!(state.missing(), [1, 2]);
        assert_eq!(state.bytes_done(), SEGMENT_BYTES + 5);
    }

    #[test]
    fn the_front_moves_when_the_gap_closes() {
        let mut state = left(LENGTH, &[]);
        let mut fronts = Vec::new();
        for segment in [1, 0, 3, 2] {
            state.note(segment);
            fronts.push(state.front());
        }
        assert_eq!(fronts, [0, 2 * SEGMENT_BYTES, 2 * SEGMENT_BYTES, LENGTH]);
        assert_eq!(State::start(&version(0)).front(), 0);
    }

    #[test]
    fn a_part_of_another_version_is_not_built_upon() {
        let mut other = left(LENGTH, &[0]);
        other.etag = "e2".to_owned();
        let resumed = State::resume(Some(other), Some(LENGTH), &version(LENGTH));
        assert_eq!(resumed, Err(Anew::OtherVersion));
    }

    #[test]
    fn a_part_that_does_not_fit_its_state_is_not_built_upon() {
        let resume = |state, bytes| State::resume(state, bytes, &version(LENGTH));
        assert_eq!(resume(None, Some(LENGTH)), Err(Anew::NothingLeft));
        assert_eq!(resume(Some(left(LENGTH, &[0])), None), Err(Anew::NothingLeft));
        assert_eq!(resume(Some(left(LENGTH, &[0])), Some(5)), Err(Anew::OtherForm));
        assert_eq!(resume(Some(left(LENGTH, &[4])), Some(LENGTH)), Err(Anew::OtherForm));
        assert_eq!(resume(Some(left(7, &[0])), Some(LENGTH)), Err(Anew::OtherForm));
        let smaller = State { segment_bytes: 1 << 20, ..left(LENGTH, &[0]) };
        assert_eq!(resume(Some(smaller), Some(LENGTH)), Err(Anew::OtherForm));
    }
}

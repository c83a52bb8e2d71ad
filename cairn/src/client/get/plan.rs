//! Which segments of a file are to be fetched, and whether an earlier try's part can be built upon.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::client::remote::Version;

/// Most bytes of a segment of several chunks: one request each. Small enough that little is lost by an end in the
/// middle, large enough that requests do not count.
pub(super) const SEGMENT_BYTES: u64 = 16 << 20;

/// A file cut into segments of whole chunks, so that each can be hashed on its own. A chunk above [`SEGMENT_BYTES`] is
/// a segment by itself; a file whose chunks are not known is cut every [`SEGMENT_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segments(Vec<Segment>);

/// Consecutive chunks that are fetched with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) bytes: Range<u64>,
    /// The length of each chunk.
    pub(super) chunks: Vec<u64>,
}

impl Segments {
    pub(super) fn of(version: &Version) -> Self {
        match version.proof.as_ref().and_then(|proof| proof.chunks()) {
            Some(chunks) => Self::of_chunks(chunks.each()),
            None => {
                let starts = 0..version.length.div_ceil(SEGMENT_BYTES);
                let length = |nth| SEGMENT_BYTES.min(version.length - nth * SEGMENT_BYTES);
                Self::of_chunks(starts.map(length))
            }
        }
    }

    fn of_chunks(lengths: impl Iterator<Item = u64>) -> Self {
        let mut segments: Vec<Segment> = Vec::new();
        let mut at = 0;
        for length in lengths {
            match segments.last_mut() {
                Some(last) if at + length - last.bytes.start <= SEGMENT_BYTES => {
                    last.bytes.end = at + length;
                    last.chunks.push(length);
                }
                _ => segments.push(Segment { bytes: at..at + length, chunks: vec![length] }),
            }
            at += length;
        }
        Self(segments)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// One of them.
    pub(super) fn at(&self, nth: usize) -> &Segment {
        &self.0[nth]
    }
}

/// What DEST.part holds; kept beside it as DEST.part.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// The version. Content of one entity tag is the same, whatever its key.
    etag: String,
    length: u64,
    segment_bytes: u64,
    /// The chunks that the segments are made of, as in `Cairn-Chunks`; nothing when they are not known.
    chunks: Option<String>,
    /// Segments that are written whole.
    done: Vec<usize>,
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
        let chunks = version.proof.as_ref().and_then(|proof| proof.chunks());
        let chunks = chunks.map(ToString::to_string);
        Self { etag, length, segment_bytes: SEGMENT_BYTES, chunks, done: Vec::new() }
    }

    /// Whether an earlier try can be gone on with.
    pub(super) fn resume(
        left: Option<Self>,
        part_bytes: Option<u64>,
        version: &Version,
        segments: &Segments,
    ) -> Result<Self, Anew> {
        let (Some(mut left), Some(part_bytes)) = (left, part_bytes) else {
            return Err(Anew::NothingLeft);
        };
        let start = Self::start(version);
        if left.etag != start.etag {
            return Err(Anew::OtherVersion);
        }
        let fits = left.length == start.length
            && part_bytes == start.length
            && left.segment_bytes == start.segment_bytes
            && left.chunks == start.chunks
            && left.done.iter().all(|segment| *segment < segments.count());
        if !fits {
            return Err(Anew::OtherForm);
        }
        left.done.sort_unstable();
        left.done.dedup();
        Ok(left)
    }

    /// Notes a segment that is written whole.
    pub(super) fn note(&mut self, segment: usize) {
        if let Err(place) = self.done.binary_search(&segment) {
            self.done.insert(place, segment);
        }
    }

    /// Segments from the front without a gap.
    pub(super) fn front(&self) -> usize {
        let gap = (0..).zip(&self.done).find(|(nth, segment)| nth != *segment);
        gap.map_or(self.done.len(), |(nth, _)| nth)
    }

    /// Bytes that are there.
    pub(super) fn bytes_done(&self, segments: &Segments) -> u64 {
        let bytes = |segment: &usize| {
            let Range { start, end } = segments.at(*segment).bytes;
            end - start
        };
        self.done.iter().map(bytes).sum()
    }

    /// True for a segment that is written whole.
    pub(super) fn has(&self, segment: usize) -> bool {
        self.done.binary_search(&segment).is_ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use cairn_core::digest::FileRoot;
    use cairn_core::names::ObjectKey;

    use super::*;
    use crate::client::proof::Proof;

    pub(in crate::client::get) fn version(length: u64) -> Version {
        let key = ObjectKey::new("a").expect("a key");
        Version { key, length, etag: "e1".to_owned(), sha256: None, proof: None }
    }

    fn with_chunks(text: &str) -> Version {
        let chunks: cairn_core::lengths::ChunkLengths = text.parse().expect("lengths");
        let length = chunks.bytes();
        Version { proof: Proof::of(Some(FileRoot([1; 32])), Some(chunks), None), ..version(length) }
    }

    fn left(version: &Version, done: &[usize]) -> State {
        State { done: done.to_vec(), ..State::start(version) }
    }

    fn resume(left: Option<State>, bytes: Option<u64>, version: &Version) -> Result<State, Anew> {
        State::resume(left, bytes, version, &Segments::of(version))
    }

    const LENGTH: u64 = 3 * SEGMENT_BYTES + 5;

    fn covers(version: &Version) {
        let segments = Segments::of(version);
        let mut at = 0;
        for nth in 0..segments.count() {
            let Segment { bytes, chunks } = segments.at(nth);
            assert!(bytes.start == at && bytes.end > at, "{version:?}: {bytes:?}");
            assert_eq!(chunks.iter().sum::<u64>(), bytes.end - bytes.start);
            assert!(chunks.len() == 1 || bytes.end - bytes.start <= SEGMENT_BYTES);
            at = bytes.end;
        }
        assert_eq!(at, version.length);
    }

    #[test]
    fn segments_cover_the_file_once() {
        for length in [0, 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, LENGTH] {
            covers(&version(length));
        }
        for chunks in ["", "5", "1024;n=40000, 7", "8388608;n=9, 1", "67108864;n=2", "16777217, 1"]
        {
            covers(&with_chunks(chunks));
        }
    }

    #[test]
    fn chunks_are_not_cut_by_segments() {
        let segments = Segments::of(&with_chunks("8388608;n=3, 1"));
        let chunks: Vec<_> =
            (0..segments.count()).map(|nth| &segments.at(nth).chunks[..]).collect();
        assert_eq!(chunks, [&[8 << 20, 8 << 20][..], &[8 << 20, 1]]);
    }

    #[test]
    fn only_what_is_missing_is_fetched() {
        let version = version(LENGTH);
        let state = resume(Some(left(&version, &[3, 0, 3])), Some(LENGTH), &version);
        let state = state.expect("the same version");
        assert_eq!([0, 1, 2, 3].map(|nth| state.has(nth)), [true, false, false, true]);
        assert_eq!(state.bytes_done(&Segments::of(&version)), SEGMENT_BYTES + 5);
    }

    #[test]
    fn the_front_moves_when_the_gap_closes() {
        let mut state = left(&version(LENGTH), &[]);
        let mut fronts = Vec::new();
        for segment in [1, 0, 3, 2] {
            state.note(segment);
            fronts.push(state.front());
        }
        assert_eq!(fronts, [0, 2, 2, 4]);
    }

    #[test]
    fn a_part_of_another_version_is_not_built_upon() {
        let version = version(LENGTH);
        let other = State { etag: "e2".to_owned(), ..left(&version, &[0]) };
        assert_eq!(resume(Some(other), Some(LENGTH), &version), Err(Anew::OtherVersion));
    }

    #[test]
    fn a_part_that_does_not_fit_its_state_is_not_built_upon() {
        let known = with_chunks("8388608;n=6, 5");
        let version = version(LENGTH);
        let again = |state, bytes| resume(state, bytes, &version);
        assert_eq!(again(None, Some(LENGTH)), Err(Anew::NothingLeft));
        assert_eq!(again(Some(left(&version, &[0])), None), Err(Anew::NothingLeft));
        assert_eq!(again(Some(left(&version, &[0])), Some(5)), Err(Anew::OtherForm));
        assert_eq!(again(Some(left(&version, &[4])), Some(LENGTH)), Err(Anew::OtherForm));
        assert_eq!(again(Some(left(&known, &[0])), Some(LENGTH)), Err(Anew::OtherForm));
        let shorter = State { length: 7, ..left(&version, &[0]) };
        assert_eq!(again(Some(shorter), Some(LENGTH)), Err(Anew::OtherForm));
        let smaller = State { segment_bytes: 1 << 20, ..left(&version, &[0]) };
        assert_eq!(again(Some(smaller), Some(LENGTH)), Err(Anew::OtherForm));
    }
}

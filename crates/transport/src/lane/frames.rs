//! Frames on the wire.

use bytes::{BufMut, Bytes, BytesMut};
use cairn_core::digest::BLOCK_BYTES;
use cairn_proto::v1::lane_head::Part;
use cairn_proto::v1::{
    ErrorDetail, LaneData, LaneHead, LaneRefusal, ReadHeader, WriteChunkResponse, WriteFinish,
};
use cairn_proto::{MAX_FRAME_BYTES, WireError};
use http_body::Body;
use http_body_util::BodyExt;
use prost::Message;

/// Largest head: a refusal with a long text. One for 1 MiB of data has some 80 bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Bytes of a head's length.
const LENGTH_BYTES: usize = 4;
/// Longest text of a refusal, in bytes.
const MAX_TEXT_BYTES: usize = 4 << 10;

fn head(part: Part) -> Bytes {
    let head = LaneHead { part: Some(part) };
    let length = head.encoded_len();
    let mut frame = BytesMut::with_capacity(LENGTH_BYTES + length);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // Cannot run out of room: a BytesMut grows.
    let _ = head.encode(&mut frame);
    frame.freeze()
}

/// Head of a run of bytes, which are to follow: between 1 and [`MAX_FRAME_BYTES`].
pub fn data(length: usize, block_crcs: Vec<u32>) -> Bytes {
    debug_assert!((1..=MAX_FRAME_BYTES).contains(&length), "{length} bytes in a frame");
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    head(Part::Data(LaneData { block_crcs, length }))
}

/// The end of a write.
pub fn finish(finish: WriteFinish) -> Bytes {
    head(Part::Finish(finish))
}

/// The beginning of an answer to a read.
pub fn read_header(header: ReadHeader) -> Bytes {
    head(Part::Read(header))
}

/// The answer to a write.
pub fn receipt(receipt: WriteChunkResponse) -> Bytes {
    head(Part::Receipt(receipt))
}

/// Why a call failed.
pub fn refusal(error: &dyn WireError) -> Bytes {
    let detail = ErrorDetail { reason: error.reason().into(), retryable: error.is_retryable() };
    let mut message = error.client_message();
    message.truncate(message.floor_char_boundary(MAX_TEXT_BYTES));
    head(Part::Refusal(LaneRefusal { detail: Some(detail), message }))
}

/// What comes next in a body.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The beginning of an answer to a read.
    Read(ReadHeader),
    /// Bytes of a chunk, as the network gave them.
    Data {
        /// The bytes; never empty.
        bytes: Bytes,
        /// Checksums of the blocks that end in them; behind the last bytes of a frame, all that are left of it.
        block_crcs: Vec<u32>,
        /// Whether a frame ends with them.
        ends_frame: bool,
    },
    /// The end of a write.
    Finish(WriteFinish),
    /// The answer to a write.
    Receipt(WriteChunkResponse),
    /// Why the call failed.
    Refusal(LaneRefusal),
}

/// A body is not a run of frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramesError {
    /// The connection broke, or the body ended within a frame.
    #[error("the body broke off: {0}")]
    BrokenOff(String),
    /// What came is no frame.
    #[error("the body is no run of frames: {0}")]
    Malformed(String),
}

/// Reads a body frame by frame. Data is handed on in the pieces in which it arrives.
#[derive(Debug)]
pub struct Frames<B> {
    body: B,
    /// Arrived and not yet handed on.
    current: Bytes,
    /// The data frame that is under way.
    run: Option<Run>,
    /// Bytes of the chunk's current block that have passed.
    filled: usize,
}

#[derive(Debug)]
struct Run {
    left: usize,
    block_crcs: std::vec::IntoIter<u32>,
}

impl<B> Frames<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    /// Reads from `body`, whose data begins at the start of a block.
    pub fn new(body: B) -> Self {
        Self { body, current: Bytes::new(), run: None, filled: 0 }
    }

    /// What comes next; nothing at a clean end.
    ///
    /// # Errors
    /// [`FramesError`]; nothing more can be read then.
    pub async fn next(&mut self) -> Result<Option<Event>, FramesError> {
        if self.run.is_none() {
            let Some(part) = self.head().await? else { return Ok(None) };
            match part {
                Part::Data(data) => self.run = Some(Run::begin(data)?),
                Part::Read(header) => return Ok(Some(Event::Read(header))),
                Part::Finish(finish) => return Ok(Some(Event::Finish(finish))),
                Part::Receipt(receipt) => return Ok(Some(Event::Receipt(receipt))),
                Part::Refusal(refusal) => return Ok(Some(Event::Refusal(refusal))),
            }
        }
        while self.current.is_empty() {
            if !self.more().await? {
                return Err(FramesError::BrokenOff("it ends within a frame".to_owned()));
            }
        }
        Ok(self.piece())
    }

    /// The rest of the body, read and thrown away.
    ///
    /// # Errors
    /// [`FramesError::BrokenOff`] when the body does not come to its end.
    pub async fn drain(mut self) -> Result<(), FramesError> {
        while self.more().await? {}
        Ok(())
    }

    /// What of the data frame has arrived.
    fn piece(&mut self) -> Option<Event> {
        let run = self.run.as_mut()?;
        let bytes = self.current.split_to(run.left.min(self.current.len()));
        run.left -= bytes.len();
        let ends_frame = run.left == 0;
        let reached = self.filled + bytes.len();
        self.filled = reached % BLOCK_BYTES;
        let ended = if ends_frame { usize::MAX } else { reached / BLOCK_BYTES };
        let block_crcs = run.block_crcs.by_ref().take(ended).collect();
        if ends_frame {
            self.run = None;
        }
        Some(Event::Data { bytes, block_crcs, ends_frame })
    }

    async fn head(&mut self) -> Result<Option<Part>, FramesError> {
        let Some(length) = self.gather(LENGTH_BYTES, true).await? else { return Ok(None) };
        let length = length.iter().fold(0, |length: usize, byte| length << 8 | usize::from(*byte));
        if length > MAX_HEAD_BYTES {
            let problem = format!("a head of {length} bytes, where {MAX_HEAD_BYTES} are the most");
            return Err(FramesError::Malformed(problem));
        }
        let head = self.gather(length, false).await?.unwrap_or_default();
        let head = LaneHead::decode(head).map_err(|e| FramesError::Malformed(e.to_string()))?;
        let part = head.part.ok_or_else(|| FramesError::Malformed("an empty head".to_owned()))?;
        Ok(Some(part))
    }

    /// The next `length` bytes as one; nothing when the body ends before the first and `may_end`.
    async fn gather(&mut self, length: usize, may_end: bool) -> Result<Option<Bytes>, FramesError> {
        if self.current.len() >= length {
            return Ok(Some(self.current.split_to(length)));
        }
        let mut gathered = BytesMut::with_capacity(length);
        while gathered.len() < length {
            if self.current.is_empty() && !self.more().await? {
                let clean = may_end && gathered.is_empty();
                return match clean {
                    true => Ok(None),
                    false => Err(FramesError::BrokenOff("it ends within a head".to_owned())),
                };
            }
            let wanted = length - gathered.len();
            gathered.put(self.current.split_to(wanted.min(self.current.len())));
        }
        Ok(Some(gathered.freeze()))
    }

    /// Waits for more bytes; false at the end.
    async fn more(&mut self) -> Result<bool, FramesError> {
        match self.body.frame().await {
            None => Ok(false),
            Some(Ok(frame)) => {
                // Trailers say nothing here.
                self.current = frame.into_data().unwrap_or_default();
                Ok(true)
            }
            Some(Err(error)) => Err(FramesError::BrokenOff(error.to_string())),
        }
    }
}

impl Run {
    fn begin(data: LaneData) -> Result<Self, FramesError> {
        let left = data.length as usize;
        if !(1..=MAX_FRAME_BYTES).contains(&left) {
            let problem = format!("{left} bytes of data: 1 to {MAX_FRAME_BYTES} fit a frame");
            return Err(FramesError::Malformed(problem));
        }
        Ok(Self { left, block_crcs: data.block_crcs.into_iter() })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use cairn_proto::{InvalidField, Reason};
    use futures_util::{FutureExt, StreamExt, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use proptest::prelude::*;

    use super::*;

    /// A body that arrives in pieces of `size` bytes.
    fn frames(
        bytes: &[u8],
        size: usize,
    ) -> Frames<impl Body<Data = Bytes, Error = Infallible> + Unpin + use<>> {
        let pieces: Vec<_> = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
        Frames::new(StreamBody::new(stream::iter(pieces).map(|piece| Ok(Frame::data(piece)))))
    }

    fn all(bytes: &[u8], size: usize) -> Result<Vec<Event>, FramesError> {
        let mut frames = frames(bytes, size);
        let mut events = Vec::new();
        while let Some(event) = frames.next().now_or_never().expect("all has arrived")? {
            events.push(event);
        }
        Ok(events)
    }

    fn write(lengths: &[usize]) -> Vec<u8> {
        let mut wire = Vec::new();
        let (mut passed, mut block) = (0, 0);
        for &length in lengths {
            passed += length;
            let ended = (passed / BLOCK_BYTES) as u32;
            wire.extend_from_slice(&data(length, (block..ended).collect()));
            wire.extend(std::iter::repeat_n(7, length));
            block = ended;
        }
        let end = WriteFinish { length: passed as u64, ..WriteFinish::default() };
        wire.extend_from_slice(&finish(end));
        wire
    }

    proptest! {
        #[test]
        fn bytes_and_checksums_arrive_in_order_however_the_network_cuts_them(
            lengths in prop::collection::vec(1usize..200_000, 1..5),
            size in 1usize..100_000,
        ) {
            let events = all(&write(&lengths), size).expect("frames");
            let (mut passed, mut next_crc, mut ends) = (0, 0, 0);
            for event in &events[..events.len() - 1] {
                let Event::Data { bytes, block_crcs, ends_frame } = event else {
                    panic!("{event:?}")
                };
                passed += bytes.len();
                for crc in block_crcs {
                    prop_assert_eq!(*crc, next_crc);
                    next_crc += 1;
                }
                prop_assert_eq!(next_crc as usize, passed / BLOCK_BYTES, "with the bytes that end it");
                ends += usize::from(*ends_frame);
            }
            prop_assert_eq!(passed, lengths.iter().sum::<usize>());
            prop_assert_eq!(ends, lengths.len());
            let finished = matches!(events.last(), Some(Event::Finish(end)) if end.length == passed as u64);
            prop_assert!(finished);
        }

        #[test]
        fn a_body_that_is_cut_anywhere_never_ends_cleanly_within_a_frame(cut in 1usize..100_000) {
            let whole = write(&[70_000]);
            let cut = cut.min(whole.len() - 1);
            let boundary = whole.len() - finish(WriteFinish { length: 70_000, ..Default::default() }).len();
            let read = all(&whole[..cut], 10_000);
            prop_assert_eq!(read.is_ok(), cut == boundary, "{:?}", read);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = all(&bytes, 7);
        }
    }

    #[test]
    fn a_piece_is_shared_with_what_arrived_and_not_copied() {
        let mut frames = frames(&write(&[BLOCK_BYTES]), usize::MAX);
        let event = frames.next().now_or_never().expect("arrived").expect("a frame");
        let Some(Event::Data { bytes, .. }) = event else { panic!("{event:?}") };
        assert!(!bytes.is_unique(), "it shares the arrived piece with the frames that follow");
    }

    #[test]
    fn sizes_past_the_bounds_are_refused_before_anything_is_held() {
        let long = 0x7fff_ffff_u32.to_be_bytes();
        assert!(matches!(all(&long, 4), Err(FramesError::Malformed(_))));
        for length in [0, MAX_FRAME_BYTES as u32 + 1] {
            let frame = head(Part::Data(LaneData { block_crcs: Vec::new(), length }));
            assert!(matches!(all(&frame, 64), Err(FramesError::Malformed(_))), "{length}");
        }
        assert!(matches!(all(&[0, 0, 0, 0], 4), Err(FramesError::Malformed(_))), "an empty head");
    }

    #[test]
    fn a_refusal_carries_its_reason_and_a_bounded_text() {
        let error = InvalidField::new("chunk", "ß".repeat(MAX_TEXT_BYTES));
        let events = all(&refusal(&error), 100).expect("a frame");
        let [Event::Refusal(refusal)] = &events[..] else { panic!("{events:?}") };
        let reason = refusal.detail.as_ref().map(|detail| detail.reason());
        assert_eq!(reason, Some(Reason::InvalidField));
        assert!(refusal.message.len() <= MAX_TEXT_BYTES && refusal.message.starts_with("chunk: ß"));
    }
}

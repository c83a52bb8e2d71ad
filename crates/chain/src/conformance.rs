//! What every chunk store keeps to, as tests that take the store: [`chunk_store_conformance!`](crate::chunk_store_conformance) makes a test of
//! each.
//!
//! A store under test comes from a function of its capacity in bytes; each call gives a new, empty store that is
//! used on the runtime of the test.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cairn_core::digest::{BLOCK_BYTES, BlockCrcs, ChunkHash, ChunkHasher, block_crc};
use cairn_core::ids::{BlobId, ChunkId};
use cairn_core::range::ByteRange;
use futures_util::StreamExt;

use crate::store::{
    ChunkEnd, ChunkStore, ChunkWriter, FRAME_BYTES, ListChunks, MAX_CHUNK_BYTES, ReadError, Usage,
    WriteError,
};

/// Room for every case.
pub const PLENTY: u64 = 1 << 30;

const BLOCK: usize = BLOCK_BYTES;
/// Lengths at which something changes.
const LENGTHS: [usize; 7] = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, FRAME_BYTES, FRAME_BYTES + 3];

/// Makes one test of each case of the suite, with the attributes that stand before it, for the stores that `$fresh` makes: an async
/// function of the capacity in bytes that gives an `Arc<dyn ChunkStore>` with whatever has to live as long; or an option of that, where
/// there may be no store: then the case passes.
#[macro_export]
macro_rules! chunk_store_conformance {
    ($(#[$attribute:meta])* $fresh:path) => {
        $crate::chunk_store_conformance!(
            @each [$(#[$attribute])*] $fresh:
            chunks_of_every_length_come_back_as_they_went_in,
            pieces_of_any_size_make_the_same_chunk,
            a_range_comes_as_the_blocks_that_hold_it,
            a_block_that_does_not_match_is_refused_and_nothing_is_left,
            an_end_that_does_not_match_is_refused_and_nothing_is_left,
            more_than_was_reserved_is_refused,
            a_writer_that_failed_takes_nothing_more,
            nothing_is_visible_before_the_end,
            a_repeat_succeeds_and_other_content_is_refused,
            of_two_writers_the_first_to_finish_wins,
            of_two_contents_that_finish_at_once_one_is_refused,
            a_writer_that_is_dropped_gives_its_room_back,
            what_does_not_fit_is_refused_when_it_begins,
            what_was_promised_and_not_used_is_free_again,
            a_page_begins_where_the_last_one_ended,
            deleting_is_idempotent,
            an_intact_chunk_is_not_put_aside,
            erasing_a_blob_is_done_in_bounded_steps,
            erasing_a_blob_breaks_off_its_open_writes,
            a_reader_may_go_on_after_the_deletion_or_fail_but_never_lies,
            a_closed_store_takes_nothing,
        );
    };
    (@each $attributes:tt $fresh:path: $($case:ident),* $(,)?) => {
        $($crate::chunk_store_conformance!(@case $attributes $fresh: $case);)*
    };
    (@case [$(#[$attribute:meta])*] $fresh:path: $case:ident) => {
        #[tokio::test]
        $(#[$attribute])*
        async fn $case() {
            let made = $fresh($crate::conformance::PLENTY).await;
            let made: Option<(std::sync::Arc<dyn $crate::ChunkStore>, _)> = made.into();
            let Some((store, _kept)) = made else { return };
            $crate::conformance::$case(store).await;
        }
    };
}

/// A blob's id, for tests.
///
/// # Panics
/// Never.
pub fn blob(n: u8) -> BlobId {
    let mut id = [0; 16];
    id[6..].copy_from_slice(&[0x70, 0, 0x80, 0, 0, 0, 0, 0, n, n ^ 0x5A]);
    BlobId::from_slice(&id).expect("an id has 16 bytes")
}

/// Bytes that differ from block to block.
pub fn content(length: usize, seed: u8) -> Bytes {
    let mix = |at: usize| (at % 251) as u8 ^ (at / BLOCK) as u8 ^ seed;
    (0..length).map(mix).collect()
}

/// The hash of a chunk's bytes.
pub fn hash(bytes: &[u8]) -> ChunkHash {
    let mut hasher = ChunkHasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// Sends `bytes` in pieces of `piece` bytes, and the end.
///
/// # Errors
/// What the store answers first.
///
/// # Panics
/// When the copy is said to lie on a disk that the store does not have.
pub async fn put_in_pieces(
    store: &dyn ChunkStore,
    chunk: ChunkId,
    bytes: &Bytes,
    piece: usize,
) -> Result<(), WriteError> {
    let mut writer = store.begin(chunk, bytes.len() as u64).await?;
    let end = send(&mut *writer, chunk, bytes, piece).await?;
    let disk = writer.finish(end).await?;
    assert!(store.disks().iter().any(|report| report.disk == disk), "a disk of the store");
    Ok(())
}

/// Sends `bytes` in pieces of `piece` bytes; gives the end that belongs to them.
///
/// # Errors
/// What the writer answers first.
pub async fn send(
    writer: &mut dyn ChunkWriter,
    chunk: ChunkId,
    bytes: &Bytes,
    piece: usize,
) -> Result<ChunkEnd, WriteError> {
    let mut crcs = BlockCrcs::new(chunk);
    let mut at = 0;
    while at < bytes.len() {
        let now = bytes.slice(at..(at + piece).min(bytes.len()));
        at += now.len();
        let mut sealed = Vec::new();
        crcs.update(&now, |crc| sealed.push(crc));
        writer.append(now, sealed).await?;
    }
    Ok(ChunkEnd { length: bytes.len() as u64, hash: hash(bytes), last_block_crc: crcs.finish() })
}

/// Stores a chunk.
///
/// # Errors
/// What the store answers first.
///
/// # Panics
/// As [`put_in_pieces`].
pub async fn put(store: &dyn ChunkStore, chunk: ChunkId, bytes: &Bytes) -> Result<(), WriteError> {
    put_in_pieces(store, chunk, bytes, FRAME_BYTES).await
}

/// Reads a range and checks all that is said of it; gives where the bytes begin, and the bytes.
///
/// # Errors
/// What the store answers first.
///
/// # Panics
/// When a frame breaks the contract.
pub async fn get(
    store: &dyn ChunkStore,
    chunk: ChunkId,
    range: ByteRange,
) -> Result<(u64, Bytes), ReadError> {
    let mut reader = store.read(chunk, range).await?;
    let header = reader.header;
    let mut bytes = BytesMut::new();
    while let Some(frame) = reader.frames.next().await {
        let frame = frame?;
        assert!(frame.bytes.len() <= FRAME_BYTES, "a frame is bounded");
        let begin = header.offset + bytes.len() as u64;
        assert_eq!(begin % BLOCK as u64, 0, "a frame begins with a block");
        let first = u32::try_from(begin / BLOCK as u64).expect("a chunk is bounded");
        let crcs: Vec<u32> = (first..)
            .zip(frame.bytes.chunks(BLOCK))
            .map(|(block, bytes)| block_crc(chunk, block, bytes))
            .collect();
        assert_eq!(frame.block_crcs, crcs, "each block has its checksum");
        bytes.extend_from_slice(&frame.bytes);
    }
    if range.offset == 0 && range.length >= header.length {
        assert_eq!(header.hash, hash(&bytes), "the hash is that of the bytes");
    }
    Ok((header.offset, bytes.freeze()))
}

/// Reads a whole chunk.
///
/// # Errors
/// What the store answers first.
pub async fn get_all(store: &dyn ChunkStore, chunk: ChunkId) -> Result<Bytes, ReadError> {
    let range = ByteRange { offset: 0, length: u64::MAX };
    get(store, chunk, range).await.map(|(_, bytes)| bytes)
}

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

async fn is_absent(store: &dyn ChunkStore, chunk: ChunkId) {
    let read = get_all(store, chunk).await;
    assert!(matches!(read, Err(ReadError::NotFound { .. })), "{read:?}");
    let stat = store.stat(chunk).await;
    assert!(matches!(stat, Err(ReadError::NotFound { .. })), "{stat:?}");
}

async fn is_empty(store: &dyn ChunkStore) {
    let Usage { capacity, reclaimable, .. } = store.usage();
    let empty = Usage { capacity, reclaimable, ..Usage::default() };
    assert_eq!(store.usage(), empty);
    let all = ListChunks { after: None, blob: None, limit: 10 };
    let page = store.list(all).await.expect("a list");
    assert!(page.chunks.is_empty() && !page.more, "{page:?}");
}

/// What went in comes back, with its length and hash.
pub async fn chunks_of_every_length_come_back_as_they_went_in(store: Arc<dyn ChunkStore>) {
    for (index, length) in (0..).zip(LENGTHS) {
        let bytes = content(length, 7);
        put(&*store, chunk(index), &bytes).await.expect("stored");
        let read = get_all(&*store, chunk(index)).await.expect("read");
        assert!(read == bytes, "{length} bytes changed");
        let stat = store.stat(chunk(index)).await.expect("known");
        assert_eq!((stat.length, stat.hash), (length as u64, hash(&bytes)));
    }
    assert_eq!(store.usage().chunks, LENGTHS.len() as u64);
    assert_eq!(store.usage().reserved, 0);
}

/// Frames are cut by the network, not by blocks.
pub async fn pieces_of_any_size_make_the_same_chunk(store: Arc<dyn ChunkStore>) {
    let bytes = content(FRAME_BYTES + 3, 9);
    for (index, piece) in (0..).zip([1000, 16_385, BLOCK - 1, BLOCK + 1, 300_001, FRAME_BYTES]) {
        let stored = put_in_pieces(&*store, chunk(index), &bytes, piece).await;
        stored.expect("stored");
        let read = get_all(&*store, chunk(index)).await.expect("read");
        assert!(read == bytes, "pieces of {piece} bytes made another chunk");
    }
}

/// A range is widened to whole blocks and cut at the end of the chunk.
pub async fn a_range_comes_as_the_blocks_that_hold_it(store: Arc<dyn ChunkStore>) {
    let bytes = content(FRAME_BYTES * 2 + 100, 3);
    put(&*store, chunk(0), &bytes).await.expect("stored");
    let block = BLOCK as u64;
    let total = bytes.len() as u64;
    let ranges = [
        (0, 1),
        (10, 20),
        (block - 1, 1),
        (block - 1, 2),
        (block, block),
        (3 * block + 5, 20 * block),
        (total - 1, 1),
        (total - 1, 1000),
        (5, u64::MAX),
        (total, 10),
        (u64::MAX, u64::MAX),
        (100, 0),
    ];
    for (offset, length) in ranges {
        let range = ByteRange { offset, length };
        let expected = ByteRange::within(offset, length, total).aligned_to(block, total);
        let (begin, read) = get(&*store, chunk(0), range).await.expect("read");
        assert_eq!(begin, expected.offset, "of {range:?}");
        let (first, last) = (expected.offset as usize, expected.end() as usize);
        assert!(read == bytes[first..last], "{range:?} gave other bytes");
    }
}

/// The checksums are compared as the blocks end.
pub async fn a_block_that_does_not_match_is_refused_and_nothing_is_left(
    store: Arc<dyn ChunkStore>,
) {
    let bytes = content(BLOCK + 5, 1);
    let crc = |block, range| block_crc(chunk(0), block, &bytes[range]);
    let right = [crc(0, 0..BLOCK), crc(1, BLOCK..BLOCK + 5)];
    let wrong = [
        [right[0] ^ 1, right[1]],
        [right[0], right[1] ^ 1],
        [right[1], right[0]],
        [crc(1, 0..BLOCK), right[1]],
    ];
    for crcs in wrong {
        let mut writer = store.begin(chunk(0), PLENTY / 4).await.expect("room");
        let taken = writer.append(bytes.clone(), crcs.to_vec()).await;
        let refused = matches!(taken, Err(WriteError::BlockMismatch { .. }));
        assert!(refused, "{taken:?}");
    }
    let mut writer = store.begin(chunk(0), PLENTY / 4).await.expect("room");
    let first = writer.append(bytes.clone(), vec![right[0]]).await;
    first.expect("the first block is right");
    let end = ChunkEnd {
        length: bytes.len() as u64,
        hash: hash(&bytes),
        last_block_crc: Some(right[1] ^ 1),
    };
    let finished = writer.finish(end).await;
    let refused = matches!(finished, Err(WriteError::BlockMismatch { block: 1, .. }));
    assert!(refused, "{finished:?}");
    is_absent(&*store, chunk(0)).await;
    is_empty(&*store).await;
}

/// A chunk that was cut short is not a chunk.
pub async fn an_end_that_does_not_match_is_refused_and_nothing_is_left(store: Arc<dyn ChunkStore>) {
    let bytes = content(100, 1);
    for length in [0, 99, 101] {
        let mut writer = store.begin(chunk(0), 200).await.expect("room");
        let end = send(&mut *writer, chunk(0), &bytes, 100).await.expect("sent");
        let finished = writer.finish(ChunkEnd { length, ..end }).await;
        let refused = matches!(finished, Err(WriteError::LengthMismatch { .. }));
        assert!(refused, "{length}: {finished:?}");
    }
    let mut writer = store.begin(chunk(0), 200).await.expect("room");
    let end = send(&mut *writer, chunk(0), &bytes, 100).await.expect("sent");
    let unproven = ChunkEnd { last_block_crc: None, ..end };
    let finished = writer.finish(unproven).await;
    let refused = matches!(finished, Err(WriteError::Checksums(_)));
    assert!(refused, "{finished:?}");
    is_absent(&*store, chunk(0)).await;
    is_empty(&*store).await;
}

/// A reservation is the most that a chunk can have.
pub async fn more_than_was_reserved_is_refused(store: Arc<dyn ChunkStore>) {
    let bytes = content(101, 1);
    let mut writer = store.begin(chunk(0), 100).await.expect("room");
    let sent = send(&mut *writer, chunk(0), &bytes, 101).await;
    let refused = matches!(sent, Err(WriteError::PastReserve { reserve: 100 }));
    assert!(refused, "{sent:?}");
    drop(writer);
    let begun = store.begin(chunk(0), MAX_CHUNK_BYTES + 1).await;
    let refused = matches!(begun, Err(WriteError::TooLarge { .. }));
    assert!(refused, "{begun:?}");
    is_empty(&*store).await;
}

/// After an error only dropping is left.
pub async fn a_writer_that_failed_takes_nothing_more(store: Arc<dyn ChunkStore>) {
    let bytes = content(BLOCK, 1);
    let mut writer = store.begin(chunk(0), BLOCK as u64).await.expect("room");
    writer.append(bytes.clone(), vec![1]).await.expect_err("a wrong checksum");
    let crc = block_crc(chunk(0), 0, &bytes);
    let again = writer.append(Bytes::new(), vec![]).await;
    assert!(matches!(again, Err(WriteError::Broken)), "{again:?}");
    let end =
        ChunkEnd { length: bytes.len() as u64, hash: hash(&bytes), last_block_crc: Some(crc) };
    let finished = writer.finish(end).await;
    assert!(matches!(finished, Err(WriteError::Broken)), "{finished:?}");
    is_empty(&*store).await;
}

/// A chunk appears whole.
pub async fn nothing_is_visible_before_the_end(store: Arc<dyn ChunkStore>) {
    let bytes = content(BLOCK * 3, 1);
    let mut writer = store.begin(chunk(0), BLOCK as u64 * 3).await.expect("room");
    let end = send(&mut *writer, chunk(0), &bytes, BLOCK).await.expect("sent");
    is_absent(&*store, chunk(0)).await;
    let usage = store.usage();
    assert_eq!((usage.chunks, usage.open_writes), (0, 1));
    assert!(usage.reserved >= bytes.len() as u64, "{usage:?}");
    writer.finish(end).await.expect("stored");
    let usage = store.usage();
    assert_eq!((usage.chunks, usage.open_writes, usage.reserved), (1, 0, 0));
    assert!(usage.used >= bytes.len() as u64, "{usage:?}");
}

/// Ids are never used again, so the same id is the same chunk, or a mistake.
pub async fn a_repeat_succeeds_and_other_content_is_refused(store: Arc<dyn ChunkStore>) {
    let bytes = content(BLOCK + 1, 1);
    put(&*store, chunk(0), &bytes).await.expect("stored");
    let used = store.usage();
    put(&*store, chunk(0), &bytes).await.expect("the same again");
    assert_eq!(store.usage(), used);
    for other in [content(BLOCK + 1, 2), content(BLOCK, 1), Bytes::new()] {
        let stored = put(&*store, chunk(0), &other).await;
        let refused = matches!(stored, Err(WriteError::Conflict { .. }));
        assert!(refused, "{stored:?}");
    }
    let read = get_all(&*store, chunk(0)).await.expect("read");
    assert!(read == bytes, "the first content stays");
    assert_eq!(store.usage(), used);
}

/// Whoever comes second is told by content.
pub async fn of_two_writers_the_first_to_finish_wins(store: Arc<dyn ChunkStore>) {
    let (bytes, other) = (content(1000, 1), content(1000, 2));
    let begin = || store.begin(chunk(0), 1000);
    let mut writers =
        [begin().await.expect("room"), begin().await.expect("room"), begin().await.expect("room")];
    let mut ends = Vec::new();
    for (writer, bytes) in writers.iter_mut().zip([&bytes, &bytes, &other]) {
        ends.push(send(&mut **writer, chunk(0), bytes, 1000).await.expect("sent"));
    }
    let [first, same, another] = writers;
    let (first, same) = tokio::join!(first.finish(ends[0]), same.finish(ends[1]));
    first.expect("the first");
    same.expect("the same content");
    let refused = another.finish(ends[2]).await;
    assert!(matches!(refused, Err(WriteError::Conflict { .. })), "{refused:?}");
    let read = get_all(&*store, chunk(0)).await.expect("read");
    assert!(read == bytes, "the first content stays");
    assert_eq!(store.usage().open_writes, 0);
}

/// Conflicts are decided by turns, not by luck.
pub async fn of_two_contents_that_finish_at_once_one_is_refused(store: Arc<dyn ChunkStore>) {
    let contents = [content(1000, 1), content(1000, 2)];
    for index in 0..20 {
        let chunk = chunk(index);
        let [one, two] = contents.each_ref().map(|bytes| put(&*store, chunk, bytes));
        let results: [_; 2] = tokio::join!(one, two).into();
        let read = get_all(&*store, chunk).await.expect("read");
        for (result, bytes) in results.into_iter().zip(&contents) {
            match result {
                Ok(()) => assert!(read == *bytes, "what was acknowledged is there"),
                Err(WriteError::Conflict { .. }) => assert!(read != *bytes, "the other one won"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Aborts cost nothing.
pub async fn a_writer_that_is_dropped_gives_its_room_back(store: Arc<dyn ChunkStore>) {
    let bytes = content(FRAME_BYTES, 1);
    for piece in [None, Some(FRAME_BYTES), Some(FRAME_BYTES / 2)] {
        let mut writer = store.begin(chunk(0), PLENTY / 2).await.expect("room");
        if let Some(piece) = piece {
            send(&mut *writer, chunk(0), &bytes, piece).await.expect("sent");
        }
        drop(writer);
        is_absent(&*store, chunk(0)).await;
        is_empty(&*store).await;
    }
}

/// Room is decided before the first byte. A store of several disks may have some that a chunk does not fit on.
pub async fn what_does_not_fit_is_refused_when_it_begins(store: Arc<dyn ChunkStore>) {
    let capacity = store.usage().capacity;
    let half = (capacity / 2).min(MAX_CHUNK_BYTES) - 100_000;
    let mut open = Vec::new();
    let refused = loop {
        let index = u32::try_from(open.len()).expect("few");
        match store.begin(chunk(index), half).await {
            Ok(writer) => open.push(writer),
            Err(error) => break error,
        }
        assert!(open.len() as u64 * half <= capacity, "more is promised than there is");
    };
    assert!(matches!(refused, WriteError::NoRoom { .. }), "{refused:?}");
    assert!(open.len() >= 2, "{} fit", open.len());
    let last = chunk(u32::try_from(open.len()).expect("few"));
    drop(open);
    let again = store.begin(last, half).await;
    drop(again.expect("room again"));
    is_empty(&*store).await;
}

/// A reservation is settled to what was stored.
pub async fn what_was_promised_and_not_used_is_free_again(store: Arc<dyn ChunkStore>) {
    let bytes = content(10, 1);
    let mut writer = store.begin(chunk(0), PLENTY / 2).await.expect("room");
    let end = send(&mut *writer, chunk(0), &bytes, 10).await.expect("sent");
    writer.finish(end).await.expect("stored");
    let usage = store.usage();
    assert!(usage.used < 10_000, "{usage:?}");
    store.delete(vec![chunk(0)]).await.expect("deleted");
    is_empty(&*store).await;
}

/// A cursor, in chunk order, of all blobs or of one.
pub async fn a_page_begins_where_the_last_one_ended(store: Arc<dyn ChunkStore>) {
    let mut all = Vec::new();
    for (n, indices) in [(1, 0..3_u32), (2, 255..258), (3, 0..1)] {
        for index in indices {
            all.push(ChunkId::new(blob(n), index));
        }
    }
    for chunk in all.iter().rev() {
        put(&*store, *chunk, &content(5, 1)).await.expect("stored");
    }
    for limit in 1..=all.len() + 1 {
        assert_eq!(paged(&*store, None, limit).await, all);
        assert_eq!(paged(&*store, Some(blob(2)), limit).await, all[3..6]);
        assert_eq!(paged(&*store, Some(blob(9)), limit).await, []);
    }
}

async fn paged(store: &dyn ChunkStore, blob: Option<BlobId>, limit: usize) -> Vec<ChunkId> {
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let list = ListChunks { after, blob, limit };
        let page = store.list(list).await.expect("a page");
        assert!(page.chunks.len() <= limit, "a page is bounded");
        assert!(page.chunks.iter().all(|entry| entry.length == 5));
        seen.extend(page.chunks.iter().map(|entry| entry.chunk));
        after = seen.last().copied();
        if !page.more {
            return seen;
        }
        assert!(!page.chunks.is_empty(), "a page with more to come has some");
    }
}

/// What is absent is as good as deleted.
pub async fn deleting_is_idempotent(store: Arc<dyn ChunkStore>) {
    for index in 0..3 {
        let stored = put(&*store, chunk(index), &content(10, 1)).await;
        stored.expect("stored");
    }
    let some = vec![chunk(0), chunk(2), chunk(9), chunk(2)];
    assert_eq!(store.delete(some.clone()).await.expect("deleted"), 2);
    assert_eq!(store.delete(some).await.expect("deleted"), 0);
    assert_eq!(store.delete(Vec::new()).await.expect("deleted"), 0);
    is_absent(&*store, chunk(0)).await;
    get_all(&*store, chunk(1)).await.expect("the other one stays");
    put(&*store, chunk(0), &content(20, 2)).await.expect("stored again");
    assert_eq!(store.usage().chunks, 2);
}

/// Quarantine is for what is proven to be damaged.
pub async fn an_intact_chunk_is_not_put_aside(store: Arc<dyn ChunkStore>) {
    let bytes = content(BLOCK + 1, 1);
    put(&*store, chunk(0), &bytes).await.expect("stored");
    let used = store.usage();
    assert!(!store.quarantine(chunk(0)).await.expect("looked at"));
    assert!(!store.quarantine(chunk(1)).await.expect("absent"));
    assert_eq!(store.usage(), used);
    assert!(get_all(&*store, chunk(0)).await.expect("read") == bytes);
}

/// A blob may have a million chunks.
pub async fn erasing_a_blob_is_done_in_bounded_steps(store: Arc<dyn ChunkStore>) {
    for index in 0..5 {
        let stored = put(&*store, chunk(index), &content(10, 1)).await;
        stored.expect("stored");
    }
    let kept = ChunkId::new(blob(2), 0);
    put(&*store, kept, &content(10, 1)).await.expect("stored");
    let mut steps = Vec::new();
    for _ in 0..4 {
        let erased = store.erase_blob(blob(1), 2).await.expect("erased");
        steps.push((erased.deleted, erased.more));
    }
    assert_eq!(steps, [(2, true), (2, true), (1, false), (0, false)]);
    is_absent(&*store, chunk(4)).await;
    get_all(&*store, kept).await.expect("the other blob stays");
}

/// What comes late for an erased blob would stay for ever.
pub async fn erasing_a_blob_breaks_off_its_open_writes(store: Arc<dyn ChunkStore>) {
    let bytes = content(10, 1);
    let mut appending = store.begin(chunk(0), 10).await.expect("room");
    let mut finishing = store.begin(chunk(1), 10).await.expect("room");
    let end = send(&mut *finishing, chunk(1), &bytes, 10).await.expect("sent");
    let erased = store.erase_blob(blob(1), 10).await.expect("erased");
    assert_eq!((erased.deleted, erased.more), (0, false));
    let refused =
        |result: &Result<(), WriteError>| matches!(result, Err(WriteError::Erased { .. }));
    let appended = appending.append(bytes.clone(), vec![]).await;
    assert!(refused(&appended), "{appended:?}");
    let finished = finishing.finish(end).await.map(drop);
    assert!(refused(&finished), "{finished:?}");
    let later = put(&*store, chunk(2), &bytes).await;
    assert!(refused(&later), "{later:?}");
    drop(appending);
    is_empty(&*store).await;
    let other = ChunkId::new(blob(2), 0);
    put(&*store, other, &bytes).await.expect("another blob is taken");
}

/// A deletion does not wait for readers.
pub async fn a_reader_may_go_on_after_the_deletion_or_fail_but_never_lies(
    store: Arc<dyn ChunkStore>,
) {
    let bytes = content(FRAME_BYTES * 3, 1);
    put(&*store, chunk(0), &bytes).await.expect("stored");
    let whole = ByteRange::whole(bytes.len() as u64);
    let mut reader = store.read(chunk(0), whole).await.expect("opened");
    store.delete(vec![chunk(0)]).await.expect("deleted");
    let mut at = 0;
    while let Some(Ok(frame)) = reader.frames.next().await {
        assert!(frame.bytes == bytes[at..at + frame.bytes.len()], "other bytes");
        at += frame.bytes.len();
    }
    is_absent(&*store, chunk(0)).await;
}

/// Closing is for good, and can be repeated.
pub async fn a_closed_store_takes_nothing(store: Arc<dyn ChunkStore>) {
    let bytes = content(10, 1);
    put(&*store, chunk(0), &bytes).await.expect("stored");
    let mut open = store.begin(chunk(1), 10).await.expect("room");
    store.close().await;
    store.close().await;
    let appended = open.append(bytes.clone(), vec![]).await;
    assert!(matches!(appended, Err(WriteError::Closed)), "{appended:?}");
    let begun = store.begin(chunk(2), 10).await;
    assert!(matches!(begun, Err(WriteError::Closed)), "{begun:?}");
    assert!(store.delete(vec![chunk(0)]).await.is_err());
    assert!(store.erase_blob(blob(1), 1).await.is_err());
}

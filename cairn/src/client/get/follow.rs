//! Hashes of what is on disk: read back, so that what is compared is what will be there.

use std::sync::Arc;

use cairn_core::digest::ChunkHash;
use tokio::sync::watch;

use super::part::Part;
use super::plan::Segment;
use crate::client::Client;
use crate::client::digest::Hasher;
use crate::client::error::ClientError;
use crate::client::proof::{Arrived, Chunks};

/// Bytes that are read back at once.
const READ_BYTES: u64 = 1 << 20;

/// The hash of each chunk of a segment that is written whole.
pub(super) async fn chunk_hashes(
    client: &Client,
    doing: &str,
    part: &Arc<Part>,
    nth: usize,
) -> Result<Vec<(u64, ChunkHash)>, ClientError> {
    let part = Arc::clone(part);
    let work = move || {
        let Segment { bytes, chunks } = part.segment(nth);
        let mut hasher = Chunks::new(chunks.iter().copied());
        read_back(&part, bytes.start, bytes.end, |bytes| hasher.update(bytes))?;
        Ok(hasher.finish())
    };
    client.blocking(doing, work).await
}

/// The SHA-256 from the front while the rest arrives: hashes up to each new `front`, which counts segments; `None` when
/// it stops short of the end.
pub(super) async fn sha256(
    client: &Client,
    doing: &str,
    part: &Arc<Part>,
    mut front: watch::Receiver<usize>,
) -> Result<Option<Arrived>, ClientError> {
    let (mut hasher, mut at) = (Hasher::default(), 0);
    loop {
        let to = *front.borrow_and_update();
        while at < to {
            let part = Arc::clone(part);
            let work = move || {
                let bytes = &part.segment(at).bytes;
                read_back(&part, bytes.start, bytes.end, |bytes| hasher.update(bytes))?;
                Ok(hasher)
            };
            hasher = client.blocking(doing, work).await?;
            at += 1;
        }
        if at == part.segments().count() {
            return Ok(Some(Arrived::Sha256(hasher.finish())));
        }
        // The last advance may have come together with the end.
        if front.changed().await.is_err() && *front.borrow() == at {
            return Ok(None);
        }
    }
}

fn read_back(
    part: &Part,
    from: u64,
    to: u64,
    mut take: impl FnMut(&[u8]),
) -> Result<(), ClientError> {
    let mut buffer = Vec::new();
    let mut at = from;
    while at < to {
        let count = READ_BYTES.min(to - at);
        buffer.resize(usize::try_from(count).unwrap_or(0), 0);
        part.read(at, &mut buffer)?;
        take(&buffer);
        at += count;
    }
    Ok(())
}

//! The SHA-256 of what is on disk, computed from the front while the rest arrives.

use std::sync::Arc;

use cairn_core::digest::Sha256;
use tokio::sync::watch;

use super::part::Part;
use crate::client::Client;
use crate::client::digest::Hasher;
use crate::client::error::ClientError;

/// Bytes that are read back at once.
const READ_BYTES: u64 = 1 << 20;

/// Hashes up to each new `front`; `None` when it stops short of the end.
pub(super) async fn follow(
    client: &Client,
    doing: &str,
    part: &Arc<Part>,
    mut front: watch::Receiver<u64>,
) -> Result<Option<Sha256>, ClientError> {
    let length = part.length();
    let (mut hasher, mut at) = (Hasher::default(), 0);
    loop {
        let to = *front.borrow_and_update();
        if to > at {
            let part = Arc::clone(part);
            let work = move || hash(&part, hasher, at, to);
            hasher = client.blocking(doing, work).await?;
            at = to;
        }
        if at == length {
            return Ok(Some(hasher.finish()));
        }
        // The last advance may have come together with the end.
        if front.changed().await.is_err() && *front.borrow() == at {
            return Ok(None);
        }
    }
}

fn hash(part: &Part, mut hasher: Hasher, from: u64, to: u64) -> Result<Hasher, ClientError> {
    let mut buffer = Vec::new();
    let mut at = from;
    while at < to {
        let count = READ_BYTES.min(to - at);
        buffer.resize(usize::try_from(count).unwrap_or(0), 0);
        part.read(at, &mut buffer)?;
        hasher.update(&buffer);
        at += count;
    }
    Ok(hasher)
}

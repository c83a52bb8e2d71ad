//! The file `node` in the data folder: which node this is, over restarts and addresses.
//!
//! ```text
//! cairn storage node
//! format 1
//! node 0197f3a2-…
//! crc32c 1a2b3c4d        over the lines before
//! ```

use std::io;
use std::sync::Arc;

use cairn_chain::Disk;
use cairn_chain::disk::{durable_write, read_small};
use cairn_core::digest::plain_crc;
use cairn_core::ids::NodeId;
use cairn_runtime::{Blocking, BlockingError, Clock, Entropy};

const FILE: &str = "node";
const MOST_BYTES: usize = 1024;
const TITLE: &str = "cairn storage node";
const FORMAT: &str = "1";

/// The node's id cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum NodeIdError {
    /// The file does not match its checksum.
    #[error("the file `node` in the data folder is damaged: put it back from a copy")]
    Damaged,
    /// The file was written by another version.
    #[error(
        "the file `node` has format {format}, this version knows format 1: use the Cairn that wrote it"
    )]
    UnknownFormat {
        /// The format that the file says.
        format: String,
    },
    /// The disk refused.
    #[error("keep the node's id: {0}")]
    Disk(#[from] io::Error),
    /// The work on the disk gave no result.
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
}

/// The id that is kept in the data folder; drawn and kept when there is none yet. Call it when the chunk store is
/// open: its lock keeps other processes out.
///
/// # Errors
/// [`NodeIdError`].
pub async fn node_id(
    disk: Arc<dyn Disk>,
    blocking: &Blocking,
    entropy: &Entropy,
    clock: &Clock,
) -> Result<NodeId, NodeIdError> {
    let drawn = NodeId::from_uuid(entropy.uuid_v7(clock));
    blocking.run(move || keep(&*disk, drawn)).await?
}

fn keep(disk: &dyn Disk, drawn: NodeId) -> Result<NodeId, NodeIdError> {
    if let Some(bytes) = read_small(disk, FILE, MOST_BYTES)? {
        return decode(&bytes);
    }
    durable_write(disk, FILE, encode(drawn).as_bytes())?;
    tracing::info!(target: "cairn", node = %drawn, "a new storage node");
    Ok(drawn)
}

fn encode(node: NodeId) -> String {
    let text = format!("{TITLE}\nformat {FORMAT}\nnode {node}\n");
    let crc = plain_crc(text.as_bytes());
    format!("{text}crc32c {crc:08x}\n")
}

fn decode(bytes: &[u8]) -> Result<NodeId, NodeIdError> {
    let text = str::from_utf8(bytes).map_err(|_| NodeIdError::Damaged)?;
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return Err(NodeIdError::Damaged);
    }
    match lines.next().and_then(|line| line.strip_prefix("format ")) {
        Some(FORMAT) => {}
        Some(format) => {
            return Err(NodeIdError::UnknownFormat { format: format.to_owned() });
        }
        None => return Err(NodeIdError::Damaged),
    }
    let node = lines.next().and_then(|line| line.strip_prefix("node "));
    let node = node.and_then(|node| node.parse().ok()).ok_or(NodeIdError::Damaged)?;
    if encode(node) == text { Ok(node) } else { Err(NodeIdError::Damaged) }
}

#[cfg(test)]
mod tests {
    use cairn_chain::disk::memory::{Loss, MemoryDisk};

    use super::*;

    async fn id(disk: &MemoryDisk, seed: u64) -> Result<NodeId, NodeIdError> {
        let (entropy, clock) = (Entropy::seeded(seed), Clock::system());
        node_id(Arc::new(disk.clone()), &Blocking::inline(), &entropy, &clock).await
    }

    #[tokio::test]
    async fn an_id_that_was_given_survives_a_crash() {
        for step in 0..6 {
            let disk = MemoryDisk::new(10_000);
            disk.stop_after(step);
            let given = id(&disk, 1).await.ok();
            let disk = disk.crash(Loss::Everything);
            let after = id(&disk, 2).await.unwrap();
            assert!(given.is_none_or(|given| given == after), "after {step} changes");
        }
    }

    #[tokio::test]
    async fn a_damaged_id_is_not_replaced_by_a_new_one() {
        let disk = MemoryDisk::new(10_000);
        id(&disk, 1).await.unwrap();
        disk.edit("node", |file| file[40] ^= 1);
        assert!(matches!(id(&disk, 1).await, Err(NodeIdError::Damaged)));
        disk.edit("node", |file| *file = b"cairn storage node\nformat 3\n".to_vec());
        let error = id(&disk, 1).await.unwrap_err();
        assert!(error.to_string().contains("format 3"), "{error}");
    }
}

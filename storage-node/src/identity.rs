//! The file `node` in the data folder: which node this is, over restarts and addresses, and which catalog it belongs to.
//!
//! ```text
//! cairn storage node
//! format 1
//! node 0197f3a2-…
//! catalog 0197f3a3-…     or - before the node has joined one
//! crc32c 1a2b3c4d        over the lines before
//! ```

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cairn_chain::Disk;
use cairn_chain::disk::{durable_write, read_small};
use cairn_core::digest::plain_crc;
use cairn_core::ids::{CatalogId, NodeId};
use cairn_runtime::{Blocking, BlockingError, Clock, Entropy};

const FILE: &str = "node";
const MOST_BYTES: usize = 1024;
const TITLE: &str = "cairn storage node";
const FORMAT: &str = "1";

/// The node's identity cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
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
    /// The master has another catalog than the one that the node belongs to.
    #[error("this node belongs to catalog {ours}, the master has {theirs}")]
    Foreign {
        /// The node's.
        ours: CatalogId,
        /// The master's.
        theirs: CatalogId,
    },
    /// The disk refused.
    #[error("keep the node's id: {0}")]
    Disk(#[from] io::Error),
    /// The work on the disk gave no result.
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
}

/// Which node this is and whom it belongs to. Cheap to clone; clones are the same.
#[derive(Debug, Clone)]
pub struct NodeIdentity {
    node: NodeId,
    catalog: Arc<Joined>,
    disk: Arc<dyn Disk>,
    blocking: Blocking,
}

/// The catalog that a node belongs to.
#[derive(Debug, Default)]
struct Joined {
    catalog: OnceLock<CatalogId>,
    /// Several masters may take the node in at a time; it joins the catalog of one of them.
    turn: Mutex<()>,
}

impl Joined {
    /// Keeps `theirs` with `keep` unless there is one; whichever it is then.
    fn join(
        &self,
        theirs: CatalogId,
        keep: impl FnOnce() -> Result<(), IdentityError>,
    ) -> Result<CatalogId, IdentityError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ours) = self.catalog.get() {
            return Ok(*ours);
        }
        keep()?;
        Ok(*self.catalog.get_or_init(|| theirs))
    }
}

impl NodeIdentity {
    /// Reads the identity that is kept in the data folder; draws and keeps one when there is none yet. Call it when the
    /// folder's lock is held: it keeps other processes out.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub async fn open(
        disk: Arc<dyn Disk>,
        blocking: &Blocking,
        entropy: &Entropy,
        clock: &Clock,
    ) -> Result<Self, IdentityError> {
        let drawn = NodeId::from_uuid(entropy.uuid_v7(clock));
        let folder = Arc::clone(&disk);
        let (node, joined) = blocking.run(move || read_or_keep(&*folder, drawn)).await??;
        let catalog = joined.map_or_else(OnceLock::new, OnceLock::from);
        let catalog = Arc::new(Joined { catalog, turn: Mutex::default() });
        Ok(Self { node, catalog, disk, blocking: blocking.clone() })
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The catalog that the node belongs to, once it has joined one.
    pub fn catalog(&self) -> Option<CatalogId> {
        self.catalog.catalog.get().copied()
    }

    /// Belongs to `catalog` from now on, durably.
    ///
    /// # Errors
    /// [`IdentityError::Foreign`] when the node belongs to another one, and when the disk refuses.
    pub(crate) async fn join(&self, catalog: CatalogId) -> Result<(), IdentityError> {
        let ours = match self.catalog() {
            Some(ours) => ours,
            None => {
                let (disk, node) = (Arc::clone(&self.disk), self.node);
                let joined = Arc::clone(&self.catalog);
                let join = move || joined.join(catalog, || keep(&*disk, node, Some(catalog)));
                self.blocking.run(join).await??
            }
        };
        match ours == catalog {
            true => Ok(()),
            false => Err(IdentityError::Foreign { ours, theirs: catalog }),
        }
    }
}

fn read_or_keep(
    disk: &dyn Disk,
    drawn: NodeId,
) -> Result<(NodeId, Option<CatalogId>), IdentityError> {
    if let Some(bytes) = read_small(disk, FILE, MOST_BYTES)? {
        return decode(&bytes);
    }
    keep(disk, drawn, None)?;
    tracing::info!(target: "cairn", node = %drawn, "a new storage node");
    Ok((drawn, None))
}

fn keep(disk: &dyn Disk, node: NodeId, catalog: Option<CatalogId>) -> Result<(), IdentityError> {
    Ok(durable_write(disk, FILE, encode(node, catalog).as_bytes())?)
}

/// Stands for the catalog of a node that has joined none.
const NO_CATALOG: &str = "-";

fn encode(node: NodeId, catalog: Option<CatalogId>) -> String {
    let catalog = catalog.map_or_else(|| NO_CATALOG.to_owned(), |catalog| catalog.to_string());
    let text = format!("{TITLE}\nformat {FORMAT}\nnode {node}\ncatalog {catalog}\n");
    let crc = plain_crc(text.as_bytes());
    format!("{text}crc32c {crc:08x}\n")
}

fn decode(bytes: &[u8]) -> Result<(NodeId, Option<CatalogId>), IdentityError> {
    let text = str::from_utf8(bytes).map_err(|_| IdentityError::Damaged)?;
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return Err(IdentityError::Damaged);
    }
    match lines.next().and_then(|line| line.strip_prefix("format ")) {
        Some(FORMAT) => {}
        Some(format) => {
            return Err(IdentityError::UnknownFormat { format: format.to_owned() });
        }
        None => return Err(IdentityError::Damaged),
    }
    let node = lines.next().and_then(|line| line.strip_prefix("node "));
    let node = node.and_then(|node| node.parse().ok()).ok_or(IdentityError::Damaged)?;
    let catalog = match lines.next().and_then(|line| line.strip_prefix("catalog ")) {
        Some(NO_CATALOG) => None,
        Some(text) => Some(text.parse().map_err(|_| IdentityError::Damaged)?),
        None => return Err(IdentityError::Damaged),
    };
    if encode(node, catalog) == text { Ok((node, catalog)) } else { Err(IdentityError::Damaged) }
}

#[cfg(test)]
mod tests {
    use cairn_chain::disk::memory::{Loss, MemoryDisk};

    use super::*;

    async fn open(disk: &MemoryDisk, seed: u64) -> Result<NodeIdentity, IdentityError> {
        let (entropy, clock) = (Entropy::seeded(seed), Clock::system());
        NodeIdentity::open(Arc::new(disk.clone()), &Blocking::inline(), &entropy, &clock).await
    }

    async fn id(disk: &MemoryDisk, seed: u64) -> Result<NodeId, IdentityError> {
        open(disk, seed).await.map(|identity| identity.node())
    }

    #[tokio::test]
    async fn a_catalog_is_joined_once_and_for_good() {
        let disk = MemoryDisk::new(10_000);
        let clock = Clock::system();
        let catalog = |seed| CatalogId::from_uuid(Entropy::seeded(seed).uuid_v7(&clock));
        let (one, two) = (catalog(1), catalog(2));
        open(&disk, 1).await.unwrap().join(one).await.unwrap();
        let again = open(&disk, 1).await.unwrap();
        assert_eq!(again.catalog(), Some(one));
        assert!(again.join(one).await.is_ok());
        assert!(matches!(again.join(two).await, Err(IdentityError::Foreign { .. })));
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
        assert!(matches!(id(&disk, 1).await, Err(IdentityError::Damaged)));
        disk.edit("node", |file| *file = b"cairn storage node\nformat 3\n".to_vec());
        let error = id(&disk, 1).await.unwrap_err();
        assert!(error.to_string().contains("format 3"), "{error}");
    }
}

//! Chunks in a folder of fjall, a log-structured merge tree: writes go to a journal, bytes of chunks to blob files that
//! compaction rewrites only when much of one is garbage.
//!
//! Layout and words are those of the module `tree`. A durable commit syncs the journal, and answers nobody before.
//!
//! What is accepted: what was deleted takes up room until compaction comes to it; the books count it as free at once. So
//! leave some of the disk to the store beyond its capacity.

mod fjall_tree;

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::disk::RealDisk;
use crate::engine::{EngineOpenError, EngineStore};
use crate::settings;
use crate::tree::{Capacity, Opening, TreeEngine, TreeSeams, open};

pub use fjall_tree::FjallTree;

const TITLE: &str = "cairn chunk log";

/// How an [`LsmStore`] is set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LsmStoreConfig {
    /// The folder, its own; it is made, for the owner alone, when it is absent.
    pub path: PathBuf,
    /// Bytes that it may hold; on the disk it takes up to an eighth more. Left out: seven eighths of what the file system
    /// has free when it is opened, less 256 MiB, beside what it holds already.
    #[serde(default, deserialize_with = "settings::some_bytes")]
    pub capacity: Option<u64>,
    /// Most memory for blocks of tables and blob files.
    #[serde(default = "LsmStoreConfig::default_cache", deserialize_with = "settings::bytes")]
    pub cache: u64,
    /// Once so many bytes were written, they go from memory to a table, while the next ones are gathered.
    #[serde(default = "LsmStoreConfig::default_buffer", deserialize_with = "settings::bytes")]
    pub write_buffer: u64,
}

impl LsmStoreConfig {
    /// A store in this folder, otherwise as by default.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let (cache, write_buffer) = (Self::default_cache(), Self::default_buffer());
        Self { path: path.into(), capacity: None, cache, write_buffer }
    }

    /// 32 MiB.
    fn default_cache() -> u64 {
        32 << 20
    }

    /// 64 MiB.
    fn default_buffer() -> u64 {
        64 << 20
    }
}

/// Chunks in a folder of fjall; see [the module](crate::lsm).
pub type LsmStore = EngineStore<TreeEngine<FjallTree>>;

impl LsmStore {
    /// Opens the store in its folder, which is made when it is absent. Takes time in proportion to the chunks held.
    ///
    /// # Errors
    /// [`EngineOpenError`].
    pub async fn open(config: LsmStoreConfig, seams: TreeSeams) -> Result<Self, EngineOpenError> {
        let place = config.path.display().to_string();
        let (path, capacity) = (config.path.clone(), config.capacity);
        let prepared = seams.blocking.run(move || prepare(&path, capacity)).await?;
        let capacity = prepared.map_err(EngineOpenError::refused(&place, "make the folder"))?;
        let opening = Opening { title: TITLE, place, capacity };
        open(opening, move || FjallTree::open(&config), seams).await
    }

    /// Compacts everything, as the store does by itself little by little.
    ///
    /// # Errors
    /// What the store says.
    #[cfg(feature = "testing")]
    pub async fn compact(&self) -> io::Result<()> {
        self.engine().run(FjallTree::compact).await.map_err(io::Error::other)?
    }
}

/// Makes the folder, and says how much the store may hold. Blocks.
fn prepare(path: &Path, capacity: Option<u64>) -> io::Result<Capacity> {
    crate::tree::capacity_in(&RealDisk::open(path)?, capacity)
}

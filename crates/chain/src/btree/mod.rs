//! Chunks in one file of redb, a B-tree with copy on write: many small chunks without a file each.
//!
//! Layout and words are those of the module `tree`. redb has one write transaction at a time and an fsync in each
//! durable commit, so writers that finish together share a commit. After a crash the file opens quickly at any size: each
//! durable commit saves which pages are free.
//!
//! What is accepted: after a failed read or write of the file redb refuses everything until the store is opened again.

mod redb_tree;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cairn_core::digest::BLOCK_BYTES;
use redb::StorageBackend;
use redb::backends::FileBackend;
use serde::Deserialize;

use crate::disk::RealDisk;
use crate::engine::{EngineOpenError, EngineStore};
use crate::settings;
use crate::tree::{Capacity, Opening, TreeEngine, TreeSeams, open};

pub use redb_tree::RedbTree;

const TITLE: &str = "cairn chunk tree";

/// How a [`BTreeStore`] is set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BTreeStoreConfig {
    /// The file; its folder is made, for the owner alone, when it is absent.
    pub path: PathBuf,
    /// What the names of the tables begin with, so that one file can hold other things beside.
    #[serde(default = "BTreeStoreConfig::default_table")]
    pub table: String,
    /// Bytes that it may hold; on the disk it takes up to an eighth more. Left out: seven eighths of what the file system
    /// has free when it is opened, less 256 MiB, beside what it holds already.
    #[serde(default, deserialize_with = "settings::some_bytes")]
    pub capacity: Option<u64>,
    /// Most memory for pages of the file.
    #[serde(default = "BTreeStoreConfig::default_cache", deserialize_with = "settings::bytes")]
    pub cache: u64,
}

impl BTreeStoreConfig {
    /// A store in this file, otherwise as by default.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            table: Self::default_table(),
            capacity: None,
            cache: Self::default_cache(),
        }
    }

    fn default_table() -> String {
        "chunks".to_owned()
    }

    /// 64 MiB.
    fn default_cache() -> u64 {
        64 << 20
    }
}

/// Chunks in a file of redb; see [the module](crate::btree).
pub type BTreeStore = EngineStore<TreeEngine<RedbTree>>;

impl BTreeStore {
    /// Opens the store in its file, which is made when it is absent. Takes time in proportion to the chunks held.
    ///
    /// # Errors
    /// [`EngineOpenError`].
    pub async fn open(config: BTreeStoreConfig, seams: TreeSeams) -> Result<Self, EngineOpenError> {
        let place = config.path.display().to_string();
        let (path, look) = (config.path.clone(), config.capacity);
        let prepared = seams.blocking.run(move || prepare(&path, look)).await?;
        let capacity = prepared.map_err(EngineOpenError::refused(&place, "make the folder"))?;
        let path = config.path.clone();
        Self::open_in(config, capacity, seams, move || open_file(&path)).await
    }

    /// Opens the store in other storage than a file.
    ///
    /// # Errors
    /// As for [`Self::open`].
    #[cfg(feature = "testing")]
    pub async fn open_on<B: StorageBackend>(
        storage: B,
        config: BTreeStoreConfig,
        seams: TreeSeams,
    ) -> Result<Self, EngineOpenError> {
        let capacity = Capacity::Bytes(config.capacity.unwrap_or(u64::MAX));
        Self::open_in(config, capacity, seams, move || Ok(storage)).await
    }

    async fn open_in<B: StorageBackend>(
        config: BTreeStoreConfig,
        capacity: Capacity,
        seams: TreeSeams,
        storage: impl FnOnce() -> io::Result<B> + Send + 'static,
    ) -> Result<Self, EngineOpenError> {
        let place = config.path.display().to_string();
        let opening = Opening { title: TITLE, place: place.clone(), capacity };
        let tree = move || {
            let storage = storage().map_err(EngineOpenError::refused(&place, "open the file"))?;
            RedbTree::open(storage, &config.table, config.cache, &place)
        };
        open(opening, tree, seams).await
    }
}

/// Makes the folder of the file, and says how much the store may hold. Blocks.
fn prepare(path: &Path, capacity: Option<u64>) -> io::Result<Capacity> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    crate::tree::capacity_in(&RealDisk::open(folder)?, capacity)
}

/// Opens a file as storage for redb; its name is durable then. Blocks.
fn open_file(path: &Path) -> io::Result<FileBackend> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    let file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let folder = path.parent().filter(|parent| *parent != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    FileBackend::new(file).map_err(io::Error::other)
}

/// 15 blocks. redb gives large values pages of their own, in powers of two: with its key, a frame of 16 blocks would
/// take up 2 MiB.
const SLICE_BYTES: usize = 15 * BLOCK_BYTES;

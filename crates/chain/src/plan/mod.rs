//! The tiers of a node as an operator describes them, checked before anything is opened, then opened.
//!
//! ```toml
//! [[tier]]
//! name = "disk"
//! store = { kind = "segments", path = "disk" }
//! lru = { capacity = "500 GB" }
//!
//! [[tier]]
//! name = "bucket"
//! write = "behind"
//! store = { kind = "bucket", capacity = "10 TB", bucket = { provider = "s3", name = "chunks" } }
//! ```
//!
//! ```text
//! text ─► Plan ─ within(folder) ─► check ─► open: journal, then tier by tier: store ─ faults ─ timeout ─ LRU ─ observed
//!                                                     one tier ─► that store            several ─► a Chain of them
//! ```

mod check;
mod kept;
mod open;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::btree::BTreeStoreConfig;
use crate::chain::{ChainConfig, OnError, TierConfig, WriteMode};
use crate::disk::RealDisk;
use crate::faulty::FaultConfig;
use crate::file::FileStoreConfig;
use crate::lsm::LsmStoreConfig;
use crate::memory::MemoryStoreConfig;
use crate::object_tier::ObjectTierConfig;
use crate::segments::SegmentStoreConfig;
use crate::wrap::{LruConfig, TimeoutConfig};

pub use check::{CAPACITY_FLOOR, PlanError};
pub use open::{Failure, Folder, Folders, OpenPlace, OpenPlan, Places, PlanNotOpened, PlanSeams};

/// Tiers as they are described.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Plan {
    /// In order.
    #[serde(rename = "tier")]
    pub tiers: Vec<TierPlan>,
    /// How the chain of them is set.
    pub chain: ChainConfig,
    /// The folder of the journal of what is still to be copied, where a tier is written behind.
    pub behind_journal: Option<PathBuf>,
    /// The node's folder, of [`Self::within`]: segments may be in it beside whatever else is.
    #[serde(skip)]
    folder: Option<PathBuf>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Described")]
pub struct TierPlan {
    /// Its place in the chain.
    pub tier: TierConfig,
    /// What keeps the chunks.
    pub store: StorePlan,
    /// The LRU around it.
    pub lru: Option<LruConfig>,
    /// The bound on its calls. A bucket has one unless another is set.
    pub timeout: Option<TimeoutConfig>,
    /// Whether its calls are counted and timed for `/metrics`.
    pub metered: bool,
    /// Whether each of its calls is logged, at debug level.
    pub traced: bool,
    /// Whether its chunks are read and proven from time to time. Those of a bucket are not unless it is asked for: they are
    /// its provider's to keep, and reading them costs.
    pub scrub: bool,
    /// Failures on purpose, to see what the node and its operators make of them.
    pub faults: Option<FaultConfig>,
}

/// A tier as it stands in a file.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Described {
    name: String,
    #[serde(default)]
    write: WriteMode,
    durable: Option<bool>,
    #[serde(default)]
    on_error: OnError,
    #[serde(default = "yes")]
    promote: bool,
    store: StorePlan,
    lru: Option<LruConfig>,
    timeout: Option<TimeoutConfig>,
    #[serde(default = "yes")]
    metered: bool,
    #[serde(default)]
    traced: bool,
    scrub: Option<bool>,
    faults: Option<FaultConfig>,
}

fn yes() -> bool {
    true
}

impl From<Described> for TierPlan {
    fn from(tier: Described) -> Self {
        let Described { name, write, durable, on_error, promote, store, lru, timeout, .. } = tier;
        let Described { metered, traced, scrub, faults, .. } = tier;
        let durable = durable.unwrap_or(!store.is_volatile());
        let bounded = || matches!(store, StorePlan::Bucket(_)).then(TimeoutConfig::default);
        let timeout = timeout.or_else(bounded);
        let scrub = scrub.unwrap_or(durable && !matches!(store, StorePlan::Bucket(_)));
        let tier = TierConfig { name, write, durable, on_error, promote };
        Self { tier, store, lru, timeout, metered, traced, scrub, faults }
    }
}

/// What keeps the chunks of a tier.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StorePlan {
    /// Memory: quick, and gone with the process.
    Memory(MemoryStoreConfig),
    /// A file per chunk.
    Files(FilesPlan),
    /// Segments, on one disk or several.
    Segments(SegmentsPlan),
    /// A file of redb.
    BTree(BTreeStoreConfig),
    /// A folder of fjall.
    Lsm(LsmStoreConfig),
    /// A bucket of S3, GCS or Azure.
    Bucket(Box<ObjectTierConfig>),
    /// Nothing: only what is wrapped around it counts.
    Nothing,
    /// A chain within the chain.
    Chain(Box<Plan>),
}

/// Files in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FilesPlan {
    /// The folder.
    pub path: PathBuf,
    /// The mode of folders; files have its bits for reading and writing. As a text in octal, such as `"0750"`.
    #[serde(default = "FilesPlan::default_mode", deserialize_with = "crate::settings::mode")]
    pub mode: u32,
    /// The store in it.
    #[serde(flatten)]
    pub config: FileStoreConfig,
}

impl FilesPlan {
    fn default_mode() -> u32 {
        RealDisk::MODE
    }
}

/// Segments in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SegmentsPlan {
    /// The folder.
    pub path: PathBuf,
    /// The store in it.
    #[serde(flatten)]
    pub config: SegmentStoreConfig,
}

impl StorePlan {
    /// Whether what it has answered is gone with the process.
    fn is_volatile(&self) -> bool {
        matches!(self, Self::Memory(_) | Self::Nothing)
    }

    fn paths_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Files(files) => Some(&mut files.path),
            Self::Segments(segments) => Some(&mut segments.path),
            Self::BTree(tree) => Some(&mut tree.path),
            Self::Lsm(log) => Some(&mut log.path),
            Self::Memory(_) | Self::Bucket(_) | Self::Nothing | Self::Chain(_) => None,
        }
    }
}

impl Plan {
    /// Tiers, a chain of them, and a journal, as they stand in a file.
    pub fn new(tiers: Vec<TierPlan>, chain: ChainConfig, behind_journal: Option<PathBuf>) -> Self {
        Self { tiers, chain, behind_journal, folder: None }
    }

    /// The same with paths that are relative taken to lie in `folder`.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        for tier in &mut self.tiers {
            if let StorePlan::Chain(inner) = &mut tier.store {
                **inner = std::mem::take(&mut **inner).within(folder);
            }
            if let Some(path) = tier.store.paths_mut() {
                *path = folder.join(&*path);
            }
        }
        self.behind_journal = self.behind_journal.map(|path| folder.join(path));
        self.folder = Some(folder.to_owned());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_store_and_wrapper_can_be_described() {
        let plan: Plan = toml::from_str(include_str!("every_store.toml")).expect("a plan");
        let plan = plan.within(Path::new("/srv/cairn"));
        assert_eq!(plan.check(), Ok(()));
        assert_eq!(plan.behind_journal, Some(PathBuf::from("/srv/cairn/behind")));
        let kinds: Vec<_> = plan.tiers.iter().map(|tier| kind(&tier.store)).collect();
        assert_eq!(
            kinds,
            ["nothing", "memory", "files", "segments", "b-tree", "lsm", "chain", "bucket"]
        );
        let [_, memory, files, segments, tree, .., bucket] = &plan.tiers[..] else {
            panic!("eight tiers")
        };
        assert!(!memory.tier.durable && files.tier.durable, "memory is a cache");
        assert_eq!(bucket.timeout, Some(TimeoutConfig::default()), "a bucket has a bound");
        let StorePlan::Files(files) = &files.store else { panic!("files") };
        assert_eq!((files.mode, files.config.capacity), (0o750, Some(1 << 30)));
        assert_eq!(files.path, Path::new("/srv/cairn/files"));
        let StorePlan::Segments(segments) = &segments.store else { panic!("segments") };
        assert_eq!(segments.config.compact_below, 60);
        assert_eq!(segments.path, Path::new("/mnt/disk"), "an absolute path stays");
        assert!(tree.metered && tree.traced && tree.faults.is_some() && tree.lru.is_some());
    }

    fn kind(store: &StorePlan) -> &'static str {
        match store {
            StorePlan::Memory(_) => "memory",
            StorePlan::Files(_) => "files",
            StorePlan::Segments(_) => "segments",
            StorePlan::BTree(_) => "b-tree",
            StorePlan::Lsm(_) => "lsm",
            StorePlan::Bucket(_) => "bucket",
            StorePlan::Nothing => "nothing",
            StorePlan::Chain(_) => "chain",
        }
    }

    #[test]
    fn what_is_unknown_is_refused_at_every_depth() {
        for text in [
            "tiers = []",
            "[[tier]]\nname = 'a'\nstore = { kind = 'segments', path = 'a' }\nlur = 1",
            "[[tier]]\nname = 'a'\nstore = { kind = 'segments', path = 'a', capacty = 1 }",
            "[[tier]]\nname = 'a'\nstore = { kind = 'files', path = 'a', modes = '0700' }",
            "[[tier]]\nname = 'a'\nstore = { kind = 'punchcards', path = 'a' }",
            "[[tier]]\nname = 'a'\nstore = { kind = 'files', path = 'a', mode = '0999' }",
            "[[tier]]\nname = 'a'\nstore = { kind = 'files' }",
        ] {
            toml::from_str::<Plan>(text).expect_err(text);
        }
    }
}

//! Where a node keeps its chunks: segments in its folder, or the tiers that its file describes.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cairn_chain::disk::{durable_write, read_small};
use cairn_chain::plan::{Folder, Folders, OpenPlan, Plan, PlanSeams};
use cairn_chain::report::TierErrors;
use cairn_chain::{
    ChunkStore, Disk, RealDisk, SegmentStore, SegmentStoreConfig, SegmentStoreSeams,
};
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};
use cairn_storage_node::{DiskMetrics, MeteredDisk, TierMetrics};
use serde::{Deserialize, Serialize};

use crate::process::DISK_THREADS;

/// The file in a node's folder that says where its tiers keep chunks.
const TIERS: &str = "tiers";
/// Most bytes that it can have.
const TIERS_BYTES: usize = 64 << 10;
/// The version of its format.
const TIERS_FORMAT: u32 = 1;
/// Keeps other processes out of a node's folder that is no tier itself.
const LOCK: &str = "node.lock";
/// The file that a store in the folder itself has.
const STORE: &str = "store";

/// A node's chunks cannot be got at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreNotOpened {
    /// The file that says where tiers are cannot be used.
    #[error("use {TIERS}, which says where the node's tiers are: {0}")]
    Record(#[from] io::Error),
    /// A newer Cairn wrote it.
    #[error(
        "{TIERS} has format {0}, this version knows format {TIERS_FORMAT}: use the Cairn that wrote it"
    )]
    UnknownFormat(u32),
    /// Another process has the folder.
    #[error("the node's folder is open in another process")]
    InUse,
    /// The node had tiers, and its file describes none.
    #[error(
        "the node keeps chunks in tiers ({0}), and none are described: give the file that describes them with --config"
    )]
    TiersMissing(String),
    /// A place with chunks of the node is not described any more.
    #[error(
        "tier {tier} kept chunks of the node in {place}, which is no tier any more: describe it, or, when its chunks are not needed, remove it from the file {TIERS}"
    )]
    TierGone {
        /// What it was called.
        tier: String,
        /// Where it was.
        place: String,
    },
    /// The folder itself has chunks, and is no tier.
    #[error(
        "the node's folder has chunks, and is no tier: describe one of segments with the path \".\""
    )]
    FolderIsNoTier,
    /// The store or a tier said no.
    #[error("{0}")]
    Refused(String),
}

/// What stores of a node need of their surroundings.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) spawner: Spawner,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    /// Counts what all folders of the node do.
    pub(crate) syncs: DiskMetrics,
}

/// The folder of a node.
#[derive(Debug, Clone)]
pub(crate) struct NodeFolder<'a> {
    pub(crate) path: &'a Path,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) blocking: Blocking,
}

/// Folders of this machine, counted.
#[derive(Debug)]
struct MeteredFolders(DiskMetrics);

impl Folders for MeteredFolders {
    fn open(&self, path: &Path, mode: u32) -> io::Result<Folder> {
        let disk = Arc::new(RealDisk::open_with_mode(path, mode)?);
        let disk = Arc::new(MeteredDisk::new(disk, self.0.clone()));
        Ok(Folder { disk, blocking: self.threads()? })
    }

    fn threads(&self) -> io::Result<Blocking> {
        Blocking::threads("cairn-disk", DISK_THREADS)
    }
}

/// What the file [`TIERS`] says.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: u32,
    tiers: Vec<Place>,
}

/// Where a tier keeps chunks.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    name: String,
    place: String,
}

/// What a node keeps its chunks in.
#[derive(Debug)]
pub(crate) struct NodeStore {
    /// All of it as one store.
    pub(crate) whole: Arc<dyn ChunkStore>,
    /// What of it is scrubbed, each by itself.
    pub(crate) scrubbed: Vec<Arc<dyn ChunkStore>>,
}

/// Opens segments in the node's folder.
pub(crate) async fn open_segments(
    folder: &NodeFolder<'_>,
    capacity: Option<u64>,
    around: &Surroundings,
) -> Result<NodeStore, StoreNotOpened> {
    if let Some(record) = Record::read(&*folder.disk)? {
        return Err(StoreNotOpened::TiersMissing(record.names()));
    }
    let config = SegmentStoreConfig { capacity, ..SegmentStoreConfig::default() };
    let Surroundings { spawner, clock, entropy, .. } = around.clone();
    let (disk, blocking) = (Arc::clone(&folder.disk), folder.blocking.clone());
    let seams = SegmentStoreSeams { disk, blocking, spawner, entropy, clock };
    let whole: Arc<dyn ChunkStore> =
        Arc::new(SegmentStore::open(config, seams).await.map_err(refused)?);
    Ok(NodeStore { scrubbed: vec![Arc::clone(&whole)], whole })
}

/// Opens the tiers that are described.
pub(crate) async fn open_tiers(
    folder: &NodeFolder<'_>,
    plan: Plan,
    around: &Surroundings,
    metrics: TierMetrics,
) -> Result<NodeStore, StoreNotOpened> {
    lock(&*folder.disk)?;
    let path = std::path::absolute(folder.path)?;
    let plan = plan.within(&path);
    let record = Record::of(&plan);
    record.follows(Record::read(&*folder.disk)?)?;
    let own = path.display().to_string();
    if fs::exists(path.join(STORE))? && record.tiers.iter().all(|tier| tier.place != own) {
        return Err(StoreNotOpened::FolderIsNoTier);
    }
    let Surroundings { spawner, clock, entropy, syncs } = around.clone();
    let folders = Arc::new(MeteredFolders(syncs));
    let (errors, observer) = (TierErrors::logged_only(), Arc::new(metrics));
    let seams = PlanSeams { folders, spawner, clock, entropy, errors, observer };
    let OpenPlan { chain, scrubbed } = plan.open(seams).await.map_err(refused)?;
    record.write(&*folder.disk)?;
    Ok(NodeStore { whole: Arc::new(chain), scrubbed })
}

/// Takes the folder for as long as the process lives.
fn lock(folder: &dyn Disk) -> Result<(), StoreNotOpened> {
    match folder.lock(LOCK) {
        Ok(lock) => {
            Box::leak(Box::new(lock));
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(StoreNotOpened::InUse),
        Err(error) => Err(error.into()),
    }
}

fn refused(error: impl ToString) -> StoreNotOpened {
    StoreNotOpened::Refused(error.to_string())
}

impl Record {
    fn of(plan: &Plan) -> Self {
        let place = |(name, place)| Place { name, place };
        Self { format: TIERS_FORMAT, tiers: plan.durable_places().into_iter().map(place).collect() }
    }

    fn read(folder: &dyn Disk) -> Result<Option<Self>, StoreNotOpened> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Some(bytes) = read_small(folder, TIERS, TIERS_BYTES)? else { return Ok(None) };
        let Format { format } = serde_json::from_slice(&bytes).map_err(io::Error::from)?;
        if format != TIERS_FORMAT {
            return Err(StoreNotOpened::UnknownFormat(format));
        }
        Ok(Some(serde_json::from_slice(&bytes).map_err(io::Error::from)?))
    }

    fn write(&self, folder: &dyn Disk) -> Result<(), StoreNotOpened> {
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::from)?;
        text.push(b'\n');
        Ok(durable_write(folder, TIERS, &text)?)
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.tiers.iter().map(|tier| tier.name.as_str()).collect();
        names.join(", ")
    }

    /// Whether every place that `earlier` names still is one. What is not looked at any more would seem lost.
    fn follows(&self, earlier: Option<Self>) -> Result<(), StoreNotOpened> {
        let mut earlier = earlier.map(|record| record.tiers).unwrap_or_default().into_iter();
        let gone = earlier.find(|was| self.tiers.iter().all(|tier| tier.place != was.place));
        match gone {
            Some(Place { name: tier, place }) => Err(StoreNotOpened::TierGone { tier, place }),
            None => Ok(()),
        }
    }
}

//! Where a node keeps its chunks: segments in its folder, or the tiers that its file describes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_chain::disk::{DiskLock, durable_write, read_small};
use cairn_chain::disk_set::{
    Bay, DiskSetError, DiskSetSeams, OpenDisks, open_disks, recorded_paths,
};
use cairn_chain::plan::{
    Failure, Folder, Folders, OpenPlace, OpenPlan, Places, Plan, PlanNotOpened, PlanSeams,
};
use cairn_chain::report::TierErrors;
use cairn_chain::{
    ChunkStore, Disk, OpenError, RealDisk, SegmentStore, SegmentStoreConfig, SegmentStoreSeams,
};
use cairn_core::ids::NodeId;
use cairn_runtime::{Blocking, BlockingError, Clock, Entropy, Spawner};
use cairn_storage_node::{DiskMetrics, MeteredDisk, TierMetrics};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::process::DISK_THREADS;

/// The file in a node's folder that says where its tiers keep chunks.
const TIERS: &str = "tiers";
/// Most bytes that it can have.
const TIERS_BYTES: usize = 64 << 10;
/// The version of its format.
const TIERS_FORMAT: u32 = 1;

/// A node's chunks cannot be got at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreNotOpened {
    /// The file that says where tiers are cannot be used.
    #[error("use {TIERS}, which says where the node's tiers are: {0}")]
    Record(#[from] io::Error),
    /// The look at the node's folder gave no result.
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
    /// A newer Cairn wrote it.
    #[error(
        "{TIERS} has format {0}, this version knows format {TIERS_FORMAT}: use the Cairn that wrote it"
    )]
    UnknownFormat(u32),
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
    /// A disk of the node is no tier.
    #[error(
        "the node keeps chunks on {0}, which is no tier: describe one of segments with that path"
    )]
    DiskIsNoTier(String),
    /// A place is another store than it was.
    #[error(
        "tier {tier} was another store in {place}: is its disk mounted? When what it had is gone for good, remove it from the file {TIERS}"
    )]
    OtherStore {
        /// Its name.
        tier: String,
        /// Where it is.
        place: String,
    },
    /// A place that is new to the node has chunks, maybe of another node, whose copies this one's sweep would delete.
    #[error(
        "tier {tier} finds {chunks} chunks in {place}, which this node has not put there: give it a place of its own"
    )]
    NotOurs {
        /// Its name.
        tier: String,
        /// Where it is.
        place: String,
        /// How many.
        chunks: u64,
    },
    /// A disk cannot be opened, or not as it is configured.
    #[error(transparent)]
    Disks(#[from] DiskSetError),
    /// A tier cannot be opened, or what is described makes no sense.
    #[error(transparent)]
    Tiers(#[from] PlanNotOpened),
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
pub(crate) struct NodeFolder<'a> {
    pub(crate) path: &'a Path,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) blocking: Blocking,
    /// Keeps other processes out.
    pub(crate) lock: Box<dyn DiskLock>,
    /// Whose it is.
    pub(crate) node: NodeId,
}

/// Where chunks are kept without tiers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DiskSettings<'a> {
    /// The disks; the node's folder, when there are none.
    pub(crate) disks: &'a [PathBuf],
    /// Bytes that each may hold; what it has, when not given.
    pub(crate) capacity: Option<u64>,
}

/// The folder of one disk of a node.
#[derive(Debug)]
struct DiskBay {
    path: PathBuf,
    capacity: Option<u64>,
    blocking: Blocking,
    around: Surroundings,
}

impl DiskBay {
    fn metered(&self, disk: RealDisk) -> Arc<dyn Disk> {
        Arc::new(MeteredDisk::new(Arc::new(disk), self.around.syncs.clone()))
    }
}

impl Bay for DiskBay {
    fn blocking(&self) -> &Blocking {
        &self.blocking
    }

    fn find(&self) -> io::Result<Arc<dyn Disk>> {
        RealDisk::existing(&self.path).map(|disk| self.metered(disk))
    }

    fn make(&self) -> io::Result<Arc<dyn Disk>> {
        RealDisk::open(&self.path).map(|disk| self.metered(disk))
    }

    fn open(&self, disk: Arc<dyn Disk>) -> BoxFuture<'_, Result<Arc<dyn ChunkStore>, OpenError>> {
        let config =
            SegmentStoreConfig { capacity: self.capacity, ..SegmentStoreConfig::default() };
        let Surroundings { spawner, clock, entropy, .. } = self.around.clone();
        let seams =
            SegmentStoreSeams { disk, blocking: self.blocking.clone(), spawner, entropy, clock };
        async move {
            let store = SegmentStore::open(config, seams).await?;
            Ok(Arc::new(store) as Arc<dyn ChunkStore>)
        }
        .boxed()
    }
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
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    format: u32,
    tiers: Vec<Place>,
}

/// Where a tier keeps chunks.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Place {
    name: String,
    place: String,
    /// The lives of what is there.
    disks: Vec<String>,
}

/// What a node keeps its chunks in.
#[derive(Debug)]
pub(crate) struct NodeStore {
    /// All of it as one store.
    pub(crate) whole: Arc<dyn ChunkStore>,
    /// What of it is scrubbed, each by itself.
    pub(crate) scrubbed: Vec<Arc<dyn ChunkStore>>,
}

/// Opens segments on the node's disks.
pub(crate) async fn open_segments(
    folder: NodeFolder<'_>,
    settings: DiskSettings<'_>,
    around: &Surroundings,
) -> Result<NodeStore, StoreNotOpened> {
    let (path, disk) = (folder.path.to_owned(), Arc::clone(&folder.disk));
    let look = move || -> Result<_, StoreNotOpened> {
        match Record::read(&*disk)? {
            Some(record) => Err(StoreNotOpened::TiersMissing(record.names())),
            None => Ok(fs::canonicalize(path)?),
        }
    };
    let alone = [folder.blocking.run(look).await??];
    let paths = if settings.disks.is_empty() { &alone[..] } else { settings.disks };
    let mut bays: Vec<(PathBuf, Arc<dyn Bay>)> = Vec::with_capacity(paths.len());
    for path in paths {
        let path = std::path::absolute(path)?;
        let blocking = Blocking::threads("cairn-disk", DISK_THREADS)?;
        let capacity = settings.capacity;
        let bay = DiskBay { path: path.clone(), capacity, blocking, around: around.clone() };
        bays.push((path, Arc::new(bay)));
    }
    let NodeFolder { disk, blocking, lock, node, .. } = folder;
    let Surroundings { spawner, clock, entropy, .. } = around.clone();
    let seams = DiskSetSeams { folder: disk, lock, blocking, node, spawner, entropy, clock };
    let OpenDisks { store, left_out: _ } = open_disks(bays, seams).await?;
    Ok(NodeStore { scrubbed: store.disks_alone(), whole: Arc::new(store) })
}

/// Opens the tiers that are described, and sees that they are what they were.
pub(crate) async fn open_tiers(
    folder: NodeFolder<'_>,
    plan: Plan,
    around: &Surroundings,
    metrics: TierMetrics,
) -> Result<NodeStore, StoreNotOpened> {
    let NodeFolder { path, disk, blocking, lock, node } = folder;
    // For as long as the process lives: there may be no other lock, where no tier is a folder.
    Box::leak(Box::new(lock));
    let (path, looked_at) = (path.to_owned(), Arc::clone(&disk));
    let look = move || -> Result<_, StoreNotOpened> {
        let record = Record::read(&*looked_at)?.unwrap_or_default();
        Ok((fs::canonicalize(path)?, record, recorded_paths(&*looked_at)?))
    };
    let (path, earlier, own) = blocking.run(look).await??;
    let plan = plan.within(&path);
    earlier.is_described(&plan.durable_places())?;
    are_described(&own, &plan.durable_places())?;
    let Surroundings { spawner, clock, entropy, syncs } = around.clone();
    let folders = Arc::new(MeteredFolders(syncs));
    let (errors, observer) = (TierErrors::logged_only(), Arc::new(metrics));
    let known = Arc::new(Known { earlier, own });
    let seams = PlanSeams { node, folders, known, spawner, clock, entropy, errors, observer };
    let OpenPlan { chain, scrubbed, places } = plan.open(seams).await?;
    let written = blocking.run(move || Record::of(places).write(&*disk)).await;
    if let Err(error) = written.map_err(StoreNotOpened::from).flatten() {
        chain.close().await;
        return Err(error);
    }
    Ok(NodeStore { whole: Arc::new(chain), scrubbed })
}

/// Whether every disk of the node without tiers is a tier now.
fn are_described(own: &[PathBuf], places: &[(String, String)]) -> Result<(), StoreNotOpened> {
    let own = own.iter().map(|path| path.display().to_string());
    let mut missing = own.filter(|path| places.iter().all(|(_, place)| place != path));
    missing.next().map_or(Ok(()), |path| Err(StoreNotOpened::DiskIsNoTier(path)))
}

impl Record {
    fn of(places: Vec<OpenPlace>) -> Self {
        let place = |open: OpenPlace| Place {
            disks: open.disks.iter().map(ToString::to_string).collect(),
            name: open.tier,
            place: open.place,
        };
        Self { format: TIERS_FORMAT, tiers: places.into_iter().map(place).collect() }
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

    /// Whether every place on record still is one. What is not looked at any more would seem lost.
    fn is_described(&self, places: &[(String, String)]) -> Result<(), StoreNotOpened> {
        let gone =
            self.tiers.iter().find(|was| places.iter().all(|(_, place)| *place != was.place));
        match gone.cloned() {
            Some(Place { name: tier, place, .. }) => Err(StoreNotOpened::TierGone { tier, place }),
            None => Ok(()),
        }
    }
}

/// What a node knows of the places of its tiers.
#[derive(Debug)]
struct Known {
    /// Those that it had.
    earlier: Record,
    /// Its disks from when it had no tiers.
    own: Vec<PathBuf>,
}

impl Places for Known {
    /// A store that is on record has to be the same; a new one has to be empty, but for the node's own disks.
    fn accept(&self, open: &OpenPlace) -> Result<(), Failure> {
        let (tier, place, chunks) = (open.tier.clone(), open.place.clone(), open.chunks);
        let disks: Vec<_> = open.disks.iter().map(ToString::to_string).collect();
        let own = || self.own.iter().any(|path| path.as_os_str() == place.as_str());
        match self.earlier.tiers.iter().find(|was| was.place == place) {
            Some(was) if was.disks == disks => Ok(()),
            Some(_) => Err(StoreNotOpened::OtherStore { tier, place }.into()),
            None if chunks == 0 || own() => Ok(()),
            None => Err(StoreNotOpened::NotOurs { tier, place, chunks }.into()),
        }
    }
}

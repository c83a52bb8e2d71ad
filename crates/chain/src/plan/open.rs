//! Opening what a plan describes.

use std::fmt;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_core::ids::{DiskIncarnation, NodeId};
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::kept::keep_all;
use super::{FilesPlan, Plan, PlanError, SegmentsPlan, StorePlan, TierPlan};
use crate::btree::BTreeStore;
use crate::chain::{
    Chain, ChainError, ChainSeams, Journal, JournalSeams, Opening, Tier, TierNotOpened, WriteMode,
    open_tiers,
};
use crate::disk::{Disk, RealDisk};
use crate::faulty::{FaultSeams, FaultStore};
use crate::file::{FileStore, FileStoreSeams};
use crate::lsm::LsmStore;
use crate::memory::{MemoryStore, MemoryStoreSeams};
use crate::object_tier::{ObjectTier, ObjectTierSeams};
use crate::pins::Pins;
use crate::report::TierErrors;
use crate::segments::{SegmentStore, SegmentStoreSeams};
use crate::store::ChunkStore;
use crate::tree::TreeSeams;
use crate::wrap::{CallLog, Lru, LruSeams, Nothing, Observed, StoreObserver, Timeout};

/// Gives folders of the machine to stores.
pub trait Folders: Send + Sync + fmt::Debug {
    /// The folder at `path`, made with `mode` when it is absent, and threads for it. Blocks.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path, mode: u32) -> io::Result<Folder>;

    /// Threads for a store that opens its files by itself.
    ///
    /// # Errors
    /// What the system says.
    fn threads(&self) -> io::Result<Blocking>;
}

/// A folder for a store.
#[derive(Debug)]
pub struct Folder {
    /// The folder.
    pub disk: Arc<dyn Disk>,
    /// Where work on it runs.
    pub blocking: Blocking,
}

/// Sees whether a durable tier is what it should be, before anything is read from it, copied to it or evicted for its sake.
pub trait Places: Send + Sync + fmt::Debug {
    /// Whether what was opened may be used.
    ///
    /// # Errors
    /// Why not; nothing is opened then.
    fn accept(&self, place: &OpenPlace) -> Result<(), Failure>;
}

/// What tiers need of their surroundings.
#[derive(Debug, Clone)]
pub struct PlanSeams {
    /// Whose the tiers are.
    pub node: NodeId,
    /// Where folders come from.
    pub folders: Arc<dyn Folders>,
    /// What is known of the places of durable tiers.
    pub known: Arc<dyn Places>,
    /// Where work in the background runs.
    pub spawner: Spawner,
    /// Deadlines, waits, dates of new disks.
    pub clock: Clock,
    /// Draws disks' incarnations, spreads retries.
    pub entropy: Entropy,
    /// Where failures of tiers are reported.
    pub errors: TierErrors,
    /// Is told of the calls of tiers that are metered.
    pub observer: Arc<dyn StoreObserver>,
}

/// What a plan describes cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PlanNotOpened {
    /// It makes no sense.
    #[error("{}", told(.0))]
    Senseless(Vec<PlanError>),
    /// The journal of what is still to be copied cannot be opened.
    #[error("open {path}: {problem}")]
    Journal {
        /// Its folder.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A tier cannot be opened.
    #[error(transparent)]
    Tier(#[from] TierNotOpened),
    /// It cannot be seen what a tier with an LRU has, or what the others have of it.
    #[error("see whether another tier has what tier {tier} has: {problem}")]
    Unlisted {
        /// The tier with the LRU.
        tier: String,
        /// Why.
        problem: String,
    },
    /// A tier with an LRU has chunks that no other one has, and none is written behind.
    #[error(
        "tier {0} has an LRU, and chunks that no tier has which keeps them: put a tier behind it, which they are copied to first"
    )]
    Unkept(String),
    /// What is to be copied cannot be noted.
    #[error("note what is to be copied: {0}")]
    NotNoted(String),
    /// The tiers make no chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

fn told(problems: &[PlanError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What a plan has become.
#[derive(Debug)]
pub struct OpenPlan {
    /// The tiers as one store.
    pub chain: Chain,
    /// The stores whose chunks are to be read and proven from time to time, without what is wrapped around them.
    pub scrubbed: Vec<Arc<dyn ChunkStore>>,
    /// Where durable tiers keep chunks.
    pub places: Vec<OpenPlace>,
}

/// Where a durable tier keeps chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPlace {
    /// The tier's name.
    pub tier: String,
    /// A folder, a file, or a bucket with its prefix; see [`Plan::durable_places`].
    pub place: String,
    /// The lives of what is there.
    pub disks: Vec<DiskIncarnation>,
    /// Chunks that were there when it was opened.
    pub chunks: u64,
}

/// What is handed on from tier to tier while they are opened.
#[derive(Debug, Clone)]
struct Opener {
    seams: PlanSeams,
    found: Arc<Mutex<Found>>,
}

#[derive(Debug, Default)]
struct Found {
    scrubbed: Vec<Arc<dyn ChunkStore>>,
    places: Vec<OpenPlace>,
}

/// Why a tier was not opened.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Plan {
    /// Opens the tiers in order, and makes a chain of them. The first that cannot be opened ends it; those that are
    /// open are closed then.
    ///
    /// # Errors
    /// [`PlanNotOpened`].
    pub async fn open(self, seams: PlanSeams) -> Result<OpenPlan, PlanNotOpened> {
        self.check().map_err(PlanNotOpened::Senseless)?;
        let opener = Opener { seams, found: Arc::default() };
        let chain = self.open_below(String::new(), opener.clone()).await?;
        let Found { scrubbed, places } = mem::take(&mut *opener.found());
        Ok(OpenPlan { chain, scrubbed, places })
    }

    /// Opens a chain within a tier: its tiers' names begin with that one's.
    fn open_below(
        self,
        above: String,
        opener: Opener,
    ) -> BoxFuture<'static, Result<Chain, PlanNotOpened>> {
        async move {
            // The journal first: it says what the tiers must not let go of.
            let mut journal = self.open_journal(&opener.seams).await?;
            let pins = journal.as_ref().map(Journal::pins).unwrap_or_default();
            let hold = pins.hold_all();
            let opening = |mut plan: TierPlan| {
                plan.tier.name.insert_str(0, &above);
                let name = plan.tier.name.clone();
                (name, Box::pin(plan.open(opener.clone(), pins.clone())) as Opening)
            };
            let tiers = open_tiers(self.tiers.into_iter().map(opening).collect()).await?;
            if let Err(error) = keep_all(&tiers, journal.as_mut()).await {
                for tier in tiers.iter().rev() {
                    tier.store.close().await;
                }
                return Err(error);
            }
            drop(hold);
            let PlanSeams { spawner, clock, entropy, errors, .. } = opener.seams;
            let seams = ChainSeams { spawner, clock, entropy, errors };
            Ok(Chain::open(self.chain, tiers, journal, seams)?)
        }
        .boxed()
    }

    async fn open_journal(&self, seams: &PlanSeams) -> Result<Option<Journal>, PlanNotOpened> {
        let behind = |plan: &TierPlan| plan.tier.write == WriteMode::Behind;
        let Some(path) = self.behind_journal.clone().filter(|_| self.tiers.iter().any(behind))
        else {
            return Ok(None);
        };
        let failed = |problem: String| PlanNotOpened::Journal { path: path.clone(), problem };
        let folder = seams.folders.open(&path, RealDisk::MODE);
        let Folder { disk, blocking } = folder.map_err(|error| failed(error.to_string()))?;
        let seams = JournalSeams { disk, blocking, spawner: seams.spawner.clone() };
        Journal::open(seams).await.map(Some).map_err(|error| failed(error.to_string()))
    }
}

impl TierPlan {
    /// Opens the store and puts the wrappers around it, from the inside out.
    async fn open(self, opener: Opener, pins: Pins) -> Result<Tier, Failure> {
        let Self { tier, store, lru, timeout, metered, traced, scrub, faults } = self;
        let (nests, place) = (matches!(store, StorePlan::Chain(_)), store.normal_place());
        let mut store = store.open(&tier.name, &opener).await?;
        if scrub && !nests {
            opener.found().scrubbed.push(Arc::clone(&store));
        }
        if let Some(place) = place.filter(|_| tier.durable) {
            let disks = store.disks().iter().map(|report| report.disk).collect();
            let (tier, chunks) = (tier.name.clone(), store.usage().chunks);
            let place = OpenPlace { tier, place, disks, chunks };
            if let Err(refused) = opener.seams.known.accept(&place) {
                store.close().await;
                return Err(refused);
            }
            opener.found().places.push(place);
        }
        let PlanSeams { spawner, clock, entropy, errors, observer, .. } = opener.seams;
        if let Some(faults) = faults {
            tracing::warn!(target: "cairn", tier = tier.name, "the tier fails on purpose, as its settings say");
            let seams = FaultSeams { entropy, clock: clock.clone() };
            store = Arc::new(FaultStore::new(store, faults, seams)?);
        }
        if let Some(timeout) = timeout {
            store = Arc::new(Timeout::new(store, &timeout, clock.clone()));
        }
        let mut around = None;
        if let Some(lru) = lru {
            let name = tier.name.as_str().into();
            let seams = LruSeams { tier: name, spawner, clock: clock.clone(), pins, errors };
            let lru = Arc::new(Lru::open(store, &lru, seams).await?);
            store = Arc::<Lru>::clone(&lru);
            around = Some(lru);
        }
        if traced {
            store = Arc::new(Observed::new(&tier.name, store, Arc::new(CallLog), clock.clone()));
        }
        if metered {
            store = Arc::new(Observed::new(&tier.name, store, observer, clock));
        }
        Ok(Tier { config: tier, lru: around, store })
    }
}

impl Opener {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorePlan {
    async fn open(self, tier: &str, opener: &Opener) -> Result<Arc<dyn ChunkStore>, Failure> {
        let PlanSeams { node, folders, spawner, entropy, clock, .. } = opener.seams.clone();
        let tree = |blocking| TreeSeams {
            blocking,
            spawner: spawner.clone(),
            entropy: entropy.clone(),
            clock: clock.clone(),
        };
        Ok(match self {
            Self::Memory(config) => {
                Arc::new(MemoryStore::open(&config, &MemoryStoreSeams { spawner, entropy, clock }))
            }
            Self::Files(FilesPlan { path, mode, config }) => {
                let Folder { disk, blocking } = folders.open(&path, mode)?;
                let seams = FileStoreSeams { disk, blocking, spawner, entropy, clock };
                Arc::new(FileStore::open(config, seams).await?)
            }
            Self::Segments(SegmentsPlan { path, config }) => {
                let Folder { disk, blocking } = folders.open(&path, RealDisk::MODE)?;
                let seams = SegmentStoreSeams { disk, blocking, spawner, entropy, clock };
                Arc::new(SegmentStore::open(config, seams).await?)
            }
            Self::BTree(config) => {
                Arc::new(BTreeStore::open(config, tree(folders.threads()?)).await?)
            }
            Self::Lsm(config) => Arc::new(LsmStore::open(config, tree(folders.threads()?)).await?),
            Self::Bucket(config) => {
                let seams = ObjectTierSeams { node, spawner, entropy, clock };
                Arc::new(ObjectTier::open(&config, seams).await?)
            }
            Self::Nothing => Arc::new(Nothing),
            Self::Chain(plan) => {
                Arc::new(plan.open_below(format!("{tier}/"), opener.clone()).await?)
            }
        })
    }
}

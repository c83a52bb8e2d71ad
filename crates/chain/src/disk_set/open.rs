//! Opening the disks of a node by the rule, and keeping what it comes to.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cairn_core::ids::{DiskIncarnation, NodeId};
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};
use futures_util::future;

use super::path::{self, DiskPath};
use super::plan::{Found, Known, Plan, Step, plan};
use super::record::{self, Record};
use super::{Bay, DiskSetError, LeftOut};
use crate::disk::{Disk, DiskLock, read_small};
use crate::identity;
use crate::open::{OpenError, failed};
use crate::spread::{Spread, SpreadSeams};
use crate::store::ChunkStore;

/// Held by the process that has the node's data folder. Not the lock of a store: the data folder may be one of the disks.
const LOCK: &str = "disks.lock";
/// Longest wait for what is in a disk's folder, which is two small files. Disks that were asleep take seconds to turn.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// Takes the lock of a node's data folder, before anything in it is read. Blocks.
///
/// # Errors
/// [`OpenError::Locked`] when another process has it, or what the disk says.
pub fn lock_folder(folder: &dyn Disk) -> Result<Box<dyn DiskLock>, OpenError> {
    folder.lock(LOCK).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked,
        _ => failed("lock the node's data folder")(error),
    })
}

/// The paths of the disks that a node's data folder has on record. Blocks.
///
/// # Errors
/// [`DiskSetError`] when the record cannot be read.
pub fn recorded_paths(folder: &dyn Disk) -> Result<Vec<PathBuf>, DiskSetError> {
    let record = record::read(folder)?.unwrap_or_default();
    Ok(record.keys().map(|path| PathBuf::from(path.to_string())).collect())
}

/// What [`open_disks`] needs of its surroundings.
pub struct DiskSetSeams {
    /// The node's data folder, which has the record.
    pub folder: Arc<dyn Disk>,
    /// Its lock, of [`lock_folder`]; held until the store is closed.
    pub lock: Box<dyn DiskLock>,
    /// Where work on the data folder runs.
    pub blocking: Blocking,
    /// The node whose disks they are.
    pub node: NodeId,
    /// Where the ends of writes run.
    pub spawner: Spawner,
    /// Draws the disk of each new chunk.
    pub entropy: Entropy,
    /// Bounds the wait for a disk that does not answer.
    pub clock: Clock,
}

impl fmt::Debug for DiskSetSeams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskSetSeams").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The disks of a node, open.
#[derive(Debug)]
pub struct OpenDisks {
    /// Chunks spread over those that opened.
    pub store: Spread,
    /// Those that did not.
    pub left_out: Vec<LeftOut>,
}

/// Opens the disks that are configured; see [the module](super). They are opened at once, and it takes as long as the slowest.
///
/// # Errors
/// [`DiskSetError`], where no disk can be opened, or something has to be decided by an operator. What was open is closed then.
pub async fn open_disks(
    bays: Vec<(PathBuf, Arc<dyn Bay>)>,
    seams: DiskSetSeams,
) -> Result<OpenDisks, DiskSetError> {
    let DiskSetSeams { folder, lock, blocking, node, spawner, entropy, clock } = seams;
    let paths = path::checked(bays.iter().map(|(path, _)| path))?;
    let bays: BTreeMap<_, _> =
        paths.into_iter().zip(bays.into_iter().map(|(_, bay)| bay)).collect();
    let read = Arc::clone(&folder);
    let (record, in_data_folder) = blocking.run(move || data_folder(&*read)).await??;
    let found = look(&bays, &clock).await;
    let known = Known { node, record: record.as_ref(), in_data_folder, found: &found };
    let Plan { steps, dropped } = plan(&known)?;
    let opened = Opened::of(&bays, steps, node).await?;
    let now = opened.record();
    if record.as_ref() != Some(&now) {
        let kept = blocking.run(move || record::keep(&*folder, &now)).await;
        if let Err(error) = kept.map_err(DiskSetError::from).flatten() {
            opened.close().await;
            return Err(error);
        }
    }
    tell(&opened, &dropped);
    let left_out = opened.left_out();
    let disks = opened.stores.into_iter().map(|(path, (_, store))| (path.to_string(), store));
    let store = Spread::new(disks.collect(), SpreadSeams { spawner, entropy })?.locked(lock);
    Ok(OpenDisks { store, left_out })
}

/// What the data folder says: the record, and which store is in the folder itself. Blocks.
fn data_folder(
    folder: &dyn Disk,
) -> Result<(Option<Record>, Option<DiskIncarnation>), DiskSetError> {
    let record = record::read(folder)?;
    let store = match found_in(folder) {
        Found::Store { disk, .. } => Some(disk),
        Found::Nothing | Found::Blank | Found::Unreadable(_) => None,
    };
    Ok((record, store))
}

/// Looks into all folders at once. One that does not answer is none that can be read.
async fn look(bays: &BTreeMap<DiskPath, Arc<dyn Bay>>, clock: &Clock) -> BTreeMap<DiskPath, Found> {
    let looks = bays.iter().map(|(path, bay)| async {
        let looking = Arc::clone(bay);
        let look = bay.blocking().run(move || look_into(&*looking));
        let found = match clock.timeout(LONGEST_LOOK, look).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => Found::Unreadable(error.to_string()),
            Err(late) => Found::Unreadable(late.to_string()),
        };
        (path.clone(), found)
    });
    future::join_all(looks).await.into_iter().collect()
}

fn look_into(bay: &dyn Bay) -> Found {
    match bay.find() {
        Ok(folder) => found_in(&*folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
        Err(error) => Found::Unreadable(error.to_string()),
    }
}

fn found_in(folder: &dyn Disk) -> Found {
    let disk = match read_small(folder, identity::FILE, identity::MOST_BYTES) {
        Ok(None) => return Found::Blank,
        Ok(Some(bytes)) => identity::disk_of(&bytes).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match disk {
        Ok(disk) => Found::Store { disk, owner: record::owner(folder) },
        Err(why) => Found::Unreadable(why),
    }
}

/// Disks that were opened, and those of the node that were not.
#[derive(Debug, Default)]
struct Opened {
    stores: BTreeMap<DiskPath, (DiskIncarnation, Arc<dyn ChunkStore>)>,
    left_out: BTreeMap<DiskPath, (DiskIncarnation, String)>,
}

impl Opened {
    /// Takes all steps at once. A disk of the node that fails is left out; whatever else fails ends it.
    async fn of(
        bays: &BTreeMap<DiskPath, Arc<dyn Bay>>,
        steps: BTreeMap<DiskPath, Step>,
        node: NodeId,
    ) -> Result<Self, DiskSetError> {
        let (mut opened, mut openings, mut refused) = (Self::default(), Vec::new(), None);
        for (path, step) in steps {
            let (disk, new) = match step {
                Step::LeaveOut(disk, why) => {
                    opened.left_out.insert(path, (disk, why));
                    continue;
                }
                Step::Open(disk) => (Some(disk), None),
                Step::Add(disk) => (disk, Some(node)),
            };
            let bay = Arc::clone(&bays[&path]);
            openings.push(async move { (path, disk, new, open(&bay, disk, new).await) });
        }
        for (path, disk, new, result) in future::join_all(openings).await {
            match (result, disk.filter(|_| new.is_none())) {
                (Ok(disk), _) => drop(opened.stores.insert(path, disk)),
                // Somebody has it: it is not dead.
                (Err(error), Some(disk)) if !matches!(error, OpenError::Locked) => {
                    opened.left_out.insert(path, (disk, error.to_string()));
                }
                (Err(source), _) => {
                    refused = Some(DiskSetError::NotOpened { path: path.to_path_buf(), source });
                }
            }
        }
        if refused.is_none() && opened.stores.is_empty() {
            refused = Some(DiskSetError::NoneOpened(opened.left_out()));
        }
        match refused {
            Some(error) => {
                opened.close().await;
                Err(error)
            }
            None => Ok(opened),
        }
    }

    /// The disks that the node has from now on.
    fn record(&self) -> Record {
        let stores = self.stores.iter().map(|(path, (disk, _))| (path.clone(), *disk));
        let left_out = self.left_out.iter().map(|(path, (disk, _))| (path.clone(), *disk));
        stores.chain(left_out).collect()
    }

    fn left_out(&self) -> Vec<LeftOut> {
        let left_out = self.left_out.iter().map(|(path, (disk, why))| LeftOut {
            path: path.to_path_buf(),
            disk: *disk,
            why: why.clone(),
        });
        left_out.collect()
    }

    async fn close(&self) {
        future::join_all(self.stores.values().map(|(_, store)| store.close())).await;
    }
}

/// Opens a disk, `disk` where it is one already; one that is `new` to a node becomes the node's first.
async fn open(
    bay: &Arc<dyn Bay>,
    disk: Option<DiskIncarnation>,
    new: Option<NodeId>,
) -> Result<(DiskIncarnation, Arc<dyn ChunkStore>), OpenError> {
    let found = Arc::clone(bay);
    let folder = bay.blocking().run(move || folder_of(&*found, disk, new)).await??;
    let store = bay.open(folder).await?;
    let named = store.disks().first().map(|report| report.disk);
    Ok((disk.or(named).ok_or(OpenError::IdentityMissing)?, store))
}

/// The folder in which a store is opened. A new one has its owner before it is a disk: after a crash in between it is known as
/// ours. Blocks.
fn folder_of(
    bay: &dyn Bay,
    disk: Option<DiskIncarnation>,
    new: Option<NodeId>,
) -> Result<Arc<dyn Disk>, OpenError> {
    let folder = match disk {
        Some(disk) => found_again(bay, disk)?,
        None => bay.make().map_err(failed("make the folder"))?,
    };
    if let Some(node) = new {
        record::own(&*folder, node).map_err(failed("write whose disk it is"))?;
    }
    Ok(folder)
}

/// The folder of a disk. It was there, but others were waited for since: a store that opens in an empty folder would make a new
/// disk of it.
fn found_again(bay: &dyn Bay, disk: DiskIncarnation) -> Result<Arc<dyn Disk>, OpenError> {
    let folder = bay.find().map_err(failed("find the folder"))?;
    match found_in(&*folder) {
        Found::Store { disk: found, .. } if found == disk => Ok(folder),
        _ => Err(failed("find the disk again")(io::ErrorKind::NotFound.into())),
    }
}

/// Tells an operator what became of the disks.
fn tell(opened: &Opened, dropped: &Record) {
    for (path, (disk, why)) in &opened.left_out {
        tracing::error!(
            target: "cairn", %path, %disk, why,
            "a disk of the node is left out and its chunks count as missing: mount or mend it and start again; if it is gone for good, \
             take its path out of the configuration"
        );
    }
    for (path, disk) in dropped {
        tracing::warn!(
            target: "cairn", %path, %disk,
            "a disk is configured no more: the node lets go of it, and its chunks count as missing"
        );
    }
    let (disks, left_out) = (opened.stores.len(), opened.left_out.len());
    tracing::info!(target: "cairn", disks, left_out, "the node's disks are open");
}

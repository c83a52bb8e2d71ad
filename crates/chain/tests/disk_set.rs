//! Which disks a node has, over starts at which some of them are missing, dead, new, or another's.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cairn_chain::conformance::{blob, content, get_all, put};
use cairn_chain::disk::memory::{DiskOp, Loss, MemoryDisk};
use cairn_chain::disk_set::{Bay, DiskSetError, DiskSetSeams, OpenDisks, lock_folder, open_disks};
use cairn_chain::{
    ChunkStore, Disk, OpenError, ReadError, RealDisk, SegmentStore, SegmentStoreConfig,
    SegmentStoreSeams,
};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

const DISK_BYTES: u64 = 64 << 20;

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

fn bytes() -> Bytes {
    content(1000, 7)
}

/// Where a disk is put in. Clones are the same place.
#[derive(Debug, Clone)]
struct Slot {
    disk: Arc<Mutex<Option<MemoryDisk>>>,
    /// What is in the place once it has been looked at.
    next: Arc<Mutex<Option<MemoryDisk>>>,
    blocking: Blocking,
    entropy: Entropy,
}

impl Slot {
    fn content(&self) -> MutexGuard<'_, Option<MemoryDisk>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_in(&self, disk: Option<MemoryDisk>) {
        *self.content() = disk;
    }

    fn disk(&self) -> MemoryDisk {
        self.content().clone().expect("a disk is in the slot")
    }
}

impl Bay for Slot {
    fn blocking(&self) -> &Blocking {
        &self.blocking
    }

    fn find(&self) -> io::Result<Arc<dyn Disk>> {
        let disk = self.content().clone();
        if let Some(next) = self.next.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.put_in(Some(next));
        }
        disk.map(|disk| Arc::new(disk) as Arc<dyn Disk>).ok_or(ErrorKind::NotFound.into())
    }

    fn make(&self) -> io::Result<Arc<dyn Disk>> {
        let mut disk = self.content();
        Ok(Arc::new(disk.get_or_insert_with(|| MemoryDisk::new(DISK_BYTES)).clone()))
    }

    fn open(&self, folder: Arc<dyn Disk>) -> BoxFuture<'_, Result<Arc<dyn ChunkStore>, OpenError>> {
        segments(folder, self.blocking.clone(), self.entropy.clone()).boxed()
    }
}

async fn segments(
    disk: Arc<dyn Disk>,
    blocking: Blocking,
    entropy: Entropy,
) -> Result<Arc<dyn ChunkStore>, OpenError> {
    let seams = SegmentStoreSeams {
        disk,
        blocking,
        spawner: Spawner::current(),
        entropy,
        clock: Clock::system(),
    };
    let config = SegmentStoreConfig {
        keep_free: 0,
        segment_bytes: Some(1 << 20),
        ..SegmentStoreConfig::default()
    };
    Ok(Arc::new(SegmentStore::open(config, seams).await?))
}

/// A node that is started again and again.
struct Node {
    node: NodeId,
    folder: MemoryDisk,
    slots: BTreeMap<&'static str, Slot>,
    entropy: Entropy,
}

impl Node {
    fn new(seed: u8) -> Self {
        Self {
            node: NodeId::from_slice(&[seed; 16]).expect("16 bytes"),
            folder: MemoryDisk::new(1 << 20),
            slots: BTreeMap::new(),
            entropy: Entropy::seeded(seed.into()),
        }
    }

    fn slot(&mut self, name: &'static str) -> &Slot {
        let (blocking, entropy) = (Blocking::inline(), self.entropy.clone());
        let new = || Slot { disk: Arc::default(), next: Arc::default(), blocking, entropy };
        self.slots.entry(name).or_insert_with(new)
    }

    /// Starts with the disks at these paths.
    async fn start(&mut self, names: &[&'static str]) -> Result<OpenDisks, DiskSetError> {
        let mut bays: Vec<(PathBuf, Arc<dyn Bay>)> = Vec::new();
        for name in names {
            bays.push((Path::new("/mnt").join(name), Arc::new(self.slot(name).clone())));
        }
        let folder: Arc<dyn Disk> = Arc::new(self.folder.clone());
        let lock = lock_folder(&*folder).expect("nobody else has the folder");
        let seams = DiskSetSeams {
            folder,
            lock,
            blocking: Blocking::inline(),
            node: self.node,
            spawner: Spawner::current(),
            entropy: self.entropy.clone(),
            clock: Clock::system(),
        };
        open_disks(bays, seams).await
    }

    /// Starts, puts chunks until there is one on each disk, and stops. Gives one for each path.
    async fn filled(&mut self, names: &[&'static str]) -> BTreeMap<&'static str, ChunkId> {
        let opened = self.start(names).await.expect("all disks open");
        assert_eq!(opened.left_out, []);
        let of_disk: BTreeMap<_, _> = opened
            .store
            .disks()
            .iter()
            .zip(sorted(names))
            .map(|(report, name)| (report.disk, name))
            .collect();
        let mut held = BTreeMap::new();
        for index in 0..100 {
            put(&opened.store, chunk(index), &bytes()).await.expect("stored");
            let disk = opened.store.stat(chunk(index)).await.expect("known").disk;
            held.insert(of_disk[&disk], chunk(index));
        }
        assert_eq!(held.len(), names.len(), "each disk has some");
        opened.store.close().await;
        held
    }
}

fn sorted<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

fn left_out(opened: &OpenDisks) -> Vec<&Path> {
    opened.left_out.iter().map(|left| left.path.as_path()).collect()
}

async fn is_held(store: &dyn ChunkStore, chunk: ChunkId) -> bool {
    match get_all(store, chunk).await {
        Ok(read) => read == bytes(),
        Err(ReadError::NotFound { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_node_finds_its_disks_and_chunks_again() {
    let mut node = Node::new(1);
    let held = node.filled(&["b", "a"]).await;
    let before: Vec<_> = node.folder.files();
    assert_eq!(before, ["disks"]);
    let changes = node.folder.changes();
    let opened = node.start(&["a", "b"]).await.expect("both are there");
    assert_eq!(node.folder.changes(), changes, "nothing new, nothing written");
    for chunk in held.values() {
        assert!(is_held(&opened.store, *chunk).await);
    }
}

#[tokio::test]
async fn one_disk_is_a_set_too() {
    let mut node = Node::new(1);
    let held = node.filled(&["a"]).await;
    let opened = node.start(&["a"]).await.expect("it is there");
    assert!(is_held(&opened.store, held["a"]).await);
}

/// An empty folder where a disk should be is a mount point: whatever was written there would hide behind the disk later.
#[tokio::test]
async fn a_disk_that_is_gone_is_left_out_and_its_place_is_not_touched() {
    let blank = || Some(MemoryDisk::new(DISK_BYTES));
    let dead = || {
        let disk = MemoryDisk::new(DISK_BYTES);
        disk.stop_after(0);
        Some(disk)
    };
    let gone: [&dyn Fn() -> Option<MemoryDisk>; 3] = [&|| None, &blank, &dead];
    for (case, gone) in gone.iter().enumerate() {
        let mut node = Node::new(1);
        let held = node.filled(&["a", "b", "c"]).await;
        let disk = node.slot("b").disk();
        node.slot("b").put_in(gone());
        let opened = node.start(&["a", "b", "c"]).await.expect("two are there");
        assert_eq!(left_out(&opened), [Path::new("/mnt/b")], "case {case}");
        if let Some(place) = &*node.slot("b").content() {
            assert_eq!(place.files(), [""; 0], "case {case}");
        }
        assert!(is_held(&opened.store, held["a"]).await && is_held(&opened.store, held["c"]).await);
        assert!(!is_held(&opened.store, held["b"]).await);
        for index in 100..110 {
            put(&opened.store, chunk(index), &bytes()).await.expect("stored on the others");
        }
        opened.store.close().await;
        node.slot("b").put_in(Some(disk));
        let opened = node.start(&["a", "b", "c"]).await.expect("all are there");
        assert_eq!(opened.left_out, []);
        assert!(is_held(&opened.store, held["b"]).await, "it is back, with its chunks");
    }
}

#[tokio::test]
async fn a_disk_that_goes_after_it_was_looked_at_is_left_out() {
    let mut node = Node::new(1);
    let held = node.filled(&["a", "b"]).await;
    let (disk, mount_point) = (node.slot("b").disk(), MemoryDisk::new(DISK_BYTES));
    *node.slot("b").next.lock().unwrap() = Some(mount_point.clone());
    let opened = node.start(&["a", "b"]).await.expect("one is there");
    assert_eq!(left_out(&opened), [Path::new("/mnt/b")]);
    assert!(is_held(&opened.store, held["a"]).await);
    opened.store.close().await;
    node.slot("b").put_in(Some(disk));
    *node.slot("b").next.lock().unwrap() = Some(mount_point.clone());
    assert!(node.folder.remove_file("disks"));
    let refused = node.start(&["a", "b"]).await;
    assert!(matches!(refused, Err(DiskSetError::NotOpened { .. })), "not on record: {refused:?}");
    assert_eq!(mount_point.files(), [""; 0], "it was not made a disk");
}

/// The clock of this test moves when everybody waits for it.
#[tokio::test(start_paused = true)]
async fn a_disk_that_does_not_answer_is_left_out() {
    let mut node = Node::new(1);
    let held = node.filled(&["a", "b"]).await;
    let hanging = Blocking::threads("disk", 1).expect("a thread");
    let (free, busy) = std::sync::mpsc::channel::<()>();
    let mut work = Box::pin(hanging.run(move || busy.recv()));
    assert!(work.as_mut().now_or_never().is_none(), "the only thread is busy");
    node.slots.get_mut("b").expect("a slot").blocking = hanging.clone();
    let opened = node.start(&["a", "b"]).await.expect("one answers");
    assert_eq!(left_out(&opened), [Path::new("/mnt/b")]);
    assert!(is_held(&opened.store, held["a"]).await);
    drop(free);
}

#[tokio::test]
async fn a_disk_whose_store_does_not_open_is_left_out() {
    let mut node = Node::new(1);
    let held = node.filled(&["a", "b"]).await;
    node.slot("b").disk().edit("store", |bytes| bytes[40] ^= 1);
    let opened = node.start(&["a", "b"]).await.expect("one is there");
    assert!(opened.left_out[0].why.contains("damaged"), "{:?}", opened.left_out);
    opened.store.close().await;
    node.slot("b").disk().edit("store", |bytes| bytes[40] ^= 1);
    let disk = node.slot("b").disk();
    // The store's identity can be read, twice; the segments cannot.
    disk.fail(DiskOp::Read, 5, ErrorKind::Other);
    let opened = node.start(&["a", "b"]).await.expect("one is there");
    assert_eq!(left_out(&opened), [Path::new("/mnt/b")]);
    assert!(is_held(&opened.store, held["a"]).await);
}

#[tokio::test]
async fn a_node_without_any_disk_does_not_start() {
    let mut node = Node::new(1);
    node.filled(&["a", "b"]).await;
    for name in ["a", "b"] {
        node.slot(name).put_in(None);
    }
    let refused = node.start(&["a", "b"]).await.unwrap_err();
    let DiskSetError::NoneOpened(left) = &refused else { panic!("{refused}") };
    assert_eq!(left.len(), 2);
    assert!(refused.to_string().contains("/mnt/a"), "{refused}");
    assert!(matches!(node.start(&[]).await, Err(DiskSetError::NoDisks(_))));
}

#[tokio::test]
async fn a_disk_is_let_go_of_when_its_path_is_taken_out_and_comes_back_when_it_is_named_again() {
    let mut node = Node::new(1);
    let held = node.filled(&["a", "b"]).await;
    let opened = node.start(&["a"]).await.expect("one is there");
    assert_eq!(opened.left_out, [], "it is not missed");
    assert!(!is_held(&opened.store, held["b"]).await);
    opened.store.close().await;
    let opened = node.start(&["a", "b"]).await.expect("its folder says whose it is");
    assert!(is_held(&opened.store, held["b"]).await);
    opened.store.close().await;
    let new = node.start(&["a"]).await.expect("let go of again");
    new.store.close().await;
    node.slot("b").put_in(None);
    let opened = node.start(&["a", "b"]).await.expect("a new disk in the old one's place");
    assert_eq!((opened.left_out.len(), opened.store.disks().len()), (0, 2));
}

#[tokio::test]
async fn disks_that_changed_places_are_refused_and_nothing_stays_open() {
    let mut node = Node::new(1);
    let held = node.filled(&["a", "b"]).await;
    let (a, b) = (node.slot("a").disk(), node.slot("b").disk());
    node.slot("a").put_in(Some(b.clone()));
    node.slot("b").put_in(Some(a.clone()));
    let refused = node.start(&["a", "b"]).await;
    assert!(matches!(refused, Err(DiskSetError::OtherDisk { .. })), "{refused:?}");
    node.slot("a").put_in(Some(a.clone()));
    let refused = node.start(&["a", "b"]).await;
    assert!(matches!(refused, Err(DiskSetError::SameDisk { .. })), "{refused:?}");
    node.slot("b").put_in(Some(b));
    let opened = node.start(&["a", "b"]).await.expect("as it was");
    assert!(is_held(&opened.store, held["b"]).await);
}

#[tokio::test]
async fn a_disk_of_another_node_is_refused_and_left_as_it_is() {
    let (mut node, mut other) = (Node::new(1), Node::new(2));
    node.filled(&["a"]).await;
    let held = other.filled(&["b"]).await;
    let disk = other.slot("b").disk();
    let changes = disk.changes();
    node.slot("b").put_in(Some(disk.clone()));
    let refused = node.start(&["a", "b"]).await.unwrap_err();
    assert!(
        matches!(&refused, DiskSetError::OtherNode { owner, .. } if *owner == other.node),
        "{refused}"
    );
    assert_eq!(disk.changes(), changes);
    let opened = other.start(&["b"]).await.expect("it is the other's");
    assert!(is_held(&opened.store, held["b"]).await);
}

#[tokio::test]
async fn what_another_process_has_is_refused_and_not_taken_for_dead() {
    let mut node = Node::new(1);
    node.filled(&["a", "b"]).await;
    let opened = node.start(&["a", "b"]).await.expect("both are there");
    let second = lock_folder(&node.folder);
    assert!(matches!(second, Err(OpenError::Locked)), "{second:?}");
    opened.store.close().await;
    let looking = node.slot("b").disk();
    let inspected = segments(Arc::new(looking), Blocking::inline(), Entropy::seeded(9)).await;
    let refused = node.start(&["a", "b"]).await;
    let Err(DiskSetError::NotOpened { path, source: OpenError::Locked }) = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(path, Path::new("/mnt/b"));
    inspected.expect("it was free").close().await;
    node.start(&["a", "b"]).await.expect("what had been opened was closed again");
}

#[tokio::test]
async fn a_new_disk_that_cannot_be_made_one_is_refused() {
    let mut node = Node::new(1);
    node.filled(&["a"]).await;
    let full = MemoryDisk::new(10);
    node.slot("b").put_in(Some(full));
    let refused = node.start(&["a", "b"]).await;
    assert!(matches!(refused, Err(DiskSetError::NotOpened { .. })), "{refused:?}");
    node.start(&["a"]).await.expect("what had been opened was closed again");
}

#[tokio::test]
async fn a_record_that_cannot_be_kept_is_a_refusal() {
    let mut node = Node::new(1);
    node.filled(&["a"]).await;
    node.folder.fail(DiskOp::Sync, 0, ErrorKind::Other);
    let refused = node.start(&["a", "b"]).await;
    assert!(matches!(refused, Err(DiskSetError::Folder { .. })), "{refused:?}");
    let opened = node.start(&["a", "b"]).await.expect("the new disk is known to be ours");
    assert_eq!(opened.store.disks().len(), 2);
}

#[tokio::test]
async fn a_damaged_record_is_told_and_a_lost_one_is_made_again() {
    let mut node = Node::new(1);
    let held = node.filled(&["a", "b"]).await;
    node.folder.edit("disks", |bytes| bytes[50] ^= 1);
    let refused = node.start(&["a", "b"]).await;
    assert!(matches!(refused, Err(DiskSetError::RecordDamaged)), "{refused:?}");
    assert!(node.folder.remove_file("disks"));
    let opened = node.start(&["a", "b"]).await.expect("the disks say whose they are");
    assert!(is_held(&opened.store, held["a"]).await && is_held(&opened.store, held["b"]).await);
    opened.store.close().await;
    node.slot("b").put_in(None);
    let opened = node.start(&["a", "b"]).await.expect("one is there");
    assert_eq!(left_out(&opened), [Path::new("/mnt/b")], "they are on record again");
}

/// As it was before nodes had several.
#[tokio::test]
async fn a_node_that_kept_chunks_in_its_data_folder_goes_on_with_them() {
    let mut node = Node::new(1);
    node.folder = MemoryDisk::new(DISK_BYTES);
    let folder: Arc<dyn Disk> = Arc::new(node.folder.clone());
    let alone = segments(folder, Blocking::inline(), Entropy::seeded(5)).await.expect("a store");
    put(&*alone, chunk(500), &bytes()).await.expect("stored");
    alone.close().await;
    let forgotten = node.start(&["b"]).await;
    assert!(matches!(forgotten, Err(DiskSetError::DataFolder(_))), "{forgotten:?}");
    let data = node.folder.clone();
    node.slot("data").put_in(Some(data));
    let opened = node.start(&["data", "b"]).await.expect("both");
    assert!(is_held(&opened.store, chunk(500)).await);
    assert_eq!(opened.store.disks().len(), 2);
}

#[tokio::test]
async fn power_may_go_at_any_step_of_a_first_start() {
    for is_disk in [false, true] {
        let steps =
            (1..50).take_while(|at| !first_start_ends(*at, is_disk).now_or_never().unwrap());
        let steps = steps.count();
        assert!((3..40).contains(&steps), "the power went at {steps} steps");
    }
}

/// The power goes after so many changes to the first disk, or to the data folder; then the node starts again. Tells whether the
/// first start had ended.
async fn first_start_ends(changes: u64, is_disk: bool) -> bool {
    let mut node = Node::new(1);
    let disk = MemoryDisk::new(DISK_BYTES);
    node.slot("a").put_in(Some(disk.clone()));
    if is_disk { &disk } else { &node.folder }.stop_after(changes);
    let ended = node.start(&["a", "b"]).await.is_ok();
    node.folder = node.folder.crash(Loss::Everything);
    for name in ["a", "b"] {
        let slot = node.slot(name);
        let disk = slot.content().take();
        slot.put_in(disk.map(|disk| disk.crash(Loss::Everything)));
    }
    let opened = node.start(&["a", "b"]).await;
    let opened = opened.unwrap_or_else(|error| panic!("{changes} {is_disk}: {error}"));
    assert_eq!((opened.left_out.len(), opened.store.disks().len()), (0, 2));
    ended
}

/// A folder of the machine.
#[derive(Debug)]
struct Folder {
    root: PathBuf,
    blocking: Blocking,
}

impl Bay for Folder {
    fn blocking(&self) -> &Blocking {
        &self.blocking
    }

    fn find(&self) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(RealDisk::existing(&self.root)?))
    }

    fn make(&self) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(RealDisk::open(&self.root)?))
    }

    fn open(&self, folder: Arc<dyn Disk>) -> BoxFuture<'_, Result<Arc<dyn ChunkStore>, OpenError>> {
        segments(folder, self.blocking.clone(), Entropy::from_system().expect("a seed")).boxed()
    }
}

async fn start_in(root: &Path, names: &[&str]) -> Result<OpenDisks, DiskSetError> {
    let bays = names.iter().map(|name| {
        let blocking = Blocking::threads("disk", 2).expect("threads");
        let root = root.join(name);
        (root.clone(), Arc::new(Folder { root, blocking }) as Arc<dyn Bay>)
    });
    let folder: Arc<dyn Disk> = Arc::new(RealDisk::open(root.join("node")).expect("a folder"));
    let lock = lock_folder(&*folder).expect("nobody else has the folder");
    let seams = DiskSetSeams {
        folder,
        lock,
        blocking: Blocking::inline(),
        node: NodeId::from_slice(&[1; 16]).expect("16 bytes"),
        spawner: Spawner::current(),
        entropy: Entropy::seeded(1),
        clock: Clock::system(),
    };
    open_disks(bays.collect(), seams).await
}

#[tokio::test]
async fn on_real_folders_a_new_one_is_made_and_a_lost_one_is_not() {
    let root = tempfile::tempdir().expect("a folder");
    let opened = start_in(root.path(), &["a", "b"]).await.expect("two new disks");
    for index in 0..20 {
        put(&opened.store, chunk(index), &bytes()).await.expect("stored");
    }
    opened.store.close().await;
    std::fs::rename(root.path().join("b"), root.path().join("aside")).unwrap();
    let opened = start_in(root.path(), &["a", "b"]).await.expect("one is there");
    assert_eq!(left_out(&opened), [root.path().join("b")]);
    assert!(!root.path().join("b").exists(), "the place was not touched");
    opened.store.close().await;
    std::fs::rename(root.path().join("aside"), root.path().join("b")).unwrap();
    let opened = start_in(root.path(), &["a", "b"]).await.expect("both are there");
    for index in 0..20 {
        assert!(is_held(&opened.store, chunk(index)).await);
    }
    opened.store.close().await;
}

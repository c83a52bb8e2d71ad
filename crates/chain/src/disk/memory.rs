//! A disk in memory that loses power, fails and fills on request, the same way each time.
//!
//! ```text
//! what processes see    names ─► files, with content     write, rename, create, remove change this
//!                                     │ sync, sync_folder
//! what a crash leaves   names ─► files, with content     and of the difference whatever Loss says
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_runtime::Entropy;

use super::{Disk, DiskEntry, DiskFile, DiskLock, DiskSpace, parent};

/// A crash keeps or loses unsynced content page by page, and tears some pages between two sectors.
const PAGE_BYTES: usize = 4096;
/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// What crashes took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Names that were made, changed or removed, and are not any more.
    pub names: u64,
    /// Unsynced pages that were lost, whole or in part.
    pub pages: u64,
    /// Files of whose unsynced content a part is there and a part is not.
    pub torn: u64,
}

/// What a crash does to what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost: content, names, renames, removals.
    Everything,
    /// Names are kept, files are as long as they were, and their unsynced content is zeros.
    Content,
    /// Nothing is lost: a process died, the machine did not.
    Nothing,
    /// Each name and each page is kept, lost or torn by the coin of this seed.
    Coin(u64),
}

/// An operation that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskOp {
    /// Making a file.
    Create,
    /// Writing to a file.
    Write,
    /// Reading from a file.
    Read,
    /// Syncing a file. Content that a failed sync has lost stays lost; the next sync says that all is well.
    Sync,
    /// Naming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Syncing a folder.
    SyncFolder,
}

/// See the module. Clones are the same disk.
#[derive(Clone)]
pub struct MemoryDisk {
    machine: Arc<Mutex<Machine>>,
    /// The life of the machine that this handle belongs to: after a crash it is of no use.
    life: u64,
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk").field("life", &self.life).finish_non_exhaustive()
    }
}

struct Machine {
    life: u64,
    capacity: u64,
    used: u64,
    /// Changes that were made in this life.
    changes: u64,
    /// Changes until the power goes.
    power: Option<u64>,
    faults: Vec<Fault>,
    names: Names,
    durable: Names,
    locked: BTreeSet<String>,
    losses: Losses,
}

type Names = BTreeMap<String, Node>;

#[derive(Clone)]
enum Node {
    Folder,
    File(Arc<Mutex<Content>>),
}

#[derive(Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// A sync failed: what was not durable never will be.
    lost: bool,
}

struct Fault {
    op: DiskOp,
    /// Successes until it strikes.
    after: u64,
    kind: io::ErrorKind,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDisk {
    /// An empty disk of `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        let machine = Machine {
            life: 0,
            capacity,
            used: 0,
            changes: 0,
            power: None,
            faults: Vec::new(),
            names: Names::new(),
            durable: Names::new(),
            locked: BTreeSet::new(),
            losses: Losses::default(),
        };
        Self { machine: Arc::new(Mutex::new(machine)), life: 0 }
    }

    /// The power goes after `changes` more changes: from then on everything fails, until [`Self::crash`].
    pub fn stop_after(&self, changes: u64) {
        locked(&self.machine).power = Some(changes);
    }

    /// True from the last change that [`Self::stop_after`] lets through until the crash.
    pub fn is_off(&self) -> bool {
        locked(&self.machine).power == Some(0)
    }

    /// Changes since the last crash.
    pub fn changes(&self) -> u64 {
        locked(&self.machine).changes
    }

    /// Makes the operation fail with `kind` once, after `after` more that succeed.
    pub fn fail(&self, op: DiskOp, after: u64, kind: io::ErrorKind) {
        let fault = Fault { op, after, kind };
        locked(&self.machine).faults.push(fault);
    }

    /// Loses power and starts again: gives the disk as it is then. Every older handle, and every file and lock opened
    /// through one, fails from now on. Faults are forgotten.
    pub fn crash(&self, loss: Loss) -> Self {
        let mut machine = locked(&self.machine);
        machine.crash(loss);
        Self { machine: Arc::clone(&self.machine), life: machine.life }
    }

    /// What all crashes so far took.
    pub fn losses(&self) -> Losses {
        locked(&self.machine).losses
    }

    /// Changes a file's bytes behind the store's back, durably. False when there is no such file.
    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let machine = locked(&self.machine);
        let Some(Node::File(content)) = machine.names.get(path) else {
            return false;
        };
        let mut content = locked(content);
        change(&mut content.seen);
        content.durable = content.seen.clone();
        true
    }

    /// Removes a file behind the store's back, durably. False when there is no such file.
    pub fn remove_file(&self, path: &str) -> bool {
        let mut machine = locked(&self.machine);
        machine.durable.remove(path);
        match machine.names.remove(path) {
            Some(node) => {
                machine.used -= node.bytes();
                true
            }
            None => false,
        }
    }

    /// The paths of all files.
    pub fn files(&self) -> Vec<String> {
        let machine = locked(&self.machine);
        let files = machine.names.iter();
        let files = files.filter(|(_, node)| matches!(node, Node::File(_)));
        files.map(|(path, _)| path.clone()).collect()
    }

    /// The machine, for something that changes nothing.
    fn look(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = locked(&self.machine);
        if machine.life != self.life || machine.power == Some(0) {
            return Err(io::Error::other("the power is off"));
        }
        Ok(machine)
    }

    /// The machine, for a change.
    fn change(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let mut machine = self.look()?;
        machine.changes += 1;
        machine.power = machine.power.map(|changes| changes - 1);
        Ok(machine)
    }

    fn file(&self, content: &Arc<Mutex<Content>>) -> Box<dyn DiskFile> {
        Box::new(MemoryFile { disk: self.clone(), content: Arc::clone(content) })
    }
}

impl Machine {
    fn strike(&mut self, op: DiskOp) -> io::Result<()> {
        let faults = self.faults.iter_mut().enumerate();
        let mut due = None;
        for (at, fault) in faults.filter(|(_, fault)| fault.op == op) {
            match fault.after.checked_sub(1) {
                Some(after) => fault.after = after,
                None => due = due.or(Some(at)),
            }
        }
        match due {
            Some(at) => Err(self.faults.remove(at).kind.into()),
            None => Ok(()),
        }
    }

    fn crash(&mut self, loss: Loss) {
        let mut coin = Coin::of(loss);
        let mut names = Names::new();
        let paths: BTreeSet<_> = self.names.keys().chain(self.durable.keys()).collect();
        // A folder sorts before what is in it, so it is decided first.
        for path in paths {
            let (seen, durable) = (self.names.get(path), self.durable.get(path));
            let keeps = coin.keeps_name();
            let changed = match (seen, durable) {
                (Some(seen), Some(durable)) => !seen.is(durable),
                (seen, durable) => seen.is_some() != durable.is_some(),
            };
            self.losses.names += u64::from(changed && !keeps);
            let kept = if keeps { seen } else { durable };
            let folder = parent(path);
            if let Some(node) = kept
                && (folder.is_empty() || names.contains_key(folder))
            {
                names.insert(path.clone(), node.clone());
            }
        }
        for node in names.values() {
            if let Node::File(content) = node {
                let mut content = locked(content);
                content.durable = coin.remains(&content, &mut self.losses);
                content.seen = content.durable.clone();
                content.lost = false;
            }
        }
        self.used = names.values().map(Node::bytes).sum();
        self.durable = names.clone();
        self.names = names;
        self.life += 1;
        self.changes = 0;
        self.power = None;
        self.faults.clear();
        self.locked.clear();
    }

    fn make_names_durable(&mut self, folder: &str) {
        self.durable.retain(|path, _| parent(path) != folder);
        let names = self.names.iter();
        let of_folder = names.filter(|(path, _)| parent(path) == folder);
        let of_folder = of_folder.map(|(path, node)| (path.clone(), node.clone()));
        self.durable.extend(of_folder);
    }

    fn has_folder(&self, path: &str) -> io::Result<()> {
        match self.names.get(path) {
            Some(Node::Folder) => Ok(()),
            _ if path.is_empty() => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Node {
    /// Whether it is the same file, or a folder as well.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Folder, Self::Folder) => true,
            (Self::File(one), Self::File(other)) => Arc::ptr_eq(one, other),
            (Self::Folder, Self::File(_)) | (Self::File(_), Self::Folder) => false,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Folder => 0,
            Self::File(content) => locked(content).seen.len() as u64,
        }
    }
}

/// Decides what a crash keeps.
enum Coin {
    Always(Loss),
    Toss(Entropy),
}

impl Coin {
    fn of(loss: Loss) -> Self {
        match loss {
            Loss::Coin(seed) => Self::Toss(Entropy::seeded(seed)),
            Loss::Everything | Loss::Content | Loss::Nothing => Self::Always(loss),
        }
    }

    fn keeps_name(&mut self) -> bool {
        match self {
            Self::Always(loss) => *loss != Loss::Everything,
            Self::Toss(entropy) => entropy.below(2) == 0,
        }
    }

    /// What is left of a file.
    fn remains(&mut self, content: &Content, losses: &mut Losses) -> Vec<u8> {
        match self {
            Self::Always(Loss::Nothing) => content.seen.clone(),
            Self::Always(Loss::Content) => {
                let mut bytes = content.durable.clone();
                bytes.resize(content.seen.len(), 0);
                bytes
            }
            Self::Always(_) => content.durable.clone(),
            Self::Toss(entropy) => toss(entropy, content, losses),
        }
    }
}

/// Keeps, loses or tears each page of a file, and keeps or loses its new length.
fn toss(entropy: &Entropy, content: &Content, losses: &mut Losses) -> Vec<u8> {
    let Content { seen, durable, .. } = content;
    let longer = entropy.below(2) == 0;
    let mut bytes = vec![0; if longer { seen.len() } else { durable.len() }];
    let (mut kept_some, mut lost_some) = (false, false);
    for (at, page) in bytes.chunks_mut(PAGE_BYTES).enumerate() {
        let part_of = |whole: &Vec<u8>| -> Vec<u8> {
            let rest = whole.get(at * PAGE_BYTES..).unwrap_or_default();
            let mut part = rest[..page.len().min(rest.len())].to_vec();
            part.resize(page.len(), 0);
            part
        };
        let (new, old) = (part_of(seen), part_of(durable));
        let sectors = page.len().div_ceil(SECTOR_BYTES);
        let written = match entropy.below(6) {
            0..=2 => sectors,
            3 => usize::try_from(entropy.below(sectors as u64)).unwrap_or(0),
            _ => 0,
        };
        let written = (written * SECTOR_BYTES).min(page.len());
        page[..written].copy_from_slice(&new[..written]);
        page[written..].copy_from_slice(&old[written..]);
        let lost = new[written..] != old[written..];
        losses.pages += u64::from(lost);
        lost_some |= lost;
        kept_some |= new[..written] != old[..written];
    }
    losses.torn += u64::from(kept_some && lost_some);
    bytes
}

impl Disk for MemoryDisk {
    fn create_new(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut machine = self.change()?;
        machine.strike(DiskOp::Create)?;
        machine.has_folder(parent(path))?;
        if machine.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Arc::new(Mutex::new(Content::default()));
        let node = Node::File(Arc::clone(&content));
        machine.names.insert(path.to_owned(), node);
        Ok(self.file(&content))
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        match self.look()?.names.get(path) {
            Some(Node::File(content)) => Ok(self.file(content)),
            Some(Node::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut machine = self.change()?;
        machine.strike(DiskOp::Rename)?;
        machine.has_folder(parent(to))?;
        let node = machine.names.remove(from);
        let node = node.ok_or(io::ErrorKind::NotFound)?;
        if let Some(replaced) = machine.names.insert(to.to_owned(), node) {
            machine.used -= replaced.bytes();
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut machine = self.change()?;
        machine.strike(DiskOp::Remove)?;
        let node = machine.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        machine.used -= node.bytes();
        Ok(())
    }

    fn create_folder(&self, path: &str) -> io::Result<()> {
        let mut machine = self.change()?;
        machine.has_folder(parent(path))?;
        match machine.names.get(path) {
            Some(Node::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            Some(Node::Folder) => Ok(()),
            None => {
                machine.names.insert(path.to_owned(), Node::Folder);
                Ok(())
            }
        }
    }

    fn list_folder(&self, path: &str) -> io::Result<Vec<DiskEntry>> {
        let machine = self.look()?;
        machine.has_folder(path)?;
        let names = machine.names.iter();
        let mut entries: Vec<_> = names
            .filter(|(entry, _)| parent(entry) == path)
            .map(|(entry, node)| DiskEntry {
                name: entry.rsplit('/').next().unwrap_or(entry).to_owned(),
                folder: matches!(node, Node::Folder),
            })
            .collect();
        entries.sort_unstable();
        Ok(entries)
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        let mut machine = self.change()?;
        machine.strike(DiskOp::SyncFolder)?;
        machine.has_folder(path)?;
        machine.make_names_durable(path);
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut machine = self.change()?;
        for node in machine.names.values() {
            if let Node::File(content) = node {
                locked(content).sync();
            }
        }
        machine.durable = machine.names.clone();
        Ok(())
    }

    fn space(&self) -> io::Result<DiskSpace> {
        let machine = self.look()?;
        Ok(DiskSpace { available: machine.capacity - machine.used, total: machine.capacity })
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn DiskLock>> {
        if !self.look()?.locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemoryLock { disk: self.clone(), path: path.to_owned() }))
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    content: Arc<Mutex<Content>>,
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryFile")
    }
}

impl Content {
    fn sync(&mut self) {
        if !self.lost {
            self.durable = self.seen.clone();
        }
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut machine = self.disk.change()?;
        machine.strike(DiskOp::Write)?;
        let mut content = locked(&self.content);
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let end = offset + bytes.len();
        let grows = end.saturating_sub(content.seen.len()) as u64;
        if grows > machine.capacity - machine.used {
            return Err(io::ErrorKind::StorageFull.into());
        }
        machine.used += grows;
        if content.seen.len() < end {
            content.seen.resize(end, 0);
        }
        content.seen[offset..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut machine = self.disk.look()?;
        machine.strike(DiskOp::Read)?;
        let content = locked(&self.content);
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let rest = content.seen.get(offset..).unwrap_or_default();
        Ok(rest[..length.min(rest.len())].to_vec())
    }

    fn sync(&self) -> io::Result<()> {
        let mut machine = self.disk.change()?;
        let struck = machine.strike(DiskOp::Sync);
        let mut content = locked(&self.content);
        content.lost |= struck.is_err();
        content.sync();
        struck
    }

    fn length(&self) -> io::Result<u64> {
        drop(self.disk.look()?);
        Ok(locked(&self.content).seen.len() as u64)
    }
}

struct MemoryLock {
    disk: MemoryDisk,
    path: String,
}

impl fmt::Debug for MemoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryLock").field(&self.path).finish()
    }
}

impl DiskLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut machine = locked(&self.disk.machine);
        if machine.life == self.disk.life {
            machine.locked.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(disk: &MemoryDisk, path: &str) -> Option<Vec<u8>> {
        let file = disk.open(path).ok()?;
        file.read_at(0, 100).ok()
    }

    #[test]
    fn a_crash_loses_what_was_not_synced_and_keeps_what_was() {
        let disk = MemoryDisk::new(1000);
        for name in ["named", "unnamed", "unsynced"] {
            let file = disk.create_new(name).unwrap();
            file.write_at(0, b"abc").unwrap();
            if name != "unsynced" {
                file.sync().unwrap();
            }
            if name == "named" {
                disk.sync_folder("").unwrap();
            }
        }
        let after = disk.crash(Loss::Everything);
        assert_eq!(read(&after, "named"), Some(b"abc".to_vec()));
        assert_eq!(after.files(), ["named"]);
        assert!(disk.open("named").is_err(), "the old handle is dead");
    }

    #[test]
    fn a_name_can_survive_its_content() {
        let disk = MemoryDisk::new(1000);
        disk.create_new("a").unwrap().write_at(0, b"abc").unwrap();
        let after = disk.crash(Loss::Content);
        assert_eq!(read(&after, "a"), Some(vec![0; 3]));
    }

    #[test]
    fn a_crash_tears_what_was_not_synced_and_leaves_the_rest_alone() {
        let disk = MemoryDisk::new(1 << 20);
        let file = disk.create_new("a").unwrap();
        disk.sync_folder("").unwrap();
        file.write_at(0, &[1; PAGE_BYTES]).unwrap();
        file.sync().unwrap();
        file.write_at(PAGE_BYTES as u64, &[2; 16 * PAGE_BYTES]).unwrap();
        let mut disk = disk;
        for seed in 0..8 {
            disk = disk.crash(Loss::Coin(seed));
            let bytes = disk.open("a").unwrap().read_at(0, usize::MAX).unwrap();
            assert_eq!(bytes[..PAGE_BYTES], [1; PAGE_BYTES], "what was synced stands");
            assert!(
                bytes.chunks(SECTOR_BYTES).all(|s| s.iter().all(|b| *b == s[0])),
                "sectors are whole"
            );
            let file = disk.open("a").unwrap();
            file.write_at(PAGE_BYTES as u64, &[3 + seed as u8; 16 * PAGE_BYTES]).unwrap();
        }
        let losses = disk.losses();
        assert!(losses.torn > 2 && losses.pages > 16, "{losses:?}");
    }

    #[test]
    fn a_second_sync_does_not_bring_back_what_the_first_lost() {
        let disk = MemoryDisk::new(1000);
        let file = disk.create_new("a").unwrap();
        disk.sync_folder("").unwrap();
        file.write_at(0, b"abc").unwrap();
        disk.fail(DiskOp::Sync, 0, io::ErrorKind::Other);
        assert!(file.sync().is_err());
        assert!(file.sync().is_ok());
        assert_eq!(read(&disk, "a"), Some(b"abc".to_vec()));
        assert_eq!(read(&disk.crash(Loss::Everything), "a"), Some(Vec::new()));
    }
}

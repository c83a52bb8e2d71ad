//! Sees panics, also those that a pool contains, and the largest piece of memory that a thread asks for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_chain::disk::memory::MemoryDisk;
use cairn_chain::disk::{Disk, DiskEntry, DiskFile, DiskLock, DiskSpace};

/// More than the longest file of these tests, twice: a disk in memory doubles its room when a file grows.
const MOST_BYTES: usize = 4 << 20;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(bytes: usize) {
    // At the end of a thread there is nothing left to note it in.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
}

struct Watching;

#[global_allocator]
static ALLOCATOR: Watching = Watching;

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe by its contract; each call is handed on as it came"
)]
// SAFETY: all calls go to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes);
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { System.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { System.dealloc(block, layout) }
    }
}

static PANICKED: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// Watches a case from here on.
pub(crate) struct Watch;

impl Watch {
    pub(crate) fn begin() -> Self {
        HOOK.call_once(|| {
            let told = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                PANICKED.store(true, Ordering::Relaxed);
                told(panic);
            }));
        });
        LARGEST.set(0);
        Self
    }

    pub(crate) fn end(self, when: &str) {
        let largest = LARGEST.get();
        assert!(largest <= MOST_BYTES, "{when}: {largest} bytes of memory at once");
        assert!(!PANICKED.load(Ordering::Relaxed), "{when}: something panicked");
    }
}

/// A disk in memory that asks for memory as a real one does: for as much as is to be read, before it is known how much
/// there is.
#[derive(Debug)]
pub(crate) struct Asking(pub(crate) MemoryDisk);

#[derive(Debug)]
struct AskingFile(Box<dyn DiskFile>);

fn asking(file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
    Box::new(AskingFile(file))
}

impl Disk for Asking {
    fn create_new(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.create_new(path).map(asking)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.open(path).map(asking)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }

    fn create_folder(&self, path: &str) -> io::Result<()> {
        self.0.create_folder(path)
    }

    fn list_folder(&self, path: &str) -> io::Result<Vec<DiskEntry>> {
        self.0.list_folder(path)
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        self.0.sync_folder(path)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn space(&self) -> io::Result<DiskSpace> {
        self.0.space()
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn DiskLock>> {
        self.0.lock(path)
    }
}

impl DiskFile for AskingFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        note(length);
        self.0.read_at(offset, length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

//! A disk in memory that fails and loses power when a test says so.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redb::StorageBackend;

/// How long a test waits for an event that comes at once, unless something is broken.
pub(crate) const TOO_LONG: Duration = Duration::from_secs(60);
/// The smallest unit that a power loss keeps or loses.
const SECTOR: usize = 512;

/// A handle of the disk; clones mean the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What the next reader sees, as from a page cache.
    current: Vec<u8>,
    /// What was there at the last sync.
    durable: Vec<u8>,
    /// What happened since.
    unsynced: Vec<Change>,
    fault: Option<Fault>,
    refuses_to_open: bool,
    listener: Option<Sender<Event>>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Sync,
}

/// Fails one operation.
#[derive(Debug)]
struct Fault {
    operation: Operation,
    /// How many of its kind go well before.
    after: usize,
}

/// What a test can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Synced,
    Closed,
}

impl Disk {
    pub(crate) fn open(&self) -> io::Result<OpenDisk> {
        if self.state().refuses_to_open {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(OpenDisk(self.clone()))
    }

    /// Fails one `operation`, once `after` more of its kind went well.
    pub(crate) fn fail(&self, operation: Operation, after: usize) {
        self.state().fault = Some(Fault { operation, after });
    }

    /// Takes the fault back. Whether it was still to come.
    pub(crate) fn heal(&self) -> bool {
        self.state().fault.take().is_some()
    }

    pub(crate) fn refuse_to_open(&self) {
        self.state().refuses_to_open = true;
    }

    /// Hears of everything that happens from now on.
    pub(crate) fn listen(&self) -> Receiver<Event> {
        let (sender, receiver) = mpsc::channel();
        self.state().listener = Some(sender);
        receiver
    }

    /// The disk as it would be found after losing power now: all that was synced, and of the rest
    /// those sectors for which `survives` says so.
    pub(crate) fn after_power_loss(&self, mut survives: impl FnMut() -> bool) -> Disk {
        let state = self.state();
        let mut image = state.durable.clone();
        for change in &state.unsynced {
            match change {
                Change::SetLen(len) => image.resize(*len, 0),
                Change::Write { offset, data } => {
                    for (number, sector) in data.chunks(SECTOR).enumerate() {
                        if survives() {
                            overwrite(&mut image, offset + number * SECTOR, sector);
                        }
                    }
                }
            }
        }
        let found = State { current: image.clone(), durable: image, ..State::default() };
        Disk(Arc::new(Mutex::new(found)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn check(&mut self, operation: Operation) -> io::Result<()> {
        match &mut self.fault {
            Some(fault) if fault.operation == operation => {
                if fault.after == 0 {
                    self.fault = None;
                    return Err(io::Error::other(format!("a deliberate fault: {operation:?}")));
                }
                fault.after -= 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn tell(&self, event: Event) {
        if let Some(listener) = &self.listener {
            // The test may have heard enough.
            let _ = listener.send(event);
        }
    }
}

/// The disk as redb uses it.
#[derive(Debug)]
pub(crate) struct OpenDisk(Disk);

impl StorageBackend for OpenDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.state().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.state();
        state.check(Operation::Read)?;
        let start = usize::try_from(offset).unwrap();
        let bytes = state.current.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.state();
        let len = usize::try_from(len).unwrap();
        state.current.resize(len, 0);
        state.unsynced.push(Change::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.state();
        state.check(Operation::Sync)?;
        state.durable = state.current.clone();
        state.unsynced.clear();
        state.tell(Event::Synced);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.state();
        state.check(Operation::Write)?;
        let offset = usize::try_from(offset).unwrap();
        overwrite(&mut state.current, offset, data);
        state.unsynced.push(Change::Write { offset, data: data.to_vec() });
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.0.state().tell(Event::Closed);
        Ok(())
    }
}

fn overwrite(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if image.len() < offset + data.len() {
        image.resize(offset + data.len(), 0);
    }
    image[offset..offset + data.len()].copy_from_slice(data);
}

//! Everything in a store at one moment, page by page, while transactions go on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_core::backup::PAGE_BYTES;
use cairn_core::journal::Position;
use tokio::sync::mpsc;

use crate::contain::contained;
use crate::error::StorageFailure;
use crate::front::start;
use crate::read::Entry;

/// Pages that wait for whoever reads them.
const PAGES_AHEAD: usize = 2;
/// Entries of a page, however short.
const PAGE_ENTRIES: usize = 4096;

/// What a dump's thread says.
pub(crate) enum Part {
    Begin(Position),
    Page(Vec<Entry>),
    End,
}

type Said = Result<Part, StorageFailure>;

/// A walk over all entries as one state of the store has them, in the order of keys. It holds back memory of the engine
/// while it is open: read on, or drop it.
pub struct Dump {
    position: Position,
    said: mpsc::Receiver<Said>,
    ended: bool,
}

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dump").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Dump {
    /// Waits for the beginning.
    pub(crate) async fn begun(mut said: mpsc::Receiver<Said>) -> Result<Dump, StorageFailure> {
        match said.recv().await {
            Some(Ok(Part::Begin(position))) => Ok(Dump { position, said, ended: false }),
            Some(Err(failure)) => Err(failure),
            Some(Ok(Part::Page(_) | Part::End)) | None => Err(broken_off()),
        }
    }

    /// How far the journal was in this state; all 0 without one.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next page; `None` when all was read. What was read is a state of the store only if the end was reached.
    ///
    /// # Errors
    /// [`StorageFailure`]; then begin again.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, StorageFailure> {
        if self.ended {
            return Ok(None);
        }
        match self.said.recv().await {
            Some(Ok(Part::Page(page))) => Ok(Some(page)),
            Some(Ok(Part::End)) => {
                self.ended = true;
                Ok(None)
            }
            Some(Err(failure)) => Err(failure),
            Some(Ok(Part::Begin(_))) | None => Err(broken_off()),
        }
    }
}

fn broken_off() -> StorageFailure {
    StorageFailure::new("read all entries", "it was broken off")
}

/// Where a dump's thread puts what it reads.
pub(crate) struct Sink {
    said: mpsc::Sender<Said>,
    page: Vec<Entry>,
    bytes: usize,
}

/// Nobody reads the dump any more.
pub(crate) struct Unread;

impl Sink {
    pub(crate) fn begin(&self, position: Position) -> Result<(), Unread> {
        self.say(Part::Begin(position))
    }

    /// Waits while the reader is behind.
    pub(crate) fn entry(&mut self, entry: Entry) -> Result<(), Unread> {
        self.bytes += entry.0.len() + entry.1.len();
        self.page.push(entry);
        if self.bytes >= PAGE_BYTES || self.page.len() >= PAGE_ENTRIES {
            self.close_page()?;
        }
        Ok(())
    }

    pub(crate) fn end(mut self) -> Result<(), Unread> {
        if !self.page.is_empty() {
            self.close_page()?;
        }
        self.say(Part::End)
    }

    fn close_page(&mut self) -> Result<(), Unread> {
        self.bytes = 0;
        let page = std::mem::take(&mut self.page);
        self.say(Part::Page(page))
    }

    fn say(&self, part: Part) -> Result<(), Unread> {
        self.said.blocking_send(Ok(part)).map_err(|_| Unread)
    }
}

/// How an engine walks: it puts everything into the sink, or says what failed.
type Walk = dyn Fn(Sink) -> Result<(), StorageFailure> + Send + Sync;

/// Starts dumps, one at a time.
pub(crate) struct Dumper {
    walk: Arc<Walk>,
    busy: Arc<AtomicBool>,
}

impl fmt::Debug for Dumper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dumper").field("busy", &self.busy).finish_non_exhaustive()
    }
}

impl Dumper {
    pub(crate) fn new(
        walk: impl Fn(Sink) -> Result<(), StorageFailure> + Send + Sync + 'static,
    ) -> Dumper {
        Dumper { walk: Arc::new(walk), busy: Arc::default() }
    }

    /// Begins a dump on a thread of its own.
    pub(crate) async fn begin(&self) -> Result<Dump, StorageFailure> {
        const DOING: &str = "begin to read all entries";
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err(StorageFailure::new(DOING, "another one is going on: try again later"));
        }
        let turn = Turn(self.busy.clone());
        let (said, heard) = mpsc::channel(PAGES_AHEAD);
        let walk = self.walk.clone();
        let work = move || {
            let _turn = turn;
            let sink = Sink { said: said.clone(), page: Vec::new(), bytes: 0 };
            let walked = contained(|| walk(sink));
            let walked =
                walked.unwrap_or_else(|panic| Err(StorageFailure::new("read all entries", panic)));
            if let Err(failure) = walked {
                // Nobody may be reading any more.
                let _ = said.blocking_send(Err(failure));
            }
        };
        start("kv-dump".to_owned(), work).map_err(|error| StorageFailure::new(DOING, error))?;
        Dump::begun(heard).await
    }
}

/// Given back when the thread ends, or was not started.
struct Turn(Arc<AtomicBool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A dump of entries that are in memory.
pub(crate) fn of_entries(entries: impl IntoIterator<Item = Entry>) -> Dump {
    let mut parts = Vec::new();
    let (mut page, mut bytes) = (Vec::new(), 0);
    for entry in entries {
        bytes += entry.0.len() + entry.1.len();
        page.push(entry);
        if bytes >= PAGE_BYTES || page.len() >= PAGE_ENTRIES {
            bytes = 0;
            parts.push(Part::Page(std::mem::take(&mut page)));
        }
    }
    parts.push(Part::Page(page));
    parts.push(Part::End);
    let (said, heard) = mpsc::channel(parts.len());
    for part in parts {
        // The channel was made for as many.
        let _ = said.try_send(Ok(part));
    }
    Dump { position: Position::default(), said: heard, ended: false }
}

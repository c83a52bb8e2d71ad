//! What clients asked for and were told, and what follows from that for every later answer.
//!
//! ```text
//! PUT a ├──── 201 ────┤                       a must be seen from here on,
//!                          PUT b ├── cut        unless b is: b may take effect at any time
//! ```
//!
//! One name is a register. A value may be seen unless a write that was acknowledged before the look began is known to
//! have come after it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a file holds, in place of its bytes: they are drawn from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Different for each write.
    pub seed: u64,
    /// Bytes.
    pub length: u64,
}

impl Content {
    /// The bytes.
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.length).unwrap_or(usize::MAX)];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_be_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} of {} bytes", self.seed, self.length)
    }
}

/// What a client was told of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It stands.
    Acknowledged,
    /// It did not happen and never will.
    Refused,
    /// Nothing, or nothing that decides it.
    Unknown,
}

/// A write of a name: a content, or none for a delete.
#[derive(Debug, Clone, Copy)]
struct Write {
    content: Option<Content>,
    began: u64,
    /// When it was told and what; nothing while it runs.
    told: Option<(u64, Told)>,
}

impl Write {
    /// The moment after which it has surely taken effect.
    fn stands_from(&self) -> Option<u64> {
        self.told.and_then(|(at, told)| (told == Told::Acknowledged).then_some(at))
    }

    fn refused(&self) -> bool {
        matches!(self.told, Some((_, Told::Refused)))
    }
}

/// All that clients did. Cheap to clone; clones are the same history.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    now: u64,
    writes: Vec<(String, Write)>,
    reads: u64,
    violations: Vec<String>,
}

/// A write that runs, or a moment at which a read began.
#[derive(Debug, Clone, Copy)]
pub struct Ticket(usize);

/// When a read began.
#[derive(Debug, Clone, Copy)]
pub struct Moment(u64);

impl Log {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }
}

/// How many of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Acknowledged PUTs.
    pub puts: u64,
    /// Acknowledged DELETEs.
    pub deletes: u64,
    /// Writes that were refused.
    pub refused: u64,
    /// Writes of which the client does not know.
    pub unknown: u64,
    /// Reads that were answered.
    pub reads: u64,
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write of `key` begins; without content it is a delete.
    pub fn begin_write(&self, key: &str, content: Option<Content>) -> Ticket {
        let mut log = self.lock();
        let began = log.tick();
        log.writes.push((key.to_owned(), Write { content, began, told: None }));
        Ticket(log.writes.len() - 1)
    }

    /// The client was told of its write.
    pub fn told(&self, ticket: Ticket, told: Told) {
        let mut log = self.lock();
        let at = log.tick();
        if let Some((_, write)) = log.writes.get_mut(ticket.0) {
            write.told = Some((at, told));
        }
    }

    /// A read begins.
    pub fn begin_read(&self) -> Moment {
        Moment(self.lock().tick())
    }

    /// A read that began at `since` has seen the whole of `key`: its bytes, or that there is none. What it must not have
    /// seen is a violation.
    pub fn seen(&self, key: &str, since: Moment, seen: Option<&[u8]>) {
        let mut log = self.lock();
        let now = log.tick();
        log.reads += 1;
        let writes: Vec<Write> =
            log.writes.iter().filter(|(name, _)| name == key).map(|(_, write)| *write).collect();
        if explains(&writes, since.0, now, seen) {
            return;
        }
        let what = seen.map_or("nothing".to_owned(), |bytes| describe(&writes, bytes));
        log.violations.push(format!("a read of {key} saw {what}, which it must not see"));
    }

    /// Names that were written.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.lock().writes.iter().map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// What was seen and must not have been.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// How many of what.
    pub fn tally(&self) -> Tally {
        let log = self.lock();
        let mut tally = Tally { reads: log.reads, ..Tally::default() };
        for (_, write) in &log.writes {
            match (write.told.map(|(_, told)| told), write.content) {
                (Some(Told::Acknowledged), Some(_)) => tally.puts += 1,
                (Some(Told::Acknowledged), None) => tally.deletes += 1,
                (Some(Told::Refused), _) => tally.refused += 1,
                (Some(Told::Unknown) | None, _) => tally.unknown += 1,
            }
        }
        tally
    }
}

/// True when one of the writes, or the absence before them, may be what was seen between `since` and `until`.
fn explains(writes: &[Write], since: u64, until: u64, seen: Option<&[u8]>) -> bool {
    let absent = Write { content: None, began: 0, told: Some((0, Told::Acknowledged)) };
    let candidates = std::iter::once(&absent).chain(writes);
    let mut candidates = candidates.filter(|write| write.began < until && !write.refused());
    candidates.any(|candidate| {
        let is_seen = match (candidate.content, seen) {
            (None, None) => true,
            (Some(content), Some(bytes)) => {
                content.length == bytes.len() as u64 && content.bytes() == bytes
            }
            _ => false,
        };
        let replaced = |later: &Write| {
            let before = candidate.stands_from().is_some_and(|stood| stood < later.began);
            before && later.stands_from().is_some_and(|stood| stood < since)
        };
        is_seen && !writes.iter().any(replaced)
    })
}

fn describe(writes: &[Write], bytes: &[u8]) -> String {
    let same = |write: &&Write| write.content.is_some_and(|content| content.bytes() == bytes);
    match writes.iter().find(same) {
        Some(Write { content: Some(content), told, .. }) => {
            format!("{content}, of which the client was told {told:?}")
        }
        _ => format!("{} bytes that nobody wrote", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Content = Content { seed: 1, length: 10 };
    const B: Content = Content { seed: 2, length: 10 };

    fn put(history: &History, content: Content, told: Told) {
        let ticket = history.begin_write("k", Some(content));
        history.told(ticket, told);
    }

    fn sees(history: &History, seen: Option<Content>) -> bool {
        let before = history.violations().len();
        let since = history.begin_read();
        history.seen("k", since, seen.map(Content::bytes).as_deref());
        history.violations().len() == before
    }

    #[test]
    fn what_was_acknowledged_must_be_seen() {
        let history = History::default();
        assert!(sees(&history, None));
        put(&history, A, Told::Acknowledged);
        assert!(sees(&history, Some(A)));
        assert!(!sees(&history, None), "an acknowledged file is gone");
        put(&history, B, Told::Acknowledged);
        assert!(!sees(&history, Some(A)), "a replaced file is back");
    }

    #[test]
    fn what_is_not_known_may_be_seen_or_not_and_what_was_refused_must_not() {
        let history = History::default();
        put(&history, A, Told::Acknowledged);
        put(&history, B, Told::Unknown);
        assert!(sees(&history, Some(A)) && sees(&history, Some(B)));
        let history = History::default();
        put(&history, A, Told::Refused);
        assert!(sees(&history, None) && !sees(&history, Some(A)));
    }

    #[test]
    fn a_part_of_a_file_is_no_file() {
        let history = History::default();
        put(&history, A, Told::Acknowledged);
        let since = history.begin_read();
        history.seen("k", since, Some(&A.bytes()[..5]));
        assert_eq!(history.violations().len(), 1);
    }
}
